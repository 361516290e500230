"""What people say of runs that are there: labels, tags, comments, marks. Of any run, whatever state it is in.

Each change is made in the store first, again where somebody else was faster, and then in the run's record.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import structs

from orchestra.child.supervisor import failpoint
from orchestra.engine.changes import change
from orchestra.engine.concealment import concealed
from orchestra.engine.marking import comments_of, user_name, warn_of_names
from orchestra.engine.off_loop import off_loop
from orchestra.engine.session import Session, hostname
from orchestra.errors import RevisionConflict, RunBroken, RunNotFound, UserError
from orchestra.model import versions
from orchestra.model.archived import says_later, with_word_of
from orchestra.model.label_edits import LabelEdit, edit_label, sync_label
from orchestra.model.marks import bears_marks
from orchestra.model.run import Comment, Run
from orchestra.workspace import records

How = Callable[[Run], Run]
"""Makes of a run what it is to be; given the run as it is then, perhaps more than once."""
CHUNK = 1000
"""How many runs are changed at once, and wait for the disk together."""


async def label_runs(session: Session, runs: Sequence[Run], edit: LabelEdit) -> tuple[Run, ...]:
    """Change the labels of runs; return those that were. A name in them that is no flag of any run is warned of.

    Raises:
        RunBroken: one of them can't be read.
    """
    flags = {
        name for run in runs for name in (run.flags if run.batch_spec is None else run.batch_spec.options)
    }
    warn_of_names(session, (edit.set, *edit.prepend, *edit.append), flags)
    return await _annotate(
        session,
        runs,
        lambda run: edit_label(run, edit, os.path.exists),
        "run.labeled",
        lambda run: {"label": run.label},
    )


async def tag_runs(
    session: Session,
    runs: Sequence[Run],
    *,
    add: Sequence[str] = (),
    delete: Sequence[str] = (),
    clear: bool = False,
    sync_labels: bool = False,
) -> tuple[Run, ...]:
    """Take tags from runs (all of them if ``clear``), then add some; ``sync_labels`` changes the labels alike.

    Raises:
        UserError: a tag is empty.
        RunBroken: one of them can't be read.
    """
    if not all(tag.strip() for tag in (*add, *delete)):
        raise UserError("a tag can't be empty", "Leave it out, or use --clear to take all tags away.")

    def tagged(run: Run) -> Run:
        kept = () if clear else (tag for tag in run.tags if tag not in delete)
        changed = structs.replace(run, tags=tuple(sorted({*kept, *add})))
        return sync_label(changed, run.tags, os.path.exists) if sync_labels else changed

    return await _annotate(session, runs, tagged, "run.tagged", lambda run: {"tags": list(run.tags)})


async def add_comment(
    session: Session, runs: Sequence[Run], text: str, *, by: str | None = None
) -> tuple[Run, ...]:
    """Add a comment to runs, ``by`` somebody (``USER`` or ``USER@HOST``) if not by who we work for.

    Raises:
        UserError: it is empty.
        RunBroken: one of them can't be read.
    """
    comments = comments_of(session, text)
    if not comments:
        raise UserError("the comment is empty", "Give its text.")
    user, at, host = (by or "").partition("@")
    made = structs.replace(comments[0], user=user or user_name(), host=host if at else hostname())
    return await _comment(session, runs, lambda there: (*there, made))


async def delete_comment(session: Session, runs: Sequence[Run], number: int) -> tuple[Run, ...]:
    """Delete the comment of this number, from 1, of each run.

    Raises:
        UserError: one of them has no such comment; none was changed.
        RunBroken: one of them can't be read.
    """
    for run in runs:
        if not 1 <= number <= len(run.comments):
            count = f"{len(run.comments)} comment{'' if len(run.comments) == 1 else 's'}"
            raise UserError(
                f"run {run.short_id} has no comment {number}: it has {count}",
                f"Try 'orchestra comment --list {run.short_id}' for their numbers.",
            )
    gone = {run.id: run.comments[number - 1] for run in runs}
    # By what it is: somebody may have deleted another one meanwhile.
    return await _annotate(
        session,
        runs,
        lambda run: structs.replace(
            run, comments=tuple(comment for comment in run.comments if comment != gone[run.id])
        ),
        "run.commented",
        _count,
    )


async def clear_comments(session: Session, runs: Sequence[Run]) -> tuple[Run, ...]:
    """Delete all comments of runs.

    Raises:
        RunBroken: one of them can't be read.
    """
    return await _comment(session, runs, lambda _: ())


async def mark_runs(session: Session, runs: Sequence[Run], *, marked: bool = True) -> tuple[Run, ...]:
    """Mark runs, or take their marks away: where an operation needs another one, its marked runs are preferred.

    Raises:
        RunBroken: one of them can't be read.
    """
    return await _annotate(
        session,
        runs,
        lambda run: structs.replace(run, marked=marked),
        "run.marked" if marked else "run.unmarked",
        lambda _: {},
    )


async def take_word(session: Session, run: Run, copy: Run) -> Run:
    """Let what people say of ``copy``, which is one of ``run``, hold for that, too, unless it is older than what they
    say of the run; the run as it is then.

    Raises:
        RunBroken: it can't be read.
    """
    _require_readable(run)

    def taken(current: Run) -> Run:
        return with_word_of(current, copy) if says_later(copy, current) else current

    changed = await _change(session, [run], lambda current: _hidden(session, current, taken(current)))
    await _record(session, changed)
    for each in changed:
        _tell_word(session, run, each)
    return changed[0] if changed else run


def _tell_word(session: Session, before: Run, run: Run) -> None:
    """Tell of all that people say of a run that is other than ``before``."""
    if run.label != before.label:
        session.emit("run.labeled", run, data={"label": run.label})
    if run.tags != before.tags:
        session.emit("run.tagged", run, data={"tags": list(run.tags)})
    if run.comments != before.comments:
        session.emit("run.commented", run, data=_count(run))
    if run.marked != before.marked:
        session.emit("run.marked" if run.marked else "run.unmarked", run, data={})


def _count(run: Run) -> dict[str, Any]:
    return {"comments": len(run.comments)}


async def _comment(
    session: Session, runs: Sequence[Run], how: Callable[[tuple[Comment, ...]], tuple[Comment, ...]]
) -> tuple[Run, ...]:
    return await _annotate(
        session, runs, lambda run: structs.replace(run, comments=how(run.comments)), "run.commented", _count
    )


async def _annotate(
    session: Session, runs: Sequence[Run], how: How, event: str, told: Callable[[Run], dict[str, Any]]
) -> tuple[Run, ...]:
    for run in runs:
        _require_readable(run)
    kept: list[Run] = []
    for start in range(0, len(runs), CHUNK):
        chunk = runs[start : start + CHUNK]
        changed = await _change(
            session, chunk, lambda run: _hidden(session, run, _dated(session, run, how(run)))
        )
        failpoint("run.annotated")
        await _record(session, changed)
        for run in changed:
            session.emit(event, run, data=told(run))
        kept += changed
    return tuple(kept)


def _dated(session: Session, before: Run, changed: Run) -> Run:
    """``changed`` with the time of that; clocks differ, but a later word has a later time."""
    if changed == before:
        return before
    return structs.replace(changed, annotated=max(session.clock.now(), before.annotated + 1))


async def _record(session: Session, runs: Sequence[Run]) -> None:
    places = [(session.directory(run), run) for run in runs]
    await off_loop(lambda: records.write_runs(places, fsync=session.fsync))


def _require_readable(run: Run) -> None:
    if run.state == "broken":
        raise RunBroken(
            f"run {run.id} can't be read: {run.reason}",
            "Use 'orchestra check --runs --fix' to repair it, or choose other runs.",
        )
    if run.schema > versions.RUN:
        raise RunBroken(
            f"run {run.id} was written by a newer version of orchestra and is left as it is",
            "Upgrade orchestra to change this run.",
        )


def _hidden(session: Session, before: Run, changed: Run) -> Run:
    if changed == before:
        return before
    changed = concealed(session, changed)
    if bears_marks(changed):
        session.vault.keep(changed, fsync=session.fsync)
    return changed


async def _change(session: Session, runs: Sequence[Run], how: How) -> list[Run]:
    """All at once; where somebody has changed one of them meanwhile, one by one. Those that are gone are left out."""
    wished = [how(run) for run in runs]
    try:
        done = await session.store.update(
            [new for new, run in zip(wished, runs, strict=True) if new is not run]
        )
    except (RevisionConflict, RunNotFound):
        pass
    else:
        updated = {run.id: run for run in done}
        return [updated.get(run.id, run) for run in wished]
    kept: list[Run] = []
    for run in runs:
        try:
            kept.append(await change(session, run, how))
        except RunNotFound:
            continue
    return kept
