"""A supervisor, as a real process above real operations: starts, ends, records, hints."""

from __future__ import annotations

import ast
import inspect
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from msgspec import structs

from orchestra.child import supervisor
from tests.child.attempts import eventually, is_locked


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 3", 3), ("exit 255", 255)])
def test_the_exit_record_has_the_operations_status(bench, script, code):
    attempt = bench.sh(script)

    assert attempt.exit.code == code
    assert (attempt.exit.reason, attempt.exit.stopped_by, attempt.exit.leftovers) == (None, None, ())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_an_operation_that_a_signal_ended_has_a_negative_code(plain, number):
    assert plain.sh(f"kill -{int(number)} $$").exit.code == -number


def test_the_fence_names_the_supervisor_and_the_nonce_of_the_orders(bench):
    attempt = bench.start("sleep", "30")

    fence = attempt.fence
    assert (fence.fence, fence.kind, fence.nonce) == ("started", "supervisor", "0123456789abcdef")
    assert fence.identity.host == supervisor.host_id()
    assert fence.identity.boot == supervisor.boot_id()
    assert supervisor.process_start(fence.identity.pid) == fence.identity.start
    assert abs(fence.time / 1e6 - time.time()) < 20


def test_the_fence_is_locked_as_long_as_the_supervisor_lives(bench):
    attempt = bench.start("sleep", "30")
    assert is_locked(attempt.directory / "fence")

    attempt.signal(signal.SIGKILL)

    eventually(lambda: not is_locked(attempt.directory / "fence"))


def test_a_supervisor_that_lost_the_fence_touches_nothing_and_exits_75(plain):
    attempt = plain.run("sh", "-c", "echo once >> marks")
    before = {path.name: path.read_bytes() for path in attempt.directory.iterdir()}

    plain.submit(attempt)

    assert attempt.process.wait(20) == 75
    assert attempt.hints[-1] == ("lost", "0")
    assert {path.name: path.read_bytes() for path in attempt.directory.iterdir()} == before
    assert (plain.root / "marks").read_text() == "once\n"


def test_of_many_supervisors_of_one_attempt_one_runs_the_operation(make_bench):
    bench = make_bench(forked=True)
    attempt = bench.prepare("sh", "-c", "echo once >> marks")

    for _ in range(64):
        bench.submit(attempt)

    attempt.ended()
    eventually(lambda: [kind for kind, _ in attempt.hints].count("lost") == 63)
    assert (bench.root / "marks").read_text() == "once\n"
    assert [kind for kind, _ in attempt.hints].count("exit") == 1
    assert not list(attempt.directory.glob("*.tmp"))


@pytest.mark.parametrize(
    ("argv", "code", "reason"),
    [
        (["no-such-program"], 127, "could not start: No such file or directory: 'no-such-program'"),
        (["./missing"], 127, "could not start: No such file or directory: './missing'"),
        (["./plain"], 126, "could not start: Permission denied: './plain'"),
        (["./no-interpreter"], 126, "could not start: its interpreter is missing: './no-interpreter'"),
        (
            ["./no-program"],
            126,
            "could not start: Exec format error: './no-program' "
            "(a script must begin with a line such as '#!/bin/sh')",
        ),
        (["."], 126, "could not start: Permission denied: '.'"),
    ],
)
def test_an_operation_that_cannot_be_executed_says_why(plain, argv, code, reason):
    (plain.root / "plain").write_text("")
    for name, text in (("no-interpreter", "#!/no/such/interpreter\n"), ("no-program", "\x00\x01")):
        (plain.root / name).write_text(text)
        (plain.root / name).chmod(0o755)

    attempt = plain.run(*argv)

    assert (attempt.exit.code, attempt.exit.reason) == (code, reason)


def test_a_working_directory_that_is_gone_is_named(plain):
    attempt = plain.run("true", cwd="/no/such/folder")

    assert attempt.exit.code == 127
    assert attempt.exit.reason == "could not start: No such file or directory: '/no/such/folder'"


def test_a_process_that_cannot_be_forked_leaves_the_attempt_undecided(plain):
    attempt = plain.prepare("true")

    plain.submit(
        attempt, patch="supervisor.os.fork = lambda: (_ for _ in ()).throw(BlockingIOError(11, 'no'))"
    )

    assert attempt.process.wait(20) == supervisor.EXIT_FAILED
    assert not (attempt.directory / "fence").exists()
    assert attempt.hints == [("failed", "11")]


