from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest

from orchestra.errors import HomeError, UserError
from orchestra.settings import find_home
from orchestra.workspace.layout import Layout

from .samples import a_run, run_python


def test_a_home_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "home")
    layout.ensure_home()
    for folder in (layout.home, layout.runs_dir, layout.trash_dir, layout.lib_dir):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_making_a_home_again_keeps_what_is_there(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    tmp_path.chmod(0o755)
    layout.ensure_home()
    (layout.runs_dir / "x").mkdir()
    layout.ensure_home()
    assert (layout.runs_dir / "x").is_dir()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_a_home_whose_parent_is_missing_is_refused_and_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(HomeError, match="missing' is not a directory") as caught:
        Layout(tmp_path / "missing" / "home").ensure_home()
    assert caught.value.hint
    assert not (tmp_path / "missing").exists()


def test_the_default_home_may_make_its_parents(tmp_path: Path) -> None:
    Layout(tmp_path / "a" / "b" / "home").ensure_home(create_parents=True)
    assert (tmp_path / "a" / "b" / "home" / "runs").is_dir()


@pytest.mark.parametrize("place", ["home", "home/runs"])
def test_a_file_in_the_place_of_a_folder_is_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text("")
    with pytest.raises(HomeError, match="is not a directory") as caught:
        Layout(tmp_path / "home").ensure_home()
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_a_dangling_link_in_the_place_of_the_home_is_refused(tmp_path: Path) -> None:
    (tmp_path / "home").symlink_to(tmp_path / "nowhere")
    with pytest.raises(HomeError):
        Layout(tmp_path / "home").ensure_home()


def test_a_home_that_may_not_be_written_is_refused() -> None:
    code = """if 1:
        import os, sys
        from orchestra.errors import HomeError
        from orchestra.workspace.layout import Layout
        if os.getuid() == 0:
            os.setuid(65534)
        try:
            Layout(sys.argv[1]).ensure_home()
        except HomeError as error:
            print(error.message)
    """
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        home = Path(folder, "home")
        home.mkdir(mode=0o500)
        done = run_python(code, home)
        assert done.stdout == f"the orchestra home '{home}' is not writable\n", done.stderr


@pytest.mark.parametrize("name", ["with space", "tab\there", "nl\nx", "ünï", "quote'\"$x"])
def test_a_home_may_have_any_name(tmp_path: Path, name: str) -> None:
    Layout(tmp_path / name).ensure_home()
    assert (tmp_path / name / "runs").is_dir()


def test_a_relative_home_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Layout("h").home == tmp_path / "h"


def test_a_run_lies_below_the_home_unless_it_chose_a_directory(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    assert layout.run_directory(a_run(id="x1")) == tmp_path / "runs" / "x1"
    assert layout.run_directory(a_run(id="x1", directory="/else/where")) == Path("/else/where")
    assert layout.attempt_directory(tmp_path / "r", 12) == tmp_path / "r" / ".orchestra" / "attempts" / "12"


@pytest.mark.parametrize("run_id", ["..", ".", "", "a/b", "../x", "x\0"])
def test_no_id_leads_out_of_the_runs_directory(tmp_path: Path, run_id: str) -> None:
    with pytest.raises(UserError):
        Layout(tmp_path).directory_of(run_id)


def test_a_home_that_somebody_else_makes_meanwhile_is_a_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lexists = os.path.lexists

    def made_just_now(path: str) -> bool:
        if os.path.basename(path) in ("one", "two"):
            os.makedirs(path, exist_ok=True)
        return lexists(path)

    monkeypatch.setattr(os.path, "lexists", made_just_now)

    assert find_home(tmp_path / "one", {}, tmp_path) == tmp_path / "one"
    Layout(tmp_path / "two").ensure_home()
    assert (tmp_path / "two" / "runs").is_dir()
