"""`run`, by the contract: what it takes, where it writes, what it says where, how it ends."""

import json
import re
import stat

import pytest

from tests.support.evidence import check_equation, check_evidence, of_type, read_audit, read_lines, summary_in
from tests.support.program import OTHER, USER, numbers, seeded
from tests.support.sweep import sweep

PHONES = numbers(3)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_run_that_the_server_confirmed_whole_ends_0_and_deletes_the_job_and_nothing_else(program, sandbox):
    sandbox.pool.add_phones(USER, [*PHONES, "13012121212"])
    sandbox.pool.add_phones(OTHER, PHONES)
    ended = program("run", program.job({USER: PHONES}), "--yes", "--audit", "a.jsonl").expect(0)
    assert sandbox.left(USER) == ["13012121212"]
    assert sandbox.left(OTHER) == PHONES
    assert "complete" in ended.out
    check_evidence(program.folder / "a.jsonl", sandbox)


def test_the_result_goes_to_standard_output_and_everything_else_to_standard_error(program):
    job = program.job({USER: PHONES})
    ended = program("run", job, "--yes", "--audit", "a.jsonl").expect(0)
    assert "values read" in ended.err
    assert "values read    3" not in ended.out
    quiet = program("run", job, "--yes", "--quiet", "--json", "--audit", "b.jsonl").expect(0)
    assert quiet.err == ""


def test_json_is_exactly_one_object_that_repeats_the_summary_record(program):
    ended = program("run", program.job({USER: PHONES}), "--yes", "--json", "--audit", "a.jsonl").expect(0)
    assert summary_in(ended.record) == read_audit(program.folder / "a.jsonl")[-1]
    assert ended.record["type"] == "run"
    assert ended.record["exit_code"] == 0
    assert ended.record["status"] == "complete"
    check_equation(ended.record)


def test_no_bar_and_no_escape_sequence_where_there_is_no_terminal(program):
    ended = program("run", program.job({USER: PHONES}), "--yes", env={"FORCE_COLOR": None}).expect(0)
    assert "\x1b" not in ended.out + ended.err
    assert "\r" not in ended.err


def test_the_audit_stands_by_default_in_audit_named_by_job_and_utc_time_for_the_owner_alone(program):
    program("run", program.job({USER: PHONES}, name="nightly"), "--yes").expect(0)
    (audit,) = program.audits()
    assert re.fullmatch(r"nightly-[0-9]{8}T[0-9]{6}Z\.jsonl", audit.name)
    plan = audit.with_name(audit.name + ".plan")
    assert (mode(audit.parent), mode(audit), mode(plan)) == (0o700, 0o600, 0o600)
    assert read_audit(audit)[0]["job"] == "nightly"


def test_every_record_has_its_fields_in_the_contracts_words(program):
    program("run", program.job({USER: PHONES}), "--yes", "--audit", "a.jsonl").expect(0)
    records = read_audit(program.folder / "a.jsonl")
    assert [r["type"] for r in records] == ["run", "sending", "batch", "summary"]
    assert {
        "v": 1,
        "mode": "run",
        "reason": None,
        "operator": None,
        "planned": {"batches": 1, "phones": 3},
    }.items() <= records[0].items()
    assert {"run_id", "job", "plan_sha256", "version", "base_url", "limits", "safety"} <= records[0].keys()
    batch = records[2]
    assert {
        "user_id": USER,
        "created_at": None,
        "encryption": False,
        "delete_window": False,
        "phones": 3,
        "phones_left": 0,
        "status": "deleted",
        "count": 0,
        "attempts": 1,
        "uncertain_attempts": 0,
        "http_status": 200,
        "code": 200,
        "error": None,
        "phone": [],
    }.items() <= batch.items()
    assert {"phones_sha256", "message", "duration_ms"} <= batch.keys()
    for record in records:
        assert list(record)[-1] == "chain"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(\+00:00|Z)", record["at"])
    summary = records[-1]
    assert {"requests", "retries", "plan_s", "duration_s", "rate_achieved", "max_in_window"} <= summary.keys()
    assert summary["empty_batches"] == 1
    assert summary["count"] == 0


def test_batches_that_deleted_nothing_are_confirmed_and_shown(program):
    ended = program("run", program.job({USER: PHONES}), "--yes").expect(0)
    assert "nothing" in (ended.out + ended.err).lower() or "empty" in (ended.out + ended.err).lower()


def test_reason_and_operator_go_into_the_audit(program):
    args = ("--reason", "用户要求", "--operator", "wei", "--audit", "a.jsonl")
    program("run", program.job({USER: PHONES}), "--yes", *args).expect(0)
    first = read_audit(program.folder / "a.jsonl")[0]
    assert (first["reason"], first["operator"]) == ("用户要求", "wei")


