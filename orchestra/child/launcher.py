"""A process that is loaded once and forks supervisors: a start for a few milliseconds.

A supervisor is always at hand, and waits to be told which attempt is its own: a start then waits for one fork, the
operation's, instead of two. Told which start will probably be the next, it makes that ready, the fork of the operation
included, and holds it before the fence: a start then waits for none. One that has done its work, and of whose attempt
nothing is left, is at hand again: a fork costs more than all that it does.

Runs beside its own copy of ``supervisor.py``. It reads requests from its standard input, each a sequence of
items that end with NUL, closed by an empty item: ``start``, the job's name, the attempt's directory, then
``NAME=VALUE`` of what the job adds to the environment. After ``ahead`` comes the name that the orders have as yet,
then the same: it is a start that may follow, and whatever other request comes ends what was made ready for it. At
the end of input it ends; the supervisors go on, but for those that are at hand or held.
"""

from __future__ import annotations

import errno
import gc
import os
import select
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable
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


MOST_ATTEMPTS = 200
"""After so many a supervisor ends: what piles up in it with each is bounded."""
MOST_KEPT = 16
"""Of more at a time, those that come to work end with that: each costs the launcher a file while it is kept."""


class Requests:
    """What comes through a pipe."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._rest = b""

    def read(self) -> list[list[bytes]] | None:
        """The requests that have come whole; None at the end, where a torn one is left out."""
        data = os.read(self._fd, 1 << 16)
        if not data:
            return None
        *whole, self._rest = (self._rest + data).split(END)
        return [request.split(b"\0") for request in whole]


def _plainly(extra: list[tuple[bytes, bytes]]) -> Become:
    return supervisor.execute


class Forked:
    """A supervisor that was forked, and follows one request after the other. Raises OSError if there can be none."""

    def __init__(self, hints_fd: int, free: int, starter: Starter) -> None:
        """``free``: where it says that it is at hand again."""
        self.job = b""
        """What it was told to begin with last."""
        reader, self.writer = os.pipe()
        try:
            self.pid = os.fork()
        except OSError:
            os.close(reader)
            os.close(self.writer)
            raise
        if not self.pid:
            os.close(self.writer)
            _serve_on(reader, free, hints_fd, starter)
        os.close(reader)

    def begin(self, request: list[bytes]) -> bool:
        """Hand a request over that is to be followed; False if the process is gone."""
        return self._send(b"\0".join([supervisor.ORDERS, *request]) + END + GO)

    def hold(self, orders: bytes, request: list[bytes]) -> bool:
        """Hand a request over that is to be made ready, and no more; False if the process is gone."""
        return self._send(b"\0".join([orders, *request]) + END)

    def go(self) -> bool:
        """Have the request followed that is held; False if the process is gone."""
        return self._send(GO)

    def _send(self, data: bytes) -> bool:
        try:
            return os.write(self.writer, data) > 0
        except BrokenPipeError:
            return False


def _may_go(reader: int, rest: bytes) -> Callable[[], bool]:
    """What waits until a request is to be followed, and says whether; ``rest`` is what came after it."""
    return lambda: (rest or os.read(reader, 1)) == GO


def _serve_on(reader: int, free: int, hints_fd: int, starter: Starter) -> None:
    """Be the supervisor of one request after the other. Never returns; raises ``Unwinding``."""
    status: int | None = supervisor.EXIT_FAILED
    try:
        umask = supervisor.detach(hints_fd, reader, free)
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.close(null)
        loaded = len(sys.modules)
        for left in range(MOST_ATTEMPTS - 1, -1, -1):
            status = _serve_one(reader, hints_fd, starter, umask)
            # What a supervisor has loaded in need, its next operation might find loaded, too.
            if status != supervisor.AT_HAND or len(sys.modules) != loaded or not left:
                break
            # Whoever has said this reads what is sent then: it would be lost with a process that ends.
            os.write(free, b"%d\n" % os.getpid())
        status = max(status, 0)
    except BrokenPipeError:
        status = 0  # There is no launcher any more that could have work.
    except supervisor.Unwinding:
        status = None
        raise
    finally:
        if status is not None:
            os._exit(status)


def _serve_one(reader: int, hints_fd: int, starter: Starter, umask: int) -> int:
    """Supervise what the next request asks for; end if there is none. Raises ``Unwinding``."""
    data = b""
    while END not in data:
        part = os.read(reader, 1 << 16)
        if not part:
            os._exit(0)
        data += part
    request, _, rest = data.partition(END)
    orders, job, directory, *items = request.split(b"\0")
    pairs = [item.partition(b"=") for item in items]
    extra = [(name, value) for name, _, value in pairs]
    return supervisor.supervise(
        directory,
        hints_fd,
        os.fsdecode(job),
        extra,
        umask,
        starter(extra),
        _may_go(reader, rest),
        orders,
        lambda: starter([]),
    )


class Pool:
    """The supervisors of a launcher."""

    def __init__(self, hints_fd: int, starter: Starter) -> None:
        self._hints_fd = hints_fd
        self._starter = starter
        self._freed, self._free = os.pipe()
        self._poller = select.poll()
        self._poller.register(0, select.POLLIN)
        self._poller.register(self._freed, select.POLLIN)
        self._pipes: dict[int, Forked] = {}
        """All that may live, by the pipe to each."""
        self._at_hand: list[Forked] = []
        self._at_work: dict[int, Forked] = {}
        self._held: Forked | None = None
        self._held_for: list[bytes] = []

    def wait(self) -> bool:
        """Wait for requests, and see meanwhile who is at hand again, or gone; whether any request may have come."""
        events = self._poller.poll()
        ready = [fd for fd, _ in events]
        if self._freed in ready:
            for pid in os.read(self._freed, 1 << 16).split():
                self._take_back(int(pid))
        for fd in ready:
            if fd in self._pipes:
                self._bury(self._pipes[fd])
        return 0 in ready

    def be_ready(self) -> None:
        """Have a supervisor at hand, as far as that is possible."""
        if not self._at_hand:
            try:
                self._at_hand.append(self._fork())
            except OSError:
                pass  # It is tried again when one is needed.

    def start(self, request: list[bytes]) -> None:
        """Have a request followed, by the supervisor that is held for it if there is one."""
        held, self._held = self._held, None
        if held is not None:
            if request == self._held_for and held.go():
                self._note_at_work(held, request[0])
                return
            self._forget(held)
        number = errno.EAGAIN
        for _ in range(3):
            try:
                one = self._at_hand.pop() if self._at_hand else self._fork()
            except OSError as error:
                number = error.errno or number
                # There may be too few files: then none is kept.
                for kept in list(self._at_work.values()):
                    self._forget(kept)
                continue
            if one.begin(request):
                self._note_at_work(one, request[0])
                return
            self._forget(one)
        supervisor.Hints(self._hints_fd, os.fsdecode(request[0])).send("failed", str(number))

    def hold(self, orders: bytes, request: list[bytes]) -> None:
        """Make a request ready that may come, instead of what is ready."""
        if self._held is not None:
            self._forget(self._held)
            self._held = None
        if not self._at_hand:
            return
        one = self._at_hand.pop()
        if one.hold(orders, request):
            self._held, self._held_for = one, request
        else:
            self._forget(one)

    def _fork(self) -> Forked:
        one = Forked(self._hints_fd, self._free, self._starter)
        self._pipes[one.writer] = one
        # Nothing is asked for: that nobody reads it any more is told all the same.
        self._poller.register(one.writer, 0)
        return one

    def _take_back(self, pid: int) -> None:
        one = self._at_work.pop(pid, None)
        if one is not None:
            self._at_hand.append(one)

    def _note_at_work(self, one: Forked, job: bytes) -> None:
        one.job = job
        if len(self._pipes) > MOST_KEPT:
            self._forget(one)
        else:
            self._at_work[one.pid] = one

    def _bury(self, one: Forked) -> None:
        """It has ended. If somebody killed it, it may not have come to begin with its job."""
        if one.pid in self._at_work:
            supervisor.Hints(self._hints_fd, os.fsdecode(one.job)).send("gone", "0")
        self._forget(one)

    def _forget(self, one: Forked) -> None:
        """Send no more: one that has nothing to do ends, or will."""
        if self._pipes.pop(one.writer, None) is None:
            return
        self._poller.unregister(one.writer)
        os.close(one.writer)
        self._at_work.pop(one.pid, None)
        if one in self._at_hand:
            self._at_hand.remove(one)
        if one is self._held:
            self._held = None


def serve(hints_fd: int, starter: Starter = _plainly) -> None:
    """Serve the requests from standard input, until its end.

    ``starter`` tells a supervisor, by what its job adds to the environment, how a process becomes the operation; with
    nothing added, that it has no job any more. Raises ``Unwinding`` in a process that has become an operation.
    """
    supervisor.prepare()
    # Supervisors are nobody's to wait for: what they have to say is in their records.
    _signal.signal(_signal.SIGCHLD, _signal.SIG_IGN)
    _signal.signal(_signal.SIGINT, _signal.SIG_IGN)
    os.chdir("/")
    gc.disable()
    gc.freeze()
    pool = Pool(hints_fd, starter)
    pool.be_ready()
    requests = Requests(0)
    while True:
        if not pool.wait():
            # One that is gone is replaced when it is missed: another might go the same way, and so on.
            continue
        whole = requests.read()
        if whole is None:
            os._exit(0)
        for kind, *request in whole:
            if kind == b"start":
                pool.start(request)
            else:
                pool.hold(request[0], request[1:])
            pool.be_ready()


def main(arguments: list[str]) -> None:
    """``HINTS_FD``: serve the requests from standard input."""
    serve(int(arguments[0]))
