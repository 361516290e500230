"""Gathers what plots of runs show."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from orchestra.engine.objective import split_objective
from orchestra.engine.results import column_value
from orchestra.engine.search import results_of_many
from orchestra.engine.series import series_of
from orchestra.engine.session import Session
from orchestra.errors import OrchestraError, UserError
from orchestra.model.columns import Column, first_names
from orchestra.model.filters import RunQuery
from orchestra.model.importance import LEAST_RUNS, importance_of
from orchestra.model.operation import FlagValue
from orchestra.model.plot_axes import finite
from orchestra.model.plotting import (
    MOST_AXES,
    Bars,
    Curves,
    Plots,
    Scatter,
    changed_flags,
    curves_of,
    parallel_of,
    plot_runs,
    scatter_of,
)
from orchestra.model.run import Run
from orchestra.model.scalars import SYSTEM, find_scalar, scalar_value
from orchestra.model.series import Series

MOST_CURVES = 4
"""Scalars whose curves are shown where nobody said which."""
MOST_SCATTERS = 2
ALL_POINTS = 60_000
"""Points of all curves of one scalar together, about."""


class PlotRequest(Struct, frozen=True, kw_only=True):
    """What is to be shown; all there is where no kind is asked for."""

    curves: tuple[Column, ...] = ()
    parallel: bool = False
    scatter: tuple[tuple[Column, Column], ...] = ()
    importance: tuple[Column, ...] = ()
    objective: Column | None = None
    largest_first: bool = False

    @property
    def columns(self) -> tuple[Column, ...]:
        """All that are named."""
        objective = () if self.objective is None else (self.objective,)
        return (*self.curves, *(one for pair in self.scatter for one in pair), *self.importance, *objective)

    @property
    def wants_all(self) -> bool:
        """Whether no kind is asked for."""
        return not (self.curves or self.parallel or self.scatter or self.importance)


async def trials_for_batches(
    session: Session, runs: Sequence[Run], *, also: bool
) -> tuple[tuple[Run, ...], str | None]:
    """``runs`` without queues and with trials in the place of batches, and the objective that these searched.

    Unless batches were named (``also``), their trials are among the runs, or are not meant.
    """
    chosen: dict[str, Run] = {}
    objectives: list[str] = []
    for run in runs:
        if run.batch_spec is not None:
            found = (await session.store.query(RunQuery(batch=run.id))).runs if also else ()
            objectives += [run.batch_spec.objective] if run.batch_spec.objective else []
        else:
            found = (run,) if run.kind == "run" else ()
        chosen.update((one.id, one) for one in found)
    return tuple(chosen.values()), objectives[0] if len(set(objectives)) == 1 else None


def gather(session: Session, runs: Sequence[Run], request: PlotRequest, objective: str | None) -> Plots:
    """What plots of ``runs`` show; ``objective`` is that of their batch, which the request's own comes before.

    Raises:
        UserError: no run has what is asked for.
    """
    return _Gathering(session, runs, request, objective).plots()


class _Gathering:
    def __init__(
        self, session: Session, runs: Sequence[Run], request: PlotRequest, objective: str | None
    ) -> None:
        self._session = session
        self._request = request
        self._notes: list[str] = []
        scalars = {name: results.scalars for name, results in results_of_many(session, runs).items()}
        self._scalars = scalars
        # What we measured ourselves every run has.
        named = {column.name for column in request.columns}
        self._runs = [
            run
            for run in runs
            if any(name in named or not name.startswith(SYSTEM) for name in scalars[run.id])
        ]
        if without := len(runs) - len(self._runs):
            self._notes.append(f"{_counted(without, 'run')} without scalars {_are(without)} left out.")
        self._changed = changed_flags(self._runs)
        self._objective, self._largest_first = request.objective, request.largest_first
        if self._objective is None and objective is not None:
            self._take_objective(objective)
        if self._objective is None and (names := self._names()):
            self._objective = Column(kind="scalar", name=names[0], heading=names[0])

    def _take_objective(self, objective: str) -> None:
        column, sign = split_objective(objective)
        if any(self._value(run, column) is not None for run in self._runs):
            self._objective, self._largest_first = column, sign < 0
        elif self._runs:
            self._notes.append(f"No run has the objective of the batch, '{column.heading}'.")

    def _names(self) -> list[str]:
        """The scalars that the runs have: those that most of them have first, else as they come."""
        counts: dict[str, int] = {}
        for run in self._runs:
            for name in self._scalars[run.id]:
                if not name.startswith(SYSTEM):
                    counts[name] = counts.get(name, 0) + 1
        return sorted(counts, key=lambda name: -counts[name])

    def _values(self, column: Column) -> list[FlagValue]:
        """What each run has in ``column``.

        Raises:
            UserError: none has anything.
        """
        values = [self._value(run, column) for run in self._runs]
        if self._runs and all(value is None for value in values):
            names = self._names() if column.kind == "scalar" else list(self._changed)
            have = f"There are: {first_names(names)}." if names else None
            raise UserError(f"no run has '{column.name}'", have)
        return values

    def _value(self, run: Run, column: Column) -> FlagValue:
        if column.kind != "scalar":
            return column_value(self._session, run, column)
        return scalar_value(self._scalars[run.id], column.name, column.qualifier, step=column.step)

    def plots(self) -> Plots:
        request, everything = self._request, self._request.wants_all
        values = [None] * len(self._runs) if self._objective is None else self._values(self._objective)
        by_id = {run.id: value for run, value in zip(self._runs, values, strict=True)}
        heading = None if self._objective is None else self._objective.heading
        shown = plot_runs(self._runs, self._changed, by_id)
        bars = self._bars()
        ranking = self._ranking(bars)
        parallel = None
        if (everything or request.parallel) and heading is not None:
            if len(ranking) > MOST_AXES:
                self._notes.append(f"Of {len(ranking)} flags that changed {MOST_AXES} have an axis.")
            flags = sorted(ranking[:MOST_AXES], key=self._changed.index)
            parallel = parallel_of(shown, flags, heading)
            if parallel is None:
                self._notes.append(
                    "Parallel coordinates take two runs with the objective, and a flag that changed."
                )
        return Plots(
            runs=shown,
            changed=self._changed,
            objective=heading,
            largest_first=self._largest_first,
            curves=tuple(self._curves()),
            parallel=parallel,
            scatters=tuple(self._scatters(ranking)),
            bars=bars,
            notes=(*self._notes, *self._missing(heading, values)),
        )

    def _missing(self, heading: str | None, values: Sequence[FlagValue]) -> list[str]:
        missing = sum(finite(value) is None for value in values)
        if heading is None or not missing:
            return []
        return [f"{_counted(missing, 'run')} {_have(missing)} no finite '{heading}'."]

    def _bars(self) -> tuple[Bars, ...]:
        wanted = self._request.importance
        if self._request.wants_all and self._objective is not None:
            wanted = (self._objective,)
        found: list[Bars] = []
        for column in wanted:
            numbers = [finite(value) for value in self._values(column)]
            having = [
                (run, number) for run, number in zip(self._runs, numbers, strict=True) if number is not None
            ]
            flags = {name: [run.flags.get(name) for run, _ in having] for name in self._changed}
            importance = importance_of(flags, [number for _, number in having])
            if importance is not None:
                found.append(Bars(scalar=column.heading, importance=importance))
            else:
                self._notes.append(
                    f"Which flags matter to '{column.heading}' can be told of {LEAST_RUNS} runs or more "
                    "in which it differs, and a flag, too."
                )
        return tuple(found)

    def _ranking(self, bars: Sequence[Bars]) -> list[str]:
        """The flags that changed, the most important ones first."""
        ranked = [one.name for bar in bars[:1] for one in bar.importance.flags]
        return [*ranked, *(name for name in self._changed if name not in ranked)]

    def _curves(self) -> list[Curves]:
        columns, everything = self._request.curves, self._request.wants_all
        names = [column.name for column in columns]
        if everything:
            first = [self._objective.name] if self._objective and self._objective.kind == "scalar" else []
            names = [name for name in (*first, *self._names()) if self._has_steps(name)]
            names = list(dict.fromkeys(names))[:MOST_CURVES]
            if not names and self._runs:
                self._notes.append("There are no curves: each scalar has one value only.")
        for column in columns:
            self._values(column)
        series = [self._series(run, names) for run in self._runs] if names else []
        found = {name: curves_of(name, [one.get(name) for one in series]) for name in names}
        without = [f"No run has a finite '{name}'." for name, curves in found.items() if curves is None]
        self._notes += without if series else ()
        return [curves for curves in found.values() if curves is not None]

    def _has_steps(self, name: str) -> bool:
        scalars = (find_scalar(self._scalars[run.id], name) for run in self._runs)
        return any(scalar is not None and scalar.first_step != scalar.last_step for scalar in scalars)

    def _series(self, run: Run, names: Sequence[str]) -> dict[str, Series]:
        most = max(min(ALL_POINTS // len(self._runs), 1000), 40)
        try:
            return series_of(self._session, run, names, most=most)
        except OrchestraError as error:
            self._notes.append(error.message)
            return {}

    def _scatters(self, ranking: Sequence[str]) -> list[Scatter]:
        pairs = list(self._request.scatter)
        if self._request.wants_all and self._objective is not None:
            flags = [Column(kind="flag", name=name, heading=name) for name in ranking[:MOST_SCATTERS]]
            pairs = [(flag, self._objective) for flag in flags]
        found: list[Scatter] = []
        for x, y in pairs:
            x = self._as_flag(x)
            scatter = scatter_of((x.heading, y.heading), self._values(x), self._values(y))
            if scatter is not None:
                found.append(scatter)
            elif not self._request.wants_all:
                self._notes.append(f"No run has both a '{x.heading}' and a finite '{y.heading}'.")
        return found

    def _as_flag(self, column: Column) -> Column:
        """A plain name is that of a flag first: what a scalar is looked at over."""
        plain = column.kind == "scalar" and column.heading == column.name
        if plain and any(column.name in run.flags for run in self._runs):
            return Column(kind="flag", name=column.name, heading=column.name)
        return column


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _have(number: int) -> str:
    return "has" if number == 1 else "have"
