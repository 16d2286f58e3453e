"""Planning: every number of a target exactly once, in the fewest batches, whatever the lists hold."""

import math
import os
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.errors import Refused
from runner.job.entries import Entry, Job, Table
from runner.lists.rows import ColumnRead, ListSpec, Rows
from runner.model import Target
from runner.phones import BadPhone, normalise
from runner.plan import by_user, grouping, spill, tally
from runner.plan.file import read_plan
from runner.plan.flawed_users import FlawedUsers
from runner.plan.header import PlanSource, PlanWindow
from runner.plan.planner import Planner, plan_batches_again, plan_job
from runner.settings import LimitsGiven, Safety
from tests.support.docs import ROOT

NOW = datetime(2024, 7, 26, 13, 14, 15, tzinfo=UTC)
JULY = ("2024-07-01 00:00:00", "2024-07-31 23:59:59")
JUNE = ("2024-06-01 00:00:00", "2024-06-30 23:59:59")
OPEN = Safety(max_invalid=1.0)


def job_of(*entries, **fields):
    given = {"safety": OPEN, "phone_rule": "mobile_cn", "tables": (), "request_files": ()} | fields
    return Job(name="test", limits=LimitsGiven(), timezone="Asia/Shanghai", entries=entries, **given)


def phone(n):
    return f"138{n:08d}"


def plan_of(job, folder, **options):
    out = Path(folder) / f"{len(list(Path(folder).iterdir()))}.plan"
    plan_job(job, out, now=NOW, version="1", **options)
    return read_plan(out)


def asked(plan):
    """Target → its phones, in the order in which they would be sent."""
    found = {}
    for batch in plan.batches():
        found.setdefault(batch.target, []).extend(batch.phones)
    return found


@contextmanager
def little_memory(buffer=2000, targets=grouping.MAX_TARGETS):
    before = spill.BUFFER_BYTES, grouping.MAX_TARGETS
    spill.BUFFER_BYTES, grouping.MAX_TARGETS = buffer, targets
    try:
        yield
    finally:
        spill.BUFFER_BYTES, grouping.MAX_TARGETS = before


# ---- any input ----------------------------------------------------------------------------------------

USERS = st.sampled_from(["u1", "u2", "U1", "8c1b7a52-66f5-4f0e-9d57-3b1f6c2f8f10", " u2 "])
VALUES = st.one_of(
    st.integers(0, 60).map(phone),
    st.integers(0, 60).map(lambda n: f"+86 {phone(n)[:3]}-{phone(n)[3:7]}-{phone(n)[7:]}"),
    st.sampled_from(["", "1.39E+10", "12345", '"quoted\\', "数值", "a\tb", "x" * 600, "z" * 512]),
)
ROWS = st.lists(
    st.tuples(USERS, st.sampled_from([None, JULY, JUNE]), st.booleans(), VALUES), min_size=0, max_size=400
)


def planned(rows, out, chunk):
    """The plan of rows that come in chunks of one context each."""
    rejects = []
    with Planner(job_of(), on_reject=rejects.append) as planner:
        for start in range(0, len(rows), chunk):
            part = rows[start : start + chunk]
            for context in dict.fromkeys((window, secret) for _, window, secret, _ in part):
                mine = [(user, value) for user, *own, value in part if tuple(own) == context]
                users, values = [user for user, _ in mine], [value for _, value in mine]
                planner.add_rows(Rows("list", range(1, len(mine) + 1), values, users, {}), context)
        planner.finish(out, now=NOW, version="1")
    return read_plan(out), rejects


def expected(rows):
    """Target → its distinct phones, the slow way, and how many values are none."""
    found, bad = {}, 0
    for user, window, secret, value in rows:
        try:
            number = normalise(value, "opaque" if secret else "mobile_cn")
        except BadPhone:
            bad += bool(value.strip())
        else:
            found.setdefault(Target(user.strip(), window, secret), set()).add(number)
    return found, bad


def check_against(rows, plan, rejects):
    wanted, bad = expected(rows)
    got = asked(plan)
    assert {target: sorted(numbers) for target, numbers in wanted.items()} == {
        target: sorted(numbers) for target, numbers in got.items()
    }
    sizes = Counter(batch.target for batch in plan.batches())
    assert sizes == {target: math.ceil(len(numbers) / 100) for target, numbers in wanted.items()}
    totals = plan.header.totals
    assert totals.blank == sum(not value.strip() for *_, value in rows)
    assert totals.read == len(rows) - totals.blank
    assert totals.rejected == bad == len(rejects) == sum(plan.header.rejects.values())
    assert totals.unique == sum(map(len, wanted.values()))
    assert totals.read == totals.unique + totals.duplicate + totals.rejected + totals.protected
    assert totals.users == len({target.user_id for target in wanted})


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ROWS, st.integers(1, 50))
def test_each_number_of_a_target_stands_in_the_plan_exactly_once(rows, chunk):
    with TemporaryDirectory() as folder:
        plan, rejects = planned(rows, Path(folder) / "small.plan", chunk)
        check_against(rows, plan, rejects)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ROWS, st.integers(1, 50), st.sampled_from([600, 2000, 20_000]))
