"""What a job may widen to: never a window, a user or a number that nobody wrote."""

import json

import pytest

from tests.support.evidence import of_type, read_audit
from tests.support.forgery import FAST, JANUARY, refused, whole
from tests.support.program import OTHER, USER, numbers


@pytest.mark.parametrize("suffix", ["json", "yaml"])
def test_entries_in_one_line_each_keep_their_own_max_rows(program, sandbox, suffix):
    """A place is no name: the large allowance of the one must not cover the other."""
    sandbox.pool.add_phones("small", numbers(30), created_at=JANUARY[0])
    entries = [{"user_id": user, **whole(rows)} for user, rows in (("small", 5), ("large", 5000))]
    job = program.write(f"job.{suffix}", json.dumps({"users": entries}))
    refused(program("run", job, *FAST), sandbox, "max_rows", "30 rows, 5 are allowed")


def test_entries_of_several_audits_in_the_same_place_each_keep_their_own_max_rows(program, sandbox):
    audits = []
    sandbox.control(faults={"shares": {"500": 1.0}})
    for name, rows in (("small", 5), ("large", 5000)):
        job = program.job({name: whole(rows)})
        audits.append(program.folder / f"{name}.jsonl")
        program("run", job, *FAST, "--max-attempts", "1", "--audit", audits[-1]).expect(1)
    sandbox.control(faults={"shares": {}})
    sandbox.pool.add_phones("small", numbers(30), created_at=JANUARY[0])
    before = len(sandbox.deletions())
    ended = program("rerun", *audits, *FAST).expect(2)
    assert "max_rows" in ended.err
    assert len(sandbox.deletions()) == before


def test_the_same_window_of_two_entries_is_held_against_the_smaller_allowance(program, sandbox):
    sandbox.pool.add_phones("u", numbers(30), created_at=JANUARY[0])
    entries = [{"user_id": "u", **whole(rows)} for rows in (5000, 5)]
    job = program.write("job.json", json.dumps({"users": entries}))
    refused(program("run", job, *FAST), sandbox, "max_rows")


def test_a_plan_takes_no_user_from_the_command_line(program, sandbox):
    program("plan", program.job({USER: numbers(3)}), "--out", "p.plan").expect(0)
    refused(program("run", "p.plan", "--user-id", OTHER, *FAST), sandbox, "--user-id")


@pytest.mark.parametrize("prefix", [b"", b"\n", b"\xef\xbb\xbf"], ids=["as it is", "blank line", "BOM"])
def test_an_audit_or_a_plan_is_no_list_of_numbers(program, sandbox, prefix):
    """Their numbers are of other users than the one on the command line."""
    program("plan", program.job({OTHER: numbers(30)}), "--out", "p.plan").expect(0)
    twisted = program.folder / "twisted.jsonl"
    twisted.write_bytes(prefix + (program.folder / "p.plan").read_bytes())
    refused(program("run", twisted, "--user-id", USER, *FAST), sandbox)


def test_a_list_whose_lines_are_all_windows_deletes_none(program, sandbox):
    line = {"user_id": USER, "phone": [], "created_at": list(JANUARY)}
    sandbox.pool.add_phones(USER, numbers(5), created_at=JANUARY[0])
    job = program.write("job.jsonl", "\n".join(json.dumps(line) for _ in range(3)))
    program("run", job, *FAST).expect(0)
    assert sandbox.requests() == 0


def test_values_that_are_all_protected_leave_no_bare_window(program, sandbox):
    sandbox.pool.add_phones(USER, numbers(5), created_at=JANUARY[0])
    program.write("never.txt", "\n".join(numbers(5)))
    entry = {"phone": numbers(5), "created_at": list(JANUARY)}
    job = program.job({USER: entry}, safety={"protect_file": "never.txt"})
    program("run", job, *FAST).expect(0)
    assert sandbox.requests() == 0


def test_a_batch_protected_whole_since_planning_is_not_sent_as_a_window(program, sandbox):
    sandbox.pool.add_phones(USER, numbers(5), created_at=JANUARY[0])
    never = program.write("never.txt", "13800000000")
    entry = {"phone": numbers(5), "created_at": list(JANUARY)}
    job = program.job({USER: entry}, safety={"protect_file": "never.txt"})
    program("plan", job, "--out", "p.plan").expect(0)
    never.write_text("\n".join(numbers(5)))
    program("run", "p.plan", *FAST, "--audit", "a.jsonl").expect(1)
    assert sandbox.deletions() == []
    (end,) = of_type(read_audit(program.folder / "a.jsonl"), "batch")
    assert (end["status"], end["error"], end["attempts"]) == ("not_sent", "protected", 0)
