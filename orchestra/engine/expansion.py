"""The expander of a batch, asked for trials in the batch's own words."""

from __future__ import annotations

from collections.abc import Sequence

from orchestra.contracts import BatchExpander, Counting
from orchestra.engine.session import Session
from orchestra.model.batch import Batch, Proposal, TrialResult
from orchestra.model.space import knows_rows


class Expansion:
    """An open expander and the batch that it expands. Rows of a file are a dimension to one that knows of none."""

    def __init__(self, expander: BatchExpander, batch: Batch) -> None:
        self._expander = expander
        self._batch = batch
        self._rows = None
        if batch.rows and not knows_rows(batch.expander):
            from orchestra.model.rows import RowDimension

            self._rows = RowDimension(batch)
            self._batch = self._rows.batch

    async def propose(self, history: Sequence[TrialResult], limit: int) -> Proposal:
        """See :meth:`BatchExpander.propose`.

        Raises:
            ExpandError: the expander can't search such a batch.
        """
        if self._rows is None:
            return await self._expander.propose(self._batch, history, limit)
        told = self._rows.history(history)
        return self._rows.proposal(await self._expander.propose(self._batch, told, limit))

    def count(self) -> int | None:
        """How many trials there will be in all; None where the expander does not know."""
        return self._expander.count(self._batch) if isinstance(self._expander, Counting) else None


async def expand(session: Session, batch: Batch) -> Expansion:
    """Open the expander of ``batch``."""
    return Expansion(await session.expander(batch.expander, batch.options), batch)