def test_a_list_larger_than_memory_gives_the_same_bytes(rows, chunk, buffer):
    with TemporaryDirectory() as folder:
        small, _ = planned(rows, Path(folder) / "small.plan", chunk)
        with little_memory(buffer):
            large, _ = planned(rows, Path(folder) / "large.plan", chunk)
        assert large.path.read_bytes() == small.path.read_bytes()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ROWS, st.integers(1, 50), st.integers(0, 3))
def test_more_targets_than_memory_are_planned_all_the_same(rows, chunk, targets):
    with TemporaryDirectory() as folder, little_memory(2000, targets):
        plan, rejects = planned(rows, Path(folder) / "a.plan", chunk)
        again, _ = planned(rows, Path(folder) / "b.plan", chunk)
        check_against(rows, plan, rejects)
        assert again.path.read_bytes() == plan.path.read_bytes()


def test_one_user_of_many_numbers_is_cut_by_value_and_stays_sorted(tmp_path):
    numbers = [phone(n * 7919 % 5000) for n in range(9000)]
    with little_memory(30_000):
        plan = plan_of(job_of(Entry("a:1", "u", tuple(numbers))), tmp_path)
    assert asked(plan) == {Target("u"): [phone(n) for n in range(5000)]}
    assert plan.header.totals.batches == 50
    assert plan.header.totals.duplicate == 4000


def test_a_sorted_list_larger_than_memory_is_cut_evenly(tmp_path):
    numbers = tuple(phone(n) for n in range(20_000))
    with little_memory(30_000):
        plan = plan_of(job_of(Entry("a:1", "u", numbers)), tmp_path)
    assert asked(plan) == {Target("u"): list(numbers)}


def test_users_without_end_do_not_stay_in_memory(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("user_id,phone\n" + "".join(f"u{n % 3000},{phone(n)}\n" for n in range(9000)))
    job = job_of(tables=(table(path),))
    sizes = []
    with little_memory(200_000, 100):
        write_out = grouping.Grouping._write_out

        def spy(self):
            write_out(self)
            sizes.append(len(self._pending) + len(self._numbers))

        grouping.Grouping._write_out = spy
        try:
            plan = plan_of(job, tmp_path)
        finally:
            grouping.Grouping._write_out = write_out
    assert max(sizes) <= 100
    assert plan.header.totals.users == plan.header.totals.batches == 3000


def test_the_same_input_gives_the_same_bytes_under_any_hash_seed(tmp_path):
    script = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
        "import tests.plan.test_plan as t\n"
        "with t.little_memory(20_000, 5):\n"
        "    t.plan_job(t.varied(), Path(sys.argv[2]), now=t.NOW, version='1')\n"
    )
    plans = []
    for seed in ("0", "4711"):
        out = tmp_path / f"{seed}.plan"
        command = [sys.executable, "-c", script, str(ROOT), str(out)]
        subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": seed}, timeout=60)
        plans.append(out.read_bytes())
    assert plans[0] == plans[1]


def varied():
    """A job with a bit of everything."""
    values = tuple(phone(n % 700) if n % 50 else f"bad-{n}" for n in range(1500))
    entries = [Entry(f"a:{n}", f"u{n % 12}", values[n * 50 : n * 50 + 90]) for n in range(25)]
    entries += [replace(entry, windows=(JULY,), encryption=n % 2 == 0) for n, entry in enumerate(entries)]
    window = Entry("a:99", "u1", windows=(JUNE, JULY), delete_window=True, max_rows=9)
    return job_of(*entries, window)


def test_targets_come_in_the_order_in_which_they_were_first_named(tmp_path):
    entries = [Entry(f"a:{n}", user, (phone(n),)) for n, user in enumerate(["z", "a", "m", "a", "z"])]
    with little_memory(600):
        assert [target.user_id for target in asked(plan_of(job_of(*entries), tmp_path))] == ["z", "a", "m"]


# ---- lists, tables, requests --------------------------------------------------------------------------


def table(path, **fields):
    return Table(
        f"job:{path.name}", ListSpec((str(path),), f"job:{path.name}", user_column="user_id"), **fields
    )


