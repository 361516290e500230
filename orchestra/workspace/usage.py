"""How much room directories take on their disks: blocks that are allocated, and each file once, however many links."""

from __future__ import annotations

import os
import stat
from collections import Counter

_BLOCK = 512
"""What ``st_blocks`` counts, whatever the file system."""


class Usage:
    """Adds up directories, and knows what they share. Nothing is followed out of them; what can't be read is left
    out."""

    def __init__(self) -> None:
        self._links: Counter[tuple[int, int]] = Counter()
        """How many links of a file that has several were met."""
        self._shared: dict[tuple[int, int], tuple[int, int]] = {}
        """Of these files: how many links they have, and how many bytes they take."""
        self._alone = 0

    def add(self, path: str) -> int:
        """The bytes that all in ``path`` takes by itself."""
        met: set[tuple[int, int]] = set()
        total = 0
        try:
            found = os.stat(path, follow_symlinks=False)
        except OSError:
            return 0
        folders = [path]
        total += self._count(found, met)
        while folders:
            for entry in _entries(folders.pop()):
                try:
                    found = entry.stat(follow_symlinks=False)
                except OSError:
                    continue
                total += self._count(found, met)
                if stat.S_ISDIR(found.st_mode):
                    folders.append(entry.path)
        return total

    def _count(self, found: os.stat_result, met: set[tuple[int, int]]) -> int:
        size = found.st_blocks * _BLOCK
        if stat.S_ISDIR(found.st_mode) or found.st_nlink < 2:
            self._alone += size
            return size
        key = (found.st_dev, found.st_ino)
        self._links[key] += 1
        self._shared[key] = (found.st_nlink, size)
        if key in met:
            return 0
        met.add(key)
        return size

    @property
    def total(self) -> int:
        """The bytes that all take together."""
        return self._alone + sum(size for _, size in self._shared.values())

    @property
    def freed(self) -> int:
        """The bytes that are free once all are gone: not those of files that have a link elsewhere, too."""
        gone = (size for key, (links, size) in self._shared.items() if self._links[key] >= links)
        return self._alone + sum(gone)


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []
