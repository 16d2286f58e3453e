"""`resume`: exactly what has no end yet, from the audit and the plan beside it, or a refusal."""

import json
import shutil
import signal

import pytest

from tests.support.evidence import check_evidence, of_type, read_audit, summary_in
from tests.support.program import SIGNALS, USER, Sandbox, numbers

MANY = numbers(1000)


@pytest.fixture
def stopped(program, sandbox):
    """An audit of ten batches of which three have ended."""
    sandbox.pool.add_phones(USER, MANY)
    sandbox.control(token_expires_after=3)
    args = ("--yes", "--rate", "unlimited", "--concurrency", "1", "--audit", "a.jsonl")
    program("run", program.job({USER: MANY}), *args).expect(3)
    sandbox.control(token_expires_after=None)
    return program.folder / "a.jsonl"


def refused(program, sandbox, audit, *args, **more):
    before, requests = audit.read_bytes() if audit.exists() else None, sandbox.requests()
    ended = program("resume", audit, *args, **more).expect(2)
    assert ended.out == ""
    assert sandbox.requests() == requests
    assert (audit.read_bytes() if audit.exists() else None) == before
    return ended


def test_resume_sends_exactly_the_batches_without_an_end_into_the_same_audit(program, sandbox, stopped):
    before, sent = stopped.read_bytes(), sandbox.requests()
    ended = program("resume", stopped, "--json").expect(0)
    assert stopped.read_bytes().startswith(before)
    assert len(sandbox.deletions(sent)) == 7
    assert sandbox.left() == []
    records, _, _ = check_evidence(stopped, sandbox)
    assert [r["mode"] for r in of_type(records, "run")] == ["run", "resume"]
    assert ended.record["batches"] == {"planned": 10, "deleted": 10, "failed": 0, "unknown": 0, "not_sent": 0}
    assert ended.record["requests"] == 7
    assert ended.record["count"] == 1000
    program("verify", stopped).expect(0)


def test_resume_needs_neither_job_nor_lists(program, sandbox, stopped):
    (program.folder / "job.json").unlink()
    program("resume", stopped).expect(0)
    assert sandbox.left() == []


def test_resume_of_a_finished_run_writes_nothing_and_connects_to_nothing(program, sandbox, stopped):
    program("resume", stopped).expect(0)
    before, sent = stopped.read_bytes(), sandbox.requests()
    ended = program("resume", stopped, "--json").expect(0)
    assert ended.record["status"] == "complete"
    assert stopped.read_bytes() == before
    assert sandbox.requests() == sent


@pytest.mark.parametrize("torn", [0, 50], ids=["no summary", "a torn one"])
def test_a_session_killed_after_its_last_batch_gets_its_summary_and_nothing_is_sent(
    program, sandbox, stopped, torn
):
    program("resume", stopped).expect(0)
    sent = sandbox.requests()
    *lines, last = stopped.read_bytes().splitlines(keepends=True)
    stopped.write_bytes(b"".join(lines) + last[:torn])
    program("verify", stopped).expect(3)
    shown = program("resume", stopped, "--json").expect(0).record
    assert sandbox.requests() == sent
    assert stopped.read_bytes().splitlines(keepends=True)[:-1] == lines
    records = read_audit(stopped)
    assert summary_in(shown) == records[-1]
    told = json.loads(last)
    same = ("status", "exit_code", "batches", "phones", "count", "uncertain_batches", "empty_batches")
    assert {name: shown[name] for name in same} == {name: told[name] for name in same}
    assert "resume added this summary" in shown["why"]
    assert [shown[name] for name in ("requests", "retries", "duration_s", "rate_achieved")] == [0] * 4
    program("verify", stopped).expect(0)
    (report,) = program("report", stopped, "--json").expect(0).record["items"]
    assert report["sessions"][-1]["requests"] is None
    after = stopped.read_bytes()
    program("resume", stopped).expect(0)
    assert stopped.read_bytes() == after


def test_where_that_summary_cannot_be_added_it_is_said_and_the_code_is_the_runs(program, stopped):
    program("resume", stopped).expect(0)
    stopped.write_bytes(b"".join(stopped.read_bytes().splitlines(keepends=True)[:-1]))
    before = stopped.read_bytes()
    ended = program.shell("ulimit -f 1; $RUN resume a.jsonl").expect(0)
    assert "none could be added" in ended.err
    assert stopped.read_bytes() == before


