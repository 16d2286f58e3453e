"""`--rate-from`: runs that share the origin's rate through a database."""

import asyncio
import signal

import psycopg
import pytest

from runner.access import read_access
from runner.cluster.database import Database, ask
from runner.cluster.origin import Origin, OriginTurns, open_origin
from runner.errors import Refused
from runner.invocation import command
from runner.locks import origin_lock
from runner.options import AccessOptions
from runner.settings import Rate
from runner.stop import Stop
from tests.support.evidence import check_evidence, of_type, read_audit
from tests.support.postgres import postgres
from tests.support.program import OTHER, USER, numbers
from tests.support.sweep import sweep

SECRET = "hunter2-secret"
MANY = numbers(1500)
FASTER = "UPDATE bulk_delete.origins SET count = 6000 RETURNING 1"
"""By the back door: a hundred a second, of a rate that was given by the minute."""


@pytest.fixture
def shared(ready_url):
    """The flag of a database that `cluster init` has seen."""
    return ("--rate-from", ready_url)


def rows(url, statement="SELECT origin, count, period_s, share FROM bulk_delete.origins"):
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(statement).fetchall()


def run(program, shared, *more, user=USER, phones=MANY, name="job", start=False, **how):
    job = program.job({user: phones}, name=name)
    verb = program.start if start else program
    return verb("run", job, "--yes", "--json", "--audit", f"{name}.jsonl", *shared, *more, **how)


def paces(program, name="job"):
    return of_type(read_audit(program.folder / f"{name}.jsonl"), "pace")


# --- together


def test_runs_that_share_a_rate_run_beside_each_other_and_all_of_it_is_deleted(program, sandbox, shared):
    sandbox.pool.add_phones(USER, MANY)
    sandbox.pool.add_phones(OTHER, MANY)
    one = run(program, shared, "--rate", "50/s", start=True)
    other = run(program, shared, "--rate", "50/s", start=True, user=OTHER, name="other")
    for started, name in ((one, "job"), (other, "other")):
        ended = started.wait().expect(0)
        assert ended.record["requests"] == 15
        program("verify", f"{name}.jsonl").expect(0)
        assert paces(program, name) == []
    assert sandbox.left(USER) == sandbox.left(OTHER) == []
    assert rows(shared[1]) == [(sandbox.url, 50, 1, 1)]


def test_beside_a_run_that_shares_nothing_each_is_busy(program, sandbox, shared):
    lock_in = program.state / "bulk-delete"

    async def beside(*, held_by_all):
        async with origin_lock(sandbox.url, wait=False, shared=held_by_all, directory=lock_in):
            plain = await asyncio.to_thread(run, program, (), phones=MANY[:3], name=f"plain{held_by_all}")
            sharing = await asyncio.to_thread(run, program, shared, phones=MANY[:3], name=f"s{held_by_all}")
            return plain, sharing

    plain, sharing = asyncio.run(beside(held_by_all=True))
    plain.expect(4)
    sharing.expect(0)
    assert "is held by process" in plain.err
    plain, sharing = asyncio.run(beside(held_by_all=False))
    plain.expect(4)
    sharing.expect(4)
    assert sandbox.worked() == 1


def test_a_worker_of_many_machines_counts_as_one_that_shares(program, sandbox, shared):
    worker = ("cluster", "worker", "--database", shared[1])

    async def beside_a_plain_run():
        async with origin_lock(sandbox.url, wait=False, directory=program.state / "bulk-delete"):
            started = program.start(*worker)
            await asyncio.to_thread(started.until, lambda: "waiting for the run of process" in started.err())
            assert "a worker for" not in started.err()
        return started

    started = asyncio.run(beside_a_plain_run())
    started.until(lambda: "a worker for" in started.err(), "that it begins")
    run(program, (), phones=MANY[:3]).expect(4)
    run(program, shared, phones=MANY[:3], name="sharing").expect(0)
    started.signal(signal.SIGTERM)
    started.wait()


def test_a_lower_rate_in_use_holds_and_is_said_aloud_and_pace_changes_it(program, sandbox, shared):
    sandbox.pool.add_phones(USER, numbers(24000))
    sandbox.pool.add_phones(OTHER, MANY[:3])
    slow = run(program, shared, "--rate", "120/m", phones=numbers(24000), start=True, name="slow")
    slow.until(sandbox.worked, "its first request")
    fast = run(program, shared, "--rate", "50/s", user=OTHER, phones=MANY[:3]).expect(0)
    assert "the rate that is shared is 120/m, lower than 50/s: it holds" in fast.err
    assert "pace --rate" in fast.err
    assert [(record["rate"], record["why"]) for record in paces(program)] == [
        ("120/m", "the rate that is shared is 120/m")
    ]
    shown = program("pace", "slow.jsonl", "--json", "--rate", "100/s", "--operator", "ops").expect(0).record
    assert (shown["rate_configured"], shown["rate_allowed"]) == ("100/s", "100/s")
    assert rows(shared[1]) == [(sandbox.url, 100, 1, 1)]
    slow.wait().expect(0)  # at its old rate it would take longer than that waits
    (order,) = [record for record in paces(program, "slow") if record.get("order")]
    assert (order["rate"], order["order"], order["operator"]) == ("100/s", "100/s", "ops")


