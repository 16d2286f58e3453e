"""The values that pass between the rooms, and the protocols behind which the edges stand.

Everything here is frozen. A `Batch` cannot be built in a shape that deletes more than it names: a request
without phones exists only for an entry that said `delete_window` (promise 1), and one with more than
100 phones or a repeated one does not exist at all (promise 2).
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol, overload

import orjson

__all__ = [
    "MAX_PHONES",
    "Batch",
    "DeleteRequest",
    "Gate",
    "ListedPhones",
    "Prior",
    "Reply",
    "Sender",
    "Target",
    "WallClock",
    "Window",
    "Work",
    "check_phones",
    "is_safe_user_id",
    "phones_sha256",
]

MAX_PHONES = 100
"""Phones in one request at most (README, vendor's API)."""

Window = tuple[str, str]
"""Import time from, to, both included: `YYYY-MM-DD HH:MM:SS` in the vendor's local time."""

_SAFE_USER_ID = re.compile(r"[A-Za-z0-9._~-]{1,128}")


def is_safe_user_id(user_id: str) -> bool:
    """Tell whether a user id can stand in the path without changing which path it is."""
    return _SAFE_USER_ID.fullmatch(user_id) is not None and user_id not in {".", ".."}


@dataclass(frozen=True, slots=True)
class Target:
    """What the phones of one batch share: whose pool, which import window, plain or encrypted."""

    user_id: str
    created_at: Window | None = None
    encryption: bool = False
    delete_window: bool = False

    def __post_init__(self) -> None:
        if not is_safe_user_id(self.user_id):
            raise ValueError(f"user id {self.user_id!r} cannot stand in a path")
        if self.delete_window and self.created_at is None:
            raise ValueError("delete_window needs created_at")


class ListedPhones(Sequence[str]):
    """The phones of a batch as bytes of its plan, where they were proved; texts once somebody looks at one.

    Nobody does of a batch that is confirmed whole: its phones are sent, and hashed, as they stand.

    Args:
        listed: The JSON list, without white space.
        count: How many phones it holds.
        ascending: They are in ascending order.
    """

    __slots__ = ("_ascending", "_count", "_texts", "listed")

    def __init__(self, listed: bytes, count: int, *, ascending: bool) -> None:
        self.listed = listed
        self._count = count
        self._ascending = ascending
        self._texts: tuple[str, ...] | None = None

    @property
    def texts(self) -> tuple[str, ...]:
        """The phones, each as a text."""
        if self._texts is None:
            self._texts = tuple(orjson.loads(self.listed))
        return self._texts

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[str]:
        return iter(self.texts)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...
    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        return self.texts[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self.texts == tuple(other)

    def __hash__(self) -> int:
        return hash(self.texts)

    def __repr__(self) -> str:
        return repr(self.texts)

    def lines(self) -> bytes:
        """Return the phones in ascending order, joined by newlines."""
        if self._ascending:
            lines = self.listed.translate(_COMMA_TO_NEWLINE, _LIST_MARKS)
            # A comma or a mark that belongs to a phone shows here, and what is escaped has a backslash.
            marks = len(self.listed) - len(lines)
            if marks == 2 * self._count + 2 and lines.count(b"\n") == self._count - 1 and b"\\" not in lines:
                return lines
        return _sorted_lines(self.texts)


_COMMA_TO_NEWLINE: Final = bytes.maketrans(b",", b"\n")
_LIST_MARKS: Final = b'[]"'


@dataclass(frozen=True, slots=True)
class Batch:
    """One planned request: 1–100 phones of one target, or none for a `delete_window` target."""

    seq: int
    target: Target
    phones: tuple[str, ...] | ListedPhones

    def __post_init__(self) -> None:
        if isinstance(self.phones, ListedPhones):
            _check_number(self.target, len(self.phones))
        else:
            check_phones(self.target, self.phones)


def check_phones(target: Target, phones: Sequence[str]) -> None:
    """Raise ValueError unless these phones may be sent together to this target (promises 1 and 2)."""
    _check_number(target, len(phones))
    distinct = set(phones)
    if len(distinct) != len(phones) or "" in distinct:
        raise ValueError("a phone is empty or stands twice in one batch")


def _check_number(target: Target, phones: int) -> None:
    if target.delete_window != (not phones):
        raise ValueError("a batch has phones, or deletes a window, never both or neither")
    if phones > MAX_PHONES:
        raise ValueError(f"{phones} phones in one batch; {MAX_PHONES} at most")


@dataclass(frozen=True, slots=True)
class Prior:
    """What earlier sessions did for a batch that is still open."""

    attempts: int = 0
    uncertain: int = 0


@dataclass(frozen=True, slots=True)
class Work:
    """A batch to be brought to its end, and which of its numbers were protected since it was planned."""

    batch: Batch
    prior: Prior = Prior()
    protected: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class DeleteRequest:
    """One DELETE as it goes on the wire; the body is made once and sent again byte for byte on a retry."""

    target: Target
    phones: Sequence[str]
    body: bytes

    @classmethod
    def of(cls, target: Target, phones: tuple[str, ...]) -> "DeleteRequest":
        """Build the request (README, vendor's API); ValueError for every shape that `Batch` refuses."""
        return cls.whole(Batch(0, target, phones))

    @classmethod
    def whole(cls, batch: Batch) -> "DeleteRequest":
        """Build the request for a whole batch, out of the bytes that are ready."""
        target, phones, fields = batch.target, batch.phones, []
        if phones:
            fields.append(b'"phone":' + _list(phones))
        if target.created_at is not None:
            fields.append(b'"created_at":' + orjson.dumps(target.created_at))
        if target.encryption:
            fields.append(b'"encryption":true')
        return cls(target, phones, b"{%b}" % b",".join(fields))


def _list(phones: tuple[str, ...] | ListedPhones) -> bytes:
    return phones.listed if isinstance(phones, ListedPhones) else orjson.dumps(phones)


@dataclass(frozen=True, slots=True)
class Reply:
    """A confirmed deletion: `count` rows went, by the server's word."""

    count: int
    message: str = ""


class Sender(Protocol):
    """The API, as delivery sees it."""

    async def send(self, request: DeleteRequest, on_left: Callable[[], None]) -> Reply:
        """Make exactly one attempt, through the gate.

        `on_left` is called once, at the moment the request's headers leave, or never: so a caller that is
        cancelled knows whether the attempt was on the wire. It must not raise.

        Raises:
            AttemptFailed: The attempt was not confirmed.
            Stopping: The run was told to stop before the request's headers left; nothing was sent.
        """
        ...


class Gate(Protocol):
    """The pacing, as the API sees it: `approach`, connect, `leave` until True, in any case `attempt_over`."""

    async def approach(self) -> None:
        """Wait, without a connection, until a departure is near: no idle connection ages at the gate."""
        ...

    async def leave(self, depart: Callable[[], bool]) -> bool:
        """Wait for a turn, then call `depart`, which writes the request at once and returns True.

        It returns False when the connection in hand is no good: nothing is noted, the turn is given back,
        and this returns False too. Between the gate's check and `depart` nothing else runs.
        """
        ...

    def attempt_over(self, *, left: bool) -> None:
        """Note that an attempt which had approached is over, and whether its request left."""
        ...

    def quota_exhausted(self, reset_s: float) -> None:
        """Note that the server allows no more requests for `reset_s` seconds."""
        ...


class WallClock(Protocol):
    """The wall's time; used for records and dates, never to measure a duration."""

    def __call__(self) -> datetime:
        """Return the present time, with its offset."""
        ...


def phones_sha256(phones: Sequence[str]) -> str:
    """Return the SHA-256, in hex, of the sorted numbers joined by newlines (README, audit)."""
    lines = phones.lines() if isinstance(phones, ListedPhones) else _sorted_lines(phones)
    return hashlib.sha256(lines).hexdigest()


def _sorted_lines(phones: Sequence[str]) -> bytes:
    return "\n".join(sorted(phones)).encode()
