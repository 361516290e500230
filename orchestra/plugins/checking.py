"""What ``orchestra plugins check`` tells: the state of one plugin, in sentences."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import structs

from orchestra.contracts import Kind, Opener
from orchestra.errors import ExecutorError, OrchestraError, PluginError, StoreUnavailable
from orchestra.plugins.explaining import Remark, explain
from orchestra.plugins.listing import PluginInfo, find
from orchestra.plugins.opening import OpenPlugin, convert_options, load
from orchestra.plugins.structure import options_type


def probe(info: PluginInfo) -> PluginInfo:
    """``info``, with the reason in ``fault`` if the plugin can't be imported. Imports it."""
    if info.fault is not None:
        return info
    try:
        load(info)
    except PluginError as error:
        return structs.replace(info, fault=error.message)
    return info


async def check(
    kind: Kind, name: str, *, home: Path | None = None, cache_dir: Path | None = None
) -> list[Remark]:
    """Find, import and open a plugin with its default options, and compare it with its contract.

    It is opened on ``home``, or on a temporary one. Imports block. The list ends with what keeps it from being used.

    Raises:
        PluginNotFound: there is no such plugin.
    """
    return await examine(find(kind, name, cache_dir=cache_dir), home)


async def examine(
    info: PluginInfo, home: Path | None = None, options: Mapping[str, Any] | None = None
) -> list[Remark]:
    """As of :func:`check`, of a plugin that was found already; also that its name alone does not get it.

    ``options``: what is set of it.
    """
    return [*_rivalry(info), *await _examine(info, home, options or {})]


async def _examine(info: PluginInfo, home: Path | None, options: Mapping[str, Any]) -> list[Remark]:
    try:
        opener = load(info)
    except PluginError as error:
        return explain(info, error)
    findings = [
        Remark(level="ok", message=f"{info.title} can be imported."),
        Remark(level="ok", message=f"{info.target} is an opener; {_options_sentence(opener)}"),
    ]
    with tempfile.TemporaryDirectory(prefix="orchestra-check-") as scratch:
        findings += await _open(info, opener, home or Path(scratch), options)
    return findings


def _rivalry(info: PluginInfo) -> list[Remark]:
    if not info.rivals:
        return []
    advice = f"Uninstall one of them, or choose one by its distribution: '{info.distribution}:{info.name}'."
    return [Remark(level="problem", message=f"{info.title}: {info.error}.", advice=advice)]


async def _open(info: PluginInfo, opener: Opener, home: Path, options: Mapping[str, Any]) -> list[Remark]:
    wanted = options_type(opener)
    known = {"home", *options}
    missing = [f.encode_name for f in structs.fields(wanted) if f.required and f.encode_name not in known]
    if missing:
        needed = ", ".join(f"'{name}'" for name in missing)
        return [Remark(level="note", message=f"It was not opened, for it has no default for {needed}.")]
    try:
        async with OpenPlugin(info, opener, convert_options(info, wanted, options, home)):
            pass
    except OrchestraError as error:
        is_away = isinstance(error, StoreUnavailable | ExecutorError) and info.kind in ("store", "executor")
        names = [f.encode_name for f in structs.fields(wanted) if f.encode_name != "home"]
        if options or not is_away or not names:
            return explain(info, error)
        empty = [f.encode_name for f in structs.fields(wanted) if f.default == ""]
        return [_away(info, (empty or names)[0], error)]
    which = "the options that are set" if options else "its default options"
    return [Remark(level="ok", message=f"It opens with {which} and has the contract's methods.")]


def _away(info: PluginInfo, option: str, error: OrchestraError) -> Remark:
    """A plugin of which nothing is set, and that reaches nobody as it is: hardly an outage. ``option`` is one of it."""
    kind, name = info.kind, info.name
    return Remark(
        level="problem",
        message=f"Nothing is set of {info.title}, and without that it can't be used: {error.message}.",
        advice=f"Set what it needs: 'plugins: {{{kind}: {{{name}: {{{option}: VALUE}}}}}}' in the home's config.yml,"
        f" or for once ORCHESTRA_{kind.upper()}='{name} {option}=VALUE'.",
    )


def _options_sentence(opener: Opener) -> str:
    parts = [
        f.encode_name if f.required or f.default is msgspec.NODEFAULT else f"{f.encode_name}={f.default!r}"
        for f in structs.fields(options_type(opener))
        if f.encode_name != "home"
    ]
    return f"its options: {', '.join(parts)}." if parts else "it has no options."
