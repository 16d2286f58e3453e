"""How fast each form of a list is read and planned: `python tests/bench/lists.py --rows 300000`.

Not collected by pytest. The same rows stand in each form; what differs is the work of taking them apart.
Times are the process's own, so that a busy machine changes them less; memory is the peak of that process.
"""

import argparse
import csv
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

Row = tuple[str, str]


def rows(count: int) -> Iterator[Row]:
    """Yield number and address of made-up people, from a fixed seed."""
    draw = random.Random(20240726)
    for index in range(count):
        yield (
            f"1{draw.randrange(3, 10)}{draw.randrange(10**9):09d}",
            f"Street {index % 977}, {draw.randrange(99)}",
        )


def quoted(people: Iterator[Row], how: int) -> Iterator[str]:
    """Yield lines of CSV; Python's own writer quotes."""
    lines: list[str] = []

    class _Lines:
        write = staticmethod(lines.append)

    writer = csv.writer(_Lines, quoting=how, lineterminator="\n")
    for row in chain([("phone", "address")], people):
        writer.writerow(row)
        yield lines.pop()


FORMS: dict[str, Callable[[Iterator[Row]], Iterator[str]]] = {
    "text.txt": lambda people: (f"{phone}\n" for phone, _ in people),
    "plain.csv": lambda people: chain(["phone,ref\n"], (f"{phone},{len(text)}\n" for phone, text in people)),
    "all-quoted.csv": lambda people: quoted(people, csv.QUOTE_ALL),
    "some-quoted.csv": lambda people: quoted(people, csv.QUOTE_MINIMAL),
    "values.jsonl": lambda people: (f'"{phone}"\n' for phone, _ in people),
    "objects.jsonl": lambda people: (json.dumps({"phone": p, "address": text}) + "\n" for p, text in people),
    "array.json": lambda people: chain(
        ["["], (("," if i else "") + json.dumps({"phone": p}) for i, (p, _) in enumerate(people)), ["]\n"]
    ),
}


def step(source: str, out: str) -> None:
    """Read a list, then plan it as one user's; tell the seconds of each and the peak of memory."""
    from runner.job.entries import Entry, Job
    from runner.lists.read import read_rows
    from runner.lists.rows import ListSpec
    from runner.plan.planner import plan_job
    from runner.settings import LimitsGiven, Safety

    spec = ListSpec(paths=(source,), place="bench")
    start = time.process_time()
    count = sum(len(found.values) for found in read_rows(spec, rule="mobile_cn"))
    read_s = time.process_time() - start
    entry = Entry(place="bench", user_id="u-1", lists=spec)
    job = Job("bench", LimitsGiven(), Safety(), "mobile_cn", "Asia/Shanghai", entries=(entry,))
    start = time.process_time()
    plan_job(job, Path(out), now=datetime(2024, 7, 26, tzinfo=UTC), version="bench")
    plan_s = time.process_time() - start
    peak = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024
    print(json.dumps({"rows": count, "read_s": read_s, "plan_s": plan_s, "peak_mib": round(peak, 1)}))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--step", nargs=2)
    options = parser.parse_args()
    if options.step:
        sys.path.insert(0, str(Path(__file__).parents[2]))
        step(*options.step)
        return
    with tempfile.TemporaryDirectory() as scratch:
        for form, write in FORMS.items():
            source = Path(scratch) / form
            with source.open("w", encoding="utf-8") as file:
                file.writelines(write(rows(options.rows)))
            command = [sys.executable, __file__, "--step", str(source), f"{source}.plan"]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            numbers = json.loads(done.stdout)
            assert numbers["rows"] == options.rows, form
            read, plan = (options.rows / numbers[key] / 1e6 for key in ("read_s", "plan_s"))
            print(
                f"{form:16} read {read:6.2f} M rows/s   plan {plan:6.2f} M rows/s   {numbers['peak_mib']} MiB"
            )


if __name__ == "__main__":
    main()
