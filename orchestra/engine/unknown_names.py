"""What is said where a condition finds nothing because it asks for something that no run has, or can have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from math import inf

from orchestra.engine.off_loop import off_loop
from orchestra.engine.search import names_of_results, without_results
from orchestra.engine.session import Session
from orchestra.errors import UserError
from orchestra.model.attributes import ATTRIBUTES
from orchestra.model.columns import first_names
from orchestra.model.conditions import Comparison, Name, Not, is_attribute, leaves
from orchestra.model.filters import RunQuery
from orchestra.model.flags import encode
from orchestra.model.scalars import SYSTEM, natural

LOOKED_THROUGH = 1000
"""The newest so many runs are looked through for names that may have been meant."""
_ORDER = ("<", "<=", ">", ">=")


async def tell_of_unknown_names(session: Session, query: RunQuery) -> None:
    """Warn of each name in the condition of ``query`` that no run has, with what may have been meant."""
    if query.where is None:
        return
    asked = {leaf.name for leaf in leaves(query.where) if isinstance(leaf, Comparison)}
    asked = {Name(name.name, name.kind) for name in asked if not is_attribute(name)}
    if not asked or not (newest := (await session.store.query(RunQuery(limit=LOOKED_THROUGH))).runs):
        return
    flags = {flag for run in newest for flag in run.flags}
    results = await off_loop(lambda: names_of_results(session, newest))
    results = {name for name in results if not name.startswith(SYSTEM)}
    for name in sorted(asked, key=lambda name: name.name):
        if name.name in results and name.kind != "flag":
            continue
        if name.kind in ("any", "flag") and await _is_flag(session, name.name):
            continue
        known = set(_known(name, flags, results))
        session.emit("log.message", level="warning", message=_sentence(name.name, known), logger="")


async def refuse_unlike(session: Session, query: RunQuery) -> None:
    """Refuse a condition that asks whether something is less, or more, than what it can't be compared with.

    Raises:
        UserError: the runs have numbers there, and it has a text, or the other way round; or neither.
    """
    asked = leaves(query.where) if query.where is not None else ()
    for leaf in asked:
        if not isinstance(leaf, Comparison) or leaf.operator not in _ORDER or is_attribute(leaf.name):
            continue
        name, value = leaf.name.name, encode(leaf.value)
        if isinstance(leaf.value, bool) or not isinstance(leaf.value, int | float | str):
            raise UserError(
                f"nothing is less or more than {value}",
                f"Give a number, as in: {name} < 0.1. If it is a text, quote it: {name} < '{value}'.",
            )
        numbers, texts = Comparison(leaf.name, ">=", -inf), Comparison(leaf.name, ">=", "")
        like, unlike = (texts, numbers) if isinstance(leaf.value, str) else (numbers, texts)
        if await _is_any(session, like) or not await _is_any(session, unlike):
            continue
        if unlike is numbers:
            hint = f"Give a number, as in: {name} {leaf.operator} 0.1."
            raise UserError(f"'{name}' is a number, and can't be compared with the text '{leaf.value}'", hint)
        hint = f"Give a text, as in: {name} = '{value}'."
        raise UserError(f"'{name}' is a text, and can't be compared with the number {value}", hint)


async def _is_any(session: Session, where: Comparison) -> bool:
    query = await without_results(session, RunQuery(where=where, limit=1))
    return (await session.store.query(query)).total > 0


async def _is_flag(session: Session, name: str) -> bool:
    given = Not(Comparison(Name(name, "flag"), "=", None))
    return (await session.store.query(RunQuery(where=given, limit=1))).total > 0


def _known(name: Name, flags: Iterable[str], results: Iterable[str]) -> Iterator[str]:
    if name.kind in ("any", "flag"):
        yield from flags
    if name.kind != "flag":
        yield from results
    if name.kind in ("any", "attribute"):
        yield from ATTRIBUTES


def _sentence(name: str, known: set[str]) -> str:
    if close := get_close_matches(name, natural(known), n=1):
        return f"no run has '{name}' - did you mean '{close[0]}'?"
    own = natural(known - ATTRIBUTES.keys()) or natural(known)
    listed = f": there are {first_names(own)}" if own else ""
    return f"no run has '{name}'{listed}"
