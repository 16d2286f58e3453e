"""Many machines, one rate, on this one: `python -m tests.bench.cluster`; starts and ends everything itself.

The program itself in processes of its own, a PostgreSQL that syncs, the sandbox as the vendor. First a run in
which everything happens: 4 workers, 16 shards, 4,000 batches at 200/s; at 5 s a worker is killed, at 8 s
another one is stopped for 10 s, at 11 s the vendor says "too many" with two seconds, at 14 s PostgreSQL is
restarted. Then a calm one: 12 workers share 20/s. At last turns alone, as fast as the database takes them.
Prints what was measured beside what must be reached, and exits with 1 where something was not.

The gates write down when each request leaves (`note_departures`); the server's times are the sandbox's own.
"""

import argparse
import asyncio
import bisect
import contextlib
import json
import os
import random
import signal
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psycopg

from runner.cluster.clock import boot_time
from runner.cluster.database import Database
from runner.cluster.line import DatabaseLine, Patience
from runner.cluster.link import Turn
from runner.cluster.shard_rows import ShardKey, ShardRows
from runner.model import Target
from tests.support.plans import plan_with
from tests.support.postgres import postgres
from tests.support.program import ROOT, TOKEN, USER, Sandbox

SETTINGS = "-c listen_addresses='' -c max_connections=100 -c shared_buffers=64MB -c track_functions=pl"
BATCHES = 4000
SHARDS = 16
PHONES_A_BATCH = 100
DEPARTURE = struct.Struct("dii")
"""When a request left (the wall's time, just before the write), of which shard, in which epoch."""
LOG = "(pg_current_wal_lsn() - '0/0')::bigint"
PATIENCE_S = 240.0


@dataclass(frozen=True)
class Departure:
    """A request that left, at a gate."""

    worker: int
    at_s: float
    shard: int
    epoch: int


class Bench:
    """A database, a vendor and some workers; all are gone afterwards."""

    def __init__(self, folder, server, sandbox):
        self.folder, self.server, self.sandbox = folder, server, sandbox
        self.url = server.make_database("bench")
        self.workers = []
        self.log_before = 0
        (folder / "home").mkdir()
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder / "home"),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(ROOT),
            "BULK_DELETE_BASE_URL": sandbox.url,
            "BULK_DELETE_TOKEN": TOKEN,
            "BULK_DELETE_DATABASE_URL": self.url,
        }

    def type(self, *words, ends=(0,)):
        """Type a command and return its result."""
        argv = [sys.executable, "-m", "runner", *map(str, words), "--json"]
        done = subprocess.run(
            argv, cwd=self.folder, env=self.env, capture_output=True, text=True, check=False
        )
        assert done.returncode in ends, f"{words}: {done.returncode}: {done.stdout} {done.stderr}"
        return json.loads(done.stdout)

    def submit(self, batches, shards, rate):
        """Place a job of so many batches; return its id."""
        plan = plan_with({Target(USER): phones_of(batches)}, self.folder / f"{batches}.plan")
        self.type("cluster", "init")
        self.ask(
            "CREATE TABLE IF NOT EXISTS bulk_delete.epochs (shard integer, epoch integer, at timestamptz);"
            "CREATE OR REPLACE FUNCTION bulk_delete.note_epoch() RETURNS trigger LANGUAGE plpgsql AS $$"
            " BEGIN INSERT INTO bulk_delete.epochs VALUES (NEW.shard, NEW.epoch, clock_timestamp());"
            " RETURN NEW; END $$;"
            "CREATE OR REPLACE TRIGGER note_epoch AFTER UPDATE OF epoch ON bulk_delete.shards FOR EACH ROW"
            " WHEN (OLD.epoch <> NEW.epoch)"
            " EXECUTE FUNCTION bulk_delete.note_epoch()"
        )
        ((self.log_before,),) = self.ask(f"SELECT {LOG}")
        placed = self.type(
            "cluster", "submit", plan, "--shards", shards, "--rate", rate, "--yes", "--stale-ok"
        )
        return placed["id"]

    def start(self, *words):
        """Start a worker; its gates write down what leaves."""
        number = len(self.workers)
        with (self.folder / f"{number}.err").open("wb") as err:
            argv = [sys.executable, "-m", "tests.bench.cluster", "--gate", self.folder / f"{number}.gate"]
            self.workers.append(
                subprocess.Popen(
                    [*argv, "--", "cluster", "worker", *words],
                    cwd=self.folder,
                    env=self.env,
                    stdout=subprocess.DEVNULL,
                    stderr=err,
                )
            )
        return self.workers[-1]

    def ask(self, query):
        """Ask the database."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(query)
            return cursor.fetchall() if cursor.description else []

    def crash(self):
        """Let the database crash, and return when it did."""
        number = int((self.server.folder / "data" / "postmaster.pid").read_text().split()[0])
        os.kill(number, signal.SIGQUIT)
        gone_s = time.time()
        self.until(lambda: not Path(f"/proc/{number}").exists(), "the database's end")
        return gone_s

    def departures(self):
        """Return what left so far, in order."""
        found = []
        for worker in range(len(self.workers)):
            path = self.folder / f"{worker}.gate"
            data = path.read_bytes() if path.exists() else b""
            whole = data[: len(data) // DEPARTURE.size * DEPARTURE.size]
            found += [Departure(worker, *fields) for fields in DEPARTURE.iter_unpack(whole)]
        return sorted(found, key=lambda departure: departure.at_s)

    def arrivals(self):
        """Return the wall's time of each deletion at the server, with its entry, in order of arrival."""
        behind_s = time.time() - time.monotonic()
        return [(entry["at"] + behind_s, entry) for entry in self.sandbox.deletions()]

    def until(self, condition, what):
        give_up_s = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < give_up_s, what
            time.sleep(0.05)

    def until_done(self, job):
        """Wait for the job's end."""

        def done():
            with contextlib.suppress(psycopg.OperationalError):
                return self.ask(f"SELECT state FROM bulk_delete.jobs WHERE job = '{job}'") == [("done",)]

        self.until(done, "the job's end")

    def all_up_s(self):
        """Wait until every worker has sent something and return when that was."""

        def first():
            seen = {}
            for departure in self.departures():
                seen.setdefault(departure.worker, departure.at_s)
            return max(seen.values()) if len(seen) == len(self.workers) else None

        self.until(first, "requests of all workers")
        return first()

    def end(self):
        """End the workers that still run; return their exit codes."""
        for worker in self.workers:
            worker.send_signal(signal.SIGCONT)
            worker.terminate()
        return [worker.wait(PATIENCE_S) for worker in self.workers]

    def close(self):
        for worker in self.workers:
            if worker.poll() is None:
                worker.kill()
                worker.wait()


