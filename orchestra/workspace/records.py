"""The records in a run's directory: of the run, of each attempt's start and end, and of what happened."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct, structs

from orchestra.errors import HomeError, RunBroken, RunNotFound
from orchestra.model import versions
from orchestra.model.encoding import decode, encode
from orchestra.model.execution import Exit, Fence
from orchestra.model.run import Run
from orchestra.workspace.codec import read_bytes, read_record, version_of
from orchestra.workspace.durable import (
    append_line,
    fail,
    make_dirs,
    remove_all,
    sync_directories,
    sync_filesystem,
    temporary,
    write_atomic,
)
from orchestra.workspace.fence import FenceLost, HeldFence, alive, hold, probe, read_fence, revoke
from orchestra.workspace.layout import ATTEMPTS, CONTROL, attempt_directory

__all__ = [
    "AttemptStatus",
    "FenceLost",
    "HeldFence",
    "alive",
    "append_event",
    "attempt_status",
    "attempts",
    "discard_directory",
    "hold",
    "leftovers",
    "read_events",
    "read_exit",
    "read_fence",
    "read_run",
    "revoke",
    "sweep",
    "write_exit",
    "write_run",
    "write_runs",
]

RUN = "run.json"
EXIT = "exit"
EVENTS = "events.jsonl"


class _Revised(Struct, frozen=True):
    revision: int = 0


def write_run(run_dir: Path, run: Run, *, fsync: bool, create: bool = True) -> None:
    """Replace the record of ``run``, making its directory if need be; one of a higher revision stays.

    Several may have changed the run, one after the other, and come here in another order.

    Raises:
        RunNotFound: its directory is gone and must not be made again (not ``create``).
        HomeError: it can't be written, or was written by a newer version and would lose what we don't know.
        StoreUnavailable: no space, I/O error.
    """
    if run.schema > versions.RUN:
        raise HomeError(
            f"run {run.id} was written by a newer version of orchestra and is left as it is",
            "Upgrade orchestra to change this run.",
        )
    folder = os.path.join(run_dir, CONTROL)
    path = os.path.join(folder, RUN)
    if run.schema != versions.RUN:
        run = structs.replace(run, schema=versions.RUN)
    data = encode(run) + b"\n"
    if not create or os.path.exists(path):
        with _turn(folder):
            if _revision(path) <= run.revision:
                write_atomic(path, data, fsync=fsync)
        return
    make_dirs(folder)
    write_atomic(path, data, fsync=fsync)
    if fsync:
        sync_directories(run_dir, os.path.dirname(run_dir))


@contextlib.contextmanager
def _turn(folder: str) -> Generator[None]:
    """Keep others from writing the record in ``folder`` meanwhile, where the file system has locks."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise RunNotFound(f"there is no run in '{os.path.dirname(folder)}'") from None
    except OSError as error:
        fail(error, folder)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _revision(path: str) -> int:
    """Of the record that is there; 0 of one that can't be read."""
    try:
        return decode(read_bytes(path), _Revised).revision
    except (OSError, ValueError):
        return 0


def write_runs(runs: Iterable[tuple[Path, Run]], *, fsync: bool) -> None:
    """Replace the records of runs: with ``fsync`` all of them reach the disk with one wait.

    What has no directory any more is left out: it was deleted.

    Raises:
        HomeError, StoreUnavailable: as :func:`write_run`.
    """
    devices: dict[int, Path] = {}
    for run_dir, run in runs:
        try:
            write_run(run_dir, run, fsync=False, create=False)
        except RunNotFound:
            continue
        if fsync:
            devices.setdefault(os.stat(run_dir).st_dev, run_dir)
    for run_dir in devices.values():
        sync_filesystem(run_dir)


def read_run(run_dir: Path) -> Run:
    """The record of the run in ``run_dir``.

    Raises:
        RunNotFound: no run is there.
        RunBroken: the record is missing, torn, or of a newer version; the message names the file.
    """
    path = os.path.join(run_dir, CONTROL, RUN)
    run = read_record(path, Run, versions.RUN)
    if run is None:
        if os.path.isdir(os.path.join(run_dir, CONTROL, ATTEMPTS)):
            raise RunBroken(f"'{path}' is missing")
        raise RunNotFound(f"there is no run in '{run_dir}'")
    return run


def _is_newer(path: str) -> bool:
    try:
        return version_of(read_bytes(path)) > versions.RUN
    except OSError:
        return False


