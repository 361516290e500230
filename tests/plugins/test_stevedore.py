"""Six defects of stevedore 5.10 that were reproduced, and that must not become ours.

Each test shows the defect where it still can be shown, so that it tells us when stevedore is mended.
"""

from __future__ import annotations

import logging

import pytest

from orchestra import plugins
from orchestra.errors import PluginConflict, PluginLoadFailed, PluginNotFound
from tests.plugins.samples import SOUND, resolvers


def test_1_a_conflict_is_seen_though_other_names_lie_between(fake_site):
    fake_site.install("a", entry_points=resolvers(tape="one:open_it"))
    fake_site.install("b", entry_points=resolvers(zebra="zebra:open_it"))
    fake_site.install("c", entry_points=resolvers(tape="two:open_it"))

    with pytest.raises(PluginConflict, match=r"a 1\.0 and c 1\.0"):
        plugins.find("resolver", "tape")


async def _opened(name: str, home):
    async with plugins.open_plugin("resolver", name, {}, home) as plugin:
        return plugin


@pytest.mark.anyio
async def test_2_a_plugin_that_is_falsy_is_still_the_plugin(fake_site, tmp_path):
    falsy = SOUND.replace("class Sound:", "class Sound:\n    def __len__(self):\n        return 0")
    fake_site.install("empty", modules={"falsy.py": falsy}, entry_points=resolvers(empty="falsy:open_it"))

    plugin = await _opened("empty", tmp_path)

    assert not plugin
    assert not isinstance(plugin, type)
    assert plugin.options.home == tmp_path


def test_3_a_missing_plugin_is_an_error_and_no_line_in_somebody_elses_log(caplog):
    with caplog.at_level(logging.DEBUG), pytest.raises(PluginNotFound):
        plugins.find("resolver", "nowhere")

    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []


def test_4_a_plugin_is_found_by_its_own_name_and_is_not_the_first_of_its_group(fake_site):
    fake_site.install("two", entry_points=resolvers(aaa="first:open_it", zzz="second:open_it"))

    assert plugins.find("resolver", "zzz").target == "second:open_it"


def test_5_every_plugin_has_its_distribution_and_version(fake_site, tmp_path):
    fake_site.install("two", "7.1", entry_points=resolvers(aaa="first:open_it"))
    fake_site.settle()

    fresh = plugins.find("resolver", "aaa", cache_dir=tmp_path)
    cached = plugins.find("resolver", "aaa", cache_dir=tmp_path)

    assert (fresh.distribution, fresh.version) == ("two", "7.1")
    assert cached == fresh


@pytest.mark.parametrize(
    "defect", ["raise SystemExit(3)", "assert False, 'never'", "import not_there_at_all"]
)
def test_6_whatever_an_import_raises_is_a_plugin_that_failed_to_load(fake_site, defect):
    fake_site.install("ill", modules={"ill.py": defect}, entry_points=resolvers(ill="ill:open_it"))

    with pytest.raises(PluginLoadFailed, match=r"resolver 'ill' of ill 1\.0 can't be loaded"):
        plugins.load(plugins.find("resolver", "ill"))
