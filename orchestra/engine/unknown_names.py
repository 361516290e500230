"""What is said where a condition finds nothing because it asks for something that no run has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches

from orchestra.engine.off_loop import off_loop
from orchestra.engine.search import names_of_results
from orchestra.engine.session import Session
from orchestra.model.attributes import ATTRIBUTES
from orchestra.model.conditions import Comparison, Name, Not, is_attribute, leaves
from orchestra.model.filters import RunQuery
from orchestra.model.scalars import SYSTEM, natural

LOOKED_THROUGH = 1000
"""The newest so many runs are looked through for names that may have been meant."""
MOST_NAMED = 10


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
    more = ", ..." if len(own) > MOST_NAMED else ""
    listed = f": there are {', '.join(own[:MOST_NAMED])}{more}" if own else ""
    return f"no run has '{name}'{listed}"
