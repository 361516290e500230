"""The orders of an attempt: what its supervisor must do, in a form that is read without JSON."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, TypeAlias, cast

from msgspec import Struct

from orchestra.errors import RunBroken, UserError
from orchestra.model import versions
from orchestra.model.operation import OutputMode
from orchestra.workspace.codec import newer, read_bytes, unreadable
from orchestra.workspace.durable import TEMPORARY, fail, make_dirs, write_atomic

ORDERS = "orders"
GRACE = 5.0
STOP_TIMEOUT = 10.0
"""Seconds, where nothing is said of them."""

Streams: TypeAlias = Literal["one", "two"]
Stdin: TypeAlias = Literal["null", "inherit"]
Leftovers: TypeAlias = Literal["kill", "wait"]


class Orders(Struct, frozen=True, kw_only=True):
    """What a supervisor must do. Times are seconds."""

    run: str
    attempt: int
    nonce: str
    """Tells this attempt's supervisor from any other; part of the cookie."""
    cwd: str
    arguments: tuple[str, ...]
    """The operation's command line."""
    environment: dict[str, str] = {}
    """Variables to set in the operation's environment."""
    unset: tuple[str, ...] = ()
    """Variables to take out of it."""
    output: OutputMode = "piped"
    streams: Streams = "one"
    stdin: Stdin = "null"
    fsync: bool = True
    grace: float = GRACE
    """How long processes that outlive the main one may go on before they are told to end."""
    stop_timeout: float = STOP_TIMEOUT
    """From TERM to KILL."""
    leftovers: Leftovers = "kill"
    starter: str = "command"
    """Who started the attempt, for those who find nothing but this."""
    queue: str | None = None
    """Id of the queue that did."""
    stop_after: float | None = None
    """Stop the operation after so long."""
    time_limit: float | None = None
    """End it after so long: as a stop does, and its end counts as ``timeout``."""
    warning: int = 0
    """The number of a signal for the operation ahead of that; 0: none."""
    warn_before: float = 0.0
    """How long before the time limit."""
    output_limit: int | None = None
    """Bytes of output beyond which its middle is given up."""


def encode_orders(orders: Orders) -> bytes:
    """Entries ``key=value``, each ended by NUL; text in the file system's encoding.

    Raises:
        UserError: a value holds a NUL, or a variable's name is empty or holds ``=``: no process can have
            such.
    """
    # What need not be there comes first: a file that was cut lacks something that must be.
    entries = [
        *_optional_entries(orders),
        ("version", str(versions.ORDERS)),
        ("run", orders.run),
        ("attempt", str(orders.attempt)),
        ("nonce", orders.nonce),
        ("cwd", orders.cwd),
        *(("arg", argument) for argument in orders.arguments),
        *(("env", f"{_check_name(name)}={value}") for name, value in orders.environment.items()),
        *(("unset", _check_name(name)) for name in orders.unset),
        ("output", orders.output),
        ("streams", orders.streams),
        ("stdin", orders.stdin),
        ("fsync", "1" if orders.fsync else "0"),
        ("grace", repr(float(orders.grace))),
        ("stop_timeout", repr(float(orders.stop_timeout))),
        ("leftovers", orders.leftovers),
    ]
    text = "".join([f"{key}={value}\0" for key, value in entries])
    if text.count("\0") != len(entries):
        wrong = next(key for key, value in entries if "\0" in value)
        raise UserError(f"run {orders.run}: a NUL can't be part of {_PLACES.get(wrong, wrong)}")
    return os.fsencode(text)


def _optional_entries(orders: Orders) -> list[tuple[str, str]]:
    entries = [("starter", orders.starter)]
    if orders.queue is not None:
        entries.append(("queue", orders.queue))
    if orders.stop_after is not None:
        entries.append(("stop_after", repr(float(orders.stop_after))))
    if orders.time_limit is not None:
        entries.append(("time_limit", repr(float(orders.time_limit))))
    if orders.warning:
        entries += [("warning", str(orders.warning)), ("warn_before", repr(float(orders.warn_before)))]
    if orders.output_limit is not None:
        entries.append(("output_limit", str(orders.output_limit)))
    return entries


_PLACES = {"arg": "an argument", "env": "an environment variable", "cwd": "a directory"}


def _check_name(name: str) -> str:
    if not name or "=" in name:
        raise UserError(f"'{name}' can't be the name of an environment variable")
    return name


