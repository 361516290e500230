"""The expander ``newname`` for Orchestra."""

from __future__ import annotations

from orchestra_newname.expander import Options, open_expander

__all__ = ["Options", "open_expander"]
