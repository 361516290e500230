"""The interactive table of ``orchestra compare``. Imported only where it is shown: Textual takes its time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol, cast

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import DataTable, Footer, Input, Static

from orchestra.cli.compare_table import is_number, mark_text, repeats_flags
from orchestra.cli.compare_text import cell_text
from orchestra.cli.tables import cell, cut
from orchestra.errors import OrchestraError
from orchestra.model.comparison import Comparison, Row
from orchestra.model.run import Run

WIDEST = 40
"""Columns of the terminal that a cell takes at most; all of it is in the details."""
HELP = """\
s, S          sort by this column, the least or the greatest first
a             back to the order of the command
c             hide columns in which all runs have the same, and labels that
              only repeat the flags; or show them
/             filter: lr < 0.1 and status = completed; nothing: all runs
r             look again for runs and what they came to
Enter         details of the run
m, u          mark the run, or remove its mark
arrows, Home, End, PgUp, PgDn   move
?             this help
q             quit
"""


class Source(Protocol):
    """Where the table comes from."""

    async def load(self, expression: str) -> Comparison:
        """The table as of now, of the runs that ``expression`` holds of; empty: of all."""
        ...

    async def details(self, runs: Sequence[Run]) -> str:
        """What is known of a run, or of the runs of a group."""
        ...

    async def mark(self, run: Run, marked: bool) -> None:
        """Mark a run, or remove its mark."""
        ...


class Page(ModalScreen[None]):
    """Text over the table."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,enter,question_mark", "dismiss", "Back")]
    CSS = """
    Page { align: center middle; }
    Page > VerticalScroll { width: 90%; max-width: 120; height: 90%; border: round $primary; padding: 0 1; }
    Page Static { width: auto; }
    """

    def __init__(self, title: str, text: str) -> None:
        super().__init__()
        self._title, self._text = title, _lines(text)

    def compose(self) -> ComposeResult:
        """The text, which can be scrolled."""
        with VerticalScroll() as box:
            box.border_title = Text(self._title)
            yield Static(Text(self._text), id="text")
        yield Footer()

    def on_mount(self) -> None:
        """Arrow keys scroll."""
        self.query_one(VerticalScroll).focus()


