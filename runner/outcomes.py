"""The outcome table: what an attempt's end means, and everything that follows from it.

One row is one line, and whatever depends on a failure asks its row: the audit's word, whether the server may
have processed it unseen, what is done then, what it says of the server, the words for a stop. An HTTP status
other than 200 decides alone; at 200 the envelope's `code` decides, by the same rows.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum, unique
from typing import Final

__all__ = [
    "BAD_REPLY",
    "CUT",
    "ERROR_WORDS",
    "INTERRUPTED",
    "NOT_CONNECTED",
    "TABLE",
    "TIMEOUT",
    "UNTRUSTED",
    "USER_REFUSED_WORDS",
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
    RETRY_TWICE = "retry; three in a row stop the run"
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
    then: NextStep
    uncertain: bool = False
    """True: the server may have processed the request unseen."""
    suffering: bool = False
    """True: a sign that the server, or the way to it, is not well; so many in a row open the breaker."""
    stops: str = ""
    """Why a run stopped that this kind stops."""
    codes: Collection[int] = ()
    """The HTTP statuses and envelope codes that mean it, but for those of a row above."""

    @property
    def retried(self) -> bool:
        """Whether the attempt is made again."""
        return self.then in {NextStep.RETRY, NextStep.RETRY_TWICE, NextStep.PAUSE}

    @property
    def refuses_user(self) -> bool:
        """Whether it refuses the whole user, so that the rest of theirs is not tried."""
        return self.then is NextStep.END_USER

    @property
    def blames_numbers(self) -> bool:
        """Whether it refuses a request for the numbers in it, which says nothing about the server."""
        return self.then is NextStep.ISOLATE


_5XX = range(500, 600)

TABLE: Final = (
    NOT_CONNECTED := FailureKind("connection", NextStep.RETRY, suffering=True),
    UNTRUSTED := FailureKind("connection", NextStep.RETRY_TWICE, suffering=True, stops="server not trusted"),
    CUT := FailureKind("connection", NextStep.RETRY, uncertain=True, suffering=True),
    BAD_REPLY := FailureKind("bad_reply", NextStep.RETRY, uncertain=True, suffering=True),
    UNKNOWN_CODE := FailureKind("bad_reply", NextStep.END, uncertain=True, suffering=True),
    TIMEOUT := FailureKind("timeout", NextStep.RETRY, uncertain=True, suffering=True),
    RATE_LIMITED := FailureKind("rate_limited", NextStep.PAUSE, codes=(429,)),
    SERVER := FailureKind("server", NextStep.RETRY, uncertain=True, suffering=True, codes=(408, *_5XX)),
    ISOLATE := FailureKind("refused", NextStep.ISOLATE, codes=(400, 413, 422, 6007)),
    AUTH := FailureKind("auth", NextStep.STOP, stops="token refused", codes=(401,)),
    FORBIDDEN := FailureKind("forbidden", NextStep.END_USER, codes=(403,)),
    NOT_FOUND := FailureKind("not_found", NextStep.END_USER, codes=(404,)),
    REFUSED := FailureKind("refused", NextStep.END, codes=range(400, 500)),
    REDIRECT := FailureKind("redirect", NextStep.STOP, stops="redirect refused", codes=range(300, 400)),
    INTERRUPTED := FailureKind("interrupted", NextStep.STOP, uncertain=True),
)
"""Every row; where two name a code, the upper one has it."""

ERROR_WORDS: Final = tuple(dict.fromkeys([*(kind.error for kind in TABLE), "skipped", "protected"]))
"""Every word that may stand in a batch's `error`: those of the table, and why a batch was never tried."""

USER_REFUSED_WORDS: Final = frozenset(kind.error for kind in TABLE if kind.refuses_user)
"""The words after which the rest of a user is not tried."""


def _kind_of(code: int) -> FailureKind | None:
    return next((kind for kind in TABLE if code in kind.codes), None)


def kind_of_http(status: int) -> FailureKind:
    """Return what an HTTP status other than 200 means."""
    return _kind_of(status) or BAD_REPLY


def kind_of_envelope(code: int) -> FailureKind:
    """Return what an envelope `code` other than 200 means, in a reply with HTTP 200; none redirects."""
    kind = _kind_of(code)
    return UNKNOWN_CODE if kind is None or kind is REDIRECT else kind


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

    @property
    def asks_for_less(self) -> bool:
        """Whether the server wants fewer requests, with or without saying for how long none."""
        return self.kind.then is NextStep.PAUSE or self.retry_after_s is not None

    @property
    def why_stopped(self) -> str:
        """Why a run that this failure stops has stopped."""
        return self.kind.stops + ("" if self.http_status is None else f" (HTTP {self.http_status})")
