"""The results of a run, from its output and from event files, worked out when they are asked for."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from orchestra.model.operation import OutputPattern
from orchestra.model.run import ResolvedSource, Run
from orchestra.testing.builders import a_run, an_exit, an_operation
from orchestra.workspace import records, results
from orchestra.workspace.layout import attempt_directory
from orchestra.workspace.manifest import SOURCE, ManifestEntry, render, write_manifest
from orchestra.workspace.output import OutputWriter
from orchestra.workspace.results import Results, read_results
from tests.workspace.event_samples import scalar_event

RUNNING = a_run(state="running", attempt=1, flags={"lr": 0.1})
STREAMS = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.sampled_from([b"loss: 1\n", b"lo", b"ss: 2", b"\n", b"\r", b"a: b\n", b"\xff\n"]),
    ),
    max_size=12,
)


def write(run_dir: Path, *chunks: str | bytes | tuple[int, bytes], attempt: int = 1) -> None:
    directory = attempt_directory(run_dir, attempt)
    directory.mkdir(parents=True, exist_ok=True)
    writer = OutputWriter(directory)
    try:
        for chunk in chunks:
            stream, data = chunk if isinstance(chunk, tuple) else (0, chunk)
            writer.write(stream, data.encode() if isinstance(data, str) else data)
    finally:
        writer.close()


def end(run_dir: Path, attempt: int = 1) -> None:
    directory = attempt_directory(run_dir, attempt)
    directory.mkdir(parents=True, exist_ok=True)
    exit_record = an_exit(cpu=1.5, max_rss=2048, started=1_000_000, stopped=3_500_000)
    records.write_exit(directory, exit_record, fsync=False)


def lasts(results: Results) -> dict[str, tuple[float, int]]:
    return {
        name: scalar.point("last") for name, scalar in results.scalars.items() if not name.startswith("sys/")
    }


def test_a_run_that_was_never_started_has_none_and_nothing_is_written(tmp_path: Path) -> None:
    assert read_results(tmp_path, a_run()) == Results()
    assert not list(tmp_path.iterdir())


def test_results_grow_with_the_output(tmp_path: Path) -> None:
    write(tmp_path, "loss: 3\nname: x\nloss:")
    assert lasts(read_results(tmp_path, RUNNING)) == {"loss": (3.0, 0)}

    write(tmp_path, " 2\nloss: 1")
    found = read_results(tmp_path, RUNNING)
    assert lasts(found) == {"loss": (2.0, 1)}
    assert found.attributes == {"name": "x"}

    end(tmp_path)
    assert lasts(read_results(tmp_path, RUNNING)) == {"loss": (1.0, 2)}


def test_of_an_attempt_that_has_ended_nothing_is_read_twice(tmp_path: Path) -> None:
    write(tmp_path, "loss: 3\n")
    end(tmp_path)
    found = read_results(tmp_path, RUNNING)
    (attempt_directory(tmp_path, 1) / "output").unlink()

    assert read_results(tmp_path, RUNNING) == found


@pytest.mark.parametrize("damage", [b"", b"{}", b'{"version":1,"attempt":1', b"\x00" * 8])
def test_what_was_kept_can_be_lost_or_damaged(tmp_path: Path, damage: bytes) -> None:
    write(tmp_path, "loss: 3\n")
    found = read_results(tmp_path, RUNNING)
    (tmp_path / ".orchestra/scalars.json").write_bytes(damage)

    assert read_results(tmp_path, RUNNING) == found


def test_what_can_not_be_kept_is_told_all_the_same(tmp_path: Path) -> None:
    write(tmp_path, "loss: 3\n")
    (tmp_path / ".orchestra/scalars.json").mkdir()

    assert lasts(read_results(tmp_path, RUNNING)) == {"loss": (3.0, 0)}


def test_nan_is_kept_exactly(tmp_path: Path) -> None:
    write(tmp_path, "loss: nan\nacc: inf\n")
    read_results(tmp_path, RUNNING)
    write(tmp_path, "loss: 2\nno end")

    scalar = read_results(tmp_path, RUNNING).scalars["loss"]
    assert (scalar.count, scalar.min) == (2, 2.0)
    assert read_results(tmp_path, RUNNING).scalars["acc"].last == float("inf")


def test_output_that_was_cut_short_is_read_from_its_beginning(tmp_path: Path) -> None:
    write(tmp_path, "loss: 3\nloss: 2\n")
    read_results(tmp_path, RUNNING)
    (attempt_directory(tmp_path, 1) / "output").write_bytes(b"acc: 1\n")

    assert lasts(read_results(tmp_path, RUNNING)) == {"acc": (1.0, 0)}


def test_only_the_newest_attempt_counts(tmp_path: Path) -> None:
    write(tmp_path, "loss: 3\nold: 1\n")
    end(tmp_path)
    (tmp_path / "e.tfevents.old").write_bytes(scalar_event("old", 1.0, step=1))
    os.utime(tmp_path / "e.tfevents.old", (1000, 1000))
    assert lasts(read_results(tmp_path, RUNNING))["old"] == (1.0, 1)
    again = structs.replace(RUNNING, attempt=2, started=RUNNING.created)
    (tmp_path / "e.tfevents.new").write_bytes(scalar_event("new", 1.0, step=1))

    assert lasts(read_results(tmp_path, again)) == {"new": (1.0, 1)}
    write(tmp_path, "loss: 9\n", attempt=2)
    assert lasts(read_results(tmp_path, again)) == {"loss": (9.0, 0), "new": (1.0, 1)}


def test_progress_that_is_written_over_itself_is_lines(tmp_path: Path) -> None:
    write(tmp_path, "\rloss: 3\rloss: 2\r", "\nloss: 1\r\n")
    assert lasts(read_results(tmp_path, RUNNING)) == {"loss": (1.0, 2)}


def test_a_line_without_an_end_does_not_fill_the_memory(tmp_path: Path) -> None:
    write(tmp_path, *["x" * 100_000] * 3, "\nloss: 1\n")
    assert lasts(read_results(tmp_path, RUNNING)) == {"loss": (1.0, 0)}


@settings(max_examples=40, deadline=None, derandomize=True)
@given(STREAMS, st.lists(st.integers(0, 12), max_size=4))
def test_it_does_not_matter_when_it_is_read(
    tmp_path_factory: pytest.TempPathFactory, chunks: list[tuple[int, bytes]], at: list[int]
) -> None:
    once, often = tmp_path_factory.mktemp("once"), tmp_path_factory.mktemp("often")
    write(once, *chunks)
    for index, chunk in enumerate(chunks):
        write(often, chunk)
        if index in at:
            read_results(often, RUNNING)
    end(once)
    end(often)

    assert read_results(often, RUNNING) == read_results(once, RUNNING)


@pytest.mark.parametrize("last", ["4", "4.0", "4.00000000"])
def test_a_huge_output_is_kept_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: str) -> None:
    monkeypatch.setattr(results, "AT_ONCE", 10)
    kept: list[int] = []
    write_atomic = results.write_atomic

    def noted(path: str, data: bytes, *, fsync: bool) -> None:
        write_atomic(path, data, fsync=fsync)
        kept.append(json.loads(data)["offset"])
        if len(kept) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(results, "write_atomic", noted)
    write(tmp_path, "loss: 1\nloss: 2\nloss: 3\nloss: " + last)
    end(tmp_path)

    with pytest.raises(KeyboardInterrupt):
        read_results(tmp_path, RUNNING)
    assert lasts(read_results(tmp_path, RUNNING)) == {"loss": (4.0, 3)}
    assert kept == sorted(kept) and kept[:3] == [10, 20, 30]


def test_lines_of_the_two_streams_are_told_apart(tmp_path: Path) -> None:
    write(tmp_path, (0, b"loss: "), (1, b"warning\n"), (0, b"4\n"))
    assert lasts(read_results(tmp_path, RUNNING)) == {"loss": (4.0, 0)}


def test_scalars_of_event_files_have_their_folder_before_their_name(tmp_path: Path) -> None:
    write(tmp_path, "loss: 0.12\nacc: 1\n")
    for folder, value in {"": 0.125, "logs/val": 2.0, ".guild": 3.0, "step/.guild": 4.0}.items():
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        tag = "loss" if folder in ("", "logs/val") else "own"
        (tmp_path / folder / "events.out.tfevents.1").write_bytes(scalar_event(tag, value, step=5))

    assert lasts(read_results(tmp_path, RUNNING)) == {
        "loss": (0.125, 5),
        "acc": (1.0, 0),
        "logs/val#loss": (2.0, 5),
        "own": (3.0, 5),
        "step#own": (4.0, 5),
    }


def test_event_files_of_one_folder_are_one_scalar(tmp_path: Path) -> None:
    write(tmp_path, "")
    for number in (1, 2):
        (tmp_path / f"e.tfevents.{number}").write_bytes(scalar_event("loss", float(number), step=number))

    scalar = read_results(tmp_path, RUNNING).scalars["loss"]
    assert (scalar.point("first"), scalar.point("last"), scalar.count) == ((1.0, 1), (2.0, 2), 2)


def test_what_we_measured_is_there_once_it_has_ended(tmp_path: Path) -> None:
    write(tmp_path, "")
    assert not read_results(tmp_path, RUNNING).scalars
    end(tmp_path)
    told = {name: scalar.last for name, scalar in read_results(tmp_path, RUNNING).scalars.items()}
    assert told == {"sys/cpu_seconds": 1.5, "sys/max_rss": 2048.0 * 1024, "sys/wall_seconds": 2.5}


def test_what_was_sampled_is_there_while_it_runs(tmp_path: Path) -> None:
    write(tmp_path, "")
    samples = attempt_directory(tmp_path, 1) / "samples"
    samples.write_text("30.0 15.00 1024\n60.0 75.00 3072\nnonsense\nx y z\n90.0 1.0 1")

    told = read_results(tmp_path, RUNNING).scalars

    assert [told["sys/cpu_percent"].point(name) for name in ("first", "last")] == [(50.0, 30), (200.0, 60)]
    assert told["sys/rss"].point("max") == (3072.0 * 1024, 60)
    end(tmp_path)
    assert set(read_results(tmp_path, RUNNING).scalars) == {
        *("sys/cpu_percent", "sys/rss", "sys/cpu_seconds", "sys/max_rss", "sys/wall_seconds")
    }


@pytest.mark.parametrize(
    ("given", "numbers"), [(None, "01"), ("1", "1"), ("0, 1", "01"), ("GPU-5f2a", "01"), ("", "")]
)
def test_what_was_sampled_of_the_gpus_that_a_run_was_given_is_there(
    tmp_path: Path, given: str | None, numbers: str
) -> None:
    write(tmp_path, "")
    samples = attempt_directory(tmp_path, 1) / "gpu_samples"
    samples.write_text("30.0 0 40 1024\n30.0 1 0 -\n60.0 0 80 2048\n60.0 1 50 1\nnonsense\n90.0 0 1")

    told = read_results(tmp_path, structs.replace(RUNNING, gpus=given)).scalars

    assert set(told) == {
        f"sys/gpu{number}/{name}" for number in numbers for name in ("utilization", "memory")
    }
    if "0" in numbers:
        use, memory = told["sys/gpu0/utilization"], told["sys/gpu0/memory"]
        assert [use.point(name) for name in ("first", "last")] == [(40.0, 30), (80.0, 60)]
        assert (memory.point("last"), memory.count) == ((2048.0 * 1024, 60), 2)
    if "1" in numbers:
        assert (told["sys/gpu1/memory"].point("last"), told["sys/gpu1/memory"].count) == ((1024.0, 60), 1)


def test_a_pattern_that_can_not_be_used_is_a_problem_of_the_results_alone(tmp_path: Path) -> None:
    write(tmp_path, "loss: 1\n")
    operation = an_operation(output_scalars=(OutputPattern(pattern="("),))
    found = read_results(tmp_path, structs.replace(RUNNING, operation=operation))

    assert not found.scalars
    assert "'(' is not a regular expression" in found.problems[0]


def test_event_files_that_the_run_was_given_are_none_of_its_results(tmp_path: Path) -> None:
    write(tmp_path, "")
    other = tmp_path / "other.tfevents.1"
    run_dir = tmp_path / "run"
    write(run_dir, "")
    for path in (
        other,
        run_dir / "source.tfevents.1",
        run_dir / "copy.tfevents.1",
        run_dir / "d/a.tfevents.1",
    ):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(scalar_event("given", 1.0, step=1))
        os.utime(path, (1000, 1000))
    (run_dir / "link.tfevents.1").symlink_to(other)
    (run_dir / "plot_tfevents.py").write_text("")
    (run_dir / "d/b.tfevents.1").write_bytes(scalar_event("own", 2.0, step=2))
    (run_dir / "c.tfevents.1").write_bytes(scalar_event("own", 2.0, step=2))
    source = ManifestEntry(kind=SOURCE, path="source.tfevents.1", digest="", origin="/p")
    write_manifest(run_dir, render([source]))
    resolved = (ResolvedSource(source="file:x", paths=("copy.tfevents.1", "d")),)
    run = structs.replace(RUNNING, resolved=resolved, started=1_000_000_001)

    found = read_results(run_dir, run)

    assert lasts(found) == {"own": (2.0, 2), "d#own": (2.0, 2)}
    assert not found.problems


def test_a_damaged_event_file_is_a_problem_of_the_results_alone(tmp_path: Path) -> None:
    write(tmp_path, "loss: 1\n")
    (tmp_path / "e.tfevents.1").write_bytes(b"x" * 64)
    found = read_results(tmp_path, RUNNING)

    assert lasts(found) == {"loss": (1.0, 0)}
    assert "is damaged at byte 0" in found.problems[0]


@pytest.mark.parametrize(
    "run",
    [
        structs.replace(RUNNING, kind="batch"),
        structs.replace(RUNNING, kind="queue"),
        structs.replace(RUNNING, operation=an_operation(kind="steps")),
    ],
)
def test_output_that_was_passed_on_is_not_the_runs_own(tmp_path: Path, run: Run) -> None:
    write(tmp_path, "loss: 1\n")
    assert not read_results(tmp_path, run).scalars
    end(tmp_path)
    measured = set(read_results(tmp_path, run).scalars)
    assert ("sys/cpu_seconds" in measured) == (run.kind == "run") and "sys/wall_seconds" in measured
