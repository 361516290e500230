"""What may be written down of an environment, and what of any text: never a secret, known by its name or shape.

Pure functions, for records, logs and all that is shown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from typing import Any, cast

from orchestra.model.marks import MARK

REDACTED = "[redacted]"
"""What stands for a secret."""
MARKS = re.compile(rf"\b{MARK}([0-9a-f]{{12}})\b")
"""What stands for a secret whose value is kept elsewhere."""

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
_NOTHING = re.compile(r"|true|false|yes|no|none|null", re.IGNORECASE)
_NUMBER = re.compile(r"[-+]?[0-9]*(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?")
_WEAK_WORDS = frozenset(("auth", "key", "pass", "session"))
"""What is called so may well be a number and no secret: ``MAX_KEY=10``, ``PASS=2``."""
_ID_WORDS = frozenset(("id", "ids"))

_SHAPES = re.compile(
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"  # AWS
    r"|\bgh[opsur]_[0-9A-Za-z]{30,}"  # GitHub
    r"|\bgithub_pat_[0-9A-Za-z_]{20,}"
    r"|\bglpat-[0-9A-Za-z_-]{16,}"  # GitLab
    r"|\b(?:sk|rk)_(?:live|test)_[0-9A-Za-z]{16,}"  # Stripe
    r"|\bsk-[0-9A-Za-z_-]{16,}"  # OpenAI and others
    r"|\bhf_[0-9A-Za-z]{24,}"  # Hugging Face
    r"|\bxox[abeprs]-[0-9A-Za-z-]{10,}"  # Slack
    r"|\bhooks\.slack\.com/services/[0-9A-Za-z/]{20,}"
    r"|\bAIza[0-9A-Za-z_-]{30,}"  # Google
    r"|\bya29\.[0-9A-Za-z_-]{20,}"
    r"|\bSG\.[0-9A-Za-z_-]{16,}\.[0-9A-Za-z_-]{16,}"  # SendGrid
    r"|\bnpm_[0-9A-Za-z]{30,}"
    r"|\bpypi-[0-9A-Za-z_-]{40,}"
    r"|\beyJ[0-9A-Za-z_-]{8,4096}+\.[0-9A-Za-z_-]{8,}+\.[0-9A-Za-z_-]*"  # JSON web tokens
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----(?:.*?-----END [A-Z ]*PRIVATE KEY-----|.*)"
    r"|(?<=\b[Bb]earer )[0-9A-Za-z._~+/-]{16,}=*"
    r"|(?<=\b[Bb]asic )[0-9A-Za-z+/]{16,}=*"
    r"|(?P<url>\b[a-z][a-z0-9+.-]{0,31}://(?!\[?redacted[\]:])[^/\s:@]*:(?=[^/\s@]+@)"
    r"|\bhttps?://(?=[^/\s:@]+@)"  # A token is often all of the login.
    r"|(?P<query>[?&](?i:sig|key|auth|[\w.-]{0,64}(?:token|secret|passw|pwd|signature|credential|api[_-]?key"
    r"|access[_-]?key)[\w.-]{0,64})=))"
    r"(?!\[?redacted[\]:]|\$\{)(?(query)[^\s&#'\"]+|[^/\s@]+)",
    re.DOTALL | re.ASCII,
)


@lru_cache(maxsize=64)
def is_secret(name: str, value: str) -> bool:
    """Whether a variable looks like a secret, by a word in its name or by the shape of its value.

    Yes and no are none, whatever the name (``USE_AUTH=true``). A number is one by a name that leaves no doubt
    (``PASSWORD=1234``), not by others (``MAX_KEY=10``, ``PAD_TOKEN_ID=0``).
    """
    return MARK in value or holds_secret(value) or has_secret_name(name, value)


def has_secret_name(name: str, value: str) -> bool:
    """Whether a variable looks like a secret by a word in its name; see :func:`is_secret`."""
    if name in _NOT_SECRET or _NOTHING.fullmatch(value):
        return False
    by_any_word, by_a_strong_one = _telling(name)
    return by_a_strong_one if _NUMBER.fullmatch(value) else by_any_word


@lru_cache(maxsize=4096)
def _telling(name: str) -> tuple[bool, bool]:
    """Whether a name tells of a secret, and whether it leaves no doubt of it."""
    words = [word.lower() for word in _WORD.findall(name)]
    joined = "".join(words)
    by_part = any(part in joined for part in _SECRET_PARTS)

    def tells(secret: frozenset[str]) -> bool:
        return by_part or any(word in secret or word.endswith("token") for word in words)

    is_id = bool(words) and words[-1] in _ID_WORDS
    return tells(_SECRET_WORDS), not is_id and tells(_SECRET_WORDS - _WEAK_WORDS)


def holds_secret(text: str) -> bool:
    """Whether something in ``text`` has the shape of a secret."""
    return _SHAPES.search(text) is not None


def redact_text(text: str) -> str:
    """``text`` with ``[redacted]`` for all that has the shape of a secret."""
    return _SHAPES.sub(lambda found: f"{found['url'] or ''}{REDACTED}", text)


def replace_secrets(text: str, hide: Callable[[str], str]) -> str:
    """``text`` with what ``hide`` makes of all that has the shape of a secret."""

    def hidden(found: re.Match[str]) -> str:
        before = found["url"] or ""
        return before + hide(found[0][len(before) :])

    return _SHAPES.sub(hidden, text)


def redact_variables(variables: Mapping[str, str], secret: Collection[str] = ()) -> dict[str, str]:
    """The variables with ``[redacted]`` for the values of secrets: those that look like one, and those named."""
    return {
        name: REDACTED if name in secret or is_secret(name, value) else value
        for name, value in variables.items()
    }


def redact_data(value: Any, *, named: bool = False) -> Any:
    """Strings, and what lists and dicts hold of them, as of :func:`redact_text`; ``named``: also by their names.

    Names count, too, in what is called ``flags`` or ``environment``.
    """
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, dict):
        return {key: _redact_item(key, inner, named) for key, inner in cast(dict[Any, Any], value).items()}
    if isinstance(value, list | tuple):
        return [redact_data(inner) for inner in cast(list[Any], value)]
    return value


def _redact_item(key: Any, value: Any, named: bool) -> Any:
    if named and isinstance(value, str | int | float) and is_secret(str(key), str(value)):
        return REDACTED
    return redact_data(value, named=named or key in ("flags", "environment"))


def allowed_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that may be recorded: on the list of what runs depend on, and no secrets, sorted."""
    return {
        name: value
        for name, value in sorted(environment.items())
        if _is_allowed(name) and not is_secret(name, value)
    }


def _is_allowed(name: str) -> bool:
    return name in _ALLOWED or name.startswith(_ALLOWED_PREFIXES) or _SLURM_ID.fullmatch(name) is not None
