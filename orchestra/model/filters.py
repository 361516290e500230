"""Which runs a caller wants: the query of a listing and the object of a claim."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from orchestra.model.run import Run, RunKind, State

if TYPE_CHECKING:
    from orchestra.model.conditions import Condition
else:
    Condition = Any
    """Who has one has loaded what it takes."""


class RunQuery(Struct, frozen=True, kw_only=True):
    """Which runs to list. Every condition that is given must hold; None means any."""

    ids: tuple[str, ...] | None = None
    id_prefix: str | None = None
    states: frozenset[State] | None = None
    kinds: frozenset[RunKind] | None = None
    batch: str | None = None
    """Only the trials of this batch."""
    where: Condition | None = None
    """What else must hold. Results of runs are undefined here: see :mod:`orchestra.model.conditions`."""
    oldest_first: bool = False
    """By :attr:`Run.time`; newest first otherwise. Ties keep the order of creation."""
    claim_order: bool = False
    """By :attr:`Run.turn` instead."""
    limit: int | None = None
    offset: int = 0
    counted: bool = True
    """Whether it matters how many runs match; else a page's ``total`` may be any number, and no store need count."""

    @property
    def window(self) -> slice:
        """What its limit and offset leave of all the runs that match, in order."""
        return slice(self.offset, None if self.limit is None else self.offset + self.limit)

    def sort_key(self, run: Run) -> int | tuple[int, int]:
        """What the runs are sorted by, in a sort that is stable."""
        if self.claim_order:
            return run.turn
        return run.time if self.oldest_first else -run.time

    def matches(self, run: Run) -> bool:
        """Whether ``run`` meets every condition (limit and order aside): what a store must agree with."""
        return (
            (self.ids is None or run.id in self.ids)
            and (self.id_prefix is None or run.id.startswith(self.id_prefix))
            and (self.states is None or run.state in self.states)
            and (self.kinds is None or run.kind in self.kinds)
            and (self.batch is None or run.batch == self.batch)
            and (self.where is None or _holds(self.where, run))
        )


def _holds(where: Condition, run: Run) -> bool:
    # Nearly nobody asks: what conditions take is loaded then.
    from orchestra.model.conditions import holds

    return holds(where, run)


class Wanted(Struct, frozen=True, kw_only=True):
    """What a worker wants to claim."""

    ids: tuple[str, ...] | None = None
    """Only these; None: any."""
    states: frozenset[State] = frozenset(("staged",))
    """Claimable only from these states; a claimed run is never in reach of a start."""
    excluded: tuple[str, ...] = ()
    """Never these (runs that a queue has set aside)."""
    expired: bool = False
    """Take over the watch of runs whose lease is over instead: claimed or running, attempt unchanged."""

    def matches(self, run: Run, now: int) -> bool:
        """Whether ``run`` may be claimed at ``now``: what a store must agree with."""
        if (self.ids is not None and run.id not in self.ids) or run.id in self.excluded:
            return False
        if self.expired:
            return run.worker is not None and run.lease is not None and run.lease <= now
        return run.state in self.states and run.worker is None
