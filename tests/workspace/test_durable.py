from __future__ import annotations

import fcntl
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from orchestra.errors import HomeError, StoreUnavailable
from orchestra.workspace import durable

from .samples import run_python

WRITE = """if 1:
    import sys
    from orchestra.errors import OrchestraError
    from orchestra.workspace import durable
    try:
        durable.write_atomic(sys.argv[1], b"new" * 1000, fsync=True)
    except OrchestraError as error:
        print(type(error).__name__, error.message)
        sys.exit(error.exit_code)
    print("written")
"""


def test_a_record_is_replaced_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "r"
    durable.write_atomic(path, b"one", fsync=True)
    durable.write_atomic(path, b"two", fsync=False)
    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["r"]


def test_a_link_in_the_place_of_a_record_is_replaced_not_followed(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("theirs")
    (tmp_path / "r").symlink_to(tmp_path / "theirs")
    durable.write_atomic(tmp_path / "r", b"ours", fsync=False)
    assert (tmp_path / "theirs").read_text() == "theirs"


@pytest.mark.parametrize("name", ["missing/r", "file/r"])
def test_a_directory_that_is_not_there_is_an_error_that_names_the_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HomeError) as caught:
        durable.write_atomic(tmp_path / name, b"", fsync=True)
    assert f"'{tmp_path / name}'" in caught.value.message


def test_a_file_size_limit_keeps_the_old_record_and_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "r").write_bytes(b"old")
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
    done = run_python(limited + WRITE, tmp_path / "r")
    assert (done.returncode, done.stdout) == (75, f"StoreUnavailable File too large: '{tmp_path}/r'\n")
    assert (tmp_path / "r").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["r"]


def _can_mount() -> bool:
    command = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"]
    return (
        shutil.which("unshare") is not None and subprocess.run(command, capture_output=True).returncode == 0
    )


@pytest.mark.skipif(not _can_mount(), reason="needs the right to mount in a namespace")
def test_on_a_full_disk_nothing_is_half_made_and_freeing_space_helps(tmp_path: Path) -> None:
    code = """if 1:
        import os, subprocess, sys
        from pathlib import Path
        from orchestra.errors import StoreUnavailable
        from orchestra.workspace import durable, records
        from tests.workspace.samples import a_run
        disk = Path(sys.argv[1])
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", disk], check=True)
        records.write_run(disk / "run", a_run(label="old"), fsync=True)
        with open(disk / "filler", "wb", buffering=0) as filler:
            try:
                while filler.write(bytes(4096)): pass
            except OSError: pass
        for write in (
            lambda: records.write_run(disk / "run", a_run(label="n" * 9000), fsync=True),
            lambda: records.append_event(disk / "run", {"text": "n" * 9000}),
            lambda: records.write_run(disk / "second", a_run(), fsync=True),
        ):
            try:
                write()
            except StoreUnavailable as error:
                print(error.message.split(":")[0], error.hint)
        assert records.read_run(disk / "run") == a_run(label="old")
        assert not [name for name in os.listdir(disk / "run/.orchestra") if name.endswith(".tmp")]
        os.unlink(disk / "filler")
        records.write_run(disk / "run", a_run(label="new"), fsync=True)
        records.append_event(disk / "run", {"x": 1})
        assert records.read_run(disk / "run").label == "new"
        assert list(records.read_events(disk / "run"))[-1] == {"x": 1}
    """
    root = Path(__file__).parents[2]
    done = run_python(code, tmp_path, prefix=("unshare", "-rm"), cwd=root)
    assert done.returncode == 0, done.stderr
    expected = "No space left on device Free some space there, and try again.\n"
    assert done.stdout in (expected * 2, expected * 3)


STRACE = ("strace", "-qq", "-f", "-o", "/dev/null")


def _can_trace() -> bool:
    return shutil.which("strace") is not None and (
        subprocess.run([*STRACE, "true"], capture_output=True).returncode == 0
    )


needs_strace = pytest.mark.skipif(not _can_trace(), reason="needs strace and the right to use it")


@needs_strace
@pytest.mark.parametrize(
    "injection",
    [
        "write:signal=KILL:when=1+",
        "fsync:signal=KILL:when=1",
        "fsync:signal=KILL:when=2",
        "rename:signal=KILL",
    ],
)
def test_killed_at_any_step_the_record_is_the_old_one_or_the_new_one(tmp_path: Path, injection: str) -> None:
    (tmp_path / "r").write_bytes(b"old")
    done = run_python(WRITE, tmp_path / "r", prefix=(*STRACE, "-e", f"inject={injection}"))
    assert done.returncode == -9 and not done.stdout
    assert (tmp_path / "r").read_bytes() in (b"old", b"new" * 1000)


