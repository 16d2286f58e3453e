"""`rerun`: a new run, with a new plan and audit, of what an earlier one could not confirm."""

import pytest

from tests.support.evidence import of_type, read_audit, read_lines
from tests.support.program import OTHER, USER, Sandbox, numbers, seeded

THIRD = "8c1b7a52-66f5-4f0e-9d57-3b1f6c2f8f10"
PHONES = numbers(300)
UNKNOWN, FAILED, SKIPPED = numbers(100), numbers(100, 1000), numbers(200, 2000)


@pytest.fixture
def mixed(program, sandbox):
    """An audit with one batch of each kind of end: deleted, failed, not_sent and unknown."""
    sandbox.pool.add_phones(USER, PHONES[:200])
    sandbox.pool.add_phones(OTHER, SKIPPED)
    sandbox.control(forbidden_users=[OTHER])
    sandbox.script(None, "error", error_code=7431)
    job = program.job({USER: PHONES[:200], OTHER: SKIPPED})
    program("run", job, "--yes", "--rate", "unlimited", "--concurrency", "1", "--audit", "a.jsonl").expect(1)
    sandbox.control(forbidden_users=[])
    statuses = [b["status"] for b in of_type(read_audit(program.folder / "a.jsonl"), "batch")]
    assert sorted(statuses) == ["deleted", "failed", "not_sent", "unknown"]
    return program.folder / "a.jsonl"


def phones_of(plan):
    return sorted((batch["user_id"], phone) for batch in read_lines(plan)[1:] for phone in batch["phone"])


def left_of(audit, *statuses):
    batches = of_type(read_audit(audit), "batch")
    return sorted((b["user_id"], phone) for b in batches if b["status"] in statuses for phone in b["phone"])


def test_rerun_takes_all_that_was_not_confirmed_into_a_new_plan_and_audit(program, sandbox, mixed):
    before, sent = mixed.read_bytes(), sandbox.requests()
    ended = program("rerun", mixed, "--yes", "--json", "--audit", "b.jsonl").expect(0)
    assert mixed.read_bytes() == before
    records = read_audit(program.folder / "b.jsonl")
    assert records[0]["mode"] == "rerun"
    assert phones_of(program.folder / "b.jsonl.plan") == left_of(mixed, "failed", "unknown", "not_sent")
    assert ended.record["batches"]["planned"] == 3
    assert len(sandbox.deletions(sent)) == 3
    assert sandbox.left(USER) == sandbox.left(OTHER) == []


@pytest.mark.parametrize("only", ["failed", "unknown", "not_sent"])
def test_only_takes_what_ended_so_and_nothing_else(program, mixed, only):
    program("rerun", mixed, "--yes", "--only", only, "--audit", "b.jsonl").expect(0)
    assert phones_of(program.folder / "b.jsonl.plan") == left_of(mixed, only)


def test_only_may_be_repeated(program, mixed):
    program("rerun", mixed, "--yes", "--only", "failed", "--only", "unknown", "--audit", "b.jsonl").expect(0)
    assert phones_of(program.folder / "b.jsonl.plan") == left_of(mixed, "failed", "unknown")


def test_rerun_of_an_isolated_batch_takes_the_bad_numbers_alone(aim):
    bad = {PHONES[5], PHONES[50]}
    with seeded({USER: PHONES}, refused_phones=frozenset(bad)) as sandbox:
        program = aim(sandbox.url)
        args = ("--yes", "--rate", "unlimited", "--audit-phones", "all")
        program("run", program.job({USER: PHONES}), *args, "--audit", "a.jsonl").expect(1)
        sandbox.control(refused_phones=[])
        program("rerun", "a.jsonl", "--yes", "--audit", "b.jsonl").expect(0)
        assert {phone for _, phone in phones_of(program.folder / "b.jsonl.plan")} == bad
        assert sandbox.left() == []


def test_windows_are_rerun_after_the_listing_was_asked_again(program, sandbox):
    sandbox.pool.add_phones(USER, PHONES[:4], "2024-07-26 12:00:00")
    edges = ["2024-07-26 00:00:00", "2024-07-27 00:00:00"]
    sandbox.script("error", error_code=7431)
    job = program.job({USER: {"delete_window": True, "created_at": edges, "max_rows": 4}})
    program("run", job, "--yes", "--audit", "a.jsonl").expect(1)
    sandbox.pool.add(USER, PHONES[9], "2024-07-26 13:00:00")
    assert "max_rows" in program("rerun", "a.jsonl", "--yes").expect(2).err
    assert len(sandbox.left()) == 5
    sandbox.pool.delete(USER, PHONES[:1], None)
    program("rerun", "a.jsonl", "--yes", "--audit", "b.jsonl").expect(0)
    assert sandbox.left() == []
    (end,) = of_type(read_audit(program.folder / "b.jsonl"), "batch")
    assert (end["delete_window"], end["created_at"]) == (True, edges)


