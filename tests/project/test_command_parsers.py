"""Scripts with sub-commands, and scripts whose arguments click or typer parses."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestra.model.flags import Text, check, command_arguments
from orchestra.model.operation import FlagDef, Operation
from orchestra.project.script import Discovered, discover_flags

CLICK = """\
import click
@click.command()
@click.option("--learning-rate", "-l", default=0.1, type=click.FloatRange(0, 1), help="rate")
@click.option("--shout/--quiet", default=True)
@click.option("--opt", type=click.Choice(["adam", "sgd"]), default="sgd")
@click.option("-v", "--verbose", count=True)
@click.option("--fast", is_flag=True)
@click.option("--pair", nargs=2, type=int)
@click.option("--on", type=bool, default=True)
@click.option("--n", type=int, required=True)
@click.option("--path", type=click.Path())
@click.version_option("1.0")
@click.argument("src", default="x")
def main(**values):
    print(sorted((name, value) for name, value in values.items() if value is not None))
main()
"""

TYPER = """\
import typer
from enum import Enum
from typing import Annotated, Optional

class Net(str, Enum):
    small = "small"
    large = "large"

def main(
    name: str,
    lr: Annotated[float, typer.Option(help="rate", min=0.5)] = 0.75,
    net: Net = Net.small,
    loud: bool = False,
    depth: Optional[int] = None,
):
    print(name, lr, net.value, loud, depth)

if __name__ == "__main__":
    typer.run(main)
"""

COMMANDS = {
    "argparse": """\
import argparse
p = argparse.ArgumentParser()
p.add_argument("--debug", action="store_true")
sub = p.add_subparsers(dest="cmd")
fit = sub.add_parser("fit")
fit.add_argument("--epochs", type=int, default=3)
sub.add_parser("score").add_argument("--k", type=int, default=2)
print(p.parse_args())
""",
    "click": """\
import click
@click.group()
@click.option("--debug", is_flag=True)
def cli(debug): pass
@cli.command()
@click.option("--epochs", default=3)
def fit(epochs): pass
@cli.command()
@click.option("--k", default=2)
def score(k): pass
cli(standalone_mode=False)
""",
    "typer": """\
import typer
app = typer.Typer()
@app.callback()
def top(debug: bool = False): pass
@app.command()
def fit(epochs: int = 3): pass
@app.command()
def score(k: int = 2): pass
app()
""",
}


def discover(script: Path, text: str, *arguments: str) -> Discovered:
    script.write_text(text)
    return discover_flags(script, cache_dir=None, python=sys.executable, arguments=arguments)


@pytest.fixture
def script(tmp_path: Path) -> Path:
    return tmp_path / "s.py"


def test_options_of_click_are_flags(script: Path) -> None:
    found = discover(script, CLICK)
    assert (found.by, found.dest, found.warning) == ("click", "args", None)
    assert found.left_out == (("verbose", "it counts how often it is given"),)
    flags = {flag.name: flag for flag in found.flags}
    assert list(flags) == ["learning-rate", "shout", "opt", "fast", "pair", "on", "n", "path", "src"]
    assert flags["learning-rate"] == FlagDef(
        name="learning-rate", default=0.1, type="float", description="rate", min=0, max=1, origin="s.py:3"
    )
    assert [choice.value for choice in flags["opt"].choices] == ["adam", "sgd"]
    assert flags["n"].required
    assert (flags["src"].arg_name, flags["src"].default, flags["src"].required) == ("", "x", False)


def test_click_takes_the_arguments_that_its_flags_become(script: Path) -> None:
    found = discover(script, CLICK)
    operation = Operation(name="s.py", kind="script", flags=found.flags, flags_dest=found.dest)
    given = {"n": "-3", "shout": "no", "fast": "yes", "pair": "1 2", "on": "no", "path": "010", "src": "-y"}
    flags = check(operation, {name: Text(value) for name, value in given.items()})
    done = subprocess.run(
        [sys.executable, str(script), *command_arguments(operation, flags)], capture_output=True, text=True
    )
    assert done.stderr == ""
    assert done.stdout == (
        "[('fast', True), ('learning_rate', 0.1), ('n', -3), ('on', False), ('opt', 'sgd'), ('pair', (1, 2)),"
        " ('path', '010'), ('shout', False), ('src', '-y'), ('verbose', 0)]\n"
    )


def test_parameters_of_a_typer_function_are_flags(script: Path) -> None:
    found = discover(script, TYPER)
    assert (found.by, found.dest, found.warning) == ("typer", "args", None)
    flags = {flag.name: flag for flag in found.flags}
    assert list(flags) == ["name", "lr", "net", "loud", "depth"]
    assert flags["name"] == FlagDef(name="name", type="string", required=True, arg_name="", origin="s.py:9")
    assert (flags["lr"].type, flags["lr"].min, flags["lr"].description) == ("float", 0.5, "rate")
    assert ([choice.value for choice in flags["net"].choices], flags["net"].default) == (
        ["small", "large"],
        "small",
    )
    assert (flags["loud"].type, flags["loud"].arg_switch) == ("boolean", True)
    assert (flags["depth"].type, flags["depth"].default) == ("int", None)


@pytest.mark.parametrize("library", COMMANDS)
def test_the_flags_of_a_script_with_sub_commands_are_those_of_the_one_that_its_arguments_name(
    library: str, script: Path
) -> None:
    for arguments, names in ((("fit",), ["epochs"]), (("--debug", "score"), ["k"])):
        found = discover(script, COMMANDS[library], *arguments)
        assert ([flag.name for flag in found.flags], found.by, found.warning) == (names, library, None)
    found = discover(script, COMMANDS[library])
    assert [flag.name for flag in found.flags] == ["debug"]
    assert found.warning == (
        "the flags are those of a sub-command ('fit', 'score'), and none is named behind the script in 'main'\n"
        f"Make it an operation of orchestra.yml, such as 'fit: {{main: {script.stem} fit}}'."
    )


def test_what_was_found_for_one_sub_command_is_kept_for_no_other(script: Path, tmp_path: Path) -> None:
    script.write_text(COMMANDS["click"])
    cache_dir = tmp_path / "cache"
    for command, name in (("fit", "epochs"), ("score", "k"), ("fit", "epochs")):
        found = discover_flags(script, cache_dir=cache_dir, python=sys.executable, arguments=[command])
        assert [flag.name for flag in found.flags] == [name]
    assert len(os.listdir(tmp_path / "cache" / "flags")) == 2


def test_a_script_that_imports_click_but_calls_no_command_has_its_globals_as_flags(script: Path) -> None:
    found = discover(script, "import click\nx = 1\nclick.echo(x)\n")
    assert ([flag.name for flag in found.flags], found.by) == (["x"], "globals")


def test_a_script_that_fails_before_its_command_is_called_says_so(script: Path) -> None:
    found = discover(script, "import click\n1 / 0\n")
    assert (found.flags, found.by, found.warning) == ((), "click", "ZeroDivisionError: division by zero")


REPEATED = {
    "argparse": """\
