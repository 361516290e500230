"""What runs came to: their scalars and attributes, and the values of columns."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from orchestra.engine.presence import is_reachable, unreached
from orchestra.engine.session import Session
from orchestra.errors import OrchestraError, UserError
from orchestra.model.attributes import ATTRIBUTES
from orchestra.model.columns import Column, first_names
from orchestra.model.operation import FlagValue
from orchestra.model.run import Run
from orchestra.model.scalars import SYSTEM, Scalar, natural, scalar_value
from orchestra.workspace import records
from orchestra.workspace.layout import CONTROL
from orchestra.workspace.results import Results, read_results

DEEPEST = 8
"""Pipelines within pipelines that are looked into."""
OWN_NAMES = frozenset((*ATTRIBUTES, *Run.__struct_fields__, "run_dir"))
"""Attributes that every run has."""
_PREFIXES = {"flag": "=", "scalar": "#", "attribute": "."}
_ARTICLES = {"flag": "a", "scalar": "a", "attribute": "an"}


def results_of(session: Session, run: Run) -> Results:
    """The results of the newest attempt of ``run``; why some may be missing is in ``problems``.

    A pipeline has those of its steps, with the step's name and ``#`` before each scalar's.
    """
    if not is_reachable(run):
        return Results(problems=(unreached(run),))
    return _results_in(session.directory(run), run, DEEPEST)


def _results_in(directory: Path, run: Run, depth: int) -> Results:
    try:
        own = read_results(directory, run)
    except OrchestraError as error:
        own = Results(problems=(error.message,))
    if run.operation.kind != "steps" or run.kind == "batch" or not depth:
        return own
    scalars: dict[str, Scalar] = dict(own.scalars)
    problems = list(own.problems)
    for name, step in linked_steps(directory):
        try:
            found = _results_in(step, records.read_run(step), depth - 1)
        except OrchestraError as error:
            problems.append(error.message)
            continue
        results = found.scalars.items()
        scalars |= {below_step(name, key): scalar for key, scalar in results if not key.startswith(SYSTEM)}
        problems += found.problems
    return Results(scalars=scalars, attributes=own.attributes, problems=tuple(problems))


def linked_steps(directory: Path) -> list[tuple[str, Path]]:
    """The links of a pipeline's directory to the directories of its steps' runs."""
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return []
    found = [(name, directory / name) for name in names]
    return [(name, path) for name, path in found if path.is_symlink() and (path / CONTROL).is_dir()]


def below_step(step: str, key: str) -> str:
    """The name that a scalar ``key`` of a step has among those of its pipeline."""
    prefix, separator, tag = key.rpartition("#")
    return f"{step}/{prefix}#{tag}" if separator else f"{step}#{tag}"


def column_value(session: Session, run: Run, column: Column, results: Results | None = None) -> FlagValue:
    """What ``run`` has in ``column``; None if nothing. Its results, if not given, are read where that takes them."""
    if column.kind == "flag":
        return run.flags.get(column.name)
    if column.kind == "attribute" and column.name in OWN_NAMES:
        return _own_attribute(session, run, column.name)
    results = results or results_of(session, run)
    if column.kind == "attribute":
        return results.attributes.get(column.name)
    return scalar_value(results.scalars, column.name, column.qualifier, step=column.step)


def require_column(session: Session, runs: Sequence[Run], column: Column) -> None:
    """Refuse a column in which no run has anything.

    Raises:
        UserError: it is one; the hint says what they have.
    """
    if all(column_value(session, run, column) is None for run in runs):
        raise UserError(f"no run has '{column.name}'", like_column(session, runs, column))


def like_column(session: Session, runs: Iterable[Run], column: Column) -> str | None:
    """What may have been meant by a column in which these runs have nothing, as a sentence."""
    from difflib import get_close_matches

    names = _names(session, runs)
    for kind, prefix in _PREFIXES.items():
        if column.name in names[kind] and kind != column.kind:
            return f"'{column.name}' is {_ARTICLES[kind]} {kind}: write it as '{prefix}{column.name}'."
    known = natural(names[column.kind])
    if close := get_close_matches(column.name, known, n=3):
        return f"Did you mean {' or '.join(repr(name) for name in close)}?"
    return f"{column.kind.capitalize()}s: {first_names(known)}." if known else None


def _names(session: Session, runs: Iterable[Run]) -> dict[str, set[str]]:
    """What these runs have, by kind."""
    names: dict[str, set[str]] = {"flag": set(), "scalar": set(), "attribute": set(OWN_NAMES)}
    for run in runs:
        results = results_of(session, run)
        names["flag"].update(run.flags)
        names["scalar"].update(name for name in results.scalars if not name.startswith(SYSTEM))
        names["attribute"].update(results.attributes)
    return names


def asks_results(column: Column) -> bool:
    """Whether it takes a run's results to tell what it has in ``column``."""
    return column.kind == "scalar" or (column.kind == "attribute" and column.name not in OWN_NAMES)


def _own_attribute(session: Session, run: Run, name: str) -> FlagValue:
    if name == "run_dir":
        return str(session.directory(run))
    found = ATTRIBUTES.get(name)
    return getattr(run, name) if found is None else found(run)
