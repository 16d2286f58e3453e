"""Plans and audits changed by hand, as somebody with an editor and a hash function would change them.

The digest of a forged plan fits, and what it covers does not.
"""

import hashlib
import json

from tests.support.evidence import read_lines

__all__ = ["FAST", "JANUARY", "compact", "forge", "refused", "stopped_run", "whole"]

JANUARY = ("2024-01-01 00:00:00", "2024-01-31 23:59:59")
FAST = ("--yes", "--rate", "unlimited")


def whole(rows, window=JANUARY):
    """An entry that deletes a window."""
    return {"delete_window": True, "created_at": list(window), "max_rows": rows}


def forge(plan, change_header=None, change_batches=None):
    """Edit a plan and compute its digest anew."""
    header, *batches = read_lines(plan)
    header.pop("digest")
    if change_header is not None:
        change_header(header)
    if change_batches is not None:
        change_batches(batches)
    body = b"".join(compact(batch) + b"\n" for batch in batches)
    head = compact(header)[:-1]
    digest = hashlib.sha256(head + body).hexdigest()
    plan.write_bytes(head + b',"digest":"' + digest.encode() + b'"}\n' + body)


def compact(record):
    """JSON as the program writes it."""
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()


def refused(ended, sandbox, *words):
    """Check that nothing was sent, and that it was said why, in words."""
    ended.expect(2)
    assert "internal" not in ended.err
    for word in words:
        assert word in ended.err, ended.err
    assert sandbox.deletions() == []


def stopped_run(program, sandbox, users, *args, **safety):
    """A run that a refused token stopped after two batches."""
    for user, phones in users.items():
        sandbox.pool.add_phones(user, phones)
    sandbox.control(token_expires_after=2)
    job = program.job(users, **({"safety": safety} if safety else {}))
    program("run", job, *FAST, "--concurrency", "1", "--audit", "a.jsonl", *args).expect(3)
    sandbox.control(token_expires_after=None)
    return program.folder / "a.jsonl"
