"""The index of results: what is refused, forgotten or changed by others leaves nothing behind that counts."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from orchestra.model.condition_text import parse_condition
from orchestra.model.conditions import Comparison
from orchestra.model.scalars import single
from orchestra.workspace import results_index
from orchestra.workspace.results import Results
from orchestra.workspace.results_index import IndexLost, ResultsIndex

LOW = Results(scalars={"loss": single(0.5, 1)}, attributes={"lot": "low"})
UNWRITABLE = Results(scalars={"loss": single(0.5, 1), "acc": single(1.0, 1)}, attributes={"\ud800": "x"})
ENDING = (1, 2, 3)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.sqlite"


@pytest.fixture
def index(path: Path) -> Iterator[ResultsIndex]:
    with ResultsIndex(path) as index:
        yield index


def having(index: ResultsIndex, expression: str) -> set[str]:
    return index.ids_with(cast(Comparison, parse_condition(expression)), True)


def test_of_an_entry_that_is_refused_the_next_run_gets_nothing(index: ResultsIndex) -> None:
    marks = [("bad", 1, 1), ("good", 1, 1)]

    assert index.keep([(marks[0], ENDING, UNWRITABLE), (marks[1], ENDING, Results())]) == ["bad"]

    assert having(index, "#loss = 0.5") == set()
    assert index.without(marks) == ["bad"]
    assert index.names() == set()


def test_entries_beside_one_that_is_refused_are_kept(index: ResultsIndex) -> None:
    marks = [("a", 1, 1), ("bad", 1, 1), ("c", 1, 1)]

    assert index.keep(zip(marks, (ENDING,) * 3, (LOW, UNWRITABLE, LOW), strict=True)) == ["bad"]

    assert having(index, "#loss = 0.5") == having(index, "lot = low") == {"a", "c"}


def test_of_changes_that_break_off_none_is_kept(index: ResultsIndex) -> None:
    def entries() -> Iterator[tuple[tuple[str, int, int], tuple[int, int, int], Results]]:
        yield ("a", 1, 1), ENDING, LOW
        raise sqlite3.OperationalError("disk full")

    with pytest.raises(IndexLost):
        index.keep(entries())

    assert index.without([("a", 1, 1)]) == ["a"]
    assert index.keep([(("b", 1, 1), ENDING, LOW)]) == []


def test_forgetting_leaves_all_or_nothing(index: ResultsIndex, path: Path) -> None:
    index.keep([(("a", 1, 1), ENDING, LOW)])
    with sqlite3.connect(path) as other:
        other.execute("CREATE TRIGGER held BEFORE DELETE ON whole BEGIN SELECT RAISE(ABORT, 'held'); END")

    with pytest.raises(IndexLost):
        index.forget_others(-1000)

    assert index.without([("a", 1, 1)]) == []
    assert index.names() == {"loss", "lot"}


def test_what_others_change_is_not_seen_at_one_moment_but_afterwards(
    index: ResultsIndex, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.keep([(("a", 1, 1), ENDING, LOW)])
    monkeypatch.setattr(results_index, "_PATIENCE", 0.0)
    with ResultsIndex(path) as other:
        before = index.version()
        with index.at_one_moment():
            assert index.version() == before
            with pytest.raises(IndexLost):
                other.forget_others(-1000)
            assert having(index, "lot = low") == {"a"}
        assert index.version() == before

        other.forget_others(-1000)

        assert index.version() != before
        assert having(index, "lot = low") == set()
