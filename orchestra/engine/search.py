"""Looking for runs by what they came to.

A store knows nothing of results: a condition that asks for some is put into other words first, which name the runs
for which it holds. Results of runs that have ended are looked up in the home's index of them, and entered there by
whoever is the first to ask.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from msgspec import structs

from orchestra.contracts import Mark
from orchestra.engine.off_loop import off_loop
from orchestra.engine.presence import mark_of, marks_of
from orchestra.engine.results import results_of
from orchestra.engine.session import Session
from orchestra.model.filters import RunQuery
from orchestra.model.operation import FlagValue
from orchestra.model.run import FINAL, Run, State
from orchestra.model.scalars import scalar_value

if TYPE_CHECKING:
    from orchestra.model.conditions import Comparison, Condition, Name
    from orchestra.workspace.results import Results
    from orchestra.workspace.results_index import Ending, ResultsIndex

T = TypeVar("T")

FEW = 16
"""Of up to so many runs the results are read from their own files."""
AT_ONCE = 500
"""How many runs are read before what they came to is kept."""
LONG = 1.0
"""Seconds of reading after which a person is told of it."""
TRIES = 5
"""How often is looked anew where others forget meanwhile what was just looked up."""
_SETTLED: frozenset[State] = FINAL - {"lost", "broken"}
"""Of runs in these states the results stay as they are."""


def results_of_many(session: Session, runs: Sequence[Run]) -> Mapping[str, Results]:
    """The results of each of ``runs``, by its id: as :func:`~orchestra.engine.results.results_of` has them."""
    if len(runs) <= FEW:
        return {run.id: results_of(session, run) for run in runs}
    from orchestra.workspace.results_index import IndexLost, ResultsIndex

    def looked_up(index: ResultsIndex) -> dict[str, Results]:
        found = index.results([mark_of(run) for run in runs])
        unknown = [run for run in runs if run.id not in found]
        reading = _Reading(session, len(unknown))
        for part in _parts(unknown):
            reading.tell(len(part))
            read, kept = _read(session, index, part)
            found |= index.results([mark_of(run) for run in part if run.id in kept - read.keys()]) | read
        # What was carried over may be forgotten by others meanwhile.
        return found | {run.id: results_of(session, run) for run in unknown if run.id not in found}

    try:
        with _index(session) as index:
            return looked_up(index)
    except IndexLost:
        with ResultsIndex(None) as index:
            return looked_up(index)


def names_of_results(session: Session, runs: Sequence[Run]) -> set[str]:
    """The names of scalars and attributes that ``runs`` have, and that others had when they were looked at."""
    from orchestra.model.scalars import short_name
    from orchestra.workspace.results_index import IndexLost

    # First of all: what they came to is kept with it. Of those that are running nothing ever is.
    found = results_of_many(session, runs).values()
    names = {name for results in found for key in results.scalars for name in (key, short_name(key))}
    names |= {name for results in found for name in results.attributes}
    try:
        with _index(session) as index:
            return names | index.names()
    except IndexLost:
        return names


async def without_results(session: Session, query: RunQuery) -> RunQuery:
    """``query`` in words that a store understands: it finds the same runs, and asks for nobody's results."""
    if query.where is None or not _asked(query.where):
        return query
    from orchestra.workspace.results_index import IndexLost, ResultsIndex

    query, flagless = await _told_apart(session, query, query.where)
    if query.where is None or not _asked(query.where):
        return query
    search = _Search(session, query, query.where, flagless)
    try:
        with _index(session) as index:
            return await search.in_other_words(index)
    except IndexLost:
        with ResultsIndex(None) as index:
            return await search.in_other_words(index)


