"""Run operations from scripts, as the command line does."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Awaitable, Mapping
from typing import Any, TextIO

from orchestra.api.in_home import Home, in_home
from orchestra.console import TextConsole
from orchestra.engine.begin import Begun
from orchestra.engine.orchestra import Orchestra
from orchestra.errors import OrchestraError
from orchestra.model.operation import FlagValue
from orchestra.model.run import Run


class RunError(OrchestraError):
    """A run did not end well. ``returncode`` is what the command exits with, ``output`` what it showed."""

    def __init__(self, message: str, *, returncode: int, output: str = "") -> None:
        super().__init__(message)
        self.returncode = returncode
        self.output = output


def run(
    operation: str | None = None,
    flags: Mapping[str, FlagValue] | None = None,
    *,
    home: Home = None,
    orchestra_home: Home = None,
    cwd: str | os.PathLike[str] | None = None,
    restart: str | None = None,
    start: str | None = None,
    extra_env: Mapping[str, str] | None = None,
    optimizer: str | None = None,
    opt_flags: Mapping[str, FlagValue] | None = None,
    quiet: bool = False,
    stdout: TextIO | None = None,
    **options: Any,
) -> Run | None:
    """Run an operation, a batch, a queue, or a run that is there, as ``orchestra run -y`` does, to its end.

    ``options`` are further fields of :class:`~orchestra.engine.request.RunRequest`: ``stage``,
    ``stage_trials``, ``needed``, ``run_dir``, ``label``, ``tags``, ``comment``, ``force_flags``, ``max_trials``,
    ``batch_files`` (paths as seen from ``cwd``), ``redo`` (with ``restart``: ``"failed"``, ``"missing"``, ``"lost"``
    trials of a batch alone), ``extend`` (a batch that gets more values or ``max_trials``), ``max_fails``, ...
    Returns None if the run was skipped.

    Raises:
        RunError: the run ended with an error, was terminated, or did not come to start.
        OrchestraError: it could not be made.
    """
    return carry_out(
        operation,
        flags,
        home=orchestra_home or home,
        cwd=cwd,
        restart=restart or start,
        extra_env=extra_env,
        optimizer=optimizer,
        opt_flags=opt_flags,
        quiet=quiet,
        stdout=stdout,
        **options,
    ).run


def carry_out(
    operation: str | None,
    flags: Mapping[str, FlagValue] | None = None,
    *,
    home: Home,
    cwd: str | os.PathLike[str] | None,
    restart: str | None = None,
    start: str | None = None,
    extra_env: Mapping[str, str] | None = None,
    optimizer: str | None = None,
    opt_flags: Mapping[str, FlagValue] | None = None,
    quiet: bool = False,
    stdout: TextIO | None,
    **options: Any,
) -> Begun:
    """As :func:`run`, and tell what became of the request."""
    console = TextConsole(stdout or sys.stdout, quiet=quiet)

    def call(orch: Orchestra) -> Awaitable[Begun]:
        return orch.carry_out(
            operation,
            flags,
            restart=restart or start,
            environment=dict(extra_env or {}),
            expander=optimizer,
            expander_options=dict(opt_flags or {}),
            **options,
        )

    begun = in_home(home, call, cwd=cwd, console=console)
    if begun.run is not None:
        _check_end(begun.run)
    return begun


def _check_end(ended: Run) -> None:
    if ended.state not in ("error", "terminated", "lost", "aborted", "broken"):
        return
    code = 75 if ended.exit_code is None else ended.exit_code
    reason = f": {ended.reason}" if ended.reason else ""
    raise RunError(
        f"run {ended.id} ended as {ended.state}{reason}", returncode=code if code >= 0 else 256 + code
    )


def run_capture_output(operation: str | None = None, **options: Any) -> str:
    """As :func:`run`, and return all that it shows.

    Raises:
        RunError: with the output up to there.
    """
    text = io.StringIO()
    try:
        run(operation, stdout=text, **options)
    except RunError as error:
        error.output = text.getvalue()
        raise
    return text.getvalue()
