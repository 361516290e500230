"""Whatever stands in a project file, it is an operation or an error in one sentence: never anything else."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestra.engine.command_line import command_line
from orchestra.errors import OrchestraError
from orchestra.project.defined_operations import describe, operation_of
from orchestra.project.find import find_operation
from orchestra.project.project_file import load_project

WORDS = [
    *(
        "train",
        "m",
        "c",
        "model",
        "config",
        "include",
        "operations",
        "operation-defaults",
        "extends",
        "params",
    ),
    *(
        "$include",
        "{{ c }}",
        "c#lr",
        "m:train",
        "flags",
        "lr",
        "${lr}",
        "${flag_args}",
        "main",
        "exec",
        "steps",
    ),
    *(
        "run",
        "expect",
        "output",
        "requires",
        "resources",
        "sources",
        "file",
        "sourcecode",
        "include",
        "select",
    ),
    *("env", "env-secrets", "optimizers", "optimizer", "objective", "default", "choices", "value", "alias"),
    *("arg-encoding", "null-label", "rename", "output-scalars", "a 'b", "train --tag", "no", "yes", "1", ""),
]
SCALARS = st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(WORDS) | st.text(max_size=3)
DATA = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4),
    max_leaves=12,
)
OPERATIONS = st.dictionaries(
    st.sampled_from(["train", "b", "_c"]),
    st.dictionaries(st.sampled_from(WORDS), DATA, max_size=4),
    max_size=2,
)
ITEMS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "model": st.sampled_from(["m", "n", ""]),
            "config": st.sampled_from(["c", "d"]),
            "extends": st.sampled_from(["c", "d", "m", ["c", "m"]]),
            "params": DATA,
            "flags": DATA,
            "operations": OPERATIONS,
            "operation-defaults": DATA,
            "resources": DATA,
            "sourcecode": DATA,
        },
    ),
    max_size=3,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(document=DATA | OPERATIONS | ITEMS)
def test_any_document_is_operations_or_an_error(tmp_path: Path, document: Any) -> None:
    (tmp_path / "train.py").write_text("lr = 1\n")
    for name in ("orchestra.yml", "guild.yml"):
        path = tmp_path / name
        path.write_text(json.dumps(document))
        try:
            project = load_project(path)
        except OrchestraError:
            continue
        for defined in project.operations():
            try:
                describe(defined)
                operation = operation_of(project, defined, cache_dir=None, python=sys.executable)
                command_line(operation, {flag.name: flag.default for flag in operation.flags})
            except OrchestraError:
                pass


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(
    text=st.text(alphabet="ab:-[]{}&*!|>'\"#%@`,? \n\t0", max_size=30),
    spec=st.sampled_from([None, "a", "a:b"]),
)
def test_any_text_is_a_file_or_an_error(tmp_path: Path, text: str, spec: str | None) -> None:
    (tmp_path / "orchestra.yml").write_text(text)
    try:
        find_operation(spec, cwd=tmp_path, cache_dir=None, python=sys.executable)
    except OrchestraError as error:
        assert "Traceback" not in error.message
