"""Killed at any instant, by SIGKILL, in a real process: `resume` finishes, and the ledger agrees."""

import contextlib
import json
import random
import signal
import subprocess
from collections import Counter

import pytest

from tests.support.evidence import Plan, check_evidence, covered, of_type, read_lines
from tests.support.program import USER, numbers, until

KILLS = 20
BATCHES = 500
CONCURRENCY = 4
USERS = {f"user-{n}": numbers(3, 10 * n) for n in range(BATCHES)}
LIMITS = ("--rate", "unlimited", "--concurrency", CONCURRENCY, "--timeout", "5", "--max-attempts", "20")


class Killer:
    """Runs one job, killed again and again, and looks at the evidence after every death."""

    def __init__(self, program, sandbox, seed):
        self.program, self.sandbox = program, sandbox
        self.random = random.Random(seed)
        self.audit = program.folder / "a.jsonl"
        self.job = program.job(USERS, safety={"max_failed": "90%"})
        self.ended = set()
        self.sent = 0

    def start(self):
        """Go on: with `run` until there is an audit, then with `resume`."""
        if self.audit.exists():
            return self.program.start("resume", self.audit, "--yes", *LIMITS)
        beside = self.audit.with_name("a.jsonl.plan")
        beside.unlink(missing_ok=True)
        return self.program.start("run", self.job, "--yes", "--audit", self.audit, *LIMITS)

    def kill_somewhere(self):
        """Kill it at an instant of its life: while it starts, at its first request, or in the middle."""
        started = self.start()
        size = self.audit.stat().st_size if self.audit.exists() else 0
        grown = self.random.choice([0, 1, self.random.randrange(200, 30_000)])
        if grown:
            started.until(lambda: self.audit.exists() and self.audit.stat().st_size >= size + grown, "growth")
        else:
            with contextlib.suppress(subprocess.TimeoutExpired):
                started.process.wait(self.random.uniform(0, 0.6))
        assert started.running(), f"not killed: it ended, and said {started.err()}"
        started.signal(signal.SIGKILL)
        started.process.wait()
        self.look()

    def look(self):
        """Hold what was sent since the last death against what the audit knew and knows."""
        self.sandbox.settle()
        if not self.audit.exists():
            assert self.sandbox.requests() == 0, "sent without an audit"
            return
        records = read_lines(self.audit)
        plan = Plan(self.audit.with_name("a.jsonl.plan")) if records else None
        known = covered(records)
        new = self.sandbox.deletions(self.sent)
        for entry in new:
            if not entry["phones"] and not entry["processed"]:
                continue
            seq = plan.seq_of(entry)
            assert seq in known, f"batch {seq} was sent and the audit does not know"
            assert seq not in self.ended, f"batch {seq} had its end and was sent again"
        self.sent += len(new)
        ends = Counter(record["seq"] for record in of_type(records, "batch"))
        assert not ends or max(ends.values()) == 1, "a batch ended twice"
        assert self.ended <= ends.keys(), "an end was lost"
        self.ended = set(ends)
        check_intents(records)


def check_intents(records):
    """Intents without an end: at most four times the concurrency of a session; none after an end."""
    ended, mine = set(), set()
    for record in records:
        if record["type"] == "run":
            mine = set()
        elif record["type"] == "sending":
            first = record.get("seq", record.get("from"))
            seqs = set(range(first, record.get("to", first) + 1))
            assert not seqs & ended, "an intent over a batch that had ended"
            mine |= seqs
            assert len(mine) <= 4 * CONCURRENCY, f"{len(mine)} intents without an end"
        elif record["type"] == "batch":
            ended.add(record["seq"])
            mine.discard(record["seq"])


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1])
def test_twenty_kills_in_a_row_and_the_job_is_done_and_the_evidence_holds(program, sandbox, seed):
    print(f"replay: seed {seed}")
    for user, phones in USERS.items():
        sandbox.pool.add_phones(user, phones)
    shares = {"lost": 0.02, "lost-after": 0.02, "503-after": 0.02, "429": 0.002}
    sandbox.control(latency_s=0.01, faults={"shares": shares})
    killer = Killer(program, sandbox, seed)
    for _ in range(KILLS):
        killer.kill_somewhere()
    ended = killer.start().wait()
    killer.look()
    assert ended.code in (0, 1), ended.err
    assert sandbox.stats()["rows_left"] == 0
    records, _, _ = check_evidence(killer.audit, sandbox)
    sessions = len(of_type(records, "run"))
    assert sessions > KILLS / 4  # the others died before their first record
    assert records[-1]["batches"]["not_sent"] == 0
    program("verify", killer.audit).expect(0)
    before = killer.audit.read_bytes()
    assert program("resume", killer.audit).code == ended.code
    assert killer.audit.read_bytes() == before


