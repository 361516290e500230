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
    Enduring,
    Foretelling,
    Hinting,
    Kind,
    Marking,
    Persisting,
    Preparing,
    Scheduling,
    Warming,
    Watchable,
)


class Malformed(ValueError):
    """An opener, or what it yields, hasn't the form that it must have; the message says how, as a sentence's end."""

    def __init__(self, message: str, subject: object = None) -> None:
        super().__init__(message)
        self.subject = subject
        """What is not as it must be: a function or a class."""


class Violation(Struct, frozen=True):
    """One way in which a plugin falls short of its contract."""

    message: str
    """A sentence without its full stop."""
    subject: Any
    """The function or class that is not as it must be."""
    wanted: Callable[..., Any]
    """The contract's method."""


class NotKept(Exception):
    """A plugin doesn't keep its contract."""

    def __init__(self, violations: list[Violation]) -> None:
        super().__init__("; ".join(violation.message for violation in violations))
        self.violations = violations


CAPABILITIES: dict[Kind, tuple[type, ...]] = {
    "executor": (Hinting, Foretelling, Warming, Preparing, Scheduling, Persisting),
    "expander": (Counting,),
    "resolver": (),
    "store": (Watchable, Marking, Enduring),
}
"""What a plugin of each kind may offer beyond its contract."""

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def options_type(opener: Any) -> type[Struct]:
    """The struct that an opener's one parameter is annotated with.

    Raises:
        Malformed: the opener hasn't the form that it must have.
    """
    if not callable(opener):
        raise Malformed("is not a function")
    inner = inspect.unwrap(opener)
    if inspect.isgeneratorfunction(inner):
        raise Malformed("must be 'async def', under contextlib.asynccontextmanager", inner)
    if inspect.isasyncgenfunction(opener) or inspect.iscoroutinefunction(opener):
        raise Malformed("must be decorated with contextlib.asynccontextmanager", inner)
    parameter = _only_parameter(opener)
    annotation: Any = parameter.annotation
    if isinstance(annotation, str):
        annotation = _evaluate(annotation, inner)
    if not (isinstance(annotation, type) and issubclass(annotation, Struct)):
        raise Malformed(f"must annotate '{parameter.name}' with a msgspec.Struct, its options", inner)
    name, config = annotation.__name__, annotation.__struct_config__
    if not config.forbid_unknown_fields:
        raise Malformed(
            f"takes {name}, which accepts unknown options: give it forbid_unknown_fields=True", annotation
        )
    if not config.frozen:
        raise Malformed(f"takes {name}, which can be changed: give it frozen=True", annotation)
    return annotation


def _only_parameter(opener: Any) -> inspect.Parameter:
    try:
        parameters = list(inspect.signature(opener).parameters.values())
    except (TypeError, ValueError):
        raise Malformed("has no signature that can be read", opener) from None
    required = [p for p in parameters if p.default is p.empty and p.kind in _POSITIONAL]
    if len(parameters) != 1 or parameters[0].kind not in _POSITIONAL:
        names = ", ".join(p.name for p in parameters) or "nothing"
        raise Malformed(f"must take its options and nothing else, but takes {names}", inspect.unwrap(opener))
    return required[0] if required else parameters[0]


def _evaluate(annotation: str, opener: Any) -> Any:
    try:
        return eval(annotation, getattr(opener, "__globals__", {}))
    except Exception as error:
        raise Malformed(
            f"has the annotation '{annotation}', which is not defined when the module is imported ({error})",
            opener,
        ) from error


def violations(kind: Kind, plugin: object) -> list[Violation]:
    """Every way in which ``plugin`` falls short of its contract.

    Raises:
        Malformed: it is no object that could have methods of its own.
    """
    if plugin is None:
        raise Malformed("yields None: it must yield the plugin")
    if isinstance(plugin, type):
        raise Malformed(f"yields the class {plugin.__name__}: it must yield an object of it", plugin)
    wanted = _methods(CONTRACTS[kind])
    for capability in CAPABILITIES[kind]:
        offered = [method for method in _methods(capability) if getattr(plugin, method.__name__, None)]
        wanted += offered
    return [
        Violation(message, getattr(plugin, method.__name__, None) or type(plugin), method)
        for method in wanted
        for message in _compare(method, plugin)
    ]


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
