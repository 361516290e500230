"""What a project's file says of the source snapshot."""

from __future__ import annotations

from typing import Any, Literal, cast

from msgspec import structs

from orchestra.model.operation import SourceCode, SourceRule
from orchestra.project.file_types import PatternSection, RuleSection, SourceCodeSection
from orchestra.project.project_file import Defined
from orchestra.project.sections import error_at

EVERYTHING = SourceRule(include=False, patterns=("*",))


def sourcecode_of(of_model: Any, own: Any, defined: Defined) -> SourceCode | None:
    """The model's rules, followed by the operation's; None where neither says anything.

    Raises:
        ProjectFileError: a rule neither includes nor excludes, or does both.
    """
    parts = [_sourcecode(given, defined) for given in (of_model, own) if given is not None]
    if not parts:
        return None
    whole = parts[0]
    for part in parts[1:]:
        if part.disabled or whole.disabled:
            whole = part
            continue
        whole = structs.replace(
            whole,
            rules=(*whole.rules, *part.rules),
            root=part.root if part.root is not None else whole.root,
            dest=part.dest if part.dest is not None else whole.dest,
            digest=part.digest and whole.digest,
        )
    return whole


def _sourcecode(given: Any, defined: Defined) -> SourceCode:
    if isinstance(given, SourceCodeSection):
        chosen = _sourcecode(given.select, defined) if given.select != [] else SourceCode()
        return structs.replace(chosen, root=given.root, dest=given.dest, digest=given.digest)
    if given is False or given == []:
        return SourceCode(disabled=True)
    if given is True:
        return SourceCode()
    items = cast("list[str | RuleSection]", [given] if isinstance(given, str) else given)
    if all(isinstance(item, str) for item in items):
        chosen = tuple(SourceRule(include=True, patterns=(item,)) for item in cast("list[str]", items))
        return SourceCode(rules=(EVERYTHING, *chosen))
    rules: list[SourceRule] = []
    for item in items:
        rules += _rules(RuleSection(include=item) if isinstance(item, str) else item, defined)
    return SourceCode(rules=tuple(rules))


def _rules(section: RuleSection, defined: Defined) -> list[SourceRule]:
    if (section.include is None) == (section.exclude is None):
        place = defined.raw.places.get("sourcecode", defined.place)
        what = f"operation '{defined.full_name}': sourcecode"
        raise error_at(place, what, "a rule has either include or exclude")
    include = section.include is not None
    patterns = section.include if include else section.exclude
    if not isinstance(patterns, PatternSection):
        return [SourceRule(include=include, patterns=_texts(patterns))]
    kinds: tuple[tuple[Literal["dir", "text", "binary"], str | list[str] | None], ...] = (
        ("dir", patterns.dir),
        ("text", patterns.text),
        ("binary", patterns.binary),
    )
    return [
        SourceRule(include=include, patterns=_texts(given), type=kind)
        for kind, given in kinds
        if given is not None
    ]


def _texts(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)
