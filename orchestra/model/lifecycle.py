"""The life of a run: every edge between states, as pure functions on its record.

    (new) --stage--> staged        (new) --propose--> pending        (new) --claim--> pending, claimed

    staged | pending | final --claim--> pending, claimed     a worker has the time-limited right to start it
    claimed --release--> staged | pending | aborted          the claim ended before the start (``Run.rest``)
    final --claim_again--> pending, claimed                  its watcher tries it again, and goes on watching
    claimed --release, forgo--> what it had ended as         that try never came to its start
    claimed --withdraw--> what it was                        the claim ended before anything was done with it
    claimed --start--> running                               the attempt's fence was won
    claimed | running --finish--> completed | error | terminated      the exit record is there
    claimed | running --lose--> lost                         it may have started, how it ended can't be known
    claimed | running --spoil--> broken                      its records can't be read, so we can't judge it
    staged --abort--> aborted                                what it was to follow has failed it
    any but claimed and running --restage--> staged

A claim raises ``attempt`` by one; whoever acts for an older attempt is late and is refused by the revision.
"""

from __future__ import annotations

from msgspec import structs

from orchestra.errors import IllegalTransition
from orchestra.model.execution import Exit, Fence, Handle
from orchestra.model.run import FAILED, FINAL, Run, State, Worker

EDGES: dict[tuple[State | None, State], str] = {
    (None, "staged"): "stage",
    (None, "pending"): "propose",
    ("staged", "pending"): "claim",
    ("pending", "pending"): "claim",
    **{(state, "pending"): "claim" for state in FINAL if state != "broken"},
    ("pending", "staged"): "release",
    ("pending", "aborted"): "release",
    ("pending", "running"): "start",
    ("pending", "completed"): "finish",
    ("pending", "error"): "finish",
    ("pending", "terminated"): "finish",
    ("running", "completed"): "finish",
    ("running", "error"): "finish",
    ("running", "terminated"): "finish",
    ("pending", "lost"): "lose",
    ("running", "lost"): "lose",
    ("pending", "broken"): "spoil",
    ("running", "broken"): "spoil",
    **{(state, "staged"): "restage" for state in FINAL if state != "broken"},
    ("staged", "staged"): "restage",
    ("staged", "aborted"): "abort",
}
"""Every edge there is, and the function that walks it. ``None`` is a run that is not there yet."""


def _check(run: Run, target: State, edge: str) -> None:
    # A pending run may be both released and restaged into 'staged'; the table names the first.
    known = EDGES.get((run.state, target))
    if known is None or (known != edge and (run.state, target, edge) != ("pending", "staged", "restage")):
        raise IllegalTransition(f"run {run.id} is {run.state} and can't become {target} by '{edge}'")


def claim(run: Run, worker: Worker, lease: int) -> Run:
    """Give ``worker`` the right to start ``run`` until ``lease`` (microseconds since the epoch).

    Raises:
        IllegalTransition: the run is claimed, running or broken.
    """
    if run.worker is not None:
        raise IllegalTransition(f"run {run.id} is claimed already")
    _check(run, "pending", "claim")
    by_hand = run.state in FINAL or (run.state == "staged" and worker.starter != "queue")
    return structs.replace(
        run,
        state="pending",
        attempt=run.attempt + 1,
        rest=run.state if run.state in ("staged", "pending") else "aborted",
        worker=worker,
        starter=worker.starter,
        queue=worker.queue,
        lease=lease,
        handle=None,
        exit_code=None,
        stopped=None,
        cause=None,
        reason=None,
        devices=(),
        granted=False,
        not_before=None,
        executions_before=run.executions if by_hand else run.executions_before,
    )


def admit(run: Run, worker: Worker) -> Run:
    """A new run that its maker starts at once: pending and claimed from its first moment."""
    return structs.replace(
        run,
        state="pending",
        attempt=1,
        rest="aborted",
        worker=worker,
        starter=worker.starter,
        queue=worker.queue,
    )


