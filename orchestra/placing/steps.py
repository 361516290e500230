"""Long work with files as generators of short steps, so that nothing blocks the event loop for long.

Closing a generator before its end removes what it had begun, so a caller may stop between any two steps. A step
yields "", but for the last, which yields the result.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import _Hash as Digest  # pyright: ignore[reportPrivateUsage]

Steps = Generator[str, None, None]

CHUNK = 1 << 20
_INLINE = 0.02
_SLICE = 0.1


async def finish(steps: Steps) -> str:
    """Go through ``steps`` to the result.

    What takes long goes on in a thread, a slice at a time, so that a cancellation is noticed in between. What is
    short is done without ever suspending.
    """
    try:
        result = _advance(steps, _INLINE)
        if result is None:
            result = await _in_slices(steps)
        return result
    finally:
        steps.close()


async def _in_slices(steps: Steps) -> str:
    from threading import Lock

    from anyio.to_thread import run_sync

    at_work = Lock()

    def advance() -> str | None:
        with at_work:
            return _advance(steps, _SLICE)

    try:
        while (result := await run_sync(advance)) is None:
            pass
        return result
    finally:
        # Ctrl-C ends the waiting, not the slice that is being worked at.
        at_work.acquire()


def _advance(steps: Steps, seconds: float) -> str | None:
    """Go on for about so many seconds. The result, or None if there is more to do."""
    end = time.monotonic() + seconds
    for step in steps:
        if step:
            return step
        if time.monotonic() >= end:
            return None
    return None


def sha256() -> Digest:
    """A new digest."""
    # hashlib loads OpenSSL, which costs a start more than this package: only who copies pays for it.
    from hashlib import sha256

    return sha256()


def hash_file(path: Path) -> Steps:
    """The SHA-256 of a file.

    Raises:
        OSError: it can't be read.
    """
    digest = sha256()
    with open(path, "rb", buffering=0) as reader:
        while chunk := reader.read(CHUNK):
            digest.update(chunk)
            yield ""
    yield digest.hexdigest()
