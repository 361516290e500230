"""A batch: a search space over an operation's flags that an expander turns into trials."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

from msgspec import Struct

from orchestra.model.operation import FlagValue


class Choices(Struct, frozen=True, kw_only=True, gc=False, tag="choices"):
    """A dimension of listed values, in the order given (duplicates kept)."""

    values: tuple[FlagValue, ...]


class Interval(Struct, frozen=True, kw_only=True, gc=False, tag="interval", omit_defaults=True):
    """A dimension between two bounds, both inclusive."""

    low: float | int
    high: float | int
    log: bool = False
    """Even in the logarithm; then ``low > 0``."""
    integer: bool = False
    """Only whole numbers (both bounds were given as whole numbers)."""
    initial: float | int | None = None
    """The value that the first trial should try."""


Dimension: TypeAlias = Choices | Interval

Redo: TypeAlias = Literal["failed", "missing", "lost"]
"""Which trials a batch is started again for, where that is not simply to go on."""


class Batch(Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """What a batch searches: every flag of its trials is in ``space``, in ``fixed``, or in its ``rows``."""

    space: dict[str, Dimension]
    fixed: dict[str, FlagValue] = {}
    rows: tuple[dict[str, FlagValue], ...] = ()
    """Of a batch file: what each part of the batch has instead; a list is tried value by value. An expander other
    than ``grid`` is given them as a dimension of ``space``."""
    seed: int
    """Makes sampling repeatable: 0 <= seed < 2**32."""
    max_trials: int | None = None
    """Propose at most so many trials in all; None leaves it to the expander."""
    expander: str = "grid"
    """The expander plugin's name."""
    options: dict[str, FlagValue] = {}
    """The expander plugin's options, as given."""
    stage_trials: bool = False
    """Stage the trials instead of running them."""
    generation: int = 1
    """Grows when a batch is restarted for new trials; its history starts anew."""
    fail_on_trial_error: bool = False
    max_fails: int | None = None
    """Stop when so many trials have failed since the batch was started."""
    objective: str | None = None
    """The column that the search minimises; with ``-`` before it, maximises."""
    extended: bool = False
    """The space, or the number of trials, has grown: the history may hold trials of a smaller batch."""
    redo: tuple[Redo, ...] = ()
    """What the coming attempt is for, and nothing else; empty: to go on with what there is, then with new trials."""
    unfinished: bool = False
    """It has ended well without having gone on with all of its trials: it was not asked to."""


class TrialResult(Struct, frozen=True, kw_only=True, gc=False):
    """What an expander is told of a trial that was proposed before."""

    flags: dict[str, FlagValue]
    outcome: str | None = None
    """The final state, e.g. ``completed`` or ``error``; None while it has not ended."""
    objective: float | None = None
    """What the search minimises (of a maximised column its negative); None if the trial has not completed or has no
    such value, or nothing was said of an objective."""


class Proposal(Struct, frozen=True, kw_only=True, gc=False):
    """The next trials of a batch, as complete sets of flags."""

    trials: tuple[dict[str, FlagValue], ...]
    exhausted: bool
    """True when no trial will follow these."""


def is_same_search(one: Batch, other: Batch) -> bool:
    """Whether both go over the same flags in the same way, with however many trials and whichever seed."""
    names = ("space", "fixed", "rows", "expander", "options", "objective", "stage_trials")
    return all(getattr(one, name) == getattr(other, name) for name in names)


def combine(batch: Batch, point: dict[str, FlagValue]) -> dict[str, FlagValue]:
    """The flags of one trial: the fixed ones and ``point``, in the order of their names."""
    merged = {**batch.fixed, **point}
    return {name: merged[name] for name in sorted(merged)}


def flag_names(batch: Batch) -> frozenset[str]:
    """The names of all flags that trials of ``batch`` have."""
    return frozenset(batch.space).union(batch.fixed, *batch.rows)


def unexpanded(batch: Batch) -> dict[str, FlagValue]:
    """The flags that a batch was made of: lists and intervals as they were given."""
    values: dict[str, FlagValue] = dict(batch.fixed)
    for name, dimension in batch.space.items():
        values[name] = list(dimension.values) if isinstance(dimension, Choices) else dimension
    return {name: values[name] for name in sorted(values)}


def varying(batch: Batch) -> frozenset[str]:
    """The names of the flags in which trials of ``batch`` differ."""
    names: set[str] = set()
    for name, dimension in batch.space.items():
        if not isinstance(dimension, Choices) or _differ(dimension.values):
            names.add(name)
    for name in {name for row in batch.rows for name in row}:
        # A list in a row is tried value by value; where a row says nothing, it is as elsewhere.
        values = [row.get(name) for row in batch.rows]
        if _differ(values) or any(isinstance(value, list | tuple) for value in values):
            names.add(name)
    return frozenset(names)


def _differ(values: Sequence[FlagValue]) -> bool:
    return any(value != values[0] for value in values)
