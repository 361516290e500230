"""Slurm's commands: each is given a time to end in, and what goes wrong is an :class:`ExecutorError`."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Sequence

import anyio
from orchestra.errors import ExecutorError

_KEPT = frozenset(("SLURM_CONF", "SLURM_CONF_SERVER"))
_NO_CONFIGURATION = "Could not establish a configuration source"
"""What they say on a computer that belongs to no cluster: it asks for no patience."""


class CommandFailed(ExecutorError):
    """A command of Slurm has failed, or has not ended in time."""

    def __init__(self, command: str, reason: str, *, timed_out: bool = False, missing: bool = False) -> None:
        super().__init__(f"{command}: {reason}")
        self.reason = reason
        self.timed_out = timed_out
        self.missing = missing
        """The command is not here, or knows of no cluster."""


def environment() -> dict[str, str]:
    """Ours, without what Slurm has said of a job that this process may be in, and without defaults for listings."""
    dropped = ("SLURM_", "SQUEUE_", "SCANCEL_", "SACCT_")
    return {
        name: value for name, value in os.environ.items() if name in _KEPT or not name.startswith(dropped)
    }


async def call(command: str, arguments: Sequence[str], timeout: float) -> str:
    """What the command writes to its standard output.

    Raises:
        CommandFailed: it is missing, did not end in time, or exited with a code; with what it said.
    """
    words = [*shlex.split(command), *arguments]
    name = os.path.basename(words[0])
    try:
        with anyio.fail_after(timeout):
            done = await anyio.run_process(
                words, input=b"", stderr=subprocess.PIPE, check=False, env=environment(), cwd="/"
            )
    except TimeoutError:
        raise CommandFailed(name, f"no answer within {timeout:g} s", timed_out=True) from None
    except OSError as error:
        reason = f"it can't be started: {error.strerror}"
        raise CommandFailed(name, reason, missing=isinstance(error, FileNotFoundError)) from error
    if done.returncode:
        said = " ".join(done.stderr.decode(errors="replace").split())
        said = said.replace(f"{name}: error: ", "")[-500:]
        unset = _NO_CONFIGURATION in said
        raise CommandFailed(name, said or f"it exited with {done.returncode}", missing=unset)
    return done.stdout.decode(errors="replace")
