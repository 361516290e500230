"""How a comparison is written: cells for people, cells for other programs, CSV, JSON."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from orchestra.cli.run_text import format_time
from orchestra.model.comparison import Comparison
from orchestra.model.flags import encode
from orchestra.model.repeats import seeds_of
from orchestra.model.subjects import Moment, Seconds, Value

SCHEMA: Final = 1
"""The version of the JSON form. A reader ignores what it doesn't know."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MORE_DECIMALS: Final = re.compile(r"(\.[0-9]{6})[0-9]+")
_TO_QUOTE: Final = re.compile('[",\r\n]')
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def cell_text(value: Value) -> str:
    """A value as people read it: numbers with no more than six decimals, cut and not rounded."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, Moment | Seconds):
        return time_text(value)
    if isinstance(value, float):
        return _MORE_DECIMALS.sub(r"\1", repr(value))
    return encode(msgspec.to_builtins(value))


def time_text(value: Moment | Seconds) -> str:
    """``2025-01-02 10:11:12`` or ``0:00:07``."""
    if isinstance(value, Moment):
        return format_time(value)
    minutes, seconds = divmod(int(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"


def plain(value: Value) -> Any:
    """A value for programs that read the predecessor's: times as texts, all else as it is."""
    return time_text(value) if isinstance(value, Moment | Seconds) else value


def as_csv(comparison: Comparison, *, raw: bool) -> bytes:
    """The headings and the values, exactly, with commas between them; nothing where there is no row.

    Times are as of ISO 8601, in UTC, with microseconds, and how long a run took is in seconds.

    A text that a spreadsheet would take for a formula gets a ``'`` before it, unless ``raw``.
    """
    if not comparison.rows:
        return b""
    rows: list[Sequence[Value]] = [comparison.headings, *(row.values for row in comparison.rows)]
    lines = [",".join(_csv_field(value, raw) for value in row) for row in rows]
    text = "".join(f"{line}\n" for line in lines)
    try:
        return text.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return text.encode(errors="backslashreplace")


def _csv_field(value: Value, raw: bool) -> str:
    if value is None:
        return ""
    if isinstance(value, Moment):
        return _exact_time(value)
    if isinstance(value, bool | int | float):
        return repr(float(value) if isinstance(value, Seconds) else value)
    if not isinstance(value, str):
        value = encode(msgspec.to_builtins(value))
    if value.startswith(_FORMULA) and not raw:
        value = f"'{value}"
    # The standard library's writer leaves a carriage return bare where lines don't end in one.
    return '"' + value.replace('"', '""') + '"' if _TO_QUOTE.search(value) else value


def _exact_time(microseconds: Moment) -> str:
    try:
        return (_EPOCH + timedelta(microseconds=microseconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    except OverflowError:
        # No calendar has it, whatever a foreign record says.
        return str(int(microseconds))


def as_json(comparison: Comparison, *, grouped: bool) -> dict[str, Any]:
    """What ``compare --json`` prints."""
    return {
        "schema": SCHEMA,
        "columns": [{"name": column.heading, "kind": column.kind} for column in comparison.columns],
        "rows": [
            {
                "runs": [run.id for run in row.runs],
                **({"seeds": seeds_of(row.runs)} if grouped else {}),
                "values": dict(zip(comparison.headings, map(_number, row.values), strict=True)),
            }
            for row in comparison.rows
        ],
    }


def _number(value: Value) -> Any:
    if isinstance(value, Moment):
        return int(value)
    return float(value) if isinstance(value, Seconds) else value


def with_ids(comparison: Comparison) -> list[list[Any]]:
    """The headings, then the values of each row, with the whole id of each run in the place of the short one."""
    rows = [[row.runs[0].id, *map(plain, row.values[1:])] for row in comparison.rows]
    return [["id", *comparison.headings[1:]], *rows]
