"""Provide what a run needs, source by source, and note in its record what came from where."""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path

from msgspec import Struct, structs

from orchestra.child.supervisor import failpoint
from orchestra.console import Console
from orchestra.contracts import Resolved, Source
from orchestra.engine.command_line import interpreter_of
from orchestra.engine.control import Control, Wish
from orchestra.engine.off_loop import off_loop, shielded
from orchestra.engine.place import Placed, Placement, clean, place
from orchestra.engine.session import Session
from orchestra.errors import PluginError, ResolveError, Stopped
from orchestra.model import flags as flag_rules
from orchestra.model.dependencies import (
    CONFIG,
    MODULE,
    OPERATION,
    filled_in,
    requirement_of,
    source_flag,
    source_name,
)
from orchestra.model.events import Level
from orchestra.model.filters import RunQuery
from orchestra.model.ids import short_id
from orchestra.model.operation import FlagValue, Operation, Requirement, SourceDef
from orchestra.model.run import ResolvedSource, Run
from orchestra.placing.choice import named_by


class NotMet(ResolveError):
    """A dependency of a run could not be met; the message says all of it."""


class _Source(Struct, frozen=True, kw_only=True):
    """One source of a run's requirements."""

    resource: str
    declared: SourceDef
    """As the project has it."""
    source: SourceDef
    """As the run's flags have it."""
    earlier: ResolvedSource | None
    """What an earlier resolution has noted."""


def requirements(run: Run) -> tuple[Requirement, ...]:
    """All that the run needs: by its project, and as asked for when it was made."""
    return (*run.operation.requires, *map(requirement_of, run.sources))


async def resolve(
    session: Session,
    run: Run,
    *,
    console: Console | None = None,
    control: Control | None = None,
    staging: bool = False,
) -> Run:
    """Provide all that ``run`` needs in its directory; the run with what was resolved, its flags settled.

    When it is ``staging``, what other runs make is left for the start.

    Raises:
        NotMet: something is not to be had, and the run does not go on without.
        Stopped: somebody wished so through ``control``.
    """
    import anyio

    work = _Resolution(session, run, console, staging)
    control = control or Control()
    with anyio.CancelScope() as scope:

        def listen() -> None:
            if control.wish >= Wish.INTERRUPT:
                scope.cancel()

        with control.calling(listen):
            listen()
            for requirement in requirements(run):
                await work.meet(requirement)
    if scope.cancelled_caught:
        raise Stopped("stopped while what it needs was being provided", *control.signal)
    return work.run


