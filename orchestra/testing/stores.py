"""The kit for stores.

    class TestMine(WatchableContract, StoreContract):
        @pytest.fixture
        def opener(self, tmp_path):
            return partial(open_store, Options(home=tmp_path))

``opener`` is called without arguments, any number of times, from any thread. Each call gives a context
manager of one more handle on the same store, which is empty when a test begins. A store without
``changes()`` leaves out :class:`WatchableContract`; one with ``marks()`` takes :class:`MarkingContract`, one with
``incarnation()`` :class:`EnduringContract`, too.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import TypeAlias, cast

import anyio
import anyio.abc
import anyio.lowlevel
from msgspec import structs

from orchestra.contracts import Enduring, Mark, Marking, Store, Watchable
from orchestra.model.conditions import Comparison, Name, Not
from orchestra.model.filters import RunQuery, Wanted
from orchestra.testing.builders import a_run, a_worker, some_runs
from orchestra.testing.store_cases import QueryCases, RecordCases, StoreCase
from orchestra.testing.store_claim_cases import ClaimCases, LeaseCases
from orchestra.testing.store_condition_cases import ConditionCases
from orchestra.testing.store_race import StoreOpener

__all__ = ["EnduringContract", "MarkingContract", "StoreContract", "StoreOpener", "WatchableContract"]

Change: TypeAlias = Callable[[Store], Awaitable[object]]


class StoreContract(RecordCases, QueryCases, ConditionCases, ClaimCases, LeaseCases):
    """What every store keeps: see :class:`orchestra.contracts.Store`."""


class MarkingContract(StoreCase):
    """For stores with the capability :class:`orchestra.contracts.Marking`."""

    async def test_marks_are_of_the_runs_that_the_query_finds(self, opener: StoreOpener) -> None:
        runs = some_runs(7)
        lr = Comparison(Name("lr"), "=", 0.5)
        runs[3:5] = [structs.replace(run, flags={"lr": 0.5}) for run in runs[3:5]]
        queries = (
            RunQuery(),
            RunQuery(limit=2, offset=1),
            RunQuery(ids=(runs[2].id, "unknown")),
            RunQuery(where=lr),
            RunQuery(where=lr, limit=1, oldest_first=True),
            RunQuery(where=Not(Comparison(Name("user"), "=", "nobody")), limit=3),
        )
        async with opener() as store:
            await store.create(runs)
            for query in queries:
                found = (await store.query(query)).runs
                expected = [(run.id, run.revision, run.time) for run in found]

                assert [tuple(mark) for mark in await _marking(store).marks(query)] == expected, query

    async def test_a_mark_changes_with_its_run_and_not_with_others(self, opener: StoreOpener) -> None:
        changed, other = some_runs(2)
        async with opener() as store, opener() as elsewhere:
            await store.create([changed, other])
            before = dict(_by_id(await _marking(store).marks(RunQuery())))
            (run,) = await elsewhere.update([structs.replace(await store.get(changed.id), label="new")])
            after = dict(_by_id(await _marking(store).marks(RunQuery())))

            assert after == before | {changed.id: (run.revision, run.time)}
            assert after != before


def _by_id(marks: Sequence[Mark]) -> Iterator[tuple[str, tuple[int, int]]]:
    return ((run_id, (revision, time)) for run_id, revision, time in marks)


class EnduringContract(StoreCase):
    """For stores with the capability :class:`orchestra.contracts.Enduring`."""

    async def test_all_handles_tell_of_one_incarnation_whatever_is_done(self, opener: StoreOpener) -> None:
        async with opener() as store, opener() as other:
            before = _enduring(store).incarnation()
            await other.create([a_run()])
            told = {_enduring(one).incarnation() for one in (store, other)}
        async with opener() as again:
            assert told | {_enduring(again).incarnation()} == {before}
            assert before.split() == [before]


class WatchableContract(StoreCase):
    """For stores with the capability :class:`orchestra.contracts.Watchable`."""

    prompt = 5.0
    """Seconds within which a change must have woken who waits for it."""

    async def test_a_change_by_another_handle_wakes(self, opener: StoreOpener) -> None:
        async def claim(store: Store) -> None:
            assert await store.claim(a_worker(), 60.0, 1, Wanted())

        async def update(store: Store) -> None:
            (run,) = (await store.query(RunQuery())).runs
            await store.update([structs.replace(run, label="new")])

        async def delete(store: Store) -> None:
            (run,) = (await store.query(RunQuery())).runs
            await store.delete([run.id])

        async with opener() as one, opener() as two:
            for change in (_create, claim, update, delete):
                await self._wakes(one, two, change)

    async def test_a_change_by_the_same_handle_wakes(self, opener: StoreOpener) -> None:
        async with opener() as store:
            await self._wakes(store, store, _create)

    async def test_a_change_before_the_first_wait_is_not_missed(self, opener: StoreOpener) -> None:
        async with opener() as one, opener() as two, _watchable(one).changes() as changes:
            await two.create([a_run()])
            await anyio.sleep(0.05)

            await self._next(changes)

    async def test_a_change_between_two_waits_is_not_missed(self, opener: StoreOpener) -> None:
        async with opener() as one, opener() as two, _watchable(one).changes() as changes:
            await two.create([a_run()])
            await self._next(changes)
            for number in range(1, 6):
                await two.create([a_run()])
                while (await one.query(RunQuery())).total <= number:
                    await self._next(changes)
                await _next_or_nothing(changes)

    async def test_everybody_who_waits_is_woken(self, opener: StoreOpener) -> None:
        woken: list[int] = []

        async def wait(number: int, *, task_status: anyio.abc.TaskStatus[None]) -> None:
            async with opener() as store, _watchable(store).changes() as changes:
                task_status.started()
                await self._next(changes)
                woken.append(number)

        async with opener() as store:
            async with anyio.create_task_group() as tasks:
                for number in range(5):
                    await tasks.start(wait, number)
                await store.create(some_runs(3))

            assert sorted(woken) == [0, 1, 2, 3, 4]

    async def test_waiting_can_be_cancelled_and_begun_again(self, opener: StoreOpener) -> None:
        async with opener() as one, opener() as two:
            async with _watchable(one).changes() as changes:
                await _next_or_nothing(changes)
                await _next_or_nothing(changes)
                await two.create([a_run()])
                await self._next(changes)
            await self._wakes(one, two, _create)

    async def _wakes(self, waiting: Store, changing: Store, change: Change) -> None:
        async with _watchable(waiting).changes() as changes:
            # Whatever came before, and may still be told of.
            await _next_or_nothing(changes)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._next, changes)
                await anyio.sleep(0.02)
                await change(changing)

    async def _next(self, changes: AsyncIterator[None]) -> None:
        with anyio.fail_after(self.prompt):
            await anext(changes)


async def _create(store: Store) -> None:
    await store.create([a_run()])


async def _next_or_nothing(changes: AsyncIterator[None]) -> None:
    with anyio.move_on_after(0.05):
        while True:
            await anext(changes)
            await anyio.lowlevel.checkpoint()


def _watchable(store: Store) -> Watchable:
    return cast(Watchable, store)


def _marking(store: Store) -> Marking:
    return cast(Marking, store)


def _enduring(store: Store) -> Enduring:
    return cast(Enduring, store)
