"""``orchestra check``: whether runs, records and processes fit together."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from orchestra.cli import tables, terminal
from orchestra.cli.context import current, in_event_loop
from orchestra.engine.check import Finding, check_runs
from orchestra.errors import CheckFailed


def check(
    *,
    runs: bool = True,
    fix: bool = False,
    json: Annotated[bool, Parameter(name="--json")] = False,
) -> int:
    """Compare the store with the run directories and the processes, and say what does not fit.

    Ends with code 3 if something is left that does not. With --json the findings are printed as an array of
    objects with the keys kind, run, message, fixed and done.

    Parameters
    ----------
    runs
        Check runs (all there is to check so far).
    fix
        Repair what can be repaired without guessing.
    json
        Print JSON.
    """
    del runs
    findings = in_event_loop(lambda: _check(fix))
    if json:
        terminal.write_json(findings)
    else:
        rows = [("fixed" if one.fixed else "found", one.kind, _sentence(one)) for one in findings]
        terminal.write(tables.render(rows) or "Nothing to repair.\n")
    left = sum(not one.fixed for one in findings)
    if left and json:
        return CheckFailed.exit_code
    if left:
        hint = None if fix else "Use 'orchestra check --runs --fix' to repair what can be repaired."
        raise CheckFailed(f"{left} thing{'' if left == 1 else 's'} found that should not be so", hint)
    return 0


async def _check(fix: bool) -> list[Finding]:
    async with current().session() as session:
        return await check_runs(session, fix)


def _sentence(finding: Finding) -> str:
    return f"{finding.message}: {finding.done}" if finding.done else finding.message
