import asyncio
import contextlib
import gzip
import json
import re
import socket
import ssl
import threading
import traceback
import tracemalloc
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

import aiohttp
import pytest
import trustme
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.access import Token
from runner.api import client as api
from runner.api import connection as wire
from runner.api import replies
from runner.api.client import open_client
from runner.api.replies import parse_quota_reset, parse_retry_after
from runner.errors import Refused, Stopped
from runner.model import DeleteRequest, Target
from runner.outcomes import (
    AUTH,
    BAD_REPLY,
    CUT,
    FORBIDDEN,
    ISOLATE,
    NOT_CONNECTED,
    NOT_FOUND,
    RATE_LIMITED,
    REDIRECT,
    REFUSED,
    SERVER,
    TIMEOUT,
    UNKNOWN_CODE,
    UNTRUSTED,
    AttemptFailed,
)
from runner.send.pacing import Pacer
from runner.settings import Rate
from runner.stop import Stop, Stopping
from tests.support.rawserver import PATIENCE_S, arrived, cut, envelope, http, raw_server, success, until
from tests.support.simclock import run_simulated

SECRET = "sk-live/Zm9v+YmFy.0123456789"
USER = "5832d184-dd53-42a0-8ace-0bf8d660f4cc"
PHONES = ("17458558658", "13012121212")
REQUEST = DeleteRequest.of(Target(USER), PHONES)
NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


class OpenGate:
    """A gate without a limit that writes down what was asked of it."""

    def __init__(self):
        self.calls = []
        self.quota_s = None

    async def approach(self):
        self.calls.append("approach")

    async def leave(self, depart):
        self.calls.append("leave")
        return depart()

    def attempt_over(self, *, left):
        self.calls.append(f"attempt_over {left}")

    def quota_exhausted(self, reset_s):
        self.quota_s = reset_s


@asynccontextmanager
async def client_of(base_url, *, gate=None, stop=None, timeout_s=PATIENCE_S, **given_):
    async with open_client(
        base_url,
        Token(SECRET),
        gate or OpenGate(),
        Stop() if stop is None else stop,
        timeout_s=timeout_s,
        concurrency=given_.pop("concurrency", 4),
        now=lambda: NOW,
        **given_,
    ) as client:
        yield client


async def send(client, request=REQUEST):
    """Send once; return the reply and how often `on_left` was called, or the failure."""
    left = []
    try:
        reply = await client.send(request, lambda: left.append(1))
    except AttemptFailed as failure:
        end = failure
    else:
        end = reply
    assert len(left) == getattr(end, "left", True)
    return end


async def outcome(*script, timeout_s=PATIENCE_S):
    """The end of one attempt against a server that says this; exactly one request may reach it."""
    async with raw_server(*script) as server, client_of(server.base_url, timeout_s=timeout_s) as client:
        end = await send(client)
        await until(lambda: server.requests)
        await asyncio.sleep(0.01)
        assert len(server.requests) == 1
    return end


# --- the outcome table of the contract


async def silent(reader, _writer):
    await reader.read()


TABLE = [
    ("reset", cut(reset=True), CUT, None, None),
    ("disconnect", cut(), CUT, None, None),
    ("cut in the headers", cut(b"HTTP/1.1 200 OK\r\nContent-"), CUT, None, None),
    ("cut in the body", cut(http(b'{"code"', length=50)), CUT, 200, None),
    ("cut in a chunk", cut(http(b"9\r\n{", headers=["Transfer-Encoding: chunked"])), CUT, 200, None),
    ("reset in the body", cut(http(b'{"code"', length=50), reset=True), CUT, 200, None),
    ("unparsable 200", http("no json"), BAD_REPLY, 200, None),
    ("misshapen 200", http('{"code": 200}'), BAD_REPLY, 200, None),
    ("no reply in time", silent, TIMEOUT, None, None),
    ("nobody knows the code", http(envelope(9999)), UNKNOWN_CODE, 200, 9999),
    ("negative code", http(envelope(-1)), UNKNOWN_CODE, 200, -1),
    ("envelope 302", http(envelope(302)), UNKNOWN_CODE, 200, 302),
    ("envelope 6007", http(envelope(6007)), ISOLATE, 200, 6007),
    *[
        (f"HTTP {status}", http(envelope(9), status), kind, status, 9)
        for status, kind in [
            (429, RATE_LIMITED),
            (408, SERVER),
            (500, SERVER),
            (502, SERVER),
            (503, SERVER),
            (504, SERVER),
            (599, SERVER),
            (400, ISOLATE),
            (413, ISOLATE),
            (422, ISOLATE),
            (402, REFUSED),
            (405, REFUSED),
            (409, REFUSED),
            (499, REFUSED),
            (401, AUTH),
            (403, FORBIDDEN),
            (404, NOT_FOUND),
            (201, BAD_REPLY),
            (202, BAD_REPLY),
            (206, BAD_REPLY),
        ]
    ],
    *[
        (f"envelope {code}", http(envelope(code)), kind, 200, code)
        for code, kind in [
            (429, RATE_LIMITED),
            (408, SERVER),
            (500, SERVER),
            (503, SERVER),
            (400, ISOLATE),
            (413, ISOLATE),
            (422, ISOLATE),
            (402, REFUSED),
            (418, REFUSED),
            (401, AUTH),
            (403, FORBIDDEN),
            (404, NOT_FOUND),
        ]
    ],
    *[
        (f"redirect {status}", http(b"", status, [f"Location: {where}"]), REDIRECT, status, None)
        for status in (301, 302, 303, 307, 308)
        for where in ("/elsewhere", "http://127.0.0.1:1/")
    ],
    ("redirect without a place", http(b"", 302), REDIRECT, 302, None),
    ("304", b"HTTP/1.1 304 Not Modified\r\n\r\n", REDIRECT, 304, None),
]


