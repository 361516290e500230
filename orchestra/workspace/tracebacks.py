"""The traceback with which a Python program ended, as the end of its output has it."""

from __future__ import annotations

import re
from pathlib import Path

from orchestra.workspace.output import BOTH, ERROR, OutputFollower

TAIL = 256 << 10
"""Bytes at the end of the output that are looked at."""
MOST_LINES = 200
"""Of a longer traceback the middle is left out."""
MESSAGE_LINES = 20
"""Lines that an exception's message may have beyond its first."""

_HEADER = re.compile(r"^(?:  \+ Exception Group )?Traceback \(most recent call last\):$", re.MULTILINE)


def last_traceback(attempt_dir: Path) -> str | None:
    """The last traceback at the end of an attempt's output; None if there is none.

    Raises:
        HomeError, StoreUnavailable: the output can't be read.
    """
    ends = {ERROR: b"", BOTH: b""}
    with OutputFollower(attempt_dir) as follower:
        follower.offset = max(0, follower.size - TAIL)
    with OutputFollower(attempt_dir, follower.offset) as follower:
        while parts := follower.read_new():
            for stream, data in parts:
                ends[stream] = (ends[stream] + data)[-TAIL:]
    texts = (data.decode(errors="backslashreplace") for data in ends.values())
    return next(filter(None, map(find_traceback, texts)), None)


def find_traceback(text: str) -> str | None:
    """The last traceback in ``text``, without what was printed after it."""
    *_, last = [None, *_HEADER.finditer(text.replace("\r\n", "\n"))]
    if last is None:
        return None
    header, *lines = last.string[last.start() :].split("\n")
    frames = 0
    while frames < len(lines) and lines[frames][:1] in (" ", "\t"):
        frames += 1
    # Of a group of exceptions all is indented; else a line that is not begins the exception's message.
    message = [] if header.startswith(" ") else lines[frames : frames + 1 + MESSAGE_LINES]
    end = next((number for number, line in enumerate(message) if not line.strip()), len(message))
    body = lines[:frames]
    if frames > MOST_LINES:
        left_out = f"  ... {frames - MOST_LINES} lines are left out ..."
        body = [*body[: MOST_LINES // 2], left_out, *body[-MOST_LINES // 2 :]]
    return "\n".join([header, *body, *message[:end]])
