"""Find runs from scripts, and read what they came to."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Sequence
from typing import Any, Unpack

from orchestra.api.in_home import Home, id_of, in_home
from orchestra.engine.orchestra import Orchestra
from orchestra.model.filters import RunQuery
from orchestra.model.narrowing import Filters
from orchestra.model.operation import FlagValue
from orchestra.model.run import Run, State
from orchestra.model.scalars import Scalar
from orchestra.model.series import MOST_POINTS, Series
from orchestra.model.subjects import Value
from orchestra.workspace.results import Results


def runs_list(
    *,
    home: Home = None,
    orchestra_home: Home = None,
    cwd: str | os.PathLike[str] | None = None,
    states: Sequence[State] | None = None,
    limit: int | None = None,
    deleted: bool = False,
    **filters: Unpack[Filters],
) -> list[Run]:
    """The runs of a home, or those in its trash, newest first. ``run.get("flags")`` is a plain dict.

    ``filters`` are those of the command line: ``expr`` (``"loss < 0.1 and op = train"``), ``ops``, ``labels``,
    ``tags``, ``comments``, ``digest`` (each a text, or a list of alternatives; of ``expr``, all hold), ``started``
    (``"last 2 hours"``), ``unlabeled``, ``marked``, ``unmarked``, ``running``, ``completed``, ``error``,
    ``terminated``, ``pending``, ``staged``, and each of these with ``not_`` before it.
    """

    query = RunQuery(states=frozenset(states) if states is not None else None, limit=limit)

    def look(orch: Orchestra) -> Awaitable[tuple[Run, ...]]:
        return (orch.deleted if deleted else orch.list)(query, **filters)

    return list(in_home(orchestra_home or home, look, cwd=cwd))


def scalars(run: Run | str, *, home: Home = None, orchestra_home: Home = None) -> dict[str, Scalar]:
    """The scalars of a run by their names: those that it printed or logged, and ``sys/...``, what we measured."""
    return _results(run, orchestra_home or home).scalars


def attributes(run: Run | str, *, home: Home = None, orchestra_home: Home = None) -> dict[str, FlagValue]:
    """The attributes of a run: those that its project gives it (``run-attrs``), and those that it printed."""
    return _results(run, orchestra_home or home).attributes


def scalar(
    run: Run | str, column: str, *, home: Home = None, orchestra_home: Home = None
) -> float | int | None:
    """One number of a run: ``loss`` (the last value), ``min loss``, ``max logs#acc step``; None if it has none.

    Raises:
        UserError: it is no such column.
    """

    return in_home(orchestra_home or home, lambda orch: orch.value(id_of(run), column))


def compare(
    runs: Sequence[Run | str] | None = None,
    *,
    home: Home = None,
    orchestra_home: Home = None,
    cwd: str | os.PathLike[str] | None = None,
    **options: Any,
) -> list[list[Value]]:
    """A table of runs (all of them, if none are named): the headings, then the values of each row.

    Times are microseconds since the epoch, how long a run took is in seconds. ``options`` are those of
    :meth:`~orchestra.engine.orchestra.Orchestra.compare`, which returns more than the values.

    Raises:
        RunNotFound: a run that is named is not there.
        UserError: a column has no meaning, or no run has anything in it.
    """

    names = [id_of(run) for run in runs or ()]
    made = in_home(orchestra_home or home, lambda orch: orch.compare(names, **options), cwd=cwd)
    return [list(made.headings), *(list(row.values) for row in made.rows)]


def series(
    run: Run | str,
    names: str | Sequence[str],
    *,
    most: int = MOST_POINTS,
    home: Home = None,
    orchestra_home: Home = None,
) -> dict[str, Series]:
    """The values over steps of scalars of a run, thinned out to about ``most`` points; what it has not is left out."""

    return in_home(orchestra_home or home, lambda orch: orch.series(id_of(run), names, most=most))


def _results(run: Run | str, home: Home) -> Results:
    return in_home(home, lambda orch: orch.results(id_of(run)))
