"""A disk in memory that forgets what was not synced, and an audit's reader of its own.

`Book` is a second opinion: it works an audit out from the contract, line by line, and shares nothing with
the ledger. `Disk` outlives the processes of a history; `ProcessFile` is one process's open file on it.
"""

import errno
import hashlib
import os
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import orjson

from runner.audit.journal import DiskFile
from runner.errors import Stopped

STATUSES = ("deleted", "failed", "unknown", "not_sent")


class Book:
    """What the lines of an audit say; `problems` collects what no audit may say."""

    def __init__(self, sizes: list[int]) -> None:
        self.sizes = sizes  # phones by seq - 1
        self.chain = ""
        self.session = 0
        self.concurrency = 1
        self.in_session = False
        self.pending: set[int] = set()
        self.prior: dict[int, tuple[int, int]] = {}
        self.ended: dict[int, dict] = {}
        self.ended_in: dict[int, int] = {}
        self.kinds: dict[tuple[int, int], str] = {}  # by session and seq: sending, open or batch
        self.deleted_in_session = False
        self.summary: dict | None = None
        self.server_pause_to: str | None = None
        self.problems: list[str] = []

    def read(self, line: bytes) -> dict:
        record = orjson.loads(line)
        head, tail = line[:-77], line[-77:]
        self.chain = hashlib.sha256(self.chain.encode() + head).hexdigest()
        self._expect(tail == b',"chain":"' + self.chain.encode() + b'"}\n', "the chain is broken")
        self._expect(self.in_session or record["type"] == "run", f"a {record['type']} record stands here")
        getattr(self, "_" + record["type"])(record)
        return record

    def _expect(self, holds: bool, what: str) -> None:
        if not holds:
            self.problems.append(f"audit: {what}")

    def _run(self, record: dict) -> None:
        for seq in self.pending:
            attempts, uncertain = self.prior.get(seq, (0, 0))
            self.prior[seq] = attempts + 1, uncertain + 1
        self.pending.clear()
        self.session += 1
        self.in_session, self.summary, self.deleted_in_session = True, None, False
        self.concurrency = record["limits"]["concurrency"]
        self._expect((record["mode"] == "run") == (self.session == 1), "a run record of the wrong mode")

    def _sending(self, record: dict) -> None:
        first, last = record.get("from", record.get("seq")), record.get("to", record.get("seq"))
        for seq in range(first, last + 1):
            self._expect(seq not in self.ended, f"an intent covers {seq}, which has ended")
            self._expect(seq not in self.pending, f"a second intent for {seq}")
            self.pending.add(seq)
            self.kinds[self.session, seq] = "sending"
        most = 4 * self.concurrency
        self._expect(len(self.pending) <= most, f"{len(self.pending)} intents are open, {most} at most")

    def _open(self, record: dict) -> None:
        seq = record["seq"]
        self._expect(seq in self.pending, f"{seq} is left open without an intent")
        self.pending.discard(seq)
        self.kinds[self.session, seq] = "open"
        self.prior[seq] = record["attempts"], record["uncertain_attempts"]

    def _batch(self, record: dict) -> None:
        seq = record["seq"]
        self._expect(seq not in self.ended, f"{seq} has a second batch record")
        self.pending.discard(seq)
        self.ended[seq], self.ended_in[seq] = record, self.session
        self.kinds[self.session, seq] = "batch"
        if record["status"] == "deleted":
            self.deleted_in_session = True

    def _pace(self, record: dict) -> None:
        if record["until"] is not None and not record["why"].startswith("breaker:"):
            self.server_pause_to = max(record["until"], self.server_pause_to or "")

    def _rejected(self, record: dict) -> None:
        pass

    def _summary(self, record: dict) -> None:
        self.in_session, self.summary = False, record
        batches, phones = self.totals()
        told = record["phones"]
        self._expect(
            record["batches"] == {"planned": len(self.sizes), **batches}, "the batches do not add up"
        )
        self._expect({key: told[key] for key in STATUSES} == phones, "the phones do not add up")
        self._expect(told["unique"] == sum(phones.values()), "asked is not the sum of its parts (phones)")
        self._expect(sum(batches.values()) == len(self.sizes), "asked is not the sum of its parts (batches)")
        counts = [end["count"] for end in self.ended.values()]
        self._expect(record["count"] == sum(c for c in counts if c), "count is not the sum of the records'")
        self._expect(record["empty_batches"] == counts.count(0), "empty_batches")
        ended_in_doubt = sum(1 for end in self.ended.values() if end["uncertain_attempts"])
        self._expect(
            record["uncertain_batches"] == ended_in_doubt + len(self.in_doubt()), "uncertain_batches"
        )

    def in_doubt(self) -> set[int]:
        """Open batches with an attempt whose end nobody knows."""
        prior = {seq for seq, (_, uncertain) in self.prior.items() if uncertain and seq not in self.ended}
        return prior | self.pending

    def attempts_of(self, seq: int) -> tuple[int, int]:
        """Attempts and uncertain ones of a batch, as the audit tells them."""
        if seq in self.ended:
            return self.ended[seq]["attempts"], self.ended[seq]["uncertain_attempts"]
        attempts, uncertain = self.prior.get(seq, (0, 0))
        return attempts + (seq in self.pending), uncertain + (seq in self.pending)

    def totals(self) -> tuple[dict[str, int], dict[str, int]]:
        """Batches and phones by status, from the contract's words on open and split batches."""
        batches, phones = dict.fromkeys(STATUSES, 0), dict.fromkeys(STATUSES, 0)
        doubtful = self.in_doubt()
        for seq, size in enumerate(self.sizes, start=1):
            end = self.ended.get(seq)
            status = end["status"] if end else "unknown" if seq in doubtful else "not_sent"
            left = end["phones_left"] if end else size
            batches[status] += 1
            phones[status] += left
            phones["deleted"] += size - left
        return batches, phones