@pytest.mark.parametrize(
    ("script", "kind", "status", "code"), [row[1:] for row in TABLE], ids=[r[0] for r in TABLE]
)
async def test_outcome_table(script, kind, status, code):
    end = await outcome(script, timeout_s=2.0 if kind is TIMEOUT else PATIENCE_S)
    assert isinstance(end, AttemptFailed)
    assert (end.kind, end.left, end.http_status, end.code) == (kind, True, status, code)


async def test_a_confirmed_deletion():
    end = await outcome(success(10))
    assert (end.count, end.message) == (10, "删除客户公海数据成功")


async def test_a_count_of_nothing_is_a_count():
    assert (await outcome(success(0))).count == 0


async def test_http_other_than_200_decides_alone():
    end = await outcome(http(envelope(200, "fine", {"count": 3}), 500))
    assert end.kind is SERVER
    end = await outcome(http(envelope(401), 503))
    assert (end.kind, end.code) == (SERVER, 401)


async def test_a_status_decides_although_its_body_is_cut():
    end = await outcome(cut(http(b"{", 401, length=100)))
    assert (end.kind, end.http_status) == (AUTH, 401)


async def test_a_status_decides_although_its_body_never_ends():
    async def drip(_reader, writer):
        writer.write(http(b"", 429, ["Retry-After: 7"], length=100))
        while True:
            writer.write(b" ")
            await asyncio.sleep(0.2)

    end = await outcome(drip, timeout_s=2.0)
    assert (end.kind, end.retry_after_s) == (RATE_LIMITED, 7.0)


# --- surely not sent


async def test_refused_connection_is_not_sent():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        gate = OpenGate()
        async with client_of(f"http://127.0.0.1:{held.getsockname()[1]}", gate=gate) as client:
            end = await send(client)
    assert (end.kind, end.left) == (NOT_CONNECTED, False)
    assert gate.calls == ["approach", "attempt_over False"]


async def test_unknown_host_is_not_sent():
    async with client_of("https://nobody.invalid") as client:
        end = await send(client)
    assert (end.kind, end.left) == (NOT_CONNECTED, False)


async def test_a_connection_that_takes_too_long_is_not_sent(monkeypatch):
    monkeypatch.setattr(api, "CONNECT_TIMEOUT_S", 0.2)
    # It accepts, and never answers the TLS hello.
    async with raw_server(silent) as server, client_of(server.base_url.replace("http:", "https:")) as client:
        end = await send(client)
    assert (end.kind, end.left, end.message) == (NOT_CONNECTED, False, "no connection in time")


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


def server_context(issuer, name="localhost"):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issuer.issue_cert(name).configure_cert(context)
    return context


async def test_tls_with_a_custom_ca_works(authority, tmp_path):
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    async with (
        raw_server(success(4), ssl=server_context(authority)) as server,
        client_of(server.base_url, ca_file=str(ca_file)) as client,
    ):
        assert (await send(client)).count == 4


async def test_an_untrusted_certificate_is_not_sent_and_said_plainly(authority):
    async with (
        raw_server(success(), ssl=server_context(authority)) as server,
        client_of(server.base_url) as client,
    ):
        end = await send(client)
        assert server.requests == []
    assert (end.kind, end.left) == (UNTRUSTED, False)
    assert "certificate is not trusted" in end.message


async def test_a_certificate_for_another_host_is_refused(authority, tmp_path):
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    async with (
        raw_server(success(), ssl=server_context(authority, "other.example")) as server,
        client_of(server.base_url, ca_file=str(ca_file)) as client,
    ):
        end = await send(client)
        assert server.requests == []
    assert end.kind is UNTRUSTED
    assert "localhost" in end.message


@pytest.mark.parametrize("content", [None, "no certificate"])
async def test_an_unusable_ca_file_is_refused(tmp_path, content):
    ca_file = tmp_path / "ca.pem"
    if content is not None:
        ca_file.write_text(content)
    with pytest.raises(Refused, match=re.escape(str(ca_file))):
        async with client_of("https://localhost:1", ca_file=str(ca_file)):
            pass


# --- hostile replies: each ends as its class, in bounded time and memory

OK = '{"code": 200, "data": {"count": %s}}'
HOSTILE = [
    ("empty", b""),
    ("white space", b"   \r\n"),
    ("null", b"null"),
    ("list", b"[]"),
    ("string", b'"ok"'),
    ("number", b"200"),
    ("html", b"<html><body>200 OK</body></html>"),
    ("bom", b"\xef\xbb\xbf" + (OK % 1).encode()),
    ("utf-16", (OK % 1).encode("utf-16")),
    ("bad utf-8", (OK % 1).encode() + b"\xff"),
    ("bad utf-8 within", b'{"code": 200, "message": "\xff", "data": {"count": 1}}'),
    ("nan", (OK % "NaN").encode()),
    ("infinity", (OK % "Infinity").encode()),
    ("negative", (OK % -1).encode()),
    ("1e400", (OK % "1e400").encode()),
    ("float", (OK % "1.0").encode()),
    ("string count", (OK % '"3"').encode()),
    ("bool count", (OK % "true").encode()),
    ("null count", (OK % "null").encode()),
    ("list count", (OK % "[1]").encode()),
    ("count past 2**53", (OK % 2**53).encode()),
    ("count past 64 bits", (OK % 10**30).encode()),
    ("missing data", b'{"code": 200}'),
    ("missing count", b'{"code": 200, "data": {}}'),
    ("data is a list", b'{"code": 200, "data": [{"count": 1}]}'),
    ("missing code", b'{"data": {"count": 1}}'),
    ("string code", b'{"code": "200", "data": {"count": 1}}'),
    ("float code", b'{"code": 200.0, "data": {"count": 1}}'),
    ("bool code", b'{"code": true, "data": {"count": 1}}'),
    ("null code", b'{"code": null, "data": {"count": 1}}'),
    ("code past 2**53", b'{"code": %d, "data": []}' % 2**60),
    ("doubled key", b'{"code": 200, "data": {"count": 1, "count": 2}}'),
    ("doubled code", b'{"code": 500, "code": 200, "data": {"count": 1}}'),
    ("doubled code, spaced", b'{"code" :500, "code":200, "data": {"count": 1}}'),
    ("doubled deeper", b'{"code": 200, "data": {"count": 1}, "meta": {"a": 1, "a": 2}}'),
    ("100,000 brackets", b"[" * 60_000),
    ("nested objects", b'{"data":' * 7_000),
    ("5,000 digits", (OK % ("9" * 5000)).encode()),
    ("two documents", (OK % 1).encode() * 2),
    ("trailing comma", b'{"code": 200, "data": {"count": 1},}'),
    ("single quotes", b"{'code': 200}"),
    ("trailing zero byte", (OK % 1).encode() + b"\0"),
]


