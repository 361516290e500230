"""What a plugin author tests with: a kit for each contract, fakes, builders, fake installed distributions.

A kit is a class of tests that a plugin's own test class inherits. The README beside this file, and a page for each
contract, say what is asked for and what each test proves. Needs pytest; the product imports nothing of it.
"""

from __future__ import annotations

import pytest

# Kits fail with plain asserts: without this they would fail without a word.
_KITS = ["kit", "expanders", "resolvers", "executors", "hinting", "scheduling", "stores"]
_STORE_KITS = ["cases", "claim_cases", "condition_cases", "machine", "race", "storm"]
_MODULES = [*_KITS, *(f"store_{name}" for name in _STORE_KITS)]
pytest.register_assert_rewrite(*(f"orchestra.testing.{module}" for module in _MODULES))
