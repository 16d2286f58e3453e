"""Looking after shards whose worker is gone, on a simulated clock."""

import asyncio

from runner.cluster.database import Database, DatabaseAway
from runner.cluster.line import Patience
from runner.cluster.worker import STALE_S, Post, _look_after
from tests.support.simclock import run_simulated

NOBODY = Database("postgresql://nobody@127.0.0.1/none")


class Rescues:
    """A line to a database in which a shard is always stale; notes when it is asked to judge."""

    def __init__(self, away=lambda at_s: False, left=lambda at_s: True):
        self.made = 1
        self.away, self.left = away, left
        self.judged_s = []

    async def ask(self, statement, _values=()):
        await asyncio.sleep(0.01)
        now_s = asyncio.get_running_loop().time() - 1000
        if self.away(now_s):
            self.made += 1
            raise DatabaseAway("away")
        if "rescue_shards" not in statement:
            return [(self.left(now_s),)]
        self.judged_s.append(now_s)
        return [("job", 1, 2, "dead")]


def looked_after(line, seconds, *, drain=False, block=None):
    """Look after shards for so many seconds; `block` holds the process up at one moment for so long."""
    told = []

    async def story():
        post = Post(
            NOBODY, Patience(), "origin", 2, drain, lambda key, worker: told.append((key.epoch, worker))
        )
        task = asyncio.create_task(_look_after(post, line))
        loop = asyncio.get_running_loop()
        if block:
            loop.call_at(1000 + block[0], loop.block, block[1])
        await asyncio.wait([task], timeout=seconds)
        ended = task.done()
        task.cancel()
        return ended

    return run_simulated(story()), told


def test_who_has_just_come_judges_nobody_for_one_stale_period_and_then_each_second():
    line = Rescues()
    _, told = looked_after(line, 10)
    assert STALE_S <= line.judged_s[0] < STALE_S + 1.1
    gaps = [after - before for before, after in zip(line.judged_s, line.judged_s[1:], strict=False)]
    assert max(gaps) < 1.1
    assert set(told) == {(2, "dead")}


def test_who_was_cut_off_waits_one_stale_period_before_it_judges_others():
    line = Rescues(away=lambda at_s: 6 < at_s < 9)
    looked_after(line, 20)
    assert [at_s for at_s in line.judged_s if 6 < at_s < 9 + STALE_S] == []
    assert any(9 + STALE_S <= at_s < 9 + STALE_S + 2.1 for at_s in line.judged_s)


def test_who_was_stopped_itself_waits_one_stale_period_before_it_judges_others():
    line = Rescues()
    looked_after(line, 30, block=(6.5, 8.0))
    awake_s = 14.5
    assert [at_s for at_s in line.judged_s if 6.5 < at_s < awake_s + STALE_S - 0.1] == []
    assert any(at_s < awake_s + STALE_S + 1.2 for at_s in line.judged_s if at_s > awake_s)


def test_a_worker_that_drains_ends_when_no_shard_is_left():
    line = Rescues(left=lambda at_s: at_s < 7)
    ended, _ = looked_after(line, 10, drain=True)
    assert ended
    stays, _ = looked_after(Rescues(left=lambda at_s: False), 10)
    assert not stays
