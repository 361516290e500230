"""The values of scalars over steps, read from where a run left them."""

from __future__ import annotations

import math
from pathlib import Path

from msgspec import structs

from orchestra.model.operation import OutputPattern
from orchestra.model.series import Series
from orchestra.testing.builders import a_run, an_operation
from orchestra.workspace.layout import attempt_directory
from orchestra.workspace.series import read_series
from tests.workspace.event_samples import scalar_event
from tests.workspace.test_results import RUNNING, end, write


def everything(name: str) -> bool:
    return True


def test_every_value_that_was_printed_is_there_with_its_step(tmp_path: Path) -> None:
    write(tmp_path, "step: 10\nloss: 3\nacc: 0.1\nstep: 20\nloss: nan\nstep: 30\nlo", "ss: 1\nloss")

    found = read_series(tmp_path, RUNNING, lambda name: name == "loss")

    assert list(found) == ["loss"]
    assert found["loss"].steps == (10, 20, 30)
    assert (found["loss"].values[0], found["loss"].values[2]) == (3.0, 1.0)
    assert math.isnan(found["loss"].values[1])


def test_the_last_line_counts_without_its_end_once_the_run_has_ended(tmp_path: Path) -> None:
    write(tmp_path, "loss: 3\nloss: 2")
    end(tmp_path)

    assert read_series(tmp_path, RUNNING, everything)["loss"].values == (3.0,)
    ended = structs.replace(RUNNING, state="completed", stopped=5)
    assert read_series(tmp_path, ended, everything)["loss"].values == (3.0, 2.0)


def test_the_operations_own_patterns_are_heeded(tmp_path: Path) -> None:
    operation = an_operation(output_scalars=(OutputPattern(pattern=r"epoch (?P<step>\d+) l=(?P<l>\S+)"),))
    write(tmp_path, "epoch 1 l=0.5\nepoch 2 l=0.25\nloss: 9\n")

    found = read_series(tmp_path, structs.replace(RUNNING, operation=operation), everything)

    assert found == {"l": Series(steps=(1, 2), values=(0.5, 0.25), count=2)}


def test_what_event_files_tell_counts_more_than_what_was_printed(tmp_path: Path) -> None:
    write(tmp_path, "loss: 3\nother: 1\n")
    (tmp_path / "logs").mkdir()
    for folder, step in (("", 1), ("logs/", 2)):
        data = scalar_event("loss", 0.5, step=step) + scalar_event("loss", 0.25, step=step + 5)
        (tmp_path / f"{folder}events.out.tfevents.1").write_bytes(data)

    found = read_series(tmp_path, RUNNING, everything)

    assert found["loss"] == Series(steps=(1, 6), values=(0.5, 0.25), count=2)
    assert found["logs#loss"].steps == (2, 7)
    assert found["other"].values == (1.0,)


def test_a_damaged_event_file_tells_what_comes_before_the_damage(tmp_path: Path) -> None:
    data = scalar_event("loss", 0.5, step=1) + scalar_event("loss", 0.25, step=2)
    (tmp_path / "events.out.tfevents.1").write_bytes(data[:-1] + b"?")
    write(tmp_path, "")

    assert read_series(tmp_path, RUNNING, everything)["loss"].steps == (1,)


def test_what_was_measured_is_there_by_the_second(tmp_path: Path) -> None:
    write(tmp_path, "")
    (attempt_directory(tmp_path, 1) / "samples").write_text("1.0 0.5 100\n2.0 1.5 200\n")

    found = read_series(tmp_path, RUNNING, everything)

    assert found["sys/rss"] == Series(steps=(1, 2), values=(102400.0, 204800.0), count=2)
    assert found["sys/cpu_percent"].values == (50.0, 100.0)


def test_only_the_newest_attempt_counts_and_who_never_started_has_none(tmp_path: Path) -> None:
    write(tmp_path, "loss: 3\n")
    write(tmp_path, "acc: 1\n", attempt=2)

    assert list(read_series(tmp_path, a_run(state="running", attempt=2), everything)) == ["acc"]
    assert read_series(tmp_path, a_run(), everything) == {}


def test_a_long_series_is_thinned_out(tmp_path: Path) -> None:
    write(tmp_path, "".join(f"loss: {number}\n" for number in range(5000)))

    series = read_series(tmp_path, RUNNING, everything, most=50)["loss"]

    assert series.count == 5000
    assert len(series.steps) <= 53
    assert (series.values[0], series.values[-1]) == (0.0, 4999.0)
