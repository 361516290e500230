"""What may come next on a command line: what a shell asks for when somebody presses Tab.

The words are looked at from the left only as far as it matters: the parser of a verb is built only where its
options are asked for, and the store is opened only where a run is.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from orchestra.cli import app, options, terminal
from orchestra.console import printable
from orchestra.errors import OrchestraError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orchestra.model.run import Run, RunKind

MOST_RUNS = 50
"""So many runs are offered, the newest first."""
RUN_NAMES = frozenset(("run", "runs", "run_ids", "start", "extend", "proto"))
"""Parameters of verbs that stand for runs."""
COLUMN_NAMES = frozenset(
    ("min_", "max_", "cols", "strict_cols", "group_by", "agg", "curves", "scatter", "importance")
)
"""Options of verbs that stand for columns, or for what is told of them."""

TRASH = frozenset(("runs restore", "runs purge"))
"""Verbs whose runs are deleted ones."""
LOOKING = frozenset(("ls", "cat", "open", "diff", "runs diff"))
"""Verbs whose paths are those of a run's files."""
FILTERED = (("--operation", "-Fo"), ("--tag", "-Ft"), ("--started", "-Fs"))
"""Filters of whose values some are known."""
RANGES = (
    *("today", "yesterday", "this week", "this month", "last hour", "last week", "last month"),
    *("before ", "after ", "between "),
)


class Candidate(NamedTuple):
    """A word that may stand where the cursor is, and what a person is told of it."""

    word: str
    text: str = ""


class Option(NamedTuple):
    """An option, or an argument, of a verb."""

    names: tuple[str, ...]
    """As typed; a positional argument's own name in capitals."""
    help: str
    takes_value: bool
    positional: bool
    field: str
    values: tuple[str, ...]
    """All that it can be, where there are few."""


def candidates(words: Sequence[str]) -> list[Candidate]:
    """What the last of ``words``, which follow ``orchestra``, may become. What can't be
    looked up is not offered."""
    *before, current = words or [""]
    given = options.GlobalOptions()
    try:
        if before and before[-1] in ("-H", "-C", "--log-file"):
            return list(_files(current))
        if before and before[-1] == "--log-format":
            return _beginning(current, (Candidate(name) for name in options.LOG_FORMATS))
        rest = options.take(list(before), given)
        options.current.home, options.current.directory = given.home, given.directory
        return _beginning(current, _next(rest, current))
    except (OrchestraError, OSError, ValueError):
        return []


def _beginning(start: str, found: Iterator[Candidate]) -> list[Candidate]:
    return [one for one in found if one.word.startswith(start)]


def _next(words: list[str], current: str) -> Iterator[Candidate]:
    if not words:
        yield from _verbs("")
        yield from _globals(current)
        return
    first, *rest = words
    if first in app.GROUPS:
        if not rest and not current.startswith("-"):
            yield from _verbs(first)
            return
        name = app.resolve(f"{first} {rest[0]}") if rest else None
        rest = rest[1:] if name else rest
        if name is None and first not in app.DEFAULTS:
            return
        name = name or f"{first} {app.DEFAULTS[first]}"
    else:
        found = app.resolve(first)
        if found is None:
            return
        name = found
        if rest and app.resolve(f"{name} {rest[0]}"):
            name, rest = f"{name} {rest[0]}", rest[1:]
        elif not rest:
            # Such as ``queue``, which has verbs of its own.
            yield from _verbs(name)
    yield from _of_verb(name, rest, current)


def _verbs(group: str) -> Iterator[Candidate]:
    for name, verb in app.VERBS.items():
        head, _, tail = name.rpartition(" ")
        if head == group and verb.help:
            yield Candidate(tail, verb.help)
    if not group:
        for name, text in app.GROUPS.items():
            yield Candidate(name, text)


def _globals(current: str) -> Iterator[Candidate]:
    if current.startswith("-"):
        for usage, text in options.HELP:
            yield Candidate(usage.split()[0], text)


def _of_verb(name: str, words: list[str], current: str) -> Iterator[Candidate]:
    known: list[Option] | None = None
    if current.startswith("-") or any(word.startswith("-") for word in words):
        known = options_of(name)
    if words and words[-1].startswith("-"):
        option = next((one for one in known or () if words[-1] in one.names), None)
        if option is not None and option.takes_value:
            if option.field == "path" and name in LOOKING:
                yield from _files_of_run(_arguments(words[:-1], known or []), current)
                return
            yield from _values(option, current)
            return
    if current.startswith("-"):
        given, equals, value = current.partition("=")
        for option in known or ():
            if equals and given in option.names and option.takes_value:
                yield from (one._replace(word=f"{given}={one.word}") for one in _values(option, value))
            elif not option.positional:
                yield Candidate(_shown(option, current), option.help)
        yield from _globals(current)
        return
    arguments = _arguments(words, known or [])
    if name == "help":
        yield from _verbs(" ".join(arguments))
        yield from _operations() if not arguments else ()
        return
    if name in ("run", "queue"):
        yield from _of_run(arguments if name == "run" else ["queue", *arguments], current)
        return
    known = options_of(name) if known is None else known
    positional = [one for one in known if one.positional]
    next_one = positional[min(len(arguments), len(positional) - 1)] if positional else None
    field = next_one.field if next_one else ""
    if next_one and next_one.values:
        yield from map(Candidate, next_one.values)
    elif name.startswith("plugins "):
        yield from _plugins(current) if field == "names" else ()
    elif field in RUN_NAMES:
        yield from _runs(deleted=name in TRASH)
    elif field == "queues":
        yield from _runs("queue")
    elif field == "name":
        yield from _archives()
    elif field == "source":
        yield from _archives()
        yield from _files(current)
    elif positional:
        yield from _files(current)


