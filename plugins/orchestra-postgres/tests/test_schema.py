"""The tables: made once whoever comes at once, never touched by who is too old, and of one home alone."""

from __future__ import annotations

import threading
from pathlib import Path

import anyio
import psycopg
import pytest
from msgspec import structs
from orchestra.errors import PluginOptionsInvalid, StoreTooNew, UserError
from orchestra.model.condition_text import parse_condition
from orchestra.model.filters import RunQuery, Wanted
from orchestra.testing.builders import a_run, a_worker
from postgres_server import PostgresServer

from orchestra_postgres import Options, open_store
from orchestra_postgres.options import parameters
from orchestra_postgres.schema import MIGRATIONS


def opened(options: Options, *, used: bool = False) -> int:
    """How many runs there are, after one more was made if they are ``used``."""

    async def look() -> int:
        async with open_store(options) as store:
            if used:
                await store.create([a_run()])
            return (await store.query(RunQuery())).total

    return anyio.run(look)


def sql(server: PostgresServer, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(server.url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def test_ten_that_open_an_empty_database_at_once_make_the_tables_once(options: Options) -> None:
    opened_by: list[int] = []
    ready = threading.Barrier(10)

    def come() -> None:
        ready.wait()
        opened_by.append(opened(options))

    threads = [threading.Thread(target=come) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)

    assert opened_by == [0] * 10


def test_tables_of_a_newer_version_are_refused(options: Options, server: PostgresServer) -> None:
    opened(options)
    sql(server, f"UPDATE {options.schema}.meta SET version = {len(MIGRATIONS) + 1}")

    with pytest.raises(StoreTooNew, match=rf"version {len(MIGRATIONS) + 1}.* knows {len(MIGRATIONS)}"):
        opened(options)


def test_who_has_the_tables_open_refuses_them_once_a_newer_version_has_changed_them(
    options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def upgrade_meanwhile() -> None:
        async with open_store(options) as old, old.changes() as changes:
            await old.create([a_run()])
            newer = ("ALTER TABLE runs ADD COLUMN more text",)
            monkeypatch.setattr("orchestra_postgres.schema.MIGRATIONS", (*MIGRATIONS, newer))
            async with open_store(options) as new:
                await new.create([a_run()])
                with pytest.raises(StoreTooNew, match=f"knows {len(MIGRATIONS)}"):
                    await old.create([a_run()])
                with anyio.fail_after(5), pytest.raises(StoreTooNew):
                    while True:
                        await anext(changes)
                assert (await new.query(RunQuery())).total == 2

    anyio.run(upgrade_meanwhile)


def test_a_migration_that_fails_leaves_the_tables_as_they_were(
    options: Options, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(options)
    wrong = ("ALTER TABLE runs ADD COLUMN more text", "SELECT nonsense FROM nowhere")
    monkeypatch.setattr("orchestra_postgres.schema.MIGRATIONS", (*MIGRATIONS, wrong))

    with pytest.raises(Exception, match="nowhere"):
        opened(options)

    monkeypatch.undo()
    assert opened(options) == 0
    columns = (
        "SELECT column_name FROM information_schema.columns WHERE column_name = 'more' AND table_schema = "
    )
    assert sql(server, f"{columns}'{options.schema}'") == []


def test_another_home_is_refused_and_one_that_was_moved_is_not(options: Options, tmp_path: Path) -> None:
    opened(options, used=True)
    other = structs.replace(options, home=tmp_path / "other")
    with pytest.raises(UserError, match=r"keeps the runs of another home, .*/home") as refused:
        opened(other)
    assert options.schema in (refused.value.hint or "")

    options.home.rename(tmp_path / "moved")

    assert opened(structs.replace(options, home=tmp_path / "moved")) == 1


def test_a_home_that_only_looks_does_not_keep_the_tables_from_the_one_that_uses_them(
    options: Options, tmp_path: Path
) -> None:
    looking = structs.replace(options, home=tmp_path / "checked")

    async def come_and_go() -> None:
        async with open_store(looking) as early, open_store(options) as used:
            assert (await early.query(RunQuery())).total == 0
            await used.create([a_run()])
            # It was opened before they were anybody's.
            for call in (early.query(RunQuery()), early.claim(a_worker(), 15.0, 1, Wanted())):
                with pytest.raises(UserError, match="another home"):
                    await call

    anyio.run(come_and_go)
    assert not (tmp_path / "checked").exists()
    assert opened(options) == 1


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"schema": "Bad name"}, "schema 'Bad name'"),
        ({"schema": "pg_own"}, "schema 'pg_own'"),
        ({"pool": 0}, "'pool'"),
        ({"url": "postgresql://me:s3c%ret@host/db"}, "can't be read"),
        ({"url": "me:s3cret@host"}, "can't be read"),
        ({"url": "postgresql://me:x@s3cret@host/db"}, "can't be read"),
        ({"url": "postgresql://me:s3cret/x@host:5432/db"}, "can't be read"),
        ({"url": "postgresql://me:12/s3cret@host:5432/db"}, "can't be read"),
        ({"url": "postgresql://me:${NOT_SET}@host/db"}, "NOT_SET, which is not set"),
    ],
)
def test_options_that_mean_nothing_are_refused_without_their_secrets(
    options: Options, given: dict[str, object], says: str
) -> None:
    with pytest.raises(PluginOptionsInvalid, match=says) as refused:
        opened(structs.replace(options, **given))

    assert "cret" not in f"{refused.value} {refused.value.hint}"


