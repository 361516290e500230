from __future__ import annotations

# A fake site hides what is installed: what listing plugins imports late must be there before.
import stevedore  # noqa: F401

from orchestra.testing.distributions import fake_site

__all__ = ["fake_site"]
