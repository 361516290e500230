"""What GPUs do is noted beside what processes take, and a driver that is missing or stuck harms nothing."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestra.child.gpus import Gpus
from tests.child.attempts import eventually

NVML = r"""
#include <stdio.h>
#include <unistd.h>
int nvmlInit_v2(void) { if (STUCK) for (;;) pause(); return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned number, void **device) { *device = (void *)(long)(number + 1); return 0; }
int nvmlDeviceGetUtilizationRates(void *device, unsigned *rates) { rates[0] = 40 + (unsigned)(long)device; return 0; }
int nvmlDeviceGetMemoryInfo(void *device, unsigned long long *memory) {
    if ((long)device == 2) return 3;
    memory[2] = 5ULL << 30;
    return 0;
}
"""
needs_compiler = pytest.mark.skipif(
    shutil.which("cc") is None or not sys.platform.startswith("linux"), reason="there is no C compiler"
)


class Library:
    """NVML with one device, as ctypes shows it."""

    def __init__(self, **codes: int) -> None:
        self.codes = codes

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> int:
            code = self.codes.get(name, 0)
            if code == 0 and name == "nvmlDeviceGetCount_v2":
                arguments[0]._obj.value = 1
            elif code == 0 and name == "nvmlDeviceGetUtilizationRates":
                arguments[1]._obj.gpu = 7
            elif code == 0 and name == "nvmlDeviceGetMemoryInfo":
                arguments[1]._obj.used = 3 << 20
            return code

        return call


def test_each_device_tells_its_use_and_its_memory() -> None:
    assert Gpus(Library()).read() == [(0, 7, 3 << 10)]
    assert Gpus(Library(nvmlDeviceGetUtilizationRates=3)).read() == [(0, None, 3 << 10)]
    assert Gpus(Library(nvmlDeviceGetMemoryInfo=999)).read() == [(0, 7, None)]


@pytest.mark.parametrize("name", ["nvmlInit_v2", "nvmlDeviceGetCount_v2", "nvmlDeviceGetHandleByIndex_v2"])
def test_devices_that_can_not_be_asked_are_an_error(name: str) -> None:
    with pytest.raises(OSError, match=name):
        Gpus(Library(**{name: 9}))


def compiled(folder: Path, stuck: bool) -> Path:
    (folder / "nvml.c").write_text(NVML)
    library = folder / "libnvidia-ml.so.1"
    command = ["cc", "-shared", "-fPIC", f"-DSTUCK={int(stuck)}", "-o", str(library), str(folder / "nvml.c")]
    subprocess.run(command, check=True)
    return library


def patch(library: Path | str) -> str:
    return (
        "supervisor.TOUCH_EVERY = 0.05; supervisor.GPU_FILES = ('/',); "
        f"import gpus; gpus.LIBRARY = {str(library)!r}"
    )


@needs_compiler
def test_a_supervisor_notes_what_the_gpus_do_from_time_to_time(plain, tmp_path: Path) -> None:
    attempt = plain.prepare("sleep", "30")
    samples = attempt.directory / "gpu_samples"

    plain.submit(attempt, patch=patch(compiled(tmp_path, stuck=False)))

    eventually(lambda: samples.exists() and samples.read_text().count("\n") >= 4)
    first, second, *_ = (line.split()[1:] for line in samples.read_text().splitlines())
    assert (first, second) == (["0", "41", str(5 << 20)], ["1", "42", "-"])


@needs_compiler
def test_a_driver_that_never_answers_holds_nothing_up(plain, tmp_path: Path) -> None:
    attempt = plain.prepare("sh", "-c", "sleep 0.5; exit 3")

    plain.submit(attempt, patch=patch(compiled(tmp_path, stuck=True)))

    assert attempt.ended().code == 3
    assert (attempt.directory / "samples").exists()
    assert not (attempt.directory / "gpu_samples").exists()


def test_a_computer_without_the_library_does_without(plain, tmp_path: Path) -> None:
    attempt = plain.prepare("sh", "-c", "sleep 0.5; exit 3")

    plain.submit(attempt, patch=patch(tmp_path / "none.so"))

    assert attempt.ended().code == 3
    assert not (attempt.directory / "gpu_samples").exists()