def set_record_aside(run_dir: Path, now: int) -> bool:
    """Rename a record that can't be read to ``run.json.broken-NOW``; False if a newer version can read it.

    Raises:
        HomeError, StoreUnavailable: it can't be renamed.
    """
    path = os.path.join(run_dir, CONTROL, RUN)
    if _is_newer(path):
        return False
    try:
        os.rename(path, f"{path}.broken-{now}")
    except FileNotFoundError:
        pass
    except OSError as error:
        fail(error, path)
    return True


def read_exit(attempt_dir: Path) -> Exit | None:
    """The record of an attempt's end; None when it has not ended, or its end was not recorded.

    Raises:
        RunBroken: it is torn or can't be read.
    """
    return read_record(os.path.join(attempt_dir, EXIT), Exit, versions.EXIT)


def write_exit(attempt_dir: Path, exit: Exit, *, fsync: bool) -> None:
    """Record the end of an attempt.

    Raises:
        HomeError, StoreUnavailable: it can't be written.
    """
    write_atomic(os.path.join(attempt_dir, EXIT), encode(exit) + b"\n", fsync=fsync)


def attempts(run_dir: Path) -> list[int]:
    """The numbers of the attempts that have a folder, lowest first."""
    try:
        names = os.listdir(os.path.join(run_dir, CONTROL, ATTEMPTS))
    except OSError:
        return []
    return sorted(int(name) for name in names if name.isascii() and name.isdigit())


class AttemptStatus(Struct, frozen=True, kw_only=True):
    """What the records of an attempt say, and whether it lives."""

    fence: Fence | None
    exit: Exit | None
    alive: bool | None
    """None: it runs on another host, where we can't look. With an exit record: False as soon as all is over.
    """
    seen: int | None = None
    """When its process last showed that it lives, in microseconds since the epoch."""


def attempt_status(run_dir: Path, attempt: int) -> AttemptStatus:
    """The state of one attempt.

    The exit record is read again after the process was found dead, for it may have ended in between.

    Raises:
        RunBroken: a record is torn or can't be read.
    """
    directory = attempt_directory(run_dir, attempt)
    exit = read_exit(directory)
    found = probe(directory)
    if found is None:
        return AttemptStatus(fence=None, exit=exit, alive=False)
    if exit is None and found.alive is not True:
        exit = read_exit(directory)
    return AttemptStatus(fence=found.fence, exit=exit, alive=found.alive, seen=found.seen)


def append_event(run_dir: Path, event: dict[str, Any]) -> None:
    """Add one line to the run's journal.

    Raises:
        HomeError, StoreUnavailable: it can't be written.
    """
    append_line(os.path.join(run_dir, CONTROL, EVENTS), encode(event))


def read_events(run_dir: Path) -> Iterator[dict[str, Any]]:
    """The lines of the run's journal, oldest first; torn ones are left out."""
    with contextlib.suppress(FileNotFoundError), open(os.path.join(run_dir, CONTROL, EVENTS), "rb") as file:
        for line in file:
            try:
                event = decode(line, dict[str, Any])
            except ValueError:
                continue
            if line.endswith(b"\n"):
                yield event


def discard_directory(directory: Path) -> None:
    """Remove what was made for a run that did not come to be; never what a link points to.

    Raises:
        HomeError, StoreUnavailable: something could not be removed.
    """
    import shutil

    try:
        if os.path.islink(directory):
            os.unlink(directory)
        elif os.path.lexists(directory):
            shutil.rmtree(directory)
    except OSError as error:
        fail(error, error.filename or directory)


def leftovers(run_dir: Path, *, older_than: float) -> list[str]:
    """The ``*.tmp`` files that writers left behind when they died.

    ``older_than`` is in seconds: younger ones may still be in the making.
    """
    folder = os.path.join(run_dir, CONTROL)
    found = temporary(folder, older_than=older_than)
    for attempt in attempts(run_dir):
        directory = Path(folder, ATTEMPTS, str(attempt))
        left = temporary(directory, older_than=older_than)
        # A supervisor that lives keeps room for its exit record in such a file, however long it takes.
        if left and _is_over(directory):
            found += left
    return found


def sweep(run_dir: Path, *, older_than: float = 600.0) -> int:
    """Remove these files; return how many there were."""
    return remove_all(leftovers(run_dir, older_than=older_than))


def _is_over(directory: Path) -> bool:
    try:
        return alive(directory) is False
    except RunBroken:
        return False
