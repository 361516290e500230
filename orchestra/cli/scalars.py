"""How scalars are shown."""

from __future__ import annotations

from typing import TypeAlias

from orchestra.model.scalars import SYSTEM, Qualifier, natural
from orchestra.workspace.results import Results

Point: TypeAlias = tuple[float, int]
Shown: TypeAlias = Point | dict[Qualifier, Point]

EVERYTHING: tuple[Qualifier, ...] = ("first", "last", "min", "max", "avg", "total")


def shown_scalars(results: Results, *, everything: bool = False) -> dict[str, Shown]:
    """By their names: the last value and its step.

    With ``everything`` those that we measured, too, and of each all that is known: the mean and the sum come with the
    number of values in the place of a step.
    """
    shown: dict[str, Shown] = {}
    for name in natural(results.scalars):
        scalar = results.scalars[name]
        if everything:
            shown[name] = {qualifier: scalar.point(qualifier) for qualifier in EVERYTHING}
        elif not name.startswith(SYSTEM):
            shown[name] = scalar.point("last")
    return shown


def scalar_text(shown: Shown) -> str:
    """What follows a scalar's name and a colon."""
    if isinstance(shown, tuple):
        return f" {_point_text(shown)}"
    return "".join(
        f"\n    {name}: {_point_text(point, 'count' if name in ('avg', 'total') else 'step')}"
        for name, point in shown.items()
    )


def _point_text(point: Point, what: str = "step") -> str:
    value, number = point
    return f"{value:.6f} ({what} {number})"
