"""What a person asks of runs, option by option, as a query: the same on the command line and in programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, TypeAlias, TypedDict

from msgspec import Struct, structs

from orchestra.errors import UsageError
from orchestra.model import conditions as are
from orchestra.model.condition_text import parse_condition
from orchestra.model.conditions import Condition
from orchestra.model.filters import RunQuery
from orchestra.model.operation_patterns import check_operation
from orchestra.model.run import ACTIVE, FAILED, FINAL, State
from orchestra.model.time_range import parse_range, parse_span

Status: TypeAlias = Literal["running", "completed", "error", "terminated", "pending", "staged"]

STATES: Final[dict[Status, frozenset[State]]] = {
    "running": frozenset(("running",)),
    "completed": frozenset(("completed", "skipped")),
    "error": FAILED,
    "terminated": frozenset(("terminated", "pruned")),
    "pending": frozenset(("pending",)),
    "staged": frozenset(("staged",)),
}
"""What the predecessor's words for a state stand for here."""
_EVERY: Final = FINAL | ACTIVE | STATES["staged"]


class Narrowing(Struct, frozen=True, kw_only=True):
    """What is asked of runs. What is given several times over in one field are alternatives; all fields must hold."""

    expressions: Sequence[str] = ()
    """As of :func:`~orchestra.model.condition_text.parse_condition`; here, all must hold."""
    operations: Sequence[str] = ()
    labels: Sequence[str] = ()
    tags: Sequence[str] = ()
    comments: Sequence[str] = ()
    digests: Sequence[str] = ()
    started: str | None = None
    """A range of time, as of :func:`~orchestra.model.time_range.parse_range`."""
    unlabeled: bool = False
    marked: bool = False
    unmarked: bool = False
    statuses: Sequence[Status] = ()
    """Alternatives."""
    not_statuses: Sequence[Status] = ()
    """None of these."""


class Filters(TypedDict, total=False):
    """The same as keywords, by the predecessor's names. One text stands for a list of it alone."""

    expr: str | Sequence[str]
    ops: str | Sequence[str]
    labels: str | Sequence[str]
    tags: str | Sequence[str]
    comments: str | Sequence[str]
    digest: str | Sequence[str]
    started: str | None
    unlabeled: bool
    marked: bool
    unmarked: bool
    running: bool
    completed: bool
    error: bool
    terminated: bool
    pending: bool
    staged: bool
    not_running: bool
    not_completed: bool
    not_error: bool
    not_terminated: bool
    not_pending: bool
    not_staged: bool


_LISTS: Final = {
    "expr": "expressions",
    "ops": "operations",
    "labels": "labels",
    "tags": "tags",
    "comments": "comments",
    "digest": "digests",
}


def narrowing_of(filters: Filters) -> Narrowing:
    """What keywords ask for.

    Raises:
        TypeError: there is no such keyword.
    """
    given: dict[str, Any] = dict(filters)
    for name in given:
        if name not in Filters.__annotations__:
            raise TypeError(f"there is no filter '{name}': there are {', '.join(Filters.__annotations__)}")
    lists: dict[str, Any] = {
        field: (given[name],) if isinstance(given[name], str) else tuple(given[name])
        for name, field in _LISTS.items()
        if name in given
    }
    alone = {name: given[name] for name in ("started", "unlabeled", "marked", "unmarked") if name in given}
    return Narrowing(
        **lists,
        **alone,
        statuses=[name for name in STATES if given.get(name)],
        not_statuses=[name for name in STATES if given.get(f"not_{name}")],
    )


def narrowed(base: RunQuery, wanted: Narrowing, now: int) -> RunQuery:
    """``base`` with what is ``wanted`` beyond it, at ``now`` (microseconds since the epoch).

    Raises:
        UserError: something that is wanted has no meaning.
    """
    states = _states(wanted)
    if states is not None and base.states is not None:
        states &= base.states
    where = are.all_of([*([] if base.where is None else [base.where]), *_conditions(wanted, now)])
    return structs.replace(base, states=base.states if states is None else states, where=where)


def _states(wanted: Narrowing) -> frozenset[State] | None:
    if not wanted.statuses and not wanted.not_statuses:
        return None
    states = frozenset[State]().union(*(STATES[name] for name in wanted.statuses)) or _EVERY
    return states.difference(*(STATES[name] for name in wanted.not_statuses))


def _conditions(wanted: Narrowing, now: int) -> list[Condition]:
    if wanted.marked and wanted.unmarked:
        raise UsageError("--marked and --unmarked cannot both be used")
    alternatives = (
        are.any_of([are.OfOperation(check_operation(each)) for each in wanted.operations]),
        are.any_of([are.Labelled(each) for each in wanted.labels]),
        are.any_of([are.Comparison(are.Name("tags", "attribute"), "contains", each) for each in wanted.tags]),
        are.any_of([are.Commented(each) for each in wanted.comments]),
        are.any_of([are.Digest(each) for each in wanted.digests]),
    )
    for what, texts in (
        ("operation", wanted.operations),
        ("label", wanted.labels),
        ("tag", wanted.tags),
        ("comment", wanted.comments),
        ("digest", wanted.digests),
    ):
        if not all(texts):
            # Of a variable that is not set: everything has an empty text in it.
            hint = "For runs without a label there is --unlabeled." if what == "label" else None
            raise UsageError(f"a filter for the {what} is empty", hint)
    found = [each for each in alternatives if each is not None]
    if wanted.unlabeled:
        found.append(are.Labelled("-"))
    if wanted.marked or wanted.unmarked:
        found.append(are.Comparison(are.Name("marked", "attribute"), "=", wanted.marked))
    if wanted.started is not None:
        found.append(are.During(*parse_range(wanted.started, now)))
    return found + [parse_condition(text, lambda at: parse_span(at, now)) for text in wanted.expressions]
