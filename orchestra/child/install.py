"""The copy of the supervisor in a home, the commands that run it, and how a launcher is asked."""

from __future__ import annotations

import os
from collections.abc import Iterable

FILES = ("supervisor.py", "launcher.py", "gpus.py")
WARM_FILES = (*FILES, "injection.py", "warm.py", "warm_script.py", "warm_end.py")
_SOURCE = os.path.dirname(os.path.abspath(__file__))
_LOAD = """import sys
sys.path.insert(0, sys.argv.pop(1))
try:
    import {0}
except (EOFError, TypeError, ValueError):
    # Bytecode that was cut short is not told from whole one before it is read.
    import os
    cache = os.path.join(sys.path[0], "__pycache__")
    for name in os.listdir(cache):
        os.unlink(os.path.join(cache, name))
    import {0}
"""
_RUN = _LOAD + "{0}.main(sys.argv[1:])"
_RUN_WARM = (
    _LOAD
    + """begin, arguments = warm.main(sys.argv[1:])
try:
    begin(*arguments)
except BaseException:
    warm.hide()
    raise
warm.end.note(None)
"""
)
"""At the bottom of the stack, so that the script is only one frame above it."""


def supervisor_command(python: str, lib_dir: str, attempt_dir: str) -> tuple[str, ...]:
    """The supervised command of an attempt: what an executor runs, whatever it knows of us.

    ``-c`` and an import instead of a path, so that the bytecode is cached.
    """
    return (python, "-I", "-S", "-c", _RUN.format("supervisor"), lib_dir, attempt_dir)


def launcher_command(python: str, lib_dir: str, hints_fd: int) -> tuple[str, ...]:
    """The command of a launcher, which sends hints to ``hints_fd``."""
    return (python, "-I", "-S", "-c", _RUN.format("launcher"), lib_dir, str(hints_fd))


def warm_command(python: list[str], lib_dir: str, *arguments: str) -> tuple[str, ...]:
    """The command of a launcher with modules loaded: ``python`` with its options, and what its ``main`` takes."""
    return (*python, "-c", _RUN_WARM.format("warm"), lib_dir, *arguments)


def encode_request(
    job: str, directory: str, environment: dict[str, str], *, ahead: str | None = None
) -> bytes:
    """A request as the launcher reads it; ``ahead``: to make ready for this one, should it come, whose orders have
    that name as yet.

    Raises:
        ValueError: an item holds a NUL byte.
    """
    kind = ["start"] if ahead is None else ["ahead", ahead]
    items = [*kind, job, directory, *(f"{name}={value}" for name, value in environment.items())]
    encoded = [os.fsencode(item) for item in items]
    if any(b"\0" in item for item in encoded):
        raise ValueError("embedded null byte")
    return b"".join(item + b"\0" for item in encoded) + b"\0"


def install(lib_root: str, files: tuple[str, ...] = FILES) -> str:
    """Put our files into ``lib_root``/DIGEST, once, and return that folder.

    Older folders stay: attempts that run still name them. The folder appears as a whole or not at all, with the
    bytecode: a launcher that compiled it would keep twice the memory, of which each fork of it copies some.
    Raises OSError.
    """
    contents = {name: _read(os.path.join(_SOURCE, name)) for name in files}
    lib_root = os.path.abspath(lib_root)
    folder = os.path.join(lib_root, _digest(contents.values()))
    if _intact(folder, contents):
        return folder
    os.makedirs(lib_root, mode=0o700, exist_ok=True)
    unique = f"{os.getpid()}-{os.urandom(4).hex()}"
    fresh = os.path.join(lib_root, f".{unique}.tmp")
    os.mkdir(fresh, 0o700)
    for name, data in contents.items():
        _write_synced(os.path.join(fresh, name), data)
    _write_bytecode(fresh, contents)
    _place(fresh, folder, contents, unique)
    return folder


def _write_bytecode(folder: str, contents: dict[str, bytes]) -> None:
    """Write what our interpreter would cache of these files when it imports them. Another one makes its own."""
    import marshal
    from importlib.util import MAGIC_NUMBER, cache_from_source

    for name, data in contents.items():
        path = os.path.join(folder, name)
        cached = cache_from_source(path, optimization="")
        if os.path.dirname(os.path.dirname(cached)) != folder:
            return  # The user keeps bytecode elsewhere.
        os.makedirs(os.path.dirname(cached), mode=0o700, exist_ok=True)
        changed = int(os.stat(path).st_mtime) & 0xFFFFFFFF
        head = MAGIC_NUMBER + b"".join(number.to_bytes(4, "little") for number in (0, changed, len(data)))
        _write_synced(cached, head + (_known_code(name, data) or marshal.dumps(compile(data, path, "exec"))))


def _known_code(name: str, data: bytes) -> bytes | None:
    """The code of one of our own files as our interpreter has cached it, if that is of just this file."""
    from importlib.util import MAGIC_NUMBER, cache_from_source

    path = os.path.join(_SOURCE, name)
    try:
        cached = _read(cache_from_source(path, optimization=""))
        changed = int(os.stat(path).st_mtime) & 0xFFFFFFFF
    except OSError:
        return None
    flags, *source = (int.from_bytes(cached[at : at + 4], "little") for at in (4, 8, 12))
    fits = cached.startswith(MAGIC_NUMBER) and flags == 0 and source == [changed, len(data)]
    return cached[16:] if fits else None


def _place(fresh: str, folder: str, contents: dict[str, bytes], unique: str) -> None:
    try:
        os.rename(fresh, folder)
    except OSError:
        if not _intact(folder, contents):
            # Somebody has damaged it. Nothing that runs is hurt: it was loaded long ago.
            os.rename(folder, os.path.join(os.path.dirname(folder), f".{unique}.damaged"))
            os.rename(fresh, folder)
            return
        for parent, _, names in os.walk(fresh, topdown=False):
            for name in names:
                os.unlink(os.path.join(parent, name))
            os.rmdir(parent)


def _intact(folder: str, contents: dict[str, bytes]) -> bool:
    try:
        return all(
            os.stat(os.path.join(folder, name)).st_size == len(data) for name, data in contents.items()
        )
    except OSError:
        return False


def _digest(contents: Iterable[bytes]) -> str:
    # hashlib loads OpenSSL, which costs a start more than the rest of this module.
    try:
        from _blake2 import blake2b
    except ImportError:
        from hashlib import blake2b
    digest = blake2b(digest_size=8)
    for data in contents:
        digest.update(data)
    return digest.hexdigest()


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _write_synced(path: str, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
