"""What the computer has that runs can be given."""

from __future__ import annotations

import os

from orchestra.errors import UserError
from orchestra.model.scheduling import Machine
from orchestra.workspace.environment import memory, usable_cpus

DEVICES = "ORCHESTRA_GPUS"
"""The variable that names the devices of this computer, parted by commas; empty: it has none."""


def this_machine(gpus: str | None = None) -> Machine:
    """The processors that this process may use, the memory, and the devices.

    These are ``gpus`` where a queue was told which are its own, else those that :data:`DEVICES` names.

    Raises:
        UserError: a device is named twice.
    """
    cpus = usable_cpus() or os.cpu_count()
    named = os.environ.get(DEVICES, "") if gpus is None else gpus
    devices = tuple(filter(None, (name.strip() for name in named.split(","))))
    if len(set(devices)) != len(devices):
        raise UserError(f"a device is named twice in '{named}'", "Name each device once.")
    return Machine(cpus=cpus, memory=memory(), devices=devices)
