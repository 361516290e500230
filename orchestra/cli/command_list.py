"""What ``orchestra --help`` and ``orchestra GROUP --help`` print: the commands that there are."""

from __future__ import annotations

import textwrap
from typing import Any

from orchestra.cli import app, terminal
from orchestra.cli.options import HELP


def top_help() -> str:
    """What ``orchestra --help`` prints."""
    rows = [(name, verb.help) for name, verb in app.VERBS.items() if verb.help and " " not in name]
    rows += app.GROUPS.items()
    return (
        f"{_filled('Usage: orchestra [OPTIONS] COMMAND [ARGUMENTS]')}\n"
        f"{_filled('Run any script as an experiment: capture, batch, stage, queue, restart.')}\n"
        f"Commands:\n{_listed(sorted(rows))}\nOptions:\n{_listed(HELP)}\n"
        + _filled("Try 'orchestra COMMAND --help' for more information.")
    )


def group_help(group: str) -> str:
    """What ``orchestra GROUP --help`` prints."""
    prefix = f"{group} "
    default = app.DEFAULTS.get(group)
    alone = _filled(f"'orchestra {group}' alone is 'orchestra {group} {default}'.") if default else ""
    rows = [
        (name.removeprefix(prefix), verb.help) for name, verb in app.VERBS.items() if name.startswith(prefix)
    ]
    return (
        f"{_filled(f'Usage: orchestra {group} COMMAND [ARGUMENTS]')}\n{_filled(app.GROUPS[group])}\n"
        f"Commands:\n{_listed(sorted(rows))}\n"
        f"{alone}" + _filled(f"Try 'orchestra {group} COMMAND --help' for more information.")
    )


def _listed(rows: Any) -> str:
    rows = list(rows)
    wide = max(len(name) for name, _ in rows)
    width = terminal.width()
    if width is not None and width < 2 * (wide + 4):
        return "".join(_filled(f"  {name}: {text}", indent=4) for name, text in rows)
    return "".join(_filled(f"  {name:<{wide}}  {text}", indent=wide + 4) for name, text in rows)


def _filled(text: str, indent: int = 0) -> str:
    """``text`` as lines that fit into the terminal, those after the first with an indent."""
    width = terminal.width()
    if width is None or len(text) <= width:
        return f"{text}\n"
    return textwrap.fill(text, width, subsequent_indent=" " * indent, break_on_hyphens=False) + "\n"
