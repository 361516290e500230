"""Conditions: which runs a person means, as a tree that can be asked of any run.

What is known of a run without its results is looked up here. A scalar, or an attribute that a run printed, is known
to nobody who has only the record: the engine puts :class:`Among` in the place of what asks for one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Literal, TypeAlias, cast

from msgspec import Struct

from orchestra.model.attributes import ATTRIBUTES, IDS
from orchestra.model.ids import begins
from orchestra.model.operation import FlagValue
from orchestra.model.operation_patterns import operation_matcher
from orchestra.model.run import Run
from orchestra.model.scalars import Qualifier

Operator: TypeAlias = Literal["=", "<", "<=", ">", ">=", "in", "contains"]
NameKind: TypeAlias = Literal["any", "flag", "attribute", "scalar"]


class Name(Struct, frozen=True):
    """What is asked for. ``any``: an attribute that every run has, else a flag, else a result of that name."""

    name: str
    kind: NameKind = "any"
    qualifier: Qualifier = "last"
    """Of a scalar: which of its values."""
    step: bool = False
    """Of a scalar: the step of that value in its place."""


class Comparison(Struct, frozen=True, tag="test"):
    """Compares what a run has with ``value``; a value of None says that it has nothing.

    An attribute that names a run equals the beginning of the run's id, too, of four characters or more: of an id that
    nobody chose.
    """

    name: Name
    operator: Operator
    value: FlagValue


class AllOf(Struct, frozen=True, tag="all"):
    """Each of these holds."""

    conditions: tuple[Condition, ...]


class AnyOf(Struct, frozen=True, tag="any"):
    """One of these holds, or more."""

    conditions: tuple[Condition, ...]


class Not(Struct, frozen=True, tag="not"):
    """It does not hold."""

    condition: Condition


class OfOperation(Struct, frozen=True, tag="operation"):
    """The run is of the operation that a person calls so: ``NAME``, ``MODEL:NAME``, a glob, or a regular expression
    that begins with ``^`` or ends with ``$``. A batch is ``NAME+``, as in listings."""

    pattern: str


class Labelled(Struct, frozen=True, tag="label"):
    """The label has this in it; ``-``: there is none."""

    text: str


class Commented(Struct, frozen=True, tag="comment"):
    """A comment, or who made it, has this in it, in capitals or not."""

    text: str


class Digest(Struct, frozen=True, tag="digest"):
    """The digest of the run's source begins so."""

    prefix: str


class During(Struct, frozen=True, tag="during"):
    """The time that the run is listed by is from ``begin`` on, and before ``end``."""

    begin: int | None
    end: int | None


class Among(Struct, frozen=True, tag="among"):
    """It is one of these runs."""

    ids: frozenset[str]


Condition: TypeAlias = (
    Comparison | AllOf | AnyOf | Not | OfOperation | Labelled | Commented | Digest | During | Among
)


SEEN: Final = frozenset(
    (
        "id",
        "run",
        "short_id",
        "kind",
        "operation",
        "op",
        "op_model",
        "status",
        "label",
        "tags",
        "marked",
        "batch",
    )
) | {"sourcecode", "sourcecode_digest"}
"""The attributes that a :class:`~orchestra.model.glimpse.Glimpse` has."""


def holds(condition: Condition, run: Run) -> bool:
    """Whether ``condition`` holds for ``run``, as far as its record tells: results are undefined."""
    return _HOLDS[type(condition)](condition, run)


def value_of(name: Name, run: Run) -> FlagValue:
    """What ``run`` has of this name; None if nothing."""
    if name.kind in ("any", "attribute"):
        found = ATTRIBUTES.get(name.name)
        if found is not None:
            return found(run)
    if name.kind in ("any", "flag"):
        return run.flags.get(name.name)
    return None


def is_attribute(name: Name) -> bool:
    """Whether it asks for an attribute that every run has."""
    return name.kind in ("any", "attribute") and name.name in ATTRIBUTES


def leaves(condition: Condition) -> Iterator[Condition]:
    """The conditions that it is made of, which are made of no others."""
    if isinstance(condition, Not):
        yield from leaves(condition.condition)
    elif isinstance(condition, AllOf | AnyOf):
        for one in condition.conditions:
            yield from leaves(one)
    else:
        yield condition


def may_hold_without(condition: Condition) -> bool:
    """Whether it may hold for a run that lacks a name in it: something is negated, or one of several is enough."""
    if isinstance(condition, Not | AnyOf):
        return True
    return isinstance(condition, AllOf) and any(map(may_hold_without, condition.conditions))


