"""The supervisor's copy in a home, and failpoints."""

from __future__ import annotations

import importlib.util
import os
import py_compile
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orchestra.child import supervisor
from orchestra.child.install import FILES, encode_request, install


def test_the_copy_is_made_once_and_found_again(tmp_path):
    first = Path(install(str(tmp_path / "lib")))
    before = {path.name: path.stat().st_mtime_ns for path in first.iterdir()}

    assert install(str(tmp_path / "lib")) == str(first)
    assert {path.name: path.stat().st_mtime_ns for path in first.iterdir()} == before
    assert sorted(before) == sorted(("__pycache__", *FILES))
    assert (first / "supervisor.py").read_bytes() == Path(supervisor.__file__).read_bytes()


def test_what_loads_the_copy_has_nothing_to_compile(tmp_path):
    copy = install(str(tmp_path / "lib"))
    code = f"import sys; sys.path.insert(0, {copy!r}); import supervisor, launcher, gpus; print(supervisor.__file__)"
    loading = subprocess.run(
        [sys.executable, "-I", "-S", "-v", "-c", code], capture_output=True, text=True, check=True
    )

    assert loading.stdout == f"{copy}/supervisor.py\n"
    for name in FILES:
        assert f"matches {copy}/{name}" in loading.stderr
    assert f"wrote '{copy}" not in loading.stderr


def test_bytecode_that_is_not_of_our_files_is_not_taken_over(tmp_path, monkeypatch):
    own = tmp_path / "own"
    (own / "__pycache__").mkdir(parents=True)
    (own / "gpus.py").write_text("NAME = 'right'\n")
    cached = Path(importlib.util.cache_from_source(str(own / "gpus.py"), optimization=""))
    monkeypatch.setattr("orchestra.child.install._SOURCE", str(own))
    py_compile.compile(str(own / "gpus.py"), doraise=True)
    cached.write_bytes(cached.read_bytes().replace(b"right", b"wrong"))
    os.utime(own / "gpus.py", (1, 1))

    copy = install(str(tmp_path / "lib"), ("gpus.py",))
    code = f"import sys; sys.path.insert(0, {copy!r}); import gpus; print(gpus.NAME)"
    loading = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True)

    assert loading.stdout == "right\n"


def test_many_may_install_at_once_and_leave_nothing_else(tmp_path):
    with ThreadPoolExecutor(16) as threads:
        found = set(threads.map(lambda _: install(str(tmp_path / "lib")), range(32)))

    assert len(found) == 1
    assert os.listdir(tmp_path / "lib") == [Path(found.pop()).name]


@pytest.mark.parametrize("damage", ["truncate", "remove"])
def test_a_damaged_copy_is_replaced_and_never_run(tmp_path, damage):
    copy = Path(install(str(tmp_path / "lib"))) / "supervisor.py"
    if damage == "truncate":
        os.truncate(copy, 100)
    else:
        copy.unlink()

    assert Path(install(str(tmp_path / "lib"))) == copy.parent
    assert copy.read_bytes() == Path(supervisor.__file__).read_bytes()


def test_an_installation_that_was_cut_short_is_no_copy(tmp_path):
    whole = Path(install(str(tmp_path / "lib")))
    (tmp_path / "lib" / ".123-abc.tmp").mkdir()

    assert Path(install(str(tmp_path / "lib"))) == whole


def test_a_home_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "lib").write_text("")

    with pytest.raises(OSError, match="lib"):
        install(str(tmp_path / "lib"))


def test_a_request_refuses_what_would_be_read_as_two():
    with pytest.raises(ValueError, match="null"):
        encode_request("a.1", "/x", {"NAME": "a\0\0b"})


def hit(point: str, *names: str) -> subprocess.CompletedProcess[str]:
    code = "import sys, orchestra.child.supervisor as s\nfor n in sys.argv[1:]: s.failpoint(n), print(n)"
    return subprocess.run(
        [sys.executable, "-c", code, *names],
        env={**os.environ, "ORCHESTRA_FAILPOINT": point, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
    )


def test_a_failpoint_strikes_at_its_own_point_and_hit_only():
    points = "run.claimed:exit:2,run.exited:kill9"

    assert hit(points, "run.created", "run.claimed").stdout == "run.created\nrun.claimed\n"
    assert hit(points, "run.created", "run.claimed", "run.claimed", "run.exited").returncode == 70
    assert hit("run.claimed:kill9:3", "run.claimed", "run.claimed").returncode == 0
    assert hit("run.claimed:kill9", "run.claimed").returncode == -9
    assert "FailpointError" in hit("run.claimed:raise", "run.claimed").stderr
    assert hit("run.claimed:sleep=0.01", "run.claimed").stdout == "run.claimed\n"


@pytest.mark.parametrize("wrong", ["run.claimd:kill9", "run.claimed:explode", "run.claimed"])
def test_a_failpoint_that_does_not_exist_is_refused(wrong):
    found = hit(wrong)

    assert found.returncode == 1
    assert "no such failpoint" in found.stderr


def test_a_point_that_is_not_declared_is_refused():
    assert "not declared" in hit("run.claimed:kill9", "run.undeclared").stderr
