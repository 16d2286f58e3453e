"""A plan cut into shards: each is an ordinary plan again, with batches, totals and windows of its own.

Keeps the promise that together they are the plan that was confirmed: its batches in its order, none lost and
none twice, and totals that add up to its own. A window's entry is never divided, because `max_rows` holds for
all its slices together.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import accumulate, islice
from pathlib import Path
from typing import Final

from msgspec import structs

from runner.plan.by_user import UserTally
from runner.plan.file import PlanFile, read_plan
from runner.plan.header import PlanHeader, PlanTotals, PlanWindow
from runner.plan.lines import renumbered
from runner.plan.write import write_plan

__all__ = ["cut_plan", "pieces"]

_LINES_A_CHUNK: Final = 64


def cut_plan(plan: PlanFile, shards: int, folder: Path) -> Iterator[PlanFile]:
    """Yield a plan's shards in order; each file is gone when the next is asked for.

    Args:
        plan: Verified.
        shards: How many, above 0; fewer are made where there are not so many batches, or where a window's
            entry would be divided.
        folder: Private; holds one shard at a time.

    Raises:
        AuditDamaged: The plan was changed since it was verified.
        Refused: A shard cannot be written there.
    """
    ends = _ends(plan, shards)
    headers = _headers(plan, ends)
    lines = plan.lines()
    for number, (header, end) in enumerate(zip(headers, ends, strict=True), start=1):
        path = folder / f"shard-{number}.plan"
        first = end - header.totals.batches
        try:
            write_plan(path, header, _body(islice(lines, header.totals.batches), first))
            yield read_plan(path)
        finally:
            with suppress(FileNotFoundError):  # it could not be written
                path.unlink()


def _body(lines: Iterator[bytes], before: int) -> Iterator[bytes]:
    """Yield the lines of batches as those of a plan of their own; `before` others stood before them."""
    again = (renumbered(line, before + seq, seq) + b"\n" for seq, line in enumerate(lines, start=1))
    while chunk := b"".join(islice(again, _LINES_A_CHUNK)):
        yield chunk


def _ends(plan: PlanFile, shards: int) -> list[int]:
    """Return the last `seq` of each shard: as even as it can be without dividing a window's entry."""
    batches = plan.header.totals.batches
    shards = max(1, min(shards, batches))
    last_of = _last_of_entries(plan.header.windows)
    ends: list[int] = []
    for number in range(1, shards + 1):
        end = batches * number // shards
        end = last_of.get(end, end)
        if not ends or end > ends[-1]:
            ends.append(end)
    return ends


def _last_of_entries(windows: Sequence[PlanWindow]) -> dict[int, int]:
    """Return, for each batch of a window, the next one after which a plan may be cut.

    Entries that name the same window share a batch, and so a shard.
    """
    furthest: dict[int, int] = {}
    for window in windows:
        furthest[window.entry] = max(window.seq, furthest.get(window.entry, 0))
    reaches: dict[int, int] = {}
    for window in windows:
        reaches[window.seq] = max(furthest[window.entry], reaches.get(window.seq, 0))
    order = sorted(reaches)
    cut_after: dict[int, int] = {}
    begun: list[int] = []
    for seq, reach in zip(order, accumulate((reaches[seq] for seq in order), max), strict=True):
        begun.append(seq)
        if reach == seq:  # whatever began until here is over
            cut_after |= dict.fromkeys(begun, seq)
            begun = []
    return cut_after


def _headers(plan: PlanFile, ends: Sequence[int]) -> list[PlanHeader]:
    """Return the shards' headers; what was read and not planned stands in the first."""
    headers: list[PlanHeader] = []
    batches = plan.batches()
    for first, end in zip([0, *ends], ends, strict=False):
        windows = tuple(
            structs.replace(window, seq=window.seq - first)
            for window in plan.header.windows
            if first < window.seq <= end
        )
        users = UserTally(Counter({window.seq: window.user_id for window in windows}.values()))
        for batch in islice(batches, end - first):
            if batch.phones:
                users.add(batch.target.user_id, len(batch.phones))
        unique = sum(plan.sizes[first:end])
        totals = PlanTotals(
            read=unique,
            unique=unique,
            batches=end - first,
            users=users.count,
            windows=len({window.seq for window in windows}),
        )
        header = _first(plan.header, totals) if not headers else _later(plan.header, totals)
        headers.append(structs.replace(header, windows=windows))
    return headers


def _first(header: PlanHeader, own: PlanTotals) -> PlanHeader:
    """Return the header of the first shard: with all that the plan knows beyond what it asks."""
    whole = header.totals
    totals = structs.replace(
        own,
        read=whole.read - whole.unique + own.unique,
        duplicate=whole.duplicate,
        rejected=whole.rejected,
        protected=whole.protected,
        blank=whole.blank,
    )
    return structs.replace(header, totals=totals)


def _later(header: PlanHeader, own: PlanTotals) -> PlanHeader:
    """Return the header of another shard: where values came from is told once."""
    return structs.replace(
        header,
        totals=own,
        sources=(),
        more_sources=0,
        changed=0,
        normalised={},
        rejects={},
        first_rejects=(),
        notes=(),
    )


def pieces(plan: PlanFile) -> Iterator[bytes]:
    """Yield a plan's bytes in pieces of whole lines, of about a block each, or of one longer line.

    Raises:
        AuditDamaged: It was changed since it was verified.
    """
    begun: list[bytes] = []
    for block in plan.blocks():
        whole, newline, rest = block.rpartition(b"\n")
        if newline:
            yield b"".join([*begun, whole, newline])
            begun = []
        begun.append(rest)
