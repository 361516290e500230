"""Which plugins are installed: the list, its cache, and the choice of one by name. Imports no plugin."""

from __future__ import annotations

import os
import re
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from orchestra.contracts import KINDS, Kind
from orchestra.errors import PluginConflict, PluginNotFound

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint

GROUPS: dict[Kind, str] = {kind: f"orchestra.{kind}s" for kind in KINDS}
"""The entry-point group of each kind."""

CACHE_NAME = "plugins.json"
_CACHE_SCHEMA = 1
_CACHE_ENTRIES = 8
_SETTLED = 2_000_000_000

OWN_DISTRIBUTION = "orchestra-runs"
BUILT_IN: dict[Kind, dict[str, str]] = {
    "executor": {
        "local": "orchestra.builtin.executor_local:open_executor",
        "warm": "orchestra.builtin.executor_warm:open_executor",
    },
    "expander": {
        "grid": "orchestra.builtin.expander_grid:open_expander",
        "random": "orchestra.builtin.expander_random:open_expander",
    },
    "resolver": {
        "config": "orchestra.builtin.resolver_config:open_resolver",
        "file": "orchestra.builtin.resolver_file:open_resolver",
        "module": "orchestra.builtin.resolver_module:open_resolver",
        "operation": "orchestra.builtin.resolver_operation:open_resolver",
        "url": "orchestra.builtin.resolver_url:open_resolver",
    },
    "store": {"sqlite": "orchestra.builtin.store_sqlite:open_store"},
}
"""Our own entry points again, for a source tree that runs without being installed."""

_TARGET = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_PROVIDERS = {
    "fsspec": "orchestra-fsspec",
    "gs": "orchestra-fsspec",
    "latin-hypercube": "orchestra-qmc",
    "s3": "orchestra-fsspec",
    "sobol": "orchestra-qmc",
}
"""What our own distributions provide. Of others we can't know that they are there, or whose."""