def test_resume_waits_for_the_audits_lock_where_it_is_told_to(program, sandbox):
    sandbox.pool.add_phones(USER, MANY)
    sandbox.script("hang")
    first = program.start(
        "run", program.job({USER: MANY}), "--yes", "--timeout", "3000", "--audit", "a.jsonl"
    )
    first.until(sandbox.deletions, "its first request")
    second = program.start("resume", "a.jsonl", "--yes", "--wait")
    second.until(lambda: "waiting: the audit a.jsonl is held by process" in second.err(), "its waiting")
    first.signal(signal.SIGKILL)
    first.process.wait()
    second.wait().expect(0)
    check_evidence(program.folder / "a.jsonl", sandbox)


def test_resume_of_a_finished_run_with_failures_is_1(program, sandbox):
    sandbox.script("error", error_code=7431)
    program("run", program.job({USER: numbers(3)}), "--yes", "--audit", "a.jsonl").expect(1)
    before = (program.folder / "a.jsonl").read_bytes()
    program("resume", "a.jsonl").expect(1)
    assert (program.folder / "a.jsonl").read_bytes() == before


def test_another_origin_is_refused_and_gets_nothing(program, sandbox, stopped):
    with Sandbox() as other:
        ended = refused(program, sandbox, stopped, "--base-url", other.url)
        assert f"is of the origin {sandbox.url}, and the base URL is {other.url}" in ended.err
        assert f"--base-url {sandbox.url}" in ended.err
        assert other.requests() == 0


def test_another_path_of_the_origin_is_said_aloud_and_recorded(program, sandbox, stopped):
    ended = program("resume", stopped, "--base-url", f"{sandbox.url}/other").expect(1)
    assert f"from now on requests go to {sandbox.url}/other" in ended.err
    runs = of_type(read_audit(stopped), "run")
    assert [run["base_url"] for run in runs] == [sandbox.url, f"{sandbox.url}/other"]
    ended = program("rerun", stopped, "--yes").expect(0)
    assert f"is of {sandbox.url}/other; from now on requests go to {sandbox.url}" in ended.err
    assert sandbox.left() == []


def test_a_missing_plan_is_refused(program, sandbox, stopped):
    stopped.with_name("a.jsonl.plan").unlink()
    ended = refused(program, sandbox, stopped)
    assert "put it back there: what is left to be deleted stands in it alone" in ended.err


def test_an_altered_plan_is_refused(program, sandbox, stopped):
    plan = stopped.with_name("a.jsonl.plan")
    plan.write_bytes(plan.read_bytes().replace(b"13900000999", b"13012121212"))
    refused(program, sandbox, stopped)


def test_another_plan_of_the_same_shape_is_refused(program, sandbox, stopped):
    program("plan", program.job({USER: numbers(1000, 5000)}), "--out", "other.plan").expect(0)
    shutil.copyfile(program.folder / "other.plan", stopped.with_name("a.jsonl.plan"))
    refused(program, sandbox, stopped)


@pytest.mark.parametrize("what", ["changed", "dropped", "swapped", "empty", "no audit", "not there"])
def test_altered_evidence_is_refused(program, sandbox, stopped, what):
    lines = stopped.read_bytes().splitlines(keepends=True)
    if what == "changed":
        stopped.write_bytes(b"".join(lines).replace(b'"count":100', b'"count":900', 1))
    elif what == "dropped":
        stopped.write_bytes(b"".join(lines[:3] + lines[4:]))
    elif what == "swapped":
        stopped.write_bytes(b"".join([*lines[:2], lines[3], lines[2], *lines[4:]]))
    elif what == "empty":
        stopped.write_bytes(b"")
    elif what == "no audit":
        stopped.write_bytes(b'{"name": "a job"}\n')
    else:
        stopped.unlink()
    refused(program, sandbox, stopped)


def test_a_torn_last_line_is_repaired_and_said(program, sandbox, stopped):
    stopped.write_bytes(stopped.read_bytes() + b'{"type":"batch","at":"2026-')
    program("verify", stopped).expect(3)
    ended = program("resume", stopped).expect(0)
    assert "torn" in ended.err or "repair" in ended.err or "cut" in ended.err
    check_evidence(stopped, sandbox)
    program("verify", stopped).expect(0)


