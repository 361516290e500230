"""The verbs, and how one is run: only its own module is imported, and only its own parser is built."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from orchestra.cli import terminal
from orchestra.errors import UsageError

_ALIKE = 0.75
"""How alike an option must be to what was given to be what was meant."""


class Verb(NamedTuple):
    """One verb: where its function is, and what a person is told of it."""

    target: str
    """``MODULE:FUNCTION`` of a cyclopts command."""
    help: str
    usage: str = ""
    """What follows the verb in the usage line, where its parser's own words do not tell."""


VERBS: dict[str, Verb] = {
    "run": Verb(
        "orchestra.cli.run:run",
        "Run an operation, or start a run again.",
        "[OPTIONS] [OPERATION] [FLAG=VALUE]...",
    ),
    "queue": Verb(
        "orchestra.cli.run:queue", "Start a queue, which runs staged runs.", "[OPTIONS] [FLAG=VALUE]..."
    ),
    "queue status": Verb("orchestra.cli.queue_status:status", "Show what queues do, and why runs wait."),
    "queue pause": Verb("orchestra.cli.queue_verbs:pause", "Let no queue start anything."),
    "queue resume": Verb("orchestra.cli.queue_verbs:resume", "Let queues go on."),
    "queue parallel": Verb(
        "orchestra.cli.queue_verbs:parallel", "Set how many runs run at once.", "[OPTIONS] N"
    ),
    "queue priority": Verb(
        "orchestra.cli.queue_verbs:priority", "Give staged runs another priority.", "[OPTIONS] RUN... N"
    ),
    "queue move": Verb(
        "orchestra.cli.queue_verbs:move", "Change the turn of staged runs.", "[OPTIONS] RUN..."
    ),
    "queue wait": Verb("orchestra.cli.queue_verbs:wait", "Wait until runs have ended.", "[OPTIONS] [RUN]..."),
    "queue follow": Verb(
        "orchestra.cli.watch:follow", "Show what queues print, run by run.", "[OPTIONS] [QUEUE]..."
    ),
    "queue stop": Verb("orchestra.cli.queue_verbs:stop", "End queues.", "[OPTIONS] [QUEUE]..."),
    "operations": Verb(
        "orchestra.cli.operations:operations", "List what can be run.", "[OPTIONS] [FILTER]..."
    ),
    "explain": Verb(
        "orchestra.cli.explain:explain", "Tell where an operation's flags and scalars come from."
    ),
    "help": Verb(
        "orchestra.cli.help:help_", "Tell how a command or an operation is used.", "[COMMAND|OPERATION|PATH]"
    ),
    "init": Verb("orchestra.cli.init:init", "Write a first orchestra.yml."),
    "models": Verb("orchestra.cli.operations:models", "List the project's models.", "[OPTIONS] [FILTER]..."),
    "runs list": Verb("orchestra.cli.runs_list:runs_list", "List runs."),
    "runs info": Verb("orchestra.cli.runs_info:runs_info", "Show what is known of a run."),
    "runs delete": Verb("orchestra.cli.runs_delete:runs_delete", "Delete runs."),
    "runs restore": Verb("orchestra.cli.trash:runs_restore", "Bring deleted runs back."),
    "runs purge": Verb("orchestra.cli.trash:runs_purge", "Delete deleted runs for good."),
    "runs label": Verb("orchestra.cli.label:label", "Change the labels of runs."),
    "runs tag": Verb("orchestra.cli.tag:tag", "Add tags to runs, take some away, list them."),
    "runs comment": Verb("orchestra.cli.comment:comment", "Add comments to runs, list and delete them."),
    "runs mark": Verb("orchestra.cli.mark:mark", "Mark runs as better than others of their operation."),
    "runs stop": Verb("orchestra.cli.stop:stop", "Stop runs."),
    "stop": Verb("orchestra.cli.stop:stop", "Stop runs."),
    "export": Verb("orchestra.cli.export:export", "Export runs.", "[OPTIONS] LOCATION [RUN]..."),
    "runs export": Verb("orchestra.cli.export:export", "Export runs.", "[OPTIONS] LOCATION [RUN]..."),
    "import": Verb("orchestra.cli.import_runs:import_", "Import runs.", "[OPTIONS] SOURCE [RUN]..."),
    "runs import": Verb("orchestra.cli.import_runs:import_", "Import runs.", "[OPTIONS] SOURCE [RUN]..."),
    "archive": Verb("orchestra.cli.export:archive", "Move runs to an archive.", "[OPTIONS] [NAME [RUN]...]"),
    "runs archive": Verb(
        "orchestra.cli.export:archive", "Move runs to an archive.", "[OPTIONS] [NAME [RUN]...]"
    ),
    "label": Verb("orchestra.cli.label:label", "Change the labels of runs."),
    "tag": Verb("orchestra.cli.tag:tag", "Add tags to runs, take some away, list them."),
    "comment": Verb("orchestra.cli.comment:comment", "Add comments to runs, list and delete them."),
    "mark": Verb("orchestra.cli.mark:mark", "Mark runs as better than others of their operation."),
    "ls": Verb("orchestra.cli.ls:ls", "List the files of a run."),
    "cat": Verb("orchestra.cli.cat:cat", "Show files or the output of a run."),
    "open": Verb("orchestra.cli.open_run:open_run", "Open a run's directory, or a file of it."),
    "diff": Verb("orchestra.cli.diff:diff", "Show how two runs differ.", "[OPTIONS] [RUN [RUN]]"),
    "runs diff": Verb("orchestra.cli.diff:diff", "Show how two runs differ.", "[OPTIONS] [RUN [RUN]]"),
    "watch": Verb("orchestra.cli.watch:watch", "Show what a run prints, as it prints it."),
    "compare": Verb("orchestra.cli.compare:compare", "Compare runs."),
    "runs compare": Verb("orchestra.cli.compare:compare", "Compare runs."),
    "plot": Verb("orchestra.cli.plot:plot", "Draw what runs came to."),
    "select": Verb("orchestra.cli.select:select", "Print the ids of runs, or one of their attributes."),
    "api compare": Verb(
        "orchestra.cli.api_compare:api_compare", "Print a table of runs as JSON.", "[OPTIONS] [RUN]..."
    ),
    "api runs": Verb("orchestra.cli.api_runs:api_runs", "Print runs as JSON.", "[OPTIONS] [RUN]..."),
    "api ops": Verb("orchestra.cli.api_operations:api_ops", "Print operations as JSON."),
    "api help-op": Verb("orchestra.cli.api_operations:api_help_op", "Print an operation as JSON."),
    "plugins list": Verb("orchestra.cli.plugins:plugins_list", "List the plugins that are installed."),
    "plugins check": Verb("orchestra.cli.plugins:plugins_check", "Check that a plugin can be used."),
    "plugins new": Verb(
        "orchestra.cli.plugins:plugins_new", "Write the package of a new plugin.", "[OPTIONS] KIND NAME"
    ),
    "completion": Verb("orchestra.cli.completion:completion", "Complete what is typed, in your shell."),
    "check": Verb(
        "orchestra.cli.check:check", "Check the installation; compare and repair runs and their records."
    ),
}
GROUPS: dict[str, str] = {
    "api": "Print JSON for programs.",
    "runs": "Work with runs.",
    "plugins": "Work with plugins.",
}
DEFAULTS: dict[str, str] = {"runs": "list", "plugins": "list"}
"""The verb that a group alone stands for; without one its help is shown."""
HIDDEN: dict[str, Verb] = {
    "execute-claimed": Verb("orchestra.cli.detached:execute_claimed", "Execute a run claimed for us."),
}
"""Verbs that only orchestra itself uses."""
COMPLETE_WORDS = "complete-words"
"""What the scripts of ``completion`` call: its words are not ours to parse."""
ALIASES: dict[str, str] = {
    "ops": "operations",
    "runs plot": "plot",
    "runs rm": "runs delete",
    "rm": "runs delete",
    "runs ls": "runs list",
}


