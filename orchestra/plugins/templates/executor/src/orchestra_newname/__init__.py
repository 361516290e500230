"""The executor ``newname`` for Orchestra."""

from __future__ import annotations

from orchestra_newname.executor import Options, open_executor

__all__ = ["Options", "open_executor"]
