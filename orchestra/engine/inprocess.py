"""Runs that execute in this process, queues, batches and pipelines: same fence, output and exit record as any other."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from orchestra.console import Console, RecordingConsole
from orchestra.engine.judge import settle
from orchestra.engine.session import Session
from orchestra.errors import RunBusy, StoreUnavailable
from orchestra.model import lifecycle
from orchestra.model.execution import Exit
from orchestra.model.run import Run
from orchestra.workspace import durable, records
from orchestra.workspace.output import OutputWriter


class InProcessAttempt:
    """A won attempt of a queue or batch: its record of what it prints, and how it will end."""

    def __init__(self, run: Run, directory: Path, console: Console, *, is_guest: bool) -> None:
        self.run = run
        self.directory = directory
        self.console = console
        """Prints, and keeps what it prints as the attempt's output."""
        self.is_guest = is_guest
        """Whether it is not this process that is told to stop when the run is."""
        self.code = 0
        self.stopped_by: str | None = None
        self.reason: str | None = None
        self.patience = math.inf
        """Seconds that the store is given to learn of the end. The exit record tells of it in any case."""


@asynccontextmanager
async def attempt_in_process(
    session: Session, run: Run, *, console: Console
) -> AsyncGenerator[InProcessAttempt]:
    """Win the attempt's fence and record its end when the block is left, however it is left.

    After the block, the attempt's ``run`` is in its final state.

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
            run, directory, RecordingConsole(console, output), is_guest=kind == "guest"
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
            await _settle_shielded(session, attempt, exit_record)


def _code_of(error: BaseException) -> tuple[int, str | None]:
    import anyio

    if isinstance(error, (anyio.get_cancelled_exc_class(), KeyboardInterrupt)):
        return -15, "TERM"
    return 1, None


async def _settle_shielded(session: Session, attempt: InProcessAttempt, exit_record: Exit) -> None:
    import anyio

    settled: Run | None = None
    try:
        with anyio.move_on_after(attempt.patience, shield=True):
            settled = await settle(session, await session.store.get(attempt.run.id))
    except StoreUnavailable:
        if math.isinf(attempt.patience):
            raise
    if settled is None:
        # Whoever looks next enters it.
        session.unsettled.add(attempt.run.id)
        settled = lifecycle.finish(attempt.run, exit_record)
    attempt.run = settled
