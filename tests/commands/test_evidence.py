"""Evidence that vanishes or changes under a run: 3, what is there is said, and nothing more leaves."""

import os

import pytest

from tests.support.evidence import check_equation, check_evidence, read_audit, read_lines
from tests.support.program import USER, numbers

MANY = numbers(2000)


@pytest.fixture
def under_way(program, sandbox):
    """A run of twenty batches, ten a second, that has begun."""
    sandbox.pool.add_phones(USER, MANY)
    args = ("--yes", "--json", "--rate", "10/s", "--concurrency", "2", "--audit", "a.jsonl")
    started = program.start("run", program.job({USER: MANY}), *args)
    started.until(lambda: len(sandbox.deletions()) >= 3, "its third request")
    return started


@pytest.fixture
def audit(program):
    return program.folder / "a.jsonl"


def ended_early(started, sandbox, *words):
    """It stopped with 3 before its end and says why; returns its summary."""
    ended = started.wait().expect(3)
    assert ended.record["status"] == "stopped"
    assert all(word in ended.record["why"] for word in words)
    sandbox.settle()
    assert 3 <= len(sandbox.deletions()) < 20
    return ended.record


def test_audit_and_plan_removed_in_mid_run_stop_it_with_3(program, sandbox, under_way, audit):
    audit.unlink()
    (program.folder / "a.jsonl.plan").unlink()
    batches = ended_early(under_way, sandbox, "a.jsonl")["batches"]
    assert "a.jsonl: it was removed" in under_way.err()
    assert batches["deleted"] <= len(sandbox.deletions()) <= batches["deleted"] + batches["unknown"]


def test_an_audit_moved_away_goes_on_where_it_was_put_back(program, sandbox, under_way, audit):
    aside = audit.rename(program.folder / "aside.jsonl")
    ended_early(under_way, sandbox, "a.jsonl", "moved away")
    assert (program.folder / "a.jsonl.plan").exists(), "the plan of a run that has sent is evidence"
    aside.rename(audit)
    program("resume", audit, "--rate", "unlimited").expect(0)
    assert sandbox.left() == []
    check_evidence(audit, sandbox)


def test_a_copy_put_in_its_place_is_not_written_on(program, sandbox, under_way, audit):
    old = audit.rename(program.folder / "old.jsonl")
    audit.write_bytes(old.read_bytes())
    before = audit.read_bytes()
    ended_early(under_way, sandbox, "a.jsonl", "another file stands in its place")
    assert audit.read_bytes() == before


def test_an_audit_that_somebody_else_appends_to_stops_it(program, sandbox, under_way, audit):
    with audit.open("ab") as file:
        file.write(b"\n")
    ended_early(under_way, sandbox, "a.jsonl", "somebody else wrote to it")
    assert program("verify", audit).expect(1)
    assert program("resume", audit, "--yes").expect(2)


def test_an_audit_cut_short_in_mid_run_stops_it(sandbox, under_way, audit):
    os.truncate(audit, 10)
    ended_early(under_way, sandbox, "a.jsonl", "it was cut to")


def test_a_run_whose_audit_vanishes_before_its_last_record_does_not_end_0(program, sandbox, audit):
    """All is deleted; but nobody could prove it."""
    sandbox.pool.add_phones(USER, numbers(100))
    sandbox.control(latency_s=1.0)
    args = ("--yes", "--json", "--audit", "a.jsonl")
    started = program.start("run", program.job({USER: numbers(100)}), *args)
    started.until(sandbox.requests, "its only request")
    audit.unlink()
    ended = started.wait().expect(3)
    assert "removed" in ended.record["why"]
    assert ended.record["message"] == f"stopped early: {ended.record['why']}"
    assert ended.record["hint"].startswith("if it was moved, put it back")
    assert ended.record["batches"]["deleted"] == 1
    assert sandbox.left() == []


def test_a_plan_removed_in_mid_run_stops_it_with_3_and_that_is_recorded(program, sandbox, under_way, audit):
    """The whole plan is one block, read long ago; it is looked at all the same."""
    (program.folder / "a.jsonl.plan").unlink()
    ended_early(under_way, sandbox, "a.jsonl.plan", "it is gone")
    program("verify", audit).expect(0)
    summary = read_audit(audit)[-1]
    assert (summary["type"], summary["status"]) == ("summary", "stopped")
    check_equation(summary)


def test_a_plan_removed_after_its_last_batch_was_read_is_noticed_at_the_end(program, sandbox, audit):
    """All is deleted; but what was asked for nobody could say any more."""
    sandbox.pool.add_phones(USER, numbers(100))
    sandbox.control(latency_s=1.0)
    args = ("--yes", "--json", "--audit", "a.jsonl")
    started = program.start("run", program.job({USER: numbers(100)}), *args)
    started.until(sandbox.requests, "its only request")
    (program.folder / "a.jsonl.plan").unlink()
    ended = started.wait().expect(3)
    assert "a.jsonl.plan: it was changed after it was verified: it is gone" in ended.record["why"]
    assert (ended.record["status"], ended.record["batches"]["deleted"]) == ("stopped", 1)
    assert ended.record["hint"] == "put the plan back as it was confirmed"
    assert read_audit(audit)[-1]["exit_code"] == 3


def test_reading_copying_and_linking_it_stops_nothing(program, sandbox, under_way, audit):
    read_lines(audit)
    os.link(audit, program.folder / "second-name")
    program("report", audit).expect(0)
    program("verify", audit).expect(3)
    under_way.wait().expect(0)
    check_evidence(audit, sandbox)
