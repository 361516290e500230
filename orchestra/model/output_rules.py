r"""Which lines of an operation's output tell a scalar or an attribute, and what they tell.

Patterns are regular expressions that are looked for anywhere in a line, as often as they are there. ``\key``,
``\value`` and ``\step`` stand for what such things look like. What a match tells:

- each named group a value called like it; of a pair ``x_key`` and ``x_val`` the one names the other,
- else, where the pattern comes with a name, its first group the value,
- else its two groups a name and a value.

A value called ``step`` is the step of those that follow, until the next. As long as none was told, steps are
counted: a new one begins whenever a name comes again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, cast

from msgspec import Struct

from orchestra.errors import UserError
from orchestra.model.ambiguity import may_take_for_ever
from orchestra.model.operation import Operation, OutputPattern
from orchestra.model.scalars import Scalar, join, single

STEP = "step"
NUMBER = r"[+-]?(?:[0-9]+\.?[0-9]*(?:[eE][+-]?[0-9]+)?|\.[0-9]+(?:[eE][+-]?[0-9]+)?|(?i:nan|inf(?:inity)?))"
_ALIASES = {"key": r"[_a-zA-Z]\S*", "value": NUMBER, "step": "[0-9]+"}
_ALIAS = re.compile(r"\\(?:(key|value|step)|.)", re.DOTALL)

DEFAULT_SCALARS = (
    OutputPattern(pattern=r"^\key:\s+\value\s+\((?:step\s+)?(?P<step>\step)\)$"),
    OutputPattern(pattern=r"^(\key):\s+(\value)(?:\s+\(.*\))?$"),
)
DEFAULT_ATTRIBUTES = (OutputPattern(pattern=r"^(\key):\s+(\S+)$"),)

_CANDIDATE = re.compile("[_a-zA-Z]\\S*:\\s|[{\x1b]")
"""How lines begin that may tell something by default: most of a log don't, and need no closer look."""
_DEFAULT_LINE = re.compile(
    rf"({_ALIASES['key']}):\s+({NUMBER})(?:\s+\((?:(?:step\s+)?({_ALIASES['step']})|.*)\))?$"
)
"""What the default patterns for scalars say, as one."""
_COLOUR = re.compile("\x1b\\[[0-9;:]*[A-Za-z]")
_LINE_END = re.compile(r"[\r\n]+")
_TRACEBACK = "Traceback (most recent call last):"
_MOST_STEP_DIGITS = 18
LONGEST_LINE = 4096
"""Characters of a line that patterns are tried on: they may take a time that grows with the square of that."""


class Matched(NamedTuple):
    """What one pattern found in a line."""

    groups: list[tuple[str | None, ...]]
    values: dict[str, str]


class LinePattern:
    """One pattern, ready for use.

    Raises:
        UserError: it is no regular expression, or does not tell what is the name and what the value.
    """

    def __init__(self, pattern: OutputPattern) -> None:
        self.text = pattern.pattern
        """As the project has it."""
        self._name = pattern.key
        try:
            self._regex = re.compile(_ALIAS.sub(_expanded, pattern.pattern))
        except (re.error, OverflowError, RecursionError) as error:
            raise UserError(f"'{pattern.pattern}' is not a regular expression: {error}") from error
        if may_take_for_ever(self._regex.pattern):
            raise UserError(
                f"the output pattern '{pattern.pattern}' may take for ever",
                "It repeats a repetition, as '(a+)+' does: write one of the two only.",
            )
        self._named = self._regex.groupindex
        named = set(self._named.values())
        self._bare = [number for number in range(1, self._regex.groups + 1) if number not in named]
        if pattern.key is not None:
            clear = self._regex.groups > 0
        else:
            clear = len(self._bare) == 2 or (bool(self._named) and not self._bare)
        if not clear:
            raise UserError(
                f"the output pattern '{pattern.pattern}' does not tell a name and a value",
                r"Write it with two groups, as '(\key): (\value)', or give it a name and one group.",
            )

    def match(self, line: str) -> Matched:
        """What the pattern finds in ``line``; a later match of the same name wins. Long lines are not looked at."""
        if len(line) > LONGEST_LINE:
            return Matched([], {})
        groups: list[tuple[str | None, ...]] = []
        values: dict[str, str] = {}
        for match in self._regex.finditer(line):
            groups.append(match.groups())
            values.update((name, value) for name, value in self._told(match) if name and value is not None)
        return Matched(groups, values)

    def _told(self, match: re.Match[str]) -> Iterator[tuple[str | None, str | None]]:
        if self._bare:
            first = match[self._bare[0]]
            yield (first, match[self._bare[1]]) if self._name is None else (self._name, first)
        elif self._name is not None and STEP not in self._named:
            yield self._name, match[1]
        elif self._name is not None:
            others = [number for name, number in self._named.items() if name != STEP]
            yield self._name, match[others[0]] if others else match[STEP]
        for name in self._named:
            if name.endswith("_key") and f"{name[:-4]}_val" in self._named:
                yield match[name], match[f"{name[:-4]}_val"]
            elif not (name.endswith("_val") and f"{name[:-4]}_key" in self._named):
                yield name, match[name]


