"""Fetched jobs to test with: a folder of shards as a cluster's fetch leaves it, made here after the contract.

Plans are cut and the manifest is written by hand, so that nothing of the runner stands on both sides.
"""

import hashlib
import json
import random
from dataclasses import dataclass, field
from pathlib import Path

from runner.audit.fold import Fold
from tests.support import audits
from tests.support.evidence import read_lines, rechain
from tests.support.plans import header_of

NAME = "nightly"
RUN_ID = "1f"
URL = "http://127.0.0.1:1"
AT = "2026-01-02T04:00:00+00:00"
STATES = ("deleted", "failed", "unknown", "not_sent")


def audit_of(folder, shard):
    return folder / f"shard-{shard:04d}.jsonl"


def plan_of(folder, shard):
    return folder / f"shard-{shard:04d}.jsonl.plan"


def _compact(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def write_plan(path, header, batches):
    """Write a plan of these batches (without `seq`) under a header with their totals; returns its digest."""
    batches = [{"seq": seq, **batch} for seq, batch in enumerate(batches, start=1)]
    unique = sum(len(batch.get("phone", ())) for batch in batches)
    more = {part: header["totals"][part] for part in ("duplicate", "rejected", "protected", "blank")}
    totals = {
        **more,
        "unique": unique,
        "read": unique + more["duplicate"] + more["rejected"] + more["protected"],
        "batches": len(batches),
        "users": len({batch["user_id"] for batch in batches}),
        "windows": sum(bool(batch.get("delete_window")) for batch in batches),
    }
    head = _compact({**header, "totals": totals})[:-1]
    body = b"".join(_compact(batch) + b"\n" for batch in batches)
    digest = hashlib.sha256(head + body).hexdigest()
    path.write_bytes(head + b',"digest":"' + digest.encode() + b'"}\n' + body)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _without_more(header):
    """A header of the second shard and the later ones: all that was read is asked."""
    return {**header, "totals": dict.fromkeys(header["totals"], 0)}


def cut_plan(plan, folder, shards):
    """Cut a plan into so many, each in its place in a folder."""
    header, *batches = read_lines(plan)
    del header["digest"]
    windows = {window["seq"]: window for window in header["windows"]}
    size = -(-len(batches) // shards)
    for shard in range(1, shards + 1):
        part = batches[(shard - 1) * size : shard * size]
        mine = [
            {**windows[batch["seq"]], "seq": seq}
            for seq, batch in enumerate(part, 1)
            if batch["seq"] in windows
        ]
        own = header if shard == 1 else _without_more(header)
        bare = [{key: value for key, value in batch.items() if key != "seq"} for batch in part]
        write_plan(plan_of(folder, shard), {**own, "windows": mine}, bare)


def write_manifest(folder, shards, *, state="open", **changes):
    """Write the manifest of what stands in a folder, after the contract; returns what it says."""
    entries = []
    for shard in range(1, shards + 1):
        plan, audit = plan_of(folder, shard), audit_of(folder, shard)
        totals = read_lines(plan)[0]["totals"]
        records = read_lines(audit) if audit.exists() else []
        entries.append(
            {
                "shard": shard,
                "plan_sha256": hashlib.sha256(plan.read_bytes()).hexdigest(),
                "batches": totals["batches"],
                "phones": totals["unique"],
                "records": len(records),
                "head": records[-1]["chain"] if records else None,
            }
        )
    said = {
        "type": "cluster_job",
        "v": 1,
        "job": f"{NAME}-0123456789ab",
        "name": NAME,
        "base_url": URL,
        "run_id": RUN_ID,
        "plan_sha256": "0" * 64,
        "state": state,
        "fetched_at": AT,
        "planned": {part: sum(entry[part] for entry in entries) for part in ("batches", "phones")},
        "shards": entries,
        **changes,
    }
    (folder / "job.json").write_bytes(_compact(said))
    return said


def same_run(folder, shards):
    """Give the audits that the ordinary program wrote one run id, as a cluster's have."""
    for shard in range(1, shards + 1):
        if (audit := audit_of(folder, shard)).exists():
            rechain(
                audit, lambda record: {**record, **({"run_id": RUN_ID} if record["type"] == "run" else {})}
            )


@dataclass
class Shard:
    """A shard made up: its batches, and its audit's records after the first; None: it never began."""

    batches: list = field(default_factory=list)
    records: list | None = field(default_factory=list)
    """`summary`, `killed` and `resume` stand for the ends and the starts of sessions."""

    @property
    def ended(self):
        ends = [
            record for record in self.records or () if isinstance(record, dict) and record["type"] == "batch"
        ]
        return len(ends) == len(self.batches) and self.records[-1] == "summary"


def _batch(rng, number):
    user = rng.choice(("u1", "u2", "u3"))
    return {"user_id": user, "phone": [f"139{number:05d}{n:03d}" for n in range(rng.randint(1, 5))]}


def _end(rng, seq, batch, prior):
    status = rng.choice(("deleted", *STATES))
    size = len(batch["phone"])
    left = 0 if status == "deleted" else rng.randint(1, size)
    uncertain = {"deleted": rng.randint(0, 1), "unknown": 1}.get(status, 0)
    target = audits.Target(batch["user_id"])
    more = {"count": rng.randint(0, 3)} if status == "deleted" else {}
    if status == "failed" and rng.random() < 0.2:
        more["error"] = "forbidden"
    return audits.batch(
        seq,
        status,
        phones=size,
        left=left,
        uncertain=prior[1] + uncertain,
        attempts=prior[0] + (0 if status == "not_sent" else rng.randint(1, 3)),
        target=target,
        duration_ms=rng.randint(1, 9000),
        phone=tuple(batch["phone"][:left]),
        phones_sha256=audits.phones_sha256(batch["phone"]),
        **more,
    )


def made_up(seed):
    """Shards as a job may stand at any moment, from a seed."""
    rng, number, shards = random.Random(seed), 0, []
    for _ in range(rng.randint(1, 5)):
        shard = Shard()
        for _ in range(rng.randint(1, 8)):
            number += 1
            shard.batches.append(_batch(rng, number))
        if rng.random() < 0.15:
            shard.records = None
        else:
            _live(rng, shard)
        shards.append(shard)
    return shards


def _live(rng, shard):
    """Give a shard one session or two; each may leave batches open, the last one may be killed over some."""
    todo, prior = dict(enumerate(shard.batches, start=1)), {}
    sessions = rng.randint(1, 2)
    for session in range(1, sessions + 1):
        killed = session == sessions and rng.random() < 0.25
        shard.records += ["resume"] if session > 1 else []
        for seq, batch in list(todo.items()):
            fate = (
                "end"
                if rng.random() < (0.95 if session == sessions else 0.6)
                else rng.choice(("open", "killed", ""))
            )
            if fate == "end":
                shard.records += [audits.sending(seq), _end(rng, seq, batch, prior.get(seq, (0, 0)))]
                del todo[seq]
            elif fate == "open":
                attempts, uncertain = prior.get(seq, (0, 0))
                prior[seq] = attempts + rng.randint(1, 2), uncertain + rng.randint(0, 1)
                shard.records += [audits.sending(seq), audits.left_open(seq, *prior[seq])]
            elif fate == "killed" and killed:
                shard.records.append(audits.sending(seq))
        shard.records.append("killed" if killed else "summary")
        if not todo:
            break


def _whole(shard, sha256):
    """The records of a shard's audit."""
    fold, records = Fold(), []
    batches, phones = len(shard.batches), sum(len(batch["phone"]) for batch in shard.batches)

    def put(record):
        records.append(record)
        audits.feed(fold, [record])

    put(_run(batches, phones, sha256))
    for record in shard.records:
        if record == "summary":
            put(_summary(fold.totals(lambda seq: len(shard.batches[seq - 1]["phone"]))))
        elif record == "resume":
            put(_run(batches, phones, sha256, mode="resume"))
        elif record != "killed":
            put(record)
    return records


def _summary(totals):
    """What was read is what was asked, but for the first shard, of which its plan tells more."""
    phones = {"read": totals.phones["unique"], "duplicate": 0, "rejected": 0, "protected": 0, **totals.phones}
    return audits.summary(totals, phones=phones)


def _run(batches, phones, sha256, mode="run"):
    return audits.run(
        batches=batches, phones=phones, job=NAME, run_id=RUN_ID, plan_sha256=sha256, base_url=URL, mode=mode,
        limits={"rate": "20/s", "concurrency": 4, "timeout": 30.0, "max_attempts": 6, "deadline": None},
        safety=json.loads(header_of().to_json())["safety"],
    )  # fmt: skip


def write_job(folder, shards, **manifest):
    """Write a made-up job as it is fetched."""
    folder.mkdir()
    header = json.loads(header_of(name=NAME).to_json())
    for number, shard in enumerate(shards, start=1):
        own = (
            header
            if number > 1
            else {**header, "totals": {**header["totals"], "duplicate": 3, "rejected": 2}}
        )
        sha256 = write_plan(plan_of(folder, number), own, shard.batches)
        if shard.records is not None:
            audits.write(audit_of(folder, number), _whole(shard, sha256))
    return write_manifest(folder, len(shards), **manifest)


def write_undivided(path, shards):
    """Write the same history as one audit with one plan, in one session, which has no end."""
    header = json.loads(header_of(name=NAME).to_json())
    header["totals"] |= {"duplicate": 3, "rejected": 2}
    batches = [batch for shard in shards for batch in shard.batches]
    sha256 = write_plan(Path(f"{path}.plan"), header, batches)
    records, before = [_run(len(batches), sum(len(batch["phone"]) for batch in batches), sha256)], 0
    for shard in shards:
        said = [record for record in shard.records or () if isinstance(record, dict)]
        records += [{**record, "seq": record["seq"] + before} for record in said]
        before += len(shard.batches)
    return audits.write(path, records)
