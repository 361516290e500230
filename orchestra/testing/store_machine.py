"""The state machine for stores: one does what a dict would, whatever is asked of it in whatever order.

    class MyMachine(StoreMachine):
        def opener(self):
            return partial(open_store, Options(...))

    def test_a_store_does_what_a_dict_would():
        run_store_machine(MyMachine)

``opener`` is asked for each handle on the machine's store, which is empty when the machine begins. Needs Hypothesis.
"""

# Hypothesis' rules and bundles have no types that fit.
# pyright: reportUntypedFunctionDecorator=false, reportUnknownVariableType=false
from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from msgspec import structs

from orchestra.contracts import Store
from orchestra.errors import IdTaken, RevisionConflict, RunNotFound
from orchestra.model import lifecycle
from orchestra.model.condition_text import parse_condition
from orchestra.model.execution import Exit
from orchestra.model.filters import RunQuery, Wanted
from orchestra.model.run import FINAL, Run, Worker
from orchestra.testing.builders import a_run, a_worker, an_exit
from orchestra.testing.store_race import StoreOpener

IDS = [f"run{number}" for number in range(4)]
WORKERS = [a_worker(nonce=f"w{number}") for number in range(3)]
STATES = ("staged", "running", "pending", "completed", "error", "lost")
ids = st.sampled_from(IDS)
workers = st.sampled_from(WORKERS)
leases = st.sampled_from((0.0, 1000.0))
"""Over at once, or never within a test: no clock decides."""
wishes = st.builds(
    Wanted,
    ids=st.sampled_from((None, None, (), ("run0", "run1"), ("run2", "unknown"))),
    states=st.sampled_from((frozenset(("staged",)), frozenset(("staged", "pending")), FINAL)),
    excluded=st.sampled_from(((), (), ("run1",))),
)


CONDITIONS = (
    "x = 1",
    "x < 2 and status = staged",
    "x is undefined or status = running",
    "not id = run1",
    "label = ''",
    "label is not undefined",
    "tags contains a or exit_status = 1",
)


class Model:
    """What a store must do, in the plainest way."""

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}
        self.over: dict[str, bool] = {}
        """Of each watched run: whether its lease is over."""

    def store(self, run: Run, over: bool | None) -> Run:
        self.runs[run.id] = run
        self.over.pop(run.id, None)
        if run.worker is not None:
            assert over is not None
            self.over[run.id] = over
        return run

    def claimable(self, wanted: Wanted) -> list[Run]:
        def fits(run: Run) -> bool:
            if (wanted.ids is not None and run.id not in wanted.ids) or run.id in wanted.excluded:
                return False
            if wanted.expired:
                return self.over.get(run.id, False)
            return run.worker is None and run.state in wanted.states

        return sorted(filter(fits, self.runs.values()), key=lambda run: run.turn)


def without_lease(run: Run) -> Run:
    return structs.replace(run, lease=None)