class Vendor(Sandbox):
    """A sandbox in a process of its own: what holds this one up shall not hold it up."""

    def __init__(self, url):
        super().__init__()
        self.url = url


@contextlib.contextmanager
def vendor(folder):
    """Start one."""
    words = [
        "sandbox",
        "--port",
        "0",
        "--token",
        TOKEN,
        "--rows-per-phone",
        "3",
        "--latency",
        "0.05",
        "--json",
    ]
    # Nor shall its garbage collector, with a million rows to walk over.
    program = "import gc; gc.disable(); from runner.cli import main; main()"
    with (folder / "vendor").open("wb") as out:
        process = subprocess.Popen([sys.executable, "-c", program, *words], cwd=ROOT, stdout=out)
    with contextlib.suppress(PermissionError):  # whoever dates what arrives must not wait for a core itself
        os.setpriority(os.PRIO_PROCESS, process.pid, -20)
    try:
        while not (said := (folder / "vendor").read_bytes()).endswith(b"\n"):
            time.sleep(0.05)
        yield Vendor(json.loads(said)["base_url"])
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def bench():
    """Start a database and a vendor."""
    with (
        tempfile.TemporaryDirectory(prefix="bd-bench-") as folder,
        postgres(SETTINGS) as server,
        vendor(Path(folder)) as sandbox,
    ):
        found = Bench(Path(folder), server, sandbox)
        try:
            yield found
        finally:
            found.close()


def most_in_a_second(times):
    """Return the most of these times, in order, that fall into any second."""
    return max((index - bisect.bisect_left(times, at - 1.0) + 1 for index, at in enumerate(times)), default=0)


def between(times, from_s, to_s):
    """Return how many of these times lie in between."""
    return bisect.bisect_left(times, to_s) - bisect.bisect_left(times, from_s)


class Table:
    """What was measured, beside what must be reached."""

    def __init__(self, title):
        self.missed = 0
        print(f"\n| {title} | measured | to be reached |\n|---|---|---|")

    def row(self, what, measured, most=None, least=None, unit="", places=0):
        """Print a figure, and whether it is within its bound."""
        bound = (
            "" if most is least is None else f"at most {most}{unit}" if least is None else f"at least {least}"
        )
        within = (most is None or measured <= most) and (least is None or measured >= least)
        self.missed += not within
        shown = f"{measured:,.{places}f}{unit}"
        print(f"| {what} | {shown}{'' if within else ' **missed**'} | {bound} |", flush=True)


