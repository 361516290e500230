"""Real supervisors for tests: started plainly or forked by a real launcher, with their hints collected."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from msgspec import structs

from orchestra.child import supervisor
from orchestra.child.install import encode_request, launcher_command
from orchestra.model.execution import Exit, Fence, Job
from orchestra.testing.executors import SupervisedJobs, exit_of, fence_of, output_of

PATIENCE = 20.0


def eventually(happened, seconds: float = PATIENCE):
    """Wait until something has happened, and return what it was."""
    deadline = time.monotonic() + seconds
    while not (found := happened()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)
    return found


def is_locked(path: Path) -> bool:
    """Whether a living process owns a fence."""
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


class Attempt:
    """One attempt, and the supervisor that was started for it."""

    def __init__(self, bench: Bench, job: Job) -> None:
        self.bench = bench
        self.job = job
        self.directory = Path(job.directory)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def cookie(self) -> str:
        return self.job.environment[supervisor.COOKIE]

    @property
    def fence(self) -> Fence:
        found = fence_of(self.job)
        assert found is not None
        return found

    @property
    def exit(self) -> Exit:
        found = exit_of(self.job)
        assert found is not None, "there is no exit record"
        return found

    @property
    def output(self) -> bytes:
        return output_of(self.job)

    @property
    def index(self) -> list[tuple[int, int, int]]:
        path = self.directory / "output.index"
        data = path.read_bytes() if path.exists() else b""
        assert len(data) % 17 == 0
        entries = [data[at : at + 17] for at in range(0, len(data), 17)]
        return [(int.from_bytes(e[:8], "big"), int.from_bytes(e[8:16], "big"), e[16]) for e in entries]

    @property
    def hints(self) -> list[tuple[str, str]]:
        return [(kind, value) for job, kind, value in self.bench.read_hints() if job == self.job.name]

    def ended(self) -> Exit:
        """Wait until it has ended and its supervisor is gone."""
        eventually(lambda: exit_of(self.job) or self.gone())
        eventually(self.gone)
        return self.exit

    def gone(self) -> bool:
        if self.process is not None:
            return self.process.poll() is not None
        fence = fence_of(self.job)
        return fence is not None and not is_locked(self.directory / "fence")

    def signal(self, number: int) -> None:
        """Signal the supervisor."""
        identity = self.fence.identity
        assert supervisor.send_signal(identity.pid, identity.start, number)

    def tree(self) -> list[int]:
        """The living processes of the attempt, the supervisor not among them."""
        owner = fence_of(self.job)
        root = owner.identity.pid if owner else None
        return [pid for pid, _ in supervisor.tree_of(self.cookie, root) if pid != root]


class Bench:
    """Starts supervisors, in one of the two ways."""

    def __init__(self, root: Path, lib_root: Path, forked: bool) -> None:
        self.root = root
        self.jobs = SupervisedJobs(root, lib_root)
        self.forked = forked
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)
        os.set_blocking(self.writer, False)
        self._hints: list[tuple[str, str, str]] = []
        self._launcher: subprocess.Popen[bytes] | None = None
        self._processes: list[subprocess.Popen[bytes]] = []
        self.environment: dict[str, str] = {}
        self.prefix = ""
        """Python that a launcher does first."""

    def prepare(self, *argv: str, **orders: object) -> Attempt:
        """An attempt that nobody has started."""
        return Attempt(self, self.jobs(list(argv), **orders))

    def start(self, *argv: str, **orders: object) -> Attempt:
        """An attempt whose supervisor has won the fence."""
        attempt = self.prepare(*argv, **orders)
        self.submit(attempt)
        eventually(lambda: fence_of(attempt.job))
        return attempt

    def run(self, *argv: str, **orders: object) -> Attempt:
        """An attempt that has ended."""
        attempt = self.prepare(*argv, **orders)
        self.submit(attempt)
        attempt.ended()
        return attempt

    def sh(self, script: str, **orders: object) -> Attempt:
        return self.run("sh", "-c", script, **orders)

    def python(self, script: str, **orders: object) -> Attempt:
        return self.run(sys.executable, "-I", "-S", "-c", script, **orders)

    def submit(
        self, attempt: Attempt, also: tuple[int, ...] = (), patch: str = "", **options: object
    ) -> None:
        """Start a supervisor for an attempt; ``patch`` is Python that it does first."""
        if patch:
            code = attempt.job.argv[4].replace("supervisor.main", f"{patch}; supervisor.main")
            argv = (*attempt.job.argv[:4], code, *attempt.job.argv[5:])
            attempt.job = structs.replace(attempt.job, argv=argv)
        if self.forked:
            request = encode_request(attempt.job.name, attempt.job.directory, attempt.job.environment)
            os.write(self.launcher().stdin.fileno(), request)
            return
        environment = {**os.environ, **self.environment, **attempt.job.environment}
        attempt.process = subprocess.Popen(
            (*attempt.job.argv, str(self.writer)),
            env=environment,
            pass_fds=(self.writer, *also),
            **{"stdin": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **options},
        )
        self._processes.append(attempt.process)

    def launcher(self) -> subprocess.Popen[bytes]:
        if self._launcher is None:
            command = launcher_command(sys.executable, self.jobs.lib_dir, self.writer)
            command = tuple(word.replace("launcher.main", f"{self.prefix}launcher.main") for word in command)
            environment = {**os.environ, **self.environment, supervisor.COOKIE: "launcher.test"}
            self._launcher = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                pass_fds=(self.writer,),
                start_new_session=True,
                env=environment,
                bufsize=0,
            )
        return self._launcher

    def read_hints(self) -> list[tuple[str, str, str]]:
        while select.select([self.reader], [], [], 0)[0]:
            for line in os.read(self.reader, 1 << 16).decode().splitlines():
                self._hints.append(tuple(line.split(" ")))
        return self._hints

    def close(self) -> None:
        self.jobs.end()
        if self._launcher is not None:
            self._launcher.stdin.close()
            self._launcher.wait(PATIENCE)
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait(PATIENCE)
        os.close(self.reader)
        os.close(self.writer)