def test_resume_keeps_the_audits_limits_unless_they_are_given_anew(program, sandbox):
    sandbox.pool.add_phones(USER, MANY)
    sandbox.control(token_expires_after=3)
    args = ("--yes", "--rate", "50/s", "--concurrency", "3", "--timeout", "9", "--audit", "a.jsonl")
    program("run", program.job({USER: MANY}), *args).expect(3)
    sandbox.control(token_expires_after=5)
    program("resume", "a.jsonl").expect(3)
    sandbox.control(token_expires_after=None)
    program("resume", "a.jsonl", "--rate", "unlimited").expect(0)
    limits = [r["limits"] for r in of_type(read_audit(program.folder / "a.jsonl"), "run")]
    assert [limit["rate"] for limit in limits] == ["50/s", "50/s", "unlimited"]
    assert {(limit["concurrency"], limit["timeout"]) for limit in limits} == {(3, 9.0)}


def test_a_number_protected_since_is_not_sent(program, sandbox):
    sandbox.pool.add_phones(USER, MANY)
    never = program.write("never.txt", "13012121212\n")
    sandbox.control(token_expires_after=3)
    job = program.job({USER: MANY}, safety={"protect_file": "never.txt"})
    program("run", job, "--yes", "--rate", "unlimited", "--concurrency", "1", "--audit", "a.jsonl").expect(3)
    sandbox.control(token_expires_after=None)
    still = sandbox.left()
    never.write_text(f"{still[0]}\n{still[150]}\n")
    program("resume", "a.jsonl").expect(1)
    assert sandbox.left() == [still[0], still[150]]
    records, _, _ = check_evidence(program.folder / "a.jsonl", sandbox)
    kept = {p: b["error"] for b in of_type(records, "batch") for p in b["phone"]}
    assert kept == {still[0]: "protected", still[150]: "protected"}
    assert records[-1]["phones"]["not_sent"] == 2
    assert records[-1]["batches"]["not_sent"] == 2


def test_a_protect_file_that_is_gone_is_refused(program, sandbox):
    sandbox.pool.add_phones(USER, MANY)
    never = program.write("never.txt", "13012121212\n")
    sandbox.control(token_expires_after=3)
    job = program.job({USER: MANY}, safety={"protect_file": "never.txt"})
    program("run", job, "--yes", "--rate", "unlimited", "--audit", "a.jsonl").expect(3)
    sandbox.control(token_expires_after=None)
    never.unlink()
    assert "never.txt" in refused(program, sandbox, program.folder / "a.jsonl").err


def test_windows_still_open_are_counted_again_before_they_go(program, sandbox):
    sandbox.pool.add_phones(USER, numbers(4), "2024-07-26 12:00:00")
    window = {
        "delete_window": True,
        "created_at": ["2024-07-26 00:00:00", "2024-07-27 00:00:00"],
        "max_rows": 5,
    }
    sandbox.script(*["hang"] * 9)
    job = program.job({USER: window})
    started = program.start("run", job, "--yes", "--timeout", "60", "--audit", "a.jsonl")
    started.until(sandbox.deletions, "a deletion")
    started.signal(signal.SIGKILL)
    started.wait()
    sandbox.script()
    sandbox.pool.add_phones(USER, numbers(3, 10), "2024-07-26 13:00:00")
    refused_by_rule = program("resume", "a.jsonl", "--yes").expect(2)
    assert "max_rows" in refused_by_rule.err
    assert len(sandbox.left()) == 7
    sandbox.pool.delete(USER, numbers(2), None)
    program("resume", "a.jsonl", "--yes").expect(0)
    assert sandbox.left() == []
    check_evidence(program.folder / "a.jsonl", sandbox)


# Signals


def start_slow(program, sandbox, *args):
    """A run under way, one request after the other, with most of it still to come."""
    sandbox.pool.add_phones(USER, MANY)
    job = program.job({USER: MANY})
    started = program.start(
        "run", job, "--yes", "--json", "--rate", "4/s", "--concurrency", "2", "--audit", "a.jsonl", *args
    )
    started.until(lambda: len(sandbox.deletions()) >= 2, "two requests")
    return started


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_first_signal_drains_leaves_the_rest_open_and_resume_goes_on(program, sandbox, number):
    started = start_slow(program, sandbox)
    started.signal(number)
    ended = started.wait().expect(SIGNALS[number])
    records, _, _ = check_evidence(program.folder / "a.jsonl", sandbox, finished=False)
    assert summary_in(ended.record) == records[-1]
    assert (ended.record["status"], ended.record["exit_code"]) == ("stopped", SIGNALS[number])
    assert ended.record["uncertain_batches"] == 0
    assert len(of_type(records, "batch")) == len(sandbox.deletions())
    program("verify", "a.jsonl").expect(0)
    program("resume", "a.jsonl", "--rate", "unlimited").expect(0)
    check_evidence(program.folder / "a.jsonl", sandbox)
    assert sandbox.left() == []
    assert len(sandbox.deletions()) == 10, "something was sent twice"


