"""One run at a time per origin and user of the machine: exit 4 names who holds it, `--wait` waits."""

import signal

import pytest

from tests.support.evidence import check_evidence
from tests.support.program import OTHER, USER, Sandbox, numbers

PHONES = numbers(3)
MANY = numbers(300)


@pytest.fixture
def holder(program, sandbox):
    """A run that holds the origin: its request hangs."""
    sandbox.pool.add_phones(USER, MANY)
    sandbox.script(*["hang"] * 3)
    job = program.job({USER: MANY}, name="first")
    started = program.start("run", job, "--yes", "--timeout", "3000", "--audit", "first.jsonl")
    started.until(sandbox.deletions, "its first request")
    return started


def test_a_second_run_of_the_origin_is_4_names_the_pid_and_sends_nothing(program, sandbox, holder):
    job = program.job({OTHER: PHONES}, name="second")
    ended = program("run", job, "--yes", "--audit", "second.jsonl").expect(4)
    assert str(holder.pid) in ended.err
    assert ended.out == ""
    assert len(sandbox.deletions()) == 1
    assert not (program.folder / "second.jsonl").exists()
    assert holder.running()


def test_resume_of_an_audit_that_is_being_written_is_4(program, sandbox, holder):
    before = (program.folder / "first.jsonl").read_bytes()
    program("resume", "first.jsonl", "--yes").expect(4)
    assert (program.folder / "first.jsonl").read_bytes() == before
    assert len(sandbox.deletions()) == 1


def test_resume_with_wait_waits_for_the_audit_itself(program, sandbox, holder):
    waiting = program.start("resume", "first.jsonl", "--wait", "--rate", "unlimited")
    waiting.until(lambda: str(holder.pid) in waiting.err(), "that it waits, and for whom")
    sandbox.script()
    holder.signal(signal.SIGKILL)
    holder.wait()
    waiting.wait().expect(0)
    assert sandbox.left() == []


def test_an_audit_that_is_being_written_is_4_also_from_another_state_folder(program, sandbox, holder):
    env = {"XDG_STATE_HOME": str(program.folder / "elsewhere")}
    program("resume", "first.jsonl", "--yes", env=env).expect(4)
    assert len(sandbox.deletions()) == 1


def test_another_origin_is_free(program, holder):
    with Sandbox() as other:
        job = program.job({OTHER: PHONES}, name="second")
        program("run", job, "--yes", "--base-url", other.url).expect(0)


def test_plan_report_and_verify_need_no_lock(program, holder):
    program("plan", program.job({OTHER: PHONES}, name="second")).expect(0)
    program("report", "first.jsonl").expect(0)
    program("verify", "first.jsonl").expect(3)


def test_a_lock_is_freed_by_kill_9(program, sandbox, holder):
    holder.signal(signal.SIGKILL)
    holder.wait()
    sandbox.script()
    program("run", program.job({OTHER: PHONES}, name="second"), "--yes").expect(0)


def test_wait_waits_until_the_origin_is_free(program, sandbox, holder):
    job = program.job({OTHER: PHONES}, name="second")
    waiting = program.start("run", job, "--yes", "--wait", "--audit", "second.jsonl")
    waiting.until(lambda: str(holder.pid) in waiting.err(), "that it waits, and for whom")
    assert len(sandbox.deletions()) == 1
    sandbox.script()
    holder.signal(signal.SIGKILL)
    holder.wait()
    waiting.wait().expect(0)
    assert [e["user_id"] for e in sandbox.deletions()] == [USER, OTHER]


def test_a_plan_that_vanishes_during_the_wait_is_2_and_leaves_no_audit(program, sandbox, holder):
    job = program.job({OTHER: PHONES}, name="second")
    waiting = program.start("run", job, "--yes", "--wait", "--audit", "second.jsonl")
    waiting.until(lambda: str(holder.pid) in waiting.err(), "that it waits")
    (program.folder / "second.jsonl.plan").unlink()
    holder.signal(signal.SIGKILL)
    holder.wait()
    ended = waiting.wait().expect(2)
    assert "second.jsonl.plan: it was changed after it was verified: it is gone" in ended.err
    assert "resume" not in ended.err
    assert len(sandbox.deletions()) == 1
    assert not (program.folder / "second.jsonl").exists()


