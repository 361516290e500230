"""Files of a run that goes on: they may shrink, change or vanish while they are read."""

from __future__ import annotations

import errno
import os
from collections.abc import Generator
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, TypeAlias, cast

from orchestra.errors import UserError
from orchestra.placing.steps import CHUNK
from orchestra.workspace.portable import open_part

Opened: TypeAlias = tuple[IO[bytes], os.stat_result]
_TRIES = 3
_GONE = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ELOOP))


def open_steady(source: str, folder: Path | None) -> Generator[str, None, Opened | None]:
    """A copy of a file, below ``folder``, that has as much in it as the file had when it was opened, and its status;
    without ``folder``, for a run that has ended, the file itself.

    None where the file of a run that goes on is gone, or never stays as long as it was.

    Raises:
        OSError: it can't be read, or there is no room.
        UserError: it was replaced while it was opened, and the run has ended.
    """
    if folder is None:
        return open_part(source)
    for _ in range(_TRIES):
        try:
            reader, status = open_part(source)
        except UserError:
            return None
        except OSError as error:
            if error.errno in _GONE:
                return None
            raise
        copy = cast(IO[bytes], SpooledTemporaryFile(max_size=CHUNK, dir=str(folder)))  # noqa: SIM115
        try:
            left = status.st_size
            with reader:
                while left and (chunk := reader.read(min(CHUNK, left))):
                    left -= copy.write(chunk)
                    yield ""
        except BaseException:
            copy.close()
            raise
        if not left:
            copy.seek(0)
            return copy, status
        copy.close()
    return None
