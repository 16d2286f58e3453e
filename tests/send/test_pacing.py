import asyncio
import functools
import itertools
import random
from bisect import bisect_right
from datetime import UTC, datetime, timedelta

import pytest

from runner.outcomes import (
    AUTH,
    BAD_REPLY,
    CUT,
    FORBIDDEN,
    ISOLATE,
    NOT_CONNECTED,
    NOT_FOUND,
    RATE_LIMITED,
    REDIRECT,
    REFUSED,
    SERVER,
    TIMEOUT,
    UNKNOWN_CODE,
    AttemptFailed,
)
from runner.send import guard, pacing, ramp
from runner.send.pacing import Meter, PaceChange, Pacer, retried
from runner.settings import Rate, parse_rate
from runner.stop import Stop, Stopping
from tests.support.simclock import SimulatedLoop, run_simulated
from tests.support.sweep import sweep

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Lane:
    """A pacer on the simulated clock, and the loop times at which requests really left through it."""

    def __init__(self, rate, *, on_change=None, deadline_in_s=None):
        self.loop = asyncio.get_running_loop()
        self.start_s = self.loop.time()
        self.stop = Stop()
        self.changes = []
        self.left_s = []
        self.stop.deadline_s = None if deadline_in_s is None else self.start_s + deadline_in_s
        self.rate = parse_rate(rate)
        self.pacer = Pacer(
            self.rate,
            self.stop,
            now=lambda: NOON + timedelta(seconds=self.loop.time() - self.start_s),
        )
        self.pacer.on_change = on_change or self.changes.append

    def depart(self):
        self.left_s.append(self.loop.time())
        return True

    async def attempt(self, latency_s=0.0, depart=None):
        await self.pacer.approach()
        left = False
        try:
            left = await self.pacer.leave(depart or self.depart)
            await asyncio.sleep(latency_s)
        finally:
            self.pacer.attempt_over(left=left)

    async def work(self, for_s, workers=64, latency_s=0.01):
        """Let workers send for that long; return the departures of that time."""
        end_s = self.loop.time() + for_s
        before = len(self.left_s)

        async def worker():
            while self.loop.time() < end_s:
                await self.attempt(latency_s)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(worker()) for _ in range(workers)]
            await asyncio.sleep(for_s)
            for task in tasks:
                task.cancel()
        return self.left_s[before:]

    async def stopped_after(self, seconds, workers):
        """Let workers wait for a turn, and stop after so many seconds; return when each wait ended."""
        ended = []

        async def worker():
            try:
                with self.stop.interruptible():
                    await self.attempt()
            except Stopping:
                ended.append(self.loop.time())

        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(worker())
            await asyncio.sleep(seconds)
            self.stop.request("enough")
        return ended

    def most_in_any(self, period_s):
        """Most departures in any closed window, counted by brute force."""
        return max(
            (bisect_right(self.left_s, at + period_s) - n for n, at in enumerate(self.left_s)), default=0
        )


def in_simulation(test):
    """Run an async test on the simulated loop instead of pytest-asyncio's."""

    @functools.wraps(test)
    def run(*args, **kwargs):
        return run_simulated(test(*args, **kwargs))

    return run


# --- promise 3: the window


@pytest.mark.parametrize(
    ("rate", "for_s"),
    [
        ("20/s", 30),
        ("200/s", 20),
        ("1000/s", 10),
        ("1/s", 120),
        ("0.5/s", 240),
        ("2.5/s", 120),
        ("7.3/s", 60),
        ("90/m", 600),
        ("20/m", 900),
        ("1/m", 3600),
    ],
)
@in_simulation
async def test_no_window_holds_more_than_the_rate_and_98_percent_of_it_is_used(rate, for_s):
    lane = Lane(rate)
    left = await lane.work(for_s, latency_s=0.03)
    assert lane.most_in_any(lane.rate.period_s) <= lane.rate.whole
    assert len(left) >= 0.98 * lane.rate.per_second * for_s - 1
    assert lane.pacer.meter.max_in_window == lane.most_in_any(lane.rate.period_s)


