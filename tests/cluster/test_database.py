"""The way to the database: real PostgreSQL, and what is said when it is not what it should be."""

import asyncio
import copy
import os
import pickle
import signal
import traceback

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from runner.cluster import extra
from runner.cluster.database import SCHEMA_VERSION, Database, DatabaseAway, ask, check_schema, read_database
from runner.cluster.extra import check_extra
from runner.cluster.schema import make_schema
from runner.errors import Refused
from tests.support.postgres import postgres

SECRET = "hunter2-secret"
URL = f"postgresql://sender:{SECRET}@127.0.0.1:1/jobs"


# --- the URL


def test_nothing_shows_the_password():
    database = Database(f"{URL}?sslpassword={SECRET}&sslmode=require")
    assert database.shown == "postgresql://sender@127.0.0.1:1/jobs?sslmode=require"
    shown = [repr(database), str(database), f"{database}", repr([database]), database.shown]
    assert not any(SECRET in text for text in shown)
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError) as caught:
            leak(database)
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        f"mysql://sender:{SECRET}@h/db",
        f"host=h password={SECRET}",
        f"sender:{SECRET}@h/db",
        f"postgresql://sender:{SECRET}/@h/db",
        f"postgresql://sender:a/{SECRET}@h/db",
        f"postgresql://sender:a?{SECRET}@h/db",
        f"postgresql://sender:a#{SECRET}@h/db",
        f"postgresql://sender:a:{SECRET}@h/db",
        f"postgresql://sender:[{SECRET}]@h/db",
        f"postgresql://sender:[{SECRET}@h/db",
        f"postgresql://sender:a@{SECRET}@h/db",
        f"postgresql://sender:{SECRET}@h/db?{SECRET}=1",
        f"postgresql://sender:{SECRET}@h/db\x1b[31m",
        f"postgresql://sender:{SECRET} @h/db",
        "",
    ],
)
def test_what_is_no_url_is_refused_without_a_piece_of_it(url):
    with pytest.raises(Refused) as caught:
        Database(url, "--rate-from")
    assert caught.value.message.startswith("--rate-from: ")
    told = "".join(traceback.format_exception(caught.value))
    assert SECRET not in told
    assert "postgresql://USER@HOST/NAME" in caught.value.hint


@pytest.mark.parametrize(
    "hosts", ["h", "h:5433", "[::1]:5433", "a:1,b:2", "10.0.0.1", "%2Frun%2Fpostgresql", ""]
)
def test_every_way_to_write_a_host_is_understood(hosts):
    database = Database(f"postgresql://sender:{SECRET}@{hosts}/jobs?target_session_attrs=read-write")
    assert database.shown == f"postgresql://sender@{hosts}/jobs?target_session_attrs=read-write"
    assert database.arguments()["password"] == SECRET
    assert database.arguments()["dbname"] == "jobs"


def test_the_url_comes_from_the_flag_then_the_variable_then_the_file(tmp_path):
    file = tmp_path / "url"
    file.write_text("postgresql://file/db\n", encoding="ascii")
    file.chmod(0o600)
    env = {"BULK_DELETE_DATABASE_URL_FILE": str(file)}
    assert read_database(None, env).shown == "postgresql://file/db"
    env["BULK_DELETE_DATABASE_URL"] = "postgresql://variable/db"
    assert read_database(None, env).shown == "postgresql://variable/db"
    assert read_database("postgresql://flag/db", env).shown == "postgresql://flag/db"


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({}, "there is no database"),
        ({"BULK_DELETE_DATABASE_URL": " "}, "set but empty"),
        ({"BULK_DELETE_DATABASE_URL_FILE": "/nowhere/url"}, "No such file"),
        ({"BULK_DELETE_DATABASE_URL_FILE": "\0"}, "no path"),
        ({"BULK_DELETE_DATABASE_URL": SECRET}, "the variable BULK_DELETE_DATABASE_URL: this is no URL"),
    ],
)
def test_without_a_database_it_says_what_to_set(env, words):
    with pytest.raises(Refused) as caught:
        read_database(None, env)
    assert words in caught.value.message
    assert SECRET not in caught.value.message + caught.value.hint