def _expanded(match: re.Match[str]) -> str:
    return f"(?:{_ALIASES[match[1]]})" if match[1] else match[0]


class OutputRules:
    """Which lines of one operation's output tell what.

    Raises:
        UserError: one of its patterns can't be used.
    """

    def __init__(
        self,
        scalars: Sequence[OutputPattern] | None = None,
        attributes: Sequence[OutputPattern] | None = None,
        flags: Collection[str] = (),
    ) -> None:
        self.default_scalars = scalars is None
        """The default patterns: they take no notice of lines that are called like a flag, and know JSON lines."""
        self.default_attributes = attributes is None
        self.scalars = [LinePattern(one) for one in (DEFAULT_SCALARS if scalars is None else scalars)]
        self.attributes = [
            LinePattern(one) for one in (DEFAULT_ATTRIBUTES if attributes is None else attributes)
        ]
        self._flags = frozenset(flags)
        self._quick = self.default_scalars and (self.default_attributes or not self.attributes)

    @classmethod
    def of(cls, operation: Operation, flags: Collection[str]) -> OutputRules:
        """Those of ``operation``, which was given ``flags``."""
        return cls(operation.output_scalars, operation.output_attrs, flags)

    def read(self, line: str, *, raised: bool = False) -> tuple[dict[str, float], dict[str, str], int | None]:
        """The scalars and attributes that ``line`` tells, and the step if it tells that.

        ``raised``: it tells what was raised, at the end of a traceback. By default that is neither of them.
        """
        if self._quick and (raised or _CANDIDATE.match(line) is None):
            return {}, {}, None
        line = clean(line)
        if raised:
            scalars, step, _ = ({}, None, False) if self.default_scalars else self._scalars_in(line, None)
            return scalars, {} if self.default_attributes else self._texts(line), step
        told = _from_json(line)
        scalars, step, taken = self._scalars_in(line, told)
        if not self.default_attributes:
            return scalars, self._texts(line), step
        if told is not None:
            return scalars, self._texts_in_json(told), step
        texts = {} if taken else self._texts(line)
        return scalars, {name: text for name, text in texts.items() if name not in self._flags}, step

    def takes_as_json(self, line: str, *, numbers: bool) -> bool:
        """Whether the scalars (``numbers``) or attributes of ``line`` are those of an object of JSON."""
        return (self.default_scalars if numbers else self.default_attributes) and _from_json(
            clean(line)
        ) is not None

    def _scalars_in(
        self, line: str, told: dict[str, Any] | None
    ) -> tuple[dict[str, float], int | None, bool]:
        """The scalars, the step, and whether there was any number at all."""
        if not self.default_scalars:
            numbers = self._numbers(line)
            step = _as_step(numbers.get(STEP))
            if step is not None:
                del numbers[STEP]
            return numbers, step, bool(numbers) or step is not None
        if told is not None:
            return (*self._numbers_in_json(told), True)
        match = _DEFAULT_LINE.match(line)
        if match is None:
            return {}, None, False
        name, value = match[1], float(match[2])
        step = _as_step(float(match[3])) if match[3] else None
        if name in self._flags:
            return {}, step, True
        if name == STEP:
            step = _as_step(value)
            return {} if step is not None else {name: value}, step, True
        return {name: value}, step, True

    def _numbers(self, line: str) -> dict[str, float]:
        numbers: dict[str, float] = {}
        for pattern in self.scalars:
            for name, text in pattern.match(line).values.items():
                try:
                    numbers[name] = float(text)
                except ValueError:
                    continue
        return numbers

    def _texts(self, line: str) -> dict[str, str]:
        return {
            name: text for pattern in self.attributes for name, text in pattern.match(line).values.items()
        }

    def _numbers_in_json(self, told: dict[str, Any]) -> tuple[dict[str, float], int | None]:
        numbers = {
            _storable(name): number
            for name, value in told.items()
            if name and name not in self._flags and (number := _number(value)) is not None
        }
        step = _as_step(numbers.get(STEP))
        if step is not None:
            del numbers[STEP]
        return numbers, step

    def _texts_in_json(self, told: dict[str, Any]) -> dict[str, str]:
        return {
            _storable(name): _storable(value)
            for name, value in told.items()
            if name and name not in self._flags and isinstance(value, str)
        }


