"""The picture, as matplotlib draws it."""

from __future__ import annotations

import io
import sys

import pytest
from PIL import Image

from orchestra.errors import UserError
from orchestra.model.plotting import Plots
from orchestra.plots.picture import png_of
from tests.plots.samples import HOSTILE, all_plots


def opened(plots: Plots) -> Image.Image:
    picture = Image.open(io.BytesIO(png_of(plots)), formats=["PNG"])
    picture.load()
    return picture.convert("RGB")


def test_each_kind_is_drawn_below_the_other() -> None:
    whole, curves = opened(all_plots(8)), opened(all_plots(1))

    # One run has curves and a point only.
    assert (whole.height, curves.height) == (4 * 432, 2 * 432)
    assert whole.width == 1080
    for top in range(0, whole.height, 432):
        assert len(whole.crop((0, top, whole.width, top + 432)).getcolors(1 << 20) or ()) > 50


@pytest.mark.parametrize("name", [HOSTILE, "$x^{", "_hidden", "漢字"])
def test_whatever_names_there_are_it_is_drawn(name: str) -> None:
    assert opened(all_plots(12, name=name, text=name)).height == 4 * 432


def test_a_thousand_runs_are_drawn() -> None:
    assert opened(all_plots(1000)).height == 4 * 432


def test_without_matplotlib_it_is_told_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)

    with pytest.raises(UserError, match="takes matplotlib") as raised:
        png_of(all_plots(8))

    assert "pip install 'orchestra-runs[plots]'" in (raised.value.hint or "")
