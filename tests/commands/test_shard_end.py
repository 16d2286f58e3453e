"""What a shard's copy must be, and what a session's end means for its shard, and for the job."""

from dataclasses import replace

import pytest

from runner.cluster.shard_rows import ShardKey, ShardRows, ShardTask
from runner.commands.evidence import plan_beside
from runner.commands.shard import _end_after, _Shard, _ShardEnd, _UnderWay
from runner.errors import AuditDamaged, Exit, Stopped
from runner.model import Target
from runner.plan.file import read_plan
from runner.settings import Rate
from tests.support.plans import plan_with
from tests.support.program import USER, numbers

CAPPED = "max_rows_per_phone: batch 7 deleted 90 rows"


def under_way():
    return _UnderWay(ShardKey("job", 1, 1))


@pytest.mark.parametrize("code", [Exit.OK, Exit.PARTIAL])
@pytest.mark.parametrize("by", [None, "worker", "job"])
def test_a_shard_with_nothing_left_is_done_whoever_wanted_it_to_stop(code, by):
    shard = under_way()
    if by:
        shard.leave(by, "SIGTERM", Exit.SIGTERM)
    assert _end_after(shard, code) == _end("done", code, None, stops_job=False)


@pytest.mark.parametrize("code", [None, Exit.SIGTERM])
def test_a_worker_that_goes_gives_its_shard_back(code):
    shard = under_way()
    shard.leave("worker", "SIGTERM", Exit.SIGTERM)
    assert _end_after(shard, code) == _end("waiting", Exit.SIGTERM, "SIGTERM", stops_job=False)


@pytest.mark.parametrize("code", [None, Exit.STOPPED])
def test_a_job_that_stops_is_stopped_once(code):
    shard = under_way()
    shard.leave("job", "cancelled", Exit.STOPPED)
    assert _end_after(shard, code) == _end("stopped", Exit.STOPPED, "cancelled", stops_job=False)


def test_what_a_session_stops_for_by_itself_holds_for_the_whole_job():
    shard = under_way()
    shard.stop.request("the token was refused")
    assert _end_after(shard, Exit.STOPPED) == _end(
        "stopped", Exit.STOPPED, "the token was refused", stops_job=True
    )


@pytest.mark.parametrize("by", ["worker", "job"])
def test_a_cap_that_shows_while_a_shard_is_being_left_stops_the_job(by):
    shard = under_way()
    shard.leave(by, "SIGTERM", Exit.SIGTERM)
    shard.stop.request(CAPPED, even_if_done=True)
    assert _end_after(shard, Exit.STOPPED) == _end("stopped", Exit.STOPPED, CAPPED, stops_job=True)


def test_a_session_that_stops_by_itself_is_not_said_to_be_stopped_by_the_worker():
    shard = under_way()
    shard.stop.fail(Stopped("the plan is no longer what was confirmed"))
    shard.leave("worker", "SIGTERM", Exit.SIGTERM)
    assert _end_after(shard, Exit.STOPPED).stops_job


def _end(state, code, why, *, stops_job):
    return _ShardEnd(state, code, why, stops_job)


def test_a_whole_plan_that_is_not_the_one_that_was_submitted_is_refused(tmp_path):
    path = plan_with({Target(USER): numbers(3)}, plan_beside(tmp_path / "audit.jsonl"))
    task = ShardTask("https://vendor.example", "0", "0" * 64, {}, 0, Rate(1.0), 0)
    rows = ShardRows(None, ShardKey("job", 1, 1), lambda: 0.0)
    with pytest.raises(AuditDamaged, match="not the one that was submitted"):
        _Shard(task, rows, None, None)._proved(tmp_path / "audit.jsonl")
    task = replace(task, plan_sha256=read_plan(path).sha256)
    assert _Shard(task, rows, None, None)._proved(tmp_path / "audit.jsonl").plan.path == path
