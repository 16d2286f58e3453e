"""The page: self-contained, escaped, bounded, in both times; what is rare is visible."""

import base64
import hashlib
import re
from datetime import UTC, datetime, timedelta
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from runner.audit.fold import fold_audit
from runner.audit.timeline import Timeline
from runner.output.folded_run import FoldedRun
from runner.output.report import make_report
from runner.output.report_html import PageRun, report_html
from tests.support import audits
from tests.support.audits import batch, pace, run, sending, summary

AUDIT = Path("audit/nightly.jsonl")
START = datetime(2026, 11, 25, 18, 15, tzinfo=UTC)
MADE = "2026-11-26T01:00:00+00:00"
SHANGHAI = ZoneInfo("Asia/Shanghai")
MOST_BYTES = 200_000
PHONE = "17458558658"


def at(seconds):
    return (START + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")


def page_run(folder, *records, end=True, audit=AUDIT, **changes):
    """A run as a page shows it: records, each with its second, and the summary that fits them."""
    path = folder / f"{len(list(folder.iterdir()))}.jsonl"
    stamped = [{**record, "at": at(seconds)} for seconds, record in records]
    audits.write(path, stamped)
    if end:
        totals = fold_audit(path, verify_chain=False).totals()
        audits.write(path, [*stamped, {**summary(totals, **changes), "at": at(records[-1][0])}])
    line = Timeline()
    fold = fold_audit(path, verify_chain=True, feed=line.feed)
    return PageRun(make_report(FoldedRun.of(audit, fold)), line.course(), fold.durations.counts())


def partial(folder, **changes):
    return page_run(
        folder,
        (0, run(phones=6, reason="清理 17458558658", **changes)),
        (0, sending(1, 3)),
        (1, batch(1)),
        (2, pace(rate="10/s", until=at(30), why="the server asked for a pause")),
        (30, batch(2, "failed", message=f"号码 {PHONE} 参数错误\x1b[31m")),
        (40, batch(3, "unknown", uncertain=1, attempts=3, duration_ms=4321.0, message=None)),
    )


def complete(folder, day=0):
    return page_run(
        folder,
        (day * 86400, run(batches=1)),
        (day * 86400, sending(1)),
        (day * 86400 + 5, batch(1)),
    )


def html_of(*runs, zone=UTC):
    return report_html(runs, made=MADE, zone=zone)


class Page(HTMLParser):
    """Collects a page's tags, attributes and text, and checks that what opens closes."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.links, self.names, self.text, self.open = [], [], set(), [], []
        self.attributes = set()
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [value for name, value in attrs if name in {"href", "src", "action"}]
        self.names |= {value for name, value in attrs if name == "id"}
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def words(page):
    """What a page says, its style left out, spaces as one."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<style>.*?</style>|<[^>]*>", " ", page, flags=re.DOTALL)))


def test_the_page_needs_nothing_from_elsewhere_and_runs_nothing(tmp_path):
    page = html_of(partial(tmp_path), complete(tmp_path))
    found = Page(page)
    assert {link[0] for link in found.links} == {"#"}
    assert {link[1:] for link in found.links} <= found.names
    assert not set(found.tags) & {"script", "link", "img", "iframe", "form", "object", "base"}
    assert not {name for name in found.attributes if name.startswith("on")} | found.attributes & {"style"}
    assert "url(" not in page
    assert "@import" not in page


def test_the_policy_lets_in_this_style_and_nothing_else(tmp_path):
    page = html_of(complete(tmp_path))
    (style,) = re.findall(r"<style>(.*?)</style>", page, flags=re.DOTALL)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def test_the_page_escapes_what_it_is_given(tmp_path):
    evil = "<script>alert('x')</script>$title"
    limits, safety = {evil: evil, "rate": evil}, {"protect_file": evil}
    given = page_run(
        tmp_path,
        (
            0,
            run(job=evil, operator=evil, limits=limits, safety=safety, base_url="http://127.0.0.1:1/" + evil),
        ),
        (0, sending(1)),
        (1, pace(rate=evil, until=at(2), why=evil)),
        (3, batch(1, "failed", message=evil, user_id=evil, error="forbidden")),
        audit=Path(evil),
        why=evil,
    )
    page = html_of(given)
    assert "<script" not in page
    assert "script" not in Page(page).tags
    assert page.count("$title") >= 9


def test_the_outcome_is_one_sentence_and_its_figures_are_one_row(tmp_path):
    said = words(html_of(partial(tmp_path)))
    assert "partial 2 of 6 numbers are confirmed; 2 failed, 2 may or may not be gone." in said
    assert "asked 6 confirmed 2 failed 2 unknown 2 not sent 0 rows deleted 2 sending took 1 min 15 s" in said


@pytest.mark.parametrize(
    ("records", "more", "said"),
    [
        ([(0, run(batches=0, phones=0))], {}, "There was nothing to do."),
        ([(0, run(batches=1)), (0, sending(1)), (1, batch(1))], {}, "All 2 numbers are confirmed."),
        (
            [(0, run()), (0, sending(1)), (1, batch(1))],
            {"why": f"token refused {PHONE}"},
            "Stopped early (token refused 174****8658): 2 of 6 numbers are confirmed; 4 were not sent.",
        ),
        (
            [(0, run()), (0, sending(1)), (1, batch(1))],
            {"end": False},
            "Without an end, killed or cut: 2 of 6 numbers are confirmed; 4 were not sent.",
        ),
        (
            [(0, run(batches=1, phones=0)), (0, sending(1)), (1, batch(1, "failed", phones=0, left=0))],
            {},
            "0 of 1 windows are confirmed; 1 failed.",
        ),
        (
            [
                (0, run(batches=2, phones=2)),
                (0, sending(1, 2)),
                (1, batch(1)),
                (1, batch(2, "failed", phones=0, left=0)),
            ],
            {},
            "All 2 numbers are confirmed; 1 of 2 batches are not.",
        ),
    ],
)
def test_every_outcome_has_its_words(tmp_path, records, more, said):
    assert said in words(html_of(page_run(tmp_path, *records, **more)))


