"""A session under an operator's orders: what it writes, what waits, and when it takes none."""

import pytest

from runner.errors import Exit, Refused, Stopped
from runner.send.orders import MOST_A_MINUTE, Order
from runner.settings import Limits, Rate
from tests.support.fakes import (
    ALONE,
    HANGS,
    MemoryFile,
    answers,
    batches,
    departures,
    live_session,
    moment,
    records_of,
    refusal,
)
from tests.support.simclock import run_simulated

STEADY = Limits(rate=Rate(2.0), concurrency=4)
HOLD, GO_ON = Order(pause=True), Order(pause=False)


def ordering(*orders, also=lambda rig: None):
    """Give a session these orders at their seconds; what becomes of each is kept as `rig.told`."""

    def before(rig):
        rig.told, rig.giving = [], []
        also(rig)

        async def give(order):
            try:
                await rig.session.obey(order)
            except (Refused, Stopped) as error:
                rig.told.append(error)
            else:
                rig.told.append(None)

        for at_s, order in orders:
            rig.loop.call_later(
                at_s, lambda order=order: rig.giving.append(rig.loop.create_task(give(order)))
            )

    return before


def ordered(rig):
    return [record for record in records_of(rig.file, "pace") if record["order"]]


def test_an_order_is_a_durable_record_before_it_is_answered():
    file = MemoryFile()
    file.sync_s = 0.2
    order = Order(rate=Rate(4.0), operator="lin", reason="faster")
    seen = []

    def look(rig):
        rig.loop.call_later(5.1, lambda: seen.append((list(rig.told), len(ordered(rig)))))

    rig = live_session(batches(60), ordering((5.0, order), also=look), limits=STEADY, file=file)
    assert seen == [([], 1)]
    assert rig.told == [None]
    (record,) = ordered(rig)
    assert [record[name] for name in ("rate", "order", "operator", "reason", "until")] == [
        *("4/s", "4/s", "lin", "faster"),
        None,
    ]
    assert moment(record) == pytest.approx(5.0, abs=0.01)
    assert rig.fold.ordered_rate == Rate(4.0)
    assert rig.summary["status"] == "complete"


def test_while_held_nothing_leaves_and_what_is_on_the_wire_comes_to_its_end():
    rig = live_session(batches(40), ordering((5.0, HOLD), (305.0, GO_ON)), limits=STEADY, latency_s=1.0)
    left = departures(rig)
    assert [at for at in left if 5.0 < at < 305.0] == []
    ended = [moment(record) for record in records_of(rig.file, "batch")]
    assert max(at for at in ended if at < 305.0) < 6.1
    assert min(at for at in left if at > 5.0) < 305.2
    assert [record["order"] for record in ordered(rig)] == ["pause", "go-on"]
    assert len(records_of(rig.file, "sending")) <= 40
    assert (rig.summary["status"], len(left)) == ("complete", 40)


@pytest.mark.parametrize("told", ["SIGTERM", "deadline"])
def test_a_held_session_stops_as_any_other(told):
    def stop(rig):
        if told == "SIGTERM":
            rig.loop.call_later(20.0, rig.stop.request, told, Exit.SIGTERM)

    limits = Limits(rate=Rate(2.0), concurrency=4, timeout_s=5.0, deadline_s=30.0)
    rig = live_session(batches(200), ordering((5.0, HOLD), also=stop), limits=limits)
    assert rig.summary["why"].startswith(told)
    assert rig.took_s < (20.1 if told == "SIGTERM" else 25.1)
    assert rig.summary["status"] == "stopped"


def test_a_hold_and_the_servers_pause_each_last_as_long_as_they_were_said():
    script = answers(*[None] * 5, refusal(429, retry_after_s=60.0))
    rig = live_session(batches(30), ordering((10.0, HOLD), (20.0, GO_ON)), script=script, limits=STEADY)
    gap = max(later - earlier for earlier, later in zip(departures(rig), departures(rig)[1:], strict=False))
    assert 60.0 <= gap < 64.0
    assert rig.summary["status"] == "complete"


def test_the_breaker_probes_only_after_a_hold():
    down = answers(*[None] * 5, *[refusal(503)] * 10)
    rig = live_session(
        batches(60), ordering((20.0, HOLD), (400.0, GO_ON)), script=down, limits=Limits(rate=Rate(5.0))
    )
    assert [at for at in departures(rig) if 20.0 < at < 400.0] == []
    assert rig.summary["status"] == "complete"


def test_a_session_under_probation_is_held_too():
    rig = live_session(
        batches(9),
        ordering((1.0, HOLD), (100.0, GO_ON)),
        script=answers(refusal(503), refusal(503)),
        limits=ALONE,
    )
    assert [at for at in departures(rig) if 1.0 < at < 100.0] == []
    assert rig.summary["status"] == "complete"


def test_what_stops_takes_no_order():
    def stop(rig):
        rig.loop.call_later(3.0, rig.stop.request, "SIGTERM", Exit.SIGTERM)

    script = answers(*[None] * 3, HANGS)
    rig = live_session(batches(50), ordering((4.0, HOLD), also=stop), script=script, limits=STEADY)
    assert "stopping: SIGTERM" in rig.told[0].message
    assert ordered(rig) == []


def test_no_order_is_taken_before_the_first_record_or_after_the_summary():
    def before(rig):
        with pytest.raises(Refused, match="not under way"):
            rig.session.obey(HOLD).send(None)

    rig = live_session(batches(3), before, limits=ALONE)
    with pytest.raises(Refused, match="not under way"):
        run_simulated(rig.session.obey(HOLD))
    records = rig.file.records()
    assert [records[0]["type"], records[-1]["type"]] == ["run", "summary"]
    assert ordered(rig) == []


def test_more_orders_than_a_minute_takes_are_refused():
    orders = [(1.0 + n / 100, Order(rate=Rate(2.0 + n))) for n in range(MOST_A_MINUTE + 5)]
    rig = live_session(
        batches(60), ordering(*orders, (70.0, HOLD), (71.0, GO_ON)), limits=Limits(rate=Rate(0.5))
    )
    refused = [error for error in rig.told if error is not None]
    assert len(refused) == 5
    assert all("within a minute" in error.message for error in refused)


def test_an_order_that_cannot_be_written_stops_the_run():
    file = MemoryFile()

    def full(data):
        if b'"type":"pace"' in data:
            raise OSError(28, "No space left on device")

    file.fail_append = full
    rig = live_session(batches(60), ordering((5.0, HOLD)), limits=STEADY, file=file)
    assert isinstance(rig.told[0], Stopped)
    assert "No space left" in rig.summary["why"]
    assert not rig.recorded
