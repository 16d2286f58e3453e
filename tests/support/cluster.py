"""A database of jobs as a test sees it, and somebody who does what a worker does, a step at a time."""

import json
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg


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
        tables = (
            "jobs",
            "shards",
            "plan_pieces",
            "audit_pieces",
            "late_pieces",
            "orders",
            "procrastinate_jobs",
        )
        return {table: self.one(f"SELECT count(*) FROM {table}") for table in tables}

    def plan_of(self, job, shard):
        """The bytes of a shard's plan."""
        rows = self.ask(
            "SELECT lines FROM plan_pieces WHERE job = %s AND shard = %s ORDER BY piece", job, shard
        )
        return b"".join(lines for (lines,) in rows)

    def epoch(self, job, shard):
        return self.one("SELECT epoch FROM shards WHERE job = %s AND shard = %s", job, shard)

    def begin(self, job, shard, worker="w"):
        """Take a shard; whether that was possible."""
        return self.one("SELECT begin_shard(%s, %s, %s, %s)", job, shard, self.epoch(job, shard), worker)

    def turn(self, job, shard, piece=None, lines=None, said=None, epoch=None):
        """Say something of a shard; whether it was fenced."""
        said = None if said is None else json.dumps(said)
        epoch = self.epoch(job, shard) if epoch is None else epoch
        statement = "SELECT fenced FROM turn(%s, %s, %s, %s, %s, 0, NULL, %s)"
        return self.one(statement, job, shard, epoch, piece, lines, said)

    def end(self, job, shard, state="done", why=None):
        """Give a shard back."""
        statement = "SELECT end_shard(%s, %s, %s, %s, false, 0, %s)"
        return self.one(statement, job, shard, self.epoch(job, shard), state, why)


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
