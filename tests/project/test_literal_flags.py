import sys
from pathlib import Path

import pytest

from orchestra.errors import FlagError
from orchestra.model.operation import FlagDef
from orchestra.project.script import Discovered, discover_flags

SCRIPT = """\
from types import SimpleNamespace

params = {
    "lr": 0.1,
    "model": {"depth": 3, "kind": "x", "made": f()},
    "layers": [1, "a b"],
    4: 5,
}
config: SimpleNamespace = SimpleNamespace(a=None, b=dict(c=True))
"""


def discover(tmp_path: Path, dest: str | None, text: str = SCRIPT) -> Discovered:
    script = tmp_path / "s.py"
    script.write_text(text)
    return discover_flags(script, cache_dir=None, python=sys.executable, dest=dest)


def test_the_members_of_a_dict_are_flags_with_dotted_names(tmp_path: Path) -> None:
    found = discover(tmp_path, "global:params")
    assert (found.by, found.dest, found.warning) == ("dict:params", "dict:params", None)
    assert found.flags == (
        FlagDef(name="lr", default=0.1, type="number", origin="s.py:4"),
        FlagDef(name="model.depth", default=3, type="number", origin="s.py:5"),
        FlagDef(name="model.kind", default="x", type="string", origin="s.py:5"),
        FlagDef(name="layers", default="1 ''\"'\"'a b'\"'\"''", arg_split=True, origin="s.py:6"),
    )


def test_the_members_of_a_namespace_are_flags(tmp_path: Path) -> None:
    found = discover(tmp_path, "namespace:config")
    assert [(flag.name, flag.default) for flag in found.flags] == [("a", None), ("b.c", True)]
    assert found.dest == "namespace:config"


@pytest.mark.parametrize("name", ["nothing", "SimpleNamespace"])
def test_a_global_that_is_no_literal_is_told(name: str, tmp_path: Path) -> None:
    found = discover(tmp_path, f"dict:{name}")
    assert found.flags == ()
    assert found.warning == f"'{name}' is not assigned a literal dict at its top level"


def test_globals_are_flags_of_a_script_that_parses_arguments_if_that_is_asked_for(tmp_path: Path) -> None:
    text = "import argparse\nx = 1\nargparse.ArgumentParser().parse_args()\n"
    assert [flag.name for flag in discover(tmp_path, "globals", text).flags] == ["x"]
    assert discover(tmp_path, None, text).by == "argparse"


def test_no_flags_are_looked_for_where_none_are_passed_on(tmp_path: Path) -> None:
    assert discover(tmp_path, "none", "x = 1") == Discovered(flags=(), by="none")


def test_a_script_that_parses_nothing_has_no_arguments(tmp_path: Path) -> None:
    found = discover(tmp_path, "args", "x = 1")
    assert (found.flags, found.warning) == ((), "it has no parser of arguments")


def test_a_script_that_can_have_no_parser_is_not_run_to_look_for_one(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    text = f"import sys, pathlib\npathlib.Path({str(ran)!r}).touch()\n"
    assert discover(tmp_path, "args", text).flags == ()
    assert not ran.exists()
    (tmp_path / "options.py").write_text(
        "import argparse\np = argparse.ArgumentParser()\np.add_argument('--x')\n"
    )
    found = discover(tmp_path, "args", "import options\noptions.p.parse_args()\n")
    assert [flag.name for flag in found.flags] == ["x"]


def test_the_entries_of_a_configuration_file_are_flags(tmp_path: Path) -> None:
    (tmp_path / "c.yml").write_text("lr: 0.1\nmodel: {depth: 3, day: 2020-01-01}\nlayers: [1, 2]\n")
    found = discover(tmp_path, "config:c.yml")
    assert found.dest == "config:c.yml"
    assert found.flags == (
        FlagDef(name="lr", default=0.1, type="number", origin="c.yml"),
        FlagDef(name="model.depth", default=3, type="number", origin="c.yml"),
        FlagDef(name="layers", default="1 2", arg_split=True, origin="c.yml"),
    )


def test_a_configuration_file_that_is_not_there_or_outside_is_told(tmp_path: Path) -> None:
    found = discover(tmp_path, "config:c.yml")
    assert found.flags == ()
    assert found.warning is not None
    assert found.warning.startswith("flags can't be read from 'c.yml': No such file")
    for name in ("../c.yml", "/etc/c.yml", ".orchestra/c.yml"):
        with pytest.raises(FlagError, match="flags can't be passed to"):
            discover(tmp_path, f"config:{name}")
