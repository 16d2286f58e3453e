"""What can go wrong, classed by what happens next, and the exit code of each.

Every error that a user may meet carries one sentence saying what is wrong and one saying what to type or
change. Foreign exceptions are turned into these at the edges (`api`, `journal`, `sources`),
`from` their cause.
"""

from enum import IntEnum

__all__ = ["AuditDamaged", "Busy", "Exit", "Fault", "Faults", "Refused", "RunnerError", "Stopped"]


class Exit(IntEnum):
    """Exit codes of the program (README, exit codes)."""

    OK = 0
    PARTIAL = 1
    REFUSED = 2
    STOPPED = 3
    BUSY = 4
    SIGINT = 130
    SIGTERM = 143


class RunnerError(Exception):
    """An error with a message for a person and a hint on what to do next."""

    exit_code: Exit = Exit.REFUSED

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


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
