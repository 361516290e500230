"""Conditions as people write them, and back: ``lr < 0.1 and not (op = train or #loss is undefined)``.

``not`` binds closer than ``and``, ``and`` closer than ``or``. A test is a name, an operator and a value::

    =  !=  <>  <  <=  >  >=  is  is not  in [A, B]  not in [A, B]  contains  not contains

A name is that of an attribute that every run has, else of a flag, else of a result; ``=lr`` (or ``flag:lr``) is a
flag, ``.label`` (``attr:label``) an attribute, ``#loss`` (``scalar:loss``) and ``logs#loss`` a scalar, of which
``min loss``, ``loss step`` and the like are other values. A value is a number, ``true``, ``false``, ``undefined``, a
list of such, or a text, in quotes if it has anything but letters, digits and the like. With an attribute it is of the
attribute's kind; times are such as ``today`` or ``2025-01-31``.
"""

from __future__ import annotations

from typing import Final, cast

from orchestra.errors import UserError
from orchestra.model.attributes import TRUTHS
from orchestra.model.condition_tokens import Token, shown, shown_place, tokens_of, unquoted
from orchestra.model.condition_values import CHOICES, Clock, Value, Values
from orchestra.model.conditions import (
    AllOf,
    AnyOf,
    Comparison,
    Condition,
    Name,
    NameKind,
    Not,
    Operator,
    is_attribute,
)
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
_A_TEST: Final = "Here comes a test, such as: lr < 0.1, op = train, marked = yes."
_A_NAME: Final = "Here comes the name of a flag, a scalar or an attribute, as in: lr < 0.1."
_A_VALUE: Final = "Here comes a value, as in: lr < 0.1, op = train, marked = yes, label = 'two words'."
_A_LIST: Final = "Here comes a list, as in: lr in [0.1, 0.01]."
_A_JOINT: Final = "Tests are joined by 'and' or 'or', as in: lr < 0.1 and op = train."
_NOT: Final = "Write 'not' before the whole test, as in: not lr < 0.1."


def parse_condition(text: str, clock: Clock | None = None) -> Condition:
    """The condition that ``text`` says. ``clock`` tells what times mean; without one they are microseconds.

    Raises:
        UserError: it says none; the hint shows where.
    """
    return _Parser(text, clock).parse()


class _Parser:
    def __init__(self, text: str, clock: Clock | None) -> None:
        self._text = text
        self._clock = clock
        self._tokens = list(tokens_of(text))
        self._next = 0
        self._depth = 0

    def parse(self) -> Condition:
        found = self._either()
        if self._token is not None:
            raise self._unexpected(_A_JOINT)
        return found

    @property
    def _token(self) -> Token | None:
        return self._tokens[self._next] if self._next < len(self._tokens) else None

    def _take(self, wanted: str) -> Token:
        token = self._token
        if token is None:
            raise self._unexpected(wanted)
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

    def _unexpected(self, wanted: str, token: Token | None = None) -> UserError:
        """That ``token``, or the next one, is none that may stand there; ``wanted`` says what may."""
        token = token or self._token
        if token is None:
            place = shown_place(self._text, len(self._text))
            return UserError("syntax error in filter - unexpected end of expression", f"{place}\n{wanted}")
        return UserError(
            f"syntax error in filter at position {token.position}: unexpected token '{shown(token.text)}'",
            f"{shown_place(self._text, token.position)}\n{_NOT if token.text == '!' else wanted}",
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
                raise self._unexpected(f"Here comes a ')'. {_A_JOINT}")
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
        token = self._take(_operators(name))
        negated = token.keyword == "not" or token.text in _UNEQUAL
        if token.kind == "operator":
            operator = "=" if negated else _OPERATORS[token.text]
        elif token.keyword == "is":
            negated, operator = bool(self._takes("not")), "="
        else:
            word = self._takes("in", "contains") if negated else token.keyword
            if word not in ("in", "contains"):
                raise self._unexpected(_NOT if negated else _operators(name), None if negated else token)
            operator = cast("Operator", word)
        values = Values(self._text, name, operator, self._clock)
        values.check_operator(token)
        test = values.test(self._list(values) if operator == "in" else self._value(values))
        return Not(test) if negated else test

    def _name(self) -> Name:
        kind: NameKind = "flag" if self._takes("=") else "any"
        qualifier: Qualifier | None = None
        token = self._word(_A_NAME if kind == "flag" else _A_TEST)
        if kind == "any" and token.text in QUALIFIERS and self._is_name():
            qualifier, token = token.text, self._word(_A_NAME)
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
            raise self._unexpected(_A_NAME, token)
        if qualifier or step:
            kind = "scalar"
        return Name(name, kind, qualifier or "last", step)

    def _is_name(self) -> bool:
        token = self._token
        return token is not None and token.kind == "word" and not token.keyword

    def _word(self, wanted: str) -> Token:
        if not self._is_name():
            raise self._unexpected(wanted)
        return self._take(wanted)

    def _value(self, values: Values, depth: int = 0) -> Value:
        token = self._token
        if token is not None and token.text == "[" and token.kind == "mark":
            values.check_list(token)
            return self._list(values, depth)
        return values.read(self._word(_A_VALUE), depth)

    def _list(self, values: Values, depth: int = 0) -> list[Value]:
        token = self._token
        if not self._takes("["):
            raise self._unexpected(_A_LIST)
        before = self._deeper(token)
        found: list[Value] = []
        while not self._takes("]"):
            if found and not self._takes(","):
                raise self._unexpected(f"A list ends with ']', and has commas in it. {_A_LIST}")
            found.append(self._value(values, depth + 1))
        self._depth = before
        return found


def _operators(name: Name) -> str:
    """What may follow a name."""
    text = shown(name.name)
    if is_attribute(name) and name.name in TRUTHS:
        return f"Say what it is: '{text} = yes' or '{text} = no'."
    if name.kind == "any" and name.name in CHOICES["status"]:
        return f"Say of what: 'status = {text}'."
    return (
        f"Say what '{text}' is compared with, as in: {text} = VALUE."
        " There are =, !=, <, <=, >, >=, in [...], contains and is undefined."
    )


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
