"""``shell``: a job is a background process, started once however often it is submitted."""

import os
import signal
import subprocess
from contextlib import asynccontextmanager
from fcntl import LOCK_EX, flock
from pathlib import Path

import anyio
from msgspec import Struct
from orchestra.child import supervisor
from orchestra.errors import ExecutorError
from orchestra.model.execution import Handle

SIGNALS = {"interrupt": signal.SIGINT, "terminate": signal.SIGTERM, "kill": signal.SIGQUIT}
SCRIPT = '"$@" </dev/null >/dev/null 2>&1 & echo $!'


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    poll: float = 0.05


class ShellExecutor:
    def __init__(self, options):
        self.options = options

    async def submit(self, job):
        try:
            token = await anyio.to_thread.run_sync(self._start, job)
        except OSError as error:
            raise ExecutorError(f"the shell could not start {job.name}: {error}") from error
        return Handle(executor="shell", job=job.name, token=token)

    def _start(self, job):
        with Path(job.directory, "shell.pid").open("a+") as note:
            flock(note, LOCK_EX)
            note.seek(0)
            token = note.read()
            if not token:
                command = ["sh", "-c", SCRIPT, "sh", *job.argv]
                env = {**os.environ, **job.environment}
                shell = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True)
                pid = int(shell.stdout)
                token = f"{pid}:{supervisor.process_start(pid) or 0}"
                note.write(token)
            return token

    async def wait(self, handle):
        pid, start = map(int, handle.token.split(":"))
        while supervisor.process_start(pid) == start:  # noqa: ASYNC110, no child of ours tells when it ends
            await anyio.sleep(self.options.poll)
        return "ended"

    async def stop(self, handle, how):
        pid, start = map(int, handle.token.split(":"))
        return supervisor.send_signal(pid, start, SIGNALS[how])


@asynccontextmanager
async def open_executor(options: Options):
    yield ShellExecutor(options)