def test_a_file_that_others_may_read_is_refused(tmp_path):
    file = tmp_path / "url"
    file.write_text(URL, encoding="ascii")
    file.chmod(0o644)
    with pytest.raises(Refused, match="others may read"):
        read_database(None, {"BULK_DELETE_DATABASE_URL_FILE": str(file)})
    file.chmod(0o600)
    file.write_bytes("postgresql://é/db".encode())
    with pytest.raises(Refused, match="not plain ASCII"):
        read_database(None, {"BULK_DELETE_DATABASE_URL_FILE": str(file)})


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    check_extra()
    monkeypatch.setattr(extra, "find_spec", lambda name: None)
    with pytest.raises(Refused) as caught:
        check_extra()
    assert "psycopg, procrastinate" in caught.value.message
    assert "pip install 'bulk-delete[cluster]'" in caught.value.hint


# --- connections


async def test_a_connection_is_of_the_schema_and_durable(server, database):
    async with await database.connect() as connection:
        await check_schema(connection)
        assert await ask(connection, "SHOW search_path") == [("bulk_delete",)]
        assert await ask(connection, "SHOW application_name") == [("bulk-delete",)]
        assert await ask(connection, "SELECT 1 WHERE false") == []
        assert await ask(connection, "SET lock_timeout = 0") == []
        assert await ask(connection, "SELECT %s::int + 1", (1,)) == [(2,)]
    with psycopg.connect(server.url(), autocommit=True) as admin:
        name = database.arguments()["dbname"]
        admin.execute(f'ALTER DATABASE "{name}" SET synchronous_commit = off')
    async with await database.connect() as connection:
        assert await ask(connection, "SHOW synchronous_commit") == [("on",)]


async def test_what_the_url_says_itself_holds(empty_url):
    database = Database(f"{empty_url}&application_name=mine&options=-c%20lock_timeout%3D7s")
    async with await database.connect() as connection:
        assert await ask(connection, "SHOW application_name") == [("mine",)]
        assert await ask(connection, "SHOW lock_timeout") == [("7s",)]
        assert await ask(connection, "SHOW search_path") == [("bulk_delete",)]


async def test_nobody_there_is_away_and_a_database_that_is_not_is_refused(server):
    with pytest.raises(DatabaseAway) as away:
        await Database(URL).connect()
    with pytest.raises(Refused) as refused:
        await Database(server.url("nosuch")).connect()
    assert not isinstance(refused.value, DatabaseAway)
    assert 'database "nosuch" does not exist' in refused.value.message
    for error in (away.value, refused.value):
        assert SECRET not in "".join(traceback.format_exception(error))
        assert error.message.startswith("the database postgresql://")
        assert error.hint


async def test_a_wrong_password_is_refused_and_not_shown():
    with postgres() as server:
        with psycopg.connect(server.url(), autocommit=True) as admin:
            admin.execute("CREATE ROLE sender LOGIN PASSWORD 'right'")
        (server.folder / "data" / "pg_hba.conf").write_text(
            "local all sender scram-sha-256\n", encoding="ascii"
        )
        server.stop()
        server.start()
        wrong = Database(server.url().replace("tester", f"sender:{SECRET}"))
        with pytest.raises(Refused) as caught:
            await wrong.connect()
    assert not isinstance(caught.value, DatabaseAway)
    assert "password authentication failed" in caught.value.message
    assert SECRET not in "".join(traceback.format_exception(caught.value))


# --- the schema


