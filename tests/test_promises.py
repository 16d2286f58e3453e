"""What is promised of every run, one test a promise: the real program, judged by the sandbox's ledger."""

import math
import random
import signal
import subprocess
import sys

import pytest

from tests.support.evidence import check_equation, check_evidence, covered, of_type, read_lines
from tests.support.program import OTHER, TOKEN, USER, numbers, seeded

WINDOW = ["2024-07-26 00:00:00", "2024-07-27 23:59:59"]
MIXED = {
    "429-seconds": 0.0003,
    "500": 0.009,
    "502-after": 0.005,
    "503-after": 0.005,
    "lost": 0.01,
    "lost-after": 0.01,
    "truncated-after": 0.005,
}


def test_1_nothing_but_the_job_goes_and_no_window_without_phones_unless_its_entry_says_so(program, sandbox):
    """Rows of other users, numbers and times stay; a list that is empty never becomes its window."""
    inside, outside = "2024-07-26 12:00:00", "2024-07-28 00:00:00"
    for user in (USER, OTHER, "third", "fourth"):
        sandbox.pool.add_phones(user, numbers(300), inside)
        sandbox.pool.add_phones(user, numbers(300), outside)
    program.write("empty.txt", "\n\n")
    job = program.job(
        {
            USER: {"phone": numbers(150), "created_at": WINDOW},
            OTHER: {"delete_window": True, "created_at": WINDOW, "max_rows": 300},
            "third": {"phone_file": "empty.txt", "created_at": WINDOW},
        }
    )
    program("run", job, "--yes", "--rate", "unlimited", "--audit", "a.jsonl").expect(0)
    records, _, _ = check_evidence(program.folder / "a.jsonl", sandbox)
    bare = [entry for entry in sandbox.deletions() if entry["created_at"] and not entry["phones"]]
    assert {entry["user_id"] for entry in bare} == {OTHER}
    assert records[-1]["count"] == sandbox.stats()["deleted_rows"] == 150 + 300
    assert sandbox.ask(f"rows?user_id={OTHER}")["total"] == 300
    assert sandbox.ask("rows?user_id=third")["total"] == sandbox.ask("rows?user_id=fourth")["total"] == 600
    left = {(row["phone"], row["created_at"]) for row in sandbox.ask(f"rows?user_id={USER}")["rows"]}
    gone = {(phone, inside) for phone in numbers(150)}
    assert left == {(p, at) for p in numbers(300) for at in (inside, outside)} - gone


