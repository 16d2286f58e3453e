"""Several senders of one rate on the simulated clock: a database's stand-in, bad clocks, bad ways, bad luck.

`Authority` grants as `take_slots` does (tests/cluster/test_take_slots.py holds that to the SQL itself). Each
`Machine` has a clock of its own, which is wrong in its own way, and may be stopped as a process is.
"""

import asyncio
import math
import random
from bisect import bisect_right
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta

from runner.cluster import slots
from runner.cluster.grants import Grant
from runner.cluster.slots import open_slots
from runner.settings import Rate, parse_rate
from runner.stop import Stop, Stopping

__all__ = ["Authority", "Machine", "most_in_any"]

EPOCH_S = 1_700_000_000.0
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Authority:
    """The database's side."""

    def __init__(self, rate):
        self.loop = asyncio.get_running_loop()
        self.rate = parse_rate(rate)
        self.ahead_s = EPOCH_S
        self.drift = 0.0
        self.share, self.next_step_s, self.last_cut_s = 1.0, math.inf, -math.inf
        self.next_slot_s = self.paused_until_s = -math.inf
        self.machines = []
        self.turns = 0
        self.up = asyncio.Event()
        self.up.set()
        self.connection = 0

    def now_s(self):
        return self.ahead_s + self.loop.time() * (1 + self.drift)

    def set_clock(self, by_s):
        self.ahead_s += by_s

    def notify(self):
        for machine in self.machines:
            if machine.hears and machine.pacer is not None:
                machine.pacer.refresh()

    def take(self, wanted, complaint):
        self.turns += 1
        now_s, count, period_s = self.now_s(), self.rate.count, self.rate.period_s
        climb_s = max(2.0, 5 * period_s / count)
        if self.share < 1 and now_s >= self.next_step_s:
            steps = 1 + int((now_s - self.next_step_s) / climb_s)
            self.share += 0.1 * steps
            self.next_step_s += steps * climb_s
            if self.share > 0.95:
                self.share = 1.0
        if complaint is not None and (
            complaint > 0 or (self.paused_until_s <= now_s and self.last_cut_s < now_s - 1)
        ):
            if self.paused_until_s <= now_s:
                self.share, self.last_cut_s = max(0.05, self.share / 2), now_s
            self.paused_until_s = max(self.paused_until_s, now_s + complaint)
            self.next_slot_s = max(self.next_slot_s, self.paused_until_s)
            self.next_step_s = self.paused_until_s + climb_s
            self.notify()
        step_s = (period_s + 0.03) / (count * self.share)
        first_s = max(self.next_slot_s, now_s, self.paused_until_s)
        granted = min(max(wanted, 0), max(0, math.ceil((now_s - first_s + 1) / step_s)))
        if granted:
            self.next_slot_s = first_s + granted * step_s
        return (now_s, first_s, step_s, granted, count * self.share, count, period_s, self.paused_until_s)


class FrozenBell(slots.Bell):
    """Whoever is woken in a stopped process goes on when the process does."""

    def __init__(self, machine):
        super().__init__()
        self.machine = machine

    async def wait(self, seconds):
        await super().wait(seconds)
        await self.machine.thaw()


class Machine:
    """A sender with its own clock and its own way to the database."""

    def __init__(self, authority, seed=0, *, skew_s=0.0, drift=0.0, way_s=(0.001, 0.006), hears=True):
        self.authority = authority
        self.loop = authority.loop
        self.rng = random.Random(seed)
        self.skew_s, self.drift, self.way_s, self.hears = skew_s, drift, way_s, hears
        self.frozen_until_s = -math.inf
        self.lose = 0.0
        self.connection = self._next_connection()
        self.left_s = []
        self.changes = []
        self.stop = Stop()
        self.pacer = None
        self.asked = []
        self.asked_rate = None
        authority.machines.append(self)

    def _next_connection(self):
        self.authority.connection += 1
        return self.authority.connection

    def clock(self):
        return self.skew_s + self.loop.time() * (1 + self.drift)

    def freeze(self, seconds):
        self.frozen_until_s = self.loop.time() + seconds

    async def thaw(self):
        while (left_s := self.frozen_until_s - self.loop.time()) > 0:
            await asyncio.sleep(left_s)

    async def turn(self, wanted, complaint):
        """A turn whose answer was lost is taken again, over a new connection."""
        self.asked.append((wanted, complaint))
        while True:
            await self.thaw()
            sent_s = self.clock()
            await self.authority.up.wait()
            await asyncio.sleep(self.rng.uniform(*self.way_s))
            if self.authority.up.is_set():
                answer = self.authority.take(wanted, complaint)
                await asyncio.sleep(self.rng.uniform(*self.way_s))
                if self.rng.random() >= self.lose:
                    break
            await asyncio.sleep(0.1)
            self.connection = self._next_connection()
        await self.thaw()
        at_s, *rest = answer
        return Grant(self.connection, sent_s, at_s, self.clock(), *rest)

    async def set_rate(self, rate):
        self.authority.rate = rate
        self.authority.notify()
        await asyncio.sleep(0.05)  # the next turn is sooner
        return Rate(rate.count * self.authority.share, rate.period_s)

    @asynccontextmanager
    async def open(self):
        def wall():
            return NOON + timedelta(seconds=self.loop.time())

        async with open_slots(self, self.stop, now=wall, clock=self.clock, asked=self.asked_rate) as pacer:
            pacer._news, pacer._asks = FrozenBell(self), FrozenBell(self)
            pacer._asks.ring()
            self.pacer = pacer
            pacer.on_change = self.changes.append
            try:
                yield pacer
            finally:
                self.pacer = None

    def depart(self):
        self.left_s.append(self.loop.time())
        return True

    async def attempt(self, latency_s=0.0, depart=None):
        left = False
        with self.stop.interruptible():
            await self.pacer.approach()
            try:
                left = await self.pacer.leave(depart or self.depart)
                await asyncio.sleep(latency_s)
            finally:
                self.pacer.attempt_over(left=left)

    async def work(self, for_s, senders=16, latency_s=0.03):
        """Send for that long; return the departures of that time."""
        end_s, before = self.loop.time() + for_s, len(self.left_s)

        async def sender():
            with suppress(Stopping):
                while self.loop.time() < end_s:
                    await self.attempt(latency_s)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(sender()) for _ in range(senders)]
            await asyncio.sleep(for_s)
            for task in tasks:
                task.cancel()
        return self.left_s[before:]


def most_in_any(machines, period_s):
    """Most departures of all machines together in any closed window."""
    left_s = sorted(at for machine in machines for at in machine.left_s)
    return max((bisect_right(left_s, at + period_s) - n for n, at in enumerate(left_s)), default=0)
