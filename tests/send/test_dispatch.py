"""Many batches: order, skipping, caps, stops, signals, deadline, a failing disk; on whole sessions."""

import errno
import itertools

import pytest

from runner.errors import Exit
from runner.model import Batch, Reply, Target, Work
from runner.outcomes import SERVER
from runner.settings import Limits, Rate, Safety
from tests.support.fakes import (
    HANGS,
    MemoryFile,
    answers,
    batches,
    departures,
    failure,
    live_session,
    moment,
    phones,
    records_of,
    refusal,
)

ANY = Safety(max_failed=1.0)
FOUR = Limits(rate=Rate(None), concurrency=4)
ALONE = Limits(rate=Rate(None), concurrency=1)


def stop_at(seconds, number=Exit.SIGINT):
    """Send a first signal so long after the start of the session."""
    return lambda rig: rig.loop.call_later(seconds, rig.stop.request, number.name, number)


def open_seqs(rig):
    return [record["seq"] for record in records_of(rig.file, "open")]


def intents(file):
    """Every batch that was announced, in order."""
    ranges = [(r.get("from", r.get("seq")), r.get("to", r.get("seq"))) for r in records_of(file, "sending")]
    return [seq for first, last in ranges for seq in range(first, last + 1)]


# --- the ordinary course


@pytest.mark.parametrize("concurrency", [1, 2, 7, 64])
def test_every_batch_is_sent_once_and_never_more_at_once_than_allowed(concurrency):
    rig = live_session(batches(200), limits=Limits(rate=Rate(None), concurrency=concurrency))
    assert [batch.phones for batch in rig.plan] == sorted(request.phones for request in rig.api.requests)
    assert rig.api.peak == rig.summary["peak_in_flight"] == concurrency
    assert (rig.summary["status"], rig.summary["exit_code"], rig.summary["count"]) == ("complete", 0, 400)


def test_batches_leave_in_the_order_of_the_plan():
    rig = live_session(batches(50), limits=Limits(rate=Rate(10.0), concurrency=8))
    assert [request.phones for request in rig.api.requests] == [batch.phones for batch in rig.plan]


@pytest.mark.parametrize("sync_s", [0.0, 0.001, 0.2, 3.0])
@pytest.mark.parametrize("concurrency", [1, 3, 16])
def test_no_request_leaves_before_its_intent_is_durable_and_none_is_forgotten(sync_s, concurrency):
    """However slow the disk: the last batches are announced while other workers find nothing to take."""
    file = MemoryFile()
    file.sync_s = sync_s
    unknown = []
    plan = batches(50)
    seq_of = {batch.phones: batch.seq for batch in plan}

    def script(request, before):
        durable = MemoryFile(bytes(file.data[: file.durable]))
        seq = seq_of[request.phones]
        unknown.extend([] if seq in intents(durable) else [seq])

    limits = Limits(rate=Rate(None), concurrency=concurrency)
    rig = live_session(plan, script=script, limits=limits, file=file)
    assert unknown == []
    assert rig.summary["exit_code"] == Exit.OK


@pytest.mark.parametrize("count", range(40, 50))
def test_what_is_being_announced_when_the_others_find_nothing_is_still_sent(count):
    """The last announcement is slow, and all workers are done with the rest before it is durable."""
    file = MemoryFile()

    def on_record(record):
        if record["type"] == "sending" and count in {record.get("seq"), record.get("to")}:
            file.sync_s = 5.0

    rig = live_session(batches(count), file=file, limits=FOUR, on_record=on_record)
    assert (rig.summary["exit_code"], len(rig.api.requests)) == (Exit.OK, count)


@pytest.mark.parametrize("concurrency", [1, 4, 16])
def test_at_most_four_times_the_concurrency_of_intents_are_without_an_end(concurrency):
    without_end = most = 0

    def on_record(record):
        nonlocal without_end, most
        if record["type"] == "sending":
            first = record.get("from", record.get("seq"))
            without_end += record.get("to", first) - first + 1
        without_end -= record["type"] == "batch"
        most = max(most, without_end)

    limits = Limits(rate=Rate(None), concurrency=concurrency)
    live_session(batches(300), limits=limits, on_record=on_record)
    assert concurrency <= most <= 4 * concurrency


