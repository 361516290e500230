"""Let a file share the blocks of another one, where the file system can: no bytes are copied, and a write to
either of them changes only that one."""

from __future__ import annotations

import sys

_FICLONE = 0x40049409


def clone(source: int, target: int) -> bool:
    """Make the open file ``target`` hold what ``source`` holds; False where the file system can't, or not between
    these two: then ``target`` is as it was."""
    if sys.platform != "linux":
        return False
    import fcntl

    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        return False
    return True
