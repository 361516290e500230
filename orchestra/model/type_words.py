"""What msgspec says of a value of another type, in words for people who have never heard of types."""

from __future__ import annotations

import re

_EXPECTED = re.compile(r"Expected `(.*?)`( [<>]=? [^`]*)?(?:, got `(.*?)`)?")
_WORDS = {
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "yes or no",
    "array": "a list",
    "object": "a mapping",
    "null": "nothing",
    "Path": "a path",
}


def has_to_be(problem: str, given: str | None = None) -> str | None:
    """``has to be a whole number, not a text``, or not what was ``given``; None where it is another problem."""
    expected = _EXPECTED.fullmatch(problem)
    if expected is None:
        return None
    wanted = dict.fromkeys(_WORDS.get(word, word) for word in expected[1].split(" | ") if word != "null")
    got = given or _WORDS.get(expected[3], expected[3])
    return f"has to be {' or '.join(wanted) or 'nothing'}{expected[2] or ''}{f', not {got}' if got else ''}"
