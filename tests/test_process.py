"""What tests start is what a person starts, however it is started."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fork_server import Forked
from tests.process import Shell

SCRIPT = "import sys\nprint('out')\nprint('error', file=sys.stderr)\nsys.exit(3)\n"


def test_a_command_that_is_forked_writes_returns_and_keeps_what_one_of_its_own_does(shell: Shell) -> None:
    (shell.cwd / "script.py").write_text(SCRIPT)
    ended = []
    for command in (["run", "-y", "script.py"], ["runs"], ["ls", "nothing"], ["--version"]):
        forked = shell.run(*command, separate=True)
        plain = subprocess.run(
            shell.command(*command), cwd=shell.cwd, env=shell.environment, capture_output=True, text=True
        )
        ended.append((forked.code, forked.error))
        assert (forked.code, forked.error) == (plain.returncode, plain.stderr)
    assert [code for code, _ in ended] == [3, 0, 1, 0]
    listed = json.loads(shell.run("runs", "--json", separate=True).output)
    assert [(run["status"], run["exit_status"]) for run in listed] == [("error", 3)] * 2


def test_a_forked_command_is_signalled_and_waited_for_as_a_child_is(shell: Shell) -> None:
    with shell.start("run", "-y", "queue") as queue:
        assert isinstance(queue, Forked)
        assert queue.stdout is not None and "Waiting" in queue.stdout.readline()
        assert queue.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            queue.wait(0.01)
        queue.kill()

        assert queue.wait(10) == -signal.SIGKILL
        assert queue.poll() == -signal.SIGKILL


def test_a_forked_command_finds_the_modules_that_its_imports_have_imported() -> None:
    code = (
        "import sys, fork_server\n"
        "loaded = fork_server._load()\n"
        "before = set(sys.modules)\n"
        "import orchestra.engine.session\n"
        "print(*sorted(name for name in set(sys.modules) - before if name.startswith('orchestra')))\n"
    )
    here = Path(__file__).parent
    found = [
        subprocess.run(
            [sys.executable, "-c", text], cwd=here, capture_output=True, text=True, check=True
        ).stdout
        for text in (code, code.replace("loaded = fork_server._load()", ""))
    ]

    assert found[0] == found[1] != "\n"
