"""What a verb gets from the global options: the home, the settings, the console, a session."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import ExitStack, asynccontextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

from msgspec import structs

from orchestra.cli import options
from orchestra.cli.options import GlobalOptions
from orchestra.console import Console, ProcessConsole
from orchestra.engine.session import Session, Sink, open_session
from orchestra.errors import HomeError, UserError
from orchestra.project.project_settings import project_settings
from orchestra.settings import Settings, find_home, load_settings

T = TypeVar("T")
Absent: TypeAlias = Literal["refuse", "make", "bear"]
"""What becomes of a home that is not there yet: it is refused if it was named, or made, or is as good as empty."""
_DIRECTORY_HINT = "Give the project's directory with -C."


class Context:
    """The global options of a command, and what follows from them. All is looked up when it is needed."""

    def __init__(self, given: GlobalOptions) -> None:
        self._given = given

    @cached_property
    def cwd(self) -> Path:
        """The directory that the command is about: ``-C``, else the current one (absolute).

        Raises:
            UserError: there is no such directory.
        """
        try:
            here = Path.cwd()
        except OSError:
            raise UserError("the current directory is gone", "Change to one that exists.") from None
        given = self._given.directory
        if given is None:
            return here
        if not os.path.lexists(given):
            raise UserError(f"directory '{given}' does not exist", _DIRECTORY_HINT)
        if not os.path.isdir(given):
            raise UserError(f"'{given}' is not a directory", _DIRECTORY_HINT)
        return Path(os.path.normpath(here / given))

    @cached_property
    def home(self) -> Path:
        """The home that the command works on.

        Raises:
            HomeError: the one that was named can't be one.
        """
        return find_home(self._given.home, os.environ, self.cwd)

    @cached_property
    def settings(self) -> Settings:
        """The settings in force.

        Raises:
            UserError: a setting is unknown or wrong.
        """
        return load_settings(self.home, project=project_settings(self.cwd), env=os.environ)

    def require_home(self) -> None:
        """Refuse a home that was named by -H and is not there: a slip of the pen has no runs, and is to get none.

        Raises:
            HomeError: it is one.
        """
        if self._given.home is not None and not os.path.isdir(self.home):
            raise HomeError(f"there is no home '{self.home}'", "The first run, or import, makes one.")

    @property
    def wants_output_events(self) -> bool:
        """Whether what operations print is to be told as ``run.output`` events."""
        return self._given.log_format == "json" or self._given.log_file is not None

    @property
    def passed_on(self) -> tuple[str, ...]:
        """The global options about logs, for a process that goes on with the command's work."""
        given = self._given
        return (
            *(["--debug"] if given.debug else []),
            *(["--log-format", given.log_format] if given.log_format != "console" else []),
            *(["--log-file", os.path.abspath(given.log_file)] if given.log_file is not None else []),
        )

    def console(self, *, quiet: bool = False) -> Console:
        """A console as the global options ask for."""
        if self._given.log_format == "json":
            from orchestra.logs import JsonConsole

            shown: Console = JsonConsole()
        else:
            shown = ProcessConsole(level="debug" if self._given.debug else "info", quiet=quiet)
        if self.wants_output_events:
            from orchestra.logs import take_over_logging

            take_over_logging(shown.log)
        return shown

    def sinks(self) -> tuple[Sink, ...]:
        """Who else is told what happens: the log file.

        Raises:
            UserError: it can't be written.
        """
        if self._given.log_file is None:
            return ()
        from orchestra.logs import LogFile, take_over_logging

        file = LogFile(self._given.log_file)
        take_over_logging(file)
        return (file,)

    @asynccontextmanager
    async def session(
        self, *, looking: bool = False, absent: Absent = "refuse", console: Console | None = None
    ) -> AsyncGenerator[Session]:
        """An open session, of one who is only ``looking`` or not. Suspends nowhere while the store is a local,
        uncontended one. Who is looking makes no home, unless ``absent`` says so: one that was not named is as good as
        empty while it is not there. ``console``: another than the global options ask for.

        Raises:
            UserError: the home, a setting or the log file can't be used.
            StoreError: the store can't be opened.
        """
        if absent == "refuse":
            self.require_home()
        is_passing = looking and absent != "make" and self._is_nowhere()
        with ExitStack() as stack:
            home = self.home
            if is_passing:
                from tempfile import TemporaryDirectory

                home = Path(stack.enter_context(TemporaryDirectory(prefix="orchestra-home-")))
            async with open_session(
                home,
                self.settings,
                console=console or self.console(),
                sinks=self.sinks(),
                looking=looking,
            ) as opened:
                opened.sinks.output_readers += self.wants_output_events
                yield opened

    def _is_nowhere(self) -> bool:
        """Whether nothing is kept of any run: the home is not there, and no server has its records."""
        return (
            not os.path.lexists(self.home)
            and self.settings.plugin("store", self.settings.store)[0] == "sqlite"
        )

    @asynccontextmanager
    async def session_of(
        self, archive: str | None, *, looking: bool = False, whole: bool = False, change: bool = False
    ) -> AsyncGenerator[Session]:
        """As :meth:`session`; over the runs of an archive if one is named.

        Raises:
            UserError: there is no such archive, or it can't be read, or can't be changed as is wanted.
        """
        if archive is None:
            async with self.session(looking=looking) as opened:
                yield opened
            return
        from orchestra.engine.archived import find_archive, looked_into
        from orchestra.workspace.layout import Layout

        found = find_archive(Layout(self.home), archive, self.cwd)
        async with looked_into(found, self.settings, whole=whole, change=change) as opened:
            yield opened


def current() -> Context:
    """The context of this process's command."""
    return Context(options.current)


class Suspended(RuntimeError):
    """A coroutine that was driven by hand would have to wait for something."""


def drive(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never waits to its end, without an event loop.

    Raises:
        Suspended: it waits after all. It was closed where it stood.
    """
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    coroutine.close()
    raise Suspended("a coroutine that was expected to go through has to wait")


def complete(make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run what ``make`` returns to its end, without an event loop if it never has to wait for one.

    With a store on a local disk nothing waits, and neither asyncio nor anyio is imported. Otherwise ``make``
    is called again, and its coroutine runs in an event loop from the beginning: it must bear that.
    """
    try:
        return drive(make())
    except Exception as error:
        if not any(map(_lacks_event_loop, _with_causes(error))):
            raise
    return in_event_loop(make)


def in_event_loop(make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run what ``make`` returns in an event loop of its own (asyncio)."""
    import anyio

    _show_warnings()
    return anyio.run(make)


def _show_warnings() -> None:
    """Show what plugins and libraries warn of as our own warnings are shown, where no log has it already."""
    import logging

    class Shown(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            import time

            from orchestra.logs import event_of

            event = event_of(record, time.time_ns() // 1000)
            logger = "orchestra" if record.name.startswith("orchestra") else record.name
            message = "\n".join((event.message, *map(str, event.data.values())))
            ProcessConsole().log(structs.replace(event, logger=logger, message=message))

    # It is asked only while nobody has set up logging.
    logging.lastResort = Shown(logging.WARNING)


def _with_causes(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _lacks_event_loop(error: BaseException) -> bool:
    # asyncio raises a bare RuntimeError, anyio and sniffio a subclass each.
    if isinstance(error, Suspended):
        return True
    named = type(error).__name__ in ("NoEventLoopError", "AsyncLibraryNotFoundError")
    return named or (isinstance(error, RuntimeError) and "no running event loop" in str(error))
