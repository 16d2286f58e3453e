"""Seeded histories: the real session code against a vendor, a disk and a clock in memory, until the job ends.

A seed draws a plan, limits, weather and what befalls each session (`draw`); `History` lives it, session after
session, and `tests/simchecks.py` holds what the audit says against what the vendor saw. Replay a seed with
`python -m tests.simulation --seed N -v`, run many with `python -m tests.simulation --histories 20000`.
"""

import argparse
import asyncio
import dataclasses
import gc
import heapq
import io
import itertools
import random
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from runner.errors import Exit, RunnerError
from runner.history import AuditLines
from runner.ledger import Fold, feed_lines
from runner.model import Batch, DeleteRequest, Target, Work
from runner.settings import Limits, Rate, Safety
from tests.fakes import Rig
from tests.simchecks import Checks, Violation
from tests.simclock import JUMP_S, SimulatedLoop
from tests.simdisk import Disk, DiskFaults, ProcessFile
from tests.simvendor import FAULTS, Line, Spell, Vendor, Visit, Weather, wall

__all__ = ["History", "Scenario", "draw", "live"]

CALM_FROM = 6
"""From this session on nothing more goes wrong, so that every job ends."""
MOST_SESSIONS = 40
MOST_STEPS = 400_000


class Died(BaseException):
    """The process is no more."""


class Life:
    """What befalls one process: something happens at the n-th of the things that are counted."""

    def __init__(self) -> None:
        self.alive = True
        self.counts: Counter[str] = Counter()
        self.fates: dict[tuple[str, int], list[Callable[[], None]]] = {}

    def at(self, what: str, count: int, action: Callable[[], None]) -> None:
        self.fates.setdefault((what, count), []).append(action)

    def tick(self, what: str) -> bool:
        """Count; let happen what is to happen now; tell whether the process still lives."""
        if self.alive:
            self.counts[what] += 1
            for action in self.fates.get((what, self.counts[what]), ()):
                action()
        return self.alive

    def die(self) -> None:
        self.alive = False


class MortalLoop(SimulatedLoop):
    """Runs one callback at a time, so that its process can die between any two."""

    def __init__(self, start_s: float, life: Life) -> None:
        super().__init__(start_s)
        self.life = life
        self.blocked_s = 0.0
        self.last_block_s = 0.0
        self.complaints: list[str] = []
        self.set_exception_handler(lambda _, context: self.complaints.append(str(context)))

    def block(self, seconds: float) -> None:
        super().block(seconds)
        self.blocked_s += seconds
        self.last_block_s = self.time()

    def _run_once(self) -> None:
        scheduled, ready = self._scheduled, self._ready
        if not ready:
            while scheduled and scheduled[0]._cancelled:
                heapq.heappop(scheduled)._scheduled = False
            if not scheduled:
                raise RuntimeError("the simulation is stuck: nothing is ready and no timer is set")
            self._simulated_s = max(self._simulated_s, scheduled[0]._when + JUMP_S)
        while scheduled and scheduled[0]._when <= self._simulated_s:
            timer = heapq.heappop(scheduled)
            timer._scheduled = False
            if not timer._cancelled:
                ready.append(timer)
        if ready:
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()
        if not self.life.tick("step"):
            raise Died
        if self.life.counts["step"] > MOST_STEPS:
            raise RuntimeError("the simulation spins")

    def bury(self) -> None:
        """Close what is left of a process; nothing it does from now on has an effect."""
        self.set_exception_handler(lambda _, context: None)
        for task in asyncio.all_tasks(self):
            task._log_destroy_pending = False
            try:
                task.get_coro().close()
            except (RuntimeError, Died, RunnerError):
                pass  # a coroutine that would go on waiting
        self._ready.clear()
        self._scheduled.clear()
        self.close()


@dataclass
class Scenario:
    """What a seed draws for a whole history."""

    plan: list[Batch]
    rows: dict[str, dict[str, list[str]]]
    limits: Limits
    safety: Safety
    weather: Weather
    protected: frozenset[str]
    protected_from: int
    audit_all_phones: bool
    slow_syncs: bool

    def safety_of(self, session: int) -> Safety:
        """Rules given anew in calm sessions, so that no rule stops the run for ever."""
        if session < CALM_FROM:
            return self.safety
        return dataclasses.replace(self.safety, max_failed=1.0, max_rows_per_phone=10**6)


