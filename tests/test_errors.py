"""Foreign errors in our words: short of something, or a bug; not a word of sending where nothing was sent."""

import errno
import os

import pytest

from runner.errors import Broken, Exit, Refused, Stopped, in_our_words


def raised(error):
    """An error that was raised, and so knows where."""
    try:
        raise error
    except type(error) as found:
        return found


@pytest.mark.parametrize("ours", [Refused("a"), Stopped("b", hint="c")])
def test_our_own_errors_stay_as_they_are(ours):
    assert in_our_words(ours) is ours


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (MemoryError(), "memory"),
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), "descriptors"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "disk"),
    ],
)
def test_a_shortage_is_no_bug_and_2(error, word):
    told = in_our_words(raised(error))
    assert told.exit_code == Exit.REFUSED
    assert word in told.message
    assert told.hint
    assert "bug" not in told.hint


@pytest.mark.parametrize("error", [RuntimeError("13912345678"), OSError(errno.EIO, "13912345678")])
def test_anything_else_is_a_bug_and_2_without_a_word_of_sending_and_without_values(error):
    told = in_our_words(raised(error))
    assert told.exit_code == Exit.REFUSED
    assert told.message.startswith(f"internal: {type(error).__name__} at test_errors.py:")
    assert "bug" in told.hint
    assert not {"sent", "resume", "139"} & set((told.message + told.hint).replace("`", " ").split())
    assert "139" not in told.message + told.hint


def test_a_bug_while_a_run_is_under_way_is_3_and_points_to_resume():
    told = Broken(raised(RuntimeError("x")), sent=True)
    assert told.exit_code == Exit.STOPPED
    assert "`resume` goes on" in told.hint


def test_of_a_group_the_first_error_is_named():
    told = Broken(raised(ExceptionGroup("g", [raised(KeyError("k")), raised(ValueError("v"))])), sent=True)
    assert "internal: KeyError at" in told.message
