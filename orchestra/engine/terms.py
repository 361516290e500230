"""The terms on which a run is started: what it needs, when its turn comes, how long and how often it may try."""

from __future__ import annotations

from typing import Any, Final

from orchestra.engine.request import RunRequest
from orchestra.errors import UserError
from orchestra.model.operation import Operation
from orchestra.model.resources import Resources, checked
from orchestra.model.retry import Retry
from orchestra.model.run import Run, RunKind
from orchestra.model.terms import Terms

DEFINED: Final = ("resources", "priority", "group", "retry", "time_limit", "warning")
"""What a project's file may say of an operation, too."""
TERMS: Final = (*DEFINED, "after")
"""Fields of a request, and of a run."""
_OPTIONS: Final = {"time_limit": "time-limit", "warning": "warn", "retry": "retries"}
"""Those that are named otherwise than their fields."""
_TURN: Final = ("priority", "group", "after")
_OF_RUNS: Final[tuple[RunKind, ...]] = ("queue", "steps")
"""Kinds of runs that execute others."""
_UNSAID: Final[dict[str, Any]] = {"resources": Resources(), "priority": 0}
"""What stands in a run for what nobody has said; else it is None."""


def given_terms(request: RunRequest) -> dict[str, Any]:
    """Those that the request names."""
    return {name: value for name in TERMS if (value := getattr(request, name)) not in (None, ())}


def terms_said(terms: Terms) -> dict[str, Any]:
    """What ``terms`` say, as fields of a request or of a run."""
    return {name: value for name in DEFINED if (value := getattr(terms, name)) is not None}


def settled_terms(operation: Operation, request: RunRequest) -> dict[str, Any]:
    """The fields of a new run: as the request says, and where it doesn't as the project does."""
    return {**terms_said(operation.terms), **given_terms(request)}


def own_terms(run: Run) -> dict[str, Any]:
    """Those of ``run`` that are not as its project had them: somebody asked for them."""
    defined = {name: _UNSAID.get(name) for name in DEFINED} | terms_said(run.operation.terms)
    own = {name: value for name in DEFINED if (value := getattr(run, name)) != defined[name]}
    if run.batch is None:
        return own
    # Its batch had the resources, and the turn, for all of its trials.
    return {name: value for name, value in own.items() if value != _UNSAID.get(name)}


def redefined_terms(run: Run, operation: Operation) -> dict[str, Any]:
    """The fields of ``run`` once its operation is defined as ``operation``; what was asked for stays."""
    return {name: _UNSAID.get(name) for name in DEFINED} | terms_said(operation.terms) | own_terms(run)


def check_terms(
    kind: RunKind, request: RunRequest, time_limit: float | None, resources: Resources | None
) -> None:
    """Refuse terms that can't be kept; ``time_limit`` and ``resources``: what holds where the request names none.

    Raises:
        UserError: names the option.
    """
    given = given_terms(request)
    if not given:
        return
    # A pipeline waits for its turn as other runs do; what it takes is a matter of its steps.
    refused = [name for name in given if kind == "queue" or name not in _TURN] if kind in _OF_RUNS else []
    if refused:
        name = refused[0]
        what = "queue" if kind == "queue" else "pipeline"
        raise UserError(
            f"--{_OPTIONS.get(name, name)} can't be used with a {what}",
            "Give it to the runs that it is meant for.",
        )
    if request.resources is not None:
        checked(request.resources)
        if request.resources.gpus and request.gpus:
            raise UserError(
                "--gpus names devices, and --resources asks for some: they can't both be used",
                "Leave out one of them.",
            )
    if request.retry is not None:
        _check_growth(request.retry, request.resources or resources or Resources())
    from orchestra.model.term_words import check_terms as check

    said = {name: given[name] for name in DEFINED if name in given}
    if request.warning is not None and time_limit is not None:
        said.setdefault("time_limit", time_limit)
    check(Terms(**said))
    if request.warning is not None and request.time_limit is None and time_limit is None:
        raise UserError("a warning needs a time limit that it comes before", "Give --time-limit, too.")


def _check_growth(retry: Retry, resources: Resources) -> None:
    for name in retry.scale:
        if not getattr(resources, name):
            raise UserError(
                f"--retry-scale: of {name} nothing is asked for, and so nothing can grow",
                f"Ask for some, such as --resources {name}={'8G' if name == 'memory' else 1}.",
            )
