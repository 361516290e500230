"""The values of scalars over steps: of a run, or of the steps of a pipeline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from orchestra.engine.results import DEEPEST, below_step, linked_steps
from orchestra.engine.session import Session
from orchestra.errors import OrchestraError
from orchestra.model.run import Run
from orchestra.model.scalars import SYSTEM, find_scalar, is_meant
from orchestra.model.series import MOST_POINTS, Series
from orchestra.workspace import records
from orchestra.workspace.series import read_series


def series_of(
    session: Session, run: Run, names: Sequence[str], *, most: int = MOST_POINTS
) -> dict[str, Series]:
    """The values over steps of those of the scalars ``names`` that ``run`` has.

    A pipeline has those of its steps, as among its results.

    Raises:
        HomeError, StoreUnavailable: its output can't be read.
    """
    found = _series_in(
        session.directory(run), run, lambda key: any(is_meant(key, name) for name in names), most, DEEPEST
    )
    meant = {name: find_scalar(found, name) for name in names}
    return {name: series for name, series in meant.items() if series is not None}


def _series_in(
    directory: Path, run: Run, wants: Callable[[str], bool], most: int, depth: int
) -> dict[str, Series]:
    found = read_series(directory, run, wants, most=most)
    if run.operation.kind != "steps" or run.kind == "batch" or not depth:
        return found
    for name, step in linked_steps(directory):
        try:
            inner = _series_in(step, records.read_run(step), _wanted_below_step(name, wants), most, depth - 1)
        except OrchestraError:
            # The results of the pipeline tell of it.
            continue
        found |= {below_step(name, key): series for key, series in inner.items()}
    return found


def _wanted_below_step(step: str, wants: Callable[[str], bool]) -> Callable[[str], bool]:
    return lambda key: not key.startswith(SYSTEM) and wants(below_step(step, key))
