"""Batches and pipelines that a queue executes in its own process: they are told to stop by a file, not by a signal."""

from __future__ import annotations

import anyio

from orchestra.contracts import StopHow
from orchestra.engine.control import Control, Wish
from orchestra.engine.session import Session
from orchestra.errors import UserError, text_of_os_error
from orchestra.model.run import Run
from orchestra.workspace import queue_orders

HEED_EVERY = 0.2
"""Seconds between two looks whether somebody wants it to stop."""
WISHES: dict[str, Wish] = {"interrupt": Wish.INTERRUPT, "terminate": Wish.TERMINATE, "kill": Wish.KILL}


def is_hosted(run: Run) -> bool:
    """Whether the process that executes ``run`` is a queue's, which has other things to do."""
    return run.kind in ("batch", "steps") and run.starter == "queue"


def tell_hosted(session: Session, run: Run, how: StopHow) -> None:
    """Tell the queue that executes ``run`` to stop that alone.

    Raises:
        UserError: it can't be told.
    """
    directory = session.attempt_directory(run)
    try:
        queue_orders.order_stop(directory, how)
    except OSError as error:
        raise UserError(
            f"run {run.id} can't be told to stop: {text_of_os_error(error)}",
            f"See that '{directory}' can be written to.",
        ) from error


async def heed_orders(session: Session, run: Run, control: Control) -> None:
    """Pass on to ``control`` what :func:`tell_hosted` says of ``run``, until cancelled."""
    if not is_hosted(run):
        return
    directory = session.attempt_directory(run)
    while control.wish < Wish.KILL:
        how = queue_orders.stop_ordered(directory)
        if how is not None:
            control.raise_to(WISHES.get(how, Wish.TERMINATE))
        await anyio.sleep(HEED_EVERY)