def test_hanging_up_loses_nothing(program, sandbox):
    started = start_slow(program, sandbox)
    started.signal(signal.SIGHUP)
    ended = started.wait()
    assert "Traceback" not in ended.err
    program("verify", "a.jsonl").expect(0)
    program("resume", "a.jsonl", "--rate", "unlimited").expect(0)
    check_evidence(program.folder / "a.jsonl", sandbox)
    assert len(sandbox.deletions()) == 10


def test_a_drain_is_bounded_by_the_timeout_of_an_attempt(program, sandbox):
    sandbox.pool.add_phones(USER, MANY)
    sandbox.script(None, *["hang"] * 50)
    job = program.job({USER: MANY})
    started = program.start(
        "run", job, "--yes", "--timeout", "1", "--rate", "unlimited", "--audit", "a.jsonl"
    )
    started.until(lambda: len(sandbox.deletions()) >= 2, "a request that hangs")
    started.signal(signal.SIGTERM)
    started.wait().expect(143)
    records, _, _ = check_evidence(program.folder / "a.jsonl", sandbox, finished=False)
    opened = of_type(records, "open")
    assert sum(record["uncertain_attempts"] for record in opened) == len(sandbox.deletions()) - 1
    assert all(record["attempts"] >= record["uncertain_attempts"] for record in opened)


def test_a_second_signal_leaves_at_once_and_what_is_in_flight_is_uncertain(program, sandbox):
    sandbox.pool.add_phones(USER, MANY)
    sandbox.script(None, *["hang-after"] * 50)
    job = program.job({USER: MANY})
    started = program.start(
        "run",
        job,
        "--yes",
        "--timeout",
        "3000",
        "--rate",
        "unlimited",
        "--concurrency",
        "2",
        "--audit",
        "a.jsonl",
    )
    started.until(lambda: sandbox.worked() >= 3, "two requests that hang")
    started.signal(signal.SIGINT)
    started.signal(signal.SIGTERM)
    assert started.wait().code in (130, 143)
    records, _, _ = check_evidence(program.folder / "a.jsonl", sandbox, finished=False)
    assert of_type(records, "open") == [] or all(
        r["uncertain_attempts"] == 0 for r in of_type(records, "open")
    )
    assert records[-1]["type"] == "summary"
    assert records[-1]["batches"]["unknown"] == 2
    sandbox.script()
    program("resume", "a.jsonl").expect(0)
    records, _, _ = check_evidence(program.folder / "a.jsonl", sandbox)
    uncertain = [b["uncertain_attempts"] for b in of_type(records, "batch") if b["uncertain_attempts"]]
    assert uncertain == [1, 1]


def test_a_signal_while_everybody_pauses_ends_the_run_at_once(program, sandbox):
    sandbox.pool.add_phones(USER, MANY)
    sandbox.script("429-seconds", retry_after_s=500)
    job = program.job({USER: MANY})
    started = program.start("run", job, "--yes", "--audit", "a.jsonl")
    audit = program.folder / "a.jsonl"
    started.until(lambda: audit.exists() and '"pace"' in audit.read_text(), "a pause")
    started.signal(signal.SIGTERM)
    started.wait().expect(143)
    assert len(sandbox.deletions()) == 1
    program("verify", "a.jsonl").expect(0)


def test_after_sigkill_what_was_in_flight_counts_as_one_uncertain_attempt(program, sandbox):
    sandbox.pool.add_phones(USER, MANY)
    sandbox.script(None, "hang-after")
    job = program.job({USER: MANY})
    started = program.start(
        "run",
        job,
        "--yes",
        "--rate",
        "unlimited",
        "--timeout",
        "3000",
        "--concurrency",
        "1",
        "--audit",
        "a.jsonl",
    )
    started.until(lambda: sandbox.worked() >= 2, "a request that hangs")
    started.signal(signal.SIGKILL)
    started.wait()
    sandbox.script()
    program("verify", "a.jsonl").expect(3)
    ended = program("resume", "a.jsonl", "--json").expect(0)
    records, plan, requests = check_evidence(program.folder / "a.jsonl", sandbox)
    (hung,) = [seq for seq, count in requests.items() if count == 2]
    end = {b["seq"]: b for b in of_type(records, "batch")}[hung]
    assert (end["status"], end["count"], end["attempts"], end["uncertain_attempts"]) == ("deleted", 0, 2, 1)
    assert ended.record["count"] == 900
    assert ended.record["uncertain_batches"] >= 1
    assert json.dumps(plan.header)
