"""What an outage of a minute costs: `python -m tests.bench.outage`, the real session on the simulated clock.

Prints a table: requests that left during the outage (and connections that were tried in vain) against what
the same run sends in the same minute without it, seconds from the outage's end until the full rate was
reached again, and how the run ended. `through_an_outage` is what the tests count with.
"""

import argparse
import itertools
from bisect import bisect_left
from dataclasses import dataclass

from runner.model import Batch, Target
from runner.outcomes import NOT_CONNECTED
from runner.settings import Limits, Rate
from tests.support.fakes import HANGS, Rig, departures, failure, live_session, refusal

FROM_S = 10.0
TO_S = 70.0

KINDS = {
    "503": lambda: refusal(503),
    "refused": lambda: failure(NOT_CONNECTED, left=False),
    "hangs": lambda: HANGS,
}
"""What the server does with a request that comes during the outage."""


@dataclass
class Outage:
    """What was seen of one run through an outage; times are from the session's start."""

    rig: Rig
    tried_s: list[float]
    """When the outage met an attempt, whether it left or not."""

    @property
    def sent(self) -> int:
        """Requests that left during the outage."""
        return sent_between(self.rig, FROM_S, TO_S)

    def recovered_s(self, rate: float) -> float | None:
        """Seconds from the outage's end to the next second with 95 % of the rate; None: there was none."""
        sent_s = departures(self.rig)
        first = bisect_left(sent_s, TO_S)
        for at_s, later_s in zip(sent_s[first:], sent_s[first + int(rate * 0.95) :], strict=False):
            if later_s - at_s <= 1.0:
                return at_s - TO_S
        return None


def sent_between(rig, from_s, to_s):
    """How many requests left in that time of the session."""
    sent_s = departures(rig)
    return bisect_left(sent_s, to_s) - bisect_left(sent_s, from_s)


def plan(count):
    """So many batches of one number each."""
    target = Target("user-0")
    return [Batch(seq, target, (f"138{seq:08d}",)) for seq in range(1, count + 1)]


def through_an_outage(
    kind, rate, workers, *, count, max_attempts=6, latency_s=0.03, from_s=FROM_S, to_s=TO_S
):
    """Run a session through an outage; an attempt that comes during it meets `KINDS[kind]`."""
    holder, tried_s = [], []

    def script(request, before):
        now_s = holder[0].loop.time() - holder[0].started_s
        if not from_s <= now_s < to_s:
            return None
        tried_s.append(now_s)
        return KINDS[kind]()

    limits = Limits(rate=Rate(rate), concurrency=workers, max_attempts=max_attempts)
    rig = live_session(plan(count), holder.append, script=script, limits=limits, latency_s=latency_s)
    return Outage(rig, tried_s)


def row(kind, rate, workers, without):
    seen = through_an_outage(kind, rate, workers, count=int(rate * 30))
    summary = seen.rig.summary
    batches = summary["batches"]
    recovered_s = seen.recovered_s(rate)
    return (
        f"| {kind} | {rate:g}/s | {without} | {seen.sent} | {len(seen.tried_s) - seen.sent}"
        f" | {'never' if recovered_s is None else f'{recovered_s:.1f} s'} | {summary['retries']}"
        f" | {batches['deleted']} | {batches['failed']} | {batches['unknown']} | {batches['not_sent']}"
        f" | {summary['exit_code']}{' ' + summary['why'] if summary['why'] else ''} |"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rates", type=float, nargs="*", default=[20.0, 200.0, 1000.0])
    parser.add_argument("--workers", type=int, default=64)
    options = parser.parse_args()
    print(
        "| outage | rate | requests in that minute without | during it | in vain, none left"
        " | full rate again after | retries | deleted | failed | unknown | not sent | exit |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    for rate, kind in itertools.product(options.rates, KINDS):
        if kind == "503":
            calm = through_an_outage(kind, rate, options.workers, count=int(rate * 75), from_s=1e9)
            without = calm.sent
        print(row(kind, rate, options.workers, without), flush=True)


if __name__ == "__main__":
    main()
