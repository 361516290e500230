"""Find, load, check and open plugins, built-in or installed by others, all through the same door.

A plugin is an entry point of an installed distribution, in the group of its kind (``orchestra.stores``, ...),
that names an opener (see :mod:`orchestra.contracts`). Listing imports none of them. What was listed is kept
in a cache file, so that a command that needs one plugin imports that one, and neither stevedore nor
importlib.metadata.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestra.plugins.listing import PluginInfo, find, list_plugins
from orchestra.plugins.opening import load, open_plugin

if TYPE_CHECKING:
    from orchestra.plugins.checking import Remark, check, examine, probe

__all__ = ["PluginInfo", "Remark", "check", "examine", "find", "list_plugins", "load", "open_plugin", "probe"]


def __getattr__(name: str) -> Any:
    # Checking imports much that no other command needs.
    if name in ("Remark", "check", "examine", "probe"):
        from orchestra.plugins import checking

        return getattr(checking, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
