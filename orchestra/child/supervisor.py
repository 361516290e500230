"""The process above an operation: starts it, keeps its output, records its end, outlives who asked for it.

One file, standard library only, Python 3.8 and later: it is copied into the home and run by whatever
interpreter there is. Nothing is imported that costs start-up time (no json, re, signal, subprocess).

An attempt is decided by its *fence*: the file ``fence`` in the attempt's directory, made by link(2), whose
creator holds its flock until the end is recorded, or it dies. See :func:`win_fence`. Processes are told apart by
(pid, start time), never by a bare pid; those of an attempt carry its *cookie* in their environment. See
:func:`tree_of`. One process may supervise one attempt after the other: whose it is now, its lock alone says. See
:func:`signal_owner`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable
    from typing import Any, NoReturn
else:
    import _signal

ORDERS = b"orders"
"""The file of an attempt that says what is to be done."""
COOKIE = "ORCHESTRA_ATTEMPT"
"""The environment variable that says to which attempt a process belongs."""

EXIT_FENCE_LOST = 75
"""The supervisor's exit status when somebody else owns the attempt."""
EXIT_FAILED = 74
"""The supervisor's exit status when it could not begin, or could not record the end."""
AT_HAND = -1
"""No exit status: the end is recorded, and this process may supervise another attempt."""

CHUNK = 1 << 20
"""Bytes: the size of a pipe, and the most that is read at once."""
FIRST_CHUNK = 1 << 15
"""Bytes that are read at once until that is too little: most operations write less, and memory costs time."""
PAUSE = 2
"""Milliseconds to let a pipe fill up while an operation writes fast in small pieces."""
INDEX_EVERY = 50_000
"""Microseconds between two entries of the output's index, unless the stream changes."""
HINT_EVERY = 0.01
TOUCH_EVERY = 30.0
SAMPLES = b"samples"
"""The file of an attempt with what the operation took, a line each time that the fence is touched."""
GPU_SAMPLES = b"gpu_samples"
"""The same of each GPU, where there are any."""
GPU_FILES = ("/dev/nvidiactl", "/dev/dxg")
"""One of them is there where a GPU is."""
MOST_SAMPLED = 500
"""Processes that are looked at for one of them."""
HEAD = 64 << 20
"""Bytes at the beginning of an output that are kept when its middle is given up; less where not so much is kept."""
GRAIN = 64 << 10
"""What is given up begins and ends at multiples of it: blocks of file systems are no larger."""
GAP = b"output.gap"
"""The file of an attempt that says which bytes of its output were given up: ``BEGIN END``."""
SYNC_LIMIT = 64 << 20
"""Bytes of output up to which it is synced before the exit record is written."""
LEFTOVER_PATIENCE = 0.5
"""Seconds between TERM and KILL for what outlived the main process."""
KILL_PATIENCE = 10.0
"""Seconds of killing after which the end is recorded, naming what would not die."""
RECORD_ROOM = 4096
NEVER = float("inf")

_LINUX = sys.platform.startswith("linux")
_PROC = os.path.exists("/proc/self/stat")
_PINNED = hasattr(os, "waitid") and hasattr(os, "WNOWAIT")
_STOPS: dict[int, str] = {_signal.SIGINT: "INT", _signal.SIGTERM: "TERM", _signal.SIGQUIT: "KILL"}

# ---- failpoints

STOP_SIGNALS = {"interrupt": _signal.SIGINT, "terminate": _signal.SIGTERM, "kill": _signal.SIGQUIT}
"""How a supervisor is told to stop its operation. Its own death would orphan the tree: it quits, and kills that."""

FAILPOINTS = {
    "supervisor.started": "the supervisor has read its orders and done nothing yet",
    "supervisor.fence.before": "the fence's content is ready and locked, but not linked",
    "supervisor.fence.after": "the fence is won, nobody was told",
    "supervisor.forked": "the operation was told to go, the supervisor waits for nothing yet",
    "supervisor.exited": "the operation has ended, there is no record of it",
    "supervisor.recorded": "the exit record is there, nobody was told",
    "run.created": "a run's directory and record are there, the store does not know it",
    "run.claimed": "the store has given the claim, nothing was prepared",
    "download.begun": "a part of a file of the web is in the cache",
    "download.complete": "a file of the web is in the cache, whole, and nothing notes it",
    "unpack.begun": "a part of an archive's member is unpacked",
    "copy.begun": "a part of a file is copied",
    "run.provided": "a resolver has done its work, nothing of it is in the run's directory",
    "run.placed": "what a run needs of one source is in its directory, nothing notes it",
    "run.ordered": "the attempt's orders are written, no job was submitted",
    "run.submitted": "the executor has taken the job, the store does not know its handle",
    "run.started": "the start is known, the store still shows a claim",
    "run.noted": "the store knows the job's handle, nobody watches it yet",
    "run.exited": "the exit record was seen, the store still shows it running",
    "batch.proposed": "trials were proposed, the store does not know them",
    "batch.trial.claimed": "a trial was claimed by its batch, not started",
    "queue.claimed": "a queue has claimed staged runs, started none",
    "source.copied": "the source that is to replace a run's is complete beside it, the run is not claimed",
    "source.swapping": "a run's source was moved away, what replaces it has not taken its place",
    "store.backed_up": "an earlier version's store was copied, and is as it was",
    "store.upgraded": "it was upgraded, in a transaction that has not ended",
    "run.annotated": "the store knows what was said of a run, its record does not",
    "delete.recorded": "the record of a run that is being deleted is as the store has it, nothing was moved",
    "delete.renamed": "a run's directory was moved to the trash, the store still knows the run",
    "delete.forgotten": "the store has forgotten a run that is in the trash, or is to be removed",
    "restore.renamed": "a run's directory was moved out of the trash, the store does not know the run",
    "purge.renamed": "a run's directory was moved from the trash to what is removed for good",
    "export.writing": "a part of a file is in an archive that is being written",
    "export.written": "an archive is whole beside its place, or a run beside its place in a directory",
    "import.checked": "all runs of an archive are in the home's keeping and checked, none is entered",
    "import.placed": "a run of an archive has its place in the home, the store does not know it",
}
"""Every point at which ``ORCHESTRA_FAILPOINT=NAME:ACTION[:N][,...]`` can strike, and where it is.

Actions: ``kill9``, ``exit``, ``raise``, ``sleep=SECONDS``, ``stop``; N: act at the N-th hit (1 if left out).
"""


class FailpointError(RuntimeError):
    """What the action ``raise`` of a failpoint raises."""


def _parse_failpoints(text: str) -> dict[str, list[Any]]:
    points: dict[str, list[Any]] = {}
    for item in filter(None, text.split(",")):
        name, _, rest = item.partition(":")
        action, _, count = rest.partition(":")
        known = action in ("kill9", "exit", "raise", "stop") or action.startswith("sleep=")
        if name not in FAILPOINTS or not known:
            raise ValueError(f"ORCHESTRA_FAILPOINT: no such failpoint or action: {item!r}")
        points[name] = [action, int(count or 1)]
    return points


_failpoints = _parse_failpoints(os.environ.get("ORCHESTRA_FAILPOINT", ""))


def failpoint(name: str) -> None:
    """Do what ``ORCHESTRA_FAILPOINT`` of this process's start asks for at this point; nothing if unset."""
    if _failpoints:
        _strike(name)


