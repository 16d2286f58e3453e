"""What a session's end means for its shard, and for the job."""

import pytest

from runner.cluster.shard_rows import ShardKey
from runner.commands.shard import _end_after, _ShardEnd, _UnderWay
from runner.errors import Exit, Stopped

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
