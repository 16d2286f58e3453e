"""What the demo runs on: a folder with lists, a sandbox that holds their rows, and the truth afterwards.

Owns the made-up data and the choice of faults; the run itself is an ordinary session over the job file
`jobs/demo.yaml`, copied so that its relative paths lead to the lists made here. Everything follows from a
seed. It must never write outside the folder it is given, nor open a connection.
"""

import csv
import random
import shutil
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.errors import Refused
from runner.invocation import command
from runner.sandbox import FaultSettings, Ledger, Pool, SandboxSettings

__all__ = [
    "DemoFiles",
    "DemoTruth",
    "find_jobs_dir",
    "measure_demo",
    "next_steps",
    "prepare_demo",
]

DEMO_JOB = "demo.yaml"

_PEOPLE = "赵钱孙李周吴郑王冯陈"
_USERS = 10
_LISTS = 4
_BYSTANDERS = 5_000
_PROTECTED = 25
_SPOILT = 120
_REFUSED = 4
_REPEAT_SHARE = 0.03
_SHARES = {
    "503": 0.010,
    "500": 0.006,
    "502-after": 0.008,
    "lost": 0.006,
    "lost-after": 0.010,
    "garbage-after": 0.004,
    "429-seconds": 0.003,
    "slow": 0.003,
}


@dataclass(frozen=True, slots=True)
class DemoFiles:
    """A demo that is ready to run.

    Args:
        job: The copied job file; its lists lie beside it.
        settings: Of the sandbox; `settings.token` is the token.
        pool: The sandbox's rows: most of the numbers listed, and others that must survive.
        rows: Lines in the lists.
        named: (user id, phone) that the job may delete.
        outside: Rows at the start of numbers that the job does not name.
    """

    job: Path
    settings: SandboxSettings
    pool: Pool
    rows: int
    named: frozenset[tuple[str, str]]
    outside: int


@dataclass(frozen=True, slots=True)
class DemoTruth:
    """What really happened in a demo, by the sandbox's word.

    Args:
        deleted_rows: Rows that went; the audit's `count` is never above it.
        unseen_rows: Those of them that went with a reply which did not arrive whole.
        outside_deleted: Rows that went of numbers which the job does not name: 0, or the runner is broken.
        requests: All that arrived.
        faults: Fault → how often it struck.
    """

    deleted_rows: int
    unseen_rows: int
    outside_deleted: int
    requests: int
    faults: dict[str, int]


def find_jobs_dir() -> Path:
    """Return the folder of job files, installed or in a checkout; raises Refused where there is none."""
    here = Path(__file__).resolve().parent.parent
    for place in (here / "jobs", here.parent / "jobs"):
        if (place / DEMO_JOB).is_file():
            return place
    raise Refused(f"{DEMO_JOB} is not where it was installed", hint="install bulk-delete again")


def prepare_demo(directory: Path, seed: int = 1, *, rows: int = 50_000) -> DemoFiles:
    """Write the demo's job and lists into `directory` and fill a pool to match; `rows` lines in all."""
    rng = random.Random(seed)  # noqa: S311 - a demo is the same each time
    users = [str(uuid.UUID(int=rng.getrandbits(128), version=4)) for _ in range(_USERS)]
    numbers = _numbers(rng, rows + _BYSTANDERS)
    listed = [(users[n % _USERS], phone) for n, phone in enumerate(numbers[:rows])]
    listed = listed[: int(rows * (1 - _REPEAT_SHARE)) - _SPOILT]
    bystanders = [(users[n % _USERS], phone) for n, phone in enumerate(numbers[rows:])]
    protected = {phone for _, phone in rng.sample(listed, _PROTECTED)}
    named = frozenset(pair for pair in listed if pair[1] not in protected)
    refused = [phone for _, phone in rng.sample(sorted(named), _REFUSED)]

    directory.mkdir(parents=True, exist_ok=True)
    job = directory / DEMO_JOB
    shutil.copyfile(find_jobs_dir() / DEMO_JOB, job)
    _write_lists(directory, _lines(rng, listed, rows), protected)
    pool = _filled_pool(rng, listed, bystanders)
    spared = {*bystanders, *listed} - named
    outside = sum(pool.count(user, phone) for user, phone in spared)
    return DemoFiles(job, _settings(seed, frozenset(refused)), pool, rows, named, outside)


