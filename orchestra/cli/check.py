"""``orchestra check``: whether all is there that is needed, and whether runs, records and processes fit together."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from orchestra.cli import tables, terminal
from orchestra.cli.context import current, in_event_loop
from orchestra.engine.check import Finding, check_runs
from orchestra.errors import CheckFailed


def check(
    *,
    runs: bool = False,
    fix: bool = False,
    json: Annotated[bool, Parameter(name="--json")] = False,
) -> int:
    """Say what is installed, what works and what is wrong; with --runs, how runs, records and processes fit together.

    Ends with code 3 if something is wrong. With --json an array of objects is printed, with the keys what, level
    (ok, note or problem) and message; of runs with the keys kind, run, message, fixed and done.

    Parameters
    ----------
    runs
        Compare the store with the run directories and the processes.
    fix
        Repair what can be repaired of runs without guessing.
    json
        Print JSON.
    """
    if runs or fix:
        return _check_runs(fix, json)
    return _check_installation(json)


def _check_installation(as_json: bool) -> int:
    from orchestra.cli.installation import Item, check_installation

    context = current()
    items = list(check_installation(context.home, context.settings))
    if context.home.is_dir() and not any(item.level == "problem" for item in items):
        found = len(in_event_loop(lambda: _check(False)))
        message = f"{found} thing{'' if found == 1 else 's'} found: see 'orchestra check --runs'"
        level = "problem" if found else "ok"
        items.append(Item(what="runs", level=level, message=message if found else "all fits together"))
    if as_json:
        terminal.write_json(items)
    else:
        terminal.write(tables.render([(item.level, item.what, item.message) for item in items]))
    wrong = [item.what for item in items if item.level == "problem"]
    if wrong and as_json:
        return CheckFailed.exit_code
    if wrong:
        raise CheckFailed(f"something is wrong with: {', '.join(wrong)}")
    return 0


def _check_runs(fix: bool, as_json: bool) -> int:
    findings = in_event_loop(lambda: _check(fix))
    if as_json:
        terminal.write_json(findings)
    else:
        rows = [("fixed" if one.fixed else "found", one.kind, _sentence(one)) for one in findings]
        terminal.write(tables.render(rows) or "Nothing to repair.\n")
    left = sum(not one.fixed for one in findings)
    if left and as_json:
        return CheckFailed.exit_code
    if left:
        hint = None if fix else "Use 'orchestra check --runs --fix' to repair what can be repaired."
        raise CheckFailed(f"{left} thing{'' if left == 1 else 's'} found that should not be so", hint)
    return 0


async def _check(fix: bool) -> list[Finding]:
    async with current().session(looking=not fix) as session:
        return await check_runs(session, fix)


def _sentence(finding: Finding) -> str:
    return f"{finding.message}: {finding.done}" if finding.done else finding.message
