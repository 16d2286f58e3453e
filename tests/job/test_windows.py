"""Windows never widen: strict dates, one `now`, slices without gap or overlap, safe at the clock's turns."""

# ruff: noqa: DTZ001 - wall times are naive

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.job.windows import (
    EARLIEST,
    MAX_SLICES,
    RelativeWindow,
    absolute_window,
    parse_instant,
    relative_window,
    slice_window,
    wall_now,
    zone,
)

NOW = datetime(2026, 11, 23, 4, 0, 0, 999_999, tzinfo=UTC)  # noon in Shanghai
SHANGHAI = "Asia/Shanghai"


def window(**said):
    return relative_window(RelativeWindow(**said), now=NOW, timezone=SHANGHAI)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"older_than": "1d"}, (EARLIEST, "2026-11-22 12:00:00")),
        ({"last": "2d"}, ("2026-11-21 12:00:00", "2026-11-23 12:00:00")),
        ({"last": "7d", "older_than": "1d"}, ("2026-11-16 12:00:00", "2026-11-22 12:00:00")),
        ({"last": "90", "older_than": "30s"}, ("2026-11-23 11:58:30", "2026-11-23 11:59:30")),
        ({"start": "2024-01-01 00:00:00"}, ("2024-01-01 00:00:00", "2026-11-23 12:00:00")),
        (
            {"start": "2024-01-01 00:00:00", "older_than": "30d"},
            ("2024-01-01 00:00:00", "2026-10-24 12:00:00"),
        ),
        (
            {"start": "2024-01-01 00:00:00", "end": "2024-01-01 00:00:00"},
            ("2024-01-01 00:00:00", "2024-01-01 00:00:00"),
        ),
        ({"end": "2024-01-01 00:00:00"}, (EARLIEST, "2024-01-01 00:00:00")),
        ({"last": "1000d", "end": "2026-01-01 00:00:00"}, ("2024-02-27 12:00:00", "2026-01-01 00:00:00")),
    ],
)
def test_a_relative_window_is_computed_from_now_in_whole_seconds(said, expected):
    assert window(**said) == expected


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({}, "says nothing"),
        ({"start": "2024-01-01 00:00:00", "last": "1d"}, "keep one"),
        ({"end": "2024-01-01 00:00:00", "older_than": "1d"}, "keep one"),
        ({"start": "2026-12-01 00:00:00", "older_than": "1d"}, "reversed"),
        ({"last": "1d", "older_than": "2d"}, "reversed"),
        ({"start": "2024-01-02 00:00:00", "end": "2024-01-01 23:59:59"}, "reversed"),
        ({"older_than": "1w"}, "duration"),
        ({"older_than": "0d"}, "duration"),
        ({"last": "999999999d"}, "before the calendar"),
        ({"older_than": "2026y"}, "duration"),
    ],
)
def test_a_relative_window_that_makes_no_sense_is_refused(said, words):
    with pytest.raises(ValueError, match=words):
        window(**said)


@pytest.mark.parametrize(
    "text",
    [
        "2024-07-26",
        "2024-7-26 00:00:00",
        "2024-07-26T00:00:00",
        "2024-07-26 00:00",
        "2024-07-26 24:00:00",
        "2023-02-29 00:00:00",
        "2024-13-01 00:00:00",
        "0000-01-01 00:00:00",
        "2024-07-26 00:00:60",
        "2024-07-26 00:00:00\n",
        " 2024-07-26 00:00:00",
        "２０２４-07-26 00:00:00",
        "2024-07-26 00:00:00+08:00",
        "",
    ],
)
def test_an_instant_is_exactly_a_real_date_and_time(text):
    with pytest.raises(ValueError, match=r"YYYY-MM-DD|not a real"):
        parse_instant(text)


def test_an_absolute_window_is_kept_as_it_was_written():
    assert absolute_window("2024-02-29 00:00:00", "2024-02-29 23:59:59") == (
        "2024-02-29 00:00:00",
        "2024-02-29 23:59:59",
    )


