"""An operator's orders at the gate: another rate, a hold and its end, on the simulated clock."""

import asyncio
import random

import pytest

from runner.settings import parse_rate
from tests.send.test_pacing import Lane, in_simulation
from tests.support.sweep import sweep

SECOND, MINUTE = 1.0, 60.0


class Ordered(Lane):
    """A lane that remembers which rate was in force when."""

    def __init__(self, rate, **more):
        super().__init__(rate, **more)
        self.in_force = [(self.start_s, self.rate)]

    async def order(self, text):
        rate = parse_rate(text)
        await self.pacer.set_rate(rate)
        self.in_force.append((self.loop.time(), rate))

    def highest(self, from_s, to_s):
        """Return the highest of the rates that were in force at some time between, in requests a second."""
        begins = [at for at, _ in self.in_force[1:]] + [float("inf")]
        return max(
            (
                rate
                for (at, rate), end in zip(self.in_force, begins, strict=True)
                if at <= to_s and end >= from_s
            ),
            key=lambda rate: rate.per_second,
        )

    def check_windows(self, period_s):
        """Fail where a closed window holds more than the higher rate of it allows."""
        last = 0
        for first, at in enumerate(self.left_s):
            while last < len(self.left_s) and self.left_s[last] <= at + period_s:
                last += 1
            rate = self.highest(at, at + period_s)
            allowed = rate.whole if rate.period_s >= period_s else rate.whole * period_s / rate.period_s
            assert last - first <= allowed, f"{last - first} within {period_s:g} s from {at}: {rate}"


SECONDS = ["3/s", "20/s", "19.5/s", "200/s", "1000/s"]
MIXED = [*SECONDS, "60/m", "1200/m", "1190/m", "90/m", "11990/m"]


@pytest.mark.parametrize("rates", [SECONDS, MIXED], ids=["seconds", "mixed"])
@pytest.mark.parametrize("seed", sweep(range(6), fast=[0]))
@in_simulation
async def test_no_window_holds_more_than_the_higher_of_two_rates(rates, seed):
    """Whatever else happens: complaints, holds, a blocked loop, dead connections."""
    rng = random.Random(f"orders {seed}")
    lane = Ordered(rng.choice(rates))

    def depart():
        if rng.random() < 0.03:
            return False
        if rng.random() < 0.01:
            lane.loop.block(rng.choice([0.001, 0.05, 0.7]))
        lane.left_s.append(lane.loop.time())
        return True

    async def worker():
        while True:
            await lane.attempt(rng.expovariate(20), depart)

    async def trouble():
        while True:
            await asyncio.sleep(rng.expovariate(1 if seed % 2 else 0.2))
            what = rng.randrange(8)
            if what == 0:
                lane.pacer.rate_limited(rng.choice([None, 0.5, 3]))
            elif what == 1:
                lane.loop.block(rng.choice([0.01, 0.4, 1.2]))
            elif what == 2:
                lane.pacer.hold()
                await asyncio.sleep(rng.random() * 3)
                lane.pacer.go_on()
            else:
                await lane.order(rng.choice(rates))

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(worker()) for _ in range(64)] + [group.create_task(trouble())]
        await asyncio.sleep(120)
        for task in tasks:
            task.cancel()
    assert len(lane.left_s) > 20
    assert len(lane.in_force) > 5
    lane.check_windows(SECOND)
    if rates is MIXED:
        lane.check_windows(MINUTE)
    assert lane.pacer.meter.in_flight == 0
    assert lane.pacer._near == 0
    assert not lane.pacer._waits


@pytest.mark.parametrize(
    ("before", "after"),
    sweep(
        [("20/s", "600/m"), ("120/m", "1/s"), ("1000/s", "59990/m"), ("200/s", "20/s"), ("20/s", "200/s")],
        fast=[0, 1, 3],
    ),
)
@in_simulation
async def test_after_a_full_second_another_rate_begins_without_a_window_too_full(before, after):
    """A stall makes the old rate leave as late as it may, right before the order."""
    lane = Ordered(before)
    await lane.work(61 if before.endswith("m") else 3)
    lane.loop.block(0.3)
    await lane.work(0.05)
    await lane.order(after)
    await lane.work(61)
    lane.check_windows(SECOND)
    lane.check_windows(MINUTE)


@pytest.mark.parametrize(
    ("before", "after"), [("20/s", "200/s"), ("200/s", "20/s"), ("1/m", "100/s"), ("60/m", "5/s")]
)
@in_simulation
async def test_another_rate_is_used_from_the_next_second_on(before, after):
    lane = Ordered(before)
    await lane.work(5)
    await lane.order(after)
    await lane.work(1)
    left = await lane.work(10)
    assert 0.95 * parse_rate(after).per_second * 10 <= len(left) <= parse_rate(after).per_second * 10 + 1
    assert lane.pacer.rate == lane.pacer.limit == after


