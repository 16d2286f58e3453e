"""When the next request may leave: the gate, the server's word on it, and the back-off between attempts.

Keeps promise 3: in every sliding window of one second (one minute for N/m) at most the configured rate
leaves, by construction and not by tuning. A request leaves inside `Pacer.leave`, between a look at the clock
that allows it and a second look that dates it; the window counts from the later look, so that no blocked
loop, no stopped process and no changed rate can put one request too many into it. aiolimiter makes the flow
smooth; it guards nothing. This room never sends, never reads a reply, and its waits are plain: the caller
wraps them in `Stop.interruptible()`, so that a stop ends each at once.

When the server says "too many" the rate halves (`ramp`), once in `CUT_AT_MOST_EVERY_S`; with advice on how
long, everybody pauses until then first. An operator may set another rate, and hold everything: the hold and
the server's pauses know nothing of each other, and requests leave when neither lasts. Whoever waits in here
learns of an order at once.
"""

import asyncio
import math
import random
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeVar

from aiolimiter import AsyncLimiter
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    wait_random_exponential,
)

from runner.model import WallClock
from runner.outcomes import AttemptFailed
from runner.send.guard import MARGIN_S, Guard
from runner.send.ramp import Ramp
from runner.settings import Rate
from runner.stop import Stop

__all__ = ["AHEAD_S", "CUT_AT_MOST_EVERY_S", "Meter", "PaceChange", "Pacer", "retried"]

BURST_S: Final = 0.02
"""After a hiccup at most what belongs to this much time leaves at once."""
AHEAD_S: Final = 5.0
"""Nobody holds a connection at the gate for longer than about this."""
LONGEST_PAUSE_S: Final = 600.0
CUT_AT_MOST_EVERY_S: Final = 1.0

_Result = TypeVar("_Result")
_LONGEST_JITTER_S = 1.0
_JITTER_SHARE = 0.05
_LONGEST_LOOK_S = 1.0
_WORTH_TELLING_S = 1.0
_LONGEST_BACK_OFF_S = 30.0


@dataclass(frozen=True, slots=True)
class PaceChange:
    """The allowed rate changed, or everybody pauses: the content of a `pace` record."""

    rate: str
    """`12.5/s`, `30/m` or `unlimited`; with a pause, the rate after it."""
    until: datetime | None
    """When the pause ends; None: there is none."""
    why: str


class Meter:
    """What really left, counted apart from the guard that limits it.

    Remembers the departures of one period: of a second, what a process can send in it; of a minute, the rate.
    """

    def __init__(self, period_s: float) -> None:
        self._period_s = period_s
        self._window: deque[float] = deque()
        self.departures = 0
        self.max_in_window = 0
        """Most departures in any closed window of one period."""
        self.in_flight = 0
        self.peak_in_flight = 0
        self.first_s: float | None = None
        """Loop time of the first departure."""
        self.last_s: float | None = None

    @property
    def rate_achieved(self) -> float:
        """Requests a second between the first and the last departure; 0 where there is no between."""
        if self.first_s is None or self.last_s is None or self.last_s <= self.first_s:
            return 0.0
        return (self.departures - 1) / (self.last_s - self.first_s)

    def in_window(self, at_s: float) -> int:
        """Return how many left in the period that ends at this loop time."""
        window, since_s = self._window, at_s - self._period_s
        while window and window[0] < since_s:
            window.popleft()
        return len(window)

    def recent(self, at_s: float) -> tuple[float, ...]:
        """Return when those left that left in the period which ends at this loop time."""
        self.in_window(at_s)
        return tuple(self._window)

    def departed(self, at_s: float) -> None:
        """Note a departure at this loop time."""
        self._window.append(at_s)
        if (in_window := self.in_window(at_s)) > self.max_in_window:
            self.max_in_window = in_window
        self.departures += 1
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
        if self.first_s is None:
            self.first_s = at_s
        self.last_s = at_s


