"""The project's own rules of which files belong to a source snapshot: of those that match, the last decides."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable

from orchestra.model.operation import SourceRule

_MAGIC = re.compile(r"[*?\[]")


class SourceRules:
    """Rules that go over default ones. ``is_folder`` tells of a path that rules name whether it is a folder."""

    def __init__(self, rules: Iterable[SourceRule], is_folder: Callable[[str], bool]) -> None:
        self._rules = [_Rule(rule, is_folder) for rule in rules]
        self._wanted_folders = {
            folder for rule in self._rules if rule.include for folder in rule.named_folders()
        }

    def __bool__(self) -> bool:
        return bool(self._rules)

    def takes(self, path: str, default: Callable[[], bool], is_text: Callable[[], bool]) -> bool:
        """Whether the file ``path`` belongs to the source; ``default`` tells what holds where no rule does."""
        for rule in reversed(self._rules):
            if rule.matches_file(path, is_text):
                return rule.include
        return default()

    def names(self, path: str) -> bool:
        """Whether a rule includes just this file, by its path or its base name, and no pattern does."""
        name = path.rpartition("/")[2]
        return any(rule.include and rule.names(path, name) for rule in self._rules)

    def enters(self, path: str, default: Callable[[], bool]) -> bool:
        """Whether files are looked for in the folder ``path``."""
        for rule in reversed(self._rules):
            if rule.type == "dir" and rule.matches(path):
                return rule.include
        if path in self._wanted_folders:
            return True
        return default() and not self._excludes_all_of(path)

    def _excludes_all_of(self, folder: str) -> bool:
        for rule in reversed(self._rules):
            if rule.include:
                return False
            if rule.type == "any" and rule.covers(folder):
                return True
        return False


class _Rule:
    def __init__(self, rule: SourceRule, is_folder: Callable[[str], bool]) -> None:
        self.include = rule.include
        self.type = rule.type
        self._patterns: list[tuple[bool, re.Pattern[str]]] = []
        """Each with whether it is for base names only."""
        self._folders: list[str] = []
        """Named as folders: all that they hold matches."""
        self._names: list[str] = []
        for text in rule.patterns:
            self._add(text, is_folder)

    def _add(self, text: str, is_folder: Callable[[str], bool]) -> None:
        by_name = "/" not in text.rstrip("/")
        pattern = text.removeprefix("./").strip("/")
        self._patterns.append((by_name, _compile(pattern)))
        self._names.append(pattern)
        if self.type != "dir" and not _MAGIC.search(pattern) and (text.endswith("/") or is_folder(pattern)):
            self._folders.append(pattern)

    def matches(self, path: str) -> bool:
        """Whether a pattern is that of ``path``, or of its base name."""
        name = path.rpartition("/")[2]
        return any(
            pattern.fullmatch(name if by_name else path) is not None for by_name, pattern in self._patterns
        )

    def names(self, path: str, name: str) -> bool:
        """Whether one of the patterns is the path, or the base name, letter by letter."""
        return any(
            one in (path, name if by_name else path)
            for one, (by_name, _) in zip(self._names, self._patterns, strict=True)
        )

    def covers(self, folder: str) -> bool:
        """Whether all that is in ``folder`` matches, whatever its name."""
        return any(folder == one or folder.startswith(f"{one}/") for one in self._folders)

    def matches_file(self, path: str, is_text: Callable[[], bool]) -> bool:
        if self.type == "dir":
            return False
        if not (self.matches(path) or self.covers(path.rpartition("/")[0])):
            return False
        return self.type == "any" or is_text() == (self.type == "text")

    def named_folders(self) -> set[str]:
        """The folders, and those above them, that patterns name before their first special character."""
        found: set[str] = set()
        for name in self._names:
            plain = _MAGIC.split(name, maxsplit=1)[0]
            folder = name if name in self._folders else plain.rpartition("/")[0]
            while folder:
                found.add(folder)
                folder = folder.rpartition("/")[0]
        return found


def _compile(pattern: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(pattern))
