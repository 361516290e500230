"""From flag values to a batch: what is fixed, what varies, and how many trials that makes."""

from __future__ import annotations

from math import prod
from typing import Any, Final, cast

from orchestra.errors import FlagError
from orchestra.model.batch import Batch, Choices, Dimension, Interval
from orchestra.model.decoding import Decoded
from orchestra.model.operation import FlagValue
from orchestra.model.sequences import grouped

MAX_TRIALS: Final = 100_000
"""The most trials that a batch makes without being told a number."""


def is_batch(flags: dict[str, Decoded]) -> bool:
    """Whether any value stands for several: a list or a search."""
    return any(isinstance(value, list | tuple | Interval) for value in flags.values())


def make_batch(
    flags: dict[str, Decoded],
    *,
    seed: int,
    expander: str | None = None,
    options: dict[str, FlagValue] | None = None,
    max_trials: int | None = None,
    stage_trials: bool = False,
    fail_on_trial_error: bool = False,
    rows: tuple[dict[str, FlagValue], ...] = (),
) -> Batch:
    """The batch over ``flags``: lists become choices, searches intervals, the rest is fixed.

    Without an ``expander`` a search is sampled (``random``) and lists are multiplied (``grid``), as are ``rows``
    with both.

    Raises:
        FlagError: the lists would make more than :data:`MAX_TRIALS` trials and ``max_trials`` is not given.
    """
    space: dict[str, Dimension] = {}
    fixed: dict[str, FlagValue] = {}
    for name in sorted(flags):
        value = flags[name]
        if isinstance(value, Interval):
            space[name] = value
        elif isinstance(value, list | tuple):
            space[name] = Choices(values=tuple(cast("list[Any]", value)))
        else:
            fixed[name] = value
    searches = any(isinstance(dimension, Interval) for dimension in space.values())
    chosen = expander or ("random" if searches and not rows else "grid")
    if chosen == "grid":
        check_trial_count(space, max_trials, rows)
    return Batch(
        space=space,
        fixed=fixed,
        rows=rows,
        seed=seed,
        max_trials=max_trials,
        expander=chosen,
        options=options or {},
        stage_trials=stage_trials,
        fail_on_trial_error=fail_on_trial_error,
    )


def knows_rows(expander: str) -> bool:
    """Whether the expander of this name takes a batch with rows as it is."""
    return expander == "grid"


def count_combinations(space: dict[str, Dimension]) -> int:
    """How many combinations the lists of ``space`` have, without making them; an interval counts once."""
    return prod(len(dimension.values) for dimension in space.values() if isinstance(dimension, Choices))


def space_of_row(space: dict[str, Dimension], row: dict[str, FlagValue]) -> dict[str, Dimension]:
    """What is left to vary beside the values of ``row``, and the lists among these."""
    varied: dict[str, Dimension] = {name: space[name] for name in space if name not in row}
    for name, value in row.items():
        if isinstance(value, list | tuple):
            varied[name] = Choices(values=tuple(cast("list[Any]", value)))
    return varied


def check_trial_count(
    space: dict[str, Dimension], max_trials: int | None, rows: tuple[dict[str, FlagValue], ...] = ()
) -> None:
    """Refuse a product that nobody can have meant.

    Raises:
        FlagError: it has more than :data:`MAX_TRIALS` combinations and ``max_trials`` is None.
    """
    count = sum(count_combinations(space_of_row(space, row)) for row in rows or ({},))
    if max_trials is None and count > MAX_TRIALS:
        raise FlagError(
            f"would create {grouped(count)} trials",
            f"Give --max-trials to sample some of them; without it the limit is {grouped(MAX_TRIALS)}.",
        )
