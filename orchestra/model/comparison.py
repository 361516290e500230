"""Comparing runs: which columns a table of them has, and what each run has in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Final, TypedDict, Unpack

from msgspec import Struct, structs

from orchestra.errors import UsageError, UserError
from orchestra.model.columns import Column, first_names, parse_column, parse_columns, sort_by_value
from orchestra.model.run import Run
from orchestra.model.scalars import natural
from orchestra.model.subjects import (
    RESULT_FIRST,
    Subject,
    Value,
    is_attribute,
    is_same,
    scalar_names,
    value_of,
    values_of,
)

_CORE: Final = ("run", "operation", "started", "time", "status", "label")


class Wanted(Struct, frozen=True, kw_only=True):
    """Which columns are wanted beyond ``run``, which is always there."""

    core: bool = True
    """Operation, times, status and label."""
    extra: bool = False
    """The source code's digest, too."""
    operation: bool = True
    """Those of each run's operation."""
    all_scalars: bool = False
    """Also those that we measured, where the operation does not say which columns it has."""
    more: tuple[Column, ...] = ()


class ColumnSets(TypedDict, total=False):
    """Which of the usual columns a person wants, too, or not."""

    skip_core: bool
    skip_op_cols: bool
    extra_cols: bool
    all_scalars: bool


def wanted_columns(
    cols: str | None = None, strict_cols: str | None = None, **sets: Unpack[ColumnSets]
) -> Wanted:
    """What is wanted, from how a person says it; ``strict_cols`` are all that is shown.

    Raises:
        UsageError: both kinds are given.
        UserError: a column can't be read.
    """
    if cols is not None and strict_cols is not None:
        raise UsageError("--cols cannot be used with --strict-cols")
    text = cols if strict_cols is None else strict_cols
    return Wanted(
        core=not sets.get("skip_core") and strict_cols is None,
        extra=sets.get("extra_cols", False),
        operation=not sets.get("skip_op_cols") and strict_cols is None,
        all_scalars=sets.get("all_scalars", False),
        more=() if text is None else tuple(parse_columns(text)),
    )


class Row(Struct, frozen=True):
    """One line of a comparison."""

    values: tuple[Value, ...]
    """As many as there are columns; None where there is nothing."""
    runs: tuple[Run, ...]
    """The run, or the repeats, that it is of."""


class Comparison(Struct, frozen=True, kw_only=True):
    """A table of runs."""

    columns: tuple[Column, ...]
    """Of columns with one heading, the first that asked for it."""
    rows: tuple[Row, ...]
    problems: tuple[str, ...] = ()
    """What keeps something from being shown, each in a sentence."""

    @property
    def headings(self) -> tuple[str, ...]:
        """What the columns are called."""
        return tuple(column.heading for column in self.columns)

    def records(self) -> list[dict[str, Value]]:
        """Of each row its values by the headings."""
        return [dict(zip(self.headings, row.values, strict=True)) for row in self.rows]

    def top(self, count: int | None) -> Comparison:
        """The first ``count`` rows alone."""
        return self if count is None else structs.replace(self, rows=self.rows[:count])

    def by_heading(self, heading: str, *, largest_first: bool) -> Comparison:
        """The rows sorted by what they have under ``heading``; those that have nothing there are last."""
        place = self.headings.index(heading)
        return self.by_keys([row.values[place] for row in self.rows], largest_first=largest_first)

    def by_keys(self, keys: Sequence[Value], *, largest_first: bool) -> Comparison:
        """The rows sorted by ``keys``, one for each row."""
        pairs = sort_by_value(
            zip(keys, self.rows, strict=True), lambda pair: pair[0], largest_first=largest_first
        )
        return structs.replace(self, rows=tuple(row for _, row in pairs))

    def unchanged(self) -> dict[str, Value]:
        """The columns, but for the first, in which several rows all have the same, with what that is."""
        if len(self.rows) < 2:
            return {}
        first = self.rows[0].values
        # The mark of a run is shown with its operation.
        marks = {run.marked for row in self.rows for run in row.runs}
        return {
            column.heading: first[place]
            for place, column in enumerate(self.columns)
            if place
            and not (column.kind == "attribute" and column.name == "operation" and len(marks) > 1)
            and all(is_same(row.values[place], first[place]) for row in self.rows)
        }

    def without(self, headings: Iterable[str]) -> Comparison:
        """The same without the columns of these headings."""
        left_out = frozenset(headings)
        kept = [place for place, column in enumerate(self.columns) if column.heading not in left_out]
        return structs.replace(
            self,
            columns=tuple(self.columns[place] for place in kept),
            rows=tuple(Row(tuple(row.values[place] for place in kept), row.runs) for row in self.rows),
        )


