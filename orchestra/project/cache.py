"""What was found by running a script, kept in the home until the script or a neighbour changes."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, cast

_FORMAT: Final = "2"
_MOST_ENTRIES: Final = 500


def key_of(path: Path, content: bytes, python: str, arguments: Sequence[str] = ()) -> str:
    """A name for the script as it is now: its content, interpreter and arguments, and the modules beside it."""
    # hashlib loads OpenSSL, which costs a start more than what is digested here.
    try:
        from _blake2 import blake2b
    except ImportError:
        from hashlib import blake2b
    digest = blake2b(digest_size=16)
    for part in (_FORMAT, str(path), os.path.realpath(python), *arguments):
        digest.update(part.encode("utf-8", "surrogateescape") + b"\0")
    digest.update(blake2b(content).digest())
    for name, size, changed in _neighbours(path.parent):
        digest.update(f"{name}\0{size}\0{changed}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _neighbours(directory: Path) -> list[tuple[str, int, int]]:
    found: list[tuple[str, int, int]] = []
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.name.endswith(".py"):
                    status = entry.stat()
                    found.append((entry.name, status.st_size, status.st_mtime_ns))
    except OSError:
        # What can't be looked at is no reason to fail: the script itself is in the key.
        pass
    return sorted(found)


def read(cache_dir: Path | None, key: str) -> dict[str, Any] | None:
    """What was kept under ``key``; None if nothing, or if it can't be read."""
    if cache_dir is None or _is_off():
        return None
    try:
        kept = json.loads((cache_dir / "flags" / f"{key}.json").read_bytes())
    except (OSError, ValueError):
        return None
    return cast("dict[str, Any]", kept) if isinstance(kept, dict) else None


def write(cache_dir: Path | None, key: str, value: dict[str, Any]) -> None:
    """Keep ``value``. A cache that can't be written is no cache, and no error."""
    if cache_dir is None or _is_off():
        return
    folder = cache_dir / "flags"
    temporary = folder / f"{key}.{os.getpid()}.tmp"
    with suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _drop_oldest(folder)
        temporary.write_text(json.dumps(value))
        temporary.replace(folder / f"{key}.json")
        return
    with suppress(OSError):
        temporary.unlink()


def _drop_oldest(folder: Path) -> None:
    entries = list(folder.iterdir())
    if len(entries) >= _MOST_ENTRIES:
        entries.sort(key=lambda entry: entry.stat().st_mtime)
        for entry in entries[: _MOST_ENTRIES // 2]:
            entry.unlink(missing_ok=True)


def _is_off() -> bool:
    return os.environ.get("NO_IMPORT_FLAGS_CACHE", "") not in ("", "0")
