"""What an operation's requirements mean for its runs: flags that choose sources, references to flags in them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from msgspec import structs

from orchestra.errors import ResolveError
from orchestra.model.decoding import encode
from orchestra.model.operation import FlagDef, FlagValue, Operation, Requirement, SourceDef

OPERATION: Final = "operation"
"""The scheme of what other runs have made: resolved when a run starts, never when it is staged."""
CONFIG: Final = "config"
MODULE: Final = "module"
URL: Final = "url"
_REFERENCE: Final = re.compile(r"\\\$\{|\$\{([^}]*)\}")
# Compiled when they are used: few runs have sources from elsewhere.
_LOGIN: Final = r"^((?:[\w-]+:)?[a-zA-Z][a-zA-Z0-9+.-]*://)[^/?#]*@"
_SECRET: Final = (
    r"(?i)([?&](?:sig|[^=&#]*(?:token|key|secret|passw|pwd|signature|credential|auth)[^=&#]*)=)[^&#]*"
)
_SCHEME: Final = re.compile(r"[A-Za-z0-9-]{2,}")


def split_source(text: str) -> tuple[str, str]:
    """``SCHEME:VALUE`` as its two parts; a bare path is a file."""
    if text.startswith(("http://", "https://")):
        return URL, text
    scheme, separator, value = text.partition(":")
    if separator and _SCHEME.fullmatch(scheme):
        return scheme, value
    return "file", text


def requirement_of(text: str) -> Requirement:
    """The requirement that ``--dep TEXT`` stands for: provided as it is, in place of what has its name."""
    scheme, value = split_source(text)
    source = SourceDef(scheme=scheme, value=value, flag_name=False, unpack=False, replace_existing=True)
    return Requirement(name=source_name(source), sources=(source,))


def source_name(source: SourceDef) -> str:
    """How messages and records name it."""
    if source.name:
        return source.name
    # What is no address of the web may be one, too: of a bucket, of another resolver's protocol.
    text = f"{source.scheme}:{source.value}"
    return masked_url(text) if "://" in text else text


def masked_url(url: str) -> str:
    """``url`` without passwords and other secrets in it, to be shown and recorded."""
    return re.sub(_SECRET, r"\1***", re.sub(_LOGIN, r"\1***@", url))


def source_flag(source: SourceDef) -> str | None:
    """The name of the flag that chooses another source, if there is one."""
    if source.flag_name is False:
        return None
    if isinstance(source.flag_name, str):
        return source.flag_name
    return source_name(source) if source.scheme == OPERATION else None


def with_source_flags(operation: Operation) -> Operation:
    """The operation with the flags that choose sources of its requirements, unless it has such flags already."""
    known = {name for flag in operation.flags for name in (flag.name, flag.alias)}
    added: list[FlagDef] = []
    for source in (source for requirement in operation.requires for source in requirement.sources):
        name = source_flag(source)
        if name is None or name in known:
            continue
        is_operation = source.scheme == OPERATION
        alias = source.value if name == f"{source.scheme}:{source.value}" else None
        added.append(
            FlagDef(
                name=name,
                alias=alias if alias not in known else None,
                default=None if is_operation else source.value,
                type="string",
                description=f"Run of '{source.value}' whose files are used." if is_operation else "",
                arg_skip=True,
            )
        )
        known |= {name, alias}
    return structs.replace(operation, flags=(*operation.flags, *added)) if added else operation


def operation_flags(operation: Operation) -> dict[str, SourceDef]:
    """The flags that choose runs, and the sources that they are of."""
    sources = [source for requirement in operation.requires for source in requirement.sources]
    named = [(source_flag(source), source) for source in sources if source.scheme == OPERATION]
    return {name: source for name, source in named if name is not None}


def filled_in(source: SourceDef, flags: Mapping[str, FlagValue]) -> SourceDef:
    """The source as a run with these flags has it: references filled in, a flag's choice in place of the value.

    Raises:
        ResolveError: a reference is to no flag.
    """
    flag = source_flag(source)
    chosen = flags.get(flag) if flag is not None else None

    def fill(text: str) -> str:
        return _filled(text, source, flags)

    value = fill(source.value)
    if chosen is not None:
        text = chosen if isinstance(chosen, str) else encode(chosen)
        # A run must be one of the operation that is needed.
        value = f"{value}={text}" if source.scheme == OPERATION else text
    return structs.replace(
        source,
        value=value,
        select=tuple(map(fill, source.select)),
        select_min=None if source.select_min is None else fill(source.select_min),
        select_max=None if source.select_max is None else fill(source.select_max),
        rename=tuple((fill(pattern), fill(replacement)) for pattern, replacement in source.rename),
        target_path=None if source.target_path is None else fill(source.target_path),
        name=source_name(source),
        flag_name=source.flag_name if source.flag_name is not None else flag or False,
    )


def _filled(text: str, source: SourceDef, flags: Mapping[str, FlagValue]) -> str:
    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name is None:
            return "${"
        if name not in flags:
            raise ResolveError(
                f"cannot resolve '{masked_url(text)}' in {source_name(source)}: undefined reference '{name}'"
            )
        found = flags[name]
        return found if isinstance(found, str) else encode(found)

    return _REFERENCE.sub(value, text)