def list_of(path, **fields):
    return Entry(f"job:{path.name}", "u", lists=ListSpec((str(path),), f"job:{path.name}"), **fields)


def test_duplicates_are_found_across_entries_lists_tables_and_requests(tmp_path):
    (tmp_path / "a.txt").write_text("13800000001\n13800000002\n")
    (tmp_path / "t.csv").write_text("user_id,phone\nu,13800000002\nu,13800000003\n")
    (tmp_path / "r.jsonl").write_text('{"user_id":"u","phone":["13800000003","138 0000 0004"]}\n')
    job = job_of(
        Entry("a:1", "u", ("13800000001",)),
        list_of(tmp_path / "a.txt"),
        tables=(table(tmp_path / "t.csv"),),
        request_files=(str(tmp_path / "r.jsonl"),),
    )
    plan = plan_of(job, tmp_path)
    assert asked(plan) == {Target("u"): [phone(n) for n in (1, 2, 3, 4)]}
    totals = plan.header.totals
    assert (totals.read, totals.unique, totals.duplicate, totals.batches) == (7, 4, 3, 1)
    assert [(Path(s.source).name, s.rows, s.normalised) for s in plan.header.sources] == [
        ("a:1 phone", 1, 0),
        ("a.txt", 2, 0),
        ("t.csv", 2, 0),
        ("r.jsonl", 2, 1),
    ]
    assert plan.header.changed == 1
    assert plan.header.normalised == {"space": 1}


def test_a_jsonl_job_keeps_windows_and_kinds_apart(tmp_path):
    lines = [
        '{"user_id":"u","phone":["13800000001"],"created_at":["2024-07-01 00:00:00","2024-07-31 23:59:59"]}',
        '{"user_id":"v","phone":["13800000001","bad"]}',
        '{"user_id":"u","phone":["gibberish=="],"encryption":true}',
        '{"user_id":"u","phone":[]}',
        '{"user_id":"u","phone":["13800000001"]}',
    ]
    (tmp_path / "r.jsonl").write_text("\n".join(lines))
    plan = plan_of(job_of(request_files=(str(tmp_path / "r.jsonl"),)), tmp_path)
    assert asked(plan) == {
        Target("u", JULY): ["13800000001"],
        Target("v"): ["13800000001"],
        Target("u", encryption=True): ["gibberish=="],
        Target("u"): ["13800000001"],
    }
    (reject,) = plan.header.first_rejects
    assert (reject.source, reject.line, reject.reason) == (str(tmp_path / "r.jsonl"), 2, "characters")
    assert any("r.jsonl:4: the list is empty" in note for note in plan.header.notes)


def test_a_line_of_many_phones_is_planned_whole(tmp_path):
    numbers = [phone(n) for n in range(20_000)]
    listed = ",".join(f'"{number}"' for number in numbers)
    (tmp_path / "r.jsonl").write_text(f'{{"user_id":"u","phone":[{listed}]}}\n')
    plan = plan_of(job_of(request_files=(str(tmp_path / "r.jsonl"),)), tmp_path)
    assert asked(plan) == {Target("u"): numbers}


def test_opaque_values_are_deduplicated_as_they_stand(tmp_path):
    values = ("Ab==", "ab==", "Ab==", " Ab== ", '"\\')
    plan = plan_of(job_of(Entry("a:1", "u", values, encryption=True)), tmp_path)
    assert asked(plan) == {Target("u", encryption=True): ['"\\', "Ab==", "ab=="]}
    assert plan.header.totals.duplicate == 2


def test_a_number_under_two_windows_of_one_user_is_told(tmp_path):
    entries = [
        Entry("a:1", "u", (phone(1), phone(2), phone(2)), windows=(JUNE,)),
        Entry("a:2", "u", (phone(2), phone(3)), windows=(JULY,)),
        Entry("a:3", "v", (phone(2),), windows=(JULY,)),
    ]
    for targets in (grouping.MAX_TARGETS, 1, 0):
        with little_memory(800, targets):
            header = plan_of(job_of(*entries), tmp_path).header
        *scopes, note = header.notes
        assert len(scopes) == 2
        assert note.startswith("1 number stands under more than one window")
        assert "138****0002 of u" in note
        assert header.totals.unique == 5
    notes = plan_of(job_of(*entries[1:]), tmp_path).header.notes
    assert notes == (f"of 3 phones only rows imported from {JULY[0]} to {JULY[1]}",)


