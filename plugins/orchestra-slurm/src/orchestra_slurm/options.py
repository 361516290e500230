"""The options of the executor, and what they become on sbatch's command line."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct
from orchestra.errors import UserError
from orchestra.model.resources import parse_memory

_TIME = re.compile(r"\d+|\d+:\d\d(:\d\d)?|\d+-\d+(:\d\d){0,2}|UNLIMITED|INFINITE", re.IGNORECASE)
_NAMED = {
    "partition": ("-p", "--partition"),
    "account": ("-A", "--account"),
    "qos": ("-q", "--qos"),
    "constraint": ("-C", "--constraint"),
    "time": ("-t", "--time"),
    "cpus": ("-c", "--cpus-per-task"),
    "memory": ("--mem",),
    "gpus": ("-G", "--gpus", "--gres"),
}
"""What sbatch's options are called here."""
_OURS = (
    *(
        "-J",
        "--job-name",
        "-o",
        "--output",
        "-e",
        "--error",
        "-i",
        "--input",
        "-a",
        "--array",
        "-D",
        "--chdir",
    ),
    *("--comment", "--parsable", "--wrap", "-W", "--wait", "--requeue", "--no-requeue", "--open-mode", "-M"),
    *("--clusters", "--export", "--export-file", "--get-user-env", "--test-only", "-h", "--help", "-V"),
    *("--version", "--usage", "-Q", "--quiet", "-v", "--verbose"),
)
"""What this executor sets itself, or depends on."""


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the Slurm executor. What a run asks for itself goes before what is given here."""

    home: Path
    """Must be seen under this name on the nodes, too."""
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    time: str | None = None
    """The time limit of runs that have none: minutes, or as sbatch takes it (``1:30:00``, ``2-0``)."""
    cpus: int | None = None
    memory: str | None = None
    """Of runs that say nothing of it: ``8G``."""
    gpus: int | None = None
    array: bool = True
    """Whether jobs that are submitted at the same time may be elements of one job array."""
    array_size: int = 1000
    """How many at most: less than the cluster's MaxArraySize."""
    window: float = 0.05
    """Seconds for which a job waits for others that may share an array with it."""
    poll: float = 2.0
    """Seconds between two calls of squeue, which asks for all jobs at once."""
    timeout: float = 30.0
    """Seconds after which a command of Slurm that has not ended counts as failed."""
    patience: float = 600.0
    """Seconds for which a submission is tried again while the controller can't be reached, or takes no more jobs."""
    sbatch_args: str = ""
    """Further options for sbatch: ``--exclusive --mail-type=END``."""
    python: str | None = None
    """The interpreter on the nodes (3.8 or later), if it isn't where that of orchestra is."""
    sbatch: str = "sbatch"
    squeue: str = "squeue"
    scancel: str = "scancel"
    sacct: str = "sacct"
    """Commands: names or paths, perhaps with arguments of their own."""

    def __post_init__(self) -> None:
        for name, least in (
            ("cpus", 1),
            ("gpus", 0),
            ("array_size", 1),
            ("window", 0),
            ("timeout", 0.1),
            ("poll", 0.05),
        ):
            value = getattr(self, name)
            if value is not None and not (least <= value < math.inf):
                raise ValueError(f"{name} is {value}, and must be {least} or more")
        if self.time is not None and _TIME.fullmatch(self.time) is None:
            raise ValueError(f"time is '{self.time}': give minutes, or H:MM:SS, or D-H:MM")
        for name in ("partition", "account", "qos", "constraint"):
            if (value := getattr(self, name)) is not None and (
                not value or value.startswith("-") or "\n" in value
            ):
                raise ValueError(f"{name} is '{value}', which is no name")
        if self.memory is not None:
            try:
                parse_memory(self.memory)
            except UserError as error:
                raise ValueError(f"memory: {error.message}") from error
        _check_args(self.sbatch_args)
        for name in ("sbatch", "squeue", "scancel", "sacct"):
            if not shlex.split(getattr(self, name)):
                raise ValueError(f"{name} is empty: give the name of a command")


def _check_args(text: str) -> None:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"sbatch_args can't be read: {error}") from error
    for word in words:
        if not word.startswith("-") or word in ("-", "--"):
            raise ValueError(f"sbatch_args: '{word}' is no option: write --NAME=VALUE")
        name = word.partition("=")[0] if word.startswith("--") else word[:2]
        for ours, theirs in _NAMED.items():
            if name in theirs or (len(name) > 3 and any(one.startswith(name) for one in theirs)):
                raise ValueError(f"sbatch_args: use {ours}=VALUE instead of {name}")
        if name in _OURS or any(one.startswith(name) for one in _OURS if len(name) > 3):
            raise ValueError(f"sbatch_args: {name} is set by Orchestra itself")


def resource_arguments(options: Options, resources: Mapping[str, str | int | float]) -> tuple[str, ...]:
    """What sbatch is told of where a job is to run, and how much it gets: whole processors, devices and megabytes."""
    named = [
        f"--{name}={value}"
        for name in ("partition", "account", "qos", "constraint")
        if (value := getattr(options, name))
    ]
    cpus = math.ceil(float(resources.get("cpus", options.cpus or 0)))
    memory = int(resources.get("memory", parse_memory(options.memory) if options.memory else 0))
    gpus = math.ceil(float(resources.get("gpus", options.gpus or 0)))
    # Ours comes first, by a minute or two: it is exact, and leaves a record.
    time = str(math.ceil(float(resources["time"]) / 60) + 1) if "time" in resources else options.time
    amounts = (
        ("cpus-per-task", cpus),
        ("mem", f"{-(-memory // (1 << 20))}M" if memory else ""),
        ("gres", f"gpu:{gpus}" if gpus else ""),
        ("time", time),
    )
    return (
        *named,
        *(f"--{name}={value}" for name, value in amounts if value),
        *shlex.split(options.sbatch_args),
    )
