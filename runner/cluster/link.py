"""A shard's line to the database: its audit's lines go up, what may leave comes down, one turn at a time.

Keeps the promise that an intent is durable before a slot for it exists: a turn takes every line that was
appended before it. Lines that were sent and not acknowledged are one piece, repeated unchanged until they
are, for nobody knows whether the database has them. Once the shard is another worker's, or the database
refuses, nothing more is taken and nothing more is granted: every call raises, like that of a broken disk.
It never sends a request, and it never decides when one may leave.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from runner.cluster.database import DatabaseAway
from runner.cluster.grants import Grant
from runner.cluster.line import Patience
from runner.errors import Refused, RunnerError, Stopped
from runner.settings import Rate

__all__ = ["Channel", "ShardLink", "Turn", "TurnReply"]

BEAT_S: Final = 0.4
"""Between the beginnings of two turns at most, while the database answers: the shard's beat."""
MOST_BYTES: Final = 1 << 20
"""Lines of one piece; a single record may be longer."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What a shard says and asks, in one transaction.

    Args:
        piece: The number of its lines; None: there are none.
        lines: Whole audit lines.
        wanted: Slots.
        complaint: The vendor's: 0 "too many" without advice, above 0 the seconds that it asked for.
        said: What is known of the shard once these lines are; None: no more than before.
    """

    piece: int | None
    lines: bytes | None
    wanted: int
    complaint: float | None
    said: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class TurnReply:
    """What the database answered.

    Args:
        fenced: The shard is another's; nothing else counts then.
        stop_why: The job is to come to a clean end; None: it goes on.
        held: An operator's pause.
        orders: The number of the last order that was given on the job.
        grant: Slots, and what the origin's rate is.
    """

    fenced: bool
    stop_why: str | None
    held: bool
    orders: int
    grant: Grant


class Channel(Protocol):
    """The database, as a link sees it."""

    async def take_turn(self, turn: Turn) -> TurnReply:
        """Take a turn.

        Raises:
            DatabaseAway: Nobody knows whether it was taken; it may be taken again.
            RunnerError: It cannot be taken.
        """
        ...


@dataclass(slots=True)
class _Wish:
    """Somebody waits for an answer of the database's, and perhaps for slots."""

    wanted: int
    answer: asyncio.Future[Grant]


@dataclass(frozen=True, slots=True)
class _Piece:
    """Lines under way, with what is said of the shard once the database has them."""

    number: int | None
    lines: bytes | None
    said: dict[str, Any] | None
    records: int = 0


@dataclass(slots=True)
class _Outbox:
    """Lines on their way, and who waits for them."""

    pieces: int
    """How many the database has."""
    lines: deque[bytes] = field(default_factory=deque)
    """Not in a piece yet."""
    piece: _Piece | None = None
    """Sent, and not acknowledged."""
    appended: int = 0
    durable: int = 0
    waiting: list[tuple[int, asyncio.Future[None]]] = field(default_factory=list)

    def next_piece(self, said: Callable[[], dict[str, Any] | None]) -> _Piece:
        """Return what is to be sent: what has no answer yet, as it was, or what there is now."""
        if self.piece is None and self.lines:
            self.piece = self._cut(said)
        return self.piece or _Piece(None, None, said())

    def _cut(self, said: Callable[[], dict[str, Any] | None]) -> _Piece:
        taken = [self.lines.popleft()]
        size = len(taken[0])
        while self.lines and size + len(self.lines[0]) <= MOST_BYTES:
            taken.append(self.lines.popleft())
            size += len(taken[-1])
        # Whoever resumes the shard goes by both: nothing is said that is not true of these lines.
        return _Piece(self.pieces + 1, b"".join(taken), None if self.lines else said(), len(taken))

    def acknowledge(self) -> None:
        """Take it that the database has the piece that was sent, if one was."""
        if self.piece is None:
            return
        self.pieces += 1
        self.durable += self.piece.records
        self.piece = None
        waiting, self.waiting = self.waiting, []
        for number, done in waiting:
            if number > self.durable:
                self.waiting.append((number, done))
            elif not done.done():
                done.set_result(None)


