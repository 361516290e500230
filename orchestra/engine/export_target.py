"""Where runs can be exported to."""

from __future__ import annotations

import os
from pathlib import Path

from msgspec import Struct

from orchestra.engine.archived import is_home, read_index
from orchestra.engine.session import Session
from orchestra.errors import UserError
from orchestra.placing.archive_writing import WriteMode, taken, write_mode
from orchestra.workspace.personal_files import require_folder


class Target(Struct, frozen=True, kw_only=True):
    """Where runs are exported to."""

    path: Path
    shown: str
    """How the person called it."""
    mode: WriteMode | None
    """None: a directory."""


def export_target(session: Session, spec: str, cwd: Path, *, force: bool = False) -> Target:
    """Where ``spec`` says that runs go.

    Raises:
        UserError: nothing can be exported there.
    """
    if not spec:
        raise UserError(
            "there is no place with an empty name", "Give a directory, or the name of an archive."
        )
    path = Path(os.path.normpath(cwd / os.path.expanduser(spec)))
    is_folder = path.is_dir()
    mode = None if is_folder or spec.endswith("/") else write_mode(path.name)
    real, runs = Path(os.path.realpath(path)), Path(os.path.realpath(session.layout.runs_dir))
    if real == Path(os.path.realpath(session.layout.home)) or real.is_relative_to(runs):
        raise UserError(
            f"'{spec}' is where the runs of this home are", "Choose a place outside of the home's runs."
        )
    if is_folder:
        _refuse_home(path, spec)
        read_index(path, spec)
    elif mode is not None and os.path.lexists(path) and not force:
        raise taken(path)
    elif mode is None and os.path.lexists(path):
        raise UserError(f"'{spec}' is not a directory", "Choose another name.")
    require_folder(path.parent)
    return Target(path=path, shown=spec, mode=mode)


def _refuse_home(path: Path, spec: str) -> None:
    for home in (path, path.parent if path.name == "runs" else path):
        if is_home(home):
            raise UserError(
                f"'{spec}' is a home: its store would not know runs that are put there",
                f"Import the runs of this home there, with 'orchestra -H {home} import'.",
            )
