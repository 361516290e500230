"""Files that a person names, outside of the home: whole, or as they were."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from orchestra.errors import UserError
from orchestra.workspace.durable import TEMPORARY, write_all


def place_of(shown: str, cwd: Path) -> Path:
    """Where the file is that a person calls ``shown``.

    Raises:
        UserError: its folder is not there.
    """
    path = cwd / os.path.expanduser(shown)
    require_folder(path.parent)
    return path


def require_folder(folder: Path) -> None:
    """Refuse a folder for a new file or folder that is not there: none is made for what may be a slip.

    Raises:
        UserError: it is not there.
    """
    if not folder.is_dir():
        raise UserError(f"'{folder}' is not a directory", "Make it first, or choose another place.")


def write_file(path: Path, data: bytes, shown: str) -> None:
    """Replace the file at ``path``, called ``shown``, by ``data``: who reads it sees the old content or the new one.

    A link stays one. What is no regular file, such as a pipe, is written to.

    Raises:
        UserError: it can't be written, or its folder is not there; the old content is still there.
    """
    target = os.path.realpath(path)
    try:
        found = _status(target)
        if found is not None and not stat.S_ISREG(found.st_mode):
            with open(target, "wb", buffering=0) as file:
                write_all(file.fileno(), data)
            return
        require_folder(Path(target).parent)
        _replace(target, data, None if found is None else stat.S_IMODE(found.st_mode))
    except OSError as error:
        raise UserError(f"cannot write '{shown}': {error.strerror or error}") from None


def _status(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _replace(target: str, data: bytes, mode: int | None) -> None:
    temporary = f"{target}.{os.urandom(6).hex()}{TEMPORARY}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        try:
            if mode is not None:
                os.fchmod(descriptor, mode)
            write_all(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
