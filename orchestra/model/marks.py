"""Whether a run has to do with secrets: asked of each, before anything is loaded that knows exactly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, cast

from orchestra.model.batch import Choices
from orchestra.model.encoding import encode
from orchestra.model.run import Run

NUMBER = "\ue000"
"""What a secret begins with that is a number where it is needed: a character that no text has."""
MARK: Final = "redacted:"
"""The beginning of what stands for a secret whose value is kept elsewhere."""
_HINTS = (
    *("auth", "bearer", "cookie", "cred", "dsn", "jwt", "key", "pass", "pwd", "secret", "session", "token"),
)
"""What a name holds if it is that of a secret."""
_SHORTEST = 16
"""Nothing shorter has the shape of a secret, but for a password in an address."""


def may_hold_secrets(run: Run) -> bool:
    """Whether it is worth looking closely; cheap, for nearly all runs hold none."""
    return any(may_be_secret(name, value) for name, value in _places(run))


def _places(run: Run) -> Iterator[tuple[str, Any]]:
    operation, batch = run.operation, run.batch_spec
    yield from run.flags.items()
    yield from run.environment.items()
    yield from operation.env.items()
    yield from ((name, "x") for name in operation.env_secrets if name in operation.env)
    yield from ((flag.name, flag.default) for flag in operation.flags)
    yield from (("", text) for text in (*run.sources, *operation.exec, *operation.main_args))
    yield from (("", source.value) for needed in operation.requires for source in needed.sources)
    # The label of what is no batch is made of its template and flags.
    own_label = run.label if batch is not None else None
    yield from (("", text) for text in (own_label, run.label_template, *run.tags))
    yield from (("", comment.body) for comment in (*run.comments, *run.trial_comments))
    for step in operation.steps:
        yield from step.flags.items()
    if batch is not None:
        yield from batch.fixed.items()
        yield from ((name, list(one.values)) for name, one in batch.space.items() if isinstance(one, Choices))
        for row in batch.rows:
            yield from row.items()


def may_be_secret(name: str, value: Any) -> bool:
    """Whether it is worth looking closely at a value of this name."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str):
        if len(value) >= _SHORTEST or "@" in value:
            return True
        lower = name.lower()
        return bool(value) and any(hint in lower for hint in _HINTS)
    if isinstance(value, dict):
        return any(may_be_secret(str(key), item) for key, item in cast("dict[Any, Any]", value).items())
    if isinstance(value, list | tuple):
        return any(may_be_secret(name, item) for item in cast("list[Any]", value))
    return False


def bears_marks(run: Run) -> bool:
    """Whether secrets that ``run`` needs are kept elsewhere."""
    return MARK.encode() in encode(run)
