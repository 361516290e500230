"""What is told of two mappings, and of two texts, that differ."""

from __future__ import annotations

import math
import random
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from orchestra.model import matching_lines
from orchestra.model.differences import Change, Differences, changes, unified_diff
from orchestra.model.matching_lines import NOWHERE, partners

LINES = st.lists(st.sampled_from(["a", "b", "", "é\r", "-- x", "\x0c\x1c\u2028"]), max_size=12)
TEXTS = st.builds(lambda lines, end: "\n".join(lines) + end, LINES, st.sampled_from(["", "\n"]))


def test_changes_are_told_by_name_with_what_was_there_and_is() -> None:
    before = {"x10": 1, "x9": "a", "gone": None, "same": [1, {"a": 2.5}]}
    after = {"x10": 2, "x9": "b", "new": False, "same": [1, {"a": 2.5}]}

    assert changes(before, after) == (
        Change(name="gone", before=None, after=UNSET),
        Change(name="new", before=UNSET, after=False),
        Change(name="x9", before="a", after="b"),
        Change(name="x10", before=1, after=2),
    )


@pytest.mark.parametrize(
    ("before", "after", "differ"),
    [
        (1, 1.0, True),
        (1, True, True),
        ("1", 1, True),
        (None, "null", True),
        (math.nan, math.nan, False),
        (0.1, 0.1, False),
        ([1], (1,), False),
    ],
)
def test_values_are_the_same_if_they_are_written_in_the_same_way(
    before: object, after: object, differ: bool
) -> None:
    assert bool(changes({"x": before}, {"x": after})) is differ


def test_a_section_in_which_nothing_differs_is_not_one_that_was_not_compared() -> None:
    nothing = Differences(before="a", after="b", flags=())
    something = Differences(before="a", after="b", flags=(Change(name="x", after=1),))

    assert nothing.is_empty and not something.is_empty


@given(TEXTS, TEXTS)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_difference_makes_the_one_text_of_the_other(tmp_path: Path, before: str, after: str) -> None:
    difference = unified_diff(before, after, ("a/file", "b/file"))
    assert difference is not None
    file = tmp_path / "file"
    file.write_bytes(before.encode())
    if difference:
        subprocess.run(
            ["patch", "--silent", "--binary", "--no-backup-if-mismatch", "-p1"],
            cwd=tmp_path,
            input=difference.encode(),
            check=True,
        )
    assert (file.read_bytes() if file.exists() else b"") == after.encode()


def test_no_more_than_the_lines_around_are_shown_and_counted_from_the_beginning() -> None:
    lines = [f"{number}\n" for number in range(1, 1001)]
    changed = [*lines[:499], "new\n", *lines[500:]]

    assert unified_diff("".join(lines), "".join(changed), ("a", "b")) == (
        "--- a\n+++ b\n@@ -497,7 +497,7 @@\n 497\n 498\n 499\n-500\n+new\n 501\n 502\n 503\n"
    )


def signs(before: list[str], after: list[str]) -> str:
    """The first characters of the lines of a difference that differ."""
    difference = unified_diff("\n".join(before), "\n".join(after), ("a", "b"))
    assert difference is not None
    return "".join(line[0] for line in difference.splitlines()[2:] if line[0] in "+-")


def test_of_lines_that_say_the_same_again_and_again_only_those_that_changed_are_told() -> None:
    chosen = random.Random(1)
    labels = [chosen.choice(["cat", "dog"]) for _ in range(1500)]
    changed = list(labels)
    changed[500] = changed[1000] = "bird"

    assert signs(labels, changed) == "-+-+"
    assert signs(["step"] * 3000, [*["step"] * 1000, "stop", *["step"] * 1999]) == "-+"
    assert signs([*["step"] * 1000, "stop", *["step"] * 1999], ["step"] * 3000) == "-+"
    difference = unified_diff("a\nx\nx\nx\n", "a\nx\nx\ny\n", ("a", "b"))
    assert difference == "--- a\n+++ b\n@@ -1,4 +1,4 @@\n a\n x\n x\n-x\n+y\n"


@given(LINES, LINES)
@settings(deadline=None)
def test_no_difference_is_shorter(before: list[str], after: list[str]) -> None:
    found = partners(before, after)

    assert found is not None
    pairs = [(place, partner) for place, partner in enumerate(found) if partner != NOWHERE]
    assert all(before[place] == after[partner] for place, partner in pairs)
    assert [partner for _, partner in pairs] == sorted({partner for _, partner in pairs})
    assert len(pairs) == most_in_common(before, after)


def most_in_common(one: list[str], other: list[str]) -> int:
    above = [0] * (len(other) + 1)
    for line in one:
        row = [0]
        for place, second in enumerate(other):
            row.append(above[place] + 1 if line == second else max(above[place + 1], row[-1]))
        above = row
    return above[-1]


@given(LINES, LINES)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_where_much_differs_lines_are_matched_in_their_order_all_the_same(
    monkeypatch: pytest.MonkeyPatch, before: list[str], after: list[str]
) -> None:
    monkeypatch.setattr(matching_lines, "FURTHEST", 1)

    found = partners(before, after)

    assert found is not None
    pairs = [(place, partner) for place, partner in enumerate(found) if partner != NOWHERE]
    assert all(before[place] == after[partner] for place, partner in pairs)
    assert [partner for _, partner in pairs] == sorted({partner for _, partner in pairs})


def test_long_texts_are_compared_as_long_as_what_differs_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching_lines, "MOST_STEPS", 400_000)
    lines = [f"step {number}" for number in range(200_000)]
    changed = list(lines)
    changed[10] = changed[-10] = "other"
    shuffled = random.Random(1).sample(lines, len(lines))

    began = time.monotonic()
    assert signs(lines, changed) == "-+-+"
    assert unified_diff("\n".join(lines), "\n".join(shuffled), ("a", "b")) is None
    assert time.monotonic() - began < 10
