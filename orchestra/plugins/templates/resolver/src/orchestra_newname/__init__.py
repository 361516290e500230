"""The resolver ``newname`` for Orchestra."""

from __future__ import annotations

from orchestra_newname.resolver import Options, open_resolver

__all__ = ["Options", "open_resolver"]
