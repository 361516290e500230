"""Which staged runs are started: rules, and properties of any choice."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from orchestra.model.resources import Resources
from orchestra.model.run import Run
from orchestra.model.scheduling import Choice, Ended, Group, Machine, Situation, choose, device_shares
from orchestra.testing.builders import a_run

GPUS = Machine(cpus=8, memory=64 << 30, devices=("0", "1"))


def staged(number: int, **changes: Any) -> Run:
    return a_run(id=f"{number:032x}", staged=number, state="staged", **changes)


def gpus(number: int, amount: float, **changes: Any) -> Run:
    return staged(number, resources=Resources(gpus=amount), **changes)


def started(choice: Choice) -> list[int]:
    return [int(start.run.id, 16) for start in choice.starts]


def now(**changes: Any) -> Situation:
    return Situation(**{"now": 100, "slots": 9, "machine": GPUS, **changes})


def waits(choice: Choice) -> dict[int, str]:
    return {int(run, 16): reason for run, reason in choice.waits.items()}


def test_plain_runs_are_started_in_their_order_as_far_as_there_are_slots() -> None:
    choice = choose([staged(n) for n in (1, 2, 3)], now(slots=2))

    assert (started(choice), waits(choice)) == ([1, 2], {3: "a free slot"})
    assert [run.id for run in choice.spares] == [staged(3).id]
    assert not choice.exclusive


def test_each_run_gets_devices_of_its_own() -> None:
    choice = choose([gpus(1, 1), gpus(2, 1), gpus(3, 1)], now())

    assert [start.devices for start in choice.starts] == [("0",), ("1",)]
    assert waits(choice) == {3: "1 GPU(s), of which 0 are free"}
    assert choice.exclusive


def test_what_active_runs_were_given_is_taken() -> None:
    active = [structs.replace(gpus(9, 1), state="running", devices=("0",), granted=True)]

    choice = choose([gpus(1, 1), gpus(2, 1)], now(active=active))

    assert [start.devices for start in choice.starts] == [("1",)]


def test_a_device_that_others_use_is_waited_for() -> None:
    choice = choose([gpus(1, 2), gpus(2, 1)], now(busy=("0",)))

    assert (started(choice), choice.never) == ([], set())
    assert waits(choice) == {1: "2 GPU(s), of which 1 are free", 2: "its turn"}


def test_what_waits_for_its_resources_itself_takes_none_from_others() -> None:
    waiting = structs.replace(staged(9, resources=Resources(cpus=8)), state="pending")
    running = structs.replace(waiting, state="running", granted=True)

    assert started(choose([staged(1, resources=Resources(cpus=8))], now(active=[waiting]))) == [1]
    assert started(choose([staged(1, resources=Resources(cpus=8))], now(active=[running]))) == []


def test_a_part_of_a_processor_is_enough_for_a_plain_run() -> None:
    choice = choose([staged(1), staged(2)], now(machine=Machine(cpus=0.5), plain_cpus=1))

    assert started(choice) == [1]


def test_shares_fill_up_a_device_before_the_next_is_begun() -> None:
    choice = choose([gpus(n, 0.4) for n in range(1, 6)], now())

    assert [start.devices for start in choice.starts] == [("0:0.4",), ("0:0.4",), ("1:0.4",), ("1:0.4",)]


def test_smaller_runs_do_not_starve_one_that_waits_for_more() -> None:
    active = [structs.replace(gpus(9, 1), state="running", devices=("0",), granted=True)]

    choice = choose([gpus(1, 2), gpus(2, 1), staged(3)], now(active=active))

    assert started(choice) == [3]


def test_a_run_that_asks_for_more_than_there_is_holds_nobody_up() -> None:
    choice = choose([gpus(1, 4), gpus(2, 1)], now())

    assert started(choice) == [2]
    assert waits(choice) == {1: "4 GPU(s), of which there are 2"}
    assert choice.never == {gpus(1, 4).id}


def test_memory_and_processors_are_counted() -> None:
    big = staged(1, resources=Resources(cpus=6, memory=60 << 30))
    choice = choose(
        [big, staged(2, resources=Resources(cpus=4)), staged(3, resources=Resources(cpus=1))], now()
    )

    assert started(choice) == [1]
    assert waits(choice)[2] == "4 CPU(s), of which 2 are free"


def test_a_group_has_no_more_runs_at_once_than_its_limit() -> None:
    situation = now(groups={"db": Group(limit=2)}, members={"db": 1})
    choice = choose([staged(1, group="db"), staged(2, group="db"), staged(3)], situation)

    assert started(choice) == [1, 3]
    assert waits(choice) == {2: "a place in group db, of which 2 of 2 are taken"}


def test_what_is_paused_waits() -> None:
    runs = [staged(1, group="db"), staged(2)]

    assert started(choose(runs, now(groups={"db": Group(paused=True)}))) == [2]
    assert started(choose(runs, now(groups={"": Group(paused=True)}))) == []


def test_a_retry_waits_for_its_time_and_the_next_one_is_told() -> None:
    choice = choose([staged(1, not_before=200), staged(2, not_before=150), staged(3, not_before=100)], now())

    assert (started(choice), choice.look_at) == ([3], 150)


def test_a_run_comes_after_those_that_it_was_told_to_follow() -> None:
    targets = {"a": None, "b": Ended("completed"), "c": Ended("error"), "d": Ended("error", "d7")}
    runs = [staged(1, after=("a:ok",)), staged(2, after=("b:ok",)), staged(3, after=("c:any",))]
    runs += [staged(4, after=("c:ok",)), staged(5, after=("gone:ok",)), staged(6, after=("b:ok", "a:any"))]
    runs += [staged(7, after=("d:ok",))]

    choice = choose(runs, now(targets=targets))

    assert started(choice) == [2, 3]
    assert waits(choice) == {1: "run(s) to end: a", 6: "run(s) to end: a"}
    assert {int(run, 16): reason for run, reason in choice.aborts.items()} == {
        4: "run c, which it was to follow, ended as error",
        5: "run gone, which it was to follow, was deleted",
        7: "trial d7 of batch d, which it was to follow, ended as error",
    }


needs = st.builds(
    Resources,
    gpus=st.sampled_from([0, 0.25, 0.5, 1, 2, 3]),
    cpus=st.sampled_from([0, 1, 3, 8, 9]),
    memory=st.sampled_from([0, 8 << 30, 60 << 30]),
)
some_staged = st.lists(st.tuples(needs, st.sampled_from([None, None, "a", "b"])), max_size=12).map(
    lambda found: [
        staged(number, resources=wanted, group=group) for number, (wanted, group) in enumerate(found, 1)
    ]
)


@given(some_staged, st.integers(0, 6), st.integers(0, 3))
def test_no_choice_gives_more_than_there_is(runs: list[Run], slots: int, limit: int) -> None:
    first = choose(runs, now(slots=3))
    active = [
        structs.replace(start.run, state="pending", devices=start.devices, group=None, granted=True)
        for start in first.starts
    ]
    rest = [run for run in runs if run.id not in {one.id for one in active}]
    choice = choose(rest, now(slots=slots, active=active, groups={"a": Group(limit=limit)}))

    everything = [*active, *(structs.replace(start.run, devices=start.devices) for start in choice.starts)]
    shares = device_shares(device for run in everything for device in run.devices)
    assert len(choice.starts) <= slots
    assert all(share <= 1 + 1e-6 for share in shares.values())
    assert sum(run.resources.cpus for run in everything) <= 8
    assert sum(run.resources.memory for run in everything) <= 64 << 30
    assert sum(start.run.group == "a" for start in choice.starts) <= limit
    assert all(sum(device_shares(run.devices).values()) - run.resources.gpus < 1e-6 for run in everything)


@given(some_staged, st.integers(0, 6))
def test_every_run_is_started_or_waits_for_a_reason(runs: list[Run], slots: int) -> None:
    choice = choose(runs, now(slots=slots))

    assert {start.run.id for start in choice.starts} | set(choice.waits) == {run.id for run in runs}
    assert {start.run.id for start in choice.starts}.isdisjoint(choice.waits)


@given(some_staged)
def test_nobody_is_overtaken_by_a_run_that_takes_what_it_waits_for(runs: list[Run]) -> None:
    """Had those behind it not been there, the first that waits for a resource would wait all the same."""
    choice = choose(runs, now(slots=99))
    for number, run in enumerate(runs):
        if run.id in choice.waits:
            assert run.id in choose(runs[: number + 1], now(slots=99)).waits
