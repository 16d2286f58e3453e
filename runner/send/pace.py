"""What a session needs of whatever says when a request may leave: of one process's own rate, or of many's."""

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from runner.model import Gate
from runner.send.pacing import Meter, PaceChange
from runner.settings import Rate

__all__ = ["Pacing"]


class Pacing(Gate, Protocol):
    """The gate of a session, with what steers and watches it."""

    on_change: Callable[[PaceChange], None]
    """Called with every change of the allowed rate and every pause; what it raises stops the run."""

    @property
    def meter(self) -> Meter:
        """What really left."""
        ...

    @property
    def rate(self) -> str:
        """The rate allowed just now, as a `pace` record says it."""
        ...

    @property
    def limit(self) -> str:
        """The rate that was configured, or that an operator set since."""
        ...

    @property
    def held(self) -> bool:
        """Whether an operator holds everything."""
        ...

    async def set_rate(self, rate: Rate) -> None:
        """Let this be the configured rate from now on; on return it holds.

        Raises:
            RunnerError: It cannot be set.
        """
        ...

    def hold(self) -> None:
        """Let nothing leave until `go_on`."""
        ...

    def go_on(self) -> None:
        """End the hold, and nothing else."""
        ...

    def rate_limited(self, retry_after_s: float | None) -> None:
        """Obey a "too many": pause everybody for that many seconds, or, without advice, halve the rate."""
        ...

    def keep_pause(self, until: datetime) -> None:
        """Go on with a pause that the server asked an earlier session for, if it still runs."""
        ...

    def may_leave_within(self, seconds: float, *, most: int) -> int:
        """Return how many requests, up to `most`, may leave in so many seconds."""
        ...

    def note(self, why: str) -> None:
        """Say something about the way to the server, as a change of the pace is said."""
        ...
