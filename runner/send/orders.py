"""What an operator may tell a run that is under way: another rate, a pause, its end.

Bounded: an order is a record in the audit, and no client shall fill that.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

from runner.errors import Refused
from runner.settings import Rate

__all__ = ["Order", "OrderBook"]

MOST_A_MINUTE: Final = 30
"""Orders that one session takes in any minute."""
_MINUTE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Order:
    """One order.

    Args:
        rate: The rate that is configured from now on; None: the same.
        pause: True: nothing leaves until an order says False; None: nothing is said of that.
        operator: Who gives it.
        reason: Why.
    """

    rate: Rate | None = None
    pause: bool | None = None
    operator: str | None = None
    reason: str | None = None


class OrderBook:
    """Whether a session takes an order just now."""

    def __init__(self) -> None:
        self.open = False
        """Between the session's first record and its summary."""
        self._taken_s: deque[float] = deque(maxlen=MOST_A_MINUTE)

    def take(self, at_s: float) -> None:
        """Note an order at this loop time.

        Raises:
            Refused: The session has not begun or is over, or it had too many orders.
        """
        if not self.open:
            raise Refused("the run takes no orders: its session is not under way", hint="try again")
        if len(self._taken_s) == MOST_A_MINUTE and at_s - self._taken_s[0] < _MINUTE_S:
            raise Refused(f"more than {MOST_A_MINUTE} orders within a minute", hint="try again in a minute")
        self._taken_s.append(at_s)
