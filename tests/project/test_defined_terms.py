"""What a project's file says of resources, turns, times and tries of its operations."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from orchestra.errors import ProjectFileError
from orchestra.model.operation import Operation
from orchestra.model.resources import Resources
from orchestra.model.retry import Retry
from orchestra.model.terms import Terms
from orchestra.project.find import find_operation


class Project:
    """A project in a temporary directory, and what was warned of while it was read."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.warnings: list[str] = []
        (directory / "train.py").write_text("x = 1\n")

    def find(self, text: str, spec: str = "train", name: str = "orchestra.yml") -> Operation:
        (self.directory / name).write_text(text)
        return find_operation(
            spec, cwd=self.directory, cache_dir=None, python=sys.executable, warn=self.warnings.append
        )


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.mark.parametrize(
    ("resources", "retry"),
    [
        ("gpus=0.5 cpus=4 memory=8G", "{max: 2, on: 'oom,exit:75', delay: 1m, scale: memory=2}"),
        (
            "{gpus: 0.5, cpus: 4, memory: 8G}",
            "{max: 2, on: [oom, exit:75], delay: 1m, scale: {memory: 2}}",
        ),
    ],
)
def test_terms_are_written_as_texts_or_as_mappings(project: Project, resources: str, retry: str) -> None:
    terms = project.find(
        f"train:\n  resources: {resources}\n  retry: {retry}\n"
        "  time-limit: 1h30m\n  warn: USR1@60\n  priority: -1\n  group: db\n"
    ).terms

    assert terms == Terms(
        resources=Resources(gpus=0.5, cpus=4, memory=8 << 30),
        retry=Retry(limit=2, on=("oom", "exit:75"), delay=60.0, scale={"memory": 2.0}),
        time_limit=5400.0,
        warning="USR1@60",
        priority=-1,
        group="db",
        origins=terms.origins,
    )
    assert terms.origins["resources"] == "orchestra.yml:2"
    assert terms.origins["retry-on"] == "orchestra.yml:3"
    assert terms.origins["group"] == "orchestra.yml:7"


@pytest.mark.parametrize(
    ("executor", "option"),
    [
        ("slurm partition=gpu", "slurm partition=gpu"),
        ("{slurm: {partition: gpu, time: 2}}", "slurm partition=gpu time=2"),
        (
            "{slurm: {sbatch_args: --exclusive --mail-type=END}}",
            "slurm 'sbatch_args=--exclusive --mail-type=END'",
        ),
        ("local", "local"),
    ],
)
def test_an_executor_is_written_as_the_option_or_as_a_mapping(
    project: Project, executor: str, option: str
) -> None:
    assert project.find(f"train: {{main: train, executor: {executor}}}\n").terms.executor == option


def test_an_executor_is_one(project: Project) -> None:
    with pytest.raises(ProjectFileError, match="it is one name with its options"):
        project.find("train: {main: train, executor: {slurm: {}, local: {}}}\n")


def test_a_number_of_retries_is_enough(project: Project) -> None:
    assert project.find("train: {retry: 3}\n").terms.retry == Retry(limit=3)
    assert project.find("train: {main: train}\n").terms == Terms()


def test_defaults_and_inheritance_reach_runs_but_not_pipelines(project: Project) -> None:
    text = (
        "- config: base\n  operation-defaults: {priority: 2, resources: cpus=1}\n"
        "- model: m\n  extends: base\n  resources: {data: {sources: [file: train.py]}}\n"
        "  operations:\n"
        "    train: {main: train, resources: {cpus: 2}, requires: data}\n"
        "    pipe: {steps: [train]}\n"
    )

    train = project.find(text)

    assert (train.terms.priority, train.terms.resources) == (2, Resources(cpus=2))
    assert train.terms.origins == {"priority": "orchestra.yml:2", "resources": "orchestra.yml:7"}
    assert [one.name for one in train.requires] == ["data"]
    assert project.find(text, "pipe").terms == Terms()


