"""The interactive table, driven by keys."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec import structs

pytest.importorskip("textual")

from textual.widgets import DataTable, Input, Static

from orchestra.cli.compare_app import CompareApp, Page
from orchestra.errors import UserError
from orchestra.model.comparison import Comparison, compare, wanted_columns
from orchestra.model.repeats import group, parse_grouping
from orchestra.model.run import Run
from orchestra.model.subjects import Subject
from tests.model.test_comparison import a_subject

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class FakeSource:
    """Runs that are there, without a home."""

    def __init__(self, *subjects: Subject, grouped: bool = False) -> None:
        self.subjects = list(subjects)
        self.grouped = grouped
        self.asked: list[str] = []

    async def load(self, expression: str) -> Comparison:
        self.asked.append(expression)
        if expression == "(":
            raise UserError("syntax error in filter at position 2: unexpected end", "Close it.")
        found = [one for one in self.subjects if expression != "nothing"]
        made = compare(found, wanted_columns(skip_core=True, cols=".operation,.label"))
        grouping = parse_grouping("lr", None, repeats=False)
        return group(made, found, grouping) if self.grouped and grouping else made

    async def details(self, runs: Sequence[Run]) -> str:
        if runs[0].label == "gone":
            raise UserError("the run is gone")
        return f"details of {len(runs)}: [bold]{runs[0].label}\x1b[2J"

    async def mark(self, run: Run, marked: bool) -> None:
        if run.label == "gone":
            raise UserError("the run is gone")
        for place, one in enumerate(self.subjects):
            if one.run.id == run.id:
                changed = structs.replace(one.run, marked=marked)
                self.subjects[place] = structs.replace(one, run=changed)


def some() -> FakeSource:
    return FakeSource(
        a_subject({"lr": 2, "n": 1}, {"loss": 5.0}, label="a"),
        a_subject({"lr": 1, "n": 1}, {"loss": 7.0}, label="b"),
        a_subject({"lr": 3, "n": 1}, label="[red]c"),
    )


async def app_of(source: FakeSource, **options: bool) -> CompareApp:
    made = await source.load("")
    source.asked.clear()
    return CompareApp(source, made, **options)


def shown(app: CompareApp) -> list[list[str]]:
    """The headings, and the cells without the run's id."""
    table = app.query_one(DataTable)
    headings = [str(column.label) for column in table.ordered_columns]
    return [
        headings[1:],
        *([str(text) for text in table.get_row_at(row)][1:] for row in range(table.row_count)),
    ]


def said(app: CompareApp) -> str:
    return str(app.query_one("#said", Static).render())


def column(app: CompareApp, heading: str) -> list[str]:
    headings, *rows = shown(app)
    return [row[headings.index(heading)] for row in rows]


def text_of_page(app: CompareApp) -> str:
    assert isinstance(app.screen, Page)
    return str(app.screen.query_one("#text", Static).render())


async def test_the_table_is_shown_as_it_came() -> None:
    app = await app_of(some())
    async with app.run_test(size=(100, 24)):
        assert shown(app) == [
            ["lr", "n", "step", "loss", "operation", "label"],
            ["2", "1", "7", "5.0", "train.py", "a"],
            ["1", "1", "7", "7.0", "train.py", "b"],
            ["3", "1", "", "", "train.py", "[red]c"],
        ]
        assert said(app) == "3 row(s)"


async def test_keys_and_clicks_sort_by_a_column_and_the_cursor_stays_with_its_run() -> None:
    app = await app_of(some())
    async with app.run_test(size=(100, 24)) as pilot:
        await pilot.press("right", "s")
        assert column(app, "lr") == ["1", "2", "3"]
        assert said(app) == "3 row(s) | by lr, least first"
        assert app.shown.rows[app.query_one(DataTable).cursor_row].runs[0].label == "a"
        await pilot.press("S")
        assert column(app, "lr") == ["3", "2", "1"]
        await pilot.press("right", "right", "right", "s")
        # What has no value comes last, whichever way.
        assert column(app, "loss") == ["5.0", "7.0", ""]
        await pilot.press("S")
        assert column(app, "loss") == ["7.0", "5.0", ""]
        await pilot.press("a")
        assert column(app, "label") == ["a", "b", "[red]c"]
        await pilot.click(DataTable, offset=(12, 0))
        assert said(app) == "3 row(s) | by lr, least first"
        await pilot.pause()
        await pilot.click(DataTable, offset=(12, 0))
        assert said(app) == "3 row(s) | by lr, greatest first"


