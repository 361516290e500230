"""What Slurm starts on a node: finds the attempt that this job is of, and becomes its supervised command.

One file, standard library only, Python 3.8 and later: it is copied into the home, and run by path. Its argument is a
file with the attempts' directories, each ended by a NUL; of a job array each element takes the one at its index. Names
and values are never seen by a shell, and never stand in a command line.
"""

import os
import sys
import time

LATE = 60.0
"""Seconds to wait for a file that was written before the job was submitted: shared file systems may show it late."""


def main(listing: str) -> None:
    """Execute the command of the attempt that is this job's. Never returns."""
    index = int(os.environ.get("SLURM_ARRAY_TASK_ID", "0"))
    directory = _read(os.fsencode(listing)).split(b"\0")[index]
    if "SLURM_ARRAY_TASK_ID" in os.environ:
        # Of a single job Slurm has done so.
        out = os.open(os.path.join(directory, b"slurm.out"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.close(out)
    count, *items = _read(os.path.join(directory, b"slurm.job")).split(b"\0")[:-1]
    arguments, variables = items[: int(count)], items[int(count) :]
    environment = dict(os.environb)
    for variable in variables:
        name, _, value = variable.partition(b"=")
        environment[name] = value
    os.execve(arguments[0], arguments, environment)


def _read(path: bytes) -> bytes:
    deadline = time.monotonic() + LATE
    while True:
        try:
            with open(path, "rb") as file:
                return file.read()
        except FileNotFoundError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.2)


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except OSError as error:
        host = os.uname().nodename
        sys.exit(f"{host}: {error.strerror}: '{os.fsdecode(error.filename or b'')}'")