def watch(run: Run, worker: Worker, lease: int) -> Run:
    """Hand the watch of a claimed or running run to ``worker``; the attempt and its starter stay."""
    if run.worker is None:
        raise IllegalTransition(f"run {run.id} is {run.state}: nobody watches it")
    return structs.replace(run, worker=worker, lease=lease)


def submit(run: Run, handle: Handle) -> Run:
    """Note where the executor keeps the job of a claimed or running run."""
    if run.worker is None:
        raise IllegalTransition(f"run {run.id} is {run.state} and can't be submitted")
    return structs.replace(run, handle=handle)


def release(run: Run) -> Run:
    """End a claim before the start: back to where the run rests.

    Raises:
        IllegalTransition: the run is not claimed.
    """
    if not run.claimed:
        raise IllegalTransition(f"run {run.id} is {run.state}: there is no claim to release")
    if run.rest in FINAL and run.rest != "aborted":
        # It was to be tried again: what is known of its end still holds.
        return _unwatched(run, state=run.rest)
    if run.rest != "pending":
        _check(run, run.rest, "release")
    reason = "its starter ended before it was started" if run.rest == "aborted" else None
    return _unwatched(run, state=run.rest, exit_code=None, stopped=None, cause=None, reason=reason)


def forgo(run: Run) -> Run:
    """End the claim of :func:`claim_again` before anything was done with it; the attempt's number is free again.

    As with :func:`withdraw`, only the claim's holder may do this, and only while the attempt has no folder.
    """
    return structs.replace(release(run), attempt=run.attempt - 1)


def withdraw(run: Run, before: Run) -> Run:
    """End a claim before anything was done with it: the run is what it was ``before``, as if never claimed.

    The number of the attempt is free again, so only the claim's holder may do this, and only while the attempt
    has no folder.

    Raises:
        IllegalTransition: the run is not claimed, or by another claim than the one that followed ``before``.
    """
    if not run.claimed or run.attempt != before.attempt + 1:
        raise IllegalTransition(f"run {run.id} is {run.state}: there is no claim to withdraw")
    return _unwatched(
        run,
        state=before.state,
        attempt=before.attempt,
        rest=before.rest,
        starter=before.starter,
        handle=before.handle,
        exit_code=before.exit_code,
        stopped=before.stopped,
        cause=before.cause,
        reason=before.reason,
        queue=before.queue,
        devices=before.devices,
        granted=before.granted,
        not_before=before.not_before,
        executions_before=before.executions_before,
    )


def start(run: Run, fence: Fence) -> Run:
    """The attempt's fence was won: the operation is about to run, or runs."""
    _check(run, "running", "start")
    return structs.replace(
        run,
        state="running",
        started=_after(run.started, fence.time),
        executions=run.executions + 1,
        stopped=None,
        exit_code=None,
        cause=None,
        reason=None,
    )


def finish(run: Run, exit: Exit) -> Run:
    """The attempt ended with ``exit``. A run whose start was not noted is counted as started, too."""
    state = outcome(exit)
    _check(run, state, "finish")
    noted = run.state == "running"
    return _unwatched(
        run,
        state=state,
        started=run.started if noted else _after(run.started, exit.started),
        executions=run.executions if noted else run.executions + 1,
        stopped=exit.stopped,
        exit_code=exit.code,
        cause=exit.cause or ("stopped" if exit.stopped_by is not None else None),
        reason=exit.reason,
    )


def lose(run: Run, now: int, reason: str) -> Run:
    """It may have run, its end was not recorded, and nothing of it is alive."""
    _check(run, "lost", "lose")
    if run.retry is not None and run.retry.gives_up(run.tries):
        reason = f"{reason}; gave up after {run.tries} attempts"
    return _unwatched(run, state="lost", stopped=now, exit_code=None, cause=None, reason=reason)


def spoil(run: Run, reason: str) -> Run:
    """Nobody watches it, and its records can't be read: ``reason`` names the file."""
    if run.worker is None:
        raise IllegalTransition(f"run {run.id} is {run.state}: there is nothing to judge")
    _check(run, "broken", "spoil")
    return _unwatched(run, state="broken", reason=reason)


