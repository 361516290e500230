"""Builders of model objects for tests: every field has a default, give those that the test is about."""

from __future__ import annotations

import itertools
import os
import time
from typing import Any

from msgspec import structs

from orchestra.model.batch import Batch, Choices
from orchestra.model.execution import Exit, Fence, Handle, Identity
from orchestra.model.ids import new_run_id
from orchestra.model.operation import FlagDef, Operation
from orchestra.model.resources import Resources
from orchestra.model.retry import Retry
from orchestra.model.run import Comment, Imported, ResolvedSource, Run, Worker

_count = itertools.count(1)


def an_identity(**fields: Any) -> Identity:
    """The identity of a process that does not exist."""
    return structs.replace(Identity(host="host-a", boot="boot-1", pid=4_000_000, start=1), **fields)


def a_worker(**fields: Any) -> Worker:
    """A queue, with a nonce of its own."""
    return structs.replace(
        Worker(identity=an_identity(), nonce=os.urandom(8).hex(), starter="queue"), **fields
    )


def an_operation(**fields: Any) -> Operation:
    """The script ``train.py`` with the flags ``lr`` and ``epochs``."""
    flags = (FlagDef(name="lr", default=0.1, type="number"), FlagDef(name="epochs", default=3, type="int"))
    operation = Operation(name="train.py", kind="script", main="train.py", flags=flags, flags_dest="args")
    return structs.replace(operation, **fields)


def a_run(**fields: Any) -> Run:
    """A staged run with an id of its own, made now and after every run made before.

    One in another state comes without what the state needs: say who watches a run that is running.
    """
    now = time.time_ns() // 1000 + next(_count)
    run = Run(
        id=new_run_id(),
        operation=an_operation(),
        flags={"epochs": 3, "lr": 0.1},
        state="staged",
        created=now,
        staged=now if fields.get("state", "staged") == "staged" else None,
    )
    return structs.replace(run, **fields)


def some_runs(count: int, **fields: Any) -> list[Run]:
    """``count`` runs that differ in their ids and times, oldest first."""
    return [a_run(**fields) for _ in range(count)]


def a_batch(**fields: Any) -> Batch:
    """A grid of 2 x 2 trials."""
    space = {"epochs": Choices(values=(3, 5)), "lr": Choices(values=(0.01, 0.1))}
    return structs.replace(Batch(space={**space}, seed=1), **fields)


def a_handle(**fields: Any) -> Handle:
    """The handle of a job that nobody knows."""
    return structs.replace(Handle(executor="local", job=f"{new_run_id()}.1", token="0"), **fields)


def a_fence(**fields: Any) -> Fence:
    """The fence of an attempt that was started now."""
    now = time.time_ns() // 1000
    return structs.replace(Fence(fence="started", nonce="0", identity=an_identity(), time=now), **fields)


def an_exit(**fields: Any) -> Exit:
    """The record of an attempt that took a second and succeeded."""
    now = time.time_ns() // 1000
    return structs.replace(Exit(code=0, started=now - 1_000_000, stopped=now), **fields)


def a_full_run(**fields: Any) -> Run:
    """A running trial in which every field has a value that is not its default."""
    worker = a_worker()
    run = Run(
        schema=1,
        id=new_run_id(),
        kind="batch",
        operation=an_operation(source="/src", description="trains", discovered_by="argparse"),
        flags={"epochs": 3, "lr": 0.1, "name": None},
        label="lr=0.1",
        label_template="lr=${lr}",
        marked=True,
        annotated=5,
        imported=Imported(source="runs.zip", time=1, id="3f2a"),
        tags=("a", "b"),
        directory="/elsewhere/run",
        batch="b" * 32,
        trial=2,
        generation=3,
        parent="c" * 32,
        isolate_runs=False,
        needed=True,
        batch_spec=a_batch(fixed={"name": None}, max_trials=4, expander="random", options={"depth": 1}),
        closed=4,
        state="running",
        revision=1,
        attempt=4,
        rest="staged",
        worker=worker,
        lease=1_700_000_099_000_000,
        starter=worker.starter,
        queue="d" * 32,
        handle=a_handle(),
        executor="slurm partition=gpu",
        created=1_700_000_000_000_001,
        staged=1_700_000_001_000_001,
        started=1_700_000_002_000_001,
        stopped=1_700_000_003_000_001,
        exit_code=-9,
        reason="killed",
        executions=3,
        executions_before=1,
        sources=("file:data.csv",),
        resolved=(
            ResolvedSource(
                source="file:data.csv", resource="data", paths=("data.csv",), origin="/data.csv", digest="0f"
            ),
        ),
        force_deps=True,
        environment={"A": "1"},
        sourcecode_digest="ab",
        vcs_commit="git:ab*",
        stop_after=90.0,
        gpus="0",
        comments=(Comment(body="looks good", user="ada", host="host-a", time=46),),
        trial_tags=("each",),
        trial_comments=(Comment(body="one of many", user="ada", host="host-a", time=47),),
        priority=3,
        queued=44,
        group="big",
        after=("abc123:ok",),
        resources=Resources(gpus=0.5, cpus=2, memory=1 << 30),
        devices=("0:0.5",),
        granted=True,
        retry=Retry(limit=2, on=("oom", "exit:75"), delay=1.5, scale={"memory": 2}),
        not_before=45,
        time_limit=90.0,
        warning="USR1@10",
        cause="timeout",
        random_seed=7,
        command=("python", "train.py"),
        user="ada",
        host="host-a",
    )
    return structs.replace(run, **fields)
