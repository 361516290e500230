"""A disk that loses its power: from a trace of what processes did to files, every state that may be left.

Durable is what was synced: the content of a file by a sync of the file, a name by a sync of its folder, all by a
sync of the file system. Of the rest each change may have reached the disk or not, whatever came before it.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

CALLS = (
    "openat,write,pwrite64,lseek,ftruncate,fsync,fdatasync,syncfs,rename,renameat,renameat2,link,linkat,"
    "unlink,unlinkat,mkdir,mkdirat"
)
STRACE = ("strace", "-f", "-y", "-qq", "-xx", "-s", "1000000", "-e", f"trace={CALLS}")

_CALL = re.compile(r"(\d+) +(\w+)\((.*)\) += (-?\d+)")
_HALF = re.compile(r"(\d+) +(\w+\(.*)<unfinished \.\.\.>$")
_REST = re.compile(r"(\d+) +<\.\.\. \w+ resumed>(.*)$")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_OPEN = re.compile(r"(\d+)<((?:\\x[0-9a-f]{2})+)>")

Names = dict[str, int]
"""Path -> number of the file, 0 for a folder."""
Tree = dict[str, bytes | None]
"""Path -> content, None for a folder."""


class Change(NamedTuple):
    """One change: of names at once (a rename changes two), or of a file's content."""

    names: tuple[tuple[str, int | None], ...] = ()
    file: int = 0
    offset: int = 0
    """-1: the file is cut to ``size``."""
    data: bytes = b""
    size: int = 0


