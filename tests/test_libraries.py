"""What the libraries do that the runner relies on, or guards against: an upgrade that changes it fails."""

import asyncio
import contextlib
import gzip
import itertools
import tracemalloc

import aiohttp
import pytest
import tenacity
import yarl
from aiohttp.client_reqrep import ClientRequest
from aiolimiter import AsyncLimiter

from tests.support.rawserver import cut, http, raw_server, success
from tests.support.simclock import run_simulated

# --- aiohttp: what is sent, and how often


async def fetch(session, base_url, **options):
    async with session.delete(base_url + "/x", **options) as response:
        return await response.read()


async def test_aiohttp_sends_an_idempotent_request_twice_behind_the_callers_back():
    async with raw_server(cut(), success()) as server, aiohttp.ClientSession() as session:
        await fetch(session, server.base_url)
        assert len(server.requests) == 2


@pytest.mark.parametrize("reset", [False, True])
async def test_an_own_error_from_a_middleware_ends_the_repetition(reset):
    class Lost(aiohttp.ClientError):
        pass

    passes = []

    async def once(request, handler):
        passes.append(request)
        try:
            return await handler(request)
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
            raise Lost from error

    async with raw_server(cut(reset=reset), success()) as server, aiohttp.ClientSession() as session:
        with pytest.raises(Lost):
            await fetch(session, server.base_url, middlewares=(once,))
        assert len(server.requests) == len(passes) == 1


async def test_a_middleware_may_hand_the_same_request_on_again_over_another_connection():
    class Stale(aiohttp.ClientError):
        pass

    connections = []

    class Request(ClientRequest):
        async def send(self, conn):
            connections.append(conn.protocol)
            if len(connections) == 1:
                raise Stale
            return await super().send(conn)

    async def replace(request, handler):
        try:
            return await handler(request)
        except Stale:
            return await handler(request)

    async with raw_server(success()) as server, aiohttp.ClientSession(request_class=Request) as session:
        await fetch(session, server.base_url, middlewares=(replace,))
        assert server.on_of_request == [2]
    assert connections[0] is not connections[1]
    assert connections[0].transport is None


async def test_a_given_content_length_stands_alone_when_there_is_no_data():
    headers = {}

    class Request(ClientRequest):
        async def send(self, conn):
            headers.update(self.headers)
            assert self.headers.getall("Content-Length") == ["7"]
            self.headers["Content-Length"] = "0"
            return await super().send(conn)

    async with raw_server(success()) as server, aiohttp.ClientSession(request_class=Request) as session:
        await fetch(session, server.base_url, headers={"Content-Length": "7"})
    assert headers["Content-Length"] == "7"


async def test_a_redirect_is_followed_as_delete_with_its_body_unless_forbidden():
    async with raw_server(success()) as other:
        redirect = http(b"", 307, [f"Location: {other.base_url}/y"])
        async with raw_server(redirect) as server, aiohttp.ClientSession() as session:
            async with session.delete(server.base_url, data=b"phones", allow_redirects=False) as response:
                assert response.status == 307
            assert other.requests == []
            async with session.delete(server.base_url, data=b"phones"):
                pass
        assert other.requests[0].startswith(b"DELETE /y")
        assert other.requests[0].endswith(b"phones")


async def test_no_cookie_is_kept_by_the_dummy_jar():
    jar = aiohttp.DummyCookieJar()
    reply = http(b"", headers=["Set-Cookie: a=b"])
    async with raw_server(reply) as server, aiohttp.ClientSession(cookie_jar=jar) as session:
        await fetch(session, server.base_url)
        await fetch(session, server.base_url)
        assert b"Cookie" not in server.requests[1]


