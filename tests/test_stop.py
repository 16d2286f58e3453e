"""The deadlines of many waits on one timer."""

import asyncio
from contextlib import suppress

import pytest

from runner.stop import GRACE_S, LATE_S, Stop
from tests.support.simclock import run_simulated


async def times_out(stop, seconds, *, after_s=0.0):
    """Be armed for so many seconds, after a while; return the loop time of the timeout."""
    await asyncio.sleep(after_s)
    with suppress(TimeoutError), stop.interruptible() as wait:
        wait.arm(seconds)
        await asyncio.Event().wait()
    return asyncio.get_running_loop().time()


def test_each_wait_ends_at_its_own_deadline_whichever_was_set_first():
    async def many():
        stop = Stop()
        waits = [(5, 0), (2, 1), (9, 0), (2, 1), (0.5, 2)]
        began_s = asyncio.get_running_loop().time()
        ended = await asyncio.gather(*(times_out(stop, s, after_s=at) for s, at in waits))
        return [s - began_s for s in ended]

    assert run_simulated(many()) == pytest.approx([5, 3, 9, 3, 2.5], abs=0.01)


def test_a_wait_that_ended_in_time_is_left_alone_and_the_next_one_keeps_its_own_deadline():
    async def one_after_the_other():
        stop = Stop()
        with stop.interruptible() as wait:
            wait.arm(1)
            await asyncio.sleep(0.9)
        began_s = asyncio.get_running_loop().time()
        await asyncio.sleep(0.5)  # past the first one's deadline
        return await times_out(stop, 1) - began_s

    assert run_simulated(one_after_the_other()) == pytest.approx(1.5, abs=0.01)


def test_a_loop_that_was_held_up_reads_on_before_it_counts_as_a_timeout():
    async def held_up():
        stop, loop = Stop(), asyncio.get_running_loop()
        began_s = loop.time()
        waiting = asyncio.create_task(times_out(stop, 1))
        await asyncio.sleep(0.5)
        loop.block(1 + 2 * LATE_S)  # nothing runs meanwhile
        return await waiting - began_s

    assert run_simulated(held_up()) == pytest.approx(1.5 + 2 * LATE_S + GRACE_S, abs=0.01)
