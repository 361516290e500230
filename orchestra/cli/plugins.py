"""``orchestra plugins``: which plugins there are, whether they can be used, and the start of another."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from cyclopts import Parameter

from orchestra import __version__, plugins
from orchestra.cli import tables, terminal
from orchestra.cli.context import current, in_event_loop
from orchestra.console import printable
from orchestra.contracts import Kind
from orchestra.errors import CheckFailed, PluginNotFound, UsageError
from orchestra.plugins import PluginInfo
from orchestra.workspace.layout import Layout

_KIT_NOT_RUN = "The kit was not run"


def plugins_list(
    *,
    kind: Kind | None = None,
    json: Annotated[bool, Parameter(name="--json")] = False,
) -> int:
    """List the plugins that are installed, and why one can't be loaded.

    With --json they are printed as an array of objects with the keys kind, name, target, distribution,
    version, contract (the version of it that the plugin was written for) and error (null if it can be loaded).

    Parameters
    ----------
    kind
        Only plugins of this kind.
    json
        Print JSON.
    """
    found = [plugins.probe(info) for info in plugins.list_plugins(kind, cache_dir=_cache())]
    if json:
        terminal.write_json([_as_json(info) for info in found])
        return 0
    rows = [(info.kind, info.name, info.distribution, info.version, _problem(info)) for info in found]
    terminal.write(tables.render(rows, width=terminal.width()))
    return 0


def plugins_check(
    *names: str,
    kind: Kind | None = None,
    kit: Annotated[bool, Parameter(name="--kit", negative="")] = False,
    json: Annotated[bool, Parameter(name="--json")] = False,
) -> int:
    """Check that plugins can be imported, opened, and have the methods of their contracts; tell what is wrong where.

    They are opened with the options that are set of them, on a home that is made for the purpose.

    All that are installed are checked unless some are named. Ends with code 3 if one can't be used. With --json the
    findings are printed as an array of objects with the keys kind, name, level (ok, note or problem), message, where
    (FILE:LINE or null) and advice (or null).

    Parameters
    ----------
    names
        Which plugins: a NAME, DISTRIBUTION:NAME where two distributions have one of the same name, a DISTRIBUTION
        for all of its plugins, or a FILE that nobody has installed yet.
    kind
        Only plugins of this kind; what the opener of a file is of, if its name doesn't say it.
    kit
        Also run the tests of its contract on each that is named; needs pytest and trio.
    json
        Print JSON.
    """
    if kit and not names:
        raise UsageError("--kit needs a plugin", "Name it: 'orchestra plugins check NAME --kit'.")
    chosen = [one for name in names for one in _named(name, kind)] if names else plugins.list_plugins(kind)
    findings = in_event_loop(lambda: _check(chosen))
    if kit:
        findings += _run_kits(chosen, findings)
    if json:
        terminal.write_json([_finding_as_json(finding) for finding in findings])
    else:
        terminal.write(tables.render([row for finding in findings for row in _rows(finding)]))
    broken = {finding.name for finding in findings if finding.remark.level == "problem"}
    if broken and json:
        return CheckFailed.exit_code
    if broken:
        raise CheckFailed(f"these plugins can't be used: {', '.join(sorted(broken))}")
    untried = [one.name for one in findings if one.remark.message.startswith(_KIT_NOT_RUN)]
    if untried and json:
        return CheckFailed.exit_code
    if untried:
        raise CheckFailed(f"the kit was not run on: {', '.join(untried)}")
    return 0


def plugins_new(
    kind: Kind,
    name: str,
    /,
    *,
    directory: Annotated[Path | None, Parameter(name="--dir")] = None,
) -> int:
    """Write the package of a new plugin: one that works, with its options and the tests of its contract.

    It is written to orchestra-NAME. Nothing that is there is overwritten.

    Parameters
    ----------
    kind
        What it will be.
    name
        Its name, as it will be given to run and queue: letters, digits and hyphens.
    directory
        Where the package is written; the current directory unless given.
    """
    from orchestra.plugins.scaffolding import plugin_name, write_package

    name = plugin_name(name)
    folder = write_package(kind, name, directory or Path(), version=__version__)
    article = "an" if kind[0] in "aeiou" else "a"
    terminal.write(
        printable(f"Wrote {folder}: {article} {kind} that works, its options and its tests. To go on:") + "\n"
        f"  cd {shlex.quote(str(folder))}\n"
        "  pip install -e '.[test]' && pytest\n"
        f"  orchestra plugins check {name}\n"
    )
    return 0


def _problem(info: PluginInfo) -> str:
    return f"problem: {info.error}" if info.error else ""


def _cache() -> Path | None:
    folder = Layout(current().home).cache_dir
    return folder if folder.is_dir() else None


class _Finding(NamedTuple):
    kind: Kind | None
    name: str
    remark: plugins.Remark


async def _check(chosen: Sequence[PluginInfo | _Finding]) -> list[_Finding]:
    findings: list[_Finding] = []
    for one in chosen:
        if isinstance(one, _Finding):
            findings.append(one)
        else:
            remarks = await plugins.examine(one, options=_set_of(one))
            findings += [_Finding(one.kind, one.name, remark) for remark in remarks]
    return findings


def _set_of(info: PluginInfo) -> dict[str, Any]:
    """The options that are set of a plugin that is installed, where it is chosen or in general."""
    from orchestra.plugins.files import is_file

    if is_file(info.distribution):
        return {}
    settings = current().settings
    chosen = {"store": settings.store, "executor": settings.executor}.get(info.kind)
    if chosen is not None:
        name, options = settings.plugin(info.kind, chosen)
        if name.rpartition(":")[2] == info.name:
            return options
    return settings.plugin_options(info.kind, info.name)


def _run_kits(chosen: Sequence[PluginInfo | _Finding], findings: list[_Finding]) -> list[_Finding]:
    from orchestra.cli.plugin_kits import run_kit

    unopened = plugins.Remark(level="note", message=f"{_KIT_NOT_RUN}: it needs options that have defaults.")
    levels: dict[tuple[Kind | None, str], set[str]] = {}
    for one in findings:
        levels.setdefault((one.kind, one.name), set()).add(one.remark.level)
    return [
        _Finding(one.kind, one.name, remark)
        for one in chosen
        if isinstance(one, PluginInfo) and "problem" not in levels[one.kind, one.name]
        for remark in ([unopened] if "note" in levels[one.kind, one.name] else run_kit(one))
    ]


def _named(name: str, kind: Kind | None) -> Sequence[PluginInfo | _Finding]:
    from orchestra.plugins.files import is_file

    if is_file(name):
        from orchestra.plugins.files import plugins_in

        found = plugins_in(Path(name), kind)
        return found if isinstance(found, list) else [_Finding(kind, Path(name).stem, found)]
    installed = plugins.list_plugins(kind)
    distribution, _, plain = name.rpartition(":")
    found = [one for one in installed if one.name == plain and distribution in ("", one.distribution)]
    found = found or [one for one in installed if one.distribution == name]
    if not found and os.path.isdir(name):
        return _named(f"{name}/", kind)
    if not found:
        from difflib import get_close_matches

        from orchestra.plugins.scanning import misdeclared

        known = sorted({info.name for info in installed})
        close = get_close_matches(name, known, n=1)
        meant = f"Did you mean '{close[0]}'? " if close else ""
        hint = misdeclared(name) or f"{meant}Installed plugins: {', '.join(known)}."
        raise PluginNotFound(f"no plugin '{name}' is installed", hint)
    return found


def _rows(finding: _Finding) -> Iterator[tuple[str, str, str]]:
    remark = finding.remark
    yield remark.level, f"{finding.kind or ''} {finding.name}".strip(), remark.message
    if remark.where is not None:
        yield "", "", f"At {remark.where}."
    if remark.advice is not None:
        yield "", "", remark.advice


def _finding_as_json(finding: _Finding) -> dict[str, str | None]:
    remark = finding.remark
    return {
        "kind": finding.kind,
        "name": finding.name,
        "level": remark.level,
        "message": remark.message,
        "where": remark.where,
        "advice": remark.advice,
    }


def _as_json(info: PluginInfo) -> dict[str, str | None]:
    return {
        "kind": info.kind,
        "name": info.name,
        "target": info.target,
        "distribution": info.distribution,
        "version": info.version,
        "contract": ".".join(map(str, info.contract)),
        "error": info.error,
    }
