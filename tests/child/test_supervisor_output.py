"""What supervisors keep of an operation's output."""

from __future__ import annotations

import hashlib
import itertools
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestra.child import supervisor
from tests.child.attempts import eventually


def test_binary_output_is_kept_byte_for_byte(bench):
    attempt = bench.python("import os\nfor _ in range(300): os.write(1, bytes(range(256)) * 7)")

    assert attempt.output == bytes(range(256)) * 7 * 300
    assert attempt.exit.size == len(attempt.output)


def test_one_pipe_keeps_the_order_of_both_streams(plain):
    attempt = plain.python(
        "import os\nfor n in range(2000): os.write(1 + n % 2, b'%d\\n' % n)", streams="one"
    )

    assert attempt.output == b"".join(b"%d\n" % n for n in range(2000))
    assert {stream for _, _, stream in attempt.index} == {0}


def test_two_pipes_keep_each_stream_apart_and_in_order(plain):
    script = "import os, time\nfor n in range(30): os.write(1 + n % 2, b'%d ' % n); time.sleep(0.005)"

    attempt = plain.python(script, streams="two")

    assert streams_of(attempt)[0] == b"".join(b"%d " % n for n in range(0, 30, 2))
    assert streams_of(attempt)[1] == b"".join(b"%d " % n for n in range(1, 30, 2))


def streams_of(attempt) -> dict[int, bytes]:
    """The output, told apart by its index."""
    bounds = [*attempt.index, (len(attempt.output), 0, 0)]
    found = {0: b"", 1: b""}
    for (begin, _, stream), (end, _, _) in itertools.pairwise(bounds):
        found[stream] += attempt.output[begin:end]
    return found


def test_the_index_begins_at_nothing_rises_and_says_when(plain):
    before = time.time()

    attempt = plain.sh("for n in 1 2 3 4; do echo $n; sleep 0.1; done")

    offsets, times = [entry[0] for entry in attempt.index], [entry[1] / 1e6 for entry in attempt.index]
    assert offsets == [0, 2, 4, 6]
    assert before <= times[0] <= times[1] - 0.05 <= times[2] - 0.1 <= times[3] - 0.15 <= time.time()


def test_the_index_has_at_most_one_entry_each_50_ms(plain):
    attempt = plain.python(
        "import os, time\nend = time.monotonic() + 0.3\nwhile time.monotonic() < end: os.write(1, b'line\\n')"
    )

    assert 2 <= len(attempt.index) <= 1 + (attempt.exit.stopped - attempt.exit.started) / 50_000
    assert attempt.index[0][0] == 0


def test_an_operation_that_says_nothing_has_an_empty_output(plain):
    attempt = plain.run("true")

    assert (attempt.output, attempt.index, attempt.exit.size) == (b"", [], 0)


def test_direct_output_is_written_by_the_operation_itself(bench):
    attempt = bench.start("sh", "-c", "echo out; echo err >&2; sleep 0.5; echo more", output="direct")
    eventually(lambda: ("size", "8") in attempt.hints)

    attempt.ended()

    assert attempt.output == b"out\nerr\nmore\n"
    assert attempt.exit.size == 13
    assert [offset for offset, _, _ in attempt.index] == [0, 8]


def test_direct_output_survives_the_supervisor(plain):
    script = "import os\nfor n in range(50000): os.write(1, b'%d\\n' % n)\nos.kill(os.getppid(), 9)"
    attempt = plain.prepare(sys.executable, "-I", "-S", "-c", script, output="direct")
    plain.submit(attempt)

    attempt.process.wait(20)

    assert attempt.output == b"".join(b"%d\n" % n for n in range(50000))


