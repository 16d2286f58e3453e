"""The hand on the sandbox while it runs: what is set, what goes wrong next, and the calls that show it.

Owns the present settings and the state that follows from them (dice, turnstile, outage, calls counted).
`/_sandbox/…` stands beside the vendor's API: it needs no token, obeys no limit, suffers no fault and leaves
no trace in the ledger.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, cast, get_args

import orjson

from runner.sandbox.endpoints import Query
from runner.sandbox.faults import Dice, FaultSettings
from runner.sandbox.ledger import Ledger
from runner.sandbox.pool import Pool
from runner.sandbox.settings import Outage, RateLimit, SandboxSettings, SlidingWindowLimit, parse_rate_limit

__all__ = ["Control", "Running", "answer_inside"]

_ENTRIES_A_PAGE = 5_000
_ROWS_A_PAGE = 10_000
_PLAIN: Mapping[str, tuple[type, ...]] = {
    "token": (str,),
    "latency_s": (int, float),
    "jitter_s": (int, float),
    "token_expires_after": (int, type(None)),
    "redirect_after": (int, type(None)),
}
_SETS = ("known_users", "forbidden_users", "unknown_users", "refused_phones")


class Control:
    """What the sandbox does from the next request on."""

    def __init__(self, settings: SandboxSettings) -> None:
        self.outage: Outage | None = None
        self.calls = 0
        """Calls of the API with the right token so far."""
        self.set(settings)

    def set(self, settings: SandboxSettings) -> None:
        """Put other settings in force; an unchanged rate limit or fault plan goes on where it was."""
        before = getattr(self, "settings", None)
        self.settings = settings
        if before is None or before.faults != settings.faults:
            self.dice = Dice(settings.faults)
        if before is None or before.rate_limit != settings.rate_limit:
            self.turnstile = SlidingWindowLimit(settings.rate_limit) if settings.rate_limit else None

    def change(self, **changes: Any) -> None:
        """Put the present settings in force again with these fields of `SandboxSettings` replaced."""
        self.set(replace(self.settings, **changes))

    def script(self, *faults: str | None) -> None:
        """Let exactly these go wrong with the next deletions, one each (None: nothing), then shares apply."""
        self.change(faults=replace(self.settings.faults, script=faults))
        self.dice = Dice(self.settings.faults)

    def limit_headers(self) -> dict[str, str]:
        """Return the headers that a gateway with a rate limit adds to every reply."""
        turnstile = self.turnstile
        if turnstile is None:
            return {}
        remaining = turnstile.remaining(time.monotonic())
        return {"X-RateLimit-Limit": str(turnstile.limit.count), "X-RateLimit-Remaining": str(remaining)}

    def apply(self, wanted: Mapping[str, Any]) -> None:
        """Apply a `POST /_sandbox/control` body as a whole or, with ValueError, not at all."""
        changes: dict[str, Any] = {}
        outage = self.outage
        for name, value in wanted.items():
            if name in _PLAIN and isinstance(value, _PLAIN[name]):
                changes[name] = value
            elif name in _SETS and (value is not None or name == "known_users"):
                changes[name] = None if value is None else frozenset(value)
            elif name == "rate_limit":
                changes[name] = _rate_limit(value)
            elif name == "faults":
                changes[name] = _faults(value)
            elif name == "outage" and (value is None or value in get_args(Outage)):
                outage = value
            else:
                raise ValueError(f"control: {name!r} cannot be set to {value!r}")
        self.change(**changes)
        self.outage = outage


@dataclass(frozen=True, slots=True)
class Running:
    """A sandbox that is listening; `url` is its base URL."""

    url: str
    ledger: Ledger
    pool: Pool
    control: Control


def _rate_limit(value: object) -> RateLimit | None:
    if isinstance(value, str):
        return parse_rate_limit(value)
    return RateLimit(**cast("dict[str, Any]", value)) if value else None


def _faults(value: Mapping[str, Any]) -> FaultSettings:
    """Read either {fault: share} or the fields of `FaultSettings`."""
    if "shares" in value or "script" in value:
        return FaultSettings(**{**value, "script": tuple(value.get("script", ()))})
    return FaultSettings(dict(value))


def answer_inside(running: Running, path: str, query: Query, body: bytes) -> tuple[int, object]:
    """Answer a call under `/_sandbox/`: an HTTP status and what its body holds."""
    ledger, pool = running.ledger, running.pool
    try:
        match path:
            case "/_sandbox/ledger":
                return 200, _ledger_page(ledger, query)
            case "/_sandbox/stats":
                return 200, {**ledger.stats(), "rows_left": len(pool)}
            case "/_sandbox/rows":
                return 200, _rows_page(pool, query)
            case "/_sandbox/control":
                running.control.apply(orjson.loads(body))
                return 200, {"ok": True}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        return 400, {"error": str(error)}
    return 404, {"error": "there are ledger, stats, rows and control"}


def _first(query: Query, name: str, default: str) -> str:
    return next(iter(query.get(name, ())), default)


def _ledger_page(ledger: Ledger, query: Query) -> dict[str, object]:
    since = max(0, int(_first(query, "since", "0")))
    limit = min(int(_first(query, "limit", str(_ENTRIES_A_PAGE))), _ENTRIES_A_PAGE)
    entries = ledger.since(since, limit)
    return {
        "entries": [entry.as_dict() for entry in entries],
        "next": since + len(entries),
        "total": len(ledger),
    }


def _rows_page(pool: Pool, query: Query) -> dict[str, object]:
    user_id = _first(query, "user_id", "")
    rows = islice(pool.rows(user_id), _ROWS_A_PAGE)
    return {
        "total": pool.count(user_id),
        "rows": [{"phone": row.phone, "created_at": row.created_at} for row in rows],
    }