def verb_of(arguments: list[str]) -> list[str]:
    """The verb that ``arguments`` begin with, as far as it is one: what a usage hint names."""
    if not arguments or arguments[0] not in _first_words():
        return []
    known = len(arguments) > 1 and resolve(f"{arguments[0]} {arguments[1]}") is not None
    return arguments[: 1 + known]


def run(arguments: list[str]) -> int:
    """Run the verb that ``arguments`` name and return its exit code.

    Raises:
        UsageError: there is no such verb, or its options are wrong.
        OrchestraError: whatever the verb ran into.
    """
    if not arguments or arguments[0] == "--help":
        from orchestra.cli.command_list import top_help

        terminal.write(top_help())
        return 0
    first, rest = arguments[0], arguments[1:]
    if first == COMPLETE_WORDS:
        from orchestra.cli.completing import complete_words

        return complete_words(rest)
    if first.startswith("-"):
        raise UsageError(
            f"no such option '{first}'", "Help is 'orchestra --help'." if first == "-h" else None
        )
    if first in GROUPS:
        return _run_in_group(first, rest)
    name = resolve(first)
    if name is not None and rest and resolve(f"{name} {rest[0]}") is not None:
        return _call(f"{name} {rest[0]}", rest[1:])
    if name is None:
        raise UsageError(f"no such command '{first}'{_did_you_mean(first, _first_words())}")
    if name == "queue" and rest and "=" not in rest[0] and not rest[0].startswith("-"):
        _hint_at_flag_of_queue(rest[0])
        verbs = [known.partition(" ")[2] for known in VERBS if known.startswith("queue ")]
        raise UsageError(f"no such command 'queue {rest[0]}'{_did_you_mean(rest[0], verbs)}")
    return _call(name, rest)


