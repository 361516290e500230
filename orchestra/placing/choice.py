"""Which run meets a dependency on an operation."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from msgspec import structs

from orchestra.contracts import RunReader
from orchestra.errors import ResolveError
from orchestra.model.conditions import Comparison, Name
from orchestra.model.filters import RunQuery
from orchestra.model.run import Run

_PAGE = 200
_SHOWN = 5


class OtherOperation(ResolveError):
    """The run that was named is of another operation than the one whose files are needed."""


async def choose_run(value: str, runs: RunReader, *, pipeline: str | None = None) -> Run:
    """The run that ``operation:VALUE`` stands for: the newest completed one of that operation (which may be a
    pipeline) that is marked, else the newest completed one, or the run whose id is, or begins with, VALUE. A name
    wins over an id.

    Args:
        value: names of operations separated by commas (regular expressions are fine, and the model before a name may
            be left out), or an id, or ``NAMES=RUN``: a run (an id or a name) that must be of one of these operations.
        runs: where to look.
        pipeline: by name, only runs of this pipeline are taken.

    Raises:
        OtherOperation: the run is of none of these operations.
        ResolveError: no run is suitable, or several have such an id.
    """
    names, given, spec = value.rpartition("=")
    if not given:
        return await _by_name(value, runs, pipeline) or _completed(await _by_id(value, runs), value)
    if not (names.strip() and spec.strip()):
        raise ResolveError(f"'{value}' does not name both an operation and a run", "Write 'NAME=RUN'.")
    (run,) = (await runs.query(RunQuery(ids=(spec,)))).runs or (None,)
    run = run or await _by_name(spec, runs, pipeline) or await _by_id(spec, runs)
    if not named_by(names)(run.operation.name):
        raise OtherOperation(
            f"run {run.short_id} is of {run.operation_name}, not of {names}", f"Name a run of {names}."
        )
    return _completed(run, spec)


async def _by_name(value: str, runs: RunReader, pipeline: str | None) -> Run | None:
    completed = RunQuery(states=frozenset(("completed",)), kinds=frozenset(("run", "steps")), limit=_PAGE)
    marked = Comparison(Name("marked", "attribute"), "=", True)
    return await _first(
        value, runs, pipeline, structs.replace(completed, where=marked, limit=None)
    ) or await _first(value, runs, pipeline, completed)


async def _first(value: str, runs: RunReader, pipeline: str | None, completed: RunQuery) -> Run | None:
    is_meant = named_by(value)
    offset = 0
    while True:
        page = await runs.query(structs.replace(completed, offset=offset))
        for run in page.runs:
            if is_meant(run.operation.name) and _is_of(run, pipeline):
                return run
        offset += len(page.runs)
        if not page.runs or offset >= page.total:
            break
    return None


def named_by(value: str) -> Callable[[str], bool]:
    """Whether an operation's full name is one of those that ``operation:VALUE`` stands for."""
    patterns = [_pattern(name.strip()) for name in value.split(",") if name.strip()]
    return lambda operation: _is_named(operation, patterns)


def _pattern(name: str) -> tuple[str, re.Pattern[str] | None]:
    try:
        return name, re.compile(name)
    except (re.error, RecursionError, OverflowError):
        return name, None


def _is_named(operation: str, patterns: Sequence[tuple[str, re.Pattern[str] | None]]) -> bool:
    short = operation.rpartition(":")[2]
    for name, pattern in patterns:
        shown = operation if ":" in name else short
        if name in (operation, shown) or (pattern is not None and pattern.fullmatch(shown)):
            return True
    return False


def _is_of(run: Run, pipeline: str | None) -> bool:
    return pipeline is None or run.parent == pipeline


async def _by_id(prefix: str, runs: RunReader) -> Run:
    unsuitable = ResolveError(
        f"no suitable run for {prefix}", "A completed run of this operation is needed, or the id of a run."
    )
    if not prefix:
        raise unsuitable
    found = (await runs.query(RunQuery(id_prefix=prefix, limit=_SHOWN + 1))).runs
    candidates = [run for run in found if run.id == prefix] or list(found)
    if not candidates:
        raise unsuitable
    if len(candidates) > 1:
        ids = ", ".join(run.id[: max(8, len(prefix) + 4)] for run in candidates[:_SHOWN])
        raise ResolveError(f"'{prefix}' begins the ids of several runs: {ids}", "Give more of the id.")
    return candidates[0]


def _completed(run: Run, spec: str) -> Run:
    if run.state != "completed":
        raise ResolveError(
            f"no suitable run for {spec}: run {run.short_id} of {run.operation_name} is {run.state}",
            "Only what a completed run has made can be used.",
        )
    return run
