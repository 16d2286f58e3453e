"""Real workers in processes of their own: killed, stopped, cut off, told to go; the vendor's ledger judges.

Each waits for what it needs to see, never for a time to pass.
"""

import asyncio
import signal

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from runner.cluster.database import Database
from runner.cluster.schema import make_schema
from runner.sandbox import Pool
from tests.support.evidence import of_type
from tests.support.postgres import postgres
from tests.support.program import SIGNALS, Sandbox, until
from tests.support.shared_job import SharedJob, uncertain
from tests.support.sweep import sweep


@pytest.fixture
def sandbox():
    """A vendor where each number stands in a row or more, and that takes its time."""
    with Sandbox(Pool(auto_rows=3), latency_s=0.05) as running:
        yield running


@pytest.fixture
def shared(program, sandbox, ready_url):
    """A way to submit a job."""
    return _submitter(program, sandbox, ready_url)


def _submitter(program, sandbox, url):
    program.env["BULK_DELETE_DATABASE_URL"] = url
    return lambda **more: SharedJob(program, sandbox, **more)


def doubts(audits):
    return sum(map(uncertain, audits))


def modes(records):
    return [record["mode"] for record in of_type(records, "run")]


def test_a_killed_workers_shards_are_rescued_and_every_number_goes(shared, sandbox):
    job = shared()
    first = job.under_way()
    first.signal(signal.SIGKILL)
    first.wait()
    job.drain().expect(0)
    audits = job.check()
    assert any(modes(records) == ["run", "resume"] for records in audits)


def test_a_stopped_worker_that_wakes_sends_nothing_after_its_shards_are_anothers(shared, sandbox):
    job = shared()
    zombie = job.under_way()
    zombie.signal(signal.SIGSTOP)
    try:
        assert len(job.rescue()) == 2
        job.drain().expect(0)
        before = sandbox.settle()
    finally:
        zombie.signal(signal.SIGCONT)
    zombie.until(lambda: zombie.err().count("another worker took it over") == 2, "both shards are lost")
    zombie.signal(signal.SIGTERM)
    zombie.wait().expect(143)
    assert sandbox.settle() == before
    job.check()


def test_a_worker_lives_through_a_crash_of_the_database(program, sandbox):
    with postgres() as server:
        asyncio.run(make_schema(Database(url := server.make_database("restarted"))))
        job = _submitter(program, sandbox, url)()
        worker = job.under_way("--drain")
        server.stop("immediate")
        server.start()
        job.hurry()
        worker.wait().expect(0)
        job.check()


def test_what_ends_one_shard_for_all_stops_the_job_and_submit_goes_on_with_it(shared, sandbox):
    job = shared()
    sandbox.control(token_expires_after=10)
    job.drain().expect(0)
    assert job.state() == "stopped"
    ((why, code),) = job.ask("SELECT stop_why, stop_code FROM jobs")
    assert "token" in why
    assert code == 3
    assert "done" not in job.states()
    sandbox.control(token_expires_after=None)
    assert job.submit() == job.id
    job.drain().expect(0)
    job.check()


def test_a_cancelled_job_ends_cleanly_and_goes_on_when_it_is_submitted_again(shared, sandbox):
    job = shared()
    worker = job.under_way()
    job.program("cluster", "cancel", job.id, "--json").expect(0)
    worker.until(lambda: job.state() == "stopped", "its end")
    for records in job.records().values():
        assert records[-1]["type"] == "summary"
        assert records[-1]["exit_code"] == 3
    before = sandbox.settle()
    job.submit()
    job.hurry()
    worker.until(lambda: job.state() == "done", "its other end")
    worker.signal(signal.SIGINT)
    worker.wait().expect(130)
    assert sandbox.settle() > before
    assert doubts(job.check()) == 0


@pytest.mark.parametrize("number", sweep(SIGNALS, fast=[1]))
def test_a_signalled_worker_gives_its_shards_back_and_nothing_is_in_doubt(shared, sandbox, number):
    job = shared()
    worker = job.under_way()
    worker.signal(number)
    worker.wait().expect(SIGNALS[number])
    assert set(job.states()) <= {"waiting", "done"}
    assert "waiting" in job.states()
    job.drain().expect(0)
    assert doubts(job.check()) == 0


def test_a_second_signal_leaves_what_is_on_the_wire_in_doubt(shared, sandbox):
    job = shared(batches=12, rate="60/s")
    sandbox.control(latency_s=600)
    worker = job.worker()
    worker.until(lambda: sandbox.stats()["in_flight"], "a request on the wire")
    worker.signal(signal.SIGTERM)
    worker.until(lambda: "giving the shards back" in worker.err(), "the first signal")
    worker.signal(signal.SIGTERM)
    worker.wait().expect(143)
    assert job.states() == ["waiting", "waiting"]
    sandbox.control(latency_s=0.05)
    job.drain().expect(0)
    assert doubts(job.check()) > 0


def test_a_database_that_takes_no_lines_any_more_stops_the_worker_and_nothing_is_lost(shared, sandbox):
    job = shared()
    worker = job.under_way()
    read_only(job, "on")
    assert "read-only" in worker.wait().expect(3).out
    read_only(job, "off")
    job.drain().expect(0)
    job.check()


