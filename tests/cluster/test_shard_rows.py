"""A shard's rows, in a real database: what an owner may do, and what is done for whoever lost the shard."""

import asyncio
import hashlib
from contextlib import asynccontextmanager

import pytest

from runner.cluster.clock import boot_time
from runner.cluster.database import ask, transaction
from runner.cluster.jobs import NewJob, give_order, place_job, reopen_job
from runner.cluster.line import DatabaseLine, Patience
from runner.cluster.link import Turn
from runner.cluster.shard_rows import ShardKey, ShardRows
from runner.cluster.shards import cut_plan
from runner.errors import Refused
from runner.model import Target
from runner.plan.file import read_plan
from runner.settings import Limits, Rate, limits_to_json
from tests.support.plans import plan_with
from tests.support.program import USER, numbers

ORIGIN = "https://vendor.example"
BEAT = Turn(None, None, 0, None, None)


@pytest.fixture
async def placed(database, tmp_path):
    """A job of two shards in the database."""
    plan = read_plan(plan_with({Target(USER): numbers(800)}, tmp_path / "whole.plan"))
    settings = {
        "limits": limits_to_json(Limits()),
        "reason": None,
        "operator": None,
        "audit_all_phones": False,
    }
    new = NewJob(ORIGIN, ORIGIN, "test", "0123456789abcdef", plan.sha256, Rate(50.0), settings)
    async with await database.connect() as connection:
        assert await place_job(connection, new, cut_plan(plan, 2, tmp_path))
    return new


@pytest.fixture
def job(placed):
    """The id of a job of two shards in the database."""
    return placed.job


@asynccontextmanager
async def owning(database, job, epoch=1):
    """A line to the first shard of a job."""
    line = DatabaseLine(database, Patience())
    try:
        yield ShardRows(line, ShardKey(job, 1, epoch), boot_time)
    finally:
        await line.close()


async def answer(database, query, *values):
    async with await database.connect() as connection:
        return await ask(connection, query, values)


async def take_away(database):
    """Let the shard go stale, and rescue it."""
    await answer(database, "UPDATE shards SET beat = beat - interval '1 hour' WHERE state = 'doing'")
    return await answer(database, "SELECT shard, epoch, worker FROM rescue_shards(%s, 3)", ORIGIN)


def lines(piece, text):
    return Turn(piece, text, 0, None, {"orders": 0})


async def test_a_shard_is_begun_once_and_its_plan_is_the_one_that_was_submitted(database, job, tmp_path):
    async with owning(database, job) as rows:
        task = await rows.begin("me")
        assert (task.pieces, task.rate, task.orders) == (0, Rate(50.0), 0)
        assert await rows.begin("me again") is None
        await rows.copy("plan", tmp_path / "copy")
        plan = read_plan(tmp_path / "copy")
        assert plan.sha256 == task.plan_sha256
        assert plan.header.totals.batches == 4
        assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o600


