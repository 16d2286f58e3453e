"""The gate of those who share a rate, on the simulated clock: every rule, and a sweep over all together."""

import asyncio
import random
from dataclasses import replace

import pytest

from runner.cluster import grants, slots
from runner.cluster.grants import HORIZON_S, Grant, HeldSlots
from runner.cluster.slots import check_shared
from runner.errors import Exit, Refused
from runner.settings import Rate, parse_rate
from runner.stop import Stopping
from tests.send.test_pacing import in_simulation
from tests.support.authority import EPOCH_S, NOON, Authority, Machine, most_in_any
from tests.support.sweep import sweep


@pytest.fixture(autouse=True)
def _the_same_luck_each_time():
    random.seed(1)


async def together(machines, for_s, **more):
    """Let all of them send for that long."""

    async def send(machine):
        async with machine.open():
            await machine.work(for_s, **more)

    async with asyncio.TaskGroup() as group:
        for machine in machines:
            group.create_task(send(machine))


# --- the rate


@pytest.mark.parametrize(
    ("rate", "machines", "for_s"),
    [
        ("20/s", 1, 20),
        ("20/s", 12, 20),
        ("200/s", 4, 8),
        ("1000/s", 3, 4),
        ("1/s", 3, 60),
        ("0.5/s", 2, 100),
        ("7.3/s", 2, 30),
        ("90/m", 2, 200),
        ("1/m", 2, 900),
    ],
)
@in_simulation
async def test_all_together_never_exceed_the_rate_and_use_most_of_it(rate, machines, for_s):
    authority = Authority(rate)
    all_of_them = [Machine(authority, n, skew_s=977.0 * n, drift=(n % 3 - 1) * 1e-4) for n in range(machines)]
    await together(all_of_them, for_s)
    whole, period_s = authority.rate.whole, authority.rate.period_s
    assert most_in_any(all_of_them, period_s) <= whole
    left = sum(len(machine.left_s) for machine in all_of_them)
    assert left >= 0.95 * authority.rate.per_second * (for_s - HORIZON_S) - 1


@pytest.mark.parametrize(("rate", "sharing", "for_s"), [("20/s", 12, 60), ("1/s", 3, 180)])
@in_simulation
async def test_nobody_is_starved_where_the_rate_is_low(rate, sharing, for_s):
    authority = Authority(rate)
    # Whoever is nearest to the database would always be the first to ask.
    machines = [Machine(authority, n, way_s=(0.0005 * n, 0.0005 * n)) for n in range(1, sharing + 1)]
    await together(machines, for_s)
    fair = for_s * authority.rate.per_second / sharing
    assert min(len(machine.left_s) for machine in machines) > fair / 3


@in_simulation
async def test_a_block_is_never_more_than_a_third_of_a_second_nor_than_twelve_slots():
    for rate, most in (("20/s", 5), ("1/s", 1), ("1000/s", 12)):
        authority = Authority(rate)
        machine = Machine(authority)
        await together([machine], 5, senders=64)
        assert max(wanted for wanted, _ in machine.asked) == most


@in_simulation
async def test_nobody_asks_for_slots_that_nobody_waits_for():
    authority = Authority("20/s")
    machine = Machine(authority)
    async with machine.open():
        await asyncio.sleep(30)
        assert machine.asked == [(0, None)] * 2
        await machine.attempt()
        assert {wanted for wanted, _ in machine.asked} == {0, 1}
        turns = authority.turns
        await asyncio.sleep(30)
    assert authority.turns == turns
    assert len(machine.left_s) == 1


@in_simulation
async def test_more_is_asked_for_before_the_last_slot_is_used():
    authority = Authority("20/s")
    machine = Machine(authority)
    held = []

    def depart():
        held.append(len(machine.pacer._slots))
        return leave()

    machine.depart, leave = depart, machine.depart
    await together([machine], 5)
    assert min(held[6:-16]) > 1, "the last slot was used before there were more"


# --- no grant, no request


