"""The tables: numbered migrations, and whose they are."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from orchestra.child import supervisor
from orchestra.errors import StoreTooNew, StoreUnavailable, UserError
from psycopg import errors

from orchestra_postgres.connection import Connection
from orchestra_postgres.options import Options
from orchestra_postgres.server import Server
from orchestra_postgres.table import text

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        """
        CREATE TABLE runs (
            sequence bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            id text COLLATE "C" NOT NULL UNIQUE,
            revision bigint NOT NULL,
            state text COLLATE "C" NOT NULL,
            kind text COLLATE "C" NOT NULL,
            batch text COLLATE "C",
            time bigint NOT NULL,
            claimed_time bigint NOT NULL,
            priority bigint NOT NULL,
            queued bigint NOT NULL,
            worker text COLLATE "C",
            lease bigint,
            token text COLLATE "C",
            record bytea NOT NULL,
            moves bytea,
            CHECK ((worker IS NULL) = (lease IS NULL))
        )
        """,
        "CREATE INDEX runs_by_time ON runs (time DESC, sequence)",
        "CREATE INDEX runs_by_state ON runs (state, time DESC)",
        "CREATE INDEX runs_by_batch ON runs (batch) WHERE batch IS NOT NULL",
        "CREATE INDEX runs_staged ON runs (priority DESC, queued, sequence)"
        " WHERE state = 'staged' AND worker IS NULL",
        "CREATE INDEX runs_watched ON runs (worker) WHERE worker IS NOT NULL",
        """
        CREATE TABLE glimpses (
            sequence bigint PRIMARY KEY REFERENCES runs ON DELETE CASCADE,
            flags jsonb NOT NULL,
            glimpse bytea NOT NULL
        )
        """,
        "CREATE INDEX glimpses_by_flag ON glimpses USING gin (flags)",
        "CREATE TABLE writes (token text PRIMARY KEY, time timestamptz NOT NULL DEFAULT now())",
    ),
)
"""From nothing to version 1, from 1 to 2, and so on: never change one that was released, add one.

``record`` is the run as it was last written as a whole; ``moves`` are the claims since, a line each, which follow from
it: so a claim is one statement. ``claimed_time`` is what ``time`` becomes with a claim, ``token`` the mark of the claim
that moved it last. The lease is in its column alone. ``flags`` are those of a run that JSON can hold exactly, with
null in the place of others; ``writes`` has the marks of what was committed lately."""

_META: Final = """
    CREATE TABLE meta (
        single boolean PRIMARY KEY DEFAULT true CHECK (single),
        version integer NOT NULL,
        incarnation text NOT NULL DEFAULT gen_random_uuid()::text,
        home text,
        home_path text
    )
"""
_OTHERS_ENDED: Final = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE application_name LIKE 'orchestra %' AND datname = current_database() AND usename = current_user
        AND pid <> pg_backend_pid()
"""
_HOME_FILE = "store-id"


class _Meta(NamedTuple):
    version: int
    incarnation: str
    home: str | None
    home_path: str | None


class Prepared(NamedTuple):
    """What the tables are that were opened."""

    incarnation: str
    is_ours: bool
    """Whether they are this home's already, as of :func:`see_to_home`."""


def prepare(server: Server, options: Options) -> Prepared:
    """Make the tables, or bring them up to date, and see that they are no other home's.

    Raises:
        Lost: the server is away.
        StoreTooNew: a newer version has made them.
        UserError: they are another home's, or can't be made.
    """
    with server.connection() as connection:
        meta = _read(connection)
        if meta is None or meta.version < len(MIGRATIONS):
            is_upgrade = meta is not None
            with connection.patient(), connection.transaction():
                meta = _migrate(connection, server, options.schema)
            if is_upgrade:
                # Those who have the tables open are to look at their version again.
                connection.execute(_OTHERS_ENDED)
        _refuse_newer(meta, server, options, len(MIGRATIONS))
        is_ours = _see_to_home(connection, server, options, meta, take=False)
        return Prepared(f"{meta.incarnation}.{_place(connection)}", is_ours)


def see_to_version(server: Server, options: Options) -> Callable[[Connection], None]:
    """What refuses tables that others bring up to date after now."""
    known = len(MIGRATIONS)

    def look(connection: Connection) -> None:
        meta = _read(connection)
        if meta is not None:
            _refuse_newer(meta, server, options, known)

    return look


def _refuse_newer(meta: _Meta, server: Server, options: Options, known: int) -> None:
    if meta.version > known:
        raise StoreTooNew(
            f"the schema '{options.schema}' at {server.place} is of version {meta.version}, and this"
            f" orchestra-postgres knows {known}",
            "Install the newer one here, too.",
        )


