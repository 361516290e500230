"""Options that have no meaning for what is asked for: who gave them is told, and nothing else comes of them."""

from __future__ import annotations

from collections.abc import Iterator

from orchestra.engine.request import RunRequest
from orchestra.engine.restart import Restart
from orchestra.engine.stage import Plan


def starts_at_once(request: RunRequest, prepared: Plan | Restart) -> bool:
    """Whether no queue has a hand in it: neither the run nor its trials are staged."""
    spec = prepared.run.batch_spec if isinstance(prepared, Restart) else prepared.batch
    has_staged_trials = spec is not None and spec.stage_trials
    # Where there are no trials the run is staged in their place, unless it is a step.
    is_in_their_place = request.stage_trials and request.parent is None
    return not (request.stage or has_staged_trials or is_in_their_place)


def ignored_options(request: RunRequest, prepared: Plan | Restart) -> Iterator[str]:
    """A sentence for each option of ``request`` that what it comes to does not heed."""
    kind = prepared.kind
    if kind != "batch":
        if request.batch_comment is not None:
            yield "operation is not a batch - ignoring batch comment"
        yield from _told("not a batch run", _of_batches(request))
        if kind != "queue":
            yield from _told("not a batch run", {"--max-fails": request.max_fails is not None})
    if kind == "queue":
        yield from _told("a queue needs nothing and searches nothing", _of_operations(request))
    if starts_at_once(request, prepared):
        yield from _told("not staged", {"--priority": request.priority is not None})
        if request.group is not None:
            yield f"not staged - not waiting for a place in group {request.group}"


def _told(why: str, options: dict[str, bool]) -> Iterator[str]:
    return (f"{why} - ignoring {name}" for name, is_given in options.items() if is_given)


def _of_batches(request: RunRequest) -> dict[str, bool]:
    return {
        "--max-trials": request.max_trials is not None,
        "--stage-trials": request.stage_trials and request.parent is not None,
        "--batch-label": request.batch_label is not None,
        "--batch-tag": bool(request.batch_tags),
        "--fail-on-trial-error": request.fail_on_trial_error,
        "--minimize": request.minimize is not None,
        "--maximize": request.maximize is not None,
    }


def _of_operations(request: RunRequest) -> dict[str, bool]:
    return {
        "--dep": bool(request.sources),
        "--force-deps": request.force_deps,
        "--optimizer": request.expander is not None,
        "--optimize": request.optimize,
        "--opt-flag": bool(request.expander_options),
        "--random-seed": request.random_seed is not None,
    }
