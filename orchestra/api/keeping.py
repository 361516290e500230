"""Label, delete, restore, export and import runs from scripts."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from orchestra.api.in_home import Home, ids_of, in_home
from orchestra.engine.orchestra import Orchestra
from orchestra.model.filters import RunQuery
from orchestra.model.run import Run


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

    return in_home(orchestra_home or home, delete)


def runs_restore(
    runs: Sequence[Run | str] | None = None, *, home: Home = None, orchestra_home: Home = None
) -> list[Run]:
    """Take runs (all of them, if none are named) out of the trash, and return them."""

    return list(in_home(orchestra_home or home, lambda orch: orch.restore(ids_of(runs))))


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

    return in_home(orchestra_home or home, lambda orch: orch.purge(ids_of(runs), older_than=older_than))


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
        names = ids_of(runs)
        if names is None:
            names = [run.id for run in await orch.list(RunQuery(limit=1))]
        return await how(orch, names)

    return list(in_home(home, annotate))


def export_runs(
    location: str | os.PathLike[str],
    runs: Sequence[str] | None = None,
    *,
    home: Home = None,
    orchestra_home: Home = None,
    **options: Any,
) -> list[Run]:
    """Export runs (all of them, if none are named), as :meth:`Orchestra.export_runs` does with these options."""

    return list(in_home(orchestra_home or home, lambda orch: orch.export_runs(location, runs, **options)))


def import_runs(
    source: str | os.PathLike[str],
    runs: Sequence[str] | None = None,
    *,
    home: Home = None,
    orchestra_home: Home = None,
    **options: Any,
) -> list[Run]:
    """Import runs (all of them, if none are named), as :meth:`Orchestra.import_runs` does with these options."""

    return list(in_home(orchestra_home or home, lambda orch: orch.import_runs(source, runs, **options)))


def import_guild(
    path: str | os.PathLike[str],
    runs: Sequence[str] = (),
    *,
    home: Home = None,
    orchestra_home: Home = None,
    **options: Any,
) -> list[Run]:
    """Take over runs of a Guild home (all of them, if none are named), as :meth:`Orchestra.import_guild` does."""

    return list(in_home(orchestra_home or home, lambda orch: orch.import_guild(path, runs, **options)))


def export_crate(
    location: str | os.PathLike[str],
    runs: Sequence[str] | None = None,
    *,
    license: str | None = None,
    home: Home = None,
    orchestra_home: Home = None,
) -> list[Run]:
    """Make an RO-Crate of runs (of all, if none are named), as :meth:`Orchestra.export_crate` does."""

    return list(
        in_home(orchestra_home or home, lambda orch: orch.export_crate(location, runs, license=license))
    )
