"""STUB while being written; these signatures are final."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, BinaryIO

from runner.job import Entry, Job

__all__ = ["job_schema", "read_jobs", "read_requests"]


def read_jobs(
    args: Sequence[str], *, user_id: str | None, now: datetime, stdin: BinaryIO | None = None
) -> Job:
    """Read and merge JOB arguments (job file, JSON-lines job, list with `user_id`, `-`) into one job.

    `now` is aware; relative windows are computed from it, once. `-` is only peeked at: whoever reads it later
    (`sources` for a list, `read_requests` for JSON lines) gets every byte. `stdin`: default sys.stdin.buffer.

    Raises:
        Faults: Everything that is wrong in all files, each with its place; 20 at most, then how many more.
        Refused: An argument is unreadable or no job; jobs differ in limits, safety, phone rule or time zone.
    """
    raise NotImplementedError


def read_requests(path: str, *, stdin: BinaryIO | None = None) -> Iterator[Entry]:
    """Stream a JSON-lines job (`-`: standard input): yields an entry a line (long lists: several entries, one place).

    An empty `phone` list yields an entry without phones: nothing to do, to be said aloud. One pass, bounded memory.

    Raises:
        Faults: Up to the first 20 faults, each with file:line, AFTER the good lines were yielded: keep
            nothing of what was yielded when it comes.
    """
    raise NotImplementedError


def job_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the job file."""
    raise NotImplementedError
