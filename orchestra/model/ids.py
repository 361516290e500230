"""Run ids: 32 lower-case hex digits by default, any safe name when a person chooses one."""

from __future__ import annotations

import os
import re

from orchestra.errors import UserError

SHORT_LENGTH = 8
_PLACE = re.compile(r"[0-9]{1,9}")
_MADE = re.compile(r"[0-9a-f]{32}")
_SHORTEST = 4
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=@-]{0,127}")


def new_run_id() -> str:
    """A fresh id: 128 random bits as 32 hex digits."""
    return os.urandom(16).hex()


def short_id(run_id: str) -> str:
    """The part of an id that listings show."""
    return run_id[:SHORT_LENGTH]


def begins(text: str, run_id: str) -> bool:
    """Whether ``text`` is the beginning of an id that nobody chose, long enough to be meant as one."""
    return len(text) >= _SHORTEST and run_id.startswith(text) and _MADE.fullmatch(run_id) is not None


def check_run_id(run_id: str) -> str:
    """Return ``run_id`` if it can safely name a directory.

    Raises:
        UserError: it is empty, too long, starts with a dot or holds a character that a path could misread.
    """
    if not _SAFE.fullmatch(run_id) or run_id.endswith(".tmp"):
        raise UserError(
            f"'{run_id}' can't be the id of a run",
            "Use 1 to 128 letters, digits and . _ + = @ - and begin with a letter or digit.",
        )
    return run_id


def listing_place(spec: str) -> int | None:
    """The place in a listing of runs, from 1, that ``spec`` names; None: it can but be an id, or begin one."""
    return int(spec) if _PLACE.fullmatch(spec) and int(spec) > 0 else None
