"""Symbolic links in archives: where they lead, by the paths alone.

These are the rules of who writes archives and of who reads them: what the one lets in, the other takes.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Literal, NamedTuple

Kind = Literal["file", "folder", "link"]
_MOST = 40
"""How many links may be on the way; file systems follow no more."""
_LONGEST = 4095
"""Bytes that file systems allow a target."""

ENDLESS = "is a link with an endless target"
OUT = "is a link that leads out of it"
NOWHERE = "is a link to nothing"
CIRCLE = "is a link in a circle"
HOLDER = "is a link to a folder that holds it"


class Led(NamedTuple):
    """Where a link leads."""

    place: str
    """What is there at last, relative to the root; of no meaning with a fault."""
    fault: str | None
    """Why no archive may have such a link."""


class Tree:
    """What an archive holds, or a folder, by paths relative to it."""

    def __init__(self) -> None:
        self._kinds: dict[str, Kind] = {}
        self._targets: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._kinds)

    @property
    def links(self) -> Mapping[str, str]:
        """The links, with their targets."""
        return self._targets

    def kind(self, path: str) -> Kind | None:
        """What is there, if anything is."""
        return self._kinds.get(path)

    def add(self, path: str, kind: Kind, target: str = "") -> str | None:
        """Add something, with the folders that it is in; returns what is above it and no folder, if there is such."""
        parent = posixpath.dirname(path)
        while parent and parent not in self._kinds:
            self._kinds[parent] = "folder"
            parent = posixpath.dirname(parent)
        if parent and self._kinds[parent] != "folder":
            return parent
        self._kinds[path] = kind
        if kind == "link":
            self._targets[path] = target
        return None

    def retarget(self, path: str, target: str) -> None:
        """Let a link lead elsewhere."""
        self._targets[path] = target

    def drop(self, path: str) -> None:
        """Take a link away."""
        del self._kinds[path], self._targets[path]

    def follow(self, path: str) -> Led:
        """Where the link at ``path`` leads."""
        folder = posixpath.dirname(path)
        place = folder.split("/") if folder else []
        fault = _fault_of(self._targets[path])
        if fault is not None:
            return Led("", fault)
        waiting = self._targets[path].split("/")[::-1]
        met = 1
        while waiting:
            part = waiting.pop()
            if part == "..":
                if not place:
                    return Led("", OUT)
                place.pop()
            elif part not in ("", "."):
                name = "/".join((*place, part))
                kind = self._kinds.get(name)
                if kind == "link":
                    met += 1
                    fault = CIRCLE if met > _MOST else _fault_of(self._targets[name])
                    if fault is not None:
                        return Led("", fault)
                    waiting += self._targets[name].split("/")[::-1]
                elif kind is None or (waiting and kind != "folder"):
                    return Led("", NOWHERE)
                else:
                    place.append(part)
        found = "/".join(place)
        return Led(found, HOLDER if not found or f"{folder}/".startswith(f"{found}/") else None)

    def drop_faulty(self) -> None:
        """Take away the links that no archive may have, and those that lead through them."""
        while faulty := [path for path in self._targets if self.follow(path).fault]:
            for path in faulty:
                self.drop(path)


def _fault_of(target: str) -> str | None:
    if len(target.encode(errors="surrogateescape")) > _LONGEST:
        return ENDLESS
    return OUT if target.startswith("/") else None


def direct(path: str, place: str) -> str:
    """The target of a link at ``path`` to ``place``, both relative to one root."""
    return posixpath.relpath(f"/{place}", f"/{posixpath.dirname(path)}")


def keep_links(tree: Tree, wished: Mapping[str, tuple[str, str]]) -> Mapping[str, str]:
    """Add to ``tree`` those of the links ``wished`` that an archive may have, and return their targets.

    Of each it is known what its target is and where it really leads. A target by which it leads nowhere, or elsewhere,
    without what is not in the tree becomes a direct one.
    """
    for path, (target, _) in wished.items():
        tree.add(path, "link", target)
    while wrong := [path for path in tree.links if tree.follow(path) != Led(wished[path][1], None)]:
        for path in wrong:
            target = direct(path, wished[path][1])
            if tree.links[path] == target:
                tree.drop(path)
            else:
                tree.retarget(path, target)
    return tree.links


def folder_above(path: str, target: str) -> str | None:
    """The folder that a link at ``path`` leads to if that holds it: no archive has it, but it can be made again."""
    folder = posixpath.dirname(path)
    found = posixpath.normpath(posixpath.join("run", folder, target))
    holds = found == "run" or f"run/{folder}/".startswith(f"{found}/")
    return found[len("run/") :] if holds else None
