"""Endings of runs, made up."""

from dataclasses import replace

from runner.audit.records import BatchTotals, PhoneTotals, SummaryRecord
from runner.errors import RunNames
from runner.tell.ending import Ending

__all__ = ["ending", "summary"]

NEXT = "bulk-delete rerun audit/nightly.jsonl"
PHONES = {
    "read": 11,
    "unique": 10,
    "duplicate": 1,
    "rejected": 0,
    "protected": 0,
    "deleted": 7,
    "failed": 2,
    "unknown": 1,
    "not_sent": 0,
}


def summary(**changes):
    told = {
        "status": "partial",
        "why": None,
        "exit_code": 1,
        "batches": BatchTotals(planned=3, deleted=2, failed=1, unknown=0, not_sent=0),
        "phones": PhoneTotals(
            read=11,
            unique=10,
            duplicate=1,
            rejected=0,
            protected=0,
            deleted=7,
            failed=2,
            unknown=1,
            not_sent=0,
        ),
        "count": 9,
        "uncertain_batches": 0,
        "empty_batches": 0,
        "requests": 5,
        "retries": 2,
        "plan_s": 0.5,
        "duration_s": 12.5,
        "rate_achieved": 0.4,
        "max_in_window": 3,
    }
    return SummaryRecord(**{**told, **changes})


def ending(code, *, job="nightly", sent=True, at=1_764_000_000.0, **changes):
    names = RunNames(job, "ab12", "audit/nightly.jsonl", "audit/nightly.jsonl.plan", "https://v", NEXT)
    told = Ending(
        exit_code=code,
        names=replace(names, job=job),
        why="2 × refused",
        hint=None,
        summary=summary() if sent else None,
        result={"type": "run"},
        host="db-3",
        folder="/srv/cleanup",
        ended_s=at,
    )
    return replace(told, **changes)
