"""How fast requests leave, and what durable intents cost: the program's parts against a sandbox elsewhere.

    python tests/bench/send.py --batches 20000 --concurrency 64 --pairs 5

Each pair runs the same plan twice, with syncing and without, in turn; quoted are the ratios within pairs.
The sandbox is a process of its own, so the two cores are the client's and the server's.
"""

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from runner.access import Access, Token  # noqa: E402
from runner.audit.journal import DiskFile  # noqa: E402
from runner.commands.execute import RunFiles, RunRequest, carry_out  # noqa: E402
from runner.job.entries import Job  # noqa: E402
from runner.model import Target  # noqa: E402
from runner.output.console import Console, Verbosity  # noqa: E402
from runner.plan.file import read_plan  # noqa: E402
from runner.plan.planner import plan_batches_again  # noqa: E402
from runner.process import use_loop  # noqa: E402
from runner.send.session import RunSpec  # noqa: E402
from runner.settings import Limits, LimitsGiven, Rate, Safety  # noqa: E402


async def _no_sync(_file: DiskFile) -> None:
    """Claim what is not so; only a benchmark may."""


def _run(folder: Path, url: str, plan, concurrency: int, *, durable: bool) -> float:
    """Send a whole plan and return requests a second."""
    real = DiskFile.sync
    if not durable:
        DiskFile.sync = _no_sync
    try:
        limits = Limits(rate=Rate(None), concurrency=concurrency)
        spec = RunSpec(
            mode="run",
            run_id="bench",
            job="bench",
            plan_sha256=plan.sha256,
            version="0",
            base_url=url,
            limits=limits,
            safety=Safety(),
            planned=plan.header.totals,
            phones_of=plan.phones_of,
        )
        audit = folder / f"{time.monotonic_ns()}.jsonl"
        request = RunRequest(spec, Access(url, Token("sandbox")), RunFiles(plan, audit), ())
        with asyncio.Runner(loop_factory=use_loop()) as runner:
            result = runner.run(carry_out(request, Console(Verbosity(quiet=True))))
        assert result.exit_code == 0, result.summary
        return result.summary.requests / result.summary.duration_s
    finally:
        DiskFile.sync = real


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batches", type=int, default=20_000)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--pairs", type=int, default=5)
    asked = parser.parse_args()
    command = [
        sys.executable,
        "-m",
        "runner",
        "sandbox",
        "--port",
        "0",
        "--latency",
        "0",
        "--rows-per-phone",
        "1",
    ]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            work = [(Target(f"user-{n}"), [f"139{n:08d}"]) for n in range(asked.batches)]
            plan_batches_again(
                work,
                Job("bench", LimitsGiven(), Safety(), "mobile_cn", "Asia/Shanghai"),
                folder / "plan",
                now=datetime(2026, 1, 1, tzinfo=UTC),
                version="0",
            )
            plan = read_plan(folder / "plan")
            _run(folder, url, plan, asked.concurrency, durable=True)
            ratios, durable = [], []
            for _ in range(asked.pairs):
                with_sync = _run(folder, url, plan, asked.concurrency, durable=True)
                without = _run(folder, url, plan, asked.concurrency, durable=False)
                durable.append(with_sync)
                ratios.append(with_sync / without)
                print(
                    f"  durable {with_sync:8,.0f}/s   not durable {without:8,.0f}/s   ratio {ratios[-1]:.3f}"
                )
        print(
            f"{asked.concurrency} workers, {asked.batches:,} requests: durable intents keep"
            f" {statistics.median(ratios):.1%} of the throughput (median of {asked.pairs} pairs,"
            f" {min(ratios):.1%} to {max(ratios):.1%}); {statistics.median(durable):,.0f} requests/s"
        )
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
