from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from orchestra.workspace import source_patch
from orchestra.workspace.source_patch import MOST_COPIED, patch_path, share_patch, write_patch

from .test_git import repository, run_git
from .test_source import fill

__all__ = ["repository"]


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    (tmp_path / "run" / ".orchestra").mkdir(parents=True)
    return tmp_path / "run"


def head(repository: Path) -> str:
    return run_git(repository, "rev-parse", "HEAD").strip()


def state(folder: Path) -> dict[str, tuple[int, bytes]]:
    """All files but Git's own, with whether they are executable or links."""
    found: dict[str, tuple[int, bytes]] = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if name.startswith((".git/", ".orchestra/")) or (path.is_dir() and not path.is_symlink()):
            continue
        if path.is_symlink():
            found[name] = (-1, os.readlink(os.fsencode(path)))
        else:
            found[name] = (path.stat().st_mode & 0o100, path.read_bytes())
    return found


def rebuilt(repository: Path, run_dir: Path, tmp_path: Path) -> dict[str, tuple[int, bytes]]:
    """What a person has who follows the first line of the patch."""
    run_git(tmp_path, "clone", "-q", str(repository), "again")
    run_git(tmp_path / "again", "checkout", "-q", head(repository))
    run_git(tmp_path / "again", "apply", "--whitespace=nowarn", patch_path(run_dir))
    return state(tmp_path / "again")


def test_the_patch_makes_the_working_tree_of_the_commit(
    repository: Path, run_dir: Path, tmp_path: Path
) -> None:
    fill(repository, "lib/b.py", "deleted.py")
    run_git(repository, "add", "-A")
    run_git(repository, "commit", "-qm", "two")
    (repository / "say.py").write_bytes(b"changed\r\nwithout an end")
    (repository / "lib" / "a.py").chmod(0o755)
    (repository / "lib" / "b.py").unlink()
    run_git(repository, "rm", "-q", "deleted.py")
    (repository / "model.bin").write_bytes(b"\0\1\2" * 1000)
    fill(repository, "staged.py")
    run_git(repository, "add", "staged.py")
    fill(repository, "staged.py", content=b"changed after it was staged\n")
    fill(repository, "new/deep/a b.py", 'new/"quoted"\n.py', "new/*.py", ":(top)x", "-n", "new/é")
    fill(repository, "new/empty", content=b"")
    fill(repository, "new/data.bin", content=os.urandom(5000))
    (repository / "new" / "tool").write_text("#!/bin/sh\n")
    (repository / "new" / "tool").chmod(0o755)
    (repository / "new" / "link").symlink_to("tool")
    before = run_git(repository, "status", "--porcelain", "-uall")

    assert write_patch(str(repository / "lib"), run_dir, head(repository)) is None

    assert rebuilt(repository, run_dir, tmp_path) == state(repository)
    assert run_git(repository, "status", "--porcelain", "-uall") == before
    assert not list((repository / ".git").glob("*.lock"))


def test_the_settings_of_a_user_do_not_change_a_patch(
    repository: Path, run_dir: Path, tmp_path: Path
) -> None:
    for name, value in {
        "diff.noprefix": "true",
        "diff.external": "false",
        "color.ui": "always",
        "diff.renames": "copies",
        "diff.relative": "true",
        "diff.submodule": "log",
    }.items():
        run_git(repository, "config", name, value)
    (repository / "say.py").rename(repository / "renamed.py")
    assert write_patch(str(repository / "lib"), run_dir, head(repository)) is None
    assert rebuilt(repository, run_dir, tmp_path) == state(repository)


def test_nothing_is_left_in_the_repository(repository: Path, run_dir: Path) -> None:
    fill(repository, "new.py", content=b"not there yet\n")
    before = sorted((repository / ".git").rglob("*"))
    assert write_patch(str(repository), run_dir, head(repository)) is None
    assert sorted((repository / ".git").rglob("*")) == before


