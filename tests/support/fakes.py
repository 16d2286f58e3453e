"""Fakes that several test files share: a scripted API, a disk in memory, and the wiring of one session."""

import asyncio
import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import orjson

from runner.audit.fold import Fold
from runner.audit.journal import AppendFile, Journal
from runner.audit.records import RejectedRecord, as_json
from runner.model import Batch, DeleteRequest, Gate, Prior, Reply, Sender, Target, WallClock, Work
from runner.outcomes import TIMEOUT, AttemptFailed, FailureKind, kind_of_http
from runner.plan.header import PlanTotals
from runner.send.pacing import Pacer
from runner.send.session import RunSpec, Session
from runner.settings import Limits, Rate, Safety
from runner.stop import Stop
from tests.support.audits import feed
from tests.support.simclock import run_simulated

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
ALONE = Limits(rate=Rate(None), concurrency=1)
CALM = Safety(max_failed=1.0, max_refused=1.0)


class NotedStop(Stop):
    """A stop that remembers when it was asked for."""

    at_s: float | None = None

    def request(self, *args, **given) -> None:
        if self.reason is None:
            self.at_s = asyncio.get_running_loop().time()
        super().request(*args, **given)


class MemoryFile:
    """An append file in memory that knows what is durable, and fails when told to."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = bytearray(data)
        self.durable = len(data)
        self.fail_append: Callable[[bytes], None] = lambda data: None
        self.fail_sync: Callable[[], None] = lambda: None
        self.sync_s = 0.0

    def append(self, data: bytes) -> None:
        self.fail_append(data)
        self.data += data

    async def sync(self) -> None:
        covers = len(self.data)
        await asyncio.sleep(self.sync_s)
        self.fail_sync()
        self.durable = max(self.durable, covers)

    def close(self) -> None:
        pass

    def records(self) -> list[dict]:
        return [orjson.loads(line) for line in bytes(self.data).split(b"\n") if line]


def records_of(file: MemoryFile, kind: str) -> list[dict]:
    return [record for record in file.records() if record["type"] == kind]


HANGS = 1e6
"""A script's answer that never comes."""

Script = Callable[[DeleteRequest, int], "Reply | AttemptFailed | float | None"]


@dataclass
class ScriptedApi:
    """A sender whose every attempt a script decides.

    The script is asked at the moment of departure. It gets the request and how often this very body came
    before; it returns a reply, a failure to raise (one that never left does not leave), the seconds that the
    reply takes (`HANGS`: none comes), or None for a reply that counts the phones.
    """

    gate: Gate
    stop: Stop
    script: Script = lambda request, before: None
    latency_s: float = 0.05
    timeout_s: float = 30.0
    requests: list[DeleteRequest] = field(default_factory=list)
    sent_at: list[float] = field(default_factory=list)
    in_flight: int = 0
    peak: int = 0
    seen: Counter = field(default_factory=Counter)

    async def send(self, request: DeleteRequest, on_left: Callable[[], None]) -> Reply:
        left = False
        answer = None

        def depart() -> bool:
            nonlocal left, answer
            answer = self.script(request, self.seen[request.body])
            self.seen[request.body] += 1
            if isinstance(answer, AttemptFailed) and not answer.left:
                raise answer
            attempt.arm(self.timeout_s)
            left = True
            self.requests.append(request)
            self.sent_at.append(asyncio.get_running_loop().time())
            return True

        try:
            with self.stop.interruptible(recallable=True) as attempt:
                await self.gate.approach()
                try:
                    await self.gate.leave(depart)
                    on_left()
                    return await self._answer(request, answer)
                finally:
                    self.gate.attempt_over(left=left)
        except TimeoutError:
            raise AttemptFailed(TIMEOUT, left=True, message="no reply") from None

    async def _answer(self, request, answer):
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            await asyncio.sleep(answer if isinstance(answer, int | float) else self.latency_s)
            if isinstance(answer, AttemptFailed):
                raise answer
            return answer if isinstance(answer, Reply) else Reply(len(request.phones), "ok")
        finally:
            self.in_flight -= 1


def phones(n: int, start: int = 0) -> tuple[str, ...]:
    return tuple(f"138{start + i:08d}" for i in range(n))


def batches(n: int, size: int = 2, users: int = 1) -> list[Batch]:
    return [
        Batch(seq, Target(f"user-{(seq - 1) % users}"), phones(size, start=seq * 100))
        for seq in range(1, n + 1)
    ]


