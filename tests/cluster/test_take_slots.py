"""`take_slots` and `use_rate` in a real PostgreSQL whose clock the test sets."""

import asyncio
import itertools
import random

import pytest

from runner.cluster.database import ask
from runner.errors import Refused
from tests.send.test_pacing import in_simulation
from tests.support.authority import Authority

ORIGIN = "https://vendor.example"
TAKE = "SELECT * FROM take_slots(%s, %s, %s)"
USE = "SELECT * FROM use_rate(%s, %s, %s, %s)"
SET_CLOCK = """
CREATE TABLE pretended (at timestamptz);
INSERT INTO pretended VALUES (to_timestamp(1700000000));
CREATE FUNCTION clock_timestamp() RETURNS timestamptz LANGUAGE sql AS $$ SELECT at FROM pretended $$;
CREATE FUNCTION random() RETURNS double precision LANGUAGE sql AS $$ SELECT 0.0::double precision $$;
SET search_path = bulk_delete, pg_catalog;
"""


class Sql:
    """The functions, on a clock that stands still until it is told."""

    def __init__(self, connection):
        self.connection = connection
        self.now_s = 1_700_000_000.0

    async def at(self, now_s):
        self.now_s = now_s
        await ask(self.connection, "UPDATE pretended SET at = to_timestamp(%s)", (now_s,))

    async def later(self, seconds):
        await self.at(self.now_s + seconds)

    async def use(self, count, period_s=1, *, lower_only=True):
        return (await ask(self.connection, USE, (ORIGIN, count, period_s, lower_only)))[0]

    async def take(self, wanted=0, complaint=None):
        return (await ask(self.connection, TAKE, (ORIGIN, wanted, complaint)))[0]

    async def allowed(self):
        return round((await self.take())[4], 6)


@pytest.fixture
async def sql(database):
    async with await database.connect() as connection:
        await ask(connection, SET_CLOCK)
        yield Sql(connection)


# --- slots


@pytest.mark.parametrize(
    ("count", "period_s", "step_s"), [(20, 1, 0.0515), (0.5, 1, 2.06), (90, 60, 60.03 / 90)]
)
async def test_slots_follow_each_other_and_none_is_further_ahead_than_a_second(sql, count, period_s, step_s):
    assert await sql.use(count, period_s) == (count, period_s)
    at_s, first_s, step, granted, allowed, configured, period, _ = await sql.take(1000)
    assert (allowed, configured, period) == (count, count, period_s)
    assert first_s == at_s
    assert step == pytest.approx(step_s)
    assert (granted - 1) * step < 1 <= granted * step
    _, next_s, _, more, *_ = await sql.take(1000)
    assert more == 0
    assert next_s == pytest.approx(first_s + granted * step, abs=1e-5)
    await sql.later(granted * step - 0.99)
    _, second_s, _, more, *_ = await sql.take(1)
    assert more == 1
    assert second_s == pytest.approx(next_s, abs=1e-5)


async def test_what_was_not_asked_for_is_not_granted(sql):
    await sql.use(20)
    assert [(await sql.take(wanted))[3] for wanted in (0, -5, 3)] == [0, 0, 3]


async def test_a_clock_set_back_grants_nothing_twice(sql):
    await sql.use(20)
    _, first_s, step_s, granted, *_ = await sql.take(5)
    await sql.later(-30)
    _, next_s, _, more, *_ = await sql.take(5)
    assert (more, next_s) == (0, pytest.approx(first_s + granted * step_s, abs=1e-5))


async def test_an_origin_that_nobody_set_a_rate_for_is_an_error(sql):
    with pytest.raises(Refused, match="no such origin"):
        await sql.take(1)


async def test_many_at_once_never_get_the_same_slot(database):
    async with await database.connect() as connection:
        await ask(connection, USE, (ORIGIN, 1000, 1, True))

    async def take():
        async with await database.connect() as connection:
            taken = [(await ask(connection, TAKE, (ORIGIN, 7, None)))[0] for _ in range(20)]
        return [
            round((first_s + n * step_s) * 1e6) for _, first_s, step_s, got, *_ in taken for n in range(got)
        ]

    slots = sorted(slot for mine in await asyncio.gather(*(take() for _ in range(6))) for slot in mine)
    assert len(slots) > 500
    assert min(b - a for a, b in itertools.pairwise(slots)) >= 1028


# --- complaints


async def test_a_complaint_without_advice_halves_the_rate_at_most_once_a_second(sql):
    await sql.use(20)
    allowed = []
    for _ in range(6):
        allowed.append((await sql.take(5, 0.0))[4])
        await sql.later(0.3)
    assert allowed == [10, 10, 10, 10, 5, 5]


async def test_the_rate_never_falls_below_a_twentieth(sql):
    await sql.use(20)
    for _ in range(8):
        await sql.take(0, 0.0)
        await sql.later(1.1)
    assert await sql.allowed() == 1


@pytest.mark.parametrize(("count", "period_s", "climb_s"), [(20, 1, 2.0), (1, 1, 5.0), (30, 60, 10.0)])
async def test_it_comes_back_by_a_tenth_every_two_seconds_or_five_requests(sql, count, period_s, climb_s):
    await sql.use(count, period_s)
    await sql.take(0, 0.0)
    shares = []
    for _ in range(7):
        await sql.later(climb_s * 1.0001)
        shares.append(round(await sql.allowed() / count, 6))
    assert shares == [0.6, 0.7, 0.8, 0.9, 1, 1, 1]


