"""One contender of `tests.bench.sending` in a process of its own: sends a plan's batches, says what it took.

    python -m tests.bench.contenders runner plan.jsonl https://127.0.0.1:4433 --requests 2000

Reading the plan, imports and the first connection are not counted; sending, and whatever each contender does
with a reply, are. Every contender but the runner does less than the runner: no gate, no audit, no retry.
"""

import argparse
import asyncio
import json
import os
import re
import resource
import ssl
import subprocess
import tempfile
import time
from itertools import islice
from pathlib import Path

CONTENDERS = {}
"""Name → function of the command's options that returns (requests, seconds, CPU seconds)."""

HEADERS = {
    "Authorization": "Bearer bench",
    "Content-Type": "application/json",
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "User-Agent": "bench",
}
PATH = "/agent-api/user/user-1/del_customer"


def contender(function):
    CONTENDERS[function.__name__] = function
    return function


def read_bodies(asked):
    """Return the bodies of the first batches, as they stand in the plan."""
    with asked.plan.open("rb") as file:
        next(file)
        lists = (re.search(rb'"phone":(.*)}\n$', line)[1] for line in islice(file, asked.requests))
        return [b'{"phone":%b}' % phones for phones in lists]


def check(envelope):
    """Look at a reply as anybody would."""
    assert envelope["code"] == 200, envelope
    return envelope["data"]["count"]


def timed(loop_factory, work, bodies):
    """Run `work(bodies)` on a new loop; return what a contender returns."""
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        began_s, cpu_s = time.perf_counter(), time.process_time()
        runner.run(work(bodies))
        return len(bodies), time.perf_counter() - began_s, time.process_time() - cpu_s


async def in_workers(send, bodies, workers):
    rest = iter(bodies)

    async def work():
        for body in rest:
            await send(body)

    await asyncio.gather(*(work() for _ in range(workers)))


@contender
def runner(asked):
    """The runner's sending phase, rate unlimited: audit and durable intents on."""
    from runner.access import Access, Token
    from runner.commands.execute import RunFiles, RunRequest, carry_out
    from runner.options import OutputOptions
    from runner.output.console import Console
    from runner.plan.file import read_plan
    from runner.process import use_loop
    from runner.send.session import RunSpec
    from runner.settings import Limits, Rate, Safety

    plan = read_plan(asked.plan)
    limits = Limits(rate=Rate(None), concurrency=asked.workers)
    spec = RunSpec(
        mode="run",
        run_id="bench",
        job="bench",
        plan_sha256=plan.sha256,
        version="0",
        base_url=asked.url,
        limits=limits,
        safety=Safety(max_rows_per_phone=1000),
        planned=plan.header.totals,
        phones_of=plan.phones_of,
    )
    with tempfile.TemporaryDirectory(dir=asked.plan.parent) as folder:
        os.environ["XDG_STATE_HOME"] = folder
        access = Access(asked.url, Token("bench"), str(asked.ca_file) if asked.ca_file else None)
        request = RunRequest(spec, access, RunFiles(plan, Path(folder, "audit.jsonl")), ())
        with asyncio.Runner(loop_factory=use_loop()) as loop:
            cpu_s = time.process_time()
            summary = loop.run(carry_out(request, Console(OutputOptions(quiet=True)))).summary
            cpu_s = time.process_time() - cpu_s
    assert summary.exit_code == 0, summary
    return summary.requests, summary.duration_s, cpu_s


@contender
def runner_without_sync(asked):
    """The same, claiming that intents are durable: what the disk costs."""
    from runner.audit.journal import DiskFile

    async def no_sync(_file):
        """Only a benchmark may."""

    DiskFile.sync = no_sync
    return runner(asked)


@contender
def best_loop(asked):
    """ClientSession.delete, tuned as well as it goes: ready bytes, uvloop, orjson."""
    import aiohttp
    import orjson
    import uvloop
    from yarl import URL

    url = URL(asked.url + PATH)

    async def work(bodies):
        connector = aiohttp.TCPConnector(limit=asked.workers, ssl=trust(asked))
        async with aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
            headers=HEADERS,
        ) as session:

            async def send(body):
                async with session.delete(url, data=body, allow_redirects=False) as response:
                    check(orjson.loads(await response.read()))

            await in_workers(send, bodies, asked.workers)

    return timed(uvloop.new_event_loop, work, read_bodies(asked))


@contender
def default_loop(asked):
    """ClientSession.delete as its documentation shows it, json in and out."""
    import aiohttp

    async def work(bodies):
        connector = aiohttp.TCPConnector(limit=asked.workers, ssl=trust(asked))
        async with aiohttp.ClientSession(connector=connector) as session:

            async def send(phones):
                async with session.delete(asked.url + PATH, json=phones, headers=HEADERS) as response:
                    check(await response.json())

            await in_workers(send, bodies, asked.workers)

    return timed(asyncio.new_event_loop, work, [json.loads(body) for body in read_bodies(asked)])


@contender
def sample(asked):
    """The vendor's sample: `requests.delete`, one by one."""
    import requests

    bodies = [json.loads(body) for body in read_bodies(asked)]
    verify = str(asked.ca_file) if asked.ca_file else True
    began_s, cpu_s = time.perf_counter(), time.process_time()
    for body in bodies:
        check(requests.delete(asked.url + PATH, json=body, headers=HEADERS, verify=verify).json())
    return len(bodies), time.perf_counter() - began_s, time.process_time() - cpu_s


@contender
def curl(asked):
    """`curl --parallel`, all requests in one call; nobody looks at the replies."""
    bodies = read_bodies(asked)
    common = ["request = DELETE", f'url = "{asked.url}{PATH}"', 'output = "/dev/null"']
    common += [f'header = "{name}: {value}"' for name, value in HEADERS.items()]
    if asked.ca_file:
        common.append(f'cacert = "{asked.ca_file}"')
    quoted = [body.decode().replace('"', '\\"') for body in bodies]
    with tempfile.NamedTemporaryFile("w", dir=asked.plan.parent) as config:
        config.write("next\n".join("\n".join([*common, f'data = "{body}"\n']) for body in quoted))
        config.flush()
        command = [
            "curl",
            "--no-progress-meter",
            "--fail",
            "--parallel",
            "--parallel-max",
            str(asked.workers),
        ]
        began_s, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([*command, "--config", config.name], check=True)
        took_s, after = time.perf_counter() - began_s, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return len(bodies), took_s, cpu_s


def trust(asked):
    return ssl.create_default_context(cafile=asked.ca_file) if asked.ca_file else True


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=CONTENDERS)
    parser.add_argument("plan", type=Path)
    parser.add_argument("url")
    parser.add_argument("--ca-file", type=Path)
    parser.add_argument("--requests", type=int, default=None, help="how many of the plan's batches")
    parser.add_argument("--workers", type=int, default=64)
    asked = parser.parse_args()
    requests, seconds, cpu_s = CONTENDERS[asked.name](asked)
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"requests": requests, "seconds": seconds, "cpu_s": cpu_s, "peak_mib": peak_mib}))


if __name__ == "__main__":
    main()
