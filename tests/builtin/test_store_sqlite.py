"""The SQLite store among other processes, and when its file or its locks are not as they should be."""

from __future__ import annotations

import errno
import fcntl
import json
import math
import os
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from msgspec import structs

from orchestra.builtin import store_sqlite
from orchestra.builtin.store_sqlite import Options, SqliteStore, discard, open_store
from orchestra.errors import RevisionConflict, RunNotFound, StoreCorrupt, StoreTooNew, StoreUnavailable
from orchestra.model import lifecycle
from orchestra.model.filters import RunQuery, Wanted
from orchestra.testing.builders import a_run, a_worker, some_runs
from tests.builtin.store_processes import drive

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("store_processes.py")
backends = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@contextmanager
def opened(home: Path, **options: Any) -> Generator[SqliteStore]:
    """The store, opened without an event loop."""
    context = open_store(Options(home=home, **options))
    store = drive(context.__aenter__())
    try:
        yield store
    finally:
        drive(context.__aexit__(None, None, None))


def start(role: str, home: Path, number: int, seconds: float) -> subprocess.Popen[str]:
    arguments = [sys.executable, str(SCRIPT), role, str(home), str(number), str(seconds)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment)


def results(processes: list[subprocess.Popen[str]]) -> list[Any]:
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), outputs
    return [json.loads(output.splitlines()[-1]) for output in outputs]


def integrity(home: Path) -> str:
    connection = sqlite3.connect(home / "store.db")
    try:
        return str(connection.execute("PRAGMA integrity_check").fetchone()[0])
    finally:
        connection.close()


@contextmanager
def outer_lock(home: Path) -> Generator[None]:
    """Somebody else commits, and takes long."""
    with open(home / "store.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


# Among processes


def test_many_create_claim_and_list_and_no_run_is_lost_or_claimed_twice(home: Path) -> None:
    with opened(home):
        pass
    claimers = [start("claim", home, number, 1.5) for number in range(4)]
    lister = start("list", home, 0, 1.5)
    creators = [start("create", home, number, 1.0) for number in range(10)]
    made = [run_id for ids in results(creators) for run_id in ids]
    taken = [run_id for result in results(claimers) for run_id in result["taken"]]

    assert results([lister])[0] > 0
    with opened(home) as store:
        page = drive(store.query(RunQuery()))
        left = [run.id for run in page.runs if run.state == "staged"]
    assert sorted(made) == sorted(run.id for run in page.runs)
    assert len(taken) == len(set(taken))
    assert sorted(taken + left) == sorted(made)
    assert integrity(home) == "ok"


def test_commits_and_checkpoints_of_processes_that_come_and_go_leave_the_file_whole(home: Path) -> None:
    counts = results([start("open", home, number, 1.5) for number in range(4)])

    assert integrity(home) == "ok"
    with opened(home) as store:
        assert drive(store.query(RunQuery(limit=1))).total == sum(counts)


def test_a_writer_that_is_killed_loses_nothing_acknowledged_and_leaves_nothing_half_done(home: Path) -> None:
    with opened(home):
        pass
    acknowledged = 0
    for number in range(5):
        process = start("pairs", home, number, 30.0)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.03 + 0.01 * number)
        process.send_signal(signal.SIGKILL)
        acknowledged += 1 + len(process.communicate(timeout=10)[0].splitlines())

    with opened(home) as store:
        runs = {run.id: run for run in drive(store.query(RunQuery())).runs}
    changed = [run_id for run_id, run in runs.items() if run.label == "1"]
    assert acknowledged <= len(changed) // 2
    for run_id, run in runs.items():
        twin = runs[run_id[:-1] + ("b" if run_id.endswith("a") else "a")]
        assert (twin.label, twin.revision) == (run.label, run.revision)
    assert integrity(home) == "ok"


def test_two_processes_can_make_the_store_at_once(home: Path) -> None:
    home.mkdir()
    counts = results([start("create", home, number, 0.2) for number in range(4)])

    with opened(home) as store:
        assert drive(store.query(RunQuery())).total == sum(len(ids) for ids in counts)