def test_audit_phones_all_writes_every_number_and_left_only_those_left(program):
    job = program.job({USER: PHONES})
    program("run", job, "--yes", "--audit", "a.jsonl", "--audit-phones", "all").expect(0)
    program("run", job, "--yes", "--audit", "b.jsonl", "--audit-phones", "left").expect(0)
    all_, left = (of_type(read_audit(program.folder / name), "batch")[0] for name in ("a.jsonl", "b.jsonl"))
    assert sorted(all_["phone"]) == PHONES
    assert all_["phones_left"] == 0
    assert left["phone"] == []
    assert all_["phones_sha256"] == left["phones_sha256"]


def test_phones_sha256_is_of_the_sorted_numbers_joined_by_newlines(program):
    import hashlib

    program("run", program.job({USER: PHONES[::-1]}), "--yes", "--audit", "a.jsonl").expect(0)
    (batch,) = of_type(read_audit(program.folder / "a.jsonl"), "batch")
    assert batch["phones_sha256"] == hashlib.sha256("\n".join(sorted(PHONES)).encode()).hexdigest()


def test_plan_sha256_is_of_the_plan_beside_the_audit(program):
    import hashlib

    program("run", program.job({USER: PHONES}), "--yes", "--audit", "a.jsonl").expect(0)
    plan = (program.folder / "a.jsonl.plan").read_bytes()
    assert read_audit(program.folder / "a.jsonl")[0]["plan_sha256"] == hashlib.sha256(plan).hexdigest()


def test_rejected_values_stand_in_the_audit_masked(program):
    job = program.job({USER: [*PHONES, "1399999"]}, safety={"max_invalid": "50%"})
    program("run", job, "--yes", "--audit", "a.jsonl").expect(0)
    (rejected,) = of_type(read_audit(program.folder / "a.jsonl"), "rejected")
    assert {"source", "line", "reason", "value"} <= rejected.keys()
    assert "1399999" not in json.dumps(rejected)


# What a JOB may be


def test_a_list_with_a_user_id(program, sandbox):
    sandbox.pool.add_phones(USER, PHONES)
    program.write("list.txt", "\n".join(PHONES) + "\n")
    program("run", "list.txt", "--user-id", USER, "--yes").expect(0)
    assert sandbox.left() == []


def test_a_list_without_a_user_id_is_refused(program, sandbox):
    program.write("list.txt", "\n".join(PHONES) + "\n")
    program("run", "list.txt", "--yes").expect(2)
    assert sandbox.requests() == 0


def test_a_json_lines_job_with_lists_of_any_length(program, sandbox):
    many = numbers(250, 5000)
    sandbox.pool.add_phones(USER, many)
    sandbox.pool.add_phones(OTHER, PHONES, "2024-07-26 10:00:00")
    window = ["2024-07-26 00:00:00", "2024-07-27 23:59:59"]
    lines = [{"user_id": USER, "phone": many}, {"user_id": OTHER, "phone": PHONES, "created_at": window}]
    program.write("requests.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    ended = program("run", "requests.jsonl", "--yes", "--json").expect(0)
    assert ended.record["batches"]["planned"] == 4
    assert ended.record["count"] == 253


@pytest.mark.parametrize("shape", ["list", "lines"])
def test_standard_input(program, sandbox, shape):
    sandbox.pool.add_phones(USER, PHONES)
    if shape == "list":
        program("run", "-", "--user-id", USER, "--yes", stdin="\n".join(PHONES) + "\n").expect(0)
    else:
        program("run", "-", "--yes", stdin=json.dumps({"user_id": USER, "phone": PHONES}) + "\n").expect(0)
    assert sandbox.left() == []


def test_several_jobs_are_one_plan_and_one_audit_without_repeats(program, sandbox):
    one = program.job({USER: PHONES}, name="one")
    two = program.job({USER: [PHONES[0], "13012121212"], OTHER: PHONES}, name="two")
    ended = program("run", one, two, "--yes", "--json", "--audit", "a.jsonl").expect(0)
    assert ended.record["phones"] == {
        "read": 8,
        "unique": 7,
        "duplicate": 1,
        "rejected": 0,
        "protected": 0,
        "deleted": 7,
        "failed": 0,
        "unknown": 0,
        "not_sent": 0,
    }
    assert len(sandbox.deletions()) == 2
    check_evidence(program.folder / "a.jsonl", sandbox)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"limits": {"rate": "10/s"}}, {"limits": {"rate": "20/s"}}),
        ({"safety": {"max_phones": 10}}, {"safety": {"max_phones": 20}}),
        ({"safety": {"max_phones": 10}}, {}),
    ],
)
def test_jobs_of_differing_limits_or_safety_are_refused_together(program, sandbox, first, second):
    one = program.job({USER: PHONES}, name="one", **first)
    two = program.job({OTHER: PHONES}, name="two", **second)
    program("run", one, two, "--yes").expect(2)
    assert sandbox.requests() == 0


