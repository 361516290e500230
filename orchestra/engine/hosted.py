"""What executes in a process that does other things, too, is told to stop by a file: a signal would end all of that."""

from __future__ import annotations

from orchestra.contracts import StopHow
from orchestra.engine.control import Control, Wish
from orchestra.engine.inprocess import InProcessAttempt
from orchestra.engine.session import Session
from orchestra.errors import UserError, text_of_os_error
from orchestra.model.run import Run
from orchestra.workspace import queue_orders

HEED_EVERY = 0.2
"""Seconds between two looks whether somebody wants it to stop."""
_WISHES: dict[str, Wish] = {"interrupt": Wish.INTERRUPT, "terminate": Wish.TERMINATE, "kill": Wish.KILL}


def tell_guest(session: Session, run: Run, how: StopHow) -> None:
    """Tell whoever executes ``run`` to stop that alone.

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


async def heed_orders(attempt: InProcessAttempt, control: Control) -> None:
    """Pass on to ``control`` what :func:`tell_guest` says of a guest's attempt, until cancelled."""
    if not attempt.is_guest:
        return
    # Not above: a listing tells guests, too, and needs no event loop.
    import anyio

    while control.wish < Wish.KILL:
        how = queue_orders.stop_ordered(attempt.directory)
        if how is not None:
            wish = _WISHES.get(how, Wish.TERMINATE)
            # As a signal to a queue of its own would have it: its runs go on.
            control.raise_to(Wish.LEAVE if attempt.run.kind == "queue" else wish)
        await anyio.sleep(HEED_EVERY)
