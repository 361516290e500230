"""What is installed, what works, and what is wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestra import plugins
from orchestra.cli import installation
from orchestra.plugins import PluginInfo
from orchestra.testing.builders import a_run
from tests.cli.conftest import Call
from tests.saved_runs import saved


def levels(call: Call) -> dict[str, str]:
    return {item["what"]: item["level"] for item in call("check", "--json").json}


def message(call: Call, what: str) -> str:
    return next(item["message"] for item in call("check", "--json").json if item["what"] == what)


def test_all_is_well_and_said_line_by_line(call: Call, home: Path) -> None:
    saved(home, a_run(state="staged"))
    checked = call("check")
    assert checked.code == 0, checked
    assert {"orchestra", "python", "git", "home", "space", "store", "runs"} <= set(levels(call))
    assert set(levels(call).values()) <= {"ok", "note"}
    assert checked.lines[-1].split() == ["ok", "runs", "all", "fits", "together"]


def test_what_is_in_the_trash_is_told(call: Call, home: Path) -> None:
    saved(home, a_run(state="staged"))
    assert "trash" not in levels(call)
    assert call("runs", "rm", "-y").code == 0

    assert message(call, "trash") == "1 deleted run: 'orchestra runs purge' frees the room they take"
    assert levels(call)["trash"] == "ok"


def test_a_home_that_is_not_there_is_not_made(call: Call, home: Path) -> None:
    assert call("check").code == 0
    assert levels(call)["home"] == "note"
    assert not home.exists()


def test_a_home_that_is_not_writable_is_a_problem(
    call: Call, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.mkdir()
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != home and access(path, mode))
    checked = call("check")
    assert checked.code == 3
    assert checked.error == "orchestra: something is wrong with: home\n"
    assert message(call, "home") == f"'{home}' is not writable"
    assert call("check", "--json").code == 3


def test_a_store_that_is_damaged_is_a_problem(call: Call, home: Path) -> None:
    saved(home, a_run())
    for path in home.glob("store.db-*"):
        path.unlink()
    (home / "store.db").write_bytes(b"nonsense" * 1000)
    assert call("check").code == 3
    assert "can't be read" in message(call, "store")
    assert (home / "store.db").read_bytes() == b"nonsense" * 1000


def test_a_run_without_its_directory_is_a_problem(call: Call, home: Path) -> None:
    run = a_run(state="staged")
    saved(home, run)
    (home / "runs" / run.id).rename(home / "elsewhere")
    assert call("check").code == 3
    assert message(call, "runs") == "1 thing found: see 'orchestra check --runs'"


def test_a_plugin_that_fails_to_load_is_a_problem(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = PluginInfo(
        kind="store", name="bad", target="nowhere:x", distribution="orchestra-bad", version="1"
    )
    monkeypatch.setattr(plugins, "list_plugins", lambda **_: [broken])
    assert call("check").code == 3
    assert message(call, "store bad").startswith("orchestra-bad 1: ")


def test_without_git_that_is_noted(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert levels(call)["git"] == "note"


def test_little_space_is_noted_and_none_is_a_problem(
    call: Call, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(home, a_run())
    monkeypatch.setattr(installation, "LITTLE", 1 << 62)
    assert levels(call)["space"] == "note"
    monkeypatch.setattr(installation, "TOO_LITTLE", 1 << 62)
    assert levels(call)["space"] == "problem"