async def test_lines_are_kept_once_and_handed_to_the_next_owner(database, job, tmp_path):
    text = [hashlib.sha256(bytes([n])).hexdigest().encode() + b"\n" for n in range(40)]
    async with owning(database, job) as rows:
        await rows.begin("me")
        for number, line in enumerate(text, start=1):
            await rows.take_turn(lines(number, line))
            await rows.take_turn(lines(number, line))  # its answer was lost
    assert await take_away(database) == [(1, 2, "me")]
    async with owning(database, job, epoch=2) as rows:
        task = await rows.begin("another")
        assert task.pieces == 40
        await rows.copy("audit", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"".join(text)


async def test_other_lines_under_a_number_that_is_taken_are_refused(database, job):
    async with owning(database, job) as rows:
        await rows.begin("me")
        await rows.take_turn(lines(1, b"one\n"))
        with pytest.raises(Refused, match="holds other lines"):
            await rows.take_turn(lines(1, b"two\n"))


async def test_who_lost_a_shard_gets_nothing_and_what_it_had_to_say_is_kept_apart(database, job):
    async with owning(database, job) as former, owning(database, job, epoch=2) as owner:
        await former.begin("me")
        await former.take_turn(lines(1, b"one\n"))
        await take_away(database)
        reply = await former.take_turn(Turn(2, b"late\n", 5, 3.0, None))
        assert reply.fenced
        assert reply.grant.granted == 0
        assert not await former.end("done", 0, None, stops_job=False)
        await owner.begin("another")
        assert not (await owner.take_turn(BEAT)).fenced
        assert (await former.take_turn(BEAT)).fenced
    assert await answer(database, "SELECT lines FROM audit_pieces") == [(b"one\n",)]
    assert await answer(database, "SELECT epoch, lines FROM late_pieces") == [(1, b"late\n")]
    assert await answer(database, "SELECT paused_until FROM origins WHERE paused_until > now()") == []


async def test_an_end_whose_answer_was_lost_counts_when_it_is_said_again(database, job):
    async with owning(database, job) as rows:
        await rows.begin("me")
        assert await rows.end("done", 1, None, stops_job=False)
        assert await rows.end("done", 1, None, stops_job=False)
    assert await answer(database, "SELECT state, exit_code FROM shards WHERE shard = 1") == [("done", 1)]


async def test_a_shard_that_was_given_back_is_placed_before_those_that_wait(database, job):
    async with owning(database, job) as rows:
        await rows.begin("me")
        assert await rows.end("waiting", 143, "SIGTERM", stops_job=False)
    query = "SELECT args->'shard', args->'epoch' FROM procrastinate_jobs ORDER BY priority DESC, id"
    assert await answer(database, query) == [(1, 2), (1, 1), (2, 1)]


async def test_a_task_whose_worker_died_before_it_began_is_placed_anew(database, job):
    assert await answer(database, "SELECT shard FROM rescue_shards(%s, 3)", ORIGIN) == []
    await answer(database, "UPDATE procrastinate_jobs SET status = 'doing' WHERE args @> '{\"shard\": 2}'")
    assert await answer(database, "SELECT shard FROM rescue_shards(%s, 3)", ORIGIN) == []
    await answer(database, "UPDATE procrastinate_events SET at = at - interval '1 hour'")
    found = await answer(database, "SELECT shard, epoch FROM rescue_shards(%s, 3)", ORIGIN)
    assert found == [(2, 2)]
    assert await answer(database, "SELECT shard FROM rescue_shards(%s, 3)", ORIGIN) == []


async def test_what_stopped_a_shard_is_not_said_of_it_once_it_waits_again(database, placed):
    async with owning(database, placed.job) as rows, await database.connect() as connection:
        await rows.begin("me")
        assert await rows.end("stopped", 3, "the token was refused", stops_job=True)
        assert await reopen_job(connection, placed)
    stand = await answer(database, "SELECT state, epoch, exit_code, why FROM shards ORDER BY shard")
    assert stand == [("waiting", 2, None, None)] * 2


async def test_a_shard_that_was_heard_of_while_somebody_waited_to_take_it_is_not_taken(database, job):
    async with owning(database, job) as rows, await database.connect() as other:
        await rows.begin("me")
        await answer(database, "UPDATE shards SET beat = beat - interval '1 hour' WHERE state = 'doing'")
        async with await database.connect() as holding, transaction(holding):
            await ask(holding, "SELECT FROM jobs WHERE job = %s FOR UPDATE", (job,))
            rescuing = asyncio.create_task(ask(other, "SELECT shard FROM rescue_shards(%s, 3)", (ORIGIN,)))
            await until_waiting(database, other, rescuing)
            assert not (await rows.take_turn(BEAT)).fenced
        assert await rescuing == []
        assert not (await rows.take_turn(BEAT)).fenced


async def until_waiting(database, connection, task):
    """Return once a connection waits for a lock."""
    waits = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s AND wait_event_type = 'Lock'"
    while await answer(database, waits, connection.info.backend_pid) == [(0,)]:
        assert not task.done(), "it waited for nobody"


def statement(text):
    return lambda connection, job: ask(connection, f"SELECT {text} FROM jobs WHERE job = %s", (job,))


CHANGES = {
    "begin": statement("begin_shard(job, 2, 1, 'me')"),
    "end": statement("end_shard(job, 1, 1, 'waiting', true, 3, 'why')"),
    "stop": statement("stop_job(job, 'why', 3)"),
    "settle": statement("settle_job(job)"),
    "rescue": statement("rescue_shards(origin, 0)"),
    "order": statement("give_order(job, '5/s', 5, 1, null, 'me', 'why')"),
}


@pytest.mark.parametrize("change", [*CHANGES, "reopen"])
async def test_who_waits_for_a_job_holds_neither_its_shards_nor_its_origin(database, placed, change):
    job = placed.job
    async with owning(database, job) as rows, await database.connect() as other:
        await rows.begin("me")
        await ask(other, "DELETE FROM procrastinate_jobs")  # so that the second shard is lost, too
        async with await database.connect() as holding, transaction(holding):
            await ask(holding, "SELECT FROM jobs WHERE job = %s FOR UPDATE", (job,))
            work = reopen_job(other, placed) if change == "reopen" else CHANGES[change](other, job)
            changing = asyncio.create_task(work)
            await until_waiting(database, other, changing)
            await ask(holding, "SELECT FROM shards WHERE job = %s FOR UPDATE NOWAIT", (job,))
            await ask(holding, "SELECT FROM origins FOR UPDATE NOWAIT")
        await changing


async def test_an_owner_knows_which_orders_the_audit_has_already(database, job):
    async with await database.connect() as connection:
        for rate in (10.0, 20.0):
            await give_order(connection, job, rate=Rate(rate), pause=None, operator="kim", reason=None)
    async with owning(database, job) as rows:
        task = await rows.begin("me")
        assert (task.orders, task.rate) == (2, Rate(20.0))
        assert [order.rate for _, order in await rows.orders_after(1)] == [Rate(20.0)]
        await rows.take_turn(Turn(None, None, 0, None, {"orders": 2}))
        async with await database.connect() as connection:
            await give_order(connection, job, rate=None, pause=True, operator=None, reason="night")
        reply = await rows.take_turn(BEAT)
        assert (reply.orders, reply.held) == (3, True)
    await take_away(database)
    async with owning(database, job, epoch=2) as rows:
        task = await rows.begin("another")
        assert task.orders == 2
        ((number, order),) = await rows.orders_after(task.orders)
        assert (number, order.pause, order.reason) == (3, True, "night")


async def test_the_next_shard_on_a_line_need_not_wait_as_for_a_new_connection(database, job):
    async with owning(database, job) as rows:
        await rows.begin("me")
        first = (await rows.take_turn(BEAT)).grant
        again = (await rows.take_turn(BEAT)).grant
        assert first.since_s == again.since_s <= first.sent_s <= again.sent_s


async def test_a_line_is_made_anew_after_its_connection_was_cut(database, job):
    async with owning(database, job) as rows:
        await rows.begin("me")
        first = (await rows.take_turn(BEAT)).grant.connection
        await answer(
            database,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND datname = current_database()",
        )
        assert await rows.orders_after(0) == []
        reply = await rows.take_turn(BEAT)
        assert not reply.fenced
        assert reply.grant.connection > first
