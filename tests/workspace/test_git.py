from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from orchestra.model.operation import SourceCode, SourceRule
from orchestra.workspace import git, source
from orchestra.workspace.source_patch import patch_path, write_patch

from .test_source import fill


def run_git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "protocol.file.allow=always")
    return subprocess.run(
        ["git", *identity, "-C", str(folder), *arguments], check=True, capture_output=True, text=True
    ).stdout


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    folder = tmp_path / "repository"
    fill(folder, "say.py", "lib/a.py", ".gitignore", "docs/x.md")
    fill(folder, "model.bin", content=b"\0" * (2 << 20))
    (folder / ".gitignore").write_text("*.log\n/out/\n")
    run_git(folder, "init", "-q")
    run_git(folder, "add", "-A")
    run_git(folder, "commit", "-qm", "one")
    return folder


def test_tracked_files_are_copied_whatever_they_are(repository: Path) -> None:
    selection = source.select(repository)
    assert selection.paths == ("docs/x.md", "lib/a.py", "model.bin", "say.py")
    assert (selection.in_git, selection.warnings) == (True, ())


def test_there_is_no_limit_to_their_number(repository: Path) -> None:
    fill(repository, *(f"many/{number}.py" for number in range(150)))
    assert len(source.select(repository).paths) == 154


def test_what_is_new_and_not_ignored_is_copied_and_what_is_ignored_is_not(repository: Path) -> None:
    fill(repository, "new.py", "new/deep/x.bin", "debug.log", "out/result.py", "lib/b.log")
    assert set(source.select(repository).paths) == {
        "docs/x.md",
        "lib/a.py",
        "model.bin",
        "new.py",
        "new/deep/x.bin",
        "say.py",
    }


def test_an_export_is_no_source_until_it_is_in_git(repository: Path) -> None:
    before = source.select(repository).paths
    fill(repository, "old/orchestra-archive.json", "old/notes.txt")
    assert source.select(repository).paths == before
    run_git(repository, "add", "-A")
    assert set(source.select(repository).paths) - set(before) == {
        "old/orchestra-archive.json",
        "old/notes.txt",
    }


def test_a_tracked_file_that_is_ignored_belongs_to_the_source(repository: Path) -> None:
    fill(repository, "kept.log")
    run_git(repository, "add", "-f", "kept.log")
    assert "kept.log" in source.select(repository).paths


def test_a_file_that_was_deleted_is_simply_not_there(repository: Path) -> None:
    (repository / "lib" / "a.py").unlink()
    assert source.select(repository).paths == ("docs/x.md", "model.bin", "say.py")


def test_a_project_may_be_a_part_of_a_repository(repository: Path) -> None:
    fill(repository, "lib/debug.log")
    assert source.select(repository / "lib").paths == ("a.py",)


def test_a_project_that_the_repository_ignores_is_copied_by_the_default_rules(repository: Path) -> None:
    fill(repository, "out/scratch/say.py", "out/scratch/.env")
    selection = source.select(repository / "out" / "scratch")
    assert (selection.paths, selection.in_git) == (("say.py",), False)


def test_new_files_that_look_like_secrets_or_environments_stay_out(repository: Path) -> None:
    fill(repository, ".env", "key.pem", "venv/pyvenv.cfg", "venv/lib/x.py", "lib/__pycache__/a.pyc")
    fill(repository, "certificate", content=b"-----BEGIN PRIVATE KEY-----\n")
    assert source.select(repository).paths == ("docs/x.md", "lib/a.py", "model.bin", "say.py")


def test_our_own_ignore_file_leaves_out_what_git_tracks(repository: Path) -> None:
    (repository / ".guildignore").write_text("docs\n")
    (repository / ".orchestraignore").write_text("*.bin\n")
    assert source.select(repository).paths == ("lib/a.py", "say.py")


@pytest.mark.parametrize("name", [".orchestra-nocopy", ".guild-nocopy"])
def test_a_marked_folder_is_left_out(repository: Path, name: str) -> None:
    fill(repository, f"docs/{name}")
    assert "docs/x.md" not in source.select(repository).paths


def test_the_rules_of_the_project_go_over_what_git_says(repository: Path) -> None:
    fill(repository, "debug.log", "out/result.csv")
    rules = (
        SourceRule(include=False, patterns=("docs", "*.bin")),
        SourceRule(include=True, patterns=("debug.log", "out/*.csv")),
    )
    selection = source.select(repository, sourcecode=SourceCode(rules=rules))
    assert selection.paths == ("debug.log", "lib/a.py", "out/result.csv", "say.py")