@pytest.mark.parametrize("body", [row[1] for row in HOSTILE], ids=[row[0] for row in HOSTILE])
async def test_a_hostile_body_is_a_bad_reply(body):
    end = await outcome(http(body))
    assert (end.kind, end.left, end.http_status) == (BAD_REPLY, True, 200)
    assert_harmless(end.message)


@pytest.mark.parametrize("body", [row[1] for row in HOSTILE], ids=[row[0] for row in HOSTILE])
async def test_a_hostile_body_changes_nothing_about_a_status(body):
    end = await outcome(http(body, 503))
    assert (end.kind, end.http_status) == (SERVER, 503)
    assert_harmless(end.message)


def assert_harmless(words):
    assert len(words) <= 200
    assert all(char.isprintable() for char in words), words
    words.encode()
    assert SECRET not in words


async def endless(writer, piece, *, until):
    """Write for as long as the other side takes it; return how many bytes that was."""
    sent = 0
    try:
        while sent < until:
            writer.write(piece)
            await writer.drain()
            sent += len(piece)
    except ConnectionError:
        pass
    return sent


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n", BAD_REPLY),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", BAD_REPLY),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 104857600\r\n\r\n", SERVER),
    ],
)
async def test_a_body_of_100_mb_is_not_read(head, kind):
    taken = []

    async def flood(_reader, writer):
        writer.write(head)
        taken.append(await endless(writer, b"x" * 65536, until=100 * 2**20))

    tracemalloc.start()
    try:
        end = await outcome(flood)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    await asyncio.sleep(0.05)
    assert (end.kind, end.left) == (kind, True)
    assert taken[0] < 20 * 2**20
    assert peak < 8 * 2**20


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, gzip", "x-unknown"])
async def test_a_bomb_is_not_unpacked(encoding):
    bomb = gzip.compress(b" " * 50_000_000)
    tracemalloc.start()
    try:
        end = await outcome(http(bomb[: api.MOST_BODY], headers=[f"Content-Encoding: {encoding}"]))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (end.kind, end.http_status) == (BAD_REPLY, 200)
    assert peak < 8 * 2**20


@pytest.mark.parametrize(
    "reply",
    [
        b"220 mail.example ESMTP\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/9.9 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 99999 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 -20 OK\r\nContent-Length: 0\r\n\r\n",
        b"\0" * 5000 + b"\r\n",
        b"HTTP/1.1 200 " + b"O" * 100_000 + b"\r\n\r\n",
        http(b"{}", headers=[f"X-{n}: y" for n in range(300)]),
        http(b"{}", headers=["X: " + "y" * 100_000]),
        http(b"{}", headers=["Bad Header: y"]),
        http(b"{}", headers=["Content-Length: 5", "Content-Length: 7"]),
        http(b"{}", headers=["Content-Length: -5"]),
        http(b"{}", headers=["Content-Length: 9" + "9" * 40]),
        http(b"zz\r\n{}\r\n0\r\n\r\n", headers=["Transfer-Encoding: chunked"]),
    ],
    ids=lambda reply: repr(reply[:24]),
)
async def test_what_is_not_http_is_uncertain_and_retried(reply):
    end = await outcome(cut(reply))
    assert isinstance(end, AttemptFailed)
    assert end.kind in (BAD_REPLY, CUT)
    assert end.left
    assert_harmless(end.message)


async def test_garbage_that_keeps_the_connection_is_a_bad_reply_at_once():
    end = await outcome(b"220 mail.example ESMTP\r\n\r\n")
    assert (end.kind, end.http_status) == (BAD_REPLY, None)


async def test_one_byte_at_a_time_ends_with_the_timeout():
    async def drip(_reader, writer):
        for byte in http("{" + " " * 10_000 + "}"):
            writer.write(bytes([byte]))
            await asyncio.sleep(0.02)

    end = await outcome(drip, timeout_s=2.0)
    assert (end.kind, end.left) == (TIMEOUT, True)


async def test_one_byte_of_the_body_at_a_time_ends_with_the_timeout():
    async def drip(_reader, writer):
        writer.write(http(b"{", length=10_000))
        while True:
            writer.write(b" ")
            await asyncio.sleep(0.02)

    end = await outcome(drip, timeout_s=2.0)
    assert (end.kind, end.http_status) == (TIMEOUT, 200)


