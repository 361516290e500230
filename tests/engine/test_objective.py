"""The objective of a search: what expanders are told of the trials before."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from orchestra.engine.objective import objectives_of, split_objective, wanted_objective
from orchestra.engine.request import RunRequest
from orchestra.errors import UsageError, UserError
from orchestra.model.batch import Batch, Proposal, TrialResult
from orchestra.model.columns import parse_column
from orchestra.model.execution import Exit
from orchestra.model.run import Run
from orchestra.testing.builders import a_batch
from orchestra.testing.scripted import Script
from tests.engine.workbench import Bench

pytestmark = pytest.mark.anyio

OUTPUTS = [b"loss: 3\nacc: 1\n", b"no number\n", b"loss: nan\nacc: 2\n", b"loss: 4\nloss: 2\nacc: 3\n"]


class OneByOne:
    """Proposes three trials, one after the other, and notes what it is told."""

    histories: ClassVar[list[tuple[TrialResult, ...]]] = []

    async def propose(self, batch: Batch, history: Sequence[TrialResult], limit: int) -> Proposal:
        self.histories.append(tuple(history))
        number = len(history)
        if number == 3:
            return Proposal(trials=(), exhausted=True)
        return Proposal(trials=({"epochs": number, "lr": 0.1},), exhausted=False)


def request(**fields: Any) -> RunRequest:
    return RunRequest(cwd=Path("/"), **fields)


async def ended_with(bench: Bench, output: bytes, **script: Any) -> Run:
    run = await bench.make(Script(output=output, **script))
    return await bench.execute(run)


@pytest.mark.parametrize(
    ("fields", "default", "objective"),
    [
        ({}, None, None),
        ({}, "-acc", "-acc"),
        ({"minimize": "min loss"}, "-acc", "min loss"),
        ({"maximize": "=lr"}, "loss", "-=lr"),
    ],
)
def test_what_is_asked_for_wins_over_what_the_operation_says(
    fields: dict[str, Any], default: str | None, objective: str | None
) -> None:
    assert wanted_objective(request(**fields), default) == objective


def test_an_objective_is_a_column_and_a_direction() -> None:
    assert split_objective("min loss") == (parse_column("min loss"), 1.0)
    assert split_objective("-acc") == (parse_column("acc"), -1.0)


@pytest.mark.parametrize(
    ("fields", "default"),
    [({"minimize": ""}, None), ({"maximize": "a b"}, None), ({"minimize": "-loss"}, None), ({}, "a b")],
)
def test_an_objective_that_is_no_column_is_refused(fields: dict[str, Any], default: str | None) -> None:
    with pytest.raises(UserError, match="invalid column"):
        wanted_objective(request(**fields), default)


def test_a_search_has_one_direction() -> None:
    with pytest.raises(UsageError, match="--minimize and --maximize"):
        wanted_objective(request(minimize="a", maximize="b"), None)


@pytest.mark.parametrize(
    ("objective", "values"),
    [
        ("loss", [3.0, None, None, 2.0]),
        ("-acc", [-1.0, None, -2.0, -3.0]),
        ("max loss", [3.0, None, None, 4.0]),
        ("=lr", [0.1] * 4),
    ],
)
async def test_less_is_better_whatever_is_searched(
    bench: Bench, objective: str, values: list[float | None]
) -> None:
    runs = [await ended_with(bench, output) for output in OUTPUTS]
    known: dict[tuple[str, int], float | None] = {}
    await objectives_of(bench.session, runs, objective, known)

    assert [known[run.id, run.attempt] for run in runs] == values


async def test_only_completed_trials_count_and_each_is_read_once(bench: Bench) -> None:
    failed = await ended_with(bench, b"loss: 1\n", exit=Exit(code=1, started=0, stopped=0))
    good = await ended_with(bench, b"loss: 1\n")
    known: dict[tuple[str, int], float | None] = {(good.id, 1): math.inf}
    await objectives_of(bench.session, [failed, good, await bench.make()], "loss", known)

    assert known == {(good.id, 1): math.inf}


@pytest.mark.parametrize(("objective", "values"), [("-loss", [-5.0, -5.0]), (None, [None, None])])
async def test_an_expander_is_told_the_objective_of_the_trials_before(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, objective: str | None, values: list[float | None]
) -> None:
    bench.expanders["grid"] = OneByOne()
    monkeypatch.setattr(OneByOne, "histories", [])
    bench.executor.default = Script(output=b"loss: 5\n")
    batch = await bench.make(kind="batch", flags={}, batch_spec=a_batch(objective=objective))

    assert (await bench.execute(batch)).state == "completed"
    assert [[trial.objective for trial in history] for history in OneByOne.histories] == [
        values[:0],
        values[:1],
        values[:2],
        [*values, values[0]],
    ]
