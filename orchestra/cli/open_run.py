"""``orchestra open``: a run's directory, or a file of it, in a program."""

from __future__ import annotations

import os
import shutil
import sys
from typing import Annotated, Final

from cyclopts import Parameter

from orchestra.cli.context import complete, current
from orchestra.cli.one_run import one_run
from orchestra.cli.programs import run_program, words_of_option
from orchestra.cli.selection import FILTERS, Filters
from orchestra.console import printable
from orchestra.engine.run_files import real_run_path, source_path
from orchestra.engine.session import Session
from orchestra.errors import UsageError, UserError
from orchestra.model.run import Run
from orchestra.workspace.layout import attempt_directory
from orchestra.workspace.output import OUTPUT

OPENERS: Final = {"darwin": "open", "linux": "xdg-open"}
"""The programs that choose one by the kind of a file."""

_DESKTOP: Final = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
"""Without one of these ``xdg-open`` looks for programs that draw in a terminal, and finds none for most files."""

PASSIVE: Final = frozenset(
    [
        ".bmp",
        ".csv",
        ".gif",
        ".jpeg",
        ".jpg",
        ".json",
        ".jsonl",
        ".log",
        ".md",
        ".pdf",
        ".png",
        ".rst",
        ".tif",
        ".tiff",
        ".toml",
        ".tsv",
        ".txt",
        ".webp",
        ".yaml",
        ".yml",
    ]
)
"""Endings of what is only shown by whatever opens it. A run may be anybody's: nothing else is given to a program that
nobody has named, for it may be one itself, or have one in it."""


def open_run(
    run: str | None = None,
    /,
    *,
    filters: Filters = FILTERS,
    path: Annotated[str | None, Parameter(name=("--path", "-p"))] = None,
    sourcecode: Annotated[bool, Parameter(name=("--sourcecode", "-s"))] = False,
    output: Annotated[bool, Parameter(name=("--output", "-O"))] = False,
    cmd: Annotated[str | None, Parameter(name=("--cmd", "-c"), allow_leading_hyphen=True)] = None,
    shell: Annotated[bool, Parameter(name="--shell")] = False,
    shell_cmd: Annotated[str | None, Parameter(name="--shell-cmd", allow_leading_hyphen=True)] = None,
) -> int:
    """Open a run's directory, or a file of it, of the latest run unless told otherwise.

    Without --cmd the system's own opener chooses the program, for folders, texts, tables, images and PDF files only:
    what else a run has made may do more than be shown, and is opened by a command that is named. The exit code is that
    of the command.

    Parameters
    ----------
    run
        Which run: its index in the listing, its id, or the beginning of its id.
    path
        This file or folder, relative to the run's directory.
    sourcecode
        Where the source code was copied; a PATH is relative to that.
    output
        What the run printed.
    cmd
        Open it with this command, which gets the path at its end.
    shell
        Start a shell (SHELL) in the folder.
    shell_cmd
        Start this shell in the folder.
    """
    given = {"--cmd": cmd, "--shell": shell or None, "--shell-cmd": shell_cmd}
    named = [name for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise UsageError(f"{named[0]} and {named[1]} cannot both be used")
    if output and (path is not None or sourcecode):
        raise UsageError(
            f"--output and {'--path' if path is not None else '--sourcecode'} cannot both be used"
        )
    target = complete(lambda: _target(run, filters, path, of_source=sourcecode, output=output))
    if shell or shell_cmd is not None:
        return _start_shell(target, shell_cmd or os.environ.get("SHELL") or "sh")
    words = words_of_option("--cmd", cmd) if cmd is not None else [_opener(target)]
    return run_program(words, target)


async def _target(
    spec: str | None, filters: Filters, path: str | None, *, of_source: bool, output: bool
) -> str:
    async with current().session(looking=True) as session:
        run = await one_run(session, spec, filters)
        if output:
            return _output_of(session, run)
        wanted = path or os.curdir
        return real_run_path(session, run, source_path(run, wanted) if of_source else wanted)


def _output_of(session: Session, run: Run) -> str:
    found = attempt_directory(session.directory(run), run.attempt) / OUTPUT
    if not found.is_file():
        raise UserError(f"run {run.short_id} has printed nothing")
    return real_run_path(session, run, os.path.relpath(found, session.directory(run)))


def _opener(target: str) -> str:
    name = os.path.basename(target)
    hint = "Name what opens it: --cmd COMMAND."
    # On macOS a folder with an ending may be a program.
    is_plain_folder = os.path.isdir(target) and not (sys.platform == "darwin" and "." in name)
    is_passive = os.path.isfile(target) and os.path.splitext(name)[1].lower() in PASSIVE
    if not is_plain_folder and (not is_passive or os.access(target, os.X_OK)):
        raise UserError(f"'{name}' may do more than be shown when it is opened", hint)
    opener = OPENERS.get(sys.platform)
    if (missing := _missing(opener)) is not None:
        raise UserError(f"there is nothing here that opens '{target}': {missing}", hint)
    assert opener is not None
    return opener


def _missing(opener: str | None) -> str | None:
    """Why the system's opener is of no use here; None if it is."""
    if opener is None:
        return f"no program that does so is known for {sys.platform}"
    if shutil.which(opener) is None:
        return f"'{opener}' is not installed"
    if opener == "xdg-open" and not any(os.environ.get(name) for name in _DESKTOP):
        return "there is no desktop (DISPLAY and WAYLAND_DISPLAY are not set)"
    return None


def _start_shell(target: str, shell: str) -> int:
    folder = target if os.path.isdir(target) else os.path.dirname(target)
    first, *rest = words_of_option("--shell-cmd", shell)
    # Looked for from here: the folder may have one of that name, too.
    found = shutil.which(first)
    if found is None:
        raise UserError(f"there is no shell '{first}'", "Name another one with --shell-cmd, or in SHELL.")
    os.write(
        2, f"Running a shell in {printable(folder)}\nType 'exit' to leave it.\n".encode(errors="replace")
    )
    return run_program([os.path.abspath(found), *rest], cwd=folder)