def test_an_order_for_unlimited_is_refused_and_changes_nothing(program, sandbox, shared):
    sandbox.pool.add_phones(USER, MANY)
    slow = run(program, shared, "--rate", "30/m", start=True)
    slow.until(sandbox.worked, "its first request")
    refused = program("pace", "job.jsonl", "--rate", "unlimited").expect(2)
    assert "cannot be unlimited" in refused.err
    assert rows(shared[1]) == [(sandbox.url, 30, 60, 1)]
    slow.signal(signal.SIGTERM)
    slow.wait().expect(143)


def test_what_the_server_says_to_one_is_known_to_all(program, sandbox, shared):
    sandbox.pool.add_phones(USER, MANY)
    sandbox.script("429-seconds")
    run(program, shared, "--rate", "50/s").expect(0)
    first, *_ = paces(program)
    assert (first["rate"], first["why"]) == ("25/s", "the server asked for a pause")
    assert first["until"] is not None
    (row,) = rows(shared[1], "SELECT paused_until > '-infinity', share < 1 FROM bulk_delete.origins")
    assert row[0]


def test_resume_and_rerun_share_it_too_and_the_command_to_type_says_so(program, sandbox, shared):
    sandbox.pool.add_phones(USER, MANY)
    url = shared[1].replace("tester@", f"tester:{SECRET}@")
    started = run(program, ("--rate-from", url), "--rate", "30/m", start=True)
    started.until(sandbox.worked, "its first request")
    started.signal(signal.SIGTERM)
    ended = started.wait().expect(143)
    flag = f"--rate-from '{shared[1]}'"
    assert flag in ended.record["next"]
    assert SECRET not in ended.out + ended.err
    rows(shared[1], FASTER)
    resumed = program("resume", "job.jsonl", "--yes", "--rate", "200/s", *shared).expect(0)
    assert "the rate that is shared is 6000/m" in resumed.err
    assert sandbox.left() == []


# --- no database, no request


@pytest.mark.parametrize(
    ("make", "words", "hint"),
    [
        (lambda url: "mysql://h/db", "--rate-from: this is no URL of a PostgreSQL database", "postgresql://"),
        (lambda url: f"postgresql://u:{SECRET}/@h/db", "its parts cannot be told apart", "%2F"),
        (lambda url: f"postgresql://u:{SECRET}@127.0.0.1:1/db", "cannot be used", "start it"),
        (lambda url: url.replace("/test_", "/nosuch_"), "does not exist", "check its URL"),
        (lambda url: url, "no tables of bulk-delete", "cluster init"),
    ],
)
def test_without_a_database_of_ours_nothing_is_sent(program, sandbox, empty_url, make, words, hint):
    ended = run(program, ("--rate-from", make(empty_url)), phones=MANY[:3]).expect(2)
    assert words in ended.err
    assert hint in ended.err
    assert SECRET not in ended.out + ended.err
    assert ended.record["next"] is None
    assert sandbox.requests() == 0
    assert not (program.folder / "job.jsonl").exists()


def test_other_tables_a_database_that_takes_no_writes_and_unlimited_are_refused(program, sandbox, shared):
    with psycopg.connect(shared[1], autocommit=True) as connection:
        name = connection.info.dbname
        for change, back, words in (
            ("UPDATE bulk_delete.schema_version SET number = 7", 1, "of version 7"),
            (f'ALTER DATABASE "{name}" SET default_transaction_read_only = on', None, "read-only"),
        ):
            connection.execute(change)
            ended = run(program, shared, phones=MANY[:3]).expect(2)
            assert words in ended.err
            if back is not None:
                connection.execute("UPDATE bulk_delete.schema_version SET number = %s", (back,))
    ended = run(program, shared, "--rate", "unlimited", phones=MANY[:3]).expect(2)
    assert "a rate that is shared cannot be unlimited" in ended.err
    assert sandbox.requests() == 0


