"""A launcher that has imported what an operation's script imports: the operation is a fork of it.

Runs with the operation's own interpreter (Linux, Python >= 3.8), in the environment that all its runs share, beside
its own copies of ``launcher.py`` and ``supervisor.py``. It loads what it is told to, makes sure that a fork
afterwards has what a fresh interpreter would have, and says so: the hint ``pid`` under its own name, or ``cold``
with the reason why not. Then it serves requests as any launcher does.
"""

from __future__ import annotations

import errno
import gc
import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable
    from typing import Any, NoReturn

    from orchestra.child import injection, launcher, supervisor, warm_end, warm_script
    from orchestra.child.launcher import Become
else:
    import _signal

    import injection
    import launcher
    import supervisor
    import warm_end
    import warm_script

OURS = ("injection", "launcher", "supervisor", "warm", "warm_end", "warm_script")
_MOST_TEXT = 1000
end = warm_end.End()


class Refused(Exception):
    """A fork of this process would not have what a fresh interpreter has."""


def main(arguments: list[str]) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """``HINTS_FD NAME FIRST INJECTOR MUST LOADS``: serve; in an operation's process, return what it is to call.

    FIRST: where in the command the script stands. MUST: ``1`` if all of LOADS must be there. LOADS: modules, each
    as ``NAME`` or ``NAME:MEMBER+MEMBER``, with commas between.
    """
    hints_fd, name, first, injector, must, loads = arguments
    hints = supervisor.Hints(int(hints_fd), name)
    os.set_inheritable(hints.fd, False)
    warm = _Warm(hints, int(first), injector)
    try:
        warm.load(loads.split(",") if loads else [], must == "1")
    except Refused as refused:
        tell(hints, "cold", str(refused))
        os._exit(0)
    # Each script is compiled after its fork: what the compiler loads then, it loads once, here.
    compile("", "", "exec")
    hints.send("pid", f"{os.getpid()}:{supervisor.process_start(os.getpid()) or 0}")
    try:
        launcher.serve(hints.fd, warm.starter)
    except supervisor.Unwinding:
        pass
    return warm.operation()


def tell(hints: supervisor.Hints, kind: str, reason: str) -> None:
    """Send a hint with a text, which must hold no space."""
    hints.send(kind, reason.encode("utf-8", "replace")[:_MOST_TEXT].hex())


def hide() -> None:
    """Have an exception that the script does not catch reported without the frame that called it."""
    error = sys.exc_info()[1]
    end.note(error)
    if not isinstance(error, SystemExit):
        injection.report_without(lambda trace: trace and trace.tb_next)


