"""The fence of an attempt: one file, made once by link(2), that decides who may start it, and whose lock says
whether the attempt goes on.

Its creator holds ``flock(LOCK_EX)`` on the file from before it becomes visible until the attempt is over and its end
recorded, or until it dies. The kernel drops the lock on any death, so that a fence that can be locked is that of an
attempt that nobody executes. Its process may live all the same, and supervise another one.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from pathlib import Path
from typing import Literal

from msgspec import Struct, convert, to_builtins

from orchestra.child.supervisor import (
    boot_id,
    host_id,
    own_identity,
    pid_namespace,
    process_start,
    win_fence,
)
from orchestra.errors import RunBusy, RunNotFound
from orchestra.model import versions
from orchestra.model.execution import Fence, FenceKind, Identity
from orchestra.workspace.codec import READ, decode_record, read_open, read_record, unreadable
from orchestra.workspace.durable import fail, make_dirs

FENCE = "fence"

_NO_LOCKS = frozenset((errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP))


class FenceLost(RunBusy):
    """Somebody else has started the attempt, or has revoked it."""


class Probe(Struct, frozen=True, kw_only=True):
    """What the fence of an attempt says now."""

    fence: Fence
    alive: bool | None
    """Whether its process lives and still owns it; None when that can't be known here, for it is on another host."""
    seen: int
    """When its process last touched it, in microseconds since the epoch."""


def read_fence(attempt_dir: Path) -> Fence | None:
    """The fence of an attempt; None when nobody has won it yet.

    Raises:
        RunBroken: it can't be read.
    """
    return read_record(os.path.join(attempt_dir, FENCE), Fence, versions.FENCE)


def probe(attempt_dir: Path) -> Probe | None:
    """The fence of an attempt, and whether its process still owns it; None when there is no fence.

    Raises:
        RunBroken: the fence can't be read.
    """
    path = os.path.join(attempt_dir, FENCE)
    try:
        descriptor = os.open(path, READ)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise unreadable(error, path) from error
    try:
        touched = os.fstat(descriptor).st_mtime_ns // 1000
        fence = decode_record(read_open(descriptor), Fence, path, versions.FENCE)
        return Probe(fence=fence, alive=_is_alive(descriptor, fence), seen=touched)
    except OSError as error:
        raise unreadable(error, path) from error
    finally:
        os.close(descriptor)


def alive(attempt_dir: Path) -> bool | None:
    """Whether the process that started the attempt still owns it; None when it is on another host.

    False when nobody has started it. Two who ask at once don't disturb each other.

    Raises:
        RunBroken: the fence can't be read.
    """
    found = probe(attempt_dir)
    return False if found is None else found.alive


def _is_alive(descriptor: int, fence: Fence) -> bool | None:
    if fence.fence == "revoked":
        return False
    if fence.identity.host != host_id() and not shares_our_kernel(fence.identity):
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        here = fence.identity.host == host_id() and shares_our_pids(fence.identity)
        return _is_running(fence.identity) if here else None
    return False


def shares_our_kernel(identity: Identity) -> bool:
    """Whether it was started since this machine was, be it in a container that goes by another name.

    Then its lock can be believed here, and what it left behind, if we see it, be ended.
    """
    return identity.boot == boot_id() and (bool(identity.boot) or identity.host == host_id())


def shares_our_pids(identity: Identity) -> bool:
    """Whether its pid means the same to us: containers on one host may have that host's name, and each its own pids.

    What was noted by those who did not know of that is taken for ours.
    """
    ours = pid_namespace()
    return not identity.namespace or not ours or identity.namespace == ours


def revoke(attempt_dir: Path, *, fsync: bool = True) -> bool:
    """Make sure that the attempt never starts: True if it never will, False if it has started.

    Raises:
        RunNotFound: there is no such run.
        StoreUnavailable, HomeError: the fence could not be made.
    """
    _make(attempt_dir)
    held = _win(attempt_dir, _new_fence("revoked", os.urandom(8).hex(), "supervisor"), fsync)
    if held is not None:
        os.close(held)
        return True
    fence = read_fence(attempt_dir)
    return fence is not None and fence.fence == "revoked"


class HeldFence:
    """The fence of an attempt that executes in this process. Closing it, or dying, says that it ended."""

    def __init__(self, attempt_dir: Path, record: Fence, descriptor: int) -> None:
        self.directory = attempt_dir
        self.record = record
        self._descriptor = descriptor

    def __enter__(self) -> HeldFence:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def touch(self) -> None:
        """Show other hosts that we live; due each 30 s."""
        try:
            os.utime(self._descriptor)
        except OSError as error:
            fail(error, self.directory / FENCE)

    def close(self) -> None:
        """Let go of it; the exit record must be there by then. May be called again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def hold(attempt_dir: Path, nonce: str, *, fsync: bool, kind: FenceKind = "engine") -> HeldFence:
    """Win the fence for an attempt that executes in this process (a queue, a batch).

    Raises:
        FenceLost: somebody else was first.
        RunNotFound: there is no such run.
        StoreUnavailable, HomeError: the fence could not be made.
    """
    _make(attempt_dir)
    record = _new_fence("started", nonce, kind)
    descriptor = _win(attempt_dir, record, fsync)
    if descriptor is None:
        raise FenceLost(
            f"attempt {attempt_dir.name} in '{attempt_dir}' was started or revoked by somebody else"
        )
    return HeldFence(attempt_dir, record, descriptor)


def _make(attempt_dir: Path) -> None:
    # The parents are not made: a run that was deleted must not come back as an empty directory.
    control = attempt_dir.parent.parent
    if not os.path.isdir(control):
        raise RunNotFound(f"there is no run in '{control.parent}'")
    make_dirs(attempt_dir)


def _win(attempt_dir: Path, record: Fence, fsync: bool) -> int | None:
    try:
        return win_fence(os.fspath(attempt_dir), to_builtins(record), fsync)
    except OSError as error:
        fail(error, attempt_dir / FENCE)


def _new_fence(what: Literal["started", "revoked"], nonce: str, kind: FenceKind) -> Fence:
    identity = convert(own_identity(), Identity)
    return Fence(fence=what, nonce=nonce, identity=identity, time=time.time_ns() // 1000, kind=kind)


def _is_running(identity: Identity) -> bool:
    return identity.boot == boot_id() and process_start(identity.pid) == identity.start
