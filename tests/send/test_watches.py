"""Signs that the job itself is wrong: too many refused numbers, or users that nobody knows."""

import pytest

from runner.errors import Exit
from runner.model import Batch, Target
from runner.outcomes import CUT, NOT_CONNECTED, SERVER
from runner.settings import Limits, Rate, Safety
from tests.support.fakes import (
    ALONE,
    CALM,
    MemoryFile,
    answers,
    batches,
    failure,
    live_session,
    phones,
    records_of,
    refusal,
    refuses,
)

WIDE = Limits(rate=Rate(None), concurrency=8)


def bad_ones(plan, each):
    """The first so many numbers of every batch."""
    return {phone for batch in plan for phone in batch.phones[:each]}


# --- max_refused


def test_more_refused_numbers_than_allowed_stop_the_run_with_the_two_hundredth():
    plan = batches(20, size=100)
    rig = live_session(plan, script=refuses(bad_ones(plan, 11)), limits=ALONE)
    assert (rig.summary["status"], rig.summary["exit_code"]) == ("stopped", Exit.STOPPED)
    assert rig.summary["why"] == (
        "max_refused: the vendor refused 22 of 200 numbers for what they are, more than 10%"
        " (the wrong list, or encryption?)"
    )
    assert len(rig.ends()) == 2
    assert rig.summary["phones"]["deleted"] == 178


def test_as_many_as_allowed_are_allowed():
    plan = batches(20, size=100)
    rig = live_session(plan, script=refuses(bad_ones(plan, 10)), limits=WIDE)
    assert (rig.summary["exit_code"], rig.summary["phones"]["failed"]) == (Exit.PARTIAL, 200)


def test_below_two_hundred_numbers_nothing_is_judged():
    plan = batches(19, size=10)
    rig = live_session(plan, script=refuses(bad_ones(plan, 10)), limits=WIDE)
    assert (rig.summary["exit_code"], rig.summary["batches"]["failed"]) == (Exit.PARTIAL, 19)


def test_with_nothing_left_open_the_run_has_finished():
    """Every good number is gone; a stop would say `resume`, and there is nothing to resume."""
    plan = batches(2, size=100)
    rig = live_session(plan, script=refuses(bad_ones(plan, 50)), limits=ALONE)
    assert (rig.summary["exit_code"], rig.summary["phones"]["deleted"]) == (Exit.PARTIAL, 100)


def test_bad_numbers_that_are_singled_out_first_do_not_count_before_the_good_ones_around_them():
    """With many batches in hand, the named ones of all would be most of what was sent."""
    plan = batches(80, size=100)
    bad = bad_ones(plan, 10)
    script = refuses(bad, words=lambda sent: ",".join(phone for phone in sent if phone in bad))
    rig = live_session(plan, script=script, limits=Limits(rate=Rate(200.0), concurrency=64))
    assert (rig.summary["exit_code"], rig.summary["phones"]["failed"]) == (Exit.PARTIAL, 800)


def test_numbers_that_left_only_within_their_whole_have_been_sent_too():
    """The second half of each finds no connection when its turn comes: 200 numbers left, 22 were refused."""
    plan = batches(3, size=100)
    unreached = {phone for batch in plan for phone in batch.phones[50:]}
    refused = refuses(bad_ones(plan, 11), words=lambda sent: "错误")

    def script(request, before):
        no_way = unreached.issuperset(request.phones)
        return failure(NOT_CONNECTED, left=False) if no_way else refused(request, before)

    limits = Limits(rate=Rate(None), concurrency=1, max_attempts=1)
    rig = live_session(plan, script=script, limits=limits, safety=Safety(max_failed=1.0))
    assert rig.summary["why"].startswith("max_refused: the vendor refused 22 of 200 numbers")


def test_protected_numbers_of_a_batch_that_is_cut_have_not_been_sent():
    """Of 150 that leave 33 are refused: too few to be judged, and with the protected ones too many."""
    plan = batches(3, size=100)
    rig = live_session(
        plan,
        script=refuses(bad_ones(plan, 11)),
        limits=ALONE,
        safety=Safety(max_failed=1.0),
        protected=frozenset(phone for batch in plan for phone in batch.phones[50:]),
    )
    assert rig.summary["exit_code"] == Exit.PARTIAL
    assert [end["phones_left"] for end in rig.ends().values()] == [61] * 3


def test_numbers_that_fail_for_another_reason_are_not_refused_ones():
    plan = batches(210, size=1)
    rig = live_session(
        plan, script=lambda request, before: refusal(409), limits=ALONE, safety=Safety(max_failed=1.0)
    )
    assert (rig.summary["exit_code"], rig.summary["batches"]["failed"]) == (Exit.PARTIAL, 210)


def test_each_session_is_judged_by_its_own_numbers():
    file = MemoryFile()
    plan = batches(12, size=100)
    bad = bad_ones(plan[:4], 50)
    live_session(plan, script=refuses(bad), limits=ALONE, file=file)
    live_session(plan, script=refuses(bad), limits=ALONE, file=file)
    rig = live_session(plan, script=refuses(bad), limits=ALONE, file=file)
    assert [end["phones_left"] for end in rig.ends().values()] == [50] * 4 + [0] * 8
    assert [record["status"] for record in records_of(file, "summary")] == ["stopped", "stopped", "partial"]


