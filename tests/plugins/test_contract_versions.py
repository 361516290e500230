"""A plugin for another version of its contract is refused in a sentence, and never imported; others are used."""

from __future__ import annotations

import sys

import pytest

from orchestra import plugins
from orchestra.contracts import CONTRACT_VERSIONS
from orchestra.errors import PluginConflict, PluginLoadFailed
from orchestra.plugins.listing import OWN_DISTRIBUTION
from tests.plugins.samples import RESOLVERS, SOUND, resolvers

BOMB = "raise SystemExit('imported')"


@pytest.fixture(autouse=True)
def ours(monkeypatch):
    """We keep version 2.3 of the resolvers' contract."""
    monkeypatch.setitem(CONTRACT_VERSIONS, "resolver", (2, 3))


@pytest.fixture
def install(fake_site):
    def install_plugin(*versions: str, name: str = "tape-robot") -> None:
        """Of the plugin ``tape``, an opener for each version."""
        module = name.replace("-", "_")
        points = {f"{RESOLVERS}{v}": {"tape": f"{module}:open_it{v.replace('.', '_')}"} for v in versions}
        fake_site.install(name, "1.2", modules={f"{module}.py": BOMB}, entry_points=points)

    return install_plugin


@pytest.mark.parametrize(
    ("version", "written_for", "upgrade"),
    [
        ("", "1.0", "tape-robot"),
        (".v1", "1.0", "tape-robot"),
        (".v1_9", "1.9", "tape-robot"),
        (".v2_4", "2.4", OWN_DISTRIBUTION),
        (".v2_10", "2.10", OWN_DISTRIBUTION),
        (".v3", "3.0", OWN_DISTRIBUTION),
    ],
)
def test_one_for_another_version_is_refused_and_who_must_be_upgraded_is_told(
    install, version, written_for, upgrade
):
    install(version)

    with pytest.raises(PluginLoadFailed) as error:
        plugins.load(plugins.find("resolver", "tape"))

    assert error.value.message == (
        f"resolver 'tape' of tape-robot 1.2 can't be loaded: it is written for version {written_for} of the "
        f"resolver contract, and 2.3 is kept here: upgrade {upgrade}"
    )
    assert "tape_robot" not in sys.modules


@pytest.mark.parametrize("version", [".v2", ".v2_0", ".v2_3"])
def test_one_for_our_version_or_an_earlier_minor_one_is_used(fake_site, version):
    points = {f"{RESOLVERS}{version}": {"tape": "tape:open_it"}}
    fake_site.install("tape-robot", modules={"tape.py": SOUND}, entry_points=points)

    assert plugins.load(plugins.find("resolver", "tape")) is sys.modules["tape"].open_it


@pytest.mark.parametrize(
    ("versions", "used"),
    [(("", ".v2", ".v3"), "_v2"), ((".v2", ".v2_2", ".v2_9"), "_v2_2"), (("", ".v3"), None)],
)
def test_of_several_versions_that_one_distribution_offers_the_newest_that_fits_is_used(
    install, versions, used
):
    install(*versions)

    (info,) = [info for info in plugins.list_plugins("resolver") if info.name == "tape"]

    assert info.target == f"tape_robot:open_it{used or '_v3'}"
    assert (info.error is None) is (used is not None)


def test_one_that_is_refused_takes_its_name_from_nobody(install):
    install(".v3", name="tape-new")
    install(".v2", name="tape-fit")

    assert plugins.find("resolver", "tape").distribution == "tape-fit"
    assert plugins.find("resolver", "tape").error is None


def test_two_that_fit_are_still_a_conflict(install):
    install(".v2", name="tape-a")
    install(".v2_1", name="tape-b")

    with pytest.raises(PluginConflict, match=r"tape-a 1\.2 and tape-b 1\.2"):
        plugins.find("resolver", "tape")


def test_each_kind_has_a_version_of_its_own(install, fake_site):
    install("")
    fake_site.install("disk", entry_points={"orchestra.expanders": {"disk": "disk:open_it"}})

    assert plugins.find("expander", "disk").error is None


def test_a_refusal_is_not_remembered_when_we_keep_another_version(install, fake_site, tmp_path, monkeypatch):
    install(".v3")
    fake_site.settle()
    assert plugins.find("resolver", "tape", cache_dir=tmp_path).error is not None
    monkeypatch.setitem(CONTRACT_VERSIONS, "resolver", (3, 0))

    assert plugins.find("resolver", "tape", cache_dir=tmp_path).error is None


@pytest.mark.parametrize(
    "group", ["orchestra.resolver", "orchestra.resolvers.2", "orchestra.resolvers.v", "orchestra.resolversv2"]
)
def test_what_is_no_group_of_ours_is_nobody_s_plugin(fake_site, group):
    fake_site.install("odd", entry_points={group: {"odd": "odd:open_it"}})

    assert "odd" not in [info.name for info in plugins.list_plugins()]


def test_without_a_version_it_is_the_first(monkeypatch, fake_site):
    monkeypatch.setitem(CONTRACT_VERSIONS, "resolver", (1, 0))
    fake_site.install("tape", entry_points=resolvers(tape="tape:open_it"))

    assert (plugins.find("resolver", "tape").contract, plugins.find("resolver", "tape").error) == (
        (1, 0),
        None,
    )
