"""The local executor for many short runs of one Python script: an interpreter that has imported what the script
imports forks for each of them.

The first run of a script is started plainly. For the second one a warm interpreter is started, one for each
interpreter, set of imports and environment; while it loads, nothing is lost, for a plain start would import the same.
What can't be warm (another program, a foreground run, options such as ``-c``) is started as ``local`` does.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from orchestra.builtin import executor_local
from orchestra.builtin.executor_local import LocalExecutor
from orchestra.builtin.local_hints import HintPipe, Started
from orchestra.builtin.local_launcher import HINTS_FD, Launcher, launcher_environment
from orchestra.builtin.warm_commands import INJECTOR, Command, Commands
from orchestra.child.install import WARM_FILES, install, warm_command
from orchestra.child.supervisor import COOKIE
from orchestra.errors import ExecutorError
from orchestra.model.execution import Job

MOST_INTERPRETERS = 8
"""How many are kept. The one that was used longest ago goes first."""
LOAD_PATIENCE = 20.0
"""Seconds that runs wait for an interpreter to load. Until it has, the ones after that are started plainly."""
_MOST_COMMANDS = 1000
_COOKIE_ROOM = 120
_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


class Options(executor_local.Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the warm executor."""

    imports: str | None = None
    """Modules to import, with commas between; if not given, what the script begins with."""

    def __post_init__(self) -> None:
        for name in self.modules or ():
            if not _MODULE.fullmatch(name):
                raise ValueError(f"'{name}' is no module's name: write imports=NAME,NAME")

    @property
    def modules(self) -> tuple[str, ...] | None:
        if self.imports is None:
            return None
        return tuple(name.strip() for name in self.imports.split(",") if name.strip())


@asynccontextmanager
async def open_executor(options: Options) -> AsyncGenerator[WarmExecutor]:
    """Open the warm executor. When it is closed, its jobs go on.

    Raises:
        ExecutorError: this is not Linux.
    """
    if not sys.platform.startswith("linux"):
        raise ExecutorError(
            "the executor 'warm' works on Linux only, for elsewhere a loaded interpreter is not safe to fork: "
            "use 'local'"
        )
    executor = WarmExecutor(options)
    try:
        yield executor
    finally:
        executor.close()


class _Interpreter:
    """A launcher with modules loaded."""

    def __init__(self, launcher: Launcher, told: Started) -> None:
        self.launcher = launcher
        self.told = told
        self.ready_by = time.monotonic() + LOAD_PATIENCE
        self.is_told_slow = False

    @property
    def loading(self) -> bool:
        return not self.told.settled and self.launcher.alive()


