"""A peer that sends what nobody asked for (a proxy that repeats replies late) confirms nothing by it."""

import asyncio
import socket
import threading

import pytest
import trustme

from runner.outcomes import BAD_REPLY, AttemptFailed
from tests.api.test_client import OpenGate, WaitingGate, client_of, send, server_context
from tests.support.rawserver import PATIENCE_S, arrived, http, raw_server, success, until, wait_arrived

REPEATED = success(777)


@pytest.fixture
def notes():
    return []


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def trusted(request, tmp_path):
    """The server's TLS context, or None, and how a client trusts it."""
    if not request.param:
        return None, {}
    authority = trustme.CA()
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    return server_context(authority), {"ca_file": str(ca_file)}


class BeforeWriting(OpenGate):
    """Does something at the gate, at the n-th turn; the loop reads nothing before the request."""

    def __init__(self, **at):
        super().__init__()
        self.at = {int(name.removeprefix("turn")): act for name, act in at.items()}

    async def leave(self, depart):
        turn = self.calls.count("leave") + 1
        self.calls.append("leave")
        self.at.get(turn, lambda: None)()
        return depart()


def repeat_after(delay_s):
    """Answer, and answer again so much later."""

    async def script(_reader, writer):
        writer.write(success(1))
        await asyncio.sleep(delay_s)
        writer.write(REPEATED)

    return script


def uncertain(end):
    return isinstance(end, AttemptFailed) and end.left and end.kind is BAD_REPLY


# --- what came before the request was written never confirms it


async def test_a_reply_that_waits_unread_when_the_request_is_written_is_not_its_answer(trusted, notes):
    context, trust = trusted

    def repeat():
        server.writers[0].write(REPEATED)
        wait_arrived(server.writers[0])

    gate = BeforeWriting(turn2=repeat)
    async with (
        raw_server(success(1), success(2), ssl=context) as server,
        client_of(server.base_url, gate=gate, on_note=notes.append, **trust) as client,
    ):
        assert (await send(client)).count == 1
        assert (await send(client)).count == 2
        assert server.on_of_request == [1, 2]
    assert len(notes) == 1


async def test_half_a_reply_that_came_before_the_request_was_written_is_not_its_answer():
    async with raw_server(success(1), success(2)) as server, client_of(server.base_url) as client:
        assert (await send(client)).count == 1
        server.writers[0].write(REPEATED[:20])
        await arrived(server.writers[0])
        sending = asyncio.create_task(send(client))
        await until(lambda: len(server.requests) == 2)
        server.writers[0].write(REPEATED[20:])
        assert (await sending).count == 2
        assert server.on_of_request == [1, 2]


async def test_a_reply_that_comes_while_the_connection_waits_at_the_gate_is_not_its_answer():
    gate = WaitingGate()
    gate.open.set()
    async with raw_server(success(1), success(2)) as server, client_of(server.base_url, gate=gate) as client:
        assert (await send(client)).count == 1
        gate.waiting.clear()
        gate.open.clear()
        sending = asyncio.create_task(send(client))
        await gate.waiting.wait()
        server.writers[0].write(REPEATED)
        await arrived(server.writers[0])
        gate.open.set()
        assert (await sending).count == 2
        assert server.on_of_request == [1, 2]


# --- what can not be told apart is uncertain


@pytest.mark.parametrize("status", [200, 401, 429, 400, 302])
async def test_two_replies_at_once_to_a_later_request_of_a_connection_prove_nothing(status, notes):
    twice = http(b'{"code": 200, "data": {"count": 7}}', status) + success(2)
    async with (
        raw_server(success(1), twice, success(3)) as server,
        client_of(server.base_url, on_note=notes.append) as client,
    ):
        assert (await send(client)).count == 1
        assert uncertain(await send(client))
        assert (await send(client)).count == 3
        assert server.on_of_request == [1, 1, 2]
    (note,) = notes
    assert "one request a connection" in note
    assert "1 replies before" in note


async def test_the_first_reply_of_a_connection_is_its_first_requests():
    async with raw_server(success(1) + REPEATED, success(2)) as server, client_of(server.base_url) as client:
        assert (await send(client)).count == 1
        assert (await send(client)).count == 2
        assert server.on_of_request == [1, 2]


async def test_once_it_showed_the_replies_under_way_on_kept_connections_prove_nothing():
    """One connection repeats a reply; one carries its second request then, another its first."""
    release = asyncio.Event()

    async def slowly(_reader, writer):
        await release.wait()
        writer.write(success(5))

    first_two = asyncio.Barrier(2)

    async def together(_reader, writer):
        await first_two.wait()
        writer.write(success(1))

    async with (
        raw_server(together, together, slowly, slowly) as server,
        client_of(server.base_url) as client,
    ):
        await asyncio.gather(send(client), send(client))
        kept = asyncio.create_task(send(client))
        await until(lambda: len(server.requests) == 3)
        assert server.connections == 2
        idle = 3 - server.on_of_request[2]
        server.writers[idle - 1].write(REPEATED)
        await arrived(server.writers[idle - 1])
        fresh = asyncio.create_task(send(client))
        await until(lambda: len(server.requests) == 4)
        release.set()
        assert uncertain(await kept)
        assert (await fresh).count == 5
        assert server.on_of_request[3] == 3


# --- from then on one request a connection, said once


