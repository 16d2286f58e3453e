"""What the libraries do that the runner relies on, or guards against: an upgrade that changes it fails."""

import asyncio
import contextlib
import functools
import gzip
import itertools
import tracemalloc

import aiohttp
import pytest
import tenacity
import yarl
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest
from aiohttp.http_exceptions import HttpProcessingError
from aiolimiter import AsyncLimiter

from tests.support.rawserver import PATIENCE_S, cut, http, raw_server, success
from tests.support.simclock import run_simulated

# --- aiohttp: what is sent, and how often


async def fetch(session, base_url, **options):
    async with session.delete(base_url + "/x", **options) as response:
        return await response.read()


async def test_aiohttp_sends_an_idempotent_request_twice_behind_the_callers_back():
    async with raw_server(cut(), success()) as server, aiohttp.ClientSession() as session:
        await fetch(session, server.base_url)
        assert len(server.requests) == 2


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


# --- aiohttp: connections without a session, as `api` uses them


class Counted(ResponseHandler):
    """A connection that is ready for replies from its first moment, and sees each come."""

    def __init__(self, loop):
        super().__init__(loop)
        self.came = []

    def connection_made(self, transport):
        super().connection_made(transport)
        self.set_response_params(read_until_eof=True, auto_decompress=False)

    def feed_data(self, data, size=0):
        self.came.append(data[0].code)
        super().feed_data(data, size)


class Connecting(aiohttp.TCPConnector):
    """Makes connections of that kind, and counts them."""

    created = 0

    def __init__(self, **options):
        super().__init__(**options)
        self._factory = functools.partial(Counted, self._loop)

    async def _create_connection(self, req, traces, timeout):
        self.created += 1
        return await super()._create_connection(req, traces, timeout)


@contextlib.asynccontextmanager
async def connecting(base_url, timeout_s=PATIENCE_S, proxy=None, **options):
    """Give a function that returns a connection, made with one request that is never sent."""
    loop = asyncio.get_running_loop()
    origin = ClientRequest("GET", yarl.URL(base_url), loop=loop, proxy=proxy and yarl.URL(proxy))
    timeout = aiohttp.ClientTimeout(connect=timeout_s, sock_connect=timeout_s)
    async with Connecting(**options) as connector:
        connect = functools.partial(connector.connect, origin, [], timeout)
        connect.connector, connect.origin = connector, origin
        yield connect


async def ask(connection):
    connection.protocol.transport.write(b"DELETE / HTTP/1.1\r\n\r\n")
    return await connection.protocol.read()


async def read_all(content):
    pieces = []
    while not content.at_eof():
        pieces.append(await content.readany())
    return b"".join(pieces)


async def test_one_request_that_is_never_sent_opens_connections_and_they_are_kept_and_read_for_ever():
    async with raw_server(http(b"abc")) as server, connecting(server.base_url) as connect:
        for _ in range(3):
            connection = await connect()
            message, content = await ask(connection)
            assert (message.code, await read_all(content)) == (200, b"abc")
            assert connection.protocol.came == [200] * (1 + len(server.requests) - 1)
            connection.release()
        assert server.connections == connect.connector.created == 1
        assert server.requests == [b"DELETE / HTTP/1.1\r\n\r\n"] * 3


async def test_the_host_of_a_request_is_written_as_the_server_wants_it():
    async with connecting("https://h:443/a") as connect, connecting("http://[::1]:8080") as other:
        assert connect.origin.headers["Host"] == "h"
        assert other.origin.headers["Host"] == "[::1]:8080"
        assert "Authorization" not in connect.origin.headers


@pytest.mark.parametrize("how", ["close", "unread", "force_close"])
async def test_a_connection_that_is_closed_unread_or_to_be_closed_is_not_used_again(how):
    async with raw_server(http(b"abc")) as server, connecting(server.base_url) as connect:
        for _ in range(2):
            connection = await connect()
            _, content = await ask(connection)
            if how == "unread":
                server.writers[-1].write(b"HTTP/1.1 200 OK\r\n")
            else:
                await read_all(content)
            await asyncio.sleep(0.02)
            if how == "force_close":
                connection.protocol.force_close()
            wanted = {"unread": not content.is_eof(), "force_close": True}.get(how, False)
            assert connection.protocol.should_close >= wanted
            connection.close() if how != "force_close" else connection.release()
        assert server.connections == 2


