"""Comparing runs from a program, on asyncio and trio."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestra.engine.orchestra import Orchestra
from orchestra.errors import RunNotFound, UsageError, UserError
from orchestra.model.filters import RunQuery
from orchestra.model.run import Run
from tests.cli.test_results import printed

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def runs(home: Path) -> tuple[Run, Run, Run]:
    """Two that completed, and one that failed."""
    return (
        printed(home, "loss: 1\n", flags={"lr": 1, "seed": 1}),
        printed(home, "loss: 3\n", flags={"lr": 1, "seed": 2}),
        printed(home, "loss: 2\n", flags={"lr": 2}, state="error"),
    )


async def test_runs_are_compared_as_they_are_named_or_found(
    home: Path, tmp_path: Path, runs: tuple[Run, Run, Run]
) -> None:
    good, other, failed = runs

    async with Orchestra(home, cwd=tmp_path) as orch:
        everything = await orch.compare(cols="min loss as best", max="loss")
        named = await orch.compare([good.id, failed.id[:8]], strict_cols="loss")
        found = await orch.compare(query=RunQuery(states=frozenset(("error",))), strict_cols=".id")
        filtered = await orch.compare(expr="loss > 1", ops="train.py", max="loss", strict_cols="loss")
        repeats = await orch.compare(repeats=True, agg="mean")
        failures = await orch.compare(repeats=True, agg="mean", error=True)
        with pytest.raises(RunNotFound):
            await orch.compare(["zzz"])
        with pytest.raises(UserError, match="no run has 'los'"):
            await orch.compare(min="los")
        with pytest.raises(UsageError, match="--min and --max"):
            await orch.compare(min="loss", max="loss")

    assert [row.runs[0].id for row in everything.rows] == [other.id, failed.id, good.id]
    assert [record["best"] for record in everything.records()] == [3.0, 2.0, 1.0]
    assert [row.values for row in named.rows] == [(good.short_id, 1.0), (failed.short_id, 2.0)]
    assert found.records() == [{"run": failed.short_id, "id": failed.id}]
    assert [row.values[1] for row in filtered.rows] == [3.0, 2.0]
    assert [record["loss mean"] for record in failures.records()] == [2.0]
    assert repeats.records() == [{"operation": "train.py", "lr": 1, "runs": 2, "loss mean": 2.0}]
