"""Patterns of files that tell what is to be ignored (``.gitignore`` and its like), with Git's meaning."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from msgspec import Struct


class IgnorePattern(Struct, frozen=True, kw_only=True):
    """One line of such a file."""

    negated: bool
    """What matches is not ignored after all."""
    folders_only: bool
    expression: re.Pattern[str]
    """For whole paths, relative to the folder of the file."""


def parse_ignore(lines: Iterable[str]) -> tuple[IgnorePattern, ...]:
    """The patterns of ``lines``. A line that no path can match (``[`` without its end) is none."""
    return tuple(pattern for line in lines if (pattern := _parse_line(line)) is not None)


def is_ignored(patterns: Sequence[IgnorePattern], path: str, *, folder: bool) -> bool:
    """Whether the last pattern that matches ``path`` says so; what lies in an ignored folder is not asked for."""
    for pattern in reversed(patterns):
        if (folder or not pattern.folders_only) and pattern.expression.fullmatch(path):
            return not pattern.negated
    return False


def _parse_line(line: str) -> IgnorePattern | None:
    text = _without_trailing_spaces(line.rstrip("\r\n"))
    if not text or text.startswith("#"):
        return None
    negated = text.startswith("!")
    text = text[negated:]
    folders_only = text.endswith("/")
    text = text.removesuffix("/")
    anchored = "/" in text
    text = text.removeprefix("/")
    expression = _translate(text) if text else None
    if expression is None:
        return None
    return IgnorePattern(
        negated=negated,
        folders_only=folders_only,
        expression=re.compile(expression if anchored else f"(?:.*/)?{expression}", re.DOTALL),
    )


def _without_trailing_spaces(text: str) -> str:
    stripped = text.rstrip(" ")
    slashes = len(stripped) - len(stripped.rstrip("\\"))
    return stripped + " " if slashes % 2 and len(stripped) < len(text) else stripped


def _translate(text: str) -> str | None:
    """As a regular expression; None: nothing can match it."""
    out = ""
    at = 0
    while at < len(text):
        char = text[at]
        if char == "*":
            piece, at = _stars(text, at)
        elif char == "?":
            piece, at = "[^/]", at + 1
        elif char == "[":
            found = _character_class(text, at)
            if found is None:
                return None
            piece, at = found
        elif char == "\\":
            if at + 1 == len(text):
                return None
            piece, at = re.escape(text[at + 1]), at + 2
        else:
            piece, at = re.escape(char), at + 1
        out += piece
    return out


def _stars(text: str, at: int) -> tuple[str, int]:
    end = at
    while end < len(text) and text[end] == "*":
        end += 1
    # Git takes off what a pattern begins with before it looks at its first special character.
    opens = not _SPECIAL.search(text, 0, at) or text[at - 1] == "/"
    if end - at >= 2 and opens:
        if end == len(text):
            return ".*", end
        if text[end : end + 1] == "/":
            return "(?:.*/)?", end + 1
    return "[^/]*", end


_SPECIAL = re.compile(r"[*?\[\\]")
_CLASS = re.compile(r"\[(?P<not>[!^]?)(?P<body>\]?(?:\[:[a-z]+:\]|\\.|[^\]\\])*)\]", re.DOTALL)
_NAMED = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "blank": r" \t",
    "digit": "0-9",
    "lower": "a-z",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\s",
    "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}
_PART = re.compile(r"\[:([a-z]+):\]|(?:\\(.)|(.))(?:-(?:\\(.)|([^\]\\])))?", re.DOTALL)


def _character_class(text: str, at: int) -> tuple[str, int] | None:
    found = _CLASS.match(text, at)
    if found is None:
        return None
    body = ""
    for name, *ends in _PART.findall(found["body"]):
        if name:
            if name not in _NAMED:
                return None
            body += _NAMED[name]
            continue
        low, high = ends[0] or ends[1], ends[2] or ends[3]
        if high and high < low:
            continue
        body += re.escape(low) + (f"-{re.escape(high)}" if high else "")
    if found["not"]:
        return f"[^/{body}]", found.end()
    return (f"(?!/)[{body}]" if body else "(?!)"), found.end()
