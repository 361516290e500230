"""What callers of the programmatic API give, as the types that requests have."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from msgspec import ValidationError, convert

from orchestra.errors import UserError
from orchestra.model.duration import parse_duration
from orchestra.model.resources import Resources, parse_resources
from orchestra.model.retry import Retry, parse_retry
from orchestra.model.type_words import has_to_be

T = TypeVar("T")

_TERM_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "group": (str,),
    "priority": (int,),
    "resources": (Resources, Mapping, str),
    "retry": (Retry, Mapping, int),
    "time_limit": (int, float, str),
    "warning": (str,),
}


def typed_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of ``RunRequest`` from what a caller may give for them: one text for several, a text for a path."""
    typed = dict(options)
    for name in ("after", "batch_files", "batch_tags", "redo", "sources", "tags"):
        if name in typed:
            given: Any = typed[name] or ()
            is_single = isinstance(given, str) or hasattr(given, "__fspath__")
            several: Any = (given,) if is_single else given
            typed[name] = tuple(str(one) for one in several)
    if typed.get("run_dir") is not None:
        typed["run_dir"] = Path(typed["run_dir"])
    return {**typed, **_typed_terms(typed)}


def _typed_terms(options: Mapping[str, Any]) -> dict[str, Any]:
    """The same of the terms of a run: texts as on the command line, a number of retries, a mapping."""
    typed: dict[str, Any] = {}
    for name, kind in _TERM_TYPES.items():
        given = options.get(name)
        if given is not None and (not isinstance(given, kind) or isinstance(given, bool)):
            wanted = " or ".join(sorted({"text" if one is str else one.__name__ for one in kind}))
            raise UserError(f"invalid value {given!r} for {name}", f"Give a {wanted}.")
    resources, retry, limit = (options.get(name) for name in ("resources", "retry", "time_limit"))
    if isinstance(resources, str):
        typed["resources"] = parse_resources(resources)
    elif isinstance(resources, Mapping):
        typed["resources"] = _converted("resources", resources, Resources)
    if isinstance(retry, int):
        typed["retry"] = parse_retry(retry)
    elif isinstance(retry, Mapping):
        typed["retry"] = _converted("retry", retry, Retry)
    if isinstance(limit, str):
        typed["time_limit"] = parse_duration(limit)
    return typed


def _converted(name: str, given: Any, kind: type[T]) -> T:
    try:
        return convert(given, kind)
    except ValidationError as error:
        reason, _, place = str(error).partition(" - at `$.")
        wrong = has_to_be(reason)
        if wrong is None:
            raise UserError(f"invalid value {given!r} for {name}: {error}") from None
        raise UserError(f"'{place.rstrip('`')}' of {name} {wrong}" if place else f"{name} {wrong}") from None
