"""``orchestra diff``: how two runs differ, or a run from its project."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

from cyclopts import Parameter

from orchestra.cli import run_text, tables, terminal
from orchestra.cli.context import complete, current
from orchestra.cli.difference_text import difference_lines
from orchestra.cli.one_run import one_run
from orchestra.cli.selection import FILTERS, Filters, chosen
from orchestra.engine.differences import differences, differences_from_folder, project_of
from orchestra.engine.session import Session
from orchestra.errors import RunNotFound, UsageError, UserError
from orchestra.model.differences import Differences, Section
from orchestra.model.filters import RunQuery
from orchestra.model.run import Run

_HINT = "Try specifying a second run, or 'orchestra diff --help' for more information."


def diff(
    *runs: str,
    filters: Filters = FILTERS,
    flags: Annotated[bool, Parameter(name=("--flags", "-f", "-g"))] = False,
    sourcecode: Annotated[bool, Parameter(name=("--sourcecode", "-s"))] = False,
    env: Annotated[bool, Parameter(name=("--env", "-e"))] = False,
    deps: Annotated[bool, Parameter(name=("--deps", "-d", "-D"))] = False,
    scalars: Annotated[bool, Parameter(name="--scalars")] = False,
    output: Annotated[bool, Parameter(name=("--output", "-O", "-o"))] = False,
    attrs: Annotated[bool, Parameter(name=("--attrs", "-a"))] = False,
    all_: Annotated[bool, Parameter(name=("--all", "-A"))] = False,
    path: Annotated[tuple[str, ...], Parameter(name=("--path", "-p"), negative=())] = (),
    working: Annotated[bool, Parameter(name=("--working", "-w"))] = False,
    dir_: Annotated[str | None, Parameter(name="--dir")] = None,
    cmd: Annotated[str | None, Parameter(name=("--cmd", "-c"), allow_leading_hyphen=True)] = None,
    json: Annotated[bool, Parameter(name="--json")] = False,
) -> int:
    """Show how two runs differ: the latest two, the older one first, or those that are named, in that order.

    Shows what differs of flags, environment, dependencies, scalars, source code and output, unless some of it is asked
    for. What --sourcecode alone shows can be applied with 'patch -p1'. With --json an object is printed with the keys
    before and after (ids), notes, and one for each section that was compared: a list of what differs, each with name,
    and before and after as far as they are there; of files, with path, change (added, removed or changed), binary, diff
    and note. The exit code is 0, whether anything differs or not.

    Parameters
    ----------
    runs
        Two runs, or with --working or --dir one: indexes of the listing, ids, or beginnings of ids.
    flags
        Compare flags.
    sourcecode
        Compare the source code.
    env
        Compare the environment: interpreter, packages, variables, computer, lock files.
    deps
        Compare what was resolved for the runs.
    scalars
        Compare the last values of scalars.
    output
        Compare what the runs printed.
    attrs
        Compare attributes: label, tags, status, command, commit, and those that the runs printed.
    all_
        Compare all of these, attributes, too.
    path
        Compare this file or folder, relative to the runs' directories. May be repeated.
    working
        Compare the source code, or each PATH, of one run with its project as it is now.
    dir_
        Compare the source code, or each PATH, of one run with this folder.
    cmd
        Run this command for each thing that is compared, with two paths at its end; for the runs' directories unless
        some of it is asked for. What is no file is written into files for that, and source code is copied.
    json
        Print JSON.
    """
    sections: dict[Section, bool] = {
        "flags": flags,
        "attributes": attrs,
        "environment": env,
        "dependencies": deps,
        "scalars": scalars,
        "source": sourcecode,
        "output": output,
    }
    asked = _Asked(tuple(name for name, given in sections.items() if given or all_), path, working, dir_)
    _check(runs, asked)
    if json and cmd is not None:
        raise UsageError("--json and --cmd cannot both be used")
    if cmd is not None:
        return _diff_by_command(runs, filters, asked, cmd)
    if asked.is_of_one:
        return complete(lambda: _diff_one(runs, filters, asked, as_json=json))
    return complete(lambda: _diff_two(runs, filters, asked, as_json=json))


class _Asked(NamedTuple):
    sections: tuple[Section, ...]
    paths: tuple[str, ...]
    working: bool
    folder: str | None

    @property
    def is_of_one(self) -> bool:
        """Whether one run is compared with a folder."""
        return self.working or self.folder is not None

    def folder_of(self, run: Run) -> Path:
        """The folder that ``run`` is compared with.

        Raises:
            UserError: the project of the run is gone.
        """
        return project_of(run) if self.folder is None else Path(os.path.abspath(self.folder))


def _check(runs: Sequence[str], asked: _Asked) -> None:
    if asked.working and asked.folder is not None:
        raise UsageError("--working and --dir cannot both be used")
    if not asked.is_of_one:
        if len(runs) > 2:
            raise UserError("cannot compare more than two runs", "Name two of them.")
        return
    option = "--working" if asked.working else "--dir"
    if len(runs) > 1:
        raise UsageError(f"{option} compares one run, not {len(runs)}")
    if others := [section for section in asked.sections if section != "source"]:
        raise UsageError(f"{option} compares files: there are no {others[0]} to compare")


async def _diff_two(specs: Sequence[str], filters: Filters, asked: _Asked, *, as_json: bool) -> int:
    async with current().session(looking=True) as session:
        before, after = await _two(session, specs, filters)
        found = differences(session, before, after, sections=asked.sections, paths=asked.paths)
        heads = [_head(session, run) for run in (before, after)]
    _show(found, heads, as_json=as_json)
    return 0


async def _diff_one(specs: Sequence[str], filters: Filters, asked: _Asked, *, as_json: bool) -> int:
    async with current().session(looking=True) as session:
        run = await one_run(session, specs[0] if specs else None, filters)
        folder = asked.folder_of(run)
        found = differences_from_folder(
            session, run, folder, is_project=asked.folder is None, paths=asked.paths
        )
        heads = [_head(session, run), [str(folder)]]
    _show(found, heads, as_json=as_json)
    return 0


def _diff_by_command(specs: Sequence[str], filters: Filters, asked: _Asked, command: str) -> int:
    import tempfile

    from orchestra.cli.diff_command import Pair, pairs_of_two, pairs_with_folder, run_command

    async def pairs(scratch: Path) -> list[Pair]:
        async with current().session(looking=True) as session:
            if asked.is_of_one:
                run = await one_run(session, specs[0] if specs else None, filters)
                return pairs_with_folder(session, run, asked.folder_of(run), asked.paths, scratch)
            before, after = await _two(session, specs, filters)
            return pairs_of_two(session, before, after, asked.sections, asked.paths, scratch)

    with tempfile.TemporaryDirectory(prefix="orchestra-") as scratch:
        # Whatever the command is, it may stay open for long: the home is no longer looked at by then.
        run_command(command, complete(lambda: pairs(Path(scratch))))
    return 0


async def _two(session: Session, specs: Sequence[str], filters: Filters) -> tuple[Run, Run]:
    try:
        return await _two_runs(session, specs, filters)
    except RunNotFound as error:
        folders = [spec for spec in specs if os.path.isdir(spec)]
        if not folders:
            raise
        raise UserError(error.message, f"Compare with a folder by '--dir {folders[0]}'.") from None


async def _two_runs(session: Session, specs: Sequence[str], filters: Filters) -> tuple[Run, Run]:
    """As they are named, one by one; the older one first otherwise."""
    if len(specs) == 2:
        named = [await chosen(session, (spec,), filters, default="none") for spec in specs]
        if all(len(found) == 1 for found in named):
            return named[0][0], named[1][0]
    base = RunQuery(limit=2) if not specs else RunQuery()
    found = await chosen(session, specs, filters, default="all", base=base)
    if not found:
        raise RunNotFound("no matching runs")
    if len(found) < 2:
        raise UserError("diff requires two runs", _HINT)
    if len(found) > 2:
        raise UserError("cannot compare more than two runs", "Name two of them.")
    older, newer = sorted(found, key=lambda run: run.time)
    return older, newer


def _head(session: Session, run: Run) -> Sequence[str]:
    return run_text.preview_row(session, run, str(current().cwd))


def _show(found: Differences, heads: Sequence[Sequence[str]], *, as_json: bool) -> None:
    if as_json:
        terminal.write_json(found)
        return
    wide = max(map(len, heads))
    rows = [
        [name, *head, *[""] * (wide - len(head))] for name, head in zip(("from", "to"), heads, strict=True)
    ]
    text = tables.render(rows, width=terminal.width())
    text += "".join(difference_lines(found, colour=terminal.in_colour()))
    # Differences of files are for programs, too.
    terminal.write_for_either(text)
