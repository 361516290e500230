"""A run without the secrets that it was given: marks stand in their places, by which they are found again."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeAlias, TypeVar, cast

from msgspec import structs

from orchestra.model.batch import Batch, Choices
from orchestra.model.marks import NUMBER
from orchestra.model.operation import FlagDef, FlagValue, Operation, Requirement
from orchestra.model.redaction import MARKS, has_secret_name, replace_secrets
from orchestra.model.run import Comment, Run

Hide: TypeAlias = Callable[[str], str]
"""Makes a mark of a secret; the same of the same."""
_Value = TypeVar("_Value")
_REFERENCE = re.compile(r"\$\{[^{}]*\}")


def conceal(run: Run, hide: Hide) -> Run:
    """``run`` with marks for the secrets in what it was given; its command is left as it is, and its label but
    for what has the shape of a secret."""
    return structs.replace(
        run,
        flags=conceal_flags(run.operation, run.flags, hide),
        environment=_variables(run.environment, run.operation.env_secrets, hide),
        sources=tuple(_text(source, hide) for source in run.sources),
        label=None if run.label is None else _text(run.label, hide),
        label_template=None if run.label_template is None else _text(run.label_template, hide),
        tags=tuple(_text(tag, hide) for tag in run.tags),
        comments=_comments(run.comments, hide),
        trial_comments=_comments(run.trial_comments, hide),
        batch_spec=None if run.batch_spec is None else conceal_batch(run.operation, run.batch_spec, hide),
        operation=_operation(run.operation, hide),
    )


def conceal_flags(operation: Operation, flags: Mapping[str, FlagValue], hide: Hide) -> dict[str, FlagValue]:
    """Flags with marks for what their names or shapes tell to be secrets. A path, or one of a few choices, is none
    by its name."""
    public = {flag.name for flag in operation.flags if _is_public(flag)}
    return {name: _value("" if name in public else name, value, hide) for name, value in flags.items()}


def conceal_batch(operation: Operation, batch: Batch, hide: Hide) -> Batch:
    """A batch as of :func:`conceal_flags`."""
    values = {name: list(one.values) for name, one in batch.space.items() if isinstance(one, Choices)}
    hidden = conceal_flags(operation, values, hide)
    return structs.replace(
        batch,
        space={
            name: Choices(values=tuple(hidden[name])) if name in hidden else one
            for name, one in batch.space.items()
        },
        fixed=conceal_flags(operation, batch.fixed, hide),
        rows=tuple(conceal_flags(operation, row, hide) for row in batch.rows),
    )


_PUBLIC_TYPES = frozenset(("path", "existing-path", "int", "float", "number", "boolean"))
"""Of flags that no secret can be the value of."""


def _is_public(flag: FlagDef) -> bool:
    return flag.type in _PUBLIC_TYPES or bool(flag.choices and not flag.allow_other)


def _operation(operation: Operation, hide: Hide) -> Operation:
    defaults = conceal_flags(operation, {flag.name: flag.default for flag in operation.flags}, hide)
    return structs.replace(
        operation,
        env=_variables(operation.env, operation.env_secrets, hide),
        flags=tuple(_with(flag, "default", defaults[flag.name]) for flag in operation.flags),
        exec=tuple(_text(word, hide) for word in operation.exec),
        main_args=tuple(_text(word, hide) for word in operation.main_args),
        requires=tuple(_requirement(needed, hide) for needed in operation.requires),
        steps=tuple(_with(step, "flags", _value("", step.flags, hide)) for step in operation.steps),
    )


def _requirement(needed: Requirement, hide: Hide) -> Requirement:
    sources = tuple(_with(source, "value", _text(source.value, hide)) for source in needed.sources)
    return _with(needed, "sources", sources)


def _comments(comments: tuple[Comment, ...], hide: Hide) -> tuple[Comment, ...]:
    return tuple(_with(comment, "body", _text(comment.body, hide)) for comment in comments)


def _with(struct: _Value, name: str, value: Any) -> _Value:
    return struct if getattr(struct, name) == value else structs.replace(cast(Any, struct), **{name: value})


def _variables(variables: Mapping[str, str], secret: Collection[str], hide: Hide) -> dict[str, str]:
    return {
        name: hide(value)
        if _is_whole(value) and (name in secret or has_secret_name(name, value))
        else _text(value, hide)
        for name, value in variables.items()
    }


def _value(name: str, value: Any, hide: Hide) -> Any:
    if isinstance(value, str):
        # What refers to a flag is filled in by who has no secrets.
        if _is_whole(value) and "${" not in value and name and has_secret_name(name, value):
            return hide(value)
        return _text(value, hide)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return hide(NUMBER + json.dumps(value)) if name and has_secret_name(name, str(value)) else value
    if isinstance(value, dict):
        return {key: _value(str(key), item, hide) for key, item in cast("dict[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_value(name, item, hide) for item in cast("list[Any]", value)]
    return value


def _is_whole(text: str) -> bool:
    """Whether all of ``text`` may be a secret: it is not empty, nor the mark of one, nor but a flag's value."""
    return bool(text) and MARKS.fullmatch(text) is None and _REFERENCE.fullmatch(text) is None


def _text(text: str, hide: Hide) -> str:
    return replace_secrets(text, hide)
