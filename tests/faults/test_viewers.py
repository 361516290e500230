"""Readers of output that go away, stall, or are not there; output that is no text."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.faults.site import OPERATIONS, Site, wait_for


def test_a_reader_that_has_seen_enough_harms_nothing(site: Site) -> None:
    command = f"cd {OPERATIONS} && {' '.join(site.shell.command('run', '-y', 'work.py', 'lines=20000'))}"

    ended = site.shell.bash(f"set -o pipefail; {command} | head -1; echo ${{PIPESTATUS[0]}}")

    assert ended.output.splitlines()[0] == "000000"
    assert ended.output.splitlines()[-1] in ("0", "141")
    assert "Traceback" not in ended.output
    assert site.states() == ["completed"]
    assert len(site.output(site.runs()[0])) == 140_000


def test_a_reader_that_stalls_does_not_hold_the_operation_up(site: Site) -> None:
    process = site.start("run", "-y", "work.py", "lines=20000")

    wait_for(lambda: [one for one in site.executions() if one.end], "the end of the operation")

    assert process.poll() is None, "there is more output than a pipe holds, and nobody has read any"
    assert process.communicate(timeout=30)[0].count("\n") == 20_000
    assert process.returncode == 0


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_files_change_nothing(site: Site, closed: str) -> None:
    command = " ".join(site.shell.command("run", "-y", "work.py"))

    ended = site.shell.bash(f"cd {OPERATIONS} && {command} {closed}")

    assert ended.code == 0, ended.output
    assert "Traceback" not in ended.output
    assert site.states() == ["completed"]


def test_a_question_that_nobody_can_answer_is_refused(site: Site) -> None:
    for stdin in ("</dev/null", "<&-"):
        ended = site.shell.bash(
            f"cd {OPERATIONS} && {' '.join(site.shell.command('run', 'work.py'))} {stdin}"
        )

        assert ended.code == 2
        assert "--yes" in ended.output and "Traceback" not in ended.output
    assert site.runs() == []


def test_bytes_are_kept_as_they_are_and_shown_to_programs_as_json(site: Site) -> None:
    script = site.home.parent / "bytes.sh"
    script.write_text(
        "#!/bin/sh\nprintf '\\000\\377\\376 50%%\\r100%%\\n\\033[31mred\\033[0m\\357\\273\\277'\n"
    )
    script.chmod(0o755)
    expected = b"\0\xff\xfe 50%\r100%\n\x1b[31mred\x1b[0m\xef\xbb\xbf"

    ended = site.shell.run("--log-format", "json", "run", "-y", "bytes.sh", separate=True)

    assert ended.code == 0
    (run,) = site.runs()
    assert site.output(run) == expected
    events = [json.loads(line) for line in ended.error.splitlines()]
    assert any("base64" in json.dumps(event) for event in events)


FLOODS = {
    "64 MiB": ("head -c 67108864 /dev/zero | tr '\\0' x", 64 << 20),
    "1 GiB": ("head -c 1073741824 /dev/zero | tr '\\0' x", 1 << 30),
    "1 GiB of lines": ("yes 0123456789abcde | head -c 1073741824", 1 << 30),
}


@pytest.mark.parametrize(
    "flood",
    [
        "64 MiB",
        *(
            pytest.param(name, marks=[pytest.mark.nightly, pytest.mark.timeout(600)])
            for name in FLOODS
            if "GiB" in name
        ),
    ],
)
def test_a_flood_of_output_needs_little_memory_and_is_all_there(site: Site, flood: str) -> None:
    """An endless line, or lines without end."""
    command, size = FLOODS[flood]
    script = site.home.parent / "long.sh"
    script.write_text(f"#!/bin/sh\n{command}\n")
    script.chmod(0o755)
    with open(os.devnull, "w") as nowhere:
        process = site.shell.start("run", "-y", "long.sh", stdout=nowhere)
    (run,) = wait_for(lambda: [run for run in site.runs() if run.handle], "the start")
    status = Path(f"/proc/{site.supervisor_of(run)}/status")
    peak = 0
    while process.poll() is None:
        try:
            lines = status.read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            lines = []
        peak = max([peak, *(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))])
        time.sleep(0.005)

    assert process.returncode == 0
    directory = site.layout.attempt_directory(site.layout.run_directory(run), 1)
    assert (directory / "output").stat().st_size == size
    assert 0 < peak < 30 * 1024, f"{peak} KiB"
    kept = hashlib.md5(usedforsecurity=False)
    with open(directory / "output", "rb") as file:
        while block := file.read(1 << 20):
            kept.update(block)
    expected = subprocess.check_output(f"{command} | md5sum", shell=True, text=True)
    assert kept.hexdigest() == expected.split()[0]
    # One entry each 50 ms at most, and no more of them than there were chunks.
    assert sum(file.stat().st_size for file in directory.iterdir() if file.name != "output") < 1 << 20


def test_a_run_takes_little_room_of_its_own(site: Site) -> None:
    script = site.home.parent / "small.sh"
    script.write_text("#!/bin/sh\necho small\n")
    script.chmod(0o755)
    assert site.shell.run("run", "-y", "small.sh").code == 0

    (run,) = site.runs()
    control = site.layout.control(site.layout.run_directory(run))
    files = [path for path in control.rglob("*") if path.is_file()]
    assert len(files) <= 10, files
    assert sum(path.stat().st_size for path in files) <= 6 << 10
