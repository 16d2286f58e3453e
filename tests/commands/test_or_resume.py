"""`--or-resume`: one command line for a scheduler to repeat, whatever became of the last time."""

import json

import pytest

from tests.support.evidence import check_evidence, of_type
from tests.support.program import OTHER, USER, numbers, until

MANY = numbers(500)


@pytest.fixture
def command(program, sandbox):
    sandbox.pool.add_phones(USER, MANY)
    job = program.job({USER: MANY}, name="nightly")
    return (
        "run",
        job,
        "--yes",
        "--rate",
        "unlimited",
        "--concurrency",
        "1",
        "--audit",
        "a.jsonl",
        "--or-resume",
    )


def test_where_there_is_no_audit_it_runs(program, sandbox, command):
    program(*command).expect(0)
    assert sandbox.left() == []


def test_an_open_audit_is_resumed_from_its_own_plan(program, sandbox, command):
    sandbox.control(token_expires_after=2)
    program(*command).expect(3)
    sandbox.control(token_expires_after=None)
    plan = (program.folder / "a.jsonl.plan").read_bytes()
    program.job({USER: [*MANY, *numbers(50, 9000)]}, name="nightly")
    ended = program(*command, "--json").expect(0)
    assert ended.record["batches"]["deleted"] == 5
    records, _, _ = check_evidence(program.folder / "a.jsonl", sandbox)
    assert [r["mode"] for r in of_type(records, "run")] == ["run", "resume"]
    assert (program.folder / "a.jsonl.plan").read_bytes() == plan


@pytest.mark.parametrize("code", [0, 1])
def test_one_that_has_ended_gives_its_exit_code_and_sends_nothing(program, sandbox, command, code):
    if code:
        sandbox.script("error", error_code=7431)
    program(*command).expect(code)
    before, sent = (program.folder / "a.jsonl").read_bytes(), sandbox.requests()
    ended = program(*command, "--json").expect(code)
    assert ended.record["exit_code"] == code
    assert sandbox.requests() == sent
    assert (program.folder / "a.jsonl").read_bytes() == before


def test_an_audit_of_another_job_is_refused_and_left(program, sandbox, command):
    program(*command).expect(0)
    before, sent = (program.folder / "a.jsonl").read_bytes(), sandbox.requests()
    other = program.job({OTHER: MANY}, name="weekly")
    ended = program("run", other, *command[2:]).expect(2)
    assert "of the job nightly, not of the job weekly" in ended.err
    assert (program.folder / "a.jsonl").read_bytes() == before
    assert sandbox.requests() == sent


def test_without_an_audit_to_look_for_it_is_refused(program, sandbox):
    ended = program("run", program.job({USER: MANY}), "--yes", "--or-resume").expect(2)
    assert "--audit" in ended.err
    assert sandbox.requests() == 0


def test_without_it_an_audit_that_exists_is_refused(program, sandbox, command):
    program(*command).expect(0)
    ended = program(*command[:-1]).expect(2)
    assert "a.jsonl exists" in ended.err


def test_a_plan_is_run_and_resumed_by_one_command_too(program, sandbox, command):
    program("plan", command[1], "--out", "p.plan").expect(0)
    sandbox.control(token_expires_after=2)
    program("run", "p.plan", *command[2:]).expect(3)
    sandbox.control(token_expires_after=None)
    program("run", "p.plan", *command[2:]).expect(0)
    assert sandbox.left() == []


def test_a_rerun_is_repeated_by_one_command_too(program, sandbox, command):
    sandbox.script("error", "error", error_code=7431)
    program(*command).expect(1)
    again = ("rerun", "a.jsonl", "--yes", "--audit", "b.jsonl", "--or-resume")
    program(*again).expect(0)
    sent = sandbox.requests()
    program(*again).expect(0)
    assert sandbox.requests() == sent


def test_while_it_runs_it_is_busy_and_with_wait_it_waits(program, sandbox, command):
    sandbox.script("hang")
    first = program.start(*command, "--timeout", "3000")
    first.until(sandbox.deletions, "its first request")
    assert str(first.pid) in program(*command).expect(4).err
    waiting = program.start(*command, "--wait")
    waiting.until(lambda: str(first.pid) in waiting.err(), "that it waits, and for whom")
    sandbox.script()
    first.process.kill()
    first.wait()
    waiting.wait().expect(0)
    assert sandbox.left() == []
    until(lambda: json.loads((program.folder / "a.jsonl").read_text().splitlines()[-1])["type"] == "summary")
