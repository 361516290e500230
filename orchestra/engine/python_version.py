"""Whether the interpreter that an operation would have is one that it can do with."""

from __future__ import annotations

import subprocess
import sys
from functools import lru_cache

from orchestra.engine.command_line import operation_python
from orchestra.errors import ResolveError
from orchestra.model.operation import Operation
from orchestra.model.python_requires import allows

_ASK = "import sys; print('%d.%d.%d' % sys.version_info[:3])"
_PATIENCE = 30


def check_python(operation: Operation) -> None:
    """Refuse an interpreter that is none of those that the project requires.

    Raises:
        ResolveError: its version is another, or can't be told.
    """
    requires = operation.python_requires
    if requires is None:
        return
    python = operation_python()
    version = _version_of(python)
    if not allows(requires, version):
        raise ResolveError(
            f"operation '{operation.name}' needs Python {requires}, and '{python}' is {version}",
            "Activate another environment, or name an interpreter with ORCHESTRA_PYTHON.",
        )


@lru_cache
def _version_of(python: str) -> str:
    if python == sys.executable:
        return ".".join(map(str, sys.version_info[:3]))
    try:
        asked = subprocess.run(
            [python, "-I", "-S", "-c", _ASK], capture_output=True, text=True, timeout=_PATIENCE, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ResolveError(
            f"'{python}' does not tell which version of Python it is: {error}",
            "Name an interpreter that works with ORCHESTRA_PYTHON.",
        ) from None
    return asked.stdout.strip()