def restage(run: Run, now: int) -> Run:
    """Make a run that is not claimed ready to be taken by a queue (again)."""
    if run.worker is not None:
        raise IllegalTransition(f"run {run.id} is claimed and can't be staged")
    _check(run, "staged", "restage")
    return structs.replace(
        run,
        state="staged",
        staged=now,
        exit_code=None,
        stopped=None,
        cause=None,
        reason=None,
        queued=None,
        not_before=None,
        executions_before=run.executions,
    )


def is_left_to_queues(run: Run) -> bool:
    """Whether a queue took the run from among the staged ones: then queues try it again, be it another one.

    What a batch or a pipeline executes is theirs to try again, also while a queue executes them.
    """
    return run.starter == "queue" and run.rest == "staged"


def wants_again(run: Run) -> bool:
    """Whether a run that has failed is to be tried again. A batch never is: its trials are."""
    if run.retry is None or run.kind == "batch" or run.tries < 1:
        return False
    return run.retry.wants(causes(run), run.tries)


def try_again(run: Run, now: int) -> Run | None:
    """A run that has failed staged anew, if queues are to try it again; it keeps its place among the staged."""
    if run.retry is None or not is_left_to_queues(run) or not wants_again(run):
        return None
    due = now + round(run.retry.pause(run.tries) * 1e6)
    return structs.replace(
        restage(run, now),
        staged=run.staged,
        queued=run.turn[1],
        not_before=due if due > now else None,
        executions_before=run.executions_before,
    )


def claim_again(run: Run, worker: Worker, lease: int) -> Run | None:
    """A run that has failed claimed anew by ``worker``, which has watched it, if that is to try it again.

    Until its start it keeps how it has ended. Where that try never comes, it is back there; but for the trial of
    a batch that executes its trials: it waits for the batch to go on.
    """
    if is_left_to_queues(run) or not wants_again(run):
        return None
    return structs.replace(
        claim(run, worker, lease),
        rest="pending" if run.rest == "pending" else run.state,
        exit_code=run.exit_code,
        stopped=run.stopped,
        cause=run.cause,
        reason=run.reason,
        executions_before=run.executions_before,
    )


def was_killed(run: Run) -> bool:
    """Whether a signal ended it that nobody sent to stop it: a failure, be it for memory, for time or by a crash."""
    return run.state == "terminated" and run.cause != "stopped"


def has_failed(run: Run) -> bool:
    """Whether it has ended and counts as failed, for its batch too."""
    return run.state in FAILED or was_killed(run)


def causes(run: Run) -> tuple[str, ...]:
    """Why a run has failed, in the words of :class:`~orchestra.model.retry.Retry`; nothing if somebody stopped it."""
    if run.state == "lost":
        return ("lost",)
    if run.state not in ("error", "terminated") or run.cause == "stopped":
        return ()
    code = run.exit_code if run.exit_code is not None else 1
    exact = f"signal:{-code}" if code < 0 else f"exit:{code}"
    return (run.cause, exact) if run.cause in ("timeout", "oom", "preempted", "lost") else (exact,)


def abort(run: Run, now: int, reason: str) -> Run:
    """A staged run that is never to be started as things are."""
    _check(run, "aborted", "abort")
    return structs.replace(run, state="aborted", stopped=now, cause="dependency", reason=reason)


def outcome(exit: Exit) -> State:
    """The state that an exit record means.

    An operation that was told to stop and exits 0 is completed; any other end after a stop is terminated.
    """
    if exit.code == 0:
        return "completed"
    if exit.code < 0 or exit.stopped_by is not None:
        return "terminated"
    return "error"


def _unwatched(run: Run, **changes: object) -> Run:
    return structs.replace(run, worker=None, lease=None, **changes)


def _after(previous: int | None, time: int) -> int:
    # A clock that was set back must not move a restarted run down the list.
    return time if previous is None or time > previous else previous + 1
