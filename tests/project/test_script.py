import ast
import sys
from pathlib import Path

import pytest

from orchestra.model.operation import FlagDef, choices_of
from orchestra.project.argument_parsers import read_parser, uses_argparse
from orchestra.project.discovery import run_discovery
from orchestra.project.literal_flags import global_flags
from orchestra.project.parser_actions import flags_of_actions
from orchestra.project.script import discover_flags


def globals_of(text: str) -> dict[str, FlagDef]:
    return {flag.name: flag for flag in global_flags(ast.parse(text))}


def test_constants_are_flags_with_the_type_of_their_value() -> None:
    flags = globals_of("a = 1\nb = -2.5\nc = 'x'\nd = True\ne: float = 1e-3\nf = None\ng = h = 3\n")
    assert {name: (flag.default, flag.type) for name, flag in flags.items()} == {
        "a": (1, "number"),
        "b": (-2.5, "number"),
        "c": ("x", "string"),
        "d": (True, "boolean"),
        "e": (0.001, "number"),
        "f": (None, None),
        "g": (3, "number"),
        "h": (3, "number"),
    }


def test_a_list_of_constants_is_a_flag_that_is_split() -> None:
    flags = globals_of("layers = [1, 2.5, 'a b', True]\nempty = []\n")
    assert flags["layers"] == FlagDef(name="layers", default="1 2.5 ''\"'\"'a b'\"'\"'' yes", arg_split=True)
    assert flags["empty"] == FlagDef(name="empty", default="", arg_split=True)


def test_what_is_no_constant_is_no_flag() -> None:
    text = (
        "_private = 1\nd = {'a': 1}\nt = (1, 2)\nb = b'x'\nc = 1j\nf = open\ng = 1 + 2\n(p, q) = 1, 2\n"
        "x.y = 1\nz[0] = 1\nn: int\nl = [a]\ndef h(): k = 1\nif True: m = 1\ne = ...\n"
    )
    assert globals_of(text) == {}


def test_only_the_first_assignment_counts() -> None:
    flags = globals_of("a = 1\na = 2\nb = f()\nb = 3\n")
    assert [(flag.name, flag.default) for flag in flags.values()] == [("a", 1)]


def test_a_text_as_long_as_a_page_is_no_flag() -> None:
    assert globals_of(f"a = {'x' * 5000!r}\nb = {['x'] * 5000!r}") == {}


LITERAL = {
    "kinds of values": """
import argparse
p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
p.add_argument('--lr', '-l', type=float, default=0.1, help='rate (%(default)s, 5%% more)')
p.add_argument('--max-depth', type=int, default='3', dest='deep')
p.add_argument('--name', type=str, required=True, metavar='N')
p.add_argument('-v', '--verbose', action='store_true')
p.add_argument('--no-cache', dest='cache', action='store_false', help=argparse.SUPPRESS)
p.add_argument('-x')
p.add_argument('--opt', choices=('adam', 'sgd'), default='sgd')
p.add_argument('--flag', type=bool, default=False)
p.add_argument('--mode', action='store_const', const='fast', default='slow')
p.add_argument('--suppressed', default=argparse.SUPPRESS)
p.add_argument('-n', '--count', action='count', default=0)
p.add_argument('--version', action='version', version='1')
a = p.parse_args()
""",
    "several values": """
from argparse import ArgumentParser
def main():
    parser = ArgumentParser(prog='x')
    parser.add_argument('src', help='where from')
    parser.add_argument('dst', nargs='?', default='out')
    parser.add_argument('--layers', type=int, nargs='+', default=[1, 2])
    parser.add_argument('--pair', nargs=2)
    parser.add_argument('--any', nargs='*', choices=['a', 'b'])
    parser.add_argument('--one', nargs='?', const=5, type=int)
    parser.add_argument('--add', action='append', default=['x'])
    parser.add_argument('--ext', action='extend', nargs='+')
    parser.add_argument('--by', action=argparse.BooleanOptionalAction, default=True, help='by')
    args, rest = parser.parse_known_args()
import argparse
main()
""",
    "groups": """
import argparse
if __name__ == '__main__':
    p = argparse.ArgumentParser()
    g = p.add_argument_group('data')
    g.add_argument('--path')
    e = p.add_mutually_exclusive_group(required=True)
    e.add_argument('--a', action='store_true')
    e.add_argument('--b', action='store_true')
    args = p.parse_args()
    if args.a:
        p.error('no')
""",
    "a pair of options": """
import argparse
p = argparse.ArgumentParser()
p.add_argument('--on', action=argparse.BooleanOptionalAction, default=False, help='on or off')
p.add_argument('--off', action=argparse.BooleanOptionalAction)
p.parse_args()
""",
}


@pytest.mark.parametrize("name", LITERAL)
def test_a_literal_parser_is_read_as_a_child_would_find_it(name: str, tmp_path: Path) -> None:
    text = LITERAL[name]
    script = tmp_path / "s.py"
    script.write_text(text)
    read = read_parser(ast.parse(text))
    assert read is not None
    found = run_discovery(script, text.encode(), cache_dir=None, python=sys.executable)
    assert found.actions is not None
    assert flags_of_actions(read) == flags_of_actions(found.actions)
    assert len(flags_of_actions(read)) > 1


