"""Orchestra runs any script as an experiment: capture, batch, stage, queue, restart.

Public names are imported when they are first used, for start-up time is a feature::

    async with orchestra.Orchestra() as orch:
        run = await orch.run(orchestra.RunRequest(operation="train.py", cwd=Path.cwd()))
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orchestra.engine.orchestra import Orchestra as Orchestra
    from orchestra.engine.request import RunRequest as RunRequest
    from orchestra.errors import (
        Aborted as Aborted,
    )
    from orchestra.errors import (
        CheckFailed as CheckFailed,
    )
    from orchestra.errors import (
        ExecutorError as ExecutorError,
    )
    from orchestra.errors import (
        ExpandError as ExpandError,
    )
    from orchestra.errors import (
        FlagError as FlagError,
    )
    from orchestra.errors import (
        HomeError as HomeError,
    )
    from orchestra.errors import (
        IdTaken as IdTaken,
    )
    from orchestra.errors import (
        OperationNotFound as OperationNotFound,
    )
    from orchestra.errors import (
        OrchestraError as OrchestraError,
    )
    from orchestra.errors import (
        PluginError as PluginError,
    )
    from orchestra.errors import (
        ResolveError as ResolveError,
    )
    from orchestra.errors import (
        RunBroken as RunBroken,
    )
    from orchestra.errors import (
        RunBusy as RunBusy,
    )
    from orchestra.errors import (
        RunNotFound as RunNotFound,
    )
    from orchestra.errors import (
        ScriptError as ScriptError,
    )
    from orchestra.errors import (
        StoreError as StoreError,
    )
    from orchestra.errors import (
        UsageError as UsageError,
    )
    from orchestra.errors import (
        UserError as UserError,
    )

__version__ = "0.1.0"

_ERRORS = (
    "Aborted CheckFailed ExecutorError ExpandError FlagError HomeError IdTaken OperationNotFound "
    "OrchestraError PluginError ResolveError RunBroken RunBusy RunNotFound ScriptError StoreError UsageError "
    "UserError"
)
_HOMES = {
    "Orchestra": "orchestra.engine.orchestra",
    "RunRequest": "orchestra.engine.request",
    **dict.fromkeys(_ERRORS.split(), "orchestra.errors"),
}

__all__ = ["__version__", *_HOMES]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
