"""Changes of the label of a run that is there: of the text, and of the template that a later restart fills in."""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct, structs

from orchestra.model.labels import PathCheck, default_label, render_label, run_label
from orchestra.model.run import Run

_DEFAULT: Final = "${default_label}"


class LabelEdit(Struct, frozen=True, kw_only=True):
    """What is to be done with a label, in this order. Texts may have ``${flag}``, ``${label}`` and the like in them."""

    clear: bool = False
    set: str | None = None
    remove: tuple[str, ...] = ()
    """Whole words, or phrases of such."""
    prepend: tuple[str, ...] = ()
    append: tuple[str, ...] = ()


def edit_label(run: Run, edit: LabelEdit, is_path: PathCheck) -> Run:
    """``run`` with its label changed. When it is started with other flags, what was changed is kept."""
    spec = run.batch_spec
    flags = run.flags if spec is None else spec.options
    label, template = run.label or "", run.label_template
    if template is None:
        template = f"${{tags}} {_DEFAULT}" if run.tags else _DEFAULT

    def filled(text: str, label: str = label) -> str:
        return render_label(text, flags, default_label(flags, is_path), run.tags, is_path, label)

    if edit.clear:
        label = template = ""
    if edit.set is not None:
        label, template = filled(edit.set), edit.set.replace("${label}", template)
    for phrase in edit.remove:
        label, template = _without(label, phrase), _without(template, phrase)
    for text in reversed(edit.prepend):
        label, template = _joined(filled(text), label), _joined(text, template)
    for text in edit.append:
        label, template = _joined(label, filled(text)), _joined(template, text)
    if spec is not None:
        # Its template is that of its trials.
        return structs.replace(run, label=label or None)
    if filled(template) != label:
        # What the template can't say: the words themselves.
        template = label
    return structs.replace(run, label=label, label_template=template)


def sync_label(run: Run, before: tuple[str, ...], is_path: PathCheck) -> Run:
    """``run``, whose tags were ``before``, with the change of its tags made in its label, too."""
    is_default = run.batch_spec is None and run.label_template is None
    if is_default and run.label == run_label(None, run.flags, before, is_path):
        return structs.replace(run, label=run_label(None, run.flags, run.tags, is_path))
    words = (run.label or "").split()
    edit = LabelEdit(
        remove=tuple(tag for tag in before if tag not in run.tags),
        prepend=tuple(tag for tag in run.tags if tag not in before and tag not in words),
    )
    return edit_label(run, edit, is_path)


def _without(text: str, phrase: str) -> str:
    words = r"\s+".join(map(re.escape, phrase.split()))
    return " ".join(re.sub(rf"(?<!\S){words}(?!\S)", "", text).split()) if words else text


def _joined(*parts: str) -> str:
    return " ".join(part for part in parts if part)