def _read(connection: Connection) -> _Meta | None:
    try:
        row = connection.execute("SELECT version, incarnation, home, home_path FROM meta").fetchone()
    except errors.UndefinedTable:
        return None
    return None if row is None else _Meta(*row)


def _place(connection: Connection) -> str:
    """Where the tables are: they are elsewhere when a backup has taken their place, of them or of the server."""
    (table,) = _row(connection, "SELECT tableoid::text FROM meta")
    try:
        server = _row(
            connection,
            "SELECT system_identifier::text, timeline_id::text FROM pg_control_system(), pg_control_checkpoint()",
        )
    except (errors.UndefinedFunction, errors.InsufficientPrivilege, errors.FeatureNotSupported):
        # Not every server that speaks its language is PostgreSQL.
        server = ()
    return ".".join((table, *server))


def _row(connection: Connection, statement: str) -> tuple[str, ...]:
    row = connection.execute(statement.encode()).fetchone()
    assert row is not None
    return row


def _migrate(connection: Connection, server: Server, schema: str) -> _Meta:
    connection.execute("SET LOCAL lock_timeout = '60s'")
    connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"orchestra {schema}",))
    ((encoding, version),) = connection.execute(
        "SELECT current_setting('server_encoding'), current_setting('server_version_num')::integer"
    )
    if encoding != "UTF8" or version < 140000:
        raise UserError(
            f"{server.place} is a server of version {version // 10000} with the encoding {encoding}",
            "It must be 14 or newer, and the database of the encoding UTF8.",
        )
    if connection.execute("SELECT to_regnamespace(%s)", (f'"{schema}"',)).fetchone() == (None,):
        connection.execute(f'CREATE SCHEMA "{schema}"'.encode())
    if connection.execute("SELECT to_regclass(%s)", (f'"{schema}".meta',)).fetchone() == (None,):
        connection.execute(_META)
        connection.execute("INSERT INTO meta (version) VALUES (0)")
    meta = _read(connection)
    assert meta is not None
    for step in MIGRATIONS[meta.version :]:
        for statement in step:
            connection.execute(statement.encode())
    if meta.version >= len(MIGRATIONS):
        return meta
    connection.execute("UPDATE meta SET version = %s", (len(MIGRATIONS),))
    return meta._replace(version=len(MIGRATIONS))


def see_to_home(server: Server, options: Options, *, take: bool) -> bool:
    """Whether the tables are this home's. Those that are nobody's become so with ``take``.

    Who only looks takes none: a home that is made for a check, say, would keep them from the one that they are for.

    Raises:
        Lost: the server is away.
        UserError: they are another home's.
    """
    with server.connection() as connection:
        meta = _read(connection)
        return meta is not None and _see_to_home(connection, server, options, meta, take=take)


def _see_to_home(
    connection: Connection, server: Server, options: Options, meta: _Meta, *, take: bool
) -> bool:
    mine = _identity(options.home, make=take and meta.home is None)
    if meta.home is None and mine is None:
        return False
    if meta.home is None:
        path = text(f"{supervisor.host_id().partition('/')[0]}:{options.home}")
        connection.execute("UPDATE meta SET home = %s, home_path = %s WHERE home IS NULL", (mine, path))
        meta = _read(connection) or meta
    if meta.home != mine:
        raise UserError(
            f"the schema '{options.schema}' at {server.place} keeps the runs of another home, {meta.home_path}",
            f"Give this home one of its own: schema=NAME. If that home is gone:"
            f' DROP SCHEMA "{options.schema}" CASCADE.',
        )
    return True


def _identity(home: Path, *, make: bool) -> str | None:
    """The word that tells a home from others wherever it is mounted; None if there is none and ``make`` is not."""
    path = home / _HOME_FILE
    temporary = home / f".{_HOME_FILE}.{os.getpid()}.{os.urandom(4).hex()}.tmp"
    try:
        with suppress(FileNotFoundError):
            return path.read_text().strip()
        if not make:
            return None
        home.mkdir(mode=0o700, exist_ok=True)
        try:
            with open(temporary, "x", encoding="ascii") as file:
                file.write(f"{os.urandom(16).hex()}\n")
                file.flush()
                # The server will remember it: no loss of power may leave a home that does not.
                os.fsync(file.fileno())
            # Of those that make it at once, on whatever hosts, one wins; nobody sees a part of it.
            with suppress(FileExistsError):
                os.link(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        _keep_names(home)
        return path.read_text().strip()
    except OSError as error:
        raise StoreUnavailable(f"'{path}' can't be made: {error.strerror}") from error


def _keep_names(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
