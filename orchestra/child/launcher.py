"""A process that is loaded once and forks supervisors: a start for a few milliseconds.

One supervisor is always forked ahead, and waits to be told which attempt is its own: a start then waits for one
fork, the operation's, instead of two. Told which start will probably be the next, it makes that ready, the fork
of the operation included, and holds it before the fence: a start then waits for none.

Runs beside its own copy of ``supervisor.py``. It reads requests from its standard input, each a sequence of
items that end with NUL, closed by an empty item: ``start`` or ``ahead``, the job's name, the attempt's directory,
then ``NAME=VALUE`` of what the job adds to the environment. ``ahead`` is a start that may follow; whatever other
request comes ends what was made ready for it. At the end of input it ends; the supervisors go on, but for one that
is held.
"""

from __future__ import annotations

import errno
import gc
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable, Iterator
    from typing import NoReturn

    from orchestra.child import supervisor

    Become = Callable[[list[bytes], dict[bytes, bytes]], NoReturn]
    Starter = Callable[[list[tuple[bytes, bytes]]], Become]
else:
    import _signal
    import resource as _resource  # noqa: F401  os.wait4 needs it: once here instead of in each fork

    import supervisor


END = b"\0\0"
"""What ends a request, to the launcher and to a supervisor."""
GO = b"g"
"""What follows it to a supervisor that is to begin with it."""


def requests(fd: int) -> Iterator[list[bytes]]:
    """The requests that come through a pipe, until its end; a torn last one is left out."""
    buffer = b""
    while True:
        data = os.read(fd, 1 << 16)
        if not data:
            return
        buffer += data
        *whole, buffer = buffer.split(END)
        for request in whole:
            yield request.split(b"\0")


def _plainly(extra: list[tuple[bytes, bytes]]) -> Become:
    return supervisor.execute


class Spare:
    """A supervisor that is forked ahead of its request. Raises OSError where there can be no process."""

    def __init__(self, hints_fd: int, starter: Starter) -> None:
        reader, self._writer = os.pipe()
        try:
            pid = os.fork()
        except OSError:
            os.close(reader)
            os.close(self._writer)
            raise
        if not pid:
            os.close(self._writer)
            _serve_one(reader, hints_fd, starter)
        os.close(reader)

    def take(self, request: list[bytes]) -> bool:
        """Hand a request over that is to be followed; False if the process is gone."""
        try:
            return self._send(b"\0".join(request) + END + GO)
        finally:
            self.release()

    def hold(self, request: list[bytes]) -> bool:
        """Hand a request over that is to be made ready, and no more; False if the process is gone."""
        return self._send(b"\0".join(request) + END)

    def go(self) -> bool:
        """Have the request followed that is held; False if the process is gone."""
        try:
            return self._send(GO)
        finally:
            self.release()

    def release(self) -> None:
        """Send no more: a process that has not been told to go ends."""
        os.close(self._writer)

    def _send(self, data: bytes) -> bool:
        try:
            return os.write(self._writer, data) > 0
        except BrokenPipeError:
            return False


def _may_go(reader: int, rest: bytes) -> Callable[[], bool]:
    """What waits until a request is to be followed, and says whether; ``rest`` is what came after it."""

    def may_go() -> bool:
        going = rest or os.read(reader, 1)
        os.close(reader)
        return going == GO

    return may_go


def _serve_one(reader: int, hints_fd: int, starter: Starter) -> None:
    """Be the supervisor of the request that comes; end if none does. Never returns; raises ``Unwinding``."""
    status: int | None = supervisor.EXIT_FAILED
    try:
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        umask = supervisor.detach(hints_fd, reader)
        data = b""
        while END not in data:
            part = os.read(reader, 1 << 16)
            if not part:
                os._exit(0)
            data += part
        request, _, rest = data.partition(END)
        job, directory, *items = request.split(b"\0")
        pairs = [item.partition(b"=") for item in items]
        extra = [(name, value) for name, _, value in pairs]
        status = supervisor.supervise(
            directory, hints_fd, os.fsdecode(job), extra, umask, starter(extra), _may_go(reader, rest)
        )
    except supervisor.Unwinding:
        status = None
        raise
    finally:
        if status is not None:
            os._exit(status)


def _fork_ahead(hints_fd: int, starter: Starter) -> Spare | None:
    try:
        return Spare(hints_fd, starter)
    except OSError:
        return None


def _launch(spare: Spare | None, request: list[bytes], hints_fd: int, starter: Starter) -> None:
    """Give one request to the supervisor that was forked ahead, or to a new one if that is gone."""
    number = errno.EAGAIN
    for _ in range(3):
        try:
            if (spare or Spare(hints_fd, starter)).take(request):
                return
        except OSError as error:
            number = error.errno or number
        spare = None
    supervisor.Hints(hints_fd, os.fsdecode(request[0])).send("failed", str(number))


def serve(hints_fd: int, starter: Starter = _plainly) -> None:
    """Serve the requests from standard input, until its end.

    ``starter`` tells a supervisor, by what its job adds to the environment, how a process becomes the operation.
    Raises ``Unwinding`` in a process that has become one.
    """
    supervisor.prepare()
    # Supervisors are nobody's to wait for: what they have to say is in their records.
    _signal.signal(_signal.SIGCHLD, _signal.SIG_IGN)
    _signal.signal(_signal.SIGINT, _signal.SIG_IGN)
    os.chdir("/")
    gc.disable()
    gc.freeze()
    spare = _fork_ahead(hints_fd, starter)
    held: Spare | None = None
    held_for: list[bytes] = []
    for kind, *request in requests(0):
        if held is not None:
            if kind == b"start" and request == held_for:
                went = held.go()
                held = None
                if went:
                    continue
            else:
                held.release()
                held = None
        if kind == b"start":
            _launch(spare, request, hints_fd, starter)
        elif spare is None:
            continue
        elif spare.hold(request):
            held, held_for = spare, request
        else:
            spare.release()
        spare = _fork_ahead(hints_fd, starter)
    os._exit(0)


def main(arguments: list[str]) -> None:
    """``HINTS_FD``: serve the requests from standard input."""
    serve(int(arguments[0]))
