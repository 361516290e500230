"""Plots in a terminal: as wide as it is, and not driven by what they show."""

from __future__ import annotations

import re

import pytest

from orchestra.cli.plot_text import text_of
from orchestra.cli.tables import text_width
from tests.plots.samples import HOSTILE, all_plots


def test_curves_go_where_the_values_go() -> None:
    lines = text_of(all_plots(1, points=9), None).splitlines()
    frame = lines.index(next(line for line in lines if "└" in line))

    assert lines[0] == "loss adam over steps"
    # From the upper left to the lower right.
    assert re.search(r"1 ┤⠱\S+$", lines[1])
    assert re.search(r"│ +\S+$", lines[frame - 1])
    assert lines[frame + 1].split() == ["0", "2", "4", "6", "8"]


def test_what_can_not_be_drawn_in_dots_is_a_table_of_the_best_runs() -> None:
    lines = text_of(all_plots(8), None).splitlines()
    start = lines.index("The least loss adam first, of 8 runs")

    assert lines[start + 1].split() == ["run", "loss", "adam", "kind", "lr"]
    assert [line.split()[1:] for line in lines[start + 2 : start + 5]] == [
        ["1", "adam0", "1"],
        ["2", "adam1", "2"],
        ["3", "adam2", "3"],
    ]


def test_bars_are_as_long_as_flags_matter() -> None:
    lines = text_of(all_plots(8), 80).splitlines()
    start = lines.index("What matters to loss adam")
    bars = {line.split()[0]: line.count("█") for line in lines[start + 1 : start + 3]}

    assert bars["lr"] > 3 * bars["kind"]
    assert lines[start + 1].endswith("↗ 1")


def test_points_are_marks() -> None:
    text = text_of(all_plots(8), None)

    assert text.partition("loss adam over lr\n")[2].count("•") == 7


@pytest.mark.parametrize("width", [30, 40, 80, 200])
@pytest.mark.parametrize("name", ["lr", "漢字" * 20, HOSTILE.removesuffix("\udcff")])
def test_no_line_is_wider_than_the_terminal(name: str, width: int) -> None:
    text = text_of(all_plots(30, name=name, text=name), width)
    lines = re.sub("\x1b\\[[0-9]+m", "", text).splitlines()

    assert max(map(text_width, lines)) <= width
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize("coloured", [True, False])
def test_colours_are_for_those_who_want_them(coloured: bool) -> None:
    assert ("\x1b[" in text_of(all_plots(3), 80, coloured=coloured)) == coloured


def test_many_runs_are_drawn_and_the_best_are_named() -> None:
    text = text_of(all_plots(1000, points=40), 80)

    assert "    and 992 more\n" in text
    assert len(text.splitlines()) < 100


def test_notes_come_last() -> None:
    assert text_of(all_plots(3), None).splitlines()[-1] == "a note on adam"