async def test_the_headers_of_a_session_go_to_the_proxy_as_well_and_those_of_a_request_do_not():
    """Why the token is in no default header."""
    headers = {"Authorization": "Bearer sesame"}
    async with raw_server(http(b"", 407)) as proxy:
        async with aiohttp.ClientSession(headers=headers, proxy=proxy.base_url) as session:
            with pytest.raises(aiohttp.ClientHttpProxyError):
                await fetch(session, "https://localhost:1")
        async with aiohttp.ClientSession(proxy=proxy.base_url) as session:
            with pytest.raises(aiohttp.ClientHttpProxyError):
                await fetch(session, "https://localhost:1", headers=headers)
        assert [b"sesame" in request for request in proxy.requests] == [True, False]


def test_an_own_timeout_has_every_part_none_unless_given():
    timeout = aiohttp.ClientTimeout(connect=3)
    assert (timeout.total, timeout.sock_connect, timeout.sock_read) == (None, None, None)


# --- aiohttp: what its errors mean


def test_the_order_of_the_except_clauses_matters():
    assert issubclass(aiohttp.ClientConnectorError, aiohttp.ClientOSError)
    assert issubclass(aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorError)
    assert issubclass(aiohttp.ClientConnectorDNSError, aiohttp.ClientConnectorError)
    assert issubclass(aiohttp.ConnectionTimeoutError, TimeoutError)
    assert not issubclass(aiohttp.ConnectionTimeoutError, aiohttp.ClientOSError)
    assert issubclass(aiohttp.ServerDisconnectedError, aiohttp.ClientError)


def test_every_error_of_the_client_is_one_that_the_runner_classes():
    """A new kind of exception means: look at where it belongs in `api`."""
    kinds = {
        kind
        for kind in vars(aiohttp).values()
        if isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, Warning)
    }
    foreign = {kind.__name__ for kind in kinds if not issubclass(kind, aiohttp.ClientError)}
    assert foreign <= {
        "BadContentDispositionHeader",
        "BadContentDispositionParam",
        "BadHttpMessage",
        "EofStream",
        "InvalidHeader",
        "WebSocketError",
        "WSMessageTypeError",
    }


@pytest.mark.parametrize("reply", [b"garbage\r\n\r\n", http(b"", headers=[f"X-{n}: y" for n in range(300)])])
async def test_an_unparsable_reply_has_a_status_400_that_nobody_sent(reply):
    async with raw_server(reply) as server, aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientResponseError) as caught:
            await fetch(session, server.base_url)
    assert caught.value.status == 400


async def test_the_repr_of_a_response_error_shows_the_authorization_header():
    async with raw_server(b"garbage\r\n\r\n") as server, aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientResponseError) as caught:
            await fetch(session, server.base_url, headers={"Authorization": "Bearer sesame"})
    assert "sesame" in repr(caught.value)
    assert "sesame" not in str(caught.value)


async def test_a_body_cut_short_of_its_length_is_an_error():
    async with raw_server(cut(http(b"abc", length=9))) as server, aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientPayloadError):
            await fetch(session, server.base_url)


# --- aiohttp: reading


async def test_readany_ends_with_an_empty_piece():
    empty = b"HTTP/1.1 204 No Content\r\n\r\n"
    async with raw_server(http(b"abc"), empty) as server, aiohttp.ClientSession() as session:
        for pieces in ([b"abc", b""], [b""]):
            async with session.get(server.base_url) as response:
                assert [await response.content.readany() for _ in pieces] == pieces


async def test_nothing_is_unpacked_when_that_is_off():
    packed = gzip.compress(b" " * 50_000_000)
    reply = http(packed, headers=["Content-Encoding: gzip"])
    async with raw_server(reply) as server, aiohttp.ClientSession(auto_decompress=False) as session:
        tracemalloc.start()
        try:
            assert await fetch(session, server.base_url) == packed
            assert tracemalloc.get_traced_memory()[1] < 5_000_000
        finally:
            tracemalloc.stop()


async def test_a_body_that_is_not_read_stops_coming():
    sent = 0

    async def flood(_reader, writer):
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()
            sent += 65536

    async with raw_server(flood) as server, aiohttp.ClientSession() as session, session.get(server.base_url):
        await asyncio.sleep(0.2)
        assert sent < 20_000_000


