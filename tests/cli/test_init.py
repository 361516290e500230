"""`orchestra init` writes a project file that can be used as it is."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from tests.cli.conftest import Call


def test_each_script_becomes_an_operation_that_runs(call: Call, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text('"""Train it: all."""\nlr = 0.1\nprint(lr)\n')
    (tmp_path / "no.py").write_text("print('no')\n")
    (tmp_path / "broken.py").write_text("def (\n")
    (tmp_path / "lib.py").write_text("def f(): ...\n")
    (tmp_path / "go.sh").write_text("#!/bin/sh\necho went $*\n")
    (tmp_path / "go.sh").chmod(0o755)

    ended = call("init")

    assert ended.output == "Wrote orchestra.yml with 4 operations: broken, go, no, train\n"
    text = (tmp_path / "orchestra.yml").read_text()
    assert '"no":\n' in text
    assert '  description: "Train it: all."\n' in text
    assert "  #   lr: 0.1\n" in text
    assert "  # '" in text and "is not valid Python" in text
    assert [line.split()[0] for line in call("ops").lines] == ["broken", "go", "no", "train"]
    assert call("run", "train", "lr=2", "-y").output == "2\n"
    assert call("run", "go", "x=1", "-y", "-f").output == "went --x 1\n"
    assert call("run", "no", "-y").output == "no\n"


def test_whatever_files_are_called_their_operations_run(call: Call, tmp_path: Path) -> None:
    scripts = {
        "my script.py": "my-script",
        "operations.py": "operations.py",
        "no.py": "no",
        "it's.py": "it-s",
    }
    tools = {"x=1.sh": "x-1", "my tool.sh": "my-tool", "a:b": "a-b", "${x}.sh": "x", "no.sh": "no.sh"}
    for name in scripts:
        (tmp_path / name).write_text(f"print({name!r})\n")
    for name in tools:
        (tmp_path / name).write_text(f"#!/bin/sh\necho {shlex.quote(name)} $*\n")
        (tmp_path / name).chmod(0o755)
    bad = os.fsencode(tmp_path) + b"/\xff.sh"
    Path(os.fsdecode(bad)).write_text("#!/bin/sh\n")
    os.chmod(bad, 0o755)

    ended = call("init")

    assert ended.lines[0].startswith("Wrote orchestra.yml with 9 operations: ")
    assert ended.lines[1].startswith("Left out: '\\udcff.sh' (") and "UTF-8" in ended.lines[1]
    for name, operation in scripts.items():
        assert call("run", operation, "-y").output == f"{name}\n"
    for name, operation in tools.items():
        assert call("run", operation, "v=1", "-y", "-f").output == f"{name} --v 1\n"


def test_a_file_that_is_there_is_replaced_only_if_one_says_so(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "orchestra.yml"
    path.write_text("a: b\n")
    assert call("init").code == 2
    assert path.read_text() == "a: b\n"
    assert call("init", "-y").output == "Wrote orchestra.yml with 0 operations\n"
    assert call("ops").output == ""
    path.rename(tmp_path / "guild.yml")
    refused = call("init")
    assert (refused.code, path.exists()) == (2, False)
    assert "'guild.yml' will count no more" in refused.error


def test_a_directory_that_can_not_be_written_is_told_of(call: Call, tmp_path: Path) -> None:
    (tmp_path / "orchestra.yml").mkdir()
    ended = call("init", "-y")
    assert ended.code == 1
    assert ended.error.startswith("orchestra: Is a directory: ")
