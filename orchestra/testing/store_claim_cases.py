"""What every store must do with claims and leases."""

from __future__ import annotations

import time

import anyio
import anyio.lowlevel
from msgspec import structs

from orchestra.contracts import Store
from orchestra.model import lifecycle
from orchestra.model.filters import RunQuery, Wanted
from orchestra.model.run import FINAL, Run
from orchestra.testing.builders import a_run, a_worker, an_identity, some_runs
from orchestra.testing.store_cases import StoreCase
from orchestra.testing.store_race import ROUNDS, StoreOpener, race

SOON = 0.05
"""Seconds of a lease that a test waits for."""
EXPIRED = Wanted(expired=True)


def claimed_ids(runs: tuple[Run, ...]) -> list[str]:
    """The ids of ``runs``, in their order."""
    return [run.id for run in runs]


class ClaimCases(StoreCase):
    """claim, of runs that nobody watches."""

    async def test_the_oldest_stage_time_is_claimed_first(self, opener: StoreOpener) -> None:
        runs = [a_run(staged=5, created=1, label="b"), a_run(staged=2, created=9, label="a")]
        runs += [a_run(staged=5, created=0, label="c"), a_run(staged=7, started=1, created=1, label="d")]
        async with opener() as store:
            await store.create(runs)
            claimed = [(await store.claim(a_worker(), 60.0, 1, Wanted()))[0].label for _ in range(2)]
            claimed += [run.label for run in await store.claim(a_worker(), 60.0, 9, Wanted())]

            assert claimed == ["a", "b", "c", "d"]

    async def test_higher_priorities_and_earlier_turns_are_claimed_first(self, opener: StoreOpener) -> None:
        runs = [a_run(staged=1, label="c"), a_run(staged=9, priority=5, label="b")]
        runs += [a_run(staged=8, queued=2, label="d"), a_run(staged=8, priority=7, label="a")]
        runs += [a_run(staged=0, priority=-1, label="e")]
        async with opener() as store:
            await store.create(runs)
            claimed = await store.claim(a_worker(), 60.0, 9, Wanted())

            assert [run.label for run in claimed] == ["a", "b", "c", "d", "e"]

    async def test_a_priority_that_was_changed_counts_at_once(self, opener: StoreOpener) -> None:
        async with opener() as store:
            first, second = await store.create([a_run(staged=1), a_run(staged=2)])
            await store.update([structs.replace(second, priority=1)])
            claimed = await store.claim(a_worker(), 60.0, 2, Wanted())

            assert claimed_ids(claimed) == [second.id, first.id]

    async def test_a_claimed_run_is_moved_by_the_lifecycle(self, opener: StoreOpener) -> None:
        worker = a_worker(starter="batch")
        run = a_run(attempt=3, revision=5, exit_code=1, reason="old")
        async with opener() as store:
            await store.create([run])
            (claimed,) = await store.claim(worker, 60.0, 1, Wanted())

            assert claimed == structs.replace(lifecycle.claim(run, worker, claimed.lease or 0), revision=6)
            assert await store.get(run.id) == claimed

    async def test_no_more_than_the_limit_are_claimed(self, opener: StoreOpener) -> None:
        async with opener() as store:
            await store.create(some_runs(5))
            counts = [len(await store.claim(a_worker(), 60.0, limit, Wanted())) for limit in (0, 2, 9, 9)]

            assert counts == [0, 2, 3, 0]

    async def test_a_claimed_run_is_claimed_by_nobody(self, opener: StoreOpener) -> None:
        worker = a_worker()
        states = frozenset(("staged", "pending"))
        async with opener() as store:
            await store.create([a_run()])
            await store.claim(worker, 60.0, 1, Wanted())

            assert await store.claim(worker, 60.0, 1, Wanted(states=states)) == ()
            assert await store.claim(a_worker(), 60.0, 1, Wanted(states=states)) == ()

    async def test_only_wanted_states_are_claimed(self, opener: StoreOpener) -> None:
        states = ("staged", "pending", "completed", "error", "lost")
        runs = [a_run(state=state) for state in states]
        async with opener() as store:
            await store.create(runs)
            pending = await store.claim(a_worker(), 60.0, 9, Wanted(states=frozenset(("pending",))))
            final = await store.claim(a_worker(), 60.0, 9, Wanted(states=FINAL - {"lost"}))
            none = await store.claim(a_worker(), 60.0, 9, Wanted(states=frozenset()))
            staged = await store.claim(a_worker(), 60.0, 9, Wanted())

            assert [claimed_ids(pending), claimed_ids(staged)] == [[runs[1].id], [runs[0].id]]
            assert set(claimed_ids(final)) == {runs[2].id, runs[3].id}
            assert none == ()

    async def test_only_wanted_ids_are_claimed_and_excluded_ones_never(self, opener: StoreOpener) -> None:
        runs = some_runs(4)
        a, b, c, d = (run.id for run in runs)
        async with opener() as store:
            await store.create(runs)
            some = await store.claim(a_worker(), 60.0, 9, Wanted(ids=(b, a, "unknown"), excluded=(a,)))
            none = await store.claim(a_worker(), 60.0, 9, Wanted(ids=()))
            rest = await store.claim(a_worker(), 60.0, 9, Wanted(excluded=(c, "unknown")))

            assert [claimed_ids(some), claimed_ids(none), claimed_ids(rest)] == [[b], [], [a, d]]

    async def test_a_run_that_ended_is_claimed_again_for_its_next_attempt(self, opener: StoreOpener) -> None:
        run = a_run(state="error", attempt=1, executions=1, exit_code=1, started=5, stopped=6)
        wanted = Wanted(ids=(run.id,), states=FINAL)
        async with opener() as store:
            await store.create([run])
            (claimed,) = await store.claim(a_worker(starter="command"), 60.0, 1, wanted)

            assert (claimed.state, claimed.attempt, claimed.exit_code) == ("pending", 2, None)

    async def test_a_released_run_can_be_claimed_again(self, opener: StoreOpener) -> None:
        async with opener() as store:
            await store.create([a_run()])
            for attempt in (1, 2, 3):
                (claimed,) = await store.claim(a_worker(), 60.0, 1, Wanted())
                assert claimed.attempt == attempt
                await store.update([lifecycle.release(claimed)])

            assert (await store.get(claimed.id)).state == "staged"

    async def test_a_claim_makes_older_copies_stale(self, opener: StoreOpener) -> None:
        async with opener() as store:
            (run,) = await store.create([a_run()])
            (claimed,) = await store.claim(a_worker(), 60.0, 1, Wanted())

            assert claimed.revision == run.revision + 1

    async def test_of_claims_that_race_one_wins(self, opener: StoreOpener, anyio_backend: str) -> None:
        runs = some_runs(ROUNDS)

        async def claim(store: Store, contestant: int, round_: int) -> list[str]:
            worker = a_worker(identity=an_identity(pid=contestant + 1))
            return claimed_ids(await store.claim(worker, 60.0, 2, Wanted(ids=(runs[round_].id,))))

        async with opener() as store:
            await store.create(runs)
            rounds = await race(opener, anyio_backend, claim)

            for run, taken in zip(runs, rounds, strict=True):
                assert [ids for ids in taken if ids] == [[run.id]]
                assert (await store.get(run.id)).attempt == 1

    async def test_workers_that_race_share_the_runs(self, opener: StoreOpener, anyio_backend: str) -> None:
        runs = some_runs(100)

        async def claim(store: Store, contestant: int, round_: int) -> list[str]:
            return claimed_ids(await store.claim(a_worker(), 60.0, 3, Wanted()))

        async with opener() as store:
            await store.create(runs)
            rounds = await race(opener, anyio_backend, claim, handles=4, rounds=12)

            taken = [run_id for lists in rounds for ids in lists for run_id in ids]
            assert sorted(taken) == sorted(run.id for run in runs)

    async def test_tasks_that_race_share_the_runs(self, opener: StoreOpener) -> None:
        runs = some_runs(30)
        taken: list[str] = []

        async def claim_until_none_is_left() -> None:
            async with opener() as store:
                while claimed := await store.claim(a_worker(), 60.0, 1, Wanted()):
                    taken.extend(claimed_ids(claimed))
                    await anyio.lowlevel.checkpoint()

        async with opener() as store, anyio.create_task_group() as tasks:
            await store.create(runs)
            for _ in range(8):
                tasks.start_soon(claim_until_none_is_left)

        assert sorted(taken) == sorted(run.id for run in runs)