@in_simulation
async def test_whoever_waits_at_a_slow_gate_hears_of_a_faster_rate_at_once():
    lane = Ordered("1/m")
    await lane.attempt()
    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(lane.attempt())
        await asyncio.sleep(2.4)
        ordered_s = lane.loop.time()
        await lane.order("100/s")
    assert len(lane.left_s) == 9
    assert lane.left_s[-1] < ordered_s + 0.2


@in_simulation
async def test_unlimited_may_be_ordered_and_taken_back():
    lane = Ordered("20/s")
    await lane.work(2)
    await lane.order("unlimited")
    assert len(await lane.work(1, latency_s=0.01)) > 2000
    await lane.order("20/s")
    left = await lane.work(5)
    assert len(left) <= 100
    lane.left_s = left
    lane.in_force = lane.in_force[-1:]
    lane.check_windows(SECOND)


@in_simulation
async def test_a_hold_lets_nothing_leave_and_its_end_is_heard_at_once():
    lane = Lane("20/s")
    await lane.work(2)
    async with asyncio.TaskGroup() as group:
        for _ in range(64):
            group.create_task(lane.attempt())
        lane.pacer.hold()
        held_s, before = lane.loop.time(), len(lane.left_s)
        await asyncio.sleep(3000.4)
        assert len(lane.left_s) == before
        assert lane.pacer.may_leave_within(0.25, most=9) == 0
        lane.pacer.go_on()
    assert held_s + 3000.4 <= lane.left_s[before] < held_s + 3000.6
    assert lane.changes == []


@pytest.mark.parametrize("rate", ["20/s", "unlimited"])
@in_simulation
async def test_a_hold_outlasts_the_pause_that_the_server_asked_for(rate):
    lane = Lane(rate)
    lane.pacer.hold()
    lane.pacer.rate_limited(5)
    waiting = asyncio.create_task(lane.attempt())
    await asyncio.sleep(60)
    assert lane.left_s == []
    lane.pacer.go_on()
    await waiting
    assert lane.left_s[0] < lane.start_s + 61.2


@pytest.mark.parametrize("rate", ["20/s", "unlimited"])
@in_simulation
async def test_a_pause_that_the_server_asked_for_outlasts_a_hold(rate):
    lane = Lane(rate)
    lane.pacer.rate_limited(60)
    lane.pacer.hold()
    waiting = asyncio.create_task(lane.attempt())
    await asyncio.sleep(5)
    lane.pacer.go_on()
    await waiting
    assert lane.left_s[0] >= lane.start_s + 60


@in_simulation
async def test_a_complaint_about_what_left_before_a_hold_counts():
    lane = Lane("20/s")
    lane.pacer.hold()
    lane.pacer.rate_limited(None)
    await asyncio.sleep(100)
    lane.pacer.go_on()
    assert lane.pacer.rate == "10/s"
    await lane.work(20)
    assert [change.rate for change in lane.changes] == ["10/s", "12/s", "14/s", "16/s", "18/s", "20/s"]


@in_simulation
async def test_a_higher_rate_is_climbed_to_from_where_the_servers_complaint_left_it():
    lane = Lane("20/s")
    await lane.work(2)
    lane.pacer.rate_limited(None)
    await lane.pacer.set_rate(parse_rate("100/s"))
    assert (lane.pacer.rate, lane.pacer.limit) == ("10/s", "100/s")
    await lane.work(25)
    assert [change.rate for change in lane.changes[1:3]] == ["20/s", "30/s"]
    assert lane.pacer.rate == "100/s"


@in_simulation
async def test_a_rate_below_what_is_allowed_after_a_complaint_holds_at_once():
    lane = Lane("20/s")
    lane.pacer.rate_limited(None)
    await lane.pacer.set_rate(parse_rate("5/s"))
    assert lane.pacer.rate == "5/s"


@in_simulation
async def test_unlimited_is_climbed_to_as_well():
    lane = Lane("20/s")
    lane.pacer.rate_limited(None)
    await lane.pacer.set_rate(parse_rate("unlimited"))
    assert lane.pacer.rate == "10/s"
    await lane.work(12)
    assert lane.pacer.rate == "unlimited"


@in_simulation
async def test_a_stop_ends_the_waits_of_a_hold():
    lane = Lane("20/s")
    lane.pacer.hold()
    ended = await lane.stopped_after(3, workers=64)
    assert len(ended) == 64
    assert max(ended) < lane.start_s + 3.01


@in_simulation
async def test_two_orders_in_one_turn_of_the_loop_are_two_orders():
    lane = Lane("1/m")
    await lane.attempt()
    waiting = asyncio.create_task(lane.attempt())
    await asyncio.sleep(1.4)
    await lane.pacer.set_rate(parse_rate("2/m"))
    await lane.pacer.set_rate(parse_rate("50/s"))
    await asyncio.sleep(0)
    await lane.pacer.set_rate(parse_rate("100/s"))
    await waiting
    assert lane.left_s[-1] < lane.start_s + 1.5