async def test_the_schema_is_made_once(empty_url):
    database = Database(empty_url)
    made = await asyncio.gather(*(make_schema(database) for _ in range(3)))
    assert sorted(made) == [False, False, True]
    async with await database.connect() as connection:
        await check_schema(connection)
        rows = await ask(connection, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
        assert rows == [(0,)]


async def test_without_tables_it_says_what_to_type(empty_url):
    async with await Database(empty_url).connect() as connection:
        with pytest.raises(Refused, match="no tables") as caught:
            await check_schema(connection)
        assert "bulk-delete cluster init" in caught.value.hint


async def test_tables_of_another_version_are_refused_by_both(database):
    async with await database.connect() as connection:
        await ask(connection, "UPDATE schema_version SET number = 7")
        with pytest.raises(Refused, match="version 7") as caught:
            await check_schema(connection)
        assert f"knows version {SCHEMA_VERSION}" in caught.value.message
    with pytest.raises(Refused, match="version 7"):
        await make_schema(database)


# --- what goes wrong later


async def test_a_database_that_takes_no_writes_is_refused(database):
    async with await database.connect() as connection:
        await ask(connection, "SET default_transaction_read_only = on")
        with pytest.raises(Refused, match="read-only") as caught:
            await ask(connection, "SELECT use_rate('https://a', 20, 1, true)")
        assert not isinstance(caught.value, DatabaseAway)
        assert "primary" in caught.value.hint


async def test_a_user_without_rights_is_refused(server, ready_url):
    with psycopg.connect(server.url(), autocommit=True) as admin:
        admin.execute("CREATE ROLE stranger LOGIN")
    async with await Database(ready_url.replace("tester", "stranger")).connect() as connection:
        with pytest.raises(Refused) as caught:
            await check_schema(connection)
    assert "no tables" in caught.value.message or "may not" in caught.value.message


@pytest.mark.parametrize(
    ("state", "kind", "words"),
    [
        ("53100", Refused, "disk is full"),
        ("42501", Refused, "may not"),
        ("40001", DatabaseAway, "gave up: because"),
        ("57P01", DatabaseAway, "gave up: because"),
        ("53300", DatabaseAway, "gave up: because"),
        ("P0002", Refused, "because (P0002)"),
    ],
)
async def test_what_the_server_says_is_one_of_two_kinds(database, state, kind, words):
    raising = f"DO $$ BEGIN RAISE EXCEPTION 'because' USING ERRCODE = '{state}', DETAIL = '{SECRET}'; END $$"
    async with await database.connect() as connection:
        with pytest.raises(Refused) as caught:
            await ask(connection, raising)
    assert type(caught.value) is kind
    assert words in caught.value.message
    assert SECRET not in "".join(traceback.format_exception(caught.value)), "a detail may hold values"


async def test_a_connection_that_is_lost_is_away(server, database):
    async with await database.connect() as connection:
        (pid,) = (await ask(connection, "SELECT pg_backend_pid()"))[0]
        with psycopg.connect(server.url(), autocommit=True) as admin:
            admin.execute("SELECT pg_terminate_backend(%s, 60000)", (pid,))
        for _ in range(2):
            with pytest.raises(DatabaseAway):
                await ask(connection, "SELECT 1")


async def test_who_is_cancelled_does_not_wait_for_a_server_that_does_not_answer(database, monkeypatch):
    async with await database.connect() as connection:
        ((pid,),) = await ask(connection, "SELECT pg_backend_pid()")
        politely = []
        monkeypatch.setattr(connection, "cancel_safe", lambda **more: politely.append(more))
        os.kill(pid, signal.SIGSTOP)
        try:
            asking = asyncio.create_task(ask(connection, "SELECT 1"))
            while connection.info.transaction_status is not TransactionStatus.ACTIVE:
                await asyncio.sleep(0)
            asking.cancel()
            await asyncio.wait([asking], timeout=60)
            assert asking.cancelled()
            assert politely == []
        finally:
            os.kill(pid, signal.SIGCONT)
        assert connection.closed


async def test_a_statement_of_ours_that_is_wrong_is_no_weather(database):
    async with await database.connect() as connection:
        with pytest.raises(psycopg.ProgrammingError):
            await ask(connection, "SELECT %s, %s", (1,))
