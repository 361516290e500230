"""How much room runs take, for those who ask."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from orchestra.engine.session import Session
from orchestra.model.run import Run

if TYPE_CHECKING:
    from orchestra.engine.trashing import Deleted


def disk_usage(session: Session, run: Run) -> int:
    """How many bytes the run's directory takes on its disk."""
    from orchestra.workspace.usage import Usage

    return Usage().add(os.path.realpath(session.directory(run)))


def room_of(session: Session, runs: Iterable[Run | Deleted]) -> int:
    """How many bytes are free once these runs are gone for good: of a directory of a person's own, our records."""
    from orchestra.workspace.usage import Usage

    usage = Usage()
    for one in runs:
        if isinstance(one, Run):
            directory, is_chosen = session.directory(one), one.directory is not None
        else:
            directory, is_chosen = Path(one.entry.path), os.path.islink(one.entry.path)
        usage.add(os.fspath(session.layout.control(directory) if is_chosen else directory))
    return usage.freed
