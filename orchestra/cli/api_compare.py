"""``orchestra api compare``: the table of runs as JSON, for programs that were written for the predecessor."""

from typing import Annotated

from cyclopts import Parameter

from orchestra.cli import terminal
from orchestra.cli.compare_text import with_ids
from orchestra.cli.context import complete, current
from orchestra.cli.selection import FILTERS, Filters, chosen
from orchestra.engine.comparing import compare_request, make_comparison, subjects_of
from orchestra.model.comparison import Comparison


def api_compare(
    *runs: str,
    format_: Annotated[bool, Parameter(name=("--format", "-f"))] = False,
    include_batch: bool = False,
    filters: Filters = FILTERS,
) -> int:
    """Print a table of runs as JSON: an array of the headings, then an array of the values of each run.

    The first column has the whole id; times are texts. 'orchestra compare --json' tells more, and what is a time.

    Parameters
    ----------
    runs
        Which runs: indexes and slices of the listing (1, 2:4, :), ids, or beginnings of ids.
    format_
        Indent it for people.
    include_batch
        Batches and queues, too.
    """
    comparison = complete(lambda: _compare(runs, filters, include_batch))
    terminal.write_json(with_ids(comparison), indented=format_)
    return 0


async def _compare(specs: tuple[str, ...], filters: Filters, include_batch: bool) -> Comparison:
    context = current()
    async with context.session(looking=True) as session:
        runs = await chosen(session, specs, filters, default="all")
        subjects = await subjects_of(session, runs, context.cwd, include_batch=include_batch)
    return make_comparison(subjects, compare_request())
