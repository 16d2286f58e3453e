"""Questions to the vendor that delete nothing: is the token good, how many rows match.

They pass the same gate as deletions, and take the origin's lock first, so that the rate stays one rate.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import islice
from typing import Any, Final

from runner.api.client import open_client
from runner.commands.execute import Interrupted, Listing
from runner.errors import Refused
from runner.locks import origin_lock
from runner.model import Target
from runner.outcomes import AttemptFailed
from runner.plan.file import PlanFile
from runner.process import signals_to, utc_now
from runner.send.pacing import Pacer
from runner.settings import Access, Limits
from runner.stop import Stop, Stopping

__all__ = ["check_access", "probe_plan"]

SAMPLE: Final = 100
"""Batches looked at, one number each, to estimate the rows of a list."""


@asynccontextmanager
async def _within_reach(access: Access, limits: Limits, *, lock: bool) -> AsyncIterator[Listing]:
    stop = Stop()
    with signals_to(stop, lambda _name: None):
        pacer = Pacer(limits.rate, stop, on_change=lambda _change: None, now=utc_now)
        client = open_client(
            access.base_url,
            access.token,
            pacer,
            stop,
            timeout_s=limits.timeout_s,
            concurrency=1,
            ca_file=access.ca_file,
            proxy_from_env=access.proxy_from_env,
        )
        try:
            if lock:
                async with origin_lock(access.base_url, wait=False), client as opened:
                    yield Listing(opened, pacer, stop, limits.max_attempts)
            else:
                async with client as opened:
                    yield Listing(opened, pacer, stop, limits.max_attempts)
        except Stopping:
            assert stop.reason is not None  # noqa: S101 - only a stop raises Stopping
            raise Interrupted(stop.reason) from None


async def check_access(access: Access) -> dict[str, Any]:
    """Return whether base URL, TLS and token are good, as a JSON-ready dict."""
    async with _within_reach(access, Limits(), lock=False) as listing:
        try:
            words = await listing.client.check_token()
        except AttemptFailed as error:
            return {"ok": False, "base_url": access.base_url, "error": error.kind.error, "what": str(error)}
    return {"ok": True, "base_url": access.base_url, "error": None, "what": words or "the token is valid"}


async def probe_plan(plan: PlanFile, access: Access, limits: Limits) -> list[str]:
    """Return, in words, how many rows match: windows exactly, lists from a sample of one number a batch.

    Raises:
        Refused: The listing cannot be read.
        Busy: A run holds the origin.
    """
    said = []
    async with _within_reach(access, limits, lock=True) as listing:

        async def rows(target: Target, phone: str | None = None) -> int:
            try:
                return await listing.total(target, phone)
            except AttemptFailed as error:
                raise Refused(f"the listing cannot be read: {error}") from error

        for window in plan.header.windows:
            first, last = window.created_at
            said.append(f"{window.place}: {await rows(window.target):,} rows from {first} to {last}")
        step = max(1, (plan.header.totals.batches - plan.header.totals.windows) // SAMPLE)
        sample = islice(plan.batches(lambda seq: seq % step == 0), SAMPLE)
        found = [await rows(batch.target, batch.phones[0]) for batch in sample if batch.phones]
    if found:
        mean = sum(found) / len(found)
        said.append(
            f"lists: {sum(found):,} rows for a sample of {len(found):,} numbers,"
            f" about {mean * plan.header.totals.unique:,.0f} in all"
        )
    return said
