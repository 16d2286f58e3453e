"""The gate of a session whose rate many share: a request leaves in a slot of the database's, or waits.

Implements `Pacing`. Keeps promise 3 for all who share a rate together, whoever of them is stopped, cut off or
dead: there is no local fallback, and without the database's word nothing leaves. What the server says to one
is passed on in the next turn, and until the database has it, this one holds its own slots.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from runner.cluster.clock import OwnClock, boot_time
from runner.cluster.grants import Grant, HeldSlots, Turns
from runner.errors import Refused, RunnerError, Stopped, in_our_words
from runner.model import WallClock
from runner.send.pacing import AHEAD_S, CUT_AT_MOST_EVERY_S, Meter, PaceChange
from runner.settings import Rate
from runner.stop import Stop

__all__ = ["SlotPacer", "check_shared", "open_slots"]

TOO_SLOW_S: Final = 30.0
"""For so long at most it is hoped that a reply of the database's will come quicker."""
LAST_WORDS_S: Final = 2.0
"""For so long at the end the database is waited for, where it does not know yet what the server said."""
_WORTH_TELLING_S: Final = 1.0
_LONGEST_LOOK_S: Final = 1.0

_PAUSED: Final = "the server asked for a pause"
_OTHERS_PAUSED: Final = "the server asked for a pause, or another sender of this rate"
_TOO_MANY: Final = "the server said too many requests: rate halved"
_OTHERS_TOO_MANY: Final = "the server said too many requests to one who shares the rate: rate lowered"


class Bell:
    """Wakes whoever waits for news."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Wake all who wait."""
        self._rung.set()
        self._rung = asyncio.Event()

    async def wait(self, seconds: float) -> None:
        """Return at the next ring, or after so many seconds; infinity: at the next ring."""
        try:
            async with asyncio.timeout(None if seconds == math.inf else seconds):
                await self._rung.wait()
        except TimeoutError:
            pass


def check_shared(rate: Rate) -> None:
    """Raise Refused of a rate that cannot be shared."""
    if rate.count is None:
        raise Refused("a rate that is shared cannot be unlimited", hint="say how many: --rate 20/s, or 90/m")


@dataclass(frozen=True, slots=True)
class Clocks:
    """The clocks of a session: `wall` for what people read, `own` for slots."""

    wall: WallClock
    own: OwnClock


