"""Trying again: which ends of a run are reasons to, how often, after how long, and with how much more."""

from __future__ import annotations

import re
from collections.abc import Sequence

from msgspec import Struct

from orchestra.errors import UserError

LONGEST_DELAY = 3600.0
"""Seconds: delays double up to this."""
MOST_RETRIES = 1000
CRASH_LIMIT = 5
"""After so many lost attempts a run has had its chances: it may be what kills its supervisor."""

ANY = ("any",)
"""Every cause."""

_CAUSE = re.compile(r"any|oom|lost|timeout|preempted|(?:exit|signal):[0-9]{1,3}")

_HIGHEST = {"exit": 255, "signal": 64}


class Retry(Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """When a run that failed is started again by itself."""

    limit: int
    """Executions beyond the first."""
    on: tuple[str, ...] = ANY
    """Causes: ``oom``, ``lost``, ``timeout``, ``preempted``, ``exit:CODE``, ``signal:NUMBER``, or ``any`` of them."""
    delay: float = 0.0
    """Seconds before the first retry; twice as long before each further one."""
    scale: dict[str, float] = {}
    """How many times as much of a resource each further execution asks for."""

    def wants(self, causes: Sequence[str], executions: int) -> bool:
        """Whether a run that was started so many times and has ended for ``causes`` is to be started again."""
        if not causes or executions > self.limit or ("lost" in causes and executions >= CRASH_LIMIT):
            return False
        return "any" in self.on or not set(self.on).isdisjoint(causes)

    def gives_up(self, executions: int) -> bool:
        """Whether a lost run that was started so many times would be started again but for :data:`CRASH_LIMIT`."""
        wished = "any" in self.on or "lost" in self.on
        return wished and CRASH_LIMIT <= executions <= self.limit

    def pause(self, executions: int) -> float:
        """Seconds until the next start of a run that was started so many times."""
        return min(self.delay * 2.0 ** max(0, executions - 1), LONGEST_DELAY) if self.delay else 0.0


def parse_retry(limit: int, on: str = "any", delay: float = 0.0, scale: str = "") -> Retry:
    """What the options say: ``on`` and ``scale`` are lists, parted by commas: ``oom,exit:75``, ``memory=2``.

    Raises:
        UserError: names what is wrong.
    """
    if not 0 <= limit <= MOST_RETRIES:
        raise UserError(f"invalid number of retries {limit}", f"Give a number from 0 to {MOST_RETRIES}.")
    causes = tuple(map(_numbered, filter(None, on.replace(" ", "").split(","))))
    for cause in causes:
        if not _CAUSE.fullmatch(cause):
            raise UserError(
                f"invalid cause '{cause}' to try again",
                "Give any, oom, lost, timeout, preempted, exit:CODE or signal:NAME.",
            )
        kind, _, number = cause.partition(":")
        if number and not 1 <= int(number) <= _HIGHEST[kind]:
            raise UserError(
                f"invalid cause '{cause}' to try again: no run that fails ends so",
                f"Give {kind}:1 to {kind}:{_HIGHEST[kind]}.",
            )
    if not 0 <= delay <= LONGEST_DELAY:
        raise UserError(
            f"invalid delay {delay:g} before a retry", f"Give seconds, at most {LONGEST_DELAY:g}."
        )
    return Retry(limit=limit, on=causes or ANY, delay=delay, scale=_factors(scale))


def _numbered(cause: str) -> str:
    """A signal by its number, as ends are compared: ``signal:11`` for ``signal:SEGV``."""
    kind, _, name = cause.partition(":")
    if kind != "signal" or not name or name.isdecimal():
        return cause
    import signal

    number = getattr(signal, f"SIG{name.upper().removeprefix('SIG')}", None)
    return f"signal:{int(number)}" if isinstance(number, signal.Signals) else cause


def _factors(text: str) -> dict[str, float]:
    factors: dict[str, float] = {}
    for part in filter(None, text.replace(",", " ").split()):
        name, _, value = part.partition("=")
        try:
            factor = float(value.removeprefix("x"))
        except ValueError:
            factor = 0.0
        if name not in ("gpus", "cpus", "memory") or not 1 <= factor <= 100:
            raise UserError(
                f"invalid growth of resources '{part}'",
                "Give a resource and a factor from 1 to 100, such as memory=2.",
            )
        factors[name] = factor
    return factors
