"""``python -m tests.docs DOCUMENT``: print README, or that of an example, with the output that its commands have now.

What differs by ids and times only is left as it is.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.docs.documents import ROOT, blocks_of, corrected
from tests.docs.readers import PLUGINS, QUEUES, SWEEP, example_reader, install_plugins, readme_reader


def main(document: Path) -> str:
    """The document, corrected."""
    text = document.read_text()
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        if document.parent.resolve() != ROOT:
            with example_reader(place, document.parent) as shell:
                return corrected(text, blocks_of(document), shell)
        for section in ("Five minutes", SWEEP, QUEUES, PLUGINS):
            place = Path(temporary, section.replace(" ", "-").replace(":", ""))
            place.mkdir()
            with readme_reader(place, section) as shell:
                if section == PLUGINS:
                    install_plugins(shell.files)
                text = corrected(text, blocks_of(document, section=section), shell)
    return text


if __name__ == "__main__":
    sys.stdout.write(main(Path(sys.argv[1])))
