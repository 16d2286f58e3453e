"""Probation and breaker, on whole sessions: what leaves, when, and what the audit says about it."""

import pytest

from runner.errors import Exit
from runner.model import Reply
from runner.outcomes import BAD_REPLY, CUT, NOT_CONNECTED, SERVER, TIMEOUT, UNTRUSTED, AttemptFailed
from runner.send.breaker import TRIAL_PAUSES_S, Counts
from runner.settings import Limits, Rate, Safety
from tests.support.fakes import (
    MemoryFile,
    answers,
    batches,
    departures,
    failure,
    live_session,
    moment,
    records_of,
    refusal,
)
from tests.support.sweep import sweep

ANY = Safety(max_failed=1.0)
WIDE = Limits(rate=Rate(None), concurrency=8)
ALONE = Limits(rate=Rate(None), concurrency=1)


def pauses(rig):
    """The breaker's pauses: when each began, and when it ended."""
    shown = [r for r in records_of(rig.file, "pace") if r["why"].startswith("breaker:") and r["until"]]
    return [(moment(record), moment({"at": record["until"]})) for record in shown]


def overlaps(rig, until):
    """Most requests on the wire at once among the first so many; each takes the script's latency."""
    sent = departures(rig)[:until]
    return max(sum(0 <= at_s - other < 0.05 for other in sent) for at_s in sent)


# --- probation


def test_one_batch_at_a_time_is_sent_until_one_is_deleted():
    rig = live_session(batches(40), script=answers(*[refusal(409)] * 3), limits=WIDE, safety=ANY)
    assert overlaps(rig, 4) == 1
    assert overlaps(rig, 40) == WIDE.concurrency
    assert rig.summary["peak_in_flight"] == WIDE.concurrency


def test_every_session_starts_on_probation():
    file = MemoryFile()
    plan = batches(40)
    live_session(plan, script=answers(*[None] * 9, refusal(401)), limits=WIDE, safety=ANY, file=file)
    rig = live_session(plan, script=answers(*[refusal(409)] * 3), limits=WIDE, safety=ANY, file=file)
    assert overlaps(rig, 4) == 1
    assert rig.summary["exit_code"] == Exit.PARTIAL


def test_a_part_that_is_deleted_is_no_batch_that_is():
    halves = [refusal(400), None, refusal(409)]
    rig = live_session(batches(20), script=answers(*halves * 4), limits=WIDE, safety=ANY)
    assert overlaps(rig, 12) == 1


def test_over_the_cap_is_not_within_it():
    rig = live_session(batches(40), script=answers(Reply(41, "ok")), limits=WIDE)
    assert len(rig.api.requests) == 1
    assert rig.summary["exit_code"] == Exit.STOPPED


def test_intents_are_announced_one_at_a_time_on_trial():
    rig = live_session(batches(40), script=answers(*[refusal(409)] * 3), limits=WIDE, safety=ANY)
    assert [r.get("seq") for r in records_of(rig.file, "sending")[:4]] == [1, 2, 3, 4]


# --- what opens the breaker


@pytest.mark.parametrize("kind", [CUT, TIMEOUT, SERVER, BAD_REPLY])
def test_ten_attempts_in_a_row_that_fail_open_it(kind):
    script = answers(None, *[failure(kind)] * 10)
    rig = live_session(batches(60), script=script, limits=Limits(rate=Rate(None), concurrency=1), safety=ANY)
    began, ended = pauses(rig)[0]
    sent = departures(rig)
    assert began == pytest.approx(sent[10] + 0.05, abs=2e-3)
    assert ended - began == pytest.approx(TRIAL_PAUSES_S[0], abs=2e-3)
    assert not [at_s for at_s in sent if began < at_s < ended - 2e-3]


def test_refused_connections_open_it_too_though_nothing_leaves():
    script = answers(None, *[failure(NOT_CONNECTED, left=False)] * 10)
    rig = live_session(batches(9), script=script, limits=ALONE, safety=ANY)
    assert len(pauses(rig)) == 1
    assert rig.summary["batches"]["deleted"] + rig.summary["batches"]["failed"] == 9