@in_simulation
async def test_without_the_database_nothing_leaves_and_with_it_everything_goes_on():
    authority = Authority("20/s")
    machine = Machine(authority)
    async with machine.open():
        task = asyncio.create_task(machine.work(30))
        await asyncio.sleep(5)
        gone_s = authority.loop.time()
        authority.up.clear()
        await asyncio.sleep(10)
        authority.up.set()
        back_s = authority.loop.time()
        await task
    assert sum(gone_s + 0.5 < at < back_s for at in machine.left_s) == 0, "no more than one block"
    assert sum(at > back_s for at in machine.left_s) > 200
    assert most_in_any([machine], 1) <= 20


@in_simulation
async def test_the_first_slot_is_asked_for_after_one_horizon():
    authority = Authority("20/s")
    machine = Machine(authority)
    begun_s = authority.loop.time()
    async with machine.open():
        await machine.attempt()
    assert machine.left_s[0] >= begun_s + HORIZON_S


@in_simulation
async def test_neither_a_notice_nor_a_complaint_shortens_that():
    authority = Authority("20/s")
    machine = Machine(authority)
    async with machine.open() as pacer:
        task = asyncio.create_task(machine.work(3))
        await asyncio.sleep(0.3)
        pacer.refresh()
        await asyncio.sleep(0.3)
        pacer.rate_limited(None)
        await asyncio.sleep(0.3)
        assert [wanted for wanted, _ in machine.asked] == [0] * len(machine.asked)
        assert [complaint for _, complaint in machine.asked if complaint is not None] == [0.0]
        await task
    assert machine.left_s


@in_simulation
async def test_a_stopped_process_uses_none_of_the_slots_that_went_by():
    authority = Authority("20/s")
    machine, other = Machine(authority, 1), Machine(authority, 2)
    async with machine.open(), other.open():
        tasks = [asyncio.create_task(one.work(20)) for one in (machine, other)]
        await asyncio.sleep(5)
        machine.freeze(8)
        frozen_s = authority.loop.time()
        await asyncio.gather(*tasks)
    assert not [at for at in machine.left_s if frozen_s < at < frozen_s + 8]
    assert machine.left_s[-1] > frozen_s + 9
    assert most_in_any([machine, other], 1) <= 20


@in_simulation
async def test_a_request_that_is_written_too_late_is_counted():
    authority = Authority("20/s")
    machine = Machine(authority)

    def slowly(seconds):
        authority.loop.block(seconds)
        return machine.depart()

    async with machine.open():
        await machine.attempt(depart=lambda: slowly(0.005))
        assert machine.pacer.late == 0, "so much is kept for the write"
        await machine.attempt(depart=lambda: slowly(0.2))
        assert machine.pacer.late == 1
    assert machine.pacer is None


@in_simulation
async def test_a_connection_that_is_no_good_gives_its_slot_back():
    authority = Authority("1/s")
    machine = Machine(authority)
    async with machine.open():
        await machine.attempt(depart=lambda: False)
        granted = authority.next_slot_s
        await machine.attempt()
        assert authority.next_slot_s == granted, "the same slot"
        assert machine.pacer.meter.departures == 1


@in_simulation
async def test_a_stop_ends_every_wait_at_once():
    authority = Authority("1/m")
    machine = Machine(authority)
    ended = []

    async def sender():
        try:
            await machine.attempt()
        except Stopping:
            ended.append(authority.loop.time())

    async with machine.open(), asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(sender())
        await asyncio.sleep(5)
        stopped_s = authority.loop.time()
        machine.stop.request("enough")
    assert len(ended) == 19
    assert max(ended) < stopped_s + 0.01


# --- clocks and connections


