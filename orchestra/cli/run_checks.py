"""Options of ``run`` that make no sense together: refused before anything is made, or ignored with a warning."""

from __future__ import annotations

import os
from pathlib import Path

from orchestra.cli.run_options import Common
from orchestra.engine.ignored_options import ignored_options
from orchestra.engine.request import RunRequest
from orchestra.engine.restart import Restart
from orchestra.engine.session import Session
from orchestra.engine.stage import Plan
from orchestra.errors import UsageError, UserError, text_of_os_error


def check_not_both(*pairs: tuple[str, bool, str, bool]) -> None:
    """Refuse two options that exclude each other; each pair is two names, and whether they were given.

    Raises:
        UsageError: names the first such two.
    """
    for one, has_one, other, has_other in pairs:
        if has_one and has_other:
            raise UsageError(f"{one} and {other} cannot both be used")


def check_together(session: Session, request: RunRequest) -> None:
    """Refuse options that contradict each other.

    Raises:
        UsageError: names the option.
    """
    if request.max_trials is not None and request.max_trials < 1:
        raise UsageError(f"invalid value {request.max_trials} for --max-trials: it is at least 1")
    if request.force_sourcecode and request.restart is None and request.proto is None:
        raise UsageError("--force-sourcecode can only be used with --restart or --proto")
    if request.restart is not None:
        given = {
            "--proto": request.proto,
            "--dep": request.sources,
            "a batch file": request.batch_files,
            "--optimizer": request.expander,
            "--optimize": request.optimize,
            "--opt-flag": request.expander_options,
            "--run-id": request.run_id,
        }
        for name, value in given.items():
            if value:
                raise UsageError(f"{name} cannot be used with --restart")
    elif request.run_id and request.run_dir is not None:
        directory = _absolute(request)
        of_home = os.path.realpath(directory.parent) == os.path.realpath(session.layout.runs_dir)
        if of_home and directory.name != request.run_id:
            raise UsageError(f"--run-id '{request.run_id}' is not the run of --run-dir '{directory}'")


def check_directory(session: Session, request: RunRequest, prepared: Plan | Restart) -> None:
    """Refuse another directory for a run that has one.

    Raises:
        UsageError: ``--run-dir`` was given for a run that is elsewhere.
    """
    if not isinstance(prepared, Restart) or request.run_dir is None:
        return
    if os.path.realpath(_absolute(request)) != os.path.realpath(session.directory(prepared.run)):
        raise UsageError("--run-dir cannot be used with --restart")


def warn_of_ignored(
    session: Session,
    request: RunRequest,
    prepared: Plan | Restart,
    common: Common,
    *,
    stop_runs: bool,
    prefix: bool,
) -> None:
    """Warn of options that have no meaning for what is asked for."""
    messages = list(ignored_options(request, prepared))
    if stop_runs and prepared.kind != "queue":
        messages.append("not a queue - ignoring --stop-runs")
    if prefix and prepared.kind != "queue":
        messages.append("not a queue - ignoring --prefix")
    if common.pidfile is not None and not common.background:
        messages.append("not in the background - ignoring --pidfile")
    for message in messages:
        session.emit("log.message", level="warning", message=message, logger="")


def check_pidfile(path: Path) -> None:
    """Refuse a pidfile that can't be written: the run would be started already when that shows.

    Raises:
        UserError: with the operating system's reason.
    """
    existed = os.path.lexists(path)
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o666))
    except OSError as error:
        raise UserError(f"the pidfile can't be written: {text_of_os_error(error)}") from error
    if not existed:
        path.unlink()


def _absolute(request: RunRequest) -> Path:
    assert request.run_dir is not None
    return Path(os.path.abspath(request.cwd / request.run_dir))
