"""What ``runs info`` tells of the terms on which a run is started, and of the devices that it was given."""

from __future__ import annotations

from typing import Any, Final

from msgspec import structs

from orchestra.model.retry import Retry
from orchestra.model.run import Run
from orchestra.model.term_words import words_of
from orchestra.model.terms import Terms

TERMS: Final = ("resources", "priority", "group", "after", "time_limit", "warning", "retry", "devices")


def term_fields(run: Run) -> dict[str, Any]:
    """All of them, for programs: bytes, seconds, and null or nothing where nobody has said anything."""
    asked = structs.asdict(run.resources)
    return {
        "resources": {name: amount for name, amount in asked.items() if amount},
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
    shown |= {"resources": words["resources"], "time_limit": words.get("time-limit")}
    if run.retry is not None:
        retry = shown["retry"] | {"delay": words.get("retry-delay")}
        retry["on"] = retry["on"] if "retry-on" in words else []
        shown["retry"] = {name: value for name, value in retry.items() if value or name == "max"}
    return {name: value for name, value in shown.items() if value}


def _retry(retry: Retry) -> dict[str, Any]:
    """With the names of a project's file."""
    return {"max": retry.limit, "on": list(retry.on), "delay": retry.delay, "scale": dict(retry.scale)}
