"""What a run asks of the computer that it runs on: processors, memory, devices, each a number of it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from msgspec import Struct

from orchestra.errors import UserError

UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
"""Of memory: powers of 1024, as Slurm and Kubernetes' ``Ki`` have them."""
# Compiled when they are used: few runs ask for anything.
_MEMORY = r"(?i)([0-9]+(?:\.[0-9]+)?)\s*((?:[kmgt](?:i?b)?|b)?)"
_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_HINT = "Give some of gpus=N, cpus=N and memory=SIZE, such as 'gpus=1 cpus=4 memory=8G'."


class Resources(Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """An amount of each resource. Nothing of any: the run only takes the slot that every run takes."""

    gpus: float = 0
    """Devices; less than 1: that share of one."""
    cpus: float = 0
    memory: int = 0
    """Bytes."""

    def __bool__(self) -> bool:
        return bool(self.gpus or self.cpus or self.memory)

    def __str__(self) -> str:
        parts = [
            f"{name}={amount:g}" for name, amount in (("gpus", self.gpus), ("cpus", self.cpus)) if amount
        ]
        return " ".join([*parts, *([f"memory={_exact(self.memory)}"] if self.memory else [])])

    def times(self, factors: Mapping[str, float], attempt: int) -> Resources:
        """What the ``attempt``-th execution (from 1) asks for, where each further one takes so many times as much."""
        power = max(0, attempt - 1)
        gpus = self.gpus * factors.get("gpus", 1) ** power
        return Resources(
            # Only a share of one device is none of whole devices.
            gpus=gpus if gpus <= 1 else math.ceil(gpus),
            cpus=self.cpus * factors.get("cpus", 1) ** power,
            memory=round(self.memory * factors.get("memory", 1) ** power),
        )


def parse_resources(text: str) -> Resources:
    """The resources that ``text`` names: ``gpus=1 cpus=4 memory=8G``, parted by spaces or commas.

    Raises:
        UserError: says which part is wrong.
    """
    given: dict[str, float] = {}
    for part in text.replace(",", " ").split():
        name, separator, value = part.partition("=")
        if not separator or name not in ("gpus", "cpus", "memory"):
            raise UserError(f"invalid resource '{part}'", _HINT)
        if name in given:
            raise UserError(f"invalid resources '{text}': {name} is given twice", _HINT)
        given[name] = parse_memory(value) if name == "memory" else _amount(name, value)
    return checked(Resources(**given))  # type: ignore[arg-type]


def checked(resources: Resources) -> Resources:
    """``resources``, if a computer can have such.

    Raises:
        UserError: a share of several devices is asked for.
    """
    if resources.gpus > 1 and resources.gpus != int(resources.gpus):
        raise UserError(
            f"invalid resources 'gpus={resources.gpus:g}'", "Give a share of one device, or whole devices."
        )
    return resources


def parse_memory(text: str) -> int:
    """Bytes: ``8G``, ``512M``, ``1.5GiB``, ``900B``. A bare number is refused: some schedulers take megabytes.

    Raises:
        UserError: it is no such size.
    """
    match = re.fullmatch(_MEMORY, text.strip())
    if match is None or match[2] == "":
        raise UserError(f"invalid size of memory '{text}'", "Give a number with a unit, such as 512M or 8G.")
    number = float(match[1]) if "." in match[1] else int(match[1])
    return round(number * UNITS[match[2][0].lower().replace("b", "")])


def format_memory(size: int) -> str:
    """``size`` for people: in the biggest unit that it has one of, with a tenth at most, and never more than it is."""
    for unit in ("T", "G", "M", "K"):
        tenths = size * 10 // UNITS[unit.lower()]
        if tenths >= 10:
            return f"{tenths / 10:g}{unit}" if tenths < 10_000 else f"{tenths // 10}{unit}"
    return f"{size}B"


def _exact(size: int) -> str:
    """The shortest text that :func:`parse_memory` reads as ``size``."""
    for unit in ("T", "G", "M", "K"):
        if size >= UNITS[unit.lower()] and size % UNITS[unit.lower()] == 0:
            return f"{size // UNITS[unit.lower()]}{unit}"
    return f"{size}B"


def _amount(name: str, value: str) -> float:
    if re.fullmatch(_NUMBER, value) is None or not math.isfinite(float(value)):
        raise UserError(f"invalid resource '{name}={value}': {value or 'nothing'} is no number", _HINT)
    return float(value)
