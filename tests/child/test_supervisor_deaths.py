"""What is left when a supervisor is killed, at each point of its life."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestra.child import supervisor
from orchestra.testing.executors import exit_of, fence_of
from tests.child.attempts import eventually, is_locked


def start_with(bench, point: str, action: str, *argv: str):
    bench.environment = {"ORCHESTRA_FAILPOINT": f"{point}:{action}"}
    attempt = bench.prepare(*argv)
    bench.submit(attempt)
    return attempt


JOURNAL = "echo begun >> journal; sleep 0.3; echo over >> journal"


@pytest.mark.parametrize("point", ["supervisor.started", "supervisor.fence.before"])
def test_killed_before_the_fence_nothing_has_run_and_another_may(plain, point):
    attempt = start_with(plain, point, "kill9", "sh", "-c", JOURNAL)

    assert attempt.process.wait(20) == -9
    assert fence_of(attempt.job) is None
    time.sleep(0.1)
    assert supervisor.tree_of(attempt.cookie) == []

    plain.environment = {}
    plain.submit(attempt)
    assert attempt.ended().code == 0
    assert (plain.root / "journal").read_text() == "begun\nover\n"


@pytest.mark.parametrize("point", ["supervisor.fence.after", "supervisor.forked"])
def test_killed_after_the_fence_the_operation_ends_with_it(bench, point):
    attempt = start_with(bench, point, "kill9", "sh", "-c", JOURNAL)
    eventually(lambda: fence_of(attempt.job) and not is_locked(attempt.directory / "fence"))

    eventually(lambda: supervisor.tree_of(attempt.cookie) == [])
    time.sleep(0.4)

    assert exit_of(attempt.job) is None
    journal = bench.root / "journal"
    assert not journal.exists() or "over" not in journal.read_text()


@pytest.mark.parametrize("point", ["supervisor.fence.after", "supervisor.forked"])
def test_nobody_can_start_it_again_once_the_fence_is_won(plain, point):
    attempt = start_with(plain, point, "kill9", "sh", "-c", JOURNAL)
    assert attempt.process.wait(20) == -9

    plain.environment = {}
    plain.submit(attempt)

    assert attempt.process.wait(20) == 75


def test_killed_between_the_end_and_its_record_the_output_is_there(bench):
    attempt = start_with(bench, "supervisor.exited", "kill9", "sh", "-c", "echo said; exit 3")
    eventually(lambda: fence_of(attempt.job) and not is_locked(attempt.directory / "fence"))

    assert exit_of(attempt.job) is None
    assert attempt.output == b"said\n"


def test_killed_after_the_record_everything_is_there(bench):
    attempt = start_with(bench, "supervisor.recorded", "kill9", "sh", "-c", "echo said; exit 3")

    assert attempt.ended().code == 3
    assert attempt.output == b"said\n"


@pytest.mark.parametrize("point", sorted(name for name in supervisor.FAILPOINTS if name.startswith("super")))
def test_every_failpoint_of_a_supervisor_is_passed_once(plain, point):
    attempt = start_with(plain, point, "sleep=0.05:1", "true")
    assert attempt.ended().code == 0

    second = start_with(plain, point, "kill9:2", "true")
    assert second.ended().code == 0


def test_a_killed_supervisor_takes_its_operation_along(bench, canary):
    attempt = bench.start("sleep", "60")
    (pid,) = eventually(attempt.tree)

    attempt.signal(signal.SIGKILL)

    eventually(lambda: supervisor.process_start(pid) is None)
    assert exit_of(attempt.job) is None


def test_what_a_killed_supervisor_leaves_is_found_by_its_cookie_and_ended(bench, canary):
    script = "setsid sh -c 'sleep 60 & exec sleep 60' & sleep 60 & touch ready; wait"
    attempt = bench.start("sh", "-c", script)
    eventually((bench.root / "ready").exists)
    eventually(lambda: len(attempt.tree()) == 4)

    attempt.signal(signal.SIGKILL)

    left = eventually(lambda: supervisor.tree_of(attempt.cookie) and len(attempt.tree()) == 3)
    assert left
    assert supervisor.end_tree(attempt.cookie) == []
    assert supervisor.tree_of(attempt.cookie) == []


def test_ending_what_is_left_spares_an_inner_attempt(plain):
    inner = "ORCHESTRA_ATTEMPT=other.2.x setsid sleep 60 & touch ready; (sleep 60 & wait) & wait"
    attempt = plain.start("sh", "-c", inner)
    eventually((plain.root / "ready").exists)
    eventually(lambda: len(supervisor.tree_of("other.2.x")) == 1)
    try:
        attempt.signal(signal.SIGKILL)
        eventually(lambda: attempt.process.poll() is not None)

        assert supervisor.end_tree(attempt.cookie) == []
        assert len(supervisor.tree_of("other.2.x")) == 1
    finally:
        supervisor.end_tree("other.2.x")


def test_at_most_one_pipe_of_output_is_lost_with_the_supervisor(plain):
    script = "import os\nfor n in range(10**9): os.write(1, b'%9d\\n' % n); open('count', 'w').write(str(n))"
    attempt = plain.start(sys.executable, "-I", "-S", "-c", script)
    eventually(lambda: len(attempt.output) > 1000)

    attempt.signal(signal.SIGKILL)
    attempt.process.wait(20)
    eventually(lambda: supervisor.tree_of(attempt.cookie) == [])

    written = int((plain.root / "count").read_text() or 0)
    kept = len(attempt.output) // 10
    assert attempt.output == b"".join(b"%9d\n" % n for n in range(kept))
    assert kept >= written - (1 << 20) // 10


def test_a_tree_is_the_descendants_and_whoever_carries_the_cookie():
    environment = {**os.environ, "ORCHESTRA_ATTEMPT": "tree.1.a"}
    inner = "sleep 60 & env -i /bin/sleep 60 & wait"
    script = f"env -i /bin/sleep 60 & ORCHESTRA_ATTEMPT=tree.1.b sh -c '{inner}' & wait"
    process = subprocess.Popen(["sh", "-c", script], env=environment)
    try:
        eventually(lambda: len(supervisor.tree_of("tree.1.b")) == 3)
        ours = [pid for pid, _ in supervisor.tree_of("tree.1.a")]

        assert process.pid in ours
        assert len(ours) == 2
        below = [pid for pid, _ in supervisor.tree_of("tree.1.a", process.pid)]
        assert below == [pid for pid in ours if pid != process.pid]
        assert supervisor.tree_of("tree.1") == []
    finally:
        for cookie in ("tree.1.a", "tree.1.b"):
            supervisor.end_tree(cookie)
        process.wait(10)


def test_a_process_that_ended_and_was_not_reaped_is_no_process():
    process = subprocess.Popen(["true"])

    eventually(lambda: supervisor.process_start(process.pid) is None)

    assert process.wait(10) == 0
    assert supervisor.process_start(os.getpid()) == supervisor.own_identity()["start"] > 0


def test_a_process_tells_within_what_its_pid_means_something():
    assert supervisor.own_identity()["namespace"] == os.readlink(f"/proc/{os.getpid()}/ns/pid")


def test_a_name_with_parentheses_does_not_confuse_the_start_time(tmp_path):
    odd = tmp_path / "a) R 1 (b"
    odd.symlink_to("/bin/sleep")
    process = subprocess.Popen([str(odd), "60"])
    try:
        comm = Path(f"/proc/{process.pid}/comm")
        eventually(lambda: "R 1" in comm.read_text())
        start = supervisor.process_start(process.pid)

        assert start is not None
        assert start >= supervisor.process_start(os.getpid())
    finally:
        process.kill()
        process.wait(10)


@pytest.mark.parametrize(("counts", "cause"), [("34", "oom"), ("33", None)])
def test_an_operation_that_is_killed_as_its_group_lacks_memory_ended_of_that(plain, counts, cause):
    before, after = counts
    killed = plain.root / "killed"
    patch = f"""
def read(path, *limit, real=supervisor._read_file):
    if path == "/proc/self/cgroup":
        return b"0::/box\\n"
    if path != b"/sys/fs/cgroup/box/memory.events":
        return real(path, *limit)
    return b"max 9\\noom_kill {after}\\n" if os.path.exists({str(killed)!r}) else b"oom_kill {before}\\n"
supervisor._read_file = read"""
    attempt = plain.prepare("sh", "-c", f"touch {killed}; kill -9 $$")
    plain.submit(attempt, patch=f"import os; exec({patch!r})")

    ended = attempt.ended()

    reason = "the kernel killed it, for the memory was used up" if cause else None
    assert (ended.code, ended.cause, ended.reason) == (-9, cause, reason)
