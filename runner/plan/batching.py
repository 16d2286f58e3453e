"""Phones of a target to batch lines: cut into at most 100, numbered, in the form that a plan has.

Keeps promise 2's second half: a target's phones, however they arrive, fill every batch but its last. Windows
come when no phones come any more. What it writes goes to the file it is given; it decides nothing else.
"""

from typing import BinaryIO, Final

import orjson

from runner.model import MAX_PHONES, Target, Window
from runner.plan.lines import batch_prefix
from runner.text import many

__all__ = ["BatchWriter"]

_MOST_SCOPES: Final = 10
"""Import windows of phones that are told; of the others the notes say how many phones they have."""


class BatchWriter:
    """Writes batch lines to `file`; the counts say what it wrote. Call `end` after the last phones."""

    def __init__(self, file: BinaryIO) -> None:
        self.batches = 0
        self.phones = 0
        self.windows = 0
        self._file = file
        self._target: Target | None = None
        self._prefix = b""
        self._rest: list[str] = []
        self._scopes: dict[Window, int] = {}
        self._out_of_sight = 0

    def put(self, target: Target, phones: list[str]) -> None:
        """Take phones of a target: distinct, never again after those of another target."""
        if target != self._target:
            self.end()
            self._target, self._prefix = target, batch_prefix(target)
        if target.created_at is not None:
            self._count(target.created_at, len(phones))
        if self._rest:
            phones = self._rest + phones
        full = len(phones) - len(phones) % MAX_PHONES
        for start in range(0, full, MAX_PHONES):
            self._write(phones[start : start + MAX_PHONES])
        self._rest = phones[full:]

    def end(self) -> None:
        """Write the last target's last batch."""
        if self._rest:
            self._write(self._rest)
        self._rest, self._target = [], None

    def _write(self, phones: list[str]) -> None:
        self.batches += 1
        self.phones += len(phones)
        self._file.write(b'{"seq":%d%b,"phone":%b}\n' % (self.batches, self._prefix, orjson.dumps(phones)))

    def _count(self, window: Window, phones: int) -> None:
        if window in self._scopes or len(self._scopes) < _MOST_SCOPES:
            self._scopes[window] = self._scopes.get(window, 0) + phones
        else:
            self._out_of_sight += phones

    def scope_notes(self) -> list[str]:
        """Return how many phones are asked only for rows of which import time, as it would be sent."""
        notes = [
            f"of {many(phones, 'phone')} only rows imported from {window[0]} to {window[1]}"
            for window, phones in self._scopes.items()
        ]
        if self._out_of_sight:
            notes.append(
                f"{self._out_of_sight:,} more phones have other import windows, written out in the plan"
            )
        return notes

    def put_window(self, target: Target) -> int:
        """Write a batch that deletes by window alone, and return its `seq`."""
        self.end()
        self.batches += 1
        self.windows += 1
        self._file.write(b'{"seq":%d%b}\n' % (self.batches, batch_prefix(target)))
        return self.batches