def test_a_number_that_is_protected_while_a_run_waits_is_not_deleted(program, sandbox, holder):
    program.write("never.txt", "")
    job = program.job({OTHER: PHONES}, name="second", safety={"protect_file": "never.txt"})
    waiting = program.start("run", job, "--yes", "--wait", "--audit", "second.jsonl", "--json")
    waiting.until(lambda: str(holder.pid) in waiting.err(), "that it waits")
    program.write("never.txt", PHONES[0])
    sandbox.script()
    holder.signal(signal.SIGKILL)
    holder.wait()
    ended = waiting.wait().expect(1)
    assert (ended.record["phones"]["deleted"], ended.record["phones"]["not_sent"]) == (2, 1)
    assert [entry["phones"] for entry in sandbox.deletions() if entry["user_id"] == OTHER] == [PHONES[1:]]


def test_a_resume_that_waits_reads_the_protect_file_after_the_wait(program, sandbox):
    sandbox.pool.add_phones(USER, MANY)
    program.write("never.txt", "")
    job = program.job({USER: MANY}, name="first", safety={"protect_file": "never.txt"})
    sandbox.control(token_expires_after=1)
    program("run", job, "--yes", "--rate", "unlimited", "--concurrency", "1", "--audit", "a.jsonl").expect(3)
    sandbox.control(token_expires_after=None)
    sandbox.script("hang")
    other = program.job({OTHER: PHONES}, name="other")
    holder = program.start("run", other, "--yes", "--timeout", "3000")
    holder.until(lambda: sandbox.deletions()[-1]["user_id"] == OTHER, "its request")
    waiting = program.start("resume", "a.jsonl", "--wait")
    waiting.until(lambda: str(holder.pid) in waiting.err(), "that it waits")
    program.write("never.txt", MANY[-1])
    sandbox.script()
    holder.signal(signal.SIGKILL)
    holder.wait()
    waiting.wait().expect(1)
    assert sandbox.left() == [MANY[-1]]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_wait_and_nothing_was_sent(program, sandbox, holder, number, code):
    job = program.job({OTHER: PHONES}, name="second")
    waiting = program.start("run", job, "--yes", "--wait", "--audit", "second.jsonl")
    waiting.until(lambda: str(holder.pid) in waiting.err(), "that it waits")
    waiting.signal(number)
    waiting.wait().expect(code)
    assert len(sandbox.deletions()) == 1


def test_the_lock_lies_in_the_state_folder_else_under_home(program, holder):
    assert list((program.state / "bulk-delete").iterdir())
    env = {"XDG_STATE_HOME": None}
    with Sandbox() as other:
        job = program.job({OTHER: PHONES}, name="second")
        program("run", job, "--yes", "--base-url", other.url, env=env).expect(0)
    home = program.folder.parent / "home" / ".local" / "state" / "bulk-delete"
    assert list(home.iterdir())


def test_the_same_origin_written_otherwise_is_the_same_origin(program, sandbox, holder):
    job = program.job({OTHER: PHONES}, name="second")
    program("run", job, "--yes", "--base-url", sandbox.url.upper().replace("HTTP", "http") + "/").expect(4)
    assert len(sandbox.deletions()) == 1


def test_the_run_that_held_the_lock_is_whole_in_the_end(program, sandbox, holder):
    program("run", program.job({OTHER: PHONES}, name="second"), "--yes").expect(4)
    holder.signal(signal.SIGKILL)
    holder.wait()
    sandbox.script()
    program("resume", "first.jsonl", "--rate", "unlimited").expect(0)
    check_evidence(program.folder / "first.jsonl", sandbox)