class _Resolution:
    """One pass over what a run needs."""

    def __init__(self, session: Session, run: Run, console: Console | None, staging: bool) -> None:
        self.session = session
        self.run = run
        self._console = console
        self._staging = staging

    async def meet(self, requirement: Requirement) -> None:
        name = requirement.name
        self._say(f"Resolving {name}")
        for declared in requirement.sources:
            try:
                await self._meet_source(name, declared)
            except (ResolveError, PluginError) as error:
                await self._fail(name, declared, error)

    async def _meet_source(self, resource: str, declared: SourceDef) -> None:
        shown = source_name(declared)
        if self._staging and declared.scheme == OPERATION:
            self._say(f"Skipping resolution of {shown} because it's being staged")
            return
        source = filled_in(declared, self.run.flags)
        known = [one for one in self.run.resolved if (one.resource, one.source) == (resource, shown)]
        earlier = known[0] if known else None
        always = source.always_resolve or source.scheme == CONFIG
        if earlier is not None and not always and not self._is_other_run(source, earlier):
            self._say(f"Skipping resolution of {shown} because it's already resolved")
            return
        one = _Source(resource=resource, declared=declared, source=source, earlier=earlier)
        resolved, placed = await self._provide(one)
        self._tell_empty(one, placed)
        self._note(one, resolved, placed)

    def _is_other_run(self, source: SourceDef, earlier: ResolvedSource) -> bool:
        """Whether a flag asks for another run than the one whose files are there."""
        flag = source_flag(source)
        chosen = self.run.flags.get(flag) if flag is not None else None
        return (
            source.scheme == OPERATION and chosen is not None and not earlier.origin.startswith(str(chosen))
        )

    async def _provide(self, one: _Source) -> tuple[Resolved, Placed]:
        run_dir = self.session.directory(self.run)
        scratch = self.session.layout.scratch(self.run)
        resolver = await self.session.resolver(one.source.scheme)
        # What a resolution that was killed has left is swept by the next one.
        await off_loop(lambda: clean(scratch))
        try:
            resolved = await resolver.resolve(self._asked(one.source), scratch, self.session)
            failpoint("run.provided")
            for warning in resolved.warnings:
                self._warn(one.resource, one.declared, warning)
            if one.source.scheme == OPERATION:
                self._say(f"Using run {short_id(resolved.origin)} for {source_name(one.declared)}")
                await self._tell_other_project(resolved.origin)
            wanted = Placement(
                source=one.source,
                provided=resolved,
                scratch=scratch,
                run_dir=run_dir,
                project=self._project,
                mine=frozenset(one.earlier.paths if one.earlier else ()),
                others={
                    path: known.source
                    for known in self.run.resolved
                    if (known.resource, known.source) != (one.resource, source_name(one.declared))
                    for path in known.paths
                },
                warn=partial(self._warn, one.resource, one.declared),
            )
            placed = await place(wanted)
            failpoint("run.placed")
            return resolved, placed
        finally:
            await shielded(lambda: off_loop(lambda: shutil.rmtree(scratch, ignore_errors=True)))

    async def _tell_other_project(self, origin: str) -> None:
        """Names of operations are alike in many projects, and the runs of all are in one home."""
        page = await self.session.store.query(RunQuery(ids=(origin,)))
        theirs = _project_of(page.runs[0].operation) if page.runs else None
        ours = _project_of(self.run.operation)
        if theirs and ours and os.path.realpath(theirs) != os.path.realpath(ours):
            self._say(f"Run {short_id(origin)} is of another project: '{theirs}'")

    @property
    def _project(self) -> Path:
        operation = self.run.operation
        if operation.source is None and operation.project_file is not None:
            return Path(operation.project_file).parent
        return Path(operation.source or os.getcwd())

    def _asked(self, source: SourceDef) -> Source:
        return Source(
            scheme=source.scheme,
            value=self.session.vault.revealed_text(source.value),
            base=self._project,
            by_link=True,
            selective=bool(source.select or source.select_min or source.select_max),
            sha256=source.sha256,
            pipeline=self.run.parent if self.run.isolate_runs else None,
            params=self.session.vault.revealed_values(source.params),
            flags=self._config_values() if source.scheme == CONFIG else {},
            python=interpreter_of(self.run.operation, self.run.flags) if source.scheme == MODULE else None,
        )

    def _config_values(self) -> dict[str, FlagValue]:
        """The run's flags under the names that a configuration file has for them."""
        operation = self.run.operation
        names = {flag.name: (flag.arg_name or "").lstrip("-") or flag.name for flag in operation.flags}
        values = flag_rules.global_values(operation, self.run.flags)
        values = self.session.vault.revealed_values(values)
        return {names.get(name, name): value for name, value in values.items()}

    def _tell_empty(self, one: _Source, placed: Placed) -> None:
        # A resolver that only makes sure of something provides nothing, and nothing is expected of it.
        if placed.paths or one.source.scheme == MODULE:
            return
        message = f"nothing resolved for {one.resource}"
        if one.source.fail_if_empty:
            raise ResolveError(message)
        if one.source.warn_if_empty:
            self._warn(one.resource, one.declared, message)

    def _note(self, one: _Source, resolved: Resolved, placed: Placed) -> None:
        entry = ResolvedSource(
            resource=one.resource,
            source=source_name(one.declared),
            paths=placed.paths,
            origin=resolved.origin,
            digest=placed.digest,
        )
        others = [other for other in self.run.resolved if other is not one.earlier]
        self.run = structs.replace(self.run, resolved=(*others, entry))
        flag = source_flag(one.source)
        if one.source.scheme == OPERATION and flag is not None and self.run.flags.get(flag) != entry.origin:
            flags = {**self.run.flags, flag: entry.origin}
            label = flag_rules.run_label(self.run.label_template, flags, self.run.tags, os.path.exists)
            self.run = structs.replace(self.run, flags=flags, label=label)

    async def _fail(self, resource: str, declared: SourceDef, error: ResolveError | PluginError) -> None:
        shown = source_name(declared)
        if declared.optional:
            self._say(f"Could not resolve {shown} - skipping because dependency is optional")
            return
        reason = f"could not resolve '{shown}' in {resource} resource: {error.message}"
        hint = error.hint
        if cycle := await self._cycle(declared):
            reason += f" (operations need each other in a circle: {' -> '.join(cycle)})"
            hint = (
                f"Give the id of a run ({source_flag(declared) or shown}=ID), or make one of them optional."
            )
        if declared.help:
            # Who wrote the project knows better what to do than we.
            reason, hint = f"{reason}\n{declared.help}", None
        if not self.run.force_deps:
            raise NotMet(f"run failed because a dependency was not met: {reason}", hint) from error
        self._warn(resource, declared, f"a dependency was not met: {reason}")

    async def _cycle(self, declared: SourceDef) -> tuple[str, ...]:
        """The circle of operations in which what was not met is, unless a run was asked for by a flag."""
        if declared.scheme != OPERATION or filled_in(declared, self.run.flags).value != declared.value:
            return ()
        from orchestra.engine.requirement_cycles import requirement_cycle

        cycle = await off_loop(lambda: requirement_cycle(self.run.operation))
        # Another of its sources may be the one that lies on the circle.
        return cycle if len(cycle) > 1 and named_by(declared.value)(cycle[1]) else ()

    def _say(self, message: str) -> None:
        self._emit("dependency.resolving", "info", message)

    def _warn(self, resource: str, declared: SourceDef, message: str) -> None:
        self._emit("dependency.warning", "warning", message, resource=resource, source=source_name(declared))

    def _emit(self, name: str, level: Level, message: str, **data: str) -> None:
        # In a batch, lines that are not the operation's own carry their origin.
        logger = "orchestra" if self.run.batch is not None else ""
        self.session.emit(
            name,
            self.run,
            level=level,
            message=message,
            console=self._console,
            logger=logger,
            data=data,
        )


def _project_of(operation: Operation) -> str | None:
    """The project's directory: where its file is, else the one that the operation was run in."""
    return os.path.dirname(operation.project_file) if operation.project_file else operation.source
