"""``plugins new`` writes a package and says how to go on; ``plugins check`` tells an author what is wrong."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

# A fake site hides what is installed: what listing plugins imports late must be there before.
import pytest
import stevedore  # noqa: F401

from orchestra import plugins
from orchestra.cli import plugin_kits
from orchestra.plugins import PluginInfo, Remark
from orchestra.testing.distributions import FakeSite, fake_site
from orchestra.testing.expanders import CountingContract, ExpanderContract
from tests.cli.conftest import Call

__all__ = ["fake_site"]

ROOT = Path(__file__).parents[2]


def test_a_package_is_written_and_the_next_steps_are_told(call: Call, tmp_path: Path) -> None:
    refused = call("plugins", "new", "executor", "My_Cluster", "--dir", "my plugins")
    assert refused[::2] == (
        1,
        f"orchestra: '{tmp_path}/my plugins' is not a directory\nMake it first, or choose another place.\n",
    )
    (tmp_path / "my plugins").mkdir()
    called = call("plugins", "new", "executor", "My_Cluster", "--dir", "my plugins")

    assert called.code == 0
    assert called.lines == [
        "Wrote my plugins/orchestra-my-cluster: an executor that works, its options and its tests. To go on:",
        "  cd 'my plugins/orchestra-my-cluster'",
        "  pip install -e '.[test]' && pytest",
        "  orchestra plugins check my-cluster",
    ]
    assert (tmp_path / "my plugins" / "orchestra-my-cluster" / "pyproject.toml").is_file()


def test_a_kind_that_there_is_not_is_a_wrong_usage(call: Call, tmp_path: Path) -> None:
    called = call("plugins", "new", "scheduler", "mine")

    assert called.code == 2
    assert 'Choose from: "store", "executor", "expander", "resolver"' in called.error
    assert "orchestra-mine" not in os.listdir(tmp_path)


def test_a_name_that_is_taken_is_refused(call: Call) -> None:
    called = call("plugins", "new", "store", "sqlite")

    assert called.code == 1
    assert called.error.startswith("orchestra: the store 'sqlite' is provided by orchestra-runs")


def test_a_file_is_checked_that_nobody_has_installed(call: Call, tmp_path: Path) -> None:
    call("plugins", "new", "store", "tape-rack")
    file = "orchestra-tape-rack/src/orchestra_tape_rack/store.py"
    assert call("plugins", "check", file).code == 0

    path = tmp_path / "broken_rack.py"
    path.write_text((tmp_path / file).read_text().replace("async def renew", "def renew"))
    called = call("plugins", "check", "broken_rack.py")

    assert called.code == 3
    assert (
        "problem  store broken_rack  store 'broken_rack' of broken_rack.py: renew() must be 'async def'."
        in (called.output)
    )
    assert f"At {path}:" in called.output
    assert "The contract has 'async def renew(self, worker: Worker, lease: float)" in called.output
    told = call("plugins", "check", "broken_rack.py", "--json")
    assert (told.code, told.json[-1]["level"]) == (3, "problem")
    assert told.json[-1].keys() == {"kind", "name", "level", "message", "where", "advice"}


def test_a_file_that_there_is_not_can_not_be_checked(call: Call) -> None:
    assert call("plugins", "check", "./none.py")[::2] == (1, "orchestra: there is no file 'none.py'\n")


def test_one_that_is_refused_is_listed_with_the_reason_and_hinders_nobody(
    call: Call, fake_site: FakeSite
) -> None:
    fake_site.install("tape-rack", "2", entry_points={"orchestra.stores.v9": {"tape": "tape:open_store"}})

    listed = {one["name"]: one for one in call("plugins", "--json").json}
    assert listed["tape"]["contract"] == "9.0"
    assert "written for version 9.0 of the store contract" in listed["tape"]["error"]
    assert listed["sqlite"]["error"] is None
    assert call("runs").code == 0
    assert call("plugins", "check", "tape-rack").code == 3
    assert "tape" not in sys.modules


def test_why_what_is_installed_is_not_listed_is_told(call: Call, fake_site: FakeSite) -> None:
    fake_site.install("tape-rack", entry_points={"orchestra.store": {"tape": "tape:open_store"}})
    fake_site.install("nothing-here")

    assert "Did you mean 'sqlite'? Installed plugins: " in call("plugins", "check", "sqlitte").error
    for name in ("tape", "tape-rack"):
        called = call("plugins", "check", name)
        assert called.code == 1
        assert "tape-rack declares 'tape' in the group 'orchestra.store': it must be 'orchestra.stores'." in (
            called.error
        )
    assert (
        "nothing-here is installed, and declares no plugin" in call("plugins", "check", "nothing-here").error
    )


FORGETFUL = """
from contextlib import asynccontextmanager
from msgspec import Struct
from orchestra.model.batch import Proposal, combine

