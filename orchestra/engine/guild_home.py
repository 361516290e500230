"""Take over runs of a Guild home: it is looked at, and never changed."""

from __future__ import annotations

import copy
import errno
import os
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, cast

from msgspec import Struct, structs

from orchestra.child import supervisor
from orchestra.child.supervisor import failpoint
from orchestra.contracts import Page, Store
from orchestra.engine.guild_attributes import Attributes, as_list, as_mapping
from orchestra.engine.guild_records import GuildRun, read_guild_run, related
from orchestra.engine.importing import MAKING
from orchestra.engine.off_loop import off_loop, shielded
from orchestra.engine.rebuild import enter
from orchestra.engine.runs import select_runs
from orchestra.engine.session import Session
from orchestra.errors import OrchestraError, UserError
from orchestra.model.archived import inert
from orchestra.model.encoding import encode
from orchestra.model.execution import Exit, Fence, Identity
from orchestra.model.filters import RunQuery
from orchestra.model.redaction import redact_text
from orchestra.model.run import Imported, Run
from orchestra.placing.making import Making
from orchestra.workspace import durable, records
from orchestra.workspace.environment import (
    EnvironmentRecord,
    PythonRecord,
    describe_variables,
    write_environment,
)
from orchestra.workspace.fence import FENCE
from orchestra.workspace.guild_copying import copy_files, copy_output, copy_source, manifest_entries
from orchestra.workspace.guild_runs import GUILD, guild_folders, linked_runs, run_directories
from orchestra.workspace.layout import FIRST_ATTEMPT, attempt_directory
from orchestra.workspace.manifest import render, write_manifest
from orchestra.workspace.trash import Trash

CHUNK = 100
"""How many runs are entered into the store at once."""
Tell = Callable[[str], None]


class Found(Struct, frozen=True, kw_only=True):
    """What there is to take over."""

    runs: tuple[GuildRun, ...]
    known: int = 0
    """How many more are here already."""
    trashed: int = 0
    """How many more are in the trash of this home."""
    going_on: tuple[GuildRun, ...] = ()
    """Those that are not over yet."""
    strange: tuple[str, ...] = ()
    """Names of directories that can't be ids of runs."""


