"""The whole session over real sockets, against a server in another process that enforces a strict limit.

What is asserted is what the server counted, on its own; and of the rate, when each request was written: its
way to the server takes what the machine and the network make of it. At the end the same questions about an
outage of a minute, on the simulated clock.
"""

import asyncio
import time
from datetime import UTC, datetime
from itertools import product

import pytest
import trustme
import uvloop

from runner.access import Token
from runner.api.client import open_client
from runner.errors import Exit
from runner.model import DeleteRequest
from runner.send.breaker import FAILURES_IN_A_ROW, TRIAL_PAUSES_S
from runner.send.pacing import Pacer
from runner.settings import Limits, Rate
from runner.stop import Stop
from tests.bench.outage import through_an_outage
from tests.support.enforcer import Rules, enforcer
from tests.support.fakes import Rig, batches
from tests.support.sweep import sweep

WORKERS = 16
ATTEMPTS = 50
"""What is asked here is how the rate is found: the bad luck of one batch shall not end it first."""
PLENTY = 10_000
"""A limit that nobody reaches."""
LOW = 20
"""One that `WORKERS` pass, and twice of it, however long the way to the server is."""


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """Certificates of a server on 127.0.0.1 and of the authority that signed it, as files."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
    return folder


class WatchedGate:
    """A pacer's gate that notes, by a clock of its own, between which moments each request was written."""

    def __init__(self, pacer):
        self.pacer = pacer
        self.written = []

    def __getattr__(self, name):
        return getattr(self.pacer, name)

    async def leave(self, depart):
        def watched():
            from_s = time.monotonic()
            left = depart()
            if left:
                self.written.append((from_s, time.monotonic()))
            return left

        return await self.pacer.leave(watched)


def assert_no_second_holds_more(rate, written):
    """No request was surely written within a second of the one that is `rate` before it."""
    pairs = zip(written, written[rate:], strict=False)
    assert [(before, after) for (_, before), (after, _) in pairs if after - before < 1.0] == []


class LateSender:
    """Stands for the client until there is one: the session is wired before the client is opened."""

    async def send(self, request, on_left):
        return await self.client.send(request, on_left)


async def live(count, rate, base_url, authority=None, workers=WORKERS):
    """Send so many batches with the real client and the real session; return the rig, with its summary."""
    limits = Limits(rate=Rate(rate), concurrency=workers, max_attempts=ATTEMPTS)
    rig = Rig(batches(count, size=1), limits=limits, connect=lambda rig: LateSender())
    rig.gate = WatchedGate(rig.pacer)
    ca_file = str(authority / "ca.pem") if authority else None
    async with open_client(
        base_url,
        Token("secret"),
        rig.gate,
        rig.stop,
        timeout_s=limits.timeout_s,
        concurrency=workers,
        ca_file=ca_file,
    ) as rig.api.client:
        async with asyncio.timeout(60):
            rig.summary = await rig.run()
    return rig


async def enforced(count, rate, rules, authority=None):
    """The same against these rules; return what the session and the server saw."""
    with enforcer(rules) as (base_url, seen):
        rig = await live(count, rate, base_url, authority if rules.certificate else None)
        return rig, await asyncio.to_thread(seen)


def assert_each_once(count, rig, seen):
    """Every batch was confirmed, and in the server's books exactly once."""
    assert rig.summary["exit_code"] == Exit.OK
    assert len(seen.confirmed) == count
    assert set(seen.confirmed.values()) == {1}
    assert rig.summary["batches"]["deleted"] == rig.summary["count"] == count
    assert rig.summary["requests"] == seen.requests
    assert rig.summary["uncertain_batches"] == 0


@pytest.mark.parametrize(
    ("rate", "count", "tls"),
    sweep([(20, 50, False), (20, 50, True), (200, 500, False), (200, 500, True)], fast=[0, 3]),
)
async def test_no_second_holds_more_requests_than_the_rate(rate, count, tls, authority):
    certificate = str(authority / "server.pem") if tls else ""
    rig, seen = await enforced(count, rate, Rules(limit=PLENTY, certificate=certificate), authority)
    assert_each_once(count, rig, seen)
    assert len(rig.gate.written) == count
    assert_no_second_holds_more(rate, rig.gate.written)
    assert rig.summary["max_in_window"] <= rate


@pytest.mark.parametrize("tls", sweep([False, True], fast=[0]), ids=["plain", "tls"])
async def test_a_lower_limit_is_found_by_halving_and_few_requests_are_refused(tls, authority):
    certificate = str(authority / "server.pem") if tls else ""
    rig, seen = await enforced(120, 200, Rules(limit=2 * LOW, certificate=certificate), authority)
    assert_each_once(120, rig, seen)
    # Until the first refusals are read, and while what left at the old rates is still in the window.
    assert 0 < seen.refused <= 200, "more than a second at the full rate"


