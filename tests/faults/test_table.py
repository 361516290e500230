"""Which test injects which fault (``table.txt``): no fault that somebody has thought of loses its test unnoticed."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
TABLE = Path(__file__).with_name("table.txt")


def test_every_fault_has_its_test() -> None:
    places = re.findall(r"^    (\S+)::(\w+)$", TABLE.read_text(encoding="utf-8"), re.MULTILINE)

    gone = [
        f"{file}::{name}"
        for file, name in places
        if not re.search(
            rf"^ *(async )?def {name}\(", (TESTS / file).read_text(encoding="utf-8"), re.MULTILINE
        )
    ]

    assert (gone, len(places) > 80) == ([], True)
