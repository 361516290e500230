"""What a new run takes along of its project: the source, and at which commit it is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct, structs

from orchestra.engine.session import Session
from orchestra.model.operation import Operation

if TYPE_CHECKING:
    from orchestra.workspace import source


class Snapshot(Struct, frozen=True, kw_only=True):
    """What runs are made of, all of one batch of the same."""

    selection: source.Selection | None = None
    vcs_commit: str | None = None
    """``git:SHA``, with ``*`` when the working tree differs."""


def takes_source(operation: Operation) -> bool:
    """Whether runs of ``operation`` have a copy of the project's source."""
    if operation.source is None or operation.kind in ("batch", "queue"):
        return False
    if os.environ.get("NO_SOURCECODE") == "1":
        return False
    if operation.sourcecode is None:
        # A pipeline runs other operations, which take their own source along.
        return operation.kind != "steps"
    return not operation.sourcecode.disabled


def where_it_runs(operation: Operation) -> Operation:
    """``operation`` as its runs find it: with its main file where the source is copied to, or in the project where
    they have no copy of it."""
    project, wanted = operation.source, operation.sourcecode
    if project is None:
        return operation
    if not takes_source(operation):
        return _moved(operation, project, os.path.join(project, operation.main))
    if wanted is None or (wanted.root is None and wanted.dest is None):
        return operation
    main = os.path.relpath(operation.main, wanted.root or os.curdir)
    if main.split(os.sep, 1)[0] == os.pardir:
        return _moved(operation, wanted.dest or os.curdir, os.path.join(project, operation.main))
    dest = os.path.normpath(wanted.dest or os.curdir)
    return _moved(operation, dest, os.path.normpath(os.path.join(dest, main)))


def _moved(operation: Operation, folder: str, main: str) -> Operation:
    if operation.kind == "module":
        return structs.replace(operation, python_path=(*operation.python_path, folder))
    if operation.kind in ("script", "executable") and operation.main and not os.path.isabs(operation.main):
        return structs.replace(operation, main=main)
    return operation


def select_source(session: Session, operation: Operation) -> source.Selection | None:
    """Which of the project's files a run of ``operation`` takes along.

    Raises:
        UserError: what the project says of its source can't be followed.
        ScriptError: the script is missing, or a file kept changing while it was read.
    """
    if operation.source is None or not takes_source(operation):
        return None
    # A queue has none.
    from orchestra.workspace import source

    is_file = operation.kind in ("script", "executable") and not os.path.isabs(operation.main)
    return source.select(
        Path(operation.source),
        always=(operation.main,) if operation.main and is_file else (),
        excluded=(session.layout.home,),
        sourcecode=operation.sourcecode,
    )


def take_snapshot(session: Session, operation: Operation) -> Snapshot:
    """Choose the source of a run, and ask Git meanwhile at which commit it is.

    Raises:
        UserError, ScriptError: as :func:`select_source`.
    """
    question = None
    if operation.source is not None and os.environ.get("NO_VCS_COMMIT") != "1":
        from orchestra.workspace.git import CommitQuestion

        question = CommitQuestion(operation.source)
    try:
        selection = select_source(session, operation)
    finally:
        commit = None if question is None else question.answer()
    return Snapshot(selection=selection, vcs_commit=commit)
