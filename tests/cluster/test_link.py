"""A shard's line to the database, on a simulated clock: questions and answers are lost, owners are fenced."""

import asyncio
import random
from contextlib import asynccontextmanager, suppress

import pytest

from runner.cluster.database import DatabaseAway
from runner.cluster.grants import Grant
from runner.cluster.line import Patience
from runner.cluster.link import ShardLink, Turn, TurnReply
from runner.errors import Refused, Stopped
from tests.support.simclock import run_simulated


class FakeDatabase:
    """Keeps a shard's pieces as the real one does; what befalls each turn is scripted.

    `weather` is asked once a turn: "lost" takes the question away, "unanswered" the answer; anything else is
    raised if it is an error.
    """

    def __init__(self, weather=lambda number: None, latency_s=0.01):
        self.weather = weather
        self.latency_s = latency_s
        self.turns: list[Turn] = []
        self.taken: list[Turn] = []
        self.began_s: list[float] = []
        self.pieces: dict[int, bytes] = {}
        self.late: list[bytes] = []
        self.fenced = False
        self.under_way = 0
        self.said = None

    async def take_turn(self, turn):
        self.under_way += 1
        assert self.under_way == 1, "two turns at once"
        try:
            return await self._take(turn)
        finally:
            self.under_way -= 1

    async def _take(self, turn):
        loop = asyncio.get_running_loop()
        self.began_s.append(loop.time())
        self.turns.append(turn)
        befalls = self.weather(len(self.turns))
        await asyncio.sleep(self.latency_s)
        if isinstance(befalls, Exception):
            raise befalls
        if befalls == "lost":
            raise DatabaseAway("away")
        reply = self._commit(turn)
        if befalls == "unanswered":
            raise DatabaseAway("away")
        return reply

    def _commit(self, turn):
        if self.fenced:
            if turn.lines is not None and self.pieces.get(turn.piece) != turn.lines:
                self.late.append(turn.lines)
            return TurnReply(True, None, False, 0, grant(0))
        if turn.lines is not None:
            assert turn.piece == len(self.pieces) + 1 or self.pieces[turn.piece] == turn.lines
            self.pieces[turn.piece] = turn.lines
        self.taken.append(turn)
        if turn.said is not None:
            self.said = turn.said
        return TurnReply(False, None, False, 0, grant(turn.wanted))

    @property
    def lines(self):
        return b"".join(self.pieces[number] for number in sorted(self.pieces))


def grant(granted):
    return Grant(1, 0.0, 0.0, 0.0, 0.0, 0.1, granted, 10.0, 10.0, 1.0, 0.0)


@asynccontextmanager
async def linked(database, *, pieces=0):
    losses = []
    patience = Patience()
    link = ShardLink(database, patience, pieces=pieces, on_reply=lambda reply: None, on_lost=losses.append)
    link.losses, link.patience = losses, patience
    task = asyncio.create_task(link.run())
    try:
        yield link
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def simulated(test):
    """Run a coroutine function on a simulated clock."""
    return lambda: run_simulated(test())


@simulated
async def test_a_sync_returns_once_the_database_has_every_line_before_it():
    database = FakeDatabase()
    async with linked(database) as file:
        for number in range(5):
            file.append(b"%d\n" % number)
        await file.sync()
        assert database.lines == b"0\n1\n2\n3\n4\n"


@simulated
async def test_a_sync_waits_for_lines_that_came_while_a_turn_was_under_way():
    database = FakeDatabase(latency_s=0.2)
    async with linked(database) as link:
        await asyncio.sleep(0.05)
        assert database.under_way
        link.append(b"later\n")
        await link.sync()
        assert database.lines == b"later\n"


@simulated
async def test_many_who_wait_share_one_turn():
    database = FakeDatabase(latency_s=0.05)
    async with linked(database) as link:
        await asyncio.sleep(0.2)
        before = len(database.turns)

        async def write(number):
            link.append(b"%d\n" % number)
            await link.sync()

        await asyncio.gather(*map(write, range(40)))
        assert len(database.turns) - before <= 2