def kill_in_flight(program, sandbox, phones, *args):
    """A run that dies while its second request hangs, the work done."""
    sandbox.pool.add_phones(USER, phones)
    sandbox.script(None, "hang-after")
    job = program.job({USER: phones})
    common = ("--yes", "--rate", "unlimited", "--concurrency", "1", "--timeout", "3000", "--audit", "a.jsonl")
    started = program.start("run", job, *common, *args)
    started.until(lambda: sandbox.worked() >= 2, "a request that hangs")
    started.signal(signal.SIGKILL)
    started.process.wait()
    sandbox.script()
    return program.folder / "a.jsonl"


def test_the_truth_lies_above_the_count_by_what_nobody_saw(program, sandbox):
    audit = kill_in_flight(program, sandbox, numbers(300))
    ended = program("resume", audit, "--json").expect(0)
    check_evidence(audit, sandbox)
    assert ended.record["count"] == 200
    sandbox.settle()  # a request is totalled when the sandbox is through with it
    assert sandbox.stats()["deleted_rows"] == 300
    assert ended.record["uncertain_batches"] >= 1


def test_after_a_kill_the_attempts_told_are_those_that_left_and_a_quarter_of_a_second_more(program, sandbox):
    for user, phones in USERS.items():
        sandbox.pool.add_phones(user, phones)
    args = ("--yes", "--audit", "a.jsonl", "--rate", "20/s", "--concurrency", "16")
    started = program.start("run", program.job(USERS), *args)
    started.until(lambda: sandbox.requests() >= 30, "thirty requests")
    started.signal(signal.SIGKILL)
    started.process.wait()
    sandbox.settle()
    told = json.loads(program("report", "a.jsonl", "--json").out)["items"][0]["attempts"]
    assert sandbox.requests() <= told <= sandbox.requests() + 5


@pytest.mark.parametrize("whole", [1, 10, 100])
def test_a_torn_record_is_repaired_and_the_job_finished(program, sandbox, whole):
    audit = kill_in_flight(program, sandbox, numbers(300))
    data = audit.read_bytes()
    audit.write_bytes(data + data.splitlines()[2][:whole])
    program("verify", audit).expect(3)
    program("resume", audit).expect(0)
    assert sandbox.left() == []
    check_evidence(audit, sandbox)
    program("verify", audit).expect(0)


@pytest.mark.parametrize("size", [0, 1, 100])
def test_killed_before_the_first_record_nothing_was_sent_and_it_is_told_what_to_do(program, sandbox, size):
    audit = kill_in_flight(program, sandbox, numbers(300))
    sent = sandbox.requests()
    audit.write_bytes(audit.read_bytes()[:size])
    program("verify", audit).expect(3 if size else 2)
    ended = program("resume", audit).expect(2)
    assert "run" in ended.err
    assert sandbox.requests() == sent


def test_killed_between_two_sessions_the_second_of_which_said_nothing(program, sandbox):
    """A session that died after its `run` record had no intents of its own."""
    audit = kill_in_flight(program, sandbox, numbers(300))
    hung = sandbox.requests()
    sandbox.control(latency_s=30)
    again = program.start("resume", audit, "--yes")
    again.until(lambda: sandbox.requests() > hung, "its first request")
    again.signal(signal.SIGKILL)
    again.process.wait()
    sandbox.control(latency_s=0)
    program("resume", audit).expect(0)
    assert sandbox.left() == []
    check_evidence(audit, sandbox)


def test_killed_while_planning_nothing_of_it_is_left(program, sandbox):
    many = program.write("list.txt", "\n".join(numbers(300_000)))
    started = program.start("run", many, "--user-id", USER, "--yes", "--audit", "a.jsonl")
    until(lambda: any(program.folder.glob("*a.jsonl*")) or not started.running(), "a sign of it")
    started.signal(signal.SIGTERM)
    ended = started.wait()
    assert ended.code == 143, ended.err
    if not (program.folder / "a.jsonl").exists():
        assert sandbox.requests() == 0
        assert list(program.folder.glob("*a.jsonl*")) == []
