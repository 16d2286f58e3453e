"""Probation and breaker, one mechanism: who may send while nobody knows whether sending does any good.

A session starts on trial: one batch at a time, until one ends `deleted` within the caps; then the way is
clear for all. When too much fails, everybody stops and, after a pause, one batch is tried. Each trial that
fails makes the next pause longer; when they run out the run stops (README, breaker). It counts only this
session, and only since the way was last cleared; it never touches the audit and never sends.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from runner.audit.records import BREAKER
from runner.outcomes import AttemptFailed, NextStep
from runner.send.delivery import Ended
from runner.stop import Stop

__all__ = ["TRIAL_PAUSES_S", "Breaker", "Counts"]

TRIAL_PAUSES_S: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""Before each trial; when the last one fails the run stops."""

FAILURES_IN_A_ROW: Final = 10
MIN_ENDED: Final = 20
RETRY_SHARE: Final = 0.25
FREE_REQUESTS: Final = 50
"""The retry budget is looked at once more requests than these have left."""
UNTRUSTED_IN_A_ROW: Final = 3
"""So many failures that no waiting mends stop the run."""
_LAST = 3
_MOST_WORDS = 160


@dataclass(slots=True)
class Counts:
    """What was seen since the way was last cleared."""

    requests: int = 0
    retries: int = 0
    in_a_row: int = 0
    ended: int = 0
    failed: int = 0
    last: deque[str] = field(default_factory=lambda: deque(maxlen=_LAST))
    """What the last failures said."""

    def reason_to_open(self, max_failed: float) -> str | None:
        """Return why the breaker opens, or None."""
        if self.in_a_row >= FAILURES_IN_A_ROW:
            return f"{self.in_a_row} attempts in a row failed"
        if self.ended >= MIN_ENDED and self.failed > max_failed * self.ended:
            return f"{self.failed} of {self.ended} batches failed, more than {100 * max_failed:g}%"
        if self.requests > FREE_REQUESTS and self.retries > RETRY_SHARE * self.requests:
            return f"{self.retries} of {self.requests} requests were retries, more than {RETRY_SHARE:.0%}"
        return None

    def last_words(self) -> str:
        """Return what the last failures said, each once, to stand behind a reason."""
        said = dict.fromkeys(words[:_MOST_WORDS] for words in self.last)
        return f"; last: {'; '.join(said)}" if said else ""


