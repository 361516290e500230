"""What an archive says it holds, checked before anything of it is written."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Literal

from msgspec import Struct

from orchestra.errors import ResolveError
from orchestra.model.links import Tree

MAX_MEMBERS = 1_000_000
MAX_RATIO = 200
RATIO_FREE = 100 << 20
"""Below so many bytes a ratio says nothing."""
_MAX_NAME = 255
_MAX_PATH = 4096
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DRIVE = re.compile(r"[A-Za-z]:")


class Member(Struct, frozen=True, kw_only=True, gc=False):
    """One thing in an archive."""

    name: str
    """Clean and relative."""
    kind: Literal["file", "folder", "link", "copy"]
    """``copy``: a hard link to an earlier file."""
    index: int
    """Its place in the archive."""
    size: int = 0
    executable: bool = False
    target: str = ""
    """Of a link: as it is written; of a copy: the clean name of the file."""


class Limits(Struct, frozen=True, kw_only=True):
    """How much may come out of an archive."""

    total: int
    """Bytes in all."""
    packed: int
    """Size of the archive itself."""

    def check(self, archive: str, size: int) -> None:
        """Refuse ``size`` bytes in all.

        Raises:
            ResolveError: there is no room for them, or they are suspiciously many.
        """
        if size > self.total:
            raise ResolveError(
                f"'{archive}' would fill the disk: it unpacks to more than {self.total} bytes",
                "Make room, or unpack it by hand.",
            )
        self.check_ratio(archive, size)

    def check_ratio(self, archive: str, size: int) -> None:
        """Refuse to read ``size`` bytes, wherever they go.

        Raises:
            ResolveError: they are suspiciously many.
        """
        if size > RATIO_FREE and size > MAX_RATIO * self.packed:
            raise ResolveError(
                f"'{archive}' is refused: it unpacks to more than {MAX_RATIO} times its size",
                "Unpack it by hand if you trust it.",
            )


def clean_name(archive: str, name: str) -> str:
    """``name`` as a relative path without ``.``; ``""`` for the root itself.

    Raises:
        ResolveError: it leads out of the folder, or is no name for a file.
    """
    if name.startswith(("/", "\\")) or _DRIVE.match(name):
        raise refuse(archive, name, "is an absolute path")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts or ".." in name.replace("\\", "/").split("/"):
        raise refuse(archive, name, "leads out of it")
    if _CONTROL.search(name):
        raise refuse(archive, name, "has control characters in its name")
    clean = "/".join(parts)
    encoded = [part.encode(errors="surrogateescape") for part in parts]
    if any(len(part) > _MAX_NAME for part in encoded) or len(clean.encode(errors="replace")) > _MAX_PATH:
        raise refuse(archive, name[:80] + "...", "has a name that is too long")
    return clean


def check_members(
    archive: str, members: Iterable[Member], limits: Limits, wants: Callable[[Member], bool]
) -> tuple[Member, ...]:
    """All members, without folders that are named twice.

    Raises:
        ResolveError: two have one name, one lies below a file or link, a link leads out, nowhere or to what holds it,
            or they are too many, or those that are wanted too large.
    """
    tree = Tree()
    kept: list[Member] = []
    total = 0
    for member in members:
        if wants(member):
            total += member.size
            limits.check(archive, total)
        known = tree.kind(member.name)
        if known == member.kind == "folder" or not member.name:
            continue
        if known is not None:
            raise refuse(archive, member.name, "is in it twice")
        above = tree.add(member.name, "file" if member.kind == "copy" else member.kind, member.target)
        if above is not None:
            raise refuse(archive, member.name, f"lies below '{above}', which is no folder")
        if len(tree) > MAX_MEMBERS:
            raise ResolveError(f"'{archive}' is refused: it has more than {MAX_MEMBERS} members")
        kept.append(member)
    for name, target in tree.links.items():
        fault = tree.follow(name).fault
        if fault is not None:
            raise refuse(archive, name, f"{fault} (it leads to '{target[:_MAX_NAME]}')")
    return tuple(kept)


def refuse(archive: str, name: str, why: str) -> ResolveError:
    """The error for one member."""
    return ResolveError(f"'{archive}' is refused: its member {name!r} {why}", "Nothing of it was unpacked.")
