"""How runs are shown: the words of listings, and the fields of their JSON form."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Collection
from functools import lru_cache
from typing import Any, NamedTuple

from orchestra.console import printable
from orchestra.engine.presence import shown_state as status
from orchestra.engine.session import Session
from orchestra.errors import OrchestraError
from orchestra.model.attributes import bare_name
from orchestra.model.batch import Batch, Interval, unexpanded
from orchestra.model.flags import encode
from orchestra.model.labels import batch_label, changes_label, trial_label
from orchestra.model.operation import FlagValue, Operation
from orchestra.model.run import Comment, Run
from orchestra.workspace.orders import read_orders

LONGEST_DIRECTORY = 28


def start_time(run: Run) -> int | None:
    """When the run was started, or staged while it waits for its start."""
    return run.staged if run.state == "staged" else run.started


def format_time(microseconds: int | None) -> str:
    """Local time as ``2025-01-02 10:11:12``; empty for None."""
    if microseconds is None:
        return ""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(microseconds / 1_000_000))


def with_try(told: str, run: Run) -> str:
    """What is told of a run at work, and of one that is being tried again which try it is, of how many."""
    if run.retry is None or run.tries < 2:
        return told
    return f"{told}, try {run.tries} of {run.retry.limit + 1}"


def operation(run: Run, here: str) -> str:
    """The operation's name, with the project's directory unless that is ``here``, and whether the run is marked."""
    where = run.operation.source
    elsewhere = "" if where is None or _is_same(where, here) else f" ({directory(where, here)})"
    return f"{run.operation_name}{elsewhere}{' [marked]' if run.marked else ''}"


@lru_cache(maxsize=1024)
def _is_same(path: str, other: str) -> bool:
    return path == other or os.path.realpath(path) == os.path.realpath(other)


def directory(path: str, here: str) -> str:
    """``path`` as seen from ``here``: relative when it is near, else absolute and shortened."""
    relative = os.path.relpath(path, here)
    first, *rest = relative.split("/")
    if first != "..":
        return relative
    if not rest:
        return "../"
    return shorten(path) if rest[0] == ".." else relative


def shorten(path: str) -> str:
    """An absolute path with ``~`` for the user's home, and without its middle if it is long."""
    user = os.path.expanduser("~")
    if user != "/" and (path == user or path.startswith(user + "/")):
        path = "~" + path[len(user) :]
    if len(path) <= LONGEST_DIRECTORY:
        return path
    first, _, rest = path[1:].partition("/")
    last = rest.rpartition("/")[2]
    return f"{path[0]}{first}/…/{last}" if last and rest != last else path


def as_json(session: Session, run: Run) -> dict[str, Any]:
    """What ``runs list --json`` tells of a run. Times are microseconds since the epoch."""
    fields = _own_fields(session, run)
    if run.batch_spec is not None:
        # What Guild keeps as a run of its own that is never started.
        proto = _own_fields(session, _prototype(run, run.batch_spec))
        fields["batch_proto"] = proto | dict.fromkeys(("id", "short_id", "run_dir", "attempt"))
    return fields


def searched(spec: Batch) -> dict[str, FlagValue]:
    """The flags that a batch was made of; searches as they are written."""
    flags = unexpanded(spec)
    return {name: encode(value) if isinstance(value, Interval) else value for name, value in flags.items()}


def _prototype(run: Run, spec: Batch) -> Run:
    """The run that the trials of a batch are made after."""
    return Run(
        id=run.id,
        operation=run.operation,
        flags=searched(spec),
        label=run.label_template,
        tags=run.trial_tags,
        comments=run.trial_comments,
        state="pending",
        created=run.created,
        batch=run.id,
        executor=run.executor,
        sourcecode_digest=run.sourcecode_digest,
        vcs_commit=run.vcs_commit,
    )