def test_secrets_big_files_and_our_own_records_are_left_out_and_named(
    repository: Path, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_patch, "MOST_OF_A_FILE", 100)
    fill(repository, ".env", "new.py", ".orchestra/runs/x/run.json", content=b"PASSWORD\n")
    fill(repository, "data\n.csv", content=b"x" * 101)
    assert write_patch(str(repository), run_dir, head(repository)) is None
    text = Path(patch_path(run_dir)).read_text()
    assert text.splitlines()[1:3] == [
        "# Left out: .env: it may be a secret",
        "# Left out: data\\n.csv: 101 bytes",
    ]
    assert text.count("diff --git") == 1


def test_a_patch_has_a_limit(repository: Path, run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_patch, "MOST", 1 << 20)
    fill(repository, "model.bin", content=os.urandom(3 << 20))
    assert write_patch(str(repository), run_dir, head(repository)) is None
    text = Path(patch_path(run_dir)).read_text()
    assert text.endswith("# Left out: all of it, which is more than 1 MiB\n")


def test_it_is_said_when_there_can_be_no_patch(
    repository: Path, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = head(repository)
    assert write_patch(str(repository), run_dir, "0" * 40)
    monkeypatch.setenv("PATH", "/nowhere")
    assert write_patch(str(repository), run_dir, commit)
    assert not os.path.exists(patch_path(run_dir))


def test_trials_have_the_patch_of_their_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = [tmp_path / name for name in ("batch", "1", "2")]
    for place in places:
        (place / ".orchestra").mkdir(parents=True)
    share_patch(places[0], places[1:])
    assert not os.path.exists(patch_path(places[1]))
    Path(patch_path(places[0])).write_text("a patch\n")
    share_patch(places[0], places[1:])
    assert [Path(patch_path(place)).read_text() for place in places] == ["a patch\n"] * 3


def refuse(*_: object) -> None:
    raise OSError("no links here")


@pytest.mark.parametrize("linkable", [True, False])
def test_trials_have_a_large_patch_where_blocks_can_not_be_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linkable: bool
) -> None:
    places = [tmp_path / name for name in ("batch", "1", "2")]
    for place in places:
        (place / ".orchestra").mkdir(parents=True)
    patch = "a patch\n" * (MOST_COPIED // 8 + 1)
    Path(patch_path(places[0])).write_text(patch)
    monkeypatch.setattr(source_patch, "clone", lambda source, target: False)
    if not linkable:
        monkeypatch.setattr(os, "link", refuse)

    for _ in range(2):
        share_patch(places[0], places[1:])
        assert [Path(patch_path(place)).read_text() for place in places] == [patch] * 3
    inodes = {os.stat(patch_path(place)).st_ino for place in places}
    assert len(inodes) == (1 if linkable else 3)


def test_the_name_of_a_project_may_hold_any_separator_but_the_end_of_a_line(
    repository: Path, run_dir: Path
) -> None:
    moved = repository.rename(repository.with_name("a\u2028b\x85c"))
    fill(moved, "say.py", content=b"changed\n")
    assert write_patch(str(moved), run_dir, head(moved)) is None
    assert b"+changed" in Path(patch_path(run_dir)).read_bytes()


def test_the_first_line_of_a_patch_can_be_pasted(repository: Path, run_dir: Path, tmp_path: Path) -> None:
    fill(repository, "say.py", content=b"changed\n")
    assert write_patch(str(repository), run_dir, head(repository)) is None
    command = Path(patch_path(run_dir)).read_text().splitlines()[0].partition(": ")[2]
    run_git(tmp_path, "clone", "-q", str(repository), "again")
    patch = Path(patch_path(run_dir)).rename(tmp_path / "again" / "source.patch")
    assert patch.exists()
    subprocess.run(command, shell=True, check=True, cwd=tmp_path / "again", capture_output=True)
    assert (tmp_path / "again" / "say.py").read_text() == "changed\n"
