"""`report --failed FILE`: every number that is not confirmed, with why; private, and fit for a next job."""

import csv
import io
import stat

import pytest

from runner.audit.fold import Fold
from runner.audit.records import BatchRecord
from runner.output.failed_csv import failed_rows, write_failed
from tests.support.audits import batch
from tests.support.evidence import of_type, read_audit
from tests.support.program import OTHER, USER, numbers, seeded

COLUMNS = ["user_id", "phone", "status", "error", "http_status", "code", "message"]
FAST = ("--yes", "--rate", "unlimited", "--concurrency", "1", "--audit", "a.jsonl")


def rows(path):
    """The rows below the header, as a stranger's program reads them."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        header, *found = csv.reader(file)
    assert header == COLUMNS
    return found


def report(program, *more):
    return program("report", "a.jsonl", "--failed", "f.csv", *more)


@pytest.fixture
def mixed(program, sandbox):
    """An audit with a batch of each end, and open ones: deleted, failed, not_sent, unknown, open."""
    phones = numbers(500)
    sandbox.pool.add_phones(USER, phones)
    sandbox.pool.add_phones(OTHER, numbers(200, 2000))
    sandbox.control(forbidden_users=[OTHER])
    sandbox.script(None, "error", error_code=7431)
    job = program.job({OTHER: numbers(200, 2000), USER: phones}, name="job")
    program("run", job, *FAST, "--deadline", "4h").expect(1)
    return program.folder / "a.jsonl"


def test_every_number_not_confirmed_stands_in_it_once_with_why(program, mixed):
    ended = report(program).expect(0)
    found = rows(program.folder / "f.csv")
    left = [
        (record["user_id"], phone, record["status"], record["error"])
        for record in of_type(read_audit(mixed), "batch")
        for phone in record["phone"][: record["phones_left"]]
    ]
    assert sorted((row[0], row[1], row[2], row[3]) for row in found) == sorted(left)
    assert {row[2] for row in found} == {"failed", "unknown", "not_sent"}
    assert f"written to f.csv: {len(left):,} numbers not confirmed" in ended.out
    assert next(row for row in found if row[2] == "unknown")[5:] == ["7431", "系统繁忙"]


def test_it_is_private_and_takes_nobodys_place(program, mixed):
    report(program).expect(0)
    file = program.folder / "f.csv"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    before = file.read_bytes()
    assert "exists" in report(program).expect(2).err
    assert file.read_bytes() == before


def test_numbers_of_open_batches_come_from_the_plan(program, sandbox):
    sandbox.pool.add_phones(USER, numbers(500))
    sandbox.control(token_expires_after=2)
    program("run", program.job({USER: numbers(500)}), *FAST).expect(3)
    report(program).expect(0)
    found = rows(program.folder / "f.csv")
    assert [row[1] for row in found] == sandbox.left()
    assert {tuple(row[2:]) for row in found} == {("not_sent", "", "", "", "")}
    (program.folder / "a.jsonl.plan").unlink()
    ended = program("report", "a.jsonl", "--failed", "g.csv").expect(0)
    assert "the numbers of its open batches stand in its plan, which is not beside it" in ended.err
    assert rows(program.folder / "g.csv") == []


def test_after_a_whole_run_it_is_empty_but_for_its_header(program, sandbox):
    program("run", program.job({USER: numbers(3)}), *FAST).expect(0)
    assert "0 numbers" in report(program).expect(0).out
    assert rows(program.folder / "f.csv") == []


def test_of_several_audits_it_is_one_list(program, mixed):
    program("run", program.job({USER: numbers(3)}), "--yes", "--audit", "b.jsonl").expect(0)
    program("report", "b.jsonl", mixed, mixed, "--failed", "twice.csv").expect(0)
    report(program).expect(0)
    assert len(rows(program.folder / "twice.csv")) == 2 * len(rows(program.folder / "f.csv"))


def test_the_bad_numbers_of_a_list_are_in_it_and_the_good_ones_are_deleted(aim):
    phones = numbers(300)
    bad = {phones[7], phones[150], phones[299]}
    with seeded({USER: phones}, refused_phones=frozenset(bad)) as sandbox:
        program = aim(sandbox.url)
        program("run", program.job({USER: phones}), *FAST).expect(1)
        ended = report(program, "--json").expect(0)
        found = rows(program.folder / "f.csv")
        assert {row[1] for row in found} == bad == set(sandbox.left())
        assert {tuple(row[2:4]) for row in found} == {("failed", "refused")}
        assert all(phone not in ended.out for phone in phones)


def test_it_can_be_a_table_of_the_next_job(program, sandbox, mixed):
    report(program).expect(0)
    tables = [{"file": "f.csv", "user_column": "user_id", "phone_column": "phone"}]
    planned = program("plan", program.job(name="next", tables=tables), "--json").expect(0).record
    assert planned["totals"]["unique"] == len(rows(program.folder / "f.csv"))


def test_a_window_has_no_numbers_and_that_is_said(program, sandbox):
    window = {
        "delete_window": True,
        "created_at": ["2024-01-01 00:00:00", "2024-01-31 23:59:59"],
        "max_rows": 9,
    }
    sandbox.script("error", error_code=7431)
    program("run", program.job({USER: window}), *FAST).expect(1)
    ended = report(program).expect(0)
    assert "windows that are not confirmed have no numbers to list" in ended.err
    assert rows(program.folder / "f.csv") == []


@pytest.mark.parametrize("words", ["=HYPERLINK(1)", "+1", "-1", "@x", "\t=1", "a\r\n=1,2"])
def test_words_that_a_spreadsheet_would_run_are_made_words(words):
    record = BatchRecord(
        **{key: value for key, value in batch(1, "failed", message=words).items() if key != "type"}
    )
    file = io.StringIO(newline="")
    assert write_failed(file, failed_rows([record], Fold(), None)) == 2
    for row in list(csv.reader(io.StringIO(file.getvalue().lstrip("\ufeff"))))[1:]:
        assert row[-1].lstrip()[0] not in "=+-@"
        assert "\n" not in row[-1]
        assert row[1].isdigit()