def grant(at_s, *, connection=1, sent_s=None, received_s=None, granted=5, first_s=None, paused_until_s=0.0):
    """A grant whose question and answer took a millisecond each; our clock shows seconds since EPOCH_S."""
    own_s = at_s - EPOCH_S
    return Grant(
        connection,
        own_s - 0.001 if sent_s is None else sent_s,
        at_s,
        own_s + 0.001 if received_s is None else received_s,
        at_s if first_s is None else first_s,
        0.0515,
        granted,
        20.0,
        20.0,
        1.0,
        paused_until_s,
    )


def settled():
    """Slots held after the first horizon on a connection: five, from 10 s on."""
    held = HeldSlots()
    held.take(grant(EPOCH_S + 8, granted=0))
    held.take(grant(EPOCH_S + 10))
    assert len(held) == 5
    return held


def test_on_a_connection_that_was_there_before_the_horizon_counts_from_when_it_was_made():
    held = HeldSlots()
    held.take(replace(grant(EPOCH_S + 8, granted=0), since_s=7.4))
    assert held.ask_in_s(1, 8.1) == pytest.approx(0.3, abs=0.01)
    held = HeldSlots()
    held.take(replace(grant(EPOCH_S + 8, granted=0), since_s=2.0))
    assert held.ask_in_s(1, 8.1) <= 0.02


def test_a_slot_is_used_inside_its_window_and_not_before_or_after():
    held = settled()
    assert held.wait_s(9.99) == pytest.approx(0.01, abs=0.002)
    assert held.wait_s(10.005) == 0
    assert len(held) == 5
    assert held.wait_s(10.025) == pytest.approx(0.0265, abs=0.002), "of the slack, 10 ms are for the write"
    assert len(held) == 4


def test_what_is_not_known_of_the_clocks_is_taken_off_the_window_at_both_ends():
    held = HeldSlots()
    held.take(grant(EPOCH_S + 9.005, granted=0, sent_s=9.0, received_s=9.01))
    held.take(grant(EPOCH_S + 10, granted=1, first_s=EPOCH_S + 10.1, sent_s=9.995, received_s=10.005))
    assert held.wait_s(10.0) == pytest.approx(0.105, abs=0.0005), "their clock may be 5 ms behind"
    assert held.wait_s(10.1145) == 0
    assert held.use(10.1245)
    held.take(grant(EPOCH_S + 10.5, granted=1, sent_s=10.495, received_s=10.505))
    assert held.wait_s(10.5155) == float("inf"), "or 5 ms ahead"


def test_a_use_is_timed_after_the_write():
    held = settled()
    assert held.wait_s(10.005) == 0
    assert held.use(10.027)
    assert held.wait_s(10.056) == 0
    assert not held.use(10.09)


def test_a_grant_of_which_no_time_is_left_to_leave_in_is_discarded():
    held = HeldSlots()
    held.take(grant(EPOCH_S + 8, granted=0, sent_s=7.99, received_s=8.009))
    held.take(grant(EPOCH_S + 10, sent_s=9.99, received_s=10.009))
    assert len(held) == 0
    assert held.too_wide_s == pytest.approx(0.02, abs=0.002)
    held.take(grant(EPOCH_S + 11))
    assert len(held) == 5
    assert held.too_wide_s is None


@pytest.mark.parametrize("step_s", [-3.0, -0.1, 0.1, 3.0])
def test_after_a_clock_was_set_what_is_held_is_dropped_and_one_horizon_is_waited(step_s):
    held = settled()
    held.take(grant(EPOCH_S + 10.1 + step_s, sent_s=10.1, received_s=10.102))
    assert len(held) == 0
    assert held.ask_in_s(1, 10.102) >= HORIZON_S
    held.take(grant(EPOCH_S + 11.2 + step_s, sent_s=11.2, received_s=11.202))
    assert len(held) == 5


def test_after_a_new_connection_too():
    held = settled()
    held.take(grant(EPOCH_S + 10.1, connection=2))
    assert len(held) == 0
    assert held.ask_in_s(1, 10.1) >= HORIZON_S
    held.take(grant(EPOCH_S + 11.2, connection=2))
    assert len(held) == 5


