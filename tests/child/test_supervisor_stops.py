"""How supervisors stop operations, and what they do with what an operation leaves behind."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time

import pytest

from orchestra.child import supervisor
from orchestra.child.install import encode_request, launcher_command
from tests.child.attempts import eventually

IGNORANT = "trap '' INT TERM; touch ready; while :; do sleep 0.05; done"
DAEMON = (
    "setsid sh -c 'sleep 60 & echo $! > daemon; exec sleep 60' > /dev/null &"
    " while ! test -s daemon; do sleep 0.01; done"
)


@pytest.mark.parametrize(
    ("number", "code", "stopped_by"),
    [(signal.SIGINT, -2, "INT"), (signal.SIGTERM, -15, "TERM"), (signal.SIGQUIT, -9, "KILL")],
)
def test_each_signal_stops_the_operation_in_its_way(bench, canary, number, code, stopped_by):
    attempt = bench.start("sleep", "60")
    eventually(attempt.tree)

    attempt.signal(number)

    found = attempt.ended()
    assert (found.code, found.stopped_by, found.leftovers) == (code, stopped_by, ())


def test_an_operation_that_ends_well_when_it_is_told_to_keeps_its_status(plain):
    attempt = plain.start(
        "sh", "-c", "trap 'echo saved; exit 0' TERM; touch ready; while :; do sleep 0.01; done"
    )
    eventually((plain.root / "ready").exists)

    attempt.signal(signal.SIGTERM)

    assert (attempt.ended().code, attempt.exit.stopped_by) == (0, "TERM")
    assert attempt.output.endswith(b"saved\n")


def test_the_first_stop_is_the_one_that_is_noted(plain):
    attempt = plain.start("sh", "-c", IGNORANT)
    eventually((plain.root / "ready").exists)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
        attempt.signal(number)
        time.sleep(0.1)

    assert (attempt.ended().code, attempt.exit.stopped_by) == (-9, "INT")


def test_an_operation_that_ignores_term_is_killed_in_the_end(plain):
    attempt = plain.start("sh", "-c", IGNORANT, stop_timeout=0.3)
    eventually((plain.root / "ready").exists)
    before = time.monotonic()

    attempt.signal(signal.SIGTERM)

    assert (attempt.ended().code, attempt.exit.stopped_by) == (-9, "TERM")
    assert 0.25 < time.monotonic() - before < 5


def test_a_hangup_is_ignored(plain):
    attempt = plain.start("sh", "-c", "sleep 0.3; exit 6")

    attempt.signal(signal.SIGHUP)

    assert (attempt.ended().code, attempt.exit.stopped_by) == (6, None)


def test_an_interrupt_reaches_the_operations_group_and_not_its_daemons(plain):
    attempt = plain.start(
        "sh", "-c", f"{DAEMON}; trap 'exit 9' INT; touch ready; while :; do sleep 0.01; done"
    )
    eventually((plain.root / "ready").exists)
    daemon = int((plain.root / "daemon").read_text())

    attempt.signal(signal.SIGINT)
    found = attempt.ended()

    assert (found.code, found.stopped_by) == (9, "INT")
    assert daemon in found.leftovers, "a daemon of a run that was stopped outlived it"


def test_term_reaches_daemons_too(plain):
    attempt = plain.start("sh", "-c", f"{DAEMON}; touch ready; wait; sleep 60")
    eventually((plain.root / "ready").exists)

    attempt.signal(signal.SIGTERM)

    assert attempt.ended().stopped_by == "TERM"
    assert supervisor.tree_of(attempt.cookie) == []


def test_a_stopped_operation_can_be_told_to_end(plain):
    attempt = plain.start("sh", "-c", "kill -STOP $$; exit 0")
    eventually(lambda: attempt.tree() and _state(attempt.tree()[0]) == "T")

    attempt.signal(signal.SIGTERM)

    assert attempt.ended().code == -15


def test_a_process_that_forks_all_the_time_is_ended(plain):
    bomb = "trap '' TERM INT; touch ready; f() { while :; do sleep 0.01 & wait; done; }; f & f & f"
    attempt = plain.start("sh", "-c", bomb, stop_timeout=0.2)
    eventually((plain.root / "ready").exists)

    attempt.signal(signal.SIGTERM)

    assert attempt.ended().code == -9
    assert supervisor.tree_of(attempt.cookie) == []


def test_a_chain_of_daemons_that_fork_and_die_is_ended(plain):
    (plain.root / "chain").write_text("f() { sleep 0.02; (f) & }; f")
    attempt = plain.start("sh", "-c", "setsid sh chain & sleep 60")
    eventually(lambda: len(attempt.tree()) >= 2)
    time.sleep(0.1)

    attempt.signal(signal.SIGQUIT)

    attempt.ended()
    assert supervisor.tree_of(attempt.cookie) == []


def test_what_outlives_the_main_process_is_ended_after_a_grace(bench, canary):
    before = time.monotonic()

    attempt = bench.sh(f"{DAEMON}; exit 0", grace=0.3)

    assert attempt.exit.code == 0
    assert int((bench.root / "daemon").read_text()) in attempt.exit.leftovers
    assert len(attempt.exit.leftovers) == 2
    assert attempt.exit.stopped_by is None
    assert time.monotonic() - before > 0.3
    assert supervisor.tree_of(attempt.cookie) == []


def test_what_ends_within_the_grace_is_no_leftover_and_nobody_waits_longer(plain):
    before = time.monotonic()

    attempt = plain.sh("sleep 0.2 & echo main", grace=20)

    assert attempt.exit.leftovers == ()
    assert time.monotonic() - before < 10


def test_a_grandchild_that_holds_the_output_open_does_not_hold_up_the_end(plain):
    before = time.monotonic()

    attempt = plain.sh("echo said; sleep 60 &", grace=0.1)

    assert attempt.output == b"said\n"
    assert (attempt.exit.stopped - attempt.exit.started) / 1e6 < 5
    assert time.monotonic() - before < 6


def test_what_leftovers_write_during_the_grace_is_kept(plain):
    attempt = plain.sh("(sleep 0.2; echo late) & echo main", grace=20)

    assert attempt.output == b"main\nlate\n"
    assert attempt.exit.size == 10


def test_a_leftover_that_ignores_term_is_killed(plain):
    attempt = plain.sh("(trap '' TERM; while :; do sleep 0.05; done) & exit 2", grace=0.05)

    assert attempt.exit.code == 2
    assert len(attempt.exit.leftovers) >= 1


def test_leftovers_are_waited_for_if_that_is_the_policy(plain):
    attempt = plain.sh("(sleep 0.4; echo late) & exit 7", leftovers="wait", grace=0.01)

    assert (attempt.exit.code, attempt.exit.leftovers, attempt.output) == (7, (), b"late\n")


def test_a_stop_while_leftovers_are_waited_for_ends_them_and_not_the_verdict(plain):
    attempt = plain.start("sh", "-c", "sleep 60 & touch ready", leftovers="wait")
    eventually((plain.root / "ready").exists)
    eventually(lambda: len(attempt.tree()) == 1)

    attempt.signal(signal.SIGTERM)

    assert (attempt.ended().code, attempt.exit.stopped_by) == (0, None)
    assert len(attempt.exit.leftovers) <= 1


def test_a_descendant_without_any_cookie_belongs_to_the_attempt(plain):
    attempt = plain.sh("env -i /bin/sh -c '(setsid /bin/sleep 60 &)'; exit 0", grace=0.1)

    assert len(attempt.exit.leftovers) == 1
    assert not os.path.exists(f"/proc/{attempt.exit.leftovers[0]}")


@pytest.mark.parametrize("number", [None, signal.SIGTERM, signal.SIGQUIT])
def test_the_subtree_of_another_attempt_is_left_alone(plain, number):
    # Of this test alone: others of its kind may run at the same time.
    other = f"{plain.root.name}.{os.getpid()}.1.x"
    inner = f"ORCHESTRA_ATTEMPT={other} setsid sh -c 'echo $$ > inner; sleep 60 & wait' > /dev/null 2>&1 &"
    rest = f"while ! test -s inner; do sleep 0.01; done; touch ready; sleep {0.5 if number is None else 60}"
    attempt = plain.start("sh", "-c", f"{inner} {rest}", grace=0.1)
    eventually((plain.root / "ready").exists)
    pid = int((plain.root / "inner").read_text())
    try:
        eventually(lambda: len(supervisor.tree_of(other)) == 2)
        if number is not None:
            attempt.signal(number)

        found = attempt.ended()

        assert found.leftovers == ()
        assert len(supervisor.tree_of(other)) == 2, "another attempt's processes were signalled"
        assert supervisor.process_start(pid) is not None
    finally:
        supervisor.end_tree(other)


def test_another_attempts_process_in_our_own_group_is_left_alone(plain):
    inner = "ORCHESTRA_ATTEMPT=other.1.y sleep 60 & touch ready; sleep 60"
    attempt = plain.start("sh", "-c", inner, stop_timeout=0.1)
    eventually((plain.root / "ready").exists)
    eventually(lambda: len(supervisor.tree_of("other.1.y")) == 1)
    try:
        attempt.signal(signal.SIGTERM)
        attempt.ended()

        assert len(supervisor.tree_of("other.1.y")) == 1
    finally:
        supervisor.end_tree("other.1.y")


def test_an_inner_attempt_survives_the_end_of_the_outer_one(plain, make_bench):
    inner = make_bench(forked=True).prepare("sh", "-c", "sleep 0.5; echo survived; exit 3")
    (plain.root / "request").write_bytes(
        encode_request(inner.job.name, inner.job.directory, inner.job.environment)
    )
    launcher = shlex.join(launcher_command(sys.executable, plain.jobs.lib_dir, 2))
    (plain.root / "launch").write_text(f"ORCHESTRA_ATTEMPT=launcher.z setsid {launcher} < request; sleep 60")

    outer = plain.start("sh", "launch", grace=0.1)
    eventually((inner.directory / "fence").exists)
    outer.signal(signal.SIGTERM)

    assert outer.ended().code == -15
    assert inner.ended().code == 3
    assert inner.output == b"survived\n"


def _state(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]


def test_a_supervisor_that_is_stopped_and_continued_loses_nothing(plain):
    attempt = plain.start("sh", "-c", "for n in 1 2 3 4 5; do echo $n; sleep 0.05; done; exit 8")

    attempt.signal(signal.SIGSTOP)
    time.sleep(0.4)
    assert (attempt.directory / "exit").exists() is False
    attempt.signal(signal.SIGCONT)

    assert attempt.ended().code == 8
    assert attempt.output == b"1\n2\n3\n4\n5\n"


def test_a_signal_that_comes_at_the_first_moment_is_obeyed(plain):
    # The operation's process is held up where it does not yet die of signals.
    slow = "die = supervisor._die_with_parent;"
    slow += " supervisor._die_with_parent = lambda parent: (supervisor.time.sleep(0.3), die(parent))"
    attempt = plain.prepare("sleep", "60")
    plain.submit(attempt, patch=slow)
    eventually((attempt.directory / "fence").exists)

    attempt.process.send_signal(signal.SIGINT)

    assert (attempt.ended().code, attempt.exit.stopped_by) == (-2, "INT")


def test_one_that_comes_before_the_program_is_loaded_is_obeyed_at_once(make_bench):
    bench = make_bench(forked=True)
    # Until then the operation's process shows the cookie of the launcher.
    bench.prefix = (
        "s = launcher.supervisor; real = s.execute;"
        "s.execute = lambda *words: (s.time.sleep(0.3), real(*words)); "
    )
    attempt = bench.start("sleep", "60")
    before = time.monotonic()

    attempt.signal(signal.SIGTERM)

    assert (attempt.ended().code, attempt.exit.stopped_by) == (-15, "TERM")
    assert time.monotonic() - before < 5


def test_nothing_is_signalled_whose_identity_is_not_proven(canary):
    start = supervisor.process_start(canary.pid)

    assert not supervisor.send_signal(canary.pid, start + 1, signal.SIGTERM)
    assert not supervisor.send_signal(canary.pid, start - 1, signal.SIGKILL)


def test_a_process_that_is_proven_is_signalled():
    process = subprocess.Popen(["sleep", "60"])

    assert supervisor.send_signal(process.pid, supervisor.process_start(process.pid), signal.SIGTERM)
    assert process.wait(10) == -15
    assert supervisor.process_start(process.pid) is None


def test_a_stop_after_the_time_limit_is_noted_as_the_wish_that_it_is(plain):
    attempt = plain.start("sh", "-c", IGNORANT, time_limit=0.3)
    eventually((plain.root / "ready").exists)
    time.sleep(0.5)

    attempt.signal(signal.SIGINT)
    time.sleep(0.1)
    attempt.signal(signal.SIGQUIT)

    assert (attempt.ended().code, attempt.exit.stopped_by, attempt.exit.cause) == (-9, "INT", None)
    assert attempt.exit.reason == "its time limit of 0.3 s was over"