def test_2_at_most_a_hundred_numbers_a_request_none_twice_and_as_few_batches_as_can_be(program, sandbox):
    """However scattered and repeated a list is, each of its targets takes the least number of requests."""
    rng = random.Random(2)
    lines, targets = [], {}
    for _ in range(400):
        user = f"user-{rng.randrange(7)}"
        window = rng.choice([None, WINDOW])
        opaque = rng.random() < 0.3
        some = [f"139{rng.randrange(2000):08d}" for _ in range(rng.randrange(1, 9))]
        targets.setdefault((user, bool(window), opaque), set()).update(some)
        extra = ({"created_at": window} if window else {}) | ({"encryption": True} if opaque else {})
        lines.append({"user_id": user, "phone": some, **extra})
    import json

    program.write("requests.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    program("run", "requests.jsonl", "--yes", "--rate", "unlimited", "--audit", "a.jsonl").expect(0)
    check_evidence(program.folder / "a.jsonl", sandbox)
    asked = {}
    for entry in sandbox.deletions():
        assert 1 <= len(entry["phones"]) <= 100
        key = (entry["user_id"], bool(entry["created_at"]), entry["encryption"])
        before = asked.setdefault(key, [0, set()])
        assert not before[1] & set(entry["phones"])
        before[0] += 1
        before[1].update(entry["phones"])
    assert {key: phones for key, (_, phones) in asked.items()} == targets
    for key, (requests, phones) in asked.items():
        assert requests == math.ceil(len(phones) / 100), key


def test_3_the_rate_is_never_exceeded_retries_included_and_a_pause_holds_everybody(program, sandbox):
    """Of 90 requests at 30 a second the last leaves two seconds after the first at the earliest.

    Only that side is asserted against a clock, and it is the sandbox's: a slow machine makes it longer.
    """
    users = {f"user-{n}": numbers(1, n) for n in range(80)}
    sandbox.script(*[None, "500"] * 10)
    job = program.job(users, safety={"max_failed": "90%"})
    args = ("--yes", "--json", "--rate", "30/s", "--concurrency", "32")
    ended = program("run", job, *args, "--audit", "a.jsonl").expect(0)
    arrivals = [entry["at"] for entry in sandbox.deletions()]
    assert ended.record["requests"] == len(arrivals) == 90
    assert ended.record["retries"] == 10
    assert ended.record["max_in_window"] <= 30
    assert arrivals[-1] - arrivals[0] >= (90 - 30) / 30 - 0.5  # half a second for the sandbox to be late

    before = sandbox.requests()
    sandbox.script("429-seconds", retry_after_s=2)
    few = program.job({"user-0": numbers(300)}, name="few")
    program("run", few, *args, "--audit", "b.jsonl").expect(0)
    first, second, *_ = sandbox.deletions(before)
    assert second["at"] - first["done_at"] >= 2.0 - 0.05


def test_4_every_ended_batch_has_one_record_and_the_totals_are_the_fold_of_all_sessions(aim):
    """Through a stop and a resume, with ends of every kind, what was asked is what is accounted for."""
    users = {USER: numbers(1000), OTHER: numbers(500, 5000), "closed": numbers(300, 9000)}
    bad = frozenset(numbers(3, 150))
    settings = {"refused_phones": bad, "forbidden_users": frozenset({"closed"}), "token_expires_after": 8}
    with seeded(users, **settings) as sandbox:
        program = aim(sandbox.url)
        job = program.job({**users, OTHER: [*users[OTHER], users[OTHER][0], "rubbish"]})
        args = ("--yes", "--json", "--rate", "unlimited", "--concurrency", "2", "--audit", "a.jsonl")
        check_equation(program("run", job, *args).expect(3).record)
        sandbox.control(token_expires_after=None)
        sandbox.script(None, "error", error_code=7431)
        ended = program("resume", "a.jsonl", "--json").expect(1)
        records, plan, _ = check_evidence(program.folder / "a.jsonl", sandbox)
    ends = of_type(records, "batch")
    assert sorted(end["seq"] for end in ends) == sorted(plan.batches)
    summary = ended.record
    for state in ("deleted", "failed", "unknown", "not_sent"):
        mine = [end for end in ends if end["status"] == state]
        assert summary["batches"][state] == len(mine)
    assert summary["phones"]["deleted"] == sum(end["phones"] - end["phones_left"] for end in ends)
    assert summary["phones"]["read"] == 1802
    assert (summary["phones"]["duplicate"], summary["phones"]["rejected"]) == (1, 1)
    assert summary["count"] == sum(end["count"] or 0 for end in ends)
    program("verify", "a.jsonl").expect(0)


@pytest.mark.slow
def test_5_the_count_is_what_the_server_confirmed_200000_numbers_of_50_users_with_faults(aim):
    """The truth is never below the count, and equals it but for batches with an uncertain attempt."""
    users = {f"user-{n:02d}": numbers(4000, 10_000 * n) for n in range(50)}
    bystanders = numbers(50, 900_000)
    with seeded({**users, "bystander": bystanders}) as sandbox:
        for user, phones in users.items():
            sandbox.pool.add_phones(user, phones[:500])
        for user in users:
            sandbox.pool.add_phones(user, bystanders)
        sandbox.control(faults={"shares": MIXED, "seed": 5})
        program = aim(sandbox.url)
        lines = [f"{user},{phone}" for user, phones in users.items() for phone in phones]
        random.Random(5).shuffle(lines)
        program.write("all.csv", "\n".join(["user_id,phone", *lines]))
        table = {"file": "all.csv", "user_column": "user_id", "phone_column": "phone"}
        job = program.job(tables=[table], safety={"max_failed": "20%"})
        args = ("--yes", "--json", "--rate", "unlimited", "--concurrency", "32", "--audit", "a.jsonl")
        ended = program("run", job, *args).expect(0)
        records, plan, _ = check_evidence(program.folder / "a.jsonl", sandbox)
        sent = sandbox.deletions()
        rows_left = sandbox.stats()["rows_left"]
    truth, asked = {}, {}
    for entry in sent:
        if entry["processed"]:
            seq = plan.seq_of(entry)
            truth[seq] = truth.get(seq, 0) + entry["count"]
            asked.setdefault(entry["user_id"], set()).update(entry["phones"])
    assert asked == {user: set(phones) for user, phones in users.items()}
    ends = {end["seq"]: end for end in of_type(records, "batch")}
    assert len(ends) == len(plan.batches) == 2000
    for seq, end in ends.items():
        assert end["count"] == truth[seq] or (end["uncertain_attempts"] and end["count"] < truth[seq]), end
    assert sum(truth.values()) == 50 * 4500
    assert rows_left == 50 + 50 * 50
    assert sum(end["attempts"] for end in ends.values()) == len(sent) == ended.record["requests"]
    assert ended.record["uncertain_batches"] == sum(1 for e in ends.values() if e["uncertain_attempts"])
    assert ended.record["retries"] == len(sent) - 2000


def test_6_killed_and_resumed_no_batch_is_lost_none_repeated_after_its_end_none_sent_unknown(
    program, sandbox
):
    """A kill with requests in flight; test_crash.py kills twenty times more."""
    phones = numbers(4000)
    sandbox.pool.add_phones(USER, phones)
    sandbox.script(*[None] * 5, *["hang-after"] * 40)
    job = program.job({USER: phones})
    args = ("--yes", "--rate", "unlimited", "--concurrency", "4", "--timeout", "3000", "--audit", "a.jsonl")
    started = program.start("run", job, *args)
    audit = program.folder / "a.jsonl"
    started.until(lambda: sandbox.worked() >= 9, "four that hang")
    started.signal(signal.SIGKILL)
    started.process.wait()
    before, sent = read_lines(audit), sandbox.requests()
    ended = {end["seq"] for end in of_type(before, "batch")}
    assert len(ended) == 5
    unended = set(covered(before)) - ended
    assert 4 <= len(unended) <= 16
    sandbox.script()
    program("resume", audit).expect(0)
    records, plan, requests = check_evidence(audit, sandbox)
    again = {plan.seq_of(entry) for entry in sandbox.deletions(sent)}
    assert not again & ended
    assert again | ended == set(plan.batches)
    ends = {end["seq"]: end for end in of_type(records, "batch")}
    assert all(ends[seq]["uncertain_attempts"] == 1 for seq in unended), (
        "an intent without an end is uncertain"
    )
    assert {seq for seq, count in requests.items() if seq and count > 1} <= unended
    assert sandbox.left() == []


def test_7_the_token_is_nowhere_and_numbers_only_in_audit_and_plan(program, sandbox):
    """The short form; test_secrets.py searches through every verb."""
    phones = numbers(250)
    sandbox.pool.add_phones(USER, phones)
    sandbox.control(refused_phones=phones[:1])
    sandbox.script("500", None, "garbage")
    job = program.job({USER: phones})
    args = ("--yes", "--verbose", "--rate", "unlimited", "--audit", "a.jsonl")
    ended = program("run", job, *args).expect(1)
    program("report", "a.jsonl", "--html", "r.html").expect(0)
    for file in program.folder.parent.rglob("*"):
        if file.is_file() and file != job:
            text = file.read_text(encoding="utf-8")
            assert TOKEN not in text, file
            if file.name not in ("a.jsonl", "a.jsonl.plan"):
                assert "139000" not in text, file
    assert TOKEN not in ended.out + ended.err
    assert "139000" not in ended.out + ended.err


def peak_mib(program, *args):
    """The most memory that a run of the program took."""
    watch = (
        "import os, resource, subprocess, sys\n"
        "code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
        "print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
    )
    argv = [sys.executable, "-c", watch, sys.executable, "-m", "runner", *map(str, args)]
    env = {name: value for name, value in program.env.items() if value is not None}
    done = subprocess.run(
        argv, cwd=program.folder, env=env, capture_output=True, text=True, timeout=120, check=True
    )
    code, kib = done.stdout.split()
    assert code == "0", done
    return int(kib) / 1024


@pytest.mark.slow
def test_8_memory_does_not_grow_with_the_length_of_the_list(aim):
    """Three times the numbers are planned in the same memory, and sending them adds as little as for few.

    A list that fits into the planner's bounded parts takes less than one that does not; only beyond
    those is there a plateau to hold it to.
    """
    with seeded({}) as sandbox:
        program = aim(sandbox.url)

        def peak(verb, count, *more):
            file = program.write(f"{count}.txt", "\n".join(numbers(count)) + "\n")
            return peak_mib(program, verb, file, "--user-id", USER, *more)

        plans = [peak("plan", count) for count in (30_000, 300_000, 800_000, 2_400_000)]
        send = ("--yes", "--rate", "unlimited", "--audit")
        runs = [peak("run", count, *send, f"{count}.jsonl") for count in (30_000, 300_000)]
        assert sandbox.stats()["deletions"] == 3300
    print("MiB to plan:", plans, "to run:", runs)
    assert plans[3] - plans[2] < 12, plans
    assert (runs[1] - plans[1]) - (runs[0] - plans[0]) < 8, (plans, runs)
