"""Exit 3: what stops a run early, with little or nothing following; then `resume`, asking where it must."""

from datetime import datetime

import pytest

from tests.support.evidence import check_evidence, of_type, read_audit, summary_in
from tests.support.program import OTHER, TOKEN, USER, Sandbox, numbers, seeded

MANY = numbers(600)
FAST = ("--yes", "--json", "--rate", "unlimited", "--audit", "a.jsonl")


def stopped(ended, program):
    """Stopped early: 3, the summary says so, and the audit is whole."""
    ended.expect(3)
    records = read_audit(program.folder / "a.jsonl")
    assert records[-1] == summary_in(ended.record)
    assert ended.record["status"] == "stopped"
    assert ended.record["exit_code"] == 3
    assert ended.record["why"]
    program("verify", "a.jsonl").expect(0)
    return records


def finish(program, sandbox, *args):
    """Resume to the end: everything is gone and the evidence agrees."""
    program("resume", "a.jsonl", *args).expect(0)
    assert sandbox.left() == []
    return check_evidence(program.folder / "a.jsonl", sandbox)


@pytest.fixture
def full(sandbox):
    sandbox.pool.add_phones(USER, MANY)
    return sandbox


def test_a_refused_token_stops_the_run_and_its_batch_stays_open(program, full):
    full.control(token_expires_after=2, latency_s=0.01)
    ended = program("run", program.job({USER: MANY}), *FAST, "--concurrency", "2")
    records = stopped(ended, program)
    assert "token" in ended.record["why"].lower() or "auth" in ended.record["why"]
    assert len([e for e in full.deletions() if e["status"] == 401]) <= 2
    assert len(of_type(records, "batch")) == 2
    assert of_type(records, "open")
    assert ended.record["batches"]["not_sent"] == 4
    full.control(token_expires_after=None)
    finish(program, full)


def test_a_wrong_token_deletes_nothing(program, full):
    ended = program("run", program.job({USER: MANY}), *FAST, env={"BULK_DELETE_TOKEN": "wrong"})
    stopped(ended, program)
    assert len(full.deletions()) == 1
    assert len(full.left()) == len(MANY)
    finish(program, full)


def test_a_redirect_stops_the_run_and_is_not_followed(program, full):
    full.control(redirect_after=2, latency_s=0.01)
    ended = program("run", program.job({USER: MANY}), *FAST, "--concurrency", "2")
    stopped(ended, program)
    assert "redirect" in ended.record["why"]
    assert [e for e in full.ledger() if e["call"] == "other"] == []
    assert len([e for e in full.deletions() if e["status"] == 302]) <= 2
    full.control(redirect_after=None)
    finish(program, full)


def test_more_rows_a_number_than_allowed_stop_the_run_at_once_and_resume_needs_yes(aim):
    with seeded({USER: MANY}, rows=3) as sandbox:
        program = aim(sandbox.url)
        ended = program("run", program.job({USER: MANY}, safety={"max_rows_per_phone": 2}), *FAST)
        stopped(ended, program)
        assert "max_rows_per_phone" in ended.record["why"]
        assert len(sandbox.deletions()) == 1
        assert ended.record["batches"]["deleted"] == 1
        assert "--yes" in program("resume", "a.jsonl").expect(2).err
        assert len(sandbox.deletions()) == 1
        program("resume", "a.jsonl", "--yes").expect(3)
        assert len(sandbox.deletions()) == 2


def test_exactly_the_allowed_rows_a_number_are_fine(aim):
    with seeded({USER: MANY}, rows=2) as sandbox:
        program = aim(sandbox.url)
        program("run", program.job({USER: MANY}, safety={"max_rows_per_phone": 2}), *FAST).expect(0)


def test_twenty_empty_batches_stop_the_run_where_asked_for_and_resume_needs_yes(program, sandbox):
    job = program.job({USER: numbers(2500)}, safety={"stop_when_empty": True})
    ended = program("run", job, *FAST, "--concurrency", "1")
    stopped(ended, program)
    assert "stop_when_empty" in ended.record["why"]
    assert len(sandbox.deletions()) == 20
    assert ended.record["empty_batches"] == 20
    program("resume", "a.jsonl").expect(2)
    assert len(sandbox.deletions()) == 20
    program("resume", "a.jsonl", "--yes").expect(0)
    check_evidence(program.folder / "a.jsonl", sandbox)


def test_empty_batches_only_warn_where_nothing_else_was_asked_for(program):
    ended = program("run", program.job({USER: numbers(2500)}), *FAST).expect(0)
    assert "warn" in ended.err.lower() or "nothing" in ended.err


def test_one_row_among_the_first_twenty_batches_is_no_empty_account(program, sandbox):
    phones = numbers(2500)
    sandbox.pool.add_phones(USER, phones[500:501])
    job = program.job({USER: phones}, safety={"stop_when_empty": True})
    program("run", job, *FAST, "--concurrency", "1").expect(0)


def test_a_deadline_stops_the_run_and_each_session_has_its_own(program, full):
    job = program.job({USER: MANY})
    ended = program("run", job, "--yes", "--json", "--audit", "a.jsonl", "--rate", "60/m", "--deadline", "1s")
    records = stopped(ended, program)
    assert "deadline" in ended.record["why"]
    assert len(of_type(records, "batch")) < 6
    finish(program, full, "--rate", "unlimited", "--deadline", "1h")