class _Warm:
    """What is loaded, and how a fork of it becomes an operation."""

    def __init__(self, hints: supervisor.Hints, first: int, injector: str) -> None:
        self.hints = hints
        self.first = first
        self.injector = injector
        self.script: warm_script.Script | None = None
        self.mark: Mark | None = None
        self.clean = dict(os.environb)
        self.made: dict[bytes, bytes] = {}
        """What imports have changed in the environment."""
        self.files: list[tuple[str, int, int]] = []
        self.names: frozenset[str] = frozenset()
        self.handlers = _handlers()
        self.here = os.getcwd()
        self.library = sys.path.pop(0)
        # An import of such a name means another module.
        for name in OURS:
            del sys.modules[name]
        sys.path_importer_cache.clear()
        if not getattr(sys.flags, "safe_path", False):
            sys.path[0] = warm_script.PLACE

    def load(self, loads: list[str], must: bool) -> None:
        """Import, and see what that has left. Raises Refused."""
        printed, end = _capture()
        before = _threads(), _open_files(), printed()
        files, last = before[1], before
        blamed: list[str] = []
        for load in loads:
            module, _, members = load.partition(":")
            try:
                __import__(module, {}, {}, members.split("+") if members else None, 0)
            except BaseException as error:
                if must:
                    raise Refused(
                        f"'{module}' can't be imported ({type(error).__name__}: {error})"
                    ) from error
                # The script will come upon that itself.
                break
            after = _threads(), _open_files(), printed()
            if after != last:
                blamed.append(f"'{module}'")
            last = after
        _rehearse()
        importing = f"importing {' or '.join(blamed) or 'what the script imports'}"
        if printed():
            raise Refused(f"{importing} prints something, which a fork would not print")
        end()
        self._check(importing, files)
        self._note()

    def _check(self, importing: str, files: dict[int, str]) -> None:
        threads = f"{importing} starts threads, which a fork would not have"
        threading: Any = sys.modules.get("threading")
        if threading is not None and threading.active_count() > 1:
            raise Refused(threads)
        for name in ("torch", "cupy"):
            if _cuda_initialised(sys.modules.get(name)):
                raise Refused(f"importing '{name}' initialises CUDA, which can't be used in a fork")
        opened = {fd: path for fd, path in _open_files().items() if fd > 2 and files.get(fd) != path}
        if opened:
            path = sorted(opened.values())[0]
            raise Refused(f"{importing} leaves '{path}' open, which all forks would share")
        if _handlers() != self.handlers:
            raise Refused(f"{importing} changes how signals are handled")
        if os.getcwd() != self.here:
            raise Refused(f"{importing} changes the working directory")
        if _children():
            raise Refused(f"{importing} starts a process, which a fork would not have")
        if not _forks_alone():
            raise Refused(threads)

    def _note(self) -> None:
        after = dict(os.environb)
        self.made = {name: text for name, text in after.items() if self.clean.get(name) != text}
        warm_script.set_environment(self.clean)
        # Only now: an import may have put something else in its place, such as the title of the process.
        self.mark = _find_mark()
        self.names = warm_script.shadowable(sys.modules)
        self.files = warm_script.changeable(sys.modules)
        # A supervisor may need more of ours.
        sys.path.append(self.library)
        # Each fork looks anew: to forget here what was found spares it copying that in order to forget it.
        sys.path_importer_cache.clear()
        gc.collect()
        end.loaded()

    def starter(self, extra: list[tuple[bytes, bytes]]) -> Become:
        """How an operation comes to be whose job adds ``extra`` to the environment; by nothing, none."""
        cookie = dict(extra).get(supervisor.COOKIE.encode(), b"")
        marked = self.mark is not None and self.mark.write(cookie)
        return self.become if marked and cookie else supervisor.execute

    def become(self, arguments: list[bytes], environment: dict[bytes, bytes]) -> NoReturn:
        """Be the operation, by a new interpreter if something speaks against this one."""
        try:
            self.script = warm_script.Script(
                arguments, self.first, environment, self.injector, self.clean, self.made
            )
            changed = warm_script.changed(self.files)
            if changed:
                tell(self.hints, "stale", changed)
                supervisor.execute(arguments, environment)
            shadow = self.script.shadow(self.names)
            if shadow:
                tell(self.hints, "cold", f"'{shadow}' of the run stands in for a module that others import")
                supervisor.execute(arguments, environment)
        except (SyntaxError, ValueError, OSError):
            # The interpreter says best what is wrong with the script.
            supervisor.execute(arguments, environment)
        raise supervisor.Unwinding

    def operation(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """Leave nothing of ours in this process; what it is to call."""
        if self.script is None:
            raise RuntimeError("this process is no operation")
        supervisor.close_inherited()
        sys.path.remove(self.library)
        begin = self.script.begin()
        end.begin(is_file=not self.script.module)
        return begin


def _handlers() -> list[Any]:
    return [_signal.getsignal(number) for number in range(1, _signal.NSIG)]


def _threads() -> int:
    return len(os.listdir("/proc/self/task"))


def _children() -> bytes:
    try:
        with open("/proc/self/task/%d/children" % os.getpid(), "rb") as file:
            return file.read().strip()
    except OSError:
        return b""


def _open_files() -> dict[int, str]:
    found: dict[int, str] = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink("/proc/self/fd/" + name)
        except OSError:
            pass  # That of the listing itself.
    return found


def _capture() -> tuple[Callable[[], int], Callable[[], None]]:
    """Keep what is printed from now on: how many bytes that were, and what ends it."""
    saved = [os.dup(1), os.dup(2)]
    memory = os.memfd_create("printed")
    for fd in (1, 2):
        os.dup2(memory, fd)

    def printed() -> int:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # pyright: ignore
                stream.flush()
        return os.fstat(memory).st_size

    def end() -> None:
        for fd, old in zip((1, 2), saved):  # noqa: B905  Python 3.8 knows no "strict"
            os.dup2(old, fd)
            os.close(old)
        os.close(memory)

    return printed, end


def _rehearse() -> None:
    """Have ``argparse`` import and compile what it puts off until it is used: half of what most scripts do."""
    argparse: Any = sys.modules.get("argparse")
    if argparse is None or argparse.ArgumentParser.parse_args.__module__ != "argparse":
        return
    parser = argparse.ArgumentParser(prog="rehearsal", description="")
    parser.add_argument("--value", type=float, default=0.1, help="")
    parser.add_argument("--switch", action="store_true", help="")
    parser.parse_args(["--value", "1"])


def _cuda_initialised(module: Any) -> bool:
    asked = getattr(getattr(module, "cuda", None), "is_initialized", None)
    return bool(asked and asked())


def _forks_alone() -> bool:
    """Whether no thread is left once a process has been forked: a library may end its own for that."""
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)
    for _ in range(100):
        if _threads() == 1:
            return True
        time.sleep(0.001)
    return False


class Mark:
    """Where /proc has the cookie of this process and its forks from.

    That is the memory that held the environment when the interpreter was started. Raises OSError, ValueError,
    IndexError: it can't be found.
    """

    def __init__(self) -> None:
        with open("/proc/self/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        start, end = int(fields[47]), int(fields[48])
        with open("/proc/self/mem", "rb", buffering=0) as memory:
            text = b"\0" + os.pread(memory.fileno(), end - start, start)
        mark = b"\0" + supervisor.COOKIE.encode() + b"="
        at = text.index(mark) + len(mark)
        self._room = text.index(b"\0", at) - at
        self._place = start + at - 1

    def write(self, cookie: bytes) -> bool:
        """Show this process as one of the attempt, of none if the cookie is empty; False where that can't be done."""
        if len(cookie) > self._room:
            return False
        try:
            memory = os.open("/proc/self/mem", os.O_RDWR | os.O_CLOEXEC)
            try:
                return os.pwrite(memory, cookie.ljust(self._room, b"\0"), self._place) == self._room
            finally:
                os.close(memory)
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise
            return False


def _find_mark() -> Mark | None:
    try:
        return Mark()
    except (OSError, ValueError, IndexError):
        return None