class StoreMachine(RuleBasedStateMachine):
    """Each rule does the same to a store, through one of two handles, and to the model."""

    copies: Any = Bundle("copies")
    """Runs as somebody has read them, stale or not."""

    def opener(self) -> StoreOpener:
        """To be overridden: what opens handles on the machine's store."""
        raise NotImplementedError("define 'opener'")

    def drive(self, call: Any) -> Any:
        """What ``call``, a coroutine, returns. To be overridden for a store that needs an event loop."""
        try:
            call.send(None)
        except StopIteration as result:
            return result.value
        raise AssertionError("a store that nobody else uses suspended")

    def open(self) -> tuple[AbstractAsyncContextManager[Store], Store]:
        context = self.opener()()
        return context, self.drive(context.__aenter__())

    @initialize()
    def begin(self) -> None:
        self.model = Model()
        self.time = 0
        self.handles = [self.open(), self.open()]

    def teardown(self) -> None:
        for context, _ in getattr(self, "handles", []):
            self.drive(context.__aexit__(None, None, None))

    def store(self) -> Store:
        self.handles.reverse()
        return self.handles[0][1]

    def outcome(self, call: Any) -> Any:
        try:
            return self.drive(call)
        except (IdTaken, RunNotFound, RevisionConflict) as error:
            return type(error)

    @rule(
        target=copies,
        new=st.lists(st.tuples(ids, st.sampled_from(STATES), st.none() | workers), min_size=1, max_size=3),
        lease=leases,
    )
    def create(self, new: list[tuple[str, Any, Worker | None]], lease: float) -> Any:
        runs: list[Run] = []
        for run_id, state, worker in new:
            self.time += 1
            watched = {"running": worker or WORKERS[0], "pending": worker}.get(state)
            # Neither in order nor all different.
            times = {"created": self.time, "staged": self.time * 7 % 10 + 1, "started": self.time % 4 or None}
            flags = {"x": self.time % 3} if self.time % 4 else {}
            runs.append(a_run(id=run_id, state=state, worker=watched, flags=flags, **times))
        result = self.outcome(self.store().create(runs, lease=lease))
        names = [run.id for run in runs]
        if len(set(names)) < len(names) or any(name in self.model.runs for name in names):
            assert result is IdTaken
            return multiple()
        expected = [self.model.store(structs.replace(run, revision=1), lease == 0.0) for run in runs]
        assert list(map(without_lease, result)) == expected
        return multiple(*result)

    @rule(target=copies, run_id=ids)
    def get(self, run_id: str) -> Any:
        result = self.outcome(self.store().get(run_id))
        if run_id not in self.model.runs:
            assert result is RunNotFound
            return multiple()
        assert without_lease(result) == self.model.runs[run_id]
        return result

    @rule(target=copies, copy=copies, label=st.text(max_size=3))
    def update(self, copy: Run, label: str) -> Any:
        return self._update([structs.replace(copy, label=label)])

    @rule(target=copies, copy=copies, value=st.integers(0, 2))
    def change_flags(self, copy: Run, value: int) -> Any:
        return self._update([structs.replace(copy, flags={"x": value})])

    @rule(target=copies, one=copies, other=copies)
    def update_two(self, one: Run, other: Run) -> Any:
        return self._update([structs.replace(one, tags=("a",)), structs.replace(other, tags=("b",))])

    @rule(target=copies, copy=consumes(copies), code=st.sampled_from((0, 1, -9)))
    def finish(self, copy: Run, code: int) -> Any:
        if copy.state == "running" and copy.worker is not None:
            record: Exit = an_exit(code=code, started=1, stopped=2)
            return self._update([lifecycle.finish(copy, record)])
        if copy.claimed:
            return self._update([lifecycle.release(copy)])
        return multiple()

    def _update(self, runs: list[Run]) -> Any:
        result = self.outcome(self.store().update(runs))
        expected = self._expect_update(runs)
        if isinstance(expected, type):
            assert result is expected
            return multiple()
        assert list(map(without_lease, result)) == expected
        return multiple(*result)

    def _expect_update(self, runs: list[Run]) -> Any:
        seen: set[str] = set()
        for run in runs:
            if run.id not in self.model.runs:
                return RunNotFound
            if run.id in seen or self.model.runs[run.id].revision != run.revision:
                return RevisionConflict
            seen.add(run.id)
        changed: list[Run] = []
        for run in runs:
            # The same worker keeps its lease; the model has no run change hands by an update.
            over = self.model.over.get(run.id)
            kept = structs.replace(run, revision=run.revision + 1, lease=None)
            changed.append(self.model.store(kept, over))
        return changed

    @rule(target=copies, worker=workers, lease=leases, limit=st.integers(1, 4), wanted=wishes)
    def claim(self, worker: Worker, lease: float, limit: int, wanted: Wanted) -> Any:
        return self._claim(worker, lease, limit, wanted)

    @rule(target=copies, worker=workers, lease=leases, limit=st.integers(0, 4), wanted=wishes)
    def take_over(self, worker: Worker, lease: float, limit: int, wanted: Wanted) -> Any:
        return self._claim(worker, lease, limit, structs.replace(wanted, expired=True))

    def _claim(self, worker: Worker, lease: float, limit: int, wanted: Wanted) -> Any:
        result = self.outcome(self.store().claim(worker, lease, limit, wanted))
        move = lifecycle.watch if wanted.expired else lifecycle.claim
        expected = [
            without_lease(structs.replace(move(run, worker, 0), revision=run.revision + 1))
            for run in self.model.claimable(wanted)[:limit]
        ]
        for run in expected:
            self.model.store(run, lease == 0.0)
        assert list(map(without_lease, result)) == expected
        return multiple(*result)

    @rule(worker=workers, lease=leases)
    def renew(self, worker: Worker, lease: float) -> None:
        held = {run.id for run in self.model.runs.values() if run.worker == worker}
        for run_id in held:
            self.model.over[run_id] = lease == 0.0

        assert self.outcome(self.store().renew(worker, lease)) == held

    @rule(some=st.lists(ids, max_size=2))
    def delete(self, some: list[str]) -> None:
        there = set(some) & self.model.runs.keys()
        for run_id in there:
            del self.model.runs[run_id]
            self.model.over.pop(run_id, None)

        assert self.outcome(self.store().delete(some)) == len(there)

    @rule()
    def reopen(self) -> None:
        context, _ = self.handles.pop()
        self.drive(context.__aexit__(None, None, None))
        self.handles.append(self.open())

    @rule(
        query=st.builds(
            RunQuery,
            ids=st.none() | st.lists(ids, max_size=3).map(tuple),
            id_prefix=st.sampled_from((None, "run", "run1", "x")),
            states=st.none() | st.frozensets(st.sampled_from(STATES), max_size=3),
            oldest_first=st.booleans(),
            limit=st.none() | st.integers(0, 3),
            offset=st.integers(0, 2),
            where=st.sampled_from((None, None, *map(parse_condition, CONDITIONS))),
        )
    )
    def query(self, query: RunQuery) -> None:
        page = self.outcome(self.store().query(query))
        found = [run for run in self.model.runs.values() if query.matches(run)]
        found.sort(key=lambda run: run.time if query.oldest_first else -run.time)
        end = None if query.limit is None else query.offset + query.limit

        assert page.total == len(found)
        assert [run.id for run in page.runs] == [run.id for run in found[query.offset : end]]

    @precondition(lambda self: hasattr(self, "model"))
    @invariant()
    def holds_what_the_model_holds(self) -> None:
        runs = self.outcome(self.store().query(RunQuery())).runs

        assert {run.id: without_lease(run) for run in runs} == self.model.runs
        assert all((run.lease is None) == (run.worker is None) for run in runs)


def run_store_machine(machine: type[StoreMachine], *, examples: int = 40, steps: int = 30) -> None:
    """Let the machine find a sequence of calls to which the store and a dict answer differently."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=True,
            suppress_health_check=(
                HealthCheck.too_slow,
                HealthCheck.data_too_large,
                HealthCheck.filter_too_much,
            ),
        ),
    )
