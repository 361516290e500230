"""Flags that were given like options, ``--lr 0.1`` for ``lr=0.1``. Looked at only once refused."""

from __future__ import annotations

from collections.abc import Sequence

_ALIKE = 0.75
"""How alike an option must be to be what was meant."""


def as_flag(option: str, words: Sequence[str], options: Sequence[str]) -> str | None:
    """What to do about an unknown ``option`` among ``words``; None: it is one of ``options``, misspelt."""
    from difflib import get_close_matches

    name, separator, value = option.lstrip("-").partition("=")
    if not name.isidentifier() or get_close_matches(f"--{name}", options, n=1, cutoff=_ALIKE):
        return None
    if not separator and option in words[:-1]:
        following = words[words.index(option) + 1]
        value = following if _is_value(following) else ""
    return f"Flags of the operation are given without dashes: '{name}={value or 'VALUE'}'."


def _is_value(word: str) -> bool:
    return bool(word) and "=" not in word and (word[0] != "-" or word[1:2].isdigit())