def measure_demo(files: DemoFiles, ledger: Ledger) -> DemoTruth:
    """Say what really happened, from the sandbox's ledger alone."""
    deleted = ledger.deleted_by_phone()
    faults = Counter(entry.fault for entry in ledger.entries if entry.fault is not None)
    return DemoTruth(
        deleted_rows=sum(deleted.values()),
        unseen_rows=sum(entry.count for entry in ledger.deletions() if entry.code != 200),
        outside_deleted=sum(rows for pair, rows in deleted.items() if pair not in files.named),
        requests=len(ledger),
        faults=dict(faults),
    )


def next_steps(audit: Path) -> tuple[str, ...]:
    """Return commands to try after the demo."""
    return (
        command("report", audit),
        command("verify", audit),
        command("sandbox"),
        command("plan", find_jobs_dir() / "inline.yaml"),
    )


def _settings(seed: int, refused: frozenset[str]) -> SandboxSettings:
    return SandboxSettings(
        token="rehearsal",  # noqa: S106 - opens the demo's own sandbox only
        latency_s=0.02,
        jitter_s=0.03,
        faults=FaultSettings(_SHARES, seed=seed, retry_after_s=1, slow_s=0.8),
        refused_phones=refused,
    )


def _numbers(rng: random.Random, how_many: int) -> list[str]:
    """Return that many different numbers."""
    numbers: dict[str, None] = {}
    while len(numbers) < how_many:
        numbers[f"1{rng.randrange(3, 10)}{rng.randrange(10**9):09d}"] = None
    return list(numbers)


def _lines(rng: random.Random, listed: Sequence[tuple[str, str]], rows: int) -> list[tuple[str, str, str]]:
    """Return lines as people have them: repeats, spoilt cells, numbers written in several ways."""
    spoilt = [(rng.choice(listed)[0], f"0755-{rng.randrange(10**7):07d}") for _ in range(_SPOILT)]
    repeats = rng.choices(listed, k=rows - len(listed) - len(spoilt))
    pairs = [*listed, *repeats, *spoilt]
    rng.shuffle(pairs)
    return [(user, rng.choice(_PEOPLE), _as_written(rng, phone)) for user, phone in pairs]


def _as_written(rng: random.Random, phone: str) -> str:
    draw = rng.random()
    if phone.startswith("0") or draw < 0.9:
        return phone
    if draw < 0.95:
        return f"+86 {phone}"
    return f"{phone[:3]}-{phone[3:7]}-{phone[7:]}"


def _write_lists(directory: Path, lines: Sequence[tuple[str, str, str]], protected: set[str]) -> None:
    """Write what `demo.yaml` names: its exports and its protect file."""
    for folder in ("exports", "lists"):
        (directory / folder).mkdir(parents=True, exist_ok=True)
    for nth in range(_LISTS):
        path = directory / "exports" / f"demo-{nth + 1}.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("user_id", "name", "phone"))
            writer.writerows(lines[nth::_LISTS])
    never = "".join(f"{phone}\n" for phone in sorted(protected))
    (directory / "lists" / "demo-never.txt").write_text(never, encoding="utf-8")


def _filled_pool(
    rng: random.Random, listed: Sequence[tuple[str, str]], bystanders: Sequence[tuple[str, str]]
) -> Pool:
    """Return a pool where most listed numbers stand once, some several times, some not at all."""
    pool = Pool()
    for user, phone in listed:
        for _ in range(rng.choices((0, 1, 2, 3), weights=(8, 80, 9, 3))[0]):
            pool.add(user, phone, f"2024-0{rng.randrange(1, 10)}-{rng.randrange(10, 29)} 12:00:00")
    for user, phone in bystanders:
        pool.add(user, phone, "2024-05-05 12:00:00")
    return pool
