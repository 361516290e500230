"""``run --save-trials PATH``: the trials of a batch as a file that ``run OPERATION @PATH`` takes."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from orchestra.cli.preview import trials_of
from orchestra.engine.restart import Restart
from orchestra.engine.session import Session
from orchestra.engine.stage import Plan
from orchestra.errors import UserError, text_of_os_error
from orchestra.project.batch_files import check_target, trials_as_text


async def save_trials(session: Session, prepared: Plan | Restart, cwd: Path, path: str) -> str:
    """Write the trials to ``path`` and return what a person is told of it.

    Raises:
        UserError: it is no batch, or the file can't be written.
    """
    trials = await trials_of(session, prepared)
    if trials is None:
        raise UserError("cannot save trials for a non-batch operation")
    try:
        (cwd / os.path.expanduser(path)).write_text(trials_as_text(trials, check_target(path)), "utf-8")
    except OSError as error:
        raise UserError(f"cannot save trials to {shlex.quote(path)}: {text_of_os_error(error)}") from None
    return f"Saving trials to {shlex.quote(path)}\n"
