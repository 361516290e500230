"""``orchestra select``: print the ids of runs, or one of their attributes, for use in scripts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import msgspec
from cyclopts import Parameter

from orchestra.cli import run_text, terminal
from orchestra.cli.context import complete, current
from orchestra.cli.selection import FILTERS, Filters, chosen, chosen_ids
from orchestra.engine.results import asks_results, column_value, require_column, results_of
from orchestra.engine.search import results_of_many
from orchestra.engine.session import Session
from orchestra.errors import RunNotFound, UsageError, UserError
from orchestra.model.attributes import ATTRIBUTES
from orchestra.model.columns import Column, parse_column, sort_by_value
from orchestra.model.ids import short_id
from orchestra.model.run import Run

_TEXTS = ("id", "run", "short_id", "operation", "op", "op_model", "from", "label")
"""Attributes that are printed as they are, an empty line for none."""


def select(
    *runs: str,
    filters: Filters = FILTERS,
    all_: Annotated[bool, Parameter(name=("--all", "-A"))] = False,
    short_ids: Annotated[bool, Parameter(name=("--short-id", "-s"))] = False,
    path: Annotated[bool, Parameter(name=("--path", "-p", "--dir"))] = False,
    attr: Annotated[str | None, Parameter(name=("--attr", "-a"))] = None,
    min_: Annotated[str | None, Parameter(name=("--min", "-min"))] = None,
    max_: Annotated[str | None, Parameter(name=("--max", "-max"))] = None,
    json: Annotated[bool, Parameter(name="--json")] = False,
) -> int:
    """Print the full ids of runs, one a line; of the latest run unless told otherwise.

    Parameters
    ----------
    runs
        Which runs: indexes and slices of the listing (1, 2:4, :, last), ids, or beginnings of ids.
    all_
        All runs.
    short_ids
        Print short ids.
    path
        Print the runs' directories.
    attr
        Print this attribute instead, such as status, label, run_dir, started, flags, exit_status; or a flag ('=lr'),
        or a scalar ('#loss').
    min_
        Of all runs, or those that are named, the one that has the least of this column: 'loss', 'min loss', '=lr'
        (a flag) or '.label' (an attribute). With --all they are all printed, sorted by it.
    max_
        As --min, for the greatest.
    json
        Print an array with an object for each run: its id, and the attribute by its name.
    """
    given = {"--short-id": short_ids, "--path": path, "--attr": attr is not None}
    named = [name for name, is_given in given.items() if is_given]
    if len(named) > 1:
        raise UsageError(f"{named[0]} and {named[1]} cannot both be used")
    attribute = "short_id" if short_ids else "run_dir" if path else attr
    if min_ is not None and max_ is not None:
        raise UsageError("--min and --max cannot both be used")
    column = None if min_ is None and max_ is None else parse_column(min_ or max_ or "")
    order = None if column is None else Order(column, largest_first=max_ is not None)
    return complete(lambda: _select(runs, filters, all_, attribute, order, json=json))


class Order(NamedTuple):
    """By what the runs are sorted."""

    column: Column
    largest_first: bool


async def _select(
    specs: tuple[str, ...],
    filters: Filters,
    everything: bool,
    attribute: str | None,
    order: Order | None,
    *,
    json: bool,
) -> int:
    if everything and not specs and order is None and attribute in (None, "short_id"):
        return await _select_ids(filters, attribute, json=json)
    async with current().session(looking=True) as session:
        of_all = everything or order is not None
        runs: Sequence[Run] = await chosen(session, specs, filters, default="all" if of_all else "latest")
        if not runs:
            raise RunNotFound("no matching runs")
        if order is not None:
            runs = _sorted(session, runs, order)[: None if everything else 1]
        if json:
            named = () if attribute is None else (attribute,)
            shown = [{"id": run.id, **{name: _value(session, run, name) for name in named}} for run in runs]
            terminal.write_json(shown)
            return 0
        lines = [run.id if attribute is None else attribute_text(session, run, attribute) for run in runs]
    terminal.write_exact("".join(f"{line}\n" for line in lines))
    return 0


async def _select_ids(filters: Filters, attribute: str | None, *, json: bool) -> int:
    """As :func:`_select` of all runs, of which nothing is wanted beyond the id."""
    async with current().session(looking=True) as session:
        ids = await chosen_ids(session, filters)
    if not ids:
        raise RunNotFound("no matching runs")
    if json:
        named = () if attribute is None else (attribute,)
        terminal.write_json([{"id": run_id, **{name: short_id(run_id) for name in named}} for run_id in ids])
    else:
        shown = ids if attribute is None else map(short_id, ids)
        terminal.write_exact("".join(f"{line}\n" for line in shown))
    return 0


def _sorted(session: Session, runs: Sequence[Run], order: Order) -> Sequence[Run]:
    found = results_of_many(session, runs if asks_results(order.column) else ())
    values = {run.id: column_value(session, run, order.column, found.get(run.id)) for run in runs}
    if all(value is None for value in values.values()):
        require_column(session, runs, order.column)
    return sort_by_value(runs, lambda run: values[run.id], largest_first=order.largest_first)


def attribute_text(session: Session, run: Run, name: str) -> str:
    """An attribute of ``run`` as text: formatted fields as listings show them, all others as YAML.

    Raises:
        UserError: there is no such attribute.
    """
    formatted = _formatted(session, run)
    return formatted[name] if name in formatted else _as_yaml(_value(session, run, name))


def _value(session: Session, run: Run, name: str) -> Any:
    if name[:1] in ("=", "#"):
        return column_value(session, run, parse_column(name))
    values = run_text.as_json(session, run)
    values = {**_plain(run), **{name: of(run) for name, of in ATTRIBUTES.items()}, **values}
    if name not in values:
        values = results_of(session, run).attributes
    if name not in values:
        raise UserError(f"no such run attribute '{name}'", "Flags are written '=lr' here, scalars '#loss'.")
    return values[name]


def _formatted(session: Session, run: Run) -> dict[str, str]:
    return {
        **{name: str(ATTRIBUTES[name](run) or "") for name in _TEXTS},
        "status": run_text.status(session, run),
        "started": run_text.format_time(run.started),
        "stopped": run_text.format_time(run.stopped),
        "tags": ", ".join(run.tags),
        "run_dir": run_text.run_directory(session, run),
        "exit_status": "" if run.exit_code is None else str(run.exit_code),
        "command": run_text.command(session, run),
    }


def _plain(run: Run) -> dict[str, Any]:
    return {name: getattr(run, name) for name in Run.__struct_fields__}


def _as_yaml(value: Any) -> str:
    import yaml

    plain = msgspec.to_builtins(value)
    text = yaml.safe_dump(plain, default_flow_style=False, allow_unicode=True, sort_keys=False, width=1000)
    return text.removesuffix("\n").removesuffix("\n...")
