"""From a step of a pipeline to the request for its run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, cast

from orchestra.engine.request import RunRequest
from orchestra.engine.terms import DEFINED, terms_said
from orchestra.errors import FlagError, OperationNotFound
from orchestra.model.decoding import decode, encode
from orchestra.model.flags import Text
from orchestra.model.operation import FlagValue, Step
from orchestra.model.run import Run
from orchestra.model.step_words import step_words
from orchestra.model.templates import fill
from orchestra.model.term_words import WORDS, terms_of_words, words_of
from orchestra.model.terms import Terms

_FIELDS: Final[dict[str, str]] = {
    "batch-comment": "batch_comment",
    "batch-label": "batch_label",
    "batch-tag": "batch_tags",
    "comment": "comment",
    "dep": "sources",
    "executor": "executor",
    "fail-on-trial-error": "fail_on_trial_error",
    "force-deps": "force_deps",
    "force-flags": "force_flags",
    "force-sourcecode": "force_sourcecode",
    "gpus": "gpus",
    "label": "label",
    "max-trials": "max_trials",
    "maximize": "maximize",
    "minimize": "minimize",
    "needed": "needed",
    "opt-flag": "expander_options",
    "optimize": "optimize",
    "optimizer": "expander",
    "random-seed": "random_seed",
    "stage-trials": "stage_trials",
    "stop-after": "stop_after",
    "tag": "tags",
}
"""The options of ``run`` that a step may have, and the fields of a request that they set."""
_NUMBERS: Final = ("max-trials", "random-seed")


def request_of_step(run: Run, step: Step, warn: Callable[[str], None]) -> RunRequest:
    """What the pipeline ``run`` asks for with ``step``. ``warn`` is told which options have no meaning in a step.

    Raises:
        FlagError: a flag refers to one that the pipeline does not have, or an option's value is none.
    """
    assert run.operation.project_file is not None
    options = {name: _filled(value, run) for name, value in step.options.items()}
    if options.pop("no-gpus", None) is True:
        options["gpus"] = ""
    if run.label_template is not None:
        options.setdefault("label", run.label)
    if run.tags:
        options.setdefault("tag", list(run.tags))
    for name in options:
        if name not in _FIELDS and name not in WORDS:
            warn(f"run parameter {name} used in '{step.run}' ignored")
    fields = {_FIELDS[name]: _typed(name, value) for name, value in options.items() if name in _FIELDS}
    # An empty text is a flag that is null: nothing is said.
    words = {name: str(options[name]) for name in WORDS if options.get(name, "") != ""}
    fields |= terms_said(terms_of_words(words))
    return RunRequest(
        operation=_operation_name(run, step),
        flags={name: Text(text) for name, text in _flags(run, step).items()},
        cwd=Path(run.operation.project_file).parent,
        parent=run.id,
        isolate_runs=step.isolate_runs,
        **fields,
    )


def bare_request_of_step(run: Run, step: Step) -> RunRequest:
    """The request for the operation of ``step`` alone, whatever flags and options it is given."""
    assert run.operation.project_file is not None
    return RunRequest(operation=_operation_name(run, step), cwd=Path(run.operation.project_file).parent)


def step_arguments(step: Step, request: RunRequest) -> list[str]:
    """The options and flags of ``request``, as log lines show them."""
    options: dict[str, Any] = {}
    for name, field in _FIELDS.items():
        value = getattr(request, field)
        if name == "opt-flag":
            value = [f"{one}={encode(given)}" for one, given in request.expander_options.items()]
        if value not in (None, False, (), []):
            options[name] = value
    options |= words_of(Terms(**{name: getattr(request, name) for name in DEFINED}))
    ordered = {name: options[name] for name in step.options if name in options} | options
    return step_words(ordered, {name: str(value) for name, value in request.flags.items()})


def _operation_name(run: Run, step: Step) -> str:
    """The step's operation: without a model it is of the pipeline's, if that has one of this name."""
    if ":" in step.run or not run.operation.model or run.operation.project_file is None:
        return step.run
    from orchestra.project.lookup import look_up
    from orchestra.project.project_file import load_project

    name = f"{run.operation.model}:{step.run}"
    try:
        found = look_up(load_project(Path(run.operation.project_file)), name)
    except OperationNotFound:
        return step.run
    return name if found is not None else step.run


def _flags(run: Run, step: Step) -> dict[str, str]:
    """The step's flags as texts; those of the pipeline that are named ``STEP:flag`` come before its own."""
    flags: dict[str, str] = {}
    for name, text in step.flags.items():
        value = _reference(str(text), run.flags)
        if value is not None:
            flags[name] = value
    for name, value in run.flags.items():
        owner, separator, flag = name.rpartition(":")
        if separator and owner in (step.name, step.run, f"{run.operation.model}:{step.run}"):
            flags[flag] = encode(value)
    return flags


def _reference(text: str, flags: Mapping[str, FlagValue]) -> str | None:
    """``text`` with flags of the pipeline filled in; None if it is nothing but a flag that is null."""
    if text.startswith("${") and text.find("}") == len(text) - 1:
        value = _value(text[2:-1].strip(), flags)
        return None if value is None else encode(value)

    def shown(name: str) -> str:
        value = _value(name, flags)
        return value if isinstance(value, str) else "" if value is None else encode(value)

    return fill(text, shown)


def _value(name: str, flags: Mapping[str, FlagValue]) -> FlagValue:
    if name not in flags:
        raise FlagError(f"a step refers to '{name}', which is no flag of its pipeline")
    return flags[name]


def _filled(value: FlagValue, run: Run) -> FlagValue:
    if isinstance(value, list):
        return [_filled(item, run) for item in cast("list[FlagValue]", value)]
    return _reference(value, run.flags) or "" if isinstance(value, str) else value


def _typed(name: str, value: FlagValue) -> Any:
    """The option's value as a request has it."""
    several = cast("list[FlagValue]", value) if isinstance(value, list) else [value]
    if name == "opt-flag":
        pairs = (str(one).partition("=") for one in several)
        return {flag: decode(text, flag) for flag, _, text in pairs}
    if name in ("tag", "batch-tag", "dep"):
        return tuple(str(one) for one in several)
    if name in _NUMBERS:
        number = cast(Any, decode(value) if isinstance(value, str) else value)
        if isinstance(number, bool) or not isinstance(number, int):
            raise FlagError(f"--{name} of a step has to be a whole number, not {encode(value)}")
        return number
    if name == "stop-after":
        minutes = cast(Any, decode(value) if isinstance(value, str) else value)
        if isinstance(minutes, bool) or not isinstance(minutes, int | float):
            raise FlagError(f"--{name} of a step has to be a number of minutes, not {encode(value)}")
        return float(minutes)
    return str(cast(Any, value)) if name == "gpus" else cast(Any, value)
