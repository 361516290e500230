"""Fake installed distributions: to test a plugin, or what finds plugins, without installing anything.

    def test_mine(fake_site):
        fake_site.install(
            "my-dist", modules={"mine.py": "..."}, entry_points={"orchestra.stores": {"mine": "mine:open_it"}}
        )

Import the fixture ``fake_site`` into a ``conftest.py``, or use :class:`FakeSite` as a context manager.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType

import pytest


class FakeSite:
    """A folder of installed distributions, at the end of ``sys.path`` while the context is open.

    Leaving it also forgets the modules that were imported from it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._search_path: list[str] = []

    def __enter__(self) -> FakeSite:
        self.path.mkdir(parents=True, exist_ok=True)
        self._search_path = sys.path  # not always the list that is in use when we leave
        self._search_path.append(str(self.path))
        importlib.invalidate_caches()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._search_path.remove(str(self.path))
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", None) or "").startswith(f"{self.path}{os.sep}"):
                del sys.modules[name]
        importlib.invalidate_caches()

    def install(
        self,
        name: str,
        version: str = "1.0",
        *,
        modules: Mapping[str, str] | None = None,
        entry_points: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        """Install a distribution: files by their path (``mine.py``), and ``{group: {name: target}}``."""
        for file, source in (modules or {}).items():
            place = self.path / file
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(source)
        info = self._metadata(name, version)
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        lines = [
            line
            for group, points in (entry_points or {}).items()
            for line in (f"[{group}]", *(f"{point} = {target}" for point, target in points.items()), "")
        ]
        (info / "entry_points.txt").write_text("\n".join(lines))
        importlib.invalidate_caches()

    def uninstall(self, name: str, version: str = "1.0") -> None:
        """Remove a distribution's metadata; its modules stay."""
        shutil.rmtree(self._metadata(name, version))
        importlib.invalidate_caches()

    def settle(self, seconds: float = 60) -> None:
        """Make the folder look unchanged for so long: what changed just now is never cached."""
        then = time.time() - seconds
        os.utime(self.path, (then, then))

    def _metadata(self, name: str, version: str) -> Path:
        return self.path / f"{name.replace('-', '_')}-{version}.dist-info"


@pytest.fixture
def fake_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeSite]:
    """An empty :class:`FakeSite`."""
    with FakeSite(tmp_path_factory.mktemp("site")) as site:
        yield site
