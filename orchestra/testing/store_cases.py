"""What every store must do with records: keep them, change them, find them, forget them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any, cast

import anyio
import pytest
from msgspec import structs

from orchestra.contracts import Store
from orchestra.errors import IdTaken, RevisionConflict, RunNotFound
from orchestra.model.filters import RunQuery, Wanted
from orchestra.model.run import Run
from orchestra.testing.builders import a_full_run, a_run, a_worker, some_runs
from orchestra.testing.kit import Kit
from orchestra.testing.store_race import StoreOpener, race

ODD_TEXTS = (
    "",
    " \t\r\n",
    "a\x00b",
    "'; DROP TABLE runs; --",
    '"\\/',
    "\u2028\u202e",
    "\U0001f3bb",
    "e\u0301",
    "caf\udce9",
)
"""Text that people have: the last is how Python writes an argument that is not UTF-8."""
ODD_NUMBERS = (0, -1, 2**53 + 1, 10**30, 0.1, -0.0, 1e308, 5e-324, math.inf, -math.inf, math.nan)


class StoreCase(Kit):
    """The root of the store's kits: give the fixture ``opener``."""

    @pytest.fixture
    def opener(self) -> StoreOpener:
        """To be overridden: an opener of an empty store, which stays the same store within a test."""
        raise NotImplementedError("define the fixture 'opener'")