class LeaseCases(StoreCase):
    """Leases: claim with ``expired``, renew, and what update does to them."""

    async def test_a_lease_ends_after_the_seconds_asked_for(self, opener: StoreOpener) -> None:
        async with opener() as store:
            before = _now()
            (created,) = await store.create([a_run(state="pending", worker=a_worker())], lease=60.0)
            await store.create([a_run()])
            (claimed,) = await store.claim(a_worker(), 60.0, 1, Wanted())
            after = _now()

            for run in (created, claimed):
                assert before + 50_000_000 <= (run.lease or 0) <= after + 70_000_000
                assert (await store.get(run.id)).lease == run.lease

    async def test_a_watched_run_never_lacks_a_lease(self, opener: StoreOpener) -> None:
        run = a_run(state="running", worker=a_worker())
        async with opener() as store:
            (created,) = await store.create([run])
            unwatched, *_ = await store.create([a_run()])
            (updated,) = await store.update([structs.replace(unwatched, state="running", worker=a_worker())])

            assert created.lease is not None
            assert updated.lease is not None
            assert (await store.get(run.id)).lease == created.lease

    async def test_a_lease_that_runs_is_not_expired(self, opener: StoreOpener) -> None:
        async with opener() as store:
            await store.create([a_run(), a_run(state="completed")])
            await store.claim(a_worker(), 60.0, 1, Wanted())

            assert await store.claim(a_worker(), 60.0, 9, EXPIRED) == ()

    async def test_the_watch_of_an_expired_run_is_taken_over(self, opener: StoreOpener) -> None:
        old, new = a_worker(starter="queue"), a_worker(starter="command")
        async with opener() as store:
            await store.create([a_run()])
            (claimed,) = await store.claim(old, SOON, 1, Wanted())
            await anyio.sleep(2 * SOON)
            (taken,) = await store.claim(new, 60.0, 9, EXPIRED)

            assert taken == structs.replace(lifecycle.watch(claimed, new, taken.lease or 0), revision=3)
            assert taken.lease is not None and claimed.lease is not None and taken.lease > claimed.lease
            assert await store.get(taken.id) == taken
            assert await store.claim(old, 60.0, 9, EXPIRED) == ()

    async def test_expired_takes_any_state_and_honours_ids_and_limit(self, opener: StoreOpener) -> None:
        runs = [
            a_run(state=state, worker=a_worker()) for state in ("pending", "running", "running", "pending")
        ]
        a, b, c, d = (run.id for run in runs)
        async with opener() as store:
            await store.create([*runs, a_run()], lease=0.0)
            await anyio.sleep(SOON)
            some = await store.claim(a_worker(), 60.0, 9, Wanted(expired=True, ids=(a, b), excluded=(b,)))
            one = await store.claim(a_worker(), 60.0, 1, EXPIRED)
            rest = await store.claim(a_worker(), 60.0, 9, EXPIRED)

            assert claimed_ids(some) == [a]
            assert len(one) == 1
            assert sorted(claimed_ids(one + rest)) == sorted((b, c, d))

    async def test_of_takeovers_that_race_one_wins(self, opener: StoreOpener, anyio_backend: str) -> None:
        runs = [a_run(state="running", worker=a_worker()) for _ in range(ROUNDS)]

        async def take_over(store: Store, contestant: int, round_: int) -> int:
            return len(await store.claim(a_worker(), 60.0, 9, Wanted(expired=True, ids=(runs[round_].id,))))

        async with opener() as store:
            await store.create(runs, lease=0.0)
            await anyio.sleep(SOON)
            rounds = await race(opener, anyio_backend, take_over)

            assert [sorted(taken)[-2:] for taken in rounds] == [[0, 1]] * len(runs)

    async def test_renew_prolongs_the_leases_of_its_worker_alone(self, opener: StoreOpener) -> None:
        worker, other = a_worker(), a_worker()
        async with opener() as store:
            await store.create(some_runs(3))
            mine = await store.claim(worker, SOON, 2, Wanted())
            (others,) = await store.claim(other, SOON, 1, Wanted())
            renewed = await store.renew(worker, 60.0)
            await anyio.sleep(2 * SOON)

            assert renewed == frozenset(claimed_ids(mine))
            assert claimed_ids(await store.claim(a_worker(), 60.0, 9, EXPIRED)) == [others.id]
            for run in mine:
                assert ((await store.get(run.id)).lease or 0) > (run.lease or 0) + 50_000_000

    async def test_workers_differ_by_their_nonce(self, opener: StoreOpener) -> None:
        identity = an_identity()
        one, two = a_worker(identity=identity, nonce="one"), a_worker(identity=identity, nonce="two")
        async with opener() as store:
            await store.create([a_run()])
            await store.claim(one, 60.0, 1, Wanted())

            assert await store.renew(two, 60.0) == frozenset()
            assert len(await store.renew(one, 60.0)) == 1

    async def test_renewing_conflicts_with_nothing(self, opener: StoreOpener) -> None:
        worker = a_worker()
        async with opener() as store:
            await store.create([a_run()])
            (claimed,) = await store.claim(worker, 10.0, 1, Wanted())
            await store.renew(worker, 60.0)
            (updated,) = await store.update([structs.replace(claimed, label="new")])

            assert updated.revision == claimed.revision + 1
            assert (await store.get(claimed.id)).label == "new"

    async def test_a_lease_stays_while_the_worker_stays(self, opener: StoreOpener) -> None:
        worker = a_worker()
        async with opener() as store:
            await store.create([a_run()])
            (claimed,) = await store.claim(worker, 10.0, 1, Wanted())
            await store.renew(worker, 60.0)
            renewed = (await store.get(claimed.id)).lease
            (same,) = await store.update([structs.replace(claimed, state="running")])
            (early,) = await store.update([structs.replace(same, lease=1)])
            (none,) = await store.update([structs.replace(early, lease=None)])

            assert [same.lease, early.lease, none.lease] == [renewed] * 3
            assert (await store.get(claimed.id)).lease == renewed

    async def test_a_lease_is_dropped_with_the_worker(self, opener: StoreOpener) -> None:
        worker = a_worker()
        async with opener() as store:
            await store.create([a_run()])
            (claimed,) = await store.claim(worker, SOON, 1, Wanted())
            (dropped,) = await store.update([structs.replace(claimed, state="completed", worker=None)])
            await anyio.sleep(2 * SOON)

            assert dropped.lease is None
            assert (await store.get(claimed.id)).lease is None
            assert await store.renew(worker, 60.0) == frozenset()
            assert await store.claim(a_worker(), 60.0, 9, EXPIRED) == ()

    async def test_who_lost_the_watch_renews_nothing(self, opener: StoreOpener) -> None:
        old, new = a_worker(), a_worker()
        async with opener() as store:
            await store.create([a_run(state="running", worker=old)], lease=0.0)
            await anyio.sleep(SOON)
            await store.claim(new, 60.0, 1, EXPIRED)

            assert await store.renew(old, 60.0) == frozenset()
            assert len(await store.renew(new, 60.0)) == 1

    async def test_listings_show_the_lease(self, opener: StoreOpener) -> None:
        worker = a_worker()
        async with opener() as store:
            await store.create([a_run()])
            await store.claim(worker, 10.0, 1, Wanted())
            await store.renew(worker, 60.0)
            (listed,) = (await store.query(RunQuery())).runs

            assert listed == await store.get(listed.id)


def _now() -> int:
    return time.time_ns() // 1000
