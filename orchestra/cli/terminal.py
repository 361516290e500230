"""Writing to standard output, and telling on standard error: whole, at once, whatever the locale and the bytes are."""

from __future__ import annotations

import codecs
import math
import os
import re
from collections.abc import Callable
from typing import Any, cast

_HARMFUL = re.compile(
    "\x1b(?!\\[[0-9;:]*m)|[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"
)
_UNDECIDED = re.compile("\x1b(\\[[0-9;:]{0,64})?$")


def write(text: str) -> None:
    """Write text for people: what has no form in UTF-8, or could drive a terminal, is shown escaped. Colours stay.

    Raises:
        BrokenPipeError: nobody reads any more.
    """
    draw(defuse(text))


def draw(text: str) -> None:
    """Write text that drives the terminal: what is not ours in it must be defused."""
    write_bytes(text.encode(errors="backslashreplace"))


def tell(text: str) -> None:
    """Write a line to standard error, such that nothing in it drives the terminal."""
    os.write(2, f"{defuse(text)}\n".encode(errors="backslashreplace"))


def hint(text: str) -> None:
    """Tell a person why nothing is shown; programs, which read standard output, know what nothing means."""
    if text and os.isatty(1):
        tell(text)


def write_exact(text: str) -> None:
    """Write text for programs, such as paths: bytes that are not UTF-8 come out as they went in."""
    try:
        write_bytes(text.encode(errors="surrogateescape"))
    except UnicodeEncodeError:
        draw(text)


def write_for_either(text: str) -> None:
    """Write text that people look at on a terminal, and that programs read from a pipe."""
    (write if os.isatty(1) else write_exact)(text)


def write_json(value: object, *, indented: bool = True) -> None:
    """Write one JSON document, indented by two or in one line. Numbers that JSON has no form for are null."""
    import msgspec

    try:
        data = msgspec.json.encode(value)
        data = msgspec.json.format(data, indent=2) if indented else data
    except (OverflowError, UnicodeEncodeError):
        import json

        # Numbers beyond 64 bits, and bytes that are not UTF-8 as lone surrogates.
        finite = _finite(msgspec.to_builtins(value))
        data = json.dumps(finite, indent=2 if indented else None).encode()
    write_bytes(data + b"\n")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in cast("dict[str, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in cast("list[Any]", value)]
    return value


def write_bytes(data: bytes) -> None:
    """Write all of ``data`` to file descriptor 1."""
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


def width() -> int | None:
    """The columns to fit lines into: COLUMNS, else those of the terminal; None where nothing says how many."""
    text = os.environ.get("COLUMNS", "")
    if text.isdigit() and int(text) > 0:
        return int(text)
    if not os.isatty(1):
        return None
    try:
        return os.get_terminal_size(1).columns or None
    except OSError:
        return None


def in_colour() -> bool:
    """Whether what is written may have colours."""
    return os.isatty(1) and not os.environ.get("NO_COLOR")


def shower(into: Callable[[bytes], object] | None = None) -> Callable[[bytes], None]:
    """What writes somebody's bytes, chunk by chunk: as they are, but to a terminal nothing that could drive it.

    Colours stay; every other control sequence is shown escaped. ``into`` leads to a terminal, by way of a pager.
    """
    if into is None and not os.isatty(1):
        return write_bytes
    put = into or write_bytes
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    held = ""

    def show(chunk: bytes) -> None:
        nonlocal held
        text = held + decoder.decode(chunk)
        undecided = _UNDECIDED.search(text)
        held = undecided[0] if undecided else ""
        put(defuse(text[: len(text) - len(held)]).encode(errors="backslashreplace"))

    return show


def defuse(text: str) -> str:
    """``text`` with all escaped that could drive a terminal, but for colours and the ends of lines."""
    return _HARMFUL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
