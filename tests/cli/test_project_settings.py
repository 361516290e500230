"""Settings in a project's file count for all that is run from its directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestra.errors import ProjectFileError
from orchestra.project.project_file import load_project
from orchestra.project.project_settings import project_settings
from tests.cli.conftest import Call

ALONE = "- settings: {interim: delete}\n- operations: {a: train}\n"
BESIDE = "settings: {interim: delete}\noperations: {a: train}\n"


@pytest.mark.parametrize("text", [ALONE, BESIDE])
def test_settings_stand_alone_or_beside_operations(tmp_path: Path, text: str) -> None:
    file = tmp_path / "orchestra.yml"
    file.write_text(text)
    assert project_settings(tmp_path) == {"interim": "delete"}
    assert [one.full_name for one in load_project(file).operations()] == ["a"]


@pytest.mark.parametrize(
    "text",
    ["settings: train\n", "settings: {main: train}\n", "a: train\n", "a: [\nsettings: 1\n", "", "settings"],
)
def test_an_operation_may_be_called_settings_and_a_damaged_file_has_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "orchestra.yml").write_text(text)
    assert project_settings(tmp_path) == {}


@pytest.mark.parametrize("text", [ALONE + "- settings: {}\n", "- settings: no\n"])
def test_settings_that_are_no_mapping_or_there_twice_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "orchestra.yml").write_text(text)
    with pytest.raises(ProjectFileError, match=r"orchestra.yml:\d"):
        project_settings(tmp_path)


@pytest.mark.parametrize("text", ["- {settings: {}, model: m}\n", "- include: other.yml\n"])
def test_settings_are_an_item_of_the_projects_own_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "orchestra.yml").write_text(text)
    (tmp_path / "other.yml").write_text(ALONE)
    with pytest.raises(ProjectFileError, match="settings"):
        load_project(tmp_path / "orchestra.yml")


def test_a_batch_that_succeeded_goes_where_the_project_says_so(
    call: Call, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "train.py").write_text("x = 1\n")
    (tmp_path / "orchestra.yml").write_text("- settings: {interim: delete}\n")
    assert call("run", "train.py", "x=[1,2]", "-y").code == 0
    assert [one["operation"] for one in call("runs", "--json").json] == ["train.py", "train.py"]
    monkeypatch.setenv("ORCHESTRA_INTERIM", "keep")
    assert call("run", "train.py", "x=[1,2]", "-y").code == 0
    assert "train.py+" in [one["operation"] for one in call("runs", "--json").json]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("store: x", "'store' can't be settled for a project"),
        ("interimm: keep", "unknown setting 'interimm'"),
    ],
)
def test_what_a_project_can_not_settle_is_refused(
    call: Call, tmp_path: Path, settings: str, message: str
) -> None:
    (tmp_path / "orchestra.yml").write_text(f"- settings: {{{settings}}}\n")
    refused = call("runs")
    assert (refused.code, message in refused.error) == (1, True)
