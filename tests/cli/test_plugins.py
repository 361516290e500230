"""``plugins new`` writes a package and says how to go on; ``plugins check`` tells an author what is wrong."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# A fake site hides what is installed: what listing plugins imports late must be there before.
import stevedore  # noqa: F401

from orchestra.testing.distributions import FakeSite, fake_site
from tests.cli.conftest import Call

__all__ = ["fake_site"]


def test_a_package_is_written_and_the_next_steps_are_told(call: Call, tmp_path: Path) -> None:
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

    for name in ("tape", "tape-rack"):
        called = call("plugins", "check", name)
        assert called.code == 1
        assert "tape-rack declares 'tape' in the group 'orchestra.store': it must be 'orchestra.stores'." in (
            called.error
        )
    assert (
        "nothing-here is installed, and declares no plugin" in call("plugins", "check", "nothing-here").error
    )
