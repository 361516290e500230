"""Conditions as people write them, and back: ``lr < 0.1 and not (op = train or #loss is undefined)``.

``not`` binds closer than ``and``, ``and`` closer than ``or``. A test is a name, an operator and a value::

    =  !=  <>  <  <=  >  >=  is  is not  in [A, B]  not in [A, B]  contains  not contains

A name is that of an attribute that every run has, else of a flag, else of a result; ``=lr`` (or ``flag:lr``) is a
flag, ``.label`` (``attr:label``) an attribute, ``#loss`` (``scalar:loss``) and ``logs#loss`` a scalar, of which
``min loss``, ``loss step`` and the like are other values. A value is a number, ``true``, ``false``, ``undefined``, a
list of such, or a text, in quotes if it has anything but letters, digits and the like.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, cast

from orchestra.errors import UserError
from orchestra.model.attributes import ATTRIBUTES, MOMENTS, NUMBERS, TRUTHS
from orchestra.model.condition_tokens import Token, shown, shown_place, tokens_of, unquoted
from orchestra.model.conditions import AllOf, AnyOf, Comparison, Condition, Name, NameKind, Not, Operator
from orchestra.model.decoding import decode_number
from orchestra.model.operation import FlagValue
from orchestra.model.scalars import QUALIFIERS, Qualifier

DEEPEST: Final = 100
"""How deep parentheses and lists may be nested."""

_PREFIXES: Final[dict[str, NameKind]] = {
    ".": "attribute",
    "#": "scalar",
    "flag:": "flag",
    "attr:": "attribute",
    "scalar:": "scalar",
}
_OPERATORS: Final[dict[str, Operator]] = {
    **{name: name for name in cast("tuple[Operator, ...]", ("=", "<", "<=", ">", ">="))},
    "==": "=",
}
_UNEQUAL = ("!=", "<>")
_WORDS: Final[dict[str, FlagValue]] = {
    **dict.fromkeys(("true", "yes", "on"), True),
    **dict.fromkeys(("false", "no", "off"), False),
    **dict.fromkeys(("undefined", "null"), None),
}


def parse_condition(text: str, moment: Callable[[str], int] | None = None) -> Condition:
    """The condition that ``text`` says. ``moment`` turns a time that is compared with into microseconds.

    Raises:
        UserError: it says none; the hint shows where.
    """
    return _Parser(text, moment).parse()


class _Parser:
    def __init__(self, text: str, moment: Callable[[str], int] | None) -> None:
        self._text = text
        self._moment = moment
        self._tokens = list(tokens_of(text))
        self._next = 0
        self._depth = 0

    def parse(self) -> Condition:
        found = self._either()
        if self._token is not None:
            raise self._unexpected()
        return found

    @property
    def _token(self) -> Token | None:
        return self._tokens[self._next] if self._next < len(self._tokens) else None

    def _take(self) -> Token:
        token = self._token
        if token is None:
            raise self._unexpected()
        self._next += 1
        return token

    def _takes(self, *wanted: str) -> str:
        """The next token's text if it is one of these, which is then behind us; else empty."""
        token = self._token
        if token is None:
            return ""
        text = token.keyword or ("" if token.kind == "word" else token.text)
        if text not in wanted:
            return ""
        self._next += 1
        return text

    def _unexpected(self, token: Token | None = None) -> UserError:
        token = token or self._token
        if token is None:
            return UserError(
                "syntax error in filter - unexpected end of expression",
                shown_place(self._text, len(self._text)),
            )
        return UserError(
            f"syntax error in filter at position {token.position}: unexpected token '{shown(token.text)}'",
            shown_place(self._text, token.position),
        )

    def _either(self) -> Condition:
        found = [self._every()]
        while self._takes("or"):
            found.append(self._every())
        return found[0] if len(found) == 1 else AnyOf(tuple(found))

    def _every(self) -> Condition:
        found = [self._one()]
        while self._takes("and"):
            found.append(self._one())
        return found[0] if len(found) == 1 else AllOf(tuple(found))

    def _one(self) -> Condition:
        token = self._token
        if self._takes("not"):
            before = self._deeper(token)
            found = Not(self._one())
        elif self._takes("("):
            before = self._deeper(token)
            found = self._either()
            if not self._takes(")"):
                raise self._unexpected()
        else:
            return self._test()
        self._depth = before
        return found

    def _deeper(self, token: Token | None) -> int:
        before = self._depth
        self._depth += 1
        if self._depth > DEEPEST:
            position = token.position if token else 0
            raise UserError(
                f"the filter is nested too deeply (limit {DEEPEST})", shown_place(self._text, position)
            )
        return before

    def _test(self) -> Condition:
        name = self._name()
        negated = False
        token = self._take()
        if token.kind == "operator":
            negated = token.text in _UNEQUAL
            operator = "=" if negated else _OPERATORS[token.text]
            value = self._value(name)
        elif token.keyword == "is":
            negated, operator = bool(self._takes("not")), "="
            value = self._value(name)
        else:
            negated = token.keyword == "not"
            word = self._takes("in", "contains") if negated else token.keyword
            if word not in ("in", "contains"):
                raise self._unexpected(None if negated else token)
            operator = cast("Operator", word)
            value = self._list(name) if word == "in" else self._value(name)
        test = Comparison(name, operator, value)
        return Not(test) if negated else test

    def _name(self) -> Name:
        kind: NameKind = "flag" if self._takes("=") else "any"
        qualifier: Qualifier | None = None
        token = self._word()
        if kind == "any" and token.text in QUALIFIERS and self._is_name():
            qualifier, token = token.text, self._word()
        prefix = "" if kind == "flag" else next((one for one in _PREFIXES if token.text.startswith(one)), "")
        kind = _PREFIXES.get(prefix, kind)
        text = token.text[len(prefix) :]
        if kind == "any" and "#" in text and not token.is_quoted:
            kind = "scalar"
        name = unquoted(text)
        follower = self._token
        step = follower is not None and follower.text == "step" and self._is_name()
        if step:
            self._next += 1
        if not name or ((qualifier or step) and kind in ("flag", "attribute")):
            raise self._unexpected(token)
        if qualifier or step:
            kind = "scalar"
        return Name(name, kind, qualifier or "last", step)

    def _is_name(self) -> bool:
        token = self._token
        return token is not None and token.kind == "word" and not token.keyword

    def _word(self) -> Token:
        if not self._is_name():
            raise self._unexpected()
        return self._take()

    def _value(self, name: Name) -> FlagValue:
        if self._takes("["):
            self._next -= 1
            return self._list(name)
        token = self._word()
        text = unquoted(token.text)
        if token.is_quoted:
            return self._as_moment(name, text, token)
        kind = "" if name.kind not in ("any", "attribute") or name.name not in ATTRIBUTES else name.name
        if text.lower() in _WORDS and (not kind or kind in TRUTHS or _WORDS[text.lower()] is None):
            return _WORDS[text.lower()]
        number = decode_number(text) if not kind or kind in NUMBERS else None
        return number if number is not None else self._as_moment(name, text, token)

    def _as_moment(self, name: Name, text: str, token: Token) -> FlagValue:
        if name.name not in MOMENTS or name.kind not in ("any", "attribute") or self._moment is None:
            return text
        try:
            return self._moment(text)
        except UserError as error:
            raise UserError(error.message, error.hint or shown_place(self._text, token.position)) from None

    def _list(self, name: Name) -> list[FlagValue]:
        token = self._token
        if not self._takes("["):
            raise self._unexpected()
        before = self._deeper(token)
        values: list[FlagValue] = []
        while not self._takes("]"):
            if values and not self._takes(","):
                raise self._unexpected()
            values.append(self._value(name))
        self._depth = before
        return values


