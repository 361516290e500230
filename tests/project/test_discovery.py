import os
import sys
import time
from pathlib import Path

import pytest

from orchestra.errors import ScriptError
from orchestra.model.operation import FlagDef, choices_of
from orchestra.project.discovery import Discovery, run_discovery
from orchestra.project.find import find_operation
from orchestra.project.script import discover_flags

BUILT = """
import argparse, sys
def build():
    parser = argparse.ArgumentParser()
    for name in ('a', 'b'):
        parser.add_argument('--' + name, type=int, default=len(name))
    return parser
print('before', file=sys.stdout)
args = build().parse_args()
open('went-on', 'w')
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    (tmp_path / "project").mkdir()
    path = tmp_path / "project" / "s.py"
    path.write_text(BUILT)
    return path


def run(script: Path, cache_dir: Path | None = None, timeout: float = 30.0) -> Discovery:
    content = script.read_bytes()
    return run_discovery(script, content, cache_dir=cache_dir, python=sys.executable, timeout=timeout)


def test_a_built_parser_is_found_by_running_the_script_up_to_where_it_parses(script: Path) -> None:
    found = discover_flags(script, cache_dir=None, python=sys.executable)
    assert found.flags == tuple(FlagDef(name=name, type="int", default=1, origin="s.py:6") for name in "ab")
    assert found.by == "argparse"
    assert os.listdir(script.parent) == ["s.py"]


def test_the_script_sees_what_it_would_see_when_run(script: Path) -> None:
    (script.parent / "beside.py").write_text("FLAG = '--near'\n")
    script.write_text(
        "import argparse, os, sys, beside\n"
        "if __name__ == '__main__':\n"
        "    p = argparse.ArgumentParser()\n"
        "    p.add_argument(beside.FLAG, default=[sys.argv, __file__, os.getcwd()])\n"
        "    try: p.parse_args()\n"
        "    except: open('went-on', 'w')\n"
    )
    found = run(script)
    assert found.actions is not None
    assert found.actions[0]["default"] == [[str(script)], str(script), str(script.parent)]
    assert sorted(os.listdir(script.parent)) == ["beside.py", "s.py"]


def test_values_that_json_can_not_say_are_texts(script: Path) -> None:
    script.write_text(
        "import argparse, pathlib\n"
        "p = argparse.ArgumentParser()\n"
        "def add(*names, **kw): p.add_argument(*names, **kw)\n"
        "add('--path', type=pathlib.Path, default=pathlib.Path('a/b'))\n"
        "add('--n', type=int, choices=range(3))\n"
        "add('--many', type=lambda text: text.split(','), default=['a'])\n"
        "add('--huge', type=int, choices=range(5000))\n"
        "p.parse_args()\n"
    )
    found = discover_flags(script, cache_dir=None, python=sys.executable)
    assert found.flags == (
        FlagDef(name="path", default="a/b", origin="s.py:3"),
        FlagDef(name="n", type="int", choices=choices_of(0, 1, 2), origin="s.py:3"),
        FlagDef(name="many", origin="s.py:3"),
        FlagDef(name="huge", type="int", origin="s.py:3"),
    )


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            "import missing_module_of_this_test",
            "ModuleNotFoundError: No module named 'missing_module_of_this_test'",
        ),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise SystemExit('enough')", "it exited before it parsed its arguments (enough)"),
        ("import os; os._exit(3)", "it exited with code 3 before it parsed its arguments"),
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
            "it exited with code -9 before it parsed",
        ),
    ],
)
def test_a_script_that_fails_has_no_flags_and_a_warning(script: Path, body: str, reason: str) -> None:
    script.write_text(f"{body}\n{BUILT}")
    warnings: list[str] = []
    operation = find_operation(
        "s.py", cwd=script.parent, cache_dir=None, python=sys.executable, warn=warnings.append
    )
    assert (operation.flags, operation.flags_dest) == ((), "args")
    assert len(warnings) == 1 and warnings[0].startswith(f"cannot import flags from s.py: {reason}")


def test_warnings_can_be_turned_off(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_WARN_FLAGS_IMPORT", "1")
    script.write_text(f"1 / 0\n{BUILT}")
    warnings: list[str] = []
    find_operation("s.py", cwd=script.parent, cache_dir=None, python=sys.executable, warn=warnings.append)
    assert warnings == []


def test_a_script_that_hangs_is_ended_with_what_it_started(script: Path) -> None:
    script.write_text(
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "open('child', 'w').write(str(child.pid))\n"
        f"time.sleep(60)\n{BUILT}"
    )
    found = run(script, timeout=1.0)
    assert found == Discovery(actions=None, warning="it did not parse its arguments within 1 seconds")
    assert _ends(int((script.parent / "child").read_text()))


def test_what_a_script_started_does_not_delay_its_flags(script: Path) -> None:
    script.write_text(
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"open('child', 'w').write(str(child.pid))\n{BUILT}"
    )
    begun = time.monotonic()
    assert run(script).actions is not None
    assert time.monotonic() - begun < 10
    assert _ends(int((script.parent / "child").read_text()))


def _ends(pid: int) -> bool:
    """Whether the process is gone, or a zombie that nobody has reaped yet, within 5 seconds."""
    for _ in range(500):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


def test_a_missing_interpreter_is_a_warning(script: Path) -> None:
    found = discover_flags(script, cache_dir=None, python="/nonexistent/python")
    assert found.warning == "could not start /nonexistent/python: No such file or directory"


def test_a_found_parser_is_kept_until_the_script_or_a_neighbour_changes(script: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    counter = tmp_path / "count"
    script.write_text(f"open({str(counter)!r}, 'a').write('.')\n{BUILT}")

    def runs() -> int:
        assert run(script, cache).actions is not None
        return len(counter.read_text())

    assert [runs(), runs()] == [1, 1]
    (script.parent / "beside.py").write_text("x = 1\n")
    assert [runs(), runs()] == [2, 2]
    script.write_text(script.read_text() + "# changed\n")
    assert [runs(), runs()] == [3, 3]
    (entry,) = [path for path in (cache / "flags").iterdir() if path.stat().st_mtime_ns == _newest(cache)]
    entry.write_text("{")
    assert [runs(), runs()] == [4, 4]


def _newest(cache: Path) -> int:
    return max(path.stat().st_mtime_ns for path in (cache / "flags").iterdir())


def test_the_cache_can_be_turned_off(script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_IMPORT_FLAGS_CACHE", "1")
    assert run(script, tmp_path / "cache").actions is not None
    assert not (tmp_path / "cache").exists()


def test_a_failure_is_not_kept(script: Path, tmp_path: Path) -> None:
    script.write_text(f"import os\nif not os.path.exists({str(tmp_path / 'ready')!r}): 1 / 0\n{BUILT}")
    assert run(script, tmp_path / "cache").actions is None
    (tmp_path / "ready").write_text("")
    assert run(script, tmp_path / "cache").actions is not None


def test_a_cache_that_can_not_be_written_is_no_error(script: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert run(script, tmp_path / "file").actions is not None


def test_the_operations_own_interpreter_judges_a_syntax_that_ours_does_not_know(
    script: Path, tmp_path: Path
) -> None:
    other = tmp_path / "python"
    other.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    other.chmod(0o755)
    script.write_text("x = = 1\n")
    with pytest.raises(ScriptError) as caught:
        discover_flags(script, cache_dir=None, python=str(other))
    assert caught.value.message == f"'{script}' is not valid Python: line 1: invalid syntax"
