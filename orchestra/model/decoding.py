"""Texts to typed values, as people write them on a command line, and back.

PyYAML has the last word on what a text means, but costs 20 ms to import: what a regular expression can
settle exactly is settled here, and PyYAML is imported only for the rest.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any, Final, TypeAlias, cast

from orchestra.errors import FlagError
from orchestra.model import sequences
from orchestra.model.batch import Interval
from orchestra.model.operation import FlagValue

Decoded: TypeAlias = Any
"""A flag value, or a list (its items are values to try), or an :class:`Interval` to search."""

MAX_DEPTH: Final = 64
"""How deep lists and maps may be nested."""

_WORDS: Final[dict[str, bool | None]] = {
    **dict.fromkeys(("null", "Null", "NULL", "~")),
    **{spelled: True for word in ("yes", "true", "on") for spelled in (word, word.title(), word.upper())},
    **{spelled: False for word in ("no", "false", "off") for spelled in (word, word.title(), word.upper())},
}
# Patterns are compiled when they are first used: most values need one or two.
# Texts that YAML reads as themselves: no indicator in front, no ': ' or ' #' within, no control characters.
_PLAIN = r"(?:[A-Za-z_/]|\.\.?/)(?:[\w./,+=@%^&*()~!?;<>$|'\"\[\]{}\\-]|[:#](?=[^\s])|(?<=\S) (?=[^\s#]))*"
_FLOW_WORD = r"[A-Za-z_/][A-Za-z0-9_./+-]*(?: [A-Za-z0-9_./+-]+)*"
_DIGITS_FIRST = r"(?a)[0-9](?:[\w./+-]|:(?=\w))*"
_INTEGER = r"[-+]?(?:0|[1-9][0-9]*)"
_FLOAT = r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?"
_BASED = r"[-+]?0(?:x[0-9a-fA-F]+|b[01]+)"
_QUOTED = r"'([^'\\]*)'|\"([^\"\\]*)\""
_PRINTABLE = r"[ -~]*"


def decode(text: str, flag: str = "") -> Decoded:
    """The value that ``text`` means on a command line.

    Numbers, ``yes``/``no``, ``null`` and quoted texts are what they look like, a list or a sequence function
    gives a list, a search function an :class:`Interval`; what has no other meaning is the text itself.

    Args:
        text: the part behind ``NAME=``.
        flag: the flag's name, for messages.

    Raises:
        FlagError: a function is unknown or has wrong arguments, or the text is nested too deeply.
    """
    if text in _WORDS:
        return _WORDS[text]
    number = decode_number(text)
    if number is not None:
        return number
    function = sequences.parse_function(text)
    if function is not None:
        return sequences.evaluate(function, text, flag, decode_number)
    repeated = sequences.parse_repetition(text)
    if repeated is not None:
        values = decode(repeated[0], flag)
        if isinstance(values, list):
            shown = f"{flag}={text}" if flag else text
            return sequences.repeat(cast(list[FlagValue], values), repeated[1], shown)
    known, value = _decode_plainly(text)
    return value if known else _decode_yaml(text)


def decode_number(text: str) -> int | float | None:
    """The number that ``text`` spells in Python's decimal notation or as ``0x10``, ``0b11``; else None."""
    if not text.isascii() or "_" in text:
        return None
    try:
        return int(text)
    except ValueError:
        pass
    if text.strip().lstrip("+-").isdigit():
        # More digits than Python converts: a float would be infinite.
        return None
    try:
        return float(text)
    except ValueError:
        pass
    return int(text, 0) if re.fullmatch(_BASED, text) else None


def _decode_plainly(text: str) -> tuple[bool, Decoded]:
    """Whether the meaning of ``text`` is certain without YAML, and what it is."""
    if not text or re.fullmatch(_PLAIN, text) or re.fullmatch(_DIGITS_FIRST, text):
        return True, text
    quoted = re.fullmatch(_QUOTED, text)
    if quoted and re.fullmatch(_PRINTABLE, text):
        return True, quoted[1] if quoted[1] is not None else quoted[2]
    if text[0] == "[" and text[-1] == "]" and re.fullmatch(_PRINTABLE, text):
        return _decode_flat_list(text[1:-1])
    return False, None