async def test_a_reply_that_nobody_asked_for_is_the_next_answer_unless_should_close_is_looked_at():
    flags = []

    class Request(ClientRequest):
        async def send(self, conn):
            flags.append(conn.protocol.should_close)
            return await super().send(conn)

    async def twice(_reader, writer):
        writer.write(http(b"one"))
        await asyncio.sleep(0.02)
        writer.write(http(b"late"))

    async with (
        raw_server(twice, http(b"two")) as server,
        aiohttp.ClientSession(request_class=Request) as session,
    ):
        assert await fetch(session, server.base_url) == b"one"
        await asyncio.sleep(0.1)
        assert await fetch(session, server.base_url) == b"late"
    assert flags == [False, True]


async def test_the_connector_keeps_to_its_limit():
    async def slow(_reader, writer):
        await asyncio.sleep(0.02)
        writer.write(success())

    connector = aiohttp.TCPConnector(limit=2)
    async with raw_server(slow) as server, aiohttp.ClientSession(connector=connector) as session:
        await asyncio.gather(*(fetch(session, server.base_url) for _ in range(8)))
        assert server.connections == 2


# --- yarl


async def test_a_connector_creates_a_connection_only_where_none_is_kept():
    """`api` spaces them there."""
    created = []

    class Connector(aiohttp.TCPConnector):
        async def _create_connection(self, req, traces, timeout):
            created.append(1)
            return await super()._create_connection(req, traces, timeout)

    async with raw_server(success()) as server, aiohttp.ClientSession(connector=Connector()) as session:
        await fetch(session, server.base_url)
        await fetch(session, server.base_url)
        assert (len(created), server.connections) == (1, 1)


def test_yarl_sends_an_encoded_url_as_it_is_written():
    assert yarl.URL("http://h/a/u.v~w_x-y/del", encoded=True).raw_path == "/a/u.v~w_x-y/del"
    assert yarl.URL("http://h/a?x=1&y%5B%5D=2", encoded=True).raw_path_qs == "/a?x=1&y%5B%5D=2"


def test_yarl_makes_another_path_of_dots_and_hashes():
    assert yarl.URL("http://h/a/../b").raw_path == "/b"
    assert yarl.URL("http://h/a#b/c", encoded=True).raw_path == "/a"


# --- aiolimiter


def passed_in(limiter_of, seconds, workers=8):
    """Times at which a limiter let somebody through, on the simulated clock."""

    async def run():
        loop, limiter, at = asyncio.get_running_loop(), limiter_of(), []
        start_s = loop.time()

        async def worker():
            while True:
                await limiter.acquire()
                at.append(loop.time() - start_s)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(worker()) for _ in range(workers)]
            await asyncio.sleep(seconds)
            for task in tasks:
                task.cancel()
        return at

    return run_simulated(run())


def most_in_a_second(at):
    return max(sum(start <= other <= start + 1 for other in at) for start in at)


def test_the_plain_limiter_lets_nearly_twice_the_rate_through():
    assert most_in_a_second(passed_in(lambda: AsyncLimiter(20, 1), 5)) >= 39


def test_a_small_bucket_is_smooth_at_its_mean_rate():
    at = passed_in(lambda: AsyncLimiter(1.4, 1.4 / 20), 20)
    assert 20 * 20 * 0.99 <= len(at) <= 20 * 20 + 2
    assert min(later - earlier for earlier, later in itertools.pairwise(at[1:])) > 0.045


def test_the_limiter_uses_the_clock_of_the_loop_and_forgets_no_lateness_within_its_bucket():
    async def run():
        loop = asyncio.get_running_loop()
        limiter = AsyncLimiter(5, 5 / 100)
        for _ in range(5):
            await limiter.acquire()
        loop.block(0.03)  # three hundredths late: three may follow at once
        before_s = loop.time()
        for _ in range(3):
            await limiter.acquire()
        return loop.time() - before_s

    assert run_simulated(run()) < 0.001


