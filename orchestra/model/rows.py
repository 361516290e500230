"""The rows of a batch file as one more dimension, for expanders that know of none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any, Final, cast

from msgspec import structs

from orchestra.model.batch import Batch, Choices, Proposal, TrialResult
from orchestra.model.operation import FlagValue

ROW: Final = "@row"
"""The name of that dimension, which no flag can have: the command line reads it as the name of a file."""


class RowDimension:
    """A batch with rows as a batch without: which row a trial has is one of its choices."""

    def __init__(self, batch: Batch) -> None:
        self._rows = tuple(single for row in batch.rows for single in _singles(row))
        numbers = Choices(values=tuple(range(len(self._rows))))
        self.batch: Final = structs.replace(batch, rows=(), space={ROW: numbers, **batch.space})
        """What the expander is given."""

    def proposal(self, proposed: Proposal) -> Proposal:
        """What the expander proposes, with the flags of the rows."""
        return structs.replace(proposed, trials=tuple(map(self._flags, proposed.trials)))

    def history(self, history: Sequence[TrialResult]) -> tuple[TrialResult, ...]:
        """What the expander is told of the trials before."""
        return tuple(structs.replace(one, flags={**one.flags, ROW: self._row(one.flags)}) for one in history)

    def _flags(self, point: Mapping[str, FlagValue]) -> dict[str, FlagValue]:
        merged: dict[str, FlagValue] = {**point, **self._rows[point[ROW]]}
        return {name: merged[name] for name in sorted(merged) if name != ROW}

    def _row(self, flags: Mapping[str, FlagValue]) -> int:
        """The number of the row that the flags are of: the one that they have most of."""
        shared = [sum(flags.get(name) == row[name] for name in row) for row in self._rows]
        return shared.index(max(shared))


def _singles(row: Mapping[str, FlagValue]) -> Iterator[dict[str, FlagValue]]:
    """The rows that ``row`` stands for: one for each combination of the values in its lists."""
    names = sorted(row)
    lists = [
        cast("list[Any]", row[name]) if isinstance(row[name], list | tuple) else [row[name]] for name in names
    ]
    for values in product(*lists):
        yield dict(zip(names, values, strict=True))
