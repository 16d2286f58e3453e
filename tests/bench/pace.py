"""How much of the rate is used and what a server in another process sees of it: `python -m tests.bench.pace`.

Prints a table: requests asked for a second, share of it used, most in any closed window of one second by our
own meter and by the arrivals at the server. Not a test: the numbers depend on the machine.
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from bisect import bisect_right
from datetime import UTC, datetime
from pathlib import Path

import trustme

from runner.access import Token
from runner.api.client import open_client
from runner.model import DeleteRequest, Target
from runner.send.pacing import Pacer
from runner.settings import parse_rate
from runner.stop import Stop

BODY = b'{"code": 200, "status": "success", "message": "", "data": {"count": 1}}'
REPLY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY


class Requests(asyncio.Protocol):
    """Calls `arrived` with every request that is in."""

    def __init__(self):
        self.received = b""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.received += data
        while (end := self.received.find(b"\r\n\r\n")) >= 0:
            head = self.received[:end].lower()
            length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
            if len(self.received) < end + 4 + length:
                return
            self.received = self.received[end + 4 + length :]
            self.arrived()


class Server(Requests):
    """Answers every request after a latency, and remembers when each had arrived."""

    def __init__(self, arrivals, latency_s):
        super().__init__()
        self.arrivals = arrivals
        self.latency_s = latency_s

    def arrived(self):
        self.arrivals.append(time.monotonic())
        asyncio.get_running_loop().call_later(self.latency_s, self.answer)

    def answer(self):
        if not self.transport.is_closing():
            self.transport.write(REPLY)


async def serve(latency_s, certificate):
    """Say the port on standard output; at the end of standard input say what arrived."""
    arrivals = []
    loop = asyncio.get_running_loop()
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    server = await loop.create_server(lambda: Server(arrivals, latency_s), "127.0.0.1", 0, ssl=context)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    most = max((bisect_right(arrivals, at + 1.0) - n for n, at in enumerate(arrivals)), default=0)
    print(json.dumps({"requests": len(arrivals), "most_in_a_second": most}), flush=True)


@contextlib.contextmanager
def server_process(latency_s, certificate):
    command = [
        sys.executable,
        "-m",
        "tests.bench.pace",
        "--serve",
        str(latency_s),
        "--certificate",
        certificate,
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


async def measure(rate, seconds, workers, base_url, ca_file):
    stop = Stop()
    pacer = Pacer(parse_rate(rate), stop, now=lambda: datetime.now(UTC))
    pacer.on_change = print
    phones = tuple(str(17458558000 + n) for n in range(100))
    request = DeleteRequest.of(Target("5832d184-dd53-42a0-8ace-0bf8d660f4cc"), phones)
    end_s = asyncio.get_running_loop().time() + seconds

    async def worker(client):
        while asyncio.get_running_loop().time() < end_s:
            await client.send(request, lambda: None)

    async with open_client(
        base_url, Token("bench"), pacer, stop, timeout_s=30, concurrency=workers, ca_file=ca_file
    ) as client:
        cpu_s = time.process_time()
        await asyncio.gather(*(worker(client) for _ in range(workers)))
        cpu_s = time.process_time() - cpu_s
    return pacer.meter, cpu_s


@contextlib.contextmanager
def freezing(wanted):
    """Let another process stop and continue this one, a few times a second."""
    if not wanted:
        yield
        return
    pid = os.getpid()
    script = f"while kill -STOP {pid}; do sleep 0.1; kill -CONT {pid}; sleep 0.2; done"
    with subprocess.Popen(["sh", "-c", script]) as process:
        yield
        process.kill()
        os.kill(pid, signal.SIGCONT)


def run(rate, options, base, loop_factory):
    certificate = str(base / "server.pem") if options.tls else ""
    with server_process(options.latency, certificate) as process:
        port = process.stdout.readline().strip()
        base_url = f"{'https' if options.tls else 'http'}://127.0.0.1:{port}"
        with freezing(options.freeze), asyncio.Runner(loop_factory=loop_factory) as runner:
            meter, cpu_s = runner.run(
                measure(rate, options.seconds, options.workers, base_url, str(base / "ca.pem"))
            )
        seen = json.loads(process.communicate(timeout=30)[0])
    asked = parse_rate(rate).per_second
    used = "" if rate == "unlimited" else f"{meter.rate_achieved / asked:.1%}"
    assert seen["requests"] == meter.departures
    print(
        f"| {rate} | {meter.rate_achieved:.1f}/s | {used} | {meter.max_in_window}"
        f" | {seen['most_in_a_second']} | {meter.peak_in_flight} | {cpu_s / meter.departures * 1e6:.0f} µs |",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rates", nargs="*", default=["20/s", "200/s", "1000/s", "unlimited"])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--latency", type=float, default=0.02, help="of the server, in seconds")
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--uvloop", action="store_true")
    parser.add_argument("--freeze", action="store_true", help="stop and continue this process all the time")
    parser.add_argument("--serve", type=float, metavar="LATENCY", help=argparse.SUPPRESS)
    parser.add_argument("--certificate", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    loop_factory = asyncio.SelectorEventLoop
    if options.uvloop:
        import uvloop

        loop_factory = uvloop.new_event_loop
    if options.serve is not None:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(serve(options.serve, options.certificate))
        return
    print("| rate | achieved | used | most in 1 s, meter | most in 1 s, server | peak in flight | CPU |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(base / "ca.pem"))
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(
            str(base / "server.pem")
        )
        for rate in options.rates:
            run(rate, options, base, loop_factory)


if __name__ == "__main__":
    main()
