"""A real Slurm of one node, without systemd, in a folder and on ports of its own: for tests, and for the benchmark.

python cluster.py COMMAND...        run a command on such a Slurm, and end that afterwards
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

DAEMONS = ("slurmctld", "slurmd", "munged")
CPUS = 8
"""What the node is said to have: jobs of tests do next to nothing."""
PATIENCE = 30.0

CONFIGURATION = """\
ClusterName=orchestra
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
{memory}
MpiDefault=none
ReturnToService=2
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=15
OverTimeLimit=0
MinJobAge=300
InactiveLimit=0
MessageTimeout=3
AccountingStorageType=accounting_storage/none
NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=4000 State=UNKNOWN
PartitionName=DEFAULT Nodes={node} MaxTime=INFINITE State=UP OverSubscribe=NO DefMemPerCPU=100
PartitionName=test Default=YES PreemptMode=CANCEL
PartitionName=spare PreemptMode=REQUEUE
PartitionName=urgent PriorityTier=10
"""

WITH_CGROUP = """\
TaskPlugin=task/cgroup"""
WITHOUT_CGROUP = """\
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill"""
"""What ends jobs that take more memory than they were given: the kernel, or where that can't be a look every second."""
CGROUP = """\
CgroupPlugin=cgroup/v1
ConstrainRAMSpace=yes
"""
CGROUPS = Path("/sys/fs/cgroup/memory")


def reason_against() -> str | None:
    """Why there can't be one here; None if there can."""
    missing = [name for name in DAEMONS if shutil.which(name, path=_path()) is None]
    if missing:
        return f"{', '.join(missing)} not installed (Debian: apt-get install slurm-wlm munge)"
    return None if os.geteuid() == 0 else "only root can start Slurm's daemons"


def _path() -> str:
    return f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Cluster:
    """A controller and a node, up for as long as the block lasts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.configuration = folder / "slurm.conf"
        self.node = f"node{os.getpid()}"
        """Of this cluster alone: cgroups are named so."""
        self.environment = {**os.environ, "PATH": _path(), "SLURM_CONF": str(self.configuration)}

    def __enter__(self) -> Cluster:
        for name in ("state", "spool", "munge"):
            (self.folder / name).mkdir()
        # Who checks credentials wants every folder above its socket to be safe from others.
        constrains = os.access(CGROUPS, os.W_OK)
        if constrains:
            (self.folder / "cgroup.conf").write_text(CGROUP)
        text = CONFIGURATION.format(
            memory=WITH_CGROUP if constrains else WITHOUT_CGROUP,
            node=self.node,
            host=socket.gethostname().partition(".")[0],
            controller_port=_free_port(),
            node_port=_free_port(),
            folder=self.folder,
            cpus=CPUS,
        )
        self.configuration.write_text(text)
        try:
            self._start_munge()
            self.start_controller("-c")
            self.run("slurmd")
            self._until(
                lambda: self.run("sinfo", "-h", "-o", "%T", "-p", "test").strip() == "idle", "an idle node"
            )
        except BaseException:
            self._down()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.cancel_all()
        self._down()

    def run(self, *command: str) -> str:
        """What a command of Slurm's says."""
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        return done.stdout if done.returncode == 0 else f"{done.stdout}{done.stderr}"

    def start_controller(self, *options: str) -> None:
        """Start the controller, with what it has saved unless told otherwise, and wait until it answers."""
        self.run("slurmctld", *options)
        self._until(lambda: "UP" in self.run("scontrol", "ping"), "the controller")

    def kill_controller(self) -> None:
        """Kill the controller as a crash does, when it has saved what it knows: it does so now and then."""
        now, state = time.time(), self.folder / "state" / "job_state"
        self.run("scontrol", "reconfigure")
        self._until(
            lambda: state.exists() and state.stat().st_mtime > now, "the controller to save its state"
        )
        self._kill("slurmctld", signal.SIGKILL)

    def cancel_all(self) -> None:
        """Leave no job behind."""
        self.run("scancel", f"--user={os.getuid()}")
        self._until(lambda: not self.run("squeue", "-h").strip(), "jobs to end")

    def limit_time(self, job: str) -> None:
        """Let the time of a job be over now: the controller looks at that every 30 seconds."""
        self.run("scontrol", "update", f"jobid={job}", "EndTime=now+1")

    def fail_node(self) -> None:
        """Let the node be down, and with that all that runs there. It comes back by itself: it answers."""
        self.run("scontrol", "update", f"nodename={self.node}", "state=down", "reason=test")

    def _start_munge(self) -> None:
        key = self.folder / "munge" / "key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        self.run(
            "munged",
            "--force",
            f"--socket={self.folder}/munge.socket",
            f"--key-file={key}",
            f"--pid-file={self.folder}/munged.pid",
            f"--log-file={self.folder}/munged.log",
            f"--seed-file={self.folder}/munge/seed",
        )
        self._until((self.folder / "munge.socket").exists, "munged")

    def _down(self) -> None:
        for name in ("slurmd", "slurmctld", "munged"):
            self._kill(name, signal.SIGTERM)
        for group in sorted(CGROUPS.glob(f"slurm_{self.node}/**/"), reverse=True):
            with suppress(OSError):
                group.rmdir()

    def _kill(self, name: str, number: int) -> None:
        try:
            pid = int((self.folder / f"{name}.pid").read_text())
            os.kill(pid, number)
        except (OSError, ValueError):
            return
        self._until(lambda: not _is_alive(pid), f"{name} to end")

    def _until(self, holds, what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not holds():
            if time.monotonic() > deadline:
                files = self.folder.glob("*.log")
                logs = "\n".join(f"{path.name}: {path.read_text(errors='replace')[-1500:]}" for path in files)
                raise TimeoutError(f"waited too long for {what}\n{logs}")
            time.sleep(0.05)


def _is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def main(command: list[str]) -> int:
    """Run ``command`` on a cluster of its own; its exit status."""
    reason = reason_against()
    if reason is not None:
        sys.exit(f"there can't be a Slurm here: {reason}")
    with tempfile.TemporaryDirectory() as folder, Cluster(Path(folder)) as cluster:
        return subprocess.run(command, env=cluster.environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
