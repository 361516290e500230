"""Whether an opener, and what it yields, have the form of their contract: names, async-ness, parameters.

Protocols check nothing when a plugin is loaded, and ``isinstance`` with a runtime-checkable one accepts a
method that is not async. What a contract *means* is tested by the kits in :mod:`orchestra.testing`, not here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Struct

from orchestra.contracts import (
    CONTRACTS,
    Counting,
    Foretelling,
    Hinting,
    Kind,
    Preparing,
    Scheduling,
    Warming,
    Watchable,
)

CAPABILITIES: dict[Kind, tuple[type, ...]] = {
    "executor": (Hinting, Foretelling, Warming, Preparing, Scheduling),
    "expander": (Counting,),
    "resolver": (),
    "store": (Watchable,),
}
"""What a plugin of each kind may offer beyond its contract."""

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def options_type(opener: Any) -> type[Struct]:
    """The struct that an opener's one parameter is annotated with.

    Raises:
        ValueError: the opener hasn't the form that it must have; the message says how, as a sentence's end.
    """
    if not callable(opener):
        raise ValueError("is not a function")
    if inspect.isasyncgenfunction(opener) or inspect.iscoroutinefunction(opener):
        raise ValueError("must be decorated with contextlib.asynccontextmanager")
    parameter = _only_parameter(opener)
    annotation: Any = parameter.annotation
    if isinstance(annotation, str):
        annotation = _evaluate(annotation, getattr(inspect.unwrap(opener), "__globals__", {}))
    if not (isinstance(annotation, type) and issubclass(annotation, Struct)):
        raise ValueError(f"must annotate '{parameter.name}' with a msgspec.Struct, its options")
    if not annotation.__struct_config__.forbid_unknown_fields:
        raise ValueError(
            f"takes {annotation.__name__}, which accepts unknown options: give it forbid_unknown_fields=True"
        )
    return annotation


def _only_parameter(opener: Any) -> inspect.Parameter:
    try:
        parameters = list(inspect.signature(opener).parameters.values())
    except (TypeError, ValueError):
        raise ValueError("has no signature that can be read") from None
    required = [p for p in parameters if p.default is p.empty and p.kind in _POSITIONAL]
    if len(parameters) != 1 or parameters[0].kind not in _POSITIONAL:
        names = ", ".join(p.name for p in parameters) or "nothing"
        raise ValueError(f"must take its options and nothing else, but takes {names}")
    return required[0] if required else parameters[0]


def _evaluate(annotation: str, names: dict[str, Any]) -> Any:
    try:
        return eval(annotation, names)
    except Exception as error:
        raise ValueError(
            f"has the annotation '{annotation}', which is not defined when the module is imported ({error})"
        ) from error


def violations(kind: Kind, plugin: object) -> list[str]:
    """Every way in which ``plugin`` falls short of its contract, each a sentence without its full stop."""
    found = [sentence for method in _methods(CONTRACTS[kind]) for sentence in _compare(method, plugin)]
    for capability in CAPABILITIES[kind]:
        for method in _methods(capability):
            if getattr(plugin, method.__name__, None) is not None:
                found.extend(_compare(method, plugin))
    return found


def _methods(contract: type) -> list[Callable[..., Any]]:
    return [
        member
        for name, member in vars(contract).items()
        if inspect.isfunction(member) and not name.startswith("_")
    ]


def _compare(wanted: Callable[..., Any], plugin: object) -> Iterator[str]:
    name = wanted.__name__
    method = getattr(plugin, name, None)
    if method is None:
        yield f"{name}() is missing"
        return
    if not callable(method):
        yield f"{name} must be a method, but is of type {type(method).__name__}"
        return
    yield from _compare_async(name, wanted, method)
    try:
        have = list(inspect.signature(method).parameters.values())
    except (TypeError, ValueError):
        return
    want = list(inspect.signature(wanted).parameters.values())[1:]
    yield from _compare_parameters(name, want, have)


def _compare_async(name: str, wanted: Callable[..., Any], method: Callable[..., Any]) -> Iterator[str]:
    if inspect.iscoroutinefunction(wanted) == _is_coroutine_function(method):
        return
    if not inspect.iscoroutinefunction(wanted):
        yield f"{name}() must be a plain function, but is 'async def'"
    elif inspect.isasyncgenfunction(method):
        yield f"{name}() must return its result, but is an async generator"
    else:
        yield f"{name}() must be 'async def'"


def _is_coroutine_function(method: Any) -> bool:
    if not (inspect.isroutine(method) or isinstance(method, type)):
        return inspect.iscoroutinefunction(method) or inspect.iscoroutinefunction(type(method).__call__)
    while method is not None:  # a plain decorator around an async function hands on its coroutine
        if inspect.iscoroutinefunction(method):
            return True
        method = getattr(method, "__wrapped__", None)
    return False


def _compare_parameters(
    name: str, want: list[inspect.Parameter], have: list[inspect.Parameter]
) -> Iterator[str]:
    any_positional = any(p.kind is p.VAR_POSITIONAL for p in have)
    any_keyword = any(p.kind is p.VAR_KEYWORD for p in have)
    by_name = {p.name: p for p in have if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    positional = [p for p in have if p.kind in _POSITIONAL]
    used: set[str] = set()
    for index, parameter in enumerate(want):
        keyword_only = parameter.kind is parameter.KEYWORD_ONLY
        match = (
            by_name.get(parameter.name) if keyword_only else next(iter(positional[index : index + 1]), None)
        )
        if match is None:
            if not (any_keyword if keyword_only else any_positional):
                yield f"{name}() does not take '{parameter.name}'"
            continue
        used.add(match.name)
        if match.name != parameter.name and match.kind is not match.POSITIONAL_ONLY:
            yield f"{name}() calls '{match.name}' what the contract calls '{parameter.name}'"
        if parameter.default is not parameter.empty and match.default is match.empty:
            yield f"{name}() demands '{parameter.name}', which may be left out"
    for parameter in by_name.values():
        if parameter.default is parameter.empty and parameter.name not in used:
            yield f"{name}() demands '{parameter.name}', which nobody gives it"