async def test_interim_replies_are_messages_of_their_own():
    interim = b"HTTP/1.1 103 Early Hints\r\n\r\n"
    async with raw_server(interim + http(b"abc")) as server, connecting(server.base_url) as connect:
        connection = await connect()
        assert (await ask(connection))[0].code == 103
        assert (await connection.protocol.read())[0].code == 200
        assert connection.protocol.came == [103, 200]
        connection.close()


@pytest.mark.parametrize("reply", [b"garbage\r\n\r\n", http(b"", headers=[f"X-{n}: y" for n in range(300)])])
async def test_an_unparsable_reply_is_no_error_of_the_client(reply):
    async with raw_server(reply) as server, connecting(server.base_url) as connect:
        connection = await connect()
        with pytest.raises(HttpProcessingError):
            await ask(connection)
        connection.close()


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (cut(), aiohttp.ServerDisconnectedError),
        (cut(reset=True), (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError)),
        (cut(b"HTTP/1.1 200 OK\r\nContent-"), aiohttp.ServerDisconnectedError),
        (cut(http(b"abc", length=9)), aiohttp.ClientPayloadError),
        (cut(http(b"9\r\n{", headers=["Transfer-Encoding: chunked"])), aiohttp.ClientPayloadError),
    ],
)
async def test_a_reply_that_is_cut_is_an_error_of_the_client(reply, error):
    async with raw_server(reply) as server, connecting(server.base_url) as connect:
        connection = await connect()
        with pytest.raises(error):
            await read_all((await ask(connection))[1])
        connection.close()


async def test_nothing_is_unpacked_when_that_is_off():
    packed = gzip.compress(b" " * 50_000_000)
    reply = http(packed, headers=["Content-Encoding: gzip"])
    async with raw_server(reply) as server, connecting(server.base_url) as connect:
        tracemalloc.start()
        try:
            connection = await connect()
            assert await read_all((await ask(connection))[1]) == packed
            assert tracemalloc.get_traced_memory()[1] < 5_000_000
            connection.close()
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

    async with raw_server(flood) as server, connecting(server.base_url) as connect:
        connection = await connect()
        await ask(connection)
        await asyncio.sleep(0.2)
        assert sent < 20_000_000
        connection.close()


async def test_a_reply_that_nobody_asked_for_is_the_next_answer_unless_somebody_counts():
    async def twice(_reader, writer):
        writer.write(http(b"one"))
        await asyncio.sleep(0.02)
        writer.write(http(b"late"))

    async with raw_server(twice, http(b"two")) as server, connecting(server.base_url) as connect:
        for said in (b"one", b"late"):
            connection = await connect()
            assert await read_all((await ask(connection))[1]) == said
            connection.release()
            await asyncio.sleep(0.1)


async def test_the_connector_keeps_to_its_limit():
    async with raw_server(success()) as server, connecting(server.base_url, limit=2) as connect:
        held = [await connect(), await connect()]
        waiting = asyncio.create_task(connect())
        await asyncio.sleep(0.02)
        assert not waiting.done()
        held[0].close()
        (await waiting).close()
        held[1].close()
        assert connect.connector.created == 3


async def test_connecting_in_vain_ends_with_the_bare_timeout_of_its_own():
    async def silent(reader, _writer):
        await reader.read()

    async with raw_server(silent) as server:
        url = server.base_url.replace("http:", "https:")
        async with connecting(url, timeout_s=0.1) as connect:
            with pytest.raises(TimeoutError):
                await connect()


async def test_a_proxy_is_told_the_host_and_nothing_else_that_is_ours():
    """Why the token is in no header of the request that connections are made with."""
    async with raw_server(http(b"", 407)) as proxy:
        async with connecting("https://localhost:1", proxy=proxy.base_url) as connect:
            with pytest.raises(aiohttp.ClientHttpProxyError):
                await connect()
        names = {line.partition(b":")[0].lower() for line in proxy.requests[0].split(b"\r\n")[1:] if line}
        assert names <= {b"host", b"accept", b"accept-encoding", b"user-agent"}


# --- yarl


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
    """Its state is per thread, not per task: why `retried` makes a fresh one for each call."""
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
