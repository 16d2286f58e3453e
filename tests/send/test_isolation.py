"""Bad numbers among good ones: found alone, within the bound, whatever the vendor's words name."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.errors import Exit
from runner.model import Batch, Target
from runner.outcomes import CUT, SERVER, TIMEOUT
from runner.settings import Limits, Rate, Safety
from tests.support.fakes import (
    ALONE,
    CALM,
    answers,
    batches,
    failure,
    live_session,
    one,
    parts_sent,
    phones,
    records_of,
    refusal,
    refuses,
)
from tests.support.sweep import sweep

# --- halving


def test_one_bad_number_ends_alone_and_the_others_are_deleted():
    numbers = phones(100, start=100)
    end, rig = one(refuses({numbers[37]}), size=100)
    assert (end["status"], end["phone"], end["phones_left"]) == ("failed", [numbers[37]], 1)
    assert end["count"] == 99
    assert len(rig.api.requests) == end["attempts"] == 13  # 1, and two for each of 6 halvings
    assert len(records_of(rig.file, "batch")) == len(records_of(rig.file, "sending")) == 1
    assert rig.summary["phones"]["deleted"] == 99
    assert rig.summary["retries"] == 0


def test_parts_are_halves_that_hold_each_number_once():
    numbers = phones(8, start=100)
    _, rig = one(refuses({numbers[7]}))
    assert parts_sent(rig) == [
        numbers, numbers[:4], numbers[4:], numbers[4:6], numbers[6:], numbers[6:7], numbers[7:],
    ]  # fmt: skip


@pytest.mark.parametrize("size", [2, 8, 33, 100])
def test_all_bad_costs_two_requests_a_number_less_one(size):
    end, rig = one(lambda request, before: refusal(422), size=size)
    assert len(rig.api.requests) == end["attempts"] == 2 * size - 1
    assert (end["status"], end["phones_left"], end["count"]) == ("failed", size, None)
    assert end["error"] == "refused"


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_single_number_is_not_split(status):
    end, rig = one(lambda request, before: refusal(status), size=1)
    assert (end["status"], len(rig.api.requests)) == ("failed", 1)


def test_a_window_that_is_refused_is_not_split():
    window = Batch(1, Target("u", ("2024-01-01 00:00:00", "2024-01-02 00:00:00"), delete_window=True), ())
    rig = live_session([window], script=lambda request, before: refusal(400), limits=ALONE, safety=CALM)
    assert (rig.ends()[1]["status"], len(rig.api.requests)) == ("failed", 1)


# --- what the vendor's words name


def test_a_number_that_the_words_name_is_sent_alone_and_the_rest_together():
    numbers = phones(100, start=100)
    end, rig = one(refuses({numbers[37]}, words=lambda sent: f"号码 {numbers[37]} 格式错误"), size=100)
    assert [len(part) for part in parts_sent(rig)] == [100, 1, 99]
    assert (end["phone"], end["message"]) == ([numbers[37]], f"号码 {numbers[37]} 格式错误")


def test_several_numbers_that_are_named_at_once_go_alone_each():
    numbers = phones(100, start=100)
    bad = set(numbers[3:9])
    end, rig = one(refuses(bad, words=lambda sent: ",".join(p for p in sent if p in bad)), size=100)
    assert [len(part) for part in parts_sent(rig)] == [100, 1, 1, 1, 1, 1, 1, 94]
    assert set(end["phone"]) == bad


def test_a_good_number_that_is_named_is_deleted_and_names_are_believed_no_more():
    """Or else words that always echo the first number would cost a request for each number of the batch."""
    numbers = phones(100, start=100)
    end, rig = one(refuses({numbers[99]}, words=lambda sent: f"bad request: {sent[0]}, …"), size=100)
    assert end["phone"] == [numbers[99]]
    assert [len(part) for part in parts_sent(rig)][:4] == [100, 1, 99, 50]
    assert len(rig.api.requests) <= 17


def namings(bad):
    """What a vendor's words may name, whatever is wrong: each gets the numbers of a refused request."""
    return {
        "nothing": lambda sent: "错误",
        "the first bad one": lambda sent: next(p for p in sent if p in bad),
        "all bad ones": lambda sent: " ".join(p for p in sent if p in bad),
        "the first": lambda sent: sent[0],
        "the last": lambda sent: f"...{sent[-1]}",
        "a good one": lambda sent: next((p for p in sent if p not in bad), ""),
        "all": str,
        "another's": lambda sent: "13900000000",
        "a part of each": lambda sent: sent[0][:5],
    }