@dataclass
class Rig:
    """One session over fakes, on any running loop; wired as `runner.commands.execute` wires a real one.

    `fold` is what earlier sessions left (by default: what stands in `file`); `connect` makes a sender of
    another kind than `ScriptedApi`.
    """

    plan: list[Batch]
    file: AppendFile = field(default_factory=MemoryFile)
    limits: Limits = field(default_factory=lambda: Limits(rate=Rate(None), concurrency=4))
    safety: Safety = field(default_factory=Safety)
    script: Script = lambda request, before: None
    protected: frozenset[str] = frozenset()
    audit_all_phones: bool = False
    on_record: Callable[[dict], None] = lambda record: None
    latency_s: float = 0.05
    fold: Fold | None = None
    now: WallClock | None = None
    wall_s: float = 0.0
    """By the wall's clock it begins that long after `EPOCH`, unless `now` says otherwise."""
    rejected: Iterable[RejectedRecord] = ()
    connect: "Callable[[Rig], Sender] | None" = None

    def __post_init__(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        self.now = self.now or (lambda: EPOCH + timedelta(seconds=self.wall_s + loop.time() - began))
        self.stop = NotedStop()
        self.warnings: list[str] = []
        if self.fold is None:
            self.fold = Fold("audit", phones_of=self.phones_of)
            feed(self.fold, self.file.records())
        self.pacer = Pacer(self.limits.rate, self.stop, now=self.now)
        if self.connect is None:
            self.api = ScriptedApi(self.pacer, self.stop, self.script, self.latency_s, self.limits.timeout_s)
        else:
            self.api = self.connect(self)
        self.journal = Journal(self.file, now=self.now, on_record=self._record, chain=self.fold.chain)
        total = sum(len(batch.phones) for batch in self.plan)
        spec = RunSpec(
            mode="resume" if self.fold.sessions else "run",
            run_id="r1",
            job="test",
            plan_sha256=hashlib.sha256(b"plan").hexdigest(),
            version="0",
            base_url="http://127.0.0.1",
            limits=self.limits,
            safety=self.safety,
            planned=PlanTotals(read=total, unique=total, batches=len(self.plan)),
            phones_of=self.phones_of,
            audit_all_phones=self.audit_all_phones,
        )
        self.session = Session(
            spec,
            self.api,
            self.pacer,
            self.journal,
            self.fold,
            stop=self.stop,
            now=self.now,
            warn=self.warnings.append,
        )

    def phones_of(self, seq: int) -> int:
        return len(self.plan[seq - 1].phones)

    def _record(self, record, chain) -> None:
        self.fold.add(record, chain=chain)
        self.on_record(as_json(record))

    def works(self) -> Iterator[Work]:
        for batch in self.plan:
            if not self.fold.is_ended(batch.seq):
                prior = self.fold.prior(batch.seq) if self.fold.sessions else Prior()
                yield Work(batch, prior, self.protected.intersection(batch.phones))

    async def run(self) -> dict:
        summary, _ = await self.session.run(self.works())
        return as_json(summary)

    def ends(self) -> dict[int, dict]:
        found = records_of(self.file, "batch")
        assert len({record["seq"] for record in found}) == len(found)
        return {record["seq"]: record for record in found}


def refusal(status: int, retry_after_s: float | None = None, message: str = "错误") -> AttemptFailed:
    """What a reply of that HTTP status is to the runner."""
    kind = kind_of_http(status)
    return AttemptFailed(kind, left=True, http_status=status, message=message, retry_after_s=retry_after_s)


def failure(kind: FailureKind, *, left: bool = True) -> AttemptFailed:
    return AttemptFailed(kind, left=left, message="no such luck")


def answers(*those) -> Script:
    """A script that gives these answers in this order, then says yes."""
    rest = list(those)
    return lambda request, before: rest.pop(0) if rest else None


def refuses(bad, status=400, words=lambda phones: "错误") -> Script:
    """A script that refuses each request with one of these numbers in it, with words for its numbers."""

    def script(request: DeleteRequest, before: int) -> AttemptFailed | None:
        hit = not bad.isdisjoint(request.phones)
        return refusal(status, message=words(request.phones)) if hit else None

    return script


def one(script, *, size=8, limits=None, **given) -> "tuple[dict | None, Rig]":
    """Live a session of one batch under a script; return its record and the rig."""
    rig = live_session(batches(1, size=size), script=script, limits=limits or ALONE, safety=CALM, **given)
    return rig.ends().get(1), rig


def live_session(
    plan: list[Batch], before: Callable[[Rig], None] = lambda rig: None, *, seed: int = 1, **given
) -> Rig:
    """Live one session on a simulated loop; `before` may set things up once the rig stands.

    The rig is returned with `summary`, `recorded` and `took_s`. Times are from the start of the session.
    """

    async def live() -> Rig:
        loop = asyncio.get_running_loop()
        rig = Rig(plan, **given)
        rig.loop, rig.started_s = loop, loop.time()
        before(rig)
        summary, unrecorded = await rig.session.run(rig.works(), rig.rejected)
        rig.summary, rig.recorded = as_json(summary), unrecorded is None
        rig.took_s = loop.time() - rig.started_s
        return rig

    random.seed(seed)  # back-off and pauses have jitter
    return run_simulated(live())


def parts_sent(rig: Rig) -> list[tuple[str, ...]]:
    """The numbers of each request that left, in order."""
    return [request.phones for request in rig.api.requests]


def departures(rig: Rig) -> list[float]:
    """Seconds from the start of the session at which its requests left."""
    return [at_s - rig.started_s for at_s in rig.api.sent_at]


def moment(record: dict) -> float:
    """Seconds from the start of the first session at which a record was written."""
    return (datetime.fromisoformat(record["at"]) - EPOCH).total_seconds()