def _from_json(line: str) -> dict[str, Any] | None:
    if not line.startswith("{"):
        return None
    try:
        told = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", told) if isinstance(told, dict) else None


def clean(line: str) -> str:
    """``line`` without colours and without the white space at its end."""
    return (_COLOUR.sub("", line) if "\x1b" in line else line).rstrip()


def split_lines(text: str) -> list[str]:
    """The lines of ``text``; a progress bar that writes over its own line has several. The last has no end yet."""
    return _LINE_END.split(text)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _as_step(value: float | None) -> int | None:
    """A step is a whole number that records can keep."""
    if value is None or not value.is_integer() or not 0 <= value < 10**_MOST_STEP_DIGITS:
        return None
    return int(value)


def _storable(text: str) -> str:
    """JSON may spell halves of characters, which are no text."""
    return text.encode(errors="replace").decode()


class Told(Struct, gc=False, omit_defaults=True):
    """What lines told so far: grows line by line, and can be kept and gone on with later."""

    scalars: dict[str, Scalar] = {}
    attributes: dict[str, str] = {}
    step: int = 0
    explicit: bool = False
    """The output tells its steps, so that they are not counted."""
    seen: set[str] = set()
    """The names that came since the present step began."""
    tracebacks: set[int] = set()
    """The streams that are within a traceback."""

    def add(self, rules: OutputRules, lines: Iterable[str], stream: int = 0) -> None:
        """Go on with ``lines`` of a stream."""
        for name, step, value in self.points(rules, lines, stream):
            self.scalars[name] = join(self.scalars.get(name), single(value, step))

    def points(
        self, rules: OutputRules, lines: Iterable[str], stream: int = 0
    ) -> Iterator[tuple[str, int, float]]:
        """Go on with ``lines`` without keeping their scalars: each as (name, step, value)."""
        for line in lines:
            # The first line that is not indented is the exception, which looks like a name and its value.
            raised = stream in self.tracebacks and line[:1] not in ("", " ", "\t")
            if line.startswith(_TRACEBACK):
                self.tracebacks.add(stream)
            elif raised:
                self.tracebacks.discard(stream)
            scalars, texts, step = rules.read(line, raised=raised)
            if texts:
                self.attributes.update(texts)
            if step is not None:
                self.step, self.explicit = step, True
            elif scalars and not self.explicit:
                self._count(scalars)
            for name, value in scalars.items():
                yield name, self.step, value

    def _count(self, names: Iterable[str]) -> None:
        if not self.seen.isdisjoint(names):
            self.step += 1
            self.seen = set()
        self.seen.update(names)
