"""What is set for all queues of a home: who is paused, and how many runs may be active at once."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from orchestra.model import versions
from orchestra.model.encoding import encode
from orchestra.model.scheduling import Group
from orchestra.workspace.codec import read_record
from orchestra.workspace.durable import fail, write_atomic

_FILE = "queue.json"
_LOCK = "queue.lock"


class QueueGroups(Struct, frozen=True, kw_only=True):
    """The settings of each group; of the group ``""``: of all runs."""

    groups: dict[str, Group] = {}


class GroupsFile:
    """The file of a home, read again when it has changed."""

    def __init__(self, home: Path) -> None:
        # A text: it is looked at several times a run.
        self._path = os.path.join(home, _FILE)
        self._seen: tuple[int, int] | None = None
        self._groups: dict[str, Group] = {}

    def read(self) -> dict[str, Group]:
        """What is set now.

        Raises:
            RunBroken, StoreUnavailable: the file can't be read.
        """
        try:
            status = os.stat(self._path)
        except FileNotFoundError:
            self._seen, self._groups = None, {}
            return {}
        except OSError as error:
            fail(error, self._path)
        seen = (status.st_mtime_ns, status.st_ino)
        if seen != self._seen:
            record = read_record(self._path, QueueGroups, versions.QUEUE_GROUPS)
            self._groups = {} if record is None else record.groups
            self._seen = seen
        return self._groups

    def write(self, groups: dict[str, Group]) -> None:
        """Set it for all queues. To be called within :func:`try_turn`, or another change may be lost."""
        kept = {name: group for name, group in groups.items() if group != Group()}
        write_atomic(self._path, encode(QueueGroups(groups=kept)) + b"\n", fsync=False)


@contextmanager
def try_turn(home: Path, lock: str = _LOCK) -> Generator[bool]:
    """Have it to oneself to decide what is started in a home (or what else ``lock`` is for); yields False if somebody
    else has.

    Raises:
        StoreUnavailable, HomeError: the lock's file can't be used.
    """
    path = home / lock
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        fail(error, path)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine = True
        except BlockingIOError:
            mine = False
        except OSError as error:
            fail(error, path)
        yield mine
    finally:
        os.close(descriptor)
