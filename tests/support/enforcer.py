"""A vendor in a process of its own that enforces a limit over real sockets and keeps its own books.

`enforcer(Rules(…))` starts it, with TLS where the rules name a certificate. It shares nothing with the
runner but bytes: it counts what arrives, on its own clock, refuses what is too much, and at the end tells
what it saw.
"""

import asyncio
import contextlib
import json
import math
import socket
import ssl
import subprocess
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime

__all__ = ["Rules", "Seen", "enforcer"]


@dataclass(frozen=True)
class Rules:
    """How strict it is, and what it says to those who ask for too much."""

    limit: int
    """Requests in every sliding window, those that are refused included."""
    window_s: float = 1.0
    advice: str = ""
    """Of a refusal: `seconds` or `date` (Retry-After), `delay` or `epoch` (the quota's headers, with the last
    request that is still allowed), or nothing."""
    pause_s: int = 1
    latency_s: float = 0.01
    connect_s: float = 0.0
    """How long every other connection waits before the server takes it up."""
    close_after: int = 0
    """Closes each connection, unasked and unannounced, after so many replies; 0: never."""
    certificate: str = ""
    """PEM file with key and certificate; empty: plain HTTP."""


@dataclass
class Seen:
    """What the enforcer saw."""

    requests: int = 0
    refused: int = 0
    connections: int = 0
    most_in_window: int = 0
    confirmed: dict[str, int] = field(default_factory=dict)
    """How often each body was answered with a success."""
    in_pauses: list[int] = field(default_factory=list)
    """How many arrived in each pause it had asked for, after the request that began it."""


class Vendor:
    """The limit, and the books."""

    def __init__(self, rules):
        self.rules = rules
        self.seen = Seen()
        self.arrived = deque()
        self.paused_until_s = -math.inf

    def answer(self, body):
        """Judge one request that is arriving now; return the reply."""
        rules, seen, now_s = self.rules, self.seen, time.monotonic()
        seen.requests += 1
        self.arrived.append(now_s)
        while self.arrived[0] <= now_s - rules.window_s:
            self.arrived.popleft()
        seen.most_in_window = max(seen.most_in_window, len(self.arrived))
        paused = now_s < self.paused_until_s
        if paused:
            seen.in_pauses[-1] += 1
        if paused or len(self.arrived) > rules.limit:
            seen.refused += 1
            return reply(
                429, {"code": 429, "status": "error", "message": "慢一点", "data": []}, self.advise(now_s)
            )
        seen.confirmed[body] = seen.confirmed.get(body, 0) + 1
        done = {"code": 200, "status": "success", "message": "删除客户公海数据成功", "data": {"count": 1}}
        return reply(200, done, self.warn(now_s))

    def advise(self, now_s):
        """Ask for a pause, if that is how these rules speak."""
        if self.rules.advice == "seconds":
            self.pause(now_s, self.rules.pause_s)
            return [f"Retry-After: {math.ceil(self.paused_until_s - now_s)}"]
        if self.rules.advice == "date":
            wall_s = time.time()
            self.pause(now_s, math.floor(wall_s) + 1 + self.rules.pause_s - wall_s)
            until_s = round(wall_s + self.paused_until_s - now_s)
            return [f"Retry-After: {format_datetime(datetime.fromtimestamp(until_s, UTC), usegmt=True)}"]
        return []

    def warn(self, now_s):
        """Say with the last request that is allowed that no other is."""
        if self.rules.advice not in {"delay", "epoch"} or len(self.arrived) < self.rules.limit:
            return []
        self.pause(now_s, self.rules.pause_s)
        until_s = math.ceil((time.time() + self.rules.pause_s) * 1000) / 1000
        reset = self.rules.pause_s if self.rules.advice == "delay" else until_s
        return ["X-RateLimit-Remaining: 0", f"X-RateLimit-Reset: {reset:.3f}"]

    def pause(self, now_s, for_s):
        if now_s >= self.paused_until_s:
            self.paused_until_s = now_s + for_s
            self.seen.in_pauses.append(0)


def reply(status, envelope, headers):
    body = json.dumps(envelope, ensure_ascii=False).encode()
    head = [f"HTTP/1.1 {status} Whatever", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(head).encode() + body


class Wire(asyncio.Protocol):
    """One connection: requests with a Content-Length, one after the other."""

    def __init__(self, vendor):
        self.vendor = vendor
        self.received = b""
        self.replies = 0

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.received += data
        while (end := self.received.find(b"\r\n\r\n")) >= 0:
            head = self.received[:end].lower()
            whole = end + 4 + int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
            if len(self.received) < whole:
                return
            body, self.received = self.received[end + 4 : whole].decode(), self.received[whole:]
            answer = self.vendor.answer(body)
            asyncio.get_running_loop().call_later(self.vendor.rules.latency_s, self.send, answer)

    def send(self, answer):
        if not self.transport.is_closing():
            self.replies += 1
            last = self.replies == self.vendor.rules.close_after
            if last:  # its end leaves with the reply, or a request could cross it on the way
                connection = self.transport.get_extra_info("socket")
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
            self.transport.write(answer)
            if last:
                self.transport.close()


async def take_up(vendor, listening, context):
    """Take up every connection, every other one as late as the rules say."""
    loop = asyncio.get_running_loop()
    tasks = set()

    async def one(connection, wait_s):
        await asyncio.sleep(wait_s)
        with contextlib.suppress(OSError):
            await loop.connect_accepted_socket(lambda: Wire(vendor), connection, ssl=context)

    while True:
        connection, _ = await loop.sock_accept(listening)
        # Else the end of a TLS connection waits for the reply before it to be acknowledged: 40 ms.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        vendor.seen.connections += 1
        late = vendor.seen.connections % 2
        task = asyncio.create_task(one(connection, vendor.rules.connect_s if late else 0.0))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


async def serve(rules):
    """Say the port on standard output; at the end of standard input say what was seen."""
    vendor = Vendor(rules)
    context = None
    if rules.certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(rules.certificate)
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        listening.setblocking(False)
        accepting = asyncio.create_task(take_up(vendor, listening, context))
        print(listening.getsockname()[1], flush=True)
        await asyncio.to_thread(sys.stdin.read)
        accepting.cancel()
    print(json.dumps(asdict(vendor.seen)), flush=True)


@contextlib.contextmanager
def enforcer(rules):
    """Run it in another process; yield its base URL and a function that ends it and returns the `Seen`."""
    command = [sys.executable, "-m", "tests.support.enforcer", json.dumps(asdict(rules))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            port = process.stdout.readline().strip()
            scheme = "https" if rules.certificate else "http"
            yield (
                f"{scheme}://127.0.0.1:{port}",
                lambda: Seen(**json.loads(process.communicate(timeout=60)[0])),
            )
        finally:
            process.kill()


if __name__ == "__main__":
    asyncio.run(serve(Rules(**json.loads(sys.argv[1]))))
