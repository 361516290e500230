#!/usr/bin/env python3
"""sbatch, squeue, scancel and sacct that keep their jobs in a directory, and misbehave as a test tells them to.

``FAKE_SLURM`` names the directory. A job is ``jobs/ID``; what becomes of each of its elements is in ``pid``, ``ended``
and ``state`` (what a test says of it). ``calls`` has a line for each call. ``mode/COMMAND`` says how that one fails:
``fail TEXT``, ``hang``, or ``lost`` (sbatch: the job is taken, and nobody hears of it).
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time

ROOT = os.environ.get("FAKE_SLURM", "")
SIGNALS = {"INT": signal.SIGINT, "TERM": signal.SIGTERM, "QUIT": signal.SIGQUIT}


def read(*names):
    try:
        with open(os.path.join(ROOT, *names)) as file:
            return file.read()
    except OSError:
        return None


def write(text, *names):
    path = os.path.join(ROOT, *names)
    with open(f"{path}.{os.getpid()}.tmp", "w") as file:
        file.write(text)
    os.rename(file.name, path)


def misbehave(command):
    mode = read("mode", command) or ""
    if mode.startswith("fail"):
        sys.exit(f"{command}: error: {mode[5:]}")
    if mode == "hang":
        time.sleep(1000)
    return mode


def sbatch(arguments):
    options = {}
    while arguments and arguments[0].startswith("-"):
        name, _, value = arguments.pop(0).partition("=")
        options[name] = value
    mode = misbehave("sbatch")
    if "--array" in options and read("mode", "arrays") == "none":
        sys.exit("sbatch: error: Batch job submission failed: Invalid job array specification")
    with open(os.path.join(ROOT, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        number = int(read("last") or 0) + 1
        write(str(number), "last")
    count = int(options["--array"].partition("-")[2]) + 1 if "--array" in options else None
    job = {"name": options["--job-name"], "count": count, "options": options, "command": arguments}
    job["environment"] = dict(os.environ)
    write(json.dumps(job), "jobs", str(number))
    if read("mode", "start") != "none":
        for element in elements(number, job):
            start(element)
    if mode == "lost":
        sys.exit("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation")
    print(number)  # noqa: T201


def start(element):
    subprocess.Popen(
        [sys.executable, "-S", os.path.realpath(__file__), "run", element],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def run(arguments):
    element = arguments[0]
    number, _, index = element.partition("_")
    job = json.loads(read("jobs", number))
    environment = {**job["environment"], "SLURM_JOB_ID": number}
    out = job["options"]["--output"].replace("%%", "%")
    if index:
        environment["SLURM_ARRAY_TASK_ID"] = index
        out = out.replace("%a", index)
    with open(out, "ab") as file:
        # As a new session, which a job of Slurm's is, and by a shell, as the script says.
        child = subprocess.Popen(
            ["sh", *job["command"]],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            cwd="/",
            start_new_session=True,
        )
    write(str(child.pid), "pid", element)
    code = child.wait()
    write("COMPLETED" if code == 0 else "FAILED", "ended", element)


def elements(number, job):
    return [str(number)] if job["count"] is None else [f"{number}_{index}" for index in range(job["count"])]


def state_of(element):
    return (
        read("state", element) or read("ended", element) or ("RUNNING" if read("pid", element) else "PENDING")
    )


def squeue(arguments):
    misbehave("squeue")
    names = [argument.partition("=")[2] for argument in arguments if argument.startswith("--name=")]
    for number in sorted(map(int, os.listdir(os.path.join(ROOT, "jobs")))):
        job = json.loads(read("jobs", str(number)))
        if names and job["name"] not in names:
            continue
        for element in elements(number, job):
            state = state_of(element)
            if state != "FORGOTTEN":
                reason = "Priority" if state == "PENDING" else "None"
                print(f"{element}|{state}|{reason}|{'n1' if state == 'RUNNING' else ''}|{job['name']}")  # noqa: T201


def scancel(arguments):
    misbehave("scancel")
    element = arguments[-1]
    state = state_of(element)
    if "--state=PENDING" in arguments:
        # All that waits of an array, whichever element is named: as Slurm does it.
        number = element.partition("_")[0]
        for one in elements(number, json.loads(read("jobs", number))):
            if state_of(one) == "PENDING":
                write("CANCELLED", "state", one)
        return
    if state == "PENDING":
        write("CANCELLED", "state", element)
        return
    if state != "RUNNING":
        sys.exit("scancel: error: Kill job error on job id: Job/step already completing or completed")
    pid = int(read("pid", element))
    how = [argument.partition("=")[2] for argument in arguments if argument.startswith("--signal=")]
    os.kill(pid, SIGNALS[how[0]] if how else signal.SIGKILL)
    if not how:
        write("CANCELLED", "state", element)


def sacct(arguments):
    misbehave("sacct")
    known = read("mode", "accounting")
    if known is None:
        sys.exit("Slurm accounting storage is disabled")
    wanted = (
        next(argument for argument in arguments if argument.startswith("--jobs="))
        .partition("=")[2]
        .split(",")
    )
    for line in known.splitlines():
        if line.partition("|")[0] in wanted:
            print(line)  # noqa: T201


if __name__ == "__main__":
    command = os.path.basename(sys.argv[0])
    arguments = sys.argv[1:]
    if command == "fake_slurm.py":
        command = arguments.pop(0)
    else:
        with open(os.path.join(ROOT, "calls"), "a") as calls:
            calls.write(f"{time.monotonic()} {command} {' '.join(arguments)}\n")
    globals()[command](arguments)
