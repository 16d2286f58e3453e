import random

import pytest

from runner.errors import Exit
from runner.model import Batch, Reply, Target, Work
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
from runner.send.delivery import MAX_REQUESTS_ISOLATING, Delivery, Policy, Ports
from runner.settings import Limits, Rate, Safety
from tests.support.fakes import (
    HANGS,
    MemoryFile,
    batches,
    departures,
    failure,
    live_session,
    phones,
    records_of,
    refusal,
)

CALM = Safety(max_failed=1.0)
ALONE = Limits(rate=Rate(None), concurrency=1)


def one(script, *, size=8, limits=ALONE, **given):
    """Live a session of one batch under a script; return its record and the rig."""
    rig = live_session(batches(1, size=size), script=script, limits=limits, safety=CALM, **given)
    return rig.ends().get(1), rig


def answers(*those):
    """A script that gives these answers in this order, then says yes."""
    rest = list(those)
    return lambda request, before: rest.pop(0) if rest else None


def refuses(bad, status=400):
    """A script that refuses each request with one of these numbers in it."""
    return lambda request, before: refusal(status) if bad & set(request.phones) else None


def keep_refusing(status):
    return lambda request, before: refusal(status)


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


# --- isolation


def parts_sent(rig):
    return [request.phones for request in rig.api.requests]


def test_one_bad_number_ends_alone_and_the_others_are_deleted():
    numbers = phones(100, start=100)
    end, rig = one(refuses({numbers[37]}), size=100)
    assert (end["status"], end["phone"], end["phones_left"]) == ("failed", [numbers[37]], 1)
    assert end["count"] == 99
    assert len(rig.api.requests) == end["attempts"] == 13  # 1, and two for each of 6 halvings
    assert len(records_of(rig.file, "batch")) == len(records_of(rig.file, "sending")) == 1
    assert rig.summary["phones"]["deleted"] == 99


def test_parts_are_halves_that_hold_each_number_once():
    numbers = phones(8, start=100)
    _, rig = one(refuses({numbers[7]}))
    assert parts_sent(rig) == [
        numbers, numbers[:4], numbers[4:], numbers[4:6], numbers[6:], numbers[6:7], numbers[7:],
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(20))
def test_several_bad_numbers_end_alone_within_the_bound(seed):
    numbers = phones(100, start=100)
    bad = set(random.Random(seed).sample(numbers, 3))
    end, rig = one(refuses(bad), size=100)
    assert len(rig.api.requests) <= MAX_REQUESTS_ISOLATING
    assert end["status"] == "failed"
    assert set(end["phone"]) == bad


@pytest.mark.parametrize("size", [2, 8, 20, 33, 100])
def test_all_bad_costs_forty_requests_at_most_and_what_is_unresolved_is_failed(size):
    end, rig = one(keep_refusing(422), size=size)
    assert len(rig.api.requests) == end["attempts"] == min(2 * size - 1, MAX_REQUESTS_ISOLATING)
    assert (end["status"], end["phones_left"], end["count"]) == ("failed", size, None)
    assert end["error"] == "refused"


def test_retries_of_the_whole_count_for_the_bound():
    limits = Limits(rate=Rate(None), concurrency=1, max_attempts=100)
    _, rig = one(answers(*[refusal(429)] * 30, *[refusal(400)] * 100), size=100, limits=limits)
    assert len(rig.api.requests) == MAX_REQUESTS_ISOLATING


def test_retries_within_a_part_count_for_the_bound():
    limits = Limits(rate=Rate(None), concurrency=1, max_attempts=100)
    end, rig = one(answers(refusal(400), *[refusal(429)] * 200), size=100, limits=limits)
    assert len(rig.api.requests) == MAX_REQUESTS_ISOLATING
    assert (end["status"], end["phones_left"]) == ("failed", 100)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_single_number_is_not_split(status):
    end, rig = one(keep_refusing(status), size=1)
    assert (end["status"], len(rig.api.requests)) == ("failed", 1)


def test_a_window_that_is_refused_is_not_split():
    window = Batch(1, Target("u", ("2024-01-01 00:00:00", "2024-01-02 00:00:00"), delete_window=True), ())
    rig = live_session([window], script=keep_refusing(400), limits=ALONE, safety=CALM)
    assert (rig.ends()[1]["status"], len(rig.api.requests)) == ("failed", 1)


