"""What a comparison of runs shows, and in which order."""

from __future__ import annotations

from typing import Any

import pytest

from orchestra.errors import UsageError, UserError
from orchestra.model.comparison import Comparison, Wanted, compare, sorted_by, wanted_columns
from orchestra.model.scalars import single
from orchestra.model.subjects import Moment, Seconds, Subject, is_same
from orchestra.testing.builders import an_operation
from tests.saved_runs import ended

CORE = ("run", "operation", "started", "time", "status", "label")


def a_subject(
    flags: dict[str, Any] | None = None,
    scalars: dict[str, float] | None = None,
    *,
    attributes: dict[str, Any] | None = None,
    compare: tuple[str, ...] | None = None,
    step: int = 7,
    **fields: Any,
) -> Subject:
    run = ended(flags={} if flags is None else flags, **fields)
    return Subject(
        run=run,
        status=run.state,
        run_dir=f"/home/{run.id}",
        scalars={name: single(value, step) for name, value in (scalars or {}).items()},
        attributes=attributes or {},
        compare=compare,
    )


def columns_of(made: Comparison, *headings: str) -> list[tuple[Any, ...]]:
    places = [made.headings.index(heading) for heading in headings]
    return [tuple(row.values[place] for place in places) for row in made.rows]


# which columns


def test_every_run_has_core_columns_then_flags_what_it_told_step_and_scalars() -> None:
    subject = a_subject(
        {"x10": 1, "x9": 2},
        {"loss": 0.5, "acc": 0.9, "sys/max_rss": 1.0},
        attributes={"model": "net"},
    )

    made = compare([subject], Wanted())

    assert made.headings == (*CORE, "x9", "x10", "model", "step", "acc", "loss")
    assert columns_of(made, "x9", "x10", "model", "step", "acc", "loss") == [(2, 1, "net", 7, 0.9, 0.5)]


def test_core_columns_say_what_run_it_is_and_how_it_ended() -> None:
    subject = a_subject(operation=an_operation(name="train"), label="a label")

    row = compare([subject], Wanted()).rows[0]

    assert row.runs == (subject.run,)
    assert row.values == (
        subject.run.short_id,
        "train",
        Moment(subject.run.started or 0),
        Seconds(5),
        "completed",
        "a label",
    )


def test_what_a_run_printed_does_not_take_the_place_of_what_it_is() -> None:
    made = compare([a_subject(attributes={"status": "odd", "id": "x"})], Wanted())

    assert made.headings == CORE
    assert columns_of(made, "status") == [("completed",)]


def test_columns_are_left_out_and_added_as_wanted() -> None:
    subject = a_subject({"lr": 1}, {"loss": 0.5, "sys/rss": 2.0}, sourcecode_digest="0123456789abcdef")

    def headings(**options: Any) -> tuple[str, ...]:
        return compare([subject], wanted_columns(**options)).headings

    assert headings(skip_core=True) == ("run", "lr", "step", "loss")
    assert headings(skip_op_cols=True) == CORE
    assert headings(skip_op_cols=True, extra_cols=True) == (*CORE, "sourcecode")
    assert headings(skip_core=True, all_scalars=True) == ("run", "lr", "step", "loss", "sys/rss")
    assert headings(skip_core=True, cols="min loss as best, =lr, .id") == (
        *("run", "lr", "step", "loss", "best", "id"),
    )
    assert headings(strict_cols="=lr,loss step") == ("run", "lr", "loss step")
    extra = compare([subject], wanted_columns(skip_op_cols=True, extra_cols=True))
    assert columns_of(extra, "sourcecode") == [("01234567",)]


def test_additional_and_only_columns_do_not_go_together() -> None:
    with pytest.raises(UsageError, match="--cols cannot be used with --strict-cols"):
        wanted_columns("loss", "acc")


def test_an_operation_says_its_columns() -> None:
    asked = a_subject({"a": 2, "b": 3}, {"x": 3.0, "y": 5.0}, compare=("=a as A", "x step as x_step, x", "y"))

    made = compare([asked], wanted_columns(skip_core=True))

    assert made.headings == ("run", "A", "x_step", "x", "y")
    assert made.rows[0].values[1:] == (2, 7, 3.0, 5.0)


def test_a_column_that_can_not_be_read_is_told_of_and_the_others_are_shown() -> None:
    made = compare([a_subject({"a": 2}, compare=("=a", "min max x")) for _ in range(2)], Wanted(core=False))

    assert made.headings == ("run", "a")
    assert made.problems == ("A column of operation 'train.py': invalid column 'min max x': unexpected 'x'",)


def test_no_columns_are_asked_for_by_an_empty_list() -> None:
    assert compare([a_subject({"a": 2}, compare=())], Wanted(core=False)).headings == ("run",)