async def answered_among(session: Session, query: RunQuery, runs: Sequence[Run]) -> RunQuery:
    """As :func:`without_results`, of a query for some of ``runs``, which no store has: deleted ones."""
    if query.where is None:
        return query
    from orchestra.model.conditions import Among, compare, leaves, with_leaves

    if all(_asks_results(leaf) is None for leaf in leaves(query.where)):
        return query
    where = query.where

    def value(run: Run, name: Name) -> FlagValue:
        flag = run.flags.get(name.name) if name.kind == "any" else None
        return _value(results_of(session, run), name) if flag is None else flag

    def holds(run: Run, asked: Comparison) -> bool:
        return compare(value(run, asked.name), asked.operator, asked.value)

    def answer(leaf: Condition) -> Condition:
        asked = _asks_results(leaf)
        return leaf if asked is None else Among(frozenset(run.id for run in runs if holds(run, asked)))

    return structs.replace(query, where=await off_loop(lambda: with_leaves(where, answer)))


def _asks_results(leaf: Condition) -> Comparison | None:
    from orchestra.model.conditions import Comparison, is_attribute

    if not isinstance(leaf, Comparison) or leaf.name.kind == "flag" or is_attribute(leaf.name):
        return None
    return leaf


def _asked(where: Condition) -> list[Comparison]:
    """What asks for results, or may."""
    from orchestra.model.conditions import leaves

    return [leaf for leaf in map(_asks_results, leaves(where)) if leaf is not None]


async def _told_apart(session: Session, query: RunQuery, where: Condition) -> tuple[RunQuery, frozenset[str]]:
    """``query`` with names told to be of flags where all runs have such a flag, and the names that no run has as one.

    What is left of plain names may be of a flag of some runs, and of a result of others.
    """
    from orchestra.model.conditions import Comparison, Name, with_leaves

    names = {each.name.name for each in _asked(where) if each.name.kind == "any"}
    everybody = structs.replace(query, where=None, limit=1, offset=0, claim_order=False)
    total = (await session.store.query(everybody)).total if names else 0
    are_flags: set[str] = set()
    are_none: set[str] = set()
    for name in names:
        lacking = (await session.store.query(structs.replace(everybody, where=_lacks(name)))).total
        if not lacking:
            are_flags.add(name)
        elif lacking == total:
            are_none.add(name)

    def told(leaf: Condition) -> Condition:
        asked = _asks_results(leaf)
        if asked is None or asked.name.kind != "any" or asked.name.name not in are_flags:
            return leaf
        return Comparison(Name(asked.name.name, "flag"), asked.operator, asked.value)

    return structs.replace(query, where=with_leaves(where, told)), frozenset(are_none)


class _Reading:
    """Tells a person, once, why it takes so long."""

    def __init__(self, session: Session, count: int) -> None:
        self._session = session
        self._left = count
        self._begin = time.monotonic()
        self._has_told = False

    def tell(self, part: int) -> None:
        """That ``part`` of the runs are read now."""
        if not self._has_told and time.monotonic() - self._begin > LONG:
            message = f"Reading what {self._left} runs came to: this is done once"
            self._session.emit("results.reading", level="info", message=message, logger="", runs=self._left)
            self._has_told = True
        self._left -= part