def test_a_pause_that_is_heard_of_drops_what_was_granted_before_it():
    held = settled()
    held.take(grant(EPOCH_S + 10.01, granted=2, first_s=EPOCH_S + 10.5, paused_until_s=EPOCH_S + 10.4))
    assert len(held) == 2
    assert held.wait_s(10.01) > 0.4


@in_simulation
async def test_a_way_that_is_always_too_slow_stops_the_run_and_says_so():
    authority = Authority("20/s")
    machine = Machine(authority, way_s=(0.02, 0.03))
    async with machine.open():
        await machine.work(200, senders=1)
    assert machine.left_s == []
    assert "too slow to share a rate: its clock is known to within 4" in machine.stop.reason.why
    assert machine.stop.reason.exit_code == Exit.STOPPED


@in_simulation
async def test_a_way_that_is_slow_now_and_then_costs_nothing_but_time():
    authority = Authority("20/s")
    machine = Machine(authority)
    async with machine.open():
        machine.way_s = (0.0, 0.3)
        await machine.work(40)
    assert not machine.stop
    assert most_in_any([machine], 1) <= 20
    assert len(machine.left_s) > 100


# --- what the server says


@in_simulation
async def test_a_pause_asked_of_one_pauses_all_and_the_rate_comes_back_step_by_step():
    authority = Authority("20/s")
    machines = [Machine(authority, n) for n in range(3)]
    tasks = [asyncio.create_task(together([machine], 40)) for machine in machines]
    await asyncio.sleep(5)
    complained_s = authority.loop.time()
    machines[0].pacer.rate_limited(4.0)
    assert not machines[0].pacer.may_leave_within(0.0, most=9)
    await asyncio.gather(*tasks)
    left_s = sorted(at for machine in machines for at in machine.left_s)
    assert not [at for at in left_s if complained_s + 0.02 < at < complained_s + 4]
    assert not [at for at in machines[0].left_s if complained_s < at < complained_s + 4], (
        "its own slots at once"
    )
    after = [sum(complained_s + 4 + n <= at < complained_s + 5 + n for at in left_s) for n in (0, 8, 25)]
    assert after[0] < 11 < after[1] <= 16 < after[2] <= 20
    for machine in machines:
        first, *rest = machine.changes
        assert (first.rate, first.why) == (
            ("10/s", "the server asked for a pause")
            if machine is machines[0]
            else ("10/s", "the server asked for a pause, or another sender of this rate")
        )
        until_s = (first.until - NOON).total_seconds()
        assert complained_s + 4 <= until_s <= complained_s + 4.5
        assert [change.rate for change in rest] == ["12/s", "14/s", "16/s", "18/s", "20/s"], "once each"
        assert {change.why for change in rest} == {"no more complaints: rate raised"}
        assert {change.until for change in rest} == {None}


@in_simulation
async def test_too_many_without_advice_halves_the_rate_once_a_second():
    authority = Authority("20/s")
    machine = Machine(authority)
    async with machine.open():
        await machine.work(3)
        for _ in range(5):
            machine.pacer.rate_limited(None)
            await asyncio.sleep(0.1)
        assert machine.pacer.rate == "10/s"
        assert machine.pacer.limit == "20/s"
        assert machine.pacer.may_leave_within(1.0, most=99) == 10
        await asyncio.sleep(1)
        machine.pacer.rate_limited(None)
        await asyncio.sleep(0.1)
        assert machine.pacer.rate == "5/s"
    assert [complaint for _, complaint in machine.asked if complaint is not None] == [0.0, 0.0]
    assert [change.why for change in machine.changes] == [
        "the server said too many requests: rate halved"
    ] * 2


@in_simulation
async def test_a_used_up_quota_pauses_all():
    authority = Authority("20/s")
    one, other = Machine(authority, 1), Machine(authority, 2)
    async with one.open(), other.open():
        await asyncio.sleep(2)
        one.pacer.quota_exhausted(0)
        one.pacer.quota_exhausted(30)
        await asyncio.sleep(1)
        assert [change.why for change in one.changes] == ["the server's quota is used up"]
        assert [change.rate for change in other.changes] == ["10/s"]
        assert not other.pacer.may_leave_within(1.0, most=9)


