"""What a request may set for the processes of an operation: time and devices, and of which kinds of runs."""

from __future__ import annotations

import math
import os

from orchestra.engine.request import RunRequest
from orchestra.errors import UserError
from orchestra.model.batch import Batch
from orchestra.model.run import Run, RunKind
from orchestra.model.scheduling import device_shares

LONGEST_LABEL = 4096
"""Bytes of a label."""


def check_limits(kind: RunKind, request: RunRequest) -> None:
    """Refuse limits that a run of ``kind`` (of a batch: its trials') can't keep.

    Raises:
        UserError: names the option.
    """
    for option, label in (("--label", request.label), ("--batch-label", request.batch_label)):
        if label is not None and len(label.encode(errors="surrogateescape")) > LONGEST_LABEL:
            raise UserError(
                f"{option} is too long: {len(label)} characters", f"Give at most {LONGEST_LABEL} bytes."
            )
    if request.gpus is not None and kind == "queue":
        raise UserError("--gpus and --no-gpus can't be used with a queue", "Give the queue a flag, gpus=IDS.")
    if request.stop_after is None:
        return
    if not 0 < request.stop_after < math.inf:
        raise UserError(
            f"invalid value {request.stop_after:g} for --stop-after", "Give minutes, more than 0."
        )
    if kind != "run":
        name = "queue" if kind == "queue" else "pipeline"
        raise UserError(
            f"--stop-after can't be used with a {name}", "Give it to the runs that the time is meant for."
        )


def check_fails(batch: Batch) -> None:
    """Refuse a number of failed trials that a batch can't stop at.

    Raises:
        UserError: it is none, or the batch does not run its trials.
    """
    if batch.max_fails is None:
        return
    if batch.max_fails < 1:
        raise UserError(f"invalid value {batch.max_fails} for --max-fails", "Give a whole number, 1 or more.")
    if batch.stage_trials:
        raise UserError(
            "--max-fails cannot be used with --stage-trials: it is a queue that runs the trials",
            "Tell the queue: 'orchestra queue --max-fails N'.",
        )


def gpu_environment(gpus: str | None) -> dict[str, str]:
    """How an operation is told which devices it may use."""
    return {} if gpus is None else {"CUDA_VISIBLE_DEVICES": gpus}


def given_environment(run: Run) -> dict[str, str]:
    """How an operation is told what it was given: devices, and processors unless somebody has said otherwise."""
    needs = run.needs
    variables = gpu_environment(",".join(device_shares(run.devices)) if run.devices else run.gpus)
    if run.devices and "CUDA_DEVICE_ORDER" not in os.environ:
        # As NVML and nvidia-smi number them: CUDA by itself puts the fastest first.
        variables["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    if needs.cpus >= 1 and "OMP_NUM_THREADS" not in os.environ:
        # What most numeric libraries go by; without, each run would start a thread for every processor.
        variables["OMP_NUM_THREADS"] = str(int(needs.cpus))
    return variables


def fits_gpus(run: Run, gpus: str | None) -> bool:
    """Whether a queue with these devices may start ``run``: nothing is said of one of them, or both have the same."""
    return gpus is None or run.gpus is None or run.gpus == gpus
