"""Which plugins are installed: the list, its cache, and the choice of one by name. Imports no plugin."""

from __future__ import annotations

import os
import re
import sys
import time
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec import Struct

from orchestra.contracts import CONTRACT_VERSIONS, ContractVersion, Kind
from orchestra.errors import PluginConflict, PluginNotFound

CACHE_NAME = "plugins.json"
_CACHE_SCHEMA = 2
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

_PROVIDERS = {
    "fsspec": "orchestra-fsspec",
    "gs": "orchestra-fsspec",
    "latin-hypercube": "orchestra-qmc",
    "postgres": "orchestra-postgres",
    "s3": "orchestra-fsspec",
    "slurm": "orchestra-slurm",
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
    contract: ContractVersion = (1, 0)
    """The version of its kind's contract that it was written for."""
    fault: str | None = None
    """Why it can't be used, as far as that is known."""
    rivals: tuple[str, ...] = ()
    """The other distributions that provide a plugin of this kind and name."""

    @property
    def error(self) -> str | None:
        """Why its name alone does not get it."""
        rivals = f"{' and '.join(self.rivals)} provides this name, too" if self.rivals else None
        return self.fault or rivals

    @property
    def title(self) -> str:
        """How messages name it: ``executor 'slurm' of orchestra-slurm 1.2``."""
        return f"{self.kind} '{self.name}' of {self.distribution} {self.version}".rstrip()


class Stamp(Struct, frozen=True, array_like=True):
    """A file or folder, and when it was changed: -1 if it is not there."""

    path: str
    mtime: int


class _Listing(Struct, frozen=True, kw_only=True):
    """What was found, and everything that must be unchanged for it to be still true."""

    schema: int = _CACHE_SCHEMA
    interpreter: tuple[str, str, str]
    contracts: dict[Kind, ContractVersion]
    """Ours: what is refused depends on them."""
    path: tuple[Stamp, ...]
    files: tuple[Stamp, ...] = ()
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
    found = [info for info in found if info.fault is None] or found
    if len(found) > 1:
        owners = " and ".join(sorted(f"{info.distribution} {info.version}".rstrip() for info in found))
        raise PluginConflict(
            f"the {kind} '{plain}' is provided by {owners}",
            f"Uninstall one of them, or choose one: '{found[0].distribution}:{plain}'.",
        )
    return found[0]


def _matching(plugins: list[PluginInfo], name: str, distribution: str) -> list[PluginInfo]:
    owner = normal(distribution)
    return [info for info in plugins if info.name == name and owner in ("", normal(info.distribution))]


def _not_found(kind: Kind, name: str, plain: str, installed: list[PluginInfo]) -> PluginNotFound:
    from difflib import get_close_matches

    names = sorted({info.name for info in installed})
    close = get_close_matches(plain, names, n=1)
    meant = f"Did you mean '{close[0]}'? " if close else ""
    hint = f"{meant}Installed {kind}s: {', '.join(names) or 'none'}."
    if distribution := _PROVIDERS.get(plain):
        hint += f" 'pip install {distribution}' provides it."
    return PluginNotFound(f"no {kind} '{name}' is installed", hint)


def normal(distribution: str) -> str:
    """A distribution's name as all spellings of it are compared."""
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


def stamp_of(path: str) -> Stamp:
    """When a file or folder was changed."""
    try:
        return Stamp(path, os.stat(path).st_mtime_ns)
    except OSError:
        return Stamp(path, -1)


def _surroundings() -> _Listing:
    version = f"{sys.implementation.cache_tag} {sys.version_info.releaselevel}"
    return _Listing(
        interpreter=(sys.executable, sys.prefix, version),
        contracts=CONTRACT_VERSIONS,
        path=tuple(stamp_of(entry) for entry in installed_path()),
    )


def _read_cache(cache_dir: Path) -> list[_Listing]:
    try:
        return msgspec.json.decode((cache_dir / CACHE_NAME).read_bytes(), type=list[_Listing])
    except (OSError, ValueError):  # absent, unreadable, or not ours: it is only a cache
        return []


def _cached(cache_dir: Path) -> list[PluginInfo] | None:
    now = _surroundings()
    for listing in _read_cache(cache_dir):
        if msgspec.structs.replace(listing, files=(), plugins=()) == now:
            unchanged = all(stamp_of(stamp.path) == stamp for stamp in listing.files)
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
    from orchestra.plugins.scanning import scan

    before = _surroundings()  # an install that happens while we look must show as a change next time
    plugins, files = scan([stamp.path for stamp in before.path])
    if cache_dir is not None and not _changed_just_now(before):
        _write_cache(cache_dir, msgspec.structs.replace(before, plugins=plugins, files=files))
    return list(plugins)


def _changed_just_now(listing: _Listing) -> bool:
    # A second change within the clock's tick would leave the same modification time behind.
    now = time.time_ns()
    return any(abs(now - stamp.mtime) < _SETTLED for stamp in listing.path)
