"""What all kits share: both event loops, and that no test of a kit is lost on the way.

A kit is a class of tests. A plugin's own test class inherits it and says how the plugin is opened.
"""

from __future__ import annotations

from typing import Any

import pytest


class Kit:
    """The root of all kits. Every async test runs on asyncio and on trio."""

    pytestmark = pytest.mark.anyio

    @pytest.fixture(params=["asyncio", "trio"])
    def anyio_backend(self, request: pytest.FixtureRequest) -> str:
        """The event loop that a test runs on."""
        return request.param

    def test_no_test_of_the_kit_is_overridden(self) -> None:
        """One that can't pass may be overridden with ``pytest.mark.xfail`` and a reason: then it shows."""
        lost = sorted(
            name for name, owner in _kit_tests(type(self)).items() if not _kept(type(self), name, owner)
        )

        assert not lost, f"these tests of the kit are overridden without xfail(reason=...): {', '.join(lost)}"


def _kit_tests(kit: type) -> dict[str, type]:
    return {
        name: owner
        for owner in kit.__mro__
        if owner.__module__.startswith("orchestra.testing.")
        for name in vars(owner)
        if name.startswith("test_")
    }


def _kept(kit: type, name: str, owner: type) -> bool:
    found: Any = getattr(kit, name, None)
    if found is vars(owner)[name]:
        return True
    marks = [mark for mark in getattr(found, "pytestmark", ()) if mark.name == "xfail"]
    return any(mark.kwargs.get("reason") for mark in marks)
