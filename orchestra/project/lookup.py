"""Find an operation by its name in a project's file."""

from __future__ import annotations

from orchestra.errors import OperationNotFound
from orchestra.project.documents import did_you_mean
from orchestra.project.project_file import Defined, Definitions, Model

_LIST_HINT = "Try 'orchestra operations' for a list of available operations."


def look_up(project: Definitions, spec: str | None) -> Defined | None:
    """What the file defines under ``spec``: ``OP``, ``MODEL:OP``, ``MODEL:`` or, without one, the default operation.

    None: it defines no such operation, which a file may yet be.

    Raises:
        OperationNotFound: there is no default operation, or several models match.
    """
    if not spec:
        return _default(project)
    name, separator, operation = spec.partition(":")
    if not separator:
        model = project.default_model
        return model.operations.get(spec) if model is not None else None
    model = _model(project, name)
    if model is None:
        return None
    if not operation:
        found = model.default_operation
        if found is None:
            raise OperationNotFound(f"model '{model.name}' has no default operation", _LIST_HINT)
        return found
    return model.operations.get(operation)


def _default(project: Definitions) -> Defined:
    model = project.default_model
    found = model.default_operation if model is not None else None
    if found is None:
        reason = f"'{project.file.name}' does not say which one it is"
        if not any(project.operations()):
            reason = f"'{project.file}' has no operations"
        raise OperationNotFound(f"cannot find a default operation: {reason}", _LIST_HINT)
    return found


def _model(project: Definitions, name: str) -> Model | None:
    """The model of this name, or the only one whose name holds it."""
    if name in project.models:
        return project.models[name]
    if not name:
        return project.default_model
    matching = [model for model in project.models.values() if name in model.name]
    if len(matching) > 1:
        names = ", ".join(repr(model.name) for model in matching)
        raise OperationNotFound(
            f"there are multiple models that match '{name}': {names}", "Give more of the name."
        )
    return matching[0] if matching else None


def not_defined(project: Definitions, spec: str, others: list[str]) -> OperationNotFound:
    """The error that neither the file nor anything else (``others`` are scripts) defines ``spec``."""
    name, separator, operation = spec.partition(":")
    known = [one.full_name for one in project.operations()]
    if not separator and project.default_model is not None:
        known = [*project.default_model.operations, *known]
    close = did_you_mean(spec, [*known, *others]) or _elsewhere(project, operation or spec)
    model = _model(project, name) if separator else None
    if separator and model is not None and model.name:
        message = f"operation '{operation}' is not defined for model '{model.name}'"
        hint = f"Try 'orchestra operations {model.name}' for a list of available operations."
    else:
        message, hint = f"operation '{spec}' is not defined for this project", _LIST_HINT
    return OperationNotFound(message, f"{hint}\n{close}" if close else hint)


def _elsewhere(project: Definitions, operation: str) -> str | None:
    """A hint where models have an operation of this name."""
    having = [one.full_name for one in project.operations() if one.name == operation]
    return f"Did you mean {' or '.join(repr(one) for one in having[:3])}?" if having else None
