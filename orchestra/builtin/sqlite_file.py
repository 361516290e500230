"""The file of the SQLite store: opening it, its locks and the waiting for them, and its errors."""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

from orchestra.builtin.sqlite_runs import COLUMNS
from orchestra.errors import StoreCorrupt, StoreError, StoreTooNew, StoreUnavailable, text_of_os_error
from orchestra.model import versions

T = TypeVar("T")

# Where WAL's shared memory does not reach the other hosts that have the file open.
# fmt: off
_NETWORK_FILE_SYSTEMS = frozenset((
    "9p", "afs", "beegfs", "ceph", "cifs", "fuse.glusterfs", "fuse.sshfs", "gfs2", "glusterfs", "gpfs",
    "lustre", "nfs", "nfs4", "ocfs2", "orangefs", "panfs", "prl_fs", "pvfs2", "smb3", "smbfs", "vboxsf",
))
# fmt: on
_NO_FLOCK = frozenset((errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL))
TELL_AFTER = 2.0
"""Seconds of waiting for a lock after which that is told."""
_FLOCK_TAKEN = frozenset((errno.EAGAIN, errno.EACCES))


class Busy(Exception):
    """Somebody else holds a lock: try again soon. Never leaves the store."""


class SqliteFile:
    """One handle on the file: a connection, shared by the threads of a process, and the lock beside the file.

    Commits and checkpoints are made under an outer ``flock``. It is fairer than SQLite's own lock, and no two
    processes ever checkpoint or restart the write-ahead log at once. Reads take no lock of ours.
    """

    def __init__(self, path: Path, patience: float) -> None:
        self.path = path
        self._name = os.fspath(path)
        self.writes = 0
        """How many transactions this handle has committed."""
        self._patience = patience
        self._mutex = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None
        self._lock_fd: int | None = None
        self._reading = "mode=ro"
        self._in_memory = False
        """The file is of an earlier version and can't be written: what is open is an upgraded copy of it."""

    def open(self) -> None:
        """Open the file, and make it if it is missing or empty, or upgrade it if an earlier version made it.

        Raises:
            Busy: somebody else is making it, or recovers it.
            StoreCorrupt: it is no database, or not ours.
            StoreTooNew: a newer version made it.
            StoreUnavailable: it can't be opened or made.
        """
        with _translated(self.path), self._closed_on_error():
            self._make_folder()
            self._connection = _connect(self.path)
            version = self._first_look(self._connection)
            if version == 0:
                self._make(self._connection)
            elif version < versions.STORE:
                self._upgrade(self._connection, version)
            elif version == versions.STORE and _is_network(self.path.parent):
                self._leave_wal(self._connection)
            self._check(self._connection)
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._inode = _inode(self.path)

    def close(self) -> None:
        """Let go of the file. Whoever closes it last checkpoints, hence the lock."""
        connection, self._connection = self._connection, None
        if connection is not None:
            # Whoever holds the lock has the file open as well, and then closing checkpoints nothing.
            deadline = time.monotonic() + 0.2
            while True:
                try:
                    with self.locked():
                        connection.close()
                    break
                except (Busy, StoreError):
                    if time.monotonic() > deadline or self._lock_fd is None:
                        connection.close()
                        break
                    time.sleep(0.002)
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Call ``work`` within a read transaction: all that it reads is of one moment."""
        with self._in_use() as connection:
            return self._within("BEGIN", work, connection)

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Call ``work`` within a write transaction, which is rolled back when it raises.

        Raises:
            Busy: nothing was done; ``work`` may have been called, and will be again.
        """
        if self._in_memory:
            raise StoreUnavailable(f"the store '{self.path}' can't be written")
        with self._in_use() as connection, self.locked():
            result = self._within("BEGIN IMMEDIATE", work, connection)
        self.writes += 1
        return result

    def _within(
        self, begin: str, work: Callable[[sqlite3.Connection], T], connection: sqlite3.Connection
    ) -> T:
        """Call ``work`` within a transaction of the file that we know."""
        # No context managers: this is done for every step of every run.
        connection.execute(begin)
        try:
            self._check_version(connection)
            result = work(connection)
            connection.execute("COMMIT")
        except BaseException:
            _roll_back(connection)
            raise
        return result

    def read_apart(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """As :meth:`read`, blocking, over a connection of its own: for another thread."""
        if self._in_memory:
            return self.blocking(lambda: self.read(work))

        def attempt() -> T:
            with _translated(self.path):
                connection = _connect(self.path, self._reading)
                try:
                    connection.execute("BEGIN")
                    self._check_version(connection)
                    return work(connection)
                finally:
                    connection.close()

        return self.blocking(attempt)

    @property
    def inode(self) -> int:
        """The number of the file that is open."""
        return 0 if self._inode is None else self._inode[1]

    def data_version(self) -> int:
        """A number that changes when another connection has committed."""
        with self._in_use() as connection:
            return int(connection.execute("PRAGMA data_version").fetchone()[0])

    async def patiently(self, attempt: Callable[[], T]) -> T:
        """Call ``attempt`` until it is not busy; does not suspend when it isn't the first time.

        Between the attempts nothing is held and nothing half done: cancelling is safe. Without an event loop
        the waiting blocks, so that a coroutine can be driven by a single ``send(None)``.

        Raises:
            StoreUnavailable: it is busy for too long.
        """
        try:
            return attempt()
        except Busy:
            pass
        if not event_loop_runs():
            return self.blocking(attempt)
        import anyio

        for delay in self._delays():
            await anyio.sleep(delay)
            try:
                return attempt()
            except Busy:
                continue
        raise self._locked()

    def blocking(self, attempt: Callable[[], T]) -> T:
        """As :meth:`patiently`, whether or not an event loop runs."""
        for delay in self._delays(first=0.0):
            time.sleep(delay)
            try:
                return attempt()
            except Busy:
                continue
        raise self._locked()

    def _delays(self, first: float | None = None) -> Iterator[float]:
        # Who has waited long must not ask less often than who has just come: short and random, not exponential.
        import random

        began = time.monotonic()
        told = False
        if first is not None:
            yield first
        while (waited := time.monotonic() - began) < self._patience:
            if waited > TELL_AFTER and not told:
                told = True
                import logging

                logging.getLogger(__name__).warning(
                    "Waiting for the store '%s', which another process has locked", self.path
                )
            yield random.uniform(0.0003, 0.002 if waited < 1.0 else 0.01)

    def _locked(self) -> StoreUnavailable:
        return StoreUnavailable(
            f"the store '{self.path}' was locked by another process for {self._patience:g} seconds",
            "Try again later.",
        )

    @contextmanager
    def _in_use(self) -> Generator[sqlite3.Connection]:
        if not self._mutex.acquire(blocking=False):
            raise Busy
        try:
            connection = self._connection
            if connection is None:
                raise StoreUnavailable(f"the store '{self.path}' is closed")
            if _inode(self._name) != self._inode:
                raise StoreCorrupt(f"the store '{self.path}' was removed or replaced while it was open")
            yield connection
        except sqlite3.Error as error:
            raise _meaning(error, self.path) from error
        finally:
            self._mutex.release()

    @contextmanager
    def locked(self) -> Generator[None]:
        """Hold the lock beside the file.

        Raises:
            Busy: somebody else holds it.
        """
        if self._lock_fd is None:
            self._lock_fd = _open_lock(self.path)
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _FLOCK_TAKEN:
                raise Busy from None
            if error.errno not in _NO_FLOCK:
                raise _unavailable(error) from error
            # Without it SQLite's own lock still keeps the file whole, only less fairly.
            yield
            return
        try:
            yield
        finally:
            fcntl.flock(self._lock_fd, fcntl.LOCK_UN)

    @contextmanager
    def _closed_on_error(self) -> Generator[None]:
        try:
            yield
        except BaseException:
            self.close()
            raise

    def _make_folder(self) -> None:
        try:
            self.path.parent.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise _unavailable(error) from error

    def _first_look(self, connection: sqlite3.Connection) -> int:
        try:
            return self._version(connection)
        except sqlite3.OperationalError as error:
            if (
                _code(error) not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
                or not self._is_at_rest()
            ):
                raise
        # Reading takes files beside it as well, which can't be made where nothing may be written.
        connection.close()
        self._reading = "mode=ro&immutable=1"
        self._connection = _connect(self.path, self._reading)
        return self._version(self._connection)

    def _is_at_rest(self) -> bool:
        if not self.path.exists() or os.access(self.path.parent, os.W_OK):
            return False
        log = self.path.with_name(f"{self.path.name}-wal")
        return not log.exists() or log.stat().st_size == 0

    def _version(self, connection: sqlite3.Connection) -> int:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])

    def _make(self, connection: sqlite3.Connection) -> None:
        from orchestra.builtin import sqlite_schema

        with self.locked():
            if self._version(connection) != 0:
                return
            if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                raise StoreCorrupt(f"'{self.path}' is not a store of Orchestra")
            os.chmod(self.path, 0o600)
            if not _is_network(self.path.parent):
                connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("BEGIN IMMEDIATE")
            with _rolled_back_on_error(connection):
                sqlite_schema.make(connection)
                connection.execute("COMMIT")

    def _upgrade(self, connection: sqlite3.Connection, version: int) -> None:
        if version < 0:
            raise StoreCorrupt(f"'{self.path}' is not a store of Orchestra")
        if not (os.access(self.path, os.W_OK) and os.access(self.path.parent, os.W_OK)):
            self._upgrade_copy(connection, version)
            return
        from orchestra.builtin import sqlite_schema

        with self.locked():
            connection.execute("BEGIN IMMEDIATE")
            with _rolled_back_on_error(connection):
                version = self._version(connection)
                if version < versions.STORE:
                    # Over a connection of its own: SQLite copies nothing from one that is about to write.
                    with closing(_connect(self.path, "mode=ro")) as unchanged:
                        sqlite_schema.upgrade_with_backup(connection, unchanged, self.path, version)
                connection.execute("COMMIT")

    def _upgrade_copy(self, connection: sqlite3.Connection, version: int) -> None:
        from orchestra.builtin import sqlite_schema

        copy = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        connection.backup(copy)
        connection.close()
        self._connection, self._in_memory = copy, True
        sqlite_schema.upgrade(copy, version)

    def _leave_wal(self, connection: sqlite3.Connection) -> None:
        # A home that was copied to a network file system. It takes that nobody else has it open.
        try:
            with self.locked():
                connection.execute("PRAGMA journal_mode = DELETE")
        except (Busy, StoreError, sqlite3.OperationalError):
            pass

    def _check_version(self, connection: sqlite3.Connection) -> None:
        # Also of a store that is open for long: somebody may have upgraded it meanwhile.
        version = self._version(connection)
        if version > versions.STORE:
            raise StoreTooNew(
                f"the store '{self.path}' was written by a newer version of Orchestra (its version is {version}, "
                f"we know {versions.STORE})",
                "Upgrade Orchestra, or use another home.",
            )
        if version < versions.STORE:
            raise StoreCorrupt(f"the store '{self.path}' was replaced by one of an earlier version")

    def _check(self, connection: sqlite3.Connection) -> None:
        self._check_version(connection)
        connection.execute(f"SELECT {COLUMNS} FROM runs LIMIT 0")


