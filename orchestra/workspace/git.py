"""What Git knows of a project. Git itself is asked: it is started plainly, reads only, and runs nobody's hooks.

Of what a repository sets up, only filters of content (``filter.NAME.clean``, as of LFS) are run: without them all files
that they are for would seem to differ.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterator, Mapping

from msgspec import Struct

PATIENCE = 30.0
"""Seconds that Git may take for one answer."""
_SAFE = (
    "-c",
    "core.fsmonitor=false",
    "-c",
    f"core.hooksPath={os.devnull}",
    "-c",
    "core.quotePath=false",
)
_ENVIRONMENT = {
    "GIT_OPTIONAL_LOCKS": "0",
    # What isn't there is not to be fetched: a partial clone names a command for that.
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}
_NO_REPOSITORY = "not a git repository"
_REDIRECTIONS = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_PREFIX",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_EXTERNAL_DIFF",
    "GIT_DIFF_OPTS",
    "GIT_LITERAL_PATHSPECS",
)
"""Variables that Git sets for its hooks: they would lead to another repository than that of the folder."""
OURS = (":(top)", ":(top,exclude,glob)**/.orchestra/**", ":(top,exclude,glob)**/.guild/**")
"""All of the working tree but our own records, which are no part of anybody's source."""


class GitFiles(Struct, frozen=True, kw_only=True):
    """The files of a folder that Git tracks or would add, relative to it."""

    tracked: frozenset[str]
    untracked: frozenset[str]
    """Not ignored either: they may be added one day."""
    tracked_folders: frozenset[str]
    """Those that hold tracked files."""
    untracked_folders: frozenset[str]

    @classmethod
    def of(cls, folder: str) -> GitFiles | None:
        """None: ``folder`` is in no repository, or in one that knows nothing of it."""
        found = list_files(folder) if is_in_git(folder) else None
        if found is None or not any(found):
            return None
        tracked, untracked = found
        return cls(
            tracked=tracked,
            untracked=untracked,
            tracked_folders=_above(tracked),
            untracked_folders=_above(untracked),
        )


def _above(paths: frozenset[str]) -> frozenset[str]:
    folders: set[str] = set()
    for path in paths:
        folder = os.path.dirname(path)
        while folder and folder not in folders:
            folders.add(folder)
            folder = os.path.dirname(folder)
    return frozenset(folders)


def is_in_git(folder: str) -> bool:
    """Whether ``folder`` is in a working tree: nothing is started to find that out."""
    while True:
        if os.path.lexists(os.path.join(folder, ".git")):
            return True
        parent = os.path.dirname(folder)
        if parent == folder:
            return False
        folder = parent


def refusal(folder: str) -> str:
    """Why Git has nothing to do with the repository that ``folder`` is in, as with one that belongs to somebody else;
    nothing where it has, or where there is none."""
    if not is_in_git(folder):
        return ""
    first = Git(folder, "rev-parse", "--git-dir", errors=True).complaint().partition("\n")[0]
    reason = first.removeprefix("fatal: ")
    return "" if reason.startswith(_NO_REPOSITORY) else reason


def list_files(folder: str) -> tuple[frozenset[str], frozenset[str]] | None:
    """What ``git ls-files`` lists of ``folder``: the tracked files, and those that are not ignored either, also of
    submodules and repositories in it. None: Git can't tell."""
    tracked: set[str] = set()
    untracked: set[str] = set()
    inner = [""]
    while inner:
        prefix = inner.pop()
        answer = Git(
            os.path.join(folder, prefix), "ls-files", "-z", "-t", "--cached", "--others", "--exclude-standard"
        ).answer()
        if answer is None:
            if not prefix:
                return None
            continue
        for tag, name in _entries(answer):
            path = prefix + name
            if name.endswith("/") or _is_repository(os.path.join(folder, path)):
                inner.append(f"{path.rstrip('/')}/")
            elif tag == "?":
                untracked.add(path)
            else:
                tracked.add(path)
    return frozenset(tracked), frozenset(untracked - tracked)


def _entries(answer: bytes) -> Iterator[tuple[str, str]]:
    for entry in answer.split(b"\0"):
        if entry:
            yield entry[:1].decode("ascii", "replace"), os.fsdecode(entry[2:])


