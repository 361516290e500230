"""``orchestra plugins``: which plugins there are, whether they can be used, and the start of another."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from orchestra import __version__, plugins
from orchestra.cli import tables, terminal
from orchestra.cli.context import current, in_event_loop
from orchestra.console import printable
from orchestra.contracts import Kind
from orchestra.errors import CheckFailed, PluginNotFound
from orchestra.plugins import PluginInfo
from orchestra.workspace.layout import Layout


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
    json: Annotated[bool, Parameter(name="--json")] = False,
) -> int:
    """Check that plugins can be imported, opened, and have the methods of their contracts.

    All are checked unless some are named. Ends with code 3 if one can't be used. With --json the findings are
    printed as an array of objects with the keys kind, name, level (ok, note or problem) and message.

    Parameters
    ----------
    names
        Which plugins; DISTRIBUTION:NAME where two distributions have one of the same name.
    kind
        Only plugins of this kind.
    json
        Print JSON.
    """
    found = _named(names, kind)
    findings = in_event_loop(lambda: _check(found))
    if json:
        terminal.write_json(
            [
                {"kind": info.kind, "name": info.name, "level": finding.level, "message": finding.message}
                for info, finding in findings
            ]
        )
    else:
        rows = [(finding.level, f"{info.kind} {info.name}", finding.message) for info, finding in findings]
        terminal.write(tables.render(rows))
    broken = {info.name for info, finding in findings if finding.level == "problem"}
    if broken and json:
        return CheckFailed.exit_code
    if broken:
        raise CheckFailed(f"these plugins can't be used: {', '.join(sorted(broken))}")
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


def _named(names: tuple[str, ...], kind: Kind | None) -> list[PluginInfo]:
    installed = plugins.list_plugins(kind, cache_dir=None)
    if not names:
        return installed
    chosen: list[PluginInfo] = []
    for name in names:
        distribution, _, plain = name.rpartition(":")
        found = [one for one in installed if one.name == plain and distribution in ("", one.distribution)]
        if not found:
            known = ", ".join(sorted({info.name for info in installed}))
            raise PluginNotFound(f"no plugin '{name}' is installed", f"Installed plugins: {known}.")
        chosen += found
    return chosen


async def _check(found: list[PluginInfo]) -> list[tuple[PluginInfo, plugins.Remark]]:
    findings: list[tuple[PluginInfo, plugins.Remark]] = []
    for info in found:
        name = f"{info.distribution}:{info.name}" if info.distribution else info.name
        try:
            findings += [(info, one) for one in await plugins.check(info.kind, name)]
        except PluginNotFound as error:
            findings.append((info, plugins.Remark(level="problem", message=error.message)))
    return findings


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