def event_loop_runs() -> bool:
    """Whether this thread runs an event loop; imports none where nobody has yet."""
    if "asyncio" not in sys.modules and "trio" not in sys.modules:
        return False
    import anyio

    try:
        anyio.get_cancelled_exc_class()
    except RuntimeError:
        return False
    return True


def _connect(path: Path, parameters: str = "") -> sqlite3.Connection:
    target: str | bytes = os.fsencode(path)
    if parameters:
        from urllib.parse import quote

        target = f"file:{quote(os.fsencode(path.absolute()))}?{parameters}"
    return sqlite3.connect(
        target, timeout=0.0, isolation_level=None, check_same_thread=False, uri=bool(parameters)
    )


@contextmanager
def _rolled_back_on_error(connection: sqlite3.Connection) -> Generator[None]:
    try:
        yield
    except BaseException:
        _roll_back(connection)
        raise


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")


@contextmanager
def _translated(path: Path) -> Generator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise _meaning(error, path) from error


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _meaning(error: sqlite3.Error, path: Path) -> Exception:
    code = _code(error)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL):
        return Busy(str(error))
    if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _is_full(path)):
        return StoreUnavailable(f"No space left on device: '{path}'")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISMATCH):
        return StoreCorrupt(f"the store '{path}' can't be read: {error}")
    return StoreUnavailable(f"the store '{path}' can't be used: {error}")


