"""Runs that differ in their seed alone are repeats: what they came to together."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from msgspec import Struct, structs

from orchestra.errors import UsageError
from orchestra.model.aggregates import DEFAULT_STATISTICS, Statistic, aggregate, parse_statistics
from orchestra.model.columns import Column, as_number, parse_column, parse_columns, sort_by_value
from orchestra.model.comparison import Comparison, Row, require_any
from orchestra.model.operation import FlagValue
from orchestra.model.run import Run
from orchestra.model.scalars import natural
from orchestra.model.subjects import (
    RESULT_FIRST,
    Subject,
    Value,
    comparable,
    is_attribute,
    value_of,
    values_of,
)

_SEED: Final = re.compile(
    r"(?:.*[-_.:/ ])?(?:random_?|rng_?|np_?)?seed|.*[a-z]Seed|(?:.*[-_.:/ ])?random[-_]?state"
)


class Grouping(Struct, frozen=True, kw_only=True):
    """How runs are put together."""

    by: tuple[Column, ...] | None
    """By these columns; None: by the operation and all flags but the seed."""
    statistics: tuple[Statistic, ...] = DEFAULT_STATISTICS
    only_completed: bool = True
    """Leave out runs that have not come to their end: what they came to is no result yet."""


def parse_grouping(
    group_by: str | None, agg: str | None, *, repeats: bool, only_completed: bool = True
) -> Grouping | None:
    """The grouping that is asked for; None: every run has a row of its own.

    Raises:
        UsageError: what is asked for does not go together, or a statistic is not known.
        UserError: a column can't be read.
    """
    if repeats and group_by is not None:
        raise UsageError("--repeats cannot be used with --group-by")
    if not repeats and group_by is None:
        if agg is not None:
            raise UsageError(
                "--agg needs --group-by or --repeats", "Use --repeats to group by all flags but the seed."
            )
        return None
    return Grouping(
        by=None if group_by is None else tuple(parse_columns(group_by)),
        statistics=DEFAULT_STATISTICS if agg is None else parse_statistics(agg),
        only_completed=only_completed,
    )


def is_seed(flag: str) -> bool:
    """Whether a flag of this name is what repeats differ in."""
    return _SEED.fullmatch(flag) is not None or _SEED.fullmatch(flag.lower()) is not None


def seeds_of(runs: Sequence[Run]) -> list[FlagValue]:
    """The different seeds of runs: of each its flags that are one, else that of its batch."""
    found: dict[tuple[str, object], FlagValue] = {}
    for run in runs:
        seeds: list[FlagValue] = [run.flags[name] for name in natural(run.flags) if is_seed(name)]
        for seed in seeds or [run.random_seed]:
            if seed is not None:
                found.setdefault(comparable(seed), seed)
    return list(found.values())


def group(
    comparison: Comparison, subjects: Sequence[Subject], grouping: Grouping, more: Sequence[Column] = ()
) -> Comparison:
    """``comparison``, whose rows are of ``subjects``, with one row for those that are alike.

    Of each scalar that it shows, and of each column of ``more``, it has the statistics.

    Raises:
        UserError: no run has anything in a column that they are grouped by.
    """
    by = _grouped_by(grouping.by, subjects)
    for column in by if grouping.by is not None else ():
        require_any([value_of(one, column) for one in subjects], column.heading, _groupable(subjects))
    taken = {column.heading for column in by}
    shown = [
        place
        for place, column in enumerate(comparison.columns)
        if column.heading not in taken and ((column.kind == "scalar" and not column.step) or column in more)
    ]
    pairs = [
        (subject, row)
        for subject, row in zip(subjects, comparison.rows, strict=True)
        if not grouping.only_completed or subject.status == "completed"
    ]
    groups: dict[tuple[tuple[str, object], ...], list[tuple[Subject, Row]]] = {}
    for subject, row in pairs:
        key = tuple(comparable(value_of(subject, column)) for column in by)
        groups.setdefault(key, []).append((subject, row))
    count = Column(kind="attribute", name="runs", heading="repeats" if "runs" in taken else "runs")
    columns = [*by, count, *_statistic_columns(comparison, shown, grouping.statistics)]
    rows = [_row(by, shown, grouping.statistics, members) for members in groups.values()]
    return Comparison(
        columns=tuple(columns),
        rows=tuple(_in_order(rows, len(by))),
        problems=(*comparison.problems, *_notes(len(subjects) - len(pairs), [one.run for one, _ in pairs])),
    )


def _notes(left_out: int, runs: Sequence[Run]) -> list[str]:
    """What a person should know who reads the statistics."""
    notes = [f"{left_out} run(s) that have not completed are left out"] if left_out else []
    seeded = [run for run in runs if any(map(is_seed, run.flags))]
    different = {
        (run.operation.name, *((name, comparable(run.flags[name])) for name in sorted(run.flags)))
        for run in seeded
    }
    if again := len(seeded) - len(different):
        notes.append(f"{again} run(s) have all flags of another, the seed too, and count once more")
    return notes


def groups_sorted_by(
    grouped: Comparison, subjects: Sequence[Subject], text: str, *, largest_first: bool
) -> Comparison:
    """The groups by the column that is shown as ``text``, else by the mean of the column that it describes.

    Raises:
        UserError: no run has anything in it.
    """
    keys: list[Value]
    if text in grouped.headings:
        place = grouped.headings.index(text)
        keys = [row.values[place] for row in grouped.rows]
    else:
        values = values_of(subjects, parse_column(text), RESULT_FIRST)
        known = {one.run.id: value for one, value in zip(subjects, values, strict=True)}
        keys = [aggregate(_numbers([known[run.id] for run in row.runs]), "mean") for row in grouped.rows]
    require_any(keys, text, grouped.headings)
    return grouped.by_keys(keys, largest_first=largest_first)


def _grouped_by(wanted: Sequence[Column] | None, subjects: Sequence[Subject]) -> list[Column]:
    flags = {name for subject in subjects for name in subject.run.flags}
    if wanted is None:
        names = natural(name for name in flags if not is_seed(name))
        return [
            Column(kind="attribute", name="operation", heading="operation"),
            *(Column(kind="flag", name=name, heading=name) for name in names),
        ]
    return list({column.heading: _meant(column, flags) for column in wanted}.values())


def _meant(column: Column, flags: set[str]) -> Column:
    """A plain name is that of a flag before that of anything else: groups are rarely of scalars."""
    if column.kind == "scalar" and not column.step and column.qualifier == "last":
        if column.name in flags:
            return structs.replace(column, kind="flag")
        if is_attribute(column.name):
            return structs.replace(column, kind="attribute")
    return column


def _groupable(subjects: Sequence[Subject]) -> list[str]:
    return natural({name for subject in subjects for name in subject.run.flags})


def _statistic_columns(
    comparison: Comparison, shown: Sequence[int], statistics: Sequence[Statistic]
) -> list[Column]:
    columns = [comparison.columns[place] for place in shown]
    return [
        structs.replace(column, heading=f"{column.heading} {statistic}")
        for column in columns
        for statistic in statistics
    ]


def _row(
    by: Sequence[Column],
    shown: Sequence[int],
    statistics: Sequence[Statistic],
    members: Sequence[tuple[Subject, Row]],
) -> Row:
    values: list[Value] = [value_of(members[0][0], column) for column in by]
    values.append(len(members))
    for place in shown:
        numbers = _numbers([row.values[place] for _, row in members])
        values += [aggregate(numbers, statistic) for statistic in statistics]
    return Row(tuple(values), tuple(run for _, row in members for run in row.runs))


def _numbers(values: Sequence[Value]) -> list[float]:
    plain = (value for value in values if not isinstance(value, bool))
    numbers = (value if isinstance(value, float) else as_number(value) for value in plain)
    return [number for number in numbers if number is not None]


def _in_order(rows: list[Row], count: int) -> list[Row]:
    """By what they are grouped by, the first column before the others."""
    for place in reversed(range(count)):
        rows = sort_by_value(rows, lambda row, place=place: row.values[place])
    return rows
