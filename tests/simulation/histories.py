"""Seeded histories: the real session code against a vendor, a disk and a clock in memory, until the job ends.

A seed draws a plan, limits, weather and what befalls each session (`draw`); `History` lives it, session after
session, and `tests/simulation/checks.py` holds what the audit says against what the vendor saw. Replay a
seed with `python -m tests.simulation --seed N -v`; many: `python -m tests.simulation --histories 20000`.
"""

import argparse
import asyncio
import dataclasses
import errno
import heapq
import io
import itertools
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from runner.audit.fold import Fold, feed_lines
from runner.audit.reader import AuditLines
from runner.audit.records import as_json
from runner.errors import Exit, RunnerError
from runner.model import Batch, Target, Work
from runner.settings import Limits, Rate, Safety
from tests.simulation.checks import Checks, Violation
from tests.simulation.disk import Disk, DiskFaults, ProcessFile
from tests.simulation.vendor import FAULTS, NAMINGS, Line, Spell, Vendor, Weather, wall
from tests.support.fakes import Rig
from tests.support.simclock import JUMP_S, SimulatedLoop

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
        self.kinds: dict[tuple[str, int], list[Callable[[], None]]] = {}

    def at(self, what: str, count: int, action: Callable[[], None]) -> None:
        self.kinds.setdefault((what, count), []).append(action)

    def tick(self, what: str) -> bool:
        """Count; let happen what is to happen now; tell whether the process still lives."""
        if self.alive:
            self.counts[what] += 1
            for action in self.kinds.get((what, self.counts[what]), ()):
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
            with suppress(RuntimeError, Died, RunnerError):  # one that would go on waiting
                task.get_coro().close()
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
        return dataclasses.replace(self.safety, max_failed=1.0, max_refused=1.0, max_rows_per_phone=10**6)


DATES = ("2024-07-01 08:00:00", "2024-07-26 12:00:00", "2024-08-15 23:59:59")
WINDOWS = (
    None,
    None,
    ("2024-07-26 00:00:00", "2024-07-27 23:59:59"),
    ("2024-01-01 00:00:00", "2024-07-20 00:00:00"),
)
RATES = (Rate(None), Rate(1000.0), Rate(200.0), Rate(20.0), Rate(7.5), Rate(1.0), Rate(0.5), Rate(90.0, 60.0))
SIZES = (1, 1, 2, 3, 5, 8, 20, 100)