def _is_repository(path: str) -> bool:
    # Most of what is listed are files, of which one look tells that they are no folders.
    return os.path.lexists(os.path.join(path, ".git"))


class Git:
    """One ``git`` command, started at once, whose answer is fetched later."""

    def __init__(
        self,
        folder: str,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        stdin: int | None = None,
        errors: bool = False,
    ) -> None:
        """``errors``: its complaints are wanted, not what it tells."""
        self._output, writing = os.pipe()
        self._pid = 0
        command = ("git", *_SAFE, "-C", folder, *arguments)
        actions = [
            (os.POSIX_SPAWN_DUP2, stdin, 0)
            if stdin is not None
            else (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, writing, 2 if errors else 1),
            (os.POSIX_SPAWN_OPEN, 1 if errors else 2, os.devnull, os.O_WRONLY, 0),
        ]
        try:
            self._pid = os.posix_spawnp(
                "git", command, _environment(environment), file_actions=actions, setsigdef=(signal.SIGPIPE,)
            )
        except OSError:
            # It isn't installed, or can't be started now: then nothing is known.
            os.close(self._output)
        finally:
            os.close(writing)

    def answer(self, patience: float = PATIENCE, *, most: int | None = None) -> bytes | None:
        """All that it writes; None where it isn't installed, fails, or takes longer than ``patience`` seconds.

        What writes more than ``most`` bytes is ended, with a little more than that as its answer.
        """
        answer, status = self._finish(patience, most)
        return answer if status == 0 else None

    def complaint(self) -> str:
        """What it says of why it fails, if it does."""
        answer, status = self._finish(PATIENCE, None)
        return os.fsdecode(answer or b"") if status else ""

    def _finish(self, patience: float, most: int | None) -> tuple[bytes | None, int]:
        """What it wrote, and how it ended; enough is enough, and counts as a good end."""
        if not self._pid:
            return None, 0
        try:
            blocks = _read_until(self._output, time.monotonic() + patience, most)
        finally:
            os.close(self._output)
        too_much = blocks is not None and most is not None and sum(map(len, blocks)) > most
        if blocks is None or too_much:
            os.kill(self._pid, signal.SIGKILL)
        _, status = os.waitpid(self._pid, 0)
        self._pid = 0
        return None if blocks is None else b"".join(blocks), 0 if too_much else status


def _read_until(descriptor: int, deadline: float, most: int | None) -> list[bytes] | None:
    blocks: list[bytes] = []
    size = 0
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while (left := deadline - time.monotonic()) > 0:
        if poll.poll(left * 1000):
            block = os.read(descriptor, 1 << 18)
            if not block:
                return blocks
            blocks.append(block)
            size += len(block)
            if most is not None and size > most:
                return blocks
    return None


def _environment(more: Mapping[str, str] | None) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name not in _REDIRECTIONS}
    return {**inherited, **_ENVIRONMENT, **(more or {})}


class CommitQuestion:
    """Which commit a folder is at, and whether anything differs from it: asked now, answered later."""

    def __init__(self, folder: str) -> None:
        wanted = ("--porcelain=v2", "--branch", "-z", "--untracked-files=normal")
        self._git = Git(folder, "status", *wanted, "--", *OURS) if is_in_git(folder) else None

    def answer(self) -> str | None:
        """``git:SHA``, with ``*`` at its end when something differs; None: no commit, or Git can't tell."""
        answer = None if self._git is None else self._git.answer()
        return None if answer is None else commit_of_status(answer)


def commit_of_status(status: bytes) -> str | None:
    """What ``git status --porcelain=v2 --branch -z`` comes to, as of :meth:`CommitQuestion.answer`."""
    commit = ""
    for entry in status.split(b"\0"):
        if entry.startswith(b"# branch.oid "):
            commit = entry.split(b" ")[2].decode("ascii", "replace")
        elif entry and not entry.startswith(b"# "):
            return f"git:{commit}*" if _is_commit(commit) else None
    return f"git:{commit}" if _is_commit(commit) else None


def _is_commit(text: str) -> bool:
    return len(text) >= 40 and set(text) <= set("0123456789abcdef")