# --- what the breaker makes of them


def test_batches_with_refused_numbers_do_not_open_the_breaker():
    """20 of 155 batches with one bad number each: the list's fault, not the server's."""
    plan = batches(155, size=20)
    bad = {batch.phones[7] for batch in plan[:100:5]}
    rig = live_session(plan, script=refuses(bad), limits=WIDE)
    assert records_of(rig.file, "pace") == []
    assert (rig.summary["exit_code"], rig.summary["phones"]["failed"]) == (Exit.PARTIAL, 20)


def test_a_batch_that_also_fails_for_another_reason_counts():
    """Each has a part that is refused for good beside its bad number."""
    plan = batches(60, size=4)
    bad = bad_ones(plan[1:], 1)
    locked = {phone for batch in plan[1:] for phone in batch.phones[2:]}

    def script(request, before):
        if not bad.isdisjoint(request.phones):
            return refusal(400)
        return None if locked.isdisjoint(request.phones) else refusal(409)

    rig = live_session(plan, script=script, limits=ALONE, safety=Safety(max_refused=1.0))
    assert "batches failed" in records_of(rig.file, "pace")[0]["why"]


def test_a_number_refused_after_an_attempt_in_doubt_does_not_count_either():
    plan = batches(60, size=1)
    script = answers(None, *[failure(CUT), refusal(400), None, None, None, None] * 12)
    rig = live_session(plan, script=script, limits=ALONE)
    assert records_of(rig.file, "pace") == []
    assert rig.summary["batches"]["unknown"] == 12


def test_a_trial_with_a_bad_number_neither_clears_the_way_nor_blocks_it():
    plan = batches(60)
    bad = {plan[11].phones[0]}
    suffering = answers(*[None] * 10, *[failure(SERVER)] * 10)
    later = refuses(bad)
    rig = live_session(
        plan,
        script=lambda request, before: suffering(request, before) or later(request, before),
        limits=Limits(rate=Rate(None), concurrency=1, max_attempts=10),
        safety=CALM,
    )
    why = [record["why"].split(";")[0] for record in records_of(rig.file, "pace")]
    assert why == ["breaker: 10 attempts in a row failed", "breaker: a trial was confirmed"]
    assert rig.summary["exit_code"] == Exit.PARTIAL


# --- users that nobody knows


def of_users(*counts):
    """A plan of so many batches for each of so many users."""
    seqs = iter(range(1, 1000))
    return [
        Batch(seq, Target(f"user-{user}"), phones(2, start=seq * 100))
        for user, count in enumerate(counts)
        for seq in (next(seqs) for _ in range(count))
    ]


@pytest.mark.parametrize("status", [403, 404])
def test_three_users_that_are_refused_before_anything_was_confirmed_stop_the_run(status):
    rig = live_session(of_users(2, 2, 2, 2, 2), script=lambda request, before: refusal(status), limits=WIDE)
    assert len(rig.api.requests) == 3
    assert (rig.summary["status"], rig.summary["exit_code"]) == ("stopped", Exit.STOPPED)
    assert "the base URL's path is wrong, or the token sees nobody" in rig.summary["why"]
    assert rig.stop.reason.remedy.startswith("mend the base URL, or ")
    assert rig.summary["batches"]["failed"] == 3


def test_it_is_said_though_nothing_is_left():
    rig = live_session(of_users(1, 1, 1), script=lambda request, before: refusal(404), limits=ALONE)
    assert (rig.summary["status"], rig.summary["exit_code"]) == ("stopped", Exit.STOPPED)


def test_two_users_that_are_refused_are_two_users():
    script = answers(refusal(404), refusal(404))
    rig = live_session(of_users(1, 1, 1, 1), script=script, limits=ALONE, safety=CALM)
    assert (rig.summary["exit_code"], rig.summary["batches"]["deleted"]) == (Exit.PARTIAL, 2)


@pytest.mark.parametrize("answer", [None, refusal(400)])
def test_a_user_that_is_known_says_that_the_path_is_right(answer):
    script = answers(refusal(404), refusal(404), answer, answer, answer, *[refusal(404)] * 9)
    rig = live_session(of_users(1, 1, 1, 1, 1, 1), script=script, limits=ALONE, safety=CALM)
    assert rig.summary["exit_code"] == Exit.PARTIAL


def test_what_an_earlier_session_confirmed_counts():
    file = MemoryFile()
    plan = of_users(1, 1, 1, 1, 1)
    live_session(plan, script=answers(None, refusal(401)), limits=ALONE, safety=CALM, file=file)
    rig = live_session(
        plan, script=lambda request, before: refusal(404), limits=ALONE, safety=CALM, file=file
    )
    assert (rig.summary["exit_code"], rig.summary["batches"]["failed"]) == (Exit.PARTIAL, 4)


def test_a_session_with_the_path_mended_goes_on():
    file = MemoryFile()
    plan = of_users(1, 1, 1, 2, 2)
    live_session(plan, script=lambda request, before: refusal(404), limits=ALONE, file=file)
    rig = live_session(plan, limits=ALONE, file=file)
    assert (rig.summary["exit_code"], rig.summary["batches"]["deleted"]) == (Exit.PARTIAL, 4)
