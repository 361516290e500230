"""The terms on which runs of an operation are started, as its project's file has them."""

from __future__ import annotations

from msgspec import Struct

from orchestra.model.resources import Resources
from orchestra.model.retry import Retry


class Terms(Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """What a run needs, when its turn comes, how long and how often it may try. None: nothing is said of it."""

    executor: str | None = None
    """The executor plugin, with options."""
    resources: Resources | None = None
    priority: int | None = None
    group: str | None = None
    time_limit: float | None = None
    warning: str | None = None
    retry: Retry | None = None
    origins: dict[str, str] = {}
    """Where each was written (``orchestra.yml:7``), by the option of ``run`` that goes over it: for ``explain``."""