@pytest.mark.parametrize("answer", [None, refusal(429), refusal(409)])
def test_any_other_end_of_an_attempt_breaks_the_row(answer):
    script = answers(None, *([failure(BAD_REPLY)] * 9 + [answer]) * 3)
    limits = Limits(rate=Rate(None), concurrency=1, max_attempts=100)
    rig = live_session(batches(9), script=script, limits=limits, safety=ANY)
    assert pauses(rig) == []


def test_too_many_failed_batches_open_it_with_the_twentieth_that_ended():
    rig = live_session(
        batches(40),
        script=answers(None, *[refusal(409), *[None] * 9] * 2),
        limits=ALONE,
        safety=Safety(max_failed=0.05),
    )
    ends = records_of(rig.file, "batch")
    [(began, _)] = pauses(rig)
    # The first one cleared the way; twenty more ended, two of them failed.
    assert began == pytest.approx(moment(ends[20]), abs=2e-3)
    why = next(r["why"] for r in records_of(rig.file, "pace") if r["until"])
    assert why == "breaker: 2 of 20 batches failed, more than 5%; last: refused: 错误"


def test_a_share_that_is_reached_and_not_exceeded_is_allowed():
    script = answers(None, *[*[None] * 19, refusal(409)] * 3)
    rig = live_session(batches(61), script=script, limits=ALONE, safety=Safety(max_failed=0.05))
    assert pauses(rig) == []


def test_skipped_batches_count_for_neither_side():
    """50 skipped ones would otherwise hide, or make up, a share of failed ones."""
    plan = batches(80, users=1)
    rig = live_session(plan, script=answers(None, refusal(403)), limits=ALONE, safety=Safety(max_failed=0.05))
    assert rig.summary["batches"] == {"planned": 80, "deleted": 1, "failed": 1, "unknown": 0, "not_sent": 78}
    assert (rig.summary["exit_code"], pauses(rig)) == (Exit.PARTIAL, [])


def test_more_retries_than_a_quarter_of_the_requests_open_it():
    """One batch in two needs a second attempt: a third of the requests are retries."""
    limits = Limits(rate=Rate(None), concurrency=1)
    rig = live_session(
        batches(60),
        script=answers(*[None, failure(SERVER), None] * 40),
        limits=limits,
        safety=ANY,
    )
    first = next(r for r in records_of(rig.file, "pace") if r["until"])
    assert first["why"] == (
        "breaker: 17 of 51 requests were retries, more than 25%; last: server: no such luck"
    )
    began = moment(first)
    assert len([at_s for at_s in departures(rig) if at_s < began]) == 51 + 1  # the first one cleared the way


def test_a_fifth_of_retries_is_within_the_budget():
    script = answers(*[None, None, None, failure(SERVER), None] * 40)
    rig = live_session(batches(60), script=script, limits=ALONE, safety=ANY)
    assert pauses(rig) == []


def test_the_counts_are_looked_at_in_one_place():
    assert Counts(in_a_row=9).reason_to_open(0.05) is None
    assert Counts(in_a_row=10).reason_to_open(0.05)
    assert Counts(ended=19, failed=19).reason_to_open(0.05) is None
    assert Counts(ended=20, failed=2).reason_to_open(0.05)
    assert Counts(requests=50, retries=49).reason_to_open(0.05) is None
    assert Counts(requests=51, retries=13).reason_to_open(0.05)
    assert Counts(ended=100, failed=100).reason_to_open(1.0) is None


# --- what it says


def test_its_reason_holds_what_the_last_failures_said_each_once_and_no_number():
    said = iter(["busy", "busy", "user 13800000000 is locked", "busy", *["down"] * 8])

    def script(request, before):
        words = next(said, None) if len(sent) else None
        sent.append(request)
        return None if words is None else AttemptFailed(SERVER, left=True, message=words)

    sent = []
    limits = Limits(rate=Rate(None), concurrency=1, max_attempts=4)
    rig = live_session(batches(9), script=script, limits=limits, safety=ANY)
    assert records_of(rig.file, "pace")[0]["why"] == (
        "breaker: 10 attempts in a row failed; last: server: down"
    )
    said = iter(["user 13800000000 is locked", "busy", "busy"] * 4)
    sent = []
    rig = live_session(batches(9), script=script, limits=limits, safety=ANY)
    assert records_of(rig.file, "pace")[0]["why"].endswith(
        "; last: server: busy; server: user **** is locked"
    )