@simulated
async def test_it_beats_although_nobody_wants_anything():
    database = FakeDatabase()
    async with linked(database):
        await asyncio.sleep(20)
    gaps = [after - before for before, after in zip(database.began_s, database.began_s[1:], strict=False)]
    assert gaps
    assert max(gaps) <= 0.5


@pytest.mark.parametrize("befalls", ["lost", "unanswered"])
def test_a_piece_is_repeated_unchanged_until_it_is_acknowledged(befalls):
    async def story():
        database = FakeDatabase(lambda number: befalls if number in {2, 3, 4} else None)
        async with linked(database) as link:
            await asyncio.sleep(0.1)
            link.append(b"first\n")
            link.poke()
            await asyncio.sleep(0.15)
            link.append(b"second\n")  # while nobody knows of the first
            await link.sync()
        sent = [(turn.piece, turn.lines) for turn in database.turns if turn.lines is not None]
        assert sent == [(1, b"first\n")] * 4 + [(2, b"second\n")]
        assert database.lines == b"first\nsecond\n"

    run_simulated(story())


@simulated
async def test_slots_and_a_complaint_are_asked_for_again_after_a_lost_answer():
    database = FakeDatabase(lambda number: "unanswered" if number in {2, 3} else None)
    async with linked(database) as link:
        await asyncio.sleep(0.1)
        answer = await link.turn(7, 2.0)
        assert answer.granted == 7
    assert [(turn.wanted, turn.complaint) for turn in database.turns[1:4]] == [(7, 2.0)] * 3
    assert database.turns[4:] == [] or database.turns[4].complaint is None


@simulated
async def test_a_complaint_is_told_although_who_made_it_has_gone():
    database = FakeDatabase(lambda number: "lost" if number == 2 else None, latency_s=0.05)
    async with linked(database) as link:
        await asyncio.sleep(0.2)
        asking = asyncio.create_task(link.turn(0, 5.0))
        await asyncio.sleep(0.01)
        asking.cancel()
        await asyncio.sleep(2)
    assert [turn.complaint for turn in database.taken if turn.complaint is not None] == [5.0]


@simulated
async def test_the_worst_complaint_is_told():
    database = FakeDatabase(latency_s=0.05)
    async with linked(database) as link:
        await asyncio.sleep(0.2)
        await asyncio.gather(link.turn(0, 0.0), link.turn(0, 3.0), link.turn(1, None))
    assert [turn.complaint for turn in database.taken if turn.complaint is not None] == [3.0]


@simulated
async def test_what_is_said_of_a_shard_is_true_of_the_lines_that_the_database_has():
    database = FakeDatabase(lambda number: "lost" if number % 3 == 0 else None, latency_s=0.1)
    async with linked(database) as link:
        written = 0

        def said():
            return {"lines": written}

        link.said = said
        for _ in range(200):
            written += 1
            link.append(b"x\n")
            await asyncio.sleep(random.Random(written).uniform(0, 0.1))
            if database.said is not None:
                assert database.said["lines"] == database.lines.count(b"\n")
        await link.sync()
        assert database.said == {"lines": 200}


@simulated
async def test_a_shard_that_has_pieces_already_goes_on_with_the_next():
    database = FakeDatabase()
    database.pieces = {1: b"a\n", 2: b"b\n"}
    async with linked(database, pieces=2) as link:
        link.append(b"c\n")
        await link.sync()
    assert database.pieces[3] == b"c\n"


@simulated
async def test_a_piece_has_its_bound_and_nothing_is_left_behind():
    database = FakeDatabase()
    async with linked(database) as link:
        line = b"x" * 300_000 + b"\n"
        for _ in range(20):
            link.append(line)
        await link.sync()
    assert database.lines == line * 20
    assert max(map(len, database.pieces.values())) <= 1 << 20


async def work_until_fenced(link, database, at, acknowledged):
    """Write lines and take slots; at the line `at` the shard becomes another's."""
    for number in range(1000):
        if number == at:
            database.fenced = True
        link.append(b"%d\n" % number)
        if number % 3 == 0:
            await link.sync()
            acknowledged.append(number)
        await link.turn(1, None)


