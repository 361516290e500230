"""`runs info` tells on which terms a run is started, and what it was given."""

from __future__ import annotations

from pathlib import Path

from orchestra.model.resources import Resources
from orchestra.model.retry import Retry
from orchestra.testing.builders import a_run
from tests.cli.conftest import Call
from tests.saved_runs import saved

UNSAID = {
    "resources": {},
    "needs": {},
    "priority": 0,
    "group": None,
    "after": [],
    "time_limit": None,
    "warning": None,
    "retry": None,
    "devices": [],
}


def test_the_terms_that_were_said_are_shown_as_they_are_given(call: Call, home: Path) -> None:
    run = a_run(
        resources=Resources(gpus=0.5, memory=64 << 20),
        priority=-3,
        group="a\x1b[2Jb",
        after=("first:ok", "second:any"),
        time_limit=5400.0,
        warning="USR1@60",
        retry=Retry(limit=2, on=("oom", "exit:75"), delay=1.5, scale={"memory": 2.0}),
        devices=("GPU-7:0.5",),
    )
    saved(home, run)

    lines = call("runs", "info").output
    told = call("runs", "info", "--json").json

    assert lines.partition("scalars:\n")[2].splitlines() == [
        "resources: gpus=0.5 memory=64M",
        "priority: -3",
        "group: a\\x1b[2Jb",
        "after:",
        "  - first:ok",
        "  - second:any",
        "time_limit: 1h30m",
        "warning: USR1@60",
        "retry:",
        "  max: 2",
        "  on: [oom, exit:75]",
        "  delay: 1.5s",
        "  scale:",
        "    memory: 2.0",
        "devices:",
        "  - GPU-7:0.5",
    ]
    assert {name: told[name] for name in UNSAID} == {
        "resources": {"gpus": 0.5, "memory": 67108864},
        "needs": {"gpus": 0.5, "memory": 67108864},
        "priority": -3,
        "group": "a\x1b[2Jb",
        "after": ["first:ok", "second:any"],
        "time_limit": 5400.0,
        "warning": "USR1@60",
        "retry": {"max": 2, "on": ["oom", "exit:75"], "delay": 1.5, "scale": {"memory": 2.0}},
        "devices": ["GPU-7:0.5"],
    }


def test_what_a_further_try_asks_for_is_shown_with_what_was_asked_for(call: Call, home: Path) -> None:
    grows = {"resources": Resources(cpus=1, memory=1 << 30), "retry": Retry(limit=2, scale={"memory": 2.0})}
    saved(home, a_run(state="error", attempt=3, executions=3, **grows))

    assert "\nresources: cpus=1 memory=1G (cpus=1 memory=4G at try 3)\n" in call("runs", "info").output
    assert call("runs", "info", "--json").json["needs"] == {"cpus": 1.0, "memory": 4 << 30}


def test_terms_that_nobody_has_said_are_no_lines_and_empty_for_programs(call: Call, home: Path) -> None:
    saved(home, a_run())

    assert call("runs", "info").lines[-1] == "scalars:"
    told = call("runs", "info", "--json").json
    assert {name: told[name] for name in UNSAID} == UNSAID
    assert list(told)[-len(UNSAID) :] == list(UNSAID)
