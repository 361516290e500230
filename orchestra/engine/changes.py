"""A run's own history: every change of its state, told to whoever listens and kept in its directory."""

from __future__ import annotations

from typing import Any

from orchestra.console import Console
from orchestra.engine.session import Session
from orchestra.errors import OrchestraError
from orchestra.model.run import Run
from orchestra.workspace import records


def tell(session: Session, name: str, run: Run, *, console: Console | None = None, **data: Any) -> None:
    """Emit the event ``name`` and append it to the run's ``events.jsonl``."""
    session.emit(name, run, console=console, data=data)
    entry = {"time": session.clock.now(), "event": name, "state": run.state, "attempt": run.attempt, **data}
    try:
        records.append_event(session.directory(run), entry)
    except OrchestraError as error:
        # The history is a convenience; the records beside it decide. A full disk must not stop the watch.
        session.emit("log.message", run, level="warning", message=f"run {run.id}: {error.message}")