@pytest.mark.benchmark
def test_four_processes_claim_ten_thousand_runs_and_none_waits_long(home: Path) -> None:
    with opened(home) as store:
        for _ in range(100):
            drive(store.create(some_runs(100)))
    drained = results([start("drain", home, number, 60.0) for number in range(4)])
    times = sorted(seconds for result in drained for seconds in result["times"])
    taken = [run_id for result in drained for run_id in result["taken"]]

    print(
        f"p50 {times[len(times) // 2] * 1e3:.2f} ms, p99 {times[-len(times) // 100] * 1e3:.1f} ms,", end=" "
    )
    print(f"max {times[-1] * 1e3:.0f} ms, shares {[len(result['taken']) for result in drained]}")
    assert len(set(taken)) == len(taken) == 10_000
    assert times[-len(times) // 100] < 0.1
    assert times[-1] < 1.0


# While others hold a lock


def test_runs_that_are_not_counted_are_not_all_looked_at(home: Path) -> None:
    asked: list[str] = []
    with opened(home) as store:
        drive(store.create([a_run(state="staged"), a_run(state="staged")]))
        store._file._connection.set_trace_callback(asked.append)  # type: ignore[union-attr]
        query = RunQuery(states=frozenset(("staged",)), claim_order=True, limit=1)
        assert drive(store.query(query)).total == 2
        counting = [statement for statement in asked if "count(" in statement]
        del asked[:]
        assert len(drive(store.query(structs.replace(query, counted=False))).runs) == 1

    assert len(counting) == 1
    assert [statement for statement in asked if "runs_staged" in statement]
    assert not [statement for statement in asked if "count(" in statement]


def test_reading_does_not_wait_for_writers(home: Path) -> None:
    with opened(home, patience=5.0) as store:
        (run,) = drive(store.create([a_run()]))
        other = sqlite3.connect(home / "store.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with outer_lock(home):
            began = time.monotonic()
            assert drive(store.get(run.id)) == run
            assert drive(store.query(RunQuery())).total == 1
            assert drive(store.claim(a_worker(), 1.0, 1, Wanted(ids=()))) == ()
            assert time.monotonic() - began < 1.0
        other.close()


def test_without_an_event_loop_a_writer_blocks_until_the_lock_is_free(home: Path) -> None:
    with opened(home) as store:
        drive(store.create([a_run()]))
        with outer_lock(home) as _:
            thread = threading.Timer(0.1, lambda: None)
            thread.start()
            worker = threading.Thread(target=lambda: drive(store.create([a_run(id="late")])))
            worker.start()
            thread.join()
            assert worker.is_alive()
        worker.join(10)

        assert drive(store.get("late")).revision == 1


@pytest.mark.parametrize("lock", ["flock", "sqlite"])
def test_a_lock_that_is_not_given_back_is_reported_in_one_sentence(home: Path, lock: str) -> None:
    with opened(home, patience=0.2) as store:
        drive(store.create([a_run()]))
        other = sqlite3.connect(home / "store.db", isolation_level=None)
        with (
            outer_lock(home) if lock == "flock" else _immediate(other),
            pytest.raises(
                StoreUnavailable, match=r"was locked by another process for 0\.2 seconds"
            ) as raised,
        ):
            drive(store.create([a_run()]))
        other.close()

        assert raised.value.exit_code == 75
        assert drive(store.create([a_run(id="next")]))


@contextmanager
def _immediate(connection: sqlite3.Connection) -> Generator[None]:
    connection.execute("BEGIN IMMEDIATE")
    yield
    connection.execute("ROLLBACK")


@backends
@pytest.mark.anyio
async def test_waiting_for_a_lock_leaves_the_event_loop_free_and_can_be_cancelled(home: Path) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await anyio.sleep(0.005)
            ticks += 1

    async with open_store(Options(home=home)) as store, anyio.create_task_group() as tasks:
        await store.create([a_run()])
        tasks.start_soon(tick)
        with outer_lock(home), anyio.move_on_after(0.2) as scope:
            await store.create([a_run(id="cancelled")])
        tasks.cancel_scope.cancel()

    assert scope.cancelled_caught
    assert ticks > 5
    with opened(home) as store, pytest.raises(RunNotFound):
        drive(store.get("cancelled"))


@backends
@pytest.mark.anyio
async def test_a_long_listing_leaves_the_event_loop_free(home: Path) -> None:
    longest = 0.0

    async def measure() -> None:
        nonlocal longest
        while True:
            began = time.perf_counter()
            await anyio.sleep(0.001)
            longest = max(longest, time.perf_counter() - began)

    async with open_store(Options(home=home)) as store:
        await store.create(some_runs(3000))
        began = time.perf_counter()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(measure)
            page = await store.query(RunQuery())
            tasks.cancel_scope.cancel()

    assert (len(page.runs), page.total) == (3000, 3000)
    assert longest < max(0.2, 0.8 * (time.perf_counter() - began))


def test_threads_share_a_handle(home: Path) -> None:
    errors: list[Exception] = []
    with opened(home) as store:

        def work(number: int) -> None:
            try:
                for index in range(30):
                    (run,) = drive(store.create([a_run(id=f"{number}-{index}")]))
                    drive(store.update([run]))
                    drive(store.query(RunQuery(limit=3)))
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)

        assert errors == []
        assert {run.revision for run in drive(store.query(RunQuery())).runs} == {2}
        assert drive(store.query(RunQuery())).total == 120


# Files that are not as they should be


def test_the_files_are_for_their_owner_alone(home: Path) -> None:
    with opened(home) as store:
        drive(store.create([a_run()]))
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in home.iterdir()}

        assert modes == dict.fromkeys(("store.db", "store.db-wal", "store.db-shm", "store.lock"), 0o600)
        assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_a_newer_store_is_left_alone(home: Path) -> None:
    with opened(home):
        pass
    connection = sqlite3.connect(home / "store.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = (home / "store.db").read_bytes()

    with pytest.raises(StoreTooNew, match="newer version"), opened(home):
        pass
    with pytest.raises(StoreTooNew):
        discard(Options(home=home))
    assert (home / "store.db").read_bytes() == before


def _garbage(path: Path) -> None:
    path.write_bytes(os.urandom(8192))


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:6000])