def test_taking_a_fresh_bucket_whole_does_not_wait_and_leaves_it_full():
    async def run():
        loop = asyncio.get_running_loop()
        limiter = AsyncLimiter(1.4, 1.4 / 20)
        taking = limiter.acquire(limiter.max_rate)
        with pytest.raises(StopIteration):
            taking.send(None)
        before_s = loop.time()
        await limiter.acquire()
        return loop.time() - before_s

    assert 0.049 < run_simulated(run()) < 0.052


def test_a_cancelled_wait_takes_nothing():
    async def run():
        limiter = AsyncLimiter(1, 1)
        await limiter.acquire()
        waiting = asyncio.create_task(limiter.acquire())
        await asyncio.sleep(0.5)
        waiting.cancel()
        await asyncio.sleep(0.6)
        return limiter.has_capacity()

    assert run_simulated(run())


# --- tenacity


class Boom(Exception):
    pass


def fresh(**options):
    return tenacity.AsyncRetrying(
        stop=tenacity.stop_after_attempt(3),
        retry=tenacity.retry_if_exception_type(Boom),
        reraise=True,
        **options,
    )


async def test_a_shared_async_retrying_swallows_failures():
    """Its state is per thread, not per task: why `retrying` makes a fresh one for each call."""
    shared = fresh(wait=tenacity.wait_fixed(0.001))
    swallowed = []

    async def work(n):
        await asyncio.sleep(0.001 * (n % 2))
        if n % 2:
            raise Boom

    async def task(n):
        with contextlib.suppress(Boom):
            async for attempt in shared:
                with attempt:
                    await work(n)
            if n % 2:
                swallowed.append(n)

    await asyncio.gather(*(task(n) for n in range(20)))
    assert swallowed


async def test_a_fresh_async_retrying_for_each_call_does_not():
    async def fail():
        await asyncio.sleep(0.001)
        raise Boom

    sleeps = []

    async def sleep(seconds):
        sleeps.append(seconds)

    ends = await asyncio.gather(*(fresh(sleep=sleep)(fail) for _ in range(20)), return_exceptions=True)
    assert all(isinstance(end, Boom) for end in ends)
    assert len(sleeps) == 40


async def test_what_the_sleep_raises_ends_the_retry():
    class Enough(Exception):
        pass

    async def sleep(_seconds):
        raise Enough

    async def fail():
        raise Boom

    with pytest.raises(Enough):
        await fresh(sleep=sleep)(fail)


async def test_arguments_and_results_pass_through():
    async def add(a, b):
        return a + b

    assert await fresh()(add, 1, b=2) == 3


def test_the_exponential_jitter_is_full_and_capped_and_the_other_is_not():
    state = tenacity.RetryCallState(fresh(), None, (), {})
    state.attempt_number = 50
    full = [tenacity.wait_random_exponential(multiplier=0.5, max=30)(state) for _ in range(200)]
    assert min(full) < 3
    assert 27 < max(full) <= 30
    fixed = {tenacity.wait_exponential_jitter(initial=1, max=30)(state) for _ in range(20)}
    assert fixed == {30}
    state.attempt_number = 1
    first = [tenacity.wait_random_exponential(multiplier=0.5, max=30)(state) for _ in range(200)]
    assert max(first) <= 0.5


# --- asyncio


async def test_a_lock_is_first_come_first_served_even_when_a_waiter_is_cancelled():
    lock, order = asyncio.Lock(), []
    await lock.acquire()

    async def one(n):
        async with lock:
            order.append(n)

    tasks = [asyncio.create_task(one(n)) for n in range(6)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    tasks[3].cancel()
    lock.release()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert order == [1, 2, 4, 5]


async def test_a_timeout_that_has_struck_cannot_be_put_off():
    """Why a stop takes an attempt out of its reach before the request is written, never after."""
    with pytest.raises(RuntimeError):  # noqa: PT012 - the whole scope is what is tested
        async with asyncio.timeout(None) as timeout:
            timeout.reschedule(asyncio.get_running_loop().time() - 1)
            try:
                await asyncio.sleep(1)
            except asyncio.CancelledError:
                timeout.reschedule(asyncio.get_running_loop().time() + 1)
