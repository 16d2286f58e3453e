"""A session's summary, written by itself or, where it was killed after its last batch, by a resume."""

import pytest

from runner.audit.fold import Fold
from runner.audit.records import ADDED_LATER, SESSION_FIGURES, as_json
from runner.plan.header import PlanTotals
from runner.send.session import missing_summary
from tests.support import audits
from tests.support.audits import batch, left_open, run, sending

PLANNED = PlanTotals(read=9, unique=6, duplicate=2, rejected=1, batches=3)


def two_phones(_seq):
    return 2


def folded(*records):
    fold = Fold(phones_of=two_phones)
    audits.feed(fold, records)
    return fold


KILLED = {
    ("complete", 0): [run(), sending(1, 3), batch(1), batch(2), batch(3, count=0)],
    ("partial", 1): [run(), sending(1, 3), batch(1), batch(2, "failed"), batch(3, "unknown", uncertain=1)],
}


@pytest.mark.parametrize(("status", "exit_code"), KILLED)
def test_a_summary_added_later_has_the_totals_of_any_other_and_says_why_its_figures_are_0(status, exit_code):
    fold = folded(*KILLED[status, exit_code])
    summary = missing_summary(fold, PLANNED, two_phones)
    assert (summary.status, summary.exit_code, summary.why) == (status, exit_code, ADDED_LATER)
    assert as_json(summary)["batches"] == fold.totals().batches
    assert (summary.phones.read, summary.phones.duplicate, summary.phones.unique) == (9, 2, 6)
    assert not any(getattr(summary, name) for name in SESSION_FIGURES)
    fold.add(summary)
    assert fold.complete
    assert fold.sessions[-1].figures == {}, "0 requests would be a lie"


def test_what_an_earlier_session_left_open_counts_in_it():
    fold = folded(
        run(),
        sending(1, 3),
        batch(1),
        run(mode="resume"),
        sending(2, 3),
        batch(2, attempts=2, uncertain=1),
        left_open(3, attempts=1, uncertain=1),
        run(mode="resume"),
        sending(3),
        batch(3, attempts=2, uncertain=1),
    )
    summary = missing_summary(fold, PLANNED, two_phones)
    assert (summary.status, summary.uncertain_batches, summary.count) == ("complete", 2, 6)
    fold.add(summary)


def test_with_a_batch_open_there_is_no_such_summary():
    with pytest.raises(AssertionError, match="open"):
        missing_summary(folded(run(), sending(1, 3), batch(1)), PLANNED, two_phones)
