"""Supervisors that have done their work supervise another attempt, and are no longer taken for the first one's."""

from __future__ import annotations

import fcntl
import os
import random
import signal
import time

import pytest

from orchestra.child import supervisor
from tests.child.attempts import eventually, is_locked


@pytest.fixture
def bench(make_bench):
    return make_bench(forked=True)


def pid_of(attempt) -> int:
    return attempt.fence.identity.pid


def is_gone(pid: int) -> bool:
    return supervisor.process_start(pid) is None


def told(attempt, number: int) -> bool:
    """Whether the owner of an attempt could be signalled."""
    identity = attempt.fence.identity
    return supervisor.signal_owner(attempt.directory, attempt.job.name, identity.pid, identity.start, number)


def start_again(bench, first, *argv: str):
    """An attempt that runs under the supervisor that ``first`` had."""
    pid = pid_of(first)
    for _ in range(20):
        attempt = bench.start(*argv)
        if pid_of(attempt) == pid:
            return attempt
        assert told(attempt, signal.SIGQUIT)
        attempt.ended()
    raise AssertionError("its supervisor is not used again")


def test_a_supervisor_that_has_done_its_work_supervises_the_next_attempt(bench):
    pids = [pid_of(bench.sh("echo done")) for _ in range(10)]

    assert len(set(pids)) <= 2


def test_attempts_of_one_supervisor_share_nothing(bench):
    script = (
        "echo ${ONLY_FIRST-unset}; umask; pwd; ls /proc/self/fd | wc -l; echo two >&2;"
        "grep -E 'Sig(Blk|Ign|Cgt)|NoNewPrivs|Threads' /proc/self/status;"
        "cat /proc/self/limits /proc/self/oom_score_adj; cut -d' ' -f18,19 /proc/self/stat"
    )
    fresh = bench.sh(script)
    first = bench.sh("cd /; umask 0; echo one; exit 3", env=["ONLY_FIRST=1"], cwd="/")
    again = start_again(bench, first, "sh", "-c", script)
    again.ended()

    assert first.exit.code == 3
    assert first.output == b"one\n"
    assert again.output == fresh.output
    assert again.output.startswith(b"unset\n")
    assert again.exit.code == 0
    assert again.exit.size == len(again.output)
    assert first.fence.identity == again.fence.identity
    assert first.fence.time < again.fence.time


def test_each_attempt_counts_its_own_time_memory_and_processor(bench):
    first = bench.python("x = bytearray(80 << 20); sum(range(3_000_000))")
    again = start_again(bench, first, "true")
    again.ended()

    assert first.exit.max_rss > 80 << 10
    assert again.exit.max_rss < 40 << 10
    assert again.exit.cpu < first.exit.cpu / 2


def test_who_wants_to_stop_an_attempt_that_is_over_stops_no_other_one(bench):
    first = bench.sh("true")
    again = start_again(bench, first, "sleep", "60")

    assert not told(first, signal.SIGTERM)
    assert not told(first, signal.SIGQUIT)
    assert not supervisor.owns(first.directory, first.job.name, pid_of(again))
    assert supervisor.owns(again.directory, again.job.name, pid_of(again))
    assert told(again, signal.SIGTERM)
    assert again.ended().stopped_by == "TERM"


def test_an_operation_that_locks_its_output_can_be_stopped(bench):
    attempt = bench.start("sh", "-c", "flock 1; echo locked; exec sleep 60", output="direct")
    eventually(lambda: attempt.output)

    assert told(attempt, signal.SIGTERM)
    assert attempt.ended().stopped_by == "TERM"


