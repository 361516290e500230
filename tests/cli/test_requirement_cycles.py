"""Operations that need each other's runs: an error says how they hang together, and nothing waits for ever."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from tests.process import Shell


def define(folder: Path, **needs: list[str]) -> None:
    """Operations by what each needs: ``NAME``, or ``NAME, optional: yes``."""
    (folder / "main.py").write_text("open('made', 'w').close()\n")
    text = ""
    for name, sources in needs.items():
        text += f"{name}:\n  main: main\n"
        if sources:
            text += "  requires:\n" + "".join(f"    - {{operation: {source}}}\n" for source in sources)
    (folder / "orchestra.yml").write_text(text)


@pytest.mark.parametrize(
    ("needs", "circle"),
    [
        ({"a": ["a"]}, "a -> a"),
        ({"a": ["b"], "b": ["a"]}, "a -> b -> a"),
        ({"a": ["b"], "b": ["c", "d"], "c": [], "d": ["a"]}, "a -> b -> d -> a"),
        ({"a": ["'b|x'"], "b": ["a"]}, "a -> b -> a"),
    ],
)
def test_a_circle_of_requirements_is_an_error_that_names_it(
    shell: Shell, tmp_path: Path, needs: dict[str, list[str]], circle: str
) -> None:
    define(tmp_path, **needs)
    ended = shell.run("run", "-y", "a")

    assert ended.code == 1
    assert f"(operations need each other in a circle: {circle})" in ended.output
    assert shell.run("runs", "info").output.count(f"circle: {circle}") == 1
    assert re.search(r"Give the id of a run \(operation:\S+=ID\), or make one of them optional", ended.output)
    assert "Traceback" not in ended.output


def test_a_circle_with_an_optional_part_can_be_begun_and_then_goes_round(
    shell: Shell, tmp_path: Path
) -> None:
    define(tmp_path, a=["b, target-path: of-b"], b=["a, target-path: of-a, optional: yes"])

    assert "circle" not in shell.run("run", "-y", "a").output
    assert shell.run("run", "-y", "b").code == 0
    assert shell.run("run", "-y", "a").code == 0
    assert shell.run("run", "-y", "b").code == 0


def test_what_is_no_circle_is_not_called_one(shell: Shell, tmp_path: Path) -> None:
    define(tmp_path, a=["c"], b=["a"], c=["b, optional: yes"])
    assert "circle" not in shell.run("run", "-y", "a").output

    define(tmp_path, a=["b", "c"], b=[], c=["a"])
    assert "circle" not in shell.run("run", "-y", "a").output

    define(tmp_path, a=["b"], b=["a"])
    assert "circle" not in shell.run("run", "-y", "a", "operation:b=12345678").output


def test_a_chain_of_a_thousand_requirements_ends_with_its_first_gap(shell: Shell, tmp_path: Path) -> None:
    needs = {f"op{number}": [f"op{number + 1}"] for number in range(1000)}
    define(tmp_path, **needs, op1000=[])
    began = time.monotonic()
    ended = shell.run("run", "-y", "op0")

    assert (ended.code, "circle" in ended.output) == (1, False)
    assert "no suitable run for op1" in ended.output
    assert time.monotonic() - began < 20

    define(tmp_path, **needs, op1000=["op0"])
    ended = shell.run("run", "-y", "op0")
    assert (ended.code, "op999 -> op1000 -> op0)" in ended.output) == (1, True)
    assert "RecursionError" not in ended.output
