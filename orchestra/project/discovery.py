"""Flags of a script whose parser can't be read from its source: run it in a child, up to where it parses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from orchestra.project import cache
from orchestra.project.parser_actions import Action

TIMEOUT: Final = 30.0
"""Seconds that a script may take until it parses its arguments."""

_PROGRAM: Final = Path(__file__).parent.parent / "child" / "discover.py"


class Discovery(Struct, frozen=True, kw_only=True):
    """What a run of the script found."""

    actions: list[Action] | None
    """Of its parser; None if it ended without parsing, or failed."""
    by: str = "argparse"
    """The library whose parser it is."""
    warning: str | None = None


def run_discovery(
    path: Path,
    content: bytes,
    *,
    cache_dir: Path | None,
    python: str,
    arguments: Sequence[str] = (),
    timeout: float = TIMEOUT,
) -> Discovery:
    """The actions of the script's parser, from the cache if neither it nor its neighbours have changed.

    Args:
        path: of the script.
        content: of the script.
        cache_dir: where results are kept; None keeps nothing.
        python: the interpreter to run it with.
        arguments: what the script is always given.
        timeout: seconds to wait.

    Raises:
        ScriptError: the script is not valid Python.
    """
    key = cache.key_of(path, content, python, arguments)
    kept = cache.read(cache_dir, key)
    if kept is None:
        kept = _run(path, python, arguments, timeout)
        if "actions" in kept:
            cache.write(cache_dir, key, kept)
    if "syntax" in kept:
        from orchestra.project.script import syntax_error

        raise syntax_error(path, kept.get("line"), kept["syntax"])
    return Discovery(
        actions=kept.get("actions"),
        by=kept.get("by", "argparse"),
        warning=kept.get("error") or _of_commands(path, kept.get("subcommands") or []),
    )


def _of_commands(path: Path, names: list[str]) -> str | None:
    if not names:
        return None
    listed = ", ".join(repr(name) for name in names)
    return (
        f"the flags are those of a sub-command ({listed}), and none is named behind the script in 'main'\n"
        f"Make it an operation of orchestra.yml, such as '{names[0]}: {{main: {path.stem} {names[0]}}}'."
    )


def _run(path: Path, python: str, arguments: Sequence[str], timeout: float) -> dict[str, Any]:
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    with tempfile.TemporaryFile() as errors:
        try:
            child = subprocess.Popen(
                [python, "-u", str(_PROGRAM), str(path), *arguments],
                cwd=path.parent,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        except OSError as error:
            return {"error": f"could not start {python}: {error.strerror}"}
        try:
            output, _ = child.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            return {"error": f"it did not parse its arguments within {timeout:g} seconds"}
        finally:
            _end(child)
        errors.seek(0, os.SEEK_END)
        errors.seek(max(0, errors.tell() - 4096))
        return _result(output, child.returncode, errors.read())


def _end(child: subprocess.Popen[bytes]) -> None:
    """End what the script started along with it."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
    child.wait()
    if child.stdout is not None:
        child.stdout.close()


def _result(output: bytes, code: int, errors: bytes) -> dict[str, Any]:
    try:
        result = json.loads(output)
    except ValueError:
        last = errors.decode(errors="replace").strip().rpartition("\n")[2]
        return {"error": last or f"it exited with code {code} before it parsed its arguments"}
    return result