class RecordCases(StoreCase):
    """create, get, update, delete."""

    async def test_a_run_comes_back_with_every_field_as_it_was_given(self, opener: StoreOpener) -> None:
        run = a_full_run()
        async with opener() as store:
            (created,) = await store.create([run], lease=60.0)

            assert structs.replace(created, lease=run.lease, revision=run.revision) == run
            assert await store.get(run.id) == created

    async def test_flags_keep_their_types(self, opener: StoreOpener) -> None:
        values = [
            None,
            True,
            False,
            1,
            1.0,
            "1",
            "",
            [],
            {},
            [1, [2.0, None]],
            {"a": {"b": [True]}},
            *ODD_NUMBERS,
        ]
        flags = {f"flag{number}": value for number, value in enumerate(values)}
        run = a_run(flags=flags)
        async with opener() as store:
            await store.create([run])

            kept = (await store.get(run.id)).flags
            assert {name: repr(value) for name, value in kept.items()} == {
                n: repr(v) for n, v in flags.items()
            }

    @pytest.mark.parametrize("text", ODD_TEXTS, ids=ascii)
    async def test_any_text_survives(self, opener: StoreOpener, text: str) -> None:
        run = a_run(flags={"msg": text, "list": [text]}, label=text, tags=(text,), environment={"A": text})
        async with opener() as store:
            await store.create([run])

            assert await store.get(run.id) == structs.replace(run, revision=1)

    async def test_a_big_record_survives(self, opener: StoreOpener) -> None:
        run = a_run(flags={"text": "0123456789abcdef" * 65536})
        async with opener() as store:
            await store.create([run])

            assert (await store.get(run.id)).flags == run.flags

    async def test_what_is_kept_does_not_change_with_what_was_given(self, opener: StoreOpener) -> None:
        run = a_run(flags={"lr": 0.1})
        async with opener() as store:
            await store.create([run])
            run.flags["lr"] = 0.2
            (await store.get(run.id)).flags["lr"] = 0.3

            assert (await store.get(run.id)).flags == {"lr": 0.1}

    async def test_a_new_run_is_at_revision_1_or_the_one_it_brings(self, opener: StoreOpener) -> None:
        new, rebuilt = a_run(), a_run(revision=7)
        async with opener() as store:
            created = await store.create([new, rebuilt])

            assert [run.revision for run in created] == [1, 7]
            assert [(await store.get(run.id)).revision for run in (new, rebuilt)] == [1, 7]

    async def test_nothing_is_created_when_one_id_is_taken(self, opener: StoreOpener) -> None:
        taken, before, after = some_runs(3)
        async with opener() as store:
            await store.create([taken])
            with pytest.raises(IdTaken):
                await store.create([before, structs.replace(taken, label="other"), after])

            assert await _ids(store) == [taken.id]
            assert (await store.get(taken.id)).label is None

    async def test_nothing_is_created_when_an_id_comes_twice(self, opener: StoreOpener) -> None:
        run = a_run()
        async with opener() as store:
            with pytest.raises(IdTaken):
                await store.create([run, a_run(), run])

            assert await _ids(store) == []

    async def test_no_runs_are_no_trouble(self, opener: StoreOpener) -> None:
        async with opener() as store:
            assert await store.create([]) == ()
            assert await store.update([]) == ()
            assert await store.delete([]) == 0

    async def test_get_takes_whole_ids_only(self, opener: StoreOpener) -> None:
        run = a_run(id="Abc_1")
        async with opener() as store:
            await store.create([run])

            for run_id in ("", "Abc", "abc_1", "AbcX1", "Abc_1 ", "Abc%", "caf\udce9"):
                with pytest.raises(RunNotFound):
                    await store.get(run_id)

    async def test_an_update_is_kept_at_the_next_revision(self, opener: StoreOpener) -> None:
        run = a_run()
        async with opener() as store:
            (created,) = await store.create([run])
            (updated,) = await store.update([structs.replace(created, label="new", tags=("a", "b"))])

            assert updated == structs.replace(created, label="new", tags=("a", "b"), revision=2)
            assert await store.get(run.id) == updated

    async def test_a_stale_update_is_refused(self, opener: StoreOpener) -> None:
        async with opener() as store:
            (first,) = await store.create([a_run()])
            (second,) = await store.update([structs.replace(first, label="second")])
            for revision in (0, 1, 3):
                with pytest.raises(RevisionConflict):
                    await store.update([structs.replace(first, label="stale", revision=revision)])

            assert await store.get(first.id) == second

    async def test_nothing_is_updated_when_one_run_is_stale(self, opener: StoreOpener) -> None:
        async with opener() as store:
            runs = await store.create(some_runs(3))
            await store.update([runs[1]])
            with pytest.raises(RevisionConflict):
                await store.update([structs.replace(run, label="new") for run in runs])

            assert [(await store.get(run.id)).label for run in runs] == [None, None, None]

    async def test_nothing_is_updated_when_one_run_is_gone(self, opener: StoreOpener) -> None:
        async with opener() as store:
            runs = await store.create(some_runs(2))
            missing = a_run(revision=1)
            with pytest.raises(RunNotFound):
                await store.update([structs.replace(runs[0], label="new"), missing, runs[1]])

            assert await _ids(store) == [runs[1].id, runs[0].id]
            assert (await store.get(runs[0].id)).label is None

    async def test_a_run_that_comes_twice_in_an_update_is_stale_the_second_time(
        self, opener: StoreOpener
    ) -> None:
        async with opener() as store:
            (run,) = await store.create([a_run()])
            with pytest.raises(RevisionConflict):
                await store.update([structs.replace(run, label="one"), structs.replace(run, label="two")])

            assert await store.get(run.id) == run

    async def test_of_updates_that_race_one_wins(self, opener: StoreOpener, anyio_backend: str) -> None:
        run = a_run()

        async def update(store: Store, contestant: int, round_: int) -> bool:
            label = f"{contestant} in round {round_}"
            try:
                await store.update([structs.replace(run, label=label, revision=1 + round_)])
            except RevisionConflict:
                return False
            return True

        async with opener() as store:
            await store.create([run])
            rounds = await race(opener, anyio_backend, update)

            assert [wins.count(True) for wins in rounds] == [1] * len(rounds)
            last = await store.get(run.id)
            winner = rounds[-1].index(True)
            assert (last.revision, last.label) == (1 + len(rounds), f"{winner} in round {len(rounds) - 1}")

    async def test_deleted_runs_are_gone_and_counted(self, opener: StoreOpener) -> None:
        async with opener() as store:
            runs = await store.create(some_runs(3))
            count = await store.delete([runs[0].id, runs[2].id, "unknown", runs[0].id, "caf\udce9"])

            assert count == 2
            assert await _ids(store) == [runs[1].id]
            with pytest.raises(RunNotFound):
                await store.get(runs[0].id)

    async def test_the_id_of_a_deleted_run_is_free(self, opener: StoreOpener) -> None:
        run = a_run()
        async with opener() as store:
            (created,) = await store.create([run])
            await store.update([created])
            await store.delete([run.id])
            (again,) = await store.create([run])

            assert again.revision == 1

    async def test_a_run_that_is_not_watched_has_no_lease(self, opener: StoreOpener) -> None:
        run = a_run(lease=1)
        async with opener() as store:
            (created,) = await store.create([run], lease=60.0)

            assert created.lease is None
            assert (await store.get(run.id)).lease is None

    async def test_every_handle_sees_what_another_did(self, opener: StoreOpener) -> None:
        async with opener() as one, opener() as two:
            kept, gone = await one.create(some_runs(2))
            (updated,) = await two.update([structs.replace(kept, label="two")])
            await one.delete([gone.id])

            assert await one.get(kept.id) == updated
            assert await _ids(two) == [kept.id]

    async def test_runs_outlive_the_handles(self, opener: StoreOpener) -> None:
        async with opener() as store:
            runs = await store.create([a_run(), a_full_run()], lease=60.0)
            runs = await store.update(runs)
        async with opener() as store:
            assert [await store.get(run.id) for run in runs] == list(runs)

    async def test_a_cancelled_call_does_all_or_nothing_and_no_harm(self, opener: StoreOpener) -> None:
        async with opener() as store:
            for delay in (0.0, 0.0005, 0.001, 0.002, 0.005):
                runs = some_runs(20)
                with anyio.CancelScope() as scope:
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(store.create, runs)
                        await anyio.sleep(delay)
                        scope.cancel()
                page = await store.query(RunQuery(ids=tuple(run.id for run in runs)))
                assert page.total in (0, len(runs))

            (run,) = await store.create([a_run()])
            with anyio.CancelScope() as scope:
                scope.cancel()
                await store.update([structs.replace(run, label="new")])
            assert (await store.get(run.id)).revision in (1, 2)

    async def test_one_handle_serves_many_tasks(self, opener: StoreOpener) -> None:
        runs = some_runs(30)
        async with opener() as store:

            async def create_and_update(run: Run) -> None:
                (created,) = await store.create([run])
                await store.update([structs.replace(created, label=run.id)])

            async with anyio.create_task_group() as tasks:
                for run in runs:
                    tasks.start_soon(create_and_update, run)

            page = await store.query(RunQuery())
            assert {run.id: run.label for run in page.runs} == {run.id: run.id for run in runs}