def decode_orders(data: bytes) -> Orders:
    """The inverse of :func:`encode_orders`; entries with other keys are ignored.

    Raises:
        ValueError: an entry is missing or torn.
    """
    if not data.endswith(b"\0"):
        raise ValueError("the last entry is torn")
    values: dict[str, str] = {}
    repeated: dict[str, list[str]] = {"arg": [], "env": [], "unset": []}
    for entry in data[:-1].split(b"\0"):
        key, separator, value = os.fsdecode(entry).partition("=")
        if not separator:
            raise ValueError(f"an entry without '=': {entry[:40]!r}")
        if key in repeated:
            repeated[key].append(value)
        else:
            values[key] = value
    return _build(values, repeated)


def _build(values: dict[str, str], repeated: dict[str, list[str]]) -> Orders:
    try:
        return Orders(
            run=values["run"],
            attempt=int(values["attempt"]),
            nonce=values["nonce"],
            cwd=values["cwd"],
            arguments=tuple(repeated["arg"]),
            environment={
                name: value for name, _, value in (entry.partition("=") for entry in repeated["env"])
            },
            unset=tuple(repeated["unset"]),
            output=cast(OutputMode, values["output"]),
            streams=cast(Streams, values["streams"]),
            stdin=cast(Stdin, values["stdin"]),
            fsync=values["fsync"] == "1",
            grace=float(values["grace"]),
            stop_timeout=float(values["stop_timeout"]),
            leftovers=cast(Leftovers, values["leftovers"]),
            starter=values.get("starter", "command"),
            queue=values.get("queue"),
            stop_after=float(values["stop_after"]) if "stop_after" in values else None,
            time_limit=float(values["time_limit"]) if "time_limit" in values else None,
            warning=int(values.get("warning", 0)),
            warn_before=float(values.get("warn_before", 0)),
            output_limit=int(values["output_limit"]) if "output_limit" in values else None,
        )
    except KeyError as error:
        raise ValueError(f"no entry '{error.args[0]}'") from None


def name_ahead(nonce: str) -> str:
    """What orders are called that are written for an attempt which nobody has claimed: it may become another's."""
    return f"{ORDERS}.{nonce}{TEMPORARY}"


def name_orders(attempt_dir: Path, nonce: str) -> None:
    """Let the orders that were written ahead with this nonce be those of the attempt.

    Raises:
        StoreUnavailable, HomeError: they are gone, or could not be renamed.
    """
    try:
        os.rename(os.path.join(attempt_dir, name_ahead(nonce)), os.path.join(attempt_dir, ORDERS))
    except OSError as error:
        fail(error, attempt_dir)
    _drop_others(attempt_dir)


def write_orders(attempt_dir: Path, orders: Orders, *, name: str = ORDERS) -> None:
    """Make the attempt's directory and write its orders, in a file of this name.

    Not synced: orders that a power cut loses are orders that nobody has followed.

    Raises:
        UserError: as :func:`encode_orders`.
        StoreUnavailable, HomeError: they could not be written.
    """
    data = encode_orders(orders)
    if not os.path.isdir(attempt_dir):
        make_dirs(attempt_dir)
    write_atomic(os.path.join(attempt_dir, name), data, fsync=False)
    if name == ORDERS:
        _drop_others(attempt_dir)


def _drop_others(attempt_dir: Path) -> None:
    """Remove what others wrote ahead, who did not come to claim the attempt: they were killed, or slower."""
    try:
        for name in os.listdir(attempt_dir):
            if name.startswith(f"{ORDERS}.") and name.endswith(TEMPORARY):
                os.unlink(os.path.join(attempt_dir, name))
    except OSError:
        # They do no harm.
        pass


def read_orders(attempt_dir: Path) -> Orders | None:
    """The orders of an attempt, or None if it has none.

    Raises:
        RunBroken: they are torn, of a newer version, or can't be read.
        StoreUnavailable: they can't be read just now.
    """
    path = os.path.join(attempt_dir, ORDERS)
    try:
        data = read_bytes(path)
        if (version := _version_of(data)) > versions.ORDERS:
            raise newer(path, version, versions.ORDERS)
        return decode_orders(data)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise RunBroken(f"'{path}' is damaged: {error}") from error
    except OSError as error:
        raise unreadable(error, path) from error


def _version_of(data: bytes) -> int:
    for entry in data.split(b"\0"):
        if entry.startswith(b"version=") and entry[8:].isdigit():
            return int(entry[8:])
    return versions.FIRST
