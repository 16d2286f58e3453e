"""What a reply says: bytes and headers in, a confirmed count or an `AttemptFailed` out; pure.

Owns the reading of the vendor's envelope (README, vendor's API) and of the advice in headers, by the outcome
table. Promise 5: a count is only taken from a reply that has exactly the documented shape. The vendor's words
never leave here unbounded, with control characters or with the token; phones in them are masked by whoever
shows them outside the audit.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, NamedTuple, TypeGuard
from urllib.parse import quote

import orjson

from runner.access import Token
from runner.model import Reply, WallClock
from runner.outcomes import BAD_REPLY, AttemptFailed, FailureKind, kind_of_envelope, kind_of_http
from runner.strict_json import STRICT
from runner.text import printable

__all__ = [
    "MOST_WORDS",
    "Clean",
    "RawReply",
    "check_envelope",
    "cleaner",
    "parse_quota_reset",
    "parse_retry_after",
    "read_advice",
    "read_reply",
    "read_total",
]

MOST_WORDS: Final = 200
"""Characters of the vendor's words that are kept."""

_MOST_COUNT = 2**53
_LONGEST_ADVICE_S = 600.0
_FIRST_EPOCH_S = 10**8
_SECONDS = re.compile(r"[0-9]+")
_MOST_DIGITS = 9
_DATE = re.compile(r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]{0,6},? [ -~]{10,30}")
_RESET = re.compile(r"([0-9]{1,10})(\.[0-9]{1,6})?")

Clean = Callable[[str], str]
"""Makes foreign words fit to be written down."""


class RawReply(NamedTuple):
    """A reply as it came: its status, what was read of its body, and the advice in its headers."""

    status: int
    body: bytes
    retry_after_s: float | None = None
    quota_reset_s: float | None = None
    """In how many seconds the server allows more, when it said that nothing remains."""
    flaw: str = ""
    """Why the body cannot be what was asked for, whatever it holds (too long, encoded)."""


def cleaner(token: Token) -> Clean:
    """Return what bounds words to `MOST_WORDS`, blanks control characters and takes out the token."""
    secret = token.reveal()
    shapes = {secret, secret.replace("/", "\\/"), quote(secret, safe="")}
    secrets = re.compile("|".join(re.escape(shape) for shape in sorted(shapes, key=len, reverse=True)))

    def clean(text: str) -> str:
        return printable(secrets.sub("***", text)[:MOST_WORDS]).strip()

    return clean


def read_advice(headers: Mapping[str, str], now: WallClock) -> tuple[float | None, float | None]:
    """Return the seconds of `Retry-After`, and those until the quota is filled again, where headers tell.

    The server's moments are moments of its own clock, which need not be ours: they count from its `Date`.
    """
    if "Retry-After" not in headers and "X-RateLimit-Remaining" not in headers:
        return None, None
    moment = parse_date(headers.get("Date")) or now()
    return parse_retry_after(headers.get("Retry-After"), moment), parse_quota_reset(headers, moment)


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Return the seconds of a `Retry-After` (number or HTTP date), 0–600; None for anything else."""
    if value is None:
        return None
    value = value.strip()
    if _SECONDS.fullmatch(value):
        digits = value.lstrip("0")[:_MOST_DIGITS]  # more say no more: any so long is beyond the bound
        return min(float(digits or 0), _LONGEST_ADVICE_S)
    date = parse_date(value)
    return None if date is None else _until(date, now)


def parse_date(value: str | None) -> datetime | None:
    """Return the moment of an HTTP date; None for anything else."""
    if value is None or not _DATE.fullmatch(value.strip()):
        return None
    try:
        date = parsedate_to_datetime(value.strip())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def parse_quota_reset(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return the seconds until `X-RateLimit-Reset` (delay or epoch), if `X-RateLimit-Remaining` is 0."""
    if headers.get("X-RateLimit-Remaining", "").strip() != "0":
        return None
    match = _RESET.fullmatch(headers.get("X-RateLimit-Reset", "").strip())
    if match is None:
        return None
    reset_s = float(match[0])
    if reset_s < _FIRST_EPOCH_S:
        return min(reset_s, _LONGEST_ADVICE_S)
    return _until(datetime.fromtimestamp(reset_s, UTC), now)


def _until(date: datetime, now: datetime) -> float:
    return min(max((date - now).total_seconds(), 0.0), _LONGEST_ADVICE_S)


