from __future__ import annotations

import fcntl
import json
import math
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from orchestra.child.supervisor import boot_id
from orchestra.errors import HomeError, RunBroken, RunNotFound
from orchestra.model.encoding import decode, encode
from orchestra.model.execution import Exit, Fence
from orchestra.model.run import Run
from orchestra.workspace import records
from orchestra.workspace.layout import attempt_directory, control
from orchestra.workspace.orders import Orders, read_orders, write_orders

from .samples import A_FENCE, AN_EXIT, IDENTITY, a_full_run, a_run, run_python

texts = st.text() | st.binary().map(os.fsdecode)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
flags = st.dictionaries(texts, values, max_size=5)


def same(one: object, other: object) -> bool:
    # NaN differs from itself, and 1 equals True and 1.0: the text tells.
    return repr(one) == repr(other)


@settings(max_examples=40, deadline=None)
@given(flags=flags, label=st.none() | texts, command=st.lists(texts).map(tuple))
def test_every_run_survives_its_record(flags: dict[str, Any], label: str | None, command: Any) -> None:
    run = a_run(flags=flags, label=label, command=command)
    data = encode(run)
    assert b"\n" not in data
    assert same(decode(data, Run), run)


@settings(max_examples=40, deadline=None)
@given(
    code=st.integers(-64, 255), reason=st.none() | texts, cpu=st.floats(0, 1e9), size=st.integers(0, 2**60)
)
def test_every_exit_survives_its_record(code: int, reason: str | None, cpu: float, size: int) -> None:
    exit = Exit(code=code, started=1, stopped=2, reason=reason, cpu=cpu, size=size)
    assert decode(encode(exit), Exit) == exit


def test_a_run_can_be_written_read_and_replaced(tmp_path: Path) -> None:
    for fsync in (True, False):
        run = a_full_run()
        records.write_run(tmp_path / "r", run, fsync=fsync)
        assert records.read_run(tmp_path / "r") == run
        newer = a_run(revision=run.revision)
        records.write_run(tmp_path / "r", newer, fsync=fsync)
        assert records.read_run(tmp_path / "r") == newer
    assert os.listdir(control(tmp_path / "r")) == ["run.json"]
    assert stat.S_IMODE((tmp_path / "r").stat().st_mode) == 0o700


def test_many_runs_can_be_written_at_once(tmp_path: Path) -> None:
    runs = [(tmp_path / f"r{n}", a_run(id=f"r{n}")) for n in range(20)]
    for directory, run in runs[:-1]:
        records.write_run(directory, structs.replace(run, label="old"), fsync=False)

    records.write_runs(runs, fsync=True)

    *runs, (deleted, _) = runs
    assert not deleted.exists()
    assert [records.read_run(directory) for directory, _ in runs] == [run for _, run in runs]


def test_values_that_json_has_no_form_for_are_kept(tmp_path: Path) -> None:
    run = a_run(flags={"nan": math.nan, "inf": -math.inf, "bytes": "\udcff", "big": 10**40, "null": None})
    records.write_run(tmp_path, run, fsync=False)
    assert same(records.read_run(tmp_path), run)


ORDERS = Orders(run="r", attempt=1, nonce="n", cwd="/", arguments=("a b", ""), environment={"A": "\n"})


def _write_run(run_dir: Path) -> Path:
    records.write_run(run_dir, a_full_run(), fsync=False)
    return control(run_dir) / "run.json"


def _write_fence(run_dir: Path, fence: Fence = A_FENCE) -> Path:
    path = attempt_directory(run_dir, 1) / "fence"
    path.parent.mkdir(parents=True)
    path.write_bytes(encode(fence) + b"\n")
    return path


def _write_exit(run_dir: Path) -> Path:
    attempt_directory(run_dir, 1).mkdir(parents=True)
    records.write_exit(attempt_directory(run_dir, 1), AN_EXIT, fsync=False)
    return attempt_directory(run_dir, 1) / "exit"


def _write_orders(run_dir: Path) -> Path:
    write_orders(attempt_directory(run_dir, 1), ORDERS)
    return attempt_directory(run_dir, 1) / "orders"


