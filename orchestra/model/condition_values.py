"""What a test in an expression compares with: it is of the kind of what it is compared with, where that is known.

A time is a range: a day is a whole day. ``=`` is within it, ``<`` before it, ``>`` after it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias, cast, get_args

from orchestra.errors import UserError
from orchestra.model.attributes import LISTS, MOMENTS, NUMBERS, TRUTHS
from orchestra.model.condition_tokens import Token, shown, shown_place, unquoted
from orchestra.model.conditions import AllOf, AnyOf, Comparison, Condition, Name, Operator, is_attribute
from orchestra.model.decoding import decode_number
from orchestra.model.operation import FlagValue
from orchestra.model.run import RunKind, State
from orchestra.model.time_range import Span

Clock: TypeAlias = Callable[[str], Span]
"""Tells what a time that somebody wrote means."""
Value: TypeAlias = "FlagValue | Span | Sequence[Value]"

_WORDS: Final[dict[str, bool | None]] = {
    **dict.fromkeys(("true", "yes", "on"), True),
    **dict.fromkeys(("false", "no", "off"), False),
    **dict.fromkeys(("undefined", "null"), None),
}
CHOICES: Final[dict[str, tuple[str, ...]]] = {"status": get_args(State), "kind": get_args(RunKind)}
"""Attributes that are one of a few words."""
_ORDER = ("<", "<=", ">", ">=")


class Values:
    """Reads what ``name`` is compared with, in the expression ``text``."""

    def __init__(self, text: str, name: Name, operator: Operator, clock: Clock | None) -> None:
        self._text = text
        self._name = name
        self._operator: Operator = operator
        self._clock = clock
        self._attribute = name.name if is_attribute(name) else ""

    def check_operator(self, token: Token) -> None:
        """Refuse an operator (which ends with ``token``) that holds for no attribute of this kind.

        Raises:
            UserError: it is one.
        """
        name, operator = self._attribute, self._operator
        if operator == "contains" and name in NUMBERS | TRUTHS:
            raise self._refused(f"'{name}' is {_kind(name)}: nothing is in it", token)
        if operator in _ORDER and name in TRUTHS | LISTS:
            raise self._refused(f"'{name}' is {_kind(name)}: it is neither less nor more than another", token)

    def check_list(self, token: Token) -> None:
        """Refuse a list, which begins with ``token``, in the place of one value.

        Raises:
            UserError: what it is compared with is no list.
        """
        if self._attribute and self._attribute not in LISTS:
            raise self._refused(f"'{self._attribute}' is no list: write '{self._attribute} in [...]'", token)

    def read(self, token: Token, depth: int) -> FlagValue | Span:
        """The value that a word means which stands in so many lists.

        Raises:
            UserError: it is of another kind.
        """
        word, name = unquoted(token.text), self._attribute
        known = None if token.is_quoted else _WORDS.get(word.lower(), word)
        number = None if token.is_quoted else decode_number(word)
        if not name:
            return word if token.is_quoted else known if known != word else word if number is None else number
        if known is None and not token.is_quoted:
            return None
        if name in NUMBERS and number is not None:
            return number
        if name in MOMENTS and self._clock is not None:
            return self._moment(word, token, self._clock)
        if name in TRUTHS and isinstance(known, bool):
            return known
        if name in NUMBERS | TRUTHS:
            raise self._refused(f"'{name}' is {_kind(name)}, not '{shown(word)}'", token)
        if name in LISTS and self._operator != "contains" and depth == (self._operator == "in"):
            raise self._refused(f"'{name}' is a list: write '{name} contains {shown(word)}'", token)
        if self._operator != "contains":
            self._check_choice(word, token)
        return word

    def test(self, value: Value) -> Condition:
        """The comparison with ``value``."""
        if isinstance(value, Span):
            return self._in_time(value)
        items = cast("Sequence[Value]", value) if self._operator == "in" else ()
        if any(isinstance(item, Span) for item in items):
            return AnyOf(tuple(self._equal_to(item) for item in items))
        return Comparison(self._name, self._operator, cast("FlagValue", value))

    def _equal_to(self, value: Value) -> Condition:
        return Values(self._text, self._name, "=", self._clock).test(value)

    def _in_time(self, span: Span) -> Condition:
        begins = Comparison(self._name, ">=", span.begin)
        if self._operator == "=":
            return AllOf((begins, Comparison(self._name, "<", span.end)))
        if self._operator == ">=":
            return begins
        if self._operator == "<":
            return Comparison(self._name, "<", span.begin)
        return Comparison(self._name, ">=" if self._operator == ">" else "<", span.after)

    def _moment(self, word: str, token: Token, clock: Clock) -> Span:
        try:
            return clock(word)
        except UserError as error:
            raise self._refused(error.message, token, error.hint) from None

    def _check_choice(self, word: str, token: Token) -> None:
        choices = CHOICES.get(self._attribute)
        if choices is None or word in choices:
            return
        from difflib import get_close_matches

        close = get_close_matches(word, choices, n=1)
        more = f" - did you mean '{close[0]}'?" if close else f": there are {', '.join(choices)}"
        raise self._refused(f"there is no {self._attribute} '{shown(word)}'{more}", token)

    def _refused(self, message: str, token: Token, hint: str | None = None) -> UserError:
        place = shown_place(self._text, token.position)
        return UserError(message, f"{place}\n{hint}" if hint else place)


def _kind(name: str) -> str:
    if name in MOMENTS:
        return "a time"
    if name in NUMBERS:
        return "a number"
    return "true or false" if name in TRUTHS else "a list"
