"""The rows of every user's customer pool, in memory, and the two ways to delete them.

Owns the data and nothing else: what a request may ask is `calls`, what is noted of it is `ledger`. Finding a
phone is one look-up; a window is two bisections of an index that is built when a window is first asked.
It must never delete a row that does not match everything that was asked.
"""

import random
import re
import uuid
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

__all__ = ["VENDOR_TIME", "CustomerRow", "Pool", "Swept", "Window", "is_time"]

Window = tuple[str, str]
"""From, to, both included. Times are text in one fixed format, so that their order is the text's order."""

VENDOR_TIME = timezone(timedelta(hours=8), "Asia/Shanghai")
_FORMAT = "%Y-%m-%d %H:%M:%S"
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}")
_SEED_FROM = datetime(2024, 1, 1)  # noqa: DTZ001 - the vendor's local time, without an offset as the API has it
_SEED_SPAN_S = 365 * 86400
_SEED_TIMES = 20_000
_AUTO_WINDOW_ROWS = 40


def is_time(text: object) -> bool:
    """Tell whether this is a time as the API writes it, and one that exists."""
    if not isinstance(text, str) or _TIME.fullmatch(text) is None:
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def now_text() -> str:
    """Return the vendor's local time as the API writes it."""
    return datetime.now(VENDOR_TIME).strftime(_FORMAT)


@dataclass(frozen=True, slots=True)
class CustomerRow:
    """One row of a pool: a phone stands in as many rows as it was imported."""

    user_id: str
    phone: str
    created_at: str
    nth: int
    """Which of this phone's rows it is, from 0."""

    @property
    def id(self) -> str:
        """A UUID that stays the same as long as the row's place does."""
        return str(
            uuid.uuid5(uuid.NAMESPACE_OID, f"{self.user_id}/{self.phone}/{self.created_at}/{self.nth}")
        )


@dataclass(frozen=True, slots=True)
class Swept:
    """What one deletion took: the phones that lost rows, and how many each, in the same order."""

    phones: tuple[str, ...] = ()
    rows: tuple[int, ...] = ()

    @property
    def count(self) -> int:
        """Rows deleted."""
        return sum(self.rows)


class _Index:
    """A user's rows by import time; rows deleted since it was built are found missing when they are met."""

    def __init__(self, phones: dict[str, tuple[str, ...]]) -> None:
        pairs = sorted({(at, phone) for phone, times in phones.items() for at in times})
        self._times = [at for at, _ in pairs]
        self._phones = [phone for _, phone in pairs]

    def phones_in(self, window: Window | None) -> Iterator[tuple[str, str]]:
        """Yield (created_at, phone) of that window, or of all, oldest first; none twice."""
        low = 0 if window is None else bisect_left(self._times, window[0])
        high = len(self._times) if window is None else bisect_right(self._times, window[1])
        for at in range(low, high):
            yield self._times[at], self._phones[at]


