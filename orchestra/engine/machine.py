"""What the computer has that runs can be given, and what of it others use."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orchestra.child.supervisor import GPU_FILES, cookie_of
from orchestra.errors import UserError
from orchestra.model.run import Run
from orchestra.model.scheduling import Machine, device_shares
from orchestra.workspace.environment import memory, usable_cpus

DEVICES = "ORCHESTRA_GPUS"
"""The variable that names the devices of this computer, parted by commas; empty: it has none."""
VISIBLE = "CUDA_VISIBLE_DEVICES"
"""The variable by which whoever started us may have given us some of them."""
_CGROUPS = Path("/sys/fs/cgroup")


class ThisMachine:
    """This computer, as far as it is ours."""

    def __init__(self, gpus: str | None = None) -> None:
        """``gpus``: the devices that a queue was told are its own.

        Raises:
            UserError: a device is named twice.
        """
        self._gpus = _open_gpus() if gpus is None and DEVICES not in os.environ else None
        self.machine = Machine(cpus=_cpus(), memory=_memory(), devices=_devices(gpus, self._gpus))

    def busy(self, active: Sequence[Run]) -> tuple[str, ...]:
        """The devices on which processes compute that belong to none of ``active``, our own runs."""
        if self._gpus is None:
            return ()
        ours = {run.id for run in active}
        given = {device for run in active for device in device_shares(run.devices)}
        found = enumerate(self._gpus.pids())
        return tuple(
            str(number)
            for number, pids in found
            if str(number) in self.machine.devices
            and any(_is_foreign(pid, ours, str(number) in given) for pid in pids or ())
        )


def _is_foreign(pid: int, ours: set[str], given: bool) -> bool:
    """Whether a process is none of our runs'; ``given``: one of them was given its device."""
    if not os.path.exists(f"/proc/{pid}"):
        # Of another container, or gone: where nobody of ours computes it is somebody else.
        return not given
    cookie = cookie_of(pid)
    return cookie is None or cookie.rsplit(".", 2)[0] not in ours


def _open_gpus() -> Any:
    """What NVML tells of the devices; None where there are none."""
    if not any(map(os.path.exists, GPU_FILES)):
        return None
    try:
        from orchestra.child.gpus import Gpus

        return Gpus()
    except (OSError, AttributeError, ImportError):
        return None


def _devices(gpus: str | None, nvml: Any) -> tuple[str, ...]:
    named = gpus if gpus is not None else os.environ.get(DEVICES, os.environ.get(VISIBLE))
    if named is None:
        return tuple(str(number) for number in range(nvml.count)) if nvml is not None else ()
    devices = tuple(filter(None, (name.strip() for name in named.split(","))))
    if len(set(devices)) != len(devices):
        raise UserError(f"a device is named twice in '{named}'", "Name each device once.")
    return devices


def _cpus() -> float | None:
    """The processors that we may use: what a container is limited to counts."""
    cpus = usable_cpus() or os.cpu_count()
    quotas = [float(quota) / float(period) for quota, period in _limits("cpu.max", 2) if quota != "max"]
    return min([cpus, *quotas]) if cpus is not None else min(quotas, default=None)


def _memory() -> int | None:
    size = memory()
    limits = [int(limit) for (limit,) in _limits("memory.max", 1) if limit != "max"]
    return min([size, *limits]) if size is not None else min(limits, default=None)


def _limits(name: str, words: int) -> list[list[str]]:
    """What the file ``name`` of our control group says, and of each group above it (cgroup v2)."""
    try:
        own = Path("/proc/self/cgroup").read_text().rpartition("::")[2].strip().lstrip("/")
    except OSError:
        return []
    found: list[list[str]] = []
    group = _CGROUPS / own
    while group != _CGROUPS.parent:
        try:
            limit = (group / name).read_text().split()
        except OSError:
            limit = []
        if len(limit) == words:
            found.append(limit)
        group = group.parent
    return found