def test_submodules_and_repositories_within_are_a_part_of_the_source(
    repository: Path, tmp_path: Path
) -> None:
    fill(tmp_path / "other", "b.py", ".gitignore", "b.log")
    (tmp_path / "other" / ".gitignore").write_text("*.log\n")
    run_git(tmp_path / "other", "init", "-q")
    run_git(tmp_path / "other", "add", "-A")
    run_git(tmp_path / "other", "commit", "-qm", "one")
    run_git(repository, "submodule", "--quiet", "add", str(tmp_path / "other"), "sub")
    run_git(repository, "clone", "-q", str(tmp_path / "other"), "cloned")
    fill(repository, "sub/c.log", "cloned/c.log", "cloned/c.py")
    found = set(source.select(repository).paths)
    assert {"sub/b.py", "cloned/b.py", "cloned/c.py"} <= found
    assert not [path for path in found if ".git" in path or path.endswith(".log")]


def test_a_link_to_a_folder_outside_is_not_followed_and_that_is_said(
    repository: Path, tmp_path: Path
) -> None:
    fill(tmp_path, "data/big.csv")
    (repository / "data").symlink_to(tmp_path / "data")
    (repository / "alias").symlink_to("lib")
    (repository / "alias.py").symlink_to("say.py")
    run_git(repository, "add", "-A")
    selection = source.select(repository)
    assert selection.paths == ("alias.py", "alias/a.py", "docs/x.md", "lib/a.py", "model.bin", "say.py")
    (warning,) = selection.warnings
    assert warning.startswith("Skipping link data because it leads to a folder outside of the project. ")


def test_the_variables_of_a_hook_lead_nowhere_else(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("GIT_INDEX_FILE", "/nowhere/index")
    assert source.select(repository).in_git


def test_nothing_of_the_repository_is_run(repository: Path, tmp_path: Path) -> None:
    monitor = tmp_path / "monitor"
    monitor.write_text(f"#!/bin/sh\ntouch {tmp_path}/was-run\n")
    monitor.chmod(0o755)
    run_git(repository, "config", "core.fsmonitor", str(monitor))
    assert source.select(repository).in_git
    assert git.CommitQuestion(str(repository)).answer()
    assert not (tmp_path / "was-run").exists()


def test_without_git_the_default_rules_hold(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    selection = source.select(repository)
    assert (selection.paths, selection.in_git) == ((".gitignore", "docs/x.md", "lib/a.py", "say.py"), False)
    assert git.CommitQuestion(str(repository)).answer() is None


def test_an_answer_that_does_not_come_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "bin" / "git"
    slow.parent.mkdir()
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow.parent}:{os.environ['PATH']}")
    assert git.Git(str(tmp_path), "status").answer(patience=0.1) is None


def test_the_commit_is_that_of_the_working_tree_with_a_star_when_something_differs(repository: Path) -> None:
    head = run_git(repository, "rev-parse", "HEAD").strip()
    assert git.CommitQuestion(str(repository / "lib")).answer() == f"git:{head}"
    fill(repository, "debug.log", ".orchestra/runs/x")
    assert git.CommitQuestion(str(repository)).answer() == f"git:{head}"
    fill(repository, "docs/new.md")
    assert git.CommitQuestion(str(repository / "lib")).answer() == f"git:{head}*"


def test_where_nothing_is_committed_there_is_no_commit(tmp_path: Path) -> None:
    assert git.CommitQuestion(str(tmp_path)).answer() is None
    run_git(tmp_path, "init", "-q")
    fill(tmp_path, "say.py")
    assert git.CommitQuestion(str(tmp_path)).answer() is None


def test_what_a_repository_sets_up_to_be_run_is_not_run(repository: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    evil = tmp_path / "evil"
    evil.write_text(f"#!/bin/sh\necho \"$0\" >> '{ran}'\nexit 0\n")
    evil.chmod(0o755)
    hooks = repository / ".git/hooks"
    hooks.mkdir(exist_ok=True)
    for name in ("post-index-change", "reference-transaction", "pre-auto-gc"):
        (hooks / name).write_bytes(evil.read_bytes())
        (hooks / name).chmod(0o755)
    for setting in ("core.fsmonitor", "diff.external", "diff.mine.command", "diff.mine.textconv"):
        run_git(repository, "config", setting, str(evil))
    (repository / ".gitattributes").write_text("*.py diff=mine\n")
    fill(repository, "new.py")
    (repository / "say.py").write_text("changed\n")
    ran.unlink(missing_ok=True)

    commit = git.CommitQuestion(str(repository)).answer()
    assert commit is not None
    source.select(repository)
    (tmp_path / "run/.orchestra").mkdir(parents=True)
    assert write_patch(str(repository), tmp_path / "run", commit.strip("git:*")) is None

    assert b"changed" in Path(patch_path(tmp_path / "run")).read_bytes()
    assert not ran.exists(), ran.read_text()


def test_a_repository_that_git_refuses_is_warned_of(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")

    selection = source.select(repository)

    (warning,) = selection.warnings
    assert "dubious ownership" in warning and "safe.directory" in warning
    assert (selection.in_git, "say.py" in selection.paths) == (False, True)


def test_a_folder_that_only_looks_like_a_repository_is_none_and_no_reason_to_warn(tmp_path: Path) -> None:
    fill(tmp_path, "say.py")
    (tmp_path / ".git").mkdir()

    assert source.select(tmp_path).warnings == ()
