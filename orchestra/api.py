"""The synchronous facade for notebooks and scripts, over the async engine.

Works inside of a running event loop, too (Jupyter): the engine then has a thread of its own. What the
command line would print goes to ``sys.stdout``.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO, TypeVar, Unpack

from orchestra.console import Console, TextConsole, printable
from orchestra.engine.begin import Begun
from orchestra.engine.blocking import wait
from orchestra.engine.orchestra import Orchestra
from orchestra.errors import OrchestraError, UserError
from orchestra.model.filters import RunQuery
from orchestra.model.flags import format_flags
from orchestra.model.ids import new_run_id
from orchestra.model.narrowing import Filters
from orchestra.model.operation import FlagValue
from orchestra.model.run import Run, State
from orchestra.model.scalars import Scalar
from orchestra.model.series import MOST_POINTS, Series
from orchestra.model.subjects import Value
from orchestra.workspace.layout import Layout
from orchestra.workspace.results import Results

__all__ = [
    "Project",
    "RunError",
    "attributes",
    "compare",
    "export_runs",
    "import_runs",
    "mark",
    "run",
    "run_capture_output",
    "runs_comment",
    "runs_delete",
    "runs_label",
    "runs_list",
    "runs_purge",
    "runs_restore",
    "runs_tag",
    "scalar",
    "scalars",
    "series",
]

T = TypeVar("T")
Home = str | os.PathLike[str] | None


class RunError(OrchestraError):
    """A run did not end well. ``returncode`` is what the command exits with, ``output`` what it showed."""

    def __init__(self, message: str, *, returncode: int, output: str = "") -> None:
        super().__init__(message)
        self.returncode = returncode
        self.output = output


def _in_home(
    home: Home,
    how: Callable[[Orchestra], Awaitable[T]],
    *,
    cwd: str | os.PathLike[str] | None = None,
    console: Console | None = None,
) -> T:
    """What ``how`` makes of a home, which is open for that long."""

    async def call() -> T:
        async with Orchestra(home, cwd=cwd, console=console) as orch:
            return await how(orch)

    return wait(call)


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
    return _carry_out(
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


def _carry_out(
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
    console = TextConsole(stdout or sys.stdout, quiet=quiet)

    def carry_out(orch: Orchestra) -> Awaitable[Begun]:
        return orch.carry_out(
            operation,
            flags,
            restart=restart or start,
            environment=dict(extra_env or {}),
            expander=optimizer,
            expander_options=dict(opt_flags or {}),
            **options,
        )

    begun = _in_home(home, carry_out, cwd=cwd, console=console)
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


def runs_list(
    *,
    home: Home = None,
    orchestra_home: Home = None,
    cwd: str | os.PathLike[str] | None = None,
    states: Sequence[State] | None = None,
    limit: int | None = None,
    deleted: bool = False,
    **filters: Unpack[Filters],
) -> list[Run]:
    """The runs of a home, or those in its trash, newest first. ``run.get("flags")`` is a plain dict.

    ``filters`` are those of the command line: ``expr`` (``"loss < 0.1 and op = train"``), ``ops``, ``labels``,
    ``tags``, ``comments``, ``digest`` (each a text, or a list of alternatives; of ``expr``, all hold), ``started``
    (``"last 2 hours"``), ``unlabeled``, ``marked``, ``unmarked``, ``running``, ``completed``, ``error``,
    ``terminated``, ``pending``, ``staged``, and each of these with ``not_`` before it.
    """

    query = RunQuery(states=frozenset(states) if states is not None else None, limit=limit)

    def look(orch: Orchestra) -> Awaitable[tuple[Run, ...]]:
        return (orch.deleted if deleted else orch.list)(query, **filters)

    return list(_in_home(orchestra_home or home, look, cwd=cwd))


def runs_delete(
    runs: Sequence[str] | None = None,
    *,
    permanent: bool = False,
    home: Home = None,
    orchestra_home: Home = None,
) -> int:
    """Delete runs (all of them, if none are named), into the trash or for good, and return how many there were."""

    async def delete(orch: Orchestra) -> int:
        names = runs if runs is not None else [run.id for run in await orch.list()]
        return await orch.delete(names, permanent=permanent)

    return _in_home(orchestra_home or home, delete)


def runs_restore(
    runs: Sequence[Run | str] | None = None, *, home: Home = None, orchestra_home: Home = None
) -> list[Run]:
    """Take runs (all of them, if none are named) out of the trash, and return them."""

    return list(_in_home(orchestra_home or home, lambda orch: orch.restore(_ids_of(runs))))


def runs_purge(
    runs: Sequence[Run | str] | None = None,
    *,
    older_than: float | str | None = None,
    home: Home = None,
    orchestra_home: Home = None,
) -> int:
    """Delete runs in the trash (all of them, if none are named) for good, and return how many there were.

    ``older_than``: only those that were deleted so many seconds ago, or so long (``"30d"``).
    """

    return _in_home(orchestra_home or home, lambda orch: orch.purge(_ids_of(runs), older_than=older_than))


def runs_label(
    runs: Sequence[Run | str] | None = None,
    *,
    set: str | None = None,
    append: str | None = None,
    prepend: str | None = None,
    remove: Sequence[str] = (),
    clear: bool = False,
    home: Home = None,
    orchestra_home: Home = None,
) -> list[Run]:
    """Change the labels of runs (of the latest, if none are named) and return these."""

    async def call(orch: Orchestra, names: Sequence[str]) -> tuple[Run, ...]:
        return await orch.label(names, set=set, append=append, prepend=prepend, remove=remove, clear=clear)

    return _annotate(runs, orchestra_home or home, call)


def runs_tag(
    runs: Sequence[Run | str] | None = None,
    *,
    add: Sequence[str] = (),
    remove: Sequence[str] = (),
    clear: bool = False,
    sync_labels: bool = False,
    home: Home = None,
    orchestra_home: Home = None,
) -> list[Run]:
    """Change the tags of runs (of the latest, if none are named) and return these."""

    async def call(orch: Orchestra, names: Sequence[str]) -> tuple[Run, ...]:
        return await orch.tag(names, add=add, delete=remove, clear=clear, sync_labels=sync_labels)

    return _annotate(runs, orchestra_home or home, call)


def runs_comment(
    runs: Sequence[Run | str] | None = None,
    text: str | None = None,
    *,
    user: str | None = None,
    delete: int | None = None,
    clear: bool = False,
    home: Home = None,
    orchestra_home: Home = None,
) -> list[Run]:
    """Add a comment to runs (to the latest, if none are named), or delete comments, and return the runs."""

    async def call(orch: Orchestra, names: Sequence[str]) -> tuple[Run, ...]:
        return await orch.comment(names, text, by=user, delete=delete, clear=clear)

    return _annotate(runs, orchestra_home or home, call)


def mark(
    runs: Sequence[Run | str] | None = None,
    *,
    clear: bool = False,
    home: Home = None,
    orchestra_home: Home = None,
) -> list[Run]:
    """Mark runs (the latest, if none are named), or take their marks away, and return them."""

    async def call(orch: Orchestra, names: Sequence[str]) -> tuple[Run, ...]:
        return await orch.mark(names, clear=clear)

    return _annotate(runs, orchestra_home or home, call)


def _annotate(
    runs: Sequence[Run | str] | None,
    home: Home,
    how: Callable[[Orchestra, Sequence[str]], Awaitable[tuple[Run, ...]]],
) -> list[Run]:
    async def annotate(orch: Orchestra) -> tuple[Run, ...]:
        names = _ids_of(runs)
        if names is None:
            names = [run.id for run in await orch.list(RunQuery(limit=1))]
        return await how(orch, names)

    return list(_in_home(home, annotate))


def export_runs(
    location: str | os.PathLike[str],
    runs: Sequence[str] | None = None,
    *,
    home: Home = None,
    orchestra_home: Home = None,
    **options: Any,
) -> list[Run]:
    """Export runs (all of them, if none are named), as :meth:`Orchestra.export_runs` does with these options."""

    return list(_in_home(orchestra_home or home, lambda orch: orch.export_runs(location, runs, **options)))


def import_runs(
    source: str | os.PathLike[str],
    runs: Sequence[str] | None = None,
    *,
    home: Home = None,
    orchestra_home: Home = None,
    **options: Any,
) -> list[Run]:
    """Import runs (all of them, if none are named), as :meth:`Orchestra.import_runs` does with these options."""

    return list(_in_home(orchestra_home or home, lambda orch: orch.import_runs(source, runs, **options)))


def scalars(run: Run | str, *, home: Home = None, orchestra_home: Home = None) -> dict[str, Scalar]:
    """The scalars of a run by their names: those that it printed or logged, and ``sys/...``, what we measured."""
    return _results(run, orchestra_home or home).scalars


def attributes(run: Run | str, *, home: Home = None, orchestra_home: Home = None) -> dict[str, FlagValue]:
    """The attributes of a run: those that its project gives it (``run-attrs``), and those that it printed."""
    return _results(run, orchestra_home or home).attributes


def scalar(
    run: Run | str, column: str, *, home: Home = None, orchestra_home: Home = None
) -> float | int | None:
    """One number of a run: ``loss`` (the last value), ``min loss``, ``max logs#acc step``; None if it has none.

    Raises:
        UserError: it is no such column.
    """

    return _in_home(orchestra_home or home, lambda orch: orch.value(_id_of(run), column))


def compare(
    runs: Sequence[Run | str] | None = None,
    *,
    home: Home = None,
    orchestra_home: Home = None,
    cwd: str | os.PathLike[str] | None = None,
    **options: Any,
) -> list[list[Value]]:
    """A table of runs (all of them, if none are named): the headings, then the values of each row.

    Times are microseconds since the epoch, how long a run took is in seconds. ``options`` are those of
    :meth:`~orchestra.engine.orchestra.Orchestra.compare`, which returns more than the values.

    Raises:
        RunNotFound: a run that is named is not there.
        UserError: a column has no meaning, or no run has anything in it.
    """

    names = [_id_of(run) for run in runs or ()]
    made = _in_home(orchestra_home or home, lambda orch: orch.compare(names, **options), cwd=cwd)
    return [list(made.headings), *(list(row.values) for row in made.rows)]


def series(
    run: Run | str,
    names: str | Sequence[str],
    *,
    most: int = MOST_POINTS,
    home: Home = None,
    orchestra_home: Home = None,
) -> dict[str, Series]:
    """The values over steps of scalars of a run, thinned out to about ``most`` points; what it has not is left out."""

    return _in_home(orchestra_home or home, lambda orch: orch.series(_id_of(run), names, most=most))


def _results(run: Run | str, home: Home) -> Results:
    return _in_home(home, lambda orch: orch.results(_id_of(run)))


def _ids_of(runs: Sequence[Run | str] | None) -> list[str] | None:
    return None if runs is None else [_id_of(run) for run in runs]


def _id_of(run: Run | str) -> str:
    return run if isinstance(run, str) else run.id


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

        return _in_home(self.home, lambda orch: orch.get(run_id), cwd=self.cwd), text.getvalue()

    def _run(self, operation: str | None, stream: TextIO, options: dict[str, Any]) -> Begun:
        again = options.get("restart") or options.get("start") or options.get("extend")
        if again is None and "run_dir" not in options:
            # Chosen here, so that a staged run is shown by its directory.
            options = {**options, "run_dir": Layout(self.home).runs_dir / new_run_id()}
        env = {**self._env, **options.pop("extra_env", {})}
        try:
            return _carry_out(
                operation, home=self.home, cwd=self.cwd, extra_env=env, stdout=stream, **options
            )
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
        count = runs_delete(_ids_of(runs), permanent=permanent, home=self.home)
        print(f"{'Permanently deleted' if permanent else 'Deleted'} {count} run(s)")  # noqa: T201
