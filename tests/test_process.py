"""What a busy loop asks of the interpreter, and that it is given back."""

import gc
import sys

import pytest

from runner.process import busy_loop


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
