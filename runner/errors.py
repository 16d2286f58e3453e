"""What can go wrong, classed by what happens next, and the exit code of each.

Every error that a user may meet carries one sentence saying what is wrong and one saying what to type or
change. Foreign exceptions are turned into these at the edges (`api`, `journal`, `sources`),
`from` their cause.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from typing import Final

__all__ = [
    "AuditDamaged",
    "Broken",
    "Busy",
    "Exit",
    "Fault",
    "Faults",
    "Interrupted",
    "Refused",
    "RunNames",
    "RunnerError",
    "Stopped",
    "in_our_words",
    "speaking_of",
]


class Exit(IntEnum):
    """Exit codes of the program (README, exit codes)."""

    OK = 0
    PARTIAL = 1
    REFUSED = 2
    STOPPED = 3
    BUSY = 4
    SIGINT = 130
    SIGTERM = 143


@dataclass(frozen=True, slots=True)
class RunNames:
    """Which run is spoken of, as far as that is known, and what to type next."""

    job: str | None = None
    run_id: str | None = None
    audit: str | None = None
    plan: str | None = None
    base_url: str | None = None
    next: str | None = None


class RunnerError(Exception):
    """An error with a message for a person and a hint on what to do next."""

    exit_code: Exit = Exit.REFUSED

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.run = RunNames()
        """The run that it speaks of."""


@contextmanager
def speaking_of(names: RunNames) -> Iterator[None]:
    """Name the run in whatever goes wrong in the block; what was named further in stays."""
    try:
        yield
    except RunnerError as error:
        inner = {field.name: getattr(error.run, field.name) for field in fields(RunNames)}
        error.run = replace(names, **{name: value for name, value in inner.items() if value is not None})
        raise


class Refused(RunnerError):
    """Nothing was sent: the command, the job, an input or a safety rule does not allow it."""


class Fault(Refused):
    """One fault in a job or an input, at a place a person can find (`jobs/a.yaml:12:3`)."""

    def __init__(self, place: str, message: str, *, hint: str = "") -> None:
        super().__init__(f"{place}: {message}" if place else message, hint=hint)
        self.place = place


class Faults(Refused):
    """All faults of one job at once, in the order in which they stand."""

    def __init__(self, faults: tuple[Fault, ...], *, hint: str = "") -> None:
        super().__init__("\n".join(fault.message for fault in faults), hint=hint)
        self.faults = faults


class AuditDamaged(Refused):
    """An audit or a plan is altered, torn in the middle or unreadable; `line` counts from 1 (0: the file)."""

    def __init__(self, path: str, line: int, what: str, *, hint: str = "") -> None:
        super().__init__(f"{path}:{line}: {what}" if line else f"{path}: {what}", hint=hint)
        self.line = line
        self.what = what


class Stopped(RunnerError):
    """The run stopped early; `resume` goes on. `why` is the reason, in words, as it stands in the summary."""

    exit_code = Exit.STOPPED

    def __init__(self, why: str, *, hint: str = "") -> None:
        super().__init__(why, hint=hint)
        self.why = why


class Busy(RunnerError):
    """Another process holds the origin or the audit."""

    exit_code = Exit.BUSY


class Interrupted(RunnerError):
    """A signal, or another stop, came before anything was sent."""

    def __init__(self, why: str, exit_code: Exit) -> None:
        super().__init__(f"{why}: nothing was sent")
        self.exit_code = exit_code


class Broken(RunnerError):
    """A fault of the program itself, told in one line without values; raised `from` what happened.

    Args:
        cause: What happened.
        sent: Whether requests may have left: then the audit knows of them.
    """

    def __init__(self, cause: Exception, *, sent: bool) -> None:
        import traceback  # noqa: PLC0415 - only where something went wrong
        from pathlib import Path  # noqa: PLC0415 - as above

        while isinstance(cause, ExceptionGroup):
            cause = cause.exceptions[0]
        where = traceback.extract_tb(cause.__traceback__)[-1]
        words = f"internal: {type(cause).__name__} at {Path(where.filename).name}:{where.lineno}"
        stands = "; what was sent stands in the audit, and `resume` goes on from it" if sent else ""
        super().__init__(words, hint=f"this is a bug, please report it{stands}")
        self.exit_code = Exit.STOPPED if sent else Exit.REFUSED


_SHORTAGES: Final = {
    errno.EMFILE: ("too few file descriptors", "allow more, for instance: ulimit -n 4096"),
    errno.ENFILE: ("the system has no file descriptors left", "end other programs, or try again later"),
    errno.ENOMEM: ("there is not enough memory", "end other programs, or plan fewer lists at once"),
    errno.ENOSPC: ("the disk is full", "make room, and type the command again"),
    errno.EDQUOT: ("the disk quota is used up", "make room, and type the command again"),
}


def in_our_words(error: Exception) -> RunnerError:
    """Return what went wrong before anything was sent as an error for a person; ours as they are."""
    if isinstance(error, RunnerError):
        return error
    number = errno.ENOMEM if isinstance(error, MemoryError) else getattr(error, "errno", None)
    if isinstance(error, OSError | MemoryError) and number in _SHORTAGES:
        what, hint = _SHORTAGES[number]
        return Refused(what, hint=hint)
    return Broken(error, sent=False)
