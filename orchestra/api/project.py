"""A project's directory and a home, for notebooks and for tests of projects."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from orchestra.api.in_home import Home, ids_of, in_home
from orchestra.api.keeping import mark, runs_delete, runs_label, runs_tag
from orchestra.api.reading import compare, runs_list, scalar, scalars, series
from orchestra.api.running import RunError, carry_out
from orchestra.console import printable
from orchestra.engine.begin import Begun
from orchestra.engine.orchestra import Orchestra
from orchestra.errors import UserError
from orchestra.model.flags import format_flags
from orchestra.model.ids import new_run_id
from orchestra.model.run import Run
from orchestra.model.scalars import Scalar
from orchestra.model.series import MOST_POINTS, Series
from orchestra.model.subjects import Value
from orchestra.workspace.layout import Layout


class Project:
    """A project's directory and a home to run it in."""

    def __init__(
        self,
        cwd: str | os.PathLike[str],
        home: Home = None,
        *,
        orchestra_home: Home = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.cwd = Path(cwd).absolute()
        self.home = Orchestra(orchestra_home or home, cwd=self.cwd).home
        self._env = dict(env or {})

    def run(self, operation: str | None = None, **options: Any) -> None:
        """Run and show what the command line would; a run that fails shows ``<exit N>`` at its end."""
        try:
            self._run(operation, sys.stdout, options)
        except RunError as error:
            print(f"<exit {error.returncode}>")  # noqa: T201

    def run_capture(self, operation: str | None = None, **options: Any) -> tuple[Run, str]:
        """Run, and return the run and what the command line would have shown.

        Of a run that is skipped (``needed=True``), the newest that matches.

        Raises:
            RunError: the run failed; with the output up to there.
        """
        text = io.StringIO()
        try:
            begun = self._run(operation, text, options)
        except RunError as error:
            error.output = text.getvalue()
            raise
        run_id = (begun.run or begun.matching[0]).id

        return in_home(self.home, lambda orch: orch.get(run_id), cwd=self.cwd), text.getvalue()

    def _run(self, operation: str | None, stream: TextIO, options: dict[str, Any]) -> Begun:
        again = options.get("restart") or options.get("start") or options.get("extend")
        if again is None and "run_dir" not in options:
            # Chosen here, so that a staged run is shown by its directory.
            options = {**options, "run_dir": Layout(self.home).runs_dir / new_run_id()}
        env = {**self._env, **options.pop("extra_env", {})}
        try:
            return carry_out(operation, home=self.home, cwd=self.cwd, extra_env=env, stdout=stream, **options)
        except UserError as error:
            stream.write(f"orchestra: {error.message}\n" + (f"{error.hint}\n" if error.hint else ""))
            raise RunError(error.message, returncode=error.exit_code) from error

    def list_runs(self, **options: Any) -> list[Run]:
        """The home's runs, newest first."""
        return runs_list(home=self.home, cwd=self.cwd, **options)

    def print_runs(
        self,
        runs: Sequence[Run] | None = None,
        *,
        ids: bool = False,
        short_ids: bool = False,
        flags: bool = False,
        labels: bool = False,
        tags: bool = False,
        status: bool = False,
    ) -> None:
        """Print a row a run: the operation, then the columns that were asked for, two spaces apart."""
        rows: list[list[str]] = []
        for each in self.list_runs() if runs is None else runs:
            row = [each.operation_name]
            row += [each.id] if ids else []
            row += [each.short_id] if short_ids else []
            row += [format_flags(each.flags)] if flags else []
            row += [each.label or ""] if labels else []
            row += [" ".join(each.tags)] if tags else []
            row += [each.state] if status else []
            rows.append(row)
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))] if rows else []
        for row in rows:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            print(printable("  ".join(cells).rstrip()))  # noqa: T201

    def scalars(self, run: Run | str) -> dict[str, Scalar]:
        """The scalars of a run, as :func:`scalars` has them."""
        return scalars(run, home=self.home)

    def scalar(self, run: Run | str, column: str) -> float | int | None:
        """One number of a run, as :func:`scalar` has it."""
        return scalar(run, column, home=self.home)

    def compare(self, runs: Sequence[Run | str] | None = None, **options: Any) -> list[list[Value]]:
        """A table of runs, as :func:`compare` has it."""
        return compare(runs, home=self.home, cwd=self.cwd, **options)

    def series(
        self, run: Run | str, names: str | Sequence[str], *, most: int = MOST_POINTS
    ) -> dict[str, Series]:
        """The values over steps of scalars of a run, as :func:`series` has them."""
        return series(run, names, most=most, home=self.home)

    def label(self, runs: Sequence[Run | str] | None = None, **options: Any) -> None:
        """Change labels, as :func:`runs_label` does, and say of how many runs."""
        count = len(runs_label(runs, home=self.home, **options))
        print(f"{'Cleared label for' if options.get('clear') else 'Labeled'} {count} run(s)")  # noqa: T201

    def tag(self, runs: Sequence[Run | str] | None = None, **options: Any) -> None:
        """Change tags, as :func:`runs_tag` does, and say of how many runs."""
        print(f"Modified tags for {len(runs_tag(runs, home=self.home, **options))} run(s)")  # noqa: T201

    def mark(self, runs: Sequence[Run | str] | None = None, *, clear: bool = False) -> None:
        """Mark runs, or take their marks away, and say how many."""
        count = len(mark(runs, clear=clear, home=self.home))
        print(f"{'Unmarked' if clear else 'Marked'} {count} run(s)")  # noqa: T201

    def delete_runs(self, runs: Sequence[Run | str] | None = None, *, permanent: bool = False) -> None:
        """Delete runs (all of them, if none are named), into the trash or for good, and say how many."""
        count = runs_delete(ids_of(runs), permanent=permanent, home=self.home)
        print(f"{'Permanently deleted' if permanent else 'Deleted'} {count} run(s)")  # noqa: T201