def test_the_import_window_of_phones_is_told_word_by_word_and_of_many_the_first_ten(tmp_path):
    told = plan_of(job_of(Entry("a:1", "u", (phone(1),), windows=(JUNE,))), tmp_path).header.notes
    assert told == (f"of 1 phone only rows imported from {JUNE[0]} to {JUNE[1]}",)
    days = [(f"2024-06-{day:02d} 00:00:00", f"2024-06-{day:02d} 12:00:00") for day in range(1, 31)]
    job = job_of(*(Entry("a:1", "u", (phone(n), phone(90)), windows=(day,)) for n, day in enumerate(days)))
    told = [note for note in plan_of(job, tmp_path).header.notes if "import" in note]
    assert told[:10] == [f"of 2 phones only rows imported from {day[0]} to {day[1]}" for day in days[:10]]
    assert told[10:] == ["40 more phones have other import windows, written out in the plan"]
    assert plan_of(job_of(Entry("a:1", "u", (phone(1),))), tmp_path).header.notes == ()


# ---- nothing to do ------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", ["", "\n\n", "phone\n"])
def test_an_empty_list_never_widens_to_its_window(tmp_path, content):
    path = tmp_path / "empty.csv"
    path.write_text(content)
    plan = plan_of(job_of(list_of(path, windows=(JULY,)), Entry("a:9", "w", windows=(JULY,))), tmp_path)
    assert list(plan.batches()) == []
    assert plan.header.totals.batches == plan.header.totals.windows == 0
    assert len([note for note in plan.header.notes if "nothing to do" in note]) == 2


def test_a_list_of_which_nothing_is_left_never_widens_to_its_window(tmp_path):
    (tmp_path / "never.txt").write_text(phone(1) + "\n")
    entry = Entry("a:1", "u", (phone(1), phone(1), "nonsense"), windows=(JULY,))
    safety = replace(OPEN, protect_file=str(tmp_path / "never.txt"))
    plan = plan_of(job_of(entry, safety=safety), tmp_path)
    assert list(plan.batches()) == []
    totals = plan.header.totals
    assert (totals.protected, totals.duplicate, totals.rejected, totals.users) == (1, 1, 1, 0)
    none = plan_of(job_of(replace(entry, phones=("nonsense",)), safety=safety), tmp_path)
    assert "a:1: none of its 1 values is a phone: nothing to do for it" in none.header.notes
    assert list(none.batches()) == []


def test_what_the_job_says_itself_is_not_said_twice(tmp_path):
    said = "a:1: phone is an empty list: nothing to do for it"
    plan = plan_of(replace(job_of(Entry("a:1", "u")), notes=(said,)), tmp_path)
    assert plan.header.notes == (said,)


def test_many_idle_entries_are_counted_not_named(tmp_path):
    plan = plan_of(job_of(*(Entry(f"a:{n}", "u") for n in range(30))), tmp_path)
    assert len(plan.header.notes) == 11
    assert plan.header.notes[-1] == "20 more entries have nothing to do"


# ---- windows ------------------------------------------------------------------------------------------


def test_windows_come_last_with_their_entry_and_limit(tmp_path):
    entries = [
        Entry("a:1", "w", windows=(JUNE, JULY), delete_window=True, max_rows=500),
        Entry("a:5", "u", (phone(1),)),
        Entry("a:7", "v", windows=(JULY,), delete_window=True, max_rows=7, encryption=True),
        Entry("a:9", "w", windows=(JULY,), delete_window=True, max_rows=9),
    ]
    plan = plan_of(job_of(*entries), tmp_path)
    assert list(asked(plan)) == [
        Target("u"),
        Target("w", JUNE, delete_window=True),
        Target("w", JULY, delete_window=True),
        Target("v", JULY, True, delete_window=True),
    ]
    assert plan.header.windows == (
        PlanWindow(2, "w", JUNE, False, 500, "a:1", 1),
        PlanWindow(3, "w", JULY, False, 500, "a:1", 1),
        PlanWindow(4, "v", JULY, True, 7, "a:7", 2),
        PlanWindow(3, "w", JULY, False, 9, "a:9", 3),
    )
    totals = plan.header.totals
    assert (totals.batches, totals.windows, totals.users, totals.unique) == (4, 3, 3, 1)


def test_windows_without_end_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("runner.plan.planner._MAX_WINDOWS", 1)
    entry = Entry("a:1", "w", windows=(JUNE, JULY), delete_window=True, max_rows=500)
    with pytest.raises(Refused, match="windows"):
        plan_of(job_of(entry), tmp_path)


# ---- what is wrong ------------------------------------------------------------------------------------


