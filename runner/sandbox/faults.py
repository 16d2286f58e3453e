"""Which requests go wrong, and how: shares of each fault, drawn from a seed, or an exact script.

Owns the names of the faults and the draw. What each does on the wire is `server`'s. A fault whose name ends
in `-after` strikes when the work is done (the rows are gone and nobody is told), any other before it.
"""

import random
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate

__all__ = ["FAULTS", "Dice", "FaultSettings", "is_after", "kind_of", "parse_faults"]

_EITHER_SIDE = {
    "500": "HTTP 500 with an HTML body",
    "502": "HTTP 502 with an HTML body",
    "503": "HTTP 503 with an HTML body",
    "504": "HTTP 504 with an HTML body",
    "lost": "no reply: the connection is reset or closed",
    "hang": "no reply: the connection stays open",
    "error": "an error envelope (error_code) at HTTP 200",
    "garbage": "HTTP 200 with a body that is no envelope",
    "truncated": "HTTP 200 whose body breaks off",
    "empty": "HTTP 200 without a body",
    "garbled": "a reply that is no HTTP",
}
_BEFORE_ONLY = {
    "429": "HTTP 429 without Retry-After",
    "429-seconds": "HTTP 429 with Retry-After in seconds",
    "429-date": "HTTP 429 with Retry-After as a date",
    "slow": "the reply comes slow_s later than others",
}

FAULTS: Mapping[str, str] = {
    **_BEFORE_ONLY,
    **_EITHER_SIDE,
    **{f"{name}-after": f"{what}, after the work was done" for name, what in _EITHER_SIDE.items()},
}
"""Every fault by name, and what it does."""

_GROUPS: Mapping[str, tuple[str, ...]] = {
    "5xx": ("500", "502", "503", "504"),
    "5xx-after": ("500-after", "502-after", "503-after", "504-after"),
    "mixed": ("429", "429-seconds", "500", "502", "503-after", "504-after", "lost", "lost-after", "slow"),
}


def is_after(fault: str) -> bool:
    """Tell whether this fault strikes when the work has been done."""
    return fault.endswith("-after")


def kind_of(fault: str) -> str:
    """Return the fault's name without the side of the work it is on."""
    return fault.removesuffix("-after")


@dataclass(frozen=True, slots=True)
class FaultSettings:
    """What goes wrong, and how often.

    Args:
        shares: Fault → share of the requests, 0 to 1, all together at most 1.
        seed: Of the draw; the n-th request always draws the same.
        script: Faults of the first requests, one by one (None: nothing goes wrong); then shares apply.
        everywhere: Every call of the API may go wrong, not only the deletions.
        retry_after_s: Whole seconds asked for by `429-seconds` and `429-date`.
        slow_s: Seconds that `slow` adds.
        error_code: The `code` of the envelope of `error`.

    Raises:
        ValueError: A fault is unknown, or the shares are no shares.
    """

    shares: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0
    script: tuple[str | None, ...] = ()
    everywhere: bool = False
    retry_after_s: int = 1
    slow_s: float = 2.0
    error_code: int = 500

    def __post_init__(self) -> None:
        for name in (*self.shares, *filter(None, self.script)):
            if name not in FAULTS:
                raise ValueError(f"fault {name!r} is unknown; there are {', '.join([*FAULTS, *_GROUPS])}")
        total = sum(self.shares.values())
        if not all(share >= 0 for share in self.shares.values()) or not total <= 1.000001:
            raise ValueError("shares of faults lie between 0 and 1, all together too")


def parse_faults(texts: Iterable[str], *, seed: int = 0) -> FaultSettings:
    """Parse `NAME=SHARE`, such as `lost-after=2%` or `hang=0.01`.

    `5xx`, `5xx-after` and `mixed` stand for several, which share theirs evenly.

    Raises:
        ValueError: With a sentence that says what is accepted.
    """
    shares: dict[str, float] = {}
    for text in texts:
        name, equals, share_text = text.partition("=")
        try:
            share = float(share_text[:-1]) / 100 if share_text.endswith("%") else float(share_text)
        except ValueError:
            share = -1.0
        if not equals or not 0 <= share <= 1:
            raise ValueError(f"fault {text!r}: write NAME=SHARE, such as lost-after=2% or hang=0.01")
        names = _GROUPS.get(name, (name,))
        for each in names:
            shares[each] = shares.get(each, 0.0) + share / len(names)
    return FaultSettings(shares, seed)


class Dice:
    """Draws the fault of each request in turn; script first, then by shares."""

    def __init__(self, faults: FaultSettings) -> None:
        self.faults = faults
        self.rng = random.Random(faults.seed)  # noqa: S311 - drawn again from the same seed, no secret - a rehearsal wants its accidents repeatable
        """For everything else that is left to chance: jitter, kinds of garbage, ways to lose a reply."""
        self._draws = random.Random(f"{faults.seed}/draws")  # noqa: S311 - drawn again from the same seed, no secret
        self._script = deque(faults.script)
        self._names = list(faults.shares)
        self._bounds = list(accumulate(faults.shares.values()))

    def draw(self) -> str | None:
        """Return the next request's fault, or None."""
        if self._script:
            return self._script.popleft()
        if not self._bounds:
            return None
        at = bisect_right(self._bounds, self._draws.random())
        return self._names[at] if at < len(self._names) else None
