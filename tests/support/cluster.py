"""A database of jobs as a test sees it, and somebody who does what a worker does, a step at a time."""

import json
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

OF_A_JOB = ("jobs", "shards", "plan_pieces", "audit_pieces", "late_pieces", "orders", "procrastinate_jobs")
SHARD = "FROM shards WHERE job = %s AND shard = %s"
"""With its epoch: who is not fenced. All in one question, for each is a connection."""


@dataclass(frozen=True)
class Tables:
    """The tables behind a URL, by a connection for each question."""

    url: str

    def ask(self, statement, *values):
        """Return all rows of a statement."""
        options = "-c search_path=bulk_delete -c lock_timeout=60s"
        with psycopg.connect(self.url, autocommit=True, options=options) as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def one(self, statement, *values):
        """Return the one row that there is, or its one value."""
        (row,) = self.ask(statement, *values)
        return row[0] if len(row) == 1 else row

    @contextmanager
    def locked(self, table):
        """Let everybody wait who reads or writes a table."""
        with psycopg.connect(self.url) as connection:
            connection.execute(f"LOCK TABLE bulk_delete.{table} IN ACCESS EXCLUSIVE MODE")
            yield

    def somebody_waits(self):
        """Whether somebody waits for a lock in this database."""
        mine = "datname = current_database() AND backend_type = 'client backend'"
        return (
            self.one(f"SELECT count(*) FROM pg_stat_activity WHERE {mine} AND wait_event_type = 'Lock'") > 0
        )

    def counts(self):
        """How many rows there are of everything that belongs to a job."""
        counted = ", ".join(f"(SELECT count(*) FROM {table})" for table in OF_A_JOB)
        return dict(zip(OF_A_JOB, self.one(f"SELECT {counted}"), strict=True))

    def plan_of(self, job, shard):
        """The bytes of a shard's plan."""
        rows = self.ask(
            "SELECT lines FROM plan_pieces WHERE job = %s AND shard = %s ORDER BY piece", job, shard
        )
        return b"".join(lines for (lines,) in rows)

    def begin(self, job, shard, worker="w"):
        """Take a shard; whether that was possible."""
        return self.one(f"SELECT begin_shard(job, shard, epoch, %s) {SHARD}", worker, job, shard)

    def turn(self, job, shard, piece=None, lines=None, said=None, epoch=None):
        """Say something of a shard; whether it was fenced."""
        said = None if said is None else json.dumps(said)
        statement = f"SELECT (turn(job, shard, coalesce(%s, epoch), %s, %s, 0, NULL, %s)).fenced {SHARD}"
        return self.one(statement, epoch, piece, lines, said, job, shard)

    def end(self, job, shard, state="done", why=None):
        """Give a shard back."""
        statement = f"SELECT end_shard(job, shard, epoch, %s, false, 0, %s) {SHARD}"
        return self.one(statement, state, why, job, shard)


def work_through(tables, program, job, shard):
    """Do a whole shard: run its plan here, and put its audit where a worker would; returns its bytes."""
    assert tables.begin(job, shard)
    plan = program.folder / f"{job}-{shard}.plan"
    plan.write_bytes(tables.plan_of(job, shard))
    audit = Path(f"{job}-{shard}.jsonl")
    program("run", plan, "--yes", "--audit", audit, "--quiet").expect(0)
    lines = (program.folder / audit).read_bytes().splitlines(keepends=True)
    middle = len(lines) // 2
    for piece, part in enumerate((lines[:middle], lines[middle:]), start=1):
        assert not tables.turn(job, shard, piece, b"".join(part))
    assert tables.end(job, shard)
    return b"".join(lines)