class Disk:
    """The bytes of one audit: those that were written, of which the first `durable` survive a power cut."""

    def __init__(self, sizes: list[int]) -> None:
        self.sizes = sizes
        self._start(b"", 0)

    def _start(self, data: bytes, durable: int) -> None:
        self.data = bytearray()
        self.durable = 0
        self.lines: list[tuple[int, bytes]] = []
        self.written, self.safe = Book(self.sizes), Book(self.sizes)
        self._read_safe = 0
        for line in data.splitlines(keepends=True) if b"\n" in data else []:
            self.write(line)
        self.synced(durable)

    def size_of(self, seq: int) -> int:
        """Phones of a batch, as the plan says."""
        return self.sizes[seq - 1]

    def write(self, data: bytes) -> None:
        self.data += data
        if data.endswith(b"\n"):
            self.lines.append((len(self.data), data))
            self.written.read(data)

    def tear(self, data: bytes) -> None:
        """Write a part of a record, which nobody could cut back."""
        self.data += data

    def synced(self, upto: int) -> None:
        self.durable = max(self.durable, min(upto, len(self.data)))
        while self._read_safe < len(self.lines) and self.lines[self._read_safe][0] <= self.durable:
            self.safe.read(self.lines[self._read_safe][1])
            self._read_safe += 1

    def survive(self, kept: int) -> int:
        """Keep the first bytes only and repair the tail, as the next opening does; returns what was torn."""
        data = bytes(self.data[:kept])
        whole = data[: data.rfind(b"\n") + 1]
        self._start(whole, min(self.durable, len(whole)) if len(whole) == len(data) else len(whole))
        return len(data) - len(whole)


@dataclass
class DiskFaults:
    """What goes wrong with the disk in one session; numbers count appends or syncs of the session."""

    sync_s: float = 0.0002
    slow_sync_s: float = 0.0
    slow_share: float = 0.0
    stalls_at: int | None = None
    stall_s: float = 0.0
    full_at: int | None = None
    full_for: int = 10**9
    torn_when_full: bool = False
    torn_when_killed: bool = False
    sync_fails_at: int | None = None
    moved_at: int | None = None
    """From this sync on the file is not in its place; a person puts it back after the session."""
    rng: random.Random = field(default_factory=random.Random)

    def next_sync_s(self, number: int) -> float:
        if number == self.stalls_at:
            return self.stall_s
        return self.slow_sync_s if self.rng.random() < self.slow_share else self.sync_s


class ProcessFile(DiskFile):
    """`DiskFile` with its real sharing of syncs, on a simulated disk; of no effect once its process died."""

    def __init__(
        self, disk: Disk, faults: DiskFaults, life, sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        self._disk, self._faults, self._life, self._sleep = disk, faults, life, sleep
        self._size = len(disk.data)
        self._synced = disk.durable
        self._failure = None
        self._round = None
        self.appends = self.syncs = 0
        self.broken = False

    def append(self, data: bytes) -> None:
        if not self._life.alive:
            return
        self.appends += 1
        if not self._life.tick("append"):
            if self._faults.torn_when_killed:
                self._disk.tear(data[: self._faults.rng.randint(1, len(data) - 1)])
            return
        if self.broken:
            self._disk.written.problems.append("disk: a write after one that failed")
        full_at = self._faults.full_at
        if full_at is not None and full_at <= self.appends < full_at + self._faults.full_for:
            self.broken = True
            if self._faults.torn_when_full:
                self._disk.tear(data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._disk.write(data)
        self._size = len(self._disk.data)
        self._life.tick("appended")

    async def _sync_once(self) -> None:
        covers = self._size
        self.syncs += 1
        if self.broken:
            self._disk.written.problems.append("disk: a failed sync is tried again")
        try:
            await self._sleep(self._faults.next_sync_s(self.syncs))
            self._fail_if_due()
            if self._life.tick("sync"):
                self._disk.synced(covers)
                self._life.tick("synced")
            self._synced = covers
        except (OSError, Stopped) as error:
            self._failure = error
        finally:
            self._round = None

    def _fail_if_due(self) -> None:
        if self._faults.sync_fails_at is not None and self.syncs >= self._faults.sync_fails_at:
            self.broken = True
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if self._faults.moved_at is not None and self.syncs >= self._faults.moved_at:
            self.broken = True
            raise Stopped("audit: it was moved away")

    def close(self) -> None:
        pass