def compare(subjects: Sequence[Subject], wanted: Wanted) -> Comparison:
    """The table of ``subjects``, in their order.

    The columns of all runs are merged in three sections: what every run has, what the operations ask for, what is
    asked for besides; in each in the order of the runs. Of columns with one heading a run has the first value there is.
    """
    reader = _ColumnReader(wanted)
    sections = [[_core_columns(wanted)] * len(subjects), [reader.of(one) for one in subjects]]
    sections.append([wanted.more] * len(subjects))
    columns: dict[str, Column] = {}
    for section in sections:
        # Runs of one operation share their columns.
        for shared in {id(found): found for found in section}.values():
            for column in shared:
                columns.setdefault(column.heading, column)
    places = {heading: place for place, heading in enumerate(columns)}
    rows: list[Row] = []
    for subject, *found in zip(subjects, *sections, strict=True):
        values: list[Value] = [None] * len(columns)
        for column in (column for section in found for column in section):
            place = places[column.heading]
            if values[place] is None:
                values[place] = value_of(subject, column)
        rows.append(Row(tuple(values), (subject.run,)))
    problems = [f"run {one.run.short_id}: {problem}" for one in subjects for problem in one.problems]
    for column in wanted.more if rows else ():
        if all(row.values[places[column.heading]] is None for row in rows):
            problems.append(f"no run has '{column.name}'{_beside(column.name, subjects)}")
    return Comparison(
        columns=tuple(columns.values()), rows=tuple(rows), problems=(*reader.problems, *problems)
    )


def sorted_by(
    comparison: Comparison, subjects: Sequence[Subject], text: str, *, largest_first: bool
) -> Comparison:
    """The rows by the column that is shown under the heading ``text``, else by the column that it describes.

    Raises:
        UserError: no run has anything in it; the hint says what there is.
    """
    if text in comparison.headings:
        place = comparison.headings.index(text)
        keys = [row.values[place] for row in comparison.rows]
    else:
        keys = values_of(subjects, parse_column(text), RESULT_FIRST)
    # What somebody sorts by is hardly what every run has.
    known = sorted(comparison.headings, key=_CORE.__contains__)
    require_any(keys, text, known)
    return comparison.by_keys(keys, largest_first=largest_first)


def require_any(values: Sequence[Value], name: str, known: Sequence[str]) -> None:
    """Refuse a name that stands for nothing in any of the runs, if there are some.

    Raises:
        UserError: it is one; the hint says what there is.
    """
    if not values or any(value is not None for value in values):
        return
    raise UserError(f"no run has '{name}'", _like(name, known))


def _beside(name: str, subjects: Sequence[Subject]) -> str:
    flags = {flag for subject in subjects for flag in subject.run.flags}
    known = natural(flags.union(*(scalar_names(subject.scalars) for subject in subjects)))
    return f" ({_like(name, known)})" if known else ""


def _like(name: str, known: Sequence[str]) -> str:
    """What may have been meant by a name, as a sentence."""
    if close := get_close_matches(name, known, n=3):
        return f"Did you mean {' or '.join(repr(one) for one in close)}?"
    return f"There are: {first_names(known)}."


def _core_columns(wanted: Wanted) -> tuple[Column, ...]:
    names = [*_CORE[:1], *(_CORE[1:] if wanted.core else ())]
    names += ["sourcecode"] if wanted.extra else []
    return tuple(Column(kind="attribute", name=name, heading=name) for name in names)


class _ColumnReader:
    """Finds the columns of each run's operation; the same ones for runs that are alike."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._known: dict[tuple[object, ...], tuple[Column, ...]] = {}
        self.problems: dict[str, None] = {}

    def of(self, subject: Subject) -> tuple[Column, ...]:
        if not self._wanted.operation:
            return ()
        key: tuple[object, ...] = ("asked for", subject.compare)
        if subject.compare is None:
            key = ("default", *map(tuple, (subject.run.flags, subject.attributes, subject.scalars)))
        if key not in self._known:
            self._known[key] = self._read(subject)
        return self._known[key]

    def _read(self, subject: Subject) -> tuple[Column, ...]:
        if subject.compare is None:
            return tuple(self._default_columns(subject))
        found: list[Column] = []
        for text in subject.compare:
            try:
                found += parse_columns(text)
            except UserError as error:
                self.problems[f"A column of operation '{subject.run.operation.name}': {error.message}"] = None
        return tuple(found)

    def _default_columns(self, subject: Subject) -> list[Column]:
        flags = [Column(kind="flag", name=name, heading=name) for name in natural(subject.run.flags)]
        told = [
            Column(kind="attribute", name=name, heading=name)
            for name in natural(subject.attributes)
            if not is_attribute(name)
        ]
        names = scalar_names(subject.scalars, everything=self._wanted.all_scalars)
        scalars = [Column(kind="scalar", name=name, heading=name) for name in names]
        steps: list[Column] = []
        if names:
            of = "loss" if "loss" in names else names[0]
            steps = [Column(kind="scalar", name=of, step=True, heading="step")]
        return [*flags, *told, *steps, *scalars]
