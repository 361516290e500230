"""Why a plugin can't be used: where that is, and what to do. For ``orchestra plugins check`` alone."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable
from difflib import get_close_matches
from types import CodeType, TracebackType
from typing import Any, Literal

from msgspec import Struct

from orchestra.errors import OrchestraError, PluginLoadFailed
from orchestra.plugins.listing import OWN_DISTRIBUTION, PluginInfo
from orchestra.plugins.opening import reason_of
from orchestra.plugins.structure import Malformed, NotKept, Violation

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_LIBRARY = os.path.dirname(os.__file__) + os.sep


class Remark(Struct, frozen=True, kw_only=True):
    """One thing that a check found. A ``problem`` keeps the plugin from being used."""

    level: Literal["ok", "note", "problem"]
    message: str
    """A sentence."""
    where: str | None = None
    """``FILE:LINE`` of what is not as it must be."""
    advice: str | None = None
    """What to do, in a sentence."""


def explain(info: PluginInfo, error: OrchestraError) -> list[Remark]:
    """What is wrong with a plugin that failed with ``error``."""
    cause = error.__cause__
    if isinstance(cause, NotKept):
        return [_of_violation(info, violation) for violation in cause.violations]
    where, advice = None, None
    if isinstance(cause, Malformed):
        where = place_of(cause.subject) or _place_of_opener(info)
    elif cause is not None:
        where, advice = _place_in(cause, info.target), _advice(cause, info.target, info.distribution)
    elif not isinstance(error, PluginLoadFailed):
        advice = error.hint  # the plugin's own
    return [Remark(level="problem", message=f"{error.message}.", where=where, advice=advice)]


def explain_import(path: str, module: str, error: BaseException) -> Remark:
    """What is wrong with a file that can't be imported."""
    return Remark(
        level="problem",
        message=f"'{path}' can't be imported: {reason_of(error)}.",
        where=_place_in(error, module),
        advice=_advice(error, module, ""),
    )


def place_of(subject: object) -> str | None:
    """``FILE:LINE`` of a function or class, where that is known."""
    code = getattr(inspect.unwrap(subject) if callable(subject) else subject, "__code__", None)
    if isinstance(code, CodeType):
        return f"{code.co_filename}:{code.co_firstlineno}"
    try:
        thing: Any = subject
        return f"{inspect.getsourcefile(thing)}:{inspect.getsourcelines(thing)[1]}"
    except (TypeError, OSError):
        return None


def _of_violation(info: PluginInfo, violation: Violation) -> Remark:
    wanted = f"'{_written(violation.wanted)}'"
    name, subject = violation.wanted.__name__, violation.subject
    advice = f"The contract has {wanted}."
    if isinstance(subject, type) and not hasattr(subject, name):
        public = [other for other, _ in inspect.getmembers(subject, callable) if not other.startswith("_")]
        close = get_close_matches(name, public, n=1)
        advice = f"Is {close[0]}() meant to be it? {advice}" if close else advice
    return Remark(
        level="problem", message=f"{info.title}: {violation.message}.", where=place_of(subject), advice=advice
    )


def _written(method: Callable[..., Any]) -> str:
    signature = str(inspect.signature(method)).replace("'", "")
    return f"{'async ' if inspect.iscoroutinefunction(method) else ''}def {method.__name__}{signature}"


def _place_of_opener(info: PluginInfo) -> str | None:
    module, _, attributes = info.target.partition(":")
    found: Any = sys.modules.get(module)
    for attribute in attributes.split("."):
        found = getattr(found, attribute, None)
    return place_of(found) or _file_of(module)


def _file_of(module: str) -> str | None:
    return getattr(sys.modules.get(module), "__file__", None)


def _place_in(error: BaseException, target: str) -> str | None:
    """The last line of the plugin that was at work when it failed; else of whatever is not ours."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    root = target.partition(":")[0].partition(".")[0]
    own = other = None
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if str(trace.tb_frame.f_globals.get("__name__")).partition(".")[0] == root:
            own = f"{file}:{trace.tb_lineno}"
        elif not file.startswith((_OURS, _LIBRARY, "<")):
            other = f"{file}:{trace.tb_lineno}"
        trace = trace.tb_next
    return own or other or _file_of(target.partition(":")[0])


def _advice(error: BaseException, target: str, distribution: str) -> str | None:
    module, _, attribute = target.partition(":")
    owner = distribution or "its distribution"
    if isinstance(error, ModuleNotFoundError) and error.name:
        root = error.name.partition(".")[0]
        if module == error.name or module.startswith(f"{error.name}."):
            return (
                f"Correct the entry point or the packages in {owner}'s pyproject.toml, and install it again."
            )
        if root != "orchestra":
            return f"Install '{root}', and name what has it among the dependencies of {owner}."
    if isinstance(error, ImportError) and str(error.name).partition(".")[0] == "orchestra":
        return f"It needs another version of {OWN_DISTRIBUTION}: upgrade that or {owner}."
    if isinstance(error, AttributeError) and error.obj is sys.modules.get(module) and error.name == attribute:
        openers = [name for name in vars(error.obj) if name.startswith("open_")]
        there = f" There {'is' if len(openers) == 1 else 'are'} {', '.join(openers)}." if openers else ""
        return (
            f"Define it, or correct the entry point in {owner}'s pyproject.toml and install it again.{there}"
        )
    if isinstance(error, SystemExit):
        return "Raise an error, or nothing: the process is not the plugin's to end."
    return None
