"""``run --test-output-scalars`` and ``--test-output-attrs``: what an operation's rules find in some output."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence

from orchestra.cli import terminal
from orchestra.cli.context import complete, current
from orchestra.engine.begin import operation_of
from orchestra.engine.request import RunRequest
from orchestra.errors import UserError, text_of_os_error
from orchestra.model.output_rules import STEP, LinePattern, OutputRules, clean, split_lines

STDIN = "-"


def test_output(request: RunRequest, *, scalars: str | None, attributes: str | None) -> int:
    """Print each line of a file (``-``: of standard input), and below it what each pattern finds in it.

    Raises:
        UserError: there is no such operation or file, or a pattern can't be used.
    """
    rules = complete(lambda: _rules(request))
    for source, patterns in ((scalars, rules.scalars), (attributes, rules.attributes)):
        if source is not None:
            for line in _lines(source):
                terminal.write(_explained(rules, patterns, line, numbers=patterns is rules.scalars))
    return 0


async def _rules(request: RunRequest) -> OutputRules:
    async with current().session(looking=True, absent="bear") as session:
        operation = await operation_of(session, request)
    return OutputRules.of(operation, {*(flag.name for flag in operation.flags), *request.flags})


def _lines(source: str) -> Iterator[str]:
    try:
        if source == STDIN:
            yield from _without_ends(sys.stdin.buffer)
        else:
            with open(source, "rb") as file:
                yield from _without_ends(file)
    except OSError as error:
        raise UserError(f"the output can't be read: {text_of_os_error(error)}") from error


def _without_ends(chunks: Iterator[bytes] | Sequence[bytes]) -> Iterator[str]:
    for chunk in chunks:
        yield from split_lines(chunk.rstrip(b"\r\n").decode(errors="replace"))


def _explained(rules: OutputRules, patterns: Sequence[LinePattern], line: str, *, numbers: bool) -> str:
    scalars, texts, step = rules.read(line)
    told = {**scalars, **({} if step is None else {STEP: step})} if numbers else texts
    text = f"{terminal.defuse(line)}\n"
    if rules.takes_as_json(line, numbers=numbers):
        return f"{text}  JSON: ({_listed(told)})\n"
    for pattern in patterns:
        groups, values = pattern.match(clean(line))
        found = f"{groups} ({_listed({name: told[name] for name in values if name in told})})"
        text += f"  '{pattern.text}': {found if groups else '<no matches>'}\n"
    return text


def _listed(told: Mapping[str, float | str]) -> str:
    return ", ".join(f"{name}={terminal.defuse(str(value))}" for name, value in told.items())