def _hint_at_flag_of_queue(word: str) -> None:
    from orchestra.project.find import queue_operation

    for flag in queue_operation().flags:
        if flag.name == word:
            value = "yes" if flag.type == "boolean" else "VALUE"
            raise UsageError(f"flag '{word}' of queue needs a value: orchestra queue {word}={value}")


def _run_in_group(group: str, rest: list[str]) -> int:
    if rest[:1] == ["--help"] or (not rest and group not in DEFAULTS):
        from orchestra.cli.command_list import group_help

        terminal.write(group_help(group))
        return 0
    if (not rest or rest[0].startswith("-")) and group in DEFAULTS:
        return _call(f"{group} {DEFAULTS[group]}", rest)
    name = resolve(f"{group} {rest[0]}")
    if name is None:
        words = [known.partition(" ")[2] for known in (*VERBS, *ALIASES) if known.startswith(f"{group} ")]
        raise UsageError(f"no such command '{group} {rest[0]}'{_did_you_mean(rest[0], words)}")
    return _call(name, rest[1:])


def resolve(name: str) -> str | None:
    """The verb that a name or an alias stands for; None if there is none."""
    name = ALIASES.get(name, name)
    return name if name in VERBS or name in HIDDEN else None


def _first_words() -> list[str]:
    return list(dict.fromkeys(name.partition(" ")[0] for name in (*VERBS, *ALIASES)))


def _did_you_mean(word: str, known: list[str]) -> str:
    import difflib

    close = difflib.get_close_matches(word, known, n=1)
    return f" - did you mean '{close[0]}'?" if close else ""


