"""What is announced, and when: ahead of need, never far ahead; and a plan that cannot be read."""

import errno
import itertools
import math
import os

import pytest

from runner.errors import AuditDamaged, Exit
from runner.model import Batch, Target, Work
from runner.outcomes import NOT_CONNECTED
from runner.send.session import AHEAD_S
from runner.settings import Limits, Rate, Safety
from tests.support.fakes import (
    ALONE,
    MemoryFile,
    answers,
    batches,
    departures,
    failure,
    live_session,
    moment,
    phones,
    records_of,
    refusal,
)


class Intents:
    """How many intents had no request yet, at each record and each departure; `most` of them."""

    def __init__(self, plan):
        self.seq_of = {batch.phones: batch.seq for batch in plan}
        self.waiting = set()
        self.most = 0

    def recorded(self, record):
        if record["type"] == "sending":
            first = record.get("from", record.get("seq"))
            self.waiting.update(range(first, record.get("to", first) + 1))
            self.most = max(self.most, len(self.waiting))

    def sent(self, request, before):
        self.waiting.discard(self.seq_of[request.phones])


@pytest.mark.parametrize(
    ("rate", "most"),
    [(Rate(1.0), 1), (Rate(4.0), 1), (Rate(20.0), 5), (Rate(60.0), 15), (Rate(600.0), 32), (Rate(None), 32)],
    ids=str,
)
def test_no_more_is_announced_than_the_gate_lets_leave_in_a_quarter_of_a_second(rate, most):
    plan = batches(150)
    intents = Intents(plan)
    limits = Limits(rate=rate, concurrency=16)
    rig = live_session(plan, script=intents.sent, on_record=intents.recorded, limits=limits)
    assert rig.summary["exit_code"] == Exit.OK
    assert intents.most == most
    assert rate.count is None or most == min(32, max(1, math.ceil(rate.per_second * AHEAD_S)))


@pytest.mark.parametrize("rate", [20.0, 200.0])
@pytest.mark.parametrize("sync_s", [0.0002, 0.05, 0.1])
def test_a_sync_holds_nobody_up_at_the_gate(rate, sync_s):
    file = MemoryFile()
    file.sync_s = sync_s
    limits = Limits(rate=Rate(rate), concurrency=64)
    rig = live_session(batches(int(10 * rate)), file=file, limits=limits, latency_s=0.2)
    sent = departures(rig)
    assert (len(sent) - 1) / (sent[-1] - sent[0]) >= 0.95 * rate


def test_in_a_pause_nothing_more_is_announced():
    plan, file = batches(60), MemoryFile()
    told = answers(*[None] * 20, refusal(429, retry_after_s=30.0))
    limits = Limits(rate=Rate(20.0), concurrency=16)
    live_session(plan, script=told, limits=limits, file=file)
    [pause] = [moment(record) for record in records_of(file, "pace") if record["until"]]
    announced = [moment(record) for record in records_of(file, "sending")]
    assert [at_s for at_s in announced if pause + 0.01 < at_s < pause + 29.9] == []
    assert max(announced) > pause + 30.0


def test_a_batch_that_finds_no_connection_makes_room_for_the_next():
    """Or else one that waits to try again would hold up all, at a rate that lets one be announced."""
    plan = batches(60)
    first = plan[5].phones

    def script(request, before):
        return failure(NOT_CONNECTED, left=False) if request.phones == first and before < 5 else None

    rig = live_session(plan, script=script, limits=Limits(rate=Rate(2.0), concurrency=4))
    sent = departures(rig)
    assert rig.summary["exit_code"] == Exit.OK
    assert max(later - earlier for earlier, later in itertools.pairwise(sent)) < 1.1


# --- a plan that cannot be read


def failing(plan, at, error):
    """The plan's works, of which one cannot be read."""
    for batch in plan:
        if batch.seq == at:
            raise error
        yield Work(batch)


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (OSError(errno.EIO, os.strerror(errno.EIO)), "the plan cannot be read: Input/output error"),
        (AuditDamaged("plan", 7, "it was changed"), "plan:7: it was changed"),
        (ValueError("13800000000"), "internal error: ValueError at test_feed.py:"),
    ],
    ids=["disk", "altered", "bug"],
)
@pytest.mark.parametrize("at", [1, 2, 40, 200])
def test_a_plan_that_cannot_be_read_on_stops_the_run_and_cuts_off_nothing(error, why, at):
    plan = batches(200)
    rig = live_session(
        plan,
        lambda rig: setattr(rig, "works", lambda: failing(plan, at, error)),
        limits=Limits(rate=Rate(None), concurrency=16),
        latency_s=3.0,
    )
    assert rig.recorded
    assert rig.summary["why"].startswith(why)
    assert (rig.summary["exit_code"], rig.summary["uncertain_batches"]) == (Exit.STOPPED, 0)
    last = max((r.get("to", r.get("seq")) for r in records_of(rig.file, "sending")), default=0)
    ended = {end["seq"] for end in rig.ends().values()}
    left_open = {record["seq"] for record in records_of(rig.file, "open")}
    assert ended | left_open == set(range(1, last + 1))
    assert len(rig.api.requests) == len(ended)


# --- batches that are not sent


def test_a_signal_is_heard_among_batches_that_are_skipped():
    plan = [Batch(seq, Target("gone"), phones(1, start=seq)) for seq in range(1, 5001)]

    def on_record(record):
        if record["type"] == "batch" and record["seq"] == 1000:
            rig.loop.call_soon(rig.stop.request, "SIGTERM", Exit.SIGTERM)

    rig = None

    def before(made):
        nonlocal rig
        rig = made

    live_session(
        plan, before, script=answers(refusal(403)), limits=ALONE, safety=Safety(), on_record=on_record
    )
    assert (rig.summary["exit_code"], rig.summary["why"]) == (Exit.SIGTERM, "SIGTERM")
    assert 1000 <= len(rig.ends()) < 1600
