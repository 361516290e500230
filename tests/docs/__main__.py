"""``python -m tests.docs DOCUMENT PROJECT [SECTION]``: play a document in a copy of a folder; print it as it should be.

What a command prints now replaces what the document shows, unless the two differ by ids and times only.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from tests.docs.documents import NAMED, Shell, blocks_of, commands_of, matches


def main(document: Path, project: Path, section: str | None) -> str:
    """The document, corrected."""
    text = document.read_text()
    with tempfile.TemporaryDirectory() as temporary:
        copy, home = Path(temporary, project.resolve().name), Path(temporary, "home")
        shutil.copytree(project, copy, ignore=shutil.ignore_patterns(".*"))
        home.mkdir()
        shell = Shell(copy, home)
        try:
            for block in blocks_of(document, section=section):
                if (named := NAMED.match(block.text)) and block.language != "console":
                    (copy / named["name"]).write_text(block.text.removeprefix(named[0]))
                if block.language != "console":
                    continue
                corrected = ""
                for command in commands_of(block):
                    _, printed = shell.run(command.text)
                    kept = matches(command.output, printed)
                    shown = "> ".join(command.text.splitlines(keepends=True))
                    corrected += f"$ {shown}{command.output if kept else printed}"
                text = text.replace(block.text, corrected, 1)
        finally:
            shell.close()
    return text


if __name__ == "__main__":
    arguments = sys.argv[1:]
    sys.stdout.write(
        main(Path(arguments[0]), Path(arguments[1]), arguments[2] if len(arguments) > 2 else None)
    )