def test_nothing_to_do_is_said_and_is_0(program, sandbox):
    program.write("empty.txt", "\n")
    job = program.job(
        {USER: {"phone_file": "empty.txt", "created_at": ["2024-01-01 00:00:00", "2024-01-02 00:00:00"]}}
    )
    ended = program("run", job, "--yes").expect(0)
    assert sandbox.deletions() == []
    assert "nothing to do" in ended.err + ended.out or "empty" in ended.err + ended.out


# Outputs that fail


@pytest.mark.parametrize(
    "redirect",
    sweep([">&- 2>&-", ">/dev/full", "| true", ">&-", "2>&-", "2>/dev/full"], fast=[0, 1]),
)
def test_a_closed_or_full_output_loses_nothing_of_the_run(program, sandbox, redirect):
    phones = numbers(1000)
    sandbox.pool.add_phones(USER, phones)
    program.job({USER: phones})
    program.shell(f"$RUN run job.json --yes --rate unlimited --audit a.jsonl --verbose {redirect}")
    assert sandbox.left() == []
    records, _, _ = check_evidence(program.folder / "a.jsonl", sandbox)
    assert records[-1]["status"] == "complete"
    assert records[-1]["exit_code"] == 0


# The parts of a whole that failed


def test_a_user_that_may_not_be_touched_ends_failed_the_rest_of_it_skipped_the_others_go_on(aim):
    mine, theirs = numbers(300), numbers(300, 1000)
    with seeded({USER: mine, OTHER: theirs}, forbidden_users=frozenset({OTHER})) as sandbox:
        program = aim(sandbox.url)
        job = program.job({USER: mine, OTHER: theirs})
        ended = program("run", job, "--yes", "--json", "--concurrency", "1", "--audit", "a.jsonl").expect(1)
        assert (sandbox.left(USER), sandbox.left(OTHER)) == ([], theirs)
        records, _, requests = check_evidence(program.folder / "a.jsonl", sandbox)
    assert ended.record["batches"] == {"planned": 6, "deleted": 3, "failed": 1, "unknown": 0, "not_sent": 2}
    words = sorted(b["error"] for b in of_type(records, "batch") if b["user_id"] == OTHER)
    assert words == ["forbidden", "skipped", "skipped"]
    assert sum(requests.values()) == 4
    assert ended.record["status"] == "partial"
    assert ended.record["refused_users"] == [{"user_id": OTHER, "error": "forbidden"}]
    assert ended.err.count(f"user {OTHER} was refused (forbidden)") == 1
    assert (
        f"users refused, the rest of theirs not sent: {OTHER} (forbidden)" in program("report", "a.jsonl").out
    )


def test_of_many_refused_users_the_first_are_named_on_the_screen(aim):
    users = {f"user-{n:02}": numbers(1, n) for n in range(14)}
    closed = frozenset(list(users)[1:])
    with seeded(users, forbidden_users=closed) as sandbox:
        program = aim(sandbox.url)
        job = program.job(users, safety={"max_failed": "100%"})
        ended = program("run", job, "--yes", "--json", "--concurrency", "1", "--audit", "a.jsonl").expect(1)
    assert len(ended.record["refused_users"]) == len(closed)
    assert ended.err.count("was refused (forbidden)") == 10
    assert ended.err.count("more users were refused") == 1


def test_an_unknown_user_ends_failed(aim):
    with seeded({USER: PHONES}, unknown_users=frozenset({OTHER})) as sandbox:
        program = aim(sandbox.url)
        ended = program("run", program.job({USER: PHONES, OTHER: PHONES}), "--yes", "--json").expect(1)
    assert ended.record["batches"]["failed"] == 1
    audit = program.audits()[0]
    assert [b["error"] for b in of_type(read_audit(audit), "batch") if b["status"] == "failed"] == [
        "not_found"
    ]


