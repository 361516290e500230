"""The steps of a pipeline, as a project's file has them: command lines of ``run``, or mappings."""

from __future__ import annotations

import re
import shlex
from pathlib import PurePosixPath
from typing import Any, Final, cast

from msgspec import structs

from orchestra.errors import UsageError, UserError
from orchestra.model.operation import Check, FlagValue, Step
from orchestra.model.step_words import OPTIONS, canonical, flag_text, put_option, split_step
from orchestra.model.term_words import WORDS, terms_of_words
from orchestra.project.defined_terms import text_of
from orchestra.project.documents import Map, Place, plain
from orchestra.project.file_types import CheckSection, StepSection
from orchestra.project.project_file import Defined
from orchestra.project.sections import error_at

_OWN: Final = ("run", "name", "flags", "expect", "isolate-runs")


def steps_of(defined: Defined) -> tuple[Step, ...]:
    """The steps of ``defined``, each with a name of its own.

    Raises:
        ProjectFileError: one of them is not a step.
    """
    given = defined.section.steps
    if given is None:
        return ()
    raw = defined.raw["steps"]
    what = f"operation '{defined.full_name}': step"
    return tuple(
        _with_distinct_names(
            [
                _step(item, raw[number], raw.places[number], f"{what} {number + 1}")
                for number, item in enumerate(given)
            ]
        )
    )


def _with_distinct_names(steps: list[Step]) -> list[Step]:
    """A name that comes again is followed by its number: ``train``, ``train_2``."""
    taken: set[str] = set()
    distinct: list[Step] = []
    for step in steps:
        name, number = step.name, 1
        while name in taken:
            number += 1
            name = f"{step.name}_{number}"
        taken.add(name)
        distinct.append(structs.replace(step, name=name))
    return distinct


def _step(item: str | StepSection, raw: Any, place: Place, what: str) -> Step:
    spec = item if isinstance(item, str) else item.run
    try:
        operation, assignments, options = split_step(shlex.split(spec))
    except (UsageError, ValueError) as error:
        raise error_at(place, what, f"invalid step data: {spec}: {error}") from None
    if not operation:
        raise error_at(place, what, f"invalid step {spec!r}: must define run")
    flags: dict[str, FlagValue] = dict(_assigned(assignments, place, what))
    for name in options:
        _check_term(options, name, place, what)
    if isinstance(item, str):
        _check_retries(options, place, what)
        return Step(run=operation, name=_name(operation), flags=flags, options=options)
    if isinstance(item.flags, list):
        flags |= _assigned(item.flags, place, what)
    else:
        flags |= {name: flag_text(value) for name, value in item.flags.items()}
    for key, value in cast(Map, raw).items():
        name = canonical(key)
        if key not in _OWN and name in OPTIONS and value is not None and value is not False:
            options.pop(name, None)
            put_option(options, name, text_of(plain(value)) if name in WORDS else plain(value))
            _check_term(options, name, raw.places[key], what)
    _check_retries(options, place, what)
    return Step(
        run=operation,
        name=_step_name(item.name, place, what) if item.name is not None else _name(operation),
        flags=flags,
        options=options,
        expect=_checks(item.expect, place, what),
        isolate_runs=item.isolate_runs,
    )


def _check_term(options: dict[str, FlagValue], name: str, place: Place, what: str) -> None:
    """Refuse an option about terms that has no meaning, unless flags have to be filled in first."""
    if name not in WORDS or "${" in str(options[name]):
        return
    words = {"retries": "1"} if name.startswith("retry-") else {}
    try:
        terms_of_words(words | {name: str(options[name])})
    except UserError as error:
        raise error_at(place, what, f"'{name}': {error.message}", error.hint) from None


def _check_retries(options: dict[str, FlagValue], place: Place, what: str) -> None:
    about = next((name for name in options if name.startswith("retry-")), None)
    if about is not None and "retries" not in options:
        raise error_at(place, what, f"'{about}' needs 'retries': how often to try again")


def _assigned(words: list[str], place: Place, what: str) -> dict[str, str]:
    flags: dict[str, str] = {}
    for word in words:
        name, separator, value = word.partition("=")
        if not separator or not name:
            raise error_at(place, what, f"invalid step data: '{word}' is not NAME=VALUE")
        flags[name] = value
    return flags


def _name(operation: str) -> str:
    """The link's name: an operation's is fine but for what a file's name can't have."""
    return re.sub(r"[/\0]", "_", operation)


def _step_name(name: str, place: Place, what: str) -> str:
    if not name or name.startswith(".") or name != _name(name):
        raise error_at(
            place, what, f"'{name}' can't be a step's name: it is a file's name in the run's directory"
        )
    return name


def _checks(expect: CheckSection | list[CheckSection], place: Place, what: str) -> tuple[Check, ...]:
    return tuple(_check(one, place, what) for one in (expect if isinstance(expect, list) else [expect]))


def _check(section: CheckSection, place: Place, what: str) -> Check:
    if (section.output is None) == (section.file is None):
        raise error_at(place, what, "a check has either output or file")
    for pattern in (section.output, section.contains):
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise error_at(place, what, f"'{pattern}' is not a pattern: {error}") from None
    if section.file is not None and (problem := _problem_of_glob(section.file)):
        raise error_at(place, what, f"'{section.file}' can't be the file of a check: {problem}")
    if section.file is None and (section.contains or section.compare_to):
        raise error_at(place, what, "'contains' and 'compare-to' are about a file: name it with 'file'")
    return Check(
        output=section.output, file=section.file, contains=section.contains, compare_to=section.compare_to
    )


def _problem_of_glob(pattern: str) -> str | None:
    """Why no file's name can be looked for by ``pattern``."""
    parts = PurePosixPath(pattern).parts
    if not parts or "\0" in pattern:
        return "it names no file"
    if any("**" in part and part != "**" for part in parts):
        return "'**' stands for folders, and has to be between slashes"
    return None
