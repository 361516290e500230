"""Filters: which runs the verbs take that take runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from orchestra.model.batch import Batch
from orchestra.model.run import Comment
from orchestra.testing.builders import a_run, an_operation
from tests.cli.conftest import Call
from tests.saved_runs import ended, saved

TIMES = {"created": 1_735_812_672_000_000, "started": 1_735_812_672_000_000}


def run_called(name: str, **fields: Any) -> Any:
    """An ended run; the later its letter in the alphabet, the older it is."""
    started = TIMES["started"] - ord(name) * 1_000_000
    return ended(id=name, **{"started": started, "created": started, **fields})


def listed(call: Call, *options: str) -> str:
    """The ids of the runs that are left, newest first, in one word."""
    called = call("select", "--all", *options)
    assert called.code == 0 or called.error == "orchestra: no matching runs\n", called.error
    return "".join(called.lines)


@pytest.fixture
def states(home: Path) -> None:
    final = ("completed", "error", "terminated", "lost", "pruned", "skipped", "aborted", "broken")
    letters = dict(zip(final, "cetlpxab", strict=True))
    saved(
        home,
        *(run_called(letter, state=state) for state, letter in letters.items()),
        a_run(id="s", state="staged", created=1, staged=1),
        a_run(id="w", state="pending", created=1),
    )


@pytest.mark.usefixtures("states")
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("-Se",), "abel"),
        (("--error",), "abel"),
        (("-Sc",), "cx"),
        (("-St",), "pt"),
        (("-Ss",), "s"),
        (("-Sp",), "w"),
        (("-Sr",), ""),
        (("-Ssp",), "sw"),
        (("-Sps", "-Sc"), "cswx"),
        (("-S", "ct"), "cptx"),
        (("--not-error", "--not-completed", "--not-staged"), "ptw"),
        (("--not-error", "-Sec"), "cx"),
    ],
)
def test_status_filters_add_up_and_their_opposites_take_away(
    call: Call, options: tuple[str, ...], expected: str
) -> None:
    assert "".join(sorted(listed(call, *options))) == expected


def test_an_unknown_status_letter_is_refused(call: Call) -> None:
    refused = call("runs", "-Sex")

    assert refused.code == 2
    assert refused.error.splitlines()[0] == "orchestra: unrecognized status char 'x' in option '-S'"


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("train", "ab"),
        ("pre*", "cd"),
        ("m:train", "b"),
        ("m:*", "bdf"),
        ("*:train", "ab"),
        ("^train", "a"),
        ("train$", "abcd"),
        ("^(train|m:[a-z]*)$", "abd"),
        ("model.py", "e"),
        ("dir/model.py", "e"),
        ("model", ""),
        ("train+", "f"),
        ("m:*+*", "f"),
        ("TRAIN", ""),
    ],
)
def test_an_operation_is_filtered_by_name_model_glob_or_expression(
    call: Call, home: Path, pattern: str, expected: str
) -> None:
    def of(name: str, model: str = "") -> dict[str, Any]:
        return {"operation": an_operation(name=f"{model}:{name}" if model else name, model=model)}

    saved(
        home,
        run_called("a", **of("train")),
        run_called("b", **of("train", "m")),
        run_called("c", **of("pretrain")),
        run_called("d", **of("pretrain", "m")),
        run_called("e", **of("dir/model.py")),
        run_called("f", **of("train", "m"), kind="batch", batch_spec=Batch(space={}, seed=1)),
    )

    assert listed(call, "-Fo", pattern) == expected


def test_operations_that_are_given_together_are_alternatives(call: Call, home: Path) -> None:
    saved(home, *(run_called(name, operation=an_operation(name=name * 2)) for name in "abc"))

    assert listed(call, "-Fo", "aa", "--operation", "cc") == "ac"


def test_an_expression_that_cannot_be_read_is_refused(call: Call) -> None:
    refused = call("runs", "-Fo", "^(")

    assert refused.code == 1
    assert refused.error.startswith("orchestra: invalid regular expression '^(' for the operation")


@pytest.fixture
def described(home: Path) -> None:
    said = Comment(body="Too Slow", user="ada", host="tower", time=1)
    saved(
        home,
        run_called("a", label="Best of all", tags=("good", "new"), marked=True, sourcecode_digest="ab12"),
        run_called("b", label="best-not", tags=("new",), comments=(said,), sourcecode_digest="cd34"),
        run_called("c", label=None, tags=("old",)),
        run_called("d", label=""),
    )


@pytest.mark.usefixtures("described")
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("-Fl", "best"), "b"),
        (("-Fl", "est"), "ab"),
        (("-Fl", "of a", "--label", "not"), "ab"),
        (("-Fl", "-"), "cd"),
        (("-Fu",), "cd"),
        (("-Ft", "new"), "ab"),
        (("-Ft", "ne"), ""),
        (("-Ft", "old", "-Ft", "good"), "ac"),
        (("-Fc", "slow"), "b"),
        (("-Fc", "ADA@tow"), "b"),
        (("-Fm",), "a"),
        (("-Fn",), "bcd"),
        (("-Fd", "ab"), "a"),
        (("-Fd", "ab", "-Fd", "cd3"), "ab"),
        (("-Fd", "b1"), ""),
        (("-Ft", "new", "-Fl", "best"), "b"),
        (("-Ft", "new", "-Se"), ""),
    ],
)
def test_filters_of_one_kind_are_alternatives_and_of_different_kinds_all_hold(
    call: Call, options: tuple[str, ...], expected: str
) -> None:
    assert listed(call, *options) == expected


@pytest.mark.usefixtures("described")
def test_marked_and_unmarked_cannot_both_be_wanted(call: Call) -> None:
    assert call("runs", "-Fm", "-Fn").code == 2


@pytest.mark.usefixtures("described")
def test_indexes_and_slices_count_what_is_left(call: Call) -> None:
    assert listed(call, "2", "-Ft", "new") == "b"
    assert listed(call, "2:", "-Fn") == "cd"
    assert listed(call, "last", "-Fn") == "b"
    assert listed(call, "last") == "a"
    assert call("select", "3", "-Ft", "new").error.startswith("orchestra: could not find a run matching '3'")
    assert call("select", "c", "-Ft", "new").error.startswith("orchestra: could not find a run matching 'c'")


@pytest.mark.usefixtures("described")
def test_every_verb_takes_the_runs_that_are_left(call: Call) -> None:
    assert call("runs", "info", "-Ft", "old").lines[0] == "id: c"
    assert call("cat", "-Ft", "none", "--output").error == "orchestra: no matching runs\n"
    assert call("watch", "b", "-Ft", "old").error.startswith("orchestra: could not find a run matching 'b'")
    assert call("stop", "-Ft", "new").error == "Nothing to stop.\n"
    assert call("runs", "delete", "-Ft", "new", "-y").output == "Deleted 2 run(s)\n"
    assert listed(call) == "cd"
    assert call("runs", "-Fu", "--limit", "1").lines[0].startswith("[1:c]")


@pytest.mark.usefixtures("described")
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("-F", "label contains BEST"), "ab"),
        (("-F", "tags contains new and not marked = yes"), "b"),
        (("--filter", "tags contains new", "-F", "label contains all"), "a"),
        (("-F", "status = completed and (run = a or run = c)"), "ac"),
        (("-F", "-x is undefined"), "abcd"),
        (("-F", "sourcecode = ab12", "-Fu"), ""),
        (("-Fs", "before 1970-01-02"), ""),
        (("--started", "between 2025-01-01 and 2025-01-03"), "abcd"),
        (("-Fs", "after 2025-01-03"), ""),
        (("-F", "started > 2025-01-01 and started < '2025-01-03 10:00'"), "abcd"),
    ],
)
def test_expressions_and_times_are_filters_like_others(
    call: Call, options: tuple[str, ...], expected: str
) -> None:
    assert listed(call, *options) == expected


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (
            ("-F", "a = 1 b"),
            "orchestra: syntax error in filter at position 6: unexpected token 'b'\na = 1 b\n      ^\n"
            "Tests are joined by 'and' or 'or', as in: lr < 0.1 and op = train.\n",
        ),
        (
            ("--filter=a =",),
            "orchestra: syntax error in filter - unexpected end of expression\na =\n   ^\n"
            "Here comes a value, as in: lr < 0.1, op = train, marked = yes, label = 'two words'.\n",
        ),
    ],
)
def test_an_expression_that_cannot_be_read_is_shown_with_the_place(
    call: Call, options: tuple[str, ...], error: str
) -> None:
    assert call("runs", *options) == (1, "", error)


@pytest.mark.parametrize(
    ("expression", "error"),
    [
        (
            "lr < abc",
            "'lr' is a number, and can't be compared with the text 'abc'\nGive a number, as in: lr < 0.1.",
        ),
        ("not =lr > abc", "'lr' is a number, and can't be compared with the text 'abc'"),
        (
            "name >= 5",
            "'name' is a text, and can't be compared with the number 5\nGive a text, as in: name = '5'.",
        ),
        ("lr = 2 and lot < high", "'lot' is a number, and can't be compared with the text 'high'"),
        (
            "lr > yes",
            "nothing is less or more than yes\nGive a number, as in: lr < 0.1. If it is a text, quote it:",
        ),
        ("lr <= [1, 2]", "nothing is less or more than [1, 2]"),
    ],
)
def test_an_order_that_can_not_be_is_refused(call: Call, home: Path, expression: str, error: str) -> None:
    operation = an_operation(run_attrs={"lot": 3})
    saved(
        home, run_called("a", flags={"lr": 0.1, "name": "x"}, operation=operation), run_called("b", flags={})
    )

    refused = call("runs", "-F", expression)

    assert (refused.code, refused.output) == (1, "")
    assert refused.error.startswith(f"orchestra: {error}")


@pytest.mark.parametrize("expression", ["mixed < abc", "mixed > 5", "name < abc", "lr > 7", "nobodys < abc"])
def test_an_order_that_no_run_has_but_could_have_is_no_error(call: Call, home: Path, expression: str) -> None:
    saved(home, run_called("a", flags={"lr": 0.1, "name": "x", "mixed": 1}))
    saved(home, run_called("b", flags={"mixed": "x"}))

    assert call("runs", "-F", expression)[:2] == (0, "")


def test_a_range_of_time_that_cannot_be_is_refused_with_examples(call: Call) -> None:
    refused = call("runs", "-Fs", "2026-02-30")

    assert refused.code == 1
    assert refused.error.startswith(
        "orchestra: invalid RANGE: '2026-02-30': day is out of range for month\nWrite it as"
    )


def test_ten_thousand_parentheses_are_refused(call: Call) -> None:
    refused = call("runs", "-F", "(" * 10_000 + "a = 1" + ")" * 10_000)

    assert refused.code == 1
    assert refused.error.startswith("orchestra: the filter is nested too deeply (limit 100)\n")


@pytest.mark.parametrize(
    ("expression", "warning"),
    [
        ("lrr = 1", "WARNING: no run has 'lrr' - did you mean 'lr'?\n"),
        ("=depht = 1", "WARNING: no run has 'depht' - did you mean 'depth'?\n"),
        ("lr = 5", ""),
        ("=label = x", "WARNING: no run has 'label': there are depth, lr\n"),
        (".statsu = x", "WARNING: no run has 'statsu' - did you mean 'status'?\n"),
        ("zzz > 1 and lr = 1", "WARNING: no run has 'zzz': there are depth, lr\n"),
        ("status = lost or label = y", ""),
    ],
)
def test_a_name_that_no_run_has_is_told_where_nothing_is_found(
    call: Call, home: Path, expression: str, warning: str
) -> None:
    saved(home, run_called("a", flags={"lr": 0.1, "depth": None}), run_called("b", flags={"depth": 3}))

    assert call("runs", "-F", expression) == (0, "", warning)
    assert call("select", "-F", expression).error == warning + "orchestra: no matching runs\n"


def test_nothing_is_said_of_names_where_there_are_no_runs(call: Call) -> None:
    assert call("runs", "-F", "lr = 1") == (0, "", "")


@pytest.mark.parametrize("option", ["-Fl", "-Fo", "-Ft", "-Fc", "-Fd"])
def test_a_filter_whose_text_is_empty_is_refused(call: Call, option: str) -> None:
    refused = call("runs", "delete", "-y", option, "")

    assert refused.code == 2
    assert "is empty" in refused.error


@pytest.mark.parametrize("expression", ["lrr != 1", "not lrr < 1", "lr = 0.1 or lrr = 1"])
def test_a_name_that_no_run_has_is_told_where_runs_are_found_for_the_lack_of_it(
    call: Call, home: Path, expression: str
) -> None:
    saved(home, run_called("a", flags={"lr": 0.1}))

    found = call("runs", "-s", "-F", expression)

    assert (len(found.lines), found.error) == (1, "WARNING: no run has 'lrr' - did you mean 'lr'?\n")


@pytest.mark.parametrize("verb", ["runs", "compare"])
def test_a_person_is_told_why_nothing_is_shown_and_a_program_is_not(
    call: Call, home: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    form = ["-t"] if verb == "compare" else []
    assert call(verb, *form) == (0, "", "")
    monkeypatch.setattr(os, "isatty", lambda descriptor: descriptor == 1)
    assert call(verb, *form) == (0, "", f"There are no runs. There is no home '{home}' yet.\n")
    home.mkdir()
    assert call(verb, *form) == (0, "", "There are no runs.\n")
    saved(home, run_called("a"), run_called("b"))

    assert call(verb, *form, "-Fl", "zzz") == (0, "", "No runs match; 2 without these filters.\n")
    assert call(verb, "--json", "-Fl", "zzz").error == ""


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["runs", "--deleted"], "There are no deleted runs."),
        (["archive"], "There are no archives in this home."),
        (["tag", "-l"], "No run has a tag."),
        (["ops", "zzz"], "There are no such operations in '{here}'."),
    ],
)
def test_an_empty_listing_says_so_to_a_person(
    call: Call, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], told: str
) -> None:
    home.mkdir()
    monkeypatch.setattr(os, "isatty", lambda descriptor: descriptor == 1)

    assert call(*words) == (0, "", told.format(here=tmp_path) + "\n")
