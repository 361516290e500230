"""Compare runs: gather what is known of each, and put it into one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias, Unpack

from msgspec import Struct

from orchestra.engine.off_loop import off_loop
from orchestra.engine.presence import shown_state
from orchestra.engine.search import results_of_many
from orchestra.engine.session import Session
from orchestra.errors import OrchestraError, UsageError
from orchestra.model.comparison import ColumnSets, Comparison, Wanted, compare, sorted_by, wanted_columns
from orchestra.model.repeats import Grouping, group, groups_sorted_by, parse_grouping
from orchestra.model.run import Run
from orchestra.model.subjects import Subject
from orchestra.project.find import project_file_in
from orchestra.project.listing import compare_columns
from orchestra.workspace.results import Results

_OTHERS_RUN = frozenset(("batch", "queue"))
"""What these come to is what the runs come to that they run."""


class CompareRequest(Struct, frozen=True, kw_only=True):
    """How runs are to be compared."""

    wanted: Wanted = Wanted()
    grouping: Grouping | None = None
    order: str | None = None
    """The heading, or the description, of the column that they are sorted by; None: newest first."""
    largest_first: bool = False
    top: int | None = None
    include_batch: bool = False
    """Also batches and queues."""


def compare_request(
    cols: str | None = None,
    strict_cols: str | None = None,
    *,
    min: str | None = None,
    max: str | None = None,
    top: int | None = None,
    repeats: bool = False,
    group_by: str | None = None,
    agg: str | None = None,
    only_completed: bool = True,
    include_batch: bool = False,
    **sets: Unpack[ColumnSets],
) -> CompareRequest:
    """The request that a person makes, in the words of ``orchestra compare``.

    Raises:
        UsageError: what is asked for does not go together.
        UserError: a column can't be read.
    """
    if min is not None and max is not None:
        raise UsageError("--min and --max cannot both be used")
    if top is not None and top < 1:
        raise UsageError(f"invalid value {top} for --top: it is 1 or more")
    return CompareRequest(
        wanted=wanted_columns(cols, strict_cols, **sets),
        grouping=parse_grouping(group_by, agg, repeats=repeats, only_completed=only_completed),
        order=min if max is None else max,
        largest_first=max is not None,
        top=top,
        include_batch=include_batch,
    )


async def subjects_of(
    session: Session, runs: Sequence[Run], project: Path, *, include_batch: bool = False
) -> tuple[Subject, ...]:
    """``runs`` with what they came to. Operations of the project's file have the columns that it says today."""
    chosen = [run for run in runs if include_batch or run.kind not in _OTHERS_RUN]
    today = _columns_of_today(chosen, project)
    results = await off_loop(lambda: results_of_many(session, chosen))
    return tuple(_subject(session, run, results[run.id], today) for run in chosen)


def make_comparison(subjects: Sequence[Subject], request: CompareRequest) -> Comparison:
    """The table that is asked for.

    Raises:
        UserError: no run has anything in a column that they are to be sorted or grouped by.
    """
    wanted, grouping = request.wanted, request.grouping
    made = compare(subjects, wanted)
    if grouping is not None:
        made = group(made, subjects, grouping, wanted.more)
    if request.order is not None:
        sort = sorted_by if grouping is None else groups_sorted_by
        made = sort(made, subjects, request.order, largest_first=request.largest_first)
    return made.top(request.top)


_Columns: TypeAlias = Mapping[tuple[str | None, str], tuple[str, ...] | None]
"""By the project's file and the name of the operation."""


def _subject(session: Session, run: Run, results: Results, today: _Columns) -> Subject:
    operation = run.operation
    return Subject(
        run=run,
        status=shown_state(session, run),
        run_dir=run.directory or f"{session.layout.runs_dir}/{run.id}",
        scalars=results.scalars,
        attributes=results.attributes,
        compare=today.get((operation.project_file, operation.name), operation.compare),
        problems=results.problems,
    )


def _columns_of_today(runs: Sequence[Run], project: Path) -> _Columns:
    """The columns of the project's operations, if runs of it are among ``runs``."""
    file = project_file_in(project)
    if file is None or not any(run.operation.project_file == str(file) for run in runs):
        return {}
    try:
        return {(str(file), name): columns for name, columns in compare_columns(file).items()}
    except OrchestraError:
        # What is wrong with the file is told where something is run. The runs have kept their columns.
        return {}
