"""The words of a step: which options of ``run`` it may give, and how its flags and options are written."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias, cast

from orchestra.errors import UsageError
from orchestra.model.decoding import encode
from orchestra.model.operation import FlagValue

Takes: TypeAlias = Literal["switch", "value", "values"]

OPTIONS: Final[dict[str, Takes]] = {
    "batch-comment": "value",
    "batch-label": "value",
    "batch-tag": "values",
    "background": "switch",
    "comment": "value",
    "dep": "values",
    "executor": "value",
    "fail-on-trial-error": "switch",
    "force-deps": "switch",
    "force-flags": "switch",
    "force-sourcecode": "switch",
    "gpus": "value",
    "group": "value",
    "keep-batch": "switch",
    "keep-run": "switch",
    "label": "value",
    "max-trials": "value",
    "maximize": "value",
    "minimize": "value",
    "needed": "switch",
    "no-gpus": "switch",
    "opt-flag": "values",
    "optimize": "switch",
    "optimizer": "value",
    "pidfile": "value",
    "print-cmd": "switch",
    "print-trials": "switch",
    "priority": "value",
    "proto": "value",
    "quiet": "switch",
    "random-seed": "value",
    "remote": "value",
    "resources": "value",
    "restart": "value",
    "retries": "value",
    "retry-delay": "value",
    "retry-on": "value",
    "retry-scale": "value",
    "run-dir": "value",
    "run-id": "value",
    "save-trials": "value",
    "stage": "switch",
    "stage-trials": "switch",
    "start": "value",
    "stop-after": "value",
    "tag": "values",
    "time-limit": "value",
    "warn": "value",
    "yes": "switch",
}
"""The options of ``run`` that are known in a step, and whether each takes a value or may take several."""

ALIASES: Final = {
    "trials": "max-trials",
    "tags": "tag",
    "batch-tags": "batch-tag",
    "l": "label",
    "t": "tag",
    "m": "max-trials",
    "o": "optimizer",
    "O": "optimize",
    "N": "minimize",
    "X": "maximize",
    "D": "dep",
    "f": "force-flags",
    "c": "comment",
    "d": "run-dir",
    "b": "background",
    "q": "quiet",
    "y": "yes",
    "bl": "batch-label",
    "bt": "batch-tag",
    "bc": "batch-comment",
}
"""Other spellings of options."""


def split_step(words: list[str]) -> tuple[str, list[str], dict[str, FlagValue]]:
    """The operation, the ``NAME=VALUE`` words and the options that a step's command line names.

    Raises:
        UsageError: there is no operation, or an option is not one of ``run`` or lacks its value.
    """
    operation, assignments = "", list[str]()
    options: dict[str, FlagValue] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word.startswith("-") and len(word) > 1:
            name, separator, value = word.partition("=")
            name = canonical(name.lstrip("-"))
            kind = OPTIONS.get(name)
            if kind is None:
                raise UsageError(f"'{word}' is not an option of 'run'")
            if kind == "switch":
                put_option(options, name, True)
                continue
            if not separator and not rest:
                raise UsageError(f"'{word}' needs a value")
            put_option(options, name, value if separator else rest.pop(0))
        elif not operation and "=" not in word:
            operation = word
        else:
            assignments.append(word)
    return operation, assignments, options


def canonical(name: str) -> str:
    """The option's long name."""
    return ALIASES.get(name, name)


def put_option(options: dict[str, FlagValue], name: str, value: FlagValue) -> None:
    """Set an option; one that may be given several times gathers its values."""
    if OPTIONS.get(name) != "values":
        options[name] = value
        return
    values = cast("list[FlagValue]", value) if isinstance(value, list) else [value]
    options[name] = [*options.get(name, ()), *values]


def step_words(options: dict[str, FlagValue], flags: dict[str, str]) -> list[str]:
    """Options and flags as words of a command line, as log lines show them."""
    words: list[str] = []
    for name, value in options.items():
        if value is True:
            words.append(f"--{name}")
        elif isinstance(value, list | tuple):
            for item in cast("list[FlagValue]", value):
                words += [f"--{name}", _quoted(str(item))]
        elif value is not None and value is not False:
            words += [f"--{name}", _quoted(value if isinstance(value, str) else encode(value))]
    return words + [f"{name}={_quoted(flags[name])}" for name in sorted(flags)]


def _quoted(text: str) -> str:
    if text and not any(one.isspace() for one in text):
        return text
    return text if text[:1] in "'\"[{" and text else repr(text)


def flag_text(value: FlagValue) -> str:
    """``value`` as it is written on a command line: what has the form of another type is quoted."""
    if isinstance(value, str) and ("${" in value or value.endswith("]")):
        return value
    return encode(value)
