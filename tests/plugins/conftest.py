from __future__ import annotations

from orchestra.testing.distributions import fake_site

__all__ = ["fake_site"]
