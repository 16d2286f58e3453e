"""Reports say the fold's numbers, what to type next, and no phone."""

import re
from datetime import UTC
from html import unescape
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from runner.audit.fold import Fold
from runner.audit.timeline import Timeline
from runner.options import AccessOptions
from runner.output.folded_run import FoldedRun
from runner.output.report import align, make_report, report_text, width
from runner.output.report_fields import RefusedUser, ReportBatches
from runner.output.report_html import PageRun, report_html
from runner.plan.header import PlanTotals
from tests.support import audits
from tests.support.audits import batch, run, sending, summary

AUDIT = Path("audit/it's here.jsonl")
PHONE = "17458558658"


def folded(*records, end=True, **changes):
    fold = Fold()
    audits.feed(fold, records)
    if end:
        audits.feed(fold, [{**summary(fold.totals(), **changes), "chain": "f" * 64}])
    return fold


def complete():
    return folded(run(batches=1), sending(1), batch(1, count=0))


def partial(**changes):
    return folded(
        run(reason="清理 17458558658"),
        sending(1, 3),
        batch(1),
        batch(2, "failed", message=f"号码 {PHONE} 参数错误\x1b[31m", **changes),
        batch(
            3,
            "unknown",
            uncertain=1,
            attempts=3,
            duration_ms=4321.0,
            message=None,
            http_status=None,
            code=None,
        ),
    )


def stopped():
    return folded(run(), sending(1), batch(1), why="token refused (HTTP 401)", exit_code=3)


def killed():
    return folded(run(), sending(1, 2), batch(1), end=False)


def report_of(fold):
    return make_report(FoldedRun.of(AUDIT, fold))


def page_of(report):
    return report_html([PageRun(report, Timeline().course())], made="2026-01-02T03:04:05+00:00", zone=UTC)


def with_plan(fold, **more):
    """The report beside a plan in which every batch has two phones."""
    plan = SimpleNamespace(path=Path("p"), phones_of=lambda _seq: 2, header=SimpleNamespace(totals=READ))
    return make_report(FoldedRun.of(AUDIT, fold, plan), **more)


READ = PlanTotals(read=9, unique=6, duplicate=1, rejected=1, protected=1)


def test_a_report_holds_the_folds_numbers():
    report = report_of(partial())
    assert report.batches == ReportBatches(planned=3, deleted=1, failed=1, unknown=1, not_sent=0, open=0)
    assert report.phones.read == 9
    assert [getattr(report.phones, s) for s in ("deleted", "failed", "unknown", "not_sent")] == [2, 2, 2, 0]
    assert (report.count, report.attempts, report.uncertain_batches) == (2, 5, 1)
    assert report.duration_ms.p50 == 12
    assert report.duration_ms.max >= 4321 * 0.98
    assert report.head == "f" * 64
    assert {(c.status, c.error, c.batches) for c in report.causes} == {
        ("failed", "refused", 1),
        ("unknown", "timeout", 1),
    }


@pytest.mark.parametrize(
    ("make", "status", "command"),
    [
        (complete, "complete", None),
        (partial, "partial", "bulk-delete rerun 'audit/it'\"'\"'s here.jsonl'"),
        (stopped, "stopped", "bulk-delete resume 'audit/it'\"'\"'s here.jsonl'"),
        (killed, "killed", "bulk-delete resume 'audit/it'\"'\"'s here.jsonl'"),
    ],
)
def test_a_report_says_what_to_type_next(make, status, command):
    report = report_of(make())
    assert report.status == status
    assert report.next == command
    text = report_text(report)
    assert (command or "nothing was missed") in text or command is None
    assert "rerun" not in text or status == "partial"


def test_text_names_cause_words_doubt_empty_and_why():
    text = report_text(report_of(partial()))
    assert "参数错误" in text
    assert "refused" in text
    assert "6008" in text
    assert "an attempt whose end nobody knows: 1" in text
    assert "batches that deleted nothing: 1" in report_text(report_of(complete()))
    assert "token refused (HTTP 401)" in report_text(report_of(stopped()))
    assert "batches still open: 2" in report_text(report_of(killed()))


def test_a_report_without_its_plan_says_what_it_cannot_tell():
    fold = killed()
    assert "without its plan" in report_text(make_report(FoldedRun.of(AUDIT, fold)))
    known = with_plan(fold)
    assert "without its plan" not in report_text(known)
    assert (known.phones.unknown, known.phones.read, known.plan) == (2, 9, "p")