async def test_columns_that_do_not_change_are_hidden_and_shown_again() -> None:
    app = await app_of(some(), hide_unchanged=True)
    async with app.run_test(size=(100, 24)) as pilot:
        assert shown(app)[0] == ["lr", "step", "loss"]
        assert said(app) == "3 row(s) | 3 column(s) hidden"
        await pilot.press("c")
        assert shown(app)[0] == ["lr", "n", "step", "loss", "operation", "label"]


async def test_runs_are_filtered_and_a_filter_that_can_not_be_read_can_be_mended() -> None:
    source = some()
    app = await app_of(source)
    async with app.run_test(size=(100, 24)) as pilot:
        await pilot.press("slash", "(", "enter")
        assert said(app) == "syntax error in filter at position 2: unexpected end\nClose it."
        assert app.focused is app.query_one(Input)
        assert len(shown(app)) == 4
        await pilot.press("backspace", *"nothing", "enter")
        assert said(app) == "no runs | filter: nothing"
        assert source.asked == ["(", "nothing"]
        # Keys mean the table again; what was typed is there to be changed.
        await pilot.press("r", "enter", "s", "m", "slash")
        assert app.query_one(Input).value == "nothing"
        await pilot.press("escape")
        assert app.focused is app.query_one(DataTable)
        assert said(app) == "no runs | filter: nothing"


async def test_what_has_come_since_is_shown_on_refresh() -> None:
    source = some()
    app = await app_of(source)
    async with app.run_test(size=(100, 24)) as pilot:
        await pilot.press("down", "right", "s")
        source.subjects.insert(0, a_subject({"lr": 0}, label="new"))
        await pilot.press("r")
        assert column(app, "label") == ["new", "b", "a", "[red]c"]
        assert app.shown.rows[app.query_one(DataTable).cursor_row].runs[0].label == "b"


async def test_details_are_shown_as_text_and_left_again() -> None:
    app = await app_of(some())
    async with app.run_test(size=(100, 24)) as pilot:
        await pilot.press("down", "enter")
        assert text_of_page(app) == r"details of 1: [bold]b\x1b[2J"
        for key in ("escape", "q", "enter"):
            await pilot.press(key)
            assert not isinstance(app.screen, Page)
            await pilot.press("question_mark")
            assert "sort by this column" in text_of_page(app)


async def test_runs_are_marked_and_unmarked() -> None:
    app = await app_of(some())
    async with app.run_test(size=(100, 24)) as pilot:
        await pilot.press("down", "m")
        assert column(app, "operation") == ["train.py", "train.py [marked]", "train.py"]
        await pilot.press("u")
        assert column(app, "operation") == ["train.py"] * 3


async def test_a_run_that_is_gone_is_said_to_be() -> None:
    app = await app_of(FakeSource(a_subject(label="gone")))
    async with app.run_test(size=(100, 24)) as pilot:
        for key in ("enter", "m"):
            await pilot.press(key)
            assert said(app) == "the run is gone"
            await pilot.press("r")
            assert said(app) == "1 row(s)"


async def test_groups_have_details_of_all_runs_and_no_mark() -> None:
    subjects = [a_subject({"lr": 1, "seed": seed}, {"loss": 1.0}) for seed in (1, 2)]
    app = await app_of(FakeSource(*subjects, grouped=True))
    async with app.run_test(size=(100, 24)) as pilot:
        assert shown(app) == [["runs", "loss mean", "loss std", "loss n"], ["2", "1.0", "0.0", "2"]]
        await pilot.press("m")
        assert said(app) == "only a run can be marked, not several at once"
        await pilot.press("enter")
        assert text_of_page(app).startswith("details of 2: ")


async def test_no_runs_and_a_narrow_window_are_no_trouble() -> None:
    for source, key in ((FakeSource(), "q"), (some(), "ctrl+c")):
        app = await app_of(source)
        async with app.run_test(size=(20, 6)) as pilot:
            await pilot.press("s", "c", "m", "u", "r", "down", "right", "S", "a")
            assert app.is_running
            await pilot.press(key)
        assert not app.is_running
