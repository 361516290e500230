"""The processes that the local executor starts itself: launchers, and the supervisors of attached jobs."""

from __future__ import annotations

import os
import threading
import time

from orchestra.child import supervisor

REQUESTS_FD, HINTS_FD = 0, 3
"""Where a process that is started here finds its requests, if it is sent any, and leaves its hints."""


class Launcher:
    """A process that forks supervisors for us. Raises OSError where it can't be started."""

    def __init__(self, command: tuple[str, ...], environment: dict[str, str], hints_fd: int) -> None:
        reader, self._writer = os.pipe()
        try:
            self.pid = spawn(command, environment, hints_fd, reader)
        except OSError:
            os.close(self._writer)
            raise
        finally:
            os.close(reader)
        os.set_blocking(self._writer, False)
        self._outgoing = b""

    def alive(self) -> bool:
        return self._writer >= 0 and supervisor.process_start(self.pid) is not None

    @property
    def idle(self) -> bool:
        """Whether it was sent all that it is to be sent."""
        return not self._outgoing

    def send(self, request: bytes = b"") -> bool:
        """Send on what is to be sent; False while some of it could not be."""
        self._outgoing += request
        try:
            while self._outgoing:
                self._outgoing = self._outgoing[os.write(self._writer, self._outgoing) :]
        except (BlockingIOError, BrokenPipeError):
            return False
        return True

    def close(self, patience: float = 0.05) -> None:
        """At the end of its input it ends."""
        if self._writer < 0:
            return
        os.close(self._writer)
        self._writer = -1
        deadline = time.monotonic() + patience
        while not reap(self.pid):
            if time.monotonic() > deadline:
                reap_later(self.pid)
                return
            time.sleep(0.001)


def launcher_environment() -> dict[str, str]:
    """Our environment, for a launcher: with a cookie of its own.

    It is another one than any attempt's: a supervisor above us must leave ours alone.
    """
    return {**os.environ, supervisor.COOKIE: f"launcher.{os.urandom(8).hex()}"}


def spawn(command: tuple[str, ...], environment: dict[str, str], hints_fd: int, stdin: int | None) -> int:
    """Start a process in a session of its own, with hints at ``HINTS_FD``, and nothing of our output."""
    actions: list[tuple[int, int, int] | tuple[int, int, str, int, int]] = []
    if stdin is not None:
        actions.append((os.POSIX_SPAWN_DUP2, stdin, REQUESTS_FD))
    actions.append((os.POSIX_SPAWN_DUP2, hints_fd, HINTS_FD))
    actions.extend((os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_WRONLY, 0) for fd in (1, 2))
    try:
        return os.posix_spawnp(command[0], command, environment, file_actions=actions, setsid=True)
    except NotImplementedError:
        # The supervisor makes its session itself; the group keeps a Ctrl-C away until then.
        return os.posix_spawnp(command[0], command, environment, file_actions=actions, setpgroup=0)


def reap(pid: int) -> bool:
    """Whether a child has ended (and is no zombie any more)."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return True


def reap_later(pid: int) -> None:
    def wait() -> None:
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:
            pass

    threading.Thread(target=wait, name=f"reap-{pid}", daemon=True).start()
