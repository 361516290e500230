"""The whole story, told at a terminal, on a real Slurm of one node."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from cluster import Cluster, reason_against

ORCHESTRA = Path(sys.executable).with_name("orchestra")
EXAMPLE = Path(__file__).parents[3] / "examples" / "slurm"
PATIENCE = 40.0
SCRIPT = """
import os, signal, sys, time

seconds = 0.0
code = 0
memory = 0
stubborn = False
if stubborn:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
print("begun", flush=True)
if int(os.environ["RUN_ATTEMPT"]) > 1:
    sys.exit("this time it was not kept from ending")
held = b"x" * (memory << 20)
end = time.time() + seconds
while time.time() < end:
    time.sleep(0.05)
print("ended")
sys.exit(code)
"""


class Home:
    """A home and a project, and the command as a person gives it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = root / "home"
        self.project = root / "project"
        self.project.mkdir()
        (self.project / "work.py").write_text(SCRIPT)
        (root / "home").mkdir()
        (self.home / "config.yml").write_text("plugins: {executor: {slurm: {poll: 0.3}}}\n")
        self.environment = {**os.environ, "NO_COLOR": "1", "HOME": str(root)}
        self.started: list[subprocess.Popen[str]] = []

    def start(self, *words: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [ORCHESTRA, "-H", str(self.home), *words],
            cwd=self.project,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def end(self) -> None:
        """Leave no process of ours behind."""
        for process in self.started:
            process.kill()
            process.communicate()

    def __call__(self, *words: str, code: int = 0) -> str:
        process = self.start(*words)
        out, error = process.communicate(timeout=PATIENCE)
        assert process.returncode == code, f"{words}: {process.returncode}\n{out}\n{error}"
        return out + error

    def runs(self, *words: str) -> list[dict[str, object]]:
        listed = self.start("runs", "list", "--json", *words).communicate(timeout=PATIENCE)[0]
        return [run for run in json.loads(listed) if run["operation"] == "work.py"]

    def info(self, run: str) -> str:
        return self("runs", "info", run)

    def until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < deadline, f"it never came to that: {self.runs()}"
            time.sleep(0.1)

    def until_state(self, state: str, count: int = 1) -> list[str]:
        """The ids of the runs in ``state``, once there are so many."""
        self.until(lambda: len([run for run in self.runs() if run["status"] == state]) >= count)
        return [str(run["id"]) for run in self.runs() if run["status"] == state]


@pytest.fixture
def home(tmp_path: Path, cluster: Cluster) -> Generator[Home]:
    made = Home(tmp_path)
    yield made
    made.end()


def test_a_foreground_run_shows_its_output_and_ends_with_the_operations_code(home: Home) -> None:
    out = home("run", "work.py", "code=3", "-y", "--executor", "slurm", code=3)

    assert "begun\nended\n" in out
    (run,) = home.runs()
    assert (run["status"], run["exit_status"], run["executor"]) == ("error", 3, "slurm")


def test_an_operation_of_the_project_file_is_run_there_at_once_or_when_it_is_started(home: Home) -> None:
    (home.project / "orchestra.yml").write_text(
        "there: {main: work, flags-import: all, executor: {slurm: {partition: test}}, resources: cpus=2}\n"
        "here: {main: work, flags-import: all, executor: local}\n"
    )

    home("run", "there", "-y", "--run-id", "now")
    home("run", "there", "-y", "--run-id", "later", "--stage")
    home("run", "--start", "later", "-y")
    home("run", "here", "-y", "--run-id", "local")

    told = {name: home.info(name) for name in ("now", "later", "local")}
    assert all("status: completed" in text for text in told.values())
    assert "job:" not in told["local"]
    runs = {run["id"]: run["executor"] for run in json.loads(home("runs", "--json"))}
    assert runs == {"now": "slurm partition=test", "later": "slurm partition=test", "local": "local"}


def test_a_queue_runs_a_batch_of_trials_as_one_array(home: Home, cluster: Cluster) -> None:
    home("run", "work.py", "code=[0,0,0,4]", "-y", "--stage-trials")
    before = _jobs_in(cluster, "spare")
    out = home("queue", "run-once=yes", "jobs=4", "--executor", "slurm partition=spare window=0.3")

    assert out.count("ended") == 4
    trials = [run for run in home.runs() if run["batch"]]
    assert sorted(str(run["status"]) for run in trials) == ["completed"] * 3 + ["error"]
    assert _jobs_in(cluster, "spare") - before == 1, "the trials are no array, or not in the partition"


def test_the_trials_of_a_batch_in_the_foreground_are_in_slurm_at_once_and_leave_it_when_that_is_interrupted(
    home: Home, cluster: Cluster
) -> None:
    words = ("run", "work.py", "code=[0,0,0,1]", "-y", "--executor")
    before = _jobs_in(cluster, "spare")
    out = home(*words, "slurm partition=spare")
    assert out.count("begun\n") == out.count("ended\n") == 4
    assert _jobs_in(cluster, "spare") - before <= 3, "the trials are no array"

    # Of twelve that want all processors for ever one begins.
    batch = home.start(
        *words, "slurm sbatch_args=--exclusive", "seconds=[300,301,302]", "--run-id", "stopped"
    )
    home.until_state("running")
    batch.send_signal(signal.SIGINT)
    assert batch.wait(PATIENCE) == 130
    states = [run["status"] for run in home.runs() if run["batch"] == "stopped"]
    assert sorted(map(str, states)) == ["pending"] * 11 + ["terminated"]
    assert not cluster.run("squeue", "-h").strip(), "jobs were left in Slurm"


def test_a_stop_of_one_run_that_waits_leaves_the_others_of_its_array_alone(
    home: Home, cluster: Cluster
) -> None:
    home("run", "work.py", "code=[0,1,2]", "-y", "--stage-trials")
    home.start("queue", "jobs=3", "--executor", "slurm window=0.3 sbatch_args=--begin=now+600")
    home.until(lambda: cluster.run("squeue", "-h", "-r").count("orch-") == 3)
    stopped = str(home.runs()[0]["id"])
    home.until(lambda: "waiting in Slurm" in home.info(stopped))

    home("stop", stopped, "-y")

    assert home.until_state("terminated") == [stopped]
    assert cluster.run("squeue", "-h", "-r").count("orch-") == 2
    assert len(home.until_state("pending", 2)) == 2


def test_the_submitting_process_may_die_and_whoever_looks_next_sees_the_truth(
    home: Home, cluster: Cluster
) -> None:
    # Held back, so that it waits; the process that has submitted it is killed.
    process = home.start("run", "work.py", "-y", "--executor", "slurm sbatch_args=--begin=now+600")
    (run,) = home.until_state("pending")
    home.until(lambda: "waiting in Slurm" in home.info(run))
    process.kill()
    process.communicate()

    said = home.info(run)
    assert "status: pending" in said
    assert "(BeginTime)" in said

    cluster.run("scontrol", "update", f"jobid={_job_of(said)}", "StartTime=now")
    assert home.until_state("completed") == [run]
    assert "begun\nended" in home("cat", "--output", run)


def test_a_run_that_waits_is_cancelled_and_one_that_runs_is_told_to_end(home: Home, cluster: Cluster) -> None:
    waiting = home.start("run", "work.py", "-y", "--executor", "slurm sbatch_args=--begin=now+600")
    (run,) = home.until_state("pending")
    home.until(lambda: "waiting in Slurm" in home.info(run))
    home("stop", run, "-y")
    waiting.communicate(timeout=PATIENCE)
    assert home.until_state("terminated") == [run]
    assert "stopped before it was started" in home.info(run)

    running = home.start("run", "work.py", "seconds=60", "stubborn=yes", "-y", "--executor", "slurm")
    (run,) = home.until_state("running")
    home.until(lambda: "begun" in home("cat", "--output", run))
    home("stop", run, "-y")
    running.communicate(timeout=PATIENCE)
    (info,) = [one for one in home.runs() if one["id"] == run]
    assert (info["status"], info["exit_status"]) == ("terminated", 7)
    home.until(lambda: not cluster.run("squeue", "-h").strip())


ENDS = {
    "cancel": ("stopped", "was cancelled (CANCELLED)"),
    "preempt": ("preempted", "had to give its place to another job (PREEMPTED)"),
    "preempt-requeue": ("preempted", "had to give its place to another job (PREEMPTED)"),
    "memory": ("oom", "memory"),
    "node": ("lost", "has lost its node (NODE_FAIL)"),
    "kill": ("lost", "has failed (FAILED)"),
    "time": ("timeout", "was ended at its time limit (TIMEOUT)"),
}
"""How Slurm, or what befalls it, ends a job: the cause by which it is retried, and what is said of it."""


@pytest.mark.parametrize("how", ENDS)
def test_the_reasons_for_which_slurm_ends_a_job_are_told_apart_and_retried_by(
    home: Home, cluster: Cluster, how: str
) -> None:
    cause, told = ENDS[how]
    partition = "spare" if how == "preempt-requeue" else "test"
    words = ("work.py", "seconds=300", "-y", "--executor", f"slurm partition={partition} time=1")
    if how == "memory":
        words = (*words, "memory=150", "--resources", "memory=60M")
    plain = home.start("run", *words, "--run-id", "plain")
    again = home.start(
        "run", *words, "--run-id", "again", "--retries=1", f"--retry-on={cause.replace('stopped', 'any')}"
    )
    if how != "memory":
        home.until(
            lambda: all("begun" in home("cat", "--output", run) for run in home.until_state("running", 2))
        )
        end_jobs(home, cluster, how)

    plain.communicate(timeout=PATIENCE)
    _, error = again.communicate(timeout=PATIENCE)

    said = home.info("plain")
    assert f"status: {'lost' if how == 'kill' else 'terminated'}" in said
    assert f"cause: {cause}" in said
    assert told in _field(said, "reason")
    if how == "cancel":
        assert "is tried again" not in error
        assert "cause: stopped" in home.info("again")
    else:
        assert "is tried again (try 2 of 2): Slurm job" in error
        assert told in error
        assert "this time it was not kept from ending" in error


def end_jobs(home: Home, cluster: Cluster, how: str) -> None:
    """End the two jobs that run, as is said."""
    jobs = {run: _job_of(home.info(run)) for run in ("plain", "again")}
    match how:
        case "cancel":
            cluster.run("scancel", *jobs.values())
        case "time":
            for job in jobs.values():
                cluster.limit_time(job)
        case "node":
            cluster.fail_node()
        case "kill":
            for run in jobs:
                os.kill(int(_field(home.info(run), "pid")), signal.SIGKILL)
        case _:
            cluster.run("sbatch", "-p", "urgent", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 1")


def test_a_job_that_is_requeued_all_the_same_does_not_start_its_operation_again(
    home: Home, cluster: Cluster
) -> None:
    process = home.start("run", "work.py", "seconds=300", "-y", "--executor", "slurm")
    (run,) = home.until_state("running")
    home.until(lambda: "begun" in home("cat", "--output", run))
    job = _job_of(home.info(run))

    assert "disabled" in cluster.run("scontrol", "requeue", job)
    cluster.run("scontrol", "update", f"jobid={job}", "requeue=1")
    cluster.run("scontrol", "requeue", job)

    def has_failed() -> bool:
        # It would wait for two minutes, and can't be told otherwise before its first life is quite over.
        cluster.run("scontrol", "update", f"jobid={job}", "StartTime=now")
        return "FAILED" in cluster.run("squeue", "-h", "-t", "all", "-j", job, "-o", "%T")

    home.until(has_failed)
    process.communicate(timeout=PATIENCE)

    assert "status: terminated" in home.info(run)
    assert home("cat", "--output", run).count("begun") == 1


def test_a_run_that_slurm_will_never_take_has_failed_with_slurms_words(home: Home) -> None:
    out = home("run", "work.py", "-y", "--executor", "slurm partition=nowhere", code=1)

    assert "invalid partition" in out.lower()
    assert len(out.strip().splitlines()) == 1


def test_runs_go_on_while_the_controller_is_killed_and_started_again(home: Home, cluster: Cluster) -> None:
    staged = home.start("run", "work.py", "seconds=[12,12,12]", "-y", "--stage-trials")
    staged.communicate(timeout=PATIENCE)
    queue = home.start("queue", "run-once=yes", "jobs=3", "--executor", "slurm")
    home.until_state("running", 3)

    cluster.kill_controller()
    try:
        assert len(home.until_state("running", 3)) == 3
        more = home.start("run", "work.py", "-y", "--executor", "slurm")
        home.until(lambda: "can't be reached since" in home.info(home.runs()[-1]["id"]))
    finally:
        cluster.start_controller()

    out, error = queue.communicate(timeout=PATIENCE)
    assert queue.returncode == 0, error
    assert out.count("ended") == 3
    assert "Slurm can't be reached since" in error
    out, error = more.communicate(timeout=PATIENCE)
    assert more.returncode == 0, error
    assert "ended" in out
    assert {run["status"] for run in home.runs()} == {"completed"}


def test_a_queue_that_is_killed_is_followed_by_one_that_takes_over_what_waits_and_what_runs(
    home: Home, cluster: Cluster
) -> None:
    home("run", "work.py", "seconds=[3,3]", "-y", "--stage-trials")
    (first, second) = [str(run["id"]) for run in home.runs() if run["batch"]]
    queue = home.start("queue", "jobs=2", "--executor", "slurm")
    home.until_state("running", 2)
    queue.kill()
    queue.communicate()

    out = home("queue", "run-once=yes", "jobs=2", "--executor", "slurm")

    assert "could not" not in out
    home.until_state("completed", 2)
    states = {str(run["id"]): run["status"] for run in home.runs()}
    assert (states[first], states[second]) == ("completed", "completed")


def test_the_example_runs_its_sweep_on_a_cluster_of_its_own(tmp_path: Path) -> None:
    if (reason := reason_against()) is not None:
        pytest.skip(reason)
    place = tmp_path / "clone"
    for name in ("slurm", "globals"):
        shutil.copytree(EXAMPLE.with_name(name), place / "examples" / name)
    tests = place / "plugins" / "orchestra-slurm" / "tests"
    tests.mkdir(parents=True)
    shutil.copy(Path(__file__).with_name("cluster.py"), tests)
    path = f"{ORCHESTRA.parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHON": sys.executable, "HOME": str(tmp_path)}
    environment.pop("SLURM_CONF", None)

    done = subprocess.run(
        [place / "examples" / "slurm" / "sweep.sh", "--local-cluster"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("never ill:") == 6
    assert done.stdout.count("completed") >= 6


def _jobs_in(cluster: Cluster, partition: str) -> int:
    """How many jobs Slurm was given for ``partition``; an array is one."""
    jobs = cluster.run("squeue", "-h", "-r", "-t", "all", "-o", "%F|%P|%j").split()
    return len({job for job in jobs if f"|{partition}|" in job})


def _field(said: str, name: str) -> str:
    return next(line.partition(": ")[2] for line in said.splitlines() if line.startswith(f"{name}:"))


def _job_of(said: str) -> str:
    """The id of the job, as ``runs info`` tells it."""
    words = _field(said, "job").split()
    return words[words.index("job") + 1]