class PluginInfo(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An installed plugin, as its distribution declares it."""

    kind: Kind
    name: str
    target: str
    """``module:attribute`` of the opener."""
    distribution: str
    version: str
    error: str | None = None
    """Why it can't be used, as far as that shows without importing it."""

    @property
    def title(self) -> str:
        """How messages name it: ``executor 'slurm' of orchestra-slurm 1.2``."""
        return f"{self.kind} '{self.name}' of {self.distribution} {self.version}".rstrip()


class _Stamp(Struct, frozen=True, array_like=True):
    path: str
    mtime: int


class _Listing(Struct, frozen=True, kw_only=True):
    """What was found, and everything that must be unchanged for it to be still true."""

    schema: int = _CACHE_SCHEMA
    interpreter: tuple[str, str, str]
    path: tuple[_Stamp, ...]
    files: tuple[_Stamp, ...] = ()
    plugins: tuple[PluginInfo, ...] = ()


def list_plugins(kind: Kind | None = None, *, cache_dir: Path | None = None) -> list[PluginInfo]:
    """Every installed plugin (of ``kind``), by kind and name, without importing any of them.

    ``cache_dir`` is where ``plugins.json`` is kept; None lists afresh. Plugins of one kind and name from two
    distributions are all listed, each with an ``error`` that names the others.
    """
    plugins = _cached(cache_dir) if cache_dir is not None else None
    if plugins is None:
        plugins = _list_afresh(cache_dir)
    return [info for info in plugins if kind is None or info.kind == kind]


def find(kind: Kind, name: str, *, cache_dir: Path | None = None) -> PluginInfo:
    """The one plugin of this kind and name. ``DISTRIBUTION:NAME`` chooses between two distributions.

    Raises:
        PluginNotFound: there is none; the hint lists those that are installed.
        PluginConflict: two distributions provide it.
    """
    distribution, _, plain = name.rpartition(":")
    found = _matching(list_plugins(kind, cache_dir=cache_dir), plain, distribution)
    if not found:
        # The modification times say that nothing changed; before we deny that it exists, we look.
        installed = [info for info in _list_afresh(cache_dir) if info.kind == kind]
        found = _matching(installed, plain, distribution)
        if not found:
            raise _not_found(kind, name, plain, installed)
    if len(found) > 1:
        owners = " and ".join(sorted(f"{info.distribution} {info.version}".rstrip() for info in found))
        raise PluginConflict(
            f"the {kind} '{plain}' is provided by {owners}",
            f"Uninstall one of them, or choose one: '{found[0].distribution}:{plain}'.",
        )
    return found[0]


def _matching(plugins: list[PluginInfo], name: str, distribution: str) -> list[PluginInfo]:
    owner = _normal(distribution)
    return [info for info in plugins if info.name == name and owner in ("", _normal(info.distribution))]


def _not_found(kind: Kind, name: str, plain: str, installed: list[PluginInfo]) -> PluginNotFound:
    from difflib import get_close_matches

    names = sorted({info.name for info in installed})
    close = get_close_matches(plain, names, n=1)
    meant = f"Did you mean '{close[0]}'? " if close else ""
    hint = f"{meant}Installed {kind}s: {', '.join(names) or 'none'}."
    if distribution := _PROVIDERS.get(plain):
        hint += f" 'pip install {distribution}' provides it."
    return PluginNotFound(f"no {kind} '{name}' is installed", hint)


def _normal(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def installed_path() -> list[str]:
    """``sys.path`` without the current directory, from which nothing is ever taken for a plugin.

    An entry behind the standard library stays: a ``.pth`` file (an editable install) put it there.
    """
    here = os.getcwd()
    library = os.path.dirname(os.__file__)
    kept: list[str] = []
    behind = False
    for entry in sys.path:
        behind = behind or entry == library
        is_here = entry in ("", ".") or (entry == here and not behind)
        if not is_here and entry not in kept:
            kept.append(entry)
    return kept


def _stamp(path: str) -> _Stamp:
    try:
        return _Stamp(path, os.stat(path).st_mtime_ns)
    except OSError:
        return _Stamp(path, -1)


def _surroundings() -> _Listing:
    version = f"{sys.implementation.cache_tag} {sys.version_info.releaselevel}"
    return _Listing(
        interpreter=(sys.executable, sys.prefix, version),
        path=tuple(_stamp(entry) for entry in installed_path()),
    )


def _read_cache(cache_dir: Path) -> list[_Listing]:
    try:
        return msgspec.json.decode((cache_dir / CACHE_NAME).read_bytes(), type=list[_Listing])
    except (OSError, ValueError):  # absent, unreadable, or not ours: it is only a cache
        return []


def _cached(cache_dir: Path) -> list[PluginInfo] | None:
    now = _surroundings()
    for listing in _read_cache(cache_dir):
        if (listing.schema, listing.interpreter, listing.path) == (now.schema, now.interpreter, now.path):
            unchanged = all(_stamp(stamp.path) == stamp for stamp in listing.files)
            return list(listing.plugins) if unchanged else None
    return None


def _write_cache(cache_dir: Path, listing: _Listing) -> None:
    others = [
        other
        for other in _read_cache(cache_dir)
        if other.schema == _CACHE_SCHEMA
        and (other.interpreter, [stamp.path for stamp in other.path])
        != (listing.interpreter, [stamp.path for stamp in listing.path])
    ]
    partial = cache_dir / f"{CACHE_NAME}.{os.getpid()}.tmp"
    try:
        if not cache_dir.is_dir():
            cache_dir.mkdir(mode=0o700)  # never its parents: a home is not made by looking for plugins
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(msgspec.json.encode([listing, *others[: _CACHE_ENTRIES - 1]]))
        os.replace(partial, cache_dir / CACHE_NAME)
    except OSError:
        with suppress(OSError):
            partial.unlink()


def _list_afresh(cache_dir: Path | None) -> list[PluginInfo]:
    before = _surroundings()  # an install that happens while we look must show as a change next time
    plugins, files = _scan([stamp.path for stamp in before.path])
    if cache_dir is not None and not _changed_just_now(before):
        _write_cache(cache_dir, msgspec.structs.replace(before, plugins=plugins, files=files))
    return list(plugins)


def _changed_just_now(listing: _Listing) -> bool:
    # A second change within the clock's tick would leave the same modification time behind.
    now = time.time_ns()
    return any(abs(now - stamp.mtime) < _SETTLED for stamp in listing.path)


class _Owner(Struct, frozen=True):
    """A distribution that declares plugins. Its name and version are read once: that takes all of its README."""

    distribution: Distribution
    name: str
    version: str
    points: list[EntryPoint]


def _scan(path: list[str]) -> tuple[tuple[PluginInfo, ...], tuple[_Stamp, ...]]:
    owners = _owners(path)
    owner_of = {id(point): owner for owner in owners for point in owner.points}
    points = [point for owner in owners for point in owner.points]
    found = [
        _info(kind, point, owner_of[id(point)])
        for kind, group in GROUPS.items()
        for point in _list_group(group, points)
    ]
    if OWN_DISTRIBUTION not in {_normal(owner.name) for owner in owners}:
        found.extend(_from_source_tree())
    marked = [_mark_conflict(info, found) for info in found]
    files = (str(file) for owner in owners if (file := getattr(owner.distribution, "_path", None)))
    return (
        tuple(sorted(marked, key=lambda info: (info.kind, info.name, info.distribution))),
        tuple(_stamp(os.path.join(file, "entry_points.txt")) for file in sorted(files)),
    )


def _owners(path: list[str]) -> list[_Owner]:
    """The distributions on ``path`` that declare plugins. The first of a name hides the others."""
    from importlib.metadata import MetadataPathFinder, distributions

    MetadataPathFinder().invalidate_caches()  # it trusts modification times, too
    groups = frozenset(GROUPS.values())
    seen: set[str] = set()
    owners: list[_Owner] = []
    for distribution in distributions(path=path):
        try:
            points = [point for point in distribution.entry_points if point.group in groups]
            name = _normal(getattr(distribution, "_normalized_name", None) or distribution.name)
            if name not in seen and points:
                told = distribution.metadata
                owners.append(_Owner(distribution, told["Name"] or name, told["Version"] or "", points))
            seen.add(name)
        except Exception:  # metadata that can't be read belongs to no plugin of ours
            continue
    return owners


def _list_group(group: str, points: list[EntryPoint]) -> list[EntryPoint]:
    """List a group with stevedore, over entry points that know their distribution.

    Stevedore's own reading would see the current directory, forget which distribution an entry point is of,
    and go through three caches: one never sees what this process installed, one rounds times to two minutes.
    """
    from stevedore import NamedExtensionManager

    class Installed(NamedExtensionManager[object]):
        def list_entry_points(self) -> list[EntryPoint]:
            return [point for point in points if point.group == self.namespace]

    return Installed(group, names=[], on_missing_entrypoints_callback=None).list_entry_points()


def _info(kind: Kind, point: EntryPoint, owner: _Owner) -> PluginInfo:
    target = point.value.partition("[")[0].strip()
    error = None if _TARGET.fullmatch(target) else f"its entry point '{point.value}' is not MODULE:ATTRIBUTE"
    return PluginInfo(
        kind=kind,
        name=point.name,
        target=target,
        distribution=owner.name,
        version=owner.version,
        error=error,
    )


def _from_source_tree() -> list[PluginInfo]:
    return [
        PluginInfo(kind=kind, name=name, target=target, distribution=OWN_DISTRIBUTION, version="")
        for kind, targets in BUILT_IN.items()
        for name, target in targets.items()
    ]


def _mark_conflict(info: PluginInfo, found: list[PluginInfo]) -> PluginInfo:
    others = sorted(
        other.distribution
        for other in found
        if (other.kind, other.name) == (info.kind, info.name) and other is not info
    )
    if not others:
        return info
    return msgspec.structs.replace(info, error=f"{' and '.join(others)} provides this name, too")