async def test_interim_replies_are_passed_over():
    end = await outcome(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n" + success(2))
    assert end.count == 2


async def test_a_slow_stream_of_interim_replies_ends_with_the_timeout():
    async def drip(_reader, writer):
        while True:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            await asyncio.sleep(0.2)

    end = await outcome(drip, timeout_s=2.0)
    assert (end.kind, end.left) == (TIMEOUT, True)


@pytest.mark.parametrize(
    ("interim", "confirmed"), [(wire.MOST_INTERIM, True), (wire.MOST_INTERIM + 1, False)]
)
async def test_only_so_many_interim_replies_are_passed_over(interim, confirmed):
    end = await outcome(b"HTTP/1.1 100 Continue\r\n\r\n" * interim + success(2))
    if confirmed:
        assert end.count == 2
    else:
        assert (end.kind, end.left) == (BAD_REPLY, True)
        assert "interim" in end.message


async def test_a_flood_of_interim_replies_ends_at_once_and_takes_no_memory():
    taken = []

    async def flood(_reader, writer):
        taken.append(await endless(writer, b"HTTP/1.1 103 Early Hints\r\n\r\n" * 2000, until=100 * 2**20))

    tracemalloc.start()
    try:
        end = await outcome(flood)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (end.kind, end.left) == (BAD_REPLY, True)
    await asyncio.sleep(0.05)
    assert taken[0] < 20 * 2**20
    assert peak < 8 * 2**20


@pytest.mark.parametrize(
    "reply", [b"HTTP/1.1 204 No Content\r\n\r\n", http(b"", 101, ["Upgrade: websocket"])]
)
async def test_an_empty_success_confirms_nothing(reply):
    end = await outcome(reply)
    assert (end.kind, end.left) == (BAD_REPLY, True)


@pytest.mark.parametrize(
    "cookie",
    ["a=b", "a=b; Domain=.example; Max-Age=9", "\x01=;;;===", "=" * 5000, 'x="\\', "a=" + "\xff" * 99],
)
async def test_cookies_are_neither_read_nor_sent_back(cookie):
    reply = b"HTTP/1.1 200 OK\r\nSet-Cookie: " + cookie.encode("latin-1")
    body = envelope(200, "", {"count": 1}).encode()
    reply += b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    async with raw_server(reply) as server, client_of(server.base_url) as client:
        for _ in range(2):
            end = await send(client)
            assert isinstance(end, AttemptFailed) or end.count == 1
        assert not any(b"cookie" in request.lower() for request in server.requests)


# --- kept connections


async def test_connections_are_kept():
    async with raw_server(success()) as server, client_of(server.base_url) as client:
        for _ in range(5):
            await send(client)
        assert server.connections == 1
        assert len(server.requests) == 5


@pytest.mark.parametrize("late_s", [0.0, 0.05])
async def test_a_second_reply_is_never_the_answer_to_the_next_request(late_s):
    said = asyncio.Event()

    async def twice(_reader, writer):
        writer.write(success(1))
        await asyncio.sleep(late_s)
        writer.write(success(777))
        said.set()

    async with raw_server(twice, success(2)) as server, client_of(server.base_url) as client:
        assert (await send(client)).count == 1
        await said.wait()
        await arrived(server.writers[0])
        assert (await send(client)).count == 2
        assert server.on_of_request == [1, 2]


async def test_garbage_on_an_idle_connection_makes_it_unused():
    said = asyncio.Event()

    async def noisy(_reader, writer):
        writer.write(success(1))
        await asyncio.sleep(0.02)
        writer.write(b"\x15\x03\x03 what?\r\n\r\n")
        said.set()

    async with raw_server(noisy, success(2)) as server, client_of(server.base_url) as client:
        await send(client)
        await said.wait()
        await arrived(server.writers[0])
        assert (await send(client)).count == 2
        assert server.on_of_request == [1, 2]


class WaitingGate(OpenGate):
    """Lets the n-th turn go when the n-th event is set."""

    def __init__(self):
        super().__init__()
        self.waiting = asyncio.Event()
        self.open = asyncio.Event()

    async def leave(self, depart):
        self.calls.append("leave")
        self.waiting.set()
        await self.open.wait()
        return depart()


async def test_a_connection_that_closed_at_the_gate_is_replaced_before_writing():
    gate = WaitingGate()
    async with raw_server(success(3)) as server, client_of(server.base_url, gate=gate) as client:
        sending = asyncio.create_task(send(client))
        await gate.waiting.wait()
        await until(lambda: server.writers)
        server.writers[0].write_eof()
        await arrived(server.writers[0])
        gate.open.set()
        assert (await sending).count == 3
        assert server.on_of_request == [2]
    assert gate.calls == ["approach", "leave", "leave", "attempt_over True"]


async def test_a_connection_that_waited_too_long_at_the_gate_is_replaced(monkeypatch):
    monkeypatch.setattr(wire, "IN_HAND_S", 0.05)
    gate = WaitingGate()
    async with raw_server(success(3)) as server, client_of(server.base_url, gate=gate) as client:
        sending = asyncio.create_task(send(client))
        await gate.waiting.wait()
        await asyncio.sleep(0.1)
        gate.open.set()
        assert (await sending).count == 3
        assert server.on_of_request == [2]


async def test_a_server_that_closes_every_connection_unread_is_not_connected():
    closed = []

    class Closing(OpenGate):
        async def leave(self, depart):
            await until(lambda: len(closed) > self.calls.count("leave"))
            return await super().leave(depart)

    async def close_at_once(_reader, writer):
        writer.write_eof()
        await arrived(writer)
        closed.append(writer)
        writer.close()

    server = await asyncio.start_server(close_at_once, "127.0.0.1", 0)
    gate = Closing()
    async with (
        server,
        client_of(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", gate=gate) as client,
    ):
        end = await send(client)
    assert (end.kind, end.left) == (NOT_CONNECTED, False)
    assert gate.calls[-1] == "attempt_over False"


async def test_at_most_concurrency_connections():
    async def slow(_reader, writer):
        await asyncio.sleep(0.02)
        writer.write(success())

    async with raw_server(slow) as server, client_of(server.base_url, concurrency=3) as client:
        await asyncio.gather(*(send(client) for _ in range(12)))
        assert server.connections == 3


# --- gate and wire


async def test_near_the_gate_before_connecting_and_connected_before_the_gate():
    seen = []

    class Watching(OpenGate):
        async def approach(self):
            seen.append(("approach", server.connections))

        async def leave(self, depart):
            await until(lambda: server.connections)  # it is told later than the client
            seen.append(("leave", server.connections, len(server.requests)))
            return depart()

    async with raw_server(success()) as server, client_of(server.base_url, gate=Watching()) as client:
        await send(client)
    assert seen == [("approach", 0), ("leave", 1, 0)]


async def test_all_that_are_ready_in_one_turn_are_made_ready_before_the_first_of_them_leaves():
    """Ends are recorded first, and requests leave in a row: the server is woken once for many."""
    gate = OpenGate()
    async with (
        raw_server(*[success()] * 6) as server,
        client_of(server.base_url, gate=gate) as client,
    ):
        for _ in range(2):  # the second time over connections that are kept
            gate.calls.clear()
            await asyncio.gather(*(send(client) for _ in range(3)))
    assert server.connections == 3
    assert gate.calls[:6] == ["approach"] * 3 + ["leave"] * 3


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("new_loop", [asyncio.SelectorEventLoop, uvloop.new_event_loop])
def test_the_whole_request_is_on_the_wire_when_depart_returns(new_loop, tls, authority, tmp_path):
    """With the loop stopped right after the gate, the server has headers and body already."""
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    complete = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        received = b""
        connection, _ = listener.accept()
        if tls:
            connection = server_context(authority).wrap_socket(connection, server_side=True)
        with connection:
            while not received.endswith(REQUEST.body):
                piece = connection.recv(65536)
                assert piece, "the client is gone"
                received += piece
            complete.set()
            connection.sendall(success(6))
            with contextlib.suppress(OSError):
                connection.recv(1)

    class Blocking(OpenGate):
        async def leave(self, depart):
            left = depart()  # over TLS a session's ticket may have to be read first
            self.was_complete = left and complete.wait(PATIENCE_S)
            return left

    async def run():
        base_url = f"{'https' if tls else 'http'}://localhost:{listener.getsockname()[1]}"
        gate = Blocking()
        async with client_of(base_url, gate=gate, ca_file=str(ca_file)) as client:
            assert (await send(client)).count == 6
        assert gate.was_complete

    thread = threading.Thread(target=serve)
    thread.start()
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(run())
    thread.join(PATIENCE_S)
    listener.close()


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("new_loop", [asyncio.SelectorEventLoop, uvloop.new_event_loop])
def test_what_has_not_left_by_the_timeout_never_does_and_nobody_is_waited_for(
    new_loop, tls, authority, tmp_path
):
    """A connection that is given up is closed at once; over TLS, too, where a goodbye is the custom."""
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    request = replace(REQUEST, body=b"0" * (32 * 2**20))  # far more than the system takes in
    listener = socket.create_server(("127.0.0.1", 0))
    given_up, came, gone = threading.Event(), [], threading.Event()

    def serve():
        connection, _ = listener.accept()
        if tls:
            connection = server_context(authority).wrap_socket(connection, server_side=True)
        assert given_up.wait(PATIENCE_S)
        with connection, contextlib.suppress(ConnectionError):
            while piece := socket.socket.recv(connection, 65536):
                came.append(len(piece))
        gone.set()

    async def run():
        base_url = f"{'https' if tls else 'http'}://localhost:{listener.getsockname()[1]}"
        async with client_of(base_url, ca_file=str(ca_file), timeout_s=1.0) as client:
            assert (await send(client, request)).kind is TIMEOUT
            given_up.set()
            await until(gone.is_set)

    thread = threading.Thread(target=serve)
    thread.start()
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(run())
    thread.join(PATIENCE_S)
    listener.close()
    assert 0 < sum(came) < len(request.body)


async def test_with_the_real_pacer_the_window_holds_on_the_wire():
    stop = Stop()
    pacer = Pacer(Rate(60.0), stop, now=lambda: NOW)
    async with (
        raw_server(success()) as server,
        client_of(server.base_url, gate=pacer, stop=stop, concurrency=16) as client,
    ):
        await asyncio.gather(*(send(client) for _ in range(75)))
    assert len(server.requests) == pacer.meter.departures == 75
    assert pacer.meter.max_in_window <= 60
    assert pacer.meter.in_flight == 0


async def test_what_is_on_the_wire():
    target = Target("a.b~c_d-1", ("2024-07-26 00:00:00", "2024-07-27 23:59:59"), encryption=True)
    request = DeleteRequest.of(target, ("密文=", "x"))
    async with raw_server(success()) as server, client_of(server.base_url) as client:
        await send(client, request)
    head, body = server.requests[0].split(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "DELETE /agent-api/user/a.b~c_d-1/del_customer HTTP/1.1"
    assert sorted(lines[1:]) == sorted(
        [
            f"Host: {server.base_url.removeprefix('http://')}",
            f"Authorization: Bearer {SECRET}",
            "Content-Type: application/json",
            "Accept: application/json",
            "Accept-Encoding: identity",
            "User-Agent: bulk-delete",
            f"Content-Length: {len(request.body)}",
        ]
    )
    assert body == request.body
    assert json.loads(body)["phone"] == ["密文=", "x"]


async def test_a_base_url_with_a_path_keeps_it():
    async with raw_server(success()) as server, client_of(server.base_url + "/white/label") as client:
        await send(client)
    assert server.requests[0].startswith(b"DELETE /white/label/agent-api/user/")


@pytest.mark.parametrize(
    "path", ["/agent-api/user/../x/del", "/agent-api/user/a#b/del", "/agent-api/user/a?b/del"]
)
async def test_a_path_that_would_be_sent_as_another_is_a_bug(path):
    async with client_of("http://127.0.0.1:1") as client:
        with pytest.raises(AssertionError, match="would be sent as"):
            client._head("DELETE", path)


# --- stop, cancellation


async def test_a_stop_at_the_gate_sends_nothing():
    gate, stop = WaitingGate(), Stop()
    async with raw_server(success()) as server, client_of(server.base_url, gate=gate, stop=stop) as client:
        sending = asyncio.create_task(send(client))
        await gate.waiting.wait()
        stop.request("enough")
        with pytest.raises(Stopping):
            await sending
        gate.open.set()
        await asyncio.sleep(0.02)
        assert server.requests == []
        with pytest.raises(Stopping):
            await send(client)
    assert gate.calls == ["approach", "leave", "attempt_over False"]


async def test_a_stop_in_the_same_turn_of_the_loop_sends_nothing():
    stop = Stop()

    class Late(OpenGate):
        async def leave(self, depart):
            stop.request("enough")
            return depart()

    gate = Late()
    async with raw_server(success()) as server, client_of(server.base_url, gate=gate, stop=stop) as client:
        with pytest.raises(Stopping):
            await send(client)
        await asyncio.sleep(0.02)
        assert server.requests == []
    assert gate.calls == ["approach", "attempt_over False"]


async def test_a_stop_while_connecting_sends_nothing():
    stop = Stop()
    async with (
        raw_server(silent) as server,
        client_of(server.base_url.replace("http:", "https:"), stop=stop) as client,
    ):
        sending = asyncio.create_task(send(client))
        await asyncio.sleep(0.05)
        stop.request("enough")
        with pytest.raises(Stopping):
            await asyncio.wait_for(sending, PATIENCE_S)


async def test_a_stop_waits_for_what_is_on_the_wire():
    stop = Stop()

    async def slow(_reader, writer):
        stop.request("enough")
        await asyncio.sleep(0.1)
        writer.write(success(8))

    async with raw_server(slow) as server, client_of(server.base_url, stop=stop) as client:
        assert (await send(client)).count == 8


async def test_the_time_at_the_gate_is_not_the_attempts():
    gate = WaitingGate()
    async with (
        raw_server(success()) as server,
        client_of(server.base_url, gate=gate, timeout_s=1.0) as client,
    ):
        sending = asyncio.create_task(send(client))
        await gate.waiting.wait()
        await asyncio.sleep(1.1)
        gate.open.set()
        assert (await sending).count == 1


@pytest.mark.parametrize("on_the_wire", [False, True])
async def test_a_cancelled_attempt_says_whether_it_had_left(on_the_wire):
    gate, left = WaitingGate(), []
    async with raw_server(silent) as server, client_of(server.base_url, gate=gate) as client:
        sending = asyncio.create_task(client.send(REQUEST, lambda: left.append(1)))
        await gate.waiting.wait()
        if on_the_wire:
            gate.open.set()
            await until(lambda: server.requests)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await asyncio.sleep(0.02)
        assert len(server.requests) == len(left) == on_the_wire
    assert gate.calls[-1] == f"attempt_over {on_the_wire}"


async def test_an_error_of_the_gates_listener_is_not_taken_for_the_networks():
    class Broken(OpenGate):
        async def approach(self):
            raise OSError(28, "No space left on device")

    async with client_of("http://127.0.0.1:1", gate=Broken()) as client:
        with pytest.raises(OSError, match="No space"):
            await client.send(REQUEST, lambda: None)


# --- advice


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("600", 600.0),
        ("601", 600.0),
        ("999999", 600.0),
        ("9999999", 600.0),
        ("9" * 5000, 600.0),
        ("0000000007", 7.0),
        ("0" * 5000, 0.0),
        ("-5", None),
        ("1.5", None),
        ("1e3", None),
        ("inf", None),
        ("nan", None),
        ("", None),
        ("７", None),
        ("soon", None),
        ("Thu, 01 Jan 2026 12:00:30 GMT", 30.0),
        ("Thursday, 01-Jan-26 12:00:30 GMT", 30.0),
        ("Thu Jan  1 12:00:30 2026", 30.0),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0.0),
        ("Thu, 01 Jan 2099 11:00:00 GMT", 600.0),
        ("Thu, 99 Jan 2026 99:99:99 GMT", None),
        ("Thu, 01 Jan 99999 12:00:00 GMT", None),
        ("Thu, " + "1" * 5000, None),
    ],
)
def test_retry_after(header, seconds):
    assert parse_retry_after(header, NOW) == seconds