@in_simulation
async def test_whoever_hears_no_notice_learns_of_a_pause_with_its_next_turn():
    authority = Authority("20/s")
    one, deaf = Machine(authority, 1), Machine(authority, 2, hears=False)
    async with one.open(), deaf.open():
        task = asyncio.create_task(deaf.work(12))
        await asyncio.sleep(4)
        complained_s = authority.loop.time()
        one.pacer.rate_limited(5.0)
        await task
    held_for_s = grants.LONGEST_BLOCK_S + grants.ASK_AHEAD_S
    assert not [at for at in deaf.left_s if complained_s + held_for_s < at < complained_s + 5]


@in_simulation
async def test_until_the_database_knows_of_a_complaint_its_sender_keeps_still():
    authority = Authority("20/s")
    machine = Machine(authority)
    async with machine.open():
        task = asyncio.create_task(machine.work(12))
        await asyncio.sleep(4)
        authority.up.clear()
        complained_s = authority.loop.time()
        machine.pacer.rate_limited(0.5)
        await asyncio.sleep(3)
        authority.up.set()
        await task
    assert not [at for at in machine.left_s if complained_s < at < complained_s + 3.5]
    assert authority.share < 1
    assert machine.left_s[-1] > complained_s + 4


@in_simulation
async def test_a_complaint_holds_back_what_a_turn_brings_that_was_under_way():
    authority = Authority("20/s")
    machine = Machine(authority)
    turn, complained_s = machine.turn, []

    async def turn_before_a_complaint(wanted, complaint):
        brought = await turn(wanted, complaint)
        if brought.granted and not complained_s:
            complained_s.append(authority.loop.time())
            authority.up.clear()
            machine.pacer.rate_limited(0.1)
        return brought

    machine.turn = turn_before_a_complaint
    async with machine.open():
        task = asyncio.create_task(machine.work(10))
        await asyncio.sleep(5)
        authority.up.set()
        await task
    assert complained_s
    assert min(machine.left_s) > complained_s[0] + 3
    assert authority.share < 1


@in_simulation
async def test_a_session_that_ends_with_a_complaint_passes_it_on():
    authority = Authority("20/s")
    machine = Machine(authority, way_s=(0.3, 0.4))
    async with machine.open() as pacer:
        pacer.rate_limited(10.0)
    assert authority.paused_until_s >= authority.now_s() + 9
    away = Machine(authority)
    async with away.open() as pacer:
        authority.up.clear()
        pacer.rate_limited(30.0)
        ended_s = authority.loop.time()
    assert authority.loop.time() == pytest.approx(ended_s + slots.LAST_WORDS_S, abs=0.1), "and not for ever"


@in_simulation
async def test_a_notice_drops_what_is_held():
    authority = Authority("20/s")
    machine = Machine(authority)
    async with machine.open() as pacer:
        task = asyncio.create_task(machine.work(10))
        await asyncio.sleep(4)
        assert len(pacer._slots) > 1
        authority.up.clear()
        pacer.refresh()
        told_s = authority.loop.time()
        await asyncio.sleep(3)
        authority.up.set()
        await task
    assert not [at for at in machine.left_s if told_s < at < told_s + 3]


@in_simulation
async def test_a_pause_of_an_earlier_session_is_passed_on_unless_it_is_known():
    authority = Authority("20/s")
    one, other = Machine(authority, 1), Machine(authority, 2)
    async with one.open(), other.open():
        now = one.pacer._now
        one.pacer.keep_pause(now().replace(year=2025))
        assert one.pacer._complaint is None
        one.pacer.keep_pause(NOON.replace(hour=12, minute=20) + (now() - NOON))
        await asyncio.sleep(0.1)
        assert one.changes[0].why == "the server asked for a pause, before this session"
        other.pacer.keep_pause(NOON.replace(hour=12, minute=20) + (now() - NOON))
        await asyncio.sleep(0.1)
    assert [complaint for _, complaint in other.asked if complaint is not None] == []