def _plugins(current: str) -> Iterator[Candidate]:
    from orchestra.plugins import list_plugins

    yield from (Candidate(info.name, f"{info.kind} of {info.distribution}") for info in list_plugins())
    yield from _files(current)


def _shown(option: Option, current: str) -> str:
    """The option's long name; a short one only where that is what was begun."""
    long = next((name for name in option.names if name.startswith("--")), option.names[0])
    return current if current in option.names else long


def _arguments(words: list[str], known: list[Option]) -> list[str]:
    """The words that are neither options nor values of options."""
    with_value = {name for one in known if one.takes_value for name in one.names}
    found: list[str] = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word.startswith("-"):
            skip = word in with_value
        else:
            found.append(word)
    return found


def _values(option: Option, current: str) -> Iterator[Candidate]:
    if option.values:
        yield from map(Candidate, option.values)
    elif option.names in FILTERED:
        yield from _of_filter(option.names[-1])
    elif option.field in RUN_NAMES:
        yield from _runs()
    elif option.field in COLUMN_NAMES:
        from orchestra.cli.completing_columns import columns

        # Of several with commas between them, the last one is being typed.
        before, comma, _ = current.rpartition(",")
        yield from (Candidate(f"{before}{comma}{column}") for column in columns(option.field, MOST_RUNS))
    else:
        yield from _archives() if option.field == "archive" else ()
        yield from _files(current)


def _of_filter(name: str) -> Iterator[Candidate]:
    """What runs that are there have, or how a range of time may be written."""
    if name == "-Fs":
        yield from map(Candidate, RANGES)
        return
    found: set[str] = set()
    for run in _newest():
        found |= set(run.tags) if name == "-Ft" else {run.operation_name}
    yield from map(Candidate, sorted(found))


def _of_run(arguments: list[str], current: str) -> Iterator[Candidate]:
    if not arguments:
        yield from _operations()
        yield from _files(current, executables=True)
        return
    operation = _operation(arguments[0])
    if operation is None:
        return
    name, equals, _ = current.partition("=")
    if not equals:
        used = {word.partition("=")[0] for word in arguments[1:]}
        for flag in operation.flags:
            if flag.name not in used:
                yield Candidate(f"{flag.name}=", _flag_text(flag))
        return
    flag = operation.flag(name)
    if flag is None:
        return
    from orchestra.model.flags import encode

    if flag.choices:
        for choice in flag.choices:
            yield Candidate(f"{name}={encode(choice.value)}", choice.description)
    elif flag.type == "boolean":
        yield Candidate(f"{name}=yes")
        yield Candidate(f"{name}=no")
    elif flag.type in (None, "string", "path", "existing-path"):
        for found in _files(current.partition("=")[2]):
            yield Candidate(f"{name}={found.word}")


def _flag_text(flag: Any) -> str:
    from orchestra.model.flags import encode

    default = "" if flag.default is None else f"(default is {encode(flag.default)})"
    return " ".join(f"{flag.description} {default}".split())


def _operation(spec: str) -> Any:
    from orchestra.cli.context import current as context
    from orchestra.engine.command_line import operation_python
    from orchestra.project.find import find_operation
    from orchestra.workspace.layout import Layout

    here = context()
    try:
        return find_operation(
            spec, cwd=here.cwd, cache_dir=Layout(here.home).cache_dir, python=operation_python()
        )
    except OrchestraError:
        return None


def _operations() -> Iterator[Candidate]:
    from orchestra.cli.context import current as context
    from orchestra.project.listing import list_operations

    for listed in list_operations(context().cwd):
        yield Candidate(listed.name, listed.description)


def _runs(kind: RunKind | None = None, *, deleted: bool = False) -> Iterator[Candidate]:
    for run in _newest(kind, deleted=deleted):
        text = f"{run.operation_name} {run.state} {run.label or ''}"
        yield Candidate(run.short_id, " ".join(text.split()))