class Pacer:
    """The gate of one session; implements `model.Gate`, first come, first served.

    Create it inside the running loop; all its times are the loop's. The waits in it are plain: the caller
    wraps them in `Stop.interruptible()`.

    Args:
        rate: The configured rate; what leaves is never more.
        stop: Told when a pause would end beyond its deadline.
        now: The wall clock, for `PaceChange.until`.
    """

    def __init__(self, rate: Rate, stop: Stop, *, now: WallClock) -> None:
        self.on_change: Callable[[PaceChange], None] = lambda _change: None
        """Called with every change, after it took effect; what it raises goes to whoever caused the change
        (`rate_limited`, `quota_exhausted`, `approach`), never through a request."""
        self._loop = asyncio.get_running_loop()
        self._stop = stop
        self._now = now
        self.meter = Meter(rate.period_s)
        self._guard = Guard(rate)
        self._ramp = Ramp(rate)
        self._limiter = _limiter(rate)
        self._free_at_first: float | None = 1.0
        self._has_token = False
        self._held = False
        self._waits: dict[asyncio.Timeout, None] = {}
        """Those that an order ends."""
        self._at_gate = asyncio.Lock()
        self._approaching = asyncio.Lock()
        self._near = 0
        self._paused_until_s = self._last_cut_s = self._loop.time() - CUT_AT_MOST_EVERY_S

    @property
    def rate(self) -> str:
        """The rate allowed just now, as a `pace` record says it."""
        return str(self._ramp.rate)

    @property
    def limit(self) -> str:
        """The rate that was configured, or that an operator set since."""
        return str(self._ramp.configured)

    @property
    def held(self) -> bool:
        """Whether an operator holds everything."""
        return self._held

    async def set_rate(self, rate: Rate) -> None:
        """Let this be the configured rate from now on; after a complaint of the server's it is climbed to."""
        now_s = self._loop.time()
        self._guard = self._guard.followed_by(rate, now_s, self.meter.recent(now_s))
        self._ramp.aim_at(rate)
        self._rate_changed()
        self._end_waits()

    def hold(self) -> None:
        """Let nothing leave until `go_on`, whatever the server says; what is on the wire comes to its end."""
        self._held = True

    def go_on(self) -> None:
        """End the hold, and nothing else: a pause that the server asked for lasts as long as it said."""
        self._held = False
        self._ramp.hold(max(self._loop.time(), self._paused_until_s))
        self._end_waits()

    async def approach(self) -> None:
        """Wait, without a connection, until a departure is less than about `AHEAD_S` away."""
        if not self._is_free():
            self._climb()
            if self._approaching.locked() or self._far_s() > 0:
                async with self._approaching:
                    while (far_s := self._far_s()) > 0:
                        await self._wait(asyncio.sleep(min(far_s, _LONGEST_LOOK_S)))
                        self._climb()
        self._near += 1

    async def leave(self, depart: Callable[[], bool]) -> bool:
        """Wait for a turn and let `depart` write the request; False: it would not, the turn is free again.

        Nothing runs between the last look at the clock, `depart` and the note of it.
        """
        if self._is_free():
            return self._depart(depart)
        async with self._at_gate:
            while not await self._turn_has_come():
                pass
            return self._depart(depart)

    def attempt_over(self, *, left: bool) -> None:
        """Note that an attempt which had approached is over."""
        if left:
            self.meter.in_flight -= 1
        else:
            self._near = max(0, self._near - 1)

    def rate_limited(self, retry_after_s: float | None) -> None:
        """Obey a "too many": pause everybody for that many seconds, or, without advice, halve the rate."""
        if retry_after_s is not None and retry_after_s > 0:
            self._pause(retry_after_s, "the server asked for a pause")
            return
        now_s = self._loop.time()
        if self._server_pause_s() or now_s - self._last_cut_s < CUT_AT_MOST_EVERY_S:
            return
        before = self.rate
        self._cut(now_s)
        if self.rate != before:  # at the floor it stays as it is
            self._tell(None, "the server said too many requests: rate halved")

    def quota_exhausted(self, reset_s: float) -> None:
        """Pause everybody until the server's quota is filled again, in that many seconds."""
        if reset_s > 0:
            self._pause(reset_s, "the server's quota is used up")

    def keep_pause(self, until: datetime) -> None:
        """Go on with a pause that the server asked an earlier session for, if it still runs."""
        wait_s = (until - self._now()).total_seconds()
        if wait_s > 0:
            self._pause(wait_s, "the server asked for a pause, before this session")

    def may_leave_within(self, seconds: float, *, most: int) -> int:
        """Return how many requests, up to `most`, the present rate and pause let leave in so many seconds."""
        free_s = max(0.0, seconds - self._pause_s())
        rate = self._ramp.rate
        if rate.count is None:
            return most if free_s else 0
        return min(most, math.ceil(rate.per_second * free_s))

    def _is_free(self) -> bool:
        """Tell whether nothing holds a request up just now."""
        return self._limiter is None and not self._held and self._paused_until_s <= self._loop.time()

    def _pause_s(self) -> float:
        return math.inf if self._held else self._server_pause_s()

    def _server_pause_s(self) -> float:
        return max(0.0, self._paused_until_s - self._loop.time())

    def _far_s(self) -> float:
        """Return how much too early it is to take a connection for one more departure."""
        now_s = self._loop.time()
        due_s = now_s + max(self._pause_s(), self._guard.wait_s(now_s))
        per_second = self._ramp.rate.per_second
        if self.meter.last_s is not None:
            due_s = max(due_s, self.meter.last_s + 1 / per_second)
        return due_s + self._near / per_second - now_s - AHEAD_S

    async def _turn_has_come(self) -> bool:
        """Wait for pause, flow and window, one after the other; tell whether all three still agree."""
        if pause_s := self._pause_s():
            await self._wait(asyncio.sleep(min(pause_s, LONGEST_PAUSE_S)))
        elif not self._has_token and self._limiter is not None:
            await self._wait(self._take_token(self._limiter))
        elif wait_s := self._guard.wait_s(self._loop.time()):
            await self._wait(asyncio.sleep(wait_s))
        else:
            return True
        return False

    async def _wait(self, waiting: Awaitable[None]) -> None:
        """Await this, or until an order changes what it waits for."""
        timeout = asyncio.timeout(None)
        try:
            async with timeout:
                self._waits[timeout] = None
                await waiting
        except TimeoutError:
            pass
        finally:
            self._waits.pop(timeout, None)

    def _end_waits(self) -> None:
        waits, self._waits = self._waits, {}
        for timeout in waits:
            timeout.reschedule(self._loop.time())

    async def _take_token(self, limiter: AsyncLimiter) -> None:
        if self._free_at_first is not None:
            # A fresh bucket has room for a whole burst: the run starts with one request, a ramp with none.
            surplus, self._free_at_first = limiter.max_rate - self._free_at_first, None
            await limiter.acquire(surplus)
        await limiter.acquire()
        self._has_token = True

    def _depart(self, depart: Callable[[], bool]) -> bool:
        if not depart():
            return False
        now_s = self._loop.time()
        self._has_token = False
        self._guard.departed(now_s)
        self.meter.departed(now_s)
        self._near -= self._near > 0
        return True

    def _pause(self, wait_s: float, why: str) -> None:
        """Pause everybody; the longest pause wins, and the first of overlapping ones cuts the rate."""
        wait_s = min(wait_s, LONGEST_PAUSE_S)
        # Other clients of the vendor were told the same second.
        wait_s += random.uniform(0, min(_LONGEST_JITTER_S, wait_s * _JITTER_SHARE))  # noqa: S311 - no secret
        now_s, was_paused_s = self._loop.time(), self._server_pause_s()
        if wait_s <= was_paused_s:
            return
        self._paused_until_s = now_s + wait_s
        if not was_paused_s:
            self._cut(now_s)
        self._ramp.hold(self._paused_until_s)
        until = self._now() + timedelta(seconds=wait_s)
        if self._stop.deadline_s is not None and self._paused_until_s > self._stop.deadline_s:
            self._stop.request(f"deadline: {why} until {until:%H:%M:%S}, which is beyond it")
        if wait_s - was_paused_s > _WORTH_TELLING_S or not was_paused_s:
            self._tell(until, why)

    def _cut(self, now_s: float) -> None:
        self._last_cut_s = now_s
        self._ramp.cut(now_s, self.meter.in_window(now_s))
        self._rate_changed()

    def _climb(self) -> None:
        if self._ramp.climb(self._loop.time()):
            self._rate_changed()
            self._tell(None, "no more complaints: rate raised")

    def _rate_changed(self) -> None:
        self._limiter = _limiter(self._ramp.rate)
        self._free_at_first = 0.0
        self._has_token = False

    def note(self, why: str) -> None:
        """Say something about the way to the server, as a change of the pace is said."""
        self._tell(None, why)

    def _tell(self, until: datetime | None, why: str) -> None:
        self.on_change(PaceChange(self.rate, until, why))