@in_simulation
async def test_a_pause_beyond_the_deadline_stops_the_run():
    authority = Authority("20/s")
    machine = Machine(authority)
    async with machine.open():
        machine.stop.deadline_s = authority.loop.time() + 60
        machine.pacer.rate_limited(50)
        await asyncio.sleep(0.1)
        assert not machine.stop
        machine.pacer.rate_limited(100)
        await asyncio.sleep(0.1)
    assert machine.stop.reason.why.startswith("deadline: the server asked for a pause until ")


@in_simulation
async def test_an_audit_that_cannot_be_written_stops_the_run():
    authority = Authority("20/s")
    machine = Machine(authority)

    def full(change):
        raise Refused("the disk is full")

    async with machine.open() as pacer:
        pacer.on_change = full
        pacer.rate_limited(None)
        await asyncio.sleep(1)
    assert machine.stop.reason.why == "the disk is full"


# --- orders


@in_simulation
async def test_unlimited_cannot_be_shared():
    check_shared(parse_rate("0.5/s"))
    authority = Authority("20/s")
    machine = Machine(authority)
    async with machine.open() as pacer:
        for refuse in (
            lambda: asyncio.sleep(0, check_shared(Rate(None))),
            lambda: pacer.set_rate(Rate(None)),
        ):
            with pytest.raises(Refused, match="cannot be unlimited"):
                await refuse()
    assert authority.rate == Rate(20.0)


@in_simulation
async def test_another_rate_is_everybodys_at_once_and_each_says_so_once():
    authority = Authority("2/s")
    one, other = Machine(authority, 1), Machine(authority, 2)
    tasks = [asyncio.create_task(together([machine], 12)) for machine in (one, other)]
    await asyncio.sleep(4)
    before = len(one.left_s) + len(other.left_s)
    await one.pacer.set_rate(Rate(100.0))
    assert (one.pacer.rate, one.pacer.limit) == ("100/s", "100/s")
    await asyncio.gather(*tasks)
    assert len(one.left_s) + len(other.left_s) - before > 600
    assert one.changes == [], "the order stands in the audit already"
    assert [(change.rate, change.why) for change in other.changes] == [
        ("100/s", "the rate that is shared is 100/s")
    ]
    assert most_in_any([one, other], 1) <= 100


@in_simulation
async def test_what_is_so_already_is_told_of_when_somebody_listens():
    authority = Authority("20/s")
    authority.take(0, 30.0)
    machine = Machine(authority)
    machine.asked_rate = Rate(50.0)
    async with machine.open():
        await asyncio.sleep(1)
        (pause,) = machine.changes
        assert (pause.rate, pause.why) == ("10/s", slots._OTHERS_PAUSED)
    fast = Machine(authority)
    fast.asked_rate = Rate(50.0)
    await asyncio.sleep(60)
    async with fast.open():
        await asyncio.sleep(1)
    assert [(change.rate, change.why) for change in fast.changes] == [
        ("20/s", "the rate that is shared is 20/s")
    ]


@in_simulation
async def test_a_hold_is_of_one_session_and_asks_for_nothing():
    authority = Authority("20/s")
    one, other = Machine(authority, 1), Machine(authority, 2)
    tasks = [asyncio.create_task(together([machine], 20)) for machine in (one, other)]
    await asyncio.sleep(5)
    one.pacer.hold()
    held_s, asked = authority.loop.time(), len(one.asked)
    assert one.pacer.held
    assert one.pacer.may_leave_within(60, most=9) == 0
    await asyncio.sleep(10)
    assert len(one.asked) - asked <= 1
    one.pacer.go_on()
    gone_on_s = authority.loop.time()
    await asyncio.gather(*tasks)
    assert not [at for at in one.left_s if held_s < at < gone_on_s]
    assert min(at for at in one.left_s if at > gone_on_s) < gone_on_s + 1
    assert sum(held_s + 1 < at < gone_on_s for at in other.left_s) > 0.9 * 20 * 9