@pytest.mark.parametrize("rate", ["20/s", "200/s", "1000/s", "300/m"])
@pytest.mark.parametrize("seed", sweep(range(8), fast=[0]))
@in_simulation
async def test_no_window_holds_more_than_the_rate_whatever_happens(rate, seed):
    """Blocked loops, stopped processes, pauses, cuts, dead connections and cancellations, all at random."""
    rng = random.Random(f"{rate} {seed}")
    lane = Lane(rate)

    def depart():
        if rng.random() < 0.05:
            return False
        if rng.random() < 0.02:
            lane.loop.block(rng.choice([0.001, 0.05, 0.7]))  # stopped between the gate's look and the write
        lane.left_s.append(lane.loop.time())
        if rng.random() < 0.02:
            lane.loop.block(rng.choice([0.001, 0.05, 1.5]))
        return True

    async def worker():
        while True:
            try:
                async with asyncio.timeout(rng.choice([None, None, None, 0.2, 3])):
                    await lane.attempt(rng.expovariate(20), depart)
            except TimeoutError:
                pass

    async def trouble():
        while True:
            await asyncio.sleep(rng.expovariate(1 if seed % 2 else 0.1))
            what = rng.randrange(4)
            if what == 0:
                lane.pacer.rate_limited(rng.choice([None, 0.5, 3]))
            elif what == 1:
                lane.pacer.quota_exhausted(rng.random() * 3)
            elif what == 2:
                lane.loop.block(rng.choice([0.01, 0.4, 1.2]))

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(worker()) for _ in range(64)] + [group.create_task(trouble())]
        await asyncio.sleep(90)
        for task in tasks:
            task.cancel()
    assert len(lane.left_s) > 20
    assert lane.most_in_any(lane.rate.period_s) <= lane.rate.whole
    assert lane.pacer.meter.max_in_window <= lane.rate.whole
    assert lane.pacer.meter.in_flight == 0
    assert lane.pacer._near == 0


@in_simulation
async def test_after_a_hiccup_only_a_small_burst_leaves_at_once():
    lane = Lane("200/s")
    await lane.work(2)
    lane.loop.block(0.5)
    left = await lane.work(0.5)
    at_once = [at for at in left if at < left[0] + 0.001]
    assert len(at_once) <= 6


@in_simulation
async def test_departures_are_spread_over_the_second():
    lane = Lane("20/s")
    left = await lane.work(10)
    gaps = [later - earlier for earlier, later in itertools.pairwise(left)]
    assert min(gaps) > 0.045
    first_window_ends = gaps.pop(19)
    assert max(gaps) < 0.065
    assert first_window_ends < 0.065 + guard.START_MARGIN_S


@pytest.mark.parametrize("rate", ["20/s", "200/s", "1000/s"])
@in_simulation
async def test_requests_that_a_busy_server_reads_late_at_the_start_do_not_meet_those_of_the_next_second(rate):
    """While many connections open, what goes over the first of them is read up to 65 ms late."""
    lane = Lane(rate)
    arrived_s = []
    for quiet_s in (0.0, guard.QUIET_S + 0.1):
        await asyncio.sleep(quiet_s)
        left = await lane.work(3)
        arrived_s += [max(at, left[0] + 0.065) for at in left]
    most = max(bisect_right(arrived_s, at + 1.0) - n for n, at in enumerate(arrived_s))
    assert most <= lane.rate.whole


@pytest.mark.parametrize(
    ("rate", "period_s", "most"), [("30/m", 60.0, 30), ("0.5/s", 2.0, 2), ("2.5/s", 2.0, 6)]
)
@in_simulation
async def test_rates_by_the_minute_and_fractions_are_exact(rate, period_s, most):
    lane = Lane(rate)
    left = await lane.work(1200, latency_s=0.03)
    assert lane.most_in_any(lane.rate.period_s) <= lane.rate.whole
    assert lane.most_in_any(period_s) <= most
    gap_s = 1 / lane.rate.per_second
    gaps = [later - earlier for earlier, later in itertools.pairwise(left)]
    assert sum(gaps) / len(gaps) == pytest.approx(gap_s, rel=0.012)
    assert min(gaps) >= gap_s * 0.999


@in_simulation
async def test_first_come_first_served():
    lane = Lane("50/s")
    order = []

    async def one(n):
        await lane.attempt(depart=lambda: order.append(n) or True)

    async with asyncio.TaskGroup() as group:
        for n in range(64):
            group.create_task(one(n))
    assert order == list(range(64))