def _is_full(path: Path) -> bool:
    # Where room for its shared memory is missing, SQLite speaks of an I/O error.
    try:
        disk = os.statvfs(path.parent)
    except OSError:
        return False
    return disk.f_bavail == 0 or (disk.f_files > 0 and disk.f_favail == 0)


def _unavailable(error: OSError) -> StoreUnavailable:
    return StoreUnavailable(f"the store can't be used: {text_of_os_error(error)}")


def _open_lock(path: Path) -> int:
    try:
        return os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unavailable(error) from error


def _inode(path: Path | str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unavailable(error) from error
    return status.st_dev, status.st_ino


def _is_network(folder: Path) -> bool:
    device = os.stat(folder).st_dev
    if os.major(device) != 0:
        return False
    number = f"{os.major(device)}:{os.minor(device)}"
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as mounts:
            for line in mounts:
                fields = line.split()
                if fields[2] == number:
                    return fields[fields.index("-") + 1] in _NETWORK_FILE_SYSTEMS
    except (OSError, ValueError, IndexError):
        pass
    return False


def set_aside(path: Path, patience: float, check: Callable[[sqlite3.Connection], None]) -> Path | None:
    """Rename a file that can't be opened, or does not pass ``check``, and its log; returns its new path."""
    file = SqliteFile(path, patience)

    def attempt() -> Path | None:
        seen = _inode(path)
        try:
            file.open()
            file.read(check)
            return None
        except StoreCorrupt:
            with file.locked():
                # Somebody else may have put a new store in its place since.
                return _rename(path) if _inode(path) == seen else None
        finally:
            file.close()

    return file.blocking(attempt) if path.exists() else None


def _rename(path: Path) -> Path:
    broken = path.with_name(f"{path.name}.broken-{time.time_ns() // 1_000_000}")
    for suffix in ("-wal", "-shm", ""):
        try:
            os.rename(f"{path}{suffix}", f"{broken}{suffix}")
        except FileNotFoundError:
            continue
        except OSError as error:
            raise _unavailable(error) from error
    return broken
