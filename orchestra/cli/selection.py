"""Which runs a verb is about: the options that filter runs, and the words that name some of them.

Annotations are no texts here (no ``annotations`` of the future): each would be compiled anew at every start.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias

from cyclopts import Group, Parameter

from orchestra.cli.context import current
from orchestra.errors import UsageError
from orchestra.model.filters import RunQuery
from orchestra.model.run import Run

if TYPE_CHECKING:
    from orchestra.engine.runs import Listed
    from orchestra.engine.session import Session
    from orchestra.model.narrowing import Narrowing, Status


def _short(names: str, text: str) -> Parameter:
    return Parameter(alias=names, help=text)


Yes: TypeAlias = Annotated[bool, Parameter(name=("--yes", "-y"))]
"""Whether nobody is asked before runs are changed."""


@Parameter(name="*", group=Group("Which runs", sort_key=10))
@dataclass(eq=False, repr=False, kw_only=True)
class Filters:
    """The options that every verb has that takes runs."""

    filter: Annotated[
        tuple[str, ...],
        Parameter(
            alias="-F", help="Of which this holds: 'lr < 0.1 and op = train'.", allow_leading_hyphen=True
        ),
    ] = ()
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
    started: Annotated[str | None, _short("-Fs", "Started then: 'today', 'last 2 hours', 'after 10:00'.")] = (
        None
    )
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


def query_of(filters: Filters, base: RunQuery = RunQuery()) -> RunQuery:  # noqa: B008
    """``base`` with what ``filters`` ask for beyond it.

    Raises:
        UserError, UsageError: one of them has no meaning.
    """
    if filters is FILTERS:
        return base
    from orchestra.model.narrowing import narrowed

    return narrowed(base, _wanted(filters), time.time_ns() // 1000)


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
    listing = query
    if query.where is not None:
        from orchestra.engine.search import without_results

        # Once for both: it looks at what all runs came to.
        listing = await without_results(session, query)
    found = await select_runs(session, specs, query=listing, default=default)
    await tell_of_beginnings(session, specs, found, listing)
    await tell_of_unknown(session, query, found=bool(found))
    return found


async def tell_of_beginnings(
    session: "Session",
    specs: Sequence[str],
    found: Sequence[Run],
    query: RunQuery = RunQuery(),  # noqa: B008
    listed: "Listed | None" = None,
) -> None:
    """Warn of specs that were probably meant as indexes, and named a run by its id.

    ``listed``: None is the home, whose store is asked; a ``query`` of that asks for nobody's results.
    """
    if not any(spec.isdecimal() for spec in specs):
        return
    from orchestra.engine.runs import short_beginnings

    for message in await short_beginnings(listed or session.store, specs, found, query):
        session.emit("log.message", level="warning", message=message, logger="")


async def chosen_ids(session: "Session", filters: Filters) -> Sequence[str]:
    """The ids of all runs that ``filters`` leave, without the records of these; as of :func:`chosen`."""
    from orchestra.engine.judge import settle_active
    from orchestra.engine.presence import existing_ids

    query = query_of(filters)
    await settle_active(session)
    found = await existing_ids(session, query)
    await tell_of_unknown(session, query, found=bool(found))
    return found


async def tell_of_unknown(session: "Session", query: RunQuery, *, found: bool) -> None:
    """Warn of names in the condition of ``query`` that no run has, where that may be why it finds what it finds.

    Raises:
        UserError: it compares what can't be compared.
    """
    if query.where is None:
        return
    from orchestra.model.conditions import may_hold_without

    if not found or may_hold_without(query.where):
        from orchestra.engine.unknown_names import refuse_unlike, tell_of_unknown_names

        await refuse_unlike(session, query)
        await tell_of_unknown_names(session, query)


def why_none(total: int, filters: Filters, what: str = "runs") -> str:
    """Why none of these runs is shown, where there are ``total`` without the filters; empty if they are not why."""
    if not total:
        home = current().home
        return f"There are no {what}." + ("" if home.is_dir() else f" There is no home '{home}' yet.")
    return "" if filters is FILTERS else f"No {what} match; {total} without these filters."


def _wanted(filters: Filters) -> "Narrowing":
    from orchestra.model.narrowing import STATES, Narrowing

    given: dict[str, Any] = vars(filters)
    return Narrowing(
        expressions=filters.filter,
        operations=filters.operation,
        labels=filters.label,
        tags=filters.tag,
        comments=filters.comment,
        digests=filters.digest,
        started=filters.started,
        unlabeled=filters.unlabeled,
        marked=filters.marked,
        unmarked=filters.unmarked,
        statuses=[*(name for name in STATES if given[name]), *_by_letter(filters.status)],
        not_statuses=[name for name in STATES if given[f"not_{name}"]],
    )


def _by_letter(given: Sequence[str]) -> "list[Status]":
    from orchestra.model.narrowing import STATES

    letters: dict[str, Status] = {name[0]: name for name in STATES}
    for letter in "".join(given):
        if letter not in letters:
            hint = ", ".join(f"{each} {name}" for each, name in letters.items())
            raise UsageError(f"unrecognized status char '{letter}' in option '-S'", f"There are: {hint}.")
    return [letters[letter] for letter in "".join(given)]