def _foreign(path: Path) -> None:
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE cookies (name)")
    connection.close()


def _other_schema(path: Path) -> None:
    _foreign(path)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 1")
    connection.close()


def _old(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = -1")
    connection.close()


@pytest.mark.parametrize("damage", [_garbage, _cut, _foreign, _other_schema, _old])
def test_a_damaged_file_is_reported_and_can_be_moved_out_of_the_way(home: Path, damage: Any) -> None:
    with opened(home) as store:
        drive(store.create(some_runs(50)))
    damage(home / "store.db")
    damaged = (home / "store.db").read_bytes()

    with pytest.raises(StoreCorrupt, match="store"), opened(home) as store:
        drive(store.query(RunQuery()))
    moved = discard(Options(home=home))
    assert moved is not None and moved.name.startswith("store.db.broken-")
    assert moved.read_bytes() == damaged
    with opened(home) as store:
        assert drive(store.query(RunQuery())).total == 0


@pytest.mark.parametrize(
    "record", ["x'7b2261'", "'text'", "5", "zeroblob(9)", "(SELECT record FROM runs WHERE id = 'b')"]
)
def test_a_record_that_cannot_be_read_makes_its_run_broken_and_hides_no_other(
    home: Path, record: str
) -> None:
    with opened(home) as store:
        drive(store.create([a_run(id="a"), a_run(id="b")]))
        _execute(home, f"UPDATE runs SET record = {record} WHERE id = 'a'")

        page = drive(store.query(RunQuery()))

        states = {run.id: run.state for run in page.runs}
        assert states == {"a": "broken", "b": "staged"}
        bad = drive(store.get("a"))
        assert bad.reason is not None and str(home / "store.db") in bad.reason
        assert drive(store.query(RunQuery(states=frozenset(("staged",))))).total == 1
        assert drive(store.delete(("a",))) == 1
    assert discard(Options(home=home)) is None


def test_a_claim_goes_by_a_record_that_cannot_be_read(home: Path) -> None:
    with opened(home) as store:
        drive(store.create([a_run(id="a"), a_run(id="b")]))
        _execute(home, "UPDATE runs SET record = '{' WHERE id = 'a'")

        claimed = drive(store.claim(a_worker(), 10.0, 5, Wanted(states=frozenset(("staged",)))))

        assert [run.id for run in claimed] == ["b"]
        assert drive(store.get("a")).state == "broken"


def test_who_watched_a_run_whose_record_is_damaged_is_late(home: Path) -> None:
    with opened(home) as store:
        drive(store.create([a_run(id="a")]))
        (claimed,) = drive(store.claim(a_worker(), 10.0, 1, Wanted(states=frozenset(("staged",)))))
        _execute(home, "UPDATE runs SET record = '{'")
        assert drive(store.get("a")).worker is None

        with pytest.raises(RevisionConflict):
            drive(store.update([lifecycle.release(claimed)]))


def _execute(home: Path, statement: str) -> None:
    connection = sqlite3.connect(home / "store.db")
    with connection:
        connection.execute(statement)
    connection.close()


def test_opening_to_recover_begins_anew_unless_the_store_is_whole(home: Path) -> None:
    home.mkdir()
    (home / "store.db").write_bytes(os.urandom(8192))
    for total in (0, 1):
        with opened(home, recover=True) as store:
            assert drive(store.query(RunQuery())).total == total
            drive(store.create([a_run()]))

    assert len(list(home.glob("store.db.broken-*"))) == 1


def test_a_whole_store_is_not_discarded(home: Path) -> None:
    assert discard(Options(home=home)) is None
    with opened(home) as store:
        drive(store.create([a_run(id="kept")]))
        assert discard(Options(home=home)) is None
        assert drive(store.get("kept"))


def test_a_new_store_is_not_taken_for_the_damaged_one(home: Path) -> None:
    home.mkdir()
    (home / "store.db").write_bytes(os.urandom(8192))
    moved: list[Path | None] = []
    with outer_lock(home):
        late = threading.Thread(target=lambda: moved.append(discard(Options(home=home))))
        late.start()
        # The other process has seen the damage, and waits for the lock.
        time.sleep(0.2)
        os.rename(home / "store.db", home / "store.db.broken-1")
        (home / "store.db").touch()
    late.join(10)

    assert moved == [None]
    assert (home / "store.db").exists()


def test_a_file_that_is_removed_or_replaced_while_it_is_open_is_noticed(home: Path) -> None:
    with opened(home) as store:
        drive(store.create([a_run()]))
        os.rename(home / "store.db", home / "gone")
        for call in (store.create([a_run()]), store.get("x"), store.claim(a_worker(), 1.0, 1, Wanted())):
            with pytest.raises(StoreCorrupt, match="removed or replaced"):
                drive(call)
        with opened(home) as new, pytest.raises(StoreCorrupt):
            drive(new.create([a_run()]))
            drive(store.get("x"))


def test_the_schema_has_no_room_for_a_watch_without_a_lease(home: Path) -> None:
    with opened(home) as store:
        drive(store.create([a_run()]))
    connection = sqlite3.connect(home / "store.db")
    for change in ("worker = 'w'", "lease = 1"):
        with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
            connection.execute(f"UPDATE runs SET {change}")
    connection.close()


READ_ONLY = """
import os, random, sys, urllib.parse
from pathlib import Path
from orchestra.errors import StoreUnavailable
from orchestra.model.filters import RunQuery
from orchestra.testing.builders import a_run
from tests.builtin.test_store_sqlite import drive, opened
if os.geteuid() == 0:
    os.setuid(65534)
with opened(Path(sys.argv[1])) as store:
    print(drive(store.query(RunQuery())).total)
    try:
        drive(store.create([a_run()]))
    except StoreUnavailable as error:
        print(error)
"""


@pytest.mark.parametrize("in_use", [False, True])
def test_a_home_that_cannot_be_written_can_be_read(tmp_path: Path, in_use: bool) -> None:
    home = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
    try:
        with opened(home) as store:
            drive(store.create([a_run()]))
            output = _read_only(home) if in_use else ""
        output = output or _read_only(home)
    finally:
        home.chmod(0o700)
        subprocess.run(["rm", "-r", str(home)], check=True)

    total, message = output.splitlines()
    assert total == "1"
    assert "Permission denied" in message and "store.lock" in message


def _read_only(home: Path) -> str:
    (home / "store.lock").unlink(missing_ok=True)
    for file in home.iterdir():
        file.chmod(0o444)
    home.chmod(0o555)
    try:
        return subprocess.check_output(
            [sys.executable, "-c", READ_ONLY, str(home)],
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    finally:
        home.chmod(0o755)
        for file in home.iterdir():
            file.chmod(0o644)


def test_a_home_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="No such file or directory"), opened(tmp_path / "a" / "b"):
        pass
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match=r"File exists|Not a directory"), opened(tmp_path / "file"):
        pass