def with_leaves(condition: Condition, change: Callable[[Condition], Condition]) -> Condition:
    """``condition`` with each of its :func:`leaves` in another form."""
    if isinstance(condition, Not):
        return Not(with_leaves(condition.condition, change))
    if isinstance(condition, AllOf | AnyOf):
        return type(condition)(tuple(with_leaves(one, change) for one in condition.conditions))
    return change(condition)


def conjuncts(condition: Condition | None) -> Sequence[Condition]:
    """The conditions all of which must hold."""
    if isinstance(condition, AllOf):
        return [part for one in condition.conditions for part in conjuncts(one)]
    return () if condition is None else (condition,)


def compare(found: FlagValue, operator: Operator, value: FlagValue) -> bool:
    """Whether what was found stands so to ``value``. What can't be compared, does not."""
    if operator == "=":
        return is_equal(found, value)
    if operator == "in":
        return any(is_equal(found, item) for item in _items(value) or ())
    if operator == "contains":
        return _contains(found, value)
    if not (_is_number(found) and _is_number(value)) and not (
        isinstance(found, str) and isinstance(value, str)
    ):
        return False
    left, right = cast("Any", found), cast("Any", value)
    if operator == "<":
        return left < right
    if operator == "<=":
        return left <= right
    return left > right if operator == ">" else left >= right


def is_equal(found: FlagValue, value: FlagValue) -> bool:
    """Whether both say the same; ``1`` and ``1.0`` do, ``1`` and ``"1"`` or ``yes`` do not. ``nan`` is itself."""
    if _is_number(found) and _is_number(value):
        return found == value or (found != found and value != value)
    ours, theirs = _items(found), _items(value)
    if ours is not None and theirs is not None:
        return len(ours) == len(theirs) and all(map(is_equal, ours, theirs))
    return type(found) is type(value) and found == value


def _contains(found: FlagValue, value: FlagValue) -> bool:
    if isinstance(found, str):
        return isinstance(value, str) and value.casefold() in found.casefold()
    return any(is_equal(item, value) for item in _items(found) or ())


def _items(value: FlagValue) -> Sequence[FlagValue] | None:
    return cast("Sequence[FlagValue]", value) if isinstance(value, list | tuple) else None


def _is_number(value: FlagValue) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _comparison_holds(one: Comparison, run: Run) -> bool:
    if compare(value_of(one.name, run), one.operator, one.value):
        return True
    if one.operator not in ("=", "in") or one.name.name not in IDS or not is_attribute(one.name):
        return False
    run_id = IDS[one.name.name](run)
    values = (one.value,) if one.operator == "=" else _items(one.value) or ()
    return run_id is not None and any(isinstance(text, str) and begins(text, run_id) for text in values)


def _operation_holds(condition: OfOperation, run: Run) -> bool:
    return operation_matcher(condition.pattern)(run)


def _label_holds(condition: Labelled, run: Run) -> bool:
    return not run.label if condition.text == "-" else condition.text in (run.label or "")


def _comment_holds(condition: Commented, run: Run) -> bool:
    wanted = condition.text.casefold()
    return any(
        wanted in text.casefold()
        for comment in run.comments
        for text in (comment.body, f"{comment.user}@{comment.host}")
    )


_HOLDS: Final[dict[type, Callable[[Any, Run], bool]]] = {
    Comparison: _comparison_holds,
    AllOf: lambda one, run: all(holds(each, run) for each in one.conditions),
    AnyOf: lambda one, run: any(holds(each, run) for each in one.conditions),
    Not: lambda one, run: not holds(one.condition, run),
    OfOperation: _operation_holds,
    Labelled: _label_holds,
    Commented: _comment_holds,
    Digest: lambda one, run: (
        (run.sourcecode_digest or "").startswith(one.prefix) and bool(run.sourcecode_digest)
    ),
    During: lambda one, run: (
        (one.begin is None or run.time >= one.begin) and (one.end is None or run.time < one.end)
    ),
    Among: lambda one, run: run.id in one.ids,
}


def all_of(conditions: Sequence[Condition]) -> Condition | None:
    """All of these together; None if there is none."""
    if len(conditions) < 2:
        return conditions[0] if conditions else None
    return AllOf(tuple(conditions))


def any_of(conditions: Sequence[Condition]) -> Condition | None:
    """One of these; None, which asks for nothing, if there is none."""
    if len(conditions) < 2:
        return conditions[0] if conditions else None
    return AnyOf(tuple(conditions))


def is_seen(condition: Condition) -> bool:
    """Whether a glimpse is enough to ask ``condition``."""
    return all(_is_seen(leaf) for leaf in leaves(condition))


def _is_seen(leaf: Condition) -> bool:
    if isinstance(leaf, Comparison):
        name = leaf.name
        return name.kind in ("flag", "scalar") or name.name in SEEN or not is_attribute(name)
    return isinstance(leaf, OfOperation | Labelled | Digest | During | Among)