def test_waiting_workers_are_not_woken_for_each_departure():
    """The loop's work grows with departures, not with departures × workers."""

    class Counting(SimulatedLoop):
        callbacks = 0

        def _run_once(self):
            super()._run_once()
            self.callbacks += len(self._ready)

    async def callbacks_per_departure(workers):
        lane = Lane("100/s")
        left = await lane.work(5, workers=workers, latency_s=0.001)
        return lane.loop.callbacks / len(left)

    def measured(workers):
        with asyncio.Runner(loop_factory=Counting) as runner:
            return runner.run(callbacks_per_departure(workers))

    assert measured(256) < 2 * measured(4)


@in_simulation
async def test_a_turn_whose_connection_is_dead_is_given_back():
    lane = Lane("1/s")
    await lane.attempt()
    started_s = lane.loop.time()
    assert not await lane.pacer.leave(lambda: False)
    gave_back_s = lane.loop.time()
    assert await lane.pacer.leave(lane.depart)
    assert gave_back_s > started_s + 0.9
    assert lane.loop.time() < gave_back_s + 0.01
    assert lane.pacer.meter.departures == 2


@in_simulation
async def test_unlimited_waits_for_nothing_and_is_metered():
    lane = Lane("unlimited")
    started_s = lane.loop.time()
    for _ in range(5000):
        await lane.attempt()
    assert lane.loop.time() - started_s < 0.1
    assert lane.pacer.meter.departures == lane.pacer.meter.max_in_window == 5000
    assert lane.pacer._limiter is None


# --- near the gate: nobody ages there with a connection in hand


@pytest.mark.parametrize(("rate", "most"), [("1/m", 1), ("6/m", 1), ("1/s", 6), ("20/s", 64)])
@in_simulation
async def test_only_as_many_connections_wait_as_will_leave_soon(rate, most):
    lane = Lane(rate)
    approached = in_hand = peak = 0

    async def worker():
        nonlocal approached, in_hand, peak
        await lane.pacer.approach()
        approached += 1
        peak = max(peak, approached - len(lane.left_s))
        await lane.pacer.leave(lane.depart)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(worker()) for _ in range(64)]
        await asyncio.sleep(240)
        for task in tasks:
            task.cancel()
    assert peak <= most
    assert len(lane.left_s) >= min(64, 0.98 * lane.rate.per_second * 240 - 1)


@in_simulation
async def test_a_pause_is_waited_for_without_a_connection():
    lane = Lane("20/s")
    lane.pacer.rate_limited(100)
    await lane.pacer.approach()
    assert 94 < lane.loop.time() - lane.start_s < 97


@in_simulation
async def test_an_attempt_that_never_left_frees_its_place_near_the_gate():
    lane = Lane("1/m")
    for _ in range(200):
        await lane.pacer.approach()
        lane.pacer.attempt_over(left=False)
    assert lane.loop.time() == lane.start_s


# --- the server's word


@in_simulation
async def test_advice_pauses_everybody_and_nobody_leaves_before_it():
    lane = Lane("200/s")
    await lane.work(1)
    lane.pacer.rate_limited(7)
    told_s = lane.loop.time()
    left = await lane.work(9)
    assert told_s + 7 <= left[0] <= told_s + 7.4


@in_simulation
async def test_the_way_back_after_a_pause_is_gentle_and_ends_at_the_configured_rate():
    lane = Lane("200/s")
    await lane.work(1)
    lane.pacer.rate_limited(5)
    left = await lane.work(30)
    seconds = [sum(left[0] + n <= at < left[0] + n + 1 for at in left) for n in range(24)]
    assert seconds[0] <= 101
    assert 195 <= seconds[12] <= 200
    assert all(later >= earlier - 2 for earlier, later in itertools.pairwise(seconds[:12]))
    assert lane.changes[-1].rate == "200/s"


@in_simulation
async def test_without_advice_the_rate_halves_and_comes_back_in_the_documented_steps():
    lane = Lane("20/s")
    await lane.work(3)
    lane.pacer.rate_limited(None)
    await lane.work(20)
    assert [change.rate for change in lane.changes] == ["10/s", "12/s", "14/s", "16/s", "18/s", "20/s"]
    assert all(change.until is None for change in lane.changes)
    halved = [at for at in lane.left_s if 3.1 <= at - lane.start_s < 5]
    assert len(halved) <= 19


