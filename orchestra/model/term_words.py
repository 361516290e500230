"""The terms of a run in words: the options of ``run`` that say them, and what stands for them in a project's file."""

from __future__ import annotations

import math
import signal
from collections.abc import Mapping
from typing import Final

from orchestra.errors import UsageError, UserError
from orchestra.model.duration import format_duration, parse_duration
from orchestra.model.resources import parse_resources
from orchestra.model.retry import ANY, Retry, parse_retry
from orchestra.model.terms import Terms

HIGHEST_PRIORITY: Final = 1_000_000
WORDS: Final = (
    *("resources", "priority", "group", "time-limit", "warn"),
    *("retries", "retry-on", "retry-delay", "retry-scale"),
)
"""The options of ``run`` that are about terms."""


def terms_of_words(words: Mapping[str, str]) -> Terms:
    """What the options in ``words`` say, by their names without dashes; others are left alone.

    Raises:
        UserError: one of them has no meaning.
    """
    terms = Terms(
        executor=words.get("executor"),
        resources=parse_resources(words["resources"]) if "resources" in words else None,
        priority=_number("priority", words["priority"]) if "priority" in words else None,
        group=words.get("group"),
        time_limit=parse_duration(words["time-limit"]) if "time-limit" in words else None,
        warning=words.get("warn"),
        retry=_retry(words),
    )
    check_terms(terms)
    return terms


def words_of(terms: Terms) -> dict[str, str]:
    """The options that say ``terms``: :func:`terms_of_words` of them are these terms."""
    retry = terms.retry
    words = {
        "executor": terms.executor,
        "resources": None if terms.resources is None else str(terms.resources),
        "priority": None if terms.priority is None else str(terms.priority),
        "group": terms.group,
        "time-limit": None if terms.time_limit is None else _span(terms.time_limit),
        "warn": terms.warning,
        "retries": None if retry is None else str(retry.limit),
        "retry-on": None if retry is None or retry.on == ANY else ",".join(retry.on),
        "retry-delay": None if retry is None or not retry.delay else _span(retry.delay),
        "retry-scale": None if retry is None or not retry.scale else pairs(retry.scale),
    }
    return {name: text for name, text in words.items() if text is not None}


def check_group(name: str) -> None:
    """Refuse the name of a group that is none.

    Raises:
        UserError: it is empty.
    """
    if not name.strip():
        raise UserError(f"invalid name '{name}' of a group", "Give the group a name.")


def check_terms(terms: Terms) -> None:
    """Refuse terms that can't be kept.

    Raises:
        UserError: names what is wrong.
    """
    if terms.priority is not None:
        check_priority(terms.priority)
    if terms.group is not None:
        check_group(terms.group)
    if terms.time_limit is not None and not 0 < terms.time_limit < math.inf:
        raise UserError(f"invalid time limit {terms.time_limit:g}", "Give a time, more than 0.")
    if terms.warning is not None:
        _, before = parse_warning(terms.warning)
        if terms.time_limit is not None and before >= terms.time_limit:
            raise UserError(
                f"a warning {before:g} seconds ahead of a time limit of {_span(terms.time_limit)} comes too early",
                "Let it come before the end, but not before the start.",
            )


def check_priority(priority: int) -> None:
    """Refuse a priority that no run can have.

    Raises:
        UserError: it is too high or too low.
    """
    if abs(priority) > HIGHEST_PRIORITY:
        raise UserError(
            f"invalid priority {priority}",
            f"Give a number from -{HIGHEST_PRIORITY} to {HIGHEST_PRIORITY}.",
        )


def parse_warning(text: str) -> tuple[int, float]:
    """``NAME@SECONDS``: the number of the signal, and how long before the time limit it is sent.

    Raises:
        UserError: it is no such thing.
    """
    name, _, seconds = text.partition("@")
    number = getattr(signal, f"SIG{name.upper().removeprefix('SIG')}", None)
    try:
        before = float(seconds or "60")
    except ValueError:
        before = -1.0
    if not isinstance(number, signal.Signals) or not 0 <= before < math.inf:
        raise UserError(f"invalid warning '{text}'", "Give a signal and seconds, such as USR1@60.")
    return int(number), before


def pairs(values: Mapping[str, object]) -> str:
    """``NAME=VALUE NAME=VALUE``, as resources and their growth are written in one text."""
    shown = {name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in values.items()}
    return " ".join(f"{name}={value}" for name, value in shown.items())


def _retry(words: Mapping[str, str]) -> Retry | None:
    if "retries" in words:
        return parse_retry(
            _number("retries", words["retries"]),
            words.get("retry-on", "any"),
            parse_duration(words["retry-delay"]) if "retry-delay" in words else 0.0,
            words.get("retry-scale", ""),
        )
    for name in ("retry-on", "retry-delay", "retry-scale"):
        if name in words:
            raise UsageError(f"--{name} needs --retries: how often to try again")
    return None


def _number(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UserError(f"invalid value '{text}' of {name}", "Give a whole number.") from None


def _span(seconds: float) -> str:
    return format_duration(seconds) if seconds == round(seconds) else f"{seconds:g}s"
