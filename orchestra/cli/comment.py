"""``orchestra comment``: add comments to runs, list and delete them."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from orchestra.cli import run_text, terminal
from orchestra.cli.changing import How, change_runs, require_one
from orchestra.cli.context import complete, current
from orchestra.cli.editing import edit_comment
from orchestra.cli.options import whole
from orchestra.cli.selection import FILTERS, Filters, Yes, chosen
from orchestra.cli.tables import cell
from orchestra.engine.annotating import add_comment, clear_comments, delete_comment
from orchestra.engine.session import Session
from orchestra.errors import RunNotFound, UsageError
from orchestra.model.run import Run


def comment(
    *runs: str,
    add: Annotated[str | None, Parameter(name=("--add", "-a"), allow_leading_hyphen=True)] = None,
    edit: Annotated[bool, Parameter(name=("--edit", "-e"))] = False,
    list_: Annotated[bool, Parameter(name=("--list", "-l"))] = False,
    delete: Annotated[int | None, Parameter(converter=whole, name=("--delete", "-d"))] = None,
    clear: Annotated[bool, Parameter(name=("--clear", "-c"))] = False,
    user: Annotated[str | None, Parameter(name=("--user", "-u"))] = None,
    json: Annotated[bool, Parameter(name="--json")] = False,
    yes: Yes = False,
    filters: Filters = FILTERS,
) -> int:
    """Add a comment to runs, list or delete comments; of the latest run unless told otherwise.

    Parameters
    ----------
    runs
        Which runs: indexes and slices of the listing (1, 2:4, :, last), ids, or beginnings of ids.
    add
        The comment.
    edit
        Write the comment in an editor, which begins with that of --add.
    list_
        List comments, with their numbers.
    delete
        Delete the comment of this number.
    clear
        Delete all comments.
    user
        Whose comment it is: USER or USER@HOST. You, unless told otherwise.
    json
        Print the list as JSON: an array of objects with the id of a run and its comments.
    yes
        Do not ask.
    """
    adds = add is not None or edit
    require_one({"--add": adds, "--list": list_, "--delete": delete is not None, "--clear": clear})
    if user is not None and not adds:
        raise UsageError("--user says whose comment is added: it needs --add or --edit")
    if json and not list_:
        raise UsageError("--json is for --list")
    if list_:
        return complete(lambda: _list(runs, filters, as_json=json))
    how, intro, done = _change(delete, clear, edit_comment(add, "run") if edit else add or "", user)
    count = change_runs(runs, filters, how, intro=f"You are about to {intro} the following runs:", yes=yes)
    terminal.write(f"{done} for {count} run(s)\n" if not adds else f"{done} {count} run(s)\n")
    return 0


def _change(delete: int | None, clear: bool, text: str, user: str | None) -> tuple[How, str, str]:
    if delete is not None:
        return (
            lambda session, found: delete_comment(session, found, delete),
            f"delete comment {delete} of",
            "Deleted comment",
        )
    if clear:
        return clear_comments, "delete all comments of", "Deleted all comments"
    return (
        lambda session, found: add_comment(session, found, text, by=user),
        "add a comment to",
        "Added comment to",
    )


async def _list(specs: tuple[str, ...], filters: Filters, *, as_json: bool) -> int:
    context = current()
    here = str(context.cwd)
    async with context.session(looking=True) as session:
        found = await chosen(session, specs, filters, default="latest")
        if not found:
            raise RunNotFound("no matching runs")
        if as_json:
            terminal.write_json([_as_json(run) for run in found])
        else:
            terminal.write("".join(_lines(session, run, here) for run in found))
    return 0


def _as_json(run: Run) -> dict[str, Any]:
    return {"id": run.id, "comments": run.comments}


def _lines(session: Session, run: Run, here: str) -> str:
    head = "  ".join(part for part in run_text.preview_row(session, run, here) if part)
    lines = [cell(head)]
    for number, each in enumerate(run.comments, 1):
        who, *body = run_text.comment_lines(each)
        lines += [f"  [{number}] {who}", *(f"  {line}" for line in body)]
    if not run.comments:
        lines.append("  <no comments>")
    return "".join(f"{line}\n" for line in lines)
