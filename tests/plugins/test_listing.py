"""Plugins are listed and found without importing them, whatever else is installed."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest

from orchestra import plugins
from orchestra.contracts import KINDS
from orchestra.errors import PluginConflict, PluginNotFound
from orchestra.plugins import listing
from orchestra.plugins.listing import BUILT_IN, CACHE_NAME, OWN_DISTRIBUTION
from orchestra.testing.distributions import FakeSite
from tests.plugins.samples import SOUND, resolvers

ROOT = Path(__file__).parents[2]


def names(found) -> list[str]:
    return [info.name for info in found]


def in_new_process(code: str, *path: Path, cwd: Path | None = None) -> str:
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        # Cached bytecode would change the site's folder, and so what is known of it.
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, (ROOT, *path))),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        cwd=cwd or ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_built_in_plugins_are_those_of_the_project_file():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert declared["name"] == OWN_DISTRIBUTION
    assert {f"orchestra.{kind}s": targets for kind, targets in BUILT_IN.items()} == declared["entry-points"]


def test_a_source_tree_has_its_built_in_plugins_without_being_installed():
    assert {"grid", "random"} <= set(names(plugins.list_plugins("expander")))
    assert {info.kind for info in plugins.list_plugins()} == set(KINDS)


def test_an_installed_plugin_is_listed_with_its_distribution(fake_site):
    fake_site.install(
        "tape-robot", "3.2", modules={"tape.py": SOUND}, entry_points=resolvers(tape="tape:open_it")
    )

    info = plugins.find("resolver", "tape")

    assert (info.kind, info.name, info.target) == ("resolver", "tape", "tape:open_it")
    assert (info.distribution, info.version, info.error) == ("tape-robot", "3.2", None)


def test_listing_imports_no_plugin(fake_site):
    bomb = "raise SystemExit('imported')"
    fake_site.install("bomb", modules={"bomb.py": bomb}, entry_points=resolvers(bomb="bomb:open_it"))

    assert "bomb" in names(plugins.list_plugins("resolver"))
    assert "bomb" not in sys.modules


def test_an_unknown_plugin_is_answered_with_those_there_are(fake_site):
    fake_site.install("tape-robot", entry_points=resolvers(tape="tape:open_it"))

    with pytest.raises(PluginNotFound) as error:
        plugins.find("resolver", "floppy")

    assert error.value.message == "no resolver 'floppy' is installed"
    assert error.value.hint is not None
    assert "tape" in error.value.hint
    assert "pip" not in error.value.hint


def test_of_an_unknown_plugin_a_distribution_of_ours_is_named(monkeypatch):
    monkeypatch.setattr(listing, "list_plugins", lambda *_, **__: [])
    monkeypatch.setattr(listing, "_list_afresh", lambda *_: [])
    projects = [
        tomllib.loads(path.read_text())["project"] for path in (ROOT / "plugins").glob("*/pyproject.toml")
    ]
    provided = [
        (group.removeprefix("orchestra.").removesuffix("s"), name, project["name"])
        for project in projects
        for group, names in project["entry-points"].items()
        for name in names
    ]

    assert len(provided) >= 5
    for kind, name, distribution in provided:
        with pytest.raises(PluginNotFound) as error:
            plugins.find(kind, name)
        assert error.value.hint == f"Installed {kind}s: none. 'pip install {distribution}' provides it."


def test_a_name_that_was_nearly_right_is_suggested():
    with pytest.raises(PluginNotFound) as error:
        plugins.find("expander", "ramdon")

    assert str(error.value.hint).startswith("Did you mean 'random'? Installed expanders: ")


def test_what_could_not_be_a_distribution_is_not_suggested_for_installation():
    with pytest.raises(PluginNotFound) as error:
        plugins.find("resolver", "x; rm -rf ~")

    assert "pip" not in str(error.value.hint)


def test_two_distributions_with_one_name_are_both_named(fake_site):
    fake_site.install("tape-a", "1", entry_points=resolvers(tape="tape_a:open_it"))
    fake_site.install("tape-b", "2", entry_points=resolvers(tape="tape_b:open_it"))

    with pytest.raises(PluginConflict) as error:
        plugins.find("resolver", "tape")

    assert "tape-a 1 and tape-b 2" in error.value.message


def test_a_conflict_breaks_no_other_plugin_and_shows_in_the_list(fake_site):
    fake_site.install("tape-a", entry_points=resolvers(tape="tape_a:open_it", disk="disk:open_it"))
    fake_site.install("tape-b", entry_points=resolvers(tape="tape_b:open_it"))

    errors = {(i.distribution, i.name): i.error for i in plugins.list_plugins("resolver")}

    assert errors["tape-a", "tape"] == "tape-b provides this name, too"
    assert errors["tape-b", "tape"] == "tape-a provides this name, too"
    assert plugins.find("resolver", "disk").error is None


def test_a_conflict_is_settled_by_naming_the_distribution(fake_site):
    fake_site.install("Tape_A", entry_points=resolvers(tape="tape_a:open_it"))
    fake_site.install("tape-b", entry_points=resolvers(tape="tape_b:open_it"))

    assert plugins.find("resolver", "tape-a:tape").target == "tape_a:open_it"
    assert plugins.find("resolver", "tape-b:tape").target == "tape_b:open_it"


def test_a_plugin_with_the_name_of_a_built_in_one_is_a_conflict(fake_site):
    fake_site.install("better-files", entry_points=resolvers(file="better:open_it"))

    with pytest.raises(PluginConflict, match="better-files"):
        plugins.find("resolver", "file")


def test_the_same_name_may_be_used_by_different_kinds(fake_site):
    points = {"orchestra.stores": {"tape": "t:s"}, "orchestra.resolvers": {"tape": "t:r"}}
    fake_site.install("tape", entry_points=points)

    assert plugins.find("store", "tape").target == "t:s"
    assert plugins.find("resolver", "tape").target == "t:r"


def test_a_distribution_that_is_there_twice_is_the_one_that_python_would_import(fake_site, tmp_path):
    fake_site.install("tape", "2", entry_points=resolvers(tape="tape:open_new"))
    with FakeSite(tmp_path / "behind") as behind:
        behind.install("tape", "1", entry_points=resolvers(tape="tape:open_old", gone="tape:open_old"))

        assert plugins.find("resolver", "tape").version == "2"
        with pytest.raises(PluginNotFound):
            plugins.find("resolver", "gone")


@pytest.mark.parametrize("file", ["METADATA", "entry_points.txt"])
def test_broken_metadata_of_others_breaks_nothing(fake_site, file):
    fake_site.install("ill", entry_points=resolvers(ill="ill:open_it"))
    (fake_site.path / "ill-1.0.dist-info" / file).write_bytes(b"\xff\xfe[[[\n= = =\n[orchestra.resolvers\nx")

    assert "file" in names(plugins.list_plugins("resolver"))


@pytest.mark.parametrize("target", ["no_attribute", "a b:c", "x:", "../evil:open", "mod:open()"])
def test_an_entry_point_that_is_no_target_is_listed_with_the_reason(fake_site, target):
    fake_site.install("ill", entry_points=resolvers(ill=target))

    found = [info for info in plugins.list_plugins("resolver") if info.name == "ill"]

    assert all("is not MODULE:ATTRIBUTE" in str(info.error) for info in found)


@pytest.mark.parametrize("how", ["python", "module"])
def test_the_current_directory_is_never_searched(tmp_path, how):
    FakeSite(tmp_path).install("planted", entry_points=resolvers(planted="planted:open_it"))
    (tmp_path / "ask.py").write_text(
        "from orchestra import plugins\nprint([i.name for i in plugins.list_plugins('resolver')])"
    )
    path = () if how == "python" else (tmp_path,)

    listed = in_new_process("import runpy; runpy.run_module('ask')", *path, cwd=tmp_path)

    assert "file" in listed
    assert "planted" not in listed


class TestCache:
    """What was listed is kept, and is never believed for longer than it is true."""

    @pytest.fixture
    def cache(self, monkeypatch, fake_site, tmp_path) -> Path:
        settled = [entry for entry in sys.path if entry and not entry.startswith(str(ROOT))]
        monkeypatch.setattr(sys, "path", settled)
        fake_site.install("tape", modules={"tape.py": SOUND}, entry_points=resolvers(tape="tape:open_it"))
        fake_site.settle()
        return tmp_path / "cache"

    def test_a_hit_needs_neither_stevedore_nor_metadata_and_imports_the_one_plugin(self, tmp_path):
        site = FakeSite(tmp_path / "site")
        site.path.mkdir()
        site.install("tape", modules={"tape.py": SOUND}, entry_points=resolvers(tape="tape:open_it"))
        site.install("bomb", modules={"bomb.py": "1/0"}, entry_points=resolvers(bomb="bomb:open_it"))
        site.settle()
        os.utime(ROOT)
        quiet = tmp_path / "tree"
        quiet.mkdir()
        (quiet / "orchestra").symlink_to(ROOT / "orchestra")
        os.utime(quiet, (1e9, 1e9))
        code = f"""
            import sys
            sys.path = [p for p in sys.path if p not in ("", {str(ROOT)!r})]
            from pathlib import Path
            from orchestra import plugins
            plugins.load(plugins.find("resolver", "tape", cache_dir=Path({str(tmp_path / "cache")!r})))
            print(sorted(set(sys.modules) & {{"stevedore", "importlib.metadata", "anyio", "bomb", "tape"}}))
        """

        first = in_new_process(code, quiet, site.path)
        second = in_new_process(code, quiet, site.path)

        assert first.split() == ["['importlib.metadata',", "'stevedore',", "'tape']"]
        assert second.split() == ["['tape']"]

    def test_a_newly_installed_plugin_is_seen(self, cache, fake_site):
        plugins.list_plugins(cache_dir=cache)
        fake_site.install("disk", entry_points=resolvers(disk="disk:open_it"))

        assert "disk" in names(plugins.list_plugins(cache_dir=cache))

    def test_an_uninstalled_plugin_is_gone(self, cache, fake_site):
        plugins.list_plugins(cache_dir=cache)
        fake_site.uninstall("tape")

        assert "tape" not in names(plugins.list_plugins(cache_dir=cache))

    def test_an_entry_point_that_was_edited_in_place_is_seen(self, cache, fake_site):
        plugins.list_plugins(cache_dir=cache)
        points = fake_site.path / "tape-1.0.dist-info" / "entry_points.txt"
        points.write_text(points.read_text().replace("tape =", "ribbon ="))
        os.utime(points, (2e9, 2e9))
        fake_site.settle()

        assert plugins.find("resolver", "ribbon", cache_dir=cache).target == "tape:open_it"

    def test_a_plugin_is_looked_for_again_before_it_is_denied(self, cache, fake_site):
        plugins.list_plugins(cache_dir=cache)
        before = os.stat(fake_site.path)
        fake_site.install("disk", entry_points=resolvers(disk="disk:open_it"))
        os.utime(fake_site.path, ns=(before.st_atime_ns, before.st_mtime_ns))

        assert plugins.find("resolver", "disk", cache_dir=cache).name == "disk"

    def test_a_folder_that_changed_just_now_is_not_cached(self, cache, fake_site):
        os.utime(fake_site.path)
        plugins.list_plugins(cache_dir=cache)

        assert not (cache / CACHE_NAME).exists()

    @pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'[{"schema": 99}]', b"\xff", b"[]"])
    def test_a_corrupt_cache_is_ignored_and_written_anew(self, cache, content):
        cache.mkdir()
        (cache / CACHE_NAME).write_bytes(content)

        assert "tape" in names(plugins.list_plugins(cache_dir=cache))
        assert b"tape:open_it" in (cache / CACHE_NAME).read_bytes()

    def test_the_cache_is_private_and_leaves_no_other_files(self, cache):
        plugins.list_plugins(cache_dir=cache)

        assert os.listdir(cache) == [CACHE_NAME]
        assert (cache / CACHE_NAME).stat().st_mode & 0o777 == 0o600

    def test_a_home_is_not_made_for_it(self, cache):
        plugins.list_plugins(cache_dir=cache / "no" / "home")

        assert not cache.exists()

    def test_a_cache_that_cannot_be_written_is_no_failure(self, cache):
        cache.write_text("a file where the folder would be")

        assert "tape" in names(plugins.list_plugins(cache_dir=cache))

    def test_several_interpreters_share_it(self, cache, monkeypatch, fake_site):
        plugins.list_plugins(cache_dir=cache)
        with monkeypatch.context() as other:
            other.setattr(sys, "executable", "/elsewhere/python")
            plugins.list_plugins(cache_dir=cache)
        (fake_site.path / "tape-1.0.dist-info" / "METADATA").unlink()  # a fresh look would not find it whole

        assert plugins.find("resolver", "tape", cache_dir=cache).distribution == "tape"