def _strike(name: str) -> None:
    if name not in FAILPOINTS:
        raise ValueError(f"failpoint {name!r} is not declared")
    point = _failpoints.get(name)
    if point is None:
        return
    point[1] -= 1
    if point[1] != 0:
        return
    action: str = point[0]
    if action == "kill9":
        os.kill(os.getpid(), _signal.SIGKILL)
    elif action == "stop":
        os.kill(os.getpid(), _signal.SIGSTOP)
    elif action == "exit":
        os._exit(70)
    elif action == "raise":
        raise FailpointError(name)
    else:
        time.sleep(float(action[len("sleep=") :]))


# ---- who is who


def _read_file(path: str | bytes, limit: int = 1 << 16) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.read(fd, limit)
        if len(data) < limit:
            return data
        parts = [data]
        while data:
            data = os.read(fd, 1 << 20)
            parts.append(data)
        return b"".join(parts)
    finally:
        os.close(fd)


def _cached_text(path: str) -> str:
    try:
        return _read_file(path).decode("ascii", "replace").strip()
    except OSError:
        return ""


_identity: dict[str, str] = {}


def host_id() -> str:
    """The host's name and a digest of its machine id: equal only for the same host."""
    if "host" not in _identity:
        digest = 0xCBF29CE484222325
        for byte in _cached_text("/etc/machine-id").encode():
            digest = ((digest ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
        _identity["host"] = f"{os.uname().nodename}/{digest:016x}"
    return _identity["host"]


def boot_id() -> str:
    """The kernel's boot id; empty where there is none."""
    if "boot" not in _identity:
        _identity["boot"] = _cached_text("/proc/sys/kernel/random/boot_id")
    return _identity["boot"]


def pid_namespace() -> str:
    """Within what this process's pids mean something: two containers may share host name and home. Empty: not known."""
    if "namespace" not in _identity:
        try:
            _identity["namespace"] = os.readlink("/proc/self/ns/pid")
        except OSError:
            _identity["namespace"] = ""
    return _identity["namespace"]


def process_start(pid: int) -> int | None:
    """The start time of a process in clock ticks since boot: with the pid, its identity.

    None if there is no such process (one that ended and was not reaped is none); 0 where it can't be known.
    """
    if not _PROC:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            pass
        return 0
    found = _read_process(pid)
    return None if found is None else found[2]


_own_start: dict[int, int] = {}
"""The start of this process by its pid: a fork has another one."""


def own_identity() -> dict[str, Any]:
    """This process, provably: host, boot, pid, start, namespace."""
    pid = os.getpid()
    if pid not in _own_start:
        _own_start.clear()
        _own_start[pid] = process_start(pid) or 0
    return {
        "host": host_id(),
        "boot": boot_id(),
        "pid": pid,
        "start": _own_start[pid],
        "namespace": pid_namespace(),
    }


def _read_process(pid: int) -> tuple[int, int, int] | None:
    """(parent, process group, start) of a process that has not ended."""
    try:
        data = _read_file(f"/proc/{pid}/stat", 4096)
    except OSError:
        return None
    # The command's name may hold anything, also parentheses: count from the last one.
    fields = data[data.rfind(b")") + 2 :].split()
    # A leader that ended while its threads go on shows as a zombie, too.
    if len(fields) < 20 or (fields[0] in (b"Z", b"X") and fields[17] in (b"0", b"1")):
        return None
    return int(fields[1]), int(fields[2]), int(fields[19])


# ---- the tree of an attempt


def _processes() -> dict[int, tuple[int, int, int]]:
    """pid -> (parent, process group, start) of all processes; empty where there is no /proc."""
    found: dict[int, tuple[int, int, int]] = {}
    if _PROC:
        for name in os.listdir("/proc"):
            if name.isdigit():
                process = _read_process(int(name))
                if process is not None:
                    found[int(name)] = process
    return found


def _children_of(pid: int) -> list[int]:
    """The child processes of one that has a single thread, also those that ended and were not waited for."""
    try:
        return [int(child) for child in _read_file(f"/proc/{pid}/task/{pid}/children").split()]
    except OSError:
        return [child for child, process in _processes().items() if process[0] == pid]


def cookie_of(pid: int) -> str | None:
    try:
        data = b"\0" + _read_file(f"/proc/{pid}/environ")
    except OSError:
        return None
    mark = b"\0" + COOKIE.encode() + b"="
    at = data.find(mark)
    if at < 0:
        return None
    end = data.find(b"\0", at + len(mark))
    return os.fsdecode(data[at + len(mark) : end if end >= 0 else None])


def _members(
    table: dict[int, tuple[int, int, int]], cookie: str, root: int | None, main: int | None = None
) -> set[int]:
    """The pids of an attempt's tree, without ``root`` and this process.

    ``main`` is known to be of it: before it has come to execute its program, it shows the cookie that we have.
    """
    children: dict[int, list[int]] = {}
    for pid, (parent, _, _) in table.items():
        children.setdefault(parent, []).append(pid)
    cookies: dict[int, str | None] = {} if main is None else {main: cookie}

    def known_cookie(pid: int) -> str | None:
        if pid not in cookies:
            cookies[pid] = cookie_of(pid)
        return cookies[pid]

    ours: set[int] = set()
    foreign: set[int] = set()

    def walk(top: int) -> None:
        pending = [(child, False) for child in children.get(top, ())]
        while pending:
            pid, pruned = pending.pop()
            pruned = pruned or known_cookie(pid) not in (None, cookie)
            (foreign if pruned else ours).add(pid)
            pending.extend((child, pruned) for child in children.get(pid, ()))

    if root is not None and root in table:
        walk(root)
    for pid in table:
        if pid not in ours and pid not in foreign and pid != root and known_cookie(pid) == cookie:
            ours.add(pid)
            walk(pid)
    return ours - foreign - {root, os.getpid()}


def tree_of(cookie: str, root: int | None = None) -> list[tuple[int, int]]:
    """The living processes of an attempt as (pid, start): empty where there is no /proc.

    They are the descendants of ``root`` (its supervisor, if that lives) and whoever carries ``cookie``, with
    all descendants, minus each subtree that carries the cookie of another attempt. A descendant without any
    cookie belongs. ``root`` itself and the calling process are never among them.
    """
    table = _processes()
    return [(pid, table[pid][2]) for pid in sorted(_members(table, cookie, root))]


def usage_below(pids: list[int], cookie: str) -> tuple[float, int]:
    """CPU seconds, and KiB of memory, of these processes and all below them, but for those of other attempts."""
    pending = list(pids)
    ticks = pages = count = 0
    while pending and count < MOST_SAMPLED:
        pid = pending.pop()
        count += 1
        try:
            data = _read_file(f"/proc/{pid}/stat", 4096)
            fields = data[data.rfind(b")") + 2 :].split()
            if cookie_of(pid) not in (None, cookie):
                continue
            for thread in os.listdir(f"/proc/{pid}/task"):
                pending += map(int, _read_file(f"/proc/{pid}/task/{thread}/children").split())
            # Its own time and that of the children that it has waited for.
            ticks += sum(map(int, fields[11:15]))
            pages += int(fields[21])
        except (OSError, IndexError):
            continue  # It has ended meanwhile.
    return ticks / os.sysconf("SC_CLK_TCK"), pages * (os.sysconf("SC_PAGE_SIZE") // 1024)


def send_signal(pid: int, start: int, number: int) -> bool:
    """Signal a process if it is still the one that started at ``start``; True if it was signalled."""
    opener = getattr(os, "pidfd_open", None)
    sender = getattr(_signal, "pidfd_send_signal", None)
    fd = -1
    try:
        if opener is not None and sender is not None:
            try:
                fd = opener(pid)
            except OSError as error:
                # Without a pidfd (an old kernel, no file descriptor left) the check alone must do.
                if error.errno == errno.ESRCH:
                    return False
        if process_start(pid) != start:
            return False
        if fd >= 0 and sender is not None:
            sender(fd, number)
        else:
            os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    finally:
        if fd >= 0:
            os.close(fd)
    return True


def owns(directory: str | bytes, job: str, pid: int) -> bool:
    """Whether the supervisor ``pid``, which lives, still owns the attempt ``job`` (``RUN.ATTEMPT``).

    Its lock tells. Where that is out of reach, for its disk is, the operation does.
    """
    try:
        fd = os.open(os.path.join(os.fsencode(directory), b"fence"), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return not _PROC or any((cookie_of(child) or "").startswith(job + ".") for child in _children_of(pid))
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        # Somebody holds it; or there are no locks here, and then no supervisor has a second attempt.
        return True
    finally:
        os.close(fd)
    return False


def signal_owner(directory: str | bytes, job: str, pid: int, start: int, number: int) -> bool:
    """Signal the supervisor (pid, start) of an attempt, if it still owns that; True if it was signalled.

    It may supervise another attempt a moment later, and must not be told to stop that one. So the lock of the directory
    is held meanwhile, which it takes before it lets go of an attempt. That is no file that an operation is given, and
    may lock itself.
    """
    try:
        fd = _open_directory(directory)
    except OSError:
        fd = -1  # It is away: then the supervisor does not let go of the attempt, but ends.
    try:
        if (fd >= 0 and not _lock(fd)) or not owns(directory, job, pid):
            return False
        return signal_and_continue(pid, start, number)
    finally:
        if fd >= 0:
            os.close(fd)


def signal_and_continue(pid: int, start: int, number: int) -> bool:
    """As :func:`send_signal`; a process that was stopped (SIGSTOP) goes on, or it could not act on the signal."""
    signalled = send_signal(pid, start, number)
    send_signal(pid, start, _signal.SIGCONT)
    return signalled


def _lock(fd: int) -> bool:
    """Take a lock that others hold for a moment at most, if there are locks; False if that lasts."""
    for _ in range(500):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(0.001)
        except OSError:
            return True
    return False


def kill_tree(cookie: str, root: int | None = None, number: int = _signal.SIGKILL) -> list[tuple[int, int]]:
    """Signal each process of :func:`tree_of` once; return those that were signalled. See :func:`end_tree`."""
    return [(pid, start) for pid, start in tree_of(cookie, root) if send_signal(pid, start, number)]


def end_tree(cookie: str, root: int | None = None, patience: float = 5.0) -> list[tuple[int, int]]:
    """Kill an attempt's tree until nothing of it lives, for ``patience`` seconds; return what still does."""
    deadline = time.monotonic() + patience
    pause = 0.002
    while True:
        kill_tree(cookie, root, _signal.SIGKILL)
        time.sleep(pause)
        left = tree_of(cookie, root)
        if not left or time.monotonic() > deadline:
            return left
        pause = min(pause * 2, 0.1)


# ---- records


def to_json(value: Any) -> str:
    """JSON of dicts, lists, tuples, strings, numbers, booleans and None, in one line."""
    if value is None or value is True or value is False:
        return {None: "null", True: "true", False: "false"}[value]
    kind: object = value.__class__
    if kind is dict:
        return "{" + ",".join([_quoted(key) + ":" + to_json(item) for key, item in value.items()]) + "}"
    if kind is list or kind is tuple:
        return "[" + ",".join([to_json(item) for item in value]) + "]"
    if kind is str:
        return _quoted(value)
    return repr(value)


def _quoted(text: str) -> str:
    # What is no UTF-8 (a file name, say) is shown escaped: a reader of JSON may refuse lone surrogates.
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    text = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(char if char >= " " else f"\\u{ord(char):04x}" for char in text) + '"'


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _sync_directory(directory: str | bytes) -> None:
    fd = _open_directory(directory)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _open_directory(path: str | bytes) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def write_record(path: str | bytes, text: str, fsync: bool) -> None:
    """Replace ``path`` by a file that holds ``text``, whole or not at all. Raises OSError."""
    name = os.fsencode(path)
    temporary = name + b".tmp"
    # Not truncated first: its room may have been reserved for a time when the disk is full.
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        data = text.encode("utf-8")
        _write_all(fd, data)
        os.ftruncate(fd, len(data))
        if fsync:
            os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(temporary, name)
    if fsync:
        _sync_directory(os.path.dirname(name) or b".")


class FenceFile:
    """The fence of an attempt, whole, on the disk and locked, but not in its place. Raises OSError.

    The lock ends with the file descriptor ``fd`` (close-on-exec). It is locked before it can be seen: a fence that is
    not locked has no living owner.
    """

    def __init__(self, directory: str | bytes, fields: dict[str, Any], fsync: bool) -> None:
        self.folder = os.fsencode(directory)
        self.fields = fields
        self.fsync = fsync
        self.fence = os.path.join(self.folder, b"fence")
        self.temporary = self.fence + b".%d.%d.tmp" % (os.getpid(), time.monotonic_ns())
        data = to_json(fields).encode("utf-8")
        self.fd = os.open(self.temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _write_all(self.fd, data)
            if fsync:
                os.fsync(self.fd)
        except OSError:
            self.remove()
            raise

    def date(self, time_us: int) -> None:
        """Say when it was won. After a crash of the machine it may say when it was made: then, all is over anyway."""
        self.fields["time"] = time_us
        data = to_json(self.fields).encode("utf-8")
        try:
            os.lseek(self.fd, 0, os.SEEK_SET)
            _write_all(self.fd, data)
            os.ftruncate(self.fd, len(data))
        except OSError:
            self.remove()
            raise

    def place(self) -> bool:
        """Become the owner of the attempt; False if it has another owner. Raises OSError."""
        won = False
        try:
            failpoint("supervisor.fence.before")
            try:
                os.link(self.temporary, self.fence)
                won = True
            except OSError:
                # Over a network the reply may be lost although the link was made: what is there decides.
                won = _is_same_file(self.fd, self.fence)
                if not won and not os.path.lexists(self.fence):
                    raise
        finally:
            if won:
                os.unlink(self.temporary)
            else:
                self.remove()
        if won and self.fsync:
            _sync_directory(self.folder)
        return won

    def remove(self) -> None:
        """Have it never been."""
        try:
            os.unlink(self.temporary)
        except OSError:
            pass  # The whole run may have been deleted.
        os.close(self.fd)


def win_fence(directory: str | bytes, fields: dict[str, Any], fsync: bool) -> int | None:
    """Become the owner of an attempt: the open, locked fence, or None if it has another owner.

    Keep what is returned open for as long as the attempt is yours. Raises OSError.
    """
    fence = FenceFile(directory, fields, fsync)
    return fence.fd if fence.place() else None


def _is_same_file(fd: int, path: bytes) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except OSError:
        return False


# ---- orders


class OrdersFile:
    """What a supervisor is to do: the file ``orders`` of an attempt's directory. All strings are bytes.

    Raises:
        OSError: it can't be read.
        ValueError: it is incomplete, or of a newer version.
    """

    def __init__(self, directory: bytes, name: bytes = ORDERS) -> None:
        self.arguments: list[bytes] = []
        self.changes: list[tuple[bytes, bytes]] = []
        self.unset: list[bytes] = []
        one: dict[bytes, bytes] = {}
        items = _read_file(os.path.join(directory, name)).split(b"\0")
        for item in items[:-1]:
            key, _, value = item.partition(b"=")
            if key == b"arg":
                self.arguments.append(value)
            elif key == b"env":
                name, _, text = value.partition(b"=")
                self.changes.append((name, text))
            elif key == b"unset":
                self.unset.append(value)
            else:
                one[key] = value
        missing = [key for key in (b"run", b"attempt", b"nonce", b"cwd") if not one.get(key)]
        if items[-1] or one.get(b"version") != b"1" or missing or not self.arguments:
            raise ValueError("the orders are incomplete or of another version")
        self.job = os.fsdecode(one[b"run"] + b"." + one[b"attempt"])
        self.nonce = os.fsdecode(one[b"nonce"])
        self.cwd = one[b"cwd"]
        self.direct = one.get(b"output") == b"direct"
        self.two = one.get(b"streams") == b"two"
        self.inherit = one.get(b"stdin") == b"inherit"
        self.fsync = one.get(b"fsync", b"1") == b"1"
        self.wait = one.get(b"leftovers") == b"wait"
        self.grace = float(one.get(b"grace", b"5"))
        self.stop_timeout = float(one.get(b"stop_timeout", b"10"))
        self.stop_after = float(one[b"stop_after"]) if one.get(b"stop_after") else NEVER
        self.time_limit = float(one[b"time_limit"]) if one.get(b"time_limit") else NEVER
        self.warning = int(one.get(b"warning", b"0"))
        self.warn_before = float(one.get(b"warn_before", b"0"))
        self.output_limit = int(one.get(b"output_limit", b"0"))

    @property
    def cookie(self) -> str:
        """``RUN.ATTEMPT.NONCE``: what the processes of the attempt carry in their environment."""
        return f"{self.job}.{self.nonce}"

    def environment(self, extra: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
        """The operation's environment: this process's, what the job adds, then what is ordered."""
        environment = dict(os.environb)
        environment.pop(b"ORCHESTRA_FAILPOINT", None)
        environment.update(extra)
        environment.update(self.changes)
        for name in self.unset:
            environment.pop(name, None)
        environment[COOKIE.encode()] = os.fsencode(self.cookie)
        return environment


_memory_events: list[bytes] = []
"""Where the kernel counts what it has killed for want of memory: known once it was looked for, empty if nowhere."""


def _oom_kills() -> int:
    """How many processes of this control group the kernel has killed for want of memory; 0 where none can tell.

    Source: cgroup v2, ``memory.events``, in the kernel's documentation (admin-guide/cgroup-v2).
    """
    try:
        if not _memory_events:
            _memory_events.append(_find_memory_events())
        events = _read_file(_memory_events[0]) if _memory_events[0] else b""
    except OSError:
        return 0
    for line in events.splitlines():
        name, _, count = line.partition(b" ")
        if name == b"oom_kill":
            return int(count)
    return 0


def _find_memory_events() -> bytes:
    if not _LINUX:
        return b""
    path = (
        b"/sys/fs/cgroup" + _read_file("/proc/self/cgroup").rpartition(b"::")[2].strip() + b"/memory.events"
    )
    try:
        _read_file(path)
    except OSError:
        return b""
    return path


class Hints:
    """Lines for whoever started us. Nothing depends on their arrival, so errors don't matter."""

    def __init__(self, fd: int, job: str) -> None:
        self.fd = fd
        self.job = job

    def send(self, kind: str, value: str) -> None:
        if self.fd < 0:
            return
        line = f"{self.job} {kind} {value}\n".encode("utf-8", "surrogateescape")
        try:
            os.write(self.fd, line)
        except BlockingIOError:
            if kind != "size":
                self._insist(line)
        except OSError:
            self.fd = -1

    def _insist(self, line: bytes) -> None:
        # Somebody may be waiting for this one: give a slow reader a moment.
        try:
            poller = select.poll()
            poller.register(self.fd, select.POLLOUT)
            if poller.poll(200):
                os.write(self.fd, line)
        except OSError:
            pass


# ---- output

_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC


class Middle:
    """The middle of an output, which is given up when the whole takes too much of the disk: its ends tell most."""

    def __init__(self, directory: bytes, limit: int) -> None:
        """``limit``: bytes that the output may take; 0: as many as there are."""
        self.limit = limit
        self.begin = min(HEAD, limit // 4) // GRAIN * GRAIN
        self.end = self.begin
        self.step = max(GRAIN, limit // 16)
        self.due_at = limit or NEVER
        """The size of the output from which on some more is to be given up."""
        self.path = os.path.join(directory, GAP)

    def give_up(self, fd: int, size: int) -> None:
        """Give up more of the output in ``fd``, which has come to ``size``. Raises OSError: it can't be done here."""
        end = (size - self.limit + self.begin + self.step + GRAIN - 1) // GRAIN * GRAIN
        try:
            # Before it is done: who reads bytes that are gone finds here that they are.
            write_record(self.path, f"{self.begin} {end}\n", False)
            _give_up_blocks(fd, self.end, end - self.end)
        except OSError as error:
            self.due_at = NEVER
            self._take_back()
            text = f"it is larger than {self.limit} bytes, and its middle can't be given up"
            raise OSError(error.errno, text) from error
        self.end = end
        self.due_at = size + self.step

    def _take_back(self) -> None:
        try:
            if self.end == self.begin:
                os.unlink(self.path)
            else:
                write_record(self.path, f"{self.begin} {self.end}\n", False)
        except OSError:
            pass

    def reason(self) -> str:
        """What was given up; empty if nothing was."""
        count = self.end - self.begin
        if not count:
            return ""
        return f"{count} bytes in the middle of its output were given up: it is larger than {self.limit}"


class _Output:
    """The file that keeps what an operation writes, and the index of when and on which stream it did."""

    def __init__(self, directory: bytes, limit: int = 0) -> None:
        """``limit``: bytes that it may take on the disk; 0: as many as there are."""
        self.middle = Middle(directory, limit)
        self.fd = -1
        self.index = -1
        self.size = 0
        self.lost = 0
        self.truncated_at = -1
        self.error = ""
        self.retry_at = 0.0
        self.stream = -1
        self.indexed = 0
        self.index_path = os.path.join(directory, b"output.index")
        try:
            self.fd = os.open(os.path.join(directory, b"output"), _APPEND, 0o600)
        except OSError as error:
            self._note(error)
            self.retry_at = NEVER

    def write(self, data: memoryview, stream: int) -> None:
        """Append what was read. Never raises: the operation must not suffer from a full disk."""
        if self.retry_at and time.monotonic() < self.retry_at:
            self.lost += len(data)
            return
        self.retry_at = 0.0
        self.mark(stream)
        try:
            while data:
                written = os.write(self.fd, data)
                self.size += written
                data = data[written:]
        except OSError as error:
            self.lost += len(data)
            self._note(error)
        if self.size >= self.middle.due_at:
            try:
                self.middle.give_up(self.fd, self.size)
            except OSError as error:
                # Then no more is kept.
                self._note(error)
                self.retry_at = NEVER

    def mark(self, stream: int) -> None:
        """Index what comes next. Before it is written: who sees the bytes must find their stream."""
        now = time.time_ns() // 1000
        if stream == self.stream and now - self.indexed < INDEX_EVERY and now >= self.indexed:
            return
        self.stream = stream
        self.indexed = now
        entry = self.size.to_bytes(8, "big") + now.to_bytes(8, "big") + bytes((stream,))
        try:
            if self.index < 0:
                # Only now: an operation that says nothing is spared a file.
                self.index = os.open(self.index_path, _APPEND, 0o600)
            if os.write(self.index, entry) != len(entry):
                # A torn entry would shift all that follow.
                size = os.fstat(self.index).st_size
                os.ftruncate(self.index, size - size % len(entry))
        except OSError:
            pass

    def look(self) -> bool:
        """Notice what the operation wrote itself (``output=direct``); True if there is more than before."""
        size = self.final_size()
        grown = size > self.size
        if grown:
            self.mark(0)
        self.size = size
        if size >= self.middle.due_at:
            try:
                self.middle.give_up(self.fd, size)
            except OSError:
                pass  # It is the operation that writes: nothing keeps it from going on.
        return grown

    def final_size(self) -> int:
        try:
            return os.fstat(self.fd).st_size
        except OSError:
            return self.size

    def sync(self) -> None:
        if self.fd >= 0 and 0 < self.size <= SYNC_LIMIT:
            try:
                os.fsync(self.fd)
            except OSError as error:
                self._note(error)

    def reason(self) -> str:
        """What is wrong with the output; empty if nothing is."""
        if self.truncated_at < 0:
            return self.middle.reason()
        return f"output truncated at {self.truncated_at} ({self.lost} bytes lost): {self.error}"

    def _note(self, error: OSError) -> None:
        self.retry_at = time.monotonic() + 1.0
        self.error = error.strerror or str(error)
        if self.truncated_at < 0:
            self.truncated_at = self.size


def _give_up_blocks(fd: int, begin: int, count: int) -> None:
    """Let the file take no room for these bytes, which read as zeros from then on. Raises OSError."""
    # Slow to load, and few outputs are so large.
    import ctypes

    try:
        fallocate = ctypes.CDLL(None, use_errno=True).fallocate64
    except AttributeError:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP)) from None
    fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_longlong, ctypes.c_longlong)
    if fallocate(fd, 3, begin, count):  # FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


# ---- processes


_prctl_address = 0


def prepare() -> None:
    """Find out what each start needs, so that forks of this process don't have to."""
    host_id()
    boot_id()
    pid_namespace()
    _load()


def c_function(name: str) -> int:
    """The address of a function of the C library; -1 if there is none, or none can be called."""
    try:
        # The package ctypes takes six times as long to import as its engine.
        import _ctypes

        engine: Any = _ctypes
        return engine.dlsym(engine.dlopen(None, 2), name)
    except (ImportError, AttributeError, OSError):
        return -1


def _load() -> None:
    global _prctl_address
    if _LINUX and not _prctl_address:
        _prctl_address = c_function("prctl")


def _prctl(option: int, value: int) -> None:
    _load()
    if _prctl_address > 0:
        import _ctypes

        engine: Any = _ctypes
        engine.call_function(_prctl_address, (option, value, 0, 0, 0))


def _become_subreaper() -> None:
    _prctl(36, 1)


def _die_with_parent(parent: int) -> None:
    _prctl(1, _signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(EXIT_FAILED)


class Unwinding(BaseException):
    """This process is the operation without having executed another program: nothing of ours may go on in it."""


def execute(arguments: list[bytes], environment: dict[bytes, bytes]) -> NoReturn:
    """exec, with a search along the operation's PATH. Raises OSError of the most telling try."""
    program = arguments[0]
    if b"/" in program:
        os.execve(program, arguments, environment)
    telling = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), program)
    for folder in environment.get(b"PATH", os.fsencode(os.defpath)).split(b":"):
        try:
            os.execve(os.path.join(folder or b".", program), arguments, environment)
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            telling = OSError(error.errno, error.strerror, program)
    raise telling


def close_inherited(*keep: int) -> None:
    """Close all files but the standard ones, which are there afterwards, and ``keep``."""
    for name in os.listdir("/proc/self/fd" if _PROC else "/dev/fd"):
        fd = int(name)
        if fd > 2 and fd not in keep:
            try:
                os.close(fd)
            except OSError:
                pass
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _nothing(number: int, frame: object) -> None:
    """Signals are read from the wake-up pipe; a handler must be there for them to arrive."""


class _Supervision:
    """One attempt, from the fence to the exit record."""

    def __init__(
        self,
        directory: bytes,
        orders: OrdersFile,
        hints: Hints,
        environment: dict[bytes, bytes],
        become: Callable[[list[bytes], dict[bytes, bytes]], NoReturn],
        may_go: Callable[[], bool],
    ):
        self.directory = directory
        self.orders = orders
        self.hints = hints
        self.environment = environment
        self.become = become
        self.may_go = may_go
        self.pid = os.getpid()
        self.main = 0
        self.fence = -1
        self.output: Any = None
        self.streams: dict[int, int] = {}
        self.buffer = bytearray()
        self.poller = select.poll()
        self.signals = select.poll()
        self.wakeup = -1
        self.hangup: Any = None
        """What this process did about a hangup before."""
        self.report = -1
        self.failure = b""
        self.last_read = self.hinted = 0.0
        self.look_pause = 0.02
        self.finished = False
        self.begun = self.ended = 0.0
        self.started = 0
        self.status: int | None = None
        self.exited = False
        self.cpu = 0.0
        self.max_rss = 0
        self.gpus: Any = None
        self.gpus_asked = False
        """Somebody asks the GPUs, or can't."""
        self.child_ended = False
        self.childless = False
        """Whether nothing was left when the main process had ended."""
        self.stopped_by: str | None = None
        self.stopped_early: int | None = None
        self.cause: str | None = None
        self.oom_kills = 0
        self.termed = False
        self.quit = False
        self.reasons: list[str] = []
        self.leftovers: list[int] = []
        self.struck: set[int] = set()
        """Who was killed while the main process ran."""
        self.kill_pause = 0.01
        self.give_up_at = self.touch_at = self.hint_at = self.look_at = NEVER
        self.stop_at = self.term_at = self.kill_at = self.check_at = NEVER
        self.limit_at = self.warn_at = NEVER

    # -- the start

    def begin(self, umask: int) -> bool:
        """Fork the operation, win the fence, let it go; False if the fence was lost. Raises OSError.

        The fork comes first, for where it fails nothing must have been decided; the child waits at a pipe. So does
        the fence's file: what a disk takes a while for is done before we may go.
        """
        go = self._fork(umask)
        self._catch_signals()
        fields: dict[str, Any] = {
            "fence": "started",
            "nonce": self.orders.nonce,
            "identity": own_identity(),
            "time": time.time_ns() // 1000,
            "kind": "supervisor",
        }
        fence = FenceFile(self.directory, fields, self.orders.fsync)
        if not self.may_go():
            # Nothing is decided, and the child has not begun: it ends with us.
            fence.remove()
            os._exit(0)
        fence.date(time.time_ns() // 1000)
        if not fence.place():
            return False
        self.fence = fence.fd
        failpoint("supervisor.fence.after")
        self.hints.send("pid", f"{self.pid}:{fields['identity']['start']}")
        self.begun = time.monotonic()
        self.started = time.time_ns() // 1000
        try:
            os.write(go, b"g")
        except BrokenPipeError:
            pass  # It could not even get ready, and has said so.
        os.close(go)
        failpoint("supervisor.forked")
        # While the operation's program is loaded: what it writes waits in the pipe.
        self.oom_kills = _oom_kills()
        self.output = _Output(self.directory, self.orders.output_limit)
        self._reserve_record()
        self.touch_at = self.begun + TOUCH_EVERY
        self.stop_at = self.begun + self.orders.stop_after
        self.limit_at = self.begun + self.orders.time_limit
        if self.orders.warning:
            self.warn_at = max(self.begun, self.limit_at - self.orders.warn_before)
        if self.orders.direct:
            self.look_at = self.begun + 0.02
        return True

    def _fork(self, umask: int) -> int:
        _signal.signal(_signal.SIGCHLD, _nothing)
        wait_go, go = os.pipe()
        self.report, tell = os.pipe()
        ends: list[int] = []
        if not self.orders.direct:
            for stream in range(2 if self.orders.two else 1):
                reader, writer = os.pipe()
                self._enlarge(reader)
                os.set_blocking(reader, False)
                self.streams[reader] = stream
                ends.append(writer)
        # A stop that comes before the child is ready to die of it must not be lost, nor one that comes before
        # we listen, nor the death of a child that can't even get ready.
        _signal.pthread_sigmask(_signal.SIG_BLOCK, (_signal.SIGCHLD, *_STOPS))
        self.main = os.fork()
        if self.main == 0:
            os.close(go)
            self._become_operation(umask, wait_go, tell, ends)
        for fd in (wait_go, tell, *ends):
            os.close(fd)
        os.set_blocking(self.report, False)
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        os.close(null)
        os.chdir("/")
        for fd in (self.report, *self.streams):
            self.poller.register(fd, select.POLLIN)
        return go

    @staticmethod
    def _enlarge(fd: int) -> None:
        if _LINUX:
            try:
                fcntl.fcntl(fd, 1031, CHUNK)  # F_SETPIPE_SZ; refused once a user has too much in pipes
            except OSError:
                pass

    def _become_operation(self, umask: int, wait_go: int, tell: int, ends: list[int]) -> None:
        """In the forked child. Never returns; raises ``Unwinding`` if ``become`` does."""
        stage = b"start"
        try:
            os.setsid()
            _die_with_parent(self.pid)
            for number in (_signal.SIGPIPE, _signal.SIGXFSZ, _signal.SIGCHLD, *_STOPS):
                _signal.signal(number, _signal.SIG_DFL)
            _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
            if not self.orders.inherit:
                null = os.open(os.devnull, os.O_RDONLY)
                os.dup2(null, 0)
            if os.read(wait_go, 1) != b"g":
                os._exit(EXIT_FENCE_LOST)
            if self.orders.direct:
                path = os.path.join(self.directory, b"output")
                ends = [os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)]
            os.dup2(ends[0], 1)
            os.dup2(ends[-1], 2)
            os.umask(umask)
            stage = b"cwd"
            os.chdir(self.orders.cwd)
            stage = b"exec"
            self.become(self.orders.arguments, self.environment)
        except Unwinding:
            stage = b""
            raise
        except OSError as error:
            name = os.fsencode(error.filename or b"")
            if stage == b"exec" and error.errno == errno.ENOENT and os.path.exists(name):
                stage = b"interpreter"
            os.write(tell, b"%s %d " % (stage, error.errno or 0) + name)
        except ValueError:
            os.write(tell, b"%s %d " % (stage, errno.EINVAL))
        finally:
            if stage:
                os._exit(127)

    def _catch_signals(self) -> None:
        self.wakeup, waker = os.pipe()
        os.set_blocking(self.wakeup, False)
        os.set_blocking(waker, False)
        _signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        for number in (_signal.SIGCHLD, _signal.SIGINT, _signal.SIGTERM, _signal.SIGQUIT):
            _signal.signal(number, _nothing)
        self.hangup = _signal.signal(_signal.SIGHUP, _signal.SIG_IGN)
        _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
        self.poller.register(self.wakeup, select.POLLIN)
        self.signals.register(self.wakeup, select.POLLIN)

    def _reserve_record(self) -> None:
        # The operation may fill the disk. Its end must be recorded all the same, so take the room now.
        try:
            path = os.path.join(self.directory, b"exit.tmp")
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return
        try:
            os.write(fd, bytes(RECORD_ROOM))
        except OSError:
            pass
        finally:
            os.close(fd)

    # -- the life

    def watch(self) -> None:
        """Keep the output and obey signals until the operation and what it left behind have ended."""
        while not self.finished:
            for fd, _ in self.poller.poll(self._timeout()):
                if fd == self.wakeup:
                    self._on_signals()
                elif fd == self.report:
                    self._on_report()
                else:
                    self._on_output(fd)
            self._on_time(time.monotonic())

    def _timeout(self) -> int | None:
        soonest = min(
            self.touch_at,
            self.hint_at,
            self.look_at,
            self.stop_at,
            self.limit_at,
            self.warn_at,
            self.term_at,
            self.kill_at,
            self.check_at,
        )
        if soonest == NEVER:
            return None
        return max(0, int((soonest - time.monotonic()) * 1000) + 1)

    def _on_time(self, now: float) -> None:
        if now >= self.touch_at:
            self._touch(now)
            self._sample(now)
        if now >= self.hint_at:
            self._hint_size(now)
        if now >= self.look_at:
            self._look(now)
        if now >= self.stop_at:
            self.stop_at = NEVER
            if not self.exited:
                self.stopped_early = self.main
                self.reasons.append(f"stopped after {self.orders.stop_after:g} s")
                self._stop(_signal.SIGTERM, now)
        if now >= self.warn_at:
            self.warn_at = NEVER
            if not self.exited:
                self._signal_group(self.orders.warning)
        if now >= self.limit_at:
            self.limit_at = NEVER
            if not self.exited and self.stopped_by is None:
                self.cause = "timeout"
                self.reasons.append(f"its time limit of {self.orders.time_limit:g} s was over")
                self._stop(_signal.SIGTERM, now)
        if self.exited:
            self._leave(now)
        elif now >= self.kill_at:
            self._kill(now)

    def _touch(self, now: float) -> None:
        self.touch_at = now + TOUCH_EVERY
        try:
            os.utime(self.fence)
        except OSError:
            pass

    def _sample(self, now: float) -> None:
        """Note what the operation takes at this time: seconds since its start, CPU seconds so far, KiB of memory."""
        if not _LINUX or self.exited:
            return
        second = now - self.begun
        try:
            cpu, memory = usage_below(_children_of(self.pid), self.orders.cookie)
            self._append(SAMPLES, f"{second:.1f} {self.cpu + cpu:.2f} {memory}\n")
        except (OSError, ValueError):
            pass  # A sample more or less: the operation goes on.
        if not self.gpus_asked and any(map(os.path.exists, GPU_FILES)):
            self.gpus_asked = True
            import _thread

            # Where a driver is broken, it may never answer.
            _thread.start_new_thread(self._sample_gpus, (second,))

    def _sample_gpus(self, second: float) -> None:
        """In a thread of its own: note what each GPU does. Where that fails, none is asked again."""
        _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
        try:
            if self.gpus is None:
                if TYPE_CHECKING:
                    from orchestra.child import gpus
                else:
                    import gpus
                self.gpus = gpus.Gpus()
            lines: list[str] = []
            for number, busy, memory in self.gpus.read():
                lines.append(
                    f"{second:.1f} {number} {'-' if busy is None else busy} {'-' if memory is None else memory}\n"
                )
            self._append(GPU_SAMPLES, "".join(lines))
            self.gpus_asked = False
        except (ImportError, OSError, AttributeError, ValueError):
            pass

    def _append(self, name: bytes, lines: str) -> None:
        path = os.path.join(self.directory, name)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, lines.encode())
        finally:
            os.close(fd)

    def _look(self, now: float) -> None:
        if self.output.look():
            self.hints.send("size", str(self.output.size))
            self.look_pause = 0.02
        else:
            self.look_pause = min(self.look_pause * 2, 0.25)
        self.look_at = now + self.look_pause

    def _on_report(self) -> None:
        try:
            data = os.read(self.report, 4096)
        except BlockingIOError:
            return
        if data:
            self.failure += data
        else:
            self.poller.unregister(self.report)
            os.close(self.report)
            self.report = -1

    def _on_output(self, fd: int) -> None:
        count = self._read(fd)
        if not count:
            return
        now = time.monotonic()
        if self.hint_at == NEVER:
            self.hint_at = max(now, self.hinted + HINT_EVERY)
        # While it comes in small pieces at a high rate, let the pipe fill: fewer, larger reads.
        if count < CHUNK // 4 and now - self.last_read < 0.01 and not self.exited:
            self.signals.poll(PAUSE)
            now = time.monotonic()
        self.last_read = now

    def _hint_size(self, now: float) -> None:
        self.hint_at = NEVER
        self.hinted = now
        self.hints.send("size", str(self.output.size))

    def _read(self, fd: int) -> int:
        """Move what is in a pipe into the file; return how much that was."""
        if not self.buffer:
            self.buffer = bytearray(FIRST_CHUNK)
        try:
            count = os.readv(fd, [self.buffer])
        except BlockingIOError:
            return 0
        if count:
            self.output.write(memoryview(self.buffer)[:count], self.streams[fd])
            if count == FIRST_CHUNK:
                self.buffer = bytearray(CHUNK)
        else:
            self.poller.unregister(fd)
            del self.streams[fd]
            os.close(fd)
        return count

    def _drain(self) -> None:
        """Take what is in the pipes now. What comes later is not the main process's: don't wait for it."""
        for fd in list(self.streams):
            left = CHUNK
            while left > 0 and (count := self._read(fd)):
                left -= count

    # -- signals

    def _on_signals(self) -> None:
        try:
            numbers = os.read(self.wakeup, 4096)
        except BlockingIOError:
            return
        for number in numbers:
            if number == _signal.SIGCHLD:
                self._reap()
            elif number in _STOPS:
                if self.cause == "timeout" and not self.exited:
                    # Somebody wishes for the end now, whatever we were about to do: it is not to be tried again.
                    self.cause, self.stopped_by = None, None
                self._stop(number, time.monotonic())

    def _stop(self, number: int, now: float) -> None:
        if not self.exited and self.stopped_by is None:
            self.stopped_by = _STOPS[number]
        if number == _signal.SIGQUIT:
            self.quit = True
            self.kill_at = now
        elif number == _signal.SIGINT and not self.exited:
            self._signal_group(_signal.SIGINT)
        elif not self.termed:
            self._term(now, self.orders.stop_timeout)

    def _term(self, now: float, patience: float) -> list[int]:
        self.termed = True
        self.kill_at = min(self.kill_at, now + patience)
        self.term_at = NEVER
        signalled = self._signal_tree(_signal.SIGTERM)
        # What is stopped could not act on it.
        self._signal_tree(_signal.SIGCONT)
        return signalled

    def _kill(self, now: float) -> list[int]:
        self.kill_at = now + self.kill_pause
        self.kill_pause = min(self.kill_pause * 1.5, 0.5)
        killed = self._signal_tree(_signal.SIGKILL)
        if not self.exited:
            self.struck.update(killed)
        return killed

    def _signal_group(self, number: int) -> None:
        try:
            os.killpg(self.main, number)
        except ProcessLookupError:
            # It has not come to make its session yet.
            if not self.exited:
                os.kill(self.main, number)
        except PermissionError:
            pass

    def _signal_tree(self, number: int) -> list[int]:
        """Signal all of the attempt's processes; return their pids."""
        table = _processes()
        if not table:
            self._signal_group(number)
            return [self.main]
        members = _members(table, self.orders.cookie, self.pid, self.main)
        group = {pid for pid, process in table.items() if process[1] == self.main}
        # The group at one stroke, for a process can fork faster than we look. The main process, reaped
        # last, keeps the group's number ours; nobody else's may be in it.
        whole = _PINNED and bool(group) and group <= members
        if whole:
            self._signal_group(number)
        for pid in members:
            if not (whole and pid in group):
                send_signal(pid, table[pid][2], number)
        return sorted(members)

    # -- the end

    def _reap(self) -> None:
        self.child_ended = True
        if not self.exited:
            if _PINNED:
                ended = os.waitid(os.P_PID, self.main, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
            else:
                ended = self._wait_for(self.main)
            if ended:
                self._on_exit(time.monotonic())
        if not self.exited:
            self._reap_adopted()

    def _reap_adopted(self) -> bool:
        """Reap what was handed to us; whether we have any living child but the main process."""
        while True:
            others = [pid for pid in _children_of(self.pid) if pid != self.main]
            # Who ended while we looked may have handed on children that we did not see: look again.
            if not any([self._wait_for(pid) for pid in others]):  # noqa: C419  reap them all
                return bool(others)

    def _wait_for(self, pid: int) -> bool:
        try:
            found, status, usage = os.wait4(pid, os.WNOHANG)
        except ChildProcessError:
            return False
        if found == 0:
            return False
        if pid == self.main:
            self.status = status
        self.cpu += usage.ru_utime + usage.ru_stime
        self.max_rss = max(self.max_rss, usage.ru_maxrss if _LINUX else usage.ru_maxrss // 1024)
        return True

    def _on_exit(self, now: float) -> None:
        self.exited = True
        self.ended = now
        self.stop_at = self.limit_at = self.warn_at = NEVER
        self._drain()
        if self.quit:
            self.kill_at = now
        elif self.stopped_by is not None:
            self.term_at = NEVER if self.termed else now
        elif not self.orders.wait:
            self.term_at = now + self.orders.grace

    def _leave(self, now: float) -> None:
        """The main process has ended: wait for what it left behind, or end it."""
        if not self.child_ended and now < min(self.term_at, self.kill_at, self.check_at):
            return
        self.child_ended = False
        self.check_at = now + 1.0
        if not self._left():
            self.finished = True
            return
        if now >= self.kill_at:
            self._note_leftovers(self._kill(now))
            if self.give_up_at == NEVER:
                self.give_up_at = now + KILL_PATIENCE
            if now >= self.give_up_at:
                self._give_up()
        elif now >= self.term_at:
            patience = self.orders.stop_timeout if self.stopped_by else LEFTOVER_PATIENCE
            self._note_leftovers(self._term(now, patience))

    def _left(self) -> bool:
        # Whatever the operation left was handed to us, the subreaper: the last of it is a child of ours.
        if _PROC:
            if not self._reap_adopted():
                self.childless = True
                return False
            return bool(_members(_processes(), self.orders.cookie, self.pid))
        try:
            os.killpg(self.main, 0)
        except (ProcessLookupError, PermissionError):
            return False
        return True

    def _note_leftovers(self, pids: list[int]) -> None:
        # Who was killed together with the main process, and takes a moment longer to die, has not outlived it.
        known = {*self.leftovers, *self.struck}
        self.leftovers.extend(pid for pid in pids if pid not in known)

    def _give_up(self) -> None:
        left = [str(pid) for pid, _ in tree_of(self.orders.cookie, self.pid)]
        if left:
            self.reasons.append("could not end " + " ".join(left[:20]))
        self.finished = True

    def abandon(self, error: Exception) -> None:
        """We can't go on: end the operation, so that its end can be recorded truthfully."""
        self.reasons.append(f"its supervisor failed: {error!r}")
        if not self.exited:
            self.stopped_by = self.stopped_by or "KILL"
            os.kill(self.main, _signal.SIGKILL)
            self.ended = time.monotonic()
            while not self._wait_for(self.main):
                time.sleep(0.01)
        end_tree(self.orders.cookie, self.pid)

    def finish(self) -> bool:
        """Record the end; False if that is impossible."""
        self._drain()
        if self.report >= 0:
            self._on_report()
        self._wait_for(self.main)
        failpoint("supervisor.exited")
        if self.orders.direct:
            self.output.look()
        code = self._code()
        if code == 0 and self.stopped_by is None and not self.reasons and not self.output.reason():
            # Whoever waits to start the next one need not wait for the disk.
            self.hints.send("over", "0")
        if self.orders.fsync:
            self.output.sync()
        text = to_json(self._exit_fields(code))
        if not self._record(text):
            return False
        failpoint("supervisor.recorded")
        self.hints.send("exit", str(code))
        return True

    def let_go(self) -> bool:
        """Own the attempt no longer; False where this process has to end for that.

        Afterwards nobody takes this process for the attempt's: see :func:`signal_owner`.
        """
        odd = self.stopped_by or self.termed or self.quit or self.reasons or self.gpus_asked or self.gpus
        if odd or not self.childless:
            return False
        try:
            # The process ends where it can't be had, and with it whatever was opened for it.
            lock = _open_directory(self.directory)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        try:
            told = os.read(self.wakeup, 4096)
        except BlockingIOError:
            told = b""
        if any(number in _STOPS for number in told):
            return False
        for number in _STOPS:
            _signal.signal(number, _signal.SIG_IGN if number == _signal.SIGINT else _signal.SIG_DFL)
        # An operation may be meant to survive a hangup, or not: it inherits that.
        _signal.signal(_signal.SIGHUP, self.hangup)
        waker = _signal.set_wakeup_fd(-1)
        # The lock that others wait for last: by then the fence says that the attempt is over.
        streams = (*self.streams, self.output.index, self.output.fd)
        ours = (waker, self.wakeup, self.report, *streams, self.fence, lock)
        for fd in ours:
            if fd >= 0:
                os.close(fd)
        return True

    def _code(self) -> int:
        if self.failure:
            stage, number, name = [*self.failure.split(b" ", 2), b"", b""][:3]
            code = int(number)
            reason = "its interpreter is missing" if stage == b"interpreter" else os.strerror(code)
            shown = os.fsdecode(name or self.orders.arguments[0])
            self.cause = "not_started"
            hint = " (a script must begin with a line such as '#!/bin/sh')" if code == errno.ENOEXEC else ""
            self.reasons.insert(0, f"could not start: {reason}: '{shown}'{hint}")
            return 127 if code == errno.ENOENT and stage != b"interpreter" else 126
        status = self.status or 0
        return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)

    def _exit_fields(self, code: int) -> dict[str, Any]:
        if self.output.reason():
            self.reasons.append(self.output.reason())
        if code == -_signal.SIGKILL and self.stopped_by is None and _oom_kills() > self.oom_kills:
            self.cause = "oom"
            self.reasons.append("the kernel killed it, for the memory was used up")
        return {
            "code": code,
            "started": self.started,
            # By the monotonic clock: the other one may be set back meanwhile.
            "stopped": self.started + int((self.ended - self.begun) * 1e6),
            "size": self.output.final_size(),
            "stopped_by": self.stopped_by,
            "stopped_early": self.stopped_early,
            "cause": self.cause,
            "reason": "; ".join(self.reasons)[:1000] or None,
            "leftovers": self.leftovers[:100],
            "cpu": round(self.cpu, 6),
            "max_rss": self.max_rss,
        }

    def _record(self, text: str) -> bool:
        path = os.path.join(self.directory, b"exit")
        pause = 50
        while True:
            try:
                write_record(path, text, self.orders.fsync)
                return True
            except OSError as error:
                # A disk that is full or away may come back; a directory that was deleted does not.
                if self.quit or error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EROFS, errno.EACCES):
                    return False
            if self.signals.poll(pause):
                self._on_signals()
            self._touch(time.monotonic())
            pause = min(pause * 2, 2000)


def _at_once() -> bool:
    return True


def supervise(
    directory: str | bytes,
    hints_fd: int = -1,
    job: str = "",
    extra: list[tuple[bytes, bytes]] | None = None,
    umask: int | None = None,
    become: Callable[[list[bytes], dict[bytes, bytes]], NoReturn] = execute,
    may_go: Callable[[], bool] = _at_once,
    orders_name: bytes = ORDERS,
    retire: Callable[[], object] | None = None,
) -> int:
    """Do the orders of an attempt's directory, in this process; return its exit status.

    0: the end is recorded; 75: somebody else owns the attempt; 74: it could not begin, or not record the end. With
    ``retire``, which is called as soon as this process is to be no attempt's, ``AT_HAND`` instead of 0 if it is not.
    Hints go to ``hints_fd``, under the name ``job`` until the orders are read; ``extra`` is added to the
    environment. ``umask`` is the user's, of a process that is detached already (:func:`detach`). ``become`` is
    called in the operation's process, with its command and environment; what it raises as ``Unwinding`` comes out.
    ``may_go`` is called once when all is ready, and waits: without its consent this process ends and leaves no trace.
    ``orders_name``: the name that the orders have until then, or have had: who started sooner than this process came to
    read them has given them their own.
    """
    folder = os.path.abspath(os.fsencode(directory))
    hints = Hints(hints_fd, job)
    consent: list[bool] = []

    def asked() -> bool:
        consent.append(may_go())
        return consent[0]

    try:
        orders = _orders_in(folder, orders_name)
        hints.job = orders.job
        failpoint("supervisor.started")
        if umask is None:
            umask = detach(hints_fd)
        supervision = _Supervision(folder, orders, hints, orders.environment(extra or []), become, asked)
        won = supervision.begin(umask)
    except (OSError, ValueError) as error:
        if not consent and not asked():
            return 0
        number = (error.errno if isinstance(error, OSError) else None) or errno.EINVAL
        hints.send("failed", str(number))
        _complain(f"can't begin in {os.fsdecode(folder)}: {error}")
        return EXIT_FAILED
    if not won:
        hints.send("lost", "0")
        return EXIT_FENCE_LOST
    try:
        supervision.watch()
    except Exception as error:
        supervision.abandon(error)
    if not supervision.finish():
        return EXIT_FAILED
    if retire is None:
        return 0
    retire()
    return AT_HAND if supervision.let_go() else 0


def _orders_in(folder: bytes, name: bytes) -> OrdersFile:
    try:
        return OrdersFile(folder, name)
    except FileNotFoundError:
        return OrdersFile(folder, ORDERS)


def _complain(text: str) -> None:
    try:
        os.write(2, f"orchestra supervisor: {text}\n".encode("utf-8", "backslashreplace"))
    except OSError:
        pass


def detach(hints_fd: int, *keep: int) -> int:
    """Leave session, signals and files (but those) of the starter behind; return the user's umask."""
    try:
        os.setsid()
    except PermissionError:
        pass
    umask = os.umask(0o077)
    close_inherited(hints_fd, *keep)
    if hints_fd >= 0:
        os.set_inheritable(hints_fd, False)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
    _become_subreaper()
    return umask


def main(arguments: list[str]) -> None:
    """``DIRECTORY [HINTS_FD]``: supervise, and end this process without tidying up its memory."""
    os._exit(supervise(arguments[0], int(arguments[1]) if len(arguments) > 1 else -1))


if __name__ == "__main__":
    main(sys.argv[1:])