def test_intents_are_announced_ahead_in_ranges_so_that_few_syncs_serve_many():
    rig = live_session(batches(400), limits=Limits(rate=Rate(None), concurrency=16))
    assert len(records_of(rig.file, "sending")) < 60


def test_batches_are_read_as_they_are_needed():
    """Promise 8: of a plan of any length a few are in memory."""
    drawn = itertools.count()
    ahead = []
    plan = batches(2000)

    def works(rig):
        for batch in plan:
            ahead.append(next(drawn) - rig.fold.ended)
            yield Work(batch)

    live_session(plan, lambda rig: setattr(rig, "works", lambda: works(rig)), limits=FOUR)
    assert max(ahead) <= 4 * FOUR.concurrency


# --- users that are refused


@pytest.mark.parametrize(("status", "word"), [(403, "forbidden"), (404, "not_found")])
def test_the_rest_of_a_refused_user_is_skipped_and_the_others_go_on(status, word):
    plan = batches(100, users=2)
    rig = live_session(
        plan, limits=ALONE, safety=ANY,
        script=lambda request, before: refusal(status) if request.target.user_id == "user-1" else None,
    )  # fmt: skip
    ends = rig.ends()
    assert [ends[seq]["error"] for seq in (2, 4, 100)] == [word, "skipped", "skipped"]
    assert (ends[4]["status"], ends[4]["attempts"], ends[4]["phones_left"]) == ("not_sent", 0, 2)
    assert rig.summary["batches"] == {
        "planned": 100,
        "deleted": 50,
        "failed": 1,
        "unknown": 0,
        "not_sent": 49,
    }
    assert (len(rig.api.requests), rig.summary["exit_code"]) == (51, Exit.PARTIAL)


def test_a_user_refused_by_many_workers_at_once_costs_no_more_than_are_in_hand():
    plan = batches(20) + [Batch(seq, Target("gone"), phones(2, start=seq * 100)) for seq in range(21, 201)]
    rig = live_session(
        plan, limits=FOUR, safety=ANY,
        script=lambda request, before: refusal(404) if request.target.user_id == "gone" else None,
    )  # fmt: skip
    assert len(rig.api.requests) <= 20 + FOUR.concurrency


def test_a_resume_remembers_who_was_refused():
    file = MemoryFile()
    plan = batches(20)
    live_session(plan, script=answers(refusal(403), refusal(401)), limits=ALONE, safety=ANY, file=file)
    rig = live_session(plan, limits=ALONE, safety=ANY, file=file)
    assert rig.api.requests == []
    assert rig.summary["batches"]["not_sent"] == 19


# --- what stops a run at once


@pytest.mark.parametrize(("status", "why"), [(401, "token refused"), (302, "redirect refused")])
def test_at_most_those_in_flight_follow_a_refused_token_or_a_redirect(status, why):
    sent = []

    def script(request, before):
        sent.append(request)
        return refusal(status) if len(sent) > 50 else None

    rig = live_session(batches(300), script=script, limits=Limits(rate=Rate(None), concurrency=8), safety=ANY)
    assert 51 <= len(sent) <= 58
    assert (rig.summary["status"], rig.summary["exit_code"]) == ("stopped", Exit.STOPPED)
    assert rig.summary["why"] == f"{why} (HTTP {status})"
    assert set(open_seqs(rig)) == set(intents(rig.file)) - set(rig.ends())
    assert rig.summary["batches"]["not_sent"] == 250


def test_no_request_waits_at_the_gate_past_a_refused_token():
    script = answers(*[None] * 9, refusal(401))
    rig = live_session(batches(60), script=script, limits=Limits(rate=Rate(2.0), concurrency=16), safety=ANY)
    assert len(rig.api.requests) == 10
    assert rig.took_s == pytest.approx(departures(rig)[-1] + 0.05, abs=1e-3)


