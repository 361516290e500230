"""The source of a run, as real processes see it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.process import Shell
from tests.workspace.test_git import run_git


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "say.py").write_text("print('done')\n")
    return Shell(tmp_path / "home", tmp_path / "project")


def test_a_log_that_grows_without_end_does_not_hold_up_a_run(shell: Shell) -> None:
    log = shell.cwd / "app.log"
    log.write_bytes(b"x" * 1000)
    with subprocess.Popen(["sh", "-c", f"while :; do echo 'a line of the log' >> '{log}'; done"]) as writer:
        try:
            begin = time.monotonic()
            ran = shell.run("run", "say.py", "-y", timeout=60)
        finally:
            writer.kill()
    # By the time that it is looked at it may be too large to be copied, which is said.
    assert (ran.code, ran.output.splitlines()[-1]) == (0, "done")
    assert time.monotonic() - begin < 30


def test_what_would_be_copied_is_shown_with_the_rules(shell: Shell) -> None:
    (shell.cwd / "model.bin").write_bytes(b"\0")
    (shell.cwd / "notes\x1b.txt").write_text("x")
    ran = shell.run("run", "say.py", "--test-sourcecode")
    assert ran.code == 0
    assert ran.output.splitlines() == [
        f"Copying from '{shell.cwd}'",
        "Rules:",
        "  exclude dir * containing .orchestra-nocopy, .guild-nocopy",
        "  exclude dir .*, __pycache__, build, dist, *.egg-info, virtual environments",
        "  include text * size < 1048577, max match 100",
        "  exclude what looks like a secret, folders of exported runs, pages of 'plot --html'",
        "  exclude what .orchestraignore or .guildignore names",
        "Selected for copy:",
        "  notes\\x1b.txt",
        "  say.py",
        "Skipped:",
        "  model.bin",
    ]
    assert not (shell.home / "runs").exists() or not list((shell.home / "runs").iterdir())


def test_it_is_said_when_no_source_is_copied(shell: Shell) -> None:
    ran = shell.run("run", "say.py", "--test-sourcecode", NO_SOURCECODE="1")
    assert (ran.code, ran.output) == (0, "Source code is not copied for 'say.py': NO_SOURCECODE is set\n")
    ran = shell.run("run", "queue", "--test-sourcecode")
    assert (ran.code, ran.output) == (0, "Source code is not copied for 'queue': it belongs to no project\n")
    ran = shell.run("run", "say.py", "-y", NO_SOURCECODE="1")
    assert (ran.code, ran.output) == (0, "done\n")


def test_each_trial_has_the_patch_of_a_dirty_working_tree(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(shell.environment, "GIT_CONFIG_GLOBAL", os.devnull)
    (shell.cwd / "say.py").write_text("x = 1\nprint(x)\n")
    run_git(shell.cwd, "init", "-q")
    run_git(shell.cwd, "add", "-A")
    run_git(shell.cwd, "commit", "-qm", "one")
    head = run_git(shell.cwd, "rev-parse", "HEAD").strip()
    (shell.cwd / "say.py").write_text("x = 1\nprint('x', x)\n")
    ran = shell.run("run", "say.py", "x=[1,2]", "-y")
    assert ran.code == 0, ran.output
    for index in ("1", "2", "3"):
        info = json.loads(shell.run("runs", "info", index, "--json", separate=True).output)
        assert info["vcs_commit"] == f"git:{head}*"
        assert info["vcs_patch"] == f"{info['run_dir']}/.orchestra/source.patch"
        assert "+print('x', x)" in Path(info["vcs_patch"]).read_text()


def test_the_environment_of_a_run_is_recorded_without_secrets(shell: Shell) -> None:
    (shell.cwd / "requirements.txt").write_text("numpy\n")
    secrets = {"MY_PASSWORD": "hunter2", "CUDA_TOKEN": "hunter3", "LC_ALL": "C", "PYTHONX": "ghp_" + "a" * 36}
    ran = shell.run("run", "say.py", "-y", **secrets)
    assert (ran.code, ran.output) == (0, "done\n")
    info = json.loads(shell.run("runs", "info", "--env", "--json", separate=True).output)
    assert info["environment"]["LC_ALL"] == "C"
    assert info["environment"]["RUN_ID"] == info["id"]
    assert {"MY_PASSWORD", "CUDA_TOKEN", "PYTHONX", "HOME"} <= set(info["withheld"])
    assert info["python"]["version"] == ".".join(map(str, sys.version_info[:3]))
    assert info["packages"]["msgspec"] == version("msgspec")
    assert info["packages"]["orchestra-runs"].startswith("0")
    assert info["platform"]["system"] == os.uname().sysname
    assert list(info["lock_files"]) == ["requirements.txt"]
    for file in Path(info["run_dir"]).rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert b"hunter" not in content and b"ghp_" not in content, file
    text = shell.run("runs", "info", "--env").output
    assert f"\n  msgspec: {version('msgspec')}\n" in text
    assert "hunter" not in text


def test_packages_are_not_listed_when_that_is_not_wanted(shell: Shell) -> None:
    shell.run("run", "say.py", "-y", NO_PIP_FREEZE="1")
    info = json.loads(shell.run("runs", "info", "--env", "--json", separate=True).output)
    assert "packages" not in info
    assert info["python"]["version"]


def test_the_files_that_were_copied_are_listed_with_their_origin(shell: Shell) -> None:
    shell.run("run", "say.py", "-y")
    info = json.loads(shell.run("runs", "info", "--manifest", "--json", separate=True).output)
    digest = hashlib.sha256(b"print('done')\n").hexdigest()
    origin = str(shell.cwd / "say.py")
    assert info["manifest"] == [{"path": "say.py", "kind": "source", "digest": digest, "origin": origin}]
    text = shell.run("runs", "info", "--manifest").output
    assert text.endswith(f"manifest:\n  - say.py source {digest} {origin}\n")