@given(st.text(max_size=40) | st.from_regex(r"\A(Mon|Thu), [ -~]{10,30}\Z"))
@settings(max_examples=300, deadline=None)
def test_no_retry_after_raises_or_exceeds_ten_minutes(header):
    seconds = parse_retry_after(header, NOW)
    assert seconds is None or 0 <= seconds <= 600


EPOCH = int(NOW.timestamp())


@pytest.mark.parametrize(
    ("remaining", "reset", "seconds"),
    [
        ("0", "30", 30.0),
        ("0", "1.5", 1.5),
        ("0", str(EPOCH + 12), 12.0),
        ("0", str(EPOCH - 12), 0.0),
        ("0", "99999", 600.0),
        ("0", "9999999999", 600.0),
        ("0", "99999999999", None),
        ("0", "soon", None),
        ("0", "-1", None),
        ("0", None, None),
        ("1", "30", None),
        ("00", "30", None),
        (None, "30", None),
    ],
)
def test_quota_reset(remaining, reset, seconds):
    given_ = {"X-RateLimit-Remaining": remaining, "X-RateLimit-Reset": reset}
    headers = {name: value for name, value in given_.items() if value is not None}
    assert parse_quota_reset(headers, NOW) == seconds


async def test_the_advice_of_a_failure_reaches_the_caller():
    end = await outcome(http(b"", 429, ["Retry-After: 9"]))
    assert (end.kind, end.retry_after_s) == (RATE_LIMITED, 9.0)
    end = await outcome(http(b"", 503, ["Retry-After: Thu, 01 Jan 2026 12:00:20 GMT"]))
    assert (end.kind, end.retry_after_s) == (SERVER, 20.0)
    end = await outcome(http(b"", 429, ["X-RateLimit-Remaining: 0", "X-RateLimit-Reset: 15"]))
    assert end.retry_after_s == 15.0
    end = await outcome(http(b"", 429, ["Retry-After: -1"]))
    assert end.retry_after_s is None


