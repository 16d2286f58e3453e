"""What `cluster fetch` writes is one run: for `verify`, `report`, `status` and `rerun`."""

import pytest

from tests.support.cluster import Tables
from tests.support.evidence import rechain
from tests.support.program import USER, numbers


@pytest.fixture
def cluster(program, ready_url):
    program.env["BULK_DELETE_DATABASE_URL"] = ready_url
    return program


def work(cluster, tables, job, shard):
    """Do a whole shard as a worker does: its audit has the job's run id."""
    run_id = tables.one("SELECT run_id FROM jobs WHERE job = %s", job)
    assert tables.begin(job, shard)
    plan, audit = cluster.folder / f"{shard}.plan", cluster.folder / f"{shard}.jsonl"
    plan.write_bytes(tables.plan_of(job, shard))
    ended = cluster("run", plan, "--yes", "--rate", "unlimited", "--concurrency", "1", "--audit", audit)
    assert ended.code in {0, 1}
    rechain(audit, lambda record: {**record, "run_id": run_id} if record["type"] == "run" else record)
    assert not tables.turn(job, shard, 1, audit.read_bytes())
    assert tables.end(job, shard)


def fetched(cluster, job, out):
    return cluster("cluster", "fetch", job, "--out", out, "--json").expect(0).record


def test_a_fetched_job_is_one_run_at_any_moment(cluster, sandbox, ready_url):
    tables = Tables(ready_url)
    sandbox.pool.add_phones(USER, numbers(450))
    cluster("plan", cluster.job({USER: numbers(450)}), "--out", "p.plan").expect(0)
    job = cluster("cluster", "submit", "p.plan", "--shards", "3", "--yes", "--json").expect(0).record["id"]
    fetched(cluster, job, "begun")
    cluster("verify", "begun").expect(3)

    sandbox.script("error", error_code=7431)
    for shard in (1, 2):
        work(cluster, tables, job, shard)
    fetched(cluster, job, "half")
    assert "1 of 3 shards without an end: 3" in cluster("verify", "half").expect(3).out
    (half,) = cluster("report", "half", "--json").expect(0).record["items"]
    assert (half["status"], half["batches"]["open"], half["next"]) == ("open", 2, None)
    assert "open" in cluster("rerun", "half", "--yes").expect(2).err

    work(cluster, tables, job, 3)
    record = fetched(cluster, job, "out")
    (found,) = cluster("verify", "out", "--head", record["head"], "--json").expect(0).record["items"]
    assert (found["kind"], found["state"], found["head"]) == ("job", "whole", record["head"])
    (done,) = cluster("report", "out", "--json", "--failed", "left.csv").expect(0).record["items"]
    assert done["fetched"]["id"] == job
    phones = done["phones"]
    assert phones["unique"] == 450 == sum(phones[s] for s in ("deleted", "failed", "unknown", "not_sent"))
    (line,) = cluster("status", "out", "--json").expect(0).record["items"]
    assert (line["state"], line["next"]) == (done["status"], done["next"]) == ("partial", done["next"])
    assert cluster.shell(f"{done['next']} --yes --audit again.jsonl").code == 0
    assert sandbox.left(USER) == []
