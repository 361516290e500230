"""Columns as people write them."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestra.errors import UserError
from orchestra.model.columns import Column, first_names, parse_column, parse_columns, sort_by_value


def scalar(name: str, **fields: Any) -> Column:
    return Column(**{"kind": "scalar", "name": name, "heading": name, **fields})


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("loss", scalar("loss")),
        ("min loss", scalar("loss", qualifier="min", heading="min loss")),
        ("loss step", scalar("loss", step=True, heading="loss step")),
        ("max a#acc step as best", scalar("a#acc", qualifier="max", step=True, heading="best")),
        ("loss as 'the loss'", scalar("loss", heading="the loss")),
        ("scalar:loss", scalar("loss")),
        ("#loss", scalar("loss")),
        ("'a b'", scalar("a b")),
        ("min", scalar("min")),
        ("step", scalar("step")),
        ("last step", scalar("step", qualifier="last", heading="last step")),
        ("=lr", Column(kind="flag", name="lr", heading="lr")),
        ("flag:lr as rate", Column(kind="flag", name="lr", heading="rate")),
        ("='a b'", Column(kind="flag", name="a b", heading="a b")),
        (".label", Column(kind="attribute", name="label", heading="label")),
        ("attr:label", Column(kind="attribute", name="label", heading="label")),
    ],
)
def test_a_column_is_read_as_it_is_meant(text: str, column: Column) -> None:
    assert parse_column(text) == column


def test_columns_are_separated_by_commas() -> None:
    assert [column.heading for column in parse_columns("=lr, min loss,'a,b' , .id")] == [
        "lr",
        "min loss",
        "a,b",
        "id",
    ]


@pytest.mark.parametrize(
    "text", ["", " ", ",", "a,", "a b", "min a b", "=", ".", "min =lr", ".label step", "'a", "a as", "''"]
)
def test_what_is_no_column_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="invalid column"):
        parse_columns(text)


def test_one_column_is_not_several() -> None:
    with pytest.raises(UserError, match="only one"):
        parse_column("a, b")


@settings(deadline=None, derandomize=True)
@given(st.text())
def test_any_text_is_columns_or_an_error(text: str) -> None:
    try:
        assert parse_columns(text)
    except UserError:
        pass


@settings(deadline=None, derandomize=True)
@given(st.text(min_size=1).filter(lambda name: "'" not in name and name.isprintable()))
def test_a_quoted_name_is_taken_as_it_is(name: str) -> None:
    assert parse_column(f"='{name}'").name == name


@settings(deadline=None, derandomize=True)
@given(st.lists(st.one_of(st.none(), st.floats(), st.integers(), st.text(), st.booleans())), st.booleans())
def test_what_has_no_value_comes_last_in_its_order(values: list[Any], largest_first: bool) -> None:
    items = list(enumerate(values))

    found = sort_by_value(items, lambda item: item[1], largest_first=largest_first)

    assert sorted(found, key=lambda item: item[0]) == items
    kinds = [_kind(value) for _, value in found]
    assert kinds == sorted(kinds)
    rest = [index for index, value in found if _kind(value) == 2]
    assert rest == sorted(rest)
    numbers = [value for _, value in found if _kind(value) == 0]
    assert numbers == sorted(numbers, reverse=largest_first)


def _kind(value: Any) -> int:
    if isinstance(value, str):
        return 1 if value else 2
    return 2 if value is None or (isinstance(value, float) and math.isnan(value)) else 0


@pytest.mark.parametrize(("count", "end"), [(1, "n0"), (10, "n9"), (11, "n9, ...")])
def test_a_hint_lists_ten_names_and_says_if_there_are_more(count: int, end: str) -> None:
    assert first_names([f"n{number}" for number in range(count)]).endswith(end)