@pytest.mark.parametrize(
    ("date", "seconds"),
    [("Thu, 01 Jan 2026 13:00:05 GMT", 15.0), ("Thu, 01 Jan 2026 10:00:00 GMT", 600.0), ("noon", 600.0)],
    ids=["an hour ahead of ours", "behind ours", "none that can be read"],
)
async def test_a_date_in_the_advice_is_counted_from_the_replys_own_date(date, seconds):
    end = await outcome(http(b"", 503, [f"Date: {date}", "Retry-After: Thu, 01 Jan 2026 13:00:20 GMT"]))
    assert end.retry_after_s == seconds
    reset = ["X-RateLimit-Remaining: 0", f"X-RateLimit-Reset: {EPOCH + 3620}"]
    end = await outcome(http(b"", 429, [f"Date: {date}", *reset]))
    assert end.retry_after_s == seconds


async def test_a_used_up_quota_on_a_success_reaches_the_gate():
    gate = OpenGate()
    reply = success(1, headers=["X-RateLimit-Remaining: 0", "X-RateLimit-Reset: 15"])
    async with raw_server(reply) as server, client_of(server.base_url, gate=gate) as client:
        assert (await send(client)).count == 1
    assert gate.quota_s == 15.0


# --- words and secrets


@pytest.mark.parametrize("status", [200, 400, 500])
async def test_the_vendors_words_are_bounded_and_harmless(status):
    nasty = (
        "\x1b[2J\x1b]0;pwned\x07 \u202eevil\u2066 \u2028 \u0085\x9b31m \r\n\0 \ud800 \u200b 密 "
        + "long " * 100
    )
    body = json.dumps({"code": 400, "message": nasty, "data": []})
    end = await outcome(http(body, status))
    assert_harmless(end.message)
    assert "evil" in end.message
    assert "密" in end.message


