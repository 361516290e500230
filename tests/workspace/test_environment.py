from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from orchestra.errors import RunBroken
from orchestra.workspace.environment import (
    EnvironmentRecord,
    Interpreter,
    LockFiles,
    describe_variables,
    installed,
    read_environment,
    write_environment,
)

from .test_source import fill


def test_what_is_installed_is_what_the_interpreter_itself_says() -> None:
    packages, _ = installed(Interpreter(sys.executable).folders)

    def normal(name: str) -> str:
        return name.lower().replace("_", "-").replace(".", "-")

    told = {normal(one.metadata["Name"]): one.version for one in metadata.distributions()}
    assert {normal(name): version for name, version in packages.items()} == told


def test_an_environment_of_another_interpreter_is_described_by_its_folders(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    minor = ".".join(map(str, sys.version_info[:2]))
    site = f"venv/lib/python{minor}/site-packages"
    fill(tmp_path, f"{site}/My_Package-1.2.dist-info/METADATA", f"{site}/old-3.egg-info/PKG-INFO")
    fill(tmp_path, f"{site}/odd-4-py3.9.egg-info", f"{site}/nameless.egg-info", f"{site}/module.py")
    (tmp_path / site / "My_Package-1.2.dist-info" / "direct_url.json").write_text(
        '{"url": "https://me:pw@host/x.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}}'
    )
    interpreter = Interpreter(str(tmp_path / "venv" / "bin" / "python"))
    record = interpreter.describe(with_packages=True)
    assert record.version == ".".join(map(str, sys.version_info[:3]))
    assert record.packages == {"My-Package": "1.2", "nameless": "", "odd": "4", "old": "3"}
    assert record.origins == {"My-Package": "https://me:[redacted]@host/x.git@abc"}
    assert interpreter.describe(with_packages=False).packages is None


def test_an_interpreter_that_tells_nothing_of_itself_is_named_all_the_same(tmp_path: Path) -> None:
    fill(tmp_path, "bin/python")
    record = Interpreter(str(tmp_path / "bin" / "python")).describe(with_packages=True)
    assert (record.executable, record.version, record.packages) == (str(tmp_path / "bin/python"), None, None)


def test_the_signature_changes_when_something_is_installed(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    interpreter = Interpreter(str(tmp_path / "venv" / "bin" / "python"))
    before = interpreter.signature
    Path(interpreter.folders[0], "new-1.dist-info").mkdir()
    assert interpreter.signature != before


def test_variables_are_recorded_by_a_list_and_never_secrets() -> None:
    inherited = {"PATH": "/bin", "HOME": "/me", "CUDA_KEY": "abc", "CUDA_X": "1", "MINE": "m"}
    added = {"RUN_ID": "r", "SETTING": "s", "API_TOKEN": "abc", "MINE": "m", "FLAG_LR": "1"}
    variables, withheld = describe_variables(inherited, added, ("MINE", "CUDA_X"))
    assert variables == {"PATH": "/bin", "RUN_ID": "r", "SETTING": "s"}
    assert withheld == ("API_TOKEN", "CUDA_KEY", "CUDA_X", "HOME", "MINE")


def test_files_that_say_what_should_be_installed_are_noted(tmp_path: Path) -> None:
    fill(tmp_path, "uv.lock", "requirements.txt", "requirements-dev.txt", "say.py", "lib/uv.lock")
    (tmp_path / "poetry.lock").mkdir()
    files = LockFiles()
    first = files.of(str(tmp_path))
    assert [file.path for file in first] == ["requirements-dev.txt", "requirements.txt", "uv.lock"]
    assert files.of(str(tmp_path)) == first
    fill(tmp_path, "uv.lock", content=b"changed")
    assert files.of(str(tmp_path))[2].sha256 != first[2].sha256
    assert files.of(str(tmp_path / "missing")) == ()


def test_a_record_is_read_as_it_was_written_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    assert read_environment(tmp_path) is None
    record = EnvironmentRecord(captured=1, variables={"PATH": "/\udcff"}, withheld=("A",))
    write_environment(tmp_path, record)
    assert read_environment(tmp_path) == record
    (tmp_path / "environment.json").write_text("{")
    with pytest.raises(RunBroken, match="environment.json' is damaged"):
        read_environment(tmp_path)
