"""The demo's data fit its job, its sandbox knows what may go, and its verdict comes from the ledger alone."""

import csv

import aiohttp

from runner.commands.demo_data import find_jobs_dir, measure_demo, next_steps, prepare_demo
from runner.sandbox import FaultSettings, serve


def listed(directory):
    for path in sorted((directory / "exports").glob("demo-*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            yield from csv.DictReader(file)


def plain(written: str) -> str:
    return written.removeprefix("+86").replace("-", "").replace(" ", "")


def test_the_lists_hold_what_the_demo_names_and_repeats_and_spoilt_cells(tmp_path):
    files = prepare_demo(tmp_path, rows=20_000)
    rows = [(row["user_id"], plain(row["phone"])) for row in listed(tmp_path)]
    protected = set((tmp_path / "lists" / "demo-never.txt").read_text(encoding="utf-8").split())
    sound = {pair for pair in rows if len(pair[1]) == 11 and pair[1].startswith("1")}
    assert len(rows) == files.rows == 20_000
    assert {pair for pair in sound if pair[1] not in protected} == files.named
    assert len(protected) == 25
    assert len(sound) < len(rows)


def test_the_demo_is_the_same_for_the_same_seed_and_another_for_another(tmp_path):
    first = prepare_demo(tmp_path / "a", 1, rows=3_000)
    again = prepare_demo(tmp_path / "b", 1, rows=3_000)
    other = prepare_demo(tmp_path / "c", 2, rows=3_000)
    assert first.named == again.named != other.named
    assert first.settings == again.settings
    for name in ("exports/demo-1.csv", "lists/demo-never.txt", "demo.yaml"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_the_job_is_the_one_in_jobs(tmp_path):
    files = prepare_demo(tmp_path, rows=3_000)
    assert files.job.read_bytes() == (find_jobs_dir() / "demo.yaml").read_bytes()


async def delete(running, token, user, phones):
    url = f"{running.url}/agent-api/user/{user}/del_customer"
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.request("DELETE", url, json={"phone": phones}, headers=headers) as reply:
        return await reply.read()


async def test_the_verdict_counts_what_went_unseen_and_what_should_have_stayed(tmp_path):
    files = prepare_demo(tmp_path, rows=3_000)
    fine = sorted(
        (u, p) for u, p in files.named if files.pool.count(u, p) and p not in files.settings.refused_phones
    )
    (user, seen), (other, unseen) = fine[0], fine[-1]
    bystander = next(
        row
        for user_id in files.pool.users
        for row in files.pool.rows(user_id)
        if (row.user_id, row.phone) not in files.named
    )
    rows = [files.pool.count(user, seen), files.pool.count(other, unseen)]
    async with serve(files.settings, files.pool) as running:
        running.control.change(faults=FaultSettings(script=(None, "502-after")), latency_s=0, jitter_s=0)
        await delete(running, "rehearsal", user, [seen])
        await delete(running, "rehearsal", other, [unseen])
        assert measure_demo(files, running.ledger).outside_deleted == 0
        await delete(running, "rehearsal", bystander.user_id, [bystander.phone])
        truth = measure_demo(files, running.ledger)
    assert truth.deleted_rows == sum(rows) + 1
    assert truth.unseen_rows == rows[1]
    assert truth.outside_deleted == 1
    assert (truth.requests, truth.faults) == (3, {"502-after": 1})


async def test_the_demo_refuses_some_numbers_so_that_isolation_is_seen(tmp_path):
    files = prepare_demo(tmp_path, rows=3_000)
    refused = [(user, phone) for user, phone in files.named if phone in files.settings.refused_phones]
    assert len(refused) == 4
    async with serve(files.settings, files.pool) as running:
        running.control.change(faults=FaultSettings(), latency_s=0, jitter_s=0)
        assert b"6007" in await delete(running, "rehearsal", refused[0][0], [refused[0][1]])


def test_next_steps_are_commands_that_name_the_audit(tmp_path):
    steps = next_steps(tmp_path / "audit.jsonl")
    assert all(step.startswith("bulk-delete ") for step in steps)
    assert any("audit.jsonl" in step for step in steps)