def test_a_pause_beyond_the_deadline_stops_the_run_and_holds_for_resume_too(program, full):
    full.script("429-seconds", retry_after_s=500)
    ended = program("run", program.job({USER: MANY}), *FAST, "--deadline", "30s")
    stopped(ended, program)
    assert len(full.deletions()) == 1
    full.script()
    again = program("resume", "a.jsonl", "--yes", "--json").expect(3)
    assert "the server asked for a pause" in again.record["why"]
    assert len(full.deletions()) == 1


def test_too_many_failures_open_the_breaker(aim):
    """Every second batch is refused for good: after 20 ended the run does not go on like that."""
    users = {f"user-{n:03d}": numbers(2, 10 * n) for n in range(24)}
    closed = frozenset(f"user-{n:03d}" for n in range(1, 24, 2))
    with seeded(users, forbidden_users=closed) as sandbox:
        program = aim(sandbox.url)
        ended = program("run", program.job(users, safety={"max_failed": "10%"}), *FAST, "--concurrency", "1")
        records = read_audit(program.folder / "a.jsonl")
        assert of_type(records, "pace"), "no breaker"
        assert ended.code in (1, 3)
        assert sandbox.stats()["by_call"]["del_customer"] >= 20
        check_evidence(program.folder / "a.jsonl", sandbox, finished=ended.code == 1)


def test_an_outage_is_probed_with_growing_pauses_until_one_reaches_beyond_the_deadline(program, sandbox):
    many = numbers(5000)
    sandbox.pool.add_phones(USER, many)
    sandbox.control(outage="503")
    ended = program("run", program.job({USER: many}), *FAST, "--max-attempts", "1", "--deadline", "7s")
    stopped(ended, program)
    assert len(sandbox.deletions()) <= 20
    assert sandbox.stats()["deleted_rows"] == 0
    paces = of_type(read_audit(program.folder / "a.jsonl"), "pace")
    at = datetime.fromisoformat
    lasting = [round((at(record["until"]) - at(record["at"])).total_seconds()) for record in paces]
    assert lasting == [1, 2, 4][: len(lasting) or 1]
    sandbox.control(outage=None)
    assert program("resume", "a.jsonl", "--json").code == 1, "what ended unknown before stays so"
    check_evidence(program.folder / "a.jsonl", sandbox)


def test_an_outage_that_passes_is_survived(program, full):
    full.script(None, *["503"] * 10)
    ended = program("run", program.job({USER: MANY}), *FAST, "--max-attempts", "20")
    assert ended.code == 0, ended.err
    check_evidence(program.folder / "a.jsonl", full)


def test_an_audit_that_can_not_be_written_stops_the_run(program, sandbox):
    """The file size limit of the process strikes in the middle of the run."""
    users = {f"user-{n}": numbers(1, n) for n in range(80)}
    for user, phones in users.items():
        sandbox.pool.add_phones(user, phones)
    program.job(users)
    ended = program.shell(
        "ulimit -f 20; $RUN run job.json --yes --rate unlimited --audit a.jsonl --concurrency 1"
    )
    assert ended.code == 3, ended.err
    assert "Traceback" not in ended.err
    sandbox.settle()
    assert 0 < len(sandbox.deletions()) < 80
    assert program("verify", "a.jsonl").code in (0, 3)
    program("resume", "a.jsonl", "--rate", "unlimited").expect(0)
    assert sandbox.stats()["rows_left"] == 0
    check_evidence(program.folder / "a.jsonl", sandbox)


def test_check_is_0_with_a_good_token_and_3_with_a_bad_one_and_deletes_nothing(program, sandbox):
    ended = program("check").expect(0)
    assert ended.out
    bad = program("check", env={"BULK_DELETE_TOKEN": "wrong"}).expect(3)
    assert "wrong" not in bad.out + bad.err
    assert {e["call"] for e in sandbox.ledger()} <= {"token", "get_customer"}
    assert isinstance(program("check", "--json").expect(0).record, dict)


def test_check_is_3_where_nobody_listens_or_it_is_not_the_api(program, sandbox):
    program("check", "--base-url", "http://127.0.0.1:1").expect(3)
    sandbox.control(outage="503")
    program("check").expect(3)
    sandbox.control(outage=None, redirect_after=0)
    program("check").expect(3)


def test_check_without_a_token_is_2(program, sandbox):
    program("check", env={"BULK_DELETE_TOKEN": None}).expect(2)
    assert sandbox.requests() == 0


def test_nobody_listening_sends_nothing_and_nothing_is_uncertain(program):
    ended = program(
        "run",
        program.job({USER: numbers(3)}),
        *FAST,
        "--base-url",
        "http://127.0.0.1:1",
        "--max-attempts",
        "2",
    )
    assert ended.code in (1, 3)
    assert ended.record["requests"] == 0
    assert ended.record["uncertain_batches"] == 0
    assert ended.record["count"] == 0


def test_a_sandbox_with_another_users_rows_keeps_them(aim):
    with Sandbox(token=TOKEN) as sandbox:
        sandbox.pool.add_phones(OTHER, MANY)
        program = aim(sandbox.url)
        program("run", program.job({USER: MANY}), *FAST).expect(0)
        assert len(sandbox.left(OTHER)) == len(MANY)