@dataclass(slots=True)
class Breaker:
    """Implements `delivery.SendPermit`, and admits batches for `dispatch`.

    Args:
        stop: Told when the trials run out, or when a pause would outlast its deadline.
        max_failed: Share of ended batches that may fail.
        on_pause: Called with the pause's length in seconds (None: the way is clear again) and the reason.
    """

    stop: Stop
    max_failed: float
    on_pause: Callable[[float | None, str], None]
    requests: int = 0
    """Requests of this session that left."""
    retries: int = 0
    counts: Counts = field(default_factory=Counts)
    clear: bool = False
    """Whether all may send; else one batch at a time, on trial, or none."""
    _blocked: bool = False
    _trial_seq: int | None = None
    _in_hand: int = 0
    _pauses: int = 0
    _untrusted: int = 0
    _timer: asyncio.TimerHandle | None = None
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def _on_trial(self) -> bool:
        return not (self.clear or self._blocked)

    async def admit(self) -> None:
        """Wait until one more batch may be taken in hand; raise `Stopping` when none will be."""
        self.stop.check()
        while not (self.clear or (self._on_trial and self._in_hand == 0)):
            await self._change()
        self._in_hand += 1

    def release(self, seq: int | None) -> None:
        """Note that an admitted batch is out of hand, ended or not (None: there was none to take)."""
        self._in_hand -= 1
        if seq is not None and self._trial_seq == seq:
            self._trial_seq = None
        if not self.clear:
            self._wake()

    async def wait_for_permit(self, seq: int) -> None:
        """Wait until this batch may make an attempt; raise `Stopping` when it never will."""
        self.stop.check()
        while not self.clear:
            if self._on_trial and self._trial_seq in {None, seq}:
                self._trial_seq = seq
                return
            await self._change()

    def departed(self, *, retry: bool) -> None:
        """Note that a request left."""
        self.requests += 1
        self.counts.requests += 1
        self.retries += retry
        self.counts.retries += retry

    def attempt_ended(self, seq: int, failure: AttemptFailed | None, words: str = "") -> None:
        """Note how an attempt ended; a trial that fails blocks the way again, for longer.

        Args:
            seq: The batch's.
            failure: None where it was confirmed.
            words: What the failure says, without numbers.
        """
        if failure is None:
            self._untrusted = self.counts.in_a_row = 0
            return
        if not failure.kind.blames_numbers:
            self.counts.last.append(words)
        self._judge_trust(failure, words)
        self.counts.in_a_row = self.counts.in_a_row + 1 if failure.kind.suffering else 0
        if failure.kind.suffering and self._is_trial(seq):
            self._block("the trial failed")
        else:
            self._judge()

    def batch_ended(self, ended: Ended) -> None:
        """Note how a batch ended; one that was confirmed within the caps clears the way."""
        self.counts.ended += not ended.skipped
        self.counts.failed += ended.faulty
        if self._trial_seq == ended.seq and self._on_trial:
            if ended.status == "deleted" and ended.within_caps:
                self._clear()
                return
            # One with numbers that are protected by now, or refused, says nothing about the server.
            if self._pauses and ended.faulty:
                self._block(f"the trial ended {ended.status}")
                return
        self._judge()

    def close(self) -> None:
        """Forget the timer of a pause."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _is_trial(self, seq: int) -> bool:
        return self._on_trial and self._trial_seq == seq and self._pauses > 0

    def _judge_trust(self, failure: AttemptFailed, words: str) -> None:
        """Stop the run after a few failures in a row that no waiting mends."""
        if failure.kind.then is not NextStep.RETRY_TWICE:
            self._untrusted = 0
            return
        self._untrusted += 1
        if self._untrusted == UNTRUSTED_IN_A_ROW:
            self.stop.request(f"{failure.kind.stops}; {words}")

    def _judge(self) -> None:
        reason_to_open = self.counts.reason_to_open(self.max_failed)
        if reason_to_open is not None and not self._blocked and not self._pauses:
            self._block(reason_to_open)

    def _block(self, why: str) -> None:
        if self.stop:
            return
        if self._pauses == len(TRIAL_PAUSES_S):
            self.stop.request(f"{BREAKER}{why}, after {self._pauses} trials{self.counts.last_words()}")
            return
        loop = asyncio.get_running_loop()
        pause_s = TRIAL_PAUSES_S[self._pauses]
        if self.stop.deadline_s is not None and loop.time() + pause_s > self.stop.deadline_s:
            self.stop.request(f"deadline: breaker open ({why}{self.counts.last_words()})")
            return
        self._pauses += 1
        self.clear, self._blocked, self._trial_seq = False, True, None
        self.stop.recall()
        self._timer = loop.call_later(pause_s, self._try)
        self.on_pause(pause_s, f"{BREAKER}{why}{self.counts.last_words()}")

    def _try(self) -> None:
        self._blocked, self._timer = False, None
        self._wake()

    def _clear(self) -> None:
        was_blocked = self._pauses > 0
        self.clear, self._blocked, self._trial_seq, self._pauses = True, False, None, 0
        # Those still in hand try once more for what failed before: no sign that it goes on.
        self.counts = Counts(retries=-max(0, self._in_hand - 1))
        self._wake()
        if was_blocked:
            self.on_pause(None, f"{BREAKER}a trial was confirmed")

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _change(self) -> None:
        with self.stop.interruptible():
            await self._changed.wait()