@in_simulation
async def test_nobody_takes_a_connection_while_no_departure_is_near():
    authority = Authority("1/m")
    machine = Machine(authority)
    async with machine.open() as pacer:
        task = asyncio.create_task(machine.work(20, senders=30))
        await asyncio.sleep(10)
        assert pacer._near == 1
        pacer.rate_limited(100)
        await task
        await pacer._approaching.acquire()  # nobody holds it
        waiting = asyncio.create_task(pacer.approach())
        pacer._approaching.release()
        await asyncio.sleep(20)
        assert not waiting.done()
        waiting.cancel()


# --- all of it together


RATES = ["3/s", "20/s", "19.5/s", "90/s", "200/s"]


async def history(seed, for_s):
    """Let several machines send through all kinds of trouble; return them, and the highest rate by time."""
    random.seed(seed)
    rng = random.Random(seed)
    authority = Authority(rng.choice(RATES))
    authority.drift = rng.uniform(-5e-5, 5e-5)
    ways = [(0.0002, 0.002), (0.001, 0.006), (0.001, 0.012)]
    machines = [
        Machine(
            authority,
            rng.random(),
            skew_s=rng.uniform(-1e5, 1e5),
            drift=rng.uniform(-1e-4, 1e-4),
            way_s=rng.choice(ways),
            hears=rng.random() < 0.8,
        )
        for _ in range(rng.randint(2, 6))
    ]
    in_force = [(authority.loop.time(), authority.rate)]

    async def trouble():
        while True:
            await asyncio.sleep(rng.expovariate(1.5))
            machine = rng.choice(machines)
            what = rng.randrange(8)
            if what == 0:
                machine.freeze(rng.choice([0.01, 0.04, 0.3, 2.0]))
            elif what == 1:
                authority.set_clock(rng.choice([-4.0, -0.7, 0.4, 1.5, 5.0]))
            elif what == 2:
                authority.up.clear()
                await asyncio.sleep(rng.choice([0.1, 1.2]))
                authority.up.set()
            elif what == 3 and machine.pacer:
                machine.pacer.rate_limited(rng.choice([None, 0.3, 1.0]))
            elif what == 4:
                machine.lose = rng.choice([0.0, 0.1, 0.5])
            elif what == 5 and machine.pacer:
                rate = parse_rate(rng.choice(RATES))
                await machine.pacer.set_rate(rate)
                in_force.append((authority.loop.time(), rate))
            elif what == 6:
                machine.way_s = rng.choice([*ways, (0.005, 0.1)])
            else:
                authority.connection += 1
                machine.connection = authority.connection

    task = asyncio.create_task(trouble())
    await together(machines, for_s, senders=12)
    task.cancel()
    return machines, in_force


def check_windows(machines, in_force):
    """Fail where a closed second holds more than the highest rate of it, or of the horizon before it."""
    left_s = sorted(at for machine in machines for at in machine.left_s)
    last = 0
    for first, at in enumerate(left_s):
        while last < len(left_s) and left_s[last] <= at + 1:
            last += 1
        ends = [begin for begin, _ in in_force[1:]] + [float("inf")]
        whole = max(
            rate.whole
            for (begin, rate), end in zip(in_force, ends, strict=True)
            if begin <= at + 1 and end >= at - HORIZON_S - grants.SLACK_S
        )
        assert last - first <= whole, f"{last - first} within a second from {at}, of {whole}"
    return len(left_s)


@pytest.mark.parametrize("seed", sweep(range(160), fast=range(4)))
def test_no_second_holds_more_than_the_rate_whatever_happens(seed):
    @in_simulation
    async def run():
        return check_windows(*await history(seed, 40))

    assert run() > 20
