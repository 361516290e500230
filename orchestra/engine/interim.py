"""Delete runs that have served their purpose: of operations, and batches and queues, that are set to be so."""

from __future__ import annotations

from orchestra.console import Console
from orchestra.engine.session import Session
from orchestra.errors import OrchestraError
from orchestra.model.run import Run


async def delete_interim(session: Session, run: Run, *, console: Console) -> None:
    """Delete ``run`` if it completed. Its trials stay. A run that can't be deleted is kept, with a warning."""
    if run.state != "completed":
        return
    from orchestra.engine.deleting import delete_runs

    message = f"Deleting interim run {run.id} ('{run.operation_name}' is configured for deletion on success)"
    session.emit("log.message", run, level="info", message=message, console=console)
    try:
        await delete_runs(session, (run,), permanent=True)
    except OrchestraError as error:
        text = f"run {run.id} is kept: {error.message}"
        session.emit("log.message", run, level="warning", message=text, console=console)