@in_simulation
async def test_many_complaints_at_once_halve_the_rate_once():
    lane = Lane("20/s")
    for _ in range(16):
        lane.pacer.rate_limited(None)
    assert [change.rate for change in lane.changes] == ["10/s"]
    await asyncio.sleep(1.1)
    lane.pacer.rate_limited(None)
    assert lane.changes[-1].rate == "5/s"


@in_simulation
async def test_the_rate_never_falls_below_the_floor():
    lane = Lane("20/s")
    for _ in range(30):
        lane.pacer.rate_limited(None)
        await asyncio.sleep(1.01)
    assert lane.changes[-1].rate == "1/s"
    left = await lane.work(10)
    assert left


@in_simulation
async def test_each_change_of_the_rate_is_told_once_and_a_floor_is_no_change():
    lane = Lane("20/s")
    for _ in range(30):
        lane.pacer.rate_limited(None)
        await asyncio.sleep(1.01)
    assert [change.rate for change in lane.changes] == ["10/s", "5/s", "2.5/s", "1.25/s", "1/s"]


# --- how many may leave soon


@pytest.mark.parametrize(
    ("rate", "most"), [("20/s", 5), ("200/s", 50), ("1/s", 1), ("90/m", 1), ("1000/s", 64), ("unlimited", 64)]
)
@in_simulation
async def test_how_many_may_leave_soon_is_said_by_the_rate(rate, most):
    assert Lane(rate).pacer.may_leave_within(0.25, most=64) == most


@pytest.mark.parametrize("rate", ["200/s", "unlimited"])
@in_simulation
async def test_how_many_may_leave_soon_is_said_by_the_pause_and_the_ramp_too(rate):
    pacer = Lane(rate).pacer
    pacer.rate_limited(10.0)
    assert pacer.may_leave_within(0.25, most=64) == 0
    await asyncio.sleep(11.0)
    halved = {"200/s": 25, "unlimited": 3}[rate]
    assert pacer.may_leave_within(0.25, most=64) == halved


@in_simulation
async def test_a_slow_rate_takes_its_steps_as_slowly():
    lane = Lane("6/m")
    lane.pacer.rate_limited(None)
    assert lane.changes[-1].rate == "3/m"
    await asyncio.sleep(45)
    await lane.attempt()
    assert lane.changes[-1].rate == "3/m"
    await asyncio.sleep(10)
    await lane.attempt()
    assert lane.changes[-1].rate == "3.6/m"


@in_simulation
async def test_unlimited_slows_down_from_what_really_left_and_is_unlimited_again():
    lane = Lane("unlimited")
    await lane.work(2, workers=10, latency_s=0.1)
    lane.pacer.rate_limited(None)
    assert 48 <= parse_rate(lane.changes[-1].rate).count <= 56
    left = await lane.work(1, workers=10)
    assert len(left) <= 58
    await lane.work(20, workers=10)
    assert lane.changes[-1].rate == "unlimited"
    assert lane.pacer._limiter is None


@in_simulation
async def test_unlimited_obeys_a_pause():
    lane = Lane("unlimited")
    lane.pacer.rate_limited(5)
    await lane.attempt()
    assert lane.left_s[0] >= lane.start_s + 5


@in_simulation
async def test_the_longest_pause_wins_and_small_extensions_are_not_told():
    lane = Lane("20/s")
    lane.pacer.rate_limited(60)
    lane.pacer.rate_limited(1)
    for _ in range(16):
        lane.pacer.rate_limited(60)
    assert len(lane.changes) == 1
    lane.pacer.rate_limited(90)
    assert len(lane.changes) == 2
    assert lane.changes[1].until >= NOON + timedelta(seconds=90)
    assert lane.changes[1].rate == "10/s"
    await lane.attempt()
    assert lane.left_s[0] >= lane.start_s + 90


@pytest.mark.parametrize("advice", [601, 999999, float("inf")])
@in_simulation
async def test_a_pause_is_ten_minutes_at_most(advice):
    lane = Lane("20/s")
    lane.pacer.rate_limited(advice)
    await lane.attempt()
    assert 600 <= lane.left_s[0] - lane.start_s <= 602


