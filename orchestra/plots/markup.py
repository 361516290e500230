"""Markup of which texts can't become a part: whatever is not made by :func:`element` is escaped."""

from __future__ import annotations

from html import escape


class Markup(str):
    """What needs no escaping, for it has been."""

    __slots__ = ()


def element(name: str, *children: str, **attributes: str | float | None) -> Markup:
    """An element. Its attributes are named as in Python: ``class_``, ``data_run``. None leaves one out."""
    given = "".join(
        f' {key.strip("_").replace("_", "-")}="{_text(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{given}>{joined(*children)}</{name}>")


def joined(*children: str) -> Markup:
    """One after the other."""
    return Markup("".join(child if isinstance(child, Markup) else _text(child) for child in children))


def _text(text: str) -> str:
    return escape(visible(text))


def visible(text: str) -> str:
    """``text`` with all escaped that has no form: controls, overrides of the direction, halves of characters."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def cut(text: str, longest: int) -> str:
    """The beginning of ``text``, of ``longest`` characters at most; an ellipsis says that it was cut."""
    text = visible(text)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
