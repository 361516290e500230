"""What ``runs info`` tells of the terms on which a run is started, and of the devices that it was given."""

from __future__ import annotations

from typing import Any, Final

from msgspec import structs

from orchestra.model.resources import Resources
from orchestra.model.retry import Retry
from orchestra.model.run import Run
from orchestra.model.term_words import words_of
from orchestra.model.terms import Terms

TERMS: Final = (
    "resources",
    "needs",
    "priority",
    "group",
    "after",
    "time_limit",
    "warning",
    "retry",
    "devices",
)


def term_fields(run: Run) -> dict[str, Any]:
    """All of them, for programs: bytes, seconds, and null or nothing where nobody has said anything."""
    return {
        "resources": _amounts(run.resources),
        "needs": _amounts(_needs(run)[0]),
        "priority": run.priority,
        "group": run.group,
        "after": list(run.after),
        "time_limit": run.time_limit,
        "warning": run.warning,
        "retry": None if run.retry is None else _retry(run.retry),
        "devices": list(run.devices),
    }


def term_lines(run: Run) -> dict[str, Any]:
    """Those that were said, as they are given on a command line."""
    shown = term_fields(run)
    words = words_of(Terms(resources=run.resources, time_limit=run.time_limit, retry=run.retry))
    shown |= {"resources": words["resources"], "time_limit": words.get("time-limit"), "needs": None}
    needs, number = _needs(run)
    if needs != run.resources:
        shown["resources"] += f" ({needs} at try {number})"
    if run.retry is not None:
        retry = shown["retry"] | {"delay": words.get("retry-delay")}
        retry["on"] = retry["on"] if "retry-on" in words else []
        shown["retry"] = {name: value for name, value in retry.items() if value or name == "max"}
    return {name: value for name, value in shown.items() if value}


def _amounts(resources: Resources) -> dict[str, Any]:
    return {name: amount for name, amount in structs.asdict(resources).items() if amount}


def _needs(run: Run) -> tuple[Resources, int]:
    """What its last execution has asked for, or the next one does if there is to be one; and which that is."""
    number = run.tries + (run.state in ("staged", "pending"))
    grown = run.resources if run.retry is None else run.resources.times(run.retry.scale, number)
    return grown, number


def _retry(retry: Retry) -> dict[str, Any]:
    """With the names of a project's file."""
    return {"max": retry.limit, "on": list(retry.on), "delay": retry.delay, "scale": dict(retry.scale)}