def everything_happens(found):
    """Run with all that may befall a cluster, and print what came of it."""
    job = found.submit(BATCHES, SHARDS, "200/s")
    for _ in range(4):
        found.start()
    began_s = found.all_up_s()

    def at(second):
        time.sleep(max(0.0, began_s + second - time.time()))

    at(5)
    killed, stopped = found.workers[0], found.workers[1]
    killed.kill()
    killed_s = time.time()
    lost = {departure.shard for departure in found.departures() if departure.worker == 0}
    lost &= {shard for (shard,) in found.ask("SELECT shard FROM bulk_delete.shards WHERE state = 'doing'")}
    at(8)
    stopped.send_signal(signal.SIGSTOP)
    at(11)
    found.sandbox.script("429-seconds", retry_after_s=2)
    at(14)
    gone_s = found.crash()
    found.server.start()
    back_s = time.time()
    at(18)
    stopped.send_signal(signal.SIGCONT)
    found.until_done(job)
    departures, arrivals = found.departures(), found.arrivals()
    codes = found.end()
    times = [departure.at_s for departure in departures]

    table = Table("4 workers, 16 shards, 4,000 batches at 200/s")
    table.row("most in a second, at the gates", most_in_a_second(times), most=200)
    table.row("most in a second, at the server", most_in_a_second([at for at, _ in arrivals]), most=202)
    share = between(times, began_s + 1, killed_s) / (killed_s - began_s - 1) / 200
    table.row("share of the rate while all are up", share, least=0.95, places=3)
    refused_s = next(entry["done_at"] for _, entry in arrivals if entry["status"] == 429)
    refused_s += time.time() - time.monotonic()
    last_s = max((at for at in times if refused_s <= at < refused_s + 1.9), default=refused_s)
    table.row("last request after the 429", last_s - refused_s, most=0.2, unit=" s", places=3)
    table.row("requests after an epoch's end", after_their_end(found, departures, arrivals), most=0)
    senders = {}
    for departure in departures:
        if gone_s < departure.at_s < back_s:
            key = departure.worker, departure.shard
            senders[key] = senders.get(key, 0) + 1
    table.row("requests of one sender after the database was gone", max(senders.values(), default=0), most=12)
    on_its_way = [first_of(departures, shard, killed_s, not_by=0) - killed_s for shard in lost]
    table.row(
        "until the killed worker's shards were on their way", max(on_its_way), most=10, unit=" s", places=1
    )
    gap_s = times[bisect.bisect_left(times, back_s)] - back_s
    table.row("first request after the database was back", gap_s, unit=" s", places=2)
    table.row("seconds in all", times[-1] - times[0], places=1)
    print(f"| exit codes of the workers | {codes} | -9, then 143 |")
    table.missed += codes != [-9, 143, 143, 143]
    return (
        table.missed
        + books(found, table, job, arrivals)
        + cost(found, table, sum(at > back_s for at in times))
    )


def after_their_end(found, departures, arrivals):
    """Return how many requests left in an epoch that had ended.

    The server says so, for a process that is stopped while it writes dates its request when it wakes: what
    came for a shard since an epoch's end, less what its next owners sent.
    """
    came = {}
    for at_s, entry in arrivals:
        if not entry["phones"]:  # refused before anybody looked at it
            continue
        came.setdefault(shard_of(entry), []).append(at_s)
    late = 0
    for shard, epoch, ended in found.ask("SELECT shard, epoch - 1, at FROM bulk_delete.epochs"):
        since = sum(at_s > ended.timestamp() for at_s in came[shard])
        late += max(0, since - sum(d.shard == shard and d.epoch > epoch for d in departures))
    return late


@cache
def phones_of(batches):
    """Return the numbers of so many batches: drawn, for those in a row would be packed all too well."""
    drawn = random.Random(batches).sample(range(13_000_000_000, 20_000_000_000), batches * PHONES_A_BATCH)
    return [str(number) for number in drawn]


@cache
def places():
    """Return where in the plan each number stands."""
    return {phone: place for place, phone in enumerate(phones_of(BATCHES))}


def shard_of(entry):
    """Return the shard that a request belongs to: they are cut from the plan in order."""
    return places()[entry["phones"][0]] // (BATCHES // SHARDS * PHONES_A_BATCH) + 1


def first_of(departures, shard, after_s, *, not_by):
    """Return when a shard's first request left after some time, at another worker's gate."""
    return min(d.at_s for d in departures if d.shard == shard and d.at_s > after_s and d.worker != not_by)