async def test_steps_that_nobody_asked_for_in_between_are_caught_up_with(sql):
    await sql.use(20)
    await sql.take(0, 0.0)
    await sql.later(6.5)
    assert await sql.allowed() == 16


async def test_a_pause_is_for_all_cuts_once_and_is_followed_by_the_ramp(sql):
    await sql.use(20)
    await sql.take(5)
    at_s, first_s, _, granted, allowed, _, _, until_s = await sql.take(5, 3.0)
    assert (allowed, granted) == (10, 0)
    assert until_s == first_s == at_s + 3
    assert (await sql.take(5, 2.0))[7] == until_s, "the longest wins"
    assert (await sql.take(5, 0.0))[4] == 10, "a complaint during a pause cuts nothing more"
    longer_s = (await sql.take(5, 5.0))[7]
    assert longer_s == at_s + 5
    await sql.later(4.9)
    _, first_s, _, granted, allowed, *_ = await sql.take(5)
    assert (first_s, granted, allowed) == (longer_s, 5, 10)
    await sql.later(2.2)
    assert await sql.allowed() == 12


async def test_no_pause_is_longer_than_ten_minutes(sql):
    await sql.use(20)
    at_s, *_, until_s = await sql.take(0, 86400.0)
    assert until_s == at_s + 600


async def test_a_pause_ends_a_little_later_than_asked_for_but_never_earlier(database):
    async with await database.connect() as connection:
        await ask(connection, USE, (ORIGIN, 20, 1, True))
        ((before_s,),) = await ask(connection, "SELECT seconds(clock_timestamp())")
        at_s, *_, until_s = (await ask(connection, TAKE, (ORIGIN, 0, 10.0)))[0]
        assert before_s + 10 <= until_s <= at_s + 10.5


async def test_a_complaint_and_another_rate_are_told_to_whoever_listens(database):
    async with await database.connect() as listener, await database.connect() as connection:
        await ask(listener, "LISTEN bulk_delete")
        await ask(connection, USE, (ORIGIN, 20, 1, True))
        await ask(connection, TAKE, (ORIGIN, 5, None))
        await ask(connection, TAKE, (ORIGIN, 0, 2.0))
        told = [notice.payload async for notice in listener.notifies(timeout=60, stop_after=2)]
        told += [notice.payload async for notice in listener.notifies(timeout=0)]
    assert told == [f"origin {ORIGIN}"] * 2


# --- whose rate it is


async def test_the_first_lower_rate_wins_until_somebody_sets_one(sql):
    assert await sql.use(20) == (20, 1)
    await sql.take(1)
    assert await sql.use(50) == (20, 1)
    assert await sql.use(600, 60) == (600, 60), "10 a second"
    assert await sql.use(50, lower_only=False) == (50, 1)


async def test_a_rate_that_nobody_used_for_a_minute_holds_nobody(sql):
    await sql.use(5)
    await sql.take(1)
    await sql.later(59)
    assert await sql.use(20) == (5, 1)
    await sql.later(3)
    assert await sql.use(20) == (20, 1)


async def test_a_rate_that_an_open_job_has_holds_however_long_it_rests(sql):
    await sql.use(5)
    await ask(
        sql.connection,
        "INSERT INTO jobs (job, origin, base_url, name, run_id, plan_sha256, batches, phones, settings)"
        " VALUES ('j', %s, %s, 'j', 'r', 'd', 1, 1, '{}')",
        (ORIGIN, ORIGIN),
    )
    await sql.later(86400)
    assert await sql.use(20) == (5, 1)


async def test_another_rate_goes_on_with_the_way_back_from_a_complaint(sql):
    await sql.use(20)
    await sql.take(0, 0.0)
    await sql.use(100, lower_only=False)
    assert await sql.allowed() == 10
    await sql.use(5, lower_only=False)
    assert await sql.allowed() == 5


# --- the stand-in of the simulation


@pytest.mark.parametrize("seed", range(4))
async def test_the_simulations_authority_grants_as_the_database_does(sql, seed):
    rng = random.Random(seed)
    steps = [
        (
            rng.choice([0.0, 0.01, 0.2, 1.1, 2.5, 9.0]),
            rng.randrange(15),
            rng.choice([None] * 6 + [0.0, 0.4, 3.0]),
        )
        for _ in range(120)
    ]
    rate = rng.choice(["20/s", "0.5/s", "90/m", "200/s"])

    @in_simulation
    async def simulated():
        authority, found = Authority(rate), []
        authority.ahead_s -= authority.loop.time() - 1_000_000.0
        for wait_s, wanted, complaint in steps:
            authority.loop.block(wait_s)
            found.append(authority.take(wanted, complaint))
        return authority.rate, found

    used, expected = await asyncio.to_thread(simulated)
    await sql.at(1_700_000_000.0)
    await sql.use(used.count, used.period_s)
    for (_, wanted, complaint), (now_s, *rest) in zip(steps, expected, strict=True):
        await sql.at(now_s)
        _, *found = await sql.take(wanted, complaint)
        assert found[2] == rest[2]
        assert found == pytest.approx(rest, rel=0, abs=1e-3)
