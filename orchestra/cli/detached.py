"""Runs that go on in a process of ours that nobody waits for: the two ends of ``run --background``.

The new process owns the claim from its start. It says when it has come to execute the run; until then whatever
it prints goes to whoever started it, and if it ends before, that is an error there.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence

from msgspec import structs

from orchestra.child.supervisor import COOKIE, process_start
from orchestra.cli.command import RunCommand
from orchestra.cli.context import current, in_event_loop
from orchestra.engine.changes import change
from orchestra.engine.judge import settle
from orchestra.engine.off_loop import off_loop
from orchestra.engine.request import RunRequest
from orchestra.engine.session import LEASE, Session, open_session
from orchestra.errors import OrchestraError
from orchestra.model import lifecycle
from orchestra.model.run import Run

READY = b"\0ready\n"
PATIENCE = 30.0
"""Seconds after which a process that has said nothing is left to itself: its run shows what becomes of it."""


async def start_in_background(
    session: Session, run: Run, options: Sequence[str] = (), **switches: bool
) -> int:
    """Hand a claimed run to a process of its own and return its pid.

    ``options`` are global ones; ``switches`` are those of :func:`execute_claimed`.

    Raises:
        OrchestraError: it ended before it came to execute the run.
    """
    process = _start(session, run, options, switches)
    await _hand_claim_over(session, run, process.pid)
    said, ready = await off_loop(lambda: _listen(process))
    if ready or process.poll() is None:
        os.write(2, said)
        return process.pid
    await settle(session, await session.store.get(run.id))
    lines = said.decode("utf-8", "replace").strip().splitlines()
    reason = lines[-1].removeprefix("orchestra: ") if lines else f"it exited with {process.returncode}"
    raise OrchestraError(
        f"could not start run {run.id} in the background: {reason}", "Try it without --background."
    )


def _start(
    session: Session, run: Run, options: Sequence[str], switches: dict[str, bool]
) -> subprocess.Popen[bytes]:
    # -P: the current directory may hold a logging.py or queue.py of the project, which is none of ours.
    return subprocess.Popen(
        [
            sys.executable,
            "-P",
            "-m",
            "orchestra",
            "-H",
            str(session.layout.home),
            *options,
            "execute-claimed",
            run.id,
            session.worker.nonce,
            *(f"--{name.replace('_', '-')}" for name, wanted in switches.items() if wanted),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env={**os.environ, COOKIE: f"{run.id}.{run.attempt}.{session.worker.nonce}"},
    )


def _listen(process: subprocess.Popen[bytes]) -> tuple[bytes, bool]:
    """What the process says until it is ready, has ended, or has taken too long, and whether it is ready."""
    assert process.stdout is not None
    said = b""
    deadline = time.monotonic() + PATIENCE
    with process.stdout as pipe:
        while (left := deadline - time.monotonic()) > 0 and READY not in said:
            if not select.select([pipe], [], [], left)[0]:
                break
            data = os.read(pipe.fileno(), 1 << 16)
            if not data:
                process.wait()
                break
            said += data
    before, ready, _ = said.partition(READY)
    return before, bool(ready)


async def _hand_claim_over(session: Session, run: Run, pid: int) -> None:
    """Make a process that was just started the owner of our claim: that of an ended one would be released."""
    identity = structs.replace(session.worker.identity, pid=pid, start=process_start(pid) or 0)
    heir = structs.replace(session.worker, identity=identity)

    def handed_over(current: Run) -> Run:
        # The heir may have been faster to make it its own.
        if current.worker != session.worker:
            return current
        return lifecycle.watch(current, heir, session.clock.now() + round(LEASE * 1e6))

    await change(session, run, handed_over)


def execute_claimed(
    run_id: str, nonce: str, *, stop_runs: bool = False, keep: bool = False, prefix: bool = False
) -> int:
    """Execute a run that another process has claimed for us (internal)."""
    context = current()
    command = RunCommand(context, RunRequest(cwd=context.cwd), stop_runs=stop_runs, keep=keep, prefix=prefix)

    async def take_over() -> int:
        session = await command.stack.enter_async_context(
            open_session(context.home, command.settings, console=command.console, sinks=context.sinks())
        )
        session.sinks.output_readers += context.wants_output_events
        command.prefix_lines(session)
        run = await session.store.get(run_id)
        if run.worker is None or run.worker.nonce != nonce:
            raise OrchestraError(f"run {run_id} is no longer claimed by {nonce}")
        lease = session.clock.now() + round(LEASE * 1e6)
        run = await change(session, run, lambda current: lifecycle.watch(current, session.worker, lease))
        command.kind = run.kind
        command.detached = True
        _leave_starter()
        return await command.finish(session, run)

    return in_event_loop(take_over)


def _leave_starter() -> None:
    """Say that we are about to execute the run: from here on its output and its record tell what happens."""
    with contextlib.suppress(OSError):
        os.write(1, READY)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    os.close(null)
