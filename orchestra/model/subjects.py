"""A run among others that it is compared with: what it has in each column."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

from msgspec import Struct, structs

from orchestra.model.attributes import ATTRIBUTES, duration
from orchestra.model.columns import Column
from orchestra.model.operation import FlagValue
from orchestra.model.run import Run, State
from orchestra.model.scalars import SYSTEM, Scalar, find_scalar, natural

Kind: TypeAlias = Literal["scalar", "flag", "attribute"]

RESULT_FIRST: Final[tuple[Kind, ...]] = ("scalar", "flag", "attribute")
"""What a name stands for where runs are sorted by it."""
SHORT_DIGEST: Final = 8


class Moment(int):
    """Microseconds since the epoch."""


class Seconds(float):
    """How long something took."""


Value: TypeAlias = FlagValue | Moment | Seconds


class Subject(Struct, frozen=True, kw_only=True):
    """A run that is compared, with all that is known of it."""

    run: Run
    status: State
    run_dir: str
    scalars: Mapping[str, Scalar] = {}
    attributes: Mapping[str, FlagValue] = {}
    """What its project says of it, and what it printed."""
    compare: tuple[str, ...] | None = None
    """The columns that its operation asks for; None: the default ones."""
    problems: tuple[str, ...] = ()
    """Why some of this may be missing, each in a sentence."""


def value_of(subject: Subject, column: Column) -> Value:
    """What a run has in a column; None if nothing."""
    if column.kind == "flag":
        return subject.run.flags.get(column.name)
    if column.kind == "attribute":
        return _attribute(subject, column.name)
    scalar = find_scalar(subject.scalars, column.name)
    return None if scalar is None else scalar.point(column.qualifier)[1 if column.step else 0]


def values_of(subjects: Sequence[Subject], column: Column, kinds: Sequence[Kind]) -> list[Value]:
    """What each has in a column; of one that is a name alone, as the first of ``kinds`` that it is to any of them."""
    is_name = column.kind == "scalar" and column.qualifier == "last" and not column.step
    for kind in kinds if is_name else ():
        found = [value_of(subject, structs.replace(column, kind=kind)) for subject in subjects]
        if any(value is not None for value in found):
            return found
    return [value_of(subject, column) for subject in subjects]


def is_same(one: Value, other: Value) -> bool:
    """Whether two values are the same to a person: 1 is 1.0, but not yes, and what is no number is itself."""
    return comparable(one) == comparable(other)


def comparable(value: Value) -> tuple[str, Any]:
    """A key that values which are the same to a person share."""
    if isinstance(value, bool) or value is None:
        return "word", value
    if isinstance(value, int | float):
        return ("number", value) if value == value else ("word", "nan")
    return ("text", value) if isinstance(value, str) else ("other", repr(value))


def is_attribute(name: str) -> bool:
    """Whether every run has an attribute of this name, whatever it prints."""
    return name in ATTRIBUTES or name == "run_dir" or name in Run.__struct_fields__


def _attribute(subject: Subject, name: str) -> Value:
    run = subject.run
    if name in _SHOWN:
        return _SHOWN[name](subject)
    if name in ATTRIBUTES:
        return ATTRIBUTES[name](run)
    return getattr(run, name) if name in Run.__struct_fields__ else subject.attributes.get(name)


def _moment(name: str) -> Callable[[Subject], Value]:
    def moment(subject: Subject) -> Value:
        value = getattr(subject.run, name)
        return None if value is None else Moment(value)

    return moment


def _time(subject: Subject) -> Value:
    seconds = duration(subject.run)
    return None if seconds is None else Seconds(seconds)


_SHOWN: Final[dict[str, Callable[[Subject], Value]]] = {
    "status": lambda subject: subject.status,
    "run_dir": lambda subject: subject.run_dir,
    **{name: _moment(name) for name in ("created", "staged", "started", "stopped")},
    "time": _time,
    "tags": lambda subject: ", ".join(subject.run.tags) or None,
    "sourcecode": lambda subject: (subject.run.sourcecode_digest or "")[:SHORT_DIGEST] or None,
}
"""What a comparison shows in another form than others do."""


def scalar_names(scalars: Mapping[str, Scalar], *, everything: bool = False) -> list[str]:
    """The names of a run's scalars as columns: without the folder of an event file, where that is enough."""
    shown = [name for name in scalars if everything or not name.startswith(SYSTEM)]
    tags = [name.rpartition("#")[2] for name in shown]
    often = Counter(tags)
    return natural(tag if often[tag] == 1 else name for name, tag in zip(shown, tags, strict=True))