def _decode_flat_list(inner: str) -> tuple[bool, Decoded]:
    if not inner.strip():
        return True, []
    values: list[FlagValue] = []
    for part in inner.split(","):
        item = part.strip(" ")
        if item in _WORDS and item != "~":
            values.append(_WORDS[item])
        elif re.fullmatch(_INTEGER, item) and len(item) < 4000:
            values.append(int(item))
        elif re.fullmatch(_FLOAT, item):
            values.append(float(item))
        elif re.fullmatch(_FLOW_WORD, item):
            values.append(item)
        else:
            return False, None
    return True, values


def _decode_yaml(text: str) -> Decoded:
    depth = deepest = 0
    for character in text:
        depth += (character in "[{") - (character in "]}")
        deepest = max(deepest, depth)
    if deepest > MAX_DEPTH:
        raise FlagError(f"the value '{text[:40]}...' is nested too deeply (limit {MAX_DEPTH})")
    from orchestra.model.yaml_values import load

    try:
        value = load(text)
    except (ValueError, RecursionError):
        return text
    if not text.startswith("!!") and not _is_enclosed(text.strip()):
        return value if _means_so(text, value) else text
    if isinstance(value, int | float) and not isinstance(value, bool) and ("_" in text or ":" in text):
        return text if "!!" not in text else value
    return value


def _is_enclosed(text: str) -> bool:
    return text[:1] + text[-1:] in ("[]", "{}", "''", '""')


def _means_so(text: str, value: FlagValue) -> bool:
    """Whether a person who wrote ``text`` means what YAML reads, though nothing encloses it.

    YAML folds lines and drops comments, which are part of a text for everybody else.
    """
    if isinstance(value, dict):
        return "\n" not in text and " #" not in text and "\t#" not in text
    if isinstance(value, float):
        return not any(character in "_:" or character.isspace() for character in text)
    return text == "-"


def encode(value: Decoded) -> str:
    """How ``value`` is shown to people; :func:`decode` reads it back.

    Texts are bare unless they would mean something else or hold spaces or characters that can't be printed.
    """
    if isinstance(value, str):
        return _encode_text(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(_encode_item(item) for item in cast(list[FlagValue], value))}]"
    if isinstance(value, dict):
        entries = cast(dict[str, FlagValue], value).items()
        return f"{{{', '.join(f'{_encode_item(name)}: {_encode_item(item)}' for name, item in entries)}}}"
    if isinstance(value, Interval):
        return _encode_interval(value)
    return _encode_scalar(value)


def _encode_scalar(value: FlagValue) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return repr(value) if isinstance(value, float | int) else str(value)


def _encode_text(text: str) -> str:
    if _is_spaced(text) or not text.isprintable():
        return _quoted(text)
    try:
        same = decode(text)
    except FlagError:
        same = None
    return text if isinstance(same, str) and same == text and text else _quoted(text)


def _encode_item(value: FlagValue) -> str:
    if isinstance(value, str):
        plain = re.fullmatch(_FLOW_WORD, value) and value not in _WORDS and " " not in value
        return value if plain else _quoted(value)
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else ("-.inf" if value < 0 else ".inf")
    return encode(value)


def _encode_interval(value: Interval) -> str:
    bounds = [value.low, value.high, *(() if value.initial is None else (value.initial,))]
    return f"{'loguniform' if value.log else ''}[{':'.join(encode(bound) for bound in bounds)}]"


def _is_spaced(text: str) -> bool:
    return any(character.isspace() for character in text)


def _quoted(text: str) -> str:
    if text.isprintable() and "\ufeff" not in text:
        if "'" not in text:
            return f"'{text}'"
        if '"' not in text and "\\" not in text:
            return f'"{text}"'
        return "'" + text.replace("'", "''") + "'"
    return '"' + "".join(_escaped(text)) + '"'


def _escaped(text: str) -> Iterator[str]:
    named = {"\n": "\\n", "\t": "\\t", "\r": "\\r", '"': '\\"', "\\": "\\\\", "\0": "\\0"}
    for character in text:
        code = ord(character)
        if character in named:
            yield named[character]
        elif character.isprintable():
            yield character
        elif code < 0x100:
            yield f"\\x{code:02x}"
        else:
            yield f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
