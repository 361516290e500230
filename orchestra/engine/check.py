"""Compare the store, the run directories and the processes with each other, and repair what differs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, TypeAlias

from msgspec import Struct, structs

from orchestra.child import supervisor
from orchestra.engine.changes import write_record
from orchestra.engine.deleting import finish_deletions, pending_deletions
from orchestra.engine.judge import settle, watcher_is_gone
from orchestra.engine.presence import is_reachable, unreached, without_directory
from orchestra.engine.rebuild import TrialKey, as_found, enter, read_recorded, trial_key
from orchestra.engine.session import Session
from orchestra.errors import OrchestraError, RunBroken
from orchestra.model.filters import RunQuery
from orchestra.model.run import ACTIVE, UNREADABLE, Run
from orchestra.workspace import records

FindingKind: TypeAlias = Literal[
    "orphan", "stranger", "ghost", "broken", "stale", "unwatched", "leftover", "deletion", "process"
]
OLD = 600.0
"""Seconds after which a temporary file is rubbish, not work."""
SETTINGS = (
    *("flags", "batch_spec", "executor", "environment"),
    *("label", "label_template", "tags", "comments", "marked", "trial_tags", "trial_comments"),
)
"""The fields that the record keeps up with; of the rest, attempts' records and the store know more."""


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that is not as it should be, and what was done about it."""

    kind: FindingKind
    """``orphan``: a run's directory that the store doesn't know · ``stranger``: a directory that is no run's
    · ``ghost``: a run without a directory · ``broken``: a record that can't be read · ``stale``: record and
    store differ · ``unwatched``: its watcher or its process is gone · ``leftover``: a file of a writer that
    died · ``deletion``: one that was cut short · ``process``: one of a run that has ended."""
    message: str
    run: str | None = None
    fixed: bool = False
    done: str | None = None
    """What was done."""


async def check_runs(session: Session, fix: bool = False) -> list[Finding]:
    """Look for what differs; with ``fix`` repair all that can be repaired without guessing.

    What no repair is known for is only reported: directories of strangers, records that can't be read and that
    the store doesn't have either.
    """
    check = _Check(session, fix)
    await check.deletions()
    await check.directories()
    await check.watchers()
    await check.records()
    check.processes()
    return check.findings


class _Check:
    def __init__(self, session: Session, fix: bool) -> None:
        self.session = session
        self.fix = fix
        self.findings: list[Finding] = []

    def found(self, kind: FindingKind, message: str, run: str | None, done: str | None = None) -> None:
        finding = Finding(kind=kind, message=message, run=run, fixed=done is not None, done=done)
        self.findings.append(finding)

    async def deletions(self) -> None:
        ids = pending_deletions(self.session)
        if ids and self.fix:
            await finish_deletions(self.session)
        for run_id in ids:
            self.found(
                "deletion",
                f"run {run_id} was being deleted",
                run_id,
                "finished the deletion" if self.fix else None,
            )

    async def directories(self) -> None:
        known = {run.id: run for run in (await self.session.store.query(RunQuery())).runs}
        there = set(os.listdir(self.session.layout.runs_dir))
        trials = {key: run.id for run in known.values() if (key := trial_key(run))}
        for name in sorted(there - known.keys()):
            if not name.startswith("."):
                await self._unknown(name, trials)
        gone = {run.id for run in without_directory(self.session, tuple(known.values()))}
        for run in known.values():
            if run.id in gone:
                await self._ghost(run)
            elif run.state == "broken":
                await self._broken(run)

    async def _unknown(self, name: str, trials: dict[TrialKey, str]) -> None:
        run = read_recorded(self.session, name)
        if run is None:
            self.found("stranger", f"'{name}' among the runs is not the directory of a run", None)
        elif run.state == "broken":
            self.found("broken", f"run {name} can't be read: {run.reason}", name)
        elif run.attempt == 0 and (key := trial_key(run)) is not None and key in trials:
            done = None
            if self.fix:
                records.discard_directory(self.session.layout.runs_dir / name)
                done = "removed it, for it never ran"
            self.found("orphan", f"run {name} is the same trial as run {trials[key]}", name, done)
        else:
            done = None
            if self.fix:
                await enter(self.session, [run])
                done = "entered it into the store"
            self.found("orphan", f"run {name} is missing in the store", name, done)
            if key := trial_key(run):
                trials[key] = name

    async def _ghost(self, run: Run) -> None:
        done = None
        if self.fix:
            await self.session.store.delete((run.id,))
            done = "removed it from the store"
        self.found("ghost", f"run {run.id} has no directory", run.id, done)

    async def _broken(self, run: Run) -> None:
        """A run that could not be read once; perhaps it can be read by now, or its record be made anew."""
        again = read_recorded(self.session, run.id)
        if again is not None and again.state != "broken":
            done = await self._enter_anew(again) if self.fix else None
            self.found("broken", f"run {run.id} can be read again", run.id, done)
            return
        reason = run.reason if again is None else again.reason
        done = None
        if self.fix and self._write_anew(run):
            again = read_recorded(self.session, run.id)
            if again is not None and again.state != "broken":
                done = f"{await self._enter_anew(again)}, with the record that the store had"
        self.found("broken", f"run {run.id} can't be read: {reason}", run.id, done)

    async def _enter_anew(self, run: Run) -> str:
        await self.session.store.delete((run.id,))
        await enter(self.session, [run])
        return "entered it anew"

    def _write_anew(self, run: Run) -> bool:
        """Write the record of a run of which the store knows more than that it is broken, unless it is readable.

        What state it is in its attempts tell.
        """
        directory = self.session.directory(run)
        if run.operation == UNREADABLE or not _is_unreadable(directory):
            return False
        if not records.set_record_aside(directory, self.session.clock.now()):
            return False
        record = as_found(run) if run.state == "broken" else run
        write_record(self.session, record)
        return True

    async def watchers(self) -> None:
        """Claims without a living worker, runs whose process is dead, leases that are over."""
        for run in (await self.session.store.query(RunQuery(states=ACTIVE))).runs:
            if run.worker is not None and watcher_is_gone(run, self.session.clock.now()):
                await self._unwatched(run)

    async def _unwatched(self, run: Run) -> None:
        status = records.attempt_status(self.session.directory(run), run.attempt)
        if status.exit is None and status.alive is not False:
            # It runs, and is judged by its own records when it ends: nothing is wrong.
            return
        worker = "nobody" if run.worker is None else run.worker.name
        message = f"run {run.id} is {run.state}, but its watcher is gone ({worker})"
        if not self.fix:
            self.found("unwatched", message, run.id)
            return
        try:
            settled = await settle(self.session, run)
        except OrchestraError as error:
            self.found("broken", f"run {run.id} can't be judged: {error.message}", run.id)
            return
        done = f"it is {settled.state} now" if settled.state != run.state or not settled.worker else None
        self.found("unwatched", message, run.id, done)

    async def records(self) -> None:
        runs = (await self.session.store.query(RunQuery())).runs
        gone = {run.id for run in without_directory(self.session, runs)}
        for run in runs:
            if run.state == "broken" or run.id in gone:
                continue
            if not is_reachable(run):
                self.found("broken", unreached(run), run.id)
                continue
            try:
                await self._compare(run)
            except RunBroken as error:
                done = "wrote it as the store has it" if self.fix and self._write_anew(run) else None
                self.found("broken", f"run {run.id} can't be read: {error.message}", run.id, done)
            except OrchestraError as error:
                self.found("broken", f"run {run.id} can't be read: {error.message}", run.id)
            self._leftovers(run)

    async def _compare(self, run: Run) -> None:
        """The settings of the higher revision are the newer ones. (A claim raises the store's.)"""
        record = records.read_run(self.session.directory(run))
        changed = {
            name: getattr(record, name) for name in SETTINGS if getattr(record, name) != getattr(run, name)
        }
        if not changed:
            return
        names = ", ".join(changed).replace("_", " ")
        done = None
        if record.revision > run.revision:
            if self.fix:
                newer = structs.replace(run, **changed)
                await self.session.store.update((newer,))
                done = "took them over into the store"
            self.found("stale", f"run {run.id} has newer settings in its record ({names})", run.id, done)
            return
        if self.fix:
            write_record(self.session, run)
            done = "wrote the record anew"
        self.found("stale", f"run {run.id} has newer settings in the store ({names})", run.id, done)

    def _leftovers(self, run: Run) -> None:
        directory = self.session.directory(run)
        count = len(records.leftovers(directory, older_than=OLD))
        if not count:
            return
        done = None
        if self.fix:
            done = f"removed {records.sweep(directory, older_than=OLD)} of them"
        self.found("leftover", f"run {run.id} has {count} files of writers that died", run.id, done)

    def processes(self) -> None:
        """Processes that carry the cookie of an attempt that has ended."""
        cookies = {cookie for cookie in _cookies() if cookie.count(".") >= 2}
        for cookie in sorted(cookies):
            run_id, attempt, _ = cookie.rsplit(".", 2)
            if self._has_ended(run_id, attempt):
                self._end_process(cookie, run_id)

    def _has_ended(self, run_id: str, attempt: str) -> bool:
        directory = self.session.layout.runs_dir / run_id
        if "/" in run_id or not attempt.isdigit() or not directory.is_dir():
            return False
        try:
            status = records.attempt_status(directory, int(attempt))
        except OrchestraError:
            return False
        return status.alive is False and status.fence is not None and status.fence.kind == "supervisor"

    def _end_process(self, cookie: str, run_id: str) -> None:
        tree = supervisor.tree_of(cookie)
        if not tree:
            return
        pids = ", ".join(str(pid) for pid, _ in tree)
        done = None
        if self.fix:
            left = supervisor.end_tree(cookie)
            done = None if left else "ended them"
        self.found("process", f"run {run_id} has ended, but processes of it go on: {pids}", run_id, done)


def _is_unreadable(directory: Path) -> bool:
    try:
        records.read_run(directory)
    except RunBroken:
        return True
    except OrchestraError:
        return False
    return False


def _scan(folder: str, wanted: Callable[[os.DirEntry[str]], bool]) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            yield from [entry.path for entry in entries if wanted(entry)]
    except OSError:
        return


def _cookies() -> Iterator[str]:
    """The cookies of all processes whose environment we may read."""
    mark = f"{supervisor.COOKIE}=".encode()
    for environment in _scan("/proc", lambda entry: entry.name.isdigit()):
        try:
            with open(f"{environment}/environ", "rb") as file:
                variables = file.read().split(b"\0")
        except OSError:
            continue
        for variable in variables:
            if variable.startswith(mark):
                yield os.fsdecode(variable[len(mark) :])