def _newest(kind: RunKind | None = None, *, deleted: bool = False) -> Sequence[Run]:
    from orchestra.cli.context import complete
    from orchestra.cli.context import current as context
    from orchestra.model.filters import RunQuery

    here = context()
    if not os.path.isdir(here.home):
        return ()

    async def newest() -> Any:
        async with here.session(looking=True) as session:
            kinds = None if kind is None else frozenset((kind,))
            query = RunQuery(kinds=kinds, limit=MOST_RUNS)
            if not deleted:
                return await session.store.query(query)
            from orchestra.engine.trashing import deleted_runs

            return await (await deleted_runs(session)).query(query)

    return complete(newest).runs


def _archives() -> Iterator[Candidate]:
    from orchestra.cli.context import current as context
    from orchestra.engine.archived import named_archives
    from orchestra.workspace.layout import Layout

    for archive in named_archives(Layout(context().home)):
        yield Candidate(archive.name, archive.description)


def _files_of_run(arguments: Sequence[str], start: str) -> Iterator[Candidate]:
    """The same of the run that is named first, else the latest one."""
    from orchestra.cli.context import complete
    from orchestra.cli.context import current as context
    from orchestra.engine.runs import select_runs

    here = context()
    if not os.path.isdir(here.home) or os.path.isabs(start) or os.pardir in start.split("/"):
        return

    async def directory() -> Path | None:
        async with here.session(looking=True) as session:
            found = await select_runs(session, arguments[:1], default="latest")
            return session.directory(found[0]) if found else None

    if (root := complete(directory)) is not None:
        yield from _files(start, root=root)


def _files(start: str, *, executables: bool = False, root: Path | None = None) -> Iterator[Candidate]:
    """The files and folders that ``start`` may become; hidden ones only where a dot was typed."""
    folder, _, begun = start.rpartition("/")
    prefix = start[: len(start) - len(begun)]
    place = Path(os.path.expanduser(prefix or ".")) if root is None else root / prefix
    try:
        entries = sorted(os.scandir(place), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith(".") > begun.startswith(".") or not entry.name.startswith(begun):
            continue
        if entry.is_dir():
            yield Candidate(f"{prefix}{entry.name}/")
        elif not executables or (folder and (entry.name.endswith(".py") or os.access(entry.path, os.X_OK))):
            yield Candidate(f"{prefix}{entry.name}")


def options_of(name: str) -> list[Option]:
    """The options and arguments of a verb, as its parser knows them."""
    parser = app.build_parser(name)
    for word in name.split():
        parser = parser[word]
    found: list[Option] = []
    for argument in parser.assemble_argument_collection():
        positional = argument.index is not None and not any(one.startswith("-") for one in argument.names)
        names = tuple(one for one in argument.names if one not in argument.negatives)
        if not argument.show and not positional:
            continue
        takes_value = argument.token_count()[0] > 0
        text = " ".join((argument.parameter.help or "").split())
        field = argument.field_info.name
        values = _literals(argument.hint)
        found.append(Option(names, text, takes_value, positional, field, values))
    return found


def _literals(hint: Any) -> tuple[str, ...]:
    from typing import Literal, get_args, get_origin

    if get_origin(hint) is Literal:
        return tuple(str(value) for value in get_args(hint))
    return next((found for part in get_args(hint) if (found := _literals(part))), ())


def complete_words(arguments: Sequence[str]) -> int:
    """``SHELL [WORDBREAKS] -- WORD...``: print what the last word may become, one to a line."""
    place = list(arguments).index("--") if "--" in arguments else 0
    before, words = list(arguments[:place]), list(arguments[place + 1 :])
    shell, more = before[:1], before[1:]
    if not shell or (shell == ["bash"] and not words):
        raise UsageError(
            "the words to complete are missing", "'orchestra completion' prints what calls this."
        )
    if shell != ["bash"]:
        lines = [f"{word}\t{text}" if text else word for word, text in candidates(words or [""])]
    else:
        words = split_line(words[0])[1:]
        lines = [_for_bash(one.word, words[-1], more[0] if more else "") for one in candidates(words)]
    shown = (printable(line).replace("\n", " ") for line in lines)
    terminal.write("".join(f"{line}\n" for line in shown))
    return 0


def split_line(line: str) -> list[str]:
    """The words of a command line that is being typed; the last one is the one that is to be completed."""
    for closing in ("", "'", '"'):
        try:
            words = shlex.split(line + closing)
        except ValueError:
            continue
        begins_anew = not closing and line[-1:].isspace() and not line.endswith("\\ ")
        return [*words, ""] if begins_anew else words
    return line.split(" ")


def _for_bash(word: str, typed: str, breaks: str) -> str:
    """What bash is to put in place of its own last word, which begins behind a character of ``breaks``."""
    cut = max((typed.rfind(char) for char in breaks if char in "=:"), default=-1) + 1
    quoted = word if word.endswith(("=", "/")) and shlex.quote(word[:-1]) == word[:-1] else shlex.quote(word)
    return word[cut:] if cut else quoted