def test_a_fence_at_any_turn_ends_everything_and_loses_no_line_unsaid():
    """Answers are lost at random: what was acknowledged stands, and the rest is late."""

    async def story(at, seed):
        chance = random.Random(seed)
        database = FakeDatabase(lambda number: chance.choice(["lost", "unanswered", None, None]))
        acknowledged = []
        async with linked(database) as link:
            with pytest.raises(Stopped, match="another worker"):
                await work_until_fenced(link, database, at, acknowledged)
            assert link.fenced
            assert len(link.losses) == 1
            turns = len(database.turns)
            for call in (link.sync(), link.turn(1, None)):
                with pytest.raises(Stopped, match="another worker"):
                    await call
            with pytest.raises(Stopped, match="another worker"):
                link.append(b"more\n")
            await asyncio.sleep(5)
            assert len(database.turns) == turns
        kept = [int(line) for line in database.lines.split()]
        assert kept == list(range(len(kept)))
        assert max(acknowledged, default=-1) < len(kept)
        late = [int(line) for line in b"".join(dict.fromkeys(database.late)).split()]
        assert late == [] or late[0] == len(kept)

    for at in range(12):
        for seed in range(6):
            run_simulated(story(at, seed))


@simulated
async def test_who_waits_for_slots_or_a_sync_learns_at_once_that_the_shard_is_lost():
    database = FakeDatabase(lambda number: Refused("the database is read-only") if number == 2 else None)
    async with linked(database) as link:
        await asyncio.sleep(0.1)
        link.append(b"x\n")
        results = await asyncio.gather(link.sync(), link.turn(3, None), link.sync(), return_exceptions=True)
        assert [(type(result), result.why) for result in results] == [
            (Stopped, "the database is read-only")
        ] * 3
        assert not link.fenced


@simulated
async def test_while_the_database_is_away_it_is_asked_again_for_as_long_as_it_takes():
    database = FakeDatabase(lambda number: "lost" if 2 <= number < 600 else None)
    async with linked(database) as link:
        link.append(b"x\n")
        await asyncio.sleep(0.1)
        link.append(b"y\n")
        await link.sync()
        assert database.lines == b"x\ny\n"
    gaps = [after - before for before, after in zip(database.began_s, database.began_s[1:], strict=False)]
    assert max(gaps) < 1.1


@simulated
async def test_a_clean_stop_without_the_database_gives_up_after_its_patience():
    database = FakeDatabase(lambda number: "lost" if number > 1 else None)
    async with linked(database) as link:
        await asyncio.sleep(5)
        link.append(b"x\n")
        link.patience.end_within(30)
        began_s = asyncio.get_running_loop().time()
        with pytest.raises(Stopped, match="sent again by whoever resumes"):
            await link.sync()
        assert 29 < asyncio.get_running_loop().time() - began_s < 32
        assert not link.fenced


@simulated
async def test_a_stop_with_the_database_there_is_hurried_by_nothing():
    database = FakeDatabase()
    async with linked(database) as link:
        link.patience.end_within(0)
        await asyncio.sleep(2)
        link.append(b"x\n")
        await link.sync()
        assert database.lines == b"x\n"


@simulated
async def test_a_database_that_never_answers_holds_up_a_stop_no_longer_than_one_that_is_away():
    patience, loop = Patience(), asyncio.get_running_loop()
    tries = 0

    async def unanswered():
        nonlocal tries
        tries += 1
        await asyncio.Event().wait()

    async def given_up():
        with pytest.raises(DatabaseAway, match="does not answer"):
            await patience.persist(unanswered)

    waiting = asyncio.create_task(given_up())
    await asyncio.sleep(600)
    patience.end_within(30)
    await waiting
    assert loop.time() < 1000 + 600 + 31
    waiting = asyncio.create_task(given_up())
    await asyncio.sleep(0)
    patience.end_within(0)
    await waiting
    assert loop.time() < 1000 + 600 + 31 + 6
    assert tries == 2, "what may have been carried out was not asked again after the end"
