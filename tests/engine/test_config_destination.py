"""Flags that reach their operation as a configuration file."""

from pathlib import Path

import pytest
import yaml

from orchestra.engine.config_destination import write_config
from orchestra.errors import ResolveError
from orchestra.model.operation import FlagDef, Operation
from orchestra.model.run import Run
from orchestra.testing.builders import a_run


def run_of(project: Path, name: str, **flags: object) -> Run:
    operation = Operation(
        name="train",
        kind="script",
        source=str(project),
        flags=(FlagDef(name="layers", arg_split=True), FlagDef(name="note", arg_skip=True)),
        flags_dest=f"config:{name}",
    )
    return a_run(operation=operation, flags=flags)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "project" / "conf").mkdir(parents=True)
    (tmp_path / "run").mkdir()
    (tmp_path / "project" / "conf" / "c.yml").write_text("lr: 0.1\nkept: yes\n")
    return tmp_path / "project"


def test_the_file_is_written_with_the_flags_values_and_again_at_the_next_start(project: Path) -> None:
    directory = project.parent / "run"
    for layers, expected in (("1 2", [1, 2]), ("3", [3])):
        write_config(directory, run_of(project, "conf/c.yml", lr=1, layers=layers, note="x"))
        written = yaml.safe_load((directory / "conf" / "c.yml").read_text())
        assert written == {"lr": 1, "kept": True, "layers": expected}
    assert (project / "conf" / "c.yml").read_text() == "lr: 0.1\nkept: yes\n"


def test_a_template_is_kept_beside_the_file_that_is_made_of_it(project: Path) -> None:
    directory = project.parent / "run"
    (directory / "c.json.in").write_text('{"a": 1}')
    write_config(directory, run_of(project, "c.json.in", a=2))
    assert (directory / "c.json").read_text() == '{\n  "a": 2\n}\n'
    assert (directory / "c.json.in").read_text() == '{"a": 1}'


def test_a_file_that_cannot_be_read_is_a_dependency_that_is_not_met(project: Path) -> None:
    directory = project.parent / "run"
    with pytest.raises(ResolveError, match=r"'none\.yml' can't be written: No such file"):
        write_config(directory, run_of(project, "none.yml"))
    (directory / "c.json").write_text("{")
    with pytest.raises(ResolveError, match=r"'c\.json' can't be read as JSON"):
        write_config(directory, run_of(project, "c.json"))