def test_more_rows_than_the_cap_stop_the_run_at_once():
    script = answers(*[None] * 9, Reply(41, "ok"))
    rig = live_session(batches(60), script=script, limits=Limits(rate=Rate(2.0), concurrency=16))
    assert len(rig.api.requests) == 10
    assert rig.summary["why"].startswith(
        "max_rows_per_phone: batch 10 deleted 41 rows for 2 numbers, 40 at most"
    )
    assert rig.ends()[10]["status"] == "deleted"
    assert rig.summary["exit_code"] == Exit.STOPPED


def test_the_cap_decides_the_exit_code_though_nothing_is_left():
    rig = live_session(batches(1), script=answers(Reply(41, "ok")), limits=ALONE)
    assert (rig.summary["status"], rig.summary["exit_code"]) == ("stopped", Exit.STOPPED)
    assert rig.summary["batches"]["deleted"] == 1


def test_as_many_rows_as_the_cap_are_within_it():
    rig = live_session(batches(2), script=answers(Reply(40, "ok")), limits=ALONE)
    assert rig.summary["exit_code"] == Exit.OK


def test_a_window_has_no_cap_by_phone():
    window = Batch(1, Target("u", ("2024-01-01 00:00:00", "2024-01-02 00:00:00"), delete_window=True), ())
    rig = live_session([window], script=answers(Reply(100_000, "ok")), limits=ALONE)
    assert (rig.summary["exit_code"], rig.summary["count"]) == (Exit.OK, 100_000)


def test_a_cap_that_shows_while_a_signal_drains_is_said():
    """Or else a resume would not ask."""

    before = stop_at(0.07)
    rig = live_session(batches(9), before, script=answers(None, Reply(41, "ok")), limits=ALONE)
    assert rig.summary["why"].startswith("max_rows_per_phone")
    assert rig.summary["exit_code"] == Exit.STOPPED


@pytest.mark.parametrize("sent", [20, 60])
def test_stop_when_empty_stops_when_the_first_twenty_deleted_nothing(sent):
    limits = Limits(rate=Rate(2.0), concurrency=16)
    rig = live_session(
        batches(sent), script=lambda request, before: Reply(0, "ok"), limits=limits,
        safety=Safety(stop_when_empty=True),
    )  # fmt: skip
    assert len(rig.api.requests) == 20
    assert rig.summary["why"].startswith("stop_when_empty: ")
    assert (rig.summary["exit_code"], rig.summary["empty_batches"]) == (Exit.STOPPED, 20)


def test_without_stop_when_empty_it_is_said_once_and_the_run_goes_on():
    rig = live_session(batches(60), script=lambda request, before: Reply(0, "ok"), limits=FOUR)
    assert len(rig.warnings) == 1
    assert rig.summary["exit_code"] == Exit.OK


def test_one_row_among_the_first_twenty_is_enough():
    script = answers(*[Reply(0, "ok")] * 19, Reply(1, "ok"), *[Reply(0, "ok")] * 50)
    rig = live_session(batches(60), script=script, limits=ALONE, safety=Safety(stop_when_empty=True))
    assert rig.summary["exit_code"] == Exit.OK


# --- signals


@pytest.mark.parametrize("number", [Exit.SIGINT, Exit.SIGTERM])
def test_a_first_signal_takes_no_more_and_waits_for_what_is_in_flight(number):
    before = stop_at(1.01, number)
    rig = live_session(batches(300), before, limits=FOUR)
    assert rig.took_s < 1.01 + rig.latency_s + 1e-3
    assert max(departures(rig)) <= 1.01
    assert len(rig.ends()) == len(rig.api.requests) == rig.summary["count"] / 2
    assert (rig.summary["exit_code"], rig.summary["why"]) == (number, number.name)
    assert set(open_seqs(rig)) == set(intents(rig.file)) - set(rig.ends())


def test_a_signal_that_leaves_nothing_open_changes_nothing():
    before = stop_at(0.02)
    rig = live_session(batches(1), before, limits=FOUR)
    assert (rig.summary["status"], rig.summary["why"], rig.summary["exit_code"]) == (
        "complete",
        None,
        Exit.OK,
    )


