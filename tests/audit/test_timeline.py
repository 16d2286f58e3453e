"""A time line: what happened when, in a bounded number of points."""

from datetime import UTC, datetime, timedelta

import pytest

from runner.audit import timeline
from runner.audit.fold import fold_audit
from runner.audit.records import BREAKER, GO_ON, PAUSE
from runner.audit.timeline import MOST_BUCKETS, Timeline, Timelines
from runner.errors import AuditDamaged
from tests.support import audits
from tests.support.audits import batch, left_open, pace, run, sending

START = datetime(2026, 11, 26, 9, 0, tzinfo=UTC)


def at(seconds):
    return (START + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")


def course_of(path, *records):
    """The course of records that are given each with its second."""
    audits.write(path / "a.jsonl", [{**record, "at": at(seconds)} for seconds, record in records])
    line = Timeline()
    fold_audit(path / "a.jsonl", verify_chain=True, feed=line.feed)
    return line.course()


def spread(numbers, width_s=0.25):
    """Bucket → what is in it, where there is something."""
    return {index * width_s: number for index, number in enumerate(numbers) if number}


def test_numbers_are_confirmed_when_their_batch_ended(tmp_path):
    course = course_of(
        tmp_path,
        (0, run(batches=3)),
        (0, sending(1, 3)),
        (1, batch(1)),
        (1.1, batch(2, "failed")),
        (2, batch(3, "unknown", phones=2, left=1, uncertain=1)),
    )
    assert (spread(course.confirmed), spread(course.unconfirmed)) == ({1: 2, 2: 1}, {1: 2, 2: 1})
    assert course.end_s == 2


def test_a_request_is_counted_when_it_left(tmp_path):
    course = course_of(tmp_path, (0, run(batches=1)), (0, sending(1)), (9, batch(1, duration_ms=7500.0)))
    assert spread(course.requests) == {1.5: 1}


def test_further_requests_are_counted_in_even_steps_up_to_the_batchs_end(tmp_path):
    course = course_of(
        tmp_path, (0, run(batches=1)), (0, sending(1)), (9, batch(1, attempts=4, duration_ms=6000.0))
    )
    assert spread(course.requests) == {3: 1, 5: 1, 7: 1, 9: 1}


@pytest.mark.parametrize("later", [[], [(7.5, pace(rate="10/s", until=at(8), why="another reason"))]])
def test_no_further_request_is_drawn_into_a_pause(tmp_path, later):
    course = course_of(
        tmp_path,
        (0, run(batches=1)),
        (0, sending(1)),
        (2, pace(rate="10/s", until=at(7), why="the server asked for a pause")),
        *later,
        (9, batch(1, attempts=3, duration_ms=8000.0)),
    )
    assert spread(course.requests) == {1: 1, 7: 1, 9: 1}


def test_a_resumed_batch_counts_its_own_sessions_requests_alone(tmp_path):
    course = course_of(
        tmp_path,
        (0, run(batches=1)),
        (0, sending(1)),
        (1, left_open(1, attempts=3)),
        (500, run(batches=1, mode="resume")),
        (500, sending(1)),
        (501, batch(1, attempts=4, duration_ms=500.0)),
    )
    assert sum(course.requests) == 1


def test_the_time_between_sessions_is_left_out_and_marked(tmp_path):
    course = course_of(
        tmp_path,
        (0, run(batches=2)),
        (0, sending(1)),
        (4, batch(1)),
        (90_000, run(batches=2, mode="resume")),
        (90_000, sending(2)),
        (90_003, batch(2)),
    )
    assert (course.end_s, spread(course.confirmed)) == (7, {4: 2, 7: 2})
    assert [(again.start_s, again.at) for again in course.resumed] == [(4, at(90_000))]


def test_pauses_are_noted_as_far_as_they_went(tmp_path):
    asked, open_ = "the server asked for a pause", f"{BREAKER}10 attempts in a row"
    course = course_of(
        tmp_path,
        (0, run(batches=2)),
        (1, pace(rate="10/s", until=at(3), why=asked)),
        (2, pace(rate="10/s", until=at(5), why=asked)),
        (8, pace(rate="10/s", until=at(60), why=open_)),
        (10, sending(1)),
    )
    assert course.end_s == 8
    pauses = [(pause.start_s, pause.seconds, pause.why) for pause in course.pauses]
    assert pauses == [(1, 4, asked), (8, 0, open_)]
    assert (course.pause_count, course.pause_total_s) == (2, 4)
    assert spread(course.paused_s) == dict.fromkeys((n / 4 for n in range(4, 20)), 0.25)


def test_an_operators_pause_lasts_until_the_order_to_go_on_or_the_sessions_end(tmp_path):
    order = {"rate": "20/s", "until": None, "why": "an operator paused the run"}
    course = course_of(
        tmp_path,
        (0, run(batches=1)),
        (1, pace(**order, order=PAUSE, operator="li.wei", reason="the vendor called")),
        (2, pace(rate="20/s", until=None, why="the rate was set", order="20/s")),
        (5, pace(rate="20/s", until=None, why="an operator let the run go on", order=GO_ON)),
        (7, pace(**order, order=PAUSE)),
        (9, sending(1)),
        (10, batch(1, duration_ms=100.0)),
    )
    pauses = [(pause.start_s, pause.seconds, pause.why) for pause in course.pauses]
    said = "an operator paused the run (li.wei: the vendor called)"
    assert pauses == [(1, 4, said), (7, 3, "an operator paused the run")]
    assert sum(course.paused_s) == 7


def test_the_allowed_rate_is_the_highest_of_each_bucket(tmp_path):
    course = course_of(
        tmp_path,
        (0, run(limits={"rate": "20/s"})),
        (1.1, pace(rate="5/s", until=None, why="halved")),
        (1.2, pace(rate="7/s", until=None, why="raised")),
        (2, pace(rate="unlimited", until=None, why="x")),
        (2.5, pace(rate="nonsense", until=None, why="x")),
    )
    assert course.allowed == [20] * 5 + [7] * 3 + [float("inf")] * 3


def test_a_rate_by_the_minute_is_promised_by_the_minute(tmp_path):
    course = course_of(tmp_path, (0, run(limits={"rate": "90/m"})), (1, sending(1)))
    assert (course.window_s, course.allowed[0]) == (60, 1.5)


def test_a_run_of_any_length_has_a_bounded_number_of_points_and_loses_nothing(tmp_path):
    records = [(0, run(batches=600, limits={"rate": "20/s"})), (0, sending(1, 600))]
    records += [(seq * 3600, batch(seq, attempts=2)) for seq in range(1, 601)]
    records[300:300] = [(298 * 3600, pace(rate="8/s", until=at(298 * 3600 + 600), why="x"))]
    course = course_of(tmp_path, *records)
    assert MOST_BUCKETS / 2 <= len(course.confirmed) <= MOST_BUCKETS
    assert (sum(course.confirmed), sum(course.requests)) == (1200, 1200)
    assert sum(course.paused_s) == pytest.approx(600)
    assert (course.allowed[0], course.allowed[-1]) == (20, 8)
    assert course.end_s == 600 * 3600


def test_of_many_pauses_the_longest_are_named(tmp_path):
    ends = [n * 10 + 1 + (n == 77) for n in range(200)]
    records = [(n * 10, pace(rate="1/s", until=at(end), why=f"pause {n}")) for n, end in enumerate(ends)]
    course = course_of(tmp_path, (0, run()), *records, (2000, sending(1)))
    assert course.pause_count == 200
    assert len(course.pauses) <= 24
    assert "pause 77" in [pause.why for pause in course.pauses]


def test_a_clock_that_was_set_back_does_not_turn_time(tmp_path):
    course = course_of(
        tmp_path, (0, run(batches=2)), (0, sending(1, 2)), (5, batch(1)), (-90, batch(2, duration_ms=1e9))
    )
    assert (course.end_s, spread(course.confirmed)) == (5, {0: 2, 5: 2})


def test_a_hostile_number_of_attempts_takes_no_time(tmp_path):
    records = [(0, run(batches=1)), (0, sending(1)), (5, batch(1, attempts=10**15))]
    assert sum(course_of(tmp_path, *records).requests) == 10**15


def test_a_record_without_a_time_is_damage_and_names_its_line(tmp_path):
    path = audits.write(tmp_path / "a.jsonl", [{**run(), "at": at(0)}, {**sending(1), "at": at(0)}])
    path.write_bytes(path.read_bytes() + audits.chained([{**batch(1), "at": "yesterday"}])[0])
    with pytest.raises(AuditDamaged) as damaged:
        fold_audit(path, verify_chain=False, feed=Timeline().feed)
    assert damaged.value.line == 3


def test_looking_on_changes_nothing_in_the_fold(tmp_path):
    records = [run(batches=2), sending(1, 2), batch(1), batch(2, "failed")]
    path = audits.write(tmp_path / "a.jsonl", records)
    plain, watched = (fold_audit(path, verify_chain=True, **more) for more in ({}, {"feed": Timeline().feed}))
    assert watched.totals() == plain.totals()
    assert (watched.records, watched.chain, watched.unconfirmed.causes) == (
        4,
        plain.chain,
        plain.unconfirmed.causes,
    )


def test_the_finest_bucket_is_finer_than_what_a_rate_speaks_of():
    assert timeline.FINEST_S < 1


# ---- the audits of one run, side by side --------------------------------------------------------------


def together(path, *histories):
    """The course of several audits that are fed one after the other."""
    first = min((history[0][0] for history in histories), default=0)
    lines = Timelines(at(first) if len(histories) > 1 else None)
    for number, history in enumerate(histories):
        audits.write(path / f"{number}.jsonl", [{**record, "at": at(seconds)} for seconds, record in history])
        fold_audit(path / f"{number}.jsonl", verify_chain=True, feed=lines.feed)
    return lines.course()


def shard(start, *ends, mode="run"):
    return [(start, run(batches=len(ends), mode=mode)), (start, sending(1, len(ends))), *ends]


def test_what_several_audits_did_at_one_time_is_added_up(tmp_path):
    course = together(
        tmp_path,
        shard(10, (11, batch(1)), (14, batch(2))),
        shard(13, (14, batch(1)), (15, batch(2, "failed"))),
        shard(10, (11, batch(1, duration_ms=900.0))),
    )
    assert spread(course.confirmed) == {1: 4, 4: 4}
    assert spread(course.unconfirmed) == {5: 2}
    assert sum(course.requests) == 5
    assert course.end_s == 5


def test_the_order_in_which_audits_are_fed_changes_nothing(tmp_path):
    histories = [shard(n, (n + 1, batch(1)), (n * 40 + 2, batch(2))) for n in range(4)]
    courses = []
    for number, order in enumerate((histories, histories[::-1])):
        (tmp_path / str(number)).mkdir()
        courses.append(together(tmp_path / str(number), *order))
    assert courses[0] == courses[1]


def test_audits_of_very_different_length_are_drawn_to_one_measure(tmp_path):
    course = together(tmp_path, shard(0, (1, batch(1))), shard(0, (2, batch(1)), (50_000, batch(2))))
    assert course.width_s > 100
    assert spread(course.confirmed, course.width_s) == {0: 4, 50_000 // course.width_s * course.width_s: 2}
    assert len(course.confirmed) == len(course.allowed) == len(course.paused_s) <= MOST_BUCKETS


def test_time_between_the_sessions_of_one_shard_is_not_left_out_for_others_may_have_run(tmp_path):
    resumed = [
        *shard(0, (1, batch(1)))[:1],
        (100, run(batches=1, mode="resume")),
        (100, sending(1)),
        (101, batch(1)),
    ]
    course = together(tmp_path, resumed, shard(0, (50, batch(1))))
    assert spread(course.confirmed) == {50: 2, 101: 2}
    assert course.resumed == ()
    alone = together(tmp_path, resumed)
    assert spread(alone.confirmed) == {1: 2}
    assert len(alone.resumed) == 1


def test_a_pause_that_everybody_noted_is_one_pause(tmp_path):
    def paused(start, until, why="429"):
        return [
            (0, run(batches=1)),
            (0, sending(1)),
            (start, pace(rate="10/s", until=at(until), why=why)),
            (20, batch(1)),
        ]

    course = together(
        tmp_path, paused(4, 8), paused(5, 9), paused(4, 8), paused(12, 14), paused(5, 6, "other")
    )
    assert [(pause.start_s, pause.seconds, pause.why) for pause in course.pauses] == [
        (4, 5, "429"),
        (5, 1, "other"),
        (12, 2, "429"),
    ]
    assert (course.pause_count, course.pause_total_s) == (3, 8)
    assert max(course.paused_s) == course.width_s
    assert sum(course.paused_s) == pytest.approx(7), "4 to 9, and 12 to 14"


def test_the_allowed_rate_is_that_of_all_and_not_their_sum(tmp_path):
    course = together(tmp_path, shard(0, (5, batch(1))), shard(0, (9, batch(1))))
    assert set(course.allowed) == {20.0}


def test_no_audit_at_all_has_no_course(tmp_path):
    assert not any(Timelines().course().confirmed)
    assert not any(together(tmp_path).requests)
