"""Folds a made-up audit of a million records and prints seconds and peak memory.

`python tests/bench/fold.py --records 1000000 [--verify] [--course] [--keep FILE]`: the audit is written first
by a process of its own, so that only the fold is measured. Exits 1 above 1.5 s or 150 MiB, but for `--verify`
and `--course` (which notes when what happened, as `report --html` does).
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

MOST_S, MOST_MIB = 1.5, 150
AHEAD = 16


def make_audit(path: Path, records: int) -> None:
    """Write a run of plausible length: intents in ranges, nearly all deleted, a few failures, a summary."""
    from runner.audit import records as r
    from runner.audit.fold import Fold
    from runner.audit.journal import encode_record
    from runner.model import Target, phones_sha256

    dice = random.Random(4)
    batches = (records - 2) * AHEAD // (AHEAD + 1)
    fold, chain = Fold(), ""
    target = Target("5832d184-dd53-42a0-8ace-0bf8d660f4cc", ("2024-07-26 00:00:00", "2024-07-27 23:59:59"))
    run = r.RunRecord(
        v=r.AUDIT_VERSION,
        run_id="bench",
        job="bench",
        plan_sha256="0" * 64,
        version="1",
        base_url="http://127.0.0.1:1",
        limits={"concurrency": AHEAD},
        safety={},
        mode="run",
        reason=None,
        operator=None,
        planned=r.Planned(batches=batches, phones=batches * 100),
    )
    with path.open("wb") as file:

        def put(record: r.Record) -> None:
            nonlocal chain
            line, chain = encode_record(r.stamp(record, "2026-01-01T00:00:00.000+00:00"), chain=chain)
            file.write(line)
            fold.add(record)

        put(run)
        for first in range(1, batches + 1, AHEAD):
            last = min(first + AHEAD - 1, batches)
            put(r.SendingRecord.of(first, last))
            for seq in range(first, last + 1):
                failed = dice.random() < 0.01
                phone = [f"{17_400_000_000 + seq * 100 + n}" for n in range(100)] if failed else []
                put(
                    r.BatchRecord(
                        seq=seq,
                        user_id=target.user_id,
                        created_at=target.created_at,
                        encryption=target.encryption,
                        delete_window=target.delete_window,
                        phones=100,
                        phones_left=len(phone),
                        phones_sha256=phones_sha256([str(seq)]),
                        status="failed" if failed else "deleted",
                        count=None if failed else dice.randrange(80, 130),
                        attempts=1,
                        uncertain_attempts=0,
                        http_status=200,
                        code=6008 if failed else 200,
                        message="参数错误" if failed else "删除客户公海数据成功",
                        error="refused" if failed else None,
                        duration_ms=round(dice.expovariate(1 / 80), 1),
                        phone=tuple(phone),
                    )
                )
        totals = fold.totals()
        read = {"read": batches * 100, "duplicate": 0, "rejected": 0, "protected": 0}
        put(
            r.SummaryRecord(
                status="partial",
                why=None,
                exit_code=1,
                batches=r.BatchTotals(**totals.batches),
                phones=r.PhoneTotals(**totals.phones, **read),
                count=totals.count,
                uncertain_batches=0,
                empty_batches=0,
                requests=batches,
                retries=0,
                plan_s=1.0,
                duration_s=1.0,
                rate_achieved=1.0,
                max_in_window=1,
                peak_in_flight=1,
            )
        )


def measure(path: Path, *, verify: bool, course: bool) -> dict:
    """Fold the audit in this process; returns seconds, peak MiB and how much was folded."""
    from runner.audit.fold import fold_audit, take_lines
    from runner.audit.timeline import Timeline

    began, began_cpu = time.perf_counter(), time.process_time()
    fold = fold_audit(path, verify_chain=verify, feed=Timeline().feed if course else take_lines)
    seconds, cpu_s = time.perf_counter() - began, time.process_time() - began_cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        1024 if sys.platform != "darwin" else 1 << 20
    )
    return {
        "records": fold.records,
        "seconds": round(seconds, 3),
        "cpu_s": round(cpu_s, 3),
        "peak_mib": round(peak, 1),
        "verify": verify,
        "course": course,
    }


def main() -> int:
    """Make, fold, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--verify", action="store_true", help="prove the chain as well")
    parser.add_argument("--course", action="store_true", help="note when what happened as well")
    parser.add_argument("--keep", type=Path, help="where the audit stays")
    parser.add_argument("--only", choices=("make", "fold"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only == "make":
        make_audit(args.keep, args.records)
        return 0
    if args.only == "fold":
        print(json.dumps(measure(args.keep, verify=args.verify, course=args.course)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        path = args.keep or Path(folder) / "audit.jsonl"
        me = [sys.executable, __file__, "--keep", str(path)]
        if not path.exists():
            subprocess.run([*me, "--only", "make", "--records", str(args.records)], check=True)
        fold = [*me, "--only", "fold"]
        fold += [flag for flag, on in (("--verify", args.verify), ("--course", args.course)) if on]
        found = json.loads(subprocess.run(fold, check=True, capture_output=True).stdout)
    print(json.dumps(found))
    within = found["seconds"] <= MOST_S * args.records / 1_000_000 and found["peak_mib"] <= MOST_MIB
    return 0 if within or args.verify or args.course else 1


if __name__ == "__main__":
    raise SystemExit(main())
