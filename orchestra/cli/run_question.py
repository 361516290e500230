"""The question that precedes what is done with several runs."""

from collections.abc import Sequence

from orchestra.cli import run_text, tables
from orchestra.engine.session import Session
from orchestra.model.run import Run

MOST_LISTED = 10
"""How many runs a question lists."""


def rows(session: Session, runs: Sequence[Run], here: str) -> list[tuple[str, ...]]:
    """How those of ``runs`` are listed that are listed at all."""
    return [run_text.preview_row(session, run, here) for run in runs[:MOST_LISTED]]


def about(what: str, runs: Sequence[Run], listed: list[tuple[str, ...]], ask: str = "Continue?") -> str:
    """What is about to be done (``delete the following runs``), with which runs, and what is asked."""
    more = f"  ... and {len(runs) - len(listed)} more\n" if len(runs) > len(listed) else ""
    return f"You are about to {what}:\n{tables.render(listed, indent='  ')}{more}{ask}"