def test_several_audits_are_one_rerun(program, sandbox):
    sandbox.pool.add_phones(USER, PHONES)
    for name, part in (("a", PHONES[:100]), ("b", PHONES[100:])):
        sandbox.script(*["error"] * 2, error_code=7431)
        job = program.job({USER: part}, name=name)
        program("run", job, "--yes", "--concurrency", "1", "--audit", f"{name}.jsonl").expect(1)
    sandbox.script()
    program("rerun", "a.jsonl", "b.jsonl", "--yes", "--audit", "c.jsonl").expect(0)
    assert len(phones_of(program.folder / "c.jsonl.plan")) == 300
    assert sandbox.left() == []


def test_an_audit_with_open_batches_is_refused_and_resume_is_named(program, sandbox):
    sandbox.pool.add_phones(USER, PHONES)
    sandbox.control(token_expires_after=1)
    program("run", program.job({USER: PHONES}), "--yes", "--audit", "a.jsonl").expect(3)
    sandbox.control(token_expires_after=None)
    sent = sandbox.requests()
    ended = program("rerun", "a.jsonl", "--yes").expect(2)
    assert "resume" in ended.err
    assert sandbox.requests() == sent


def test_nothing_to_rerun_is_0_and_sends_nothing(program, sandbox):
    program("run", program.job({USER: PHONES}), "--yes", "--audit", "a.jsonl").expect(0)
    sent = sandbox.requests()
    program("rerun", "a.jsonl", "--yes", "--audit", "b.jsonl").expect(0)
    assert sandbox.requests() == sent


def test_another_origin_is_refused(program, mixed):
    with Sandbox() as other:
        assert "origin" in program("rerun", mixed, "--yes", "--base-url", other.url).expect(2).err
        assert other.requests() == 0


def test_an_altered_audit_is_refused(program, sandbox, mixed):
    mixed.write_bytes(mixed.read_bytes().replace(b'"status":"deleted"', b'"status":"unknown"', 1))
    sent = sandbox.requests()
    program("rerun", mixed, "--yes").expect(2)
    assert sandbox.requests() == sent


def test_a_number_protected_since_is_not_rerun(program, sandbox):
    sandbox.pool.add_phones(USER, PHONES[:3])
    never = program.write("never.txt", "13012121212\n")
    sandbox.script("error", error_code=7431)
    job = program.job({USER: PHONES[:3]}, safety={"protect_file": "never.txt"})
    program("run", job, "--yes", "--audit", "a.jsonl").expect(1)
    never.write_text(f"{PHONES[0]}\n")
    ended = program("rerun", "a.jsonl", "--yes", "--json", "--audit", "b.jsonl")
    assert sandbox.left() == [PHONES[0]]
    assert ended.code in (0, 1)
    assert ended.record["phones"]["protected"] + ended.record["phones"]["not_sent"] == 1


def test_a_rerun_can_itself_be_rerun_until_all_is_confirmed(program, sandbox):
    sandbox.pool.add_phones(USER, PHONES[:3])
    sandbox.script("error", "error", error_code=7431)
    program("run", program.job({USER: PHONES[:3]}), "--yes", "--audit", "a.jsonl").expect(1)
    program("rerun", "a.jsonl", "--yes", "--audit", "b.jsonl").expect(1)
    program("rerun", "b.jsonl", "--yes", "--audit", "c.jsonl").expect(0)
    last = read_audit(program.folder / "c.jsonl")[-1]
    assert last["count"] == 3


def test_rerun_keeps_the_safety_of_the_audit(program, sandbox):
    sandbox.pool.add_phones(USER, PHONES[:3])
    sandbox.script("error", error_code=7431)
    job = program.job(
        {USER: PHONES[:3]}, safety={"max_phones": 3, "max_rows_per_phone": 7}, limits={"rate": "31/s"}
    )
    program("run", job, "--yes", "--audit", "a.jsonl").expect(1)
    program("rerun", "a.jsonl", "--yes", "--audit", "b.jsonl").expect(0)
    first, again = (read_audit(program.folder / name)[0] for name in ("a.jsonl", "b.jsonl"))
    assert first["safety"] == again["safety"]
    assert first["limits"] == again["limits"]


def test_no_terminal_and_no_yes_is_2(program, sandbox, mixed):
    sent = sandbox.requests()
    program("rerun", mixed).expect(2)
    assert sandbox.requests() == sent


def test_the_new_audit_and_the_default_name(program, mixed):
    program("rerun", mixed, "--yes").expect(0)
    (audit,) = program.audits()
    check = read_audit(audit)
    assert check[0]["mode"] == "rerun"
    assert audit.with_name(audit.name + ".plan").exists()


def test_the_evidence_of_a_rerun_holds(program, sandbox):
    sandbox.pool.add_phones(USER, PHONES)
    sandbox.control(outage="503")
    program(
        "run", program.job({USER: PHONES[:100]}), "--yes", "--max-attempts", "2", "--audit", "a.jsonl"
    ).expect(1)
    sandbox.control(outage=None)
    ended = program("rerun", "a.jsonl", "--yes", "--audit", "b.jsonl").expect(0)
    assert sandbox.left() == PHONES[100:]
    assert ended.out
    # The requests of the first run came to nothing, so that the second's evidence stands alone.
    records, plan = read_audit(program.folder / "b.jsonl"), read_lines(program.folder / "b.jsonl.plan")
    assert records[-1]["count"] == sandbox.stats()["deleted_rows"] == 100
    assert len(plan) == 2
