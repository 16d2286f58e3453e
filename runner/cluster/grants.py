"""The slots that were granted and not used yet: when one may leave, and when more may be asked for.

A slot is a time of the database's clock. A request leaves within `SLACK_S` of it, by whatever that clock may
show just now, or not at all; so any second holds departures of 1.03 seconds of slots, which the database
spaces for that. Pure: it is told the time, and all times are of our own clock unless they say otherwise.
"""

import math
import random
from collections import deque
from dataclasses import dataclass
from typing import Final, Protocol

from runner.cluster.clock import ClockBounds
from runner.settings import Rate

__all__ = ["HORIZON_S", "Grant", "HeldSlots", "Turns"]

HORIZON_S: Final = 1.0
"""The database grants no slot further ahead: after so long every slot is over that anybody may hold."""
SLACK_S: Final = 0.03
WRITE_S: Final = 0.01
"""Of the slack, what is kept for the time between the look at the clock and the write."""
NARROWEST_S: Final = 0.002
"""A shorter time to leave in is none: a timer is not that exact."""
ASK_AHEAD_S: Final = 0.1
MOST_SLOTS: Final = 12
LONGEST_BLOCK_S: Final = 0.3
"""Of the whole rate: others who share it want some of every second, too."""
_LONGEST_JITTER_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Grant:
    """What a turn brought; the times named so are of the database's clock, in seconds since 1970.

    Args:
        connection: Counts them: what two of them say of clocks and slots does not belong together.
        sent_s: Our clock before the question.
        at_s: The database's, as it answered.
        received_s: Our clock after the answer.
        first_s: The database's: the first slot, or the earliest that could have been granted.
        step_s: Between two slots.
        granted: How many slots, from the first on.
        allowed: Requests in a period, after complaints.
        count: Requests in a period, as configured.
        period_s: 1 or 60.
        paused_until_s: The database's; nobody sends before.
        since_s: Our clock: since when there is this connection, if it is not new.
    """

    connection: int
    sent_s: float
    at_s: float
    received_s: float
    first_s: float
    step_s: float
    granted: int
    allowed: float
    count: float
    period_s: float
    paused_until_s: float
    since_s: float = math.inf


class Turns(Protocol):
    """The database, as a pacer sees it."""

    async def turn(self, wanted: int, complaint: float | None) -> Grant:
        """Ask for slots, and pass a complaint of the server's on; tried again while the database is away.

        Args:
            wanted: Slots, at most.
            complaint: None: there is none; 0: "too many", without advice; above 0: for so many seconds.

        Raises:
            RunnerError: There will be no answer.
        """
        ...

    async def set_rate(self, rate: Rate) -> Rate:
        """Let this be the rate that is shared, and return what is allowed of it just now.

        Raises:
            RunnerError: It cannot be set.
        """
        ...


class HeldSlots:
    """The slots of one pacer."""

    def __init__(self) -> None:
        self._bounds = ClockBounds()
        self._slots: deque[float] = deque()
        """Of the database's clock."""
        self._connection: int | None = None
        self._quiet_until_s = -math.inf
        self._next_s = -math.inf
        """Of the database's clock: the first slot that was not granted to anybody when we heard."""
        self._step_s = 1.0
        self._jitter_s = 0.0
        self.block = 1
        """How many are asked for at once."""
        self.too_wide_s: float | None = None
        """Where the database's clock is not known well enough to use a slot: to within how many seconds."""

    def __len__(self) -> int:
        return len(self._slots)

    def take(self, grant: Grant) -> None:
        """Take what a turn brought, or, on a new connection or after a clock was set, begin anew."""
        times = grant.sent_s, grant.at_s, grant.received_s
        self._next_s = grant.first_s + grant.granted * grant.step_s
        self._step_s = grant.step_s
        self.block = min(MOST_SLOTS, max(1, int(LONGEST_BLOCK_S / grant.step_s)))
        # Where there is too little for all, it shall not be the same one who asks first every time.
        self._jitter_s = random.uniform(0, _LONGEST_JITTER_S)  # noqa: S311 - no secret
        if grant.connection != self._connection:
            self._begin_anew(grant, min(grant.since_s, grant.received_s))
            return
        if not self._bounds.note(*times):
            self._begin_anew(grant, grant.received_s)
            return
        if grant.paused_until_s > grant.at_s:
            self.drop()
        low_s, high_s = self._bounds.at(grant.received_s)
        fits = high_s - low_s <= SLACK_S - WRITE_S - NARROWEST_S
        self.too_wide_s = None if fits else high_s - low_s
        if fits:
            self._slots.extend(grant.first_s + number * grant.step_s for number in range(grant.granted))

    def _begin_anew(self, grant: Grant, since_s: float) -> None:
        """Wait until no slot is held any more that was granted by another clock, or by another server."""
        self.drop()
        self._connection = grant.connection
        self._bounds = ClockBounds()
        self._bounds.note(grant.sent_s, grant.at_s, grant.received_s)
        self._quiet_until_s = since_s + HORIZON_S

    def is_quiet(self, now_s: float) -> bool:
        """Tell whether it is too early to ask for any."""
        return now_s < self._quiet_until_s

    def drop(self) -> None:
        """Use none of them."""
        self._slots.clear()

    def own_time(self, at_s: float, now_s: float) -> float:
        """Return our time at which the database's clock certainly shows `at_s`."""
        return at_s - self._bounds.at(now_s)[0]

    def wait_s(self, now_s: float) -> float:
        """Return how long until one may leave: 0 for now, infinity where no slot is held."""
        while self._slots:
            from_s, until_s = self._window(now_s)
            if now_s <= until_s and until_s - from_s >= NARROWEST_S:
                return max(0.0, from_s - now_s)
            self._slots.popleft()
        return math.inf

    def use(self, written_s: float) -> bool:
        """Use the slot that `wait_s` returned 0 for; tell whether the request was written in time."""
        _, until_s = self._window(written_s)
        self._slots.popleft()
        return written_s <= until_s + WRITE_S

    def ask_in_s(self, wanted: int, now_s: float) -> float:
        """Return how long until so many should be asked for: when there is room, shortly before the need."""
        low_s, _ = self._bounds.at(now_s)
        due_s = self._next_s + (wanted - 1) * self._step_s - HORIZON_S - low_s + self._jitter_s
        if self._slots:
            due_s = max(due_s, self._slots[-1] - low_s - ASK_AHEAD_S)
        return max(0.0, due_s - now_s, self._quiet_until_s - now_s)

    def _window(self, now_s: float) -> tuple[float, float]:
        """Return between which of our times a request may leave in the first slot, whatever the offset."""
        low_s, high_s = self._bounds.at(now_s)
        return self._slots[0] - low_s, self._slots[0] + SLACK_S - WRITE_S - high_s
