"""Runs are found by what they came to: the same as if all of it were read, whatever is kept of it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from orchestra.cli.context import drive
from orchestra.console import Console, SilentConsole
from orchestra.engine import search
from orchestra.engine.results import results_of
from orchestra.engine.runs import select_runs
from orchestra.engine.search import results_of_many, without_results
from orchestra.engine.session import Session
from orchestra.engine.unknown_names import tell_of_unknown_names
from orchestra.model.condition_text import parse_condition
from orchestra.model.events import Event
from orchestra.model.filters import RunQuery
from orchestra.model.run import Run
from orchestra.testing.builders import a_run, a_worker, an_operation
from orchestra.workspace.layout import attempt_directory
from orchestra.workspace.results_index import FILE
from tests.saved_runs import ended, opened, save, write_exit


@contextmanager
def session_of(home: Path, console: Console | None = None) -> Iterator[Session]:
    context = opened(home, console)
    session = drive(context.__aenter__())
    try:
        yield session
    finally:
        drive(context.__aexit__(None, None, None))


@pytest.fixture
def session(home: Path) -> Iterator[Session]:
    with session_of(home) as session:
        yield session


def told(session: Session, run: Run, output: str) -> Run:
    """A saved run that has printed ``output`` and, if it is over, ended."""
    directory = attempt_directory(session.directory(run), run.attempt)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "output").write_text(output)
    if run.state != "running":
        write_exit(session, run)
    (kept,) = drive(save(session, run))
    return kept


def found(session: Session, expression: str, **query: Any) -> str:
    """The ids of the runs that are left, newest first, in one word."""
    wanted = RunQuery(where=parse_condition(expression), **query)
    return "".join(run.id for run in drive(select_runs(session, (), query=wanted)))


def a_few(session: Session) -> None:
    attributes = an_operation(run_attrs={"lot": "x1", "loss": "high"})
    told(
        session,
        ended(id="a", created=1, started=9, flags={"lr": 0.1}),
        "loss: 3\nloss: 1\nloss: 2\nacc: 0.5\n",
    )
    told(session, ended(id="b", created=1, started=8, flags={"lr": 0.2}), "loss: 0.5\nacc: nan\n")
    shadowed = an_operation(run_attrs={"loss": "low"})
    told(
        session,
        ended(id="c", created=1, started=7, flags={"loss": 7}, state="error", operation=shadowed),
        "acc: 0.25\n",
    )
    told(session, ended(id="d", created=1, started=6, flags={}, operation=attributes), "loss: 0.125\n")
    drive(save(session, a_run(id="e", created=5, staged=5, flags={"lr": 0.1})))


EXPECTED = {
    "loss < 1": "b",
    "#loss < 1": "bd",
    "loss = 7": "c",
    "loss = high": "d",
    "loss = low": "",
    ".loss = low": "c",
    ".lot = x1": "d",
    "lot contains X": "d",
    "lot is not undefined": "d",
    "loss is undefined": "e",
    "#loss is undefined": "ce",
    "loss is not undefined": "abcd",
    "loss != 2": "bcde",
    "not loss = 2": "bcde",
    "min loss = 1": "a",
    "max loss >= 3 and lr = 0.1": "a",
    "first loss in [3, 0.125]": "ad",
    "avg loss = 2": "a",
    "total #loss > 5": "a",
    "count loss = 1": "bd",
    "loss step = 2": "a",
    "acc = nan": "b",
    "acc < 1": "ac",
    "acc is undefined": "de",
    "acc > 0 or lr = 0.2": "abc",
    "lr = 0.1": "ae",
    "lr = 0.1 and #loss > 0": "a",
    "lr < 1 and not #loss > 1": "be",
    "sys/wall_seconds >= 0": "abcd",
    "#loss = yes": "",
    "loss = 'x'": "",
    "loss contains ig": "d",
    "loss in [0.5, 7, undefined]": "bce",
    "unknown = 1": "",
    "unknown is undefined": "abcde",
    "status = error and #acc < 1": "c",
    "caf\udce9 = 1": "",
    "#x = 99999999999999999999999": "",
}


def test_results_are_found_at_first_and_again_from_what_is_kept(session: Session) -> None:
    a_few(session)
    for _ in range(2):
        for expression, expected in EXPECTED.items():
            assert found(session, expression) == expected, expression


def test_conditions_that_ask_for_results_combine_with_all_else(session: Session) -> None:
    a_few(session)

    assert found(session, "#loss > 0", limit=2) == "ab"
    assert found(session, "#loss > 0", limit=2, offset=1, oldest_first=True) == "ba"
    assert found(session, "#acc > 0", states=frozenset(("error",))) == "c"
    assert found(session, "#loss > 0", ids=("d", "e")) == "d"
    wanted = RunQuery(where=parse_condition("#loss < 1"))
    assert [run.id for run in drive(select_runs(session, ("2",), query=wanted))] == ["d"]


def test_what_is_kept_of_ended_runs_is_not_read_again(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_few(session)
    found(session, "#loss < 1")

    def fail(*_: Any) -> Any:
        raise AssertionError("read again")

    monkeypatch.setattr(search, "FEW", 0)
    staged = drive(session.store.get("e"))
    monkeypatch.setattr(
        search, "results_of", lambda _, run: results_of(session, run) if run.id == "e" else fail()
    )
    assert found(session, "#loss < 1") == "bd"
    assert found(session, "min loss = 1") == "a"
    runs = drive(session.store.query(RunQuery())).runs
    many = results_of_many(session, runs)
    assert many == {run.id: results_of(session, run) for run in runs}
    assert staged.id in many


def test_no_results_are_read_where_all_runs_have_the_flag(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "ab":
        told(session, ended(id=name, flags={"lr": 0.1}), "")
    monkeypatch.setattr(search, "results_of", None)

    assert len(found(session, "lr = 0.1")) == 2
    assert len(found(session, "lr = 0.1 and lr is not undefined")) == 2


def test_what_a_run_prints_while_it_runs_counts_as_it_is_now(session: Session) -> None:
    run = told(session, a_run(id="r", state="running", attempt=1, started=1, worker=a_worker()), "loss: 2\n")
    assert found(session, "loss = 2") == "r"

    with open(attempt_directory(session.directory(run), 1) / "output", "a") as output:
        output.write("loss: 3\n")
    assert found(session, "loss = 3") == "r"
    assert found(session, "loss = 2") == ""


def test_a_new_attempt_replaces_what_was_kept(session: Session) -> None:
    run = told(session, ended(id="r"), "loss: 2\nold: 1\n")
    assert found(session, "loss = 2") == "r"

    directory = attempt_directory(session.directory(run), 2)
    directory.mkdir()
    (directory / "output").write_text("loss: 3\n")
    write_exit(session, structs.replace(run, attempt=2))
    drive(session.store.update([structs.replace(run, attempt=2, started=(run.started or 0) + 1)]))
    assert found(session, "loss = 3") == "r"
    assert found(session, "loss = 2") == ""
    assert found(session, "old = 1") == ""


def test_a_run_whose_label_changed_has_its_results_still(session: Session) -> None:
    run = told(session, ended(id="r"), "loss: 2\n")
    for label in ("x", "y"):
        assert found(session, "loss = 2") == "r"
        (run,) = drive(session.store.update([structs.replace(run, label=label)]))
    assert found(session, "loss = 2 and label = y") == "r"


def test_what_is_said_of_runs_lets_no_results_be_read_again_and_a_new_attempt_does(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "FEW", 0)
    runs = [
        told(session, ended(id=name, created=1, started=4 - int(name)), f"loss: {name}\n") for name in "123"
    ]
    assert found(session, "loss > 1") == "23"
    read: list[str] = []
    monkeypatch.setattr(search, "results_of", lambda _, run: read.append(run.id) or results_of(session, run))

    def say(label: str) -> list[Run]:
        return list(drive(session.store.update([structs.replace(run, label=label) for run in runs])))

    runs = say("x")
    assert found(session, "loss > 1 and label = x") == "23"
    runs = say("y")
    assert results_of_many(session, runs) == {run.id: results_of(session, run) for run in runs}
    assert read == []

    # It was started again, and that was given up before it began: what it had come to counts no more.
    (run,) = drive(session.store.update([structs.replace(runs[2], state="aborted", attempt=2, stopped=None)]))
    assert found(session, "loss > 1") == "2"
    assert read == [run.id]


def test_who_waits_for_results_to_be_read_at_first_is_told_once(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Listening(SilentConsole):
        def log(self, event: Event) -> None:
            events.append((event.name, event.data))

    events: list[tuple[str, Any]] = []
    monkeypatch.setattr(search, "AT_ONCE", 2)
    with session_of(home, Listening()) as session:
        for name in "abcdef":
            told(session, ended(id=name), "loss: 1\n")
        monkeypatch.setattr(search, "LONG", -1.0)
        events.clear()
        assert len(found(session, "#loss = 1")) == 6
        assert events == [("results.reading", {"runs": 6})]
        events.clear()
        assert len(found(session, "#loss = 1")) == 6
        assert events == []


def test_a_run_that_has_the_id_of_a_deleted_one_has_its_own_results(session: Session) -> None:
    run = told(session, ended(id="r"), "loss: 2\n")
    assert found(session, "loss = 2") == "r"
    drive(session.store.delete(["r"]))
    assert found(session, "loss = 2") == ""

    again = ended(id="r", started=(run.started or 0) + 1)
    (session.directory(again) / ".orchestra" / "scalars.json").unlink()
    told(session, again, "loss: 4\n")
    assert found(session, "loss = 2") == ""
    assert found(session, "loss = 4") == "r"


def test_prefixed_scalars_are_found_by_their_name_alone(session: Session) -> None:
    from orchestra.model.scalars import single
    from orchestra.workspace.results import Results
    from orchestra.workspace.results_index import ResultsIndex

    with ResultsIndex(None) as index:
        scalars = {
            "b10#loss": single(10.0, 1),
            "b9#loss": single(9.0, 1),
            "b9#acc": single(1.0, 1),
            "acc": single(2.0, 1),
        }
        index.keep([(("r", 1, 1), (1, 1, 1), Results(scalars=scalars))])

        def holds(expression: str) -> bool:
            return index.ids_with(parse_condition(expression), True) == {"r"}  # type: ignore[arg-type]

        assert holds("#loss = 9")
        assert not holds("#loss = 10")
        assert holds("b10#loss = 10")
        assert holds("#acc = 2")


def _garbage(path: Path) -> None:
    path.write_bytes(b"no database" * 1000)


def _half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _other_version(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 1")
        connection.execute("DROP TABLE scalars")


def _no_tables(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE scalars")


def _bad_rows(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE whole SET results = 'x'")


@pytest.mark.parametrize("damage", [_garbage, _half, _other_version, _no_tables, _bad_rows, os.unlink])
def test_a_damaged_index_is_made_anew(
    home: Path, damage: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "FEW", 0)
    path = home / "cache" / FILE
    with session_of(home) as session:
        a_few(session)
        assert found(session, "#loss < 1") == "bd"
        damage(path)
        for _ in range(3):
            assert found(session, "#loss < 1") == "bd"
            runs = drive(session.store.query(RunQuery())).runs
            assert results_of_many(session, runs) == {run.id: results_of(session, run) for run in runs}
        with sqlite3.connect(path) as connection:
            assert connection.execute("SELECT count(*) FROM runs").fetchone() == (4,)


def test_an_index_that_cannot_be_written_only_costs_time(home: Path) -> None:
    with session_of(home) as session:
        a_few(session)
        (home / "cache" / FILE).mkdir()

        assert found(session, "#loss < 1") == "bd"
        session.read_only = True
        os.rmdir(home / "cache" / FILE)
        assert found(session, "#loss < 1") == "bd"
        assert not (home / "cache" / FILE).exists()


def test_an_index_that_somebody_else_writes_only_costs_time(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestra.workspace.results_index._PATIENCE", 0.0)
    with session_of(home) as session:
        a_few(session)
        found(session, "#loss < 1 and lr = 0.1")
        other = sqlite3.connect(home / "cache" / FILE, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")

        assert found(session, "#loss < 1") == "bd"
        other.close()
        assert found(session, "#loss < 1") == "bd"


def test_the_index_does_not_grow_with_what_is_gone(home: Path) -> None:
    from orchestra.workspace.results import Results
    from orchestra.workspace.results_index import ResultsIndex

    with session_of(home) as session:
        told(session, ended(id="r"), "loss: 2\n")
        with ResultsIndex(home / "cache" / FILE) as index:
            index.keep([((f"gone{number}", 1, 1), (1, 1, 1), Results()) for number in range(1100)])

        assert found(session, "#loss = 2") == "r"
        assert found(session, "#loss = 2") == "r"
        with sqlite3.connect(home / "cache" / FILE) as connection:
            assert connection.execute("SELECT count(*) FROM runs").fetchone() == (1,)


@pytest.mark.parametrize("times", [1, 2, search.TRIES - 1, 100])
def test_what_others_forget_while_it_is_looked_up_is_read_again(
    home: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    from orchestra.workspace.results_index import ResultsIndex

    looked_up = ResultsIndex.without
    forgotten = 0

    def without(index: ResultsIndex, marks: Any) -> list[str]:
        nonlocal forgotten
        known = looked_up(index, marks)
        if forgotten < times and not index._connection.in_transaction and index._path is not None:
            forgotten += 1
            with ResultsIndex(home / "cache" / FILE) as other:
                other.forget_others(-1_000_000)
        return known

    with session_of(home) as session:
        a_few(session)
        assert found(session, "#loss < 1") == "bd"
        monkeypatch.setattr(ResultsIndex, "without", without)

        assert found(session, "#loss < 1") == "bd"
        assert found(session, "not #loss < 1") == "ace"
    assert forgotten


def test_a_store_without_marks_is_searched_all_the_same(session: Session) -> None:
    from orchestra.contracts import Marking

    class Plain:
        def __init__(self, store: Any) -> None:
            self.query, self.get = store.query, store.get

    a_few(session)
    session.store = Plain(session.store)  # type: ignore[assignment]
    assert not isinstance(session.store, Marking)
    assert found(session, "#loss < 1") == "bd"
    assert found(session, "lr = 0.1") == "ae"


def test_a_query_that_asks_for_no_results_stays_as_it_is(session: Session) -> None:
    for query in (RunQuery(limit=3), RunQuery(where=parse_condition("=lr = 0.1 and status = error"))):
        assert drive(without_results(session, query)) is query
    assert not (session.layout.cache_dir / FILE).exists()


@pytest.mark.anyio
async def test_many_runs_are_looked_through_beside_an_event_loop(home: Path) -> None:
    async with opened(home) as session:
        operation = an_operation(run_attrs={"lot": "x1"})
        others = [a_run(id=f"o{number:04}", flags={"y": number % 2}) for number in range(2_100)]
        await session.store.create([*others, a_run(id="r", operation=operation, flags={"y": 1})])
        for expression, total in (
            ("lot = x1", 1),
            ("lot = x1 or =y = 0", 1051),
            ("not lot = x1 and y = 1", 1050),
        ):
            asked = await without_results(session, RunQuery(where=parse_condition(expression), limit=1))

            assert (await session.store.query(asked)).total == total, expression


def test_a_name_is_known_that_only_a_running_run_has_as_a_result(home: Path) -> None:
    told_of: list[str] = []

    class Listening(SilentConsole):
        def log(self, event: Event) -> None:
            if event.name == "log.message":
                told_of.append(event.message)

    with session_of(home, Listening()) as session:
        told(session, a_run(id="a", state="running", attempt=1, worker=a_worker()), "loss: 0.5\n")
        for name in ("loss", "los"):
            drive(tell_of_unknown_names(session, RunQuery(where=parse_condition(f"{name} > 1"))))

    assert told_of == ["no run has 'los' - did you mean 'loss'?"]