def books(found, table, job, arrivals):
    """Fetch the job and hold its books against the server's own ledger."""
    fetched = found.folder / "fetched"
    found.type("cluster", "fetch", job, "--out", fetched)
    report = found.type("report", fetched)["items"][0]
    verified = found.type("verify", fetched)["items"]
    asked, phones = set(phones_of(BATCHES)), report["phones"]
    gone = {phone for _, entry in arrivals for phone in entry["deleted"]}
    whole = all(item["exit_code"] == 0 for item in verified)
    holds = phones["unique"] == sum(phones[name] for name in ("deleted", "failed", "unknown", "not_sent"))
    rows = sum(entry["count"] for _, entry in arrivals)
    print(f"| numbers that are gone, by the server's ledger | {len(gone):,} | {len(asked):,} |")
    print(f"| numbers that were asked for nowhere | {len(gone - asked):,} | 0 |")
    print(
        f"| the report: deleted, failed, unknown, not sent | {phones['deleted']:,}, {phones['failed']:,},"
        f" {phones['unknown']:,}, {phones['not_sent']:,} | equation holds: {holds} |"
    )
    print(f"| rows confirmed, of those that went | {report['count']:,} of {rows:,} | never more |")
    print(f"| `verify` of the folder | {'whole' if whole else 'damaged'} | whole |")
    right = gone == asked and holds and phones["deleted"] == len(asked) and whole and report["count"] <= rows
    return not right


def cost(found, table, requests):
    """Print what the run cost the database; so many requests left since it restarted."""
    ((turns, turn_ms),) = found.ask(
        "SELECT calls, total_time / calls FROM pg_stat_user_functions WHERE funcname = 'turn'"
    )
    ((plan, audit, log),) = found.ask(
        "SELECT pg_total_relation_size('bulk_delete.plan_pieces'),"
        f" pg_total_relation_size('bulk_delete.audit_pieces'), {LOG}"
    )
    table.row("turns a request, since the restart", turns / requests, places=2)
    table.row("time of a turn in the database", turn_ms, unit=" ms", places=2)
    table.row("the write-ahead log, of a batch", (log - found.log_before) / BATCHES, unit=" bytes")
    table.row("the plan, a batch of 100 numbers", plan / BATCHES, unit=" bytes")
    table.row("the audit, likewise", audit / BATCHES, unit=" bytes")
    return 0


def many_and_slow(found):
    """Let 12 workers share 20/s, and print how much of it they use."""
    job = found.submit(500, 24, "20/s")
    for _ in range(12):
        found.start()
    began_s = found.all_up_s()
    time.sleep(22)
    times = [departure.at_s for departure in found.departures()]
    table = Table("12 workers, 20/s")
    share = between(times, began_s + 2, began_s + 22) / 20 / 20
    table.row("share of the rate", share, least=0.93, places=3)
    table.row("most in a second, at the gates", most_in_a_second(times), most=20)
    found.type("cluster", "cancel", job)
    found.end()
    return table.missed


def ceiling(found):
    """Take turns as fast as the database can, with the lines of twelve batches each, and print how many."""
    shards, seconds = 8, 5.0
    job = found.submit(shards, shards, "9999999/s")
    lines = b"x" * 5000 + b"\n"

    async def own(shard):
        line = DatabaseLine(Database(found.url), Patience())
        rows = ShardRows(line, ShardKey(job, shard, 1), boot_time)
        assert await rows.begin("bench")
        taken = slots = 0
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            taken += 1
            slots += (await rows.take_turn(Turn(taken, lines, 12, None, {"orders": 0}))).grant.granted
        await line.close()
        return taken, slots

    async def all_own():
        return await asyncio.gather(*map(own, range(1, shards + 1)))

    began_s = time.monotonic()
    turns, slots = map(sum, zip(*asyncio.run(all_own()), strict=True))
    took_s = time.monotonic() - began_s
    table = Table(f"{shards} shards that take turns as fast as they can")
    table.row("turns a second", turns / took_s)
    table.row("slots a second", slots / took_s)
    return 0


def note_departures(path):
    """Let the gates of this process write down what leaves."""
    from runner.cluster.slots import SlotPacer

    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    depart = SlotPacer._depart

    def noting(self, write):
        # Not after the write: it wakes the server, which may take this core before the clock is read.
        at_s = time.time()
        left = depart(self, write)
        if left:
            key = self._turns._channel.key
            os.write(descriptor, DEPARTURE.pack(at_s, key.shard, key.epoch))
        return left

    SlotPacer._depart = noting


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gate", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--only", choices=["everything", "many", "ceiling"])
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.gate:
        from runner.cli import main as run_program

        note_departures(options.gate)
        sys.argv[1:] = options.words
        run_program()
    missed = 0
    for name, run in (("everything", everything_happens), ("many", many_and_slow), ("ceiling", ceiling)):
        if options.only in {None, name}:
            with bench() as found:
                missed += run(found)
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
