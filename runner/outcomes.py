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
    "FailureKind",
    "NextStep",
    "kind_of_envelope",
    "kind_of_http",
]


@unique
class NextStep(Enum):
    """What is done after an attempt that was not confirmed."""

    RETRY = "retry"
    PAUSE = "pause, then retry"
    ISOLATE = "isolate"
    END = "end the batch"
    END_USER = "end the batch, skip the rest of its user"
    STOP = "stop the run, the batch stays open"


@dataclass(frozen=True, slots=True)
class FailureKind:
    """One row of the outcome table."""

    error: str
    """The word in the audit's `error` field."""
    uncertain: bool
    """True: the server may have processed the request unseen."""
    then: NextStep


NOT_CONNECTED = FailureKind("connection", uncertain=False, then=NextStep.RETRY)
CUT = FailureKind("connection", uncertain=True, then=NextStep.RETRY)
BAD_REPLY = FailureKind("bad_reply", uncertain=True, then=NextStep.RETRY)
UNKNOWN_CODE = FailureKind("bad_reply", uncertain=True, then=NextStep.END)
TIMEOUT = FailureKind("timeout", uncertain=True, then=NextStep.RETRY)
RATE_LIMITED = FailureKind("rate_limited", uncertain=False, then=NextStep.PAUSE)
SERVER = FailureKind("server", uncertain=True, then=NextStep.RETRY)
ISOLATE = FailureKind("refused", uncertain=False, then=NextStep.ISOLATE)
REFUSED = FailureKind("refused", uncertain=False, then=NextStep.END)
AUTH = FailureKind("auth", uncertain=False, then=NextStep.STOP)
FORBIDDEN = FailureKind("forbidden", uncertain=False, then=NextStep.END_USER)
NOT_FOUND = FailureKind("not_found", uncertain=False, then=NextStep.END_USER)
REDIRECT = FailureKind("redirect", uncertain=False, then=NextStep.STOP)
INTERRUPTED = FailureKind("interrupted", uncertain=True, then=NextStep.STOP)

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


def _kind_of_code(code: int) -> FailureKind | None:
    """Return the row of a 4xx or 5xx code, or None: HTTP and the envelope share these rows."""
    if code in _BY_CODE:
        return _BY_CODE[code]
    if 400 <= code < 500:
        return REFUSED
    if 500 <= code < 600:
        return SERVER
    return None


def kind_of_http(status: int) -> FailureKind:
    """Return what an HTTP status other than 200 means."""
    if 300 <= status < 400:
        return REDIRECT
    return _kind_of_code(status) or BAD_REPLY


def kind_of_envelope(code: int) -> FailureKind:
    """Return what an envelope `code` other than 200 means, in a reply with HTTP 200."""
    if code == _REFUSED_NUMBERS:
        return ISOLATE
    return _kind_of_code(code) or UNKNOWN_CODE


class AttemptFailed(Exception):
    """An attempt that was not confirmed; never leaves `delivery`.

    Args:
        kind: The row of the outcome table.
        left: Whether the request's headers were sent (only those count as attempts in the audit).
        http_status: The reply's HTTP status, if there was one.
        code: The envelope's code, if there was one.
        message: The vendor's words or the transport's, bounded and without control characters.
        retry_after_s: How long the server asked everybody to wait, in seconds, if it did.
    """

    def __init__(
        self,
        kind: FailureKind,
        *,
        left: bool,
        http_status: int | None = None,
        code: int | None = None,
        message: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(f"{kind.error}: {message}" if message else kind.error)
        self.kind = kind
        self.left = left
        self.http_status = http_status
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s