class Disk:
    """What happened below a folder, in order."""

    def __init__(self, root: Path, mark: Path) -> None:
        self.root = f"{root}/"
        self.mark = str(mark)
        self.changes: list[Change] = []
        self.synced: list[int] = []
        """For each change the moment from which it is durable, a number of changes; -1: never."""
        self.marks: list[tuple[int, bytes]] = []
        """What was written to the file ``mark``, and after how many changes."""
        self._live: Names = {}
        self._position: dict[tuple[str, str], int] = {}
        self._files = 0

    def read(self, trace: Path) -> None:
        """Take over what strace wrote down."""
        halves: dict[str, str] = {}
        for line in trace.read_text(errors="replace").splitlines():
            if half := _HALF.match(line):
                halves[half[1]] = half[2]
                continue
            if rest := _REST.match(line):
                line = f"{rest[1]} {halves.pop(rest[1], '')}{rest[2]}"
            call = _CALL.match(line)
            if call is not None and int(call[4]) >= 0:
                self._take(call[1], call[2], call[3], call[4])

    def _take(self, pid: str, name: str, arguments: str, result: str) -> None:
        texts = [_bytes(text) for text in _TEXT.findall(arguments)]
        paths = [text.decode(errors="replace") for text in texts]
        opened = _OPEN.match(arguments)
        descriptor, path = (opened[1], _bytes(opened[2]).decode()) if opened else ("", "")
        if name == "openat":
            self._open(pid, result, paths[0], arguments)
        elif name in ("write", "pwrite64") and path == self.mark:
            self._tick()
            self.marks.append((len(self.changes), texts[0]))
        elif name == "write" and path in self._live:
            self._write(pid, descriptor, path, texts[0])
        elif name == "ftruncate" and path in self._live:
            self._add(Change(file=self._live[path], offset=-1, size=int(arguments.rpartition(",")[2])))
        elif name in ("fsync", "fdatasync"):
            self._sync(path)
        elif name == "syncfs":
            self._sync_all()
        elif name.startswith("mkdir"):
            self._rename((paths[0], 0))
        elif name.startswith("rename") and paths[0] in self._live:
            self._rename((paths[0], None), (paths[1], self._live[paths[0]]))
        elif name.startswith("link") and paths[0] in self._live:
            self._rename((paths[1], self._live[paths[0]]))
        elif name.startswith("unlink") and paths and paths[0] in self._live:
            self._rename((paths[0], None))

    def _open(self, pid: str, descriptor: str, path: str, arguments: str) -> None:
        if not path.startswith(self.root) or "O_CREAT" not in arguments:
            return
        if path not in self._live:
            self._files += 1
            self._rename((path, self._files))
        at_end = "O_APPEND" in arguments
        self._position[pid, descriptor] = -1 if at_end else 0
        if "O_TRUNC" in arguments:
            self._add(Change(file=self._live[path], offset=-1))

    def _write(self, pid: str, descriptor: str, path: str, data: bytes) -> None:
        position = self._position.get((pid, descriptor), -1)
        if position < 0:
            position = len(content(self.changes, self._live[path]))
        else:
            self._position[pid, descriptor] = position + len(data)
        self._add(Change(file=self._live[path], offset=position, data=data))

    def _rename(self, *names: tuple[str, int | None]) -> None:
        if not all(path.startswith(self.root) for path, _ in names):
            return
        for path, file in names:
            if file is None:
                self._live.pop(path, None)
            else:
                self._live[path] = file
        self._add(Change(names=names))

    def _add(self, change: Change) -> None:
        self.changes.append(change)
        self.synced.append(-1)

    def _tick(self) -> None:
        """Something that changes no file, but must not be mixed up with what is before and after."""
        self.changes.append(Change())
        self.synced.append(0)

    def _sync(self, path: str) -> None:
        self._tick()
        file = self._live.get(path, 0)
        for number, change in enumerate(self.changes):
            of_folder = any(name.rpartition("/")[0] == path for name, _ in change.names)
            if self.synced[number] < 0 and (of_folder or (file and change.file == file)):
                self.synced[number] = len(self.changes)

    def _sync_all(self) -> None:
        self._tick()
        self.synced = [len(self.changes) if at < 0 else at for at in self.synced]

    def states(self) -> Iterator[tuple[int, Tree]]:
        """After each number of changes: every state that we look at, each of them once a number."""
        for count in range(len(self.changes) + 1):
            durable = {number for number in range(count) if 0 <= self.synced[number] <= count}
            pending = [number for number in range(count) if number not in durable]
            names = {number for number in pending if self.changes[number].names}
            kept = [set(pending), set[int](), names, set(pending) - names]
            kept += [{number} for number in pending]
            kept += [set(pending) - {number} for number in pending]
            seen: list[Tree] = []
            for some in kept:
                tree = tree_of([self.changes[number] for number in sorted(durable | some)])
                if tree not in seen:
                    seen.append(tree)
                    yield count, tree


def content(changes: list[Change], file: int) -> bytes:
    """What is in a file after these changes."""
    data = bytearray()
    for change in changes:
        if change.file != file:
            continue
        if change.offset < 0:
            data = data[: change.size].ljust(change.size, b"\0")
        else:
            data = data.ljust(change.offset, b"\0")
            data[change.offset : change.offset + len(change.data)] = change.data
    return bytes(data)


def tree_of(changes: list[Change]) -> Tree:
    """What can be reached after these changes."""
    names: Names = {}
    for change in changes:
        for path, file in change.names:
            if file is None:
                names.pop(path, None)
            else:
                names[path] = file
    tree: Tree = {}
    for path, file in sorted(names.items()):
        parents = [path[:at] for at in range(len(path)) if path[at] == "/"]
        # The root itself, and what is above it, is there.
        known = [parent for parent in parents if parent in names]
        if all(names[parent] == 0 for parent in known):
            tree[path] = None if file == 0 else content(changes, file)
    return tree


def make(tree: Tree, root: Path, into: Path) -> None:
    """Put a state of ``root`` into a folder, which is emptied; what has no folder to be in is lost."""
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir()
    for path, data in tree.items():
        place = into / Path(path).relative_to(root)
        if not place.parent.is_dir():
            continue
        if data is None:
            place.mkdir(exist_ok=True)
        else:
            place.write_bytes(data)


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))
