"""The transitions of a run: every edge of the table can be walked, no other, and what each keeps and clears."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from orchestra.errors import IllegalTransition
from orchestra.model import lifecycle
from orchestra.model.execution import Exit, Fence, Handle
from orchestra.model.retry import Retry
from orchestra.model.run import ACTIVE, FINAL, Run, State
from orchestra.testing.builders import a_run, a_worker, an_identity

STATES: tuple[State, ...] = get_args(State)
WORKER = a_worker()
HANDLE = Handle(executor="local", job="r.1", token="1:1")
FENCE = Fence(fence="started", nonce="n", identity=an_identity(), time=50)

WALKS: dict[str, Callable[[Run], Run]] = {
    "claim": lambda run: lifecycle.claim(run, WORKER, 99),
    "release": lifecycle.release,
    "start": lambda run: lifecycle.start(run, FENCE),
    "finish": lambda run: lifecycle.finish(run, Exit(code=0, started=50, stopped=60)),
    "fail": lambda run: lifecycle.finish(run, Exit(code=1, started=50, stopped=60)),
    "terminate": lambda run: lifecycle.finish(run, Exit(code=-15, started=50, stopped=60)),
    "lose": lambda run: lifecycle.lose(run, 70, "gone"),
    "spoil": lambda run: lifecycle.spoil(run, "torn"),
    "restage": lambda run: lifecycle.restage(run, 80),
    "abort": lambda run: lifecycle.abort(run, 90, "aborted because run a ended as error"),
}


def in_state(state: State, *, claimed: bool = False, rest: State = "aborted") -> Run:
    run = a_run(state=state)
    if claimed or state == "running":
        return structs.replace(run, worker=WORKER, lease=99, attempt=1, rest=rest)
    return run


def possible(state: State, claimed: bool) -> bool:
    return not claimed or state in ACTIVE


@pytest.mark.parametrize("claimed", [False, True])
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("name", WALKS)
def test_only_the_edges_of_the_table_can_be_walked(name: str, state: State, claimed: bool) -> None:
    if not possible(state, claimed):
        return
    before = in_state(state, claimed=claimed)
    try:
        after = WALKS[name](before)
    except IllegalTransition:
        return

    assert (before.state, after.state) in lifecycle.EDGES


def test_every_edge_of_the_table_is_walked_by_the_function_that_it_names() -> None:
    walked: set[tuple[State | None, State]] = {(None, "staged"), (None, "pending")}
    for state in STATES:
        for claimed in (False, True):
            for rest in ("staged", "pending", "aborted"):
                for walk in WALKS.values():
                    if not possible(state, claimed):
                        continue
                    before = in_state(state, claimed=claimed, rest=rest)
                    try:
                        walked.add((before.state, walk(before).state))
                    except IllegalTransition:
                        continue

    assert walked == set(lifecycle.EDGES)


@given(st.sampled_from(sorted(FINAL - {"broken"}) + ["staged", "pending"]))
def test_a_claim_raises_the_attempt_and_forgets_the_former_end(state: Any) -> None:
    run = structs.replace(in_state(state), attempt=3, exit_code=7, stopped=9, reason="x", handle=HANDLE)

    claimed = lifecycle.claim(run, WORKER, 99)

    assert claimed.claimed
    assert (claimed.attempt, claimed.worker, claimed.lease) == (4, WORKER, 99)
    assert (claimed.exit_code, claimed.stopped, claimed.reason, claimed.handle) == (None, None, None, None)


@pytest.mark.parametrize(
    ("state", "rest"),
    [("staged", "staged"), ("pending", "pending"), ("completed", "aborted"), ("lost", "aborted")],
)
def test_a_claim_that_ends_before_the_start_goes_back_to_where_the_run_rested(state: Any, rest: str) -> None:
    released = lifecycle.release(lifecycle.claim(in_state(state), WORKER, 99))

    assert (released.state, released.worker, released.lease) == (rest, None, None)


def test_a_run_that_its_maker_starts_is_aborted_when_it_never_was_started() -> None:
    assert lifecycle.release(lifecycle.admit(in_state("pending"), WORKER)).state == "aborted"


@given(
    code=st.integers(-64, 255),
    stopped_by=st.none() | st.sampled_from(["INT", "TERM", "KILL"]),
)
def test_the_outcome_follows_from_code_and_stop_alone(code: int, stopped_by: str | None) -> None:
    state = lifecycle.outcome(Exit(code=code, started=1, stopped=2, stopped_by=stopped_by))

    if code == 0:
        assert state == "completed"
    elif code < 0 or stopped_by:
        assert state == "terminated"
    else:
        assert state == "error"


def test_an_end_that_is_seen_before_the_start_counts_as_an_execution() -> None:
    claimed = lifecycle.claim(in_state("staged"), WORKER, 99)
    end = Exit(code=0, started=50, stopped=60, size=1)

    at_once = lifecycle.finish(claimed, end)
    step_by_step = lifecycle.finish(lifecycle.start(claimed, FENCE), end)

    assert at_once == step_by_step
    assert (at_once.executions, at_once.started, at_once.stopped) == (1, 50, 60)


def test_a_clock_that_was_set_back_does_not_move_a_restarted_run_down_the_list() -> None:
    ended = structs.replace(in_state("completed"), started=1000, executions=1)

    restarted = lifecycle.start(lifecycle.claim(ended, WORKER, 99), FENCE)

    assert restarted.started == 1001


def test_the_watch_of_a_run_changes_hands_without_a_new_attempt() -> None:
    running = in_state("running")
    other = a_worker()

    watched = lifecycle.watch(running, other, 123)

    assert (watched.worker, watched.lease) == (other, 123)
    assert (watched.attempt, watched.starter) == (running.attempt, running.starter)
    with pytest.raises(IllegalTransition):
        lifecycle.watch(in_state("completed"), other, 123)


def test_a_claim_that_is_withdrawn_has_never_been() -> None:
    before = structs.replace(
        in_state("error"),
        attempt=3,
        executions=3,
        executions_before=1,
        starter="queue",
        queue="q",
        rest="staged",
        handle=HANDLE,
        exit_code=-9,
        stopped=60,
        cause="oom",
        reason="x",
        devices=("0",),
        granted=True,
        not_before=70,
    )

    assert lifecycle.withdraw(lifecycle.claim(before, WORKER, 99), before) == before


FAILED = structs.replace(
    in_state("error"), retry=Retry(limit=2), attempt=3, executions=3, exit_code=75, stopped=60, reason="x"
)
PERSON = a_worker(starter="command")


def test_retries_begin_anew_with_each_start_by_hand() -> None:
    assert not lifecycle.wants_again(FAILED)

    started = lifecycle.start(lifecycle.claim(FAILED, PERSON, 99), FENCE)
    failed = lifecycle.finish(started, Exit(code=75, started=50, stopped=60))

    assert (failed.executions, failed.tries, lifecycle.wants_again(failed)) == (4, 1, True)


def test_retries_are_counted_on_from_try_to_try() -> None:
    run = lifecycle.restage(FAILED, 80)
    for number in (1, 2, 3):
        run = lifecycle.start(lifecycle.claim(run, WORKER, 99), FENCE)
        assert run.tries == number
        ended = lifecycle.finish(run, Exit(code=75, started=50, stopped=60))
        again = lifecycle.try_again(ended, 90)
        assert (again is None) == (number == 3)
        run = again or ended


def test_a_claim_for_a_further_try_that_comes_to_nothing_leads_back_to_the_former_end() -> None:
    failed = structs.replace(FAILED, executions=1)
    held = lifecycle.claim_again(failed, PERSON, 99)
    assert held is not None
    assert held.claimed

    assert lifecycle.release(held) == structs.replace(
        failed, attempt=4, rest="error", starter=PERSON.starter, queue=PERSON.queue
    )
    assert lifecycle.forgo(held) == structs.replace(lifecycle.release(held), attempt=3)


def test_nothing_is_left_of_the_former_end_once_a_further_try_has_started() -> None:
    held = lifecycle.claim_again(structs.replace(FAILED, executions=1), PERSON, 99)
    assert held is not None

    started = lifecycle.start(held, FENCE)

    assert (started.exit_code, started.stopped, started.cause, started.reason) == (None,) * 4


def test_what_was_never_started_is_not_tried_again() -> None:
    assert not lifecycle.wants_again(structs.replace(FAILED, state="lost", executions=0))
