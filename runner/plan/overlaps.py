"""Phones that stand under several targets of one user: counted exactly, so that a person can be told.

Such a number is no duplicate (each of its windows is asked), but often a slip. Only told, never changed.
"""

from itertools import pairwise
from pathlib import Path
from typing import Self

from runner.phones import mask
from runner.plan import spill
from runner.plan.spill import ROW_BYTES, Spill

__all__ = ["Overlaps"]


class Overlaps:
    """Collects distinct phones of targets whose user has several; a context manager, it may hold a file."""

    def __init__(self, tmp_dir: Path | None) -> None:
        self._tmp_dir = tmp_dir
        self._spill: Spill | None = None
        self._lines: list[str] = []
        self._room = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._spill is not None:
            self._spill.close()

    def add(self, user_id: str, phones: list[str]) -> None:
        """Add distinct phones of one target of a user."""
        if self._spill is None:
            self._spill = Spill(self._tmp_dir)
            self._room = spill.BUFFER_BYTES // 2
        self._lines += [f"{user_id}\t{phone}" for phone in phones]
        self._room -= sum(map(len, phones)) + len(phones) * (ROW_BYTES + len(user_id))
        if self._room < 0:
            self._write_out(self._spill)

    def _write_out(self, spilled: Spill) -> None:
        spilled.write_run([(0, self._lines)] if self._lines else [])
        self._lines = []
        self._room = spill.BUFFER_BYTES // 2

    def note(self) -> tuple[str, ...]:
        """Return the sentence to be told, or none. Nothing can be added any more."""
        if self._spill is None:
            return ()
        self._write_out(self._spill)
        count, example = 0, ""
        for _, segments in self._spill.groups():
            for lines in self._spill.sorted_values(segments, distinct=False):
                repeated = {line for line, following in pairwise(lines) if line == following}
                count += len(repeated)
                example = example or min(repeated, default="")
        if not count:
            return ()
        user_id, _, phone = example.partition("\t")
        what = "number stands" if count == 1 else "numbers stand"
        return (
            f"{count:,} {what} under more than one window (or kind) of the same user and will be asked under "
            f"each: {mask(phone)} of {user_id}" + (", for one" if count > 1 else ""),
        )
