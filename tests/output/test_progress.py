"""The figures of a run in words: every one labelled, nothing cut, and a reason where nothing leaves."""

import dataclasses

import pytest

from runner.output.progress import MOST_COLUMNS, Progress, Snapshot, block, sentence
from runner.settings import parse_rate
from runner.text import width


def snapshot(**changes):
    now = Snapshot(
        batches=744,
        planned_batches=2000,
        deleted=74_297,
        failed=3,
        unknown=100,
        planned_numbers=200_000,
        rows=88_120,
        requests=812,
        retries=12,
        on_the_wire=16,
        allowed=parse_rate("20/s"),
    )
    return dataclasses.replace(now, **changes)


def seen(*moments):
    """Return the figures after these snapshots, each with its second."""
    progress = Progress(0.0)
    for at_s, now in moments:
        figures = progress.see(now, at_s)
    return figures


def running(seconds, a_second, **changes):
    """Snapshots of a run in which so many requests leave and batches end each second."""
    return [
        (float(at), snapshot(requests=at * a_second, batches=744 + at * a_second, **changes))
        for at in range(seconds + 1)
    ]


def test_every_figure_is_shown_and_labelled():
    figures = seen(*running(20, 10))
    expected = [
        "[===========.............] 47.2%",
        "944 of 2,000 batches",
        "74,297 of 200,000 numbers deleted",
        "88,120 rows deleted",
        "failed 3, unknown 100 numbers",
        "rate 10.0/s now, 20/s allowed",
        "12 retries, 16 on the wire",
        "0:00:20 elapsed, 0:01:46 left",
    ]
    assert block(figures, 80) == expected
    one_line = sentence(figures)
    for part in ("47.2%", "944 of 2,000 batches", "74,297 of 200,000 numbers", "88,120 rows", "failed 3"):
        assert part in one_line
    for part in ("unknown 100", "rate 10.0/s of 20/s", "12 retries", "0:00:20 elapsed, 0:01:46 left"):
        assert part in one_line


def test_no_line_is_wider_than_a_narrow_terminal_and_nothing_is_lost():
    huge = snapshot(
        batches=12_345_678,
        planned_batches=23_456_789,
        deleted=1_234_567_890,
        planned_numbers=2_345_678_900,
        rows=9_876_543_210,
        failed=1_234_567,
        unknown=7_654_321,
        retries=1_234_567,
        allowed=parse_rate("12.345678/m"),
        state="paused until 23:59:59: 服务器要求暂停，因为配额已经用完 the quota is used up",
        held_s=500.0,
    )
    figures = seen((0.0, huge))
    for columns in (200, 40, 39, 20, 8):
        lines = block(figures, columns - 1)
        assert all(width(line) < min(columns, MOST_COLUMNS + 1) for line in lines)
        whole = "".join(lines).replace(" ", "")
        for part in (
            "12,345,678of23,456,789batches",
            "9,876,543,210rows",
            "服务器要求暂停，因为配额已经用完",
            "12.345678/m",
        ):
            assert part in whole


def test_the_rate_is_that_of_the_last_seconds():
    assert seen(*running(60, 10), (61.0, snapshot(requests=660, batches=1404)))["rate"] == pytest.approx(26.7)
    calm = [(60.0 + s, snapshot(requests=600, batches=1344)) for s in range(1, 6)]
    assert seen(*running(60, 10), *calm)["rate"] == 0.0


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"on_the_wire": 7}, "waiting for 7 replies"),
        ({"on_the_wire": 1}, "waiting for 1 reply"),
        ({"on_the_wire": 0}, "waiting for the rate, or before a retry"),
        ({"state": "stopping"}, "stopping"),
    ],
)
def test_where_nothing_leaves_the_rate_is_0_and_the_reason_stands_there(changes, why):
    figures = seen(*((float(s), snapshot(**changes)) for s in range(5)))
    assert figures["rate"] == 0.0
    assert figures["state"] == why
    assert why in block(figures, 80)
    assert sentence(figures).endswith(why)


def test_a_few_requests_in_a_few_seconds_do_not_look_like_more_than_was_allowed():
    slow = parse_rate("2/s")
    few = [(at, snapshot(requests=n, allowed=slow)) for at, n in ((0.0, 0), (0.9, 2), (1.8, 4), (2.7, 6))]
    assert seen(*few)["rate"] == 2.0
    more = (2.7, snapshot(requests=9, allowed=slow))
    assert seen(*few[:-1], more)["rate"] == 3.3, "what no count explains is shown"


def test_what_left_before_the_rate_was_lowered_is_no_surplus():
    lowered = snapshot(requests=205, batches=949, allowed=parse_rate("5/s"))
    assert seen(*running(20, 10), (20.5, lowered))["rate"] == 5.0


def test_in_a_pause_the_rate_is_0_at_once():
    figures = seen(*running(20, 10), (20.2, snapshot(requests=200, state="paused until …", held_s=30.0)))
    assert (figures["rate"], figures["state"]) == (0.0, "paused until …")


def test_in_an_operators_pause_nothing_leaves_and_nobody_knows_how_long_it_takes():
    held = snapshot(requests=200, batches=944, state="paused by ops", held_s=float("inf"))
    figures = seen(*running(20, 10), (20.2, held))
    assert (figures["rate"], figures["left_s"]) == (0.0, None)


def test_where_it_goes_on_there_is_no_reason():
    assert seen(*running(20, 10))["state"] == ""


def test_what_is_left_is_reckoned_by_the_last_minute_and_waits_for_the_pauses_end():
    fast_then_slow = [*running(100, 5), *((100.0 + s, snapshot(batches=1244 + s)) for s in range(1, 101))]
    assert seen(*fast_then_slow)["left_s"] == 656
    paused = (200.5, snapshot(batches=1344, held_s=100.0))
    assert seen(*fast_then_slow, paused)["left_s"] == pytest.approx(760, abs=15)


def test_nobody_can_say_what_is_left_before_something_ended():
    assert seen((0.0, snapshot()), (1.0, snapshot()))["left_s"] is None
    assert "? left" in block(seen((0.0, snapshot())), 80)[-1]


def test_at_the_end_nothing_is_left():
    figures = seen(*running(5, 10), (6.0, snapshot(batches=2000, on_the_wire=0)))
    assert (figures["percent"], figures["left_s"], figures["state"]) == (100.0, 0, "")


def test_an_empty_plan_is_done():
    assert seen((0.0, snapshot(batches=0, planned_batches=0, on_the_wire=0)))["percent"] == 100.0


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0:00:00"), (59, "0:00:59"), (3_725, "1:02:05"), (93_784, "1d 02:03:04")]
)
def test_spans_are_written_as_clocks(seconds, shown):
    progress = Progress(0.0)
    assert f"{shown} elapsed" in sentence(progress.see(snapshot(), float(seconds)))


def test_what_is_left_takes_no_less_than_the_rate_allows_now():
    slower = snapshot(batches=944, requests=1012, allowed=parse_rate("0.5/s"))
    assert seen((0.0, snapshot()), (10.0, slower))["left_s"] == 2112
