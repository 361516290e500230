"""Runs to be found and read: what they are, what they came to, and how they differ."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any, Unpack, cast

from orchestra.engine.comparing import compare_request, make_comparison, subjects_of
from orchestra.engine.following import follow_attempt
from orchestra.engine.judge import settle, settle_active
from orchestra.engine.off_loop import off_loop
from orchestra.engine.open_home import OpenHome
from orchestra.engine.restart import find_run
from orchestra.engine.results import column_value, results_of
from orchestra.engine.runs import select_runs
from orchestra.engine.search import without_results
from orchestra.engine.series import series_of
from orchestra.errors import UserError
from orchestra.model.columns import parse_column
from orchestra.model.comparison import Comparison
from orchestra.model.differences import Differences, Section
from orchestra.model.filters import RunQuery
from orchestra.model.narrowing import Filters, narrowed, narrowing_of
from orchestra.model.operation import FlagValue
from orchestra.model.run import Run
from orchestra.model.series import MOST_POINTS, Series
from orchestra.workspace.output import read_output
from orchestra.workspace.results import Results


class RunReader(OpenHome):
    """An open home whose runs are read."""

    async def get(self, run: str) -> Run:
        """The run with this id or beginning of one, in its true state.

        Raises:
            RunNotFound: none matches, or several do.
        """
        return await settle(self.session, await find_run(self.session, run, cwd=self._cwd))

    async def list(self, query: RunQuery | None = None, **filters: Unpack[Filters]) -> tuple[Run, ...]:
        """The runs that match, newest first, in their true states.

        ``filters`` are those of the command line: ``expr="loss < 0.1"``, ``ops="train"``, ``tags=["a", "b"]``,
        ``started="last 2 hours"``, ``error=True``, ``not_staged=True``, ...

        Raises:
            UserError: a filter has no meaning.
        """
        await settle_active(self.session)
        asked = narrowed(query or RunQuery(), narrowing_of(filters), self.session.clock.now())
        return (await self.session.store.query(await without_results(self.session, asked))).runs

    async def results(self, run: str) -> Results:
        """The scalars and attributes of a run's newest attempt, as far as it has come."""
        record = await self.get(run)
        return await off_loop(lambda: results_of(self.session, record))

    async def series(
        self, run: str, names: str | Sequence[str], *, most: int = MOST_POINTS
    ) -> dict[str, Series]:
        """The values over steps of scalars of a run's newest attempt; what it has not is left out.

        Of more than ``most`` points those are kept that a curve of them shows: of each stretch the least and the
        greatest.
        """
        wanted = (names,) if isinstance(names, str) else tuple(names)
        record = await self.get(run)
        return await off_loop(lambda: series_of(self.session, record, wanted, most=most))

    async def value(self, run: str, column: str) -> FlagValue:
        """What a run has in a column, such as ``min loss``, ``loss step``, ``=lr`` or ``.label``; None if nothing.

        Raises:
            UserError: it is no column.
        """
        wanted = parse_column(column)
        record = await self.get(run)
        return await off_loop(lambda: column_value(self.session, record, wanted))

    async def compare(
        self, runs: Sequence[str] = (), *, query: RunQuery | None = None, **options: Any
    ) -> Comparison:
        """What runs were given and what they came to, as a table: of all runs, or those that are named or match.

        ``options`` are those of :func:`~orchestra.engine.comparing.compare_request`: ``cols="min loss as best"``,
        ``strict_cols``, ``min="loss"``, ``top=10``, ``repeats=True``, ``group_by="lr"``, ``agg="mean,std,n"``, ...;
        and the filters of :meth:`list`.

        Raises:
            RunNotFound: one that is named is not there.
            UserError: a column or a filter has no meaning, or no run has anything in a column.
        """
        names = Filters.__annotations__.keys() & options
        filters = cast("Filters", {name: options.pop(name) for name in names})
        asked = narrowed(query or RunQuery(), narrowing_of(filters), self.session.clock.now())
        # Who says which states are wanted wants them as repeats, too.
        options.setdefault("only_completed", asked.states is None)
        request = compare_request(**options)
        await settle_active(self.session)
        chosen = await select_runs(self.session, runs, query=asked, default="all")
        subjects = await subjects_of(self.session, chosen, self._cwd, include_batch=request.include_batch)
        return make_comparison(subjects, request)

    async def diff(
        self,
        before: str,
        after: str | None = None,
        *,
        sections: Collection[Section] = (),
        paths: Sequence[str] = (),
        folder: str | os.PathLike[str] | None = None,
    ) -> Differences:
        """How the run ``after`` differs from the run ``before``, in all, or in ``sections`` and the files ``paths``.

        Without ``after``: how the source, or ``paths``, in ``folder`` differ from those of the run; by default in its
        project as it is now.

        Raises:
            UserError: there is nothing to compare, or a path leads out of the run.
        """
        from orchestra.engine.differences import differences, differences_from_folder, project_of

        one = await self.get(before)
        if after is None:
            if unfit := [section for section in sections if section != "source"]:
                raise UserError(f"a folder has no {unfit[0]} to compare", "Name two runs.")
            place = project_of(one) if folder is None else self._cwd / folder
            is_project = folder is None
            return await off_loop(
                lambda: differences_from_folder(self.session, one, place, is_project=is_project, paths=paths)
            )
        if folder is not None:
            raise UserError("two runs and a folder cannot be compared", "Leave out one of them.")
        other = await self.get(after)
        return await off_loop(lambda: differences(self.session, one, other, sections=sections, paths=paths))

    async def output(self, run: str, *, follow: bool = False) -> AsyncIterator[bytes]:
        """The output of a run's newest attempt in chunks; with ``follow``, as it is written, to the end."""
        record = await self.get(run)
        if not follow:
            for chunk in read_output(self.session.attempt_directory(record)):
                yield chunk
            return
        async for _, _, data in follow_attempt(self.session, record):
            if data:
                yield data