def condition_text(condition: Condition) -> str:
    """``condition`` as :func:`parse_condition` reads it.

    Raises:
        TypeError: it has no such form.
    """
    if isinstance(condition, Comparison):
        return f"{_name_text(condition.name)} {condition.operator} {_value_text(condition.value)}"
    if isinstance(condition, Not):
        return f"not {_part_text(condition.condition)}"
    if isinstance(condition, AllOf | AnyOf):
        word = " and " if isinstance(condition, AllOf) else " or "
        return word.join(map(_part_text, condition.conditions))
    raise TypeError(f"{type(condition).__name__} is no part of an expression")


def _part_text(condition: Condition) -> str:
    text = condition_text(condition)
    return f"({text})" if isinstance(condition, AllOf | AnyOf) else text


def _name_text(name: Name) -> str:
    prefix = {"any": "", "flag": "=", "attribute": ".", "scalar": "#"}[name.kind]
    words = [*([name.qualifier] if name.qualifier != "last" else []), prefix + _quoted(name.name)]
    return " ".join([*words, *(["step"] if name.step else [])])


def _value_text(value: FlagValue) -> str:
    if value is None:
        return "undefined"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value_text, cast('list[FlagValue]', value)))}]"
    return repr(value)


def _quoted(text: str) -> str:
    if "'" not in text:
        return f"'{text}'"
    return '"\'"'.join(f"'{part}'" if part else "" for part in text.split("'"))