class ShardLink:
    """Takes a shard's turns; `run` is to be under way meanwhile.

    Implements `Turns` for its pacer, and `AppendFile` for its journal: durable is what the database has.

    Args:
        channel: The database.
        patience: For how long it is waited for while it is away.
        pieces: How many pieces of the audit it has.
        on_reply: Called with each answer while the shard is ours.
        on_lost: Called once, with the reason why nothing more can be taken.
    """

    def __init__(
        self,
        channel: Channel,
        patience: Patience,
        *,
        pieces: int,
        on_reply: Callable[[TurnReply], None],
        on_lost: Callable[[Stopped], None],
    ) -> None:
        self.said: Callable[[], dict[str, Any] | None] = lambda: None
        """Gives what is known of the shard just now."""
        self._channel = channel
        self._patience = patience
        self._out = _Outbox(pieces)
        self._on_reply = on_reply
        self._on_lost = on_lost
        self._wishes: deque[_Wish] = deque()
        self._complaint: float | None = None
        self.lost: Stopped | None = None
        """Why nothing more is taken, if so."""
        self.fenced = False
        """The shard is another worker's."""
        self._wanted = asyncio.Event()
        self._finished = False

    async def run(self) -> None:
        """Take turns, one after the other, until `finish` or until the shard is lost."""
        loop = asyncio.get_running_loop()
        while self.lost is None and not self._finished:
            began_s = loop.time()
            await self._take_turn()
            try:
                async with asyncio.timeout_at(began_s + BEAT_S):
                    await self._wanted.wait()
            except TimeoutError:
                pass

    def finish(self) -> None:
        """Take no more turns after the one that is under way."""
        self._finished = True
        self._wanted.set()

    def poke(self) -> None:
        """Take a turn now: somebody said that there is something new."""
        self._wanted.set()

    async def turn(self, wanted: int, complaint: float | None) -> Grant:
        """Return slots, up to so many, once every line that was appended before this is durable.

        Raises:
            Stopped: The shard is lost.
        """
        self._check()
        if complaint is not None:
            self._complaint = max(complaint, self._complaint or 0.0)
        wish = _Wish(wanted, asyncio.get_running_loop().create_future())
        self._wishes.append(wish)
        self._wanted.set()
        return await wish.answer

    async def set_rate(self, rate: Rate) -> Rate:
        """Raise Refused: the rate is the origin's, and an operator's order on the job changes it."""
        raise Refused(f"{rate} is not for a shard to set", hint="give the order to the job: `pace JOB`")

    def append(self, data: bytes) -> None:
        """Take lines; raises Stopped where the shard is lost."""
        self._check()
        self._out.lines.append(data)
        self._out.appended += 1

    async def sync(self) -> None:
        """Return once every line that was appended before this is durable; raises Stopped."""
        self._check()
        out = self._out
        if out.durable < out.appended:
            done = asyncio.get_running_loop().create_future()
            out.waiting.append((out.appended, done))
            self._wanted.set()
            await done

    def close(self) -> None:
        """Do nothing: the link's end is its owner's."""

    def _check(self) -> None:
        if self.lost is not None:
            raise Stopped(self.lost.why, hint=self.lost.hint)

    async def _take_turn(self) -> None:
        """Take one turn, again and again while the database is away."""
        try:
            await self._patience.persist(self._try_turn)
        except DatabaseAway as away:
            self._lose(_left_alone(away))
        except RunnerError as error:
            self._lose(Stopped(error.message, hint=error.hint))

    async def _try_turn(self) -> None:
        self._wanted.clear()
        turn, wish = self._compose()
        self._heard(turn, wish, await self._channel.take_turn(turn))

    def _compose(self) -> tuple[Turn, _Wish | None]:
        while self._wishes and self._wishes[0].answer.done():  # who wished has gone
            self._wishes.popleft()
        wish = self._wishes[0] if self._wishes else None
        wanted = 0 if wish is None else wish.wanted
        piece = self._out.next_piece(self.said)
        return Turn(piece.number, piece.lines, wanted, self._complaint, piece.said), wish

    def _heard(self, turn: Turn, wish: _Wish | None, reply: TurnReply) -> None:
        if reply.fenced:
            self.fenced = True
            self._lose(Stopped("another worker took the shard over", hint="it goes on there"))
            return
        if turn.complaint == self._complaint:
            self._complaint = None
        self._out.acknowledge()
        self._on_reply(reply)
        if wish is not None:
            self._wishes.popleft()
            if not wish.answer.done():
                wish.answer.set_result(reply.grant)
        if self._out.lines or self._wishes:
            self._wanted.set()

    def _lose(self, why: Stopped) -> None:
        """Take nothing more, and tell everybody who waits."""
        self.lost = why
        waiting: list[asyncio.Future[Any]] = [wish.answer for wish in self._wishes]
        waiting += [done for _, done in self._out.waiting]
        for future in waiting:
            if not future.done():
                future.set_exception(Stopped(why.why, hint=why.hint))
        self._wishes.clear()
        self._out.waiting.clear()
        self._on_lost(why)


def _left_alone(away: DatabaseAway) -> Stopped:
    why = f"{away.message}; what it does not have is sent again by whoever resumes the shard"
    return Stopped(why, hint="the shard is resumed from what the database has")
