"""Tables and CSV of anything at all: they fit, they can be read back, they drive nothing."""

from __future__ import annotations

import csv
import io
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orchestra.cli.compare_table import fitted_table, whole_table
from orchestra.cli.compare_text import as_csv, cell_text
from orchestra.cli.tables import cell, text_width
from orchestra.console import printable
from orchestra.model.columns import Column
from orchestra.model.comparison import Comparison, Row
from tests.saved_runs import ended

TEXTS = st.text(max_size=60)
VALUES: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    TEXTS,
    st.lists(st.integers() | TEXTS, max_size=3),
)
RUN = ended()


@st.composite
def comparisons(draw: st.DrawFn) -> Comparison:
    headings = draw(st.lists(TEXTS.filter(bool), min_size=1, max_size=6, unique=True))
    rows = draw(st.lists(st.lists(VALUES, min_size=len(headings), max_size=len(headings)), max_size=4))
    columns = tuple(Column(kind="flag", name=name, heading=name) for name in headings)
    return Comparison(columns=columns, rows=tuple(Row(tuple(values), (RUN,)) for values in rows))


@given(comparisons(), st.integers(10, 200))
def test_a_table_fits_and_has_nothing_in_it_that_drives_a_terminal(made: Comparison, width: int) -> None:
    shown = fitted_table(made, width, coloured=False)

    assert all(text_width(line) <= width for line in shown.split("\n"))
    assert all(printable(line) == line for line in shown.split("\n"))
    if made.rows:
        # No column is lost: each is in the table, or said to be the same in all.
        for heading in made.headings:
            assert cell(heading)[:1].strip() in shown or heading in made.unchanged()


@given(comparisons())
def test_a_whole_table_has_a_line_a_row_with_all_that_is_in_it(made: Comparison) -> None:
    lines = whole_table(made).splitlines()

    assert len(lines) == (len(made.rows) + 1 if made.rows else 0)
    for line, row in zip(lines[1:], made.rows, strict=True):
        assert all(cell(cell_text(value)).strip() in line for value in row.values)


@given(comparisons())
def test_raw_csv_is_read_back_as_it_was(made: Comparison) -> None:
    text = as_csv(made, raw=True).decode(errors="surrogateescape")
    read = list(csv.reader(io.StringIO(text, newline=""), strict=True))

    if not made.rows:
        assert read == []
        return
    assert read[0] == list(made.headings)
    for fields, row in zip(read[1:], made.rows, strict=True):
        # A line of one empty field is an empty line.
        for field, value in zip(fields or [""], row.values, strict=True):
            if isinstance(value, str):
                assert field == value
            elif isinstance(value, float):
                assert repr(float(field)) == repr(value)


@given(comparisons())
def test_no_text_in_csv_is_a_formula(made: Comparison) -> None:
    text = as_csv(made, raw=False).decode(errors="surrogateescape")

    for fields, row in zip(list(csv.reader(io.StringIO(text, newline="")))[1:], made.rows, strict=True):
        for field, value in zip(fields or [""], row.values, strict=True):
            if not isinstance(value, int | float):
                assert not field.startswith(("=", "+", "-", "@", "\t", "\r"))
