"""Options that a verb does not have, of Guild's or of a verb like it: what to do instead.

Looked at only once a verb has refused one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

_NO_REMOTE: Final = (
    "there are no remotes",
    "Let an executor start runs elsewhere (--executor), in a home that both computers see.",
)
_TWO_MEANINGS: Final = ("-c stood for two options", "Use --create or --copy.")
_CHECKED: Final = (
    "what can be checked always is: 'orchestra check' has no option for parts of it",
    "Use --runs to check the runs, too.",
)
_REMOTE: Final = r"-r|--remote"
_NO_TOOLS: Final = (
    "runs are compared by no other tool",
    "Give it what 'orchestra compare --csv FILE' writes: HiPlot, for one, reads it.",
)

_REMOVE: Final = r"--remove|-rm|--rm"
_DELETED: Final = ("tags are taken away with --delete", "As in: orchestra tag RUN --delete TAG.")
_DELETED_BY_NUMBER: Final = (
    "comments are deleted with --delete, by their number",
    "As in: orchestra comment RUN --delete 1; --list shows the numbers.",
)
_REMOVED: Final = (
    "words are taken out of a label with --remove",
    "As in: orchestra label RUN --remove WORD; --clear leaves none.",
)

_Instead = tuple[str, str | None]
_NOT_HERE: Final[dict[str, dict[str, _Instead]]] = {
    "run": {
        _REMOTE: _NO_REMOTE,
        r"-n|--no-wait": ("nothing is run remotely", "Use --background to return once the run is started."),
        r"--break(-on-error)?|--set-trace": (
            "there is no option to set breakpoints",
            "Call breakpoint() in the script: a run in the foreground has the terminal.",
        ),
        r"--debug-sourcecode": (
            "the source of a run can't be replaced by another directory",
            "Put that directory into PYTHONPATH.",
        ),
    },
    "runs list": {
        _REMOTE: _NO_REMOTE,
    },
    "runs info": {
        _REMOTE: _NO_REMOTE,
        r"-p|--plugins": ("runs have no data of plugins", None),
    },
    "runs delete": {_REMOTE: _NO_REMOTE},
    "runs restore": {_REMOTE: _NO_REMOTE},
    "runs purge": {_REMOTE: _NO_REMOTE},
    "label": {_REMOTE: _NO_REMOTE, r"-d|--delete": _REMOVED},
    "runs label": {_REMOTE: _NO_REMOTE, r"-d|--delete": _REMOVED},
    "tag": {_REMOTE: _NO_REMOTE, _REMOVE: _DELETED},
    "runs tag": {_REMOTE: _NO_REMOTE, _REMOVE: _DELETED},
    "comment": {_REMOTE: _NO_REMOTE, _REMOVE: _DELETED_BY_NUMBER},
    "runs comment": {_REMOTE: _NO_REMOTE, _REMOVE: _DELETED_BY_NUMBER},
    "select": {_REMOTE: _NO_REMOTE},
    "cat": {_REMOTE: _NO_REMOTE},
    "ls": {_REMOTE: _NO_REMOTE},
    "diff": {_REMOTE: _NO_REMOTE},
    "runs diff": {_REMOTE: _NO_REMOTE},
    "stop": {_REMOTE: _NO_REMOTE},
    "runs stop": {_REMOTE: _NO_REMOTE},
    "archive": {r"-c": _TWO_MEANINGS},
    "runs archive": {r"-c": _TWO_MEANINGS},
    "compare": {r"--tool": _NO_TOOLS},
    "runs compare": {r"--tool": _NO_TOOLS},
    "check": {
        r"--(env|tensorflow|pytorch|r-script|space|notify|no-info|skip|fast|verbose|(no-)?offline)|-[nsfv]": _CHECKED,
        r"-T|--tests|-t|--test|--force-test|-c|--concurrency": (
            "the tests of orchestra are not installed with it",
            "They are run with pytest in a clone of its repository.",
        ),
        r"--version": ("versions can't be checked", "Use 'orchestra --version' to see it."),
        _REMOTE: _NO_REMOTE,
    },
}


def instead_of(verb: str, words: Sequence[str]) -> _Instead | None:
    """Why the first of ``words`` that is an option of Guild's alone is not there, and a hint."""
    known = _NOT_HERE.get(verb, {})
    for name in _names(words):
        for pattern, instead in known.items():
            if re.fullmatch(pattern, name):
                return instead
    return None


def _names(words: Sequence[str]) -> Iterator[str]:
    for word in words:
        if word == "--":
            return
        if word.startswith("-"):
            yield word.partition("=")[0]
