"""A click command that is literal is read as click itself has it, and no other is read."""

import ast
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestra.project.click_commands import read_command
from orchestra.project.discovery import run_discovery
from orchestra.project.parser_actions import flags_of_actions, left_out_of
from orchestra.project.script import discover_flags

OPTIONS = [
    '"--learning-rate", "-l", default=0.1, type=click.FloatRange(0, 1), help="the  rate\\n of it"',
    '"--shout/--quiet", default=True',
    '"--shout/--quiet", "-s/-q", default=False, help="loud"',
    '"--opt", type=click.Choice(["adam", "sgd"], case_sensitive=False), default="sgd", show_default=True',
    '"-v", "--verbose", is_flag=True',
    '"-v", is_flag=True, default=False',
    '"--pair", nargs=2, type=int',
    '"--pair", nargs=2, default=(1, 2)',
    '"--on", type=bool, default=True',
    '"--on", default=False',
    '"--n", type=int, required=True',
    '"--n", type=click.IntRange(min=1), default=3',
    '"--n", "count", default=3',
    '"--tag", multiple=True, default=["a", "b c"]',
    '"--tag", multiple=True, type=int',
    '"--tag", multiple=True, nargs=2',
    '"--path", type=click.Path(exists=False, dir_okay=False)',
    '"--file", type=click.File("r"), hidden=True',
    '"--name", metavar="NAME", envvar="N"',
    '"--name", type=str, default=5',
    '"--name", type=click.STRING, default="a b"',
    '"--rate", type=float, default=1',
    '"--lower_x", default=1.5',
]
ARGUMENTS = [
    '"src"',
    '"src", default="x"',
    '"src", nargs=-1',
    '"SRC", nargs=2, type=int',
    '"src", required=False, type=click.Choice(["a", "b"])',
]


def script_of(parameters: list[str], end: str = 'if __name__ == "__main__":\n    main()\n') -> str:
    decorators = "".join(f"@click.{one}\n" for one in parameters)
    return f'import click\n\n@click.command(help="x")\n{decorators}def main(**values):\n    click.echo(values)\n{end}'


def assert_read_as_run(path: Path, text: str) -> None:
    path.write_text(text)
    read = read_command(ast.parse(text))
    ran = run_discovery(path, text.encode(), cache_dir=None, python=sys.executable)
    assert read is not None and ran.actions is not None and ran.by == "click"
    assert flags_of_actions(read, "s.py") == flags_of_actions(ran.actions, "s.py")
    assert left_out_of(read) == left_out_of(ran.actions)


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_is_read_as_click_has_it(tmp_path: Path, option: str) -> None:
    assert_read_as_run(tmp_path / "s.py", script_of([f"option({option})"]))


@pytest.mark.parametrize("argument", ARGUMENTS)
def test_an_argument_is_read_as_click_has_it(tmp_path: Path, argument: str) -> None:
    assert_read_as_run(tmp_path / "s.py", script_of([f"argument({argument})"]))


def test_all_of_a_command_is_read_in_its_order(tmp_path: Path) -> None:
    parameters = [
        f"option({OPTIONS[0]})",
        "version_option('1.0')",
        f"argument({ARGUMENTS[1]})",
        "pass_context",
    ]
    text = script_of(
        [*parameters, f"option({OPTIONS[13]})"], "import sys\nsys.exit(main(standalone_mode=False))\n"
    )
    assert_read_as_run(tmp_path / "s.py", text.replace("main(**values)", "main(context, **values)"))


LITERALS = st.sampled_from(["1", "0.5", "'a'", "True", "False", "None", "[1, 2]", "['a']", "()", "-3"])
KEYWORDS = st.fixed_dictionaries(
    {},
    optional={
        "default": LITERALS,
        "type": st.sampled_from(
            ["int", "float", "str", "bool", "click.INT", "click.IntRange(0, 5)", "click.Path()"]
        ),
        "required": st.sampled_from(["True", "False"]),
        "multiple": st.sampled_from(["True", "False"]),
        "nargs": st.sampled_from(["1", "2", "-1"]),
        "is_flag": st.sampled_from(["True", "False"]),
    },
)


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(["'--x'", "'-x'", "'--x', '-y'", "'--x/--no-x'", "'--x', 'name'"]), KEYWORDS)
def test_what_is_read_of_any_option_is_what_click_has(
    tmp_path: Path, words: str, keywords: dict[str, str]
) -> None:
    given = ", ".join([words, *(f"{name}={value}" for name, value in keywords.items())])
    text = script_of([f"option({given})"])
    if read_command(ast.parse(text)) is None:
        return
    path = tmp_path / "s.py"
    path.write_text(text)
    # What click itself refuses is no flag of anything.
    if run_discovery(path, text.encode(), cache_dir=None, python=sys.executable).actions is not None:
        assert_read_as_run(path, text)


GOOD = script_of(['option("--x", default=1)'])
DYNAMIC = [
    GOOD.replace("default=1", "default=len('a')"),
    GOOD.replace("default=1", "prompt=True"),
    GOOD.replace("default=1", "flag_value='a'"),
    GOOD.replace("default=1", "default=1, cls=Own"),
    GOOD.replace("default=1", "is_flag=True, default=True"),
    GOOD.replace('"--x"', '"--x/--y"').replace(", default=1", ""),
    GOOD.replace("@click.command", "@deco\n@click.command"),
    GOOD.replace("command(help", "command(context_settings={}, help"),
    GOOD.replace("click.command", "click.group"),
    GOOD.replace("import click", "import click as c"),
    GOOD.replace("import click", "import click.testing"),
    GOOD.replace("import click", "import rich_click as click"),
    GOOD.replace("import click", "import click, argparse"),
    GOOD.replace("import click", "from own import *\nimport click"),
    GOOD.replace("import click", "try:\n    import click\nexcept ImportError: pass"),
    GOOD.replace("import click\n", "import click\nclick.option = None\n"),
    GOOD.replace("import click\n", "import click\nint = float\n"),
    GOOD.replace("import click\n", "import click\nhelp(click)\n"),
    GOOD.replace("import click\n", "import click\nclick.disable_unicode_literals_warning = True\n"),
    GOOD.replace('if __name__ == "__main__":', "def other():"),
    GOOD.replace("    main()", "    pass"),
    GOOD.replace("    main()", "    main(['--x', '3'])"),
    GOOD.replace("    main()", "    main.params.clear(); main()"),
    GOOD + "\n@click.command()\ndef second(): pass\n",
    GOOD + "\nmain = click.option('--y')(main)\nmain()\n",
]


def test_what_is_plain_is_read() -> None:
    assert read_command(ast.parse(GOOD)) is not None


@pytest.mark.parametrize("text", DYNAMIC)
def test_what_is_not_certain_is_not_read(text: str) -> None:
    assert text != GOOD
    assert read_command(ast.parse(text)) is None


def test_a_command_that_is_read_is_not_run(tmp_path: Path) -> None:
    path = tmp_path / "s.py"
    path.write_text(GOOD.replace("import click", "import click, module_that_is_not_there"))
    found = discover_flags(path, cache_dir=None, python=sys.executable)
    assert ([flag.name for flag in found.flags], found.by, found.warning) == (["x"], "click", None)
