from types import SimpleNamespace

import pytest

from runner.model import Batch, Prior, Reply, Target, Work
from runner.outcomes import (
    BAD_REPLY,
    CUT,
    NOT_CONNECTED,
    SERVER,
    TIMEOUT,
    UNKNOWN_CODE,
    NextStep,
    kind_of_http,
)
from runner.send.delivery import Delivery
from runner.settings import Limits, Rate
from tests.support.fakes import (
    ALONE,
    CALM,
    HANGS,
    MemoryFile,
    answers,
    batches,
    departures,
    failure,
    live_session,
    one,
    parts_sent,
    phones,
    records_of,
    refusal,
    refuses,
)

# --- the outcome table


@pytest.mark.parametrize(
    ("answer", "status", "error", "uncertain", "attempts"),
    [
        (None, "deleted", None, 0, 1),
        (failure(NOT_CONNECTED, left=False), "failed", "connection", 0, 0),
        (failure(CUT), "unknown", "connection", 6, 6),
        (failure(BAD_REPLY), "unknown", "bad_reply", 6, 6),
        (failure(UNKNOWN_CODE), "unknown", "bad_reply", 1, 1),
        (failure(TIMEOUT), "unknown", "timeout", 6, 6),
        (refusal(429), "failed", "rate_limited", 0, 6),
        (failure(SERVER), "unknown", "server", 6, 6),
        (refusal(409), "failed", "refused", 0, 1),
        (refusal(403), "failed", "forbidden", 0, 1),
        (refusal(404), "failed", "not_found", 0, 1),
    ],
)
def test_an_answer_that_never_changes_ends_the_batch_as_the_table_says(
    answer, status, error, uncertain, attempts
):
    end, rig = one(lambda request, before: answer, size=1)
    assert (end["status"], end["error"], end["uncertain_attempts"]) == (status, error, uncertain)
    assert end["attempts"] == len(rig.api.requests) == attempts
    assert rig.summary["exit_code"] == (0 if status == "deleted" else 1)


def test_a_reply_that_never_comes_is_a_timeout_after_the_time_of_one_attempt():
    limits = Limits(rate=Rate(None), concurrency=1, timeout_s=7.0, max_attempts=1)
    end, rig = one(lambda request, before: HANGS, limits=limits)
    assert (end["status"], end["error"], end["uncertain_attempts"]) == ("unknown", "timeout", 1)
    assert 7.0 <= rig.took_s < 7.1


def test_confirmed_after_an_uncertain_attempt_is_deleted_and_says_so():
    end, _ = one(answers(failure(CUT), Reply(0, "ok")))
    assert (end["status"], end["count"], end["attempts"], end["uncertain_attempts"]) == ("deleted", 0, 2, 1)
    assert (end["error"], end["phones_left"], end["phone"]) == (None, 0, [])


def test_a_definite_refusal_after_an_uncertain_attempt_is_unknown():
    end, _ = one(answers(failure(TIMEOUT), refusal(409)))
    assert (end["status"], end["error"], end["http_status"]) == ("unknown", "refused", 409)
    assert end["phones_left"] == 8


def test_a_batch_that_only_waited_for_a_connection_is_failed_without_an_attempt():
    end, rig = one(lambda request, before: failure(NOT_CONNECTED, left=False))
    assert (end["status"], end["attempts"], end["duration_ms"]) == ("failed", 0, None)
    assert rig.summary["requests"] == 0


def test_the_record_holds_the_vendors_words_and_every_number_left():
    end, _ = one(lambda request, before: refusal(409, message="号码冻结"), size=3)
    assert (end["http_status"], end["message"]) == (409, "号码冻结")
    assert end["phone"] == list(phones(3, start=100))


def test_with_audit_phones_all_those_left_stand_first():
    numbers = phones(4, start=100)
    end, _ = one(refuses({numbers[2]}), size=4, audit_all_phones=True)
    assert end["phones_left"] == 1
    assert end["phone"] == [numbers[2], numbers[0], numbers[1], numbers[3]]


# --- over several sessions


