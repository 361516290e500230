"""Project files become operations, and what is wrong in them is told by file, line and key."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from orchestra.engine.command_line import command_line
from orchestra.errors import OperationNotFound, OrchestraError, ProjectFileError, ScriptError
from orchestra.model.operation import (
    Check,
    Choice,
    FlagDef,
    Operation,
    Optimizer,
    OutputPattern,
    SourceCode,
    SourceRule,
    Step,
)
from orchestra.project.find import find_operation

TRAIN = "lr = 0.1\nepochs = 1\nname = 'x'\n"


class Found:
    """A project in a temporary directory, and what was warned of while it was read."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.warnings: list[str] = []
        (directory / "train.py").write_text(TRAIN)

    def write(self, text: str, name: str = "orchestra.yml") -> None:
        (self.directory / name).write_text(text)

    def find(self, spec: str | None = None) -> Operation:
        return find_operation(
            spec, cwd=self.directory, cache_dir=None, python=sys.executable, warn=self.warnings.append
        )

    def command(self, spec: str | None = None, **flags: object) -> tuple[str, ...]:
        operation = self.find(spec)
        return command_line(operation, {flag.name: flag.default for flag in operation.flags} | flags)[1:]

    def error(self, text: str, spec: str | None = None, name: str = "orchestra.yml") -> OrchestraError:
        self.write(text, name)
        with pytest.raises(OrchestraError) as caught:
            self.find(spec)
        return caught.value


@pytest.fixture
def project(tmp_path: Path) -> Found:
    return Found(tmp_path)


def test_a_file_is_a_mapping_of_operations_and_its_names_come_before_files(project: Found) -> None:
    project.write("train.py:\n  main: train\n  description: Train it.\nnothing: guild.pass\n")

    operation = project.find("train.py")

    assert (operation.description, operation.kind, operation.main) == ("Train it.", "script", "train.py")
    assert operation.project_file == str(project.directory / "orchestra.yml")
    assert operation.source == str(project.directory)
    assert project.command("nothing")[1:] == ("-c", "pass")


def test_scripts_that_the_file_does_not_name_can_be_run_all_the_same(project: Found) -> None:
    project.write("nothing: orchestra.pass\n")
    assert project.find("train.py").project_file is None
    assert project.find("queue").kind == "queue"


def test_what_the_file_says_of_a_flag_wins_and_the_script_fills_what_it_leaves_open(project: Found) -> None:
    project.write(
        "train:\n"
        "  flags-import: all\n"
        "  flags-import-skip: [name]\n"
        "  flags:\n"
        "    lr: {default: 1, type: float, description: the rate, min: 0, choices: [1, {value: 2, alias: two}]}\n"
    )

    operation = project.find("train")

    assert operation.flags == (
        FlagDef(
            name="lr",
            default=1,
            type="float",
            description="the rate",
            min=0,
            choices=(Choice(value=1), Choice(value=2, alias="two")),
            origin="orchestra.yml:5",
        ),
        FlagDef(name="epochs", default=1, type="number", origin="train.py:2"),
    )
    assert (operation.flags_dest, operation.discovered_by) == ("globals", "globals")


@pytest.mark.parametrize(
    ("importing", "names"),
    [
        ("", ["lr", "more"]),
        ("flags-import: no", ["lr", "more"]),
        ("flags-import: yes", ["lr", "more", "epochs", "name"]),
        ("flags-import: all", ["lr", "more", "epochs", "name"]),
        ("flags-import: [epochs]", ["lr", "more", "epochs"]),
    ],
)
def test_which_flags_are_imported_is_said_by_the_file(
    project: Found, importing: str, names: list[str]
) -> None:
    project.write(f"train:\n  {importing}\n  flags:\n    lr:\n      description: d\n    more: 2\n")
    flags = project.find("train").flags
    assert [flag.name for flag in flags] == names
    assert flags[0].default == (None if importing == "flags-import: no" else 0.1)


