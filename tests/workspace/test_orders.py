from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestra.child import supervisor
from orchestra.errors import UserError
from orchestra.workspace.orders import (
    ORDERS,
    Orders,
    decode_orders,
    encode_orders,
    name_ahead,
    name_orders,
    read_orders,
    write_orders,
)

texts = st.binary(max_size=20).map(lambda data: os.fsdecode(data.translate(None, b"\0")))
names = st.binary(max_size=20).map(lambda data: os.fsdecode(data.translate(None, b"\0="))).filter(bool)
seconds = st.floats(0, 1e6)
all_orders = st.builds(
    Orders,
    run=names,
    attempt=st.integers(1, 10**6),
    nonce=names,
    cwd=names,
    arguments=st.lists(texts, min_size=1).map(tuple),
    environment=st.dictionaries(names, texts),
    unset=st.lists(names).map(tuple),
    output=st.sampled_from(("piped", "direct")),
    streams=st.sampled_from(("one", "two")),
    stdin=st.sampled_from(("null", "inherit")),
    fsync=st.booleans(),
    grace=seconds,
    stop_timeout=seconds,
    leftovers=st.sampled_from(("kill", "wait")),
    stop_after=st.none() | seconds,
)


@settings(max_examples=40, deadline=None)
@given(orders=all_orders)
def test_orders_survive_their_file(orders: Orders) -> None:
    assert decode_orders(encode_orders(orders)) == orders


@settings(max_examples=40, deadline=None)
@given(orders=all_orders)
def test_the_supervisor_reads_what_was_ordered(
    tmp_path_factory: pytest.TempPathFactory, orders: Orders
) -> None:
    directory = tmp_path_factory.mktemp("attempt")
    write_orders(directory, orders)
    theirs = supervisor.OrdersFile(os.fsencode(directory))
    assert theirs.arguments == [os.fsencode(argument) for argument in orders.arguments]
    assert theirs.changes == [
        (os.fsencode(name), os.fsencode(value)) for name, value in orders.environment.items()
    ]
    assert theirs.unset == [os.fsencode(name) for name in orders.unset]
    assert theirs.cwd == os.fsencode(orders.cwd)
    assert theirs.nonce == orders.nonce
    assert theirs.job == f"{orders.run}.{orders.attempt}"
    assert theirs.direct == (orders.output == "direct")
    assert theirs.two == (orders.streams == "two")
    assert theirs.inherit == (orders.stdin == "inherit")
    assert theirs.wait == (orders.leftovers == "wait")
    assert (theirs.fsync, theirs.grace, theirs.stop_timeout) == (
        orders.fsync,
        orders.grace,
        orders.stop_timeout,
    )
    assert theirs.stop_after == (supervisor.NEVER if orders.stop_after is None else orders.stop_after)


PLAIN = {"run": "r", "attempt": 1, "nonce": "n", "cwd": "/"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"arguments": ("a\0b",)},
        {"arguments": ("a",), "environment": {"A": "\0"}},
        {"arguments": ("a",), "environment": {"": "x"}},
        {"arguments": ("a",), "environment": {"A=B": "x"}},
        {"arguments": ("a",), "unset": ("=",)},
    ],
)
def test_what_no_process_can_be_given_is_refused_before_anything_is_written(
    tmp_path: Path, wrong: dict[str, object]
) -> None:
    with pytest.raises(UserError):
        write_orders(tmp_path / "a", Orders(**{**PLAIN, **wrong}))  # type: ignore[arg-type]
    assert os.listdir(tmp_path) == []


def test_an_attempt_without_orders_has_none(tmp_path: Path) -> None:
    assert read_orders(tmp_path / "a") is None


@pytest.mark.parametrize("named", [True, False])
def test_orders_replace_what_others_wrote_ahead_who_were_killed_before_they_claimed(
    tmp_path: Path, named: bool
) -> None:
    orders = Orders(run="run", attempt=1, nonce="new", cwd="/", arguments=("true",))
    for nonce in ("old", "older"):
        write_orders(tmp_path, orders, name=name_ahead(nonce))
    if named:
        write_orders(tmp_path, orders, name=name_ahead("new"))
        name_orders(tmp_path, "new")
    else:
        write_orders(tmp_path, orders)

    assert os.listdir(tmp_path) == [ORDERS]
    assert read_orders(tmp_path) == orders