def test_of_output_through_a_supervisor_no_more_is_lost_with_it_than_a_pipe_holds(plain, tmp_path):
    script = """
import fcntl, os, signal, sys
above, size, written = os.getppid(), fcntl.fcntl(1, fcntl.F_GETPIPE_SZ), os.write(1, b"0123456789" * 10_000)
os.kill(above, signal.SIGSTOP)
os.set_blocking(1, False)
try:
    while True: written += os.write(1, b"0123456789" * 100)
except BlockingIOError:
    with open(sys.argv[1], "w") as file: file.write(f"{written} {size}")
os.kill(above, signal.SIGKILL)
"""
    told = tmp_path / "told"
    attempt = plain.prepare(sys.executable, "-I", "-S", "-c", script, str(told))
    plain.submit(attempt)

    attempt.process.wait(20)

    written, size = map(int, told.read_text().split())
    assert 0 < written - len(attempt.output) <= size
    assert attempt.output == (b"0123456789" * 10**6)[: len(attempt.output)]


def test_an_operation_that_closes_its_output_runs_on(plain):
    attempt = plain.sh("echo said; exec > /dev/null 2>&1; sleep 0.2; exit 4")

    assert (attempt.output, attempt.exit.code) == (b"said\n", 4)


def test_what_was_written_just_before_the_end_is_kept(plain):
    for _ in range(5):
        attempt = plain.python("import os; os.write(1, b'x' * 65536); os._exit(0)")
        assert attempt.output == b"x" * 65536


def test_an_operation_that_is_killed_leaves_all_that_it_wrote(plain):
    attempt = plain.python(
        "import os\nfor _ in range(9): os.write(1, b'x' * 100000)\nos.kill(os.getpid(), 9)"
    )

    assert len(attempt.output) == 900000


@pytest.mark.parametrize("streams", ["one", "two"])
def test_a_hundred_megabytes_are_kept_with_little_memory(plain, streams):
    script = (
        "import os, hashlib\n"
        "block = os.urandom(1 << 20)\n"
        "for n in range(100): os.write(1 + n % 2 if @ else 1, block)\n"
    ).replace("@", str(streams == "two"))
    attempt = plain.start(sys.executable, "-I", "-c", script, streams=streams)
    pid = attempt.fence.identity.pid

    peak = 0
    while (status := _status(pid)) is not None:
        peak = max(peak, status)
        time.sleep(0.01)

    attempt.ended()
    path = attempt.directory / "output"
    assert path.stat().st_size == attempt.exit.size == 100 << 20
    assert 0 < peak < 30 << 10, "KiB of peak memory"
    # Two streams may cross within a block.
    assert streams == "two" or _blocks(path) == 1


def _status(pid: int) -> int | None:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), None)


def _blocks(path: Path) -> int:
    """How many different blocks of 1 MiB a file has."""
    found = set()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            found.add(hashlib.md5(block).digest())
    return len(found)


def test_output_beyond_what_can_be_written_is_dropped_and_the_operation_unharmed(plain):
    limit = 200_000
    script = "import os, sys\nfor _ in range(20): os.write(1, b'x' * 50000)\nsys.exit(3)"
    attempt = plain.prepare(sys.executable, "-I", "-S", "-c", script)

    plain.submit(attempt, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))

    found = attempt.ended()
    assert found.code == 3
    assert found.size == limit
    assert found.reason == f"output truncated at {limit} ({20 * 50000 - limit} bytes lost): File too large"
    assert attempt.output == b"x" * limit


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)]
    if subprocess.run(command, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_truncates_the_output_and_the_end_is_recorded_all_the_same(plain, small_disk):
    plain.jobs.root = small_disk
    script = "import os, sys\nfor _ in range(40): os.write(1, b'x' * 100000)\nsys.exit(3)"

    attempt = plain.python(script)

    assert os.statvfs(small_disk).f_bavail == 0
    assert attempt.exit.code == 3
    assert "No space left on device" in attempt.exit.reason
    assert attempt.exit.reason.startswith(f"output truncated at {attempt.exit.size} ")
    assert attempt.output == b"x" * attempt.exit.size
    assert attempt.index


def test_output_goes_on_when_there_is_room_again(plain, small_disk):
    plain.jobs.root = small_disk
    (small_disk / "filler").write_bytes(bytes(900_000))
    script = (
        "import os, time\n"
        "for _ in range(4): os.write(1, b'x' * 100000)\n"
        "time.sleep(0.3); os.unlink('filler'); time.sleep(1); os.write(1, b'again')"
    )

    attempt = plain.python(script)

    assert attempt.output.endswith(b"xagain")
    assert "output truncated at" in attempt.exit.reason


def test_a_disk_that_is_full_from_the_start_leaves_the_attempt_undecided(plain, small_disk):
    plain.jobs.root = small_disk
    attempt = plain.prepare("true")
    with (small_disk / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 12))
        except OSError:
            pass

    plain.submit(attempt)

    assert attempt.process.wait(20) == 74
    assert attempt.hints == [("failed", "28")]
    assert sorted(path.name for path in attempt.directory.iterdir()) == ["orders"]


