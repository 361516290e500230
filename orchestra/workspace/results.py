"""The results of a run's newest attempt: scalars and attributes, from its output and from event files.

They are worked out when somebody asks, by whoever that is, and kept in ``.orchestra/scalars.json`` together with how
far all was read: the next one reads only what came since, and of an attempt that has ended nothing but that file. It
can be deleted at any time. Nothing is read while runs are listed, and nothing while they run.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec import Struct, field

from orchestra.errors import (
    HomeError,
    OrchestraError,
    RunBroken,
    StoreUnavailable,
    UserError,
    text_of_os_error,
)
from orchestra.model import versions
from orchestra.model.encoding import encode
from orchestra.model.execution import Exit
from orchestra.model.operation import FlagValue
from orchestra.model.output_rules import OutputRules, Told, split_lines
from orchestra.model.run import Run
from orchestra.model.scalars import SYSTEM, Scalar, join, single
from orchestra.workspace import event_files
from orchestra.workspace.codec import read_record
from orchestra.workspace.durable import write_atomic
from orchestra.workspace.event_files import EventFile
from orchestra.workspace.layout import CONTROL, attempt_directory
from orchestra.workspace.manifest import read_manifest
from orchestra.workspace.output import CHUNK, LINE_LIMIT, OutputFollower
from orchestra.workspace.records import read_exit
from orchestra.workspace.samples import sampled_points

SCALARS = "scalars.json"
AT_ONCE = 64 << 20
"""Bytes of output after which is kept what they told: who interrupts the reading of a huge one does not lose it."""
CLOCKS_APART = 2_000_000
"""Microseconds that the clock of a file system may be behind."""


class Results(Struct, frozen=True, kw_only=True):
    """What a run came to."""

    scalars: dict[str, Scalar] = {}
    """By their names: ``loss``, of an event file in a folder ``FOLDER#loss``, of our own making ``sys/max_rss``."""
    attributes: dict[str, FlagValue] = {}
    """What the project says of the run, and what it printed."""
    problems: tuple[str, ...] = ()
    """Why some of them may be missing, each in a sentence."""


class _Index(Struct, kw_only=True, omit_defaults=True):
    version: int
    attempt: int
    final: bool = False
    """The attempt has ended and all is read."""
    offset: int = 0
    """Up to here its output is read."""
    rests: list[bytes] = field(default_factory=lambda: [b"", b""])
    """The beginning of a line of each stream."""
    told: Told
    events: dict[str, EventFile] = {}
    system: dict[str, Scalar] = {}
    problems: list[str] = []


def read_results(run_dir: Path, run: Run) -> Results:
    """The results of the newest attempt of ``run``, brought up to date.

    Raises:
        HomeError, StoreUnavailable: the output can't be read.
    """
    if not run.attempt:
        return Results(attributes=dict(run.operation.run_attrs))
    path = os.path.join(run_dir, CONTROL, SCALARS)
    index = _kept(path, run.attempt) or _Index(version=versions.RESULTS, attempt=run.attempt, told=Told())
    # A run may print faster than we read: what comes from now on is for the next time.
    size = 0 if index.final else _size(attempt_directory(run_dir, run.attempt))
    whole = index.final
    while not whole:
        before = encode(index)
        index, at_end = _refreshed(index, run_dir, run)
        whole = at_end or index.offset >= size
        if (after := encode(index)) != before:
            # What is kept only saves time: where it can't be written, it is worked out again.
            with contextlib.suppress(HomeError, StoreUnavailable):
                write_atomic(path, after, fsync=False)
    return _results(index, run)


def _size(directory: Path) -> int:
    with OutputFollower(directory) as follower:
        return follower.size


def _kept(path: str, attempt: int) -> _Index | None:
    try:
        index = read_record(path, _Index)
    except OrchestraError:
        return None
    usable = index is not None and index.version == versions.RESULTS and index.attempt == attempt
    return index if usable and index is not None and len(index.rests) == 2 else None


def _refreshed(index: _Index, run_dir: Path, run: Run) -> tuple[_Index, bool]:
    """``index`` brought up to date, and whether all is read: of a huge output it is a part."""
    at_end = True
    directory = attempt_directory(run_dir, run.attempt)
    exit_record = _exit_of(directory)
    index.problems = []
    # The output of a batch or a pipeline is that of its runs, which have their own results.
    if run.kind == "run" and run.operation.kind != "steps":
        try:
            rules = OutputRules.of(run.operation, run.flags)
        except UserError as error:
            index.problems.append(error.message)
        else:
            index, at_end = _take_output(index, directory, rules, ended=exit_record is not None)
    if run.kind == "run":
        _take_event_files(index, run_dir, run)
    index.system = {}
    for name, step, value in sampled_points(directory, run.gpus):
        index.system[name] = join(index.system.get(name), single(value, step))
    if exit_record is not None:
        index.system |= _measured(exit_record, processes=run.kind == "run")
        index.final = at_end
    return index, at_end


