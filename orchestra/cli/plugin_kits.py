"""The conformance kit, run on a plugin that is installed or in a file, with its default options.

It is run in a process of its own.
"""

from __future__ import annotations

import importlib.util
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from orchestra.contracts import Kind
from orchestra.errors import UserError
from orchestra.plugins import PluginInfo, Remark
from orchestra.plugins.files import is_file

if TYPE_CHECKING:
    from orchestra.plugins.opening import OpenPlugin

_TEST = """from orchestra.cli.plugin_kits import {opening}

TestContract = {opening}({kind!r}, {name!r})
"""
_IS_SHARED = (
    "The kit was not run: this store keeps runs where all homes find them, and there the kit's would be, too. Its own"
    " tests know a place for them."
)
_ONLY_TESTS_KNOW = (
    "The kit was not run: that for resolvers needs sources that only the plugin's own tests know."
)


def run_kit(info: PluginInfo) -> list[Remark]:
    """What the kit of its contract says of a plugin that passed its check: each test that fails is a problem.

    Raises:
        UserError: pytest or trio is not installed.
    """
    missing = [name for name in ("pytest", "trio") if importlib.util.find_spec(name) is None]
    if missing:
        needed = " and ".join(missing)
        raise UserError(
            f"the kit needs {needed}",
            f"Install {'it' if len(missing) == 1 else 'them'}:"
            f" {shlex.quote(sys.executable)} -m pip install {' '.join(missing)}",
        )
    if info.kind == "resolver":
        return [Remark(level="note", message=_ONLY_TESTS_KNOW)]
    if info.kind == "store" and _is_shared(info):
        return [Remark(level="note", message=_IS_SHARED)]
    with tempfile.TemporaryDirectory(prefix="orchestra-kit-") as scratch:
        folder = Path(scratch)
        file = Path(info.distribution).absolute() if is_file(info.distribution) else None
        name = f"{info.distribution}:{info.name}" if file is None else str(file)
        opening = "contract_of" if file is None else "contract_of_file"
        (folder / "test_contract.py").write_text(_TEST.format(opening=opening, kind=info.kind, name=name))
        (folder / "pytest.ini").touch()
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junit-xml=told.xml"]
        done = subprocess.run(
            [*command, "--basetemp=tmp"], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        if done.returncode not in (0, 1):
            return [Remark(level="problem", message=f"The kit can't be run: {_last_line(done)}")]
        return list(_told(ElementTree.parse(folder / "told.xml").getroot(), info.kind))


def contract_of(kind: Kind, name: str) -> type:
    """The class of tests that an installed plugin must pass: those of its contract and its capabilities."""
    from orchestra import plugins

    return _contract_of(plugins.find(kind, name))


def contract_of_file(kind: Kind, path: str) -> type:
    """As of :func:`contract_of`, for the plugin in a file that nobody has installed."""
    from orchestra.plugins.files import plugins_in

    found = plugins_in(Path(path), kind)
    assert isinstance(found, list)
    return _contract_of(found[0])


def _contract_of(info: PluginInfo) -> type:
    import anyio
    import pytest

    opened = _opener_of(info)

    async def kits() -> tuple[type, ...]:
        with tempfile.TemporaryDirectory(prefix="orchestra-kit-") as home:
            async with opened(Path(home)) as plugin:
                return _kits(info.kind, plugin)

    def opener(self: object, tmp_path: Path) -> Any:
        return lambda: opened(tmp_path)

    return type("TestContract", anyio.run(kits), {"opener": pytest.fixture(opener)})


def _opener_of(info: PluginInfo) -> Callable[[Path], OpenPlugin]:
    """What opens a plugin with its default options on a home."""
    from orchestra.plugins.opening import OpenPlugin, convert_options, load
    from orchestra.plugins.structure import options_type

    function = load(info)
    return lambda home: OpenPlugin(info, function, convert_options(info, options_type(function), {}, home))


def _is_shared(info: PluginInfo) -> bool:
    """Whether two homes come to one store."""
    import anyio

    from orchestra.contracts import Enduring

    opened = _opener_of(info)

    async def is_shared() -> bool:
        # Both at once: where the one was, the other might be taken for it.
        with (
            tempfile.TemporaryDirectory(prefix="orchestra-kit-") as home,
            tempfile.TemporaryDirectory(prefix="orchestra-kit-") as other_home,
        ):
            async with opened(Path(home)) as store, opened(Path(other_home)) as other:
                both = isinstance(store, Enduring) and isinstance(other, Enduring)
                return both and store.incarnation() == other.incarnation()

    return anyio.run(is_shared)


def _kits(kind: Kind, plugin: object) -> tuple[type, ...]:
    from orchestra import contracts
    from orchestra.testing import executors, expanders, hinting, scheduling, stores

    whole: dict[Kind, type] = {
        "executor": executors.ExecutorContract,
        "expander": expanders.ExpanderContract,
        "store": stores.StoreContract,
    }
    optional: dict[type, type] = {
        contracts.Counting: expanders.CountingContract,
        contracts.Enduring: stores.EnduringContract,
        contracts.Foretelling: hinting.ForetellingContract,
        contracts.Hinting: hinting.HintingContract,
        contracts.Marking: stores.MarkingContract,
        contracts.Persisting: scheduling.PersistingContract,
        contracts.Preparing: hinting.PreparingContract,
        contracts.Scheduling: scheduling.SchedulingContract,
        contracts.Warming: hinting.WarmingContract,
        contracts.Watchable: stores.WatchableContract,
    }
    return (*(kit for capability, kit in optional.items() if isinstance(plugin, capability)), whole[kind])


def _told(root: ElementTree.Element, kind: Kind) -> Iterator[Remark]:
    cases = list(root.iter("testcase"))
    failed = 0
    for case in cases:
        for failure in [*case.findall("failure"), *case.findall("error")]:
            failed += 1
            reason = (failure.get("message") or "").strip().partition("\n")[0]
            advice = f"'orchestra/testing/{kind}.md' says what it proves." if failed == 1 else None
            yield Remark(level="problem", message=f"{case.get('name')}: {reason}", advice=advice)
    if not failed:
        yield Remark(level="ok", message=f"It passes the {len(cases)} tests of the {kind} kit.")


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    return lines[-1] if lines else f"pytest ended with {done.returncode}"
