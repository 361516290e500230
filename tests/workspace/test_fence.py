from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestra.child import supervisor
from orchestra.errors import RunBroken, RunNotFound
from orchestra.workspace import records
from orchestra.workspace.layout import attempt_directory
from orchestra.workspace.orders import Orders, write_orders

from .samples import a_run, run_python


@pytest.fixture
def attempt(tmp_path: Path) -> Path:
    records.write_run(tmp_path, a_run(), fsync=False)
    return attempt_directory(tmp_path, 1)


@pytest.mark.parametrize("fsync", [True, False])
def test_a_held_fence_is_alive_until_it_is_closed(attempt: Path, fsync: bool) -> None:
    assert records.read_fence(attempt) is None
    assert records.alive(attempt) is False
    with records.hold(attempt, "mine", fsync=fsync) as held:
        assert records.read_fence(attempt) == held.record
        assert (held.record.fence, held.record.nonce, held.record.kind) == ("started", "mine", "engine")
        assert held.record.identity.pid == os.getpid()
        assert records.alive(attempt) is True
    assert records.alive(attempt) is False
    assert records.read_fence(attempt) == held.record
    assert os.listdir(attempt) == ["fence"]


def test_a_fence_is_won_once_even_with_the_same_nonce(attempt: Path) -> None:
    with records.hold(attempt, "n", fsync=False), pytest.raises(records.FenceLost):
        records.hold(attempt, "n", fsync=False)
    with pytest.raises(records.FenceLost):
        records.hold(attempt, "n", fsync=False)
    assert os.listdir(attempt) == ["fence"]


def test_what_has_started_can_not_be_revoked_and_the_other_way_round(attempt: Path) -> None:
    with records.hold(attempt, "n", fsync=False):
        assert records.revoke(attempt) is False
    assert records.revoke(attempt) is False
    other = attempt.with_name("2")
    assert records.revoke(other) is True
    assert records.revoke(other) is True
    fence = records.read_fence(other)
    assert fence is not None and fence.fence == "revoked"
    assert records.alive(other) is False
    with pytest.raises(records.FenceLost):
        records.hold(other, "n", fsync=False)


def test_a_run_that_is_gone_does_not_come_back_as_an_empty_directory(tmp_path: Path) -> None:
    attempt = attempt_directory(tmp_path / "gone", 1)
    with pytest.raises(RunNotFound):
        records.revoke(attempt)
    with pytest.raises(RunNotFound):
        records.hold(attempt, "n", fsync=False)
    assert os.listdir(tmp_path) == []


def test_one_who_looks_is_not_taken_for_a_living_process_by_another(attempt: Path) -> None:
    records.hold(attempt, "n", fsync=False).close()
    descriptor = os.open(attempt / "fence", os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        assert records.alive(attempt) is False
    finally:
        os.close(descriptor)


def test_touching_a_fence_shows_when_it_was_last_seen(attempt: Path) -> None:
    with records.hold(attempt, "n", fsync=False) as held:
        os.utime(attempt / "fence", (1, 1))
        assert records.attempt_status(attempt.parents[2], 1).seen == 1_000_000
        held.touch()
        seen = records.attempt_status(attempt.parents[2], 1).seen
        assert seen is not None and abs(seen - held.record.time) < 60_000_000


def test_a_fence_that_can_not_be_read_is_never_taken_for_none(attempt: Path) -> None:
    attempt.mkdir(parents=True)
    (attempt / "fence").write_text('{"fence":"sta')
    for look in (records.read_fence, records.alive, records.revoke):
        with pytest.raises(RunBroken, match="fence' is damaged"):
            look(attempt)


RACE = """if 1:
    import os, sys
    from pathlib import Path
    from orchestra.workspace import records
    attempt, processes = Path(sys.argv[1]), 64
    wait, go = os.pipe()
    children = []
    for number in range(processes):
        child = os.fork()
        if child == 0:
            os.close(go)
            os.read(wait, 1)
            try:
                if number % 2:
                    held = records.hold(attempt, "same", fsync=False)
                    os._exit(1 if records.alive(attempt) else 9)
                fence = None if records.revoke(attempt, fsync=False) else records.read_fence(attempt)
                os._exit(2 if fence is None else 3)
            except records.FenceLost:
                os._exit(4)
            except BaseException as error:
                print(repr(error), flush=True)
                os._exit(9)
        children.append(child)
    os.close(go)
    ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    print(*sorted(ends))
"""


def test_of_64_processes_that_start_or_revoke_an_attempt_one_wins(attempt: Path) -> None:
    for number in range(1, 5):
        done = run_python(RACE, attempt.with_name(str(number)))
        ends = done.stdout.split()
        fence = records.read_fence(attempt.with_name(str(number)))
        assert fence is not None
        if fence.fence == "started":
            assert ends == ["1"] + ["3"] * 32 + ["4"] * 31, done
        else:
            assert ends == ["2"] * 32 + ["4"] * 32, done
        assert os.listdir(attempt.with_name(str(number))) == ["fence"]


DIE_AFTER_RECORD = """if 1:
    import os, sys
    from pathlib import Path
    from orchestra.model.execution import Exit
    from orchestra.workspace import records
    run_dir, wrong = Path(sys.argv[1]), 0
    for number in range(150):
        attempt = run_dir / ".orchestra" / "attempts" / str(number)
        ready, tell = os.pipe()
        child = os.fork()
        if child == 0:
            held = records.hold(attempt, "n", fsync=False)
            os.write(tell, b"x")
            for _ in range(number * 20):
                pass
            records.write_exit(attempt, Exit(code=0, started=1, stopped=2), fsync=False)
            os._exit(0)
        os.read(ready, 1)
        while (status := records.attempt_status(run_dir, number)).alive:
            pass
        wrong += status.exit is None
        os.waitpid(child, 0)
        os.close(ready)
        os.close(tell)
    print(wrong)
"""


def test_an_end_that_is_recorded_while_we_look_is_never_missed(attempt: Path) -> None:
    done = run_python(DIE_AFTER_RECORD, attempt.parents[2])
    assert done.stdout == "0\n", done.stderr


def test_a_killed_process_leaves_a_fence_that_is_not_alive(attempt: Path) -> None:
    code = """if 1:
        import sys
        from pathlib import Path
        from orchestra.workspace import records
        held = records.hold(Path(sys.argv[1]), "n", fsync=False)
        print("held", flush=True)
        sys.stdin.read()
    """
    command = [sys.executable, "-c", code, str(attempt)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        assert records.alive(attempt) is True
        process.kill()
    status = records.attempt_status(attempt.parents[2], 1)
    assert (status.alive, status.exit) == (False, None)


def test_what_a_supervisor_writes_can_be_read(attempt: Path, tmp_path: Path) -> None:
    script = "echo out; echo $A; exit 3"
    orders = Orders(
        run="r",
        attempt=1,
        nonce="n",
        cwd=str(tmp_path),
        arguments=("sh", "-c", script),
        environment={"A": "é"},
    )
    write_orders(attempt, orders)
    done = subprocess.run([sys.executable, "-I", "-S", supervisor.__file__, str(attempt)], timeout=30)
    status = records.attempt_status(tmp_path, 1)
    assert done.returncode == 0
    assert status.fence is not None and status.fence.nonce == "n"
    assert status.exit is not None and status.exit.code == 3
    assert (attempt / "output").read_text() == "out\né\n"
    assert status.exit.size == len("out\né\n".encode())
