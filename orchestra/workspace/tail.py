"""The end of an output: where its last lines begin, and what a person would see of the newest one."""

from __future__ import annotations

import os
import re
from pathlib import Path

from orchestra.workspace.durable import fail
from orchestra.workspace.output import OUTPUT, read_gap

BLOCK = 64 << 10
"""Bytes that are read at once, from the end."""
LAST_BYTES = 4 << 10
"""So many of the output's last bytes are looked at for its last line."""

_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")


def offset_of_last(attempt_dir: Path, lines: int) -> int:
    """Where the last so many lines of an output begin; 0 when there are no more. A line without its end counts.

    Raises:
        HomeError, StoreUnavailable: the output can't be read.
    """
    path = os.path.join(attempt_dir, OUTPUT)
    try:
        with open(path, "rb", buffering=0) as file:
            begin = end = file.seek(0, os.SEEK_END)
            left = lines
            gap = read_gap(attempt_dir)
            # What was given up has no lines.
            first = 0 if gap is None else gap[1]
            while begin > first:
                start = max(first, begin - BLOCK)
                block = os.pread(file.fileno(), begin - start, start)
                if begin == end and block.endswith(b"\n"):
                    # The end of the last line, behind which none begins.
                    left += 1
                place = len(block)
                while (place := block.rfind(b"\n", 0, place)) >= 0:
                    left -= 1
                    if left <= 0:
                        return start + place + 1 if lines else end
                begin = start
            return first if lines else end
    except FileNotFoundError:
        return 0
    except OSError as error:
        fail(error, path)


def rendered(line: str) -> str:
    """What is seen of a line once all of it is written: of a progress bar, its newest state."""
    if "\r" not in line:
        return line
    return next((part for part in reversed(line.split("\r")) if part.strip()), "")


def without_sequences(text: str) -> str:
    """``text`` without colours, and all else that tells a terminal what to do."""
    return _SEQUENCE.sub("", text) if "\x1b" in text else text


def last_line(attempt_dir: Path) -> str:
    """The newest line of an output that is not blank, as it would be seen, without colours; empty if there is none."""
    try:
        with open(os.path.join(attempt_dir, OUTPUT), "rb", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            data = os.pread(file.fileno(), LAST_BYTES, max(0, size - LAST_BYTES))
    except OSError:
        return ""
    lines = without_sequences(data.decode(errors="replace")).split("\n")
    return next((seen for line in reversed(lines) if (seen := rendered(line).strip())), "")