def test_attempts_are_those_of_all_sessions_together():
    file = MemoryFile()
    plan = batches(1)
    script = answers(failure(SERVER), refusal(401))
    rig = live_session(plan, script=script, limits=ALONE, safety=CALM, file=file)
    assert records_of(file, "open")[0]["attempts"] == 2
    assert rig.summary["batches"]["unknown"] == 1
    rig = live_session(plan, script=answers(refusal(409)), limits=ALONE, safety=CALM, file=file)
    end = rig.ends()[1]
    # The doubt of the first session stays: a definite refusal now does not undo it.
    assert (end["attempts"], end["uncertain_attempts"], end["status"]) == (3, 1, "unknown")


def test_what_was_protected_since_planning_is_a_part_that_is_not_sent():
    numbers = phones(4, start=100)
    end, rig = one(lambda request, before: None, size=4, protected=frozenset(numbers[:1]))
    assert parts_sent(rig) == [numbers[1:]]
    assert (end["status"], end["error"], end["phone"], end["count"]) == (
        "not_sent", "protected", [numbers[0]], 3,
    )  # fmt: skip
    assert rig.summary["phones"]["deleted"] == 3


def test_a_batch_that_is_protected_whole_is_not_announced():
    rig = live_session(batches(1), protected=frozenset(phones(2, start=100)), limits=ALONE)
    assert rig.api.requests == records_of(rig.file, "sending") == []
    assert (rig.ends()[1]["status"], rig.ends()[1]["attempts"]) == ("not_sent", 0)
    assert rig.summary["exit_code"] == 1


# --- guards


async def test_nothing_is_delivered_that_was_not_announced():
    delivery = Delivery(None, None, None, None, None, None, max_attempts=6, max_rows_per_phone=20)
    with pytest.raises(AssertionError, match="not announced"):
        await delivery.deliver(Work(batches(1)[0]), lambda seq: None)


async def test_what_is_skipped_after_an_attempt_in_doubt_is_no_fault_of_the_server():
    records, ended = [], []
    journal = SimpleNamespace(append=records.append)
    delivery = Delivery(None, journal, None, None, None, ended.append, max_attempts=6, max_rows_per_phone=20)
    end = delivery.end_unsent(Work(batches(1)[0], Prior(1, 1)), "skipped")
    assert (end.status, end.skipped, end.faulty) == ("unknown", True, False)
    assert ended == [end]
    assert [record.uncertain_attempts for record in records] == [1]


def test_intents_are_written_as_ranges_of_consecutive_numbers():
    plan = batches(30)
    plan[4] = Batch(5, Target("other"), phones(2, start=9000))
    rig = live_session(plan, protected=frozenset(phones(2, start=9000)), safety=CALM)
    shown = [
        (r["seq"],) if "seq" in r else tuple(range(r["from"], r["to"] + 1))
        for r in records_of(rig.file, "sending")
    ]
    assert [seq for those in shown for seq in those] == [seq for seq in range(1, 31) if seq != 5]
    assert any(len(those) > 1 for those in shown)


# --- the server's word


def test_a_retry_after_holds_every_worker():
    answered = answers(*[None] * 5, refusal(429, retry_after_s=20.0))
    rig = live_session(
        batches(40), script=answered, limits=Limits(rate=Rate(50.0), concurrency=8), safety=CALM
    )
    # The sixth answer comes 50 ms after its request left; nothing leaves until 20 s later.
    told_s = departures(rig)[5] + 0.05
    late = [at_s for at_s in departures(rig) if at_s > told_s + 1e-3]
    assert min(late) >= told_s + 20.0
    assert len(departures(rig)) == 41
    pace = next(record for record in records_of(rig.file, "pace") if record["until"])
    assert pace["why"] == "the server asked for a pause"


@pytest.mark.parametrize("kind", [kind_of_http(status) for status in (401, 302)])
def test_what_stops_the_run_leaves_its_batch_open(kind):
    end, rig = one(lambda request, before: failure(kind))
    assert kind.then is NextStep.STOP
    assert end is None
    assert records_of(rig.file, "open")[0]["attempts"] == 1
    assert rig.summary["exit_code"] == 3
