"""Operations that need each other's runs in a circle: none of them can be the first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from orchestra.errors import ProjectFileError
from orchestra.model.dependencies import OPERATION
from orchestra.model.operation import Operation
from orchestra.placing.choice import named_by
from orchestra.project.defined_requirements import requirements_of
from orchestra.project.project_file import Defined, Definitions, load_project


def requirement_cycle(operation: Operation) -> tuple[str, ...]:
    """The shortest way from ``operation`` by what its project requires back to itself: names, itself at both ends.

    Empty if there is none. What is optional leads nowhere.
    """
    if operation.project_file is None:
        return ()
    try:
        project = load_project(Path(operation.project_file))
    except ProjectFileError:
        # It is no longer as the run has it.
        return ()
    names = {defined.full_name: defined for defined in project.operations()}
    if operation.name not in names:
        return ()
    # Breadth first, and without recursion: a chain may be long.
    come_from = {operation.name: ""}
    due = [operation.name]
    for name in due:
        for needed in _needed(project, names[name], names):
            if needed == operation.name:
                return (*_way_to(name, come_from), needed)
            if needed not in come_from:
                come_from[needed] = name
                due.append(needed)
    return ()


def _needed(project: Definitions, defined: Defined, names: dict[str, Defined]) -> Iterator[str]:
    """The operations of which ``defined`` needs a run. It may do with one of several."""
    try:
        requirements = requirements_of(project, project.models[defined.model], defined)
    except ProjectFileError:
        return
    for source in (source for requirement in requirements for source in requirement.sources):
        if source.scheme == OPERATION and not source.optional:
            is_meant = named_by(source.value)
            yield from (name for name in names if is_meant(name))


def _way_to(name: str, come_from: dict[str, str]) -> tuple[str, ...]:
    way: list[str] = []
    while name:
        way.append(name)
        name = come_from[name]
    return tuple(reversed(way))