@pytest.mark.parametrize("advice", [0, 0.0, -5, float("nan"), None])
@in_simulation
async def test_advice_that_says_nothing_counts_as_none(advice):
    lane = Lane("20/s")
    lane.pacer.rate_limited(advice)
    assert lane.changes == [PaceChange("10/s", None, lane.changes[0].why)]


@in_simulation
async def test_a_used_up_quota_pauses_everybody():
    lane = Lane("20/s")
    lane.pacer.quota_exhausted(0)
    assert not lane.changes
    lane.pacer.quota_exhausted(12)
    await lane.attempt()
    assert lane.left_s[0] >= lane.start_s + 12
    assert "quota" in lane.changes[0].why


@in_simulation
async def test_a_pause_that_begins_at_the_gate_holds_those_who_wait_there():
    lane = Lane("1/s")
    await lane.attempt()
    waiting = asyncio.create_task(lane.attempt())
    await asyncio.sleep(0.5)
    lane.pacer.rate_limited(30)
    await waiting
    assert lane.left_s[1] >= lane.start_s + 30.5


@in_simulation
async def test_a_pause_beyond_the_deadline_stops_the_run():
    lane = Lane("20/s", deadline_in_s=100)
    lane.pacer.rate_limited(50)
    assert not lane.stop
    lane.pacer.rate_limited(200)
    assert lane.stop.reason.why.startswith("deadline: ")


@in_simulation
async def test_what_on_change_raises_is_not_swallowed_and_breaks_nothing():
    def broken(change):
        raise OSError(28, "No space left on device")

    lane = Lane("20/s", on_change=broken)
    with pytest.raises(OSError, match="No space"):
        lane.pacer.rate_limited(None)
    with pytest.raises(OSError, match="No space"):
        lane.pacer.rate_limited(3)
    await asyncio.sleep(30)
    with pytest.raises(OSError, match="No space"):
        await lane.pacer.approach()
    left = await lane.work(2)
    assert len(left) >= 38


@in_simulation
async def test_a_stop_ends_every_wait_at_once():
    lane = Lane("1/m")
    await lane.attempt()
    begun_s = lane.loop.time()
    ended = await lane.stopped_after(3, workers=64)
    assert len(ended) == 64
    assert max(ended) < begun_s + 3.01
    assert len(lane.left_s) == 1


# --- the meter


def test_the_meter_counts_a_closed_window():
    meter = Meter(1.0)
    for at in (0.0, 0.5, 1.0, 2.25):
        meter.departed(at)
    assert meter.max_in_window == 3
    assert meter.rate_achieved == pytest.approx(3 / 2.25)
    assert (meter.first_s, meter.last_s, meter.peak_in_flight) == (0.0, 2.25, 4)


def test_the_meter_remembers_one_window_only():
    meter = Meter(1.0)
    for n in range(100_000):
        meter.departed(n / 1000)
        meter.in_flight -= 1
    assert len(meter._window) <= 1001
    assert meter.peak_in_flight == 1


def test_a_meter_without_departures_has_no_rate():
    meter = Meter(1.0)
    assert meter.rate_achieved == 0.0
    meter.departed(5.0)
    assert meter.rate_achieved == 0.0


@in_simulation
async def test_peak_in_flight_is_what_was_on_the_wire_at_once():
    lane = Lane("unlimited")
    await asyncio.gather(*(lane.attempt(1.0) for _ in range(7)))
    assert lane.pacer.meter.peak_in_flight == 7
    assert lane.pacer.meter.in_flight == 0


# --- retries


class Calls:
    def __init__(self, *ends):
        self.ends = list(ends)
        self.at_s = []

    async def __call__(self):
        self.at_s.append(asyncio.get_running_loop().time())
        end = self.ends.pop(0)
        if isinstance(end, BaseException):
            raise end
        return end


@pytest.mark.parametrize("kind", [NOT_CONNECTED, CUT, BAD_REPLY, TIMEOUT, SERVER, RATE_LIMITED])
@in_simulation
async def test_what_the_table_retries_is_retried_up_to_max_attempts(kind):
    calls = Calls(*(AttemptFailed(kind, left=True, message=str(n)) for n in range(9)))
    with pytest.raises(AttemptFailed) as caught:
        await retried(calls, 4, Stop())
    assert len(calls.at_s) == 4
    assert caught.value.message == "3"