def test_a_supervisor_that_somebody_is_about_to_signal_ends_with_its_attempt(bench):
    attempt = bench.start("sleep", "0.1")
    held = os.open(attempt.directory, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        attempt.ended()
        eventually(lambda: is_gone(pid_of(attempt)))
    finally:
        os.close(held)


@pytest.mark.parametrize("seed", range(3))
def test_a_stop_at_any_moment_reaches_its_own_attempt_or_none(bench, seed):
    dice = random.Random(seed)
    stopped = []
    for _ in range(60):
        attempt = bench.start("sh", "-c", "trap 'exit 9' TERM; true")
        time.sleep(dice.uniform(0, 0.012))
        stopped.append((attempt, told(attempt, signal.SIGTERM)))
    for attempt, was_told in stopped:
        code = attempt.ended().code
        assert attempt.exit.stopped_by in ((None, "TERM") if was_told else (None,))
        assert was_told or code == 0


@pytest.mark.parametrize(
    ("script", "orders"),
    [
        ("sleep 60 & exit 0", {"grace": 0}),
        ("sleep 60", {"stop_after": 0.05}),
        ("sleep 60", {"time_limit": 0.05}),
        ("setsid sleep 0.2 & exit 0", {"leftovers": "wait", "time_limit": 30}),
        ("yes | head -c 300000", {"output_limit": 200_000}),
    ],
)
def test_after_anything_unusual_a_supervisor_ends_unless_nothing_is_left_of_it(bench, script, orders):
    attempt = bench.sh(script, **orders)

    if attempt.exit.reason or attempt.exit.leftovers:
        eventually(lambda: is_gone(pid_of(attempt)))
    assert bench.sh("echo next").output == b"next\n"


def test_a_supervisor_that_was_told_to_stop_ends_with_its_attempt(bench):
    attempt = bench.start("sleep", "60")
    attempt.signal(signal.SIGTERM)

    assert attempt.ended().stopped_by == "TERM"
    eventually(lambda: is_gone(pid_of(attempt)))


def test_a_supervisor_that_has_adopted_a_process_of_another_attempt_ends_with_its_own(bench):
    cookie = f"{supervisor.COOKIE}=other.1.0000"
    attempt = bench.sh(f"{cookie} setsid sleep 60 & echo $!")
    inner = int(attempt.output)
    try:
        eventually(lambda: is_gone(pid_of(attempt)))
        assert not is_gone(inner)
    finally:
        os.kill(inner, signal.SIGKILL)


def test_an_operation_that_cannot_start_costs_its_supervisor(bench):
    attempt = bench.run("/nonexistent/program")

    assert attempt.exit.code == 127
    eventually(lambda: is_gone(pid_of(attempt)))
    assert bench.sh("echo next").output == b"next\n"


def test_one_that_is_at_hand_ends_when_it_is_told_to_and_is_replaced(bench):
    for number in (signal.SIGTERM, signal.SIGKILL):
        pid = pid_of(bench.sh("true"))
        os.kill(pid, number)
        eventually(lambda pid=pid: is_gone(pid))

        assert bench.sh("echo next").output == b"next\n"


def test_an_interrupt_of_all_processes_leaves_those_that_are_at_hand(bench):
    pid = pid_of(bench.sh("true"))
    os.kill(pid, signal.SIGINT)

    again = bench.sh("echo next")
    assert again.output == b"next\n"
    assert not is_gone(pid)


def test_those_that_are_at_hand_end_with_their_launcher_and_those_at_work_after_it(bench):
    first = bench.sh("true")
    at_work = start_again(bench, first, "sh", "-c", "sleep 0.3; echo done")
    bench.launcher().kill()
    bench.launcher().wait()

    assert at_work.ended().code == 0
    assert at_work.output == b"done\n"
    eventually(lambda: is_gone(pid_of(at_work)))


def test_a_launcher_keeps_nothing_of_supervisors_that_have_ended(bench):
    for _ in range(5):
        attempt = bench.start("sleep", "60")
        attempt.signal(signal.SIGQUIT)
        attempt.ended()
        eventually(lambda attempt=attempt: is_gone(pid_of(attempt)))
    bench.sh("true")

    pid = bench.launcher().pid
    files = eventually(lambda: len(os.listdir(f"/proc/{pid}/fd")) < 10 and os.listdir(f"/proc/{pid}/fd"))
    # Standard streams, hints, the pipe of those that are free again, and one for each supervisor at hand.
    assert len(files) <= 4 + 2 + 2


def test_a_supervisor_ends_after_many_attempts(bench):
    bench.prefix = "launcher.MOST_ATTEMPTS = 2; "
    pids = [pid_of(bench.sh("true")) for _ in range(8)]

    assert max(map(pids.count, pids)) <= 2
    eventually(lambda: sum(not is_gone(pid) for pid in set(pids)) <= 2)


def test_a_supervisor_that_is_about_to_end_is_given_no_attempt(bench):
    late_end = "exit = os._exit; os._exit = lambda status: (time.sleep(0.5), exit(status)); "
    bench.prefix = f"import os, time; launcher.MOST_ATTEMPTS = 1; {late_end}"
    first = bench.sh("true")
    time.sleep(0.05)
    second = bench.sh("echo next")

    assert second.output == b"next\n"
    assert pid_of(second) != pid_of(first)


def test_of_many_at_once_some_are_kept_and_all_do_their_work(bench):
    bench.prefix = "launcher.MOST_KEPT = 3; "
    attempts = [bench.start("sleep", "0.5") for _ in range(8)]
    # The launcher keeps a file for each of the few: standard streams, hints, two ends of a pipe, and these.
    assert len(os.listdir(f"/proc/{bench.launcher().pid}/fd")) <= 6 + 4
    for attempt in attempts:
        assert attempt.ended().code == 0

    eventually(lambda: sum(not is_gone(pid_of(attempt)) for attempt in attempts) <= 3)
    assert bench.sh("echo next").output == b"next\n"


def test_a_launcher_with_too_few_files_starts_all_the_same(bench):
    bench.prefix = "import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (14, 14)); "
    attempts = [bench.start("sleep", "0.5") for _ in range(12)]

    assert [attempt.ended().code for attempt in attempts] == [0] * 12


def test_the_lock_of_an_attempt_is_free_as_soon_as_it_is_over(bench):
    first = bench.sh("true")

    assert not is_locked(first.directory / "fence")
    start_again(bench, first, "sleep", "60")
    assert not is_locked(first.directory / "fence")


def test_nobody_is_signalled_of_an_attempt_that_has_not_begun(bench, canary):
    attempt = bench.prepare("true")
    start = supervisor.process_start(canary.pid)

    assert not supervisor.signal_owner(attempt.directory, attempt.job.name, canary.pid, start, signal.SIGTERM)


def test_one_whose_directory_is_away_can_be_stopped_and_no_other_for_it(bench, tmp_path):
    first = bench.sh("true")
    again = start_again(bench, first, "sleep", "60")
    identity = again.fence.identity
    eventually(lambda: supervisor.tree_of(again.cookie))
    (tmp_path / "attempts").rename(tmp_path / "away")

    def stop(attempt) -> bool:
        return supervisor.signal_owner(
            attempt.directory, attempt.job.name, identity.pid, identity.start, signal.SIGTERM
        )

    assert not stop(first)
    assert stop(again)
    eventually(lambda: not supervisor.tree_of(again.cookie))
