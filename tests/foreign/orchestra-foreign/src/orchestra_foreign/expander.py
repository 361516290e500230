"""``zip``: the first trial takes the first value of every flag, the second the second, and so on."""

from contextlib import asynccontextmanager

from msgspec import Struct
from orchestra.errors import ExpandError
from orchestra.model.batch import Choices, Proposal, combine


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    reverse: bool = False


class ZipExpander:
    def __init__(self, options):
        self.options = options

    async def propose(self, batch, history, limit):
        if not all(isinstance(dimension, Choices) for dimension in batch.space.values()):
            raise ExpandError("zip takes lists of values only")
        names = sorted(batch.space)
        rows = list(zip(*(batch.space[name].values for name in names), strict=False))[: batch.max_trials]
        if self.options.reverse:
            rows.reverse()
        end = len(history) + limit
        trials = tuple(combine(batch, dict(zip(names, row, strict=True))) for row in rows[len(history) : end])
        return Proposal(trials=trials, exhausted=end >= len(rows))


@asynccontextmanager
async def open_expander(options: Options):
    yield ZipExpander(options)