class QueryCases(StoreCase):
    """query."""

    async def test_the_newest_come_first(self, opener: StoreOpener) -> None:
        runs = [
            a_run(created=30, staged=None),
            a_run(created=1, staged=50),
            a_run(created=1, staged=60, started=10, state="completed"),
        ]
        async with opener() as store:
            await store.create(runs)
            newest = await store.query(RunQuery())
            oldest = await store.query(RunQuery(oldest_first=True))

            assert [run.time for run in newest.runs] == [50, 30, 10]
            assert [run.time for run in oldest.runs] == [10, 30, 50]

    async def test_in_the_order_of_claims_the_next_to_be_claimed_comes_first(
        self, opener: StoreOpener
    ) -> None:
        runs = [
            a_run(staged=1, label="b"),
            a_run(staged=9, priority=5, label="a"),
            a_run(staged=8, label="d"),
        ]
        runs += [a_run(staged=8, queued=2, label="c"), a_run(state="completed", staged=1)]
        async with opener() as store:
            await store.create(runs)
            query = RunQuery(states=frozenset(("staged",)), claim_order=True)
            found = await store.query(query)
            page = await store.query(structs.replace(query, limit=2, offset=1))
            uncounted = await store.query(structs.replace(query, limit=2, offset=1, counted=False))

            assert [run.label for run in found.runs] == ["a", "b", "c", "d"]
            assert ([run.label for run in page.runs], page.total) == (["b", "c"], 4)
            assert uncounted.runs == page.runs

    async def test_runs_of_one_time_keep_the_order_of_creation(self, opener: StoreOpener) -> None:
        runs = [a_run(created=1, staged=5, label=str(number)) for number in range(10)]
        async with opener() as store:
            await store.create(runs[:5])
            await store.create(runs[5:])
            newest = await store.query(RunQuery())
            oldest = await store.query(RunQuery(oldest_first=True))

            assert [run.label for run in newest.runs] == [run.label for run in runs]
            assert [run.label for run in oldest.runs] == [run.label for run in runs]

    async def test_a_changed_run_is_found_where_it_belongs_now(self, opener: StoreOpener) -> None:
        async with opener() as store:
            first, second = await store.create([a_run(created=1, staged=1), a_run(created=2, staged=2)])
            await store.update([structs.replace(first, state="pending", staged=3, batch="b", kind="batch")])

            assert await _ids(store) == [first.id, second.id]
            assert await _ids(store, states=frozenset(("staged",))) == [second.id]
            assert await _ids(store, states=frozenset(("pending",))) == [first.id]
            assert await _ids(store, batch="b", kinds=frozenset(("batch",))) == [first.id]

    async def test_a_claimed_run_is_found_where_it_belongs_now(self, opener: StoreOpener) -> None:
        again, other = a_run(created=1, started=2, staged=9), a_run(created=5, staged=None)
        async with opener() as store:
            await store.create([again, other])
            before = await _ids(store)
            await store.claim(a_worker(), 60.0, 1, Wanted(ids=(again.id,)))

            assert before == [again.id, other.id]
            assert await _ids(store) == [other.id, again.id]
            assert await _ids(store, states=frozenset(("pending",))) == [again.id]

    async def test_limit_and_offset_cut_and_the_total_counts_all(self, opener: StoreOpener) -> None:
        runs = some_runs(7)
        ids = [run.id for run in reversed(runs)]
        async with opener() as store:
            await store.create([*runs, a_run(state="completed", created=1)])
            for limit, offset in itertools.product((0, 1, 3, 7, 100, None), (0, 2, 7, 100)):
                query = RunQuery(states=frozenset(("staged",)), limit=limit, offset=offset)
                page = await store.query(query)

                expected = ids[offset:] if limit is None else ids[offset : offset + limit]
                assert ([run.id for run in page.runs], page.total) == (expected, 7), query

    async def test_every_mix_of_conditions_finds_what_matches(self, opener: StoreOpener) -> None:
        runs = list(_variety())
        async with opener() as store:
            await store.create(runs, lease=60.0)
            for query in _queries([run.id for run in runs]):
                page = await store.query(query)

                expected = {run.id for run in runs if query.matches(run)}
                assert ({run.id for run in page.runs}, page.total) == (expected, len(expected)), query

    async def test_a_prefix_is_taken_literally(self, opener: StoreOpener) -> None:
        async with opener() as store:
            await store.create([a_run(id=run_id) for run_id in ("a_1", "ab1", "A_1", "a.1", "a_")])

            assert sorted(await _ids(store, id_prefix="a_")) == ["a_", "a_1"]
            assert await _ids(store, id_prefix="a%") == []
            assert await _ids(store, id_prefix="a\udce9") == []
            assert len(await _ids(store, id_prefix="")) == 5

    async def test_a_thousand_runs_and_more_ids_than_that(self, opener: StoreOpener) -> None:
        runs = some_runs(1000)
        ids = [run.id for run in runs]
        unknown = tuple(f"unknown{number}" for number in range(1000))
        async with opener() as store:
            await store.create(runs)

            assert await _ids(store, ids=(*ids, *unknown, *ids)) == ids[::-1]
            assert await _ids(store, oldest_first=True) == ids
            assert await store.delete([*unknown, *ids[1:]]) == 999
            assert await _ids(store) == ids[:1]