def read_only(job, how):
    """Let the database take no writes, or take them again, and let everybody connect anew."""
    with psycopg.connect(job.database, autocommit=True) as connection:
        connection.execute("SET default_transaction_read_only = off")
        name = SQL("ALTER DATABASE {} SET default_transaction_read_only = {}")
        connection.execute(name.format(Identifier(connection.info.dbname), SQL(how)))
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def test_a_shard_whose_worker_died_after_its_last_batch_gets_its_summary_and_sends_nothing(shared, sandbox):
    job = shared(batches=6)
    job.drain().expect(0)
    before = sandbox.settle()
    for shard, records in job.records().items():
        assert [record["type"] for record in records[-2:]] == ["batch", "summary"]
        found = "SELECT piece, lines FROM audit_pieces WHERE shard = %s ORDER BY piece DESC LIMIT 1"
        ((piece, lines),) = job.ask(found, (shard,))
        short = lines[: lines[:-1].rfind(b"\n") + 1]
        cut = "UPDATE audit_pieces SET lines = %s WHERE shard = %s AND piece = %s RETURNING piece"
        assert job.ask(cut, (short, shard, piece))
    job.ask("UPDATE jobs SET state = 'open' RETURNING job")
    job.ask("UPDATE shards SET state = 'waiting', epoch = epoch + 1 RETURNING shard")
    job.ask("SELECT place_shard(job, shard, true) FROM shards")
    job.drain().expect(0)
    assert job.states() == ["done", "done"]
    assert sandbox.settle() == before
    job.check()


ALTERED = {
    "plan": "replace(convert_from(lines, 'UTF8'), '1390', '1391')",
    "audit": "convert_from(lines, 'UTF8') || '{}' || chr(10)",
}


@pytest.mark.parametrize("what", sweep(ALTERED, fast=[1]))
def test_a_plan_or_an_audit_that_was_altered_in_the_database_stops_the_job(shared, sandbox, what):
    job = shared()
    first = job.under_way()
    first.signal(signal.SIGKILL)
    first.wait()
    before = sandbox.settle()
    lines = f"convert_to({ALTERED[what]}, 'UTF8')"
    assert job.ask(f"UPDATE {what}_pieces SET lines = {lines} WHERE piece = 1 RETURNING piece")
    assert len(job.rescue()) == 2
    job.drain().expect(0)
    assert job.state() == "stopped"
    assert sandbox.settle() == before


def test_what_a_killed_worker_left_on_its_disk_is_removed_by_the_next_one(shared, tmp_path):
    job = shared()
    program, room = job.program, tmp_path / "room"
    room.mkdir()
    program.env["TMPDIR"] = str(room)
    first = job.under_way()
    assert len(list(room.glob("*/*.plan"))) == 2
    first.signal(signal.SIGKILL)
    first.wait()
    assert list(room.glob("*/*.plan"))
    assert len(job.rescue()) == 2
    assert "2 private folders" in job.drain().expect(0).err
    assert list(room.iterdir()) == []


def test_a_job_that_comes_to_another_origin_is_not_sent_and_another_path_is_said(shared, sandbox):
    job = shared(batches=4)
    base_url = job.program.env["BULK_DELETE_BASE_URL"]
    job.ask("UPDATE jobs SET base_url = 'https://other.example' RETURNING job")
    job.drain().expect(0)
    assert job.state() == "stopped"
    assert sandbox.requests() == 0
    job.ask("UPDATE jobs SET base_url = %s RETURNING job", (base_url,))
    job.submit()
    ended = job.drain(env={"BULK_DELETE_BASE_URL": f"{base_url}/elsewhere"}).expect(0)
    assert f"was submitted for {base_url}, and is sent to {base_url}/elsewhere" in ended.err


def test_a_worker_takes_nothing_from_tables_of_another_version(shared, sandbox):
    job = shared(batches=4)
    job.ask("UPDATE schema_version SET number = 999 RETURNING number")
    ended = job.drain().expect(2)
    assert "999" in ended.record["message"]
    assert sandbox.requests() == 0


def test_what_an_operator_orders_stands_once_in_the_audit_of_each_shard_under_way(shared, sandbox):
    job = shared()
    worker = job.under_way()
    job.program("pace", job.id, "--pause", "--operator", "kim", "--json").expect(0)

    def orders():
        records = job.records().values()
        return [
            [record["order"] for record in of_type(lines, "pace") if record.get("order")] for lines in records
        ]

    worker.until(lambda: orders() == [["pause"]] * 2, "the pause in both audits")
    job.program("pace", job.id, "--rate", "150/s", "--go-on", "--json").expect(0)
    worker.until(lambda: job.state() == "done", "the end")
    worker.signal(signal.SIGTERM)
    worker.wait().expect(143)
    assert orders() == [["pause", "150/s", "go-on"]] * 2
    job.check()


def test_nothing_of_a_shard_is_left_on_a_workers_disk(shared, tmp_path):
    job = shared(batches=8)
    folder = tmp_path / "temporary"
    folder.mkdir()
    job.drain(env={"TMPDIR": str(folder)}).expect(0)
    assert list(folder.iterdir()) == []


def test_a_worker_without_a_token_takes_nothing(shared, sandbox):
    job = shared(batches=4)
    ended = job.drain(env={"BULK_DELETE_TOKEN": None})
    ended.expect(2)
    assert "token" in ended.record["message"]
    assert job.states() == ["waiting", "waiting"]
    assert sandbox.requests() == 0


@pytest.mark.slow
def test_workers_that_are_killed_again_and_again_lose_nothing(shared, sandbox):
    job = shared(batches=150, shards=5, rate="100/s")
    for deaths in range(1, 7):
        workers = [job.worker("--concurrency", 2) for _ in range(2)]
        until(lambda deaths=deaths: sandbox.worked() >= 15 * deaths, "some deletions")
        for worker in workers:
            worker.signal(signal.SIGKILL)
            worker.wait()
    job.drain().expect(0)
    job.check()