@pytest.mark.parametrize("status", [200, 400, 422])
def test_bad_numbers_are_isolated_and_the_good_ones_of_their_batch_deleted(aim, status):
    phones = numbers(100)
    bad = {phones[3], phones[77]}
    with seeded({USER: phones}, refused_phones=frozenset(bad), refusal_status=status) as sandbox:
        program = aim(sandbox.url)
        ended = program("run", program.job({USER: phones}), "--yes", "--json", "--audit", "a.jsonl").expect(1)
        assert set(sandbox.left()) == bad
        records, _, requests = check_evidence(program.folder / "a.jsonl", sandbox)
    (batch,) = of_type(records, "batch")
    assert (batch["status"], batch["phones_left"], set(batch["phone"])) == ("failed", 2, bad)
    assert batch["count"] == 98
    assert batch["error"] == "refused"
    assert batch["attempts"] == sum(requests.values()) <= 40
    assert ended.record["phones"]["deleted"] == 98
    assert ended.record["phones"]["failed"] == 2
    assert ended.record["batches"]["failed"] == 1


def test_an_uncertain_attempt_that_was_then_confirmed_is_deleted_and_uncertain(program, sandbox):
    sandbox.pool.add_phones(USER, PHONES)
    sandbox.script("lost-after", None)
    ended = program("run", program.job({USER: PHONES}), "--yes", "--json", "--audit", "a.jsonl").expect(0)
    records, _, _ = check_evidence(program.folder / "a.jsonl", sandbox)
    (batch,) = of_type(records, "batch")
    assert (batch["status"], batch["count"]) == ("deleted", 0)
    assert (batch["attempts"], batch["uncertain_attempts"]) == (2, 1)
    assert ended.record["uncertain_batches"] == 1
    assert ended.record["retries"] == 1
    assert sandbox.stats()["deleted_rows"] == 3


def test_attempts_without_an_answer_end_unknown(program, sandbox):
    sandbox.pool.add_phones(USER, PHONES)
    sandbox.script("lost-after", "500")
    ended = program("run", program.job({USER: PHONES}), "--yes", "--json", "--max-attempts", "2").expect(1)
    (batch,) = of_type(read_audit(program.audits()[0]), "batch")
    assert (batch["status"], batch["count"], batch["uncertain_attempts"]) == ("unknown", None, 2)
    assert sorted(batch["phone"]) == PHONES
    assert ended.record["phones"]["unknown"] == 3


def test_an_envelope_code_that_nobody_knows_ends_the_batch_with_the_vendors_words(program, sandbox):
    sandbox.script("error", error_code=7431)
    ended = program("run", program.job({USER: PHONES}), "--yes").expect(1)
    (batch,) = of_type(read_audit(program.audits()[0]), "batch")
    assert (batch["status"], batch["error"], batch["code"]) == ("unknown", "bad_reply", 7431)
    assert batch["attempts"] == 1
    assert "系统繁忙" in ended.out


def test_the_record_of_a_pause_tells_rate_until_and_why(program, sandbox):
    sandbox.script("429-seconds", None)
    program("run", program.job({USER: PHONES}), "--yes", "--audit", "a.jsonl").expect(0)
    paces = of_type(read_audit(program.folder / "a.jsonl"), "pace")
    assert paces
    assert all({"rate", "until", "why"} <= pace.keys() for pace in paces)


def test_dry_run_is_plan(program, sandbox):
    job = program.job({USER: PHONES})
    dry, planned = program("run", job, "--dry-run").expect(0), program("plan", job).expect(0)
    assert dry.out == planned.out
    assert sandbox.requests() == 0
    assert not (program.folder / "audit").exists()


def test_what_the_program_writes_is_for_the_owner_alone_whatever_the_umask(program):
    program.job({USER: PHONES})
    program.shell("umask 000; $RUN run job.json --yes").expect(0)
    (audit,) = program.audits()
    assert (mode(audit.parent), mode(audit)) == (0o700, 0o600)
    assert all(mode(path) & 0o077 == 0 for path in program.state.rglob("*"))


def test_an_audit_path_that_is_a_symlink_is_not_followed(program, sandbox):
    (program.folder / "a.jsonl").symlink_to(program.folder / "elsewhere")
    program("run", program.job({USER: PHONES}), "--yes", "--audit", "a.jsonl").expect(2)
    assert not (program.folder / "elsewhere").exists()
    assert sandbox.requests() == 0


def test_plan_lines_are_batches_of_at_most_100_with_their_seq(program):
    program("run", program.job({USER: numbers(250)}), "--yes", "--audit", "a.jsonl").expect(0)
    header, *batches = read_lines(program.folder / "a.jsonl.plan")
    assert header["type"] == "plan"
    assert [b["seq"] for b in batches] == [1, 2, 3]
    assert sorted(len(b["phone"]) for b in batches) == [50, 100, 100]
