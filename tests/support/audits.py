"""Audits to test with: records of plausible content, and a file that holds them, chained."""

import hashlib
import json
from pathlib import Path

import msgspec

from runner.audit import records as r
from runner.model import Target, phones_sha256

AT = "2026-01-02T03:04:05.678+00:00"
USER = "5832d184-dd53-42a0-8ace-0bf8d660f4cc"
TARGET = Target(USER)


def run(*, batches=3, phones=None, mode="run", **changes):
    given = {
        "v": r.AUDIT_VERSION,
        "run_id": "1f",
        "job": "夜间清理",
        "plan_sha256": "0" * 64,
        "version": "1.0.0",
        "base_url": "http://127.0.0.1:1",
        "limits": {"rate": "20/s", "concurrency": 4},
        "safety": {"max_failed": 0.05},
        "mode": mode,
        "reason": None,
        "operator": "ops",
        "planned": r.Planned(batches=batches, phones=2 * batches if phones is None else phones),
    }
    return r.as_json(r.RunRecord(**{**given, **changes}))


def sending(first, last=None):
    return r.as_json(r.SendingRecord.of(first, first if last is None else last))


def left_open(seq, attempts=0, uncertain=0):
    return r.as_json(r.OpenRecord(seq=seq, attempts=attempts, uncertain_attempts=uncertain))


def pace(**fields):
    return r.as_json(r.PaceRecord(**fields))


def rejected(**fields):
    return r.as_json(r.RejectedRecord(**fields))


def numbers(seq, phones=2):
    return [f"1745855{seq:03d}{n}" for n in range(phones)]


def batch(
    seq, status="deleted", *, phones=2, left=None, attempts=None, uncertain=0, target=TARGET, **changes
):
    """Return the end of a batch; by default everything or nothing of it was confirmed, in one attempt."""
    left = (0 if status == "deleted" else phones) if left is None else left
    least = 0 if status == "not_sent" else 1
    words = {"deleted": None, "failed": "refused", "unknown": "timeout", "not_sent": "skipped"}
    given = {
        "seq": seq,
        "user_id": target.user_id,
        "created_at": target.created_at,
        "encryption": target.encryption,
        "delete_window": target.delete_window,
        "phones": phones,
        "phones_left": left,
        "phones_sha256": phones_sha256(numbers(seq, phones)),
        "status": status,
        "count": 2 if status == "deleted" else None,
        "attempts": max(least, uncertain) if attempts is None else attempts,
        "uncertain_attempts": uncertain,
        "http_status": 200,
        "code": 200 if status == "deleted" else 6008,
        "message": "删除客户公海数据成功" if status == "deleted" else "参数错误",
        "error": words[status],
        "duration_ms": 12.5,
        "phone": numbers(seq, phones)[:left],
    }
    return r.as_json(r.BatchRecord(**{**given, **changes}))


def summary(totals, **changes):
    phones = totals.phones
    given = {
        "status": "complete" if totals.all_confirmed else "stopped" if totals.open_batches else "partial",
        "why": None,
        "exit_code": 0 if totals.all_confirmed else 1,
        "batches": dict(totals.batches),
        "phones": {
            "read": phones["unique"] + 3,
            "unique": phones["unique"],
            "duplicate": 1,
            "rejected": 2,
            "protected": 0,
            **phones,
        },
        "count": totals.count,
        "uncertain_batches": totals.uncertain_batches,
        "empty_batches": totals.empty_batches,
        "requests": 3,
        "retries": 0,
        "plan_s": 0.1,
        "duration_s": 75.0,
        "rate_achieved": 19.96,
        "max_in_window": 20,
        "peak_in_flight": 2,
        "proxy": False,
    }
    return r.as_json(r.SummaryRecord(**{**given, **changes}))


def typed(record):
    """Return a record as the runner holds it; with `at`, it is stamped."""
    return msgspec.convert(record, type=r.Record)


def feed(fold, records):
    """Take records into a fold as a live run does, all of one time."""
    for record in records:
        fold.add(typed({"at": AT, **record}), chain=record.get("chain", ""))


def chained(records, at=AT):
    """Return the lines of an audit, computed here from the contract and not by the runner."""
    lines, previous = [], ""
    for record in records:
        stamped = {"type": record["type"], "at": at, **record}
        head = json.dumps(stamped, ensure_ascii=False, separators=(",", ":")).encode()[:-1]
        previous = hashlib.sha256(previous.encode() + head).hexdigest()
        lines.append(head + b',"chain":"' + previous.encode() + b'"}\n')
    return lines


def write(path: Path, records) -> Path:
    path.write_bytes(b"".join(chained(records)))
    return path