class _Search:
    """One query that asks for results."""

    def __init__(self, session: Session, query: RunQuery, where: Condition, flagless: frozenset[str]) -> None:
        self._session = session
        self._query = query
        self._where = where
        self._asked = _asked(where)
        self._flagless = flagless
        self._live: dict[str, Results] = {}
        """Of runs whose results are not kept."""

    async def in_other_words(self, index: ResultsIndex) -> RunQuery:
        """The query with the runs themselves in the place of what asks for their results."""
        from orchestra.workspace.results_index import IndexLost

        for _ in range(TRIES):
            version = await off_loop(index.version)
            marks = await self._look(index)
            where = await off_loop(lambda marks=marks, version=version: self._answers(index, marks, version))
            if where is not None:
                return structs.replace(self._query, where=where)
        raise IndexLost("others forget what it takes again and again")

    def _answers(self, index: ResultsIndex, marks: Sequence[Mark], version: int) -> Condition | None:
        """What takes the place of the condition; None if others have forgotten some of what it takes meanwhile."""
        from orchestra.model.conditions import with_leaves

        with index.at_one_moment():
            if index.version() != version and not self._live.keys() >= set(index.without(marks)):
                return None
            return with_leaves(self._where, lambda leaf: self._answer(leaf, index))

    async def _look(self, index: ResultsIndex) -> Sequence[Mark]:
        """Make sure that the results of all runs that may be found are known; the marks of these runs."""
        self._live = {}
        candidates = self._candidates()
        marks = await marks_of(self._session.store, candidates)
        if candidates == RunQuery(oldest_first=candidates.oldest_first):
            await off_loop(lambda: index.forget_others(len(marks)))
        unknown = await off_loop(lambda: index.without(marks))
        reading = _Reading(self._session, len(unknown))
        for part in _parts(unknown):
            reading.tell(len(part))
            runs = (await self._session.store.query(RunQuery(ids=tuple(part)))).runs
            found, kept = await off_loop(lambda runs=runs: _read(self._session, index, runs))
            self._live |= {run_id: results for run_id, results in found.items() if run_id not in kept}
        return marks

    def _candidates(self) -> RunQuery:
        """The runs whose results count: those that meet all else, and lack the flag where a name may be a flag's."""
        from orchestra.model.conditions import all_of, any_of, conjuncts

        parts = [part for part in conjuncts(self._where) if not _asked(part)]
        names = {each.name.name for each in self._asked if each.name.kind == "any"} - self._flagless
        if names and all(each.name.name in names for each in self._asked):
            lacking = any_of([_lacks(name) for name in sorted(names)])
            parts += [] if lacking is None else [lacking]
        return structs.replace(self._query, where=all_of(parts), limit=None, offset=0, claim_order=False)

    def _answer(self, leaf: Condition, index: ResultsIndex) -> Condition:
        from orchestra.model.conditions import AllOf, Among, AnyOf, Comparison, Name, Not, compare

        asked = _asks_results(leaf)
        if asked is None:
            return leaf
        # Those for which it holds; where it holds for those that have nothing, the others.
        holds_for_nothing = compare(None, asked.operator, asked.value)
        ids = index.ids_with(asked, not holds_for_nothing) - self._live.keys()
        for run_id, results in self._live.items():
            value = _value(results, asked.name)
            if value is not None and compare(value, asked.operator, asked.value) is not holds_for_nothing:
                ids.add(run_id)
        among = Among(frozenset(ids))
        answer = Not(among) if holds_for_nothing else among
        if asked.name.kind != "any" or asked.name.name in self._flagless:
            return answer
        flag = Comparison(Name(asked.name.name, "flag"), asked.operator, asked.value)
        if not ids:
            return flag
        lacks = _lacks(asked.name.name)
        return AnyOf((AllOf((Not(lacks), flag)), AllOf((lacks, answer))))


def _lacks(flag: str) -> Comparison:
    from orchestra.model.conditions import Comparison, Name

    return Comparison(Name(flag, "flag"), "=", None)


def _value(results: Results, name: Name) -> FlagValue:
    if name.kind != "scalar":
        value = results.attributes.get(name.name)
        if value is not None or name.kind == "attribute":
            return value
    return scalar_value(results.scalars, name.name, name.qualifier, step=name.step)


def _index(session: Session) -> ResultsIndex:
    from orchestra.workspace.results_index import FILE, ResultsIndex

    return ResultsIndex(None if session.read_only else session.layout.cache_dir / FILE)


def _read(
    session: Session, index: ResultsIndex, runs: Sequence[Run]
) -> tuple[dict[str, Results], frozenset[str]]:
    """The results of these runs but for those that have ended as was known, and the ids of those whose results are
    kept now."""
    lasting = [run for run in runs if run.state in _SETTLED and run.operation.kind != "steps"]
    carried = index.carry_over([(mark_of(run), _ending(run)) for run in lasting])
    found = {run.id: results_of(session, run) for run in runs if run.id not in carried}
    lasting = [run for run in lasting if run.id in found and not found[run.id].problems]
    refused = index.keep([(mark_of(run), _ending(run), found[run.id]) for run in lasting])
    return found, carried.union(run.id for run in lasting).difference(refused)


def _ending(run: Run) -> Ending:
    return run.attempt, run.started or 0, run.stopped or 0


def _parts(items: Sequence[T]) -> Iterator[Sequence[T]]:
    rest = iter(items)
    while part := list(islice(rest, AT_ONCE)):
        yield part