def test_a_child_that_cannot_get_ready_says_why(plain):
    attempt = plain.prepare("true")

    plain.submit(attempt, patch="supervisor._die_with_parent = lambda *_: supervisor.os.close(99)")

    assert attempt.ended().code == 126
    assert attempt.exit.reason == "could not start: Bad file descriptor: 'true'"


EARLY_DEATH = """
def dies(parent):
    supervisor.os._exit(9)

def listen_late(self, listen=supervisor._Supervision._catch_signals):
    supervisor.os.waitid(supervisor.os.P_PID, self.main, supervisor.os.WEXITED | supervisor.os.WNOWAIT)
    listen(self)

supervisor._die_with_parent = dies
supervisor._Supervision._catch_signals = listen_late"""


def test_a_child_that_dies_before_its_supervisor_listens_has_an_end(plain):
    attempt = plain.prepare("true")

    plain.submit(attempt, patch=EARLY_DEATH)

    assert attempt.ended().code == 9


def test_torn_orders_are_not_followed(plain):
    attempt = plain.prepare("true")
    orders = attempt.directory / "orders"
    orders.write_bytes(orders.read_bytes()[:-1])

    plain.submit(attempt, stderr=subprocess.PIPE)

    _, said = attempt.process.communicate(timeout=20)
    assert attempt.process.returncode == supervisor.EXIT_FAILED
    assert b"incomplete" in said
    assert not (attempt.directory / "fence").exists()


def test_a_launcher_says_when_an_attempt_cannot_begin(make_bench):
    bench = make_bench(forked=True)
    attempt = bench.prepare("true")
    (attempt.directory / "orders").unlink()

    bench.submit(attempt)

    assert eventually(lambda: attempt.hints)[0] == ("failed", "2")


def test_the_environment_is_changed_as_ordered_and_carries_the_cookie(bench):
    bench.environment = {
        "FROM_OUTSIDE": "1",
        "TAKEN_OUT": "1",
        "CHANGED": "before",
        "ORCHESTRA_FAILPOINT": "",
    }

    attempt = bench.run("env", "-0", env=["CHANGED=a=b\nc", "NEW="], unset=["TAKEN_OUT"])

    found = dict(item.split("=", 1) for item in attempt.output.decode().split("\0") if item)
    assert found["FROM_OUTSIDE"] == "1"
    assert found["CHANGED"] == "a=b\nc"
    assert found["NEW"] == ""
    assert "TAKEN_OUT" not in found
    assert "ORCHESTRA_FAILPOINT" not in found
    assert found["ORCHESTRA_ATTEMPT"] == attempt.cookie


def test_the_operation_is_found_along_the_path_it_is_given(plain):
    (plain.root / "tool").write_text("#!/bin/sh\necho mine\n")
    (plain.root / "tool").chmod(0o755)

    assert plain.run("tool", env=[f"PATH={plain.root}:/bin:/usr/bin"]).output == b"mine\n"


def test_arguments_and_directories_of_any_bytes_arrive_unchanged(plain):
    folder = plain.root / os.fsdecode(b"caf\xe9 'x\"\n")
    folder.mkdir()
    odd = os.fsdecode(b"\xff\xfe a=b\t")

    attempt = plain.run("sh", "-c", 'printf "%s|" "$PWD" "$@"', "sh", odd, "", cwd=folder)

    assert attempt.output == os.fsencode(f"{folder}|{odd}||")


def test_the_operation_has_a_session_of_its_own_default_signals_and_no_files_of_ours(bench):
    script = (
        "import os, sys, _signal\n"
        "ignored = [n for n in range(1, 32) if _signal.getsignal(n) == _signal.SIG_IGN]\n"
        "fds = sorted(int(n) for n in os.listdir('/proc/self/fd'))\n"
        "mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, ())\n"
        "print(os.getsid(0) == os.getpid(), mask, ignored, fds[:-1])\n"
    )
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    try:
        attempt = bench.python(script)
    finally:
        os.close(reader)
        os.close(writer)

    # Python itself ignores 13 and 25.
    assert attempt.output == b"True set() [13, 25] [0, 1, 2]\n"


