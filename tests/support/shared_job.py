"""A job that many machines share, seen from outside: the program's verbs, the database's rows, the ledger."""

import contextlib
import json
from pathlib import Path

import psycopg

from runner.model import Target
from tests.support.evidence import Plan, check_evidence, of_type, read_audit
from tests.support.plans import plan_with
from tests.support.program import USER, numbers

__all__ = ["SharedJob", "uncertain"]


class SharedJob:
    """A plan that was submitted, and the workers that a test starts for it.

    Args:
        program: Points to a sandbox and to a database that `cluster init` has seen.
        sandbox: The vendor.
        batches: How many, of two numbers each.
        shards: How many.
        rate: Of the origin; so slow that nothing is over before a test has done what it wants (`hurry`).
    """

    def __init__(self, program, sandbox, *, batches=60, shards=2, rate="4/s", more=()):
        self.program, self.sandbox = program, sandbox
        self.database = program.env["BULK_DELETE_DATABASE_URL"]
        # Two numbers fill no batch: each has a window of its own.
        days = [(f"2024-01-01 {n // 60:02}:{n % 60:02}:00", "2024-12-31 23:59:59") for n in range(batches)]
        self.phones = {Target(USER, day): tuple(numbers(2, 2 * n)) for n, day in enumerate(days)}
        self.plan = plan_with(self.phones, program.folder / "shared.plan")
        self._submit = ("cluster", "submit", self.plan, "--shards", shards, "--rate", rate, *more)
        self.id = self.submit()

    def submit(self):
        """Submit it, for the first time or again; return its id."""
        return self.program(*self._submit, "--yes", "--stale-ok", "--json").expect(0).record["id"]

    def worker(self, *words, **more):
        """Start a worker."""
        return self.program.start("cluster", "worker", *words, **more)

    def under_way(self, *words):
        """Start a worker and return it once both of its shards are begun and something is deleted."""
        worker, before = self.worker(*words), self.sandbox.worked()
        worker.until(lambda: worker.err().count(": begun") == 2, "two shards")
        worker.until(lambda: self.sandbox.worked() >= before + 3, "some deletions")
        return worker

    def hurry(self):
        """Let the rest go fast."""
        self.ask("SELECT use_rate(origin, 200, 1, false) FROM origins")

    def rescue(self):
        """Take all shards from whoever has them, as a worker does whose owner was not heard of for long."""
        return self.ask("SELECT rescue_shards(origin, 0) FROM origins")

    def drain(self, **more):
        """Let a worker do all that is left, fast, and return how it ended."""
        self.hurry()
        return self.program("cluster", "worker", "--drain", "--json", **more)

    def ask(self, query, values=()):
        """Ask the database; what it cannot answer just now is nothing."""
        with (
            contextlib.suppress(psycopg.OperationalError),
            psycopg.connect(self.database, autocommit=True) as connection,
        ):
            connection.execute("SET search_path = bulk_delete")
            return connection.execute(query, values).fetchall()
        return []

    def state(self):
        """What the job has come to."""
        return next((state for (state,) in self.ask("SELECT state FROM jobs")), None)

    def states(self):
        """What its shards have come to, in order."""
        return [state for (state,) in self.ask("SELECT state FROM shards ORDER BY shard")]

    def records(self):
        """The audits' records so far, by shard."""
        pieces = self.ask("SELECT shard, lines FROM audit_pieces ORDER BY shard, piece")
        lines = {}
        for shard, piece in pieces:
            lines.setdefault(shard, []).extend(map(json.loads, piece.splitlines()))
        return lines

    def check(self, *, finished=True):
        """Fetch it, hold each shard against the vendor's ledger, and return the records of each."""
        folder = self.program.folder / f"fetched-{len(self.program.started)}"
        self.program("cluster", "fetch", self.id, "--out", folder, "--json").expect(0)
        sent, found = self.sandbox.deletions(), {}
        unread = [entry for entry in sent if not entry["phones"]]  # refused before anybody looked at the body
        for audit in sorted(folder.glob("*.jsonl")):
            asked = {
                phone for batch in Plan(Path(f"{audit}.plan")).batches.values() for phone in batch["phone"]
            }
            own = [entry for entry in sent if entry["phones"] and asked.issuperset(entry["phones"])]
            attempts = sum(end["attempts"] for end in of_type(read_audit(audit), "batch"))
            share = max(0, attempts - len(own)) if not uncertain(read_audit(audit)) else 0
            own, unread = own + unread[:share], unread[share:]
            found[audit.name], _, _ = check_evidence(audit, _Ledger(own), finished=finished)
        assert not finished or not unread or sum(map(uncertain, found.values()))
        assert sum(len(of_type(records, "batch")) for records in found.values()) <= len(self.phones)
        self.program("verify", folder, "--json").expect(0)
        report = self.program("report", folder, "--json").expect(0).record["items"][0]
        phones = report["phones"]
        assert phones["unique"] == 2 * len(self.phones)
        assert phones["unique"] == sum(phones[how] for how in ("deleted", "failed", "unknown", "not_sent"))
        if finished:
            assert phones["deleted"] == 2 * len(self.phones)
            assert {phone for entry in sent for phone in entry["deleted"]} == set(
                numbers(2 * len(self.phones))
            )
        return list(found.values())


def uncertain(records):
    """How many attempts of an audit's batches may have been processed unseen."""
    return sum(end["uncertain_attempts"] for end in of_type(records, "batch"))


class _Ledger:
    """The part of a ledger that one shard is answerable for."""

    def __init__(self, entries):
        self._entries = entries

    def deletions(self):
        return self._entries
