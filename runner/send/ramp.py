"""Which share of the configured rate is allowed just now.

When the server says "too many" the rate halves, never below `FLOOR` of the configured rate. After that it
comes back by `STEP` of the configured rate in every `STEP_S` seconds (five departures, where those take
longer), and never above it. `unlimited` has no rate to halve: the way back then starts from what really left
in the last second, and ends in unlimited again. Pure: it is told the time.
"""

from typing import Final

from runner.settings import Rate

__all__ = ["FLOOR", "LEAST_BASE", "STEP", "STEP_S", "Ramp"]

FLOOR: Final = 1 / 20
STEP: Final = 1 / 10
STEP_S: Final = 2.0
LEAST_BASE: Final = 20.0
"""Requests a second that a ramp of `unlimited` ends at, if fewer left before it."""


class Ramp:
    """Which share of the configured rate is allowed just now, and when it grows."""

    def __init__(self, rate: Rate) -> None:
        self.configured = rate
        """What it climbs to."""
        self._base = rate
        self._share = 1.0
        self._next_step_s = 0.0

    @property
    def rate(self) -> Rate:
        """The rate allowed just now."""
        if self._base.count is None:
            return self._base
        return Rate(self._base.count * self._share, self._base.period_s)

    @property
    def _step_s(self) -> float:
        return max(STEP_S, 5 / self._base.per_second)

    def cut(self, now_s: float, recent: int) -> None:
        """Halve the rate; the way back starts at `now_s`. `recent`: what left in the last second."""
        if self._base.count is None:
            self._base = Rate(max(LEAST_BASE, float(recent)))
        self._share = max(FLOOR, self._share / 2)
        self._next_step_s = now_s + self._step_s

    def aim_at(self, rate: Rate) -> None:
        """Let another rate be the configured one; a way back that is under way goes on from where it is."""
        was_per_second, ramping = self.rate.per_second, self._share < 1
        self.configured = rate
        if ramping and rate.count is None:
            return
        self._base, self._share = rate, 1.0
        if ramping:
            self._share = max(FLOOR, was_per_second / rate.per_second)
        if self._share > 1 - STEP / 2:
            self._share = 1.0

    def hold(self, until_s: float) -> None:
        """Start the way back at `until_s`."""
        self._next_step_s = until_s + self._step_s

    def climb(self, now_s: float) -> bool:
        """Take the steps that are due; tell whether there were any."""
        if self._share >= 1 or now_s < self._next_step_s:
            return False
        steps = 1 + int((now_s - self._next_step_s) / self._step_s)
        self._next_step_s += steps * self._step_s
        self._share += steps * STEP
        if self._share > 1 - STEP / 2:
            self._share, self._base = 1.0, self.configured
        return True
