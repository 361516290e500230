"""A process that is loaded once and forks supervisors: a start for a few milliseconds.

Runs beside its own copy of ``supervisor.py``. It reads requests from its standard input, each a sequence of
items that end with NUL, closed by an empty item: the job's name, the attempt's directory, then ``NAME=VALUE``
of what the job adds to the environment. At the end of input it ends; the supervisors go on.
"""

from __future__ import annotations

import gc
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Iterator

    from orchestra.child import supervisor
else:
    import _signal
    import resource as _resource  # noqa: F401  os.wait4 needs it: once here instead of in each fork

    import supervisor


def requests(fd: int) -> Iterator[list[bytes]]:
    """The requests that come through a pipe, until its end; a torn last one is left out."""
    buffer = b""
    while True:
        data = os.read(fd, 1 << 16)
        if not data:
            return
        buffer += data
        *whole, buffer = buffer.split(b"\0\0")
        for request in whole:
            yield request.split(b"\0")


def launch(request: list[bytes], hints_fd: int) -> None:
    """Fork a supervisor for one request."""
    job = os.fsdecode(request[0])
    try:
        pid = os.fork()
    except OSError as error:
        supervisor.Hints(hints_fd, job).send("failed", str(error.errno))
        return
    if pid:
        return
    status = supervisor.EXIT_FAILED
    try:
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        extra = [tuple(item.split(b"=", 1)) for item in request[2:]]
        status = supervisor.supervise(request[1], hints_fd, job, [(name, value) for name, value in extra])
    finally:
        os._exit(status)


def main(arguments: list[str]) -> None:
    """``HINTS_FD``: serve the requests from standard input."""
    hints_fd = int(arguments[0])
    supervisor.prepare()
    # Supervisors are nobody's to wait for: what they have to say is in their records.
    _signal.signal(_signal.SIGCHLD, _signal.SIG_IGN)
    _signal.signal(_signal.SIGINT, _signal.SIG_IGN)
    os.chdir("/")
    gc.disable()
    gc.freeze()
    for request in requests(0):
        launch(request, hints_fd)
    os._exit(0)