def test_what_failed_before_the_way_was_cleared_is_not_said_again():
    script = answers(*[failure(SERVER)] * 10, None, *[failure(CUT)] * 10)
    limits = Limits(rate=Rate(None), concurrency=1, max_attempts=20)
    rig = live_session(batches(9), script=script, limits=limits, safety=ANY)
    assert "server" not in [r for r in records_of(rig.file, "pace") if r["until"]][-1]["why"]


# --- what no waiting mends


def test_three_connections_in_a_row_that_are_not_trusted_stop_the_run():
    broken = AttemptFailed(UNTRUSTED, left=False, message="TLS: self-signed certificate")
    rig = live_session(batches(9), script=lambda request, before: broken, limits=WIDE)
    assert rig.summary["why"] == "server not trusted; connection: TLS: self-signed certificate"
    assert (rig.summary["exit_code"], rig.summary["requests"]) == (Exit.STOPPED, 0)
    assert sum(rig.api.seen.values()) == 3
    assert rig.summary["batches"]["not_sent"] == 9


def test_a_certificate_that_changes_in_mid_run_stops_it_after_three():
    tried = []

    def script(request, before):
        tried.append(request)
        return failure(UNTRUSTED, left=False) if len(tried) > 20 else None

    rig = live_session(batches(99), script=script, limits=ALONE)
    assert (len(tried), rig.summary["exit_code"]) == (23, Exit.STOPPED)


def test_a_connection_that_is_trusted_between_them_begins_the_row_anew():
    twice = [failure(UNTRUSTED, left=False)] * 2
    rig = live_session(batches(9), script=answers(*[*twice, None] * 9), limits=ALONE, safety=ANY)
    assert rig.summary["exit_code"] == Exit.OK


# --- what it does while it is open


def test_trials_come_alone_with_growing_pauses_and_then_the_run_stops():
    rig = _outage_for_ever(Limits(rate=Rate(None), concurrency=8, max_attempts=100))
    lengths = [ended - began for began, ended in pauses(rig)]
    assert lengths == pytest.approx(list(TRIAL_PAUSES_S), abs=3e-3)
    for (began, ended), (following, _) in zip(pauses(rig), pauses(rig)[1:], strict=False):
        assert not [at_s for at_s in departures(rig) if began + 1e-3 < at_s < ended - 2e-3]
        assert len([at_s for at_s in departures(rig) if ended - 2e-3 <= at_s < following]) == 1
    assert rig.summary["why"] == "breaker: the trial failed, after 6 trials; last: server: no such luck"
    assert (rig.summary["status"], rig.summary["exit_code"]) == ("stopped", Exit.STOPPED)
    assert rig.summary["batches"]["not_sent"] > 0


def _outage_for_ever(limits):
    sent = []

    def script(request, before):
        sent.append(request)
        return failure(SERVER) if len(sent) > 9 else None

    return live_session(batches(40), script=script, limits=limits, safety=ANY)


def test_a_trial_that_is_confirmed_lets_all_go_on():
    script = answers(*[None] * 9, *[failure(SERVER)] * 14)
    rig = live_session(batches(200), script=script, limits=WIDE, safety=ANY)
    *_, last = [r for r in records_of(rig.file, "pace") if r["why"].startswith("breaker:")]
    assert (last["why"], last["until"]) == ("breaker: a trial was confirmed", None)
    assert rig.summary["exit_code"] == Exit.OK
    assert rig.summary["peak_in_flight"] == WIDE.concurrency