def test_a_database_that_becomes_read_only_stops_the_run_and_resume_goes_on(program, sandbox, shared):
    sandbox.pool.add_phones(USER, MANY)
    started = run(program, shared, "--rate", "60/m", start=True)
    started.until(sandbox.worked, "its first request")
    with psycopg.connect(shared[1], autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = %s AND application_name = 'bulk-delete'",
            (name,),
        )
        ended = started.wait().expect(3)
        assert ended.record["message"] == "stopped early: the database is read-only"
        assert "point to the primary" in ended.record["hint"]
        connection.execute("SET default_transaction_read_only = off")
        connection.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
        connection.execute(FASTER)
    program("resume", "job.jsonl", "--yes", "--rate", "100/s", *shared).expect(0)
    assert sandbox.left() == []


def test_a_lost_connection_is_made_anew(program, sandbox, shared):
    sandbox.pool.add_phones(USER, MANY)
    started = run(program, shared, "--rate", "120/m", start=True)
    started.until(sandbox.worked, "its first request")
    ours = "FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'bulk-delete'"

    def both():
        return len(rows(shared[1], f"SELECT pid {ours}")) == 2

    started.until(both, "its two connections")
    assert rows(shared[1], f"SELECT pg_terminate_backend(pid, 60000) {ours}") == [(True,)] * 2
    started.until(both, "two new ones")
    rows(shared[1], FASTER)
    ended = started.wait().expect(0)
    assert ended.record["requests"] == 15
    check_evidence(program.folder / "job.jsonl", sandbox)


@pytest.mark.parametrize("told_to_stop", sweep([False, True], fast=[1]))
def test_a_database_that_is_away_is_waited_for_and_a_signal_ends_the_waiting(program, sandbox, told_to_stop):
    sandbox.pool.add_phones(USER, MANY)
    with postgres() as server:
        shared = ("--rate-from", server.make_database("jobs"))
        program("cluster", "init", "--database", shared[1]).expect(0)
        started = run(program, shared, "--rate", "60/m", start=True)
        started.until(sandbox.worked, "its first request")
        server.stop("immediate")
        if told_to_stop:
            started.signal(signal.SIGTERM)
            started.wait().expect(143)
            assert sandbox.left() != []
        server.start()
        rows(shared[1], FASTER)
        if told_to_stop:
            program("resume", "job.jsonl", "--yes", "--rate", "100/s", *shared).expect(0)
        else:
            started.wait().expect(0)
    assert sandbox.left() == []
    check_evidence(program.folder / "job.jsonl", sandbox)


# --- its pieces


def test_no_repr_and_no_command_shows_the_password():
    given = AccessOptions(rate_from=f"postgresql://me:{SECRET}@h/db?sslpassword={SECRET}&sslmode=require")
    assert SECRET not in repr(given)
    typed = command("resume", "a.jsonl", access=given)
    assert typed.endswith("--rate-from 'postgresql://me@h/db?sslmode=require'")


def test_a_malformed_url_is_refused_before_anything_is_done():
    with pytest.raises(Refused, match="--rate-from") as caught:
        read_access(
            AccessOptions(rate_from=f"postgresql://me:{SECRET}/x@h/db"), {"BULK_DELETE_TOKEN": "token"}
        )
    assert SECRET not in caught.value.message + caught.value.hint


async def test_the_turns_of_an_origin_know_their_connection(server, database):
    turns = OriginTurns(database, "https://vendor.example")
    assert await turns.begin(Rate(20.0)) == Rate(20.0)
    first = await turns.turn(0, None)
    second = await turns.turn(3, None)
    assert (first.connection, second.connection, second.granted) == (1, 1, 3)
    assert first.sent_s < first.received_s <= second.sent_s
    await turns.turn(0, 0.0)
    assert await turns.set_rate(Rate(200.0)) == Rate(20.0 / 2)
    async with await database.connect() as connection:
        others = "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        await ask(connection, f"{others} AND datname = current_database()")
    third = await turns.turn(1, None)
    assert third.connection == 2
    await turns.close()


async def test_what_others_change_is_heard_of_at_once(database):
    def on_lower(in_use):
        raise AssertionError(in_use)

    changes, told = [], asyncio.Event()

    def on_change(change):
        changes.append((change.rate, change.why))
        told.set()

    opening = open_origin(Origin(database, "https://vendor.example", on_lower), Rate(20.0), Stop())
    async with opening as pacer, await database.connect() as other:
        pacer.on_change = on_change
        for rate in (10, 5, 2):  # its own questions at the beginning may find out two of them, not three
            await ask(other, "SELECT use_rate('https://vendor.example', %s, 1, true)", (rate,))
            async with asyncio.timeout(60):
                await told.wait()
            told.clear()
    assert changes == [(f"{rate}/s", f"the rate that is shared is {rate}/s") for rate in (10, 5, 2)]


async def test_an_order_is_refused_while_the_database_is_away():
    turns = OriginTurns(Database("postgresql://me@127.0.0.1:1/db"), "https://vendor.example")
    with pytest.raises(Refused, match="cannot be used"):
        await turns.set_rate(Rate(20.0))
