"""Connections are cut, ended and refused, and the server goes away and comes back: nothing is done twice, or lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import psycopg
import pytest
from cutting_proxy import Cut, CuttingProxy
from msgspec import structs
from orchestra.errors import RunNotFound, StoreUnavailable
from orchestra.model.filters import RunQuery, Wanted
from orchestra.testing.builders import a_run, a_worker, some_runs
from postgres_server import PostgresServer

from orchestra_postgres import Options, PostgresStore, open_store
from orchestra_postgres.server import now

pytestmark = pytest.mark.anyio
CLAIM, COMMIT = b"FOR UPDATE", b"COMMIT"
HOUR = 3_600_000_000


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def proxy(server: PostgresServer) -> Iterator[CuttingProxy]:
    proxy = CuttingProxy(server.port)
    yield proxy
    proxy.close()


@pytest.fixture
def cuttable(proxy: CuttingProxy, options: Options) -> Options:
    return structs.replace(options, url=f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres")


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_claim_whose_answer_is_lost_claims_one_run(
    proxy: CuttingProxy, cuttable: Options, when: Cut
) -> None:
    async with open_store(cuttable) as store:
        runs = await store.create(some_runs(3))
        proxy.arm(CLAIM, when)
        claimed = await store.claim(a_worker(), 60.0, 1, Wanted())

        assert [run.id for run in claimed] == [runs[0].id]
        assert [(await store.get(run.id)).attempt for run in runs] == [1, 0, 0]
        assert await store.get(runs[0].id) == claimed[0]
        assert proxy.cuts == 1


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_change_whose_commit_is_cut_is_made_once(
    proxy: CuttingProxy, cuttable: Options, when: Cut
) -> None:
    async with open_store(cuttable) as store:
        proxy.arm(COMMIT, when)
        (run,) = await store.create([a_run()])
        proxy.arm(COMMIT, when)
        (changed,) = await store.update([structs.replace(run, label="new")])

        assert (changed.revision, changed.label) == (2, "new")
        assert await store.get(run.id) == changed
        proxy.arm(COMMIT, when)
        assert await store.delete([run.id]) == 1
        with pytest.raises(RunNotFound):
            await store.get(run.id)
        assert proxy.cuts == 3


async def test_connections_that_the_server_ends_are_made_anew_and_no_change_is_missed(
    options: Options, server: PostgresServer
) -> None:
    async with open_store(options) as store, open_store(options) as other, store.changes() as changes:
        await store.create([a_run()])
        end_connections(server)
        assert (await store.query(RunQuery())).total == 1
        await other.create([a_run()])

        with anyio.fail_after(5):
            await anext(changes)
        assert (await store.query(RunQuery())).total == 2


async def test_a_server_that_is_restarted_is_waited_for(own_server: PostgresServer, tmp_path: Path) -> None:
    options = Options(home=tmp_path, url=own_server.url)
    async with open_store(options) as store, store.changes() as changes:
        (run,) = await store.create([a_run()])
        own_server.stop("immediate")
        starting = threading.Timer(0.5, own_server.start)
        starting.start()
        with anyio.fail_after(20):
            (changed,) = await store.update([structs.replace(run, label="new")])
            await anext(changes)

        assert await store.get(run.id) == changed
        starting.join()


async def test_a_server_that_stays_away_is_given_up_with_a_sentence(options: Options) -> None:
    away = structs.replace(options, url="postgresql://me:s3cret@127.0.0.1:1/x", patience=0.3)
    with pytest.raises(
        StoreUnavailable, match=r"PostgreSQL at 127.0.0.1:1, database 'x' can't be used"
    ) as raised:
        async with open_store(away):
            pass

    assert raised.value.exit_code == 75
    assert "s3cret" not in f"{raised.value} {raised.value.hint} {away!r}"


async def test_waiting_for_a_server_can_be_cancelled(options: Options) -> None:
    began = time.monotonic()
    with anyio.move_on_after(0.2) as scope:
        async with open_store(structs.replace(options, url="host=127.0.0.1 port=1")):
            pass

    assert scope.cancelled_caught
    assert time.monotonic() - began < 5


async def test_a_claim_that_a_server_was_silent_to_is_made_once(
    proxy: CuttingProxy, cuttable: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestra_postgres.server.LEAST_SILENCE", 0.3)
    async with open_store(structs.replace(cuttable, patience=0.4, connect_timeout=9)) as store:
        runs = await store.create(some_runs(3))
        proxy.freeze()
        thawing = threading.Timer(0.7, proxy.thaw)
        thawing.start()
        with anyio.fail_after(20):
            claimed = await store.claim(a_worker(), 60.0, 1, Wanted())

        assert [run.id for run in claimed] == [runs[0].id]
        assert [(await store.get(run.id)).attempt for run in runs] == [1, 0, 0]
        thawing.join()


async def test_what_listens_is_tried_and_made_anew_where_it_was_lost_in_silence(
    proxy: CuttingProxy, cuttable: Options, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestra_postgres.server.LEAST_SILENCE", 0.2)
    monkeypatch.setattr("orchestra_postgres.listening.LOOK_EVERY", 0.1)
    patient = structs.replace(cuttable, patience=0.2, connect_timeout=9)
    async with open_store(patient) as store, store.changes() as changes, open_store(options) as other:
        proxy.freeze()
        thawing = threading.Timer(0.6, proxy.thaw)
        thawing.start()
        with anyio.fail_after(5):
            await anext(changes)
            await other.create([a_run()])
            await anext(changes)
        thawing.join()


async def test_who_is_cancelled_does_not_stay_with_a_server_that_says_nothing(
    proxy: CuttingProxy, cuttable: Options
) -> None:
    async with open_store(cuttable) as store, store.changes():
        await store.create([a_run()])
        proxy.freeze()
        with anyio.move_on_after(0.1), anyio.fail_after(3):
            await store.query(RunQuery())

        proxy.thaw()
        assert (await store.query(RunQuery())).total == 1


async def test_a_server_that_is_full_is_waited_for(options: Options, server: PostgresServer) -> None:
    name = options.schema
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN CONNECTION LIMIT 0".encode())
        connection.execute(f"GRANT CREATE ON DATABASE postgres TO {name}".encode())
        url = server.url.replace("postgres@", f"{name}@")
        full = structs.replace(options, url=url, patience=0.3)
        with pytest.raises(StoreUnavailable, match="too many connections for role"):
            async with open_store(full):
                pass

        connection.execute(f"ALTER ROLE {name} CONNECTION LIMIT -1".encode())
        async with open_store(full) as store:
            await store.create([a_run()])
            # What is refused to who was let in before is not for ever.
            connection.execute(f"ALTER ROLE {name} NOLOGIN".encode())
            end_connections(server)
            with pytest.raises(StoreUnavailable, match="not permitted to log in"):
                await store.query(RunQuery())


async def test_leases_are_told_by_the_clock_of_who_asks(
    options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = a_worker()
    async with open_store(options) as here:
        (run,) = await here.create([a_run()])
        with monkeypatch.context() as ours:
            ours.setattr("orchestra_postgres.server.now", lambda: now() + HOUR)
            ours.setattr("orchestra_postgres.store.now", lambda: now() + HOUR)
            async with open_store(options) as ahead:
                (claimed,) = await ahead.claim(worker, 60.0, 1, Wanted())
                (found,) = (await ahead.query(RunQuery())).runs
                (changed,) = await ahead.update([structs.replace(found, label="new")])
                leases = {claimed.lease, found.lease, changed.lease, (await ahead.get(run.id)).lease}

                assert [round((lease or 0) - now() - HOUR, -7) for lease in leases] == [60_000_000]
                ours.undo()
                # Its clock was set right meanwhile.
                assert await ahead.renew(worker, 60.0) == {run.id}
                assert round(((await ahead.get(run.id)).lease or 0) - now(), -7) == 60_000_000

        assert round(((await here.get(run.id)).lease or 0) - now(), -7) == 60_000_000


async def test_a_run_whose_record_is_damaged_is_broken_and_hides_no_other(
    options: Options, server: PostgresServer
) -> None:
    good, bad, waiting = some_runs(3)
    async with open_store(options) as store:
        await store.create([good, bad, structs.replace(waiting, state="completed")])
        with psycopg.connect(server.url, autocommit=True) as connection:
            sql = f"UPDATE {options.schema}.runs SET record = 'xx' WHERE id = %s"
            connection.execute(sql.encode(), (bad.id,))
        claimed = await store.claim(a_worker(), 60.0, 9, Wanted())
        states = {run.id: run.state for run in (await store.query(RunQuery())).runs}

        assert [run.id for run in claimed] == [good.id]
        assert states == {good.id: "pending", bad.id: "broken", waiting.id: "completed"}
        assert "no record" in ((await store.get(bad.id)).reason or "")


async def test_handles_beyond_the_pool_take_turns(options: Options) -> None:
    async with AsyncExitStack() as stack:
        store: PostgresStore = await stack.enter_async_context(open_store(structs.replace(options, pool=1)))
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(store.create, [a_run()])

        assert (await store.query(RunQuery())).total == 10


def end_connections(server: PostgresServer) -> None:
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'orchestra %'"
        )