DATES = ("2024-07-01 08:00:00", "2024-07-26 12:00:00", "2024-08-15 23:59:59")
WINDOWS = (None, None, ("2024-07-26 00:00:00", "2024-07-27 23:59:59"), ("2024-01-01 00:00:00", "2024-07-20 00:00:00"))
RATES = (Rate(None), Rate(1000.0), Rate(200.0), Rate(20.0), Rate(7.5), Rate(1.0), Rate(0.5), Rate(90.0, 60.0))
SIZES = (1, 1, 2, 3, 5, 8, 20, 100)


def draw(seed: int) -> tuple[Scenario, random.Random]:
    """Return what a seed draws, and the source of chance that goes on drawing."""
    rng = random.Random(seed)
    users = [f"user-{n}" for n in range(rng.choice((1, 1, 2, 4)))]
    plan = _draw_plan(rng, users)
    rows = _draw_rows(rng, plan, users)
    everybody = [phone for batch in plan for phone in batch.phones]
    weather = _draw_weather(rng, users, everybody)
    protected = rng.sample(everybody, rng.randint(0, len(everybody) // 3)) if rng.random() < 0.25 else []
    if protected and rng.random() < 0.3 and plan[0].phones:
        protected += plan[0].phones
    limits = Limits(
        rate=rng.choice(RATES),
        concurrency=rng.choice((1, 2, 4, 8, 16)),
        timeout_s=rng.choice((0.5, 3.0, 30.0)),
        max_attempts=rng.choice((1, 2, 3, 6, 6)),
    )
    safety = Safety(
        max_failed=rng.choice((0.05, 0.05, 0.5, 1.0)),
        max_rows_per_phone=rng.choice((2, 20, 20, 20)),
        stop_when_empty=rng.random() < 0.5,
    )
    scenario = Scenario(
        plan, rows, limits, safety, weather, frozenset(protected), rng.choice((1, 1, 2)),
        audit_all_phones=rng.random() < 0.2, slow_syncs=rng.random() < 0.2,
    )  # fmt: skip
    return scenario, rng


def _draw_plan(rng: random.Random, users: list[str]) -> list[Batch]:
    count = rng.choice((1, 2, 4, 6, 8, 12, 16, 24, 24, 40))
    windows = rng.randint(1, 3) if rng.random() < 0.15 else 0
    size = rng.choice(SIZES)
    serial = itertools.count()
    plan = []
    for seq in range(1, count + 1):
        user = rng.choice(users) if rng.random() < 0.3 else users[(seq - 1) * len(users) // count]
        if seq > count - windows:
            plan.append(Batch(seq, Target(user, rng.choice(WINDOWS[2:]), delete_window=True), ()))
            continue
        encryption = rng.random() < 0.05
        target = Target(user, rng.choice(WINDOWS), encryption=encryption)
        many = rng.choice((size, size, rng.choice(SIZES)))
        phones = tuple(f"138{next(serial):08d}" + "=" * encryption for _ in range(many))
        plan.append(Batch(seq, target, phones))
    return plan


def _draw_rows(rng: random.Random, plan: list[Batch], users: list[str]) -> dict[str, dict[str, list[str]]]:
    rows: dict[str, dict[str, list[str]]] = {user: {} for user in [*users, "stranger"]}
    empty = rng.random() < 0.08
    heavy = rng.random() < 0.1
    for batch in plan:
        pool = rows[batch.target.user_id]
        for phone in batch.phones:
            many = 0 if empty else rng.choice((0, 1, 1, 2))
            pool[phone] = [rng.choice(DATES) for _ in range(many)]
            if rng.random() < 0.02:
                rows["stranger"][phone] = [rng.choice(DATES)]
        if heavy and batch.phones and rng.random() < 0.1:
            pool[batch.phones[0]] = [DATES[1]] * (25 * len(batch.phones))
    for user in users:
        for n in range(5):
            rows[user][f"199{n:08d}"] = [rng.choice(DATES)]
    return rows


def _draw_weather(rng: random.Random, users: list[str], everybody: list[str]) -> Weather:
    weather = Weather(random.Random(rng.random()), slowest_s=rng.choice((0.01, 0.05, 0.5)))
    for _ in range(rng.choice((0, 1, 1, 2, 3, 5))):
        name = rng.choice(sorted(FAULTS))
        start = 1000.0 + rng.choice((0.0, rng.uniform(0, 10)))
        if rng.random() < 0.5:
            weather.spells.append(Spell(name, rng.choice((0.02, 0.1, 0.3)), start, 1e9))
        else:
            weather.spells.append(Spell(name, rng.choice((0.5, 1.0)), start, start + rng.choice((1, 5, 60))))
    if rng.random() < 0.1:
        weather.refuse_connection = rng.choice((0.05, 0.3, 1.0))
    if rng.random() < 0.1:
        weather.stale = 0.2
    if everybody and rng.random() < 0.25:
        most = rng.choice((1, 2, len(everybody) // 10, len(everybody)))
        weather.bad_phones = frozenset(rng.sample(everybody, min(most, len(everybody))))
    weather.refusal = rng.choice((400, 422, 6007, 413))
    if rng.random() < 0.05:
        weather.most_phones = rng.choice((1, 10, 50))
    if rng.random() < 0.12:
        weather.strange_users = {rng.choice(users): rng.choice((403, 404))}
    if rng.random() < 0.08:
        weather.token_ends_s = 1000 + rng.uniform(0, 5)
    if rng.random() < 0.04:
        weather.redirects_from_s = 1000 + rng.uniform(0, 5)
    return weather


class MemoryLines(AuditLines):
    """An audit's lines from bytes, chain proved, by the real reader."""

    def __init__(self, data: bytes) -> None:
        super().__init__("audit", verify_chain=True)
        self._data = data

    def __iter__(self) -> Iterator[bytes]:
        yield from self._lines(io.BytesIO(self._data).readline)


@dataclass
class Ending:
    """What befell one session, for the checks."""

    session: int
    limits: Limits
    rig: Rig
    life: Life
    loop: MortalLoop
    file: ProcessFile
    line: Line
    power_lost: bool = False
    summary: dict | None = None
    recorded: bool = False
    returned: bool = False
    ended_s: float = 0.0


class History:
    """One seed's history, from the first session to the last."""

    def __init__(self, seed: int, tell: Callable[[str], None] | None = None) -> None:
        self.seed = seed
        self.tell = tell
        random.seed(seed)  # the runner's jitter
        self.scenario, self.rng = draw(seed)
        self.disk = Disk([len(batch.phones) for batch in self.scenario.plan])
        self.vendor = Vendor(
            {user: {phone: list(dates) for phone, dates in pool.items()}
             for user, pool in self.scenario.rows.items()},
            self.scenario.weather,
        )  # fmt: skip
        self.checks = Checks(self.scenario, self.disk, self.vendor, self.note)
        self.clock_s = 1000.0
        self.sessions = 0
        self.kinds: Counter[str] = Counter()

    def note(self, words: str) -> None:
        if self.tell is not None:
            self.tell(words)

    def run(self) -> None:
        """Live it; raises Violation."""
        while len(self.disk.written.ended) < len(self.scenario.plan):
            self.sessions += 1
            if self.sessions > MOST_SESSIONS:
                raise Violation("the job does not end")
            self._live_session()
        self.checks.at_the_end()

    def _live_session(self) -> None:
        life = Life()
        loop = MortalLoop(self.clock_s, life)
        self.scenario.weather.calm = self.sessions >= CALM_FROM
        ending = None
        try:
            ending = loop.run_until_complete(self._start(life, loop))
            self._name_kind(life, ending)
        finally:
            self.clock_s = loop.time() + self.rng.choice((0.0, 1.0, 40.0))
            self.vendor.work_until(self.clock_s)
            loop.bury()
        if loop.complaints:
            raise Violation(f"the loop complains: {loop.complaints[0]}")
        self._renew(ending)

    async def _start(self, life: Life, loop: MortalLoop) -> Ending:
        raise NotImplementedError
