"""Spans of time, as people write them."""

from __future__ import annotations

import re

from orchestra.errors import UserError

_UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_PART = r"[0-9]+(?:\.[0-9]+)?"
_WITH_UNITS = rf"(?i)(?:{_PART}\s*(?:d|h|m|min|s)\s*)+"
_PARTS = rf"(?i)({_PART})\s*(d|h|m|s)"
_CLOCK = r"([0-9]+):([0-5]?[0-9])(?::([0-5]?[0-9]))?"
# Compiled when they are used: few commands are given a time, and all import this.


def parse_duration(text: str) -> float:
    """Seconds: ``90s``, ``30m``, ``1h30m``, ``2d``, ``1:30:00`` (hours first).

    A bare number is refused: some schedulers take minutes, some seconds.

    Raises:
        UserError: it is no span of time.
    """
    text = text.strip()
    if match := re.fullmatch(_CLOCK, text):
        return int(match[1]) * 3600.0 + int(match[2]) * 60 + int(match[3] or 0)
    if re.fullmatch(_WITH_UNITS, text):
        return sum(float(number) * _UNITS[unit.lower()] for number, unit in re.findall(_PARTS, text))
    raise UserError(f"invalid time '{text}'", "Give a time with its unit, such as 90s, 30m, 1h30m or 2d.")


def format_duration(seconds: float) -> str:
    """The shortest text that :func:`parse_duration` reads as whole ``seconds``: ``1h30m``."""
    rest, parts = round(seconds), list[str]()
    for unit, size in _UNITS.items():
        if rest >= size:
            parts.append(f"{rest // size}{unit}")
            rest %= size
    return "".join(parts) or "0s"