@pytest.mark.parametrize("advice", sweep(["seconds", "date", "delay", "epoch"], fast=[1]))
async def test_a_pause_that_is_asked_for_holds_every_worker(advice):
    rig, seen = await enforced(3 * LOW, 200, Rules(limit=LOW, advice=advice))
    assert_each_once(3 * LOW, rig, seen)
    assert seen.in_pauses
    assert max(seen.in_pauses) <= WORKERS  # what was on the wire; 200 would come in a second
    assert seen.refused <= WORKERS * len(seen.in_pauses)


async def test_slow_connects_put_no_request_too_many_into_a_second(authority):
    certificate = str(authority / "server.pem")
    rules = Rules(limit=PLENTY, connect_s=0.4, certificate=certificate)
    rig, seen = await enforced(250, 100, rules, authority)
    assert_each_once(250, rig, seen)
    assert_no_second_holds_more(100, rig.gate.written)


@pytest.mark.parametrize("tls", sweep([False, True], fast=[1]), ids=["plain", "tls"])
async def test_a_server_that_closes_its_connections_leaves_no_doubt(tls, authority):
    certificate = str(authority / "server.pem") if tls else ""
    rules = Rules(limit=PLENTY, close_after=5, certificate=certificate)
    rig, seen = await enforced(500, 250, rules, authority)
    assert_each_once(500, rig, seen)
    assert seen.connections >= 100


@pytest.mark.parametrize(
    ("loop_factory", "tls"),
    sweep(product([asyncio.SelectorEventLoop, uvloop.new_event_loop], [False, True]), fast=[0, 3]),
)
def test_a_reply_that_came_while_the_process_was_stopped_is_no_timeout(loop_factory, tls, authority):
    """To the loop a stopped process and a callback that holds it are the same."""
    timeout_s = 0.6

    async def attempt(base_url):
        stop = Stop()
        pacer = Pacer(Rate(None), stop, now=lambda: datetime.now(UTC))
        ca_file = str(authority / "ca.pem")
        options = {"timeout_s": timeout_s, "concurrency": 1, "ca_file": ca_file}
        async with open_client(base_url, Token("secret"), pacer, stop, **options) as client:
            [batch] = batches(1)
            request = DeleteRequest.of(batch.target, batch.phones)
            return await client.send(request, lambda: time.sleep(2 * timeout_s))

    certificate = str(authority / "server.pem") if tls else ""
    served = enforcer(Rules(limit=10, certificate=certificate))
    with served as (base_url, _), asyncio.Runner(loop_factory=loop_factory) as runner:
        assert runner.run(attempt(base_url)).count == 1


# --- a server that is not trusted


async def test_a_certificate_that_nobody_trusts_stops_the_run_after_three_and_is_named(authority):
    rules = Rules(limit=100, certificate=str(authority / "server.pem"))
    with enforcer(rules) as (base_url, seen):
        rig = await live(30, 200, base_url)
        assert seen().requests == 0
    assert rig.summary["why"].startswith(
        "server not trusted; connection: TLS: the server's certificate is not trusted: "
    )
    assert (rig.summary["exit_code"], rig.summary["requests"]) == (Exit.STOPPED, 0)


# --- an outage of a minute


@pytest.mark.parametrize(
    ("kind", "rate"), sweep(product(["503", "refused", "hangs"], [20.0, 200.0]), fast=[0, 2, 4])
)
def test_an_outage_of_a_minute_costs_what_was_in_flight_and_the_trials(kind, rate):
    """Without it that minute carries 60 × rate requests; nothing is lost for it, and nothing stays open."""
    seen = through_an_outage(kind, rate, workers=64, count=int(rate * 30))
    in_flight = FAILURES_IN_A_ROW + 64
    assert len(seen.tried_s) <= in_flight + len(TRIAL_PAUSES_S)
    assert seen.sent <= (0 if kind == "refused" else in_flight + len(TRIAL_PAUSES_S))
    assert seen.rig.summary["exit_code"] in {Exit.OK, Exit.PARTIAL}
    batches_ended = seen.rig.summary["batches"]
    assert batches_ended["deleted"] >= batches_ended["planned"] - 1
    assert seen.recovered_s(rate) < 35.0  # the longest pause between trials, at worst


def test_an_outage_that_outlasts_the_trials_stops_the_run():
    seen = through_an_outage("503", 200.0, workers=64, count=6000, to_s=1e9)
    assert seen.rig.summary["exit_code"] == Exit.STOPPED
    assert len(seen.tried_s) <= FAILURES_IN_A_ROW + 64 + len(TRIAL_PAUSES_S)
