"""The outcome table: what an attempt's end means and what follows from it.

This is the one place that says which failures may have been processed unseen and which are tried again. An
HTTP status other than 200 decides alone; at 200 the envelope's `code` decides, by the same table.
"""

from dataclasses import dataclass
from enum import Enum, unique

__all__ = [
    "AUTH",
    "BAD_REPLY",
    "CUT",
    "FORBIDDEN",
    "INTERRUPTED",
    "ISOLATE",
    "NOT_CONNECTED",
    "NOT_FOUND",
    "RATE_LIMITED",
    "REDIRECT",
    "REFUSED",
    "SERVER",
    "TIMEOUT",
    "UNKNOWN_CODE",
    "AttemptFailed",
    "Fate",
    "Next",
    "fate_of_envelope",
    "fate_of_http",
]


@unique
class Next(Enum):
    """What is done after an attempt that was not confirmed."""

    RETRY = "retry"
    PAUSE = "pause, then retry"
    ISOLATE = "isolate"
    END = "end the batch"
    END_USER = "end the batch, skip the rest of its user"
    STOP = "stop the run, the batch stays open"


@dataclass(frozen=True, slots=True)
class Fate:
    """One row of the outcome table."""

    error: str
    """The word in the audit's `error` field."""
    uncertain: bool
    """True: the server may have processed the request unseen."""
    then: Next


NOT_CONNECTED = Fate("connection", uncertain=False, then=Next.RETRY)
CUT = Fate("connection", uncertain=True, then=Next.RETRY)
BAD_REPLY = Fate("bad_reply", uncertain=True, then=Next.RETRY)
UNKNOWN_CODE = Fate("bad_reply", uncertain=True, then=Next.END)
TIMEOUT = Fate("timeout", uncertain=True, then=Next.RETRY)
RATE_LIMITED = Fate("rate_limited", uncertain=False, then=Next.PAUSE)
SERVER = Fate("server", uncertain=True, then=Next.RETRY)
ISOLATE = Fate("refused", uncertain=False, then=Next.ISOLATE)
REFUSED = Fate("refused", uncertain=False, then=Next.END)
AUTH = Fate("auth", uncertain=False, then=Next.STOP)
FORBIDDEN = Fate("forbidden", uncertain=False, then=Next.END_USER)
NOT_FOUND = Fate("not_found", uncertain=False, then=Next.END_USER)
REDIRECT = Fate("redirect", uncertain=False, then=Next.STOP)
INTERRUPTED = Fate("interrupted", uncertain=True, then=Next.STOP)

_BY_CODE = {
    400: ISOLATE,
    401: AUTH,
    403: FORBIDDEN,
    404: NOT_FOUND,
    408: SERVER,
    413: ISOLATE,
    422: ISOLATE,
    429: RATE_LIMITED,
}
_REFUSED_NUMBERS = 6007


def _fate_of_code(code: int) -> Fate | None:
    """Return the row of a 4xx or 5xx code, or None: HTTP and the envelope share these rows."""
    if code in _BY_CODE:
        return _BY_CODE[code]
    if 400 <= code < 500:
        return REFUSED
    if 500 <= code < 600:
        return SERVER
    return None


def fate_of_http(status: int) -> Fate:
    """Return what an HTTP status other than 200 means."""
    if 300 <= status < 400:
        return REDIRECT
    return _fate_of_code(status) or BAD_REPLY


def fate_of_envelope(code: int) -> Fate:
    """Return what an envelope `code` other than 200 means, in a reply with HTTP 200."""
    if code == _REFUSED_NUMBERS:
        return ISOLATE
    return _fate_of_code(code) or UNKNOWN_CODE


class AttemptFailed(Exception):
    """An attempt that was not confirmed; never leaves `delivery`.

    Args:
        fate: The row of the outcome table.
        left: Whether the request's headers were sent (only those count as attempts in the audit).
        http_status: The reply's HTTP status, if there was one.
        code: The envelope's code, if there was one.
        message: The vendor's words or the transport's, bounded and without control characters.
        retry_after_s: How long the server asked everybody to wait, in seconds, if it did.
    """

    def __init__(
        self,
        fate: Fate,
        *,
        left: bool,
        http_status: int | None = None,
        code: int | None = None,
        message: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(f"{fate.error}: {message}" if message else fate.error)
        self.fate = fate
        self.left = left
        self.http_status = http_status
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s