def test_a_drain_lasts_no_longer_than_one_attempt():
    limits = Limits(rate=Rate(None), concurrency=4, timeout_s=5.0)
    before = stop_at(1.01)
    sent = []

    def script(request, before):
        sent.append(request)
        return HANGS if len(sent) > 10 else None

    rig = live_session(batches(99), before, script=script, limits=limits)
    assert rig.took_s < 1.01 + 5.0
    uncertain = [record for record in records_of(rig.file, "open") if record["uncertain_attempts"]]
    assert len(uncertain) == 4
    assert rig.summary["batches"]["unknown"] == rig.summary["uncertain_batches"] == 4


def test_a_signal_in_a_back_off_leaves_the_batch_open_with_its_doubt():
    before = stop_at(0.08)
    rig = live_session(batches(3), before, script=lambda r, b: failure(SERVER), limits=ALONE)
    [record] = records_of(rig.file, "open")
    assert record["attempts"] == record["uncertain_attempts"] == len(rig.api.requests)
    assert rig.took_s == pytest.approx(0.08, abs=1e-3)


def test_a_second_signal_leaves_what_is_in_flight_open_without_a_record():
    def before(rig):
        for at_s in (1.01, 1.02):
            rig.loop.call_later(at_s, rig.stop.signal, "SIGINT", Exit.SIGINT, lambda name: None)

    rig = live_session(batches(300), before, limits=FOUR)
    assert rig.took_s == pytest.approx(1.02, abs=1e-3)
    in_flight = set(intents(rig.file)) - set(rig.ends()) - set(open_seqs(rig))
    assert len(in_flight) == FOUR.concurrency
    assert rig.summary["batches"]["unknown"] == rig.summary["uncertain_batches"] == FOUR.concurrency
    assert {record["attempts"] for record in records_of(rig.file, "open")} == {0}
    assert rig.recorded


def test_after_a_second_signal_the_next_session_carries_the_doubt():
    file = MemoryFile()
    plan = batches(300)

    def before(rig):
        for at_s in (1.01, 1.02):
            rig.loop.call_later(at_s, rig.stop.signal, "SIGINT", Exit.SIGINT, lambda name: None)

    live_session(plan, before, limits=FOUR, file=file)
    rig = live_session(plan, limits=FOUR, file=file)
    twice = [end["seq"] for end in rig.ends().values() if end["attempts"] == 2]
    assert len(twice) == FOUR.concurrency
    assert all(rig.ends()[seq]["uncertain_attempts"] == 1 for seq in twice)
    assert rig.summary["exit_code"] == Exit.OK


# --- the deadline


def test_the_deadline_takes_no_more_in_time_to_drain():
    limits = Limits(rate=Rate(20.0), concurrency=4, timeout_s=3.0, deadline_s=10.0)
    rig = live_session(batches(999), limits=limits)
    assert 6.9 < max(departures(rig)) <= 7.0
    assert rig.took_s <= 10.0
    assert rig.summary["why"].startswith("deadline")
    assert rig.summary["exit_code"] == Exit.STOPPED


def test_a_deadline_shorter_than_an_attempt_leaves_half_of_it_for_work():
    limits = Limits(rate=Rate(20.0), concurrency=4, timeout_s=30.0, deadline_s=10.0)
    rig = live_session(batches(999), limits=limits)
    assert 4.5 < max(departures(rig)) <= 5.0


@pytest.mark.parametrize(("deadline_s", "sent"), [(1.0, 1), (3.0, 2), (9.0, 5)])
def test_however_short_a_deadline_what_the_rate_allows_before_it_is_deleted(deadline_s, sent):
    limits = Limits(rate=Rate(60.0, 60.0), concurrency=4, deadline_s=deadline_s)
    rig = live_session(batches(9), limits=limits)
    assert len(departures(rig)) == rig.summary["batches"]["deleted"] == sent
    assert rig.summary["batches"]["not_sent"] == 9 - sent


def test_a_deadline_that_is_met_is_none():
    rig = live_session(batches(9), limits=Limits(rate=Rate(20.0), concurrency=4, deadline_s=600.0))
    assert rig.summary["exit_code"] == Exit.OK
    assert rig.took_s < 2


