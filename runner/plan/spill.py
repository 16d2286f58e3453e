"""Values by group, more of them than memory holds: private spill files, and each group back in sorted order.

Keeps promise 8 for planning. A spill file has no name and mode 0600 (O_TMPFILE where the system has it), so
that whatever ends the program, kill -9 included, nothing stays behind. It holds runs: the segments of many
groups, in ascending order of group, written one after the other; a group is read back by collecting its
segments from every run. A group that is larger than memory is first cut, by sampled pivots, into ranges that
are not. The order that comes out depends on the values alone. Values are text without newlines.
"""

import os
import struct
import tempfile
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, suppress
from heapq import heapify, heappop, heapreplace
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, cast

from runner.errors import Refused

__all__ = ["BUFFER_BYTES", "ROW_BYTES", "Segment", "Spill", "SpillFull", "open_private", "spill_full"]

BUFFER_BYTES = 12 << 20
"""How much of values is in memory at once, by `Segment.weight`."""

ROW_BYTES: Final = 60
"""What one value takes in memory beside its text: a str object, its place in a list."""

_CHUNK: Final = 1 << 18
_HEAD: Final = struct.Struct("<IIQ")
_MAX_PARTS: Final = 256
_SAMPLED_SEGMENTS: Final = 256
_SLICE_BYTES: Final = 8192
_SLICE_VALUES: Final = 32
_MAX_DEPTH: Final = 12
"""Cuts within cuts; past it the values are so alike that they are read at once."""


class Segment(NamedTuple):
    """Where some values of one group stand in a spill file."""

    offset: int
    size: int
    rows: int

    @property
    def weight(self) -> int:
        """Return about how many bytes of memory the values take."""
        return self.size + self.rows * ROW_BYTES


class SpillFull(Refused):
    """The folder for temporary files is full or cannot be written."""


def open_private(tmp_dir: Path | None) -> BinaryIO:
    """Open a nameless file (0600) that is gone as soon as it is closed, however the program ends."""
    try:
        file = tempfile.TemporaryFile(dir=tmp_dir, buffering=_CHUNK)  # noqa: SIM115 - the caller's to close
    except OSError as error:
        raise spill_full(error) from error
    return cast(BinaryIO, file)


def spill_full(error: OSError) -> SpillFull:
    """Return what a failed write into a temporary file means for a person."""
    return SpillFull(
        f"temporary file: {error.strerror}", hint="Make room, or point TMPDIR at a folder that has some."
    )


class Spill:
    """One spill file, until `close`."""

    def __init__(self, tmp_dir: Path | None) -> None:
        self._tmp_dir = tmp_dir
        self._file = open_private(tmp_dir)
        self._runs: list[tuple[int, int]] = []
        self._end = 0

    def close(self) -> None:
        """Give the file's space back."""
        with suppress(OSError):  # a full disk: what could not be flushed nobody wants any more
            self._file.close()

    def write_run(self, segments: Iterable[tuple[int, Sequence[str]]]) -> None:
        """Append the values of some groups; groups ascending, each once, none without values.

        Raises:
            SpillFull: The disk is full.
        """
        start = self._end
        try:
            for group, values in segments:
                text = "\n".join(values).encode()
                self._file.write(_HEAD.pack(group, len(values), len(text)))
                self._file.write(text)
                self._end += _HEAD.size + len(text)
        except OSError as error:
            raise spill_full(error) from error
        if self._end > start:
            self._runs.append((start, self._end))

    def groups(self) -> Iterator[tuple[int, list[Segment]]]:
        """Yield each group, ascending, with its segments in the order in which they were written."""
        self._flush()
        heads = [self._head(run, start) for run, (start, _) in enumerate(self._runs)]
        heapify(heads)
        while heads:
            group = heads[0][0]
            segments: list[Segment] = []
            while heads and heads[0][0] == group:
                _, run, segment = heads[0]
                segments.append(segment)
                following = segment.offset + segment.size
                if following < self._runs[run][1]:
                    heapreplace(heads, self._head(run, following))
                else:
                    heappop(heads)
            yield group, segments

    def _head(self, run: int, offset: int) -> tuple[int, int, Segment]:
        group, rows, size = _HEAD.unpack(os.pread(self._file.fileno(), _HEAD.size, offset))
        return group, run, Segment(offset + _HEAD.size, size, rows)

    def _flush(self) -> None:
        try:
            self._file.flush()
        except OSError as error:
            raise spill_full(error) from error

    def read(self, segment: Segment) -> list[str]:
        """Return the values of a segment, as they were written."""
        return os.pread(self._file.fileno(), segment.size, segment.offset).decode().split("\n")

    def sorted_values(
        self, segments: Sequence[Segment], *, distinct: bool = True, depth: int = 0
    ) -> Iterator[list[str]]:
        """Yield the values of a group, ascending, in lists that fit in memory; equal values share a list.

        Args:
            segments: All of the group's.
            distinct: Each value once; else as often as it was written.
            depth: For this function's own calls.
        """
        weight = sum(segment.weight for segment in segments)
        if weight <= BUFFER_BYTES or depth == _MAX_DEPTH:
            values = [value for segment in segments for value in self.read(segment)]
            yield sorted(set(values)) if distinct else sorted(values)
            return
        with closing(Spill(self._tmp_dir)) as parts:
            pivots = self._pivots(segments, min(_MAX_PARTS, 2 + 2 * weight // BUFFER_BYTES))
            for segment in segments:
                values = self.read(segment)
                parts.write_run(_cut(sorted(set(values)) if distinct else sorted(values), pivots))
            for _, part in parts.groups():
                yield from parts.sorted_values(part, distinct=distinct, depth=depth + 1)

    def _pivots(self, segments: Sequence[Segment], parts: int) -> list[str]:
        """Return values that cut a group into about equal ranges, by slices from all over it."""
        sample: set[str] = set()
        for segment in segments[:: 1 + len(segments) // _SAMPLED_SEGMENTS]:
            for third in range(3):
                within = min(segment.size, _SLICE_BYTES)
                offset = segment.offset + (segment.size - within) * third // 2
                whole = os.pread(self._file.fileno(), within, offset).split(b"\n")[1:-1]
                sample.update(value.decode() for value in whole[:: 1 + len(whole) // _SLICE_VALUES])
        ordered = sorted(sample) or self.read(segments[0])[:1]
        return sorted({ordered[len(ordered) * part // parts] for part in range(1, parts)})


def _cut(ordered: list[str], pivots: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield part and values of every part that has some; part n starts at pivot n - 1."""
    start = 0
    for part, pivot in enumerate(pivots):
        stop = bisect_left(ordered, pivot, start)
        if stop > start:
            yield part, ordered[start:stop]
        start = stop
    if start < len(ordered):
        yield len(pivots), ordered[start:]
