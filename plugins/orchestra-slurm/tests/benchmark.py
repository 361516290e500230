"""Runs per second through Orchestra and Slurm, against sbatch of the same command alone. Prints two figures.

    python benchmark.py [NUMBER]

Brings up a Slurm of one node for itself.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cluster import Cluster, reason_against

COMMAND = [sys.executable, "-c", "pass"]
POLL = 0.1


def with_sbatch_alone(cluster: Cluster, number: int) -> float:
    """Runs per second where each is one call of sbatch, until the last one has ended."""
    begin = time.monotonic()
    for _ in range(number):
        cluster.run(
            "sbatch", "--parsable", "-o", "/dev/null", "--wrap", " ".join(f"'{word}'" for word in COMMAND)
        )
    while cluster.run("squeue", "-h").strip():
        time.sleep(POLL)
    return number / (time.monotonic() - begin)


def with_orchestra(cluster: Cluster, root: Path, number: int) -> float:
    """Runs per second of a queue that starts staged trials, until it has seen the last one end."""
    (root / "nothing.py").write_text("trial = 0\n")
    command = [str(Path(sys.executable).with_name("orchestra")), "-H", str(root / "home")]

    def call(*words: str) -> None:
        subprocess.run(
            [*command, *words],
            cwd=root,
            env=cluster.environment,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
        )

    call("run", "nothing.py", f"trial=range[1:{number}]", "--stage-trials", "-y")
    begin = time.monotonic()
    call("queue", "run-once=yes", "jobs=512", "--executor", "slurm poll=1")
    took = time.monotonic() - begin
    listed = subprocess.run(
        [*command, "runs", "list", "--all", "--json", "-Sc", "-Fo", "^nothing.py$"],
        env=cluster.environment,
        check=True,
        capture_output=True,
    ).stdout
    assert len(json.loads(listed)) == number, "not all runs have completed"
    return number / took


def main(number: int) -> int:
    """Measure and print."""
    reason = reason_against()
    if reason is not None:
        sys.exit(reason)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "slurm").mkdir()
        (root / "home").mkdir()
        with Cluster(root / "slurm") as cluster:
            cluster.environment = {**cluster.environment, "HOME": str(root), "LC_ALL": "C.UTF-8"}
            alone = with_sbatch_alone(cluster, number)
            through = with_orchestra(cluster, root, number)
    os.write(1, f"sbatch alone:   {alone:6.1f} runs/s\nwith Orchestra: {through:6.1f} runs/s\n".encode())
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 200))
