"""The warm executor: its contract, what it warms, what it refuses, and who may die."""

from __future__ import annotations

import logging
import os
import signal
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import msgspec
import pytest

from orchestra.builtin import executor_warm
from orchestra.builtin.executor_warm import Options, open_executor
from orchestra.child import supervisor
from orchestra.errors import ExecutorError
from orchestra.testing.executors import ExecutorContract, SupervisedJobs, exit_of, fence_of, output_of, over
from orchestra.testing.hinting import (
    ForetellingContract,
    HintingContract,
    PreparingContract,
    WarmingContract,
)
from tests.builtin.warm_bench import open_bench
from tests.child.attempts import eventually

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the warm executor needs Linux")


class Kit(PreparingContract, WarmingContract, ForetellingContract, HintingContract, ExecutorContract):
    imports: str | None

    @pytest.fixture
    def opener(self, tmp_path_factory):
        home = tmp_path_factory.getbasetemp() / "home"
        home.mkdir(exist_ok=True)
        return partial(open_executor, Options(home=home, imports=self.imports))


class TestKit(Kit):
    imports = None


class ScriptJobs(SupervisedJobs):
    """Makes a Python script of each command, which does what the command would do."""

    def __call__(self, argv, **fields):
        name = f"script-{os.urandom(4).hex()}.py"
        (self.root / name).write_text(f"import os\nos.execvp({argv[0]!r}, {argv!r})\n")
        return super().__call__([sys.executable, "-u", name], **fields)


class TestKitOfForks(Kit):
    imports = "os"
    many = 30

    @pytest.fixture
    def make_job(self, tmp_path, tmp_path_factory):
        jobs = ScriptJobs(tmp_path, tmp_path_factory.getbasetemp() / "orchestra-lib")
        yield jobs
        jobs.end()


@pytest.fixture
def make_bench(tmp_path):
    """A function that opens executors, which are closed at the end of the test."""
    with ExitStack() as stack:
        yield lambda imports=None: stack.enter_context(open_bench(tmp_path, imports))


@pytest.fixture
def library(tmp_path):
    """A folder for modules that belong to no run, and the order that makes them found."""
    folder = tmp_path / "library"
    folder.mkdir()
    return folder


def path_of(library):
    return {"env": [f"PYTHONPATH={library}"]}


def submitted(bench, job):
    """Submit a job and wait for its fence."""
    handle = bench.portal.call(bench.warm.submit, job)
    eventually(lambda: fence_of(job))
    return handle


# ---- what is warmed


def test_the_first_run_is_started_plainly_and_the_next_ones_are_forks(make_bench):
    bench = make_bench()
    jobs = [
        bench.job({"script.py": "import argparse, sys; print('argparse' in sys.modules)"}) for _ in range(3)
    ]
    seen = [bench.see(bench.warm, job).output for job in jobs]

    assert seen == ["True\n"] * 3
    assert [bench.forked(job) for job in jobs] == [False, True, True]
    assert len(bench.warm._interpreters) == 1


def test_imports_that_are_asked_for_are_there_from_the_first_run_on(make_bench):
    bench = make_bench("json.tool")
    job = bench.job({"script.py": "import sys; print('json.tool' in sys.modules)"})

    assert bench.see(bench.warm, job).output == "True\n"
    assert bench.forked(job)


def test_scripts_with_the_same_imports_share_an_interpreter(make_bench):
    bench = make_bench()
    for name in "abcd":
        bench.see(bench.warm, bench.job({f"{name}.py": "import json"}, [f"{name}.py"]))

    assert len(bench.warm._interpreters) == 1


def test_a_variable_that_an_import_may_look_at_makes_another_interpreter(make_bench, library):
    (library / "lib.py").write_text("import os\nVALUE = os.environ.get('LEVEL')")
    bench = make_bench()
    seen = []
    for level in ("low", "high") * 3:
        orders = {"env": [f"PYTHONPATH={library}", f"LEVEL={level}"]}
        seen.append(
            bench.see(bench.warm, bench.job({"script.py": "import lib; print(lib.VALUE)"}, **orders)).output
        )

    assert seen == ["low\n", "high\n"] * 3
    assert len(bench.warm._interpreters) == 2


def test_what_a_script_sets_before_an_import_counts(make_bench, library):
    (library / "lib.py").write_text("import os\nVALUE = os.environ.get('LEVEL')")
    bench = make_bench()
    script = "import os\nos.environ['LEVEL'] = 'mine'\nimport lib\nprint(lib.VALUE)"
    seen = [
        bench.see(bench.warm, bench.job({"script.py": script}, **path_of(library))).output for _ in range(3)
    ]

    assert seen == ["mine\n"] * 3
    assert len(bench.warm._interpreters) == 1


