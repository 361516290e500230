from __future__ import annotations

from pathlib import Path

import pytest

from orchestra.errors import ScriptError, UserError
from orchestra.model.operation import SourceCode, SourceRule
from orchestra.workspace import copies, source

from .test_source import fill


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    fill(
        folder, "say.py", "README.md", "lib/a.py", "lib/deep/b.py", "data/x.csv", "data/y.txt", ".hidden/h.py"
    )
    fill(folder, "model.bin", "lib/lib.so", content=b"\0\1")
    return folder


def only(*patterns: str) -> SourceCode:
    return SourceCode(
        rules=(SourceRule(include=False, patterns=("*",)), SourceRule(include=True, patterns=patterns))
    )


def rules(*each: SourceRule) -> SourceCode:
    return SourceCode(rules=each)


def paths(project: Path, sourcecode: SourceCode) -> tuple[str, ...]:
    return source.select(project, sourcecode=sourcecode).paths


def test_a_pattern_without_a_slash_is_for_base_names(project: Path) -> None:
    assert paths(project, only("*.py")) == ("lib/a.py", "lib/deep/b.py", "say.py")


def test_a_pattern_with_a_slash_is_for_paths(project: Path) -> None:
    assert paths(project, only("/*.md", "data/*.csv")) == ("README.md", "data/x.csv")
    assert paths(project, only("./say.py")) == ("say.py",)


def test_a_folder_stands_for_all_it_holds(project: Path) -> None:
    assert paths(project, only("lib")) == ("lib/a.py", "lib/deep/b.py", "lib/lib.so")
    assert paths(project, only("lib/deep/")) == ("lib/deep/b.py",)


def test_the_last_rule_that_matches_decides(project: Path) -> None:
    wanted = rules(
        SourceRule(include=True, patterns=("*.bin",)),
        SourceRule(include=False, patterns=("data",)),
        SourceRule(include=True, patterns=("data/y.txt",)),
    )
    assert paths(project, wanted) == (
        "README.md",
        "data/y.txt",
        "lib/a.py",
        "lib/deep/b.py",
        "model.bin",
        "say.py",
    )


def test_a_rule_can_be_for_text_or_binary_files_only(project: Path) -> None:
    assert "lib/lib.so" in paths(project, rules(SourceRule(include=True, patterns=("lib",), type="binary")))
    wanted = rules(SourceRule(include=False, patterns=("*",), type="text"))
    assert paths(project, wanted) == ()


def test_a_rule_for_folders_closes_or_opens_them(project: Path) -> None:
    closed = rules(SourceRule(include=False, patterns=("lib", "data"), type="dir"))
    assert paths(project, closed) == ("README.md", "say.py")
    opened = rules(SourceRule(include=True, patterns=(".hidden",), type="dir"))
    assert ".hidden/h.py" in paths(project, opened)


def test_a_file_in_a_folder_that_is_left_out_can_be_named(project: Path) -> None:
    assert ".hidden/h.py" in paths(project, rules(SourceRule(include=True, patterns=(".hidden/h.py",))))


def test_a_pattern_takes_no_secret_but_its_name_does(project: Path) -> None:
    fill(project, ".env", "lib/id_rsa")
    assert paths(project, only("*.py", ".*", "lib/*")) == (
        "lib/a.py",
        "lib/deep/b.py",
        "lib/lib.so",
        "say.py",
    )
    assert paths(project, only(".env")) == (".env",)


def test_no_rule_opens_the_records_of_runs_or_of_git(project: Path) -> None:
    fill(project, ".git/config", ".orchestra/config.yml")
    wanted = rules(
        SourceRule(include=True, patterns=("*",)), SourceRule(include=True, patterns=("*",), type="dir")
    )
    assert not [path for path in paths(project, wanted) if path.startswith((".git/", ".orchestra/"))]


def test_files_that_rules_take_are_not_counted_for_the_limits(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAX_DEFAULT_SOURCECODE_COUNT", "1")
    selection = source.select(project, sourcecode=rules(SourceRule(include=True, patterns=("*.py",))))
    assert selection.paths == ("README.md", "lib/a.py", "lib/deep/b.py", "say.py")
    assert len(selection.warnings) == 1


def test_another_folder_can_be_copied_to_another_place(project: Path, tmp_path: Path) -> None:
    wanted = SourceCode(root="lib", dest="./src/")
    selection = source.select(project, always=("src/a.py",), sourcecode=wanted)
    copies.copy_selection(selection, tmp_path / "run")
    assert selection.paths == ("src/a.py", "src/deep/b.py")
    assert (tmp_path / "run/src/deep/b.py").read_text() == "text\n"


def test_no_digest_is_made_where_none_is_wanted(project: Path) -> None:
    assert source.select(project, sourcecode=SourceCode(digest=False)).digest is None


@pytest.mark.parametrize("dest", ["/tmp", "../x", "a/../..", ".orchestra", ".orchestra/x", ".guild"])
def test_the_source_stays_in_the_run_and_out_of_its_records(project: Path, dest: str) -> None:
    with pytest.raises(UserError, match="can't be copied to") as caught:
        source.select(project, sourcecode=SourceCode(dest=dest))
    assert caught.value.hint


def test_a_root_that_is_not_there_is_an_error(project: Path) -> None:
    with pytest.raises(UserError, match="'missing' .* is not a directory"):
        source.select(project, sourcecode=SourceCode(root="missing"))


def test_a_main_script_that_is_not_in_the_root_is_an_error(project: Path) -> None:
    with pytest.raises(ScriptError, match="say.py"):
        source.select(project, always=("say.py",), sourcecode=SourceCode(root="lib"))


@pytest.mark.parametrize("name", [".orchestraignore", ".guildignore"])
def test_an_ignore_file_leaves_out_what_it_names(project: Path, name: str) -> None:
    (project / name).write_text("# not these\n/data/\n*.md\n!say.py\nb.py\n")
    assert [path for path in source.select(project).paths if path != name] == ["lib/a.py", "say.py"]
