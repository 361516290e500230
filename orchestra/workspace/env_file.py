"""The file that lets a person start a staged run by hand."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path

from orchestra.model.redaction import allowed_environment, is_secret
from orchestra.workspace.durable import make_dirs, write_atomic
from orchestra.workspace.layout import CONTROL

ENV = "ENV"

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def render(inherited: Mapping[str, str], added: Mapping[str, str], secret: Collection[str] = ()) -> bytes:
    """``export NAME='value'`` lines for sh and bash: what may be recorded of ``inherited``, and all of
    ``added`` but secrets: those that look like one, and those that are named.

    Names that a shell can't take are left out.
    """
    # Flags that are inherited are those of another run, from within which this one is staged.
    kept = {name: value for name, value in inherited.items() if not name.startswith("FLAG_")}
    public = {name: value for name, value in added.items() if not is_secret(name, value)}
    recorded = {**allowed_environment(kept), **public}
    lines: list[bytes] = []
    for name, value in sorted(recorded.items()):
        if name not in secret and _NAME.fullmatch(name) and "\0" not in value:
            quoted = value.replace("'", "'\\''")
            lines.append(os.fsencode(f"export {name}='{quoted}'\n"))
    return b"".join(lines)


def write(
    run_dir: Path, inherited: Mapping[str, str], added: Mapping[str, str], secret: Collection[str] = ()
) -> Path:
    """Write ``.orchestra/ENV`` (mode 0600), which a person sources to start a staged run by hand.

    ``inherited`` is the environment of whoever stages; ``added`` is what the run's operation is given beyond
    it; ``secret`` names variables whose values are never written.

    Raises:
        HomeError, StoreUnavailable: it can't be written.
    """
    folder = Path(run_dir, CONTROL)
    make_dirs(folder)
    path = folder / ENV
    write_atomic(path, render(inherited, added, secret), fsync=False)
    return path