class CompareApp(App[None]):
    """The table, a line above it that says what it shows, and a line to type a filter into."""

    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit"),
        Binding("ctrl+c", "quit", "Quit", show=False, priority=True),
        Binding("question_mark", "help", "Help", key_display="?"),
        Binding("s", "sort(False)", "Sort"),
        Binding("S", "sort(True)", "Sort down", show=False),
        Binding("a", "unsort", "Unsort", show=False),
        Binding("c", "hide", "Changed"),
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("r", "refresh", "Refresh"),
        Binding("m", "mark(True)", "Mark"),
        Binding("u", "mark(False)", "Unmark"),
        Binding("escape", "leave", "Back", show=False),
    ]
    CSS = """
    #said { height: auto; max-height: 3; }
    #filter { display: none; height: 3; }
    #filter.asked { display: block; }
    DataTable { height: 1fr; }
    """

    def __init__(self, source: Source, made: Comparison, *, hide_unchanged: bool = False) -> None:
        super().__init__()
        self._source = source
        self._hide = hide_unchanged
        self._made = made
        """As it came."""
        self._expression = ""
        self._sorted: tuple[str, bool] | None = None
        """The heading that it is sorted by, and whether the greatest is first."""
        self.shown = self._made
        """As it is shown."""

    def compose(self) -> ComposeResult:
        """The table and the lines around it."""
        yield Static(id="said")
        yield DataTable[Text](cursor_type="cell", zebra_stripes=True, fixed_columns=1)
        yield Input(placeholder="lr < 0.1 and status = completed", id="filter")
        yield Footer()

    @property
    def table(self) -> DataTable[Text]:
        """The table of cells."""
        return cast("DataTable[Text]", self.query_one(DataTable))

    def on_mount(self) -> None:
        """Show what there is."""
        self._show()
        self.table.focus()

    async def _load(self, expression: str) -> bool:
        """Show what there is now; where that fails, what was shown stays, and what is wrong is said."""
        try:
            made = await self._source.load(expression)
        except OrchestraError as error:
            self._say("\n".join(filter(None, (error.message, error.hint))), wrong=True)
            return False
        self._made, self._expression = made, expression
        self._show()
        return True

    def _show(self) -> None:
        place = self._place()
        self.shown = self._arranged()
        table = self.table
        table.clear(columns=True)
        numbers = [
            is_number([row.values[index] for row in self.shown.rows])
            for index in range(len(self.shown.columns))
        ]
        rows = [self._cells(row, numbers) for row in self.shown.rows]
        for index, (heading, right) in enumerate(zip(self.shown.headings, numbers, strict=True)):
            label = _cell(heading, right)
            # A width that the table is to find out by itself it would find out later, and draw twice.
            width = max(text.cell_len for text in (label, *(cells[index] for cells in rows)))
            table.add_column(label, key=heading, width=width)
        for row, cells in zip(self.shown.rows, rows, strict=True):
            table.add_row(*cells, key=_key(row))
        self._put_cursor(place)
        self._say(self._summary())

    def _cells(self, row: Row, numbers: Sequence[bool]) -> list[Text]:
        texts = [cell_text(value) for value in row.values]
        for index, column in enumerate(self.shown.columns):
            if column.kind == "attribute" and column.name == "operation":
                texts[index] += mark_text(row)
        return [_cell(text, right) for text, right in zip(texts, numbers, strict=True)]

    def _arranged(self) -> Comparison:
        shown = self._made
        if self._sorted is not None and self._sorted[0] in shown.headings:
            heading, largest_first = self._sorted
            shown = shown.by_heading(heading, largest_first=largest_first)
        if not self._hide:
            return shown
        needless = {*shown.unchanged(), *(("label",) if repeats_flags(shown) else ())}
        return shown.without(needless)

    def _place(self) -> tuple[str, str] | None:
        """The row and the column that the cursor is at."""
        row, column = self.table.cursor_coordinate
        if row >= len(self.shown.rows) or column >= len(self.shown.columns):
            return None
        return _key(self.shown.rows[row]), self.shown.headings[column]

    def _put_cursor(self, place: tuple[str, str] | None) -> None:
        if place is None:
            return
        keys = [_key(row) for row in self.shown.rows]
        row = keys.index(place[0]) if place[0] in keys else 0
        column = self.shown.headings.index(place[1]) if place[1] in self.shown.headings else 0
        self.table.move_cursor(row=row, column=column)

    def _summary(self) -> str:
        if not self.shown.rows:
            parts = ["no runs"]
        else:
            parts = [f"{len(self.shown.rows)} row(s)"]
        if self._sorted is not None:
            parts.append(f"by {self._sorted[0]}, {'greatest' if self._sorted[1] else 'least'} first")
        if hidden := len(self._made.columns) - len(self.shown.columns):
            parts.append(f"{hidden} column(s) hidden")
        parts += [f"filter: {self._expression}"] if self._expression else []
        return " | ".join((*parts, *self._made.problems))

    def _say(self, text: str, *, wrong: bool = False) -> None:
        shown = Text(_lines(text), style="bold red" if wrong else "bold")
        self.query_one("#said", Static).update(shown)

    def _current(self) -> Row | None:
        row = self.table.cursor_row
        return self.shown.rows[row] if 0 <= row < len(self.shown.rows) else None

    def on_data_table_header_selected(self, event: DataTable.HeaderSelected) -> None:
        """A click on a heading sorts by it; another one, the other way round."""
        heading = str(event.column_key.value)
        self._sorted = (heading, self._sorted == (heading, False))
        self._show()

    async def on_data_table_cell_selected(self, _: DataTable.CellSelected) -> None:
        """Show all that is known of the run."""
        row = self._current()
        if row is None:
            return
        try:
            text = await self._source.details(row.runs)
        except OrchestraError as error:
            self._say(error.message, wrong=True)
            return
        title = f"Run {row.runs[0].short_id}" if len(row.runs) == 1 else f"{len(row.runs)} runs"
        await self.push_screen(Page(title, text))

    def action_sort(self, largest_first: bool) -> None:
        """Sort by the column of the cursor."""
        column = self.table.cursor_column
        if column < len(self.shown.headings):
            self._sorted = (self.shown.headings[column], largest_first)
            self._show()

    def action_unsort(self) -> None:
        """The rows as they came."""
        self._sorted = None
        self._show()

    def action_hide(self) -> None:
        """Hide the columns in which nothing changes, or show them again."""
        self._hide = not self._hide
        self._show()

    def action_filter(self) -> None:
        """Ask for a filter."""
        field = self.query_one(Input)
        field.value = self._expression
        field.add_class("asked")
        field.focus()

    async def on_input_submitted(self, event: Input.Submitted) -> None:
        """Filter; what can't be read may be mended."""
        if await self._load(event.value.strip()):
            self.action_leave()

    def action_leave(self) -> None:
        """Leave the line of the filter, which stays as it was."""
        self.query_one(Input).remove_class("asked")
        self.table.focus()

    async def action_refresh(self) -> None:
        """Look again."""
        await self._load(self._expression)

    async def action_mark(self, marked: bool) -> None:
        """Mark the run of the cursor, or remove its mark."""
        row = self._current()
        if row is None:
            return
        if len(row.runs) != 1:
            self._say("only a run can be marked, not several at once", wrong=True)
            return
        try:
            await self._source.mark(row.runs[0], marked)
        except OrchestraError as error:
            self._say(error.message, wrong=True)
            return
        await self._load(self._expression)

    async def action_help(self) -> None:
        """Show the keys."""
        await self.push_screen(Page("Keys", HELP))


def _key(row: Row) -> str:
    return row.runs[0].id


def _lines(text: str) -> str:
    return "\n".join(map(cell, text.split("\n")))


def _cell(text: str, right: bool) -> Text:
    return Text(cut(cell(text), WIDEST), justify="right" if right else "left", no_wrap=True)