class Options(Struct, frozen=True, forbid_unknown_fields=True):
    pass

class Forgetful:
    async def propose(self, batch, history, limit):
        point = {name: dimension.values[0] for name, dimension in batch.space.items()}
        trials = (combine(batch, point),) * min(limit, batch.max_trials - len(history))
        return Proposal(trials=trials, exhausted=not trials)
    def count(self, batch):
        return batch.max_trials

@asynccontextmanager
async def open_expander(options: Options):
    yield Forgetful()
"""


def test_the_kit_of_its_contract_is_run_on_an_installed_plugin(
    call: Call, fake_site: FakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = {"orchestra.expanders": {"forgetful": "forgetful:open_expander"}}
    fake_site.install("tape-rack", modules={"forgetful.py": FORGETFUL}, entry_points=points)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(ROOT), str(fake_site.path))))

    called = call("plugins", "check", "forgetful", "grid", "file", "--kit", "--json")

    assert called.code == 3
    told = [(one["name"], one["level"], one["message"]) for one in called.json]
    problems = [message for name, level, message in told if level == "problem"]
    assert {name for name, level, _ in told if level == "problem"} == {"forgetful"}
    assert any(
        one.startswith("test_says_that_it_is_exhausted_with_the_last_trial_and_not_before[asyncio]: ")
        for one in problems
    )
    assert not any("test_count" in one or "test_every_trial_has_every_flag" in one for one in problems)
    (passed,) = [m for name, level, m in told if name == "grid" and "passes" in m]
    assert passed.startswith("It passes the ") and passed.endswith(" tests of the expander kit.")
    assert told[-1][:2] == ("file", "note")


def test_the_kit_is_run_on_what_is_named_also_in_a_file(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call("plugins", "check", "--kit").code == 2
    (tmp_path / "forgetful_file.py").write_text(FORGETFUL)
    run: list[str] = []

    def ran(info: PluginInfo) -> list[Remark]:
        run.append(info.distribution)
        return [Remark(level="ok", message="It passes.")]

    monkeypatch.setattr(plugin_kits, "run_kit", ran)
    called = call("plugins", "check", "./forgetful_file.py", "--kit")

    assert (called.code, run) == (0, ["forgetful_file.py"])
    assert called.lines[-1].endswith("It passes.")
    kit = plugin_kits.contract_of_file("expander", str(tmp_path / "forgetful_file.py"))
    assert issubclass(kit, ExpanderContract) and issubclass(kit, CountingContract)


SHARED = """
from contextlib import asynccontextmanager
from msgspec import Struct
from orchestra.testing.memory_store import MemoryData, MemoryStore
class Options(Struct, frozen=True, forbid_unknown_fields=True):
    pass
everywhere = MemoryData()
@asynccontextmanager
async def open_store(options: Options):
    yield MemoryStore(everywhere)
