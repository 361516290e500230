"""What is written beside an attempt about its job: under which name it was submitted, and which id it got."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

import msgspec
from msgspec import Struct
from orchestra.child import supervisor
from orchestra.errors import ExecutorError, text_of_os_error

NOTE = "slurm.note"
JOB = "slurm.job"
OUT = "slurm.out"
LIST = "slurm.list"
ID = "slurm.id"


class Note(Struct, frozen=True, kw_only=True):
    """Under which name a job was, or is being, submitted, and by whom."""

    name: str
    folder: str
    """Where the list of its array is, and the id."""
    index: int | None
    """In its array."""
    host: str
    pid: int
    start: int

    def is_ours(self) -> bool:
        """Whether it was written by this very process."""
        return (self.host, self.pid, self.start) == this_process()

    def may_be_at_work(self) -> bool:
        """Whether who wrote it may be calling sbatch just now."""
        if self.host != supervisor.host_id():
            return True
        return not self.is_ours() and supervisor.process_start(self.pid) == self.start


def this_process() -> tuple[str, int, int]:
    """Host, pid and start of this process."""
    pid = os.getpid()
    return supervisor.host_id(), pid, supervisor.process_start(pid) or 0


class Placed(Struct, frozen=True, kw_only=True):
    """A job that Slurm has."""

    id: str
    """``12``, or ``12_3`` of an array."""
    name: str


def read_note(directory: Path) -> Note | None:
    """How the job of an attempt was submitted; None if it was not."""
    try:
        return msgspec.json.decode((directory / NOTE).read_bytes(), type=Note)
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
        return None
    except OSError as error:
        raise ExecutorError(text_of_os_error(error)) from error


def note_id(folder: Path, job: str) -> None:
    """Write down which id a job has got. Where that can't be, it is found by its name again."""
    with contextlib.suppress(OSError):
        write_whole(folder / ID, job.encode())


def known(note: Note) -> Placed | None:
    """The job, if its id was written down."""
    try:
        found = (Path(note.folder) / ID).read_text().strip()
    except OSError:
        return None
    return Placed(id=element_of(found, note), name=note.name) if found else None


def element_of(job: str, note: Note) -> str:
    """The id of a job's own element of the array ``job``."""
    return job if note.index is None else f"{job}_{note.index}"


def write_whole(path: Path, data: bytes) -> None:
    """Whole or not at all, for us alone. Raises OSError."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.{time.monotonic_ns()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:
        file.write(data)
    os.rename(temporary, path)
