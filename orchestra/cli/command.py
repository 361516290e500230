"""One call of ``run``: what is due before the operation starts, and what is due while it runs.

The first part needs no event loop as long as store and executor are the built-in ones, and drives its
coroutines by hand: anyio and its backend take longer to import than many a script to run, so they are
imported beside it.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
import sys
import threading
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import structs

from orchestra.cli import run_checks, terminal
from orchestra.cli.context import Context, drive, in_event_loop
from orchestra.cli.look import look_at_operation, look_at_plan
from orchestra.cli.preview import imported_lines, preview
from orchestra.cli.prompts import confirm
from orchestra.cli.run_options import COMMON, LOOK, Common, Look
from orchestra.console import printable
from orchestra.engine.begin import as_wanted, begin, may_lack, prepare
from orchestra.engine.control import Control, Wish
from orchestra.engine.execute import execute, is_interim, tidy_up
from orchestra.engine.judge import UNSCHEDULED
from orchestra.engine.launch import Launch, launch
from orchestra.engine.request import RunRequest
from orchestra.engine.restart import Restart, executor_of
from orchestra.engine.session import Session, open_session
from orchestra.engine.stage import Plan
from orchestra.errors import INTERRUPTED
from orchestra.model.run import Run, RunKind
from orchestra.settings import parse_plugin_spec

if TYPE_CHECKING:
    from anyio.abc import TaskStatus

LOST = 75
T = TypeVar("T")
BUILT_IN_EXPANDERS = ("grid", "random")

FOREGROUND = Launch(attached=True, stdin="inherit")
"""How a run is started that a person waits for."""


class RunCommand:
    """What was asked for on the command line, and the way from there to an exit code."""

    def __init__(
        self,
        context: Context,
        request: RunRequest,
        *,
        common: Common = COMMON,
        look: Look = LOOK,
        edit_batch_comment: bool = False,
        stop_runs: bool = False,
        keep: bool = False,
        prefix: bool = False,
    ) -> None:
        self.context = context
        self.settings = context.settings
        self.request = request
        self.common = common
        self.look = look
        self.edit_batch_comment = edit_batch_comment
        self.stop_runs = stop_runs
        self.keep = keep
        self.prefix = prefix
        """Of a queue: each line of its runs has its run before it."""
        self.console = context.console(quiet=common.quiet)
        self.control = Control()
        self.kind: RunKind = "run"
        self.launched = False
        self.detached = False
        """No terminal can be lost: this process has been started for the background."""
        self.stack = AsyncExitStack()

    def run(self) -> int:
        """Do what was asked for and return the exit code."""
        # What is loaded by now stays: whoever looks for garbage need not go through it.
        gc.freeze()
        if not self._eager:
            return in_event_loop(self._all)
        prepared = self._driven(self._settle())
        if isinstance(prepared, int):
            return prepared
        if _may_wait(prepared[1]):
            return in_event_loop(lambda: self._go_on(*prepared))
        first = self._driven(self._begin(*prepared))
        if isinstance(first, int):
            return first
        return in_event_loop(lambda: self.finish(*first))

    def _driven(self, work: Coroutine[Any, Any, T]) -> T:
        """What ``work`` comes to without an event loop; when it fails or that is all, everything is closed."""
        try:
            result = drive(work)
        except BaseException:
            drive(self.stack.aclose())
            raise
        if isinstance(result, int):
            drive(self.stack.aclose())
        return result

    @property
    def _eager(self) -> bool:
        executor = parse_plugin_spec(self.request.executor or self.settings.executor)[0]
        store = parse_plugin_spec(self.settings.store)[0]
        is_known = store == "sqlite" and executor == "local"
        # A batch that is ending is waited for before it is extended.
        return is_known and not self.request.sources and self.request.extend is None

    async def _all(self) -> int:
        async with self.stack:
            prepared = await self._settle()
            return prepared if isinstance(prepared, int) else await self._go_on(*prepared)

    async def _go_on(self, session: Session, prepared: Plan | Restart) -> int:
        async with self.stack:
            first = await self._begin(session, prepared)
            return first if isinstance(first, int) else await self.finish(*first)

    async def _settle(self) -> int | tuple[Session, Plan | Restart]:
        """What the request comes to; an exit code where only the operation is shown."""
        session = await self._open()
        shown = await look_at_operation(session, self.request, self.look)
        if shown is not None:
            terminal.write(shown)
            return 0
        return session, await self._prepare(session)

    async def _begin(
        self, session: Session, prepared: Plan | Restart
    ) -> int | tuple[Session, Run | Plan | Restart]:
        """Everything up to the start of the operation; an exit code where that is all."""
        shown = await look_at_plan(session, self.request, prepared, self.look)
        if shown is not None:
            terminal.write_for_either(shown)
            return 0
        self.kind = prepared.kind
        if self.common.edit_comment or (self.edit_batch_comment and self.kind == "batch"):
            self._edit_comments()
            if isinstance(prepared, Restart):
                prepared = await prepare(session, self.request)
        if may_lack(self.request, prepared) and self._is_ours(session, prepared):
            from orchestra.engine.capacity import require_capacity

            # Nobody is asked whether to do what can't be done.
            await require_capacity(session, self.request, prepared)
        is_idle = isinstance(prepared, Restart) and prepared.idle is not None
        if not (self.common.yes or is_idle) and not await self._confirmed(session, prepared):
            return 0
        if self.common.yes:
            lines = await imported_lines(session, self.request, prepared)
            if lines:
                session.emit("log.message", level="warning", message="\n".join(lines), logger="")
        self._catch_signals()
        if self._needs_time(session, prepared):
            return session, prepared
        made = await self._make(session, prepared)
        return made if isinstance(made, int) else (session, made)

    async def _open(self) -> Session:
        if self.request.restart is not None or self.request.proto is not None:
            self.context.require_home()
        session = await self.stack.enter_async_context(
            open_session(
                self.context.home,
                self.settings,
                console=self.console,
                sinks=self.context.sinks(),
                one_stream=self.common.background or _one_stream(),
            )
        )
        session.sinks.output_readers += self.context.wants_output_events
        session.tells_staged = not self.common.quiet
        self.prefix_lines(session)
        return session

    def prefix_lines(self, session: Session) -> None:
        """Have each line of a queue's runs show its run, if that was asked for."""
        if self.prefix:
            from orchestra.cli.prefixing import PrefixedConsole

            session.prefixed = lambda console, run: PrefixedConsole(session, console, run)

    async def _prepare(self, session: Session) -> Plan | Restart:
        """What the request comes to, with the flags as a person wants them."""
        run_checks.check_together(session, self.request)
        if self.common.background and self.common.pidfile is not None:
            run_checks.check_pidfile(self.common.pidfile)
        prepared = await prepare(session, self.request)
        if self.common.edit_flags:
            from orchestra.cli.edit_flags import edit_flags

            self.request, prepared = await edit_flags(session, self.request, prepared)
        self.request = as_wanted(self.request, prepared)
        run_checks.check_directory(session, self.request, prepared)
        run_checks.warn_of_ignored(
            session, self.request, prepared, self.common, stop_runs=self.stop_runs, prefix=self.prefix
        )
        return prepared

    def _edit_comments(self) -> None:
        from orchestra.cli.editing import edit_comment

        request = self.request
        if self.common.edit_comment:
            request = structs.replace(request, comment=edit_comment(request.comment, "run"))
        if self.edit_batch_comment and self.kind == "batch":
            request = structs.replace(request, batch_comment=edit_comment(request.batch_comment, "batch"))
        self.request = request

    def _needs_time(self, session: Session, prepared: Plan | Restart) -> bool:
        """Whether files or resources must be provided, others be waited for first, or an executor of somebody else is
        asked: no work without an event loop."""
        if self.request.needed or not self._is_ours(session, prepared):
            return True
        if isinstance(prepared, Restart):
            run = prepared.run
            return run.kind == "run" and bool(run.sources or run.operation.requires or run.needs)
        wanted = prepared.sources or self.request.resources or prepared.operation.requires
        return prepared.kind == "run" and bool(wanted)

    def _is_ours(self, session: Session, prepared: Plan | Restart) -> bool:
        spec = executor_of(session, self.request, prepared)
        return parse_plugin_spec(spec)[0] in UNSCHEDULED

    async def _make(self, session: Session, prepared: Plan | Restart) -> int | Run:
        """Make or claim the run, and launch what is no batch or queue."""
        if self.kind != "run" and not (
            self.common.background or self.request.stage or self.request.stage_trials
        ):
            await session.warm_up(executor_of(session, self.request, prepared))
            # While records are brought to the disk, this process would only wait.
            _import_meanwhile(f"orchestra.engine.{self.kind}")
        begun = await begin(
            session,
            self.request,
            prepared,
            console=self.console,
            quiet=self.common.quiet,
            control=self.control,
        )
        if begun.what != "claimed" or begun.run is None:
            return 0
        if self.common.background:
            return await self._in_background(session, begun.run)
        if self.kind != "run":
            return begun.run
        # While the supervisor starts, this process would only wait.
        _import_meanwhile("orchestra.engine.supervise")
        return await self._launch(session, begun.run, FOREGROUND)

    async def _launch(self, session: Session, run: Run, how: Launch) -> Run:
        self.launched = True
        return await launch(session, run, how, console=self.console, control=self.control)

    async def _confirmed(self, session: Session, prepared: Plan | Restart) -> bool:
        return confirm(await preview(session, self.request, prepared) + "\nContinue?", default=True)

    async def _in_background(self, session: Session, run: Run) -> int:
        pidfile = self.common.pidfile or session.layout.control(session.directory(run)) / "pid"
        # Who deletes a run that succeeds has to be there when it does.
        if run.kind == "run" and (self.keep or not is_interim(session, run)):
            run = await self._launch(session, run, Launch(attached=True, stdin="null"))
            if run.state in ("error", "terminated") and run.handle is None:
                return self._exit_code(run)
            pid = run.handle.token.partition(":")[0] if run.handle else ""
        else:
            from orchestra.cli.detached import start_in_background

            options = self.context.passed_on
            switches = {"stop_runs": self.stop_runs, "keep": self.keep, "prefix": self.prefix}
            child = await start_in_background(session, run, options, **switches)
            pid = str(child)
        pidfile.write_text(f"{pid}\n")
        self.console.say(f"{run.operation_name} started in background as {run.id} (pidfile {pidfile})")
        return 0

    async def finish(self, session: Session, subject: Run | Plan | Restart) -> int:
        """Watch the started run to its end, with the signals that reach us passed on; make it first if need be."""
        import anyio

        from orchestra.engine.hosting import plugin_host
        from orchestra.engine.supervise import keep_leases

        gc.freeze()
        ended: int | Run = 0
        async with self.stack, plugin_host(session), anyio.create_task_group() as group:
            await group.start(self._receive_signals)
            session.heeds_signals = True
            if self.kind == "run":
                group.start_soon(keep_leases, session)
            ended = subject if isinstance(subject, Run) else await self._make(session, subject)
            if isinstance(ended, Run):
                ended = await self._watch(session, ended)
            group.cancel_scope.cancel()
        return ended if isinstance(ended, int) else self._exit_code(ended)

    async def _watch(self, session: Session, run: Run) -> Run:
        if self.launched:
            from orchestra.engine.supervise import supervise

            ended = await supervise(session, run, console=self.console, control=self.control, how=FOREGROUND)
            await tidy_up(session, ended, console=self.console, keep=self.keep)
            return ended
        return await execute(
            session,
            run,
            console=self.console,
            control=self.control,
            stop_runs=self.stop_runs,
            keep=self.keep,
        )

    def _exit_code(self, run: Run) -> int:
        if run.kind == "batch" and run.state == "terminated":
            self.console_error(f"to go on with this batch, use 'orchestra run --restart {run.short_id}'")
        if self.control.interrupted and run.kind != "queue":
            return INTERRUPTED
        if run.state == "lost":
            self.console_error(f"run {run.id} is lost: {run.reason}")
            return LOST
        if run.state == "error" and run.reason:
            told = run.kind == "steps" or run.reason.startswith("run failed ")
            self.console_error(run.reason if told else f"run failed: {run.reason}")
        if run.state == "terminated":
            self._tell_why_terminated(run)
        if run.exit_code is None:
            return 0
        return run.exit_code if run.exit_code >= 0 else 256 + run.exit_code

    def _tell_why_terminated(self, run: Run) -> None:
        """Say what has ended a run that nobody has stopped."""
        from orchestra.model.ending import ending_of

        ending = ending_of(run)
        if ending.reason and ending.cause in ("signal", "timeout", "oom", "preempted", "lost"):
            self.console_error(f"run ended: {ending.reason}")

    def console_error(self, message: str) -> None:
        """One sentence on standard error."""
        # Parts of it may come from elsewhere: the answer of a server, the name of a file.
        print(f"orchestra: {printable(message)}", file=sys.stderr)

    def _catch_signals(self) -> None:
        """From here on no signal may end us between two steps: it becomes a wish."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _frame: FrameType | None = None) -> None:
        self._wish_for(signal.Signals(number))

    async def _receive_signals(self, *, task_status: TaskStatus[None]) -> None:
        import anyio

        wanted = [
            number
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
            if signal.getsignal(number) is not signal.SIG_IGN
        ]
        with anyio.open_signal_receiver(*wanted) as received:
            task_status.started()
            async for number in received:
                self._wish_for(number)

    def _wish_for(self, number: signal.Signals) -> None:
        if number == signal.SIGHUP:
            # A batch goes on without its terminal; a queue that nobody sees would wait for ever.
            if self.kind == "run" or (self.kind == "queue" and not self.detached):
                self.control.raise_to(Wish.LEAVE)
            return
        if self.kind == "queue":
            if number == signal.SIGINT and self.control.wish < Wish.DRAIN:
                self.control.raise_to(Wish.DRAIN)
            else:
                self.control.raise_to(Wish.LEAVE)
            return
        self.control.interrupted = self.control.interrupted or number == signal.SIGINT
        first = Wish.INTERRUPT if number == signal.SIGINT else Wish.TERMINATE
        following = Wish(min(self.control.wish + 1, Wish.KILL))
        self.control.raise_to(max(first, following))


def _may_wait(prepared: Plan | Restart) -> bool:
    """Whether trials are proposed by an expander that may need an event loop, which ours do not."""
    batch = prepared.run.batch_spec if isinstance(prepared, Restart) else prepared.batch
    return batch is not None and batch.expander not in BUILT_IN_EXPANDERS


def _import_meanwhile(module: str) -> None:
    """Begin to import the event loop, and what is done in it, beside the main thread."""

    def load() -> None:
        for name in ("anyio._backends._asyncio", module):
            # The main thread comes to the same import. If it fails there, too, it is told there.
            with contextlib.suppress(Exception):
                importlib.import_module(name)

    threading.Thread(target=load, daemon=True).start()


def _one_stream() -> bool:
    try:
        return os.path.sameopenfile(1, 2)
    except OSError:
        return True
