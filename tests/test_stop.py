"""The deadlines of many waits on one timer."""

import asyncio
from contextlib import suppress

import pytest

from runner.stop import GRACE_S, LATE_S, Stop, Stopping
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


def test_a_loop_that_is_held_up_again_and_again_gives_grace_once():
    async def held_up():
        stop, loop = Stop(), asyncio.get_running_loop()
        began_s = loop.time()
        waiting = asyncio.create_task(times_out(stop, 1))
        for _ in range(3):
            await asyncio.sleep(0.5)
            loop.block(1.5)
        return await waiting - began_s

    assert run_simulated(held_up()) == pytest.approx(4, abs=0.01)


@pytest.mark.parametrize("end", [lambda wait, _stop: wait.arm(1), lambda _wait, stop: stop.request("enough")])
def test_what_takes_its_time_to_clean_up_is_struck_once(end):
    async def waits(stop, cleaned):
        with stop.interruptible() as wait:
            end(wait, stop)
            try:
                await asyncio.Event().wait()
            finally:
                for step in range(5):
                    await asyncio.sleep(0.5)
                    cleaned.append(step)

    async def cleaned_up():
        cleaned = []
        with pytest.raises((TimeoutError, Stopping)):
            await waits(Stop(), cleaned)
        return len(cleaned), asyncio.current_task().cancelling()

    assert run_simulated(cleaned_up()) == (5, 0)


@pytest.mark.parametrize("outside_first", [True, False])
def test_who_is_cancelled_in_the_turn_of_a_stop_stays_cancelled(outside_first):
    """Whoever cancelled the task waits for its end: no other exception may take the place of that."""

    async def waits(stop):
        with stop.interruptible():
            await asyncio.Event().wait()

    async def both():
        stop = Stop()
        waiting = asyncio.create_task(waits(stop))
        await asyncio.sleep(0)
        steps = [waiting.cancel, lambda: stop.request("enough")]
        for step in steps if outside_first else reversed(steps):
            step()
        await asyncio.wait([waiting])
        return "cancelled" if waiting.cancelled() else repr(waiting.exception())

    assert run_simulated(both()) == "cancelled"
