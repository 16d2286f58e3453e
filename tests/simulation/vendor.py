"""The vendor in memory: its own ledger of rows and visits, and the weather between it and the runner.

It shares nothing with the runner but the reading of replies: what a `Line` hands on goes through
`runner.api.replies`, as in `runner.api.client`. A fault is a function in `FAULTS`; a new one needs no more.
"""

import asyncio
import heapq
import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import orjson

from runner.api.replies import RawReply, parse_quota_reset, parse_retry_after, read_reply
from runner.model import DeleteRequest, Reply, Target
from runner.outcomes import CUT, NOT_CONNECTED, TIMEOUT, UNTRUSTED, AttemptFailed

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def wall(at_s: float) -> datetime:
    """The wall's time at a loop time; loops of one history continue each other."""
    return EPOCH + timedelta(seconds=at_s)


@dataclass(slots=True, eq=False)
class Visit:
    """One request that left: what the vendor does with it, and what the runner is told."""

    number: int
    session: int
    seq: int
    user: str
    phones: tuple[str, ...]
    window: tuple[str, str] | None
    left_s: float
    travel_s: float = 0.02
    work_s: float = 0.02
    does: bool = True
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None  # None: the documented reply with the count
    answers: bool = True
    cut: bool = False
    why: str = ""
    rows: int | None = None  # removed, once the work is done
    pause_s: float = 0.0  # asked for, from the moment the reply is read
    pause_to_s: float = 0.0  # or until a moment
    pause_read_s: float | None = None  # when the reply was read
    told: str = "nothing"
    blamed: bool = False  # the runner was told that the numbers are bad
    count: int | None = None  # as the runner was told

    @property
    def done_s(self) -> float:
        return self.left_s + self.travel_s + self.work_s

    def refuse(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Answer without doing the work."""
        self.does, self.status, self.body = False, status, body
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def envelope(code: int, message: str = "错误", data: object = ()) -> bytes:
    return orjson.dumps({"code": code, "status": "error", "message": message, "data": data})


Fault = Callable[[Visit, random.Random], None]
FAULTS: dict[str, Fault] = {}


def fault(function: Fault) -> Fault:
    FAULTS[function.__name__] = function
    return function


@fault
def reply_lost_before_the_work(visit, rng):
    visit.does, visit.cut = False, True


@fault
def reply_lost_after_the_work(visit, rng):
    visit.cut = True


@fault
def hangs_before_the_work(visit, rng):
    visit.does, visit.answers = False, False


@fault
def hangs_after_the_work(visit, rng):
    visit.answers = False


@fault
def works_long_after_the_timeout(visit, rng):
    visit.answers, visit.work_s = False, rng.uniform(1, 200)


@fault
def slow(visit, rng):
    visit.work_s = rng.uniform(0.1, 20)


@fault
def too_many(visit, rng):
    visit.refuse(rng.choice((429, 200)), envelope(429, "请求过于频繁"))


@fault
def too_many_with_advice(visit, rng):
    seconds = rng.choice((0, 1, 2, 7, 30, rng.randint(1, 900)))
    if rng.random() < 0.5:
        visit.pause_s = seconds
        visit.refuse(429, b"slow down", Retry_After=str(seconds))
    else:
        visit.pause_to_s = int(visit.done_s) + seconds
        visit.refuse(429, b"", Retry_After=format_datetime(wall(visit.pause_to_s), usegmt=True))


@fault
def too_many_with_nonsense(visit, rng):
    visit.refuse(429, b"", Retry_After=rng.choice(("soon", "-5", "inf", "nan", "1e3", "")))


@fault
def quota_used_up(visit, rng):
    visit.pause_s = rng.randint(1, 20)
    visit.headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(visit.pause_s)}


@fault
def server_error(visit, rng):
    visit.does = rng.random() < 0.5
    visit.status = rng.choice((500, 502, 503, 504, 408))
    visit.body = rng.choice((b"", b"<html>Bad gateway</html>", envelope(500, "系统错误")))
    if rng.random() < 0.2:
        visit.pause_s = rng.randint(1, 9)
        visit.headers = {"Retry-After": str(visit.pause_s)}


@fault
def server_error_in_envelope(visit, rng):
    visit.does, visit.body = rng.random() < 0.5, envelope(rng.choice((500, 503, 408)))


@fault
def garbled(visit, rng):
    visit.does = rng.random() < 0.5
    counts = (-1, True, 1.5, "3", None, 2**70)
    shapes = [orjson.dumps({"code": 200, "data": {"count": count}}) for count in counts[:5]]
    shapes += [b'{"code":200,"data":{"count":1180591620717411303424}}', b'{"code":"200","data":{"count":1}}']
    shapes += [b"", b"\xff\xfe", b"<html></html>", b'{"code":200,"data":{"count":3', b"[]", b"null"]
    shapes += [envelope(200), b"[" * 100_000, b'{"code":200,"code":200,"data":{"count":3}}']
    visit.body = rng.choice(shapes)


@fault
def strange_code(visit, rng):
    visit.does, visit.body = rng.random() < 0.5, envelope(rng.choice((9999, 0, -1, 6008, 201)), "未知")


@fault
def strange_success(visit, rng):
    visit.does, visit.status = rng.random() < 0.5, rng.choice((201, 202, 204, 206))


@fault
def refused_for_good(visit, rng):
    visit.refuse(*rng.choice(((409, b""), (418, b"teapot"), (200, envelope(451)))))


@fault
def refused_in_a_mood(visit, rng):
    visit.refuse(*rng.choice(((400, b""), (422, envelope(422)), (200, envelope(6007, "参数错误")))))


@dataclass(frozen=True)
class Spell:
    """A fault that strikes with a probability for some time."""

    name: str
    share: float
    from_s: float
    to_s: float


NAMINGS: dict[str, Callable[[tuple[str, ...], frozenset[str]], str]] = {
    "nothing": lambda sent, bad: "",
    "a bad one": lambda sent, bad: next((phone for phone in sent if phone in bad), ""),
    "all bad ones": lambda sent, bad: ",".join(phone for phone in sent if phone in bad),
    "the first": lambda sent, bad: sent[0] if sent else "",
    "a good one": lambda sent, bad: next((phone for phone in sent if phone not in bad), ""),
    "all": lambda sent, bad: ",".join(sent),
}
"""What the words of a refusal name, truly or not."""


@dataclass
class Weather:
    """What goes wrong on the way and at the vendor in one history; all of it ceases in calm sessions."""

    rng: random.Random
    spells: list[Spell] = field(default_factory=list)
    slowest_s: float = 0.05
    refuse_connection: float = 0.0
    untrusted_from_s: float = float("inf")
    stale: float = 0.0
    bad_phones: frozenset[str] = frozenset()
    refusal: int = 400
    naming: str = "nothing"
    most_phones: int = 100
    wrong_path: bool = False
    strange_users: dict[str, int] = field(default_factory=dict)
    token_ends_s: float = float("inf")
    redirects_from_s: float = float("inf")
    calm: bool = False

    def strike(self, visit: Visit) -> None:
        rng = self.rng
        visit.travel_s = rng.uniform(0, self.slowest_s)
        visit.work_s = rng.uniform(0, self.slowest_s)
        self._rules(visit)
        if self.calm:
            return
        for spell in self.spells:
            if spell.from_s <= visit.left_s < spell.to_s and rng.random() < spell.share:
                visit.why = spell.name
                # What the rules refuse is surely not done, whatever happens to the answer.
                does = visit.does
                FAULTS[spell.name](visit, rng)
                visit.does = visit.does and does
                return

    def _rules(self, visit: Visit) -> None:
        """What the vendor would say in any weather."""
        if visit.left_s >= self.token_ends_s:
            visit.refuse(*((401, b"") if self.refusal % 2 else (200, envelope(401, "token 已过期"))))
        elif visit.left_s >= self.redirects_from_s:
            visit.refuse(302, b"", Location="https://elsewhere.example/")
        elif self.wrong_path:
            visit.refuse(404, b"<html>Not Found</html>")
        elif visit.user in self.strange_users:
            visit.refuse(self.strange_users[visit.user], envelope(self.strange_users[visit.user], "无权限"))
        elif not self.bad_phones.isdisjoint(visit.phones) or len(visit.phones) > self.most_phones:
            status = 413 if len(visit.phones) > self.most_phones else self.refusal
            words = f"号码格式错误 {NAMINGS[self.naming](visit.phones, self.bad_phones)}"
            visit.refuse(200 if status == 6007 else status, envelope(status, words))
        else:
            return
        visit.why = "rule"


class Vendor:
    """The pool, and every visit it ever got; works visits off in the order of their time."""

    def __init__(self, rows: dict[str, dict[str, list[str]]], weather: Weather) -> None:
        self.rows = rows
        self.weather = weather
        self.visits: list[Visit] = []
        self.by_seq: dict[int, list[Visit]] = defaultdict(list)
        self.unreached: set[tuple[Target, str]] = set()
        """Numbers (of a window: "") of requests for which there was no connection."""
        self._under_way: list[tuple[float, int, Visit]] = []

    def arrive(self, visit: Visit) -> None:
        self.weather.strike(visit)
        self.visits.append(visit)
        self.by_seq[visit.seq].append(visit)
        if visit.does:
            heapq.heappush(self._under_way, (visit.done_s, visit.number, visit))

    def work_until(self, now_s: float) -> None:
        while self._under_way and self._under_way[0][0] <= now_s:
            visit = heapq.heappop(self._under_way)[2]
            visit.rows = self._delete(visit)

    def _delete(self, visit: Visit) -> int:
        pool = self.rows.get(visit.user, {})
        first, last = visit.window or ("", "9999")
        removed = 0
        for phone in visit.phones or list(pool):
            dates = pool.get(phone, [])
            kept = [date for date in dates if not first <= date <= last]
            removed += len(dates) - len(kept)
            if dates:
                pool[phone] = kept
        return removed

    def answer(self, visit: Visit) -> bytes:
        """The body of the reply, once the work is done."""
        if visit.body is not None:
            return visit.body
        assert visit.rows is not None
        return b'{"code":200,"status":"success","message":"ok","data":{"count":%d}}' % visit.rows


class Line:
    """The runner's end of the wire: `model.Sender` as `runner.api.client` is one, without sockets.

    `depart` is told when the headers leave and returns the visit; `attempt_over` when the attempt is over.
    """

    def __init__(self, vendor: Vendor, gate, stop, timeout_s: float, depart, attempt_over) -> None:
        self.vendor, self.gate, self.stop, self.timeout_s = vendor, gate, stop, timeout_s
        self.depart, self.attempt_over = depart, attempt_over
        self.in_flight = 0

    def now(self) -> datetime:
        return wall(asyncio.get_running_loop().time())

    async def send(self, request: DeleteRequest, on_left: Callable[[], None]) -> Reply:
        weather = self.vendor.weather
        visit: Visit | None = None
        approached = False

        def depart() -> bool:
            nonlocal visit
            if not weather.calm and weather.rng.random() < weather.stale:
                return False
            wait.arm(self.timeout_s)
            visit = self.depart(request)
            return True

        try:
            with self.stop.interruptible(recallable=True) as wait:
                await self.gate.approach()
                approached = True
                await self._connect(weather, request)
                for _ in range(50):
                    if await self.gate.leave(depart):
                        break
                assert visit is not None
                on_left()
                reply = await self._exchange(visit)
                visit.told, visit.count = "confirmed", reply.count
                return reply
        except TimeoutError:
            raise self._told(visit, AttemptFailed(TIMEOUT, left=True, message="no reply")) from None
        except AttemptFailed as failure:
            raise self._told(visit, failure) from None
        finally:
            if approached:
                self.gate.attempt_over(left=visit is not None)
            if visit is not None:
                self.attempt_over(visit)

    @staticmethod
    def _told(visit: Visit | None, failure: AttemptFailed) -> AttemptFailed:
        if visit is not None:
            visit.told = "uncertain" if failure.kind.uncertain else failure.kind.error
            by_http = failure.http_status in {400, 413, 422}
            visit.blamed = by_http or (failure.http_status, failure.code) == (200, 6007)
        return failure

    async def _connect(self, weather: Weather, request: DeleteRequest) -> None:
        await asyncio.sleep(weather.rng.uniform(0, weather.slowest_s))
        refused = not weather.calm and weather.rng.random() < weather.refuse_connection
        untrusted = weather.untrusted_from_s <= asyncio.get_running_loop().time()
        if refused or untrusted:
            self.vendor.unreached.update((request.target, phone) for phone in request.phones or ("",))
            kind, words = (UNTRUSTED, "not trusted") if untrusted else (NOT_CONNECTED, "refused")
            raise AttemptFailed(kind, left=False, message=words)

    async def _exchange(self, visit: Visit) -> Reply:
        loop = asyncio.get_running_loop()
        if not visit.answers:
            await loop.create_future()
        await asyncio.sleep(max(0.0, visit.done_s - loop.time()))
        self.vendor.work_until(max(loop.time(), visit.done_s))
        await asyncio.sleep(visit.travel_s)
        if visit.cut:
            raise AttemptFailed(CUT, left=True, message="reset")
        answer = RawReply(
            visit.status,
            self.vendor.answer(visit) if visit.body is None and visit.does else visit.body or b"",
            retry_after_s=parse_retry_after(visit.headers.get("Retry-After"), self.now()),
            quota_reset_s=parse_quota_reset(visit.headers, self.now()),
        )
        visit.pause_read_s = loop.time()
        reply = read_reply(answer, str)
        if answer.quota_reset_s:
            self.gate.quota_exhausted(answer.quota_reset_s)
        return reply
