"""What of an environment may be written down, and the file that lets a person start a staged run by hand."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from orchestra.workspace.durable import make_dirs, write_atomic
from orchestra.workspace.layout import CONTROL

ENV = "ENV"

_ALLOWED = frozenset(
    (
        "LANG",
        "LANGUAGE",
        "LD_LIBRARY_PATH",
        "ORCHESTRA_HOME",
        "PATH",
        "RUN_DIR",
        "RUN_ID",
        "TZ",
        "VIRTUAL_ENV",
    )
)
_ALLOWED_PREFIXES = (
    "CONDA_",
    "CUDA_",
    "FLAG_",
    "LC_",
    "MKL_",
    "NCCL_",
    "OMP_",
    "OPENBLAS_",
    "PYTHON",
    "ROCR_",
    "HIP_",
)
_SLURM_ID = re.compile(r"SLURM_(?:[A-Z_]+_)?(?:ID|JOBID|NODEID|PROCID|LOCALID|STEPID)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_SECRET_WORDS = frozenset(
    (
        "apikey",
        "auth",
        "bearer",
        "cookie",
        "cred",
        "creds",
        "dsn",
        "jwt",
        "key",
        "pass",
        "passwd",
        "pwd",
        "secret",
        "secrets",
        "session",
        "token",
    )
)
_SECRET_PARTS = (
    "accesskey",
    "apikey",
    "credential",
    "passphrase",
    "passwd",
    "password",
    "privatekey",
    "secret",
)
_NOT_SECRET = frozenset(("PWD", "OLDPWD"))
_PLAIN = re.compile(r"[-+]?[0-9]*\.?[0-9]*(?:[eE][-+]?[0-9]+)?|true|false|yes|no|none|null", re.IGNORECASE)
_SECRET_VALUE = re.compile(
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"
    r"|\bgh[opsur]_[0-9A-Za-z]{30,}"
    r"|\bgithub_pat_[0-9A-Za-z_]{20,}"
    r"|\bglpat-[0-9A-Za-z_-]{16,}"
    r"|\bsk-[0-9A-Za-z_-]{16,}"
    r"|\bhf_[0-9A-Za-z]{24,}"
    r"|\bxox[abeprs]-[0-9A-Za-z-]{10,}"
    r"|\bAIza[0-9A-Za-z_-]{30,}"
    r"|\beyJ[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]*"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|\b[Bb]earer [0-9A-Za-z._~+/-]{16,}"
    r"|\b[a-z][a-z0-9+.-]*://[^/\s:@]*:[^/\s@]+@"
)


def is_secret(name: str, value: str) -> bool:
    """Whether a variable looks like a secret, by a word in its name or by the shape of its value.

    A plain number or yes/no is none, whatever its name: ``MAX_KEY=10``, ``USE_AUTH=true``.
    """
    if _SECRET_VALUE.search(value):
        return True
    if name in _NOT_SECRET or _PLAIN.fullmatch(value):
        return False
    words = [word.lower() for word in _WORD.findall(name)]
    if any(word in _SECRET_WORDS or word.endswith("token") for word in words):
        return True
    joined = "".join(words)
    return any(part in joined for part in _SECRET_PARTS)


def allowed_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that may be recorded: on the list of what runs depend on, and no secrets, sorted."""
    return {
        name: value
        for name, value in sorted(environment.items())
        if _is_allowed(name) and not is_secret(name, value)
    }


def _is_allowed(name: str) -> bool:
    return name in _ALLOWED or name.startswith(_ALLOWED_PREFIXES) or _SLURM_ID.fullmatch(name) is not None


def render(inherited: Mapping[str, str], added: Mapping[str, str]) -> bytes:
    """``export NAME='value'`` lines for sh and bash: what may be recorded of ``inherited``, and all of
    ``added`` but secrets.

    Names that a shell can't take are left out.
    """
    # Flags that are inherited are those of another run, from within which this one is staged.
    kept = {name: value for name, value in inherited.items() if not name.startswith("FLAG_")}
    public = {name: value for name, value in added.items() if not is_secret(name, value)}
    lines: list[bytes] = []
    for name, value in sorted({**allowed_environment(kept), **public}.items()):
        if _NAME.fullmatch(name) and "\0" not in value:
            quoted = value.replace("'", "'\\''")
            lines.append(os.fsencode(f"export {name}='{quoted}'\n"))
    return b"".join(lines)


def write(run_dir: Path, inherited: Mapping[str, str], added: Mapping[str, str]) -> Path:
    """Write ``.orchestra/ENV`` (mode 0600), which a person sources to start a staged run by hand.

    ``inherited`` is the environment of whoever stages; ``added`` is what the run's operation is given beyond
    it.

    Raises:
        HomeError, StoreUnavailable: it can't be written.
    """
    folder = Path(run_dir, CONTROL)
    make_dirs(folder)
    path = folder / ENV
    write_atomic(path, render(inherited, added), fsync=False)
    return path