def test_the_operation_has_the_users_umask_and_our_files_are_private(plain):
    before = os.umask(0o027)
    try:
        attempt = plain.sh("umask; touch made")
    finally:
        os.umask(before)

    assert attempt.output == b"0027\n"
    for name in ("fence", "output", "output.index", "exit"):
        assert (attempt.directory / name).stat().st_mode & 0o777 == 0o600


def test_the_operation_reads_nothing_unless_it_inherits_the_input(bench):
    assert bench.sh("cat; echo end").output == b"end\n"


def test_an_operation_that_inherits_the_input_reads_what_we_were_given(plain):
    attempt = plain.prepare("cat", stdin="inherit")
    reader, writer = os.pipe()
    os.write(writer, b"typed\n")
    os.close(writer)

    plain.submit(attempt, stdin=reader)
    os.close(reader)

    attempt.ended()
    assert attempt.output == b"typed\n"


def test_a_supervisor_holds_neither_the_output_nor_the_input_of_its_starter(plain):
    attempt = plain.prepare("sleep", "30", stdin="inherit")
    reader, writer = os.pipe()
    input_reader, input_writer = os.pipe()

    plain.submit(attempt, stdin=input_reader, stdout=writer)
    for fd in (writer, input_reader):
        os.close(fd)

    assert os.read(reader, 1) == b"", "somebody could still write to the starter's output"
    eventually(lambda: len(attempt.tree()) == 1)
    assert os.readlink(f"/proc/{attempt.fence.identity.pid}/fd/0") == os.devnull
    for fd in (reader, input_writer):
        os.close(fd)


def test_a_supervisor_closes_what_it_inherited(plain):
    attempt = plain.prepare("sleep", "30")
    reader, writer = os.pipe()
    plain.submit(attempt, also=(writer,))
    os.close(writer)

    assert os.read(reader, 1) == b""
    os.close(reader)


def test_it_works_without_any_standard_stream(plain):
    attempt = plain.prepare("sh", "-c", "echo out; echo err >&2", stdin="inherit")

    plain.submit(attempt, preexec_fn=lambda: [os.close(fd) for fd in (0, 1, 2)])

    attempt.ended()
    assert attempt.output == b"out\nerr\n"


def test_hints_tell_the_start_the_output_and_the_end_in_order(bench):
    attempt = bench.sh("echo hello; exit 4")

    eventually(lambda: attempt.hints and attempt.hints[-1][0] == "exit")
    identity = attempt.fence.identity
    assert attempt.hints[0] == ("pid", f"{identity.pid}:{identity.start}")
    assert attempt.hints[1:] in ([("size", "6"), ("exit", "4")], [("exit", "4")])


def test_the_last_size_is_told_while_the_operation_rests(bench):
    attempt = bench.start("sh", "-c", "for n in 1 2 3 4 5 6 7 8 9; do echo line $n; done; sleep 30")

    eventually(lambda: ("size", "63") in attempt.hints)


def test_a_starter_that_does_not_listen_holds_nothing_up(plain):
    try:
        while True:
            os.write(plain.writer, b"x" * 4096)
    except BlockingIOError:
        pass
    started = time.monotonic()

    attempt = plain.sh("for n in 1 2 3; do echo $n; sleep 0.05; done")

    assert time.monotonic() - started < 5
    assert attempt.output == b"1\n2\n3\n"


def test_a_starter_that_is_gone_harms_nothing(make_bench):
    bench = make_bench()
    attempt = bench.prepare("sh", "-c", "sleep 0.2; echo done")
    bench.submit(attempt)
    os.close(bench.reader)
    bench.reader = os.open(os.devnull, os.O_RDONLY)

    assert attempt.ended().code == 0
    assert attempt.output == b"done\n"


def test_supervisors_outlive_their_launcher(make_bench):
    bench = make_bench(forked=True)
    attempt = bench.start("sh", "-c", "sleep 0.3; echo done; exit 5")

    bench.launcher().send_signal(signal.SIGKILL)

    assert attempt.ended().code == 5
    assert attempt.output == b"done\n"


