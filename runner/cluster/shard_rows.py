"""A shard as it stands in the database: taken, copied, carried on by its turns, given back.

Keeps the promise that only an owner acts: each statement here names job, shard and epoch, and the database
does nothing for whoever has lost the shard.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import orjson

from runner.cluster.grants import Grant
from runner.cluster.line import DatabaseLine
from runner.cluster.link import Turn, TurnReply
from runner.files import create_private
from runner.send.orders import Order
from runner.settings import Rate, parse_rate

__all__ = ["PIECES", "RestState", "ShardKey", "ShardRows", "ShardTask"]

RestState = Literal["waiting", "stopped", "done"]
"""What a shard is that nobody owns."""

_AT_A_TIME: Final = 16
"""Pieces that one question fetches: a beat waits for no longer than that takes."""
_TURN: Final = "SELECT * FROM turn(%s, %s, %s, %s, %s, %s, %s, %s::jsonb)"
_TASK: Final = """
    SELECT j.base_url, j.run_id, s.plan_sha256, j.settings, s.pieces, o.count, o.period_s,
        coalesce((s.progress->>'orders')::integer,
            (SELECT coalesce(max(number), 0) FROM orders WHERE orders.job = s.job))
    FROM shards AS s JOIN jobs AS j USING (job) JOIN origins AS o USING (origin)
    WHERE s.job = %s AND s.shard = %s"""
PIECES: Final = {
    what: f"SELECT piece, lines FROM {what}_pieces"  # noqa: S608 - one of two words
    " WHERE job = %s AND shard = %s AND piece > %s ORDER BY piece LIMIT %s"
    for what in ("plan", "audit")
}
_ORDERS: Final = """
    SELECT number, rate, pause, operator, reason FROM orders WHERE job = %s AND number > %s ORDER BY number"""
_STATE: Final = "SELECT state FROM shards WHERE job = %s AND shard = %s AND epoch = %s"


@dataclass(frozen=True, slots=True)
class ShardKey:
    """A shard in the hands of one owner."""

    job: str
    shard: int
    epoch: int

    def __str__(self) -> str:
        return f"shard {self.shard} of {self.job}"


@dataclass(frozen=True, slots=True)
class ShardTask:
    """What an owner is told of a shard.

    Args:
        base_url: With which the job was submitted.
        run_id: Of all its shards.
        plan_sha256: Of the shard's plan.
        settings: Limits, reason, operator and `audit_all_phones`, as `cluster submit` wrote them.
        pieces: Of its audit so far.
        rate: The origin's, just now.
        orders: The last of the orders that its audit has, or that were given before it began.
    """

    base_url: str
    run_id: str
    plan_sha256: str
    settings: dict[str, Any]
    pieces: int
    rate: Rate
    orders: int


class ShardRows:
    """A shard's rows, by their owner; implements `link.Channel`."""

    def __init__(self, line: DatabaseLine, key: ShardKey, clock: Callable[[], float]) -> None:
        self.key = key
        self._line = line
        self._clock = clock
        self._where = (key.job, key.shard)
        self._mine = (key.job, key.shard, key.epoch)

    async def begin(self, me: str) -> ShardTask | None:
        """Take the shard; None: it is another's, or its job is stopping."""
        ((begun,),) = await self._line.ask_on("SELECT begin_shard(%s, %s, %s, %s)", (*self._mine, me))
        if not begun:
            return None
        ((base_url, run_id, digest, settings, pieces, *rate, orders),) = await self._line.ask_on(
            _TASK, self._where
        )
        return ShardTask(base_url, run_id, digest, settings, pieces, Rate(*rate), orders)

    async def copy(self, what: Literal["plan", "audit"], path: Path) -> None:
        """Write the shard's plan, or its audit so far, into a new private file; raises OSError."""
        with os.fdopen(create_private(path), "wb") as file:
            last = 0
            while rows := await self._line.ask_on(PIECES[what], (*self._where, last, _AT_A_TIME)):
                for _, lines in rows:
                    file.write(lines)
                last = rows[-1][0]

    async def take_turn(self, turn: Turn) -> TurnReply:
        """Take a turn, as `link.Channel` says."""
        said = None if turn.said is None else orjson.dumps(turn.said).decode()
        values = (*self._mine, turn.piece, turn.lines, turn.wanted, turn.complaint, said)
        sent_s = self._clock()
        ((fenced, stop_why, held, orders, at_s, *grant),) = await self._line.ask(_TURN, values)
        received_s = self._clock()
        brought = Grant(self._line.made, sent_s, at_s, received_s, *grant)
        return TurnReply(fenced, stop_why, held, orders, replace(brought, since_s=self._line.since_s))

    async def orders_after(self, number: int) -> list[tuple[int, Order]]:
        """Return the orders that were given on the job after that one, with their numbers."""
        rows = await self._line.ask_on(_ORDERS, (self.key.job, number))
        return [
            (found, Order(None if rate is None else parse_rate(rate), pause, operator, reason))
            for found, rate, pause, operator, reason in rows
        ]

    async def end(self, state: RestState, code: int, why: str | None, *, stops_job: bool) -> bool:
        """End the ownership after the last turn; False: the shard is another's already."""
        values = (*self._mine, state, stops_job, code, why)
        ((ended,),) = await self._line.ask_on("SELECT end_shard(%s, %s, %s, %s, %s, %s, %s)", values)
        # An answer may have been lost: then the shard is at rest, and was not taken away.
        return ended or bool(await self._line.ask_on(_STATE, self._mine))