def test_rejected_values_are_counted_named_and_passed_on_masked(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("phone\n" + "".join(f"1390000000{n}\n" for n in range(3)) + "139123456789\n" * 15)
    rejects = []
    header = plan_of(job_of(list_of(path)), tmp_path, rejects=rejects.append).header
    assert header.rejects == {"length": 15}
    assert len(rejects) == 15
    assert header.first_rejects == tuple(rejects[:10])
    assert (rejects[0].source, rejects[0].line, rejects[0].reason) == (str(path), 5, "length")
    assert "139123456789" not in repr(rejects)


def test_what_the_format_spoiled_is_rejected_whatever_it_looks_like(tmp_path):
    rows = Rows("book.xlsx!一", [3, 4], ["13900000000", "13800000001"], None, {0: "rounded"})
    rejects = []
    with Planner(job_of(), on_reject=rejects.append) as planner:
        planner.add_rows(rows, (None, False), "u")
        header = planner.finish(tmp_path / "a.plan", now=NOW, version="1")
    assert header.totals.unique == 1
    assert [(r.source, r.line, r.reason) for r in rejects] == [("book.xlsx!一", 3, "rounded")]
    assert rows.values == ["13900000000", "13800000001"]


def test_blank_cells_are_counted_apart_and_make_no_list_unreadable(tmp_path):
    rows = Rows("a.csv", [2, 9], [phone(1), "12"], None, {}, blank=98, hidden=3)
    with Planner(job_of(safety=Safety(max_invalid=0.5))) as planner:
        planner.add_rows(rows, (None, False), "u")
        planner.add_rows(replace(rows, values=[], lines=[], blank=1, hidden=0), (None, False), "u")
        header = planner.finish(tmp_path / "a.plan", now=NOW, version="1")
    totals = header.totals
    assert (totals.read, totals.unique, totals.rejected, totals.blank) == (2, 1, 1, 99)
    assert header.sources == (PlanSource("a.csv", 2, 1, 0, blank=99, hidden=3),)
    with Planner(job_of(safety=Safety(max_invalid=0.4))) as planner:
        planner.add_rows(rows, (None, False), "u")
        with pytest.raises(Refused, match=r"1 of 2 values are no phones, 50\.00% where 40% are allowed"):
            planner.finish(tmp_path / "b.plan", now=NOW, version="1")


def test_blank_values_of_a_job_are_none_wherever_they_stand(tmp_path):
    (tmp_path / "r.jsonl").write_text('{"user_id":"u","phone":["13800000001",""," "]}\n')
    rejects = []
    safety = Safety(max_invalid=0.4)
    entries = (Entry("a:1", "v", ("", "13800000001", "--")), Entry("a:2", "w", ("", "")))
    job = job_of(*entries, safety=safety, request_files=(str(tmp_path / "r.jsonl"),))
    header = plan_of(job, tmp_path, rejects=rejects.append).header
    totals = header.totals
    assert (totals.read, totals.unique, totals.rejected, totals.blank) == (3, 2, 1, 5)
    assert [(reject.source, reject.line) for reject in rejects] == [("a:1 phone", 3)]
    assert [(source.rows, source.blank) for source in header.sources] == [(2, 1), (0, 2), (1, 2)]
    assert header.notes == ("a:2: all of its 2 cells are blank: nothing to do for it",)


def test_the_column_that_was_read_stands_in_the_plan_for_every_list(tmp_path):
    column = ColumnRead(2, "手机", "header", ("电话",))
    with Planner(job_of()) as planner:
        for name in ("a.csv", "b.csv", "a.csv"):
            planner.add_rows(Rows(name, [2], [phone(1)], None, {}, column=column), (None, False), "u")
        planner.finish(tmp_path / "a.plan", now=NOW, version="1")
    sources = read_plan(tmp_path / "a.plan").header.sources
    assert [(s.source, s.rows, s.column) for s in sources] == [("a.csv", 2, column), ("b.csv", 1, column)]


def test_a_list_that_is_read_for_two_columns_is_told_twice(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("手机,电话\n13800000001,13800000002\n")
    entry = list_of(path)
    lists = [replace(entry.lists, phone_column=column) for column in ("手机", "电话")]
    plan = plan_of(job_of(*(replace(entry, lists=one) for one in lists)), tmp_path)
    assert [(s.column.header, s.rows) for s in plan.header.sources] == [("手机", 1), ("电话", 1)]


def test_a_wide_table_and_many_lists_do_not_swell_the_header(tmp_path, monkeypatch):
    monkeypatch.setattr(tally, "MAX_SOURCES", 3)
    column = ColumnRead(1, "电" * 5000, "content", tuple(f"{n}\udcc3" * 500 for n in range(5000)))
    with Planner(job_of()) as planner:
        for n in range(10):
            planner.add_rows(Rows(f"{n}.csv", [2], [phone(n)], None, {}, column=column), (None, False), "u")
        header = planner.finish(tmp_path / "a.plan", now=NOW, version="1")
    assert (len(header.sources), header.more_sources) == (3, 7)
    assert header.sources[0].column.passed_over[-1] == "and 4,980 more"
    assert len(header.to_json()) < 50_000
    assert read_plan(tmp_path / "a.plan").header == header


@pytest.mark.parametrize("most", [by_user.MAX_USERS, 3, 2])
def test_the_numbers_of_each_user_are_exact_for_the_largest(tmp_path, monkeypatch, most):
    monkeypatch.setattr(by_user, "MAX_USERS", most)
    entries = [
        Entry("a:1", "m", tuple(map(phone, range(250)))),
        Entry("a:2", "c", tuple(map(phone, range(150)))),
        Entry("a:3", "d", (phone(1),)),
        Entry("a:4", "b", (phone(1), phone(2))),
        Entry("a:5", "m", tuple(map(phone, range(5))), windows=(JULY,)),
        Entry("a:6", "w", windows=(JUNE, JULY), delete_window=True, max_rows=9),
        Entry("a:7", "c", windows=(JULY,), delete_window=True, max_rows=9),
    ]
    with little_memory(targets=min(most, 2)):
        plan = plan_of(job_of(*entries), tmp_path)
    largest = [("m", 255, 0), ("c", 150, 1), ("b", 2, 0), ("d", 1, 0), ("w", 0, 2)]
    assert [(user.user_id, user.phones, user.windows) for user in plan.users] == largest[:most]
    assert plan.header.totals.users == 5


def test_too_many_rejects_are_refused_with_rule_limit_value_and_reason(tmp_path):
    values = (*map(phone, range(97)), "123", "456", "1.39E+10")
    safety = Safety(max_invalid=0.02)
    rejects = []
    with pytest.raises(Refused) as caught:
        plan_of(job_of(Entry("a:1", "u", values), safety=safety), tmp_path, rejects=rejects.append)
    for words in ("max_invalid", "2%", "3 of 100", "3.00%", "2 × length", "a:1 phone:98"):
        assert words in caught.value.message
    assert len(rejects) == 3
    assert list(tmp_path.iterdir()) == []
    exactly = job_of(Entry("a:1", "u", values), safety=Safety(max_invalid=0.03))
    assert plan_of(exactly, tmp_path).header.totals.rejected == 3


def test_more_phones_than_allowed_are_refused_and_as_many_are_not(tmp_path):
    entry = Entry("a:1", "u", tuple(phone(n % 11) for n in range(20)))
    assert plan_of(job_of(entry, safety=Safety(max_phones=11)), tmp_path).header.totals.unique == 11
    with pytest.raises(Refused, match="max_phones: 11 phones are more than the 10"):
        plan_job(job_of(entry, safety=Safety(max_phones=10)), tmp_path / "x", now=NOW, version="1")
    assert not (tmp_path / "x").exists()


def refused_users(*some):
    """What is said of rows whose users are refused, line by line."""
    with TemporaryDirectory() as folder, Planner(job_of()) as planner:
        for rows in some:
            planner.add_rows(rows, (None, False))
        with pytest.raises(Refused) as caught:
            planner.finish(Path(folder) / "a.plan", now=NOW, version="1")
        assert list(Path(folder).iterdir()) == []
    return caught.value.message.split("\n  ")


def test_rows_without_a_user_that_can_be_sent_are_all_counted_and_named_together(tmp_path):
    path = tmp_path / "t.csv"
    bad = ["", "..", "a/b", "a b", "用户", "x?y", "a#b", "%2e", "x" * 129, "a;b", *[""] * 20]
    path.write_text("user_id,phone\nu,13800000000\n" + "".join(f"{user},13800000001\n" for user in bad))
    with pytest.raises(Refused) as caught:
        plan_of(job_of(tables=(table(path),)), tmp_path)
    head, missing, unsafe, *named, more = caught.value.message.split("\n  ")
    assert head == "30 rows name no user id that can be sent"
    assert missing == "21 × missing: there is no user id"
    assert unsafe.startswith("9 × unsafe: only 1-128 ASCII letters")
    assert [line.split(": ")[0] for line in named] == [f"{path}:{line}" for line in range(3, 23)]
    assert named[:2] == [f"{path}:3: nothing (missing)", f"{path}:4: '..' (unsafe)"]
    assert more == "and 10 more"
    assert list(tmp_path.iterdir()) == [path]


def test_a_user_id_that_its_format_spoils_refuses_the_list_whatever_it_looks_like():
    rows = Rows("b.xlsx!一", [2, 3, 4], [*map(phone, range(3))], ["1001", "1001", "u"], {}, {1: "float"})
    assert refused_users(rows) == [
        "1 row names no user id that can be sent",
        "1 × float: a number with a decimal point",
        "b.xlsx!一:3: '1001' (float)",
    ]


def test_rows_whose_users_are_sound_are_planned_beside_bad_phones(tmp_path):
    rows = Rows("t", [2, 3], [phone(1), "bad"], ["u", "v"], {})
    with Planner(job_of()) as planner:
        planner.add_rows(rows, (None, False))
        assert planner.finish(tmp_path / "a.plan", now=NOW, version="1").totals.unique == 1


def test_a_bad_user_id_refuses_the_plan_even_beside_a_bad_phone_and_again():
    rows = Rows("t", [2, 3, 4], [phone(1), "bad", phone(2)], ["a/b", "c/d", "a/b"], {})
    _, _, *named = refused_users(rows, replace(rows, lines=[5, 6, 7]))
    assert [line.split(": ")[0] for line in named] == [f"t:{line}" for line in range(2, 8)]


def test_a_million_flawed_rows_take_no_more_memory_than_a_few():
    flawed = FlawedUsers()
    rows = Rows("t", range(1, 10_001), ["1"] * 10_000, [""] * 10_000, {})
    flawed.look(rows)
    few = sum(map(sys.getsizeof, vars(flawed).values()))
    for _ in range(20):
        flawed.look(rows)
    assert sum(map(sys.getsizeof, vars(flawed).values())) == few
    with pytest.raises(Refused, match=r"(?s)210,000 × missing.*and 209,980 more") as caught:
        flawed.refuse_any()
    assert len(caught.value.message) < 2000


def test_a_phone_in_the_user_column_is_shown_masked():
    assert "13912345678" not in str(refused_users(Rows("t", [2], [phone(1)], ["+8613912345678"], {})))


# ---- protected ----------------------------------------------------------------------------------------


def test_protected_numbers_are_taken_out_after_deduplication(tmp_path):
    (tmp_path / "never.txt").write_text("+86 138-0000-0001\n13800000099\n")
    safety = replace(OPEN, protect_file=str(tmp_path / "never.txt"))
    entry = Entry("a:1", "u", tuple(phone(n) for n in (1, 1, 2, 3)))
    plan = plan_of(job_of(entry, replace(entry, user_id="v"), safety=safety), tmp_path)
    assert set(map(tuple, asked(plan).values())) == {(phone(2), phone(3))}
    totals = plan.header.totals
    assert (totals.read, totals.unique, totals.duplicate, totals.protected) == (8, 4, 2, 2)
    assert plan.header.safety.protect_file == str(tmp_path / "never.txt")


def test_a_missing_protect_file_is_refused_before_anything_is_read(tmp_path):
    safety = replace(OPEN, protect_file=str(tmp_path / "missing.txt"))
    job = job_of(list_of(tmp_path / "also-missing.txt"), safety=safety)
    with pytest.raises(Refused, match=r"missing\.txt"):
        plan_of(job, tmp_path)


def test_windows_beside_a_protect_file_are_told(tmp_path):
    (tmp_path / "never.txt").write_text(phone(1))
    safety = replace(OPEN, protect_file=str(tmp_path / "never.txt"))
    entry = Entry("a:1", "w", windows=(JULY,), delete_window=True, max_rows=1)
    notes = plan_of(job_of(entry, safety=safety), tmp_path).header.notes
    assert "windows delete every number imported then, protected ones as well" in notes


# ---- nothing left behind ------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, RuntimeError])
@pytest.mark.parametrize("when", ["reading", "writing"])
def test_an_interrupted_plan_leaves_nothing_behind(tmp_path, error, when):
    scratch, out = tmp_path / "scratch", tmp_path / "out"
    scratch.mkdir()
    out.mkdir()

    def interrupt(progress):
        if progress.rows >= 20_000 and (when == "reading" or progress.batches):
            raise error

    job = job_of(*(Entry(f"a:{n}", f"u{n}", tuple(map(phone, range(10_000)))) for n in range(12)))
    before = len(list(Path("/proc/self/fd").iterdir()))
    with little_memory(100_000), pytest.raises(error):
        plan_job(job, out / "a.plan", now=NOW, version="1", tmp_dir=scratch, on_progress=interrupt)
    assert not list(scratch.iterdir())
    assert not list(out.iterdir())
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_temporary_files_have_no_name_even_while_they_are_in_use(tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    seen = []
    job = job_of(*(Entry(f"a:{n}", "u", tuple(map(phone, range(5000)))) for n in range(3)))
    with little_memory(100_000):
        plan_of(job, tmp_path, tmp_dir=scratch, on_progress=lambda _: seen.extend(scratch.iterdir()))
    assert seen == []


def test_a_missing_folder_for_temporary_files_is_refused(tmp_path):
    with pytest.raises(Refused, match="temporary"):
        plan_of(job_of(), tmp_path, tmp_dir=tmp_path / "missing")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("rows", [10, 50_000])
def test_a_full_disk_is_refused_with_a_hint(tmp_path, monkeypatch, rows):
    monkeypatch.setattr(spill.tempfile, "TemporaryFile", lambda **_: open("/dev/full", "w+b"))  # noqa: SIM115, PTH123 - the spill closes it
    with pytest.raises(Refused) as caught:
        plan_of(job_of(Entry("a:1", "u", tuple(map(phone, range(rows))))), tmp_path)
    assert "TMPDIR" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_an_existing_plan_is_refused_before_anything_is_read(tmp_path):
    out = tmp_path / "a.plan"
    out.write_text("mine")
    with pytest.raises(Refused, match="exists already"):
        plan_job(job_of(list_of(tmp_path / "missing.txt")), out, now=NOW, version="1")
    assert out.read_text() == "mine"


def test_file_names_that_are_no_utf8_are_planned(tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xc3\xfb\xb5\xa5.txt"))
    path.write_text(phone(1) + "\n12\n")
    plan = plan_of(job_of(list_of(path)), tmp_path)
    assert asked(plan) == {Target("u"): [phone(1)]}
    assert plan.header.first_rejects[0].source.endswith("\\udcc3\\udcfb\\udcb5\\udca5.txt")


def test_progress_counts_values_and_batches(tmp_path):
    seen = []
    entry = Entry("a:1", "u", tuple(map(phone, range(60_000))))
    with little_memory(100_000):
        plan_of(job_of(entry), tmp_path, on_progress=seen.append)
    assert [p.rows for p in seen] == sorted(p.rows for p in seen)
    assert seen[-1].rows == 60_000
    assert seen[0].source == "a:1 phone"
    assert 500 <= seen[-1].batches <= 600


# ---- again --------------------------------------------------------------------------------------------


def again(work, folder, windows=(), **fields):
    out = Path(folder) / f"{len(list(Path(folder).iterdir()))}.plan"
    plan_batches_again(work, job_of(**fields), out, windows=windows, now=NOW, version="1")
    return read_plan(out)


def test_a_rerun_is_cut_and_deduplicated_anew(tmp_path):
    work = [(Target("u", JULY), [phone(n) for n in range(start, start + 70)]) for start in (0, 100, 60)]
    plan = again([*work, (Target("v", None, True), ["z", '"'])], tmp_path)
    assert asked(plan) == {
        Target("u", JULY): [phone(n) for n in (*range(130), *range(130, 170))],
        Target("v", None, True): ['"', "z"],
    }
    totals = plan.header.totals
    assert (totals.read, totals.unique, totals.duplicate, totals.batches) == (212, 172, 40, 3)


def test_a_rerun_takes_windows_with_what_the_earlier_plan_said_of_them(tmp_path):
    windows = [PlanWindow(7, "w", JUNE, False, 500, "a:1", 3), PlanWindow(8, "w", JULY, False, 500, "a:1", 3)]
    work = [(Target("w", JULY, delete_window=True), ())] * 2 + [(Target("u"), [phone(1)])]
    plan = again(work, tmp_path, windows)
    assert plan.header.windows == (PlanWindow(2, "w", JULY, False, 500, "a:1", 1),)
    assert list(asked(plan)) == [Target("u"), Target("w", JULY, delete_window=True)]


def test_a_rerun_of_a_window_without_its_limit_is_refused(tmp_path):
    with pytest.raises(Refused, match="max_rows"):
        again([(Target("w", JULY, delete_window=True), ())], tmp_path)


def test_a_rerun_obeys_the_safety_rules(tmp_path):
    (tmp_path / "never.txt").write_text(phone(1))
    work = [(Target("u"), [phone(1), phone(2)])]
    safety = Safety(protect_file=str(tmp_path / "never.txt"), max_phones=1)
    assert asked(again(work, tmp_path, safety=safety)) == {Target("u"): [phone(2)]}
    with pytest.raises(Refused, match="max_phones"):
        again(work, tmp_path, safety=Safety(max_phones=1))


def test_a_rerun_refuses_a_number_that_no_plan_can_have_made(tmp_path):
    for bad in ("", "1380000\n0001"):
        with pytest.raises(Refused):
            again([(Target("u"), [bad])], tmp_path)