def test_what_happened_is_named_where_it_happened(tmp_path):
    said = words(html_of(partial(tmp_path), zone=SHANGHAI))
    assert "1 pause, 28.0 s in all 02:15:02, 28.0 s: the server asked for a pause" in said
    assert "most in any second, measured at the gate: 20" in said
    assert "failed refused 200 6008 号码 **** 参数错误� 1" in said.replace("[31m", "")
    assert f"{audits.USER} 2 2 0" in said


def test_what_a_killed_session_did_not_say_is_not_made_up(tmp_path):
    given = page_run(
        tmp_path,
        (0, run(batches=2)),
        (0, sending(1)),
        (5, batch(1)),
        (600, run(batches=2, mode="resume")),
        (600, sending(2)),
        (605, batch(2)),
    )
    said = words(html_of(given, complete(tmp_path)))
    assert said.count("≥ 1 min 15 s") == 2
    assert "most in any second, in the sessions that ended, measured at the gate: 20" in said
    assert "upright dots: resumed" in said


def test_moments_are_given_in_local_time_and_in_utc(tmp_path):
    there, here = html_of(complete(tmp_path), zone=SHANGHAI), html_of(complete(tmp_path))
    assert "started 2026-11-26 02:15:00 +08:00 (2026-11-25 18:15:00 UTC)" in words(there)
    assert "Made 2026-11-26 09:00:00 +08:00 (01:00:00 UTC)" in words(there)
    assert "started 2026-11-25 18:15:00 UTC ended" in words(here)


def test_the_page_says_what_the_run_was(tmp_path):
    given = partial(tmp_path, safety={"max_failed": "5%", "stop_when_empty": False, "protect_file": None})
    said = words(html_of(given))
    for fact in (
        "origin http://127.0.0.1:1",
        "operator ops",
        "reason 清理 174****8658",
        "rate 20/s concurrency 4",
        "max failed 5% stop when empty no protect file –",
        "version 1.0.0",
        f"head of the chain {given.report.head}",
        f"plan, SHA-256 {'0' * 64}",
    ):
        assert fact in said
    assert not re.search(r"[0-9]{11}", said.replace(given.report.head, "").replace("0" * 64, ""))


def width_of(page, status):
    (width,) = re.findall(rf'<rect class="{status}" x="[0-9.]+%" width="([0-9.]+)%"', page)
    return float(width)


def test_a_failure_of_a_few_in_a_million_is_a_hundredth_of_the_bar(tmp_path):
    given = page_run(
        tmp_path,
        (0, run(batches=20_000, phones=2_000_000)),
        (0, sending(1, 20_000)),
        *((seq / 100, batch(seq, phones=100)) for seq in range(1, 20_000)),
        (200, batch(20_000, "failed", phones=100, left=1)),
    )
    page = html_of(given)
    assert width_of(page, "failed") == pytest.approx(1, abs=0.02)
    assert width_of(page, "failed") + width_of(page, "deleted") == pytest.approx(100, abs=0.02)
    assert page.count('class="rug"') == 1
    assert "1 not confirmed" in page


def test_a_page_is_bounded_whatever_the_run(tmp_path):
    """Every bucket differs from its neighbour, and whatever is said is long."""
    words_ = "系统'繁忙" * 100
    records = [(0, run(batches=2400, phones=4800, limits={words_ + str(n): words_ for n in range(99)}))]
    records.append((0, sending(1, 2400)))
    for n in range(1, 2401):
        why = f"{words_} {n}"
        records.append((n * 30, pace(rate=f"{1 + n % 2}/s", until=at(n * 30 + 8), why=why)))
        end = batch(n, "failed", message=f"{n % 300}{words_}", user_id=f"{n}{words_}", code=n)
        records.append((n * 30 + 20, end if n % 2 else batch(n)))
    for n in range(60):
        records.append((80_000 + n * 60, {**run(batches=2400, phones=4800, mode="resume"), "reason": words_}))
        records.append((80_000 + n * 60, pace(rate="5/s", until=None, why=words_)))
    page = html_of(page_run(tmp_path, *records, end=False))
    assert len(page.encode()) < MOST_BYTES


def test_a_page_of_many_runs_begins_with_a_table_of_them_and_is_bounded(tmp_path):
    given = [complete(tmp_path, day) for day in range(130)]
    page = html_of(*given[::-1])
    assert len(page.encode()) < MOST_BYTES
    said = words(page)
    assert "130 runs 260 of 260 numbers are confirmed in all. The runs job started ended asked" in said
    assert said.index("2026-12-25 18:15") < said.index("2027-04-03 18:15")
    assert "30 earlier runs are not shown." in said
    shown = page.count("<article")
    assert 1 < shown < 100
    assert f"The last {shown} follow in full" in said
    assert Page(page).links == [f"#run-{n}" for n in range(131 - shown, 131)]


def test_two_runs_are_shown_in_order_of_time_with_one_trend(tmp_path):
    page = html_of(complete(tmp_path, 1), partial(tmp_path))
    assert page.count("<article") == 2
    assert re.findall(r'aria-label="numbers by run: ([^"]*)"', page) == [
        "2 runs; 2026-11-25 18:15: 2 of 6; 2026-11-26 18:15: 2 of 2"
    ]


def test_an_audit_without_any_batch_has_a_page_without_charts(tmp_path):
    page = html_of(page_run(tmp_path, (0, run()), end=False))
    assert '<div class="plot' not in page