@settings(max_examples=60)
@given(st.data())
def test_every_good_number_is_deleted_within_the_bound_whatever_is_named(data):
    isolate(data)


@pytest.mark.slow
@settings(max_examples=1000)
@given(st.data())
def test_every_good_number_is_deleted_within_the_bound_in_a_thousand_cases(data):
    isolate(data)


def isolate(data):
    """Send one batch with some bad numbers; all others are deleted, by few enough requests."""
    size = data.draw(st.integers(1, 100), "numbers")
    numbers = phones(size, start=100)
    share = data.draw(st.sampled_from([0.0, 0.02, 0.1, 0.5, 0.9, 1.0]), "share")
    chance = data.draw(st.randoms(use_true_random=False))
    bad = {phone for phone in numbers if chance.random() < share}
    words = namings(bad)[data.draw(st.sampled_from(sorted(namings(bad))), "words name")]
    gone = []

    def script(request, before):
        if not bad.isdisjoint(request.phones):
            return refusal(400, message=words(request.phones))
        gone.extend(request.phones)
        return None

    end, rig = one(script, size=size)
    assert sorted(gone) == sorted(set(numbers) - bad)
    assert end["phone"] == [phone for phone in numbers if phone in bad]
    assert end["status"] == ("failed" if bad else "deleted")
    assert len(set(parts_sent(rig))) == len(rig.api.requests) == end["attempts"] <= 2 * size - 1


@pytest.mark.parametrize(
    ("share", "naming"),
    sweep(itertools.product([0.001, 0.1, 0.5], ["nothing", "the first bad one", "the first"]), fast=[0, 4]),
)
def test_of_two_thousand_numbers_every_good_one_goes_in_one_run(share, naming):
    plan = batches(20, size=100)
    numbers = [phone for batch in plan for phone in batch.phones]
    bad = set(numbers[:: round(1 / share)])
    rig = live_session(
        plan,
        script=refuses(bad, words=namings(bad)[naming]),
        limits=Limits(rate=Rate(20.0), concurrency=16),
        safety=Safety(max_refused=1.0),
    )
    assert (rig.summary["exit_code"], rig.summary["status"]) == (Exit.PARTIAL, "partial")
    assert rig.summary["phones"]["deleted"] == rig.summary["count"] == 2000 - len(bad)
    assert {phone for end in rig.ends().values() for phone in end["phone"]} == bad
    assert records_of(rig.file, "pace") == []
    assert max(end["attempts"] for end in rig.ends().values()) <= 199


# --- attempts that fail for another reason


def test_a_part_that_is_told_too_many_is_tried_again_like_any_batch():
    end, rig = one(answers(refusal(400), *[refusal(429)] * 5), size=8)
    assert (end["status"], len(rig.api.requests)) == ("deleted", 8)
    assert rig.summary["retries"] == 5


def test_a_part_that_fails_in_all_its_attempts_is_failed_and_the_others_go_on():
    limits = Limits(rate=Rate(None), concurrency=1, max_attempts=3)
    end, rig = one(answers(refusal(400), *[refusal(429)] * 3), size=8, limits=limits)
    assert (end["status"], end["error"], end["phones_left"]) == ("failed", "rate_limited", 4)
    assert len(rig.api.requests) == 5


def test_an_uncertain_attempt_on_the_whole_taints_each_part():
    numbers = phones(4, start=100)
    end, _ = one(answers(failure(TIMEOUT), refusal(400), refusal(400), None, refusal(409)), size=4)
    assert (end["status"], end["uncertain_attempts"]) == ("unknown", 1)
    assert set(end["phone"]) <= set(numbers)


def test_an_uncertain_attempt_on_the_whole_taints_a_number_that_is_named():
    numbers = phones(4, start=100)
    named = refusal(400, message=f"bad: {numbers[1]}")
    end, rig = one(answers(failure(TIMEOUT), named, named), size=4)
    assert [len(part) for part in parts_sent(rig)] == [4, 4, 1, 3]
    assert (end["status"], end["phone"]) == ("unknown", [numbers[1]])


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
        for at_s in (0.12, 0.13):
            rig.loop.call_later(at_s, rig.stop.signal, "SIGINT", Exit.SIGINT, lambda name: None)

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
