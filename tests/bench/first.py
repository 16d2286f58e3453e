"""How soon `run PLAN` sends its first request, and what memory it takes: `python -m tests.bench first`.

The real program, to the end of the plan, against a server in this process that notes when the first request
is in. Beside it another process may keep a core busy (`--busy`).
"""

import argparse
import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from runner.model import MAX_PHONES
from tests.bench.pace import REPLY, Requests
from tests.bench.sending import describe_machine, make_plan

TICKS = os.sysconf("SC_CLK_TCK")


class First(Requests):
    """Answers at once, and tells of the first request."""

    def __init__(self, on_first):
        super().__init__()
        self.on_first = on_first

    def arrived(self):
        self.on_first()
        self.transport.write(REPLY)


def cpu_s_of(pid):
    """Return the CPU seconds that a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def peak_mib_of(pid):
    """Return the most memory that a process has had; what `wait4` tells may be its parent's."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int((status.partition("VmHWM:")[2].split() or [0])[0]) / 1024


async def measure(plan, folder):
    """Return seconds and CPU seconds to the program's first request, and its peak in MiB at its end."""
    first = []

    def on_first():
        if not first:
            first.extend((time.perf_counter() - began_s, cpu_s_of(process.pid)))

    server = await asyncio.get_running_loop().create_server(lambda: First(on_first), "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    command = [sys.executable, "-m", "runner", "run", str(plan), "--yes", "--stale-ok", "--quiet"]
    command += ["--base-url", url, "--rate", "unlimited", "--concurrency", "64"]
    command += ["--audit", str(folder / "audit.jsonl")]
    env = {**os.environ, "BULK_DELETE_TOKEN": "bench", "XDG_STATE_HOME": str(folder)}
    began_s = time.perf_counter()
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)
    peak_mib = 0.0
    while process.poll() is None:
        peak_mib = peak_mib_of(process.pid) or peak_mib
        await asyncio.sleep(0.1)
    server.close()
    assert process.returncode == 0, process.returncode
    return (*first, peak_mib)


@contextlib.contextmanager
def busy_core(wanted):
    if not wanted:
        yield
        return
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            yield
        finally:
            process.kill()


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.bench first", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--rows", type=int, nargs="+", default=[100_000, 10_000_000], help="numbers of a plan"
    )
    parser.add_argument("--busy", action="store_true", help="keep another core busy")
    asked = parser.parse_args()
    print(describe_machine())
    print("\n| numbers | first request after | CPU until then | peak memory of the whole run |")
    print("|---|---|---|---|")
    for rows in asked.rows:
        with tempfile.TemporaryDirectory() as name, busy_core(asked.busy):
            plan = Path(name, "plan.jsonl")
            make_plan(plan, rows // MAX_PHONES)
            seconds, cpu_s, peak_mib = asyncio.run(measure(plan, Path(name)))
        print(f"| {rows:,} | {seconds:.2f} s | {cpu_s:.2f} s | {peak_mib:.0f} MiB |", flush=True)


if __name__ == "__main__":
    main()
