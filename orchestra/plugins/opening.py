"""Import a plugin's opener, convert its options, open it. Every failure is an error that names the plugin."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Generator, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path, PurePath
from types import TracebackType
from typing import Any, get_args

import msgspec
from msgspec import Struct

from orchestra.contracts import Kind, Opener
from orchestra.errors import OrchestraError, PluginError, PluginLoadFailed, PluginOptionsInvalid
from orchestra.plugins.listing import PluginInfo, find, installed_path
from orchestra.plugins.structure import Malformed, NotKept, options_type, violations

_CHECK_HINT = "'orchestra plugins check {name}' tells more."
_GENERATORS = {
    "generator didn't yield": "its opener ends without yielding the plugin",
    "generator didn't stop": "its opener yields a second time",
}
_WORDS = {"yes": True, "on": True, "no": False, "off": False}


def load(info: PluginInfo) -> Opener:
    """Import the plugin's module and return its opener. Blocks for as long as the import takes.

    What the module prints meanwhile goes to the standard error: the standard output carries results.

    Raises:
        PluginLoadFailed: it is written for another version of its contract, whatever the import raised
            (``SystemExit``, too), a missing attribute, or an opener that hasn't the form of one.
    """
    if info.fault is not None:
        raise _load_failed(info, info.fault)
    module_name, _, attributes = info.target.partition(":")
    try:
        with _installed_only(), contextlib.redirect_stdout(sys.stderr):
            found: Any = importlib.import_module(module_name)
        for attribute in attributes.split("."):
            found = getattr(found, attribute)
    except (Exception, SystemExit) as error:
        raise _load_failed(info, reason_of(error)) from error
    try:
        options_type(found)
    except Malformed as error:
        raise _load_failed(info, f"its opener {info.target} {error}") from error
    return found


def open_plugin(
    kind: Kind,
    name: str,
    options: Mapping[str, Any] | None = None,
    home: Path | None = None,
    *,
    cache_dir: Path | None = None,
) -> AbstractAsyncContextManager[Any]:
    """The plugin, as an async context manager that yields it.

    Finding, importing and the check of the options happen in this call, before anything is entered: they
    block, so make it before there is an event loop, or in a thread. Entering and leaving add no suspension
    to the plugin's own. Texts among ``options`` become what the plugin's options ask for; an option ``home``
    that was not given is ``home``.

    Raises:
        PluginNotFound, PluginConflict, PluginLoadFailed: as of :func:`find` and :func:`load`. Entering raises
            ``PluginLoadFailed``, too: if the opener fails, or what it yields lacks the contract's methods.
        PluginOptionsInvalid: an option is unknown, missing or has a wrong type.
    """
    info = find(kind, name, cache_dir=cache_dir)
    opener = load(info)
    return OpenPlugin(info, opener, convert_options(info, options_type(opener), options or {}, home))


class OpenPlugin:
    """Enters an opener and translates what it raises. Never swallows what happens inside of the block."""

    def __init__(self, info: PluginInfo, opener: Opener, options: Struct) -> None:
        self._info = info
        self._opener = opener
        self._options = options
        self._context: AbstractAsyncContextManager[Any] | None = None

    async def __aenter__(self) -> Any:
        try:
            context = self._opener(self._options)
            if not (hasattr(context, "__aenter__") and hasattr(context, "__aexit__")):
                raise Malformed("its opener does not return an async context manager", self._opener)
            plugin = await context.__aenter__()
        except OrchestraError:
            raise
        except (Exception, SystemExit) as error:
            cause = _told(error)
            raise _load_failed(self._info, reason_of(cause), "opened") from cause
        self._context = context
        failure = self._shortcomings(plugin)
        if failure is not None:
            await self.__aexit__(type(failure), failure, None)
            raise failure
        return plugin

    def _shortcomings(self, plugin: object) -> PluginLoadFailed | None:
        try:
            wrong = violations(self._info.kind, plugin)
            cause = NotKept(wrong) if wrong else None
            reason = str(cause)
        except Malformed as error:
            cause, reason = error, f"its opener {error}"
        if cause is None:
            return None
        failure = _load_failed(self._info, reason, "used")
        failure.__cause__ = cause
        return failure

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        context, self._context = self._context, None
        if context is None:
            return
        try:
            await context.__aexit__(kind, error, traceback)
        except OrchestraError:
            raise
        except (Exception, SystemExit) as failure:
            if failure is error:
                return  # the block's own; it goes on by itself
            cause = _told(failure)
            message = f"{self._info.title} failed when it was closed: {reason_of(cause)}"
            raise PluginError(message) from cause


def convert_options(
    info: PluginInfo, wanted: type[Struct], given: Mapping[str, Any], home: Path | None
) -> Struct:
    """``given`` as the plugin's own options.

    Raises:
        PluginOptionsInvalid: an option is unknown, missing or has a wrong type.
    """
    fields = {field.encode_name: field for field in msgspec.structs.fields(wanted)}
    values = dict(given)
    if home is not None and "home" in fields:
        values.setdefault("home", home)
    for name in values.keys() - fields.keys():
        raise _unknown_option(info, name, [field for field in fields if field != "home"])
    missing = [name for name, field in fields.items() if field.required and name not in values]
    if missing:
        needed = ", ".join(f"'{name}'" for name in missing)
        raise PluginOptionsInvalid(
            f"the {info.kind} '{info.name}' needs the option{'s' * (len(missing) > 1)} {needed}",
            f"Give it as '{info.name} {missing[0]}=VALUE', or in the settings.",
        )
    for name, value in values.items():
        if isinstance(value, str) and value.lower() in _WORDS and _may_be(bool, fields[name].type):
            values[name] = _WORDS[value.lower()]
    try:
        return msgspec.convert(values, wanted, strict=False, dec_hook=_from_text)
    except msgspec.ValidationError as error:
        raise PluginOptionsInvalid(_invalid(info, values, fields, str(error))) from error


def _invalid(info: PluginInfo, values: Mapping[str, Any], fields: Mapping[str, Any], problem: str) -> str:
    from orchestra.model.type_words import has_to_be

    reason, _, place = problem.partition(" - at `$.")
    name = place.rstrip("`")
    if not name:
        return f"options of the {info.kind} '{info.name}': {reason}"
    value = values.get(name)
    given = f"'{value}'" if isinstance(value, str) else None
    choices = [repr(one) for one in get_args(fields[name].type)] if name in fields else []
    if reason.startswith("Invalid enum value") and choices:
        wanted = f"has to be one of {', '.join(choices)}{f', not {given}' if given else ''}"
    else:
        wanted = (
            has_to_be(reason, given) or f"has a value that it can't have: {reason[:1].lower()}{reason[1:]}"
        )
    return f"option '{name}' of the {info.kind} '{info.name}' {wanted}"


def _may_be(kind: type, annotation: Any) -> bool:
    return annotation is kind or kind in getattr(annotation, "__args__", ())


def _from_text(kind: type, value: Any) -> Any:
    if isinstance(value, kind):
        return value
    if issubclass(kind, PurePath) and isinstance(value, str):
        path = kind(value)
        return path.expanduser() if isinstance(path, Path) else path
    raise ValueError(f"Expected `{kind.__name__}`, got `{type(value).__name__}`")


def _unknown_option(info: PluginInfo, name: str, known: list[str]) -> PluginOptionsInvalid:
    from difflib import get_close_matches

    close = get_close_matches(name, known, n=1)
    meant = f"Did you mean '{close[0]}'? " if close else ""
    listed = f"Its options: {', '.join(sorted(known))}." if known else "It has none."
    return PluginOptionsInvalid(f"the {info.kind} '{info.name}' has no option '{name}'", meant + listed)


@contextlib.contextmanager
def _installed_only() -> Generator[None]:
    # A module of the current directory must not stand in for an installed plugin's.
    allowed = installed_path()
    if allowed == sys.path:
        yield
        return
    saved = sys.path[:]
    sys.path[:] = allowed
    try:
        yield
    finally:
        sys.path[:] = saved


def _told(error: BaseException) -> BaseException:
    # What contextlib says of a generator that yields never, or again, says nothing to a plugin's author.
    if isinstance(error, RuntimeError) and str(error) in _GENERATORS:
        return Malformed(_GENERATORS[str(error)])
    return error


def reason_of(error: BaseException) -> str:
    """What went wrong, in a line."""
    if isinstance(error, SystemExit):
        return f"it called sys.exit({error.code!r})"
    if isinstance(error, Malformed):
        return str(error)
    text = str(error).strip().replace("\n", "\\n")
    kind = type(error).__name__
    if isinstance(error, SyntaxError) and error.filename:
        return f"{kind}: {error.msg} ({error.filename}, line {error.lineno})"
    return f"{kind}: {text}" if text else kind


def _load_failed(info: PluginInfo, reason: str, action: str = "loaded") -> PluginLoadFailed:
    return PluginLoadFailed(f"{info.title} can't be {action}: {reason}", _CHECK_HINT.format(name=info.name))