def test_a_pause_beyond_the_deadline_stops_the_run():
    limits = Limits(rate=Rate(20.0), concurrency=4, timeout_s=3.0, deadline_s=60.0)
    script = answers(*[None] * 9, refusal(429, retry_after_s=300.0))
    rig = live_session(batches(99), script=script, limits=limits)
    assert rig.summary["why"].startswith("deadline: the server asked for a pause until ")
    assert rig.took_s < 2


# --- a disk that fails


def full_after(appends):
    file = MemoryFile()
    counted = itertools.count(1)

    def fail(data):
        if next(counted) > appends:
            raise OSError(errno.ENOSPC, "No space left on device")

    file.fail_append = fail
    return file


@pytest.mark.parametrize("appends", [0, 1, 2, 3, 10, 57, 58, 59])
def test_a_full_disk_stops_the_run_and_nothing_leaves_that_the_audit_does_not_know(appends):
    file = full_after(appends)
    rig = live_session(batches(200), file=file, limits=Limits(rate=Rate(100.0), concurrency=8))
    assert (rig.recorded, rig.summary["exit_code"]) == (False, Exit.STOPPED)
    assert rig.summary["why"] == "audit not writable: No space left on device"
    known = set(intents(rig.file))
    seq_of = {batch.phones: batch.seq for batch in rig.plan}
    assert {seq_of[request.phones] for request in rig.api.requests} <= known
    assert rig.stop.at_s - rig.started_s + 1e-3 >= max(departures(rig), default=0.0)


@pytest.mark.parametrize("syncs", [0, 1, 2, 3])
def test_after_a_failed_sync_nothing_leaves(syncs):
    file = MemoryFile()
    counted = itertools.count(1)

    def fail():
        if next(counted) > syncs:
            raise OSError(errno.EIO, "Input/output error")

    file.fail_sync = fail
    rig = live_session(batches(200), file=file, limits=Limits(rate=Rate(100.0), concurrency=8))
    assert rig.summary["exit_code"] == Exit.STOPPED
    assert rig.summary["why"] == "audit not writable: Input/output error"
    durable = MemoryFile(bytes(file.data[: file.durable]))
    known = set(intents(durable))
    seq_of = {batch.phones: batch.seq for batch in rig.plan}
    assert {seq_of[request.phones] for request in rig.api.requests} <= known


def test_a_summary_that_cannot_be_made_durable_is_exit_3_though_all_was_deleted():
    file = MemoryFile()

    def fail():
        if records_of(file, "summary"):
            raise OSError(errno.EIO, "Input/output error")

    file.fail_sync = fail
    rig = live_session(batches(3), file=file, limits=FOUR)
    assert (rig.recorded, rig.summary["exit_code"]) == (False, Exit.STOPPED)
    assert rig.summary["batches"]["deleted"] == 3


def test_a_broken_audit_is_said_though_a_signal_came_first():
    file = MemoryFile()

    def fail():
        if records_of(file, "summary"):
            raise OSError(errno.EIO, "Input/output error")

    file.fail_sync = fail
    before = stop_at(1.01)
    rig = live_session(batches(300), before, file=file, limits=FOUR)
    assert (rig.summary["exit_code"], rig.summary["why"]) == (3, "audit not writable: Input/output error")


# --- the clock


def test_a_stopped_process_sends_no_burst_when_it_goes_on():
    limits = Limits(rate=Rate(20.0), concurrency=16)
    rig = live_session(
        batches(200), lambda rig: rig.loop.call_later(2.0, rig.loop.block, 60.0), limits=limits
    )
    sent = departures(rig)
    assert all(later - earlier > 1.0 for earlier, later in zip(sent, sent[20:], strict=False))
    assert rig.summary["max_in_window"] == 20


def test_the_first_record_is_the_run_and_the_last_the_summary():
    rig = live_session(batches(5), limits=FOUR)
    kinds = [record["type"] for record in rig.file.records()]
    assert (kinds[0], kinds[-1]) == ("run", "summary")
    assert moment(rig.file.records()[-1]) == pytest.approx(rig.took_s, abs=2e-3)
