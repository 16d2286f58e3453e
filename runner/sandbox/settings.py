"""How the sandbox behaves when nothing goes wrong by chance: token, latency, rate limit, whom it refuses.

The settings are frozen; `control` replaces them as a whole at run time. The rate limit is exact: in no
sliding window are more requests let through than it says.
"""

import re
from collections import deque
from dataclasses import dataclass, field
from typing import Literal

from runner.sandbox.faults import FaultSettings

__all__ = ["Outage", "RateLimit", "SandboxSettings", "SlidingWindowLimit", "parse_rate_limit"]

Outage = Literal["503", "closed"]
"""Everything is answered with 503, or every connection is closed."""

_RATE = re.compile(r"([0-9]{1,7})/(s|m)")


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most `count` requests in every sliding window of `period_s` seconds; the rest get 429."""

    count: int
    period_s: float = 1.0
    retry_after: Literal["none", "seconds", "date"] = "seconds"


def parse_rate_limit(text: str) -> RateLimit:
    """Parse `50/s` or `600/m`; ValueError says what is accepted."""
    match = _RATE.fullmatch(text)
    if match is None or int(match[1]) == 0:
        raise ValueError(f"rate limit {text!r}: write N/s or N/m, N a whole number above 0")
    return RateLimit(int(match[1]), 60.0 if match[2] == "m" else 1.0)


@dataclass(frozen=True, slots=True)
class SandboxSettings:
    """What the sandbox is told at its start.

    Args:
        token: The one that is accepted.
        latency_s: Seconds that every call of the API takes before its work.
        jitter_s: At most that many seconds more, at random.
        rate_limit: None: no limit, and no X-RateLimit headers.
        faults: What goes wrong by chance.
        known_users: None: every user id is known; otherwise others get 404.
        forbidden_users: They get 403.
        unknown_users: They get 404.
        refused_phones: A request that holds one is refused as a whole (6007).
        refusal_status: HTTP status of a 6007 envelope: 200, 400 or 422.
        token_expires_after: After so many calls with the right token it counts as expired.
        redirect_after: After so many calls every call is redirected.
        redirect_to: Where to; a path of this sandbox, where the ledger shows who followed.
    """

    token: str = "sandbox-token"  # noqa: S105 - opens this sandbox only
    latency_s: float = 0.0
    jitter_s: float = 0.0
    rate_limit: RateLimit | None = None
    faults: FaultSettings = field(default_factory=FaultSettings)
    known_users: frozenset[str] | None = None
    forbidden_users: frozenset[str] = frozenset()
    unknown_users: frozenset[str] = frozenset()
    refused_phones: frozenset[str] = frozenset()
    refusal_status: int = 422
    token_expires_after: int | None = None
    redirect_after: int | None = None
    redirect_to: str = "/moved"

    def knows(self, user_id: str) -> bool:
        """Tell whether there is such a user."""
        if user_id in self.unknown_users:
            return False
        return self.known_users is None or user_id in self.known_users


class SlidingWindowLimit:
    """Lets requests through by a `RateLimit`; times are seconds of one monotonic clock."""

    def __init__(self, limit: RateLimit) -> None:
        self.limit = limit
        self._let_in: deque[float] = deque()

    def enter(self, now: float) -> bool:
        """Tell whether a request arriving now is let through, and note it if so."""
        self._forget(now)
        if len(self._let_in) >= self.limit.count:
            return False
        self._let_in.append(now)
        return True

    def remaining(self, now: float) -> int:
        """Return how many more would be let through now."""
        self._forget(now)
        return self.limit.count - len(self._let_in)

    def wait_s(self, now: float) -> float:
        """Return the seconds until the next one would be let through."""
        if self.remaining(now):
            return 0.0
        return self._let_in[0] + self.limit.period_s - now

    def _forget(self, now: float) -> None:
        while self._let_in and self._let_in[0] <= now - self.limit.period_s:
            self._let_in.popleft()
