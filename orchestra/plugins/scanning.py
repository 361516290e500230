"""What the distributions that are installed declare: looked for where nothing is remembered of it.

The group of an entry point says for which version of its kind's contract the plugin was written:
``orchestra.executors`` for 1, ``orchestra.executors.v2`` for 2, ``orchestra.executors.v2_1`` for 2.1. So what is of
another version is known, and refused, without importing what may need names that are not here.
"""

from __future__ import annotations

import os
import re
from difflib import get_close_matches
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from orchestra.contracts import CONTRACT_VERSIONS, KINDS, ContractVersion, Kind
from orchestra.plugins.listing import (
    BUILT_IN,
    OWN_DISTRIBUTION,
    PluginInfo,
    Stamp,
    installed_path,
    normal,
    stamp_of,
)

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint

GROUPS: dict[str, Kind] = {f"orchestra.{kind}s": kind for kind in KINDS}
"""The entry-point groups of version 1 of each contract."""

_GROUP = re.compile(rf"({'|'.join(map(re.escape, GROUPS))})(\.v\d+(_\d+)?)?")
_TARGET = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


class _Owner(Struct, frozen=True):
    """A distribution that declares plugins. Its name and version are read once: that takes all of its README."""

    distribution: Distribution
    name: str
    version: str
    points: list[EntryPoint]


def scan(path: list[str]) -> tuple[tuple[PluginInfo, ...], tuple[Stamp, ...]]:
    """The plugins of the distributions on ``path``, and the files that these were declared in."""
    owners = _owners(path)
    owner_of = {id(point): owner for owner in owners for point in owner.points}
    points = [point for owner in owners for point in owner.points]
    found = [
        _info(group, point, owner_of[id(point)])
        for group in sorted({point.group for point in points})
        for point in _list_group(group, points)
    ]
    found = _best_of_each(found)
    if OWN_DISTRIBUTION not in {normal(owner.name) for owner in owners}:
        found.extend(_from_source_tree())
    marked = [_mark_rivals(info, found) for info in found]
    files = (str(file) for owner in owners if (file := getattr(owner.distribution, "_path", None)))
    return (
        tuple(sorted(marked, key=lambda info: (info.kind, info.name, info.distribution))),
        tuple(stamp_of(os.path.join(file, "entry_points.txt")) for file in sorted(files)),
    )


def _owners(path: list[str]) -> list[_Owner]:
    """The distributions on ``path`` that declare plugins. The first of a name hides the others."""
    from importlib.metadata import MetadataPathFinder, distributions

    MetadataPathFinder().invalidate_caches()  # it trusts modification times, too
    seen: set[str] = set()
    owners: list[_Owner] = []
    for distribution in distributions(path=path):
        try:
            points = [point for point in distribution.entry_points if _GROUP.fullmatch(point.group)]
            name = normal(getattr(distribution, "_normalized_name", None) or distribution.name)
            if name not in seen and points:
                told = distribution.metadata
                owners.append(_Owner(distribution, told["Name"] or name, told["Version"] or "", points))
            seen.add(name)
        except Exception:  # metadata that can't be read belongs to no plugin of ours
            continue
    return owners


def misdeclared(name: str) -> str | None:
    """What keeps ``name``, of a plugin or a distribution, from being listed although it is installed; a sentence."""
    from importlib.metadata import distributions

    for distribution in distributions(path=installed_path()):
        try:
            told = distribution.metadata["Name"]
            points = [point for point in distribution.entry_points if point.group.startswith("orchestra")]
        except Exception:  # as above
            continue
        for point in points:
            if name in (point.name, told) and not _GROUP.fullmatch(point.group):
                close = get_close_matches(point.group, GROUPS, n=1, cutoff=0)[0]
                return f"{told} declares '{point.name}' in the group '{point.group}': it must be '{close}'."
        if told == name:
            return f"{told} is installed, and declares no plugin: it needs a group such as 'orchestra.executors'."
    return None


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


def _info(group: str, point: EntryPoint, owner: _Owner) -> PluginInfo:
    kind, contract = _declared(group)
    target = point.value.partition("[")[0].strip()
    if _TARGET.fullmatch(target):
        fault = _refusal(kind, contract, owner.name)
    else:
        fault = f"its entry point '{point.value}' is not MODULE:ATTRIBUTE"
    return PluginInfo(
        kind=kind,
        name=point.name,
        target=target,
        distribution=owner.name,
        version=owner.version,
        contract=contract,
        fault=fault,
    )


def _declared(group: str) -> tuple[Kind, ContractVersion]:
    base, _, version = group.partition(".v")
    major, _, minor = version.partition("_")
    return GROUPS[base], (int(major or 1), int(minor or 0))


def _refusal(kind: Kind, written_for: ContractVersion, owner: str) -> str | None:
    ours = CONTRACT_VERSIONS[kind]
    if written_for[0] == ours[0] and written_for[1] <= ours[1]:
        return None
    older = owner if written_for < ours else OWN_DISTRIBUTION
    theirs, mine = (".".join(map(str, version)) for version in (written_for, ours))
    return (
        f"it is written for version {theirs} of the {kind} contract, and {mine} is kept here: upgrade {older}"
    )


def _best_of_each(found: list[PluginInfo]) -> list[PluginInfo]:
    """A distribution may offer a plugin for several versions of its contract: of these the one to be used."""
    found = sorted(found, key=lambda info: (info.fault is None, info.contract))
    return list({(info.kind, info.name, normal(info.distribution)): info for info in found}.values())


def _from_source_tree() -> list[PluginInfo]:
    return [
        PluginInfo(
            kind=kind,
            name=name,
            target=target,
            distribution=OWN_DISTRIBUTION,
            version="",
            contract=CONTRACT_VERSIONS[kind],
        )
        for kind, targets in BUILT_IN.items()
        for name, target in targets.items()
    ]


def _mark_rivals(info: PluginInfo, found: list[PluginInfo]) -> PluginInfo:
    rivals = sorted(
        other.distribution
        for other in found
        if (other.kind, other.name) == (info.kind, info.name) and other is not info
        # One that can't be used takes its name from nobody.
        if other.fault is None
    )
    return msgspec.structs.replace(info, rivals=tuple(rivals)) if info.fault is None else info