def test_the_record_of_an_end_waits_for_a_disk_that_comes_back(plain):
    attempt = plain.prepare("sh", "-c", "exit 5")
    failing = (
        "record = supervisor.write_record; tries = iter([28, 5, 28]);"
        " supervisor.write_record = lambda *a: (_ for _ in ()).throw(OSError(n, 'no'))"
        " if (n := next(tries, 0)) else record(*a)"
    )

    plain.submit(attempt, patch=failing)

    assert attempt.ended().code == 5


def test_a_run_that_was_deleted_meanwhile_ends_its_supervisor(plain):
    attempt = plain.start("sh", "-c", "sleep 0.3; echo x")
    attempt.directory.rename(plain.root / "trash")

    assert attempt.process.wait(20) == 74


MOST = 1 << 20
"""What the outputs below may take on the disk."""
NUMBERED = """\
import os
for number in range(60):
    os.write(1, b"".join(b"%09d\\n" % (number * 8192 + line) for line in range(8192)))
"""
SIZE = 60 * 8192 * 10


@pytest.mark.parametrize("output", ["piped", "direct"])
def test_of_an_output_beyond_its_limit_the_beginning_and_the_end_are_kept(plain, output):
    if output == "direct":
        # The supervisor looks from time to time.
        script = NUMBERED.replace("import os", "import os, time") + "    time.sleep(0.01)\ntime.sleep(0.3)\n"
    else:
        script = NUMBERED
    attempt = plain.python(script, output=output, output_limit=MOST)

    found, path = attempt.exit, attempt.directory / "output"
    begin, end = map(int, (attempt.directory / "output.gap").read_text().split())
    assert (found.code, found.size, path.stat().st_size) == (0, SIZE, SIZE)
    assert path.stat().st_blocks * 512 <= MOST + (128 << 10 if output == "piped" else SIZE)
    assert begin == MOST // 4 and SIZE - end >= MOST // 2
    whole = b"".join(b"%09d\n" % number for number in range(60 * 8192))
    assert attempt.output[:begin] == whole[:begin]
    assert attempt.output[end:] == whole[end:]
    assert not attempt.output[begin:end].strip(b"\0")
    assert (
        found.reason
        == f"{end - begin} bytes in the middle of its output were given up: it is larger than {MOST}"
    )


def test_an_output_within_its_limit_is_kept_whole(plain):
    attempt = plain.python("import os\nos.write(1, b'x' * 1000000)", output_limit=MOST)

    assert (attempt.output, attempt.exit.reason) == (b"x" * 1_000_000, None)
    assert not (attempt.directory / "output.gap").exists()


def test_where_no_middle_can_be_given_up_the_output_ends_at_its_limit(plain, tmp_path):
    # Of another file system there is none here, but a descriptor that is no file is as good.
    kept = supervisor._Output(os.fsencode(tmp_path), MOST)
    real, pipe = kept.fd, os.pipe()
    os.close(real)
    kept.fd = pipe[1]
    os.set_blocking(pipe[1], False)
    kept.size = MOST - 10
    kept.write(memoryview(b"x" * 20), 0)
    kept.write(memoryview(b"y" * 30), 0)

    assert os.read(pipe[0], 100) == b"x" * 20
    why = f"it is larger than {MOST} bytes, and its middle can't be given up"
    assert kept.reason() == f"output truncated at {MOST + 10} (30 bytes lost): {why}"
    assert not (tmp_path / "output.gap").exists()
    os.close(pipe[0])
    os.close(pipe[1])