def _in_attempt(read: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda run_dir: read(attempt_directory(run_dir, 1))


EACH_RECORD = pytest.mark.parametrize(
    ("write", "read", "value"),
    [
        (_write_run, records.read_run, a_full_run()),
        (_write_fence, _in_attempt(records.read_fence), A_FENCE),
        (_write_exit, _in_attempt(records.read_exit), AN_EXIT),
        (_write_orders, _in_attempt(read_orders), ORDERS),
    ],
    ids=["run", "fence", "exit", "orders"],
)


@EACH_RECORD
def test_a_record_cut_at_any_byte_is_broken_and_names_its_file(
    tmp_path: Path, write: Callable[[Path], Path], read: Callable[[Path], object], value: object
) -> None:
    path = write(tmp_path)
    whole = path.read_bytes()
    assert read(tmp_path) == value
    for size in range(len(whole.rstrip(b"\n"))):
        path.write_bytes(whole[:size])
        with pytest.raises(RunBroken) as caught:
            read(tmp_path)
        assert f"'{path}'" in caught.value.message
        path.write_bytes(whole[:size] + bytes(len(whole) - size))
        if path.name != "orders":
            with pytest.raises(RunBroken):
                read(tmp_path)


@EACH_RECORD
@settings(max_examples=40, deadline=None)
@given(noise=st.binary(max_size=40), at=st.integers(0, 400))
def test_no_damage_to_a_record_is_more_than_broken(
    tmp_path_factory: pytest.TempPathFactory,
    write: Callable[[Path], Path],
    read: Callable[[Path], object],
    value: object,
    noise: bytes,
    at: int,
) -> None:
    run_dir = tmp_path_factory.mktemp("run", numbered=True)
    path = write(run_dir)
    data = path.read_bytes()
    path.write_bytes(data[:at] + noise + data[at + len(noise) :])
    try:
        read(run_dir)
    except RunBroken as error:
        assert str(path) in error.message


@EACH_RECORD
def test_a_folder_or_a_pipe_in_the_place_of_a_record_is_broken(
    tmp_path: Path, write: Callable[[Path], Path], read: Callable[[Path], object], value: object
) -> None:
    path = write(tmp_path)
    path.unlink()
    path.mkdir()
    with pytest.raises(RunBroken, match="Is a directory"):
        read(tmp_path)
    path.rmdir()
    os.mkfifo(path)
    with pytest.raises(RunBroken):
        read(tmp_path)


def test_a_record_that_can_not_be_read_just_now_is_not_called_broken(tmp_path: Path) -> None:
    code = """if 1:
        import os, resource, sys
        from pathlib import Path
        from orchestra.errors import StoreUnavailable
        from orchestra.workspace import orders, records
        run_dir, attempt = Path(sys.argv[1]), Path(sys.argv[1], ".orchestra/attempts/1")
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
        for read in (records.read_fence, records.alive, records.read_exit, orders.read_orders):
            try:
                read(attempt)
            except StoreUnavailable as error:
                print(error.message.split(":")[0])
        try:
            records.read_run(run_dir)
        except StoreUnavailable as error:
            print(error.message)
    """
    done = run_python(code, tmp_path)
    expected = "Too many open files\n" * 4 + f"Too many open files: '{tmp_path}/.orchestra/run.json'\n"
    assert done.stdout == expected, done.stderr


@pytest.mark.parametrize("data", [b"[" * 100_000, b'{"a":' * 50_000, b'"x"', b"null", b"7", b"[]", b"{}"])
def test_json_of_another_kind_is_broken(tmp_path: Path, data: bytes) -> None:
    control(tmp_path).mkdir()
    (control(tmp_path) / "run.json").write_bytes(data)
    with pytest.raises(RunBroken):
        records.read_run(tmp_path)


def test_a_directory_without_a_record_is_no_run_unless_it_has_attempts(tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "missing"):
        with pytest.raises(RunNotFound):
            records.read_run(directory)
    attempt_directory(tmp_path, 1).mkdir(parents=True)
    with pytest.raises(RunBroken, match=r"run\.json' is missing"):
        records.read_run(tmp_path)


def _rewrite(run_dir: Path, **changes: object) -> None:
    path = control(run_dir) / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_fields_that_we_do_not_know_are_ignored(tmp_path: Path) -> None:
    records.write_run(tmp_path, a_run(), fsync=False)
    _rewrite(tmp_path, colour="red", operation={"name": "x", "kind": "script", "new": [1]})
    assert records.read_run(tmp_path).operation.name == "x"


def test_a_record_of_a_newer_version_says_so_whether_we_could_read_it_or_not(tmp_path: Path) -> None:
    records.write_run(tmp_path, a_run(), fsync=False)
    _rewrite(tmp_path, schema=2)
    with pytest.raises(RunBroken, match=r"newer version of orchestra \(schema 2, we know 1\)") as caught:
        records.read_run(tmp_path)
    assert "Upgrade" in (caught.value.hint or "")
    _rewrite(tmp_path, schema=2, state="suspended")
    with pytest.raises(RunBroken, match=r"newer version of orchestra \(schema 2, we know 1\)"):
        records.read_run(tmp_path)
    _rewrite(tmp_path, schema=1)
    with pytest.raises(RunBroken, match="damaged: Invalid enum value 'suspended'"):
        records.read_run(tmp_path)


def test_a_record_of_a_newer_version_is_never_written_over(tmp_path: Path) -> None:
    records.write_run(tmp_path, a_run(), fsync=False)
    newer = structs.replace(a_run(), schema=2)
    before = (control(tmp_path) / "run.json").read_bytes()
    with pytest.raises(HomeError, match="newer version"):
        records.write_run(tmp_path, newer, fsync=False)
    assert (control(tmp_path) / "run.json").read_bytes() == before


def test_attempts_are_listed_by_number(tmp_path: Path) -> None:
    assert records.attempts(tmp_path) == []
    for name in ("10", "9", "1", "x", "2.tmp", "²"):
        (control(tmp_path) / "attempts" / name).mkdir(parents=True)
    assert records.attempts(tmp_path) == [1, 9, 10]


def test_a_journal_cut_at_any_byte_keeps_its_whole_lines_and_can_be_continued(tmp_path: Path) -> None:
    control(tmp_path).mkdir()
    assert list(records.read_events(tmp_path)) == []
    events = [{"state": "running", "time": 1}, {"text": "\udcff\n", "nan": None}, {"deep": [1, {"a": "b"}]}]
    for event in events:
        records.append_event(tmp_path, event)
    path = control(tmp_path) / "events.jsonl"
    whole = path.read_bytes()
    ends = [at + 1 for at, byte in enumerate(whole) if byte == 10]
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        kept = events[: sum(end <= size for end in ends)]
        assert list(records.read_events(tmp_path)) == kept
        records.append_event(tmp_path, {"after": size})
        after = list(records.read_events(tmp_path))
        # An event that lacks nothing but its newline is whole once the next one has come.
        assert after[: len(kept)] == kept and after[-1] == {"after": size} and len(after) <= len(kept) + 2


def test_an_attempt_that_nobody_started_has_neither_fence_nor_end(tmp_path: Path) -> None:
    status = records.attempt_status(tmp_path, 1)
    assert (status.fence, status.exit, status.alive, status.seen) == (None, None, False, None)


def test_the_life_of_a_process_on_another_host_is_unknown_here(tmp_path: Path) -> None:
    path = _write_fence(tmp_path)
    os.utime(path, (10, 10))
    status = records.attempt_status(tmp_path, 1)
    assert (status.fence, status.alive, status.seen) == (A_FENCE, None, 10_000_000)
    assert records.alive(path.parent) is None
    records.write_exit(path.parent, AN_EXIT, fsync=False)
    assert records.attempt_status(tmp_path, 1).exit == AN_EXIT


def test_the_lock_of_another_container_of_this_machine_is_believed(tmp_path: Path) -> None:
    beside = structs.replace(A_FENCE.identity, boot=boot_id())
    path = _write_fence(tmp_path, structs.replace(A_FENCE, identity=beside))
    assert records.alive(path.parent) is False

    with open(path) as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert records.alive(path.parent) is True


def test_what_dead_writers_left_is_swept_but_not_the_room_that_a_living_one_keeps(tmp_path: Path) -> None:
    records.write_run(tmp_path, a_run(), fsync=False)
    dead, living, elsewhere = (attempt_directory(tmp_path, n) for n in (1, 2, 3))
    for directory in (dead, living, elsewhere):
        directory.mkdir(parents=True)
        (directory / "exit.tmp").write_text("")
        os.utime(directory / "exit.tmp", (1, 1))
    (control(tmp_path) / "run.json.1.tmp").write_text("")
    (elsewhere / "fence").write_bytes(encode(Fence(fence="started", nonce="n", identity=IDENTITY, time=1)))
    with records.hold(living, "n", fsync=False):
        assert records.sweep(tmp_path) == 1
        assert records.sweep(tmp_path, older_than=0) == 1
    assert not (dead / "exit.tmp").exists()
    assert (living / "exit.tmp").exists()
    assert (elsewhere / "exit.tmp").exists()
    assert records.sweep(tmp_path) == 1


def test_discarding_a_directory_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "file").write_text("")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "link").symlink_to(tmp_path / "theirs")
    (tmp_path / "link").symlink_to(tmp_path / "theirs")
    for name in ("run", "link", "missing"):
        records.discard_directory(tmp_path / name)
    assert os.listdir(tmp_path) == ["theirs"]
    assert os.listdir(tmp_path / "theirs") == ["file"]
