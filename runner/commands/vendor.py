"""The vendor within reach: one way to open a client behind its gate, for deletions and for questions.

Whatever is asked passes the same gate as deletions, so that the rate stays one rate.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from runner.access import Access
from runner.api.client import Client, open_client
from runner.errors import Interrupted
from runner.model import Target
from runner.outcomes import AttemptFailed
from runner.output.console import Console
from runner.process import utc_now
from runner.send.pace import Pacing
from runner.send.pacing import Pacer, retried
from runner.settings import Limits, Rate
from runner.stop import Stop, Stopping

__all__ = ["OpenPace", "Vendor", "own_pace", "reach_vendor", "stoppable"]

OpenPace = Callable[[Rate, Stop], AbstractAsyncContextManager[Pacing]]
"""Opens the gate of a session, for a configured rate; it is open for as long as the context lasts."""


@dataclass(frozen=True, slots=True)
class Vendor:
    """An open client and its gate; the listing is tried again, and a `Retry-After` pauses it too."""

    client: Client
    pacer: Pacing
    stop: Stop
    max_attempts: int

    async def total(self, target: Target, phone: str | None = None) -> int:
        """Return how many rows match, by the vendor's listing.

        Raises:
            AttemptFailed: It could not be read.
            Stopping: The run was told to stop first.
        """
        return await retried(partial(self._attempt, target, phone), self.max_attempts, self.stop)

    async def _attempt(self, target: Target, phone: str | None) -> int:
        try:
            return await self.client.list_total(target, phone)
        except AttemptFailed as failure:
            if failure.asks_for_less:
                self.pacer.rate_limited(failure.retry_after_s)
            raise


@asynccontextmanager
async def stoppable(screen: Console, on_first: Callable[[str], None]) -> AsyncIterator[Stop]:
    """Give the switch that signals turn, or a script; `on_first` is told the first one's name.

    Raises:
        Interrupted: The block was told to stop before it had sent anything.
    """
    stop = Stop()
    with screen.heed(stop, on_first):
        try:
            yield stop
        except Stopping:
            assert stop.reason is not None  # noqa: S101 - only a stop raises Stopping
            raise Interrupted(stop.reason.why, stop.reason.exit_code) from None


@asynccontextmanager
async def own_pace(rate: Rate, stop: Stop) -> AsyncIterator[Pacing]:
    """Open a gate whose rate is this process's own."""
    yield Pacer(rate, stop, now=utc_now)


@asynccontextmanager
async def reach_vendor(
    access: Access, limits: Limits, stop: Stop, open_pace: OpenPace = own_pace
) -> AsyncIterator[Vendor]:
    """Open the client and the gate for as long as the context lasts."""
    async with open_pace(limits.rate, stop) as pacer:
        opening = open_client(
            access.base_url,
            access.token,
            pacer,
            stop,
            timeout_s=limits.timeout_s,
            concurrency=limits.concurrency,
            ca_file=access.ca_file,
            proxy_from_env=access.proxy_from_env,
            on_note=pacer.note,
        )
        async with opening as client:
            yield Vendor(client, pacer, stop, limits.max_attempts)
