"""``plugins new`` writes a package, and says how to go on."""

from __future__ import annotations

import os
from pathlib import Path

from tests.cli.conftest import Call


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
