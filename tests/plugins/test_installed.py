"""Plugins that were really built and installed, in a fresh virtual environment."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import site
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DISTRIBUTIONS = (ROOT / "plugins" / "orchestra-qmc", ROOT / "tests" / "foreign" / "orchestra-foreign")
FOREIGN = {
    ("executor", "shell"): "orchestra_foreign.executor:open_executor",
    ("expander", "zip"): "orchestra_foreign.expander:open_expander",
    ("resolver", "env"): "orchestra_foreign.resolver:open_resolver",
    ("store", "json"): "orchestra_foreign.store:open_store",
}

QMC = {"latin-hypercube", "sobol"}


def run(*command: object, cwd: Path) -> str:
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([*map(str, command)], cwd=cwd, env=env, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> Path:
    """The interpreter of a virtual environment with the product and the distributions in it."""
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
    for distribution in DISTRIBUTIONS:
        source = shutil.copytree(distribution, folder / distribution.name)
        run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder / "wheels", cwd=source)
    for wheel in (folder / "wheels").glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(packages)
    return python


def ask(python: Path, code: str, cwd: Path):
    """What ``code`` leaves in ``answer``, run by ``python``."""
    head = "import asyncio, json\nfrom pathlib import Path\nfrom orchestra import plugins\n"
    return json.loads(run(python, "-c", f"{head}{code}\nprint(json.dumps(answer))", cwd=cwd))


def test_a_foreign_distribution_of_each_kind_is_listed(python, tmp_path):
    fields = "[i.kind, i.name, i.target, i.distribution, i.version, i.error]"
    code = f"answer = [{fields} for i in plugins.list_plugins()]"
    listed = ask(python, code, tmp_path)
    mine = [entry for entry in listed if entry[3] == "orchestra-foreign"]

    assert {(kind, name): target for kind, name, target, *_ in mine} == FOREIGN
    assert {version for *_, version, _ in mine} == {"1.2.3"}
    assert {name for _, name, _, owner, *_ in listed if owner == "orchestra-qmc"} == QMC
    assert [error for *_, error in listed if error] == []


@pytest.mark.parametrize(("kind", "name"), FOREIGN)
def test_a_foreign_plugin_passes_its_check(python, tmp_path, kind, name):
    code = f"found = asyncio.run(plugins.check({kind!r}, {name!r}, cache_dir=Path('cache')))"
    code += "\nanswer = [finding.level for finding in found]"

    assert ask(python, code, tmp_path) == ["ok", "ok", "ok"]


def test_an_installed_plugin_is_used_through_its_options(python, tmp_path):
    code = """
from orchestra.model.batch import Batch, Choices
async def main():
    batch = Batch(space={"a": Choices(values=(1, 2)), "b": Choices(values=("x", "y"))}, seed=1)
    async with plugins.open_plugin("expander", "zip", {"reverse": "yes"}, Path(".")) as expander:
        return (await expander.propose(batch, (), 5)).trials
answer = asyncio.run(main())
"""

    assert ask(python, code, tmp_path) == [{"a": 2, "b": "y"}, {"a": 1, "b": "x"}]
