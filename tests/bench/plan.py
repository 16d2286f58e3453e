"""How fast and in how much memory a plan is made and opened: `python tests/bench/plan.py --rows 1000000`.

Not collected by pytest. Each measured step runs in a process of its own, so that its peak memory is its own.
"""

import argparse
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

DUPLICATES = 0.01
BAD = 0.001


def write_list(path: Path, rows: int, users: int) -> None:
    """Write `user_id,phone`: users in random order, 1 % duplicates, 0.1 % bad, from a fixed seed.

    With no users at all, `phone` alone.
    """
    draw = random.Random(20240726)
    ids = [str(uuid.UUID(int=draw.getrandbits(128), version=4)) for _ in range(users)]
    recent: list[str] = []
    with path.open("w", encoding="ascii") as file:
        file.write("user_id,phone\n" if users else "phone\n")
        for start in range(0, rows, 10_000):
            lines = []
            for _ in range(min(10_000, rows - start)):
                chance = draw.random()
                if chance < DUPLICATES and recent:
                    lines.append(draw.choice(recent))
                    continue
                digits = 9 if chance > BAD + DUPLICATES else 7
                phone = f"1{draw.randrange(3, 10)}{draw.randrange(10**digits):0{digits}d}"
                lines.append(f"{draw.choice(ids)},{phone}\n" if users else f"{phone}\n")
            recent = lines[:1000]
            file.writelines(lines)


def measure(step: str, *args: str) -> dict[str, float]:
    """Run one step in a process of its own."""
    command = [sys.executable, __file__, "--step", step, *args]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def step_plan(source: str, out: str, user: str) -> None:
    from runner.job.entries import Entry, Job, Table
    from runner.lists.rows import ListSpec
    from runner.plan.planner import plan_job
    from runner.settings import LimitsGiven, Safety

    column = None if user else "user_id"
    spec = ListSpec(paths=(source,), place="bench", phone_column="phone", user_column=column)
    job = Job(
        name="bench",
        limits=LimitsGiven(),
        safety=Safety(),
        phone_rule="mobile_cn",
        timezone="Asia/Shanghai",
        entries=(Entry(place="bench", user_id=user, lists=spec),) if user else (),
        tables=() if user else (Table(place="bench", lists=spec),),
    )
    start = time.perf_counter()
    header = plan_job(job, Path(out), now=datetime(2024, 7, 26, tzinfo=UTC), version="bench")
    tell(start, batches=header.totals.batches, unique=header.totals.unique)


def step_read(source: str, users: str) -> None:
    from runner.lists.read import read_rows
    from runner.lists.rows import ListSpec
    from runner.phones import normalise_many

    start = time.perf_counter()
    good = 0
    for rows in read_rows(ListSpec(paths=(source,), user_column=users or None), rule="mobile_cn"):
        good += len(normalise_many(rows.values, "mobile_cn").phones)
    tell(start, rows=good)


def step_open(plan: str) -> None:
    from runner.plan.file import read_plan

    start = time.perf_counter()
    tell(start, batches=read_plan(Path(plan)).header.totals.batches)


def step_walk(plan: str) -> None:
    from runner.plan.file import read_plan

    file = read_plan(Path(plan))
    start = time.perf_counter()
    tell(start, batches=sum(1 for _ in file.batches()))


def tell(start: float, **numbers: float) -> None:
    took = time.perf_counter() - start
    status = Path("/proc/self/status").read_text()  # ru_maxrss would count the parent's memory before exec
    peak = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    print(json.dumps({"seconds": round(took, 2), "peak_mib": round(peak, 1), **numbers}))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=1000)
    parser.add_argument("--one-user", action="store_true", help="plan the phones as the list of one user")
    parser.add_argument("--keep", type=Path, help="folder for the list, used again by the next measurement")
    parser.add_argument("--step", nargs="+")
    options = parser.parse_args()
    if options.step:
        sys.path.insert(0, str(Path(__file__).parents[2]))
        globals()[f"step_{options.step[0]}"](*options.step[1:])
        return
    with tempfile.TemporaryDirectory() as scratch:
        users = 0 if options.one_user else options.users
        source = (options.keep or Path(scratch)) / f"list-{options.rows}-{users}.csv"
        if not source.exists():
            write_list(source, options.rows, users)
        out = Path(scratch) / "bench.plan"
        for step, args in (
            ("read", [str(source), "user_id" if users else ""]),
            ("plan", [str(source), str(out), "u-1" if options.one_user else ""]),
            ("open", [str(out)]),
            ("walk", [str(out)]),
        ):
            numbers = measure(step, *args)
            rate = options.rows / numbers["seconds"] if numbers["seconds"] else 0
            print(f"{step:5} {rate:>12,.0f} rows/s  {numbers}", flush=True)
        digest = hashlib.sha256(out.read_bytes()).hexdigest()
        print(f"plan  {out.stat().st_size / 2**20:.1f} MiB  sha256 {digest}")


if __name__ == "__main__":
    main()
