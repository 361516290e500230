"""The JSON Schema of project files is that of the loader's types, and judges as the loader does."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import orchestra
from orchestra.errors import OrchestraError
from orchestra.project.defined_operations import operation_of
from orchestra.project.documents import plain, read_document
from orchestra.project.file_schema import schema_text
from orchestra.project.project_file import load_project

PATH = Path(orchestra.__file__).parent / "schemas" / "project.schema.json"
VALIDATOR = jsonschema.Draft202012Validator(json.loads(PATH.read_text()))


def loads(path: Path) -> bool:
    """Whether the loader takes the file, with every operation in it."""
    try:
        project = load_project(path)
        for defined in project.operations():
            operation_of(project, defined, cache_dir=None, python=sys.executable)
    except OrchestraError:
        return False
    return True


def fits(path: Path) -> bool:
    return VALIDATOR.is_valid(plain(read_document(path)))


def test_the_schema_that_is_shipped_is_current() -> None:
    assert PATH.read_text() == schema_text(), "write schema_text() to orchestra/schemas/project.schema.json"
    jsonschema.Draft202012Validator.check_schema(json.loads(PATH.read_text()))


VALID = [
    "a: {main: train, executor: slurm partition=gpu}\n",
    "a: {main: train, executor: {slurm: {partition: gpu, cpus: 2}}}\n",
    "a: {main: train, resources: {gpus: 1, memory: 8G}, retry: {max: 1, on: [oom], scale: {memory: 2}}}\n",
    "a: {main: train, resources: cpus=1, retry: 3, time-limit: 2h, warn: USR1@60, priority: 1, group: b}\n",
    "a: train\n",
    "a: {main: train, flags: {x: 1, y: [1, 2], z: {default: a, type: string, choices: [1, {value: b}]}}}\n",
    "a: {exec: 'echo ${x}', flags: {x: null}, env: {A: 1, B: yes, C: null}, label: x, tags: a}\n",
    "a: {steps: [b, {run: b, flags: {x: 1}, expect: {output: y}, needed: yes, tags: [c]}]}\nb: train\n",
    "a: {main: train, requires: [{file: x}, {sources: [y, {url: z}]}], output-scalars: no}\n",
    "- model: m\n  params: {a: 1}\n  extends: c\n  operations: {x: {main: train, flags: {$include: c}}}\n"
    "- config: c\n  flags: {q: 1}\n",
    "operations: {a: train}\ndescription: d\n",
    "- operations: {a: {main: train, sourcecode: {select: ['*.py'], root: src}, flags-import: all}}\n",
]
INVALID = [
    "a: {main: train, resources: {gpu: 1}}\n",
    "a: {main: train, retry: {on: oom}}\n",
    "a: {main: train, time-limit: 90}\n",
    "a: {main: train, priority: high}\n",
    "a: 1\n",
    "a: [train]\n",
    "a: {mian: train}\n",
    "a: {main: train, flags: {x: {defualt: 1}}}\n",
    "a: {main: train, flags: {x: {type: flaot}}}\n",
    "a: {main: train, default-max-trials: many}\n",
    "a: {steps: [{name: x}]}\n",
    "a: {steps: [{run: x, wanted: y}]}\n",
    "a: {main: train, sourcecode: {slect: x}}\n",
    "- model: m\n  operatoins: {}\n",
    "- model: 1\n",
    "- model: m\n  extras: {}\n",
    "text\n",
]


@pytest.mark.parametrize(("text", "valid"), [*((t, True) for t in VALID), *((t, False) for t in INVALID)])
def test_schema_and_loader_agree(tmp_path: Path, text: str, valid: bool) -> None:
    path = tmp_path / "orchestra.yml"
    path.write_text(text)
    (tmp_path / "train.py").write_text("x = 1\n")
    assert (fits(path), loads(path)) == (valid, valid)


SCALARS = st.none() | st.booleans() | st.integers(0, 9) | st.sampled_from(["a", "no such", "1", "all"])
KEYS = [
    *(
        "description",
        "default",
        "main",
        "exec",
        "label",
        "tags",
        "compare",
        "objective",
        "default-max-trials",
    ),
    *("flags-import", "flags-import-skip", "env-secrets", "python-path", "delete-on-success", "nonsense"),
]
VALUES = SCALARS | st.lists(SCALARS, max_size=2)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(section=st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=3))
def test_what_the_schema_refuses_the_loader_refuses(tmp_path: Path, section: dict[str, Any]) -> None:
    path = tmp_path / "orchestra.yml"
    (tmp_path / "train.py").write_text("x = 1\n")
    path.write_text(json.dumps({"train": section}))
    if loads(path):
        assert fits(path)