async def _ids(store: Store, **conditions: Any) -> list[str]:
    return [run.id for run in (await store.query(RunQuery(**conditions))).runs]


def _variety() -> Iterator[Run]:
    states = ("staged", "pending", "running", "completed", "error", "lost")
    for state, kind, batch in itertools.product(states, ("run", "batch"), (None, "b1", "b2")):
        worker = a_worker() if state == "running" else None
        yield a_run(id=f"{state[0]}{kind}{batch}{state}", state=state, kind=kind, batch=batch, worker=worker)


def _queries(ids: list[str]) -> Iterator[RunQuery]:
    some_ids = (None, (), (ids[3],), (ids[0], ids[30], "unknown"))
    prefixes = (None, "p", "rrun", "unknown")
    states = (
        None,
        (),
        ("staged",),
        ("pending", "running"),
        ("completed", "error", "lost"),
        ("staged", "completed"),
    )
    kinds = (None, ("run",), ("run", "batch"))
    for wanted_ids, prefix, wanted, kind, batch in itertools.product(
        some_ids, prefixes, states, kinds, (None, "b1", "unknown")
    ):
        yield RunQuery(
            ids=wanted_ids,
            id_prefix=prefix,
            states=cast(Any, None if wanted is None else frozenset(wanted)),
            kinds=cast(Any, None if kind is None else frozenset(kind)),
            batch=batch,
        )