@pytest.mark.parametrize("make", [complete, partial, stopped, killed])
def test_no_phone_and_no_control_character_gets_out(make):
    report = report_of(make())
    for shown in (report_text(report), page_of(report), msgspec.json.encode(report).decode()):
        assert not re.search(r"[0-9]{11}", shown.replace("f" * 64, "").replace("0" * 64, ""))
        assert "\x1b" not in shown


def test_a_run_that_holds_its_audit_is_running_and_there_is_nothing_to_type():
    report = with_plan(killed(), running=True)
    assert (report.status, report.next, report.sessions[-1].status) == ("running", None, "running")
    assert "still running" in report_text(report)
    assert "Still running" in page_of(report)


def test_after_a_kill_what_may_have_left_is_told_from_what_did():
    words = "requests that left, all sessions: 1, and those of at most 1 batch announced before a kill"
    assert words in report_text(report_of(killed()))
    assert "requests that left, all sessions: 1\n" in report_text(report_of(complete()))
    again = folded(run(), sending(1, 2), batch(1), run(mode="resume"), sending(3), end=False)
    for fold, words in (
        (killed(), "1, and those of at most 1 batch under way\n"),
        (again, "1, and those of at most 2 batches under way, or announced before a kill\n"),
    ):
        text = report_text(with_plan(fold, running=True))
        assert f"requests that left, all sessions: {words}" in text
        assert "nobody knows, those under way among them: " in text
    assert (report_of(killed()).attempts, report_of(killed()).attempts_assumed) == (2, 1)
    assert report_of(complete()).attempts_assumed == 0


def test_numbers_not_confirmed_are_told_by_user():
    report = report_of(
        folded(run(), sending(1, 3), *(batch(n, "failed", user_id=f"u{n % 2}") for n in (1, 2, 3)))
    )
    users = [(user.user_id, user.failed, user.unknown, user.not_sent) for user in report.users]
    assert (users, report.more_users) == ([("u1", 4, 0, 0), ("u0", 2, 0, 0)], 0)
    assert re.search(r"u1 +4 +0 +0\n  u0 +2 +0 +0$", report_text(report), re.MULTILINE)
    assert "by user" not in report_text(report_of(complete()))


def test_of_many_users_with_numbers_not_confirmed_the_worst_are_named():
    ends = [batch(n, "failed", user_id=f"u{n:02}", phones=2 + (n == 12)) for n in range(1, 13)]
    report = report_of(folded(run(batches=12, phones=25), sending(1, 12), *ends))
    assert (report.users[0].user_id, len(report.users), report.more_users) == ("u12", 10, 2)
    assert "and 2 more users" in report_text(report)


def test_a_killed_session_with_nothing_open_still_wants_its_end():
    report = report_of(folded(run(batches=1), sending(1), batch(1), end=False))
    assert (report.status, report.batches.open) == ("killed", 0)
    assert report.next == "bulk-delete resume 'audit/it'\"'\"'s here.jsonl'"


def test_a_user_who_was_refused_is_named():
    fold = folded(run(), sending(1), batch(1, "failed", error="forbidden"), why="x", exit_code=3)
    report = report_of(fold)
    user = batch(1)["user_id"]
    assert report.refused_users == (RefusedUser(user, "forbidden"),)
    assert f"users refused, the rest of theirs not sent: {user} (forbidden)" in report_text(report)


def test_of_many_refused_users_the_first_are_named():
    fold = complete()
    fold.refused_users = {f"u{n:02}": "not_found" for n in range(12)}
    assert "u08 (not_found), u09 (not_found) and 2 more" in report_text(report_of(fold))


def test_the_command_to_type_has_the_flags_that_it_needs():
    access = AccessOptions("http://127.0.0.1:1", token_file=Path("t"))
    report = make_report(FoldedRun.of(AUDIT, killed()), access=access)
    assert report.next.endswith(" --base-url http://127.0.0.1:1 --token-file t")
    assert report.next in unescape(page_of(report))
    assert report.next in report_text(report)


def test_columns_line_up_under_chinese_text():
    lines = align([("状态", 1), ("ab", 1000), ("全角ＡＢ", None)], "<>")
    assert {width(line) for line in lines} == {len("  ") + 8 + 2 + 5}
    assert width("e\u0301") == 1
