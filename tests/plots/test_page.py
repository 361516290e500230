"""The page: whole, by itself, and never driven by what it shows."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import pytest

import orchestra.plots
from orchestra.model.plotting import Plots
from orchestra.plots.page import page_of
from tests.plots.samples import HOSTILE, all_plots

PLACE = Path(orchestra.plots.__file__).parent
VOID = {"meta"}


class Parsed(HTMLParser):
    """A page as a browser takes it, as far as it is needed here."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open:
            self.texts.setdefault(self._open[-1], []).append(data)

    def of(self, tag: str, class_: str | None = None) -> list[dict[str, str | None]]:
        """The attributes of all such elements."""
        return [
            found for name, found in self.elements if name == tag and class_ in (None, found.get("class"))
        ]


def drawn(plots: Plots, title: str = "title") -> Parsed:
    return Parsed(page_of(plots, title))


def test_each_kind_is_drawn_with_all_of_its_runs() -> None:
    page = drawn(all_plots(8))

    assert [found["class"] for found in page.of("svg") if found["class"] != "swatch"] == [
        "curves",
        "parallel",
        "bars",
        "scatter",
    ]
    assert len([found for found in page.of("path", "run") if "data-places" in found]) == 8
    assert len(page.of("circle", "run")) >= 7
    assert len(page.of("rect", "bar")) == 2
    assert {"lr", "kind", "loss adam"} <= set(page.texts["th"])
    assert len(page.of("tr")) == 9


def test_runs_are_told_apart_by_the_flags_that_changed() -> None:
    page = drawn(all_plots(3))

    assert page.texts["li"] == ["a note on adam", "kind=adam0 lr=1", "kind=adam1 lr=2", "kind=adam2 lr=3"]


def test_the_best_lie_on_top_and_come_first_where_they_are_listed() -> None:
    page = drawn(all_plots(30))
    drawn_runs = [found["data-run"] for found in page.of("path", "run") if "data-places" in found]
    listed = [found["data-run"] for found in page.of("li") if "data-run" in found]

    assert drawn_runs[-2:] == ["20", "0"]
    assert listed[:2] == ["0", "20"]


def test_a_value_that_is_missing_or_not_finite_is_a_gap() -> None:
    page = drawn(all_plots(8))
    places = [found["data-places"] for found in page.of("path", "run") if "data-places" in found]
    paths = [found["d"] or "" for _, found in page.elements if found.get("data-run") == "1" and "d" in found]

    assert len([one for one in places if one and ",," in f",{one},"]) == 1
    assert not any("nan" in path or "inf" in path for path in paths)


@pytest.mark.parametrize("count", [0, 1, 2, 30])
def test_few_and_many_runs_make_a_page(count: int) -> None:
    page = drawn(all_plots(count), "the title")

    assert page.texts["h1"] == ["the title"]
    assert len(page.of("tr")) == (count + 1 if count else 0)


def test_it_fetches_nothing_and_runs_nothing_but_its_own_script() -> None:
    text = page_of(all_plots(12), "title")
    page = Parsed(text)
    script = (PLACE / "page.js").read_text()
    style = (PLACE / "page.css").read_text()
    policy = next(found["content"] or "" for found in page.of("meta") if "http-equiv" in found)

    assert page.texts["script"] == [script]
    assert page.texts["style"] == [style]
    assert policy.split("; ") == [
        "default-src 'none'",
        *(
            f"{kind}-src 'sha256-{b64encode(sha256(content.encode()).digest()).decode()}'"
            for kind, content in (("style", style), ("script", script))
        ),
    ]
    assert not re.search(r"https?:|//[a-z]|url\(|@import|\bsrc=|\bhref=", text.replace(script, ""))
    assert not re.search(r"https?:|fetch|XMLHttp|import\b|innerHTML|eval", script)


def test_hostile_names_and_values_are_text_and_nothing_else() -> None:
    text = page_of(all_plots(30, name=HOSTILE, text=HOSTILE), HOSTILE)
    page = Parsed(text)
    tame = drawn(all_plots(30, name="a", text="a"))

    assert [tag for tag, _ in page.elements] == [tag for tag, _ in tame.elements]
    assert [set(found) for _, found in page.elements] == [set(found) for _, found in tame.elements]
    assert page.texts["script"] == tame.texts["script"]
    assert page.texts["h1"] == [HOSTILE.partition("\x1b")[0] + r"\x1b]0;x\x07\u202e\udcff"]
    assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", text)
    text.encode()


def test_a_thousand_runs_are_a_page_that_opens() -> None:
    text = page_of(all_plots(1000, points=60), "title")

    assert len(text) < 3_000_000
    page = Parsed(text)
    assert len(page.of("tr")) == 1001
    assert len(page.of("svg", "curves")) == 1
    assert len([found for found in page.of("path", "run") if "data-places" not in found]) >= 999