async def test_phones_stay_in_the_words_for_the_audit():
    end = await outcome(http(envelope(6007, "17458558658 bad"), 422))
    assert "17458558658" in end.message


@pytest.mark.parametrize(
    "body",
    [
        envelope(401, f"token {SECRET} is not valid"),
        f"<html>Authorization: Bearer {SECRET}</html>",
        "x" * (replies.MOST_WORDS - 10) + SECRET,
        json.dumps({"echo": SECRET}).replace("/", "\\/"),
        SECRET * 50,
        "sk-live%2FZm9v%2BYmFy.0123456789",
    ],
)
@pytest.mark.parametrize("status", [200, 401, 500])
async def test_a_token_that_the_server_echoes_goes_nowhere(body, status):
    end = await outcome(http(body, status))
    shown = "".join([end.message, str(end), repr(end), *traceback.format_exception(end)])
    assert "Zm9v" not in shown


@pytest.mark.parametrize(
    "script", [cut(), cut(b"garbage\r\n\r\n"), b"garbage\r\n\r\n", http("{", length=9), silent]
)
async def test_no_exception_in_the_chain_shows_the_token(script):
    error = await outcome(script, timeout_s=0.3)
    while error is not None:
        assert SECRET not in str(error) + repr(error) + repr(error.args) + repr(vars(error))
        error = error.__cause__ or error.__context__


async def test_the_client_shows_no_token():
    async with client_of("http://127.0.0.1:1") as client:
        assert SECRET not in repr(client) + str(client) + f"{client}"
        assert "127.0.0.1" in repr(client)


# --- proxies


async def test_a_proxy_in_the_environment_is_ignored(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with raw_server(success(5)) as server, client_of(server.base_url) as client:
        assert (await send(client)).count == 5


async def test_plain_http_goes_past_every_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with raw_server(success(5)) as server, client_of(server.base_url, proxy_from_env=True) as client:
        assert (await send(client)).count == 5


def tunnel_to(port):
    """A proxy's answer to CONNECT: pass every byte on, both ways."""

    async def pipe(reader, writer):
        while piece := await reader.read(65536):
            writer.write(piece)
        writer.close()

    async def script(reader, writer):
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(pipe(reader, far_writer), pipe(far_reader, writer))

    return script


async def test_tls_through_a_proxy_shows_it_no_token(monkeypatch, authority, tmp_path):
    gate = OpenGate()
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    monkeypatch.setenv("no_proxy", "")
    async with raw_server(success(5), ssl=server_context(authority)) as server:
        port = int(server.base_url.rpartition(":")[2])
        async with raw_server(tunnel_to(port)) as proxy:
            monkeypatch.setenv("https_proxy", proxy.base_url)
            async with client_of(
                server.base_url, gate=gate, ca_file=str(ca_file), proxy_from_env=True
            ) as client:
                assert [(await send(client)).count for _ in range(2)] == [5, 5]
    assert [request.split()[0] for request in proxy.requests] == [b"CONNECT"]
    assert SECRET.encode() not in proxy.requests[0]
    assert len(server.requests) == gate.calls.count("attempt_over True") == 2


async def test_a_proxy_that_refuses_is_not_connected(monkeypatch):
    monkeypatch.setenv("no_proxy", "")
    async with raw_server(http(b"who are you?", 407)) as proxy:
        monkeypatch.setenv("https_proxy", proxy.base_url)
        async with client_of("https://localhost:1", proxy_from_env=True) as client:
            end = await send(client)
    assert (end.kind, end.left) == (NOT_CONNECTED, False)


async def test_no_proxy_is_respected_and_netrc_is_not_read(monkeypatch, authority, tmp_path):
    (tmp_path / "netrc").write_text("machine localhost login me password pw\n")
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "localhost")
    async with (
        raw_server(success(5), ssl=server_context(authority)) as server,
        client_of(server.base_url, ca_file=str(ca_file), proxy_from_env=True) as client,
    ):
        assert (await send(client)).count == 5
    assert f"Bearer {SECRET}".encode() in server.requests[0]


