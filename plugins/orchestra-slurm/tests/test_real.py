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
import signal, sys, time

seconds = 0.0
code = 0
stubborn = False
if stubborn:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
print("begun", flush=True)
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
    out = home("queue", "run-once=yes", "jobs=4", "--executor", "slurm partition=spare window=0.3")

    assert out.count("ended") == 4
    trials = [run for run in home.runs() if run["batch"]]
    assert sorted(str(run["status"]) for run in trials) == ["completed"] * 3 + ["error"]
    jobs = cluster.run("squeue", "-h", "-r", "-t", "all", "-o", "%F|%P|%j").split()
    mine = {job for job in jobs if "|spare|" in job}
    assert len(mine) == 1, "the trials are no array, or not in the partition"


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


@pytest.mark.parametrize(
    ("how", "cause"),
    [("cancel", "stopped"), ("preempt", "preempted"), ("kill", "lost")],
)
def test_the_reasons_for_which_slurm_ends_a_job_are_told_apart(
    home: Home, cluster: Cluster, how: str, cause: str
) -> None:
    process = home.start("run", "work.py", "seconds=300", "-y", "--executor", "slurm")
    (run,) = home.until_state("running")
    home.until(lambda: "begun" in home("cat", "--output", run))
    job = _job_of(home.info(run))
    if how == "cancel":
        cluster.run("scancel", job)
    elif how == "preempt":
        cluster.run("sbatch", "-p", "urgent", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 1")
    else:
        pid = int(_field(home.info(run), "pid"))
        os.kill(pid, signal.SIGKILL)
    process.communicate(timeout=PATIENCE)

    said = home.info(run)
    assert f"status: {'lost' if how == 'kill' else 'terminated'}" in said
    if how == "cancel":
        assert "was cancelled (CANCELLED)" in said
    if how == "preempt":
        assert "had to give its place to another job (PREEMPTED)" in said


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


def _field(said: str, name: str) -> str:
    return next(line.partition(": ")[2] for line in said.splitlines() if line.startswith(f"{name}:"))


def _job_of(said: str) -> str:
    """The id of the job, as ``runs info`` tells it."""
    words = _field(said, "job").split()
    return words[words.index("job") + 1]