class Shelf:
    """Runs that are not here, to choose from by what names and filters runs."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self._runs = tuple(runs)

    async def query(self, query: RunQuery) -> Page:
        """As a store does."""
        return Page.of(query, self._runs)


def look_into(session: Session, path: Path, *, deleted: bool = False) -> Found:
    """The runs of the Guild home at ``path`` (or with that folder of runs); the ``deleted`` ones instead.

    Raises:
        UserError: there is no Guild home.
    """
    path = Path(os.path.normpath(path))
    folders = guild_folders(path)
    if folders is None:
        raise UserError(
            f"'{path}' is not a Guild home", "Name the folder that has 'runs' in it, such as ~/.guild."
        )
    folder = folders.trash if deleted else folders.runs
    if os.path.realpath(folder) == os.path.realpath(session.layout.runs_dir):
        raise UserError(
            f"the runs in '{path}' can't be taken over into the same home", "Choose another one with -H DIR."
        )
    runs: list[GuildRun] = []
    strange: list[str] = []
    known = trashed = 0
    deleted_here = {entry.run_id for entry in Trash(session.layout).entries()}
    for directory in run_directories(folder):
        try:
            is_here = os.path.lexists(session.layout.directory_of(directory.name))
        except UserError:
            strange.append(directory.name)
            continue
        if not is_here and directory.name in deleted_here:
            trashed += 1
            continue
        known += is_here
        # A batch that is from there may have trials that are not here yet.
        if not is_here or (any(linked_runs(directory)) and _is_from_elsewhere(session, directory.name)):
            runs.append(read_guild_run(directory))
    related(runs)
    fresh = [one for one in runs if not os.path.lexists(session.layout.directory_of(one.run.id))]
    return Found(
        runs=tuple(one for one in fresh if one.going_on is None),
        known=known,
        trashed=trashed,
        going_on=tuple(one for one in fresh if one.going_on is not None),
        strange=tuple(strange),
    )


def tell_left(found: Found, tell: Tell) -> None:
    """Say what is not taken over, and why."""
    for one in found.going_on:
        tell(f"WARNING: run {one.run.id} is left out: {one.going_on}; import it once it has ended")
    for name in found.strange:
        tell(f"WARNING: '{name}' is left out: that can't be the id of a run")
    if found.known:
        tell(f"{found.known} run(s) are here already and are left as they are.")
    if found.trashed:
        tell(
            f"{found.trashed} run(s) are in the trash of this home: 'orchestra runs restore' brings them back."
        )


def _is_from_elsewhere(session: Session, run_id: str) -> bool:
    try:
        return records.read_run(session.layout.directory_of(run_id)).imported is not None
    except OrchestraError:
        return False


async def choose(
    session: Session, found: Found, specs: Sequence[str], query: RunQuery
) -> tuple[GuildRun, ...]:
    """Those of what was found that ``specs`` and ``query`` name, newest first: all, if they name none.

    Raises:
        RunNotFound: a spec names no run, or several.
    """
    looking = copy.copy(session)
    looking.store = cast(Store, Shelf([one.run for one in found.runs]))
    looking.read_only = True
    chosen = {run.id for run in await select_runs(looking, specs, query=query, default="all")}
    count = -1
    while specs and count != len(chosen):
        # What is named brings its trials and steps.
        count = len(chosen)
        chosen |= {one.run.id for one in found.runs if one.run.batch in chosen or one.run.parent in chosen}
    wanted = (one for one in found.runs if one.run.id in chosen)
    return tuple(sorted(wanted, key=lambda one: -one.run.time))


async def take_over(
    session: Session, wanted: Sequence[GuildRun], source: str, *, tell: Tell = lambda text: None
) -> tuple[Run, ...]:
    """Make the runs ours, and return those that were. What of one can't be had is told, and keeps no other from it.

    Raises:
        HomeError, StoreUnavailable: nothing can be written.
    """
    making = Making(session.layout.runs_dir, MAKING)
    taken: list[Run] = []
    remaining = iter(wanted)
    try:
        while chunk := tuple(islice(remaining, CHUNK)):
            made: list[Run] = []
            try:
                for one in chunk:
                    made.append(
                        await off_loop(lambda one=one: _make(session, one, source, making.path, tell))
                    )
            finally:
                # What is whole is kept, whatever the next one ran into.
                taken += await shielded(lambda made=made: _enter(session, made, making.path, tell))
    finally:
        await off_loop(making.close)
    return tuple(taken)


def _make(session: Session, one: GuildRun, source: str, making: Path, tell: Tell) -> Run:
    """Make the directory of a run, whole, beside its place."""
    problems = list(one.problems)
    tell(f"Copying {one.run.id}")
    directory = making / one.run.id
    try:
        durable.make_run_directory(directory)
        run = _fill(session, one, directory, source, problems)
    except OSError as error:
        durable.fail(error, error.filename or directory)
    for problem in dict.fromkeys(problems):
        tell(f"WARNING: run {run.id}: {problem}")
    return run


async def _enter(session: Session, made: Sequence[Run], making: Path, tell: Tell) -> list[Run]:
    """Put runs that are made into their places, and enter them into the store; return those that were."""
    placed: list[Run] = []

    def place() -> None:
        if session.fsync:
            durable.sync_filesystem(making)
        for run in made:
            # Killed from here on: the next who opens the home looks for runs that the store does not know.
            (session.layout.cache_dir / "reconciled").unlink(missing_ok=True)
            try:
                os.rename(making / run.id, session.layout.directory_of(run.id))
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    durable.fail(error, making)
                tell(f"WARNING: {run.id} exists, skipping")
                continue
            placed.append(run)
            failpoint("import.placed")
        if session.fsync:
            durable.sync_directories(session.layout.runs_dir)

    try:
        await off_loop(place)
    finally:
        await enter(session, placed)
    return placed


def _fill(session: Session, one: GuildRun, target: Path, source: str, problems: list[str]) -> Run:
    complain = problems.append
    control = session.layout.control(target)
    durable.make_dirs(control)
    copy_files(one.directory, target, given=one.given, complain=complain)
    if one.proto:
        copy_source(one.directory / GUILD / "proto", target, one.manifest, complain=complain)
    if entries := list(manifest_entries(target, one.manifest, complain)):
        write_manifest(target, render(entries))
    imported = Imported(source=source, time=session.clock.now())
    kept = {"state": one.run.state, "reason": one.run.reason, "rest": one.run.rest}
    run = structs.replace(inert(one.run, imported, {}), **kept)
    if run.attempt:
        _write_attempt(one, run, attempt_directory(target, FIRST_ATTEMPT), problems)
    records.write_run(target, run, fsync=False)
    return run


def _write_attempt(one: GuildRun, run: Run, attempt: Path, problems: list[str]) -> None:
    durable.make_dirs(attempt)
    size = copy_output(one.directory, attempt, complain=problems.append)
    started = run.started or run.created
    nobody = Identity(host=supervisor.host_id(), boot="", pid=0, start=0)
    fence = Fence(fence="started", nonce="guild", identity=nobody, time=started)
    durable.write_atomic(attempt / FENCE, encode(fence) + b"\n", fsync=False)
    if run.exit_code is not None:
        exit = Exit(code=run.exit_code, started=started, stopped=run.stopped or started, size=size)
        records.write_exit(attempt, exit, fsync=False)
    if record := _environment(one, started, problems):
        write_environment(attempt, record)


def _environment(one: GuildRun, time: int, problems: list[str]) -> EnvironmentRecord | None:
    """What Guild has recorded of the run's environment: of its variables no more than we would."""
    attributes = Attributes(one.directory / GUILD, problems)
    env, platform = attributes.get("env"), attributes.get("platform")
    told = {name: str(value) for name, value in as_mapping(platform).items() if value and name != "cpus"}
    variables, withheld = describe_variables(
        {name: str(value) for name, value in as_mapping(env).items()}, {}
    )
    packages, origins = _packages(attributes.get("pip_freeze"))
    if not told and not variables and not packages:
        return None
    cpus = as_mapping(platform).get("cpus")
    version = told.pop("python_version", "").split(" ")[0]
    python = None
    if version or packages:
        executable = one.run.command[0] if one.run.command else ""
        python = PythonRecord(
            executable=executable, version=version or None, packages=packages or None, origins=origins
        )
    return EnvironmentRecord(
        captured=time,
        platform=told,
        cpus=cpus if isinstance(cpus, int) and not isinstance(cpus, bool) else None,
        python=python,
        variables=variables,
        withheld=withheld,
    )


def _packages(lines: Any) -> tuple[dict[str, str], dict[str, str]]:
    packages: dict[str, str] = {}
    origins: dict[str, str] = {}
    for line in as_list(lines):
        name, separator, version = str(line).partition("==")
        if separator:
            packages[name] = version
            continue
        name, separator, origin = str(line).partition(" @ ")
        if separator:
            packages[name] = ""
            origins[name] = redact_text(origin)
    return packages, origins
