"""``orchestra diff --cmd``: a command of the person's own, with two paths for each thing that is compared."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from orchestra.cli.programs import run_program, words_of_option
from orchestra.engine import file_differences as files
from orchestra.engine.differences import values_of
from orchestra.engine.run_files import real_run_path
from orchestra.engine.session import Session
from orchestra.errors import UserError, text_of_os_error
from orchestra.model.differences import Section
from orchestra.model.run import Run

Pair = tuple[str | Path, str | Path]


def pairs_of_two(
    session: Session,
    before: Run,
    after: Run,
    sections: Sequence[Section],
    paths: Sequence[str],
    scratch: Path,
) -> list[Pair]:
    """What of two runs is compared: each section and path, or their directories. Files are written to ``scratch``.

    Raises:
        UserError: a run does not have a path.
    """
    if not sections and not paths:
        return [(session.directory(before), session.directory(after))]
    # Ids of one's own choice may begin alike.
    places = scratch / "from" / before.short_id, scratch / "to" / after.short_id
    pairs: list[Pair] = [
        (_written(session, before, section, places[0]), _written(session, after, section, places[1]))
        for section in sections
    ]
    return pairs + [
        (real_run_path(session, before, path), real_run_path(session, after, path)) for path in paths
    ]


def pairs_with_folder(
    session: Session, run: Run, folder: Path, paths: Sequence[str], scratch: Path
) -> list[Pair]:
    """The source of ``run`` and ``folder`` itself, or each path in them.

    Raises:
        UserError: there is no such folder, or the run does not have a path.
    """
    if not folder.is_dir():
        raise UserError(f"'{folder}' is not a directory", "Give the one to compare with: --dir DIR.")
    if not paths:
        return [(_written(session, run, "source", scratch / run.short_id), folder)]
    return [(real_run_path(session, run, path), folder / path) for path in paths]


def run_command(command: str, pairs: Sequence[Pair]) -> None:
    """Run ``command`` with each pair at its end.

    Raises:
        UserError, UsageError: it can't be started.
    """
    words = words_of_option("--cmd", command)
    for pair in pairs:
        # Its code tells whether they differ, which is no failure.
        run_program(words, *pair)


def _written(session: Session, run: Run, section: Section, folder: Path) -> Path:
    """What ``run`` has of a section, in a file or folder in ``folder``."""
    place = folder / section
    folder.mkdir(parents=True, exist_ok=True)
    if section in ("source", "output"):
        side = (files.source_of_run if section == "source" else files.output_of_run)(session, run)
        if section == "source":
            place.mkdir()
        else:
            place.touch()
        for path in side.digests:
            _copy(side, path, place / path if section == "source" else place)
        return place
    place = place.with_suffix(".yml")
    place.write_text(_as_yaml(values_of(session, run, section)), errors="surrogateescape")
    return place


def _copy(side: files.Side, path: str, target: Path) -> None:
    try:
        descriptor = side.open(path)
    except UserError:
        # Gone from the run since: the command sees that it is not there.
        return
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            while block := os.read(descriptor, 1 << 20):
                file.write(block)
    except OSError as error:
        raise UserError(f"'{path}' can't be copied to be compared: {text_of_os_error(error)}") from error
    finally:
        os.close(descriptor)


def _as_yaml(values: dict[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(msgspec.to_builtins(values), default_flow_style=False, allow_unicode=True)
