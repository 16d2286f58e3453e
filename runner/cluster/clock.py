"""How far the database's clock is ahead of ours, as two bounds; and which clock of ours that is.

Pure. Every reply says: the database read its clock after we asked, and before we heard. All replies together
say more than the best of them, for what is lost on the way there and on the way back is bounded each by
itself. A bound ages, for no two clocks run equally fast.
"""

import math
import time
from collections.abc import Callable
from typing import Final

__all__ = ["ClockBounds", "OwnClock", "boot_time"]

DRIFT: Final = 200e-6
"""Seconds that two clocks part in a second, at most."""

OwnClock = Callable[[], float]
"""Seconds since some moment; never set, and it runs while the machine sleeps."""


def boot_time() -> float:
    """Return the seconds since this machine was started, its sleep included."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class ClockBounds:
    """Bounds of the database's clock minus ours; nothing is known at first."""

    def __init__(self) -> None:
        # Each without its ageing, which is the same for all: so one number a side remembers every reply.
        self._low_s, self._high_s = -math.inf, math.inf

    def note(self, sent_s: float, at_s: float, received_s: float) -> bool:
        """Note a reply; False, and nothing is noted: it contradicts the others, so a clock was set.

        Args:
            sent_s: Our clock before the question.
            at_s: The database's clock, as it answered.
            received_s: Our clock after the answer.
        """
        low_s = max(self._low_s, at_s - received_s + DRIFT * received_s)
        high_s = min(self._high_s, at_s - sent_s - DRIFT * sent_s)
        if low_s - high_s > 2 * DRIFT * received_s:
            return False
        self._low_s, self._high_s = low_s, high_s
        return True

    def at(self, now_s: float) -> tuple[float, float]:
        """Return both bounds, for a time of our clock that is not before the last reply."""
        return self._low_s - DRIFT * now_s, self._high_s + DRIFT * now_s