async def test_a_broken_proxy_setting_is_refused(monkeypatch):
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("https_proxy", "user:pa55@proxy:3128")
    with pytest.raises(Refused) as caught:
        async with client_of("https://127.0.0.1:1", proxy_from_env=True):
            pass
    assert "pa55" not in str(caught.value)


# --- the sibling calls


async def test_check_token_reads_leniently():
    async with (
        raw_server(http('{"whatever": 1, "message": "until tomorrow"}')) as server,
        client_of(server.base_url) as client,
    ):
        assert await client.check_token() == "until tomorrow"
    head = server.requests[0].decode()
    assert head.startswith("GET /agent-api/token HTTP/1.1\r\n")
    assert f"Authorization: Bearer {SECRET}" in head


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (http(b"", 401), AUTH),
        (http(envelope(401)), AUTH),
        (http("<html>log in</html>"), BAD_REPLY),
        (http(b"", 302, ["Location: /login"]), REDIRECT),
    ],
)
async def test_check_token_says_no(reply, kind):
    async with raw_server(reply) as server, client_of(server.base_url) as client:
        with pytest.raises(AttemptFailed) as caught:
            await client.check_token()
        assert len(server.requests) == 1
    assert caught.value.kind is kind


async def test_list_total_asks_for_the_window_and_passes_the_gate():
    gate = OpenGate()
    target = Target(USER, ("2024-01-01 00:00:00", "2024-01-31 23:59:59"), encryption=True, delete_window=True)
    reply = http('{"code":200,"meta":{"total":6},"data":[{"phone":"13012121212"}]}')
    async with raw_server(reply) as server, client_of(server.base_url, gate=gate) as client:
        assert await client.list_total(target) == 6
    line = server.requests[0].decode().split("\r\n")[0]
    assert line == (
        f"GET /agent-api/user/{USER}/get_customer?page=1&per_page=1"
        "&created_at=2024-01-01+00%3A00%3A00&created_at=2024-01-31+23%3A59%3A59"
        "&created_at%5B%5D=2024-01-01+00%3A00%3A00&created_at%5B%5D=2024-01-31+23%3A59%3A59"
        "&encryption=true HTTP/1.1"
    )
    assert gate.calls == ["approach", "leave", "attempt_over True"]


@pytest.mark.parametrize("total", ["-1", "1.0", '"6"', "true", "null", "[]"])
async def test_list_total_is_strict(total):
    async with (
        raw_server(http(f'{{"code":200,"meta":{{"total":{total}}}}}')) as server,
        client_of(server.base_url) as client,
    ):
        with pytest.raises(AttemptFailed) as caught:
            await client.list_total(Target(USER))
    assert caught.value.kind is BAD_REPLY


# --- whatever comes


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_body_is_a_reply_or_a_failure(body):
    clean = replies.cleaner(Token(SECRET))
    for status in (200, 500):
        try:
            reply = replies.read_reply(replies.RawReply(status, body), clean)
        except AttemptFailed as failure:
            assert_harmless(failure.message)
        else:
            assert status == 200
            assert reply.count >= 0


@given(st.text(max_size=500))
@settings(max_examples=300, deadline=None)
def test_any_words_come_out_harmless(text):
    assert_harmless(replies.cleaner(Token(SECRET))(text))


# --- what must not cost a reply, or hold up those of others


async def test_an_audit_that_cannot_note_the_pause_does_not_cost_the_reply():
    class Gate(OpenGate):
        def quota_exhausted(self, reset_s):
            super().quota_exhausted(reset_s)
            raise Stopped("the audit cannot be written")

    quota = ["X-RateLimit-Remaining: 0", "X-RateLimit-Reset: 7"]
    gate = Gate()
    async with raw_server(success(3, quota)) as server, client_of(server.base_url, gate=gate) as client:
        assert (await send(client)).count == 3
    assert gate.quota_s == 7


def test_connections_open_one_by_one_evenly(monkeypatch):
    opened_s = []

    async def opened(connector, *args):
        opened_s.append(asyncio.get_running_loop().time())

    async def open_all():
        async with wire.Connector(wire.Peer(), limit=10) as connector:
            await asyncio.gather(*(connector._create_connection(None, [], None) for _ in range(10)))
            await asyncio.sleep(60)
            await connector._create_connection(None, [], None)

    monkeypatch.setattr(aiohttp.TCPConnector, "_create_connection", opened)
    run_simulated(open_all())
    began_s = opened_s[0]
    spaced = [n * 0.015 for n in range(10)]
    assert [at_s - began_s for at_s in opened_s[:10]] == pytest.approx(spaced, abs=1e-3)
    assert opened_s[10] - opened_s[9] == pytest.approx(60, abs=1e-3)