def test_a_full_disk_is_reported_and_nothing_is_half_made(home: Path) -> None:
    with opened(home) as store:
        drive(store.create([a_run()]))
        connection = store._file._connection  # pyright: ignore[reportPrivateUsage]
        assert connection is not None
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StoreUnavailable, match="No space left on device"):
            drive(store.create(some_runs(200)))
        connection.execute("PRAGMA max_page_count = 1000000")

        assert drive(store.query(RunQuery())).total == 1
        assert len(drive(store.create(some_runs(200)))) == 200


def test_without_flock_the_store_still_works(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(fd: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    with opened(home) as store:
        (run,) = drive(store.create([a_run()]))
        assert drive(store.update([run]))[0].revision == 2


def test_a_network_file_system_gets_a_rollback_journal(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(home) as store:
        drive(store.create([a_run(id="old")]))
    monkeypatch.setattr("orchestra.builtin.sqlite_file._is_network", lambda folder: True)
    with opened(home) as store:
        drive(store.create([a_run(id="new")]))
        assert not (home / "store.db-wal").exists()

        assert drive(store.query(RunQuery())).total == 2


@pytest.mark.parametrize("name", ["with space", "ünï", "new\nline", "a?b#c%20", "x" * 150])
def test_any_folder_can_be_a_home(tmp_path: Path, name: str) -> None:
    home = tmp_path / name
    with opened(home) as store:
        drive(store.create([a_run()]))
        assert store._file.read_apart(lambda connection: connection.execute("SELECT 1").fetchone()) == (1,)  # pyright: ignore[reportPrivateUsage]
    assert (home / "store.db").exists()


def test_the_file_can_be_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    with opened(tmp_path / "home", path=tmp_path / "elsewhere.db") as store:
        drive(store.create([a_run()]))

    assert (tmp_path / "elsewhere.db").exists()
    assert not (tmp_path / "home" / "store.db").exists()


# Wake-ups


@asynccontextmanager
async def waiting(home: Path) -> AsyncGenerator[Any]:
    async with open_store(Options(home=home)) as store, store.changes() as changes:
        yield changes


async def woken(changes: Any, change: Callable[[], object]) -> None:
    """Who waits for changes when ``change`` is called, in a thread, is woken."""
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(changes.__anext__)
            await anyio.wait_all_tasks_blocked()
            await anyio.to_thread.run_sync(change)


def change(home: Path) -> None:
    with opened(home) as other:
        drive(other.create([a_run()]))


@pytest.fixture
def never_polled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks whether there is a change who was not told of it."""
    monkeypatch.setattr(store_sqlite, "_POLL", math.inf)


@pytest.fixture
def often_polled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_sqlite, "_POLL", 0.02)


@backends
@pytest.mark.anyio
async def test_a_change_by_another_process_wakes_at_once(home: Path, never_polled: None) -> None:
    async with waiting(home) as changes:
        await woken(changes, lambda: results([start("create", home, 1, 0.01)]))


@pytest.mark.anyio
async def test_a_change_that_nobody_told_of_is_seen_by_looking(home: Path, often_polled: None) -> None:
    def untold() -> None:
        connection = sqlite3.connect(home / "store.db")
        with connection:
            connection.execute("UPDATE runs SET revision = revision")
            connection.execute("PRAGMA user_version = 1")
        connection.close()

    async with waiting(home) as changes:
        await woken(changes, untold)


@pytest.mark.anyio
async def test_a_deep_home_is_woken_as_well(tmp_path: Path, never_polled: None) -> None:
    home = tmp_path / ("deep" * 30)
    async with waiting(home) as changes:
        await woken(changes, lambda: change(home))


@pytest.mark.anyio
async def test_without_sockets_changes_are_polled(home: Path, often_polled: None) -> None:
    home.mkdir()
    (home / "wake").write_text("in the way")
    async with waiting(home) as changes:
        await woken(changes, lambda: change(home))


@pytest.mark.anyio
async def test_sockets_of_the_dead_are_removed_and_nothing_else(home: Path) -> None:
    async with waiting(home):
        (alive,) = (home / "wake").iterdir()
        dead = home / "wake" / f"{os.uname().nodename[:64]}.1.dead"
        far = home / "wake" / "another-host.1.dead"
        for path in (dead, far):
            made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            made.bind(str(path))
            made.close()
        (home / "wake" / "README").write_text("")
        with opened(home) as other:
            drive(other.create([a_run()]))

        assert set((home / "wake").iterdir()) == {alive, far, home / "wake" / "README"}
    assert not alive.exists()


@pytest.mark.anyio
async def test_a_listener_that_does_not_listen_blocks_no_writer(home: Path) -> None:
    async with waiting(home) as changes:
        with opened(home) as other:
            began = time.monotonic()
            for _ in range(400):
                drive(other.create([a_run()]))
            assert time.monotonic() - began < 10

        with anyio.fail_after(60):
            await anext(changes)


@pytest.mark.anyio
async def test_waiting_costs_next_to_nothing(home: Path) -> None:
    async with waiting(home) as changes:
        before = time.process_time()
        with anyio.move_on_after(1.5):
            await anext(changes)

    assert time.process_time() - before < 0.05


def test_without_an_event_loop_none_is_imported(home: Path) -> None:
    # The role asserts that neither anyio nor asyncio is imported.
    assert results([start("create", home, 1, 0.05)])
