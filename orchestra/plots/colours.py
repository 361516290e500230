"""The colours of runs: the same in every chart."""

from __future__ import annotations

from orchestra.model.plotting import Plots

DISTINCT = (
    "#4e79a7", "#f28e2b", "#e15759", "#76b7b2", "#59a14f",
    "#b6992d", "#b07aa1", "#d37295", "#9c755f", "#79706e",
)  # fmt: skip
"""As Tableau's ten, but for the two that are hard to see on white."""
_SCALE = ((228, 87, 46), (180, 90, 140), (110, 110, 190), (95, 150, 200), (140, 185, 205))
"""From the best to the worst: warm to cold, by which those who don't see red and green apart can go, too, and as easy
to see on black as on white."""
UNKNOWN = "#999999"


def colours_of(plots: Plots) -> list[str]:
    """The colour of each run: of few runs one for each, of many by how good they are."""
    if len(plots.runs) <= len(DISTINCT):
        return list(DISTINCT[: len(plots.runs)])
    ranked = plots.ranked()
    found = [UNKNOWN] * len(plots.runs)
    for rank, place in enumerate(ranked):
        found[place] = _scaled(rank / max(len(ranked) - 1, 1))
    return found


def _scaled(share: float) -> str:
    position = share * (len(_SCALE) - 1)
    index = min(int(position), len(_SCALE) - 2)
    between = zip(_SCALE[index], _SCALE[index + 1], strict=True)
    return "#" + "".join(f"{round(low + (high - low) * (position - index)):02x}" for low, high in between)