import argparse
p = argparse.ArgumentParser()
p.add_argument("--tag", action="append")
p.add_argument("--more", action="append", default=["z"])
p.add_argument("--size", action="append", type=int)
p.add_argument("-i", action="append", dest="inc")
values = vars(p.parse_args())
print(sorted((name, list(value)) for name, value in values.items() if value))
""",
    "click": """\
import click
@click.command()
@click.option("--tag", multiple=True)
@click.option("--more", multiple=True, default=["z"])
@click.option("--size", multiple=True, type=int)
@click.option("-i", "inc", multiple=True)
def main(**values):
    print(sorted((name, list(value)) for name, value in values.items() if value))
main()
""",
    "typer": """\
import typer
from typing import Annotated, List, Optional
def main(
    tag: Optional[List[str]] = None,
    more: List[str] = ["z"],
    size: List[int] = [],
    inc: Annotated[List[str], typer.Option("-i")] = [],
):
    values = {"tag": tag, "more": more, "size": size, "inc": inc}
    print(sorted((name, list(value)) for name, value in values.items() if value))
typer.run(main)
""",
}


def output_of(script: Path, found: Discovered, given: dict[str, str]) -> str:
    operation = Operation(name="s.py", kind="script", flags=found.flags, flags_dest=found.dest)
    flags = check(operation, {name: Text(value) for name, value in given.items()})
    words = [sys.executable, str(script), *command_arguments(operation, flags)]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize("library", REPEATED)
def test_an_option_that_is_repeated_gets_each_value_of_its_flag(script: Path, library: str) -> None:
    found = discover(script, REPEATED[library])
    given = {"tag": "a 'b c' --tag -1", "size": "1 -2", "i": "-v x"}

    values = (
        "[('inc', ['-v', 'x']), ('more', ['z']), ('size', [1, -2]), ('tag', ['a', 'b c', '--tag', '-1'])]"
    )
    assert output_of(script, found, given) == values
    assert output_of(script, found, {}) == "[('more', ['z'])]"
    assert output_of(script, found, {"tag": "", "size": "3"}) == "[('more', ['z']), ('size', [3])]"


def test_the_default_of_a_repeated_option_is_passed_only_where_it_is_replaced(script: Path) -> None:
    added = {flag.name: flag for flag in discover(script, REPEATED["argparse"]).flags}["more"]
    assert (added.default, added.description) == (None, "(added to z)")
    replaced = {flag.name: flag for flag in discover(script, REPEATED["click"]).flags}["more"]
    assert (replaced.default, replaced.description) == ("z", "")


def test_an_option_that_takes_several_values_at_a_time_is_given_once(script: Path) -> None:
    text = (
        'import argparse\np = argparse.ArgumentParser()\np.add_argument("--at", action="append", nargs=2)\n'
    )
    found = discover(script, text + "print(p.parse_args().at)\n")
    assert output_of(script, found, {"at": "1 2"}) == "[['1', '2']]"
