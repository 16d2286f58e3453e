"""What a busy loop asks of the interpreter, and that it is given back."""

import asyncio
import gc
import sys
import threading
from contextlib import suppress

import pytest

from runner.process import busy_loop, left_behind


def settings():
    return sys.getswitchinterval(), gc.get_threshold()


@pytest.fixture
def melted():
    """Whatever froze what is loaded, it is thawed for this test."""
    gc.unfreeze()


def test_a_busy_loop_leaves_the_interpreter_as_it_was_however_it_ends(melted):
    def fail():
        with busy_loop():
            assert all(now != then for now, then in zip(settings(), before, strict=True))
            assert gc.get_freeze_count()
            raise KeyError

    before = settings()
    with pytest.raises(KeyError):
        fail()
    assert settings() == before
    assert not gc.get_freeze_count()


def test_what_a_caller_froze_stays_frozen(melted):
    gc.freeze()
    with busy_loop():
        assert gc.get_freeze_count()
    assert gc.get_freeze_count()


async def test_work_that_is_left_behind_gives_its_answer_or_its_error():
    assert await left_behind(lambda: 7) == 7
    with pytest.raises(KeyError):
        await left_behind(lambda: {}["nothing"])


async def test_an_answer_that_nobody_waits_for_any_more_is_dropped():
    began, may_end, threads, troubles = threading.Event(), threading.Event(), [], []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: troubles.append(context))

    def work():
        threads.append(threading.current_thread())
        began.set()
        may_end.wait(60)

    waiting = asyncio.create_task(left_behind(work))
    await asyncio.to_thread(began.wait, 60)
    waiting.cancel()
    with suppress(asyncio.CancelledError):
        await waiting
    may_end.set()
    await asyncio.to_thread(threads[0].join, 60)
    await asyncio.sleep(0)
    assert troubles == []
