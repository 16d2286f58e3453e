"""The exact limit: when the next request may leave, by those that left last.

Keeps promise 3 by construction, and over a change of the rate too. A window counts from the later of two
looks at the clock (`pacing`). Pure: it is told the time.
"""

import math
from collections import deque
from collections.abc import Iterable
from typing import Final

from runner.settings import Rate

__all__ = ["MARGIN_S", "QUIET_S", "START_MARGIN_S", "Guard"]

MARGIN_S: Final = 0.01
"""A window is kept this much longer than promised, for jitter on the way to the server: 1 % of a second."""
START_MARGIN_S: Final = 0.08
"""Added to that for the first window after a quiet time: while many connections open, the first requests over
them are read late (over TLS, by a busy server: 60 ms), and would meet those of the next window there."""
QUIET_S: Final = 4.0
"""After so long without a departure no connection is kept open any more, and all begin anew."""


class Guard:
    """The exact limit: the last `whole` departures, the oldest of which says when the next may follow."""

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self._formers: list[tuple[Guard, float]] = []
        """Guards of rates before this one, and until when each goes on."""
        self._last: deque[float] = deque(maxlen=rate.whole)
        self._whole = rate.whole
        self._span_s = rate.period_s + MARGIN_S
        self._latest_s = -math.inf
        self._to_settle = 0
        """Departures that still belong to the first window after a quiet time."""

    def wait_s(self, now_s: float) -> float:
        """Return how long until one may leave; 0: now."""
        former_s = self._former_wait_s(now_s) if self._formers else 0.0
        if self._whole is None or len(self._last) < self._whole:
            return former_s
        return max(former_s, self._last[0] + self._span_s - now_s)

    def _former_wait_s(self, now_s: float) -> float:
        self._formers = [(guard, until_s) for guard, until_s in self._formers if now_s < until_s]
        return max((guard.wait_s(now_s) for guard, _ in self._formers), default=0.0)

    def followed_by(self, rate: Rate, now_s: float, recent: Iterable[float]) -> "Guard":
        """Return the guard of another rate: no window on both sides of the change holds more than the higher.

        The new one counts what left under this one. A slower rate over another period does not watch this
        one's windows: until the last of them is over, this one goes on beside it.

        Args:
            rate: The other rate.
            now_s: Loop time.
            recent: What left of late, for a guard that remembers nothing (`unlimited`).
        """
        guard = Guard(rate)
        if rate.whole is not None:
            guard._last.extend(self._last or recent)
            guard._latest_s, guard._to_settle = self._latest_s, min(self._to_settle, rate.whole)
        formers = [*self._formers]
        if self._whole is not None and self.rate.period_s != rate.period_s:
            formers.append((self, now_s + self._span_s + START_MARGIN_S))
        guard._formers = [(f, s) for f, s in formers if f.rate.per_second >= rate.per_second]
        self._formers = []
        return guard

    def departed(self, at_s: float) -> None:
        """Note a departure at this loop time."""
        for guard, _ in self._formers:
            guard.departed(at_s)
        if self._whole is None:
            return
        if at_s - self._latest_s > QUIET_S:
            self._to_settle = self._whole
        self._latest_s = at_s
        settling = self._to_settle > 0
        self._to_settle -= settling
        self._last.append(at_s + START_MARGIN_S * settling)
