"""A plan in words says every number of the plan's, where each comes from, and all that would be deleted."""

from pathlib import Path

import pytest

from runner.lists.rows import ColumnRead
from runner.output.plan_text import describe_plan, scope
from runner.plan.by_user import UserNumbers
from runner.plan.file import PlanFile
from runner.plan.header import PlanSource, PlanTotals, PlanWindow, Reject
from runner.plan.sealed_file import Seal
from runner.settings import Limits, Rate, Safety
from tests.support.plans import header_of

COLUMN = ColumnRead(3, "手机", "header", ("紧急联系电话", "column 7"))


def plan_of(users=(), **changes):
    """A plan that was found whole, as far as its description looks at it."""
    fields = {
        "name": "夜间清理",
        "safety": Safety(protect_file="/lists/never.txt"),
        "totals": PlanTotals(2_000, 1_900, 70, 20, 10, batches=1_201, users=2, windows=1, blank=12),
        "sources": (PlanSource("清单/退订.csv", 2_000, 20, 5, 12, 3, COLUMN),),
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
    seal = Seal(0, 0, 0, b"")
    return PlanFile(Path("a.plan"), header_of(**fields), "5ea1", 0.0, b"", True, seal, tuple(users))


def test_a_plan_is_described_in_all_its_numbers():
    text = describe_plan(plan_of(), limits=Limits(rate=Rate(20.0)), base_url="https://ai.example")
    for said in (
        (
            "夜间清理 – deletes 1,900 numbers and everything imported in 1 window from 2024-01-01 00:00:00 "
            "to 2024-01-07 23:59:59, of 2 users, at https://ai.example\n"
        ),
        "planned 2024-07-26 13:14 (UTC)",
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


def test_of_every_list_the_column_that_was_read_is_shown_and_those_that_were_not():
    text = describe_plan(plan_of(), limits=Limits())
    (line,) = [line for line in text.split("\n") if line.startswith("  清单/退订.csv  ")]
    assert line.split("  ", 2)[2].split() == [
        *("2,000", "12", "20", "5", "3"),
        *(
            "column",
            "3",
            "'手机',",
            "by",
            "its",
            "header;",
            "passed",
            "over:",
            "紧急联系电话,",
            "column",
            "7",
        ),
    ]
    remark = PlanSource("a.txt", 1, 0, 0, column=ColumnRead(1, "# 不要删除", "only"))
    said = "column 1, the only one; its header, and no number: '# 不要删除'"
    assert said in describe_plan(plan_of(sources=(remark,)), limits=Limits())
    for how, words in {"asked": "as the job says", "content": "by what", "only": "the only one"}.items():
        source = PlanSource("a.txt", 1, 0, 0, column=ColumnRead(1, "", how))
        assert f"column 1, {words}" in describe_plan(plan_of(sources=(source,)), limits=Limits())


def test_the_ten_largest_users_are_shown():
    users = [UserNumbers(f"user-{n}", 1000 - n, n % 2) for n in range(15)]
    plan = plan_of(users, totals=PlanTotals(users=20))
    text = describe_plan(plan, limits=Limits())
    assert "  user-9      991        1\n  and 10 more users\n" in text
    assert "user-10" not in text


@pytest.mark.parametrize(
    ("unique", "windows", "said"),
    [
        (0, 0, "nothing"),
        (1, 0, "1 number, of 1 user"),
        (0, 2, "everything imported in 2 windows from 2024-01-01 00:00:00 to 2024-02-02 00:00:00, of 1 user"),
    ],
)
def test_windows_stand_in_the_one_phrase_that_says_what_is_deleted(unique, windows, said):
    days = [("2024-01-03 00:00:00", "2024-02-02 00:00:00"), ("2024-01-01 00:00:00", "2024-01-02 00:00:00")]
    totals = PlanTotals(read=unique, unique=unique, users=1, windows=windows)
    named = tuple(PlanWindow(n + 1, "u", days[n], False, 1, "j", 1) for n in range(windows))
    assert scope(header_of(totals=totals, windows=named)) == said


def test_a_plan_at_an_unlimited_rate_promises_no_time():
    text = describe_plan(plan_of(windows=(), sources=(), first_rejects=()), limits=Limits(rate=Rate(None)))
    assert "unlimited" in text
    assert "at least" not in text


def test_many_windows_are_not_all_shown():
    day = ("2024-01-01 00:00:00", "2024-01-07 23:59:59")
    windows = tuple(PlanWindow(n, "u", day, False, 1, "j", 1) for n in range(1, 100))
    text = describe_plan(plan_of(windows=windows), limits=Limits())
    assert "and 49 more, written out in the plan" in text


def test_the_reasons_of_rejects_are_told_in_words_the_most_frequent_first():
    text = describe_plan(plan_of(rejects={"rounded": 2, "length": 18}), limits=Limits())
    assert (
        "rejected, by reason\n"
        "  length   18  too few or too many digits\n"
        "  rounded   2  a number whose last digits are lost: its cell or its format does not hold so many\n"
    ) in text


def test_one_request_for_one_user_is_not_several():
    totals = PlanTotals(read=1, unique=1, batches=1, users=1)
    plan = plan_of(windows=(), rejects={}, first_rejects=(), totals=totals)
    assert "\n1 request for 1 user\n" in describe_plan(plan, limits=Limits())