@pytest.mark.parametrize("name", ["Asia/Shanghia", "../etc/passwd", "/etc/localtime", "", "Asia", "a\0b"])
def test_an_unknown_time_zone_is_refused(name):
    with pytest.raises(ValueError, match="time zone"):
        zone(name)


def test_the_wall_time_of_now():
    assert wall_now(NOW, SHANGHAI) == "2026-11-23 12:00:00"


instants = st.datetimes(datetime(1990, 1, 1), datetime(2035, 1, 1)).map(lambda at: at.replace(microsecond=0))


@given(start=instants, seconds=st.integers(0, 4_000_000), width=st.integers(1, 900_000))
def test_slices_cover_the_window_without_gap_or_overlap(start, seconds, width):
    end = start + timedelta(seconds=seconds)
    if seconds // width >= MAX_SLICES:
        width = seconds // (MAX_SLICES - 1) + 1
    slices = [
        (parse_instant(a), parse_instant(b))
        for a, b in slice_window((str(start), str(end)), timedelta(seconds=width))
    ]
    assert slices[0][0] == start
    assert slices[-1][1] == end
    for (_, before), (after, _) in pairwise(slices):
        assert after - before == timedelta(seconds=1)
    assert all(a <= b and b - a < timedelta(seconds=width) for a, b in slices)
    assert len(slices) == seconds // width + 1, "no more requests than needed"


def test_slices_of_a_week_begin_with_the_window():
    assert slice_window(("2024-01-01 00:00:00", "2024-01-15 00:00:00"), timedelta(days=7)) == (
        ("2024-01-01 00:00:00", "2024-01-07 23:59:59"),
        ("2024-01-08 00:00:00", "2024-01-14 23:59:59"),
        ("2024-01-15 00:00:00", "2024-01-15 00:00:00"),
    )


@pytest.mark.parametrize("width", [timedelta(), timedelta(seconds=-1), timedelta(milliseconds=1)])
def test_a_slice_is_at_least_a_second(width):
    with pytest.raises(ValueError, match="one second"):
        slice_window(("2024-01-01 00:00:00", "2024-01-02 00:00:00"), width)


def test_an_absurd_number_of_slices_is_refused():
    with pytest.raises(ValueError, match="slices"):
        slice_window(("2024-01-01 00:00:00", "2024-12-31 23:59:59"), timedelta(seconds=1))


@given(now=st.datetimes(datetime(2024, 10, 26), datetime(2024, 10, 28)), age=st.integers(1, 100_000))
def test_where_a_wall_time_occurs_twice_the_window_gets_smaller(now, age):
    """Berlin's clocks went back on 2024-10-27 at 01:00 UTC; rows carry wall times only."""
    berlin, now = ZoneInfo("Europe/Berlin"), now.replace(microsecond=0, tzinfo=UTC)
    cut = now - timedelta(seconds=age)
    _, end = relative_window(RelativeWindow(older_than=str(age)), now=now, timezone="Europe/Berlin")
    start, _ = relative_window(
        RelativeWindow(last=str(age), end="2030-01-01 00:00:00"), now=now, timezone="Europe/Berlin"
    )
    for minutes in range(-200, 201, 7):
        row = cut + timedelta(minutes=minutes)
        wall = row.astimezone(berlin).strftime("%Y-%m-%d %H:%M:%S")
        assert wall > end or row <= cut, "a row younger than `older_than` would go"
        assert wall < start or row >= cut, "a row older than `last` would go"


def test_a_day_is_24_hours_whatever_the_clocks_do():
    now = datetime(2024, 3, 31, 12, 0, tzinfo=UTC)  # the night before, Berlin lost an hour
    assert relative_window(RelativeWindow(last="1d"), now=now, timezone="Europe/Berlin") == (
        "2024-03-30 13:00:00",
        "2024-03-31 14:00:00",
    )
