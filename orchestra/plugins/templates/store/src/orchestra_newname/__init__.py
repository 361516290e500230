"""The store ``newname`` for Orchestra."""

from __future__ import annotations

from orchestra_newname.store import Options, open_store

__all__ = ["Options", "open_store"]
