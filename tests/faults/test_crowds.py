"""Many processes at once: stagers, queues, listers, and several that want to start the very same run."""

from __future__ import annotations

import json
import time
from collections import Counter

from tests.faults.site import Site, wait_for


def test_of_those_that_start_one_run_at_once_one_does(site: Site) -> None:
    (run,) = site.stage()
    starters = [site.start("run", "-y", "--start", run.id) for _ in range(3)]
    queue = site.start("run", "-y", "queue", "run-once=yes", "ignore-running=yes")

    outputs = [each.communicate(timeout=60)[0] for each in starters]

    assert queue.wait(timeout=60) == 0
    # One that comes when all is over starts it again, as it was told to.
    first = [one for one in site.executions() if one.attempt == 1]
    assert len(first) == 1
    for starter, output in zip(starters, outputs, strict=True):
        started = "000000" in output
        assert started == (starter.returncode == 0), output
        assert started or "is already being started by" in output or "because it's running" in output, output


def test_of_those_that_start_one_waiting_run_at_once_one_does(site: Site) -> None:
    (run,) = site.stage(gate=str(site.gate))
    starters = [site.start("run", "-y", "--start", run.id) for _ in range(3)]

    wait_for(lambda: sum(each.poll() is not None for each in starters) == 2, "two refusals")

    assert sorted(each.poll() is None for each in starters) == [False, False, True]
    assert [each.returncode for each in starters if each.poll() is not None] == [1, 1]
    site.open_gate()
    (winner,) = (each for each in starters if each.poll() is None)
    assert winner.wait(timeout=60) == 0
    assert len(site.executions()) == 1


def test_stagers_queues_and_a_lister_do_not_disturb_each_other(site: Site) -> None:
    """In a home that is not there yet, so that they also race to make it."""
    stagers = [
        site.start("run", "-y", "quick.sh", "n=[1,2,3,4,5]", "--stage-trials", "--label", f"stager {n}")
        for n in range(10)
    ]
    queues = [site.start("run", "-y", "queue", "poll-interval=1") for _ in range(4)]
    listings = []
    deadline = time.monotonic() + 60
    while any(stager.poll() is None for stager in stagers) or site.states().count("completed") < 50:
        listings.append(site.run("runs", "--json", separate=True))
        assert time.monotonic() < deadline, Counter(site.states())

    for stager in stagers:
        output = stager.communicate(timeout=60)[0]
        assert stager.returncode == 0, output
        assert "lock" not in output and "Traceback" not in output
    for queue in queues:
        queue.terminate()
        output = queue.communicate(timeout=60)[0]
        assert queue.returncode == 0, output
        assert not {"lock", "could not", "ERROR"} & set(output.split()), output
    for listing in listings:
        assert listing.code == 0, listing
        assert isinstance(json.loads(listing.output), list)
    assert site.states() == ["completed"] * 50
    assert len(site.executions()) == 50


def test_four_queues_share_five_hundred_runs(site: Site) -> None:
    staged = site.run("run", "-y", "quick.sh", "n=range[1:500]", "--stage-trials", "--quiet")
    assert staged.code == 0, staged.output[-500:]
    queues = [site.start("run", "-y", "queue", "run-once=yes", "jobs=4") for _ in range(4)]

    outputs = [queue.communicate(timeout=100)[0] for queue in queues]

    assert [queue.returncode for queue in queues] == [0] * 4, outputs
    assert all("ERROR" not in output and "WARNING" not in output for output in outputs), outputs
    assert Counter(site.states()) == {"completed": 500}
    assert len(site.executions()) == 500
    assert {run.flags["n"] for run in site.runs()} == set(range(1, 501))


def test_a_store_that_is_rebuilt_while_a_run_is_made_has_it_once(site: Site) -> None:
    maker = site.start("run", "-y", "work.py", "--stage", failpoint="run.created:sleep=3")
    wait_for(
        lambda: site.layout.runs_dir.exists() and list(site.layout.runs_dir.glob("*/.orchestra/run.json"))
    )

    listed = json.loads(site.run("runs", "--json", separate=True).output)

    output = maker.communicate(timeout=60)[0]
    assert maker.returncode == 0, output
    assert [run["id"] for run in listed] == [run.id for run in site.runs()]
    assert site.states() == ["staged"]