@pytest.mark.parametrize("delay_s", [0.0, 0.005, 0.03])
async def test_a_peer_out_of_step_gets_one_request_a_connection_and_is_told_of_once(delay_s, notes):
    async with (
        raw_server(repeat_after(delay_s)) as server,
        client_of(server.base_url, on_note=notes.append) as client,
    ):
        for _ in range(5):
            assert (await send(client)).count == 1
            await asyncio.sleep(0.06)
        assert server.on_of_request == [1, 2, 3, 4, 5]
    assert len(notes) == 1


async def test_a_connection_in_hand_is_replaced_when_another_shows_that_the_peer_is_out_of_step():
    both = asyncio.Barrier(2)

    async def together(_reader, writer):
        await both.wait()
        writer.write(success(1))

    gate = WaitingGate()
    gate.open.set()
    async with (
        raw_server(together, together, success(2)) as server,
        client_of(server.base_url, gate=gate) as client,
    ):
        await asyncio.gather(send(client), send(client))
        gate.open.clear()
        gate.waiting.clear()
        sending = [asyncio.create_task(send(client)) for _ in range(2)]
        await until(lambda: gate.calls.count("leave") == 4)
        server.writers[0].write(REPEATED)
        await arrived(server.writers[0])
        gate.open.set()
        assert [end.count for end in await asyncio.gather(*sending)] == [2, 2]
        assert sorted(server.on_of_request) == [1, 2, 3, 4]


async def test_however_many_connections_were_kept_the_next_request_finds_a_fresh_one():
    kept = 8
    all_of_them = asyncio.Barrier(kept)

    async def together(_reader, writer):
        await all_of_them.wait()
        writer.write(success(1))

    async with (
        raw_server(*[together] * kept, success(2)) as server,
        client_of(server.base_url, concurrency=kept) as client,
    ):
        await asyncio.gather(*(send(client) for _ in range(kept)))
        server.writers[0].write(REPEATED)
        await arrived(server.writers[0])
        assert (await send(client)).count == 2
        assert server.on_of_request[-1] == kept + 1
        await until(server.readers[-1].at_eof)  # a connection that carries one request is closed after it


async def test_a_peer_in_step_keeps_its_connection_and_nothing_is_said(trusted, notes):
    context, trust = trusted
    async with (
        raw_server(success(1), ssl=context) as server,
        client_of(server.base_url, on_note=notes.append, **trust) as client,
    ):
        for _ in range(5):
            await send(client)
        assert server.on_of_request == [1] * 5
    assert notes == []


async def test_a_line_break_after_a_body_is_no_reply(notes):
    async def sloppy(_reader, writer):
        writer.write(success(1))
        await asyncio.sleep(0.01)
        writer.write(b"\r\n")

    async with (
        raw_server(sloppy) as server,
        client_of(server.base_url, on_note=notes.append) as client,
    ):
        for _ in range(3):
            assert (await send(client)).count == 1
            await asyncio.sleep(0.03)
        assert server.on_of_request == [1, 1, 1]
    assert notes == []


async def test_a_408_before_an_idle_connection_is_closed_replaces_it_and_says_nothing_of_the_peer(notes):
    async def closing(_reader, writer):
        writer.write(success(1))
        await asyncio.sleep(0.01)
        writer.write(http(b"", 408, ["Connection: close"]))

    async with (
        raw_server(closing, success(2)) as server,
        client_of(server.base_url, on_note=notes.append) as client,
    ):
        assert (await send(client)).count == 1
        await asyncio.sleep(0.03)
        assert [(await send(client)).count for _ in range(3)] == [2, 2, 2]
        assert server.on_of_request == [1, 2, 2, 2]
    assert notes == []


@pytest.mark.parametrize("said", [len(REPEATED), 20], ids=["whole", "half"])
async def test_a_reply_before_the_first_request_of_a_connection_confirms_nothing(said, notes):
    class Slow(OpenGate):
        async def leave(self, depart):
            self.calls.append("leave")
            await until(lambda: len(server.writers) == self.calls.count("leave"))
            await arrived(server.writers[-1])
            return depart()

    async with (
        raw_server(REPEATED[said:], greeting=REPEATED[:said]) as server,
        client_of(server.base_url, gate=Slow(), on_note=notes.append) as client,
    ):
        end = await send(client)
    assert (end.left, end.kind.uncertain, notes) == (False, False, [])


def test_a_tls_ticket_that_waits_unread_costs_no_connection(tmp_path):
    """The server is a thread; its tickets have come, unread, by the time the request is written."""
    authority = trustme.CA()
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    listener, accepted = socket.create_server(("127.0.0.1", 0)), []
    shaken = threading.Event()

    def serve():
        connection, _ = listener.accept()
        accepted.append(connection)
        with server_context(authority).wrap_socket(connection, server_side=True) as tls:
            wait_arrived(tls)
            shaken.set()
            while tls.recv(65536):
                tls.sendall(success(6))

    class Busy(OpenGate):
        async def leave(self, depart):
            assert shaken.wait(PATIENCE_S)
            return depart()

    async def run():
        url = f"https://localhost:{listener.getsockname()[1]}"
        async with client_of(url, gate=Busy(), ca_file=str(ca_file)) as client:
            assert (await send(client)).count == 6

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    asyncio.run(run())
    thread.join(PATIENCE_S)
    listener.close()
    assert len(accepted) == 1