@needs_strace
def test_a_sync_that_fails_once_is_done_anew_with_another_file(tmp_path: Path) -> None:
    done = run_python(WRITE, tmp_path / "r", prefix=(*STRACE, "-e", "inject=fsync:error=EIO:when=1"))
    assert done.stdout == "written\n"
    assert os.listdir(tmp_path) == ["r"]


@needs_strace
def test_a_record_whose_sync_keeps_failing_is_never_called_written(tmp_path: Path) -> None:
    (tmp_path / "r").write_bytes(b"old")
    done = run_python(WRITE, tmp_path / "r", prefix=(*STRACE, "-e", "inject=fsync:error=EIO"))
    assert (done.returncode, done.stdout) == (75, f"StoreUnavailable Input/output error: '{tmp_path}/r'\n")
    assert (tmp_path / "r").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["r"]


@needs_strace
def test_content_reaches_the_disk_before_its_name_and_its_name_before_we_say_so(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    options = ("strace", "-qq", "-y", "-o", str(trace), "-e", "trace=fsync,rename,renameat,renameat2")
    run_python(WRITE, tmp_path / "r", prefix=options)
    calls = [line.split("(")[0] for line in trace.read_text().splitlines() if str(tmp_path) in line]
    assert calls == ["fsync", "rename", "fsync"]
    synced = [line for line in trace.read_text().splitlines() if line.startswith("fsync")]
    assert ".tmp>" in synced[0]
    assert f"<{tmp_path}>" in synced[1]


def test_lines_are_appended_whole_and_a_torn_one_stays_alone(tmp_path: Path) -> None:
    path = tmp_path / "log"
    durable.append_line(path, b"one")
    with path.open("ab") as file:
        file.write(b"to")
    durable.append_line(path, b"three")
    assert path.read_bytes() == b"one\nto\nthree\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_directories_are_made_with_their_parents_and_may_be_there(tmp_path: Path) -> None:
    durable.make_dirs(tmp_path / "a" / "b" / "c", fsync=True)
    durable.make_dirs(tmp_path / "a" / "b" / "c")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700
    (tmp_path / "file").write_text("")
    for name in ("file", "file/x"):
        with pytest.raises(HomeError, match="Not a directory"):
            durable.make_dirs(tmp_path / name)


def test_a_place_where_no_directory_can_be_made_is_told() -> None:
    with pytest.raises(HomeError, match="/proc/x"):
        durable.make_dirs("/proc/x/y")


def test_an_id_can_be_taken_once(tmp_path: Path) -> None:
    durable.make_run_directory(tmp_path / "id")
    with pytest.raises(FileExistsError):
        durable.make_run_directory(tmp_path / "id")
    with pytest.raises(HomeError, match="No such file"):
        durable.make_run_directory(tmp_path / "no" / "id")


def test_a_whole_file_system_can_be_synced(tmp_path: Path) -> None:
    durable.sync_filesystem(tmp_path)
    with pytest.raises(HomeError):
        durable.sync_filesystem(tmp_path / "missing")


def test_old_temporary_files_are_left_by_the_dead_unless_one_of_them_is_locked(tmp_path: Path) -> None:
    for name in ("old.tmp", "new.tmp", "old"):
        (tmp_path / name).write_text("")
    for name in ("old.tmp", "old"):
        os.utime(tmp_path / name, (1, 1))
    assert durable.temporary(tmp_path, older_than=60) == [str(tmp_path / "old.tmp")]
    with (tmp_path / "locked.tmp").open("w") as locked:
        os.utime(tmp_path / "locked.tmp", (1, 1))
        fcntl.flock(locked, fcntl.LOCK_EX)
        assert durable.temporary(tmp_path, older_than=60) == []
    assert durable.temporary(tmp_path / "missing", older_than=60) == []


def test_of_files_to_be_removed_those_that_are_gone_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("")
    assert durable.remove_all([str(tmp_path / name) for name in ("gone", "one")]) == 1
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("number", "kind"), [("ENOSPC", StoreUnavailable), ("EMFILE", StoreUnavailable), ("EROFS", HomeError)]
)
def test_an_error_says_whether_trying_again_can_help(number: str, kind: type[Exception]) -> None:
    import errno

    code = getattr(errno, number)
    error = durable.storage_error(OSError(code, os.strerror(code)), "/x/y")
    assert isinstance(error, kind)
    assert str(error) == f"{os.strerror(code)}: '/x/y'"
    assert error.hint


def test_files_and_the_names_of_their_folders_reach_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pkg").mkdir()
    for name in ("a.py", "pkg/b.py"):
        (tmp_path / name).write_text("x")
    synced: list[str] = []
    fsync = os.fsync

    def record(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)

    durable.sync_files(tmp_path, ["a.py", "pkg/b.py"])

    assert set(synced) == {str(tmp_path / name) for name in ("a.py", "pkg/b.py", "pkg", ".")}
