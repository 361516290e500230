"""README is true: its commands print what it shows, its plugins keep their contracts, its promises are complete."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from orchestra.settings import CONFIG_NAME, CONFIG_VARIABLE, HOME_VARIABLE, Settings
from tests.docs.documents import ROOT, blocks_of, commands_of, play
from tests.docs.readers import (
    COMPARE,
    GUILD,
    KEEPING,
    PLOTS,
    PLUGINS,
    QUEUES,
    SHARING,
    SWEEP,
    install_plugins,
    readme_reader,
)

README = ROOT / "README.md"
TOUR = "Five minutes"
WARM = "When to use the warm executor"
KITS = ROOT / "tests" / "docs" / "readme_kits.py"
LONGEST_PLUGIN = 25
"""Lines of a plugin, less blank ones and imports."""


def two_commands() -> list[str]:
    return [block.text.rstrip("\n") for block in blocks_of(README, section="Two commands")]


def test_the_tour_prints_what_it_shows(tmp_path: Path) -> None:
    with readme_reader(tmp_path, TOUR) as shell:
        assert play(blocks_of(README, section=TOUR), shell) >= 20


def test_the_warm_executor_prints_what_it_shows(tmp_path: Path) -> None:
    with readme_reader(tmp_path, TOUR) as shell:
        assert play(blocks_of(README, section=WARM), shell) == 2


def test_queues_do_what_it_shows(tmp_path: Path) -> None:
    with readme_reader(tmp_path, QUEUES) as shell:
        assert play(blocks_of(README, section=QUEUES), shell) >= 15


def test_a_sweep_is_finished_as_it_is_shown(tmp_path: Path) -> None:
    with readme_reader(tmp_path, SWEEP) as shell:
        assert play(blocks_of(README, section=SWEEP), shell) == 5


def test_runs_are_compared_as_it_is_shown(tmp_path: Path) -> None:
    with readme_reader(tmp_path, COMPARE) as shell:
        assert play(blocks_of(README, section=COMPARE), shell) == 6


def test_runs_are_annotated_and_restored_as_it_is_shown(tmp_path: Path) -> None:
    with readme_reader(tmp_path, KEEPING) as shell:
        assert play(blocks_of(README, section=KEEPING), shell) == 11


def test_plots_are_drawn_as_they_are_shown(tmp_path: Path) -> None:
    with readme_reader(tmp_path, PLOTS) as shell:
        assert play(blocks_of(README, section=PLOTS), shell) == 4


def test_runs_are_moved_and_shared_as_it_is_shown(tmp_path: Path) -> None:
    with readme_reader(tmp_path, SHARING) as shell:
        assert play(blocks_of(README, section=SHARING), shell) == 10


def test_runs_of_guild_are_taken_over_as_it_is_shown(tmp_path: Path) -> None:
    with readme_reader(tmp_path, GUILD) as shell:
        assert play(blocks_of(README, section=GUILD), shell) == 4


def test_the_main_job_runs_once_it_is_installed(tmp_path: Path) -> None:
    main_job, _ = two_commands()
    installing, _, job = main_job.partition(" pip install -q -c constraints.txt . && ")

    with readme_reader(tmp_path, TOUR) as shell:
        code, printed = shell.run(job)

    assert installing == "python3 -m venv .venv && . .venv/bin/activate &&"
    assert code == 0, printed
    assert printed.count("completed") == 5
    assert printed.count("loss: ") == 3


def test_continuous_integration_runs_both_commands_as_they_are() -> None:
    _, test_command = two_commands()
    script = (ROOT / ".ci" / "run").read_text()

    assert f"    {test_command}\n" in script
    assert re.search(r"README\.md\)\n", script)


def test_the_plugins_are_found_and_do_their_work(tmp_path: Path) -> None:
    with readme_reader(tmp_path, PLUGINS) as shell:
        install_plugins(shell.files)
        assert play(blocks_of(README, section=PLUGINS), shell) >= 5


def test_the_plugins_keep_their_contracts(tmp_path: Path) -> None:
    site = new_site(tmp_path)
    (site / "test_kits.py").write_text(KITS.read_text())

    ended = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null"),
            *("-k", "not trio", str(site)),
        ],
        env={
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": f"{ROOT}:{site}",
            "TMPDIR": str(tmp_path),
            "HOME": str(tmp_path),
        },
        capture_output=True,
        text=True,
    )

    assert ended.returncode == 0, ended.stdout[-5000:] + ended.stderr
    for kit in ("TestDiagonal", "TestEnv", "TestNice", "TestLines"):
        assert kit in KITS.read_text()


@pytest.mark.parametrize("name", ["my_expander.py", "my_resolver.py", "my_executor.py", "my_store.py"])
def test_a_plugin_takes_some_twenty_lines(name: str, tmp_path: Path) -> None:
    site = new_site(tmp_path)
    lines = (site / name).read_text().splitlines()

    assert (
        len([line for line in lines if line.strip() and not line.startswith(("import", "from"))])
        <= LONGEST_PLUGIN
    )


def test_every_command_is_shown_with_what_it_prints_or_prints_nothing() -> None:
    consoles = [block for block in blocks_of(README) if block.language == "console"]

    assert all(commands_of(block) for block in consoles)
    assert {block.language for block in blocks_of(README)} == {"sh", "console", "python", "toml", "text"}


def test_all_settings_are_named_with_where_they_are_kept() -> None:
    (told,) = re.findall(r"^- \*\*Settings\*\*.*?(?=^- )", README.read_text(), re.MULTILINE | re.DOTALL)

    wanted = [f"`{name}`" for name in Settings.__struct_encode_fields__]
    names = ("executor", "store", "durability", "output", "output_limit", "interim")
    wanted += [f"ORCHESTRA_{name.upper()}" for name in names]
    wanted += [HOME_VARIABLE, CONFIG_VARIABLE, f".config/orchestra/{CONFIG_NAME}"]
    assert [name for name in wanted if name not in told] == []


def new_site(place: Path) -> Path:
    """A folder with the plugins installed."""
    site = place / "site"
    site.mkdir()
    install_plugins(site)
    return site
