"""Killed at every named point between claim and exit: nothing runs twice, nothing is lost."""

from __future__ import annotations

import signal

import pytest

from orchestra.child.supervisor import FAILPOINTS
from orchestra.model.run import Run
from orchestra.workspace import records
from tests.faults.site import Site, kill, wait_for
from tests.faults.test_dependencies import POINTS as PROVIDING

KILLED = -signal.SIGKILL

FOREGROUND = {
    "run.created": "aborted",
    "run.claimed": "aborted",
    "run.ordered": "aborted",
    "run.submitted": "completed",
    "run.started": "completed",
    "run.noted": "completed",
    "run.exited": "completed",
}
"""What becomes of a foreground run whose ``orchestra`` is killed at a point."""

QUEUE = (
    "queue.claimed",
    "run.claimed",
    "run.ordered",
    "run.submitted",
    "run.started",
    "run.noted",
    "run.exited",
)
BATCH = ("batch.proposed", "run.created:kill9:2", "batch.trial.claimed:kill9:2", "run.submitted:kill9:2")
SUPERVISOR = {
    "supervisor.started": ("error", 0, 1),
    # Whoever wants to record the failure comes to the same point.
    "supervisor.fence.before": ("aborted", 0, KILLED),
    "supervisor.fence.after": ("lost", 0, 75),
    "supervisor.forked": ("lost", None, 75),
    "supervisor.exited": ("lost", 1, 75),
    "supervisor.recorded": ("completed", 1, 0),
}
"""State, number of executions (None: either) and exit code when a run's supervisor is killed at a point."""
ELSEWHERE = {
    "run.annotated",
    "delete.recorded",
    "delete.renamed",
    "delete.forgotten",
    "restore.renamed",
    "purge.renamed",
    "source.copied",
    "source.swapping",
    "store.backed_up",
    "store.upgraded",
    *(point.partition(":")[0] for point in PROVIDING),
}
"""Points of annotations, deletions, restarts, dependencies and upgrades, whose tests are beside theirs."""


def strike(point: str) -> str:
    return point if ":" in point else f"{point}:kill9"


def test_every_failpoint_is_struck() -> None:
    struck = {point.partition(":")[0] for point in (*FOREGROUND, *QUEUE, *BATCH, *SUPERVISOR)}

    assert struck | ELSEWHERE == set(FAILPOINTS)


@pytest.mark.parametrize(("point", "state"), FOREGROUND.items())
def test_a_foreground_run_that_is_killed_runs_to_its_end_or_never(site: Site, point: str, state: str) -> None:
    ended = site.run("run", "-y", "work.py", "lines=50", failpoint=strike(point))

    assert ended.code == KILLED
    site.wait_for_rest()
    assert site.states() == [state]
    assert [one.code for one in site.executions()] == ([0] if state == "completed" else [])


@pytest.mark.parametrize("point", QUEUE)
def test_the_next_queue_goes_on_where_one_was_killed(site: Site, point: str) -> None:
    staged = site.stage(count=2, lines=50)

    assert site.queue(failpoint=strike(point)).code == KILLED
    assert site.queue().code == 0

    runs = site.wait_for_rest()
    assert site.states() == ["completed", "completed"]
    assert {run.id for run in runs} == {run.id for run in staged}
    assert len(site.executions()) == 2
    queues = site.runs("queue")
    assert sorted(queue.state for queue in queues) == ["completed", "lost"]


def test_a_claim_that_died_before_the_start_is_revoked_and_made_anew(site: Site) -> None:
    (run,) = site.stage()

    assert site.queue(failpoint="queue.claimed:kill9").code == KILLED
    assert site.queue().code == 0

    (run,) = site.runs()
    directory = site.layout.run_directory(run)
    first, second = (records.read_fence(site.layout.attempt_directory(directory, n)) for n in (1, 2))
    assert first is not None and first.fence == "revoked"
    assert second is not None and second.fence == "started"
    assert (run.attempt, run.executions) == (2, 1)


@pytest.mark.parametrize("point", BATCH)
def test_a_batch_that_was_killed_goes_on_with_its_trials_and_makes_none_twice(site: Site, point: str) -> None:
    killed = site.run("run", "-y", "work.py", "number=[1,2,3]", failpoint=strike(point))
    assert killed.code == KILLED
    site.wait_for_rest()
    (batch,) = site.runs("batch")
    assert batch.state == "lost"
    assert all(run.state in ("pending", "completed") for run in site.runs())

    again = site.run("run", "-y", "--restart", batch.id)

    assert again.code == 0, again.output
    assert [run.flags["number"] for run in site.runs()] == [1, 2, 3]
    assert site.states() == ["completed"] * 3
    assert len(site.executions()) == 3


@pytest.mark.nightly
@pytest.mark.timeout(300)
def test_a_big_batch_that_was_killed_half_way_makes_each_trial_once(site: Site) -> None:
    """More trials than are made at once, so that some were made and others not."""
    search = ("run", "-y", "quick.sh", "n=range[1:1000]", "--force-flags", "--quiet")
    assert site.run(*search, failpoint="batch.trial.claimed:kill9:500", timeout=200).code == KILLED
    site.wait_for_rest()
    (batch,) = site.runs("batch")

    again = site.run("run", "-y", "--restart", batch.id, timeout=200)

    assert again.code == 0, again.output[-500:]
    assert sorted(run.flags["n"] for run in site.runs()) == list(range(1, 1001))
    assert set(site.states()) == {"completed"}
    assert len(site.executions()) == 1000


@pytest.mark.parametrize(("point", "outcome"), SUPERVISOR.items())
def test_a_supervisor_that_is_killed_leaves_a_known_state(
    site: Site, point: str, outcome: tuple[str, int | None, int]
) -> None:
    state, count, code = outcome

    ended = site.run("run", "-y", "work.py", "lines=50", failpoint=strike(point))

    assert ended.code == code, ended.output
    site.wait_for_rest()
    assert site.states() == [state]
    assert count is None or len(site.executions()) == count


def test_a_slow_supervisor_whose_attempt_was_revoked_executes_nothing(site: Site) -> None:
    queue = site.start_queue(failpoint="supervisor.fence.before:sleep=3")
    site.stage()
    wait_for(lambda: [run for run in site.runs() if run.claimed and _ordered(site, run)], "the orders")
    kill(queue)
    site.judge()

    assert site.queue().code == 0
    assert [one.attempt for one in site.executions()] == [2]


def _ordered(site: Site, run: Run) -> bool:
    directory = site.layout.attempt_directory(site.layout.run_directory(run), run.attempt)
    return any(directory.glob("fence.*.tmp"))