def read_reply(answer: RawReply, clean: Clean) -> Reply:
    """Return what a deletion confirmed; AttemptFailed unless it has exactly the documented shape."""
    envelope = _read_envelope(answer, clean)
    data = envelope.get("data")
    count = data.get("count") if isinstance(data, dict) else None
    if not _is_count(count):
        raise _misshapen(answer, clean, "data.count is not a whole number")
    return Reply(count, _message(envelope, clean))


def read_total(answer: RawReply, clean: Clean) -> int:
    """Return `meta.total` of a listing; AttemptFailed unless it is a whole number."""
    meta = _read_envelope(answer, clean).get("meta")
    total = meta.get("total") if isinstance(meta, dict) else None
    if not _is_count(total):
        raise _misshapen(answer, clean, "meta.total is not a whole number")
    return total


def check_envelope(answer: RawReply, clean: Clean) -> str:
    """Return the words of a reply that does not say no; its fields are not documented."""
    return _message(_read_envelope(answer, clean, must_have_code=False), clean)


def _read_envelope(answer: RawReply, clean: Clean, *, must_have_code: bool = True) -> dict[str, object]:
    """Return the envelope of a success, or raise what the outcome table says."""
    if answer.status != 200:
        raise _failed(answer, kind_of_http(answer.status), clean)
    if answer.flaw:
        raise _misshapen(answer, clean, answer.flaw)
    try:
        envelope = _parse_object(answer.body)
    except (ValueError, RecursionError) as error:
        raise _misshapen(answer, clean, f"not the JSON object that was expected: {error}") from error
    code = envelope.get("code")
    if not _is_code(code):
        if must_have_code or code is not None:
            raise _misshapen(answer, clean, "code is not a whole number")
    elif code != 200:
        raise _failed(answer, kind_of_envelope(code), clean)
    return envelope


def _failed(answer: RawReply, kind: FailureKind, clean: Clean) -> AttemptFailed:
    try:
        envelope = _parse_object(answer.body)
    except (ValueError, RecursionError):
        envelope = {}
    code = envelope.get("code")
    return AttemptFailed(
        kind,
        left=True,
        http_status=answer.status,
        code=code if _is_code(code) else None,
        message=_message(envelope, clean) or _excerpt(answer, clean),
        retry_after_s=_advice(answer),
    )


def _misshapen(answer: RawReply, clean: Clean, why: str) -> AttemptFailed:
    return AttemptFailed(
        BAD_REPLY,
        left=True,
        http_status=answer.status,
        message=clean(f"{why}: {_excerpt(answer, clean)}"),
        retry_after_s=_advice(answer),
    )


def _advice(answer: RawReply) -> float | None:
    return answer.quota_reset_s if answer.retry_after_s is None else answer.retry_after_s


def _excerpt(answer: RawReply, clean: Clean) -> str:
    """Return the beginning of a body that is no envelope."""
    text = clean(answer.body.decode("utf-8", "replace"))
    return " ".join(text.split()) or "(empty)"


def _message(envelope: Mapping[str, object], clean: Clean) -> str:
    message = envelope.get("message")
    return clean(message) if message and isinstance(message, str) else ""


def _is_count(value: object) -> TypeGuard[int]:
    # A bool is an int to isinstance; past 2**53 not every reader of the audit could hold it.
    return type(value) is int and 0 <= value < _MOST_COUNT


def _is_code(value: object) -> TypeGuard[int]:
    return type(value) is int and abs(value) < _MOST_COUNT


def _parse_object(body: bytes) -> dict[str, object]:
    """Return the one JSON object that these bytes are; ValueError or RecursionError otherwise."""
    value = _parse_flat(body)
    if value is None:
        value = STRICT.decode(body.decode("utf-8"))
    if not isinstance(value, dict):
        raise ValueError("it is no object")  # noqa: TRY004 - what was sent is wrong, not what was called
    return value


def _parse_flat(body: bytes) -> dict[str, object] | None:
    """Return an envelope and its data whose colons are as many as their keys, so that none stands twice."""
    try:
        value = orjson.loads(body)
    except ValueError:
        return None
    if not isinstance(value, dict):
        return None
    data = value.get("data")
    keys = len(value) + (len(data) if isinstance(data, dict) else 0)
    return value if body.count(b":") == keys else None