"""


def test_the_kit_makes_no_runs_where_other_homes_find_them(call: Call, tmp_path: Path) -> None:
    (tmp_path / "shared.py").write_text(SHARED)

    called = call("plugins", "check", "./shared.py", "--kit", "--json")

    assert called.code == 3
    assert "keeps runs where all homes find them" in called.json[-1]["message"]
    assert not plugin_kits._is_shared(plugins.find("store", "sqlite"))


def test_a_kit_that_was_not_run_is_no_success(call: Call, tmp_path: Path) -> None:
    (tmp_path / "demanding.py").write_text(
        FORGETFUL.replace("class Options(Struct", "class Options(Struct, kw_only=True").replace(
            "    pass", "    depth: int", 1
        )
    )

    called = call("plugins", "check", "demanding.py", "file", "--kit")

    assert called.code == 3
    assert called.error == "orchestra: the kit was not run on: demanding, file\n"
    assert "The kit was not run: it needs options that have defaults." in called.output
    assert call("plugins", "check", "demanding.py", "--kit", "--json").code == 3
    assert call("plugins", "check", "demanding.py").code == 0


def test_what_the_kit_needs_is_named_with_the_command_that_installs_it(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *more: None if name in ("pytest", "trio") else find(name, *more),
    )

    refused = call("plugins", "check", "grid", "--kit")

    assert refused.code == 1
    assert refused.error.splitlines() == [
        "orchestra: the kit needs pytest and trio",
        f"Install them: {sys.executable} -m pip install pytest trio",
    ]


def test_a_folder_is_told_from_a_plugin_with_what_can_be_checked(call: Call, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for name in ("mine", "mine/"):
        refused = call("plugins", "check", name)
        assert (refused.code, refused.error.splitlines()[0]) == (
            1,
            "orchestra: 'mine' is a folder, and what is checked is a plugin",
        )
        assert "Name a FILE.py that has an opener" in refused.error
    (tmp_path / "mine" / "pyproject.toml").touch()
    assert "Install its package ('pip install -e mine')" in call("plugins", "check", "mine").error
    (tmp_path / "grid").mkdir()
    assert call("plugins", "check", "grid").code == 0


def test_a_script_is_not_run_by_checking_whether_it_is_a_plugin(call: Call, tmp_path: Path) -> None:
    (tmp_path / "train_me.py").write_text("import sys\nopen('ran', 'w')\nsys.exit('usage: train_me.py')\n")

    refused = call("plugins", "check", "train_me.py")

    assert refused.code == 3
    assert "'train_me.py' has no function open_store, open_executor, open_expander or open_resolver." in (
        refused.output
    )
    assert "usage" not in refused.output + refused.error
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "way",
    [
        "if True:\n    def open_it(): pass",
        "from os import *",
        "try:\n    from os import open as open_it\nexcept ImportError:\n    pass",
        "open_it = print",
        "def __getattr__(name): raise AttributeError",
        "x = 1 if True else 2\ny = lambda: x\nmatch x:\n    case 1:\n        def open_it(): pass",
    ],
)
def test_a_file_that_may_have_an_opener_is_imported_without_our_arguments(
    call: Call, tmp_path: Path, way: str
) -> None:
    name = f"maybe_{abs(hash(way))}"
    (tmp_path / f"{name}.py").write_text(f"import sys\nprint(sys.argv)\n{way}\n")

    assert f"['{name}.py']\n" in call("plugins", "check", f"{name}.py").error


def test_one_of_which_nothing_is_set_is_told_what_to_set_and_not_of_an_outage(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "far.py").write_text(
        FORGETFUL.replace("    pass", "    depth: int = 1\n    url: str = ''", 1).replace(
            "    yield Forgetful()", "    raise StoreUnavailable('nobody answers')\n    yield"
        )
        + "open_store = open_expander\nfrom orchestra.errors import StoreUnavailable\n"
    )

    told = call("plugins", "check", "far.py", "--kind", "store")

    assert told.code == 3
    assert "Nothing is set of store 'far' of far.py, and without that it can't be used: nobody answers." in (
        told.output
    )
    assert "'plugins: {store: {far: {url: VALUE}}}' in the home's config.yml, or" in told.output
    assert "for once ORCHESTRA_STORE='far url=VALUE'." in told.output
    monkeypatch.setenv("ORCHESTRA_STORE", "sqlite patience=2")
    assert "It opens with the options that are set" in call("plugins", "check", "sqlite").output
    assert "It opens with its default options" in call("plugins", "check", "grid").output
