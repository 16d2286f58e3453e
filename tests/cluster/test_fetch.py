"""What is fetched is one moment of a job, and noted only where it is how the job still stands."""

import pytest

from runner.access import origin_of
from runner.audit.manifest import read_manifest, shard_audit
from runner.cluster import fetch, jobs
from runner.cluster.jobs import NewJob, cancel_job, find_job, forget_job, place_job, reopen_job, same_job
from runner.cluster.shards import cut_plan
from runner.files import make_private_folder
from runner.model import Target
from runner.plan.file import read_plan
from runner.settings import Rate
from tests.support import audits
from tests.support.cluster import Tables
from tests.support.plans import plan_with

URL = "https://vendor.test"


@pytest.fixture
async def job(database, tmp_path):
    """A job of three shards in a database, and what it was made of."""
    plan = read_plan(plan_with({Target("a"): [f"138{n:08d}" for n in range(600)]}, tmp_path / "plan"))
    new = NewJob(origin_of(URL), URL, "test", "1f", plan.sha256, Rate(5.0), {"limits": {}})
    (tmp_path / "cut").mkdir()
    async with await database.connect() as connection:
        assert await place_job(connection, new, cut_plan(plan, 3, tmp_path / "cut"))
        assert not await place_job(connection, new, cut_plan(plan, 3, tmp_path / "cut"))
    return new


@pytest.fixture
def tables(ready_url):
    return Tables(ready_url)


def lines_of(tmp_path, *records):
    path = tmp_path / "lines"
    audits.write(path, records)
    return path.read_bytes().splitlines(keepends=True)


async def test_what_comes_in_meanwhile_belongs_to_the_next_fetch(
    database, tables, job, tmp_path, monkeypatch
):
    first, second = lines_of(tmp_path, audits.run(), audits.sending(1))
    for shard in (1, 3):
        assert tables.begin(job.job, shard)
        assert not tables.turn(job.job, shard, 1, first)
    real = fetch._fetch_shard

    async def one(connection, row, shard, folder):
        entry = await real(connection, row, shard, folder)
        if shard.shard == 1:
            assert not tables.turn(job.job, 3, 2, second)
            assert tables.begin(job.job, 2)
            assert not tables.turn(job.job, 2, 1, first)
        return entry

    monkeypatch.setattr(fetch, "_fetch_shard", one)
    for name, there in (("a", {1: first, 3: first}), ("b", {1: first, 2: first, 3: first + second})):
        folder = tmp_path / name
        make_private_folder(folder)
        async with await database.connect() as connection:
            row, manifest = await fetch.fetch_job(connection, job.job, folder)
            assert not await fetch.mark_fetched(connection, manifest, row)
        assert {
            n: shard_audit(folder, n).read_bytes() for n in (1, 2, 3) if shard_audit(folder, n).exists()
        } == there
        assert [entry.shard for entry in manifest.shards if entry.records] == list(there)
        assert read_manifest(folder) == manifest
        monkeypatch.setattr(fetch, "_fetch_shard", real)


async def test_what_was_looked_at_before_a_job_went_on_is_not_how_it_stands(database, job, tmp_path):
    make_private_folder(tmp_path / "a")
    async with await database.connect() as connection:
        row = await same_job(connection, job.origin, job.plan_sha256)
        await cancel_job(connection, row, "why", 3)
        row, manifest = await fetch.fetch_job(connection, job.job, tmp_path / "a")
        assert row.state == "stopped"
        assert await reopen_job(connection, job)
        assert not await reopen_job(connection, job)
        assert not await forget_job(connection, row)
        await cancel_job(connection, row, "why", 3)
        assert not await forget_job(connection, row)
        assert not await fetch.mark_fetched(connection, manifest, row)
        assert (await find_job(connection, job.job)).fetched_at is None


async def test_nobody_waits_for_a_slot_while_a_plan_comes_in(database, tables, job, tmp_path, monkeypatch):
    """Up to the last statements: then the rate is set, and the job is open."""
    plan = read_plan(plan_with({Target("b"): [f"139{n:08d}" for n in range(300)]}, tmp_path / "other"))
    new = NewJob(job.origin, URL, "other", "2f", plan.sha256, Rate(3.0), {"limits": {}})
    real, slots = jobs.ask, []

    async def asking(connection, statement, values=()):
        if "use_rate" not in statement and "state = 'open'" not in statement:
            slots.append(tables.one("SELECT granted FROM take_slots(%s, 1, NULL)", job.origin))
        return await real(connection, statement, values)

    monkeypatch.setattr(jobs, "ask", asking)
    (tmp_path / "cut2").mkdir()
    async with await database.connect() as connection:
        assert await place_job(connection, new, cut_plan(plan, 3, tmp_path / "cut2"))
    assert len(slots) > 10
    assert tables.one("SELECT count FROM origins") == 3.0
    assert tables.one("SELECT state FROM jobs WHERE job = %s", new.job) == "open"
