"""What the GPUs of this computer are doing, as NVML tells it; loaded only where there are any.

Beside the supervisor, and like it: one file, standard library only, Python 3.8 and later.
"""

from __future__ import annotations

import ctypes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LIBRARY = "libnvidia-ml.so.1"
MOST_PROCESSES = 256


class _Utilization(ctypes.Structure):
    _fields_ = [("gpu", ctypes.c_uint), ("memory", ctypes.c_uint)]


class _Memory(ctypes.Structure):
    _fields_ = [("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong)]


class _Process(ctypes.Structure):
    _fields_ = [
        ("pid", ctypes.c_uint),
        ("memory", ctypes.c_ulonglong),
        ("gpu_instance", ctypes.c_uint),
        ("compute_instance", ctypes.c_uint),
    ]


class Gpus:
    """The devices, in the order of NVML. Raises OSError or AttributeError where they can't be asked."""

    def __init__(self, library: Any = None) -> None:
        self._library: Any = ctypes.CDLL(LIBRARY) if library is None else library
        self._ask("nvmlInit_v2")
        count = ctypes.c_uint()
        self._ask("nvmlDeviceGetCount_v2", ctypes.byref(count))
        self._devices: list[Any] = []
        for number in range(count.value):
            device = ctypes.c_void_p()
            self._ask("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(number), ctypes.byref(device))
            self._devices.append(device)

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._devices)

    def read(self) -> list[tuple[int, int | None, int | None]]:
        """Number, percent of the time in use, and KiB of memory in use, of each; None: it does not tell."""
        found: list[tuple[int, int | None, int | None]] = []
        for number, device in enumerate(self._devices):
            busy, memory = _Utilization(), _Memory()
            used = self._tells("nvmlDeviceGetMemoryInfo", device, ctypes.byref(memory))
            told = self._tells("nvmlDeviceGetUtilizationRates", device, ctypes.byref(busy))
            found.append((number, busy.gpu if told else None, memory.used // 1024 if used else None))
        return found

    def pids(self) -> list[list[int] | None]:
        """The processes that compute on each; None: it does not tell."""
        found: list[list[int] | None] = []
        for device in self._devices:
            count = ctypes.c_uint(MOST_PROCESSES)
            processes = (_Process * MOST_PROCESSES)()
            told = self._tells(
                "nvmlDeviceGetComputeRunningProcesses_v3", device, ctypes.byref(count), processes
            )
            found.append([processes[number].pid for number in range(count.value)] if told else None)
        return found

    def _tells(self, name: str, *arguments: Any) -> bool:
        return getattr(self._library, name)(*arguments) == 0

    def _ask(self, name: str, *arguments: Any) -> None:
        code = getattr(self._library, name)(*arguments)
        if code != 0:
            raise OSError("%s: error %d of NVML" % (name, code))
