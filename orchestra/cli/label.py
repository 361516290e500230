"""``orchestra label``: change the labels of runs."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from orchestra.cli import terminal
from orchestra.cli.changing import change_runs, require_one
from orchestra.cli.selection import FILTERS, Filters, Yes
from orchestra.engine.annotating import label_runs
from orchestra.model.label_edits import LabelEdit


def label(
    *runs: str,
    set_: Annotated[str | None, Parameter(name=("--set", "-s"), allow_leading_hyphen=True)] = None,
    append: Annotated[str | None, Parameter(name=("--append", "-a"), allow_leading_hyphen=True)] = None,
    prepend: Annotated[str | None, Parameter(name=("--prepend", "-p"), allow_leading_hyphen=True)] = None,
    remove: Annotated[tuple[str, ...], Parameter(name=("--remove", "-rm"), allow_leading_hyphen=True)] = (),
    clear: Annotated[bool, Parameter(name=("--clear", "-c"))] = False,
    yes: Yes = False,
    filters: Filters = FILTERS,
) -> int:
    """Change the labels of runs; of the latest run unless told otherwise.

    A label may have '${FLAG}' in it, and '${label}' for the present label. Where flags or tags make the label, it is
    made anew when the run is started with other flags. "--set '${default_label}'" brings back what a label is unless
    somebody chooses it.

    Parameters
    ----------
    runs
        Which runs: indexes and slices of the listing (1, 2:4, :, last), ids, or beginnings of ids.
    set_
        The new label.
    append
        Add this at the end of the label, after a space.
    prepend
        Add this at the beginning of the label, before a space.
    remove
        Take these words, or this phrase, out of the label. May be repeated.
    clear
        Leave the runs without a label.
    yes
        Do not ask.
    """
    others = append is not None or prepend is not None or bool(remove)
    given = {"--set": set_ is not None, "--clear": clear, "--append, --prepend, --remove": others}
    require_one(given)
    edit = LabelEdit(
        set=set_,
        append=() if append is None else (append,),
        prepend=() if prepend is None else (prepend,),
        remove=remove,
        clear=clear,
    )
    intro = _intro(edit)
    count = change_runs(
        runs, filters, lambda session, found: label_runs(session, found, edit), intro=intro, yes=yes
    )
    terminal.write(f"{'Cleared label for' if clear else 'Labeled'} {count} run(s)\n")
    return 0


def _intro(edit: LabelEdit) -> str:
    if edit.clear:
        return "You are about to clear the labels of the following runs:"
    if edit.set is not None:
        return f"You are about to label the following runs with '{edit.set}':"
    parts = [
        *(f"remove '{text}' from" for text in edit.remove),
        *(f"prepend '{text}' to" for text in edit.prepend),
        *(f"append '{text}' to" for text in edit.append),
    ]
    return f"You are about to {' and '.join(parts)} the labels of the following runs:"
