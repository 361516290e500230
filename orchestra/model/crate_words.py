"""How runs and their values are said in an RO-Crate: what linked data has words for, and no secrets."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final, TypeAlias, cast
from urllib.parse import quote

from orchestra.model.batch import Interval, unexpanded
from orchestra.model.decoding import encode
from orchestra.model.marks import MARK
from orchestra.model.operation import FlagValue
from orchestra.model.redaction import REDACTED, is_secret, redact_text
from orchestra.model.run import Run

Entity: TypeAlias = dict[str, Any]
LANGUAGES: Final = {
    ".py": ("#python", "Python", "https://www.python.org/"),
    ".sh": ("#shell", "Shell", "https://pubs.opengroup.org/onlinepubs/9799919799/utilities/sh.html"),
    ".r": ("#r", "R", "https://www.r-project.org/"),
    ".jl": ("#julia", "Julia", "https://julialang.org/"),
    ".json": ("#operation", "Orchestra operation", None),
}
"""Of scripts by their endings: id, name and address."""
OTHER_LANGUAGE: Final = ("#other", "An executable's own", None)
_TYPES: Final = {"bool": "Boolean", "int": "Integer", "float": "Float"}
_ENDED_WELL: Final = frozenset(("completed", "skipped"))


def iso_time(microseconds: int) -> str:
    """A time as RO-Crate has it."""
    return datetime.fromtimestamp(microseconds / 1e6, UTC).isoformat(timespec="milliseconds")


def flags_of(run: Run) -> dict[str, FlagValue]:
    """The flags of a run, or what a batch searches, without secrets."""
    given = run.flags if run.batch_spec is None else unexpanded(run.batch_spec)
    return {name: REDACTED if is_secret(name, str(value)) else value for name, value in given.items()}


def shown(value: Any) -> Any:
    """A value as one of JSON's that linked data can hold, without secrets."""
    if isinstance(value, Interval):
        return encode(value)
    if value is None or isinstance(value, bool | list | dict | tuple):
        text = encode(value)
    elif isinstance(value, float) and value - value != 0:
        text = str(value)
    else:
        return redact_text(value) if isinstance(value, str) else value
    return REDACTED if MARK in text else redact_text(text)


def described(run: Run) -> str:
    """What there is to say of a run in words."""
    said = [redact_text(comment.body) for comment in run.comments]
    tags = f"Tags: {', '.join(run.tags)}." if run.tags else ""
    commit = f"Source: {run.vcs_commit}." if run.vcs_commit else ""
    return " ".join(part for part in (f"Run {run.id}.", tags, commit, *said) if part)


def has_failed(run: Run) -> bool:
    """Whether it has ended, and not well."""
    return status_of(run).endswith("FailedActionStatus")


def status_of(run: Run) -> str:
    """How far a run is, as of schema.org."""
    if run.state in ("staged", "pending"):
        return "http://schema.org/PotentialActionStatus"
    if run.state == "running":
        return "http://schema.org/ActiveActionStatus"
    ending = "Completed" if run.state in _ENDED_WELL else "Failed"
    return f"http://schema.org/{ending}ActionStatus"


def address_of(path: str) -> str:
    """The id of a file."""
    return quote(path)


def to(address: str) -> Entity:
    """A reference."""
    return {"@id": address}


def type_of(value: object) -> str:
    """The type of a parameter that has had this value."""
    return _TYPES.get(type(value).__name__, "Text")


def types_of(entity: Entity) -> list[str]:
    """What an entity is."""
    kind = entity["@type"]
    return cast("list[str]", kind) if isinstance(kind, list) else [kind]


def plain(entity: Entity) -> Entity:
    """``entity`` without what is not known, and single values on their own."""
    found: Entity = {}
    for key, value in entity.items():
        if isinstance(value, list):
            several = cast("list[Any]", value)
            if several:
                found[key] = several if len(several) > 1 else several[0]
        elif value is not None:
            found[key] = value
    return found