class WarmExecutor(LocalExecutor):
    """Runs jobs on this machine, those of scripts as forks of an interpreter."""

    name = "warm"

    def __init__(self, options: Options) -> None:
        super().__init__(options.home)
        self._commands = Commands(options.modules)
        self._seen: dict[Command, int] = {}
        self._cold: set[Command] = set()
        self._interpreters: dict[Command, _Interpreter] = {}
        self._started = 0
        self._looked_at: tuple[Job, Command | None] | None = None
        """The job that was made ready, and its command."""

    async def _launcher_for(self, job: Job, hints: HintPipe) -> Launcher:
        warm = await self._warm_launcher(job, hints)
        return warm or self._living_launcher(hints)

    def _launcher_ahead(self, job: Job, orders: str, hints: HintPipe) -> Launcher | None:
        try:
            command = self._commands.read(job.directory, job.environment, orders)
        except (OSError, ValueError):
            return None
        self._looked_at = (job, command)
        if command is None or command in self._cold:
            return self._living_launcher(hints)
        known = self._interpreters.get(command)
        is_loaded = known is not None and known.told.token is not None and not known.told.stale
        return known.launcher if known is not None and is_loaded and known.launcher.alive() else None

    async def _warm_launcher(self, job: Job, hints: HintPipe) -> Launcher | None:
        looked_at, self._looked_at = self._looked_at, None
        try:
            if looked_at is not None and looked_at[0] == job:
                command = looked_at[1]
            else:
                command = self._commands.read(job.directory, job.environment)
        except (OSError, ValueError):
            return None  # Whoever is to follow the orders says what is wrong with them.
        if command is None or command in self._cold:
            return None
        if not self._again(command):
            return None
        interpreter = self._interpreter(command, hints)
        if interpreter is None:
            return None
        told = interpreter.told
        while interpreter.loading and time.monotonic() < interpreter.ready_by:
            await hints.turns.until(told, lambda: told.settled, 0.25)
        hints.read()  # It may have said something before it ended.
        if told.cold is not None:
            self._give_up(command, told.cold)
            return None
        if interpreter.loading:
            self._tell_slow(interpreter)
            return None
        if told.token is None:
            self._give_up(command, f"its interpreter '{command.python}' ended while it was loading")
            return None
        return interpreter.launcher if interpreter.launcher.alive() else None

    def _again(self, command: Command) -> bool:
        """Whether it pays to have an interpreter for a command: there may be one run of it only."""
        if len(self._seen) >= _MOST_COMMANDS:
            self._seen.clear()
        self._seen[command] = self._seen.get(command, 0) + 1
        return self._seen[command] > 1 or command.must

    def _interpreter(self, command: Command, hints: HintPipe) -> _Interpreter | None:
        """The interpreter for a command, started if there is none that can be used; the newest one last."""
        known = self._interpreters.pop(command, None)
        if known is not None:
            usable = known.launcher.alive() or not known.told.settled or known.told.cold is not None
            if usable and not known.told.stale:
                self._interpreters[command] = known
                return known
            self._retire(known)
        idle = [key for key, each in self._interpreters.items() if each.launcher.idle and not each.loading]
        if len(self._interpreters) >= MOST_INTERPRETERS:
            if not idle:
                return None
            self._retire(self._interpreters.pop(idle[0]))
        self._interpreters[command] = self._start(command, hints)
        return self._interpreters[command]

    def _start(self, command: Command, hints: HintPipe) -> _Interpreter:
        self._started += 1
        name = f"warm.{self._started}"
        environment = {**launcher_environment(), **dict(command.environment)}
        for variable in command.unset:
            environment.pop(variable, None)
        # Each attempt puts its own one there.
        environment[COOKIE] = environment[COOKIE].ljust(_COOKIE_ROOM, ".")
        library = install(os.path.join(self._home, "lib"), WARM_FILES)
        words = (
            str(HINTS_FD),
            name,
            str(command.first),
            INJECTOR,
            "1" if command.must else "0",
            ",".join(command.imports),
        )
        launch = warm_command([command.python, *command.options], library, *words)
        return _Interpreter(Launcher(launch, environment, hints.writer), hints.expect(name))

    def _tell_slow(self, interpreter: _Interpreter) -> None:
        if interpreter.is_told_slow:
            return
        interpreter.is_told_slow = True
        import logging

        logging.getLogger("orchestra.warm").warning(
            "the executor 'warm' starts new interpreters for runs until its own has loaded: that takes longer than "
            "%g seconds",
            LOAD_PATIENCE,
        )

    def _give_up(self, command: Command, reason: str) -> None:
        """Start this command plainly from now on. Raises ExecutorError if its imports were asked for."""
        interpreter = self._interpreters.pop(command, None)
        if interpreter is not None:
            self._retire(interpreter)
        if command.must:
            raise ExecutorError(
                f"the executor 'warm' can't use imports={','.join(command.imports)}: {reason}"
            )
        self._cold.add(command)
        import logging

        logging.getLogger("orchestra.warm").warning(
            "the executor 'warm' starts a new interpreter for each run: %s (imports=... chooses what is loaded)",
            reason,
        )

    def _retire(self, interpreter: _Interpreter) -> None:
        interpreter.launcher.close(0)

    def close(self) -> None:
        """Let go of everything. Jobs go on."""
        for interpreter in self._interpreters.values():
            self._retire(interpreter)
        self._interpreters.clear()
        super().close()