def test_the_record_counts_time_memory_and_processor(plain):
    script = "import time\nx = bytearray(50 << 20)\nwhile time.process_time() < 0.25: pass"

    found = plain.python(script).exit

    assert 0.2 <= found.cpu < 5
    assert 50 << 10 <= found.max_rss < 200 << 10
    assert 0.2 <= (found.stopped - found.started) / 1e6 < 20
    assert abs(found.started / 1e6 - time.time()) < 30


def test_an_operation_that_runs_too_long_is_stopped_and_the_reason_says_so(plain):
    attempt = plain.run("sleep", "30", stop_after=0.2)

    assert (attempt.exit.code, attempt.exit.stopped_by) == (-15, "TERM")
    assert attempt.exit.reason == "stopped after 0.2 s"


def test_the_fence_is_touched_while_it_is_held(plain):
    attempt = plain.prepare("sleep", "30")
    fence = attempt.directory / "fence"

    plain.submit(attempt, patch="supervisor.TOUCH_EVERY = 0.05")

    eventually(fence.exists)
    first = fence.stat().st_mtime_ns
    eventually(lambda: fence.stat().st_mtime_ns > first)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="there is no /proc")
def test_what_the_operation_takes_is_noted_from_time_to_time(plain):
    hungry = "import time; held = b'x' * (40 << 20); end = time.time() + 60\nwhile time.time() < end: pass"
    attempt = plain.prepare("sh", "-c", f'"{sys.executable}" -c "$1" & wait', "sh", hungry)
    samples = attempt.directory / "samples"

    plain.submit(attempt, patch="supervisor.TOUCH_EVERY = 0.05")

    def noted() -> list[list[float]]:
        lines = samples.read_text().splitlines() if samples.exists() else []
        return [[float(number) for number in line.split()] for line in lines]

    eventually(lambda: noted() and noted()[-1][1] >= 0.1 and noted()[-1][2] > 40 << 10)
    times = [time for time, _, _ in noted()]
    assert times == sorted(times) and times[0] > 0


def test_the_file_needs_nothing_that_is_slow_to_import(plain):
    script = (
        f"import sys; sys.path.insert(0, {plain.jobs.lib_dir!r}); import supervisor; supervisor.prepare();"
        "print(*{'json', 're', 'signal', 'subprocess', 'typing', 'ctypes'} & set(sys.modules))"
    )

    assert plain.python(script).output == b"\n"


def test_a_failure_of_the_supervisor_itself_is_recorded(plain):
    attempt = plain.prepare("sleep", "30")

    plain.submit(attempt, patch="supervisor._Supervision._on_time = lambda *_: 1 / 0")

    assert attempt.process.wait(20) == 0
    assert (attempt.exit.code, attempt.exit.stopped_by) == (-9, "KILL")
    assert "division by zero" in attempt.exit.reason
    assert attempt.tree() == []


def test_the_clock_may_be_set_back_meanwhile(plain):
    attempt = plain.prepare("sleep", "0.2")
    back = "clock = iter(range(10**18, 0, -10**16)); supervisor.time.time_ns = lambda: next(clock)"

    plain.submit(attempt, patch=back)

    attempt.ended()
    assert 0.2 <= (attempt.exit.stopped - attempt.exit.started) / 1e6 < 20


def test_a_supervisor_leaves_no_temporary_files(bench):
    attempt = bench.sh("echo hello")

    names = sorted(path.name for path in attempt.directory.iterdir())
    assert names == ["exit", "fence", "orders", "output", "output.index"]


def test_it_runs_on_the_oldest_syntax_we_promise():
    ast.parse(inspect.getsource(supervisor), feature_version=(3, 8))


@pytest.mark.parametrize("minor", [8, 9, 10, 12, 13, 14])
def test_it_runs_on_each_python_that_is_there(plain, minor):
    python = shutil.which(f"python3.{minor}")
    if python is None or subprocess.run([python, "-c", ""], stderr=subprocess.DEVNULL).returncode:
        pytest.skip("not installed")
    attempt = plain.prepare("sh", "-c", "echo out; setsid sleep 60 & exit 3", grace=0.1)
    attempt.job = structs.replace(attempt.job, argv=(python, *attempt.job.argv[1:]))

    plain.submit(attempt)

    assert (attempt.ended().code, attempt.output, len(attempt.exit.leftovers)) == (3, b"out\n", 1)
