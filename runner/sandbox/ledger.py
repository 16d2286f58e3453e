"""What really happened: every request that arrived, what was done for it, and what was said about it.

The ledger is the judge of a rehearsal: it knows which rows went, also where the client never heard of it.
An entry stands from the moment its request arrives; it is complete when `done`. It holds no token, and phones
as JSON texts, so that a million phones cost some 20 to 35 MB.
"""

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import orjson

from runner.sandbox.pool import Swept, Window

__all__ = ["Ledger", "LedgerEntry", "busiest"]


@dataclass(slots=True)
class LedgerEntry:
    """One request.

    Args:
        number: From 1, in order of arrival.
        at: Seconds of the monotonic clock at arrival.
        call: `del_customer`, `get_customer`, `async_customer`, `token`, or `other`.
        user_id: As in the path; empty where there is none.
        created_at: The window, if the request had a well-formed one.
        fault: What was made to go wrong: a name of FAULTS, `rate_limit`, `outage`, `redirect`, or None.
        processed: Whether its work was done; for a deletion, whether rows were looked up and deleted.
        count: Rows deleted (or imported).
        status: HTTP status that was sent, None when no reply was.
        code: `code` of the envelope that was sent, if one was.
        replied: `envelope`, `html`, `redirect`, `garbage`, `truncated`, `empty`, `garbled`, `reset`,
            `closed`, `hung`, or `gone` when the client had left before the reply.
        done_at: Seconds of the monotonic clock when the sandbox was through with it, None before.
    """

    number: int
    at: float
    method: str
    call: str
    user_id: str
    created_at: Window | None = None
    encryption: bool = False
    fault: str | None = None
    processed: bool = False
    count: int = 0
    status: int | None = None
    code: int | None = None
    replied: str | None = None
    done_at: float | None = None
    _asked: bytes = b""
    _swept: bytes = b""
    _swept_rows: Sequence[int] = b""

    @property
    def done(self) -> bool:
        """Whether the sandbox is through with it."""
        return self.done_at is not None

    @property
    def phones(self) -> list[str]:
        """Phones as the body had them, in order, repeats included."""
        return _loads(self._asked)

    @property
    def deleted(self) -> dict[str, int]:
        """Phones that lost rows, and how many."""
        return dict(zip(_loads(self._swept), self._swept_rows, strict=True))

    def note_phones(self, phones: Sequence[str]) -> None:
        """Note which phones the body had."""
        self._asked = _dumps(phones)

    def note_swept(self, swept: Swept) -> None:
        """Note which rows went."""
        self._swept = _dumps(swept.phones)
        if self._swept == self._asked:
            self._swept = self._asked  # one text in memory for both
        self._swept_rows = bytes(swept.rows) if max(swept.rows, default=0) < 256 else swept.rows
        self.count = swept.count

    def as_dict(self) -> dict[str, object]:
        """Return it as JSON shows it."""
        told = {field.name: getattr(self, field.name) for field in fields(self) if field.name[0] != "_"}
        return {**told, "phones": self.phones, "deleted": self.deleted}


class Ledger:
    """Every request since the start, and the folds of them that a rehearsal is judged by."""

    def __init__(self) -> None:
        self.entries: list[LedgerEntry] = []
        self.tally: Counter[str] = Counter()
        """Requests by `call:NAME`, `fault:NAME`, `status:CODE`, `replied:HOW`, kept as they end."""
        self._arrivals = array("d")

    def __len__(self) -> int:
        return len(self.entries)

    def open(self, at: float, method: str, call: str, user_id: str) -> LedgerEntry:
        """Note an arrival and return its entry."""
        entry = LedgerEntry(len(self.entries) + 1, at, method, call, user_id)
        self.entries.append(entry)
        self._arrivals.append(at)
        self.tally[f"call:{call}"] += 1
        return entry

    def close(self, entry: LedgerEntry, at: float) -> None:
        """Note that the sandbox is through with this request."""
        entry.done_at = at
        self.tally[f"replied:{entry.replied}"] += 1
        if entry.fault is not None:
            self.tally[f"fault:{entry.fault}"] += 1
        if entry.status is not None:
            self.tally[f"status:{entry.status}"] += 1
        if entry.call == "del_customer" and entry.processed:
            self.tally["deletions"] += 1
            self.tally["deleted_rows"] += entry.count

    def since(self, number: int, limit: int | None = None) -> list[LedgerEntry]:
        """Return the entries after that number, oldest first."""
        stop = None if limit is None else number + limit
        return self.entries[number:stop]

    def deletions(self) -> Iterator[LedgerEntry]:
        """Yield the requests whose deletion was carried out."""
        return (e for e in self.entries if e.processed and e.call == "del_customer")

    def deleted_rows(self) -> int:
        """Rows deleted, in total."""
        return sum(entry.count for entry in self.deletions())

    def deleted_by_phone(self, user_id: str | None = None) -> dict[tuple[str, str], int]:
        """Return (user id, phone) → rows deleted, of one user or of all."""
        rows: Counter[tuple[str, str]] = Counter()
        for entry in self.deletions():
            if user_id is None or entry.user_id == user_id:
                for phone, count in entry.deleted.items():
                    rows[entry.user_id, phone] += count
        return dict(rows)

    def max_arrivals(self, window_s: float = 1.0, call: str | None = None) -> int:
        """Return the most requests that arrived in any `window_s` seconds, of one call or of all."""
        return busiest(
            self._arrivals if call is None else [e.at for e in self.entries if e.call == call], window_s
        )

    def stats(self) -> dict[str, object]:
        """Return the totals as JSON shows them."""
        groups: dict[str, dict[str, int]] = {"call": {}, "fault": {}, "status": {}, "replied": {}}
        for key, count in self.tally.items():
            group, colon, name = key.partition(":")
            if colon:
                groups[group][name] = count
        return {
            "requests": len(self.entries),
            "in_flight": len(self.entries) - sum(groups["replied"].values()),
            "by_call": groups["call"],
            "by_fault": groups["fault"],
            "by_status": groups["status"],
            "by_reply": groups["replied"],
            "deletions": self.tally["deletions"],
            "deleted_rows": self.tally["deleted_rows"],
            "max_in_1s": self.max_arrivals(1.0),
            "max_in_60s": self.max_arrivals(60.0),
        }


def busiest(times: Sequence[float], window_s: float) -> int:
    """Return the most of these times, in order, that fall into any half-open window of that length."""
    most = first = 0
    for last, at in enumerate(times):
        while at - times[first] >= window_s:
            first += 1
        most = max(most, last - first + 1)
    return most


def _dumps(phones: Sequence[str]) -> bytes:
    """Return the phones as JSON; a copy, for what orjson returns keeps its whole, much larger buffer."""
    return bytes(memoryview(orjson.dumps(phones)))


def _loads(text: bytes) -> list[str]:
    return list(orjson.loads(text)) if text else []
