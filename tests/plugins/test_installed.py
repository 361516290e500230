"""Packages as ``plugins new`` writes them, really built and installed, in a fresh virtual environment."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import site
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from orchestra import __version__
from orchestra.contracts import KINDS
from orchestra.plugins.scaffolding import write_package

ROOT = Path(__file__).parents[2]
VERSION = "0.1.0"
WRITTEN = {kind: f"my-{kind}" for kind in KINDS}
QMC = {"latin-hypercube", "sobol"}


def run(*command: object, cwd: Path) -> str:
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([*map(str, command)], cwd=cwd, env=env, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with a package of each kind, and an environment ``venv`` with these and the product."""
    if importlib.util.find_spec("hatchling") is None:
        assert "CI" not in os.environ, "the test environment lacks hatchling"
        pytest.skip("hatchling is not installed")
    folder = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "venv", "--without-pip", folder / "venv", cwd=folder)
    python = folder / "venv" / "bin" / "python"
    packages = Path(run(python, "-c", "import site; print(site.getsitepackages()[0])", cwd=folder).strip())
    # The libraries of this environment, and the product as an editable installation leaves it.
    paths = [*site.getsitepackages(), str(ROOT)]
    (packages / "rest.pth").write_text("".join(f"{path}\n" for path in paths))
    sources = [write_package(kind, name, folder, version=__version__) for kind, name in WRITTEN.items()]
    sources.append(shutil.copytree(ROOT / "plugins" / "orchestra-qmc", folder / "orchestra-qmc"))
    for source in sources:
        run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder / "wheels", cwd=source)
    for wheel in (folder / "wheels").glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(packages)
    return folder


@pytest.fixture
def python(folder) -> Path:
    """The interpreter of the environment."""
    return folder / "venv" / "bin" / "python"


def ask(python: Path, code: str, cwd: Path):
    """What ``code`` leaves in ``answer``, run by ``python``."""
    head = "import asyncio, json\nfrom pathlib import Path\nfrom orchestra import plugins\n"
    return json.loads(run(python, "-c", f"{head}{code}\nprint(json.dumps(answer))", cwd=cwd))


def test_what_was_written_is_listed_once_it_is_installed(python, tmp_path):
    fields = "[i.kind, i.name, i.target, i.distribution, i.version, i.error]"
    listed = ask(python, f"answer = [{fields} for i in plugins.list_plugins()]", tmp_path)

    for kind, name in WRITTEN.items():
        target = f"orchestra_my_{kind}:open_{kind}"
        assert [kind, name, target, f"orchestra-{name}", VERSION, None] in listed
    assert {name for _, name, _, owner, *_ in listed if owner == "orchestra-qmc"} == QMC
    assert [error for *_, error in listed if error] == []


def test_what_was_written_passes_its_check(python, tmp_path):
    code = f"""
async def main():
    return [[r.level for r in await plugins.check(k, n)] for k, n in {WRITTEN!r}.items()]
answer = asyncio.run(main())
"""

    assert ask(python, code, tmp_path) == [["ok", "ok", "ok"]] * 4


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_written_passes_its_own_tests(folder, python, kind):
    package = folder / f"orchestra-my-{kind}"

    # On one of the event loops: continuous integration runs all of it, installed as its author would.
    told = run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "not trio", cwd=package)

    passed = re.search(r"^(\d+) passed", told, re.MULTILINE)
    assert passed is not None, told
    assert int(passed[1]) >= 15


def test_an_installed_plugin_is_used_through_its_options(python, tmp_path):
    code = """
from orchestra.model.batch import Batch, Choices
async def main():
    batch = Batch(space={"a": Choices(values=(1,)), "b": Choices(values=("x",))}, seed=1)
    async with plugins.open_plugin("expander", "my-expander", {"trials": "2"}, Path(".")) as expander:
        return (await expander.propose(batch, (), 5)).trials
answer = asyncio.run(main())
"""

    assert ask(python, code, tmp_path) == [{"a": 1, "b": "x"}] * 2