def test_a_flag_to_import_that_the_script_does_not_have_is_warned_of(
    project: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write("train:\n  flags-import: [epochs, more, lrr, gone]\n  flags: {more: 2}\n")
    assert [flag.name for flag in project.find("train").flags] == ["more", "epochs"]
    assert project.warnings == [
        "flags-import of train: train.py has no flag 'lrr'. Did you mean 'lr'?",
        "flags-import of train: train.py has no flag 'gone'",
    ]
    project.warnings.clear()
    monkeypatch.setenv("NO_WARN_FLAGS_IMPORT", "1")
    project.find("train")
    project.write("operation-defaults: {flags-import: [lr, gone]}\noperations:\n  train: train\n")
    assert project.find("train").flags[0].name == "lr"
    assert project.warnings == []


def test_without_any_flags_the_script_is_not_even_read(project: Found) -> None:
    (project.directory / "train.py").write_text("def (")
    project.write("train: train\n")
    assert project.find("train").flags == ()


def test_main_is_a_script_a_module_or_a_package_with_words_before_the_flags(project: Found) -> None:
    package = project.directory / "pkg"
    package.mkdir()
    (package / "__main__.py").write_text("")
    (package / "sub.py").write_text(
        "import argparse\np = argparse.ArgumentParser()\np.add_argument('--q')\np.parse_args()\n"
    )
    (package / "globals.py").write_text("x = 1\n")
    project.write(
        "script: train.py --fast 'a b' ${x} \\${y}\n"
        "folder: pkg/sub\n"
        "package: pkg\n"
        "module: {main: pkg.sub go, flags-import: yes}\n"
        "globals: {main: pkg.globals, flags-import: yes}\n"
        "installed: json.tool\n"
    )
    assert project.find("script").main_args == ("--fast", "a b", "${x}", "${y}")
    assert project.find("folder").main == "pkg/sub.py"
    assert (project.find("package").kind, project.find("package").main) == ("module", "pkg")
    assert project.command("module", q=3) == ("-u", "-m", "pkg.sub", "go", "--q", "3")
    assert project.command("globals")[2:] == ("-m", "pkg.globals", '{"x":1}')
    assert project.command("installed") == ("-u", "-m", "json.tool")


def test_exec_is_a_command_with_flags_in_the_places_that_it_names(project: Found) -> None:
    project.write(
        "run:\n  exec: prog ${flag_args} -x ${lr}-${python_exe} ${project_dir}\n  flags: {lr: 0.1, on: yes}\n"
    )
    operation = project.find("run")
    line = command_line(operation, {"lr": 0.2, "on": True})
    assert line[:6] == ("prog", "--lr", "0.2", "--on", "1", "-x")
    assert line[6].startswith("0.2-/") and line[7] == str(project.directory)
    error = project.error("run:\n  exec: prog --a=${flag_args}\n", "run")
    assert "command contains invalid reference 'flag_args'" in error.message
    project.write("run:\n  exec: prog ${nothing}\n")
    with pytest.raises(OrchestraError, match="invalid reference 'nothing'"):
        project.command("run")


def test_all_else_that_is_said_of_an_operation_is_kept_with_it(project: Found) -> None:
    project.write(
        "train:\n"
        "  env: {A: '${lr}', B: 1, C: yes, D: null}\n"
        "  env-secrets: TOKEN\n"
        "  label: x ${lr}\n"
        "  tags: [a, b]\n"
        "  run-attrs: {team: red}\n"
        "  compare: [loss, =lr]\n"
        "  objective: {maximize: acc}\n"
        "  optimizers: {gp: {default: yes, kappa: 2}, r: {algorithm: random}}\n"
        "  default-max-trials: 7\n"
        "  output-scalars: [{loss: 'loss=(\\value)'}, '(\\key): (\\value)']\n"
        "  output-attrs: no\n"
        "  delete-on-success: yes\n"
        "  python-path: [src, ../lib]\n"
        "  sourcecode: [{exclude: '*.csv'}, {include: {text: [a, b]}}]\n"
    )
    operation = project.find("train")
    assert operation.env == {"A": "${lr}", "B": "1", "C": "1", "D": ""}
    assert (operation.env_secrets, operation.label, operation.tags) == (("TOKEN",), "x ${lr}", ("a", "b"))
    assert (operation.run_attrs, operation.compare) == ({"team": "red"}, ("loss", "=lr"))
    assert (operation.objective, operation.default_max_trials) == ("-acc", 7)
    assert operation.optimizers == (
        Optimizer(name="gp", algorithm="gp", flags={"kappa": 2}, default=True),
        Optimizer(name="r", algorithm="random"),
    )
    assert operation.output_scalars == (
        OutputPattern(pattern="loss=(\\value)", key="loss"),
        OutputPattern(pattern="(\\key): (\\value)"),
    )
    assert (operation.output_attrs, operation.delete_on_success) == ((), True)
    assert operation.python_path == ("src", str(project.directory.parent / "lib"))
    assert operation.sourcecode == SourceCode(
        rules=(
            SourceRule(include=False, patterns=("*.csv",)),
            SourceRule(include=True, patterns=("a", "b"), type="text"),
        )
    )


def test_steps_are_command_lines_or_mappings_and_each_has_a_name(project: Found) -> None:
    project.write(
        "all:\n"
        "  steps:\n"
        "    - train lr=${r} --tag a -t b --needed\n"
        "    - run: train\n"
        "      flags: {lr: [1, 2], name: '1', on: yes}\n"
        "      max-trials: 3\n"
        "      isolate-runs: no\n"
        "      expect: {output: done}\n"
    )
    operation = project.find("all")
    assert operation.kind == "steps"
    assert operation.steps == (
        Step(run="train", name="train", flags={"lr": "${r}"}, options={"tag": ["a", "b"], "needed": True}),
        Step(
            run="train",
            name="train_2",
            flags={"lr": "[1, 2]", "name": "'1'", "on": "yes"},
            options={"max-trials": 3},
            expect=(Check(output="done"),),
            isolate_runs=False,
        ),
    )


def test_models_are_found_by_name_by_a_part_of_it_or_as_the_default(project: Found) -> None:
    project.write(
        "- model: big-net\n  default: yes\n  operations: {train: train, _hidden: train}\n"
        "- model: small-net\n  operations: {train: train, test: {main: train, default: yes}}\n"
    )
    assert project.find("train").name == "big-net:train"
    assert project.find().name == "big-net:train"
    assert project.find("small:test").name == "small-net:test"
    assert project.find("small-net:").name == "small-net:test"
    for spec, message in (
        ("net:train", "there are multiple models that match 'net'"),
        ("small:none", "operation 'none' is not defined for model 'small-net'"),
        ("test", "operation 'test' is not defined for this project"),
        ("other:train", "operation 'other:train' is not defined for this project"),
        ("trian", "operation 'trian' is not defined for this project"),
    ):
        with pytest.raises(OperationNotFound) as caught:
            project.find(spec)
        assert caught.value.message.startswith(message)
        meant = {"test": "'small-net:test'", "trian": "'train' or 'train.py'?"}.get(spec)
        if meant is not None:
            assert f"Did you mean {meant}" in (caught.value.hint or "")


def test_a_default_is_the_one_that_says_so_or_the_only_public_one(project: Found) -> None:
    project.write("train: train\n_other: train\n")
    assert project.find().name == "train"
    assert "cannot find a default operation" in project.error("a: train\nb: train\n").message
    assert "has no operations" in project.error("").message


def test_models_take_from_others_and_parameters_are_filled_in(project: Found) -> None:
    project.write(
        "- config: shared\n"
        "  params: {n: 1, who: me}\n"
        "  flags: {lr: 1, epochs: {default: 2}}\n"
        "  operations:\n"
        "    train: {main: train, description: 'by {{ who }}', flags: {x: '{{ n }}', y: a}}\n"
        "- model: m\n"
        "  extends: shared\n"
        "  params: {n: 5}\n"
        "  operation-defaults: {label: d, flags: {q: 1}}\n"
        "  operations:\n"
        "    train: {flags: {y: b}}\n"
        "    eval: {main: train, flags: {$include: 'shared#lr', z: 3}}\n"
        "    again: {main: train, flags: {$include: 'train'}, label: mine}\n"
        "    plain: {main: train}\n"
    )
    train = project.find("m:train")
    assert (train.description, train.label) == ("by me", "d")
    assert {flag.name: flag.default for flag in train.flags} == {"x": 5, "y": "b"}
    assert {flag.name: flag.default for flag in project.find("m:eval").flags} == {"lr": 1, "z": 3}
    assert {flag.name: flag.default for flag in project.find("m:again").flags} == {"x": 5, "y": "b"}
    assert {flag.name: flag.default for flag in project.find("m:plain").flags} == {"q": 1}
    assert project.find("m:again").label == "mine"


def test_other_files_are_included_in_their_places(project: Found) -> None:
    (project.directory / "more").mkdir()
    project.write("- include: more/shared.yml\n- model: m\n  extends: c\n")
    project.write("- config: c\n  operations: {train: train}\n", "more/shared.yml")
    assert project.find("m:train").main == "train.py"
    project.write("- include: ../orchestra.yml\n", "more/shared.yml")
    with pytest.raises(ProjectFileError, match="includes itself"):
        project.find("m:train")


def test_resources_are_required_by_name_or_where_they_are_needed(project: Found) -> None:
    project.write(
        "- model: m\n"
        "  resources:\n"
        "    data: [a.csv, {url: 'http://x/y.zip', unpack: no, select: '.*csv'}]\n"
        "    typed: {sources: [{file: b}], target-path: into, target-type: link}\n"
        "  operations:\n"
        "    train: {main: train, requires: [data, typed, {operation: prep, name: up}, {sources: [c], name: here}]}\n"
    )
    requires = project.find("m:train").requires
    assert [
        (one.name, [f"{source.scheme}:{source.value}" for source in one.sources]) for one in requires
    ] == [
        ("data", ["file:a.csv", "url:http://x/y.zip"]),
        ("typed", ["file:b"]),
        ("up", ["operation:prep"]),
        ("here", ["file:c"]),
    ]
    assert requires[0].sources[1].unpack is False
    assert requires[1].sources[0].target_path == "into"
    assert requires[1].sources[0].target_type == "link"
    error = project.error("train: {main: train, requires: dta}\n", "train")
    assert "resource 'dta' required by operation 'train' is not defined" in error.message


WRONG = [
    ("train:\n  mian: train\n", 2, "'mian' is not known here", "Did you mean 'main'"),
    ("train:\n  main: 3\n", 2, "'main' has to be a text, not a whole number", None),
    (
        "train:\n  main: train\n  flags:\n    lr: {defualt: 1}\n",
        4,
        "'defualt' is not known here",
        "'default'",
    ),
    (
        "train:\n  main: train\n  flags:\n    lr:\n      type: flaot\n",
        5,
        "'type' has a value that it can't",
        None,
    ),
    ("train:\n  - 1\n", 1, "has to be a mapping, not a list", None),
    ("train: {main: train}\ntrain: {main: train}\n", 2, "'train' is there twice", "in line 1"),
    ("train: [a\nb: c\n", 2, ":2:2: not valid YAML", "    b: c\n     ^"),
    ("train:\n\tmain: train\n", 2, ":2:1: not valid YAML: it is indented by a tab; use spaces", "^"),
    ("a: {exec: '${flag_args}', flags: {x: 1}}\n", 1, "'exec' names no program", None),
    ("a: train\n..: train\n", 2, "operation '..': such a name can't be given", "A name has a letter"),
    ('a: train\n"b\\nc": train\n', 2, "operation 'b\\nc': such a name", None),
    ("train: {main: 'a \"b'}\n", 1, "'main' can't be split into words", None),
    ("train:\n  notebook: a.ipynb\n", 2, "Jupyter notebooks are not run as operations", None),
    ("a:\n  steps:\n    - lr=1\n", 3, "must define run", None),
    ("a:\n  steps:\n    - train --lable x\n", 3, "'--lable' is not an option of 'run'", None),
    ("a:\n  steps:\n    - run: train\n      expect: {contains: x}\n", 3, "either output or file", None),
    ("a: {main: train, requires: {url: 'http://x/y', sha256: abc}}\n", 1, "'sha256' has to be 64", None),
    ("a:\n  requires:\n  - file: x\n    select: '['\n", 4, "'select': '[' is no regular expression", None),
    ("a:\n  requires:\n  - file: x\n    select-max: '('\n", 4, "'select-max': '(' is no regular", None),
    ("a:\n  requires: {file: x, rename: '( y'}\n", 2, "'rename': '(' is no regular expression", None),
    ("a:\n  requires: {file: x, target-path: ../x}\n", 2, "'../x' is not a path in the run's", "relative"),
    (
        "a:\n  requires: {file: x, path: .orchestra}\n",
        2,
        "'.orchestra' is not a path in the run's",
        "relative",
    ),
    ("a:\n  steps:\n    - run: train\n      expect: {file: '**x'}\n", 3, "has to be between slashes", None),
    ("a:\n  steps:\n    - run: train\n      expect: {file: ''}\n", 3, "it names no file", None),
    ("a:\n  steps:\n    - run: train\n      expect: {file: './'}\n", 3, "it names no file", None),
    ("- model: m\n  extends: [x]\n", 2, "there is no model or config 'x'", None),
    ("- model: m\n  extends: m\n", 2, "cycle in 'extends'", None),
    ("- model: m\n- model: m\n", 2, "there are two of this name", None),
    ("- model: m\n  config: c\n", 1, "can't be model and config at once", None),
    ("- x: 1\n", 1, "needs one of model, config, include or operations", None),
    (
        "- operation-defaults: {priority: 2}\n- operations: {a: train}\n",
        1,
        "needs one of model, config, include or operations",
        "into the item that has the 'operations'",
    ),
    ("- include: ../other.yml\n", 1, "'../other.yml' is outside of the project", "Only files of the project"),
    ("- include: none.yml\n", 1, "there is no file 'none.yml'", None),
    ("train: {main: train, flags: {$include: none}}\n", 1, "there is no config or operation 'none'", None),
    ("train: {main: train, flags-dest: somewhere}\n", 1, "flags can't be passed to 'somewhere'", None),
    ("train: {main: train, optimizer: a, optimizers: {b: {}}}\n", 1, "both 'optimizer' and", None),
    ("train: [\n", 2, "not valid YAML", None),
    ("? [a]\n: 1\n", 1, "can't be a key", None),
    ("a: !!python/object:os.system x\n", 1, "the tag '!!python/object:os.system' is not allowed", None),
    (
        "a: !!python/object/apply:os.system [ls]\n",
        1,
        "'!!python/object/apply:os.system' is not allowed",
        None,
    ),
    ("a: !mine x\n", 1, "the tag '!mine' is not allowed", None),
    ("a: !mine {x: 1}\n", 1, "the tag '!mine' is not allowed", None),
    ("a: &x [*x]\n", 0, "nested too deeply", None),
    ("a: " + "[" * 200_000 + "\n", 0, "nested too deeply", None),
    ("just a text\n", 1, "has to be a mapping of operations or a list", None),
    ('a: "\\ud800"\n', 1, "", None),
    ("a=b: train\n", 1, "can't be given on a command line", None),
    ("a:\n  main: train\n  python-requires: new\n", 3, "'new' is no version such as '>=3.8'", None),
    ("- model: a\n  python-requires: 3\n  operations: {b: train}\n", 2, "has to be a text", None),
    ("- model: a\n  python-requires: '3'\n  operations: {b: train}\n", 2, "'3' is no version", None),
    ("a: {main: train, publish: {}}\n", 1, "'publish' is not known here", "Runs can't be published yet."),
]


@pytest.mark.parametrize(
    ("text", "line", "message", "hint"), WRONG, ids=[f"{number}" for number in range(len(WRONG))]
)
def test_what_is_wrong_is_told_by_file_and_line(
    project: Found, text: str, line: int, message: str, hint: str | None
) -> None:
    error = project.error(text, "train" if "train:" in text else "a")
    assert isinstance(error, ProjectFileError)
    where = f"{project.directory / 'orchestra.yml'}:" + (f"{line}:" if line else "")
    assert error.message.startswith(where)
    assert message in error.message
    assert hint is None or hint in (error.hint or "")


def test_unknown_keys_of_the_predecessor_are_warned_of_and_ignored(project: Found) -> None:
    project.write(
        "- model: m\n  odd: 1\n  plugins: [cpu]\n"
        "  operations:\n    train: {main: train, publish: {}, stoppable: no, flags: {lr: {nb-replace: x, "
        "default: 3}}}\n"
        "- package: p\n  version: 1\n",
        "guild.yml",
    )
    assert project.find("m:train").flags[0].default == 3
    assert project.warnings == [
        f"{project.directory / 'guild.yml'}: what is not known here is ignored: 'odd' (line 2), "
        "'nb-replace' (line 5), 'stoppable' (line 5), 'package' (line 6)",
        f"{project.directory / 'guild.yml'}:3: 'plugins' is ignored: what operations take of the computer is always "
        "recorded, as scalars 'sys/...'",
        f"{project.directory / 'guild.yml'}:5: 'publish' is ignored: runs can't be published yet",
    ]
    assert isinstance(project.error("train: {notebook: x}\n", "train", "guild.yml"), ProjectFileError)


def test_extra_data_of_models_is_kept_with_their_operations_and_inherited_at_every_depth(
    project: Found,
) -> None:
    project.write(
        "- config: base\n  extra: {who: {name: Ada, age: 36}, n: 1}\n"
        "- model: m\n  extends: base\n  extra: {who: {age: 37}}\n  operations: {train: train}\n"
    )
    assert project.find("m:train").extra == {"who": {"name": "Ada", "age": 37}, "n": 1}
    assert project.error("- model: m\n  extra: 1\n  operations: {train: train}\n", "m:train") is not None


def test_the_versions_of_python_are_those_of_the_operation_or_else_of_its_model(project: Found) -> None:
    project.write(
        "- model: m\n  python-requires: '>=3.2'\n"
        "  operations:\n    a: {main: train, python-requires: '>=3.3', pip-freeze: no}\n    b: train\n"
    )
    assert (project.find("m:a").python_requires, project.find("m:a").pip_freeze) == (">=3.3", False)
    assert (project.find("m:b").python_requires, project.find("m:b").pip_freeze) == (">=3.2", True)


def test_of_two_files_the_one_of_the_product_counts(project: Found) -> None:
    project.write("a: train\n", "guild.yml")
    project.write("b: train\n")
    assert project.find().name == "b"


def test_a_script_that_is_missing_is_told_with_the_place_that_names_it(project: Found) -> None:
    project.write("a: train\nb: sub/none.py\n")
    with pytest.raises(ScriptError) as caught:
        project.find("b")
    assert "there is no file 'sub/none.py'" in caught.value.message
    assert caught.value.hint == f"It is named in {project.directory / 'orchestra.yml'}:2."


@pytest.mark.parametrize(
    "main", ["no_such_module_anywhere", "package.none", "json..tool", ".", "package", "whole.none"]
)
def test_a_module_that_is_missing_is_told_before_anything_is_made(project: Found, main: str) -> None:
    (project.directory / "package").mkdir()
    (project.directory / "whole").mkdir()
    (project.directory / "whole" / "__init__.py").touch()
    error = project.error(f"a: train\nb: {main}\n", "b")
    assert isinstance(error, ScriptError)
    assert f"there is no module '{main}' in '{project.directory}'" in error.message
    assert error.hint == f"It is named in {project.directory / 'orchestra.yml'}:2."


@pytest.mark.parametrize(
    "rest",
    ["main: json.tool", "main: timeit", "main: none, python-path: /x", "main: none, env: {PYTHONPATH: x}"]
    + ["main: none, requires: {file: none.py}", "main: none, sourcecode: {root: src}"],
)
def test_a_module_that_is_installed_or_may_come_later_can_be_run(project: Found, rest: str) -> None:
    # A folder of that name that is no package hides none that is installed.
    (project.directory / "json").mkdir()
    project.write(f"a: {{{rest}}}\n")
    assert project.find("a").kind == "module"


def test_a_password_in_an_address_is_no_part_of_a_resources_name(project: Found) -> None:
    project.write(
        "a: {main: train, requires: [{url: 'http://u:secret@x/y'}, {sources: [{url: 'http://u:secret@x/z'}]}]}\n"
    )
    names = [requirement.name for requirement in project.find("a").requires]
    assert names == ["url:http://***@x/y", "url:http://***@x/z"]


def test_a_file_that_can_not_be_read_is_told_of_with_the_reason(project: Found) -> None:
    (project.directory / "orchestra.yml").mkdir()
    with pytest.raises(ProjectFileError, match="can't be read: "):
        project.find("train.py")


def test_a_queue_needs_no_project(project: Found) -> None:
    project.write("train: [\n")
    assert project.find("queue").kind == "queue"


def test_aliases_can_not_make_a_short_file_endless(project: Found) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    assert "stands for more than" in project.error("\n".join(lines), "a0").message


def test_a_file_that_is_too_large_is_refused(project: Found) -> None:
    assert "larger than 5 MB" in project.error("# " + "x" * 5_000_001, "a").message


@pytest.mark.parametrize(("importing", "warned"), [("", False), ("  flags-import: all\n", True)])
def test_a_script_without_a_parser_is_warned_of_only_where_its_flags_are_to_be_imported(
    project: Found, importing: str, warned: bool
) -> None:
    (project.directory / "own.py").write_text("import sys\nprint(sys.argv)\n")
    project.write("own:\n  flags-dest: args\n" + importing + "  flags: {x: 1}\n")

    assert project.find("own").flags[0].name == "x"

    assert any("it has no parser of arguments" in warning for warning in project.warnings) is warned