def _call(name: str, tokens: list[str]) -> int:
    from cyclopts import CycloptsError

    if "--help" in (tokens[: tokens.index("--")] if "--" in tokens else tokens):
        from orchestra.cli.verb_help import verb_help

        terminal.write(verb_help(name))
        return 0
    parser = build_parser(name)
    try:
        result: Any = parser([*name.split(), *tokens], exit_on_error=False, print_error=False)
    except CycloptsError as error:
        if type(error).__name__ == "UnknownOptionError":
            from orchestra.cli.not_here import instead_of

            if _is_about(error, "-h"):
                raise UsageError("unknown option: -h", f"Help is 'orchestra {name} --help'.") from error
            if instead := instead_of(name, tokens) or _meant_as_flag(name, tokens, error):
                raise UsageError(*instead) from error
        raise UsageError(_in_our_words(error), _meant_as_path(name, error)) from error
    return result if isinstance(result, int) else 0


def _is_about(error: Any, option: str) -> bool:
    return option in (error.token.keyword, error.token.value)


def _meant_as_path(name: str, error: Any) -> str | None:
    """What to do with a word too many where it may well be a file's name."""
    unused: list[str] | None = getattr(error, "unused_tokens", None)
    if name not in ("ls", "cat") or not unused:
        return None
    from orchestra.cli.one_run import hint_of_path

    return hint_of_path(name, unused[0])


def _meant_as_flag(name: str, tokens: list[str], error: Any) -> tuple[str, str] | None:
    if name not in ("run", "queue"):
        return None
    from orchestra.cli.dashed_flags import as_flag

    option: str = error.token.keyword or error.token.value
    known = [one for argument in error.argument_collection or () for one in argument.names]
    hint = as_flag(option, tokens, known)
    return None if hint is None else (f"unknown option: {option}", hint)


def build_parser(name: str) -> Any:
    """The cyclopts parser of one verb."""
    from cyclopts import App, Parameter

    settings: dict[str, Any] = {
        "version_flags": (),
        "help_flags": (),
        "result_action": "return_value",
        "default_parameter": Parameter(negative=(), show_default=False),
    }
    top = App(name="orchestra", **settings)
    *groups, word = name.split()
    inner = top
    for group in groups:
        inner = App(name=group, **settings)
        top.command(inner)
    inner.command(command_of(name), name=word)
    return top


def command_of(name: str) -> Callable[..., int]:
    """The function that a verb is."""
    module, _, function = {**VERBS, **HIDDEN}[name].target.partition(":")
    return getattr(importlib.import_module(module), function)


def _in_our_words(error: Any) -> str:
    unused: list[str] | None = error.unused_tokens
    if type(error).__name__ == "UnusedCliTokensError" and unused:
        return f"unexpected argument '{unused[0]}'"
    if type(error).__name__ == "MissingArgumentError":
        tokens = [token.keyword for token in error.argument.tokens if token.keyword is not None]
        keyword: str | None = error.keyword or (tokens[-1] if tokens else None)
        name: str = keyword or error.argument.name
        return f"{name} needs a value" if name.startswith("-") else f"{name} is missing"
    if type(error).__name__ == "CoercionError" and error.token is not None and error.argument is not None:
        wanted = _number_wanted(error.argument.hint)
        if wanted is not None:
            name = error.token.keyword or error.argument.name.lstrip("-").upper()
            return f"invalid value '{error.token.value}' for {name}: it is {wanted}"
    text = " ".join(str(error).split()).rstrip(".")
    if type(error).__name__ == "UnknownOptionError":
        text = _without_far_guess(text)
    return text[:1].lower() + text[1:]


def _without_far_guess(text: str) -> str:
    """An unknown option without the one that is guessed to be meant, unless they are much alike."""
    import difflib

    found = re.fullmatch(r"(.*: (--\S+))\. Did you mean (--\S+)\?", text)
    if found is None or difflib.get_close_matches(found[2], [found[3]], cutoff=_ALIKE):
        return text
    return found[1]


def _number_wanted(hint: Any) -> str | None:
    kinds = (hint, *getattr(hint, "__args__", ()))
    return "a whole number" if int in kinds else "a number" if float in kinds else None
