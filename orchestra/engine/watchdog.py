"""A thread for when the event loop does not come round: it says so, and renews the leases meanwhile.

A plugin that blocks the loop holds up all else, but that is no reason for others to take over what is ours. A process
that was stopped, or a computer that slept, renews nothing: its runs are in other hands when it wakes.
"""

from __future__ import annotations

import sys
import threading

import anyio

from orchestra.engine.session import LEASE, RENEWAL, Session
from orchestra.errors import OrchestraError

LOOK = 2.0
"""Seconds between two looks."""
MOST_MISSED = 3
"""Looks in a row at which the loop has not come round. Looks are counted, not seconds: a computer that slept, or a
process that was stopped, has missed none."""
MOST_RENEWED = 300.0
"""Seconds after which a blocked loop is not thought to go on: its leases run out, and others see to its runs."""
FRAMES = 5
"""Innermost calls that are named."""


async def watch_loop(session: Session, *, look: float = LOOK) -> None:
    """Until cancelled, let a warning name what blocks this thread's event loop, and keep the session's leases then."""
    dog = _Watchdog(session, look)
    dog.start()
    try:
        while True:
            dog.come_round()
            await anyio.sleep(look)
    finally:
        dog.end()


class _Watchdog:
    def __init__(self, session: Session, look: float) -> None:
        self._session = session
        self._look = look
        self._looks_apart = max(1, int(RENEWAL / look))
        """From one renewal to the next."""
        self._missed = 0
        self._ended = threading.Event()
        self._watched = threading.get_ident()

    def start(self) -> None:
        threading.Thread(target=self._work, name="orchestra-watchdog", daemon=True).start()

    def come_round(self) -> None:
        missed, self._missed = self._missed, 0
        if missed >= MOST_MISSED:
            self._tell("The event loop goes on")

    def end(self) -> None:
        self._ended.set()

    def _work(self) -> None:
        while not self._ended.wait(self._look):
            self._missed += 1
            blocked = self._missed - MOST_MISSED
            if blocked == 0:
                seconds = self._look * MOST_MISSED
                self._tell(
                    f"The event loop has been blocked for {seconds:g} seconds: no run is started or watched "
                    f"(it is in {self._place()})"
                )
            if blocked >= 0 and blocked % self._looks_apart == 0:
                self._keep_leases(blocked)

    def _keep_leases(self, blocked: int) -> None:
        if blocked * self._look < MOST_RENEWED:
            self._renew(first=blocked == 0)
        elif (blocked - self._looks_apart) * self._look < MOST_RENEWED:
            self._tell("The event loop is still blocked: its runs are left to others")

    def _renew(self, *, first: bool) -> None:
        """Renew the leases over a store of our own: the loop's may be what blocks it."""

        async def renew() -> None:
            async with self._session.another_store() as store:
                await store.renew(self._session.worker, LEASE)

        try:
            anyio.run(renew)
        except OrchestraError as error:
            if first:
                self._tell(f"leases are not renewed: {error.message}")

    def _tell(self, message: str) -> None:
        self._session.emit("log.message", level="warning", message=message)

    def _place(self) -> str:
        import traceback

        frames = sys._current_frames()  # pyright: ignore[reportPrivateUsage]  it is documented
        frame = frames.get(self._watched)
        calls = traceback.extract_stack(frame)[-FRAMES:] if frame is not None else []
        return ", ".join(f"{call.name} {call.filename}:{call.lineno}" for call in reversed(calls))
