"""How a session begins: what it writes before it sends, its deadline, a pause that still runs."""

import pytest

from runner.audit.records import RejectedRecord
from runner.errors import Exit
from runner.settings import Limits, Rate
from tests.support.fakes import (
    ALONE,
    MemoryFile,
    answers,
    batches,
    departures,
    live_session,
    moment,
    records_of,
    refusal,
)


def rejected(count):
    return (
        RejectedRecord(source="list.txt", line=line, reason="letters", value="ab****")
        for line in range(1, count + 1)
    )


def slow_records(kind, seconds, **when):
    """Let each record of a kind take that long, as a busy process and a slow disk do."""
    made = []

    def before(rig):
        made.append(rig)
        for name, at_s in when.items():
            rig.loop.call_later(at_s, rig.stop.request, name, Exit[name])

    def on_record(record):
        if record["type"] == kind:
            made[0].loop.block(seconds)

    return before, on_record


def test_a_signal_is_heard_among_rejected_values():
    before, on_record = slow_records("rejected", 0.01, SIGTERM=5.0)
    rig = live_session(batches(9), before, limits=ALONE, on_record=on_record, rejected=rejected(3000))
    assert rig.took_s < 5.0 + 2 * 256 * 0.01
    assert (rig.summary["exit_code"], rig.api.requests) == (Exit.SIGTERM, [])
    assert rig.recorded
    assert 500 <= len(records_of(rig.file, "rejected")) <= 500 + 2 * 256


def test_all_rejected_values_stand_before_the_first_intent():
    rig = live_session(batches(9), limits=ALONE, rejected=rejected(1000))
    kinds = [record["type"] for record in rig.file.records()]
    assert kinds[:1002] == ["run", *["rejected"] * 1000, "sending"]


def test_the_deadline_counts_from_the_moment_when_sending_begins():
    """Not from before the rejected values are written: it was gone before the first request."""
    before, on_record = slow_records("rejected", 0.01)
    limits = Limits(rate=Rate(20.0), concurrency=4, timeout_s=1.0, deadline_s=10.0)
    rig = live_session(batches(100), before, limits=limits, on_record=on_record, rejected=rejected(3000))
    assert rig.summary["exit_code"] == Exit.OK
    assert rig.summary["duration_s"] == pytest.approx(rig.took_s - 30.0, abs=0.1)


# --- a pause that still runs


def paused_session(file, plan, limits, pause_s=120.0, stopped_at_s=1.0):
    """A session that is told to wait, and is stopped meanwhile."""
    script = answers(*[None] * 3, refusal(429, retry_after_s=pause_s))

    def before(rig):
        rig.loop.call_later(stopped_at_s, rig.stop.request, "SIGTERM", Exit.SIGTERM)

    return live_session(plan, before, script=script, limits=limits, file=file)


def test_a_pause_that_the_server_asked_for_holds_for_resume():
    file, plan = MemoryFile(), batches(20)
    paused_session(file, plan, ALONE)
    [told] = [record for record in records_of(file, "pace") if record["until"]]
    rig = live_session(plan, limits=ALONE, file=file, wall_s=20.0)
    until_s = moment({"at": told["until"]})
    assert 120.0 <= until_s <= 122.0
    assert until_s - 20.0 - 1e-3 <= departures(rig)[0] <= until_s - 20.0 + 1.1
    assert rig.summary["exit_code"] == Exit.OK
    again = records_of(file, "pace")[1]
    assert again["why"] == "the server asked for a pause, before this session"
    assert again["until"] >= told["until"]


def test_a_pause_that_is_over_holds_nobody():
    file, plan = MemoryFile(), batches(20)
    paused_session(file, plan, ALONE)
    rig = live_session(plan, limits=ALONE, file=file, wall_s=200.0)
    assert departures(rig)[0] < 0.01
    assert rig.summary["exit_code"] == Exit.OK


def test_it_holds_for_the_third_session_too_and_never_more_than_ten_minutes():
    """However wrong a clock was: here the first session's was a day ahead."""
    file, plan = MemoryFile(), batches(20)
    paused_session(file, plan, ALONE, pause_s=500.0)

    def before(rig):
        rig.loop.call_later(5.0, rig.stop.request, "SIGTERM", Exit.SIGTERM)

    second = live_session(plan, before, limits=ALONE, file=file, wall_s=-86400.0)
    assert second.api.requests == []
    third = live_session(plan, limits=ALONE, file=file, wall_s=-86400.0 + 100.0)
    assert 500.0 <= departures(third)[0] <= 601.0


def test_a_pause_of_the_breaker_is_over_with_its_session():
    file, plan = MemoryFile(), batches(20)
    script = answers(None, *[refusal(503)] * 30)

    def before(rig):
        rig.loop.call_later(20.0, rig.stop.request, "SIGTERM", Exit.SIGTERM)

    limits = Limits(rate=Rate(None), concurrency=8, max_attempts=100)
    rig = live_session(plan, before, script=script, limits=limits, file=file)
    assert rig.summary["exit_code"] == Exit.SIGTERM
    assert moment({"at": records_of(file, "pace")[-1]["until"]}) > 22.0
    rig = live_session(plan, limits=ALONE, file=file, wall_s=21.0)
    assert departures(rig)[0] < 0.01


def test_a_pause_that_outlasts_the_deadline_stops_the_resumed_run():
    file, plan = MemoryFile(), batches(20)
    paused_session(file, plan, ALONE)
    limits = Limits(rate=Rate(None), concurrency=1, deadline_s=60.0)
    rig = live_session(plan, limits=limits, file=file, wall_s=20.0)
    assert rig.summary["why"].startswith("deadline: the server asked for a pause, before this session until")
    assert (rig.summary["exit_code"], rig.api.requests) == (Exit.STOPPED, [])