def test_what_an_import_sets_in_the_environment_is_there(make_bench, library):
    (library / "lib.py").write_text("import os\nos.environ['SET'] = os.environ['GIVEN'] = 'lib'")
    bench = make_bench()
    script = "import lib, os; print(os.environ['SET'], os.environ['GIVEN'])"
    orders = {"env": [f"PYTHONPATH={library}", "GIVEN=before"]}
    plain, forked = bench.both({"script.py": script}, **orders)

    assert forked == plain == (0, "lib lib\n")


def test_a_library_that_has_changed_is_loaded_anew(make_bench, library):
    bench = make_bench()
    seen = []
    for value in ("old", "old", "old", "newer", "newer", "newer"):
        (library / "lib.py").write_text(f"VALUE = {value!r}") if value not in seen else None
        job = bench.job({"script.py": "import lib; print(lib.VALUE)"}, **path_of(library))
        seen.append(bench.see(bench.warm, job).output.strip())

    assert seen == ["old"] * 3 + ["newer"] * 3
    assert bench.forked(job)


@pytest.mark.parametrize("name", ["supervisor", "launcher", "warm", "injection"])
def test_a_library_may_have_a_name_of_ours(make_bench, library, name):
    (library / f"{name}.py").write_text("NAME = 'theirs'")
    (library / "lib.py").write_text(f"from {name} import NAME")
    bench = make_bench()
    plain, forked = bench.both({"script.py": "import lib; print(lib.NAME)"}, **path_of(library))

    assert forked == plain == (0, "theirs\n")


def test_runs_do_not_wait_for_imports_that_take_long_and_are_told_once(
    make_bench, library, monkeypatch, caplog
):
    monkeypatch.setattr(executor_warm, "LOAD_PATIENCE", 0.1)
    (library / "lib.py").write_text(
        "import os, time\nwhile 'RUN_DIR' not in os.environ and not os.path.exists(__file__ + '.go'): time.sleep(0.01)"
    )
    bench = make_bench("lib")
    jobs = [bench.job({"script.py": "import lib; print('ran')"}, **path_of(library)) for _ in range(3)]
    seen = [bench.see(bench.warm, job).output for job in jobs[:2]]
    (library / "lib.py.go").touch()
    (interpreter,) = bench.warm._interpreters.values()
    eventually(lambda: bench.portal.call(bench.warm._hints.read) or interpreter.told.settled)
    seen.append(bench.see(bench.warm, jobs[2]).output)

    assert seen == ["ran\n"] * 3
    assert [bench.forked(job) for job in jobs] == [False, False, True]
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        "the executor 'warm' starts new interpreters for runs until its own has loaded: "
        "that takes longer than 0.1 seconds"
    ]


def test_a_file_of_the_run_stands_in_for_a_module_as_ever(make_bench, library, caplog):
    (library / "lib.py").write_text("import part\nNAME = part.NAME")
    (library / "part.py").write_text("NAME = 'library'")
    bench = make_bench()
    files = {"script.py": "import lib; print(lib.NAME)", "part.py": "NAME = 'mine'"}
    seen = [bench.see(bench.warm, bench.job(files, **path_of(library))).output for _ in range(4)]

    assert seen == ["mine\n"] * 4
    assert "'part.py' of the run stands in for a module" in caplog.text


def test_the_run_s_own_folders_are_looked_through_first(make_bench):
    bench = make_bench()
    files = {"script.py": "import json, mine; print(mine.NAME)", "lib/mine.py": "NAME = 'lib'"}
    jobs = [bench.job(files) for _ in range(3)]
    seen = []
    for job in jobs:
        orders = Path(job.directory) / "orders"
        cwd = supervisor.OrdersFile(os.fsencode(job.directory)).cwd.decode()
        orders.write_bytes(orders.read_bytes() + f"env=PYTHONPATH={cwd}/lib\0".encode())
        seen.append(bench.see(bench.warm, job).output)

    assert seen == ["lib\n"] * 3
    assert [bench.forked(job) for job in jobs] == [False, True, True]


def test_the_interpreter_that_was_used_longest_ago_makes_room(make_bench, monkeypatch):
    monkeypatch.setattr(executor_warm, "MOST_INTERPRETERS", 2)
    bench = make_bench("")
    launchers = []
    for level in "abc":
        bench.see(bench.warm, bench.job({"script.py": ""}, env=[f"LEVEL={level}"]))
        launchers.append(list(bench.warm._interpreters.values())[-1].launcher)

    assert [each.alive() for each in launchers] == [False, True, True]
    eventually(lambda: supervisor.process_start(launchers[0].pid) is None)