@pytest.mark.parametrize(
    ("written", "line", "says"),
    [
        ("resources: gpu=1", 3, "'resources': invalid resource 'gpu=1'"),
        ("resources:\n    cpus: 1\n    gpus: 1.5", 5, "'resources.gpus': invalid resources 'gpus=1.5'"),
        ("resources:\n    gpu: 1", 4, "resources: 'gpu' is not known here\nDid you mean 'gpus'?"),
        ("retry:\n    maxx: 1", 4, "retry: 'maxx' is not known here\nDid you mean 'max'?"),
        ("resources: []", 3, "'resources' has to be a text or a mapping"),
        ("retry: {on: oom}", 3, "'max' is missing"),
        ("retry:\n    max: 2\n    on: [oom, never]", 5, "'retry.on': invalid cause 'never'"),
        ("retry:\n    max: 2\n    scale:\n      memory: 200", 5, "'retry.scale': invalid growth"),
        ("retry: -1", 3, "'retry': invalid number of retries -1"),
        ("time-limit: 90", 3, "'time-limit' has to be a text, not a whole number"),
        ("time-limit: soon", 3, "'time-limit': invalid time 'soon'"),
        ("warn: USR1@60", 3, "'warn' comes before the end of a time"),
        ("priority: high", 3, "'priority' has to be a whole number"),
        ("group: ''", 3, "'group': invalid name ''"),
        ("prioritty: 1", 3, "'prioritty' is not known here"),
    ],
)
def test_what_has_no_meaning_is_told_by_file_line_and_key(
    project: Project, written: str, line: int, says: str
) -> None:
    with pytest.raises(ProjectFileError) as caught:
        project.find(f"train:\n  main: train\n  {written}\n")

    assert f"{caught.value.message}\n{caught.value.hint}".startswith(
        f"{project.directory / 'orchestra.yml'}:{line}: operation 'train': {says}"
    )


def test_a_time_without_its_unit_is_explained(project: Project) -> None:
    with pytest.raises(ProjectFileError) as caught:
        project.find("train: {time-limit: 90}\n")

    assert caught.value.hint == "Give a time with its unit, such as 90s, 30m, 1h30m or 2d."


def test_a_pipeline_has_no_terms_of_its_own(project: Project) -> None:
    with pytest.raises(
        ProjectFileError, match=r"yml:3: operation 'p': 'priority' can't be said of a pipeline"
    ):
        project.find("p:\n  steps: [train]\n  priority: 3\ntrain: {main: train}\n", "p")


def test_steps_have_terms_as_options(project: Project) -> None:
    found = project.find(
        "p:\n  steps:\n"
        "    - train --resources cpus=2 --retries 1\n"
        "    - run: train\n      name: b\n      resources: {gpus: 1, memory: 8G}\n      retries: 2\n"
        "      retry-on: [oom, lost]\n      retry-scale: {memory: 2}\n      time-limit: ${limit}\n"
        "      priority: 7\n"
        "  flags: {limit: 2h}\n"
        "train: {main: train}\n",
        "p",
    )

    assert found.steps[0].options == {"resources": "cpus=2", "retries": "1"}
    assert found.steps[1].options == {
        "resources": "gpus=1 memory=8G",
        "retries": "2",
        "retry-on": "oom,lost",
        "retry-scale": "memory=2",
        "time-limit": "${limit}",
        "priority": "7",
    }


@pytest.mark.parametrize(
    ("step", "says"),
    [
        ("train --retry-on oom", "'retry-on' needs 'retries'"),
        ("train --time-limit 90", "'time-limit': invalid time '90'"),
        ("{run: train, resources: {memory: 8X}}", "'resources': invalid size of memory '8X'"),
        ("{run: train, group: ''}", "'group': invalid name ''"),
    ],
)
def test_terms_of_steps_without_a_meaning_are_refused(project: Project, step: str, says: str) -> None:
    with pytest.raises(ProjectFileError) as caught:
        project.find(f"p:\n  steps:\n    - {step}\ntrain: {{main: train}}\n", "p")

    assert f"yml:3: operation 'p': step 1: {says}" in caught.value.message


def test_a_file_of_the_predecessor_means_what_it_meant(project: Project) -> None:
    found = project.find(
        "train:\n  main: train\n  priority: 3\n  resources: {a: 1}\n  retry: often\n", name="guild.yml"
    )

    assert found.terms == Terms()
    assert [text.partition("guild.yml: ")[2] for text in project.warnings] == [
        "what is not known here is ignored: 'priority' (line 3), 'resources' (line 4), 'retry' (line 5)"
    ]