def test_a_trial_with_a_protected_number_is_no_failed_one():
    """What was sent of it was confirmed; the next batch is tried at once."""
    plan = batches(60)
    protected = frozenset(batch.phones[0] for batch in plan[5:25])
    script = answers(*[None] * 5, *[failure(SERVER)] * 10)
    rig = live_session(plan, script=script, limits=ALONE, safety=ANY, protected=protected)
    assert len(pauses(rig)) == 1
    assert rig.summary["batches"] == {"planned": 60, "deleted": 40, "failed": 0, "unknown": 1, "not_sent": 19}


def test_what_waits_at_the_gate_when_it_opens_does_not_leave():
    limits = Limits(rate=Rate(2.0), concurrency=16)
    rig = live_session(batches(60), script=answers(None, *[failure(SERVER)] * 12), limits=limits, safety=ANY)
    for began, ended in pauses(rig):
        assert not [at_s for at_s in departures(rig) if began + 1e-3 < at_s < ended - 2e-3]


def test_what_was_on_the_wire_when_it_opened_comes_home():
    """Its outcome counts; only the way on is blocked."""
    sent = []

    def script(request, before):
        sent.append(request)
        if 2 <= len(sent) <= 11:
            return failure(SERVER)
        return 0.5 if len(sent) == 12 else None

    rig = live_session(batches(40), script=script, limits=Limits(rate=Rate(None), concurrency=16), safety=ANY)
    slow = sent[11]
    end = next(
        r for r in records_of(rig.file, "batch") if set(r["phone"]) == set() and r["duration_ms"] > 400
    )
    assert end["status"] == "deleted"
    assert slow.phones
    assert rig.summary["exit_code"] == Exit.OK


def test_a_pause_beyond_the_deadline_stops_the_run():
    limits = Limits(rate=Rate(None), concurrency=4, max_attempts=2, timeout_s=1.0, deadline_s=30.0)
    rig = live_session(batches(40), script=lambda request, before: failure(SERVER), limits=limits, safety=ANY)
    assert rig.summary["why"].startswith("deadline: breaker open (")
    assert rig.took_s < 30.0


def test_a_stop_ends_the_wait_for_a_trial_at_once():
    limits = Limits(rate=Rate(None), concurrency=4, max_attempts=100)

    def before(rig):
        rig.loop.call_later(40.0, rig.stop.request, "SIGTERM", Exit.SIGTERM)

    rig = live_session(
        batches(40), before, script=lambda request, before: failure(SERVER), limits=limits, safety=ANY
    )
    assert rig.took_s == pytest.approx(40.0, abs=0.1)
    assert rig.summary["exit_code"] == Exit.SIGTERM


# --- an outage of a minute


def through_an_outage(rate, from_s=10.0, to_s=70.0, count=2000, concurrency=16):
    """A run through a minute of 503s: how many requests left in that minute, and the rig."""
    holder = []

    def script(request, before):
        now_s = holder[0].loop.time() - holder[0].started_s
        return refusal(503) if from_s <= now_s < to_s else None

    limits = Limits(rate=Rate(rate), concurrency=concurrency)
    rig = live_session(batches(count), holder.append, script=script, limits=limits)
    return sum(from_s <= at_s < to_s for at_s in departures(rig)), rig


@pytest.mark.parametrize("rate", [20.0, 200.0])
def test_an_outage_of_a_minute_costs_a_few_dozen_requests_and_the_run_goes_on(rate):
    """Without an outage the same minute carries 60 × rate requests."""
    during, rig = through_an_outage(rate, count=int(rate * 30))
    assert during <= 10 + 16 + len(TRIAL_PAUSES_S)
    assert rig.summary["exit_code"] == Exit.OK
    assert rig.summary["retries"] == during


@pytest.mark.parametrize("concurrency", sweep([16, 64], fast=[0]))
def test_the_retries_that_an_outage_left_behind_do_not_open_it_again(concurrency):
    _, rig = through_an_outage(200.0, count=6000, concurrency=concurrency)
    began = [began for began, _ in pauses(rig)]
    assert len(began) == len(TRIAL_PAUSES_S)
    assert max(began) < 70.0
