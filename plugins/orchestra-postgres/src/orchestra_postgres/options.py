"""The options of the store, and what libpq is given of them. No secret leaves here but to libpq."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import psycopg
from msgspec import Struct
from orchestra.errors import PluginOptionsInvalid
from psycopg import conninfo

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,52}")
_SECRETS = ("password", "sslpassword")
_SETTINGS = {
    # A process that is stopped while it holds locks must not hold up all others for ever.
    "idle_in_transaction_session_timeout": "60s",
    "lock_timeout": "10s",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}
_SHAPES = {"host": r"@?[^@]*", "port": r"[0-9,]*", "dbname": r"[^@]*"}
"""What the parts of an address that are shown look like: others are a piece of a password with a character in it that
ended it early."""


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of the ``postgres`` store."""

    home: Path
    url: str = ""
    """``postgresql://USER@HOST:PORT/DATABASE`` or ``host=... dbname=...``; ``${NAME}`` in it is that variable of the
    environment. What it leaves out, the password above all, libpq takes from PGHOST, PGPASSFILE and so on."""
    schema: str = "orchestra"
    """One home's tables are in it, and nothing else. It is made if it is missing."""
    pool: int = 4
    """As many connections at most, beside that of a queue that listens."""
    connect_timeout: int = 5
    """Seconds that one attempt to connect may take."""
    patience: float = 30.0
    """Seconds that a call waits for a server that is away, or says nothing, before it fails."""

    def __repr__(self) -> str:
        return f"Options(schema={self.schema!r})"


def check(options: Options) -> None:
    """Refuse values that mean nothing.

    Raises:
        PluginOptionsInvalid: names the option.
    """
    if not _SCHEMA.fullmatch(options.schema) or options.schema.startswith("pg_"):
        raise PluginOptionsInvalid(
            f"the schema '{options.schema}' is not the name of one",
            "Give at most 53 small letters, digits and '_'; not 'pg_' first.",
        )
    for name, least in (("pool", 1), ("connect_timeout", 1), ("patience", 0)):
        if not getattr(options, name) >= least:
            raise PluginOptionsInvalid(f"option '{name}' of the store 'postgres' must be at least {least}")


def parameters(options: Options) -> dict[str, Any]:
    """What libpq is to connect with.

    Raises:
        PluginOptionsInvalid: the address can't be read, or a variable in it is not set. It is not shown.
    """
    # What libpq says of it shows pieces of it.
    unreadable = PluginOptionsInvalid(
        "the url of the store 'postgres' can't be read",
        "Write 'postgresql://USER@HOST:PORT/DATABASE', with special characters as %XX.",
    )
    try:
        given = conninfo.conninfo_to_dict(_VARIABLE.sub(_expand, options.url))
    except psycopg.ProgrammingError:
        raise unreadable from None
    if not all(re.fullmatch(shape, str(given.get(name, ""))) for name, shape in _SHAPES.items()):
        raise unreadable
    return {
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "tcp_user_timeout": 30_000,
        "connect_timeout": options.connect_timeout,
        **given,
        "client_encoding": "utf8",
    }


def session_settings(options: Options) -> dict[str, str]:
    """What each session is to be told; not as it connects, for a pooler between would not pass it on."""
    return {**_SETTINGS, "search_path": f'"{options.schema}"'}


def described(given: dict[str, Any]) -> str:
    """Where the server is, for sentences."""
    host = given.get("host") or given.get("hostaddr") or os.environ.get("PGHOST") or "the local socket"
    port = given.get("port") or os.environ.get("PGPORT") or "5432"
    database = given.get("dbname") or os.environ.get("PGDATABASE")
    return f"PostgreSQL at {host}:{port}" + (f", database '{database}'" if database else "")


def masked(text: str, given: dict[str, Any]) -> str:
    """``text`` without secrets, whoever wrote it."""
    for name in _SECRETS:
        if secret := given.get(name):
            text = text.replace(str(secret), "***")
    return text


def _expand(match: re.Match[str]) -> str:
    try:
        return os.environ[match[1]]
    except KeyError:
        raise PluginOptionsInvalid(
            f"the url of the store 'postgres' asks for the variable {match[1]}, which is not set"
        ) from None
