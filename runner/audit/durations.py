"""How long things took, in bounded memory: a histogram that answers for percentiles.

Owns the rounding: never more than 2 % below what was measured. It keeps no single duration.
"""

from collections import Counter

__all__ = ["Durations"]

_FINE_MS = 2048


class Durations:
    """How long batches took, in milliseconds, kept as a histogram: to 1 ms below 2 s, then to 2 %."""

    def __init__(self) -> None:
        self._fine = [0] * _FINE_MS
        self._coarse: Counter[int] = Counter()

    def add(self, duration_ms: float) -> None:
        """Take in one duration."""
        ms = int(duration_ms)
        if ms < _FINE_MS:
            self._fine[ms] += 1
        else:
            shift = ms.bit_length() - 7
            self._coarse[ms >> shift << shift] += 1

    def counts(self) -> list[tuple[int, int]]:
        """Return how many durations there are from each value on, in order of time; each 1 ms or 2 % wide."""
        return [(ms, n) for ms, n in enumerate(self._fine) if n] + sorted(self._coarse.items())

    def percentile(self, share: float) -> int | None:
        """Return the duration that this share (0 to 1) of batches did not exceed; None without any."""
        buckets = self.counts()
        wanted = share * sum(n for _, n in buckets)
        for ms, n in buckets:
            wanted -= n
            if wanted <= 0:
                return ms
        return None
