"""What ``orchestra plugins check`` tells: the state of one plugin, in sentences."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct, structs

from orchestra.contracts import Kind, Opener
from orchestra.errors import OrchestraError, PluginError
from orchestra.plugins.listing import PluginInfo, find
from orchestra.plugins.opening import OpenPlugin, convert_options, load
from orchestra.plugins.structure import options_type


class Remark(Struct, frozen=True, kw_only=True):
    """One thing that a check found. A ``problem`` keeps the plugin from being used."""

    level: Literal["ok", "note", "problem"]
    message: str


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

    It is opened on ``home``, or on a temporary one. Imports block. The list ends with the first problem.

    Raises:
        PluginNotFound: there is no such plugin.
    """
    info = find(kind, name, cache_dir=cache_dir)
    try:
        opener = load(info)
    except PluginError as error:
        return [_problem(error)]
    findings = [
        Remark(level="ok", message=f"{info.title} can be imported."),
        Remark(level="ok", message=f"{info.target} is an opener; {_options_sentence(opener)}"),
    ]
    with tempfile.TemporaryDirectory(prefix="orchestra-check-") as scratch:
        findings.append(await _open(info, opener, home or Path(scratch)))
    return findings


async def _open(info: PluginInfo, opener: Opener, home: Path) -> Remark:
    wanted = options_type(opener)
    missing = [f.encode_name for f in structs.fields(wanted) if f.required and f.encode_name != "home"]
    if missing:
        needed = ", ".join(f"'{name}'" for name in missing)
        return Remark(level="note", message=f"It was not opened, for it has no default for {needed}.")
    try:
        async with OpenPlugin(info, opener, convert_options(info, wanted, {}, home)):
            pass
    except OrchestraError as error:
        return _problem(error)
    return Remark(level="ok", message="It opens with its default options and has the contract's methods.")


def _options_sentence(opener: Opener) -> str:
    parts = [
        f.encode_name if f.required or f.default is msgspec.NODEFAULT else f"{f.encode_name}={f.default!r}"
        for f in structs.fields(options_type(opener))
        if f.encode_name != "home"
    ]
    return f"its options: {', '.join(parts)}." if parts else "it has no options."


def _problem(error: OrchestraError) -> Remark:
    return Remark(level="problem", message=f"{error.message}.")
