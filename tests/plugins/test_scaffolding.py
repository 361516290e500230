"""The package of a new plugin: its name is checked, nothing is overwritten, and it is clean whatever its name is."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from orchestra.contracts import KINDS
from orchestra.errors import PluginConflict, UserError
from orchestra.plugins.scaffolding import NAME_LENGTHS, TEMPLATES, plugin_name, write_package
from tests.plugins.samples import resolvers

LONGEST = "a" + "-zebra" * 6 + "-ab"


def texts(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("slurm", "slurm"),
        ("My_Own.Cluster", "my-own-cluster"),
        ("orchestra-slurm", "slurm"),
        ("class", "class"),
    ],
)
def test_a_name_is_made_one_that_distributions_may_have(given, name):
    assert plugin_name(given) == name


@pytest.mark.parametrize(
    "given", ["", "x", "9to5", "-a", "a-", "a b", "../a", "über", "a" * 41, "orchestra-"]
)
def test_what_can_not_be_a_name_is_refused(given):
    with pytest.raises(UserError, match="can't be the name of a plugin"):
        plugin_name(given)


def test_a_name_that_an_installed_plugin_of_the_kind_has_is_refused(fake_site, tmp_path):
    fake_site.install("robots", "3", entry_points=resolvers(tape="tape:open_it"))

    with pytest.raises(PluginConflict, match="the resolver 'tape' is provided by robots 3"):
        write_package("resolver", "tape", tmp_path, version="0.1.0")
    assert list(tmp_path.iterdir()) == []
    assert write_package("executor", "tape", tmp_path, version="0.1.0").is_dir()


@pytest.mark.parametrize("name", ["tape", "runs"])
def test_a_name_that_would_make_an_installed_distribution_is_refused(fake_site, tmp_path, name):
    fake_site.install("orchestra-tape")

    with pytest.raises(PluginConflict, match=f"'orchestra-{name}' is"):
        write_package("resolver", name, tmp_path, version="0.1.0")


@pytest.mark.parametrize("there", ["folder", "file", "dangling link"])
def test_what_is_there_already_stays_as_it_is(tmp_path, there):
    place = tmp_path / "orchestra-tape"
    match there:
        case "folder":
            place.mkdir()
        case "file":
            place.write_text("mine")
        case _:
            place.symlink_to("nowhere")
    before = place.lstat()

    with pytest.raises(UserError, match="is there already"):
        write_package("store", "tape", tmp_path, version="0.1.0")

    assert place.lstat() == before
    assert not place.is_dir() or list(place.iterdir()) == []


def test_what_can_not_be_written_whole_is_not_there(tmp_path, monkeypatch):
    def fail(self, text, **_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", fail)

    with pytest.raises(UserError, match="can't be written: No space left on device"):
        write_package("store", "tape", tmp_path, version="0.1.0")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", KINDS)
def test_no_word_of_a_template_is_left(tmp_path, kind):
    written = texts(write_package(kind, "my-own", tmp_path, version="0.1.0"))

    assert len(written) == len(texts(TEMPLATES / kind)) + 2
    assert {"pyproject.toml", "README.md", f"src/orchestra_my_own/{kind}.py"} <= written.keys()
    for path, text in written.items():
        assert "newname" not in (path + text).lower() and "newkind" not in text, path
    project = tomllib.loads(written["pyproject.toml"])["project"]
    assert project["entry-points"] == {f"orchestra.{kind}s": {"my-own": f"orchestra_my_own:open_{kind}"}}
    used = {name for name in ("anyio", "msgspec") if f"import {name}\n" in "".join(written.values())}
    assert used <= {one.partition(">")[0] for one in project["dependencies"]}


@pytest.mark.parametrize(
    ("version", "range_"),
    [("0.1.0", ">=0.1,<0.2"), ("0.10.3.dev1", ">=0.10,<0.11"), ("2.3.4", ">=2.3,<3")],
)
def test_it_depends_on_the_versions_that_keep_what_it_was_written_for(tmp_path, version, range_):
    folder = write_package("store", "tape", tmp_path, version=version)

    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert f"orchestra-runs{range_}" in project["dependencies"]


def test_it_is_clean_whatever_its_name_is(tmp_path):
    if importlib.util.find_spec("ruff") is None:
        pytest.skip("ruff is not installed")
    assert len(LONGEST) == NAME_LENGTHS[-1]
    for kind in KINDS:
        (tmp_path / kind).mkdir()
        # The last is in the name of a contract.
        for name in ("zz", LONGEST, "batch"):
            write_package(kind, name, tmp_path / kind, version="0.1.0")

    for command in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--no-cache", str(tmp_path)]
        done = subprocess.run(ruff, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
