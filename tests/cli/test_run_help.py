"""The help of `run`: its options in groups, one line each."""

from __future__ import annotations

from tests.cli.conftest import Call


def test_the_options_of_run_are_grouped_with_the_everyday_ones_first(call: Call) -> None:
    shown = call("run", "--help").lines

    groups = [line for line in shown if line.endswith(":") and not line.startswith(" ")]
    assert groups == [
        "Arguments:",
        "Options:",
        "Runs that are there:",
        "Batches:",
        "What it runs with:",
        "When, and how often:",
        "Look, and run nothing:",
    ]
    assert shown[shown.index("Options:") + 1].startswith("  --yes, -y: ")


def test_every_option_of_run_is_told_in_one_line(call: Call) -> None:
    shown = call("run", "--help").lines
    options = [line for line in shown[shown.index("Options:") + 1 :] if line and not line.endswith(":")]

    assert len(options) > 35
    for line in options:
        assert line.startswith("  --") and line.endswith("."), line
        assert len(line) <= 80
