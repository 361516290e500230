"""Text that a person writes in an editor."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from orchestra.cli.programs import starting, words_of
from orchestra.errors import UserError


def edit_comment(text: str | None, what: str) -> str:
    """A comment on a run, or whatever ``what`` names, as a person leaves it; ``text`` is what it begins with.

    Raises:
        UserError: it is empty, or the editor failed.
    """
    help_lines = (
        f"# Type a comment for the {what}. Lines starting with '#' are ignored.",
        "# An empty comment aborts the command.",
    )
    edited = edit_text("\n".join((text or "", *help_lines, "")), "comment.txt")
    kept = "\n".join(line for line in edited.splitlines() if not line.startswith("#")).strip()
    if not kept:
        raise UserError(
            "the comment is empty: nothing was done", "Write one, or leave out the option to edit it."
        )
    return kept


def edit_text(text: str, name: str) -> str:
    """``text`` as a person leaves it in ``$VISUAL`` or ``$EDITOR``, which are given a file of this ``name``.

    Raises:
        UserError: the editor can't be started, or failed.
    """
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    hint = "Name another one in VISUAL or EDITOR."
    with tempfile.TemporaryDirectory(prefix="orchestra-") as directory:
        path = Path(directory) / name
        path.write_text(text)
        with starting(f"the editor '{editor}'", hint):
            code = subprocess.run([*words_of(editor), path], check=False).returncode
        if code:
            raise UserError(f"the editor '{editor}' failed with exit code {code}", hint)
        try:
            return path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"what the editor '{editor}' has left can't be read: {error}", hint) from error
