"""The words and marks that a filter expression is made of, and how a place in one is shown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final
from unicodedata import combining, east_asian_width

from msgspec import Struct

from orchestra.errors import UserError

MOST_SHOWN: Final = 70
"""Characters of an expression that an error shows."""

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<operator><=|>=|<>|!=|==|[=<>])
        | (?P<mark>[][(),])
        | (?P<word>(?:[^\s'"=<>!(),\[\]]|'[^']*'|"[^"]*")+)
        | (?P<unclosed>['"])
        | (?P<other>\S)
    )""",
    re.VERBOSE,
)
_SEGMENT = re.compile(r"""'([^']*)'|"([^"]*)\"""")
KEYWORDS = frozenset(("and", "or", "not", "in", "is", "contains"))
_HINT = "Write it as in: lr < 0.1 and op = train."


class Token(Struct, frozen=True, gc=False):
    """A part of an expression."""

    kind: str
    text: str
    position: int

    @property
    def keyword(self) -> str:
        """The word that it is in the grammar; empty if it is a name or value."""
        lower = self.text.lower()
        return lower if self.kind == "word" and lower in KEYWORDS else ""

    @property
    def is_quoted(self) -> bool:
        """Whether some of it is in quotes: then it is no keyword or number."""
        return "'" in self.text or '"' in self.text


def tokens_of(text: str) -> Iterator[Token]:
    """The parts of an expression.

    Raises:
        UserError: a quote is not closed.
    """
    position = 0
    end = len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        assert match is not None
        kind = str(match.lastgroup)
        if kind == "unclosed":
            raise UserError(
                f"syntax error in filter at position {match.start(kind)}: a quote is not closed",
                shown_place(text, match.start(kind)),
            )
        yield Token(kind, match[kind], match.start(kind))
        position = match.end()


def unquoted(text: str) -> str:
    """The word without its quotes."""
    return _SEGMENT.sub(lambda match: match[1] if match[1] is not None else match[2], text)


def shown_place(text: str, position: int) -> str:
    """The expression, or what is around the place, with a caret under that."""
    first = max(0, min(position - MOST_SHOWN // 2, len(text) - MOST_SHOWN))
    before = ("…" if first else "") + shown(text[first:position])
    more = "…" if first + MOST_SHOWN < len(text) else ""
    line = before + shown(text[position : first + MOST_SHOWN]) + more
    return f"{line or _HINT}\n{' ' * sum(map(_columns, before))}^" if line else _HINT


def shown(text: str) -> str:
    """The text for a message: not too long, and nothing in it drives a terminal."""
    text = text if len(text) <= MOST_SHOWN else text[:MOST_SHOWN] + "…"
    return "".join(character if character.isprintable() else "?" for character in text)


def _columns(character: str) -> int:
    if combining(character):
        return 0
    return 2 if east_asian_width(character) in "WF" else 1
