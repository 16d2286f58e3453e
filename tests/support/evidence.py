"""Plans and audits as a stranger reads them, by the contract's words, and held against the sandbox's ledger.

Nothing of the runner is used here, or both could be wrong together.
"""

import hashlib
import json
from collections import Counter
from pathlib import Path

__all__ = [
    "Plan",
    "check_equation",
    "check_evidence",
    "covered",
    "of_type",
    "read_audit",
    "read_lines",
    "rechain",
    "summary_in",
]

NAMES = ("v", "message", "hint", "job", "run_id", "audit", "plan", "base_url", "next", "refused_users")
"""What a run's result says beside its summary."""


def read_lines(path):
    """The JSON lines of a file, a torn last one left out."""
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    return [json.loads(line) for line in whole.split(b"\n") if line]


def summary_in(result):
    """The summary record that a run's result repeats."""
    assert set(NAMES) < set(result)
    own = {name: value for name, value in result.items() if name not in NAMES}
    return {**own, "type": "summary"}


def read_audit(path):
    """The records of an audit, whose chain is checked here after the contract."""
    data = path.read_bytes()
    assert data.endswith(b"\n"), "torn"
    previous = ""
    for line in data.split(b"\n")[:-1]:
        head, comma, tail = line.rpartition(b',"chain":"')
        assert comma, line
        previous = hashlib.sha256(previous.encode() + head).hexdigest()
        assert tail == previous.encode() + b'"}', line
    return read_lines(path)


def of_type(records, kind):
    """Those records that are of this type."""
    return [record for record in records if record["type"] == kind]


def rechain(path, change):
    """Write an audit anew, each record changed and the chain made to fit: what a forger could do."""
    previous, lines = "", []
    for record in read_lines(path):
        record.pop("chain")
        head = json.dumps(change(record), ensure_ascii=False, separators=(",", ":")).encode()[:-1]
        previous = hashlib.sha256(previous.encode() + head).hexdigest()
        lines.append(head + b',"chain":"' + previous.encode() + b'"}\n')
    path.write_bytes(b"".join(lines))


class Plan:
    """A plan's batches by seq, and which batch a request belongs to."""

    def __init__(self, path):
        self.header, *batches = read_lines(path)
        self.batches = {batch["seq"]: batch for batch in batches}
        self._seq_of = {}
        for seq, batch in self.batches.items():
            for phone in batch.get("phone", [None]):
                key = (*_scope(batch), phone)
                assert key not in self._seq_of, f"{key} stands twice in the plan"
                self._seq_of[key] = seq

    def seq_of(self, entry):
        """The one batch that a request to delete belongs to, whole or a part of it."""
        window = entry["created_at"] and list(entry["created_at"])
        scope = (entry["user_id"], window and tuple(window), entry["encryption"])
        seqs = {self._seq_of[(*scope, phone)] for phone in entry["phones"] or [None]}
        assert len(seqs) == 1, f"a request over batches {seqs}"
        return seqs.pop()


def _scope(batch):
    window = batch.get("created_at")
    return batch["user_id"], window and tuple(window), bool(batch.get("encryption"))


def covered(records):
    """The seqs that `sending` records cover, and how often each."""
    seqs = Counter()
    for record in of_type(records, "sending"):
        first = record.get("seq", record.get("from"))
        seqs.update(range(first, record.get("to", first) + 1))
    return seqs


def check_evidence(audit, sandbox, *, finished=True):
    """Hold a plan and an audit against the sandbox's ledger, after the promises."""
    records, plan = read_audit(audit), Plan(Path(f"{audit}.plan"))
    ends = of_type(records, "batch")
    assert len({end["seq"] for end in ends}) == len(ends), "a batch ended twice"
    sent, known = sandbox.deletions(), covered(records)
    requests, unread = Counter(), 0  # of what fails before the service looks at it the ledger has no body
    for entry in sent:
        assert len(entry["phones"]) == len(set(entry["phones"])) <= 100
        if not entry["phones"] and not entry["processed"]:
            unread += 1
            continue
        seq = plan.seq_of(entry)
        assert entry["phones"] or plan.batches[seq].get("delete_window"), "a window without phones"
        assert seq in known, f"batch {seq} was sent and the audit does not know"
        requests[seq] += 1
    requests[None] = unread
    confirmed = sum(end["count"] or 0 for end in ends)
    truth = sum(entry["count"] for entry in sent)
    uncertain = sum(end["uncertain_attempts"] for end in ends)
    attempts = sum(end["attempts"] for end in ends)
    assert not finished or uncertain or attempts == len(sent), f"{attempts} attempts, {len(sent)} requests"
    assert confirmed <= truth
    assert uncertain or not finished or confirmed == truth
    if finished:
        assert {end["seq"] for end in ends} == set(plan.batches), "a batch was lost"
        check_equation(records[-1])
    return records, plan, requests


def check_equation(summary):
    """Asked is deleted, failed, unknown and not sent, in batches and in phones."""
    batches, phones = summary["batches"], summary["phones"]
    states = ("deleted", "failed", "unknown", "not_sent")
    assert batches["planned"] == sum(batches[state] for state in states)
    assert phones["unique"] == sum(phones[state] for state in states)
    assert phones["read"] == sum(phones[how] for how in ("unique", "duplicate", "rejected", "protected"))