def draw(seed: int) -> tuple[Scenario, random.Random]:
    """Return what a seed draws, and the source of chance that goes on drawing."""
    rng = random.Random(seed)
    users = [f"user-{n}" for n in range(rng.choice((1, 1, 2, 4, 6)))]
    plan = _draw_plan(rng, users)
    rows = _draw_rows(rng, plan, users)
    everybody = [phone for batch in plan for phone in batch.phones]
    weather = _draw_weather(rng, users, everybody)
    protected = rng.sample(everybody, rng.randint(0, len(everybody) // 3)) if rng.random() < 0.25 else []
    if protected and rng.random() < 0.3 and plan[0].phones:
        protected += plan[0].phones
    limits = _draw_limits(rng)
    safety = Safety(
        max_failed=rng.choice((0.05, 0.05, 0.5, 1.0)),
        max_refused=rng.choice((0.02, 0.02, 0.1, 1.0)),
        max_rows_per_phone=rng.choice((2, 20, 20, 20)),
        stop_when_empty=rng.random() < 0.5,
    )
    scenario = Scenario(
        plan, rows, limits, safety, weather, frozenset(protected), rng.choice((1, 1, 2)),
        audit_all_phones=rng.random() < 0.2, slow_syncs=rng.random() < 0.3,
    )  # fmt: skip
    return scenario, rng


def _draw_limits(rng: random.Random) -> Limits:
    return Limits(
        rate=rng.choice(RATES),
        concurrency=rng.choice((1, 2, 4, 8, 16)),
        timeout_s=rng.choice((0.5, 3.0, 30.0)),
        max_attempts=rng.choice((1, 2, 3, 6, 6)),
    )


def _draw_plan(rng: random.Random, users: list[str]) -> list[Batch]:
    count = rng.choice((1, 2, 4, 6, 8, 12, 16, 24, 24, 40))
    windows = rng.randint(1, 3) if rng.random() < 0.15 else 0
    size = rng.choice(SIZES)
    serial = itertools.count()
    plan = []
    for seq in range(1, count + 1):
        user = rng.choice(users) if rng.random() < 0.3 else users[(seq - 1) * len(users) // count]
        if seq > count - windows:
            plan.append(Batch(seq, Target(user, _window(count - seq), delete_window=True), ()))
            continue
        encryption = rng.random() < 0.05
        target = Target(user, rng.choice(WINDOWS), encryption=encryption)
        many = rng.choice((size, size, rng.choice(SIZES)))
        phones = tuple(f"138{next(serial):08d}" + "=" * encryption for _ in range(many))
        plan.append(Batch(seq, target, phones))
    return plan


def _window(n: int) -> tuple[str, str]:
    return f"2024-07-0{1 + n} 00:00:00", f"2024-07-2{6 - n} 23:59:59"


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
    if everybody and rng.random() < 0.3:
        most = rng.choice((1, 1, 2, 5, len(everybody) // 10, len(everybody) // 3, len(everybody)))
        weather.bad_phones = frozenset(rng.sample(everybody, min(most, len(everybody))))
    weather.refusal = rng.choice((400, 422, 6007, 413))
    weather.naming = rng.choice(sorted(NAMINGS))
    weather.wrong_path = rng.random() < 0.1
    if rng.random() < 0.05:
        weather.most_phones = rng.choice((1, 10, 50))
    if rng.random() < 0.12:
        weather.strange_users = {rng.choice(users): rng.choice((403, 404))}
    if rng.random() < 0.08:
        weather.token_ends_s = 1000 + rng.uniform(0, 5)
    if rng.random() < 0.04:
        weather.redirects_from_s = 1000 + rng.uniform(0, 5)
    if rng.random() < 0.06:
        weather.untrusted_from_s = 1000 + rng.uniform(0, 5)
    return weather


class MemoryLines(AuditLines):
    """An audit's lines from bytes, chain proved, by the real reader."""

    def __init__(self, data: bytes) -> None:
        super().__init__("audit", verify_chain=True)
        self._data = data

    def __iter__(self) -> Iterator[bytes]:
        yield from self._lines(io.BytesIO(self._data).readline)


def _read(process: "Process", works: Iterator[Work]) -> Iterator[Work]:
    """The plan, which cannot be read beyond some batch."""
    for number, work in enumerate(works, start=1):
        if number == process.plan_fails_at:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        yield work


@dataclass
class Process:
    """One session's process: what it runs on, and how it ended."""

    session: int
    limits: Limits
    safety: Safety
    protected: frozenset[str]
    life: Life
    loop: MortalLoop
    faults: DiskFaults
    rig: Rig = None
    file: ProcessFile = None
    line: Line = None
    plan_fails_at: int | None = None
    power_lost: bool = False
    abandoned: bool = False
    summary: dict | None = None
    recorded: bool = False
    ended_s: float | None = None  # None: it was killed


class History:
    """One seed's history, from the first session to the last."""

    def __init__(self, seed: int, tell: Callable[[str], None] | None = None) -> None:
        self.seed = seed
        self.note = tell or (lambda words: None)
        random.seed(seed)  # the runner's jitter
        self.scenario, self.rng = draw(seed)
        self.disk = Disk([len(batch.phones) for batch in self.scenario.plan])
        rows = {
            user: {phone: list(dates) for phone, dates in pool.items()}
            for user, pool in self.scenario.rows.items()
        }
        self.vendor = Vendor(rows, self.scenario.weather)
        self.checks = Checks(self.scenario, self.disk, self.vendor, tell)
        self.clock_s = 1000.0
        self.sessions = 0
        self.seen = self.checks.seen
        """What occurred, and how often: faults, records, ends."""

    def run(self) -> None:
        """Live it; raises Violation."""
        while len(self.disk.written.ended) < len(self.scenario.plan):
            self.sessions += 1
            if self.sessions > MOST_SESSIONS:
                raise Violation("the job does not end")
            self._live_session()
        self.checks.at_the_end()

    def _live_session(self) -> None:
        process = self._draw_process()
        loop = process.loop
        self.note(f"--- session {self.sessions}: {process.limits}, {process.safety}")
        try:
            loop.run_until_complete(self._session(process))
        except Died:
            self.seen["power cut" if process.power_lost else "killed"] += 1
        finally:
            loop.bury()
        self.clock_s = loop.time() + self.rng.choice((0.0, 1.0, 40.0))
        self.vendor.work_until(self.clock_s)
        if loop.complaints:
            raise Violation(f"the loop complains: {loop.complaints[0]}")
        self.checks.raise_first()
        self._outlive(process)
        self.checks.after_session(process)
        self._renew()

    def _outlive(self, process: Process) -> None:
        """Leave on the disk what a kill or a power cut leaves, as the next opening finds and repairs it."""
        disk = self.disk
        if process.ended_s is None or process.file.broken:
            kept = self.rng.randint(disk.durable, len(disk.data)) if process.power_lost else len(disk.data)
            gone = len(disk.data) - kept
            torn = disk.survive(kept)
            self.seen["torn"] += torn > 0
            self.note(f"    the disk keeps {kept} bytes, {gone} are gone, {torn} torn")
        else:
            self.seen[f"exit {process.summary['exit_code']}"] += 1

    def _renew(self) -> None:
        """Do what a person does between two sessions: a new token, a mended address."""
        weather = self.scenario.weather
        if weather.token_ends_s <= self.clock_s:
            calm = self.sessions > 3 or self.rng.random() < 0.5
            weather.token_ends_s = float("inf") if calm else self.clock_s + self.rng.uniform(0, 5)
        weather.wrong_path = weather.wrong_path and self.sessions < 3 and self.rng.random() < 0.5
        if weather.redirects_from_s <= self.clock_s:
            weather.redirects_from_s = float("inf")
        if weather.untrusted_from_s <= self.clock_s:
            weather.untrusted_from_s = float("inf")

    async def _session(self, process: Process) -> None:
        scenario, disk, checks = self.scenario, self.disk, self.checks
        fold = Fold("audit", phones_of=disk.size_of)
        feed_lines(fold, MemoryLines(bytes(disk.data)))
        process.file = ProcessFile(disk, process.faults, process.life, asyncio.sleep)

        def connect(rig: Rig) -> Line:
            return Line(
                self.vendor,
                rig.pacer,
                rig.stop,
                process.limits.timeout_s,
                checks.departing,
                checks.attempt_over,
            )

        process.rig = rig = Rig(
            scenario.plan,
            file=process.file,
            limits=process.limits,
            safety=process.safety,
            protected=process.protected,
            audit_all_phones=scenario.audit_all_phones,
            on_record=checks.recorded,
            fold=fold,
            now=lambda: wall(process.loop.time()),
            connect=connect,
        )
        process.line = rig.api
        checks.before_session(process)
        summary, unrecorded = await rig.session.run(_read(process, rig.works()))
        process.summary, process.recorded = as_json(summary), unrecorded is None
        if process.life.alive:
            process.ended_s = process.loop.time()

    def _draw_process(self) -> Process:
        """Draw what befalls the next session."""
        rng, scenario = self.rng, self.scenario
        if self.sessions > 1 and rng.random() < 0.2:
            scenario.limits = _draw_limits(rng)  # given anew at a resume
        scenario.weather.calm = calm = self.sessions >= CALM_FROM
        life = Life()
        loop = MortalLoop(self.clock_s, life)
        process = Process(
            self.sessions,
            scenario.limits,
            scenario.safety_of(self.sessions),
            scenario.protected if self.sessions >= scenario.protected_from else frozenset(),
            life,
            loop,
            DiskFaults(rng=random.Random(rng.random())),
        )
        if scenario.slow_syncs:
            process.faults.slow_share, process.faults.slow_sync_s = rng.choice(
                ((0.02, 0.5), (0.2, 0.05), (1, 0.02), (1, 0.4), (0.2, 1.0))
            )
        if rng.random() < 0.3:
            process.faults.stalls_at, process.faults.stall_s = rng.randint(1, 12), rng.choice((0.5, 2.0, 9.0))
        if not calm:
            befall = rng.choices(list(BEFALLS), [share for share, _ in BEFALLS.values()])[0]
            BEFALLS[befall][1](process, rng)
            if rng.random() < 0.15:
                for _ in range(rng.randint(1, 4)):
                    loop.call_at(
                        self.clock_s + rng.uniform(0, 10), loop.block, rng.choice((0.05, 0.9, 3.0, 100.0))
                    )
        return process


def _moment(rng: random.Random) -> tuple[str, int]:
    what = rng.choice(("step", "step", "append", "appended", "sync", "synced", "depart", "departed"))
    return what, int(10 ** rng.uniform(0, 3.7 if what == "step" else 1.7))


def _nothing(process: Process, rng: random.Random) -> None:
    pass


def _kill(process: Process, rng: random.Random) -> None:
    process.faults.torn_when_killed = rng.random() < 0.5
    process.life.at(*_moment(rng), process.life.die)


def _power_cut(process: Process, rng: random.Random) -> None:
    def cut() -> None:
        process.power_lost = True
        process.life.die()

    process.life.at(*_moment(rng), cut)


def _unheard(_name: str) -> None:
    """There is no screen."""


def _signal(process: Process, rng: random.Random) -> None:
    life, loop = process.life, process.loop
    again = rng.choice((None, None, 0.0, rng.uniform(0, 1)))
    killed_after = rng.randint(1, 300) if rng.random() < 0.2 else None
    number = rng.choice((Exit.SIGINT, Exit.SIGTERM))

    def abandon() -> None:
        process.abandoned = True
        process.rig.stop.signal(number.name, number, _unheard)

    def receive() -> None:
        if process.rig is None:  # before the run, where a signal ends the program
            life.die()
            return
        process.rig.stop.signal(number.name, number, _unheard)
        if again is not None:
            loop.call_later(again, abandon)
        if killed_after is not None:
            life.at("step", life.counts["step"] + killed_after, life.die)

    life.at(*_moment(rng), lambda: loop.call_soon(receive))


def _disk_full(process: Process, rng: random.Random) -> None:
    process.faults.full_at = int(10 ** rng.uniform(0, 1.8))
    process.faults.full_for = rng.choice((1, 10**9))
    process.faults.torn_when_full = rng.random() < 0.3


def _sync_fails(process: Process, rng: random.Random) -> None:
    process.faults.sync_fails_at = int(10 ** rng.uniform(0, 1.3))


def _audit_moved(process: Process, rng: random.Random) -> None:
    process.faults.moved_at = int(10 ** rng.uniform(0, 1.3))


def _plan_fails(process: Process, rng: random.Random) -> None:
    process.plan_fails_at = int(10 ** rng.uniform(0, 1.5))


def _deadline(process: Process, rng: random.Random) -> None:
    process.limits = dataclasses.replace(process.limits, deadline_s=rng.choice((1.0, 5.0, 60.0, 600.0)))


BEFALLS: dict[str, tuple[int, Callable[[Process, random.Random], None]]] = {
    "nothing": (30, _nothing),
    "kill": (26, _kill),
    "power cut": (16, _power_cut),
    "signal": (14, _signal),
    "disk full": (6, _disk_full),
    "sync fails": (4, _sync_fails),
    "audit moved": (4, _audit_moved),
    "deadline": (4, _deadline),
    "plan fails": (4, _plan_fails),
}
"""What may befall a session, with its weight; a new one needs a line here."""


def live(seed: int, tell: Callable[[str], None] | None = None) -> History:
    """Live one seed's history; raises Violation, naming the seed."""
    history = History(seed, tell)
    try:
        history.run()
    except Exception as error:
        error.add_note(f"replay: python -m tests.simulation --seed {seed} -v")
        raise
    return history


def live_many(seeds: range) -> tuple[Counter[str], list[int]]:
    """Live many; print what fails; return what occurred how often, and the seeds that failed."""
    seen: Counter[str] = Counter()
    failed = []
    for seed in seeds:
        try:
            history = live(seed)
        except Exception as error:  # noqa: BLE001 - every failure is printed with its seed
            failed.append(seed)
            print(f"seed {seed}: {error!r}\n  replay: python -m tests.simulation --seed {seed} -v")
        else:
            seen += history.seen
            seen["sessions"] += history.sessions
            seen["requests"] += len(history.vendor.visits)
    return seen, failed


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, help="replay one history")
    parser.add_argument("-v", "--verbose", action="store_true", help="tell the history")
    parser.add_argument("--histories", type=int, default=500)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    given = parser.parse_args()
    if given.seed is not None:
        history = live(given.seed, print if given.verbose else None)
        print(f"seed {given.seed}: holds; {history.sessions} sessions, {len(history.vendor.visits)} requests")
        return 0
    began = time.perf_counter()
    seen, failed = live_many(range(given.first, given.first + given.histories))
    took = time.perf_counter() - began
    print(f"{given.histories} histories in {took:.1f} s, {len(failed)} failed: {failed[:50]}")
    print(", ".join(f"{name} {count:,}" for name, count in seen.most_common()))
    return 1 if failed else 0
