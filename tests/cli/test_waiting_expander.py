"""An expander that needs an event loop, as those of other packages may: with all that asks for trials."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.process import Ran, Shell

EXPANDER = """
from contextlib import asynccontextmanager
import anyio
from msgspec import Struct
from orchestra.contracts import Proposal

class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass

class Patient:
    async def propose(self, batch, history, limit):
        await anyio.sleep(0.001)
        trials = ({**batch.fixed, "x": 5}, {**batch.fixed, "x": 6})
        return Proposal(trials=trials[len(history):], exhausted=True)

@asynccontextmanager
async def open_it(options: Options):
    await anyio.sleep(0.001)
    yield Patient()
"""


@pytest.fixture
def patient(shell: Shell, tmp_path: Path) -> Shell:
    """Processes that find the expander ``patient``, in the folder of a script."""
    site = tmp_path / "site"
    info = site / "patient-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "patient.py").write_text(EXPANDER)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: patient\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[orchestra.expanders]\npatient = patient:open_it\n")
    shell.environment["PYTHONPATH"] = str(site)
    (tmp_path / "job.py").write_text("x = 1\nprint('x is', x)\n")
    return shell


def asked(shell: Shell, way: str, *options: str, stdin: str | None = None) -> Ran:
    """The answer for a new batch, for one that is there, or for a new one like it."""
    if way == "new":
        return shell.run("run", "job.py", "-o", "patient", *options, stdin=stdin)
    assert shell.run("run", "job.py", "-o", "patient", "--stage", "-y", "--run-id", "there").code == 0
    return shell.run("run", way, "there", *options, stdin=stdin)


@pytest.mark.parametrize("way", ["new", "--restart", "--proto"])
def test_trials_are_shown(patient: Shell, way: str) -> None:
    shown = asked(patient, way, "--print-trials")
    assert [line.split() for line in shown.output.splitlines()] == [["#", "x"], ["1", "5"], ["2", "6"]]


@pytest.mark.parametrize("way", ["new", "--restart", "--proto"])
def test_commands_of_trials_are_shown(patient: Shell, way: str) -> None:
    shown = asked(patient, way, "--print-cmd")

    assert (shown.code, len(shown.output.splitlines())) == (0, 3), shown.output


@pytest.mark.parametrize("way", ["new", "--restart", "--proto"])
def test_trials_are_saved(patient: Shell, tmp_path: Path, way: str) -> None:
    assert asked(patient, way, "--save-trials", "saved.csv").output == "Saving trials to saved.csv\n"
    assert (tmp_path / "saved.csv").read_text() == "x\n5\n6\n"


@pytest.mark.parametrize("way", ["new", "--restart", "--proto"])
def test_a_batch_is_confirmed_and_run(patient: Shell, way: str) -> None:
    ended = asked(patient, way, stdin="y\n")

    assert ended.code == 0, ended.output
    assert [line for line in ended.output.splitlines() if line.startswith("x is")] == ["x is 5", "x is 6"]
