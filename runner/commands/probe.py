"""How many rows a plan would match, asked of the vendor's listing; nothing is deleted.

The origin's lock is taken first, so that a run under way keeps its rate to itself.
"""

from dataclasses import replace
from itertools import islice
from typing import Final

from runner.access import Access
from runner.commands.vendor import reach_vendor, stoppable
from runner.errors import Refused
from runner.locks import origin_lock
from runner.model import Target
from runner.outcomes import AttemptFailed
from runner.output.console import Console
from runner.plan.file import PlanFile
from runner.settings import Limits

__all__ = ["probe_plan"]

SAMPLE: Final = 100
"""Batches looked at, one number each, to estimate the rows of a list."""


async def probe_plan(plan: PlanFile, access: Access, limits: Limits, screen: Console) -> list[str]:
    """Return, in words, how many rows match: windows exactly, lists from a sample of one number a batch.

    Raises:
        Refused: The listing cannot be read.
        Busy: A run holds the origin.
    """
    said = []
    async with (
        stoppable(screen, lambda _name: None) as stop,
        origin_lock(access.base_url, wait=False),
        reach_vendor(access, replace(limits, concurrency=1), stop) as vendor,
    ):

        async def rows(target: Target, phone: str | None = None) -> int:
            try:
                return await vendor.total(target, phone)
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
