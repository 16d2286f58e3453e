"""What sending costs, beside what people would write by hand: `python -m tests.bench` makes this table.

A static nginx on one core, one contender after the other on another, in rounds; quoted are medians, and
ratios within rounds, so that other work on the machine weighs on all of them alike. Where the server is to
answer late (nginx cannot), a server in Python stands in its place. Numbers and batches are made up.
"""

import argparse
import contextlib
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import trustme

from runner.job.entries import Job
from runner.model import MAX_PHONES, Target
from runner.plan.planner import plan_batches_again
from runner.settings import LimitsGiven, Safety

WORDS = {
    "runner": "this runner, audit and durable intents on",
    "runner_without_sync": "this runner, its disk claiming to be durable",
    "best_loop": "aiohttp, `session.delete`, tuned: ready bytes, uvloop, orjson",
    "default_loop": "aiohttp, `session.delete` as documented",
    "sample": "the vendor's sample: `requests.delete`, one by one",
    "curl": "curl, in parallel, replies not looked at",
}
DENOMINATOR = "best_loop"

NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; default_type application/json; client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000000; keepalive_timeout 3600;
  server {{
    {listen}
    ssl_certificate {folder}/server.pem; ssl_certificate_key {folder}/server.pem;
    location / {{
      return 200 '{{"code": 200, "status": "success", "message": "", "data": {{"count": 100}}}}';
    }}
  }}
}}
"""


@dataclass(frozen=True)
class Scenario:
    """How the server is reached, how late it answers, and what share of the requests suits it."""

    name: str
    tls: bool
    latency_s: float
    share: float
    one_by_one: float
    """The share of them for whoever sends one by one."""


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("plain", tls=False, latency_s=0.0, share=1.0, one_by_one=0.1),
        Scenario("tls", tls=True, latency_s=0.0, share=1.0, one_by_one=0.05),
        Scenario("plain-50ms", tls=False, latency_s=0.05, share=0.6, one_by_one=0.005),
        Scenario("tls-50ms", tls=True, latency_s=0.05, share=0.6, one_by_one=0.005),
    )
}


def cores():
    """Return the server's core and the client's; the same where there is but one."""
    if sys.platform != "linux":
        return None, None
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[-1]


def describe_machine():
    """Return one line about where this ran."""
    model = platform.processor()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), model)
    load = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    system = f"{platform.system()}, Python {platform.python_version()}"
    return f"{model}, {os.cpu_count()} cores, load {load}; {system}"


def make_plan(path, batches):
    numbers = (  # in ascending order, as planning a list leaves them
        sorted(f"1{3 + n % 7}{n * 7919 % 10**9:09d}" for n in range(at, at + MAX_PHONES))
        for at in range(0, batches * MAX_PHONES, MAX_PHONES)
    )
    plan_batches_again(
        ((Target("user-1"), phones) for phones in numbers),
        Job("bench", LimitsGiven(), Safety(), "mobile_cn", "Asia/Shanghai"),
        path,
        now=datetime(2026, 1, 1, tzinfo=UTC),
        version="0",
    )


def on_core(core):
    """Return the words before a command that pin it to a core."""
    return ["taskset", "--cpu-list", str(core)] if core is not None and shutil.which("taskset") else []


@contextlib.contextmanager
def nginx(scenario, folder, core):
    """Run a static nginx as a child of this process; yield its port."""
    binary = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if binary is None:
        raise SystemExit("nginx is missing: no table (Debian: apt-get install nginx-light)")
    port = free_port()
    config = folder / "nginx.conf"
    listen = f"listen 127.0.0.1:{port}{' ssl' if scenario.tls else ''};"
    config.write_text(NGINX.format(folder=folder, listen=listen))
    command = [*on_core(core), binary, "-e", str(folder / "error.log"), "-p", str(folder), "-c", str(config)]
    with subprocess.Popen(command) as process:
        try:
            wait_for_port(port, process)
            yield port
        finally:
            process.terminate()


@contextlib.contextmanager
def late_server(scenario, folder, core):
    """Run the server that answers after a latency; yield its port."""
    command = [
        *on_core(core),
        sys.executable,
        "-m",
        "tests.bench.pace",
        "--serve",
        str(scenario.latency_s),
        "--uvloop",
    ]
    command += ["--certificate", str(folder / "server.pem") if scenario.tls else ""]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def wait_for_port(port, process):
    for _ in range(500):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        if process.poll() is not None:
            break
        time.sleep(0.01)
    raise SystemExit("nginx did not start")


def run(name, scenario, port, folder, core, asked):
    """Run one contender once; return what it says."""
    requests = int(asked.requests * scenario.share * (scenario.one_by_one if name == "sample" else 1))
    url = f"{'https' if scenario.tls else 'http'}://127.0.0.1:{port}"
    command = [
        *on_core(core),
        sys.executable,
        "-m",
        "tests.bench.contenders",
        name,
        str(folder / f"{requests}.plan"),
        url,
    ]
    command += ["--requests", str(requests), "--workers", str(asked.workers)]
    command += ["--ca-file", str(folder / "ca.pem")] if scenario.tls else []
    plan = folder / f"{requests}.plan"
    if not plan.exists():
        make_plan(plan, requests)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    told = json.loads(done.stdout)
    return told["requests"] / told["seconds"], told["cpu_s"] / told["requests"] * 1e6


def measure(scenario, folder, asked):
    """Print one scenario's table."""
    server_core, client_core = cores()
    seen = defaultdict(list)
    serving = late_server if scenario.latency_s else nginx
    with serving(scenario, folder, server_core) as port:
        for _ in range(asked.rounds):
            for name in asked.contenders:
                seen[name].append(run(name, scenario, port, folder, client_core, asked))
    print(
        f"\n**{scenario.name}**: {int(asked.requests * scenario.share):,} requests of {MAX_PHONES} numbers,"
        f" {asked.workers} workers, {asked.rounds} rounds\n"
    )
    print("| | requests/s | of the tuned loop | CPU a request | of the tuned loop's |")
    print("|---|---|---|---|---|")
    for name, figures in seen.items():
        base = seen.get(DENOMINATOR, figures)
        rate, cpu = (statistics.median(column) for column in zip(*figures, strict=True))
        of_rate = statistics.median(mine[0] / its[0] for mine, its in zip(figures, base, strict=True))
        of_cpu = statistics.median(mine[1] / its[1] for mine, its in zip(figures, base, strict=True))
        print(f"| {WORDS[name]} | {rate:,.0f} | {of_rate:.2f} | {cpu:.0f} µs | {of_cpu:.2f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__.splitlines()[0])
    parser.add_argument("scenarios", nargs="*", help=f"of {', '.join(SCENARIOS)} (all)")
    parser.add_argument("--contenders", nargs="+", choices=WORDS, default=list(WORDS), metavar="NAME")
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=64)
    asked = parser.parse_args()
    print(describe_machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        issued = authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem
        issued.write_to_path(str(folder / "server.pem"))
        for scenario in asked.scenarios or SCENARIOS:
            measure(SCENARIOS[scenario], folder, asked)


if __name__ == "__main__":
    main()