def _own_fields(session: Session, run: Run) -> dict[str, Any]:
    return {
        "id": run.id,
        "short_id": run.short_id,
        "run_dir": run_directory(session, run) or None,
        "operation": run.operation_name,
        "opref": operation_reference(run),
        "kind": run.kind,
        "status": status(session, run),
        "reason": run.reason,
        "exit_status": run.exit_code,
        "flags": run.flags,
        "label": run.label,
        "tags": run.tags,
        "comments": run.comments,
        "marked": run.marked,
        "cmd": run.command,
        "created": run.created,
        "staged": run.staged,
        "started": run.started,
        "stopped": run.stopped,
        "attempt": run.attempt,
        "batch": run.batch,
        "trial": run.trial,
        "executor": run.executor,
        "sourcecode_digest": run.sourcecode_digest,
        "vcs_commit": run.vcs_commit,
    }


def run_directory(session: Session, run: Run) -> str:
    """Where the run's files are; of a thousand runs without a thousand paths. Nothing of one in an archive file."""
    if session.layout.is_passing:
        return ""
    return run.directory or f"{session.layout.runs_dir}/{run.id}"


class Reference(NamedTuple):
    """What an operation is known by wherever it is defined."""

    type: str
    """``guildfile``, whatever the project's file is called, ``script`` or ``builtin``."""
    where: str
    """The project's file, or the script's folder."""
    model: str
    operation: str

    def as_json(self) -> dict[str, str]:
        """With the keys of Guild's."""
        return {
            "pkgType": self.type,
            "pkgName": self.where,
            "pkgVersion": "",
            "modelName": self.model,
            "opName": self.operation,
        }


def reference_parts(operation: Operation) -> Reference:
    """The parts of an operation's reference."""
    if operation.project_file is not None:
        return Reference("guildfile", operation.project_file, operation.model, bare_name(operation))
    if operation.source is None:
        return Reference("builtin", "orchestra", "", operation.name)
    return Reference("script", operation.source, "", operation.name)


def operation_reference(run: Run) -> str:
    """``TYPE:WHERE VERSION MODEL OPERATION``, quoted as for a shell."""
    parts = reference_parts(run.operation)
    return shlex.join([f"{parts.type}:{parts.where}", "", parts.model, parts.operation])


def label_beside_others(run: Run, varying: Collection[str]) -> str:
    """The label of ``run`` where trials of its batch, which differ in ``varying``, stand beside it."""
    return trial_label(run.label, run.flags, run.tags, varying if run.batch else (), os.path.exists)


def short_label(run: Run, varying: Collection[str]) -> str:
    """The label of ``run`` where there is little room: of flags those in which it differs, from other trials of its
    batch, else from what its operation has by default."""
    if run.batch and varying:
        return label_beside_others(run, varying)
    defaults = {flag.name: flag.default for flag in run.operation.flags}
    return changes_label(run.label, run.flags, run.tags, defaults, os.path.exists)


def label_or_space(run: Run) -> str:
    """The label of ``run``, and of a batch without one what it goes over."""
    return run.label or ("" if run.batch_spec is None else batch_label(run.batch_spec))


def comment_lines(comment: Comment) -> tuple[str, ...]:
    """``USER@HOST TIME``, then the lines of the comment, indented."""
    who = "@".join(part for part in (comment.user, comment.host) if part)
    head = " ".join(part for part in (who, format_time(comment.time)) if part)
    return tuple(map(printable, (head, *(f"  {line}".rstrip() for line in comment.body.splitlines()))))


def preview_row(session: Session, run: Run, here: str) -> tuple[str, ...]:
    """How a run is listed in the question that precedes a change."""
    shown = status(session, run)
    started = format_time(start_time(run))
    return f"[{run.short_id}]", operation(run, here), started, shown, run.label or ""


def command(session: Session, run: Run) -> str:
    """The command line of the newest start, quoted as for a shell."""
    if run.command or not run.attempt:
        return shlex.join(run.command)
    # The store was rebuilt: what the start was is known by the orders of the attempt.
    try:
        orders = read_orders(session.attempt_directory(run))
    except OrchestraError:
        return ""
    return "" if orders is None else shlex.join(orders.arguments)