def test_an_uncertain_attempt_on_the_whole_taints_each_part():
    numbers = phones(4, start=100)
    end, _ = one(answers(failure(TIMEOUT), refusal(400), refusal(400), None, refusal(409)), size=4)
    assert (end["status"], end["uncertain_attempts"]) == ("unknown", 1)
    assert set(end["phone"]) <= set(numbers)


def test_an_uncertain_attempt_on_a_part_taints_that_part_only():
    limits = Limits(rate=Rate(None), concurrency=1, max_attempts=1)
    end, _ = one(answers(refusal(400), failure(CUT), None), size=4, limits=limits)
    assert (end["status"], end["phones_left"], end["uncertain_attempts"]) == ("unknown", 2, 1)
    end, _ = one(answers(refusal(400), failure(CUT), refusal(409)), size=4, limits=limits)
    assert end["phones_left"] == 4


def test_a_split_batch_takes_its_worst_part_and_its_words():
    limits = Limits(rate=Rate(None), concurrency=1, max_attempts=1)
    end, _ = one(answers(refusal(400), refusal(409), failure(CUT)), size=4, limits=limits)
    assert (end["status"], end["error"]) == ("unknown", "connection")
    end, _ = one(answers(refusal(400), refusal(409), None), size=4, limits=limits)
    assert (end["status"], end["error"], end["http_status"], end["count"]) == ("failed", "refused", 409, 2)


def test_a_stop_during_isolation_ends_the_batch_and_what_was_not_tried_is_not_sent():
    def before(rig):
        rig.loop.call_later(0.12, rig.stop.request, "enough")

    numbers = phones(8, start=100)
    end, rig = one(lambda request, before: refusal(400) if len(request.phones) == 8 else None, before=before)
    # Sent: the whole, the first half; the second one was on the wire when the stop came.
    assert (len(rig.api.requests), end["status"], end["phones_left"]) == (3, "deleted", 0)

    def earlier(rig):
        rig.loop.call_later(0.07, rig.stop.request, "enough")

    end, rig = one(lambda request, before: refusal(400) if len(request.phones) == 8 else None, before=earlier)
    assert (end["status"], end["error"], end["phone"]) == ("not_sent", "interrupted", list(numbers[4:]))
    assert rig.summary["exit_code"] == 1  # nothing is left open: rerun takes it
    assert records_of(rig.file, "open") == []


def test_a_stop_in_the_back_off_of_a_part_keeps_what_its_attempt_said():
    def before(rig):
        rig.loop.call_later(0.16, rig.stop.request, "enough")  # the third answer came after 0.15 s

    end, _ = one(answers(refusal(400), None, failure(SERVER)), before=before)
    assert (end["status"], end["error"], end["uncertain_attempts"]) == ("unknown", "server", 1)


def test_a_second_signal_during_isolation_ends_the_batch_in_doubt():
    def before(rig):
        rig.loop.call_later(0.12, rig.stop.request, "SIGINT", Exit.SIGINT)
        rig.loop.call_later(0.13, rig.stop.abandon)

    end, rig = one(lambda request, before: refusal(400) if len(request.phones) == 8 else None, before=before)
    assert rig.took_s < 0.14
    assert (end["status"], end["error"], end["phone"]) == (
        "unknown",
        "interrupted",
        list(phones(8, start=100))[4:],
    )
    assert (end["attempts"], end["uncertain_attempts"], end["count"]) == (3, 1, 4)


def test_a_refused_token_during_isolation_ends_the_batch_and_stops_the_run():
    numbers = phones(4, start=100)
    rig = live_session(
        batches(2, size=4), script=answers(refusal(400), None, refusal(401)), limits=ALONE, safety=CALM
    )
    end = rig.ends()[1]
    assert (end["status"], end["error"], end["phone"]) == ("failed", "auth", list(numbers[2:]))
    assert (rig.summary["exit_code"], rig.summary["why"]) == (3, "token refused (HTTP 401)")
    assert 2 not in rig.ends()


def test_a_forbidden_part_leaves_the_rest_of_its_batch_unsent():
    end, rig = one(answers(refusal(400), refusal(403)), size=4)
    assert (len(rig.api.requests), end["status"], end["error"]) == (2, "failed", "forbidden")
    assert end["phones_left"] == 4


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
    delivery = Delivery(Ports(None, None, None, None, None), Policy())
    with pytest.raises(AssertionError, match="not announced"):
        await delivery.deliver(Work(batches(1)[0]))


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
