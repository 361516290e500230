"""Stores that break one promise each, with the test of the kit that has to notice."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from fnmatch import fnmatchcase
from typing import Any, ClassVar

import anyio
import anyio.lowlevel
from msgspec import structs

from orchestra.contracts import Mark, Page
from orchestra.errors import RevisionConflict, RunNotFound
from orchestra.model import lifecycle
from orchestra.model.conditions import AllOf, AnyOf, Condition, Not
from orchestra.model.filters import RunQuery, Wanted
from orchestra.model.run import Run, Worker
from orchestra.testing.memory_store import MemoryStore

BROKEN: dict[str, tuple[type[MemoryStore], str]] = {}
"""By name: the store, and the test that must fail."""


def caught_by(test: str) -> Any:
    def register(store: type[MemoryStore]) -> type[MemoryStore]:
        BROKEN[store.__name__] = (store, test)
        return store

    return register


def changed(query: Any, **changes: Any) -> Any:
    return structs.replace(query, **changes)


@caught_by("test_a_run_comes_back_with_every_field_as_it_was_given")
class ForgetsAField(MemoryStore):
    async def get(self, run_id: str) -> Run:
        return structs.replace(await super().get(run_id), random_seed=None)


@caught_by("test_flags_keep_their_types")
class TurnsIntsToFloats(MemoryStore):
    async def create(self, runs: Sequence[Run], *, lease: float | None = None) -> tuple[Run, ...]:
        def as_float(value: Any) -> Any:
            return float(value) if type(value) is int and abs(value) < 2**53 else value

        flags = [{name: as_float(value) for name, value in run.flags.items()} for run in runs]
        changed_runs = [structs.replace(run, flags=own) for run, own in zip(runs, flags, strict=True)]
        return await super().create(changed_runs, lease=lease)


@caught_by("test_any_text_survives")
class MendsText(MemoryStore):
    async def create(self, runs: Sequence[Run], *, lease: float | None = None) -> tuple[Run, ...]:
        mended = [
            structs.replace(run, label=run.label and run.label.encode("utf-8", "replace").decode())
            for run in runs
        ]
        return await super().create(mended, lease=lease)


@caught_by("test_what_is_kept_does_not_change_with_what_was_given")
class SharesItsRecords(MemoryStore):
    async def get(self, run_id: str) -> Run:
        return self._find(run_id)


@caught_by("test_a_new_run_is_at_revision_1_or_the_one_it_brings")
class RestartsRevisions(MemoryStore):
    async def create(self, runs: Sequence[Run], *, lease: float | None = None) -> tuple[Run, ...]:
        return await super().create([structs.replace(run, revision=0) for run in runs], lease=lease)


@caught_by("test_nothing_is_created_when_one_id_is_taken")
class CreatesOneByOne(MemoryStore):
    async def create(self, runs: Sequence[Run], *, lease: float | None = None) -> tuple[Run, ...]:
        return tuple([(await super(CreatesOneByOne, self).create([run], lease=lease))[0] for run in runs])


@caught_by("test_nothing_is_created_when_an_id_comes_twice")
class TakesIdsTwice(MemoryStore):
    async def create(self, runs: Sequence[Run], *, lease: float | None = None) -> tuple[Run, ...]:
        return await super().create(list({run.id: run for run in runs}.values()), lease=lease)


@caught_by("test_get_takes_whole_ids_only")
class FindsByPrefix(MemoryStore):
    async def get(self, run_id: str) -> Run:
        found = (await self.query(RunQuery(id_prefix=run_id))).runs
        if not found:
            raise RunNotFound("none")
        return found[0]


@caught_by("test_get_takes_whole_ids_only")
class LeaksKeyErrors(MemoryStore):
    async def get(self, run_id: str) -> Run:
        return self._data.runs[run_id]


@caught_by("test_a_stale_update_is_refused")
class NeverCompares(MemoryStore):
    async def update(self, runs: Sequence[Run]) -> tuple[Run, ...]:
        fresh = [structs.replace(run, revision=self._find(run.id).revision) for run in runs]
        return await super().update(fresh)


@caught_by("test_a_stale_update_is_refused")
class AcceptsTheFuture(MemoryStore):
    async def update(self, runs: Sequence[Run]) -> tuple[Run, ...]:
        fresh = [
            structs.replace(run, revision=min(run.revision, self._find(run.id).revision)) for run in runs
        ]
        return await super().update(fresh)


@caught_by("test_nothing_is_updated_when_one_run_is_stale")
class UpdatesOneByOne(MemoryStore):
    async def update(self, runs: Sequence[Run]) -> tuple[Run, ...]:
        return tuple([(await super(UpdatesOneByOne, self).update([run]))[0] for run in runs])


@caught_by("test_nothing_is_updated_when_one_run_is_gone")
class CreatesWhatIsGone(MemoryStore):
    async def update(self, runs: Sequence[Run]) -> tuple[Run, ...]:
        await self.create([run for run in runs if run.id not in self._data.runs])
        return await super().update(runs)


@caught_by("test_a_run_that_comes_twice_in_an_update_is_stale_the_second_time")
class TakesTheLastOfTwo(MemoryStore):
    async def update(self, runs: Sequence[Run]) -> tuple[Run, ...]:
        return await super().update(list({run.id: run for run in runs}.values()))


@caught_by("test_of_updates_that_race_one_wins")
class ComparesBeforeItLocks(MemoryStore):
    async def update(self, runs: Sequence[Run]) -> tuple[Run, ...]:
        if any(self._find(run.id).revision != run.revision for run in runs):
            raise RevisionConflict("stale")
        time.sleep(0.0005)  # noqa: ASYNC251 - the race is between threads
        return self._keep({run.id: structs.replace(run, revision=run.revision + 1) for run in runs})


@caught_by("test_deleted_runs_are_gone_and_counted")
class CountsWhatItWasAskedFor(MemoryStore):
    async def delete(self, run_ids: Sequence[str]) -> int:
        await super().delete(run_ids)
        return len(run_ids)


@caught_by("test_the_id_of_a_deleted_run_is_free")
class KeepsTombstones(MemoryStore):
    async def delete(self, run_ids: Sequence[str]) -> int:
        revisions = {run_id: run.revision for run_id, run in self._data.runs.items() if run_id in run_ids}
        self.__dict__.setdefault("tombs", {}).update(revisions)
        return await super().delete(run_ids)

    async def create(self, runs: Sequence[Run], *, lease: float | None = None) -> tuple[Run, ...]:
        tombs = self.__dict__.get("tombs", {})
        return await super().create([structs.replace(run, revision=tombs.get(run.id, 0)) for run in runs])


@caught_by("test_every_handle_sees_what_another_did")
class KeepsToItself(MemoryStore):
    def __init__(self, data: Any) -> None:
        super().__init__(None)


@caught_by("test_runs_outlive_the_handles")
class ForgetsWhenItIsOpened(MemoryStore):
    def __init__(self, data: Any) -> None:
        super().__init__(data)
        data.runs.clear()


@caught_by("test_a_cancelled_call_does_all_or_nothing_and_no_harm")
class CreatesHalfWhenCancelled(MemoryStore):
    async def create(self, runs: Sequence[Run], *, lease: float | None = None) -> tuple[Run, ...]:
        for run in runs:
            await super().create([run], lease=lease)
            await anyio.sleep(0.0002)
        return tuple(runs)


@caught_by("test_a_cancelled_call_does_all_or_nothing_and_no_harm")
class LosesItsLockWhenCancelled(MemoryStore):
    async def create(self, runs: Sequence[Run], *, lease: float | None = None) -> tuple[Run, ...]:
        if self.__dict__.setdefault("taken", False):
            raise RuntimeError("locked by a call that was cancelled")
        self.__dict__["taken"] = True
        await anyio.sleep(0.001)
        self.__dict__["taken"] = False
        return await super().create(runs, lease=lease)


@caught_by("test_one_handle_serves_many_tasks")
class ServesOneTask(MemoryStore):
    async def create(self, runs: Sequence[Run], *, lease: float | None = None) -> tuple[Run, ...]:
        self.__dict__["runs"] = runs
        await anyio.lowlevel.checkpoint()
        return await super().create(self.__dict__["runs"], lease=lease)


@caught_by("test_the_newest_come_first")
class SortsByCreation(MemoryStore):
    async def query(self, query: RunQuery) -> Page:
        page = await super().query(query)
        key = 1 if query.oldest_first else -1
        return structs.replace(page, runs=tuple(sorted(page.runs, key=lambda run: key * run.created)))


@caught_by("test_a_claimed_run_is_found_where_it_belongs_now")
class SortsByStageTime(MemoryStore):
    async def query(self, query: RunQuery) -> Page:
        page = await super().query(query)
        newest_first = sorted(page.runs, key=lambda run: -(run.staged or run.created))
        return structs.replace(page, runs=tuple(newest_first))


@caught_by("test_in_the_order_of_claims_the_next_to_be_claimed_comes_first")
class KnowsNoClaimOrder(MemoryStore):
    async def query(self, query: RunQuery) -> Page:
        return await super().query(structs.replace(query, claim_order=False))


@caught_by("test_runs_of_one_time_keep_the_order_of_creation")
class ReversesTies(MemoryStore):
    async def query(self, query: RunQuery) -> Page:
        page = await super().query(structs.replace(query, oldest_first=True))
        return page if query.oldest_first else structs.replace(page, runs=page.runs[::-1])


@caught_by("test_limit_and_offset_cut_and_the_total_counts_all")
class CountsThePage(MemoryStore):
    async def query(self, query: RunQuery) -> Page:
        page = await super().query(query)
        return structs.replace(page, total=len(page.runs))


@caught_by("test_limit_and_offset_cut_and_the_total_counts_all")
class TakesLimit0ForNone(MemoryStore):
    async def query(self, query: RunQuery) -> Page:
        return await super().query(structs.replace(query, limit=query.limit or None))


@caught_by("test_every_mix_of_conditions_finds_what_matches")
class TakesNoStatesForAll(MemoryStore):
    async def query(self, query: RunQuery) -> Page:
        return await super().query(structs.replace(query, states=query.states or None))


@caught_by("test_every_mix_of_conditions_finds_what_matches")
class IgnoresTheBatch(MemoryStore):
    async def query(self, query: RunQuery) -> Page:
        return await super().query(structs.replace(query, batch=None))


@caught_by("test_a_prefix_is_taken_literally")
class TakesPatterns(MemoryStore):
    async def query(self, query: RunQuery) -> Page:
        page = await super().query(structs.replace(query, id_prefix=None))
        pattern = (query.id_prefix or "").replace("_", "?").replace("%", "*") + "*"
        return structs.replace(page, runs=tuple(run for run in page.runs if fnmatchcase(run.id, pattern)))


@caught_by("test_a_thousand_runs_and_more_ids_than_that")
class TakesAThousandIds(MemoryStore):
    async def query(self, query: RunQuery) -> Page:
        return await super().query(changed(query, ids=query.ids and query.ids[:999]))


@caught_by("test_the_oldest_stage_time_is_claimed_first")
class ClaimsInOrderOfCreation(MemoryStore):
    async def claim(self, worker: Worker, lease: float, limit: int, wanted: Wanted) -> tuple[Run, ...]:
        ids = tuple(run.id for run in self._data.runs.values() if wanted.matches(run, 0))
        return await super().claim(worker, lease, limit, changed(wanted, ids=ids[:limit]))


@caught_by("test_higher_priorities_and_earlier_turns_are_claimed_first")
class KnowsNoPriority(MemoryStore):
    async def claim(self, worker: Worker, lease: float, limit: int, wanted: Wanted) -> tuple[Run, ...]:
        found = [run for run in self._data.runs.values() if wanted.matches(run, 0)]
        ids = tuple(run.id for run in sorted(found, key=lambda run: run.staged or run.created))
        claimed = [
            await super(KnowsNoPriority, self).claim(worker, lease, 1, changed(wanted, ids=(one,)))
            for one in ids
        ]
        return tuple(run for runs in claimed[:limit] for run in runs)


@caught_by("test_a_priority_that_was_changed_counts_at_once")
class KeepsTheFirstPriority(MemoryStore):
    async def update(self, runs: Sequence[Run]) -> tuple[Run, ...]:
        return await super().update(
            [structs.replace(run, priority=self._data.runs[run.id].priority) for run in runs]
        )


@caught_by("test_a_claimed_run_is_moved_by_the_lifecycle")
class ForgetsTheAttempt(MemoryStore):
    async def claim(self, worker: Worker, lease: float, limit: int, wanted: Wanted) -> tuple[Run, ...]:
        claimed = await super().claim(worker, lease, limit, wanted)
        return self._keep({run.id: structs.replace(run, attempt=run.attempt - 1) for run in claimed})


@caught_by("test_no_more_than_the_limit_are_claimed")
class ClaimsOneAtLeast(MemoryStore):
    async def claim(self, worker: Worker, lease: float, limit: int, wanted: Wanted) -> tuple[Run, ...]:
        return await super().claim(worker, lease, max(1, limit), wanted)


@caught_by("test_a_claimed_run_is_claimed_by_nobody")
class ClaimsWhatIsClaimed(MemoryStore):
    async def claim(self, worker: Worker, lease: float, limit: int, wanted: Wanted) -> tuple[Run, ...]:
        for run in self._data.runs.values():
            if run.state in wanted.states:
                self._data.runs[run.id] = structs.replace(run, worker=None, lease=None)
        return await super().claim(worker, lease, limit, wanted)


@caught_by("test_only_wanted_states_are_claimed")
class ClaimsAnyState(MemoryStore):
    async def claim(self, worker: Worker, lease: float, limit: int, wanted: Wanted) -> tuple[Run, ...]:
        return await super().claim(worker, lease, limit, changed(wanted, states=wanted.states | {"staged"}))


@caught_by("test_only_wanted_ids_are_claimed_and_excluded_ones_never")
class IgnoresTheExcluded(MemoryStore):
    async def claim(self, worker: Worker, lease: float, limit: int, wanted: Wanted) -> tuple[Run, ...]:
        return await super().claim(worker, lease, limit, changed(wanted, excluded=()))


@caught_by("test_only_wanted_ids_are_claimed_and_excluded_ones_never")
class TakesNoIdsForAny(MemoryStore):
    async def claim(self, worker: Worker, lease: float, limit: int, wanted: Wanted) -> tuple[Run, ...]:
        return await super().claim(worker, lease, limit, changed(wanted, ids=wanted.ids or None))


@caught_by("test_a_claim_makes_older_copies_stale")
class ClaimsAtTheSameRevision(MemoryStore):
    async def claim(self, worker: Worker, lease: float, limit: int, wanted: Wanted) -> tuple[Run, ...]:
        claimed = await super().claim(worker, lease, limit, wanted)
        return self._keep({run.id: structs.replace(run, revision=run.revision - 1) for run in claimed})


class ClaimsInTwoSteps(MemoryStore):
    async def claim(self, worker: Worker, lease: float, limit: int, wanted: Wanted) -> tuple[Run, ...]:
        now = time.time_ns() // 1000
        move = lifecycle.watch if wanted.expired else lifecycle.claim
        found = [run for run in list(self._data.runs.values()) if wanted.matches(run, now)][:limit]
        await self.pause()
        end = now + round(lease * 1e6)
        moved = [structs.replace(move(run, worker, end), revision=run.revision + 1) for run in found]
        return self._keep({run.id: run for run in moved})

    async def pause(self) -> None:
        time.sleep(0.0005)  # noqa: ASYNC251 - the race is between threads


@caught_by("test_of_claims_that_race_one_wins")
class ClaimsBeforeItLocks(ClaimsInTwoSteps):
    pass


@caught_by("test_workers_that_race_share_the_runs")
class SharesBeforeItLocks(ClaimsInTwoSteps):
    pass


@caught_by("test_of_takeovers_that_race_one_wins")
class TakesOverBeforeItLocks(ClaimsInTwoSteps):
    pass


@caught_by("test_tasks_that_race_share_the_runs")
class ClaimsAcrossACheckpoint(ClaimsInTwoSteps):
    async def pause(self) -> None:
        await anyio.lowlevel.checkpoint()


@caught_by("test_a_lease_ends_after_the_seconds_asked_for")
class TakesMillisecondsForSeconds(MemoryStore):
    async def claim(self, worker: Worker, lease: float, limit: int, wanted: Wanted) -> tuple[Run, ...]:
        return await super().claim(worker, lease / 1000, limit, wanted)


@caught_by("test_a_watched_run_never_lacks_a_lease")
class WatchesForEver(MemoryStore):
    async def create(self, runs: Sequence[Run], *, lease: float | None = None) -> tuple[Run, ...]:
        created = await super().create(runs, lease=lease)
        return created if lease else self._keep({run.id: structs.replace(run, lease=None) for run in created})


@caught_by("test_a_run_that_is_not_watched_has_no_lease")
class LeasesWhatNobodyWatches(MemoryStore):
    async def create(self, runs: Sequence[Run], *, lease: float | None = None) -> tuple[Run, ...]:
        created = await super().create(runs, lease=lease)
        return self._keep({run.id: structs.replace(run, lease=run.lease or 1) for run in created})


@caught_by("test_a_lease_that_runs_is_not_expired")
class TakesOverTheLiving(MemoryStore):
    async def claim(self, worker: Worker, lease: float, limit: int, wanted: Wanted) -> tuple[Run, ...]:
        if wanted.expired:
            for run in self._data.runs.values():
                self._data.runs[run.id] = structs.replace(run, lease=run.worker and 0)
        return await super().claim(worker, lease, limit, wanted)


@caught_by("test_the_watch_of_an_expired_run_is_taken_over")
class StartsTheExpiredAgain(MemoryStore):
    async def claim(self, worker: Worker, lease: float, limit: int, wanted: Wanted) -> tuple[Run, ...]:
        claimed = await super().claim(worker, lease, limit, wanted)
        if not wanted.expired:
            return claimed
        return self._keep({run.id: structs.replace(run, attempt=run.attempt + 1) for run in claimed})


@caught_by("test_expired_takes_any_state_and_honours_ids_and_limit")
class TakesOverPendingRunsAlone(MemoryStore):
    async def claim(self, worker: Worker, lease: float, limit: int, wanted: Wanted) -> tuple[Run, ...]:
        if wanted.expired:
            running = [run.id for run in self._data.runs.values() if run.state == "running"]
            wanted = changed(wanted, excluded=(*wanted.excluded, *running))
        return await super().claim(worker, lease, limit, wanted)


class RenewsOthers(MemoryStore):
    def same(self, one: Worker, other: Worker) -> bool:
        return True

    async def renew(self, worker: Worker, lease: float) -> frozenset[str]:
        runs = self._data.runs.values()
        others = [run.worker for run in runs if run.worker is not None and self.same(run.worker, worker)]
        parts = [await super(RenewsOthers, self).renew(other, lease) for other in (worker, *others)]
        return frozenset[str]().union(*parts)


@caught_by("test_renew_prolongs_the_leases_of_its_worker_alone")
class RenewsEverybody(RenewsOthers):
    pass


@caught_by("test_workers_differ_by_their_nonce")
class TellsWorkersByProcess(RenewsOthers):
    def same(self, one: Worker, other: Worker) -> bool:
        return one.identity == other.identity


@caught_by("test_who_lost_the_watch_renews_nothing")
class RenewsByStarter(RenewsOthers):
    def same(self, one: Worker, other: Worker) -> bool:
        return one.starter == other.starter


@caught_by("test_renewing_conflicts_with_nothing")
class RenewsARevision(MemoryStore):
    async def renew(self, worker: Worker, lease: float) -> frozenset[str]:
        renewed = await super().renew(worker, lease)
        runs = [self._data.runs[run_id] for run_id in renewed]
        self._keep({run.id: structs.replace(run, revision=run.revision + 1) for run in runs})
        return renewed


@caught_by("test_a_lease_stays_while_the_worker_stays")
class TakesTheCallersLease(MemoryStore):
    async def update(self, runs: Sequence[Run]) -> tuple[Run, ...]:
        updated = await super().update(runs)
        given = {run.id: run.lease for run in runs}
        return self._keep({run.id: structs.replace(run, lease=given[run.id]) for run in updated})


@caught_by("test_a_lease_is_dropped_with_the_worker")
class KeepsTheLease(MemoryStore):
    async def update(self, runs: Sequence[Run]) -> tuple[Run, ...]:
        leases = {run.id: self._find(run.id).lease for run in runs}
        updated = await super().update(runs)
        return self._keep(
            {run.id: structs.replace(run, lease=run.lease or leases[run.id]) for run in updated}
        )


@caught_by("test_listings_show_the_lease")
class ListsWithoutLeases(MemoryStore):
    async def query(self, query: RunQuery) -> Page:
        page = await super().query(query)
        return structs.replace(page, runs=tuple(structs.replace(run, lease=None) for run in page.runs))


@caught_by("test_a_change_by_another_handle_wakes")
class WakesNobody(MemoryStore):
    @asynccontextmanager
    async def changes(self) -> AsyncIterator[AsyncIterator[None]]:
        async def never() -> AsyncIterator[None]:
            await anyio.sleep_forever()
            yield

        yield never()


@caught_by("test_everybody_who_waits_is_woken")
class WakesOne(MemoryStore):
    def _keep(self, runs: dict[str, Run]) -> tuple[Run, ...]:
        waiting = self._data.waiting
        others = set(sorted(waiting, key=id)[1:])
        waiting -= others
        kept = super()._keep(runs)
        waiting |= others
        return kept


@caught_by("test_a_change_before_the_first_wait_is_not_missed")
class ListensTooLate(MemoryStore):
    @asynccontextmanager
    async def changes(self) -> AsyncIterator[AsyncIterator[None]]:
        async def late() -> AsyncIterator[None]:
            async with super(ListensTooLate, self).changes() as changes:
                async for _ in changes:
                    yield

        generator = late()
        yield generator
        await generator.aclose()  # type: ignore[attr-defined]


@caught_by("test_what_matches_a_condition_is_found")
class IgnoresConditions(MemoryStore):
    async def query(self, query: RunQuery) -> Page:
        return await super().query(changed(query, where=None))


@caught_by("test_what_a_condition_leaves_is_sorted_cut_and_counted")
class CutsBeforeItAsks(MemoryStore):
    async def query(self, query: RunQuery) -> Page:
        page = await super().query(changed(query, where=None))
        found = tuple(filter(query.matches, page.runs))
        return Page(runs=found, total=len(found))


@caught_by("test_conditions_put_together_by_chance_find_what_matches")
class NegatesEachPart(MemoryStore):
    async def query(self, query: RunQuery) -> Page:
        where = None if query.where is None else self._negated_each(query.where)
        return await super().query(changed(query, where=where))

    def _negated_each(self, where: Condition) -> Condition:
        if isinstance(where, AllOf | AnyOf):
            return type(where)(tuple(map(self._negated_each, where.conditions)))
        if isinstance(where, Not) and isinstance(where.condition, AllOf | AnyOf):
            kind = type(where.condition)
            return kind(tuple(self._negated_each(Not(part)) for part in where.condition.conditions))
        return where


@caught_by("test_a_condition_is_asked_of_runs_as_they_are_now")
class RemembersFlags(MemoryStore):
    first: ClassVar[dict[str, Run]] = {}

    async def query(self, query: RunQuery) -> Page:
        page = await super().query(changed(query, where=None, limit=None, offset=0))
        old = [self.first.setdefault(run.id, run) for run in page.runs]
        ids = tuple(run.id for run in old if query.where is None or query.matches(run))
        return await super().query(changed(query, where=None, ids=ids))

    async def create(self, runs: Sequence[Run], *, lease: float | None = None) -> tuple[Run, ...]:
        self.first.update({run.id: run for run in runs})
        return await super().create(runs, lease=lease)


@caught_by("test_marks_are_of_the_runs_that_the_query_finds")
class MarksEverything(MemoryStore):
    async def marks(self, query: RunQuery) -> Sequence[Mark]:
        return await super().marks(RunQuery())


@caught_by("test_a_mark_changes_with_its_run_and_not_with_others")
class MarksTheTimeAlone(MemoryStore):
    async def marks(self, query: RunQuery) -> Sequence[Mark]:
        return [(run_id, 1, time) for run_id, _, time in await super().marks(query)]


@caught_by("test_all_handles_tell_of_one_incarnation_whatever_is_done")
class IsBornWithEachHandle(MemoryStore):
    def incarnation(self) -> str:
        return f"{id(self)}"