class Pool:
    """The customer pools of all users.

    Args:
        auto_rows: 0: what was not put in is not there. N above 0: a phone asked for the first time turns
            out to have 1 to N rows, inside the window that is asked, and a window a few dozen rows, always
            the same for the same question: so any job can be rehearsed without seeding.
    """

    def __init__(self, *, auto_rows: int = 0) -> None:
        self.auto_rows = auto_rows
        self._users: dict[str, dict[str, tuple[str, ...]]] = {}
        self._indexes: dict[str, _Index] = {}
        self._windows_asked: set[tuple[str, Window]] = set()
        self._total = 0

    def __len__(self) -> int:
        """Rows of all users."""
        return self._total

    @property
    def users(self) -> tuple[str, ...]:
        """Users that have, or had, rows."""
        return tuple(self._users)

    def add(self, user_id: str, phone: str, created_at: str | None = None) -> None:
        """Put one more row in; imported now unless `created_at` says when."""
        phones = self._users.setdefault(user_id, {})
        phones[phone] = (*phones.get(phone, ()), created_at or now_text())
        self._total += 1
        self._indexes.pop(user_id, None)

    def add_phones(self, user_id: str, phones: Iterable[str], created_at: str | None = None) -> None:
        """Put one row in for each phone, all imported at one time."""
        at = created_at or now_text()
        for phone in phones:
            self.add(user_id, phone, at)

    def seed(self, users: Sequence[str], rows: int, rng: random.Random) -> dict[str, list[str]]:
        """Put `rows` rows in, dealt evenly, about one in five a repeat; return each user's distinct phones.

        Phones look like Chinese mobile numbers; import times lie in 2024.
        """
        times = [
            (_SEED_FROM + timedelta(seconds=rng.randrange(_SEED_SPAN_S))).strftime(_FORMAT)
            for _ in range(min(rows, _SEED_TIMES))
        ]
        seeded: dict[str, list[str]] = {user: [] for user in users}
        for number in range(rows):
            user = users[number % len(users)]
            mine = seeded[user]
            if mine and rng.random() < 0.2:
                self.add(user, rng.choice(mine), rng.choice(times))
                continue
            phone = f"1{rng.randrange(3, 10)}{rng.randrange(10**9):09d}"
            if phone not in self._users.get(user, {}):
                mine.append(phone)
            self.add(user, phone, rng.choice(times))
        return seeded

    def delete(self, user_id: str, phones: Sequence[str], window: Window | None) -> Swept:
        """Delete the rows of these phones, in that window if one is given; a repeated phone counts once."""
        self._invent(user_id, phones, window)
        return self._sweep(user_id, dict.fromkeys(phones), window)

    def delete_window(self, user_id: str, window: Window) -> Swept:
        """Delete every row of the user that was imported in that window."""
        self._invent_window(user_id, window)
        phones = dict.fromkeys(phone for _, phone in self._index(user_id).phones_in(window))
        return self._sweep(user_id, phones, window)

    def rows(
        self, user_id: str, phone: str | None = None, window: Window | None = None
    ) -> Iterator[CustomerRow]:
        """Yield the rows that match, oldest first."""
        for at, found in self._matching(user_id, phone, window):
            for nth, time in enumerate(self._times(user_id, found)):
                if time == at:
                    yield CustomerRow(user_id, found, time, nth)

    def count(self, user_id: str, phone: str | None = None, window: Window | None = None) -> int:
        """Return how many rows match."""
        if phone is None and window is None:
            return sum(map(len, self._users.get(user_id, {}).values()))
        return sum(
            self._times(user_id, found).count(at) for at, found in self._matching(user_id, phone, window)
        )

    def _matching(self, user_id: str, phone: str | None, window: Window | None) -> Iterable[tuple[str, str]]:
        """Return (created_at, phone) of every row that may match, none twice, oldest first."""
        if phone is not None:
            self._invent(user_id, (phone,), window)
            return [(at, phone) for at in sorted(set(self._times(user_id, phone))) if _within(at, window)]
        if window is not None:
            self._invent_window(user_id, window)
        return self._index(user_id).phones_in(window)

    def _times(self, user_id: str, phone: str) -> tuple[str, ...]:
        return self._users.get(user_id, {}).get(phone, ())

    def _index(self, user_id: str) -> _Index:
        if user_id not in self._indexes:
            self._indexes[user_id] = _Index(self._users.get(user_id, {}))
        return self._indexes[user_id]

    def _sweep(self, user_id: str, phones: Iterable[str], window: Window | None) -> Swept:
        mine = self._users.get(user_id, {})
        gone: dict[str, int] = {}
        for phone in phones:
            times = mine.get(phone)
            if not times:
                continue
            left = () if window is None else tuple(at for at in times if not _within(at, window))
            if len(left) == len(times):
                continue
            gone[phone] = len(times) - len(left)
            if left or self.auto_rows:  # an invented phone stays known, or it would be invented again
                mine[phone] = left
            else:
                del mine[phone]
        swept = Swept(tuple(gone), tuple(gone.values()))
        self._total -= swept.count
        return swept

    def _invent(self, user_id: str, phones: Sequence[str], window: Window | None) -> None:
        """Give phones that nobody asked for yet their rows."""
        if not self.auto_rows:
            return
        mine = self._users.setdefault(user_id, {})
        for phone in phones:
            if phone not in mine:
                how_many = 1 + zlib.crc32(f"{user_id}/{phone}".encode()) % self.auto_rows
                mine[phone] = (window[0] if window else "2024-07-26 12:00:00",) * how_many
                self._total += how_many
                self._indexes.pop(user_id, None)

    def _invent_window(self, user_id: str, window: Window) -> None:
        """Give a window that nobody asked for yet a few dozen rows."""
        if not self.auto_rows or (user_id, window) in self._windows_asked:
            return
        self._windows_asked.add((user_id, window))
        rng = random.Random(f"{user_id}/{window}")  # noqa: S311 - made-up rows, the same every time
        for _ in range(rng.randrange(1, _AUTO_WINDOW_ROWS)):
            self.add(user_id, f"19{rng.randrange(10**9):09d}", window[0])


def _within(at: str, window: Window | None) -> bool:
    return window is None or window[0] <= at <= window[1]
