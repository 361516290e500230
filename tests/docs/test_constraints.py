"""What is said of versions agrees: the lowest that are tested are the lowest that are allowed."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.docs.documents import ROOT

PIN = re.compile(r"[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.]*")


def pins(name: str) -> list[str]:
    lines = (ROOT / name).read_text().splitlines()
    return [line for line in lines if not line.startswith("#")]


@pytest.mark.parametrize("name", ["constraints.txt", "constraints-lowest.txt"])
def test_constraints_are_names_and_versions_only(name: str) -> None:
    assert all(PIN.fullmatch(pin) for pin in pins(name))


def test_the_lowest_versions_that_are_tested_are_those_that_are_allowed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    allowed = {*project["dependencies"], *project["optional-dependencies"]["test"]}

    # numpy is but an input of tests; its lowest versions have no wheels for newer Pythons.
    assert {pin.replace("==", ">=") for pin in pins("constraints-lowest.txt")} == _padded(
        allowed - {"numpy>=1.26"}
    )


def test_all_that_is_needed_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [bound for extra in project["optional-dependencies"].values() for bound in extra]
    wanted = {_name(bound) for bound in [*project["dependencies"], *extras]} - {"orchestra-runs"}

    assert wanted <= {_name(pin) for pin in pins("constraints.txt")}


def _padded(bounds: set[str]) -> set[str]:
    """``a>=1.2`` as ``a>=1.2.0``."""
    return {bound + ".0" * (2 - bound.partition(">=")[2].count(".")) for bound in bounds}


def _name(requirement: str) -> str:
    return re.split(r"[\[<>=]", requirement)[0].lower()