def _exit_of(directory: Path) -> Exit | None:
    try:
        return read_exit(directory)
    except RunBroken:
        return None


def _measured(exit_record: Exit, *, processes: bool) -> dict[str, Scalar]:
    """What the exit record tells; a batch or a queue (not ``processes``) executes in an orchestra process."""
    measured = {"wall_seconds": (exit_record.stopped - exit_record.started) / 1e6}
    # No process does without: of a run that was made elsewhere these may not be known.
    if processes and (exit_record.max_rss or exit_record.cpu):
        measured |= {"cpu_seconds": exit_record.cpu, "max_rss": float(exit_record.max_rss * 1024)}
    return {f"{SYSTEM}{name}": single(value, 0) for name, value in measured.items()}


def _take_output(index: _Index, directory: Path, rules: OutputRules, *, ended: bool) -> tuple[_Index, bool]:
    with OutputFollower(directory, index.offset) as follower:
        if follower.size < index.offset:
            # It was cut short, or replaced: what it tells now is all that counts.
            index = _Index(
                version=versions.RESULTS, attempt=index.attempt, told=Told(), problems=index.problems
            )
            follower.offset = 0
        end = follower.offset + AT_ONCE
        while chunks := follower.read_new(min(CHUNK, AT_ONCE)):
            for stream, data in chunks:
                _take(index, rules, min(stream, 1), data)
            if follower.offset >= end and follower.size > follower.offset:
                break
        index.offset = follower.offset
        at_end = not chunks
    if ended and at_end:
        for stream in (0, 1):
            _take(index, rules, stream, b"\n")
    return index, at_end


def _take(index: _Index, rules: OutputRules, stream: int, data: bytes) -> None:
    index.told.add(rules, whole_lines(index.rests, stream, data), stream)


def whole_lines(rests: list[bytes], stream: int, data: bytes) -> list[str]:
    """Go on with ``data`` of a stream: the lines that have come to an end. One that has not waits in ``rests``."""
    data = rests[stream] + data
    end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
    if len(data) - end > LINE_LIMIT:
        end = len(data)
    rests[stream] = data[end:]
    return split_lines(data[:end].decode(errors="replace")) if end else []


def _take_event_files(index: _Index, run_dir: Path, run: Run) -> None:
    found: dict[str, EventFile] = {}
    for name, entry in own_event_files(run_dir, run, index.problems):
        try:
            found[name] = event_files.refresh(entry.path, index.events.get(name))
        except OSError as error:
            index.problems.append(_unreadable(error))
            continue
        if found[name].problem:
            index.problems.append(found[name].problem)
    index.events = found


def own_event_files(run_dir: Path, run: Run, problems: list[str]) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """The event files of the newest attempt of ``run``, by their names; why others may be missing: ``problems``."""
    since = (run.started or 0) - CLOCKS_APART if run.attempt > 1 else 0
    is_given: Callable[[str, int], bool] | None = None
    for folder, entry in event_files.find_event_files(run_dir, passed_over=CONTROL):
        name = os.fsencode(f"{folder}/{entry.name}" if folder else entry.name).decode(errors="replace")
        try:
            written = entry.stat().st_mtime_ns // 1000
        except OSError as error:
            problems.append(_unreadable(error))
            continue
        is_given = is_given or _given(run_dir, run)
        # Others are an earlier attempt's, or what the run has got from elsewhere.
        if written >= since and not is_given(name, written):
            yield name, entry


def _unreadable(error: OSError) -> str:
    return f"an event file can't be read: {text_of_os_error(error)}"


def _given(run_dir: Path, run: Run) -> Callable[[str, int], bool]:
    """Tells of a file and the time when it was written whether the run has got it: as source, or as what it needs."""
    try:
        source = {entry.path for entry in read_manifest(run_dir)}
    except OrchestraError:
        source = set[str]()
    provided = {path for entry in run.resolved for path in entry.paths}
    folders = tuple(f"{path}/" for path in provided)

    def is_given(name: str, written: int) -> bool:
        # A run may write into a folder that it was given.
        return (
            name in source or name in provided or (name.startswith(folders) and written < (run.started or 0))
        )

    return is_given


def _results(index: _Index, run: Run) -> Results:
    scalars = dict(index.told.scalars)
    logged: dict[str, Scalar] = {}
    for name, file in index.events.items():
        prefix = event_files.prefix_of(name)
        for tag, scalar in file.scalars.items():
            key = f"{prefix}{tag}"
            logged[key] = join(logged.get(key), scalar)
    # A script that prints what it logs, too, rounds it for people.
    scalars |= logged
    scalars |= index.system
    # A batch is about others, which have them.
    said = run.operation.run_attrs if run.kind != "batch" else {}
    attributes: dict[str, FlagValue] = {**said, **index.told.attributes}
    return Results(scalars=scalars, attributes=attributes, problems=tuple(index.problems))
