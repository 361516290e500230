"""What happened: the events that logs, consoles and callers of the API see."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from msgspec import Struct

EVENT_SCHEMA = 1
"""The version of the events' JSON form."""

Level: TypeAlias = Literal["debug", "info", "warning", "error"]

EVENT_NAMES: dict[str, str] = {
    "run.created": "A run was made, already claimed by its starter.",
    "run.staged": "A run is ready to be started by a queue or a person.",
    "run.claimed": "A worker has the right to start a run.",
    "run.released": "A claim ended before the start.",
    "run.submitted": "An executor has taken the job.",
    "run.waiting": "A run waits in its scheduler, or for something else there than before: `reason`.",
    "run.started": "The attempt's fence was won; the operation is being started.",
    "run.output": "The operation wrote output: `text`, or `base64` where it is not UTF-8.",
    "run.exited": "The attempt's end was recorded.",
    "run.lost": "It can't be known how the run ended.",
    "run.aborted": "The run's starter ended before it was started, or what it was to follow failed.",
    "run.adopted": "A worker took over the watch of a run whose watcher is gone.",
    "run.skipped": "The run was not started, for its flags have not changed or another run matches.",
    "run.restarting": "A run that has been started before is being started again.",
    "run.retrying": "A run that has failed is to be tried again.",
    "run.stopping": "A run was told to stop.",
    "run.labeled": "A run got another label: `label`.",
    "run.tagged": "A run got other tags: `tags`.",
    "run.commented": "Comments of a run were added or deleted: `comments`, how many there are.",
    "run.marked": "A run was marked.",
    "run.unmarked": "A run is no longer marked.",
    "run.deleted": "A run was deleted: `permanent`, or into the trash.",
    "run.restored": "A run was taken out of the trash.",
    "run.exported": "A run is being copied or moved out of the home: `to`.",
    "run.imported": "A run is being entered that was made elsewhere: `source`.",
    "dependency.resolving": "What a run needs is being provided, or need not be.",
    "dependency.warning": "What a run needs was not to be had, or may not be what was meant: `resource`, `source`.",
    "batch.proposed": "An expander proposed trials.",
    "batch.trial": "A trial of a batch is being started or staged.",
    "steps.step": "A step of a pipeline is being started.",
    "steps.check": "What is expected of a step's run is being checked.",
    "batch.extended": "A batch got more values or more trials.",
    "batch.stopped": "A batch stopped before all of its trials were started.",
    "queue.started": "A queue began its work.",
    "queue.polled": "A queue looked for staged runs.",
    "queue.processing": "A queue found staged runs to process.",
    "queue.waiting": "A queue has nothing to do and waits.",
    "queue.blocked": "A staged run is held back by runs that no queue started.",
    "queue.ignored": "A staged run is meant for other devices than those of the queue.",
    "queue.starting": "A queue is starting a staged run.",
    "queue.stopping": "A queue was told to stop.",
    "queue.ended": "A queue ended.",
    "results.reading": "What many runs came to is being read for the first time: `runs`, how many are left.",
    "store.rebuilt": "The store was rebuilt from the run directories.",
    "log.message": "A message that belongs to no run.",
}
"""Every event name there is, and when it is emitted. Names are stable: renaming one raises ``EVENT_SCHEMA``."""


class Event(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that happened."""

    name: str
    """One of :data:`EVENT_NAMES`."""
    time: int
    """Microseconds since the epoch."""
    level: Level = "debug"
    message: str = ""
    """The console's sentence, empty when the console shows nothing of it."""
    run: str | None = None
    attempt: int | None = None
    operation: str | None = None
    batch: str | None = None
    worker: str | None = None
    logger: str = "orchestra"
    """The name in brackets of console lines: ``orchestra``, or ``queue``."""
    data: dict[str, Any] = {}
    """Further fields, by event: e.g. ``code``, ``state``, ``reason``, ``flags``, ``stream``, ``text``."""