def test_the_flags_of_a_literal_parser() -> None:
    actions = read_parser(ast.parse(LITERAL["kinds of values"]))
    assert actions is not None
    assert flags_of_actions(actions) == (
        FlagDef(name="lr", type="float", default=0.1, description="rate (0.1, 5% more)"),
        FlagDef(name="max-depth", type="int", default=3),
        FlagDef(name="name", type="string", required=True),
        FlagDef(
            name="verbose", type="boolean", default=False, choices=choices_of(True, False), arg_switch=True
        ),
        FlagDef(
            name="no-cache", type="boolean", default=True, choices=choices_of(True, False), arg_switch=False
        ),
        FlagDef(name="x", arg_name="-x"),
        FlagDef(name="opt", default="sgd", choices=choices_of("adam", "sgd")),
        FlagDef(name="flag", type="boolean", default=False),
        FlagDef(name="mode", default="slow", arg_switch="fast"),
        FlagDef(name="suppressed"),
    )


PARSER = "import argparse\np = argparse.ArgumentParser()\n"


@pytest.mark.parametrize(
    "text",
    [
        PARSER + "p.add_argument('--' + name)\np.parse_args()\n",
        PARSER + "p.add_argument('--a', default=f())\np.parse_args()\n",
        PARSER + "p.add_argument('--a', type=Path)\np.parse_args()\n",
        PARSER + "p.add_argument('--a', choices=range(3))\np.parse_args()\n",
        PARSER + "p.add_argument('--a', action=Custom)\np.parse_args()\n",
        PARSER + "p.add_argument('--a', **kw)\np.parse_args()\n",
        PARSER + "p.add_argument(*names)\np.parse_args()\n",
        PARSER + "def int(x): return x\np.add_argument('--a', type=int)\np.parse_args()\n",
        PARSER + "for n in 'ab':\n    p.add_argument('--' + n)\np.parse_args()\n",
        PARSER + "if debug:\n    p.add_argument('--a')\np.parse_args()\n",
        PARSER + "p.set_defaults(a=1)\np.add_argument('--a')\np.parse_args()\n",
        PARSER + "s = p.add_subparsers()\np.parse_args()\n",
        PARSER + "extend(p)\np.parse_args()\n",
        PARSER + "p.parse_args()\np.add_argument('--a')\n",
        PARSER + "p.add_argument('--a')\n",
        PARSER + "a = p.add_argument('--a')\na.default = 2\np.parse_args()\n",
        PARSER + "p.add_argument_group('x').add_argument('--a')\np.parse_args()\n",
        PARSER + "p = other()\np.add_argument('--a')\np.parse_args()\n",
        PARSER + "q = p\nq.add_argument('--a')\np.parse_args()\n",
        PARSER + "argparse.ArgumentParser()\np.parse_args()\n",
        PARSER + "def f(p):\n    p.parse_args()\n",
        "import argparse\np = argparse.ArgumentParser(parents=[q])\np.parse_args()\n",
        "import argparse\np = argparse.ArgumentParser(argument_default=1)\np.parse_args()\n",
        "import argparse\nclass P(argparse.ArgumentParser): pass\np = P()\np.parse_args()\n",
        "import other as argparse\np = argparse.ArgumentParser()\np.parse_args()\n",
        "from other import ArgumentParser\np = ArgumentParser()\np.parse_args()\n",
        "from argparse import *\nclass ArgumentParser: pass\np = ArgumentParser()\np.parse_args()\n",
        "import argparse\nfor i in 'a':\n    p = argparse.ArgumentParser()\n    p.parse_args()\n",
    ],
)
def test_a_parser_that_is_not_literal_is_not_guessed(text: str) -> None:
    assert read_parser(ast.parse(text)) is None


@pytest.mark.parametrize(
    ("text", "uses"),
    [
        ("import argparse\nargparse.ArgumentParser()", True),
        ("from argparse import ArgumentParser", True),
        ("def f():\n    import argparse\n    build().parse_args()", True),
        ("import argparse\nx = 1", False),
        ("'argparse'\np.parse_args()", False),
    ],
)
def test_argparse_is_noticed_where_it_is_used(text: str, uses: bool) -> None:
    assert uses_argparse(ast.parse(text)) is uses


def test_a_script_that_only_imports_argparse_is_read_for_its_globals(tmp_path: Path) -> None:
    script = tmp_path / "s.py"
    script.write_text("import argparse\nx = 1\nraise SystemExit('was run')\n")
    found = discover_flags(script, cache_dir=None, python=sys.executable)
    assert (found.by, [flag.name for flag in found.flags], found.warning) == ("globals", ["x"], None)


def test_a_literal_parser_is_read_without_running_the_script(tmp_path: Path) -> None:
    script = tmp_path / "s.py"
    script.write_text(PARSER + "p.add_argument('--a')\nopen('ran', 'w')\np.parse_args()\n")
    found = discover_flags(script, cache_dir=None, python="/nonexistent/python")
    assert [flag.name for flag in found.flags] == ["a"]
    assert not (tmp_path / "ran").exists()