def test_the_password_comes_from_the_environment_or_a_variable_in_the_url(
    options: Options, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THE_PASSWORD", "not asked for here")
    monkeypatch.setenv("PGPORT", str(server.port))
    monkeypatch.setenv("PGUSER", "postgres")
    url = "host=127.0.0.1 password='${THE_PASSWORD}'"

    assert opened(structs.replace(options, url=url)) == 0
    monkeypatch.setenv("PGUSER", "nobody_of_that_name")
    with pytest.raises(UserError, match='role "nobody_of_that_name"') as refused:
        opened(structs.replace(options, url=url))
    assert "not asked" not in str(refused.value)


def test_a_schema_may_be_called_by_a_word_of_sql_and_the_url_may_name_the_application(
    options: Options, server: PostgresServer
) -> None:
    odd = structs.replace(options, schema="user", url=f"{server.url}?application_name=mine")
    try:
        assert opened(odd, used=True) == opened(odd) == 1
        with pytest.raises(UserError, match=r"schema 'user'.* another home"):
            opened(structs.replace(odd, home=options.home / "other"))
    finally:
        sql(server, 'DROP SCHEMA "user" CASCADE')


def test_a_home_may_have_any_name_that_a_folder_can_have(options: Options, tmp_path: Path) -> None:
    odd = structs.replace(options, home=tmp_path / "caf\udce9")

    assert opened(odd, used=True) == 1
    with pytest.raises(UserError, match=r"another home, .*caf"):
        opened(options)


def test_a_pooler_between_is_asked_for_nothing_that_it_refuses(options: Options) -> None:
    assert "options" not in parameters(options)


def test_a_backup_in_the_place_of_the_tables_is_another_incarnation(
    options: Options, server: PostgresServer
) -> None:
    async def incarnation() -> str:
        async with open_store(options) as store:
            return store.incarnation()

    before = anyio.run(incarnation)
    assert anyio.run(incarnation) == before
    meta = f"{options.schema}.meta"
    sql(server, f"ALTER TABLE {meta} RENAME TO dumped")
    sql(server, f"CREATE TABLE {meta} (LIKE {options.schema}.dumped INCLUDING ALL)")
    sql(server, f"INSERT INTO {meta} SELECT * FROM {options.schema}.dumped")

    assert anyio.run(incarnation) != before


def test_flags_are_found_by_the_index(options: Options, server: PostgresServer) -> None:
    async def fill() -> list[str]:
        async with open_store(options) as store:
            await store.create([a_run(flags={"lr": number, "odd": "\0"}) for number in range(3000)])
            sql(server, f"ANALYZE {options.schema}.glimpses")
            where = parse_condition("lr = 7")
            return [str(run.flags["lr"]) for run in (await store.query(RunQuery(where=where))).runs]

    assert anyio.run(fill) == ["7"]
    found = f"SELECT FROM {options.schema}.glimpses WHERE flags @> '{{\"lr\": 7}}'::jsonb"
    with psycopg.connect(server.url, options="-c enable_seqscan=off") as connection:
        plan = connection.execute(f"EXPLAIN {found}".encode()).fetchall()
    assert "glimpses_by_flag" in str(plan)
