"""What ``run --test-sourcecode`` shows: by which rules source is chosen, what they take, and what they leave."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from orchestra.console import printable
from orchestra.engine.session import Session
from orchestra.engine.snapshot import select_source
from orchestra.model.operation import Operation, SourceRule
from orchestra.workspace import walk
from orchestra.workspace.source import Selection


def source_listing(session: Session, operation: Operation) -> str:
    """The rules, the selected files, and the skipped ones, a line each.

    Raises:
        UserError, ScriptError: as :func:`~orchestra.engine.snapshot.select_source`.
    """
    selection = select_source(session, operation)
    if selection is None:
        return f"Source code is not copied for '{operation.name}': {_why_not(operation)}\n"
    rules = operation.sourcecode.rules if operation.sourcecode else ()
    lines = [f"Copying from '{printable(selection.root)}'{' (a Git repository)' if selection.in_git else ''}"]
    if dest := operation.sourcecode.dest if operation.sourcecode else None:
        lines.append(f"Copying to '{printable(dest)}' in the run's directory")
    lines += ["Rules:", *_indented((*_default_rules(selection), *map(_rule, rules)))]
    lines += ["Selected for copy:", *_indented([file.origin for file in selection.files])]
    lines += ["Skipped:", *_indented(selection.skipped)]
    lines += [f"WARNING: {warning}" for warning in selection.warnings]
    return "\n".join(lines) + "\n"


def _why_not(operation: Operation) -> str:
    if operation.source is None:
        return "it belongs to no project"
    if os.environ.get("NO_SOURCECODE") == "1":
        return "NO_SOURCECODE is set"
    if operation.sourcecode is not None and operation.sourcecode.disabled:
        return "the project file says so"
    return "it runs other operations"


def _default_rules(selection: Selection) -> Iterator[str]:
    marks = ", ".join(walk.NOCOPY)
    yield f"exclude dir * containing {marks}"
    if selection.in_git:
        yield "exclude dir .git, what Git ignores"
        yield "include what Git tracks, and new files that it does not ignore"
        yield "exclude new files that look like secrets, new virtual environments, __pycache__"
        yield "exclude new folders of exported runs, new pages of 'plot --html'"
        yield f"exclude .git*, {', '.join(walk.IGNORE_FILES)}"
    else:
        yield "exclude dir .*, __pycache__, build, dist, *.egg-info, virtual environments"
        size, count = walk.limits()
        yield f"include text * size < {size + 1}, max match {count}"
        yield "exclude what looks like a secret, folders of exported runs, pages of 'plot --html'"
    yield f"exclude what {' or '.join(walk.IGNORE_FILES)} names"


def _rule(rule: SourceRule) -> str:
    kind = "" if rule.type == "any" else f"{rule.type} "
    return f"{'include' if rule.include else 'exclude'} {kind}{', '.join(rule.patterns)}"


def _indented(texts: Sequence[str]) -> Iterator[str]:
    for text in texts:
        yield f"  {printable(text)}"
