"""Runs that execute in this process, queues, batches and pipelines: same fence, output and exit record as any other."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from orchestra.console import Console, RecordingConsole
from orchestra.engine.changes import warn_of_store
from orchestra.engine.control import TOLD_PATIENCE, Control, Wish
from orchestra.engine.judge import settle
from orchestra.engine.session import Session
from orchestra.errors import RunBusy, RunNotFound, StoreUnavailable
from orchestra.model import lifecycle
from orchestra.model.execution import Exit
from orchestra.model.run import Run
from orchestra.workspace import durable, records
from orchestra.workspace.output import OutputWriter


class InProcessAttempt:
    """A won attempt of a queue or batch: its record of what it prints, and how it will end."""

    def __init__(
        self, run: Run, directory: Path, console: Console, control: Control, *, is_guest: bool
    ) -> None:
        self.run = run
        self.directory = directory
        self.console = console
        """Prints, and keeps what it prints as the attempt's output."""
        self.control = control
        self.is_guest = is_guest
        """Whether it is not this process that is told to stop when the run is."""
        self.code = 0
        self.stopped_by: str | None = None
        self.reason: str | None = None

    @property
    def is_leaving(self) -> bool:
        """Whether it was told to end and to leave its runs running, which is done at once."""
        wish = self.control.wish
        return wish >= Wish.DRAIN if self.run.kind == "queue" else wish == Wish.LEAVE


@asynccontextmanager
async def attempt_in_process(
    session: Session, run: Run, *, console: Console, control: Control
) -> AsyncGenerator[InProcessAttempt]:
    """Win the attempt's fence and record its end when the block is left, however it is left.

    After the block, the attempt's ``run`` is in its final state. Once its exit record is written, a store that is away
    is no error: whoever looks next enters the end. Where ``control`` has it end at once, little is waited for it.

    Raises:
        RunBusy: somebody else has started the attempt, or it was revoked.
    """
    directory = session.attempt_directory(run)
    durable.make_dirs(directory, fsync=session.fsync)
    kind = "engine" if session.heeds_signals and not session.hosted else "guest"
    try:
        fence = records.hold(directory, session.worker.nonce, fsync=session.fsync, kind=kind)
    except records.FenceLost:
        raise RunBusy(f"run {run.id} is being started by somebody else") from None
    with fence, OutputWriter(directory, session.settings.most_output) as output:
        # By the records, as for any other run: who looked meanwhile may have seen the start before us.
        run = await settle(session, run, console=console)
        attempt = InProcessAttempt(
            run, directory, RecordingConsole(console, output), control, is_guest=kind == "guest"
        )
        session.fences.add(fence)
        session.hosted.add(run.id)
        try:
            yield attempt
        except BaseException as error:
            if attempt.code == 0:
                attempt.code, attempt.stopped_by = _code_of(error)
                if attempt.stopped_by is None:
                    attempt.reason = attempt.reason or str(error) or type(error).__name__
            raise
        finally:
            session.fences.discard(fence)
            session.hosted.discard(run.id)
            exit_record = Exit(
                code=attempt.code,
                started=fence.record.time,
                stopped=session.clock.now(),
                size=output.size,
                stopped_by=attempt.stopped_by,
                reason="; ".join(filter(None, (attempt.reason, output.missing))) or None,
            )
            records.write_exit(directory, exit_record, fsync=session.fsync)
            await _settle_shielded(session, attempt, exit_record, console)


def _code_of(error: BaseException) -> tuple[int, str | None]:
    import anyio

    if isinstance(error, (anyio.get_cancelled_exc_class(), KeyboardInterrupt)):
        return -15, "TERM"
    return 1, None


async def _settle_shielded(
    session: Session, attempt: InProcessAttempt, exit_record: Exit, console: Console
) -> None:
    run = attempt.run
    with attempt.control.hurrying(TOLD_PATIENCE, lambda: attempt.is_leaving, shield=True):
        try:
            attempt.run = await settle(session, await session.store.get(run.id))
            return
        except StoreUnavailable as error:
            warn_of_store(session, run, error, console=console)
        except RunNotFound:
            # It was deleted meanwhile, and ended all the same.
            attempt.run = lifecycle.finish(run, exit_record)
            return
    # Whoever looks next enters it.
    session.unsettled.add(run.id)
    attempt.run = lifecycle.finish(run, exit_record)
