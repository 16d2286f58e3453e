"""How fast and in how much memory a plan is made and opened: `python tests/bench/plan.py --rows 1000000`.

`--workbook` measures a workbook; `child_mib` is then the process that reads it.

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
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.support.xlsx import book, page

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


def write_workbook(path: Path, rows: int, users: int) -> None:
    """Write the same as a workbook of eight columns, six of them texts that stand there once."""
    with tempfile.TemporaryDirectory() as scratch:
        write_list(Path(scratch) / "list.csv", rows, users)
        table = [line.split(",") for line in (Path(scratch) / "list.csv").read_text("ascii").splitlines()]
    texts: dict[str, int] = {}

    def row(number: int, cells: list[str]) -> str:
        cells = cells + [f"值{number}-{i}" for i in range(8 - len(cells))]
        inner = "".join(
            f'<c r="{letter}{number}" s="1" t="s"><v>{texts.setdefault(cell, len(texts))}</v></c>'
            for letter, cell in zip("ABCDEFGH", cells, strict=True)
        )
        return f'<row r="{number}" spans="1:8" ht="15" customHeight="1">{inner}</row>'

    sheet = page("".join(row(number, cells) for number, cells in enumerate(table, 1)))
    path.write_bytes(book(sheet, strings="".join(f"<si><t>{text}</t></si>" for text in texts)))


class Watched(subprocess.Popen):
    """A process that is asked for the most memory that it took before it is killed."""

    peak_kib = 0

    def kill(self) -> None:
        with suppress(OSError, IndexError):
            Watched.peak_kib = max(Watched.peak_kib, peak_kib(self.pid))
        super().kill()


def peak_kib(pid: int | str) -> int:
    """Return the most memory that a process took, in KiB; ru_maxrss would count its parent's before exec."""
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0])


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
    peak = round(peak_kib("self") / 1024, 1)
    child = {"child_mib": round(Watched.peak_kib / 1024, 1)} if Watched.peak_kib else {}
    print(json.dumps({"seconds": round(took, 2), "peak_mib": peak, **child, **numbers}))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=1000)
    parser.add_argument("--one-user", action="store_true", help="plan the phones as the list of one user")
    parser.add_argument("--workbook", action="store_true", help="the list is an .xlsx of eight columns")
    parser.add_argument("--keep", type=Path, help="folder for the list, used again by the next measurement")
    parser.add_argument("--step", nargs="+")
    options = parser.parse_args()
    if options.step:
        subprocess.Popen = Watched
        globals()[f"step_{options.step[0]}"](*options.step[1:])
        return
    with tempfile.TemporaryDirectory() as scratch:
        users = 0 if options.one_user else options.users
        write, ending = (write_workbook, "xlsx") if options.workbook else (write_list, "csv")
        source = (options.keep or Path(scratch)) / f"list-{options.rows}-{users}.{ending}"
        if not source.exists():
            write(source, options.rows, users)
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
