"""The terms on which runs of an operation are started, as a project's file has them."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from typing import Any, Final, NamedTuple, cast

from msgspec import structs

from orchestra.errors import UserError
from orchestra.model.term_words import pairs, terms_of_words
from orchestra.model.terms import Terms
from orchestra.project.documents import Map, Place, plain
from orchestra.project.file_types import TERMS
from orchestra.project.project_file import Defined
from orchestra.project.sections import error_at

_RETRY: Final = {"max": "retries", "on": "retry-on", "delay": "retry-delay", "scale": "retry-scale"}
"""What the parts of ``retry`` are called as options."""


class _Said(NamedTuple):
    """One thing that the file says, in the words of an option."""

    key: str
    """With its mapping's: ``retry.on``."""
    option: str
    text: str
    place: Place


def terms_of(defined: Defined, *, is_pipeline: bool) -> Terms:
    """The terms that ``defined`` says.

    Raises:
        ProjectFileError: they have no meaning, or a pipeline has some: its steps are the runs that they are for.
    """
    what = f"operation '{defined.full_name}'"
    words: dict[str, str] = {}
    origins: dict[str, str] = {}
    for said in _said(defined.raw):
        if is_pipeline:
            hint = "Give it to the operations of its steps, or to the steps."
            raise error_at(said.place, what, f"'{said.key}' can't be said of a pipeline", hint)
        alone = {"retries": "1"} if said.option in _RETRY.values() else {}
        try:
            terms_of_words(alone | {said.option: said.text})
        except UserError as error:
            raise error_at(said.place, what, f"'{said.key}': {error.message}", error.hint) from None
        words[said.option] = f"{words[said.option]} {said.text}" if said.option in words else said.text
        origins.setdefault(said.option, f"{os.path.basename(said.place.file)}:{said.place.line}")
    terms = terms_of_words(words)
    if terms.warning is not None and terms.time_limit is None:
        message = "'warn' comes before the end of a time that 'time-limit' has to name"
        raise error_at(defined.raw.places["warn"], what, message)
    return structs.replace(terms, origins=origins)


def text_of(value: Any) -> str:
    """A mapping or a list in the words of an option: ``gpus=1 memory=8G``, ``oom,exit:75``."""
    if isinstance(value, dict):
        return pairs(cast("dict[str, Any]", value))
    return ",".join(map(str, cast("list[Any]", value))) if isinstance(value, list) else str(value)


def _said(raw: Map) -> Iterator[_Said]:
    for key in TERMS:
        value = raw.get(key)
        if value is None:
            continue
        if not isinstance(value, Map):
            yield _Said(key, _RETRY["max"] if key == "retry" else key, str(value), raw.places[key])
            continue
        if key == "executor":
            yield _executor_said(value, raw.places[key])
            continue
        for part, inner in value.items():
            option, text = (
                (key, pairs({part: inner})) if key == "resources" else (_RETRY[part], text_of(plain(inner)))
            )
            yield _Said(f"{key}.{part}", option, text, value.places[part])


def _executor_said(value: Map, place: Place) -> _Said:
    """``{NAME: {OPTION: VALUE}}`` as an option of ``run`` has it.

    Raises:
        ProjectFileError: it names none, or several.
    """
    if len(value) != 1:
        raise error_at(
            place, "executor", "it is one name with its options", "Such as {slurm: {partition: gpu}}."
        )
    ((name, options),) = value.items()
    given = cast("dict[str, Any]", plain(options))
    words = (shlex.quote(f"{option}={each}") for option, each in given.items())
    return _Said("executor", "executor", " ".join((name, *words)), place)
