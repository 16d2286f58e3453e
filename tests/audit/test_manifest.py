"""The manifest of a fetched job: strict, private, and never of parts that do not add up."""

import json
import os

import msgspec
import pytest

from runner.audit.manifest import (
    LATE_FOLDER,
    MANIFEST,
    JobManifest,
    ShardEntry,
    is_job_folder,
    is_shard,
    late_audit,
    read_manifest,
    shard_audit,
    shard_plan,
    write_manifest,
)
from runner.audit.records import Planned
from runner.errors import AuditDamaged, Refused

A, B = "a" * 64, "b" * 64


def entry(shard=1, **changes):
    given = {"shard": shard, "plan_sha256": A, "batches": 2, "phones": 150, "records": 7, "head": B}
    return ShardEntry(**{**given, **changes})


def manifest(*shards, **changes):
    shards = shards or (entry(1), entry(2, records=0, head=None))
    given = {
        "job": "j1",
        "name": "夜间清理",
        "base_url": "http://127.0.0.1:1",
        "run_id": "1f",
        "plan_sha256": B,
        "state": "open",
        "fetched_at": "2026-01-02T03:04:05+00:00",
        "planned": Planned(batches=sum(e.batches for e in shards), phones=sum(e.phones for e in shards)),
        "shards": shards,
    }
    return JobManifest(**{**given, **changes})


def test_what_was_written_is_read_and_only_its_owner_may_read_it(tmp_path):
    write_manifest(tmp_path, manifest())
    assert read_manifest(tmp_path) == manifest()
    assert (tmp_path / MANIFEST).stat().st_mode & 0o777 == 0o600
    said = json.loads((tmp_path / MANIFEST).read_text())
    assert (said["type"], said["v"]) == ("cluster_job", 1)


def test_nothing_is_written_over(tmp_path):
    write_manifest(tmp_path, manifest())
    with pytest.raises(Refused, match="exists"):
        write_manifest(tmp_path, manifest(state="done"))
    assert read_manifest(tmp_path).state == "open"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"v": 2}, "2"),
        ({"more": 1}, "more"),
        ({"type": "plan"}, "plan"),
        ({"planned": {"batches": 5, "phones": 300}}, "add up"),
        ({"planned": {"batches": 4, "phones": 301}}, "add up"),
        ({"fetched_at": "2026-01-02T03:04:05"}, "offset"),
        ({"state": "gone"}, "gone"),
        ({"shards": []}, "length"),
        ({"plan_sha256": "x"}, "matching"),
    ],
)
def test_what_is_not_as_it_should_be_is_damaged(tmp_path, change, words):
    said = json.loads(msgspec.json.encode(manifest()))
    (tmp_path / MANIFEST).write_text(json.dumps({**said, **change}))
    with pytest.raises(AuditDamaged, match=words):
        read_manifest(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"cluster_job"', "[" * 100_000])
def test_garbage_is_damaged(tmp_path, text):
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(AuditDamaged):
        read_manifest(tmp_path)


def test_every_shard_is_there_once_and_in_order():
    for shards in ((entry(2),), (entry(1), entry(1)), (entry(2), entry(1)), (entry(1), entry(3))):
        with pytest.raises(ValueError, match="numbered"):
            manifest(*shards)


def test_an_audit_has_lines_and_a_head_or_neither():
    with pytest.raises(ValueError, match="neither"):
        entry(head=None)
    with pytest.raises(ValueError, match="neither"):
        entry(records=0)


def test_the_head_tells_of_every_plan_and_every_audit_and_of_nothing_else():
    whole = manifest()
    assert whole.head == manifest(state="done", fetched_at="2027-01-02T03:04:05+08:00").head
    for shards in (
        (entry(1, head=A), whole.shards[1]),
        (entry(1, plan_sha256=B), whole.shards[1]),
        (whole.shards[0], entry(2)),
        whole.shards[:1],
    ):
        assert manifest(*shards).head != whole.head


def test_where_things_stand(tmp_path):
    assert shard_audit(tmp_path, 3).name == "shard-0003.jsonl"
    assert shard_plan(tmp_path, 12345) == tmp_path / "shard-12345.jsonl.plan"
    assert late_audit(tmp_path, 3) == tmp_path / LATE_FOLDER / "shard-0003.jsonl"
    assert not is_job_folder(tmp_path)
    assert not is_shard(shard_audit(tmp_path, 1))
    write_manifest(tmp_path, manifest())
    assert is_job_folder(tmp_path)
    assert is_shard(shard_audit(tmp_path, 1))
    assert is_shard(shard_plan(tmp_path, 1))
    assert not is_shard(tmp_path / "nightly.jsonl")
    assert not is_job_folder(tmp_path / MANIFEST)


def test_a_job_file_of_the_same_name_is_no_manifest(tmp_path):
    (tmp_path / MANIFEST).write_text('{"name":"nightly","users":[]}')
    assert not is_job_folder(tmp_path)
    assert not is_shard(shard_audit(tmp_path, 1))


@pytest.mark.parametrize("text", ["", '{"type": "clus', "{}"])
def test_a_damaged_manifest_beside_shards_is_one_all_the_same(tmp_path, text):
    (tmp_path / MANIFEST).write_text(text)
    shard_plan(tmp_path, 1).write_text("")
    assert is_job_folder(tmp_path)


def test_a_manifest_that_is_no_file_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / MANIFEST)
    with pytest.raises(Refused, match="no regular file"):
        read_manifest(tmp_path)