def _limiter(rate: Rate) -> AsyncLimiter | None:
    """Return the smooth flow of a rate, with room for `BURST_S` of lateness; None when unlimited.

    A bucket for one alone loses every millisecond that a timer is late.
    """
    if rate.count is None:
        return None
    per_second = rate.count / (rate.period_s + MARGIN_S)
    burst = 1 + per_second * BURST_S
    return AsyncLimiter(burst, burst / per_second)


_full_jitter = wait_random_exponential(multiplier=0.5, max=_LONGEST_BACK_OFF_S)


def _back_off_s(state: RetryCallState) -> float:
    """Return seconds before the next attempt: any up to 0.5, 1, 2 … 30; none where the gate pauses anyway."""
    failure = state.outcome.exception() if state.outcome is not None else None
    if isinstance(failure, AttemptFailed) and failure.retry_after_s:
        return 0.0
    return _full_jitter(state)


def _again(error: BaseException) -> bool:
    return isinstance(error, AttemptFailed) and error.kind.retried


async def retried(attempt: Callable[[], Awaitable[_Result]], max_attempts: int, stop: Stop) -> _Result:
    """Return what an attempt returns, made up to `max_attempts` times; a first success pays for no retry.

    Tries again only after an `AttemptFailed` that the outcome table tries again; the last failure is raised
    as it is. Waits end with `Stopping`.
    """
    try:
        return await attempt()
    except AttemptFailed as failure:
        first = [failure]

    async def go_on() -> _Result:
        if first:
            raise first.pop()
        return await attempt()

    return await AsyncRetrying(
        sleep=stop.sleep,
        stop=stop_after_attempt(max_attempts),
        wait=_back_off_s,
        retry=retry_if_exception(_again),
        reraise=True,
    )(go_on)
