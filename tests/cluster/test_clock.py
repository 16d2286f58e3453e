"""Bounds of the database's clock minus ours."""

import random

import pytest

from runner.cluster.clock import DRIFT, ClockBounds, boot_time


def test_a_reply_says_as_much_as_its_way_took():
    bounds = ClockBounds()
    assert bounds.note(100.0, 5000.0, 100.01)
    low_s, high_s = bounds.at(100.01)
    assert (low_s, high_s) == pytest.approx((4899.99, 4900.0), abs=1e-5)


def test_the_quick_way_there_of_one_and_the_quick_way_back_of_another_count_both():
    bounds = ClockBounds()
    bounds.note(100.0, 5000.0, 100.5)  # there at once: the offset is 4900 at most
    bounds.note(101.0, 5001.5, 101.5)  # back at once: it is 4900 at least
    low_s, high_s = bounds.at(101.5)
    assert high_s - low_s == pytest.approx(1.5 * DRIFT, rel=0.01)


def test_what_was_known_gets_less_certain():
    bounds = ClockBounds()
    bounds.note(0.0, 5000.0, 0.0)
    low_s, high_s = bounds.at(10.0)
    assert (low_s, high_s) == pytest.approx((5000 - 10 * DRIFT, 5000 + 10 * DRIFT))


@pytest.mark.parametrize("step_s", [-5.0, -0.05, 0.05, 3600.0])
def test_a_clock_that_was_set_is_noticed_and_nothing_of_the_reply_is_believed(step_s):
    bounds = ClockBounds()
    assert bounds.note(100.0, 5000.0, 100.01)
    before = bounds.at(101.0)
    assert not bounds.note(101.0, 5001.0 + step_s, 101.01)
    assert bounds.at(101.0) == before
    assert bounds.note(102.0, 5002.0, 102.01)


@pytest.mark.parametrize("seed", range(20))
def test_the_truth_lies_between_the_bounds_however_the_clocks_drift_and_the_replies_are_held_up(seed):
    rng = random.Random(seed)
    ours, theirs = (1 + rng.uniform(-1e-4, 1e-4) for _ in range(2))
    ahead_s, now_s, bounds = rng.uniform(-1e6, 1e9), 0.0, ClockBounds()
    for _ in range(300):
        now_s += rng.expovariate(1)
        there_s, back_s = rng.expovariate(100), rng.expovariate(100)
        answered_s, received_s = now_s + there_s, now_s + there_s + back_s
        assert bounds.note(now_s * ours, ahead_s + answered_s * theirs, received_s * ours)
        later_s = received_s + rng.expovariate(1)
        low_s, high_s = bounds.at(later_s * ours)
        assert low_s - 1e-6 <= ahead_s + later_s * theirs - later_s * ours <= high_s + 1e-6


def test_our_clock_only_grows():
    readings = [boot_time() for _ in range(1000)]
    assert readings == sorted(readings)
