"""Reports say the fold's numbers, what to type next, and no phone."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import orjson
import pytest

from runner.audit.fold import Fold
from runner.output.plan_text import describe_plan
from runner.output.report import align, make_report, report_text, width
from runner.output.report_html import report_html
from runner.plan.header import PlanHeader, PlanSource, PlanTotals, PlanWindow, Reject
from runner.settings import Limits, LimitsGiven, Rate, Safety
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
    return make_report(AUDIT, fold)


def test_a_report_holds_the_folds_numbers():
    report = report_of(partial())
    assert report["batches"] == {
        "planned": 3,
        "deleted": 1,
        "failed": 1,
        "unknown": 1,
        "not_sent": 0,
        "open": 0,
    }
    assert report["phones"]["read"] == 9
    assert [report["phones"][s] for s in ("deleted", "failed", "unknown", "not_sent")] == [2, 2, 2, 0]
    assert (report["count"], report["attempts"], report["uncertain_batches"]) == (2, 5, 1)
    assert report["duration_ms"]["p50"] == 12
    assert report["duration_ms"]["max"] >= 4321 * 0.98
    assert report["head"] == "f" * 64
    assert {(c["status"], c["error"], c["batches"]) for c in report["causes"]} == {
        ("failed", "refused", 1),
        ("unknown", "timeout", 1),
    }
    assert orjson.loads(orjson.dumps(report)) == report


@pytest.mark.parametrize(
    ("make", "status", "command"),
    [
        (complete, "complete", None),
        (partial, "partial", "bulk-delete rerun 'audit/it'\"'\"'s here.jsonl'"),
        (stopped, "stopped", "bulk-delete resume 'audit/it'\"'\"'s here.jsonl'"),
        (killed, "unfinished", "bulk-delete resume 'audit/it'\"'\"'s here.jsonl'"),
    ],
)
def test_a_report_says_what_to_type_next(make, status, command):
    report = report_of(make())
    assert report["status"] == status
    assert report["next"] == command
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
    assert "without its plan" in report_text(make_report(AUDIT, fold))
    known = make_report(AUDIT, fold, phones_of=lambda _seq: 2)
    assert "without its plan" not in report_text(known)
    assert known["phones"]["unknown"] == 2


@pytest.mark.parametrize("make", [complete, partial, stopped, killed])
def test_no_phone_and_no_control_character_gets_out(make):
    report = report_of(make())
    for shown in (report_text(report), report_html([report]), orjson.dumps(report).decode()):
        assert not re.search(r"[0-9]{11}", shown.replace("f" * 64, "").replace("0" * 64, ""))
        assert "\x1b" not in shown


def test_columns_line_up_under_chinese_text():
    lines = align([("状态", 1), ("ab", 1000), ("全角ＡＢ", None)], "<>")
    assert {width(line) for line in lines} == {len("  ") + 8 + 2 + 5}
    assert width("e\u0301") == 1


class Page(HTMLParser):
    """Collects a page's tags, attributes and text, and checks that what opens closes."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.links, self.text, self.open = set(), [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.links += [value for name, value in attrs if name in {"href", "src", "action", "onclick"}]
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_needs_nothing_from_elsewhere_and_runs_nothing():
    page = Page(report_html([report_of(partial()), report_of(killed())]))
    assert not page.open
    assert not page.links
    assert not page.tags & {"script", "link", "img", "iframe", "form"}
    assert {"svg", "table", "style"} <= page.tags
    assert "夜间清理" in "".join(page.text)


def test_the_page_escapes_what_it_is_given():
    evil = "<script>alert('x')</script>$title"
    fold = folded(run(job=evil, operator=evil), sending(1), batch(1, "failed", message=evil), why=evil)
    page = report_html([make_report(Path(evil), fold)])
    assert "<script" not in page
    assert "script" not in Page(page).tags
    assert "$title" in "".join(Page(page).text)


def header(**changes):
    return PlanHeader(
        **{
            "name": "夜间清理",
            "version": "1.0.0",
            "made_on": "2024-07-26",
            "limits": LimitsGiven(),
            "safety": Safety(protect_file="/lists/never.txt"),
            "phone_rule": "mobile_cn",
            "timezone": "Asia/Shanghai",
            "totals": PlanTotals(2_000, 1_900, 70, 20, 10, batches=1_201, users=2, windows=1),
            "sources": (PlanSource("清单/退订.csv", 2_000, 20, 5),),
            "more_sources": 3,
            "changed": 5,
            "normalised": {"dash": 5},
            "rejects": {"too_short": 18, "letters": 2},
            "first_rejects": (Reject("清单/退订.csv", 17, "too_short", "174****"),),
            "windows": (
                PlanWindow(1201, "u1", ("2024-01-01 00:00:00", "2024-01-07 23:59:59"), False, 500, "j:3", 1),
            ),
            "notes": ("the list x.csv is empty",),
            **changes,
        }
    )


def test_a_plan_is_described_in_all_its_numbers():
    text = describe_plan(header(), limits=Limits(rate=Rate(20.0)), base_url="https://ai.example")
    for said in (
        "夜间清理",
        "https://ai.example",
        "清单/退订.csv",
        "and 3 more",
        "2,000",
        "1,900",
        "  too_short  18\n  letters     2\n",
        "清单/退订.csv:17",
        "/lists/never.txt",
        "  dash  5  dashes taken off",
        "2024-01-01 00:00:00  2024-01-07 23:59:59",
        "1,201 requests for 2 users, 1 of them windows",
        "at 20/s that takes at least 1 min 0 s",
        "the list x.csv is empty",
        "and 19 more",
    ):
        assert said in text


def test_a_plan_at_an_unlimited_rate_promises_no_time():
    text = describe_plan(header(windows=(), sources=(), first_rejects=()), limits=Limits(rate=Rate(None)))
    assert "unlimited" in text
    assert "at least" not in text


def test_many_windows_are_not_all_shown():
    windows = tuple(PlanWindow(n, "u", ("a", "b"), False, 1, "j", 1) for n in range(1, 100))
    text = describe_plan(header(windows=windows), limits=Limits())
    assert "and 49 more, written out in the plan" in text


def test_the_reasons_of_rejects_are_told_in_words_the_most_frequent_first():
    text = describe_plan(header(rejects={"rounded": 2, "length": 18}), limits=Limits())
    assert (
        "rejected, by reason\n"
        "  length   18  too few or too many digits\n"
        "  rounded   2  a numeric cell whose last digits the spreadsheet has lost\n"
    ) in text


def test_one_request_for_one_user_is_not_several():
    totals = PlanTotals(read=1, unique=1, batches=1, users=1)
    plan = replace(header(windows=(), rejects={}, first_rejects=()), totals=totals)
    assert "\n1 request for 1 user\n" in describe_plan(plan, limits=Limits())
