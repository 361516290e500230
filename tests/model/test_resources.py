"""What a run asks of a computer, as text and as an amount."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestra.errors import UserError
from orchestra.model.resources import Resources, format_memory, parse_memory, parse_resources
from orchestra.model.retry import Retry, parse_retry

amounts = st.one_of(st.integers(0, 64).map(float), st.sampled_from([0.25, 0.5]))


@given(gpus=amounts, cpus=amounts, memory=st.integers(0, 1 << 45))
def test_resources_are_read_back_as_they_are_shown(gpus: float, cpus: float, memory: int) -> None:
    resources = Resources(gpus=gpus, cpus=cpus, memory=memory)

    assert parse_resources(str(resources)) == resources


@given(st.integers(0, 1 << 60))
def test_a_size_of_memory_is_shown_with_a_tenth_at_most_and_no_more_than_it_is(size: int) -> None:
    text = format_memory(size)

    shown = parse_memory(text)
    assert size * 0.9 < shown <= size or shown == size
    assert len(text.partition(".")[2]) <= len("9G")


@pytest.mark.parametrize(
    ("size", "text"),
    [
        *((0, "0B"), (1023, "1023B"), (7906880 << 10, "7.5G"), (8 << 30, "8G"), ((8 << 30) - 1, "7.9G")),
        *((1000 << 20, "1000M"), ((1 << 30) - 1, "1023M"), (3 << 40, "3T")),
    ],
)
def test_people_are_shown_a_size_of_memory_in_its_biggest_unit(size: int, text: str) -> None:
    assert format_memory(size) == text


@pytest.mark.parametrize(
    ("text", "size"),
    [("8G", 8 << 30), ("512m", 512 << 20), ("1.5GiB", 3 << 29), ("100B", 100), ("7 b", 7), ("2kB", 2048)],
)
def test_memory_is_given_with_a_unit(text: str, size: int) -> None:
    assert parse_memory(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "gpu=1",
        "gpus",
        "gpus=",
        "gpus=-1",
        "gpus=x",
        "gpus=inf",
        "memory=8X",
        "memory=8",
        "memory=",
        "cpus=1 cpus=2",
        "gpus=1.5",
        "=1",
    ],
)
def test_what_is_no_amount_of_a_resource_is_refused(text: str) -> None:
    with pytest.raises(UserError):
        parse_resources(text)


def test_each_further_execution_asks_for_so_many_times_as_much() -> None:
    first = Resources(cpus=2, memory=1 << 30)

    assert first.times({"memory": 2}, 1) == first
    assert first.times({"memory": 2}, 3) == Resources(cpus=2, memory=4 << 30)


@pytest.mark.parametrize(
    ("causes", "executions", "wanted"),
    [
        (("oom", "signal:9"), 1, True),
        (("exit:75",), 2, True),
        (("exit:1",), 1, False),
        (("exit:75",), 3, False),
        ((), 1, False),
    ],
)
def test_a_run_is_tried_again_for_the_causes_that_were_named_and_as_often(
    causes: tuple[str, ...], executions: int, wanted: bool
) -> None:
    assert Retry(limit=2, on=("oom", "exit:75")).wants(causes, executions) is wanted


def test_a_signal_may_be_named() -> None:
    assert parse_retry(1, "signal:SEGV,signal:sigkill,signal:9").on == ("signal:11", "signal:9", "signal:9")


def test_devices_grow_to_whole_ones() -> None:
    grown = [Resources(gpus=0.5).times({"gpus": 1.5}, attempt).gpus for attempt in (1, 2, 3)]

    assert grown == [0.5, 0.75, 2]


def test_a_run_that_is_lost_again_and_again_is_given_up() -> None:
    retry = Retry(limit=100)

    assert [retry.wants(("lost",), executions) for executions in (1, 4, 5, 6)] == [True, True, False, False]
    assert retry.wants(("exit:1",), 50)


def test_the_pause_doubles_with_each_retry_up_to_an_hour() -> None:
    retry = Retry(limit=100, delay=10)

    assert [retry.pause(executions) for executions in (1, 2, 3, 60)] == [10, 20, 40, 3600]
    assert Retry(limit=1).pause(1) == 0


@pytest.mark.parametrize(
    "given",
    [
        {"limit": -1},
        {"on": "exit"},
        {"on": "never"},
        {"delay": -1.0},
        {"scale": "memory"},
        {"scale": "gpu=2"},
    ],
)
def test_a_retry_that_has_no_meaning_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(UserError):
        parse_retry(**{"limit": 1, **given})  # type: ignore[arg-type]
