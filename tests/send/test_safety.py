"""How old a plan is, by what it says itself and by its file: the older word counts."""

from datetime import UTC, datetime, timedelta

from runner.plan.header import Made
from runner.send.safety import is_stale, plan_age
from tests.support.plans import header_of

NOW = datetime(2024, 7, 28, 13, 0, tzinfo=UTC)
FRESH_S = NOW.timestamp()


def age(mtime_s=FRESH_S, **header):
    return plan_age(mtime_s, header_of(**header), NOW)


def test_a_plan_that_was_copied_is_as_old_as_its_header_says():
    assert age(at="2024-07-26T13:14:15+00:00") == timedelta(days=1, hours=23, minutes=45, seconds=45)
    assert is_stale(age())


def test_a_plan_that_was_made_late_yesterday_is_not_stale_today():
    made = Made("1", "2024-07-27")
    assert not is_stale(age(made=made, at="2024-07-27T23:55:00+00:00"))
    assert is_stale(age(made=made, at=None)), "it may have been made when that day began"


def test_an_old_file_is_old_whatever_stands_in_it():
    made_s = (NOW - timedelta(days=9)).timestamp()
    assert age(mtime_s=made_s) == timedelta(days=9)