@pytest.mark.parametrize("attached", [True, False])
def test_other_programs_are_started_plainly(make_bench, attached):
    bench = make_bench("")
    argv = [sys.executable, "-c", "print('x')"] if not attached else [sys.executable, "script.py"]
    (bench.root / "script.py").write_text("print('x')")
    job = bench.jobs(argv, attached=attached)

    assert bench.see(bench.warm, job).output == "x\n"
    assert not bench.warm._interpreters


# ---- what is refused

UNSAFE = {
    "threads": ("import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()", "threads"),
    "a native thread": ("import _thread, time\n_thread.start_new_thread(time.sleep, (99,))", "threads"),
    "an open file": ("import os\nfile = open(os.devnull)", "leaves '/dev/null' open"),
    "output": ("print('hello')", "prints something"),
    "unflushed output": ("import sys\nsys.stdout.write('hello')", "prints something"),
    "a signal handler": ("import signal\nsignal.signal(signal.SIGTERM, print)", "how signals are handled"),
    "another directory": ("import os\nos.chdir('/tmp')", "the working directory"),
    "a process": ("import subprocess\nprocess = subprocess.Popen(['sleep', '9'])", "starts a process"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNSAFE)
def test_imports_that_make_forks_unsafe_are_refused_where_they_are_asked_for(make_bench, library, name):
    text, reason = UNSAFE[name]
    (library / "lib.py").write_text(text)
    bench = make_bench("lib")

    with pytest.raises(ExecutorError, match=rf"can't use imports=lib: .*{reason}"):
        bench.see(bench.warm, bench.job({"script.py": ""}, **path_of(library)))


@pytest.mark.parametrize("name", ["threads", "output"])
def test_a_script_whose_imports_make_forks_unsafe_runs_all_the_same(make_bench, library, name, caplog):
    text, reason = UNSAFE[name]
    (library / "lib.py").write_text(text)
    bench = make_bench()
    jobs = [bench.job({"script.py": "import lib; print('ran')"}, **path_of(library)) for _ in range(4)]
    seen = [bench.see(bench.warm, job).output.splitlines()[-1] for job in jobs]

    assert seen == ["ran"] * 4
    (told,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert reason in told.message
    assert not any(bench.forked(job) for job in jobs)


def test_cuda_that_is_initialised_is_refused(make_bench, library):
    (library / "torch").mkdir()
    (library / "torch" / "__init__.py").write_text("from . import cuda")
    (library / "torch" / "cuda.py").write_text("def is_initialized(): return True")
    bench = make_bench("torch")

    with pytest.raises(ExecutorError, match="CUDA"):
        bench.see(bench.warm, bench.job({"script.py": ""}, **path_of(library)))


def test_a_module_that_is_missing_is_refused(make_bench):
    bench = make_bench("json,missing_module")

    with pytest.raises(ExecutorError, match="'missing_module' can't be imported"):
        bench.see(bench.warm, bench.job({"script.py": ""}))


def test_a_script_that_imports_what_is_missing_says_so_itself(make_bench):
    bench = make_bench()
    plain, forked = bench.both({"script.py": "import missing_module"})

    assert forked == plain
    assert "ModuleNotFoundError" in forked.output


def test_an_import_that_ends_the_interpreter_is_told(make_bench, library):
    (library / "lib.py").write_text("import os; os._exit(3)")
    bench = make_bench("lib")

    with pytest.raises(ExecutorError, match="ended while it was loading"):
        bench.see(bench.warm, bench.job({"script.py": ""}, **path_of(library)))


def test_a_library_that_ends_its_threads_for_a_fork_is_no_hindrance(make_bench):
    bench = make_bench()
    script = "import numpy, os\nprint(len(os.listdir('/proc/self/task')))"
    jobs = [bench.job({"script.py": script}) for _ in range(2)]
    for job in jobs:
        bench.see(bench.warm, job)

    assert output_of(jobs[1]) == b"1\n"
    assert bench.forked(jobs[1])


@pytest.mark.parametrize("imports", ["numpy torch", "a/b", "numpy,-x", "a..b"])
def test_a_name_that_no_module_can_have_is_refused(imports):
    with pytest.raises(msgspec.ValidationError, match="is no module's name"):
        msgspec.convert({"home": "/x", "imports": imports}, Options, dec_hook=lambda kind, value: kind(value))


# ---- processes

SLEEP = "import os, time\nos.write(1, b'%d\\n' % os.getpid())\ntime.sleep(60)\n"


def operation(job):
    """The pid of a running job's operation, which prints it."""
    return int(eventually(lambda: output_of(job).strip()))


def test_the_operation_s_processes_are_known_by_the_cookie(make_bench):
    bench = make_bench("subprocess")
    script = "import os\nos.fork()\n" + SLEEP
    job = bench.job({"script.py": script})
    handle = submitted(bench, job)
    eventually(lambda: len(output_of(job).split()) == 2)
    pids = set(map(int, output_of(job).split()))

    assert pids <= {pid for pid, _ in supervisor.tree_of(job.environment[supervisor.COOKIE])}
    bench.portal.call(bench.warm.stop, handle, "terminate")
    eventually(lambda: exit_of(job))
    assert exit_of(job).stopped_by == "TERM"
    assert all(supervisor.process_start(pid) is None for pid in pids)


TITLE = """
import os
with open("/proc/self/stat") as file:
    fields = file.read().rpartition(")")[2].split()
start, end = int(fields[47]), int(fields[48])
with open("/proc/self/mem", "r+b", buffering=0) as memory:
    os.pwrite(memory.fileno(), bytes(end - start), start)
"""
"""What a library does that sets the title of the process: the environment that it began with makes room for that."""


def test_operations_show_their_attempt_where_an_import_has_overwritten_what_they_would_show(
    make_bench, library
):
    (library / "title.py").write_text(TITLE)
    bench = make_bench("title")
    script = "print('ORCHESTRA_ATTEMPT=' in open('/proc/self/environ').read())"
    jobs = [bench.job({"script.py": script}, **path_of(library)) for _ in range(3)]

    assert [bench.see(bench.warm, job).output for job in jobs] == ["True\n"] * 3


def test_a_process_that_left_its_session_is_ended_with_the_operation(make_bench):
    bench = make_bench("")
    script = (
        "import os, time\nif not os.fork():\n    os.setsid()\n    if not os.fork():\n        time.sleep(60)\n"
    )
    job = bench.job({"script.py": script}, grace=0.1)

    assert bench.run(bench.warm, job).code == 0
    assert exit_of(job).leftovers
    assert supervisor.tree_of(job.environment[supervisor.COOKIE], fence_of(job).identity.pid) == []


@pytest.mark.parametrize(("how", "number"), [("interrupt", -2), ("terminate", -15), ("kill", -9)])
def test_a_fork_can_be_stopped(make_bench, how, number):
    bench = make_bench("")
    job = bench.job({"script.py": SLEEP})
    handle = submitted(bench, job)
    operation(job)
    bench.portal.call(bench.warm.stop, handle, how)
    bench.portal.call(over, bench.warm, handle)

    assert exit_of(job).code == number
    assert (b"KeyboardInterrupt" in output_of(job)) == (how == "interrupt")


def test_a_supervisor_that_is_killed_takes_the_operation_along(make_bench):
    bench = make_bench("")
    job = bench.job({"script.py": SLEEP})
    handle = submitted(bench, job)
    pid = operation(job)
    os.kill(fence_of(job).identity.pid, signal.SIGKILL)

    assert bench.portal.call(over, bench.warm, handle) == "ended"
    eventually(lambda: supervisor.process_start(pid) is None)
    assert exit_of(job) is None


def test_an_interpreter_that_is_killed_harms_no_run_and_is_replaced(make_bench):
    bench = make_bench("")
    gate = bench.root / "gate"
    waits = f"import os, time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.01)\nprint('done')\n"
    job = bench.job({"script.py": waits})
    handle = submitted(bench, job)
    (interpreter,) = bench.warm._interpreters.values()
    os.kill(interpreter.launcher.pid, signal.SIGKILL)
    eventually(lambda: not interpreter.launcher.alive())
    again = bench.job({"script.py": "print('again')"})

    assert bench.see(bench.warm, again) == (0, "again\n")
    assert bench.forked(again)
    gate.touch()
    bench.portal.call(over, bench.warm, handle)
    assert (exit_of(job).code, output_of(job)) == (0, b"done\n")


def test_interpreters_end_with_the_executor_and_runs_do_not(make_bench):
    bench = make_bench("")
    gate = bench.root / "gate"
    waits = f"import os, time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.01)\n"
    job = bench.job({"script.py": waits})
    submitted(bench, job)
    (interpreter,) = bench.warm._interpreters.values()
    bench.portal.call(bench.warm.close)

    eventually(lambda: supervisor.process_start(interpreter.launcher.pid) is None)
    assert exit_of(job) is None
    gate.touch()
    eventually(lambda: exit_of(job))
    assert exit_of(job).code == 0


def test_a_fork_takes_neither_files_nor_processes_of_the_launcher_along(make_bench):
    bench = make_bench("")
    script = "import os, sys\nprint(sorted(os.listdir('/proc/self/fd')), os.path.exists('/proc/self/fd/4'))"
    job = bench.job({"script.py": script})

    assert bench.see(bench.warm, job).output == "['0', '1', '2', '3'] False\n"
