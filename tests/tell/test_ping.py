"""Pings in healthchecks' dialect."""

import asyncio
import uuid

import pytest

from runner.tell.ending import ENDS
from runner.tell.ping import ping
from runner.tell.post import open_http
from runner.tell.tell import Audience, tell_end, tell_start
from tests.support.endings import ending
from tests.support.robots import Hanging, HealthChecks, Hook

RID = str(uuid.UUID(int=7))


def pinged(url, signal="0", **more):
    async def tell():
        async with open_http(proxy_from_env=False) as session:
            return await ping(url, signal, RID, session, **{"within_s": 30.0, **more})

    return asyncio.run(tell())


@pytest.mark.parametrize("code", ENDS)
def test_the_start_and_every_exit_code_reach_the_check_with_one_id(code):
    with HealthChecks() as server:
        audience = Audience(ping_url=server.url)
        assert tell_start(audience, RID) == []
        assert tell_end(audience, ending(code), RID) == []
        assert server.pings == [("start", RID), (str(code), RID)]
        assert server.requests[1].body.decode().startswith("bulk-delete: nightly: ")


def test_a_query_of_the_url_is_kept():
    with HealthChecks() as server:
        assert pinged(f"{server.url}?create=1", "start") == ""
        assert server.requests[0].query == {"create": "1", "rid": RID}
        assert server.requests[0].path.endswith("/start")


def test_a_check_that_nobody_knows_is_said():
    with HealthChecks() as server:
        assert (
            pinged(f"{server.base}/{uuid.UUID(int=1)}")
            == "[ping]: the ping (0) was not taken: OK (not found)"
        )


@pytest.mark.parametrize(("status", "tries"), [(404, 1), (503, 3)])
def test_a_refusal_is_said_and_a_server_in_trouble_is_asked_again(status, tries):
    with Hook(statuses=(status,) * 3) as server:
        assert f"HTTP {status}" in pinged(server.url)
        assert len(server.requests) == tries


def test_a_server_that_hangs_costs_its_time_only():
    with Hanging() as server:
        said = pinged(server.url, within_s=0.2)
    assert said == "[ping]: the ping (0) was not taken: no answer within 0.2 s"


def test_without_a_check_nothing_is_pinged():
    assert tell_start(Audience(), RID) == tell_end(Audience(), ending(0), RID) == []
