"""The pages on the contracts name all that there is, and nothing that there isn't."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from typing import get_args

import pytest

import orchestra.testing
from orchestra.contracts import CONTRACTS, KINDS, Kind, StopHow
from orchestra.plugins.structure import CAPABILITIES
from orchestra.testing.kit import Kit

PAGES = Path(orchestra.testing.__file__).parent
MODULES: dict[Kind, tuple[str, ...]] = {
    "executor": ("executors", "hinting", "scheduling"),
    "expander": ("expanders",),
    "resolver": ("resolvers",),
    "store": ("stores",),
}


def kits(kind: Kind) -> list[type]:
    modules = [importlib.import_module(f"orchestra.testing.{name}") for name in MODULES[kind]]
    return [
        value
        for module in modules
        for name, value in vars(module).items()
        if inspect.isclass(value) and name.endswith("Contract")
    ]


def methods(contract: type) -> list[str]:
    return [
        name
        for name, value in vars(contract).items()
        if inspect.isfunction(value) and not name.startswith("_")
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_names_each_test_of_its_kits_and_no_other(kind: Kind) -> None:
    page = (PAGES / f"{kind}.md").read_text()
    tests = {name for kit in kits(kind) for name in dir(kit) if name.startswith("test_")} - set(dir(Kit))

    assert len(tests) >= 10
    assert set(re.findall(r"`(test_\w+)`", page)) == tests
    for kit in kits(kind):
        assert f"`{kit.__name__}`" in page


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_names_each_method_and_capability(kind: Kind) -> None:
    page = (PAGES / f"{kind}.md").read_text()

    for name in methods(CONTRACTS[kind]):
        assert f"`{name}(" in page, name
    for capability in CAPABILITIES[kind]:
        assert f"`{capability.__name__}`: `" in page, capability
        assert all(f"`{name}()`" in page for name in methods(capability))
    assert CAPABILITIES[kind] or "**Capabilities.** None." in page


def test_every_capability_belongs_to_a_kind() -> None:
    from orchestra import contracts

    runtime = {
        value
        for value in vars(contracts).values()
        if inspect.isclass(value) and getattr(value, "_is_runtime_protocol", False)
    }

    assert runtime == {capability for some in CAPABILITIES.values() for capability in some}


def test_the_executor_s_page_names_the_ways_to_stop() -> None:
    page = (PAGES / "executor.md").read_text()

    assert all(f"`{how}`" in page for how in get_args(StopHow))


def test_the_readme_of_the_kit_leads_to_each_page_and_names_what_holds_for_all() -> None:
    readme = (PAGES / "README.md").read_text()

    assert set(re.findall(r"\]\((\w+\.md)\)", readme)) == {f"{kind}.md" for kind in KINDS}
    assert all(name in readme for name in dir(Kit) if name.startswith("test_"))
    assert {path.name for path in PAGES.glob("*.md")} == {"README.md", *(f"{kind}.md" for kind in KINDS)}