def test_a_column_that_is_asked_for_and_no_run_has_is_told_of() -> None:
    subjects = [a_subject({"lr": 1}, {"loss": 1.0}), a_subject({}, {"acc": 1.0})]

    made = compare(subjects, wanted_columns(skip_core=True, cols="los,acc as a,=lr"))

    assert made.problems == ("no run has 'los' (Did you mean 'loss'?)",)
    strict = compare(subjects, wanted_columns(strict_cols=".xyz"))
    assert strict.problems == ("no run has 'xyz' (There are: acc, loss, lr.)",)
    assert compare([a_subject()], wanted_columns("los")).problems == ("no run has 'los'",)
    assert compare([], wanted_columns("los")).problems == ()


# merging


def test_columns_of_all_runs_are_merged_in_the_order_of_the_runs() -> None:
    new = a_subject({"b": 3, "c": 1}, {"y": 1.0}, compare=("=b as B", "y"))
    old = a_subject({"a": 1, "b": 2}, {"x": 2.0, "y": 4.0})

    made = compare([new, old], wanted_columns(skip_core=True, cols=".op"))

    assert made.headings == ("run", "B", "y", "a", "b", "step", "x", "op")
    assert [row.values[1:] for row in made.rows] == [
        (3, 1.0, None, None, None, None, "train.py"),
        (None, 4.0, 1, 2, 7, 2.0, "train.py"),
    ]


def test_of_columns_with_one_heading_the_first_value_counts() -> None:
    both = a_subject({"loss": 3}, {"loss": 0.5})
    one = a_subject({}, {"loss": 0.25})

    made = compare([both, one], Wanted(core=False))

    assert made.headings == ("run", "loss", "step")
    assert columns_of(made, "loss", "step") == [(3, 7), (0.25, 7)]


def test_scalars_of_event_files_are_called_by_their_tag_where_that_is_enough() -> None:
    made = compare(
        [a_subject({}, {"logs#loss": 1.0}), a_subject({}, {"train#acc": 0.1, "val#acc": 0.2})],
        Wanted(core=False),
    )

    assert made.headings == ("run", "step", "loss", "train#acc", "val#acc")


def test_nothing_is_compared_with_nothing() -> None:
    made = compare([], Wanted())

    assert (made.headings, made.rows) == ((), ())
    assert made.unchanged() == {}


# what is the same in all


def test_columns_in_which_all_have_the_same_are_found_and_left_out() -> None:
    subjects = [a_subject({"lr": rate, "n": count, "on": True}) for rate, count in ((0.1, 1), (0.2, 1.0))]
    made = compare(subjects, Wanted(core=False))

    assert made.unchanged() == {"n": 1, "on": True}
    assert made.without(made.unchanged()).headings == ("run", "lr")
    assert made.top(1).unchanged() == {}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (1, 1.0, True),
        (True, 1, False),
        ("1", 1, False),
        (None, None, True),
        (float("nan"), float("nan"), True),
        ([1], [1], True),
        ([1], [2], False),
    ],
)
def test_values_are_the_same_as_a_person_sees_it(one: Any, other: Any, same: bool) -> None:
    assert is_same(one, other) is same


# order


def test_rows_are_sorted_by_a_heading_and_what_has_nothing_comes_last() -> None:
    subjects = [
        a_subject({"lr": rate}, {"loss": loss} if loss else {}) for rate, loss in ((1, 3.0), (2, 0), (3, 1.0))
    ]
    made = compare(subjects, wanted_columns(skip_core=True, cols="loss as L"))

    def order(text: str, **options: Any) -> list[Any]:
        ordered = sorted_by(made, subjects, text, **{"largest_first": False, **options})
        return [row.values[made.headings.index("lr")] for row in ordered.rows]

    assert order("L") == [3, 1, 2]
    assert order("L", largest_first=True) == [1, 3, 2]
    assert order("=lr", largest_first=True) == [3, 2, 1]
    # Not shown, but a column, or the name of a flag or an attribute.
    narrow = compare(subjects, wanted_columns(strict_cols="#loss"))
    for text in ("lr", "started"):
        ordered = sorted_by(narrow, subjects, text, largest_first=True)
        assert [row.runs for row in ordered.rows] == [(one.run,) for one in reversed(subjects)]
    assert order("loss step") == [1, 3, 2]


def test_a_column_that_no_run_has_is_refused_with_what_there_is() -> None:
    subjects = [a_subject({"rate": 1}, {"loss": 1.0})]
    made = compare(subjects, Wanted(core=False))

    with pytest.raises(UserError, match="no run has 'los'") as refused:
        sorted_by(made, subjects, "los", largest_first=False)
    assert refused.value.hint == "Did you mean 'loss'?"
    with pytest.raises(UserError) as refused:
        sorted_by(made, subjects, "=zzz", largest_first=False)
    assert refused.value.hint == "There are: rate, step, loss, run."
    assert sorted_by(compare([], Wanted()), [], "x", largest_first=False).rows == ()