@pytest.mark.parametrize("kind", [UNKNOWN_CODE, ISOLATE, REFUSED, AUTH, FORBIDDEN, NOT_FOUND, REDIRECT])
@in_simulation
async def test_what_the_table_ends_is_not_retried(kind):
    calls = Calls(AttemptFailed(kind, left=True), "never")
    with pytest.raises(AttemptFailed):
        await retried(calls, 6, Stop())
    assert len(calls.at_s) == 1


@pytest.mark.parametrize("error", [ValueError("x"), Stopping(), asyncio.CancelledError(), KeyError("x")])
@in_simulation
async def test_only_failed_attempts_are_retried(error):
    calls = Calls(error, "never")
    with pytest.raises(type(error)):
        await retried(calls, 6, Stop())
    assert len(calls.at_s) == 1


@in_simulation
async def test_back_off_is_full_jitter_and_capped():
    waits = []
    for _ in range(60):
        calls = Calls(*(AttemptFailed(SERVER, left=True) for _ in range(10)))
        with pytest.raises(AttemptFailed):
            await retried(calls, 10, Stop())
        waits.append([later - earlier for earlier, later in itertools.pairwise(calls.at_s)])
    for n, cap in enumerate([0.5, 1, 2, 4, 8, 16, 30, 30, 30]):
        nth = [wait[n] for wait in waits]
        assert max(nth) <= cap + 0.001
        assert max(nth) > cap * 0.7
        assert min(nth) < cap * 0.3


@in_simulation
async def test_where_the_gate_pauses_the_retry_adds_no_wait():
    calls = Calls(AttemptFailed(RATE_LIMITED, left=True, retry_after_s=30.0), "done")
    started_s = asyncio.get_running_loop().time()
    assert await retried(calls, 3, Stop()) == "done"
    assert calls.at_s[1] - started_s < 0.01


@in_simulation
async def test_advice_of_zero_seconds_still_backs_off():
    waits = set()
    for _ in range(5):
        calls = Calls(AttemptFailed(RATE_LIMITED, left=True, retry_after_s=0.0), "done")
        await retried(calls, 3, Stop())
        waits.add(round(calls.at_s[1] - calls.at_s[0], 4))
    assert len(waits) > 1


@in_simulation
async def test_a_stop_ends_the_back_off_with_stopping():
    stop = Stop()
    calls = Calls(*(AttemptFailed(SERVER, left=True) for _ in range(30)))
    loop = asyncio.get_running_loop()
    loop.call_later(20, stop.request, "enough")
    with pytest.raises(Stopping):
        await retried(calls, 30, stop)
    assert loop.time() < 1020.01


# --- the time of one attempt


async def _armed_wait(reply_in_s, held_for_s=0.0):
    """Wait for a reply for 5 s, while the loop is held for that long; return the seconds that it took."""
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    with Stop().interruptible() as wait:
        wait.arm(5)
        loop.block(held_for_s)
        await asyncio.sleep(reply_in_s)
    return loop.time() - started_s


@in_simulation
async def test_an_attempt_times_out_on_time():
    started_s = asyncio.get_running_loop().time()
    with pytest.raises(TimeoutError):
        await _armed_wait(5.01)
    assert asyncio.get_running_loop().time() - started_s == pytest.approx(5, abs=1e-3)


@in_simulation
async def test_what_came_while_the_process_was_stopped_is_read_before_the_attempt_times_out():
    """It may take a few turns of the loop: many replies came, and each in pieces."""
    assert await _armed_wait(0.5, held_for_s=60) == pytest.approx(60.5, abs=1e-3)
    with pytest.raises(TimeoutError):
        await _armed_wait(1.1, held_for_s=60)


def test_the_documented_numbers_are_the_ones_in_force():
    assert (ramp.FLOOR, ramp.STEP, ramp.STEP_S) == (0.05, 0.1, 2.0)
    assert pacing.LONGEST_PAUSE_S == 600
    assert Rate(20.0).whole == 20
