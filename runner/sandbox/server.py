"""The sandbox on a loopback port: one request from its arrival to whatever becomes of it.

Owns the order in which a gateway and the service behind it look at a request: outage, rate limit, redirect,
token, fault, work, fault. The work of a call is one step without a wait, and the ledger learns of it in the
same step. It must never listen on any but a loopback address.
"""

import asyncio
import contextlib
import ipaddress
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qs, unquote

import orjson
from aiohttp import web

from runner.sandbox import endpoints
from runner.sandbox.control import Control, Running, answer_inside
from runner.sandbox.endpoints import Answer, failure
from runner.sandbox.faults import Dice, is_after, kind_of
from runner.sandbox.ledger import Ledger, LedgerEntry
from runner.sandbox.pool import Pool
from runner.sandbox.settings import SandboxSettings
from runner.sandbox.wire import JSON, Wire, go_wrong, send_answer, send_closed, send_page, send_too_many

__all__ = ["run", "serve"]

_INSIDE = "/_sandbox/"
_USER_CALLS = {
    ("DELETE", "del_customer"): "del_customer",
    ("GET", "get_customer"): "get_customer",
    ("POST", "async_customer"): "async_customer",
}
_NEVER_SEEN = failure(503, "never seen")
_SHUTDOWN_S = 0.5
_KEEPALIVE_S = 75.0


def _route(method: str, path: str) -> tuple[str, str]:
    """Return the call and the user id that a raw path means; `other` where it means none."""
    parts = path.split("/")
    if len(parts) == 5 and parts[:3] == ["", "agent-api", "user"] and (method, parts[4]) in _USER_CALLS:
        return _USER_CALLS[method, parts[4]], unquote(parts[3])
    if method == "GET" and path == "/agent-api/token":
        return "token", ""
    return "other", ""


@dataclass(slots=True)
class _Server:
    """What the handler of every request needs."""

    running: Running
    closing: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Bring one request to whatever becomes of it."""
        path, _, query = request.raw_path.partition("?")
        if path.startswith(_INSIDE):
            status, value = answer_inside(self.running, path, parse_qs(query), await request.read())
            return web.Response(status=status, body=orjson.dumps(value), content_type=JSON)
        ledger = self.running.ledger
        entry = ledger.open(time.monotonic(), request.method, *_route(request.method, path))
        try:
            return await self._answer(request, entry, query)
        except (ConnectionError, web.RequestPayloadError):
            return web.Response()  # the client has left; nobody reads this, and what was done stays done
        finally:
            entry.replied = entry.replied or "gone"
            ledger.close(entry, time.monotonic())

    async def _answer(self, request: web.BaseRequest, entry: LedgerEntry, query: str) -> web.StreamResponse:
        body = await request.read()
        control = self.running.control
        faults, dice = control.settings.faults, control.dice
        wire = Wire(request, entry, {}, self.closing, dice.rng, faults.retry_after_s, faults.error_code)
        for guard in (_at_gateway, _at_door):
            stopped = guard(wire, control)
            if stopped is not None:
                return stopped
        fault = dice.draw() if entry.call == "del_customer" or faults.everywhere else None
        entry.fault = fault
        await _take_time(control.settings, fault, dice)
        if fault is None or fault == "slow":
            return send_answer(wire, self._work(entry, query, body))
        answer = self._work(entry, query, body) if is_after(fault) else _NEVER_SEEN
        return await go_wrong(wire, kind_of(fault), answer)

    def _work(self, entry: LedgerEntry, query: str, body: bytes) -> Answer:
        """Do what the call is for, if it is allowed. Nothing can come between looking and deleting."""
        pool, settings = self.running.pool, self.running.control.settings
        if entry.call == "token":
            return endpoints.token_info(entry)
        if entry.user_id in settings.forbidden_users:
            return failure(403, "无权操作该用户")
        if not settings.knows(entry.user_id):
            return failure(404, "用户不存在")
        if entry.call == "get_customer":
            return endpoints.get_customer(pool, settings, entry, parse_qs(query))
        if entry.call == "async_customer":
            return endpoints.async_customer(pool, settings, entry, body)
        return endpoints.del_customer(pool, settings, entry, body)


def _at_gateway(wire: Wire, control: Control) -> web.Response | None:
    """Answer what never comes near the service; None: it goes on."""
    entry, settings = wire.entry, control.settings
    if control.outage is not None:
        entry.fault = "outage"
        return send_closed(wire) if control.outage == "closed" else send_page(wire, 503)
    turnstile = control.turnstile
    if turnstile is not None:
        let_in = turnstile.enter(entry.at)
        wire.headers.update(control.limit_headers())
        if not let_in:
            entry.fault = "rate_limit"
            return send_too_many(wire, turnstile.limit.retry_after, turnstile.wait_s(time.monotonic()))
    moved = settings.redirect_after is not None and control.calls >= settings.redirect_after
    if moved and entry.call != "other":  # whoever followed arrives, and shows in the ledger
        entry.fault = "redirect"
        wire.note("redirect", 302)
        return web.Response(status=302, headers={"Location": settings.redirect_to})
    return None


def _at_door(wire: Wire, control: Control) -> web.Response | None:
    """Answer a call that lacks the token, or is none; None: it goes on."""
    entry, settings, headers = wire.entry, control.settings, wire.request.headers
    expired = settings.token_expires_after is not None and control.calls >= settings.token_expires_after
    if expired or headers.get("Authorization") != f"Bearer {settings.token}":
        return send_answer(wire, failure(401, "token 无效或已过期"))
    control.calls += 1
    if entry.call == "other":
        return send_answer(wire, failure(404, "接口不存在"))
    if entry.call == "del_customer" and wire.request.content_type != JSON:
        return send_answer(wire, failure(415, "Content-Type: application/json"))
    return None


async def _take_time(settings: SandboxSettings, fault: str | None, dice: Dice) -> None:
    wait_s = settings.latency_s
    if settings.jitter_s:
        wait_s += settings.jitter_s * dice.rng.random()
    if fault == "slow":
        wait_s += settings.faults.slow_s
    if wait_s:
        await asyncio.sleep(wait_s)


def _refuse_strangers(host: str) -> None:
    if host != "localhost" and not ipaddress.ip_address(host).is_loopback:
        raise ValueError(f"the sandbox listens on a loopback address only, not on {host}")


@contextlib.asynccontextmanager
async def serve(
    settings: SandboxSettings | None = None,
    pool: Pool | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
) -> AsyncIterator[Running]:
    """Run a sandbox on this loop until the context ends; port 0 takes a free one.

    Raises:
        ValueError: `host` is no loopback address.
        OSError: The port is taken.
    """
    _refuse_strangers(host)
    control = Control(settings or SandboxSettings())
    server = _Server(Running("", Ledger(), Pool() if pool is None else pool, control))
    web_server = web.Server(server.handle, access_log=None, keepalive_timeout=_KEEPALIVE_S)
    runner = web.ServerRunner(web_server, shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        shown = f"[{host}]" if ":" in host else host
        server.running = replace(server.running, url=f"http://{shown}:{runner.addresses[0][1]}")
        yield server.running
    finally:
        server.closing.set()
        await runner.cleanup()


async def run(
    settings: SandboxSettings,
    pool: Pool,
    port: int,
    announce: Callable[[str], None],
    stop: asyncio.Event,
) -> Ledger:
    """Serve until `stop` is set; tell `announce` the base URL once it listens, return the ledger at the end.

    Raises:
        OSError: The port is taken.
    """
    async with serve(settings, pool, port=port) as running:
        announce(running.url)
        await stop.wait()
    return running.ledger
