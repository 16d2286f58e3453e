"""The sandbox answers as README describes the vendor, breaks as told, and its ledger tells what happened."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import aiohttp
import orjson
import pytest
import pytest_asyncio

from runner.sandbox import (
    FAULTS,
    FaultSettings,
    Pool,
    RateLimit,
    Running,
    SandboxSettings,
    parse_faults,
    run,
    serve,
)
from runner.sandbox.faults import Dice, is_after
from runner.sandbox.ledger import busiest
from runner.sandbox.settings import SlidingWindowLimit, parse_rate_limit

USER = "5832d184-dd53-42a0-8ace-0bf8d660f4cc"
OTHER = "4d99d91c-f5d9-49da-88da-758977cc58a9"
A, B, C = "17458558658", "13012121212", "13900000001"
EARLY, LATE = "2024-07-26 00:00:00", "2024-07-27 23:59:59"
OUTSIDE = "2024-07-28 00:00:00"
AUTH = {"Authorization": "Bearer sandbox-token", "Content-Type": "application/json"}


@dataclass
class Said:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        return orjson.loads(self.body)


class NoReply(Exception):
    """The connection ended without a whole reply; the argument holds the bytes that came."""


async def send(running: Running, method: str, path: str, body: object = None, headers=None) -> Said:
    """One request over one fresh connection, by hand: nothing here repeats anything."""
    payload = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
    head = {"Host": "x", "Connection": "close", "Content-Length": str(len(payload)), **(headers or AUTH)}
    lines = [f"{method} {path} HTTP/1.1", *(f"{k}: {v}" for k, v in head.items()), "", ""]
    parts = urlsplit(running.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        writer.write("\r\n".join(lines).encode() + payload)
        raw = await asyncio.wait_for(reader.read(), 60)
    except ConnectionError as error:
        raise NoReply(b"") from error
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    return parse(raw)


def parse(raw: bytes) -> Said:
    head, end, body = raw.partition(b"\r\n\r\n")
    if not end or not head.startswith(b"HTTP/1.1 "):
        raise NoReply(raw)
    first, *rest = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in rest)
    if len(body) != int(headers.get("Content-Length", "0")):
        raise NoReply(raw)
    return Said(int(first.split()[1]), headers, body)


async def delete(running: Running, phones, created_at=None, user: str = USER, **more) -> Said:
    body = {"phone": phones, "created_at": created_at, **more}
    return await send(running, "DELETE", f"/agent-api/user/{user}/del_customer", body)


def stocked() -> Pool:
    """A in the window twice and outside once, B outside once, C in the window; OTHER has A too."""
    pool = Pool()
    for phone, at in ((A, EARLY), (A, LATE), (A, OUTSIDE), (B, OUTSIDE), (C, "2024-07-27 12:00:00")):
        pool.add(USER, phone, at)
    pool.add(OTHER, A, EARLY)
    return pool


@pytest_asyncio.fixture
async def sandbox() -> AsyncIterator[Running]:
    async with serve(SandboxSettings(), stocked()) as running:
        yield running


# --- the deletion


async def test_a_deletion_takes_every_row_of_a_number_and_counts_rows(sandbox):
    said = await delete(sandbox, [A, B])
    assert said.status == 200
    assert said.json == {
        "code": 200,
        "status": "success",
        "message": "删除客户公海数据成功",
        "data": {"count": 4},
    }
    assert sandbox.pool.count(USER) == 1
    assert sandbox.pool.count(OTHER) == 1


async def test_a_second_identical_deletion_reports_zero(sandbox):
    await delete(sandbox, [A])
    assert (await delete(sandbox, [A])).json["data"] == {"count": 0}


async def test_with_phone_and_window_both_must_match(sandbox):
    said = await delete(sandbox, [A, B], [EARLY, LATE])
    assert said.json["data"]["count"] == 2
    assert [row.created_at for row in sandbox.pool.rows(USER, A)] == [OUTSIDE]
    assert sandbox.pool.count(USER, B) == 1


async def test_a_window_that_ends_before_it_begins_matches_nothing(sandbox):
    assert (await delete(sandbox, None, [LATE, EARLY])).json["data"]["count"] == 0
    assert (await delete(sandbox, [A], [LATE, EARLY])).json["data"]["count"] == 0
    assert len(sandbox.pool) == 6


@pytest.mark.parametrize("phones", [None, []])
async def test_a_window_without_phones_takes_everything_in_it_both_ends_included(sandbox, phones):
    said = await delete(sandbox, phones, [EARLY, LATE])
    assert said.json["data"]["count"] == 3
    assert {row.phone for row in sandbox.pool.rows(USER)} == {A, B}
    assert sandbox.ledger.entries[0].deleted == {A: 2, C: 1}


@pytest.mark.parametrize("body", [{}, {"phone": []}, {"phone": [], "created_at": []}, {"created_at": None}])
async def test_neither_phone_nor_window_deletes_nothing(sandbox, body):
    said = await send(sandbox, "DELETE", f"/agent-api/user/{USER}/del_customer", body)
    assert said.json["data"] == {"count": 0}
    assert len(sandbox.pool) == 6


async def test_a_repeated_number_counts_once_and_the_ledger_keeps_the_repeat(sandbox):
    assert (await delete(sandbox, [A, A])).json["data"]["count"] == 3
    assert sandbox.ledger.entries[0].phones == [A, A]
    assert sandbox.ledger.entries[0].deleted == {A: 3}


async def test_one_hundred_phones_pass_and_one_more_is_refused_whole(sandbox):
    many = [f"139{n:08d}" for n in range(100)]
    assert (await delete(sandbox, many)).status == 200
    said = await delete(sandbox, [A, *many])
    assert (said.status, said.json["code"], said.json["data"]) == (422, 6007, [])
    assert not sandbox.ledger.entries[1].processed
    assert sandbox.pool.count(USER, A) == 3


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        {"phone": A},
        {"phone": [int(A)]},
        {"phone": ["138-1234-5678"]},
        {"phone": [A, ""]},
        {"phone": ["１３９０００００００１"]},
        {"phone": [A], "created_at": EARLY},
        {"phone": [A], "created_at": [EARLY]},
        {"phone": [A], "created_at": ["2024-07-26", LATE]},
        {"phone": [A], "created_at": ["2024-02-30 00:00:00", LATE]},
        {"phone": [A], "encryption": "yes"},
        {"phone": ["x" * 513], "encryption": True},
    ],
)
async def test_a_misshapen_request_is_refused_and_deletes_nothing(sandbox, body):
    said = await send(sandbox, "DELETE", f"/agent-api/user/{USER}/del_customer", body)
    assert (said.status, said.json["code"], said.json["status"]) == (422, 6007, "error")
    assert len(sandbox.pool) == 6


async def test_encrypted_numbers_are_opaque(sandbox):
    sandbox.pool.add(USER, "bJ0/+x==")
    said = await delete(sandbox, ["bJ0/+x=="], encryption=True)
    assert said.json["data"]["count"] == 1
    assert sandbox.ledger.entries[0].encryption


async def test_a_body_that_is_not_declared_as_json_is_refused(sandbox):
    headers = {**AUTH, "Content-Type": "text/plain"}
    path = f"/agent-api/user/{USER}/del_customer"
    assert (await send(sandbox, "DELETE", path, {"phone": [A]}, headers)).status == 415
    assert len(sandbox.pool) == 6


async def test_one_refused_number_refuses_the_whole_request():
    async with serve(
        SandboxSettings(refused_phones=frozenset({B}), refusal_status=200), stocked()
    ) as running:
        said = await delete(running, [A, B])
        assert (said.status, said.json["code"]) == (200, 6007)
        assert (await delete(running, [A])).json["data"]["count"] == 3


async def test_token_and_users_are_checked():
    settings = SandboxSettings(
        token="right", forbidden_users=frozenset({OTHER}), unknown_users=frozenset({"nobody"})
    )
    async with serve(settings, stocked()) as running:
        right = {**AUTH, "Authorization": "Bearer right"}
        statuses = []
        for user, headers in ((USER, AUTH), (OTHER, right), ("nobody", right), (USER, right)):
            path = f"/agent-api/user/{user}/del_customer"
            said = await send(running, "DELETE", path, {"phone": [A]}, headers)
            statuses.append((said.status, said.json["code"]))
        assert statuses == [(401, 401), (403, 403), (404, 404), (200, 200)]
        assert [entry.processed for entry in running.ledger.entries] == [False, False, False, True]


async def test_other_users_are_unknown_once_the_known_are_named():
    async with serve(SandboxSettings(known_users=frozenset({USER})), stocked()) as running:
        assert (await delete(running, [A], user=OTHER)).status == 404
        assert (await delete(running, [A])).status == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", f"/agent-api/user/{USER}/del_customer"),
        ("DELETE", f"/agent-api/user/{USER}/../del_customer"),
        ("DELETE", f"//agent-api/user/{USER}/del_customer"),
        ("DELETE", "/agent-api/user/del_customer"),
    ],
)
async def test_no_other_path_deletes(sandbox, method, path):
    said = await send(sandbox, method, path, {"phone": [A]})
    assert said.status == 404
    assert len(sandbox.pool) == 6
    assert sandbox.ledger.entries[0].call == "other"


# --- the sibling calls


async def test_the_token_call_says_valid_or_401(sandbox):
    assert (await send(sandbox, "GET", "/agent-api/token")).json["code"] == 200
    wrong = {"Authorization": "Bearer wrong"}
    assert (await send(sandbox, "GET", "/agent-api/token", headers=wrong)).status == 401


async def test_the_listing_pages_and_counts(sandbox):
    path = f"/agent-api/user/{USER}/get_customer"
    said = (await send(sandbox, "GET", f"{path}?page=2&per_page=2")).json
    assert said["meta"] == {"has_pages": True, "total": 5, "last_page": 3, "current_page": 2, "per_page": 2}
    assert len(said["data"]) == 2
    assert {"id", "user_id", "phone", "name", "sort", "created_at", "extra"} <= said["data"][0].keys()
    everything = (await send(sandbox, "GET", f"{path}?page=1")).json
    assert everything["meta"]["per_page"] == 15
    assert len({row["id"] for row in everything["data"]}) == 5


@pytest.mark.parametrize("name", ["created_at", "created_at[]", "created_at%5B%5D"])
async def test_the_listing_filters_by_phone_and_window(sandbox, name):
    async with aiohttp.ClientSession() as session:
        url = f"{sandbox.url}/agent-api/user/{USER}/get_customer"
        window = f"{name}={EARLY}&{name}={LATE}".replace(" ", "%20")
        for query, total in (("", 5), (f"&{window}", 3), (f"&phone={A}", 3), (f"&phone={A}&{window}", 2)):
            async with session.get(f"{url}?page=1{query}", headers=AUTH) as reply:
                assert (await reply.json())["meta"]["total"] == total


@pytest.mark.parametrize("query", ["", "page=0", "page=x", "page=1&per_page=0", "page=1&created_at=x"])
async def test_a_misshapen_listing_is_refused(sandbox, query):
    said = await send(sandbox, "GET", f"/agent-api/user/{USER}/get_customer?{query}")
    assert said.json["code"] == 6007


async def test_imported_rows_are_there_and_can_be_deleted(sandbox):
    path = f"/agent-api/user/{USER}/async_customer"
    rows = [{"phone": f"137{n:08d}", "sort": 0} for n in range(200)]
    assert (await send(sandbox, "POST", path, {"data": rows})).json["code"] == 200
    assert (await send(sandbox, "POST", path, {"data": [*rows, rows[0]]})).json["code"] == 6007
    assert (await send(sandbox, "POST", path, {"data": [{"phone": A}]})).json["code"] == 6007
    assert sandbox.pool.count(USER) == 205
    assert (await delete(sandbox, ["13700000000"])).json["data"]["count"] == 1


# --- faults


BEFORE_AND_AFTER = sorted(FAULTS)


async def outcome(running: Running, fault: str) -> str:
    """Delete A under this fault and say in one word what came back."""
    try:
        said = await asyncio.wait_for(delete(running, [A]), 2 if fault.startswith("hang") else 60)
    except NoReply as error:
        return "nothing" if error.args == (b"",) else "partial"
    except TimeoutError:
        return "silence"
    try:
        envelope = said.json
        sound = envelope["code"] == 200 and type(envelope["data"]["count"]) is int
    except (ValueError, TypeError, KeyError):
        return f"{said.status} unparsable"
    return f"{said.status} {'sound' if sound and envelope['data']['count'] >= 0 else envelope['code']}"


EXPECTED = {
    "429": "429 429",
    "429-seconds": "429 429",
    "429-date": "429 429",
    "slow": "200 sound",
    "500": "500 unparsable",
    "502": "502 unparsable",
    "503": "503 unparsable",
    "504": "504 unparsable",
    "lost": "nothing",
    "hang": "silence",
    "error": "200 500",
    "truncated": "partial",
    "empty": "200 unparsable",
    "garbled": "partial",
}


@pytest.mark.parametrize("fault", BEFORE_AND_AFTER)
async def test_a_fault_does_what_its_name_says_and_the_ledger_tells_the_truth(fault):
    pool = stocked()
    async with serve(SandboxSettings(faults=FaultSettings(script=(fault,), slow_s=0.01)), pool) as running:
        came = await outcome(running, fault)
        kind = fault.removesuffix("-after")
        if kind != "garbage":
            assert came == EXPECTED[kind]
        assert came != "200 sound" or fault == "slow"
        happened = is_after(fault) or fault == "slow"
        (entry,) = running.ledger.entries
        assert (entry.fault, entry.processed) == (fault, happened)
        assert entry.count == (3 if happened else 0)
        assert pool.count(USER, A) == (0 if happened else 3)
        assert entry.deleted == ({A: 3} if happened else {})
        assert (await delete(running, [A])).json["data"]["count"] == (0 if happened else 3)


@pytest.mark.parametrize("seed", range(12))
async def test_garbage_is_never_a_sound_reply(seed):
    faults = FaultSettings({"garbage": 0.5, "garbage-after": 0.5}, seed=seed)
    async with serve(SandboxSettings(faults=faults), stocked()) as running:
        assert "sound" not in await outcome(running, "garbage")
        assert running.ledger.entries[0].replied == "garbage"


async def test_a_lost_reply_comes_as_a_reset_or_as_a_close():
    async with serve(SandboxSettings(faults=FaultSettings({"lost": 1.0})), stocked()) as running:
        for _ in range(12):
            assert await outcome(running, "lost") == "nothing"
        assert {entry.replied for entry in running.ledger.entries} == {"reset", "closed"}


async def test_retry_after_comes_in_seconds_as_a_date_or_not_at_all():
    faults = FaultSettings(script=("429", "429-seconds", "429-date"), retry_after_s=7)
    async with serve(SandboxSettings(faults=faults), stocked()) as running:
        first, second, third = [await delete(running, [A]) for _ in range(3)]
        assert "Retry-After" not in first.headers
        assert second.headers["Retry-After"] == "7"
        assert parsedate_to_datetime(third.headers["Retry-After"]).tzinfo is not None


async def test_gateway_errors_are_html():
    async with serve(SandboxSettings(faults=FaultSettings(script=("502",))), stocked()) as running:
        said = await delete(running, [A])
        assert said.headers["Content-Type"].startswith("text/html")
        assert b"502 Bad Gateway" in said.body


async def test_faults_spare_the_sibling_calls_unless_told():
    async with serve(SandboxSettings(faults=FaultSettings({"503": 1.0})), stocked()) as running:
        assert (await send(running, "GET", "/agent-api/token")).status == 200
        running.control.change(faults=FaultSettings({"503": 1.0}, everywhere=True))
        assert (await send(running, "GET", "/agent-api/token")).status == 503


def test_the_draw_repeats_with_its_seed_and_keeps_the_shares():
    faults = FaultSettings({"429": 0.02, "lost-after": 0.03}, seed=5)
    first, second = Dice(faults), Dice(faults)
    drawn = [first.draw() for _ in range(20_000)]
    assert drawn == [second.draw() for _ in range(20_000)]
    assert drawn.count("429") == pytest.approx(400, rel=0.2)
    assert drawn.count("lost-after") == pytest.approx(600, rel=0.2)


@pytest.mark.parametrize(
    "shares", [{"nonsense": 0.1}, {"429": -0.1}, {"429": 0.6, "500": 0.6}, {"429": float("nan")}]
)
def test_shares_that_are_none_are_refused(shares):
    with pytest.raises(ValueError, match="fault"):
        FaultSettings(shares)


def test_faults_are_read_from_the_command_line():
    assert parse_faults(["lost-after=2%", "hang=0.01"], seed=3) == FaultSettings(
        {"lost-after": 0.02, "hang": 0.01}, 3
    )
    assert sum(parse_faults(["5xx=4%", "mixed=5%"]).shares.values()) == pytest.approx(0.09)
    assert parse_faults(["5xx=4%"]).shares == {"500": 0.01, "502": 0.01, "503": 0.01, "504": 0.01}
    for wrong in ("lost", "lost=", "lost=x", "lost=-1", "lost=200%", "lost=nan"):
        with pytest.raises(ValueError, match="NAME=SHARE"):
            parse_faults([wrong])


# --- limits, outages, expiry


async def test_the_rate_limit_lets_no_more_than_it_says_into_any_window():
    limit = RateLimit(5, 60.0, "seconds")
    async with serve(SandboxSettings(rate_limit=limit), stocked()) as running:
        said = await asyncio.gather(*(delete(running, [A]) for _ in range(9)))
        assert sorted(s.status for s in said) == [200] * 5 + [429] * 4
        refused = next(s for s in said if s.status == 429)
        assert refused.headers["X-RateLimit-Limit"] == "5"
        assert refused.headers["X-RateLimit-Remaining"] == "0"
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
        assert {s.headers["X-RateLimit-Remaining"] for s in said if s.status == 200} == set("01234")
        assert running.ledger.max_arrivals(60.0) == 9
        assert sum(entry.fault == "rate_limit" for entry in running.ledger.entries) == 4


@pytest.mark.parametrize(("how", "there"), [("none", False), ("seconds", True), ("date", True)])
async def test_the_rate_limit_may_say_when_to_come_back(how, there):
    async with serve(SandboxSettings(rate_limit=RateLimit(1, 60.0, how)), stocked()) as running:
        await delete(running, [A])
        assert ("Retry-After" in (await delete(running, [A])).headers) is there


def test_the_turnstile_is_exact():
    turnstile = SlidingWindowLimit(RateLimit(10, 1.0))
    rng = random.Random(1)
    now, let_in = 0.0, []
    for _ in range(5_000):
        now += rng.random() * 0.05
        if turnstile.enter(now):
            let_in.append(now)
            assert turnstile.wait_s(now) == 0.0 or turnstile.remaining(now) == 0
        else:
            assert turnstile.enter(now + turnstile.wait_s(now) - 1e-9) is False
    assert busiest(let_in, 1.0) == 10


def test_a_rate_limit_is_read_from_the_command_line():
    assert parse_rate_limit("50/s") == RateLimit(50)
    assert parse_rate_limit("600/m") == RateLimit(600, 60.0)
    for wrong in ("0/s", "5", "5/h", "-1/s", "unlimited"):
        with pytest.raises(ValueError, match="rate limit"):
            parse_rate_limit(wrong)


def test_busiest_counts_a_half_open_window():
    assert busiest([0.0, 0.5, 0.999, 1.0, 1.4], 1.0) == 4
    assert busiest([], 1.0) == 0


async def test_an_outage_begins_and_ends_at_run_time(sandbox):
    sandbox.control.outage = "503"
    assert (await delete(sandbox, [A])).status == 503
    sandbox.control.outage = "closed"
    with pytest.raises(NoReply):
        await delete(sandbox, [A])
    sandbox.control.outage = None
    assert (await delete(sandbox, [A])).json["data"]["count"] == 3


async def test_the_token_expires_after_so_many_calls():
    async with serve(SandboxSettings(token_expires_after=2), stocked()) as running:
        assert [(await delete(running, [A])).status for _ in range(4)] == [200, 200, 401, 401]


async def test_calls_are_redirected_after_so_many_and_followers_show_in_the_ledger():
    async with serve(SandboxSettings(redirect_after=1, redirect_to="/moved"), stocked()) as running:
        await delete(running, [B])
        said = await delete(running, [A])
        assert (said.status, said.headers["Location"]) == (302, "/moved")
        async with aiohttp.ClientSession() as session:
            url = f"{running.url}/agent-api/user/{USER}/del_customer"
            async with session.delete(url, headers=AUTH, json={"phone": [A]}) as reply:
                assert reply.status == 404
        assert [entry.call for entry in running.ledger.entries][-1] == "other"
        assert running.pool.count(USER, A) == 3


async def test_latency_delays_the_work_and_a_client_that_left_is_noted():
    async with serve(SandboxSettings(latency_s=0.5, jitter_s=0.01), stocked()) as running:
        asking = asyncio.ensure_future(delete(running, [A]))
        while not running.ledger.entries:
            await asyncio.sleep(0.01)
        (entry,) = running.ledger.entries
        assert not entry.done
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        while not entry.done:
            await asyncio.sleep(0.01)
        assert (entry.processed, entry.count, entry.replied, entry.status) == (True, 3, "gone", None)


# --- looking and steering from outside


async def inside(running: Running, path: str, body: object = None):
    said = await send(running, "GET" if body is None else "POST", f"/_sandbox/{path}", body, {"X": "y"})
    return said.status, said.json


async def test_the_ledger_is_readable_while_it_runs_page_by_page(sandbox):
    await delete(sandbox, [A, B], [EARLY, LATE])
    await delete(sandbox, [C])
    status, page = await inside(sandbox, "ledger?since=0&limit=1")
    assert (status, page["next"], page["total"]) == (200, 1, 2)
    entry = page["entries"][0]
    assert (entry["user_id"], entry["phones"], entry["created_at"]) == (USER, [A, B], [EARLY, LATE])
    assert (entry["processed"], entry["count"], entry["deleted"]) == (True, 2, {A: 2})
    assert (entry["status"], entry["code"], entry["replied"]) == (200, 200, "envelope")
    assert (await inside(sandbox, "ledger?since=1"))[1]["entries"][0]["phones"] == [C]


async def test_stats_add_up(sandbox):
    sandbox.control.script("lost-after", None)
    await outcome(sandbox, "lost")
    await delete(sandbox, [B])
    _, stats = await inside(sandbox, "stats")
    assert (stats["requests"], stats["deletions"], stats["deleted_rows"]) == (2, 2, 4)
    assert stats["by_fault"] == {"lost-after": 1}
    assert (stats["in_flight"], stats["rows_left"], stats["max_in_60s"]) == (0, 2, 2)
    assert stats["deleted_rows"] == sandbox.ledger.deleted_rows()


async def test_rows_of_a_user_are_readable(sandbox):
    _, page = await inside(sandbox, f"rows?user_id={OTHER}")
    assert page == {"total": 1, "rows": [{"phone": A, "created_at": EARLY}]}


async def test_control_changes_what_happens_next(sandbox):
    assert await inside(sandbox, "control", {"outage": "503"}) == (200, {"ok": True})
    assert (await delete(sandbox, [A])).status == 503
    changes = {"outage": None, "faults": {"502": 1.0}, "rate_limit": "100/s", "refused_phones": [B]}
    assert (await inside(sandbox, "control", changes))[0] == 200
    assert (await delete(sandbox, [A])).status == 502
    await inside(sandbox, "control", {"faults": {"script": ["500"]}})
    assert [(await delete(sandbox, [p])).status for p in (A, A, B)] == [500, 200, 422]


@pytest.mark.parametrize(
    "body",
    [
        {"nonsense": 1},
        {"latency_s": "1"},
        {"refused_phones": None},
        {"outage": "flood"},
        {"faults": {"flood": 1.0}},
        {"rate_limit": "x"},
        b"{",
        b"[]",
    ],
)
async def test_control_refuses_what_it_does_not_know_and_changes_nothing(sandbox, body):
    before = sandbox.control.settings
    assert (await inside(sandbox, "control", body))[0] == 400
    assert (sandbox.control.settings, sandbox.control.outage) == (before, None)


async def test_looking_leaves_no_trace(sandbox):
    await inside(sandbox, "stats")
    assert (await inside(sandbox, "nothing"))[0] == 404
    assert len(sandbox.ledger) == 0


async def test_repeats_and_deletions_are_told_by_phone(sandbox):
    await delete(sandbox, [A])
    await delete(sandbox, [A, B])
    await delete(sandbox, [A], user=OTHER)
    assert sandbox.ledger.deleted_by_phone() == {(USER, A): 3, (USER, B): 1, (OTHER, A): 1}
    assert sandbox.ledger.deleted_by_phone(OTHER) == {(OTHER, A): 1}
    asked = Counter((one.user_id, phone) for one in sandbox.ledger.deletions() for phone in one.phones)
    assert asked == {(USER, A): 2, (USER, B): 1, (OTHER, A): 1}


async def test_more_than_255_rows_of_one_phone_are_told_in_full(sandbox):
    for _ in range(300):
        sandbox.pool.add(USER, B, EARLY)
    await delete(sandbox, [B])
    assert sandbox.ledger.entries[0].deleted == {B: 301}


# --- coming and going


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.1", "::"])
async def test_it_listens_on_loopback_only(host):
    with pytest.raises(ValueError, match="loopback"):
        async with serve(host=host):
            pass


async def test_it_ends_at_once_with_handlers_that_hang_or_wait():
    async with serve(
        SandboxSettings(faults=FaultSettings({"hang": 0.5, "slow": 0.5}, slow_s=600)), stocked()
    ) as running:
        waiting = [asyncio.ensure_future(delete(running, [A])) for _ in range(8)]
        while len(running.ledger) < 8:
            await asyncio.sleep(0.01)
    ends = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(end, NoReply) for end in ends)
    assert all(entry.done and not entry.processed for entry in running.ledger.entries)


async def test_run_announces_itself_and_stops_when_told():
    urls: list[str] = []
    stop = asyncio.Event()

    def announce(url: str) -> None:
        urls.append(url)
        stop.set()

    ledger = await asyncio.wait_for(run(SandboxSettings(), Pool(), 0, announce, stop), 60)
    assert urls[0].startswith("http://127.0.0.1:")
    assert len(ledger) == 0


# --- the pool


def test_seeding_repeats_with_its_seed_and_deals_evenly():
    first, second = Pool(), Pool()
    phones = first.seed([USER, OTHER], 5_000, random.Random(7))
    assert phones == second.seed([USER, OTHER], 5_000, random.Random(7))
    assert len(first) == 5_000
    assert first.count(USER) == first.count(OTHER) == 2_500
    assert 0 < len(phones[USER]) < 2_500
    assert first.delete(USER, phones[USER], None).count == 2_500


def test_a_large_pool_agrees_with_a_plain_search():
    pool, rng = Pool(), random.Random(3)
    pool.seed([USER], 20_000, rng)
    window = ("2024-03-01 00:00:00", "2024-04-15 12:00:00")
    plain = [row for row in pool.rows(USER) if window[0] <= row.created_at <= window[1]]
    assert pool.count(USER, None, window) == len(plain) > 0
    assert {row.id for row in pool.rows(USER, None, window)} == {row.id for row in plain}
    swept = pool.delete_window(USER, window)
    assert swept.count == len(plain)
    assert pool.count(USER, None, window) == 0
    assert len(pool) == pool.count(USER) == 20_000 - len(plain)


def test_a_window_that_was_indexed_sees_later_imports_and_deletions():
    pool = stocked()
    window = (EARLY, LATE)
    assert pool.count(USER, None, window) == 3
    pool.delete(USER, [A], None)
    assert pool.count(USER, None, window) == 1
    pool.add(USER, B, EARLY)
    assert pool.count(USER, None, window) == 2


def test_invented_rows_are_the_same_for_the_same_question_and_go_once():
    phones = [f"139{n:08d}" for n in range(300)]
    counts = [Pool(auto_rows=3).delete(USER, phones, (EARLY, LATE)).rows for _ in range(2)]
    assert counts[0] == counts[1]
    assert set(counts[0]) == {1, 2, 3}
    pool = Pool(auto_rows=3)
    assert pool.delete(USER, phones, None).count == sum(counts[0])
    assert pool.delete(USER, phones, None).count == 0
    total = pool.count(USER, None, (EARLY, LATE))
    assert total > 0
    assert pool.delete_window(USER, (EARLY, LATE)).count == total
    assert pool.count(USER, None, (EARLY, LATE)) == 0
    assert len(pool) == 0
