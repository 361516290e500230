"""``orchestra tag``: add tags to runs, take some away, list them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated

from cyclopts import Parameter

from orchestra.cli import tables, terminal
from orchestra.cli.changing import change_runs
from orchestra.cli.context import complete, current
from orchestra.cli.selection import FILTERS, Filters, Yes, chosen, query_of, tell_of_unknown
from orchestra.engine.annotating import tag_runs
from orchestra.engine.judge import settle_active
from orchestra.engine.presence import existing_tags
from orchestra.engine.session import Session
from orchestra.errors import UsageError


def tag(
    *runs: str,
    add: Annotated[tuple[str, ...], Parameter(name=("--add", "-a"), allow_leading_hyphen=True)] = (),
    delete: Annotated[tuple[str, ...], Parameter(name=("--delete", "-d"), allow_leading_hyphen=True)] = (),
    clear: Annotated[bool, Parameter(name=("--clear", "-c"))] = False,
    sync_labels: Annotated[bool, Parameter(name=("--sync-labels", "-s"))] = False,
    list_all: Annotated[bool, Parameter(name=("--list-all", "-l"))] = False,
    json: Annotated[bool, Parameter(name="--json")] = False,
    yes: Yes = False,
    filters: Filters = FILTERS,
) -> int:
    """Add tags to runs or take some away; of the latest run unless told otherwise.

    Parameters
    ----------
    runs
        Which runs: indexes and slices of the listing (1, 2:4, :, last), ids, or beginnings of ids.
    add
        Add this tag. May be repeated.
    delete
        Take this tag away. May be repeated.
    clear
        Take all tags away, before any is added.
    sync_labels
        Change the labels alike: a tag that is added is put before the label, one that goes is taken out of it.
    list_all
        List the tags of all runs, or of those that are meant, instead.
    json
        Print the list as a JSON array.
    yes
        Do not ask.
    """
    if list_all:
        if add or delete or clear or sync_labels:
            raise UsageError("--list-all lists tags: it can't be used with an option that changes them")
        return complete(lambda: _list(runs, filters, as_json=json))
    if json:
        raise UsageError("--json is for --list-all")
    if not (add or delete or clear):
        raise UsageError("nothing to do: give --add, --delete, --clear or --list-all")
    count = change_runs(
        runs,
        filters,
        lambda session, found: tag_runs(
            session, found, add=add, delete=delete, clear=clear, sync_labels=sync_labels
        ),
        intro="You are about to modify the tags of the following runs:",
        yes=yes,
    )
    terminal.write(f"Modified tags for {count} run(s)\n")
    return 0


async def _list(specs: tuple[str, ...], filters: Filters, *, as_json: bool) -> int:
    async with current().session(looking=True) as session:
        tags = sorted(await _tags(session, specs, filters))
    if as_json:
        terminal.write_json(tags)
    elif not tags:
        terminal.hint("No run has a tag.")
    else:
        terminal.write("".join(f"{tables.cell(tag)}\n" for tag in tags))
    return 0


async def _tags(session: Session, specs: tuple[str, ...], filters: Filters) -> Collection[str]:
    if specs:
        return {tag for run in await chosen(session, specs, filters, default="all") for tag in run.tags}
    query = query_of(filters)
    await settle_active(session)
    tags = await existing_tags(session, query)
    await tell_of_unknown(session, query, found=bool(tags))
    return tags
