"""Runs that go on in a process of ours that nobody waits for."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from msgspec import structs

from orchestra.child.supervisor import COOKIE, process_start
from orchestra.engine.changes import change
from orchestra.engine.session import LEASE, Session
from orchestra.model import lifecycle
from orchestra.model.run import Run


def start_detached(session: Session, run: Run, options: Sequence[str] = (), **switches: bool) -> int:
    """Hand a claimed run to a process of its own and return its pid.

    ``options`` are global ones; ``switches`` are those of :func:`orchestra.cli.command.execute_claimed`.
    """
    environment = {**os.environ, COOKIE: f"{run.id}.{run.attempt}.{session.worker.nonce}"}
    process = subprocess.Popen(
        [
            sys.executable,
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
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env=environment,
    )
    return process.pid


async def hand_claim_over(session: Session, run: Run, pid: int) -> None:
    """Make a process that was just started the owner of our claim: that of an ended one would be released."""
    identity = structs.replace(session.worker.identity, pid=pid, start=process_start(pid) or 0)
    heir = structs.replace(session.worker, identity=identity)

    def handed_over(current: Run) -> Run:
        # The heir may have been faster to make it its own.
        if current.worker != session.worker:
            return current
        return lifecycle.watch(current, heir, session.clock.now() + round(LEASE * 1e6))

    await change(session, run, handed_over)
