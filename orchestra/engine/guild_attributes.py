"""What Guild has written down of a run: one small YAML file for each attribute, none of which is believed."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any, Final, cast

from orchestra.errors import ProjectFileError
from orchestra.model.encoding import encode
from orchestra.model.run import Comment
from orchestra.project.documents import plain, read_document

KNOWN: Final = frozenset(
    (
        *("cmd", "comments", "compare", "deps", "env", "exit_status", "flags", "host", "id", "initialized"),
        *("label", "marked", "max_trials", "objective", "op", "opdef_attrs", "pip_freeze", "platform"),
        *("plugins", "random_seed", "run_params", "sourcecode_digest", "stage_trials", "started", "steps"),
        *("stopped", "tags", "trials", "user", "user_flags", "vcs_commit"),
    )
)
"""What Guild itself writes. All else is what a project says of its runs."""
MOST_TIME: Final = 1 << 60
"""Microseconds since the epoch; no clock shows more."""


def as_mapping(value: Any) -> dict[str, Any]:
    """``value`` if it is a mapping, else an empty one."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    """``value`` if it is a list, else an empty one."""
    return cast("list[Any]", value) if isinstance(value, list) else []


class Attributes:
    """The attributes of one run. What can't be read is noted in :attr:`problems`, and is as if it weren't there."""

    def __init__(self, control: Path, problems: list[str]) -> None:
        self.problems = problems
        self._folder = control / "attrs"
        self._read: dict[str, Any] = {}
        self._is_there = _is_folder(self._folder)
        if not self._is_there:
            problems.append("it has no attributes")

    def get(self, name: str) -> Any:
        """The value of an attribute: plain data; None where there is none."""
        return plain(self.document(name))

    def document(self, name: str) -> Any:
        """The value of an attribute, whose parts know their places."""
        if name not in self._read:
            self._read[name] = self._document(name)
        return self._read[name]

    def _document(self, name: str) -> Any:
        path = self._folder / name
        if not self._is_there or not os.path.lexists(path):
            return None
        try:
            if path.is_symlink():
                raise ValueError("it is a link")
            value = read_document(path)
            # A number may be larger than any record can hold.
            encode(plain(value))
        except ProjectFileError as error:
            self.problems.append(f"the attribute '{name}' can't be read: {error.message}")
            return None
        except (ValueError, TypeError, OverflowError) as error:
            self.problems.append(f"the attribute '{name}' can't be kept: {error}")
            return None
        return value

    def text(self, name: str) -> str | None:
        """An attribute that is a text, or is shown as one."""
        value = self.get(name)
        if isinstance(value, dict | list):
            return self._strange(name)
        return None if value is None else str(value)

    def number(self, name: str) -> int | None:
        """An attribute that is a whole number."""
        value = self.get(name)
        if value is None or (isinstance(value, int) and not isinstance(value, bool)):
            return value
        return self._strange(name)

    def time(self, name: str) -> int | None:
        """An attribute that is a time in microseconds since the epoch."""
        value = self.number(name)
        return value if value is None or 0 <= value < MOST_TIME else self._strange(name)

    def mapping(self, name: str) -> dict[str, Any]:
        """An attribute that is a mapping."""
        value = self.get(name)
        if value is None or isinstance(value, dict):
            return as_mapping(value)
        return self._strange(name) or {}

    def items(self, name: str) -> list[Any]:
        """An attribute that is a list."""
        value = self.get(name)
        if value is None or isinstance(value, list):
            return as_list(value)
        return self._strange(name) or []

    def texts(self, name: str) -> tuple[str, ...]:
        """An attribute that is a list of texts."""
        return tuple(str(item) for item in self.items(name) if not isinstance(item, dict | list))

    def comments(self) -> tuple[Comment, ...]:
        """What people have said of the run."""
        found: list[Comment] = []
        for item in self.items("comments"):
            try:
                body, time = str(item["body"]), int(item.get("time") or 0)
                user, host = str(item.get("user") or ""), str(item.get("host") or "")
            except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
                self._strange("comments")
                continue
            found.append(Comment(body=body, user=user, host=host, time=min(max(time, 0), MOST_TIME)))
        return tuple(found)

    def others(self) -> dict[str, Any]:
        """What the project says of the run."""
        if not self._is_there:
            return {}
        names = sorted(name for name in os.listdir(self._folder) if name not in KNOWN and name[:1] != ".")
        return {name: self.get(name) for name in names}

    def _strange(self, name: str) -> None:
        self.problems.append(f"the attribute '{name}' has another form than it should have")


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(os.stat(path, follow_symlinks=False).st_mode)
    except OSError:
        return False
