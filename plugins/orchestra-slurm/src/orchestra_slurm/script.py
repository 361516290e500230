"""The two files that every job is made of, put where the nodes find them. Neither holds anything of a run."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

_SCRIPT = b"""#!/bin/sh
# A job of Orchestra: interpreter, program, and the list of what is to be executed.
exec "$1" -I -S "$2" "$3"
"""


def place_script(folder: Path) -> tuple[str, str]:
    """The paths of the job script and of the program that it starts, which are made if need be. Raises OSError."""
    program = Path(__file__).with_name("node.py").read_bytes()
    digest = hashlib.blake2b(program + _SCRIPT, digest_size=8).hexdigest()
    folder = folder.absolute()
    folder.mkdir(mode=0o700, exist_ok=True)
    paths = folder / f"job-{digest}.sh", folder / f"node-{digest}.py"
    for path, data in zip(paths, (_SCRIPT, program), strict=True):
        if not path.exists() or path.stat().st_size != len(data):
            temporary = path.with_name(f"{path.name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
            temporary.write_bytes(data)
            temporary.rename(path)
    return str(paths[0]), str(paths[1])
