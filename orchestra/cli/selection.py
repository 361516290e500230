"""Which runs a verb is about: the options that filter runs, and the words that name some of them.

Annotations are no texts here (no ``annotations`` of the future): each would be compiled anew at every start.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from cyclopts import Group, Parameter
from msgspec import structs

from orchestra.errors import UsageError
from orchestra.model.filters import RunQuery
from orchestra.model.run import ACTIVE, FINAL, Run, State

if TYPE_CHECKING:
    from orchestra.engine.session import Session
    from orchestra.model.conditions import Condition


def _short(names: str, text: str) -> Parameter:
    return Parameter(alias=names, help=text)


@Parameter(name="*", group=Group("Which runs", sort_key=10))
@dataclass(eq=False, repr=False, kw_only=True)
class Filters:
    """The options that every verb has that takes runs."""

    operation: Annotated[
        tuple[str, ...], _short("-Fo", "Of this operation: a name, glob, or regex ^...$.")
    ] = ()
    label: Annotated[
        tuple[str, ...],
        Parameter(alias="-Fl", help="Label has this in it; '-': no label.", allow_leading_hyphen=True),
    ] = ()
    unlabeled: Annotated[bool, _short("-Fu", "Without a label.")] = False
    tag: Annotated[tuple[str, ...], _short("-Ft", "With this tag.")] = ()
    comment: Annotated[tuple[str, ...], _short("-Fc", "A comment, or its author, has this in it.")] = ()
    marked: Annotated[bool, _short("-Fm", "Marked runs.")] = False
    unmarked: Annotated[bool, _short("-Fn", "Runs that are not marked.")] = False
    digest: Annotated[tuple[str, ...], _short("-Fd", "Digest of the source begins so.")] = ()
    running: Annotated[bool, _short("-Sr", "Running; letters combine: -Sec.")] = False
    completed: Annotated[bool, _short("-Sc", "Completed, or skipped.")] = False
    error: Annotated[bool, _short("-Se", "Failed, lost, aborted or broken.")] = False
    terminated: Annotated[bool, _short("-St", "Terminated, or pruned.")] = False
    pending: Annotated[bool, _short("-Sp", "Pending.")] = False
    staged: Annotated[bool, _short("-Ss", "Staged.")] = False
    not_running: Annotated[bool, Parameter(help="Any state but that; so with all of them.")] = False
    not_completed: Annotated[bool, Parameter(show=False)] = False
    not_error: Annotated[bool, Parameter(show=False)] = False
    not_terminated: Annotated[bool, Parameter(show=False)] = False
    not_pending: Annotated[bool, Parameter(show=False)] = False
    not_staged: Annotated[bool, Parameter(show=False)] = False
    status: Annotated[tuple[str, ...], Parameter(name="-S", show=False)] = ()


FILTERS: Final = Filters()
"""Nothing asked for: all runs."""

STATES: Final[dict[str, frozenset[State]]] = {
    "running": frozenset(("running",)),
    "completed": frozenset(("completed", "skipped")),
    "error": frozenset(("error", "lost", "aborted", "broken")),
    "terminated": frozenset(("terminated", "pruned")),
    "pending": frozenset(("pending",)),
    "staged": frozenset(("staged",)),
}
"""What the predecessor's words for a state stand for here."""
_EVERY: Final = FINAL | ACTIVE | STATES["staged"]


def query_of(filters: Filters, base: RunQuery = RunQuery()) -> RunQuery:  # noqa: B008
    """``base`` with what ``filters`` ask for beyond it.

    Raises:
        UserError, UsageError: one of them has no meaning.
    """
    if filters is FILTERS:
        return base
    states = _states(filters)
    if states is not None and base.states is not None:
        states &= base.states
    where = _condition(filters, base.where)
    return structs.replace(base, states=base.states if states is None else states, where=where)


async def chosen(
    session: "Session",
    specs: Sequence[str],
    filters: Filters = FILTERS,
    *,
    default: Literal["all", "latest", "none"],
    base: RunQuery = RunQuery(),  # noqa: B008
) -> tuple[Run, ...]:
    """The runs that ``specs`` name in the listing that ``filters`` leave; each as it is now, be its starter dead.

    Raises:
        RunNotFound: a spec names no run, or its prefix fits several.
        UserError, UsageError: a filter has no meaning.
    """
    from orchestra.engine.judge import settle_active
    from orchestra.engine.runs import select_runs

    query = query_of(filters, base)
    await settle_active(session)
    return await select_runs(session, specs, query=query, default=default)


def says_states(filters: Filters) -> bool:
    """Whether ``filters`` say which states are wanted."""
    return _states(filters) is not None


def _states(filters: Filters) -> frozenset[State] | None:
    given: dict[str, Any] = vars(filters)
    wanted = {name for name in STATES if given[name]} | set(_by_letter(filters.status))
    unwanted = [name for name in STATES if given[f"not_{name}"]]
    if not wanted and not unwanted:
        return None
    states = frozenset[State]().union(*(STATES[name] for name in wanted)) if wanted else _EVERY
    return states.difference(*(STATES[name] for name in unwanted))


def _by_letter(given: Sequence[str]) -> list[str]:
    letters = {name[0]: name for name in STATES}
    for letter in "".join(given):
        if letter not in letters:
            hint = ", ".join(f"{each} {name}" for each, name in letters.items())
            raise UsageError(f"unrecognized status char '{letter}' in option '-S'", f"There are: {hint}.")
    return [letters[letter] for letter in "".join(given)]


def _condition(filters: Filters, base: "Condition | None") -> "Condition | None":
    from orchestra.model import conditions as are

    if filters.marked and filters.unmarked:
        raise UsageError("--marked and --unmarked cannot both be used")
    parts: list[Condition | None] = [
        base,
        are.any_of([are.OfOperation(are.check_operation(each)) for each in filters.operation]),
        are.any_of([are.Labelled(each) for each in filters.label]),
        are.any_of([are.Test(are.Name("tags", "attribute"), "contains", each) for each in filters.tag]),
        are.any_of([are.Commented(each) for each in filters.comment]),
        are.any_of([are.Digest(each) for each in filters.digest]),
        are.Labelled("-") if filters.unlabeled else None,
    ]
    if filters.marked or filters.unmarked:
        parts.append(are.Test(are.Name("marked", "attribute"), "=", filters.marked))
    return are.all_of([part for part in parts if part is not None])