class SlotPacer:
    """The gate; see `open_slots`.

    Args:
        turns: The database.
        first: What a turn brought that asked for nothing.
        asked: The rate that the session was told; it is told of another.
        stop: Told when the database refuses, or a pause would end beyond its deadline.
        clocks: Both.
    """

    def __init__(self, turns: Turns, first: Grant, asked: Rate | None, stop: Stop, clocks: Clocks) -> None:
        self._on_change: Callable[[PaceChange], None] | None = None
        self.meter = Meter(first.period_s)
        self._period_s = first.period_s
        self.late = 0
        """Requests that were written after their slot: the process was held up between look and write."""
        self._turns = turns
        self._stop = stop
        self._now, self._clock = clocks.wall, clocks.own
        self._loop = asyncio.get_running_loop()
        self._slots = HeldSlots()
        self._news, self._asks = Bell(), Bell()
        self._at_gate, self._approaching = asyncio.Lock(), asyncio.Lock()
        self._near = self._waiting = 0
        self._held = self._stale = False
        self._complaint: float | None = None
        self._why = ""
        """What our last complaint was."""
        self._complained_s = self._paused_until_s = -math.inf
        self._told_pause_s = -math.inf
        """Of the database's clock."""
        self._narrow_since_s: float | None = None
        self._limit = self._allowed = Rate(first.count, first.period_s)
        self._told = asked or self._limit, self._limit
        """Which rate was told last, and what was allowed of it."""
        self._being_set: Rate | None = None
        """Whoever sets it tells of it, and a turn may hear of it first."""
        self._take(first)

    @property
    def on_change(self) -> Callable[[PaceChange], None]:
        """Called with every change; what is so already when it is set is told of soon."""
        return self._on_change or _unheard

    @on_change.setter
    def on_change(self, tell: Callable[[PaceChange], None]) -> None:
        self._on_change, self._stale = tell, True
        self._asks.ring()

    @property
    def rate(self) -> str:
        """The rate allowed just now to all who share it, as a `pace` record says it."""
        return str(self._allowed)

    @property
    def limit(self) -> str:
        """The rate of all who share it."""
        return str(self._limit)

    @property
    def held(self) -> bool:
        """Whether an operator holds this session."""
        return self._held

    async def set_rate(self, rate: Rate) -> None:
        """Let this be the rate of all who share it; raises RunnerError where it cannot be set."""
        check_shared(rate)
        self._being_set = rate
        try:
            allowed = await self._turns.set_rate(rate)
        finally:
            self._being_set = None
        self._limit, self._allowed = self._told = rate, allowed
        self.refresh()

    def hold(self) -> None:
        """Let nothing of this session leave until `go_on`."""
        self._held = True

    def go_on(self) -> None:
        """End the hold, and nothing else."""
        self._held = False
        self._ring()

    def refresh(self) -> None:
        """Drop what is held and ask anew: somebody changed the rate, or paused it."""
        self._slots.drop()
        self._stale = True
        self._ring()

    async def approach(self) -> None:
        """Wait, without a connection, until a departure is less than about `AHEAD_S` away."""
        if self._approaching.locked() or not self._is_near():
            async with self._approaching:
                while not self._is_near():
                    await self._news.wait(_LONGEST_LOOK_S)
        self._near += 1

    async def leave(self, depart: Callable[[], bool]) -> bool:
        """Wait for a slot and let `depart` write the request; False: it would not, the slot is free again.

        Nothing runs between the last look at the clock, `depart` and the look that dates it.
        """
        self._waiting += 1
        self._asks.ring()
        try:
            async with self._at_gate:
                while wait_s := self._wait_s():
                    await self._news.wait(wait_s)
                return self._depart(depart)
        finally:
            self._waiting -= 1

    def attempt_over(self, *, left: bool) -> None:
        """Note that an attempt which had approached is over."""
        if left:
            self.meter.in_flight -= 1
        else:
            self._near = max(0, self._near - 1)
            self._news.ring()

    def rate_limited(self, retry_after_s: float | None) -> None:
        """Obey a "too many", and let all who share the rate obey it."""
        if retry_after_s is not None and retry_after_s > 0:
            self._complain(retry_after_s, _PAUSED)
        elif not self._server_pause_s() and self._clock() - self._complained_s >= CUT_AT_MOST_EVERY_S:
            self._complain(0.0, _TOO_MANY)

    def quota_exhausted(self, reset_s: float) -> None:
        """Let all who share the rate pause until the server's quota is filled again, in so many seconds."""
        if reset_s > 0:
            self._complain(reset_s, "the server's quota is used up")

    def keep_pause(self, until: datetime) -> None:
        """Go on with a pause that the server asked an earlier session for, if the database does not know."""
        wait_s = (until - self._now()).total_seconds()
        if wait_s > self._server_pause_s() + _WORTH_TELLING_S:
            self._complain(wait_s, f"{_PAUSED}, before this session")

    def may_leave_within(self, seconds: float, *, most: int) -> int:
        """Return how many requests, up to `most`, the present rate and pause let leave in so many seconds."""
        free_s = max(0.0, seconds - self._pause_s())
        return min(most, math.ceil(self._allowed.per_second * free_s))

    def note(self, why: str) -> None:
        """Say something about the way to the server, as a change of the pace is said."""
        self._tell(None, why)

    async def run(self) -> None:
        """Ask for slots whenever somebody waits for one, until cancelled or until the database refuses."""
        try:
            while True:
                while (wait_s := self._ask_in_s()) > 0:
                    await self._asks.wait(wait_s)
                await self._ask()
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody asks any more, and the run must end
            self._stop.fail(in_our_words(error))

    async def pass_on(self) -> None:
        """Let all who share the rate know what the server said last, if there is time for it."""
        if self._complaint is not None:
            with suppress(RunnerError, TimeoutError):
                async with asyncio.timeout(LAST_WORDS_S):
                    await self._turns.turn(0, self._complaint)

    def _ring(self) -> None:
        self._news.ring()
        self._asks.ring()

    def _pause_s(self) -> float:
        return math.inf if self._held else self._server_pause_s()

    def _server_pause_s(self) -> float:
        return max(0.0, self._paused_until_s - self._clock())

    def _is_near(self) -> bool:
        """Tell whether one more may take a connection: by our part of the rate, for others share it."""
        if self._pause_s() > AHEAD_S:
            return False
        recent = self.meter.in_window(self._loop.time()) * AHEAD_S / self._period_s
        return self._near < max(self._slots.block, recent)

    def _wait_s(self) -> float:
        """Return how long until one may leave; 0: now, infinity: nobody knows."""
        if self._held or self._complaint is not None:
            return math.inf
        wait_s = self._slots.wait_s(self._clock())
        if wait_s == math.inf:
            self._asks.ring()
        return wait_s

    def _depart(self, depart: Callable[[], bool]) -> bool:
        if not depart():
            return False
        self.late += not self._slots.use(self._clock())
        self.meter.departed(self._loop.time())
        self._near = max(0, self._near - 1)
        self._ring()
        return True

    def _complain(self, seconds: float, why: str) -> None:
        if 0 < seconds <= self._server_pause_s():
            return
        self._complaint = max(seconds, self._complaint or 0.0)
        self._complained_s, self._why = self._clock(), why
        self._slots.drop()
        self._ring()

    def _wanted(self) -> int:
        return 0 if self._held else max(0, min(self._slots.block, self._waiting - len(self._slots)))

    def _ask_in_s(self) -> float:
        """Return how long until there is something to say to the database, or to ask it for."""
        if self._complaint is not None or self._stale:
            return 0.0
        wanted = self._wanted()
        return self._slots.ask_in_s(wanted, self._clock()) if wanted else math.inf

    async def _ask(self) -> None:
        complaint, why, self._stale = self._complaint, self._why, False
        wanted = 0 if self._slots.is_quiet(self._clock()) else self._wanted()
        grant = await self._turns.turn(wanted, complaint)
        if complaint == self._complaint:
            self._complaint = None
        self._take(grant)
        self._check_speed()
        self._tell_of(grant, "" if complaint is None else why)
        self._news.ring()

    def _take(self, grant: Grant) -> None:
        self._slots.take(grant)
        self._limit = Rate(grant.count, grant.period_s)
        self._allowed = Rate(grant.allowed, grant.period_s)
        if grant.paused_until_s > grant.at_s:
            self._paused_until_s = self._slots.own_time(grant.paused_until_s, grant.received_s)

    def _check_speed(self) -> None:
        """Raise Stopped where replies take too long, all the time: no slot could ever be used."""
        wide_s, now_s = self._slots.too_wide_s, self._clock()
        if wide_s is None:
            self._narrow_since_s = None
            return
        self._narrow_since_s = self._narrow_since_s or now_s
        if now_s - self._narrow_since_s > TOO_SLOW_S:
            raise Stopped(
                f"the way to the database is too slow to share a rate: its clock is known to within"
                f" {1000 * wide_s:.0f} ms only",
                hint="send from a machine that is nearer to it",
            )

    def _tell_of(self, grant: Grant, why: str) -> None:
        """Tell of a new pause or another rate, once each; `why`: what we had complained of, if we had."""
        if self._on_change is None:
            return
        (limit, allowed), self._told = self._told, (self._limit, self._allowed)
        if grant.paused_until_s > max(grant.at_s, self._told_pause_s + _WORTH_TELLING_S):
            self._told_pause_s = grant.paused_until_s
            self._tell_pause(grant.paused_until_s - grant.at_s, why or _OTHERS_PAUSED)
        elif limit != self._limit:
            if self._limit != self._being_set:
                self._tell(None, f"the rate that is shared is {self._limit}")
        elif self.rate != str(allowed):
            lower = self._allowed.per_second < allowed.per_second
            self._tell(None, (why or _OTHERS_TOO_MANY) if lower else "no more complaints: rate raised")

    def _tell_pause(self, wait_s: float, why: str) -> None:
        until = self._now() + timedelta(seconds=wait_s)
        deadline_s = self._stop.deadline_s
        if deadline_s is not None and self._loop.time() + wait_s > deadline_s:
            self._stop.request(f"deadline: {why} until {until:%H:%M:%S}, which is beyond it")
        self._tell(until, why)

    def _tell(self, until: datetime | None, why: str) -> None:
        self.on_change(PaceChange(self.rate, until, why))


@asynccontextmanager
async def open_slots(
    turns: Turns, stop: Stop, *, now: WallClock, clock: OwnClock = boot_time, asked: Rate | None = None
) -> AsyncIterator[SlotPacer]:
    """Open a gate that asks for slots as long as the context lasts; the first after one horizon.

    Args:
        turns: The database.
        stop: Ends every wait; told when the database refuses.
        now: The wall clock.
        clock: Ours, for slots.
        asked: The rate that the session was told, if it was told one: it is told of another.

    Raises:
        RunnerError: The database refuses already.
        Stopping: The run was told to stop first.
    """
    with stop.interruptible():
        first = await turns.turn(0, None)
    pacer = SlotPacer(turns, first, asked, stop, Clocks(now, clock))
    task = asyncio.create_task(pacer.run())
    try:
        yield pacer
    finally:
        task.cancel()
        await asyncio.wait([task])
        await pacer.pass_on()


def _unheard(_change: PaceChange) -> None:
    """Stand for a listener until there is one."""
