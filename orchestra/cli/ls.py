"""``orchestra ls``: the files of a run."""

from __future__ import annotations

import os
from typing import Annotated, NamedTuple

from cyclopts import Parameter

from orchestra.cli import run_text, terminal
from orchestra.cli.context import complete, current
from orchestra.cli.one_run import one_run
from orchestra.cli.selection import FILTERS, Filters
from orchestra.cli.tables import cell
from orchestra.engine.run_files import (
    KINDS,
    FileKind,
    ListedFile,
    files_of_run,
    names_of,
    source_path,
)

_UNITS = ("", "K", "M", "G", "T")


def ls(
    run: str | None = None,
    /,
    *,
    filters: Filters = FILTERS,
    path: Annotated[str | None, Parameter(name=("--path", "-p"))] = None,
    all_: Annotated[bool, Parameter(name=("--all", "-a"))] = False,
    sourcecode: Annotated[bool, Parameter(name=("--sourcecode", "-s"))] = False,
    dependencies: Annotated[bool, Parameter(name=("--dependencies", "-d"))] = False,
    generated: Annotated[bool, Parameter(name=("--generated", "-g"))] = False,
    follow_links: Annotated[bool, Parameter(name=("--follow-links", "-L"))] = False,
    full_path: Annotated[bool, Parameter(name=("--full-path", "-f"))] = False,
    no_format: Annotated[bool, Parameter(name=("--no-format", "-n"))] = False,
    human_readable: Annotated[bool, Parameter(name=("--human-readable", "-h"))] = False,
    json: Annotated[bool, Parameter(name="--json")] = False,
) -> int:
    """List the files of a run; of the latest one unless told otherwise.

    With --json an object is printed with the keys id, run_dir and files; each file has path, type (file, directory or
    other), kind (source, dependency, generated or internal), size in bytes, and link: where a link leads.

    Parameters
    ----------
    run
        Which run: its index in the listing, its id, or the beginning of its id.
    path
        Only this file or folder, or what matches this pattern, such as '*.png' or 'logs/*'.
    all_
        Hidden files, too, and Orchestra's own.
    sourcecode
        Only the source code; a PATH is then relative to where it was copied.
    dependencies
        Only what the run needed and was resolved for it.
    generated
        Only what the run has made.
    follow_links
        Enter folders that are links, as far as they lead to other runs or to what this one needed.
    full_path
        Show full paths.
    no_format
        Leave out the header and the indent.
    human_readable
        Show sizes.
    json
        Print JSON.
    """
    chosen: dict[FileKind, bool] = {
        "source": sourcecode,
        "dependency": dependencies,
        "generated": generated,
    }
    kinds: tuple[FileKind, ...] = tuple(kind for kind in KINDS if chosen.get(kind)) or KINDS
    wanted = _Wanted(path, kinds, all_, follow_links)
    shape = _Shape(full_path=full_path, plain=no_format or full_path, sizes=human_readable)
    return complete(lambda: _ls(run, filters, wanted, shape, as_json=json))


class _Wanted(NamedTuple):
    path: str | None
    kinds: tuple[FileKind, ...]
    hidden: bool
    follow_links: bool


class _Shape(NamedTuple):
    full_path: bool
    plain: bool
    sizes: bool


async def _ls(spec: str | None, filters: Filters, wanted: _Wanted, shape: _Shape, *, as_json: bool) -> int:
    async with current().session(looking=True) as session:
        run = await one_run(session, spec, filters, verb="ls")
        directory = run_text.run_directory(session, run)
        path = wanted.path
        if path is not None and wanted.kinds == ("source",):
            path = source_path(run, path)
        files = files_of_run(
            session,
            run,
            path,
            kinds=wanted.kinds,
            hidden=wanted.hidden,
            follow_links=wanted.follow_links,
        )
    if as_json:
        terminal.write_json({"id": run.id, "run_dir": directory, "files": files})
        return 0
    lines = _lines(files, directory, shape)
    if shape.plain and not os.isatty(1):
        # For programs: names as they are.
        terminal.write_exact("".join(f"{line}\n" for line in lines))
        return 0
    if not shape.plain:
        lines = [f"{directory}:", *(f"  {line}" for line in lines)]
    terminal.write("".join(f"{cell(line)}\n" for line in lines))
    return 0


def _lines(files: list[ListedFile], directory: str, shape: _Shape) -> list[str]:
    names = names_of(files)
    if shape.full_path:
        names = [f"{directory}/{name}" for name in names]
    if not shape.sizes:
        return names
    sizes = ["" if file.size is None else size_text(file.size) for file in files]
    wide = max(map(len, sizes), default=0)
    return [f"{size:>{wide}}  {name}" for size, name in zip(sizes, names, strict=True)]


def size_text(size: int) -> str:
    """A number of bytes for people: ``312``, ``4.5K``, ``12M``."""
    number = float(size)
    unit = 0
    while number >= 999.5 and unit < len(_UNITS) - 1:
        number /= 1024
        unit += 1
    return f"{number:.1f}{_UNITS[unit]}" if unit and number < 9.95 else f"{number:.0f}{_UNITS[unit]}"
