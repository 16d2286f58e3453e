"""Where a new audit and its plan go: one place for one run, taken before anything is planned.

Keeps the promise that nothing is written over and that two runs which begin in one second both run: a place
is taken by an exclusive lock on the plan's file, which the kernel frees when its holder dies. What such a
death leaves behind, a plan without an audit, blocks nobody: whoever gets its lock takes it over.
"""

import errno
import filecmp
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Final

from runner.commands.evidence import is_audit, plan_beside
from runner.errors import Busy, Refused
from runner.files import make_private_folder, sync_folder
from runner.invocation import command
from runner.locks import lock_descriptor
from runner.phones import mask_text
from runner.plan.file import PlanFile, is_plan
from runner.process import signals_deferred, utc_now

__all__ = ["DEFAULT_FOLDER", "AuditPlace", "began", "reserve_audit"]

DEFAULT_FOLDER: Final = Path("audit")
_OPEN: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class AuditPlace:
    """A place that is taken, for as long as its descriptor is open.

    Args:
        audit: Where the audit goes; nothing is there.
        descriptor: Of the plan's file, locked.
    """

    def __init__(self, audit: Path, descriptor: int) -> None:
        self.audit = audit
        self.plan = plan_beside(audit)
        self.draft = self.plan.with_name(f".{self.plan.name[:100]}.{secrets.token_hex(8)}.draft")
        """Where the plan is made; on the same file system."""
        self.used = False
        """True once a run came to its end here: whatever became of its audit, the plan is evidence."""
        self._descriptor = descriptor
        self._mine = not os.fstat(descriptor).st_size
        """The plan there was made here: one that stood there before is not taken away."""

    def put(self, draft: PlanFile) -> PlanFile:
        """Move the finished plan from `draft` to its place, and return it there; raises Refused."""
        try:
            descriptor = os.open(draft.path, _OPEN)
            former, self._descriptor = self._descriptor, descriptor
            try:
                lock_descriptor(descriptor, f"the plan {draft.path}")
                self._mine = self._mine or not filecmp.cmp(draft.path, self.plan, shallow=False)
                draft.path.replace(self.plan)
                sync_folder(self.plan.parent)
            finally:
                os.close(former)  # not sooner, or the place would be free for a moment
        except OSError as error:
            raise Refused(f"{self.plan}: cannot be written: {error.strerror}") from error
        return replace(draft, path=self.plan)

    def leave(self) -> None:
        """Give the place back; a plan that was made here is taken away unless the audit came to be."""
        with suppress(OSError):
            self.draft.unlink(missing_ok=True)
            if self._mine and not self.used and not os.path.lexists(self.audit):
                self.plan.unlink()
        os.close(self._descriptor)


@contextmanager
def reserve_audit(given: Path | None, name: str) -> Iterator[AuditPlace]:
    """Take a place for an audit; it is free again afterwards unless the audit came to be.

    Args:
        given: Where the audit shall go; None: `audit/<name>-<UTC time>.jsonl`, with `-2`, `-3` … if taken.
        name: The job's.

    Raises:
        Refused: Something stands there, or nothing can be made there.
        Busy: Another process is about to write there.
    """
    # A job may be called as a number is; a path is shown, and typed again, so that it holds none in full.
    shown = mask_text(name).replace("*", "x")
    first = given or DEFAULT_FOLDER / f"{shown}-{utc_now():%Y%m%dT%H%M%SZ}.jsonl"
    with ExitStack() as stack:
        with signals_deferred():
            stack.callback(_remove_empty, make_private_folder(first.parent))
            place = _claim(first) if given is not None else _claim_next(first)
            stack.callback(place.leave)
        yield place


def _place(audit: Path) -> AuditPlace:
    """Take a place; raises FileExistsError or Busy where it is not free, Refused where none can be made."""
    try:
        return AuditPlace(audit, _locked_plan(audit))
    except FileExistsError:
        raise
    except OSError as error:
        why = f"{audit}: cannot be made: {error.strerror}"
        raise Refused(why, hint="name another with --audit") from error


def _claim(audit: Path) -> AuditPlace:
    try:
        return _place(audit)
    except FileExistsError as error:
        hint = "nothing is written over: name another with --audit"
        if is_audit(audit):  # whether it is to be resumed, rerun or left, its report knows
            hint += f", or see what this one is and how to go on: {command('report', audit)}"
        raise Refused(f"{error.filename} exists", hint=hint) from error


def _claim_next(first: Path) -> AuditPlace:
    """Take the first place that is free, from this one on."""
    for number in count(1):
        with suppress(FileExistsError, Busy):
            return _place(first if number == 1 else first.with_stem(f"{first.stem}-{number}"))
    raise AssertionError("there is always a next number")


def _locked_plan(audit: Path) -> int:
    """Return the plan's file of a place, empty or left over, opened and locked.

    Raises:
        FileExistsError: An audit stands there, or something else where the plan would go.
        Busy: Another process has taken the place.
        OSError: The file cannot be made or locked.
    """
    plan = plan_beside(audit)
    if began(audit):
        raise FileExistsError(errno.EEXIST, "an audit", str(audit))
    while True:
        try:
            descriptor = os.open(plan, _OPEN | os.O_CREAT, 0o600)
        except FileNotFoundError:
            make_private_folder(plan.parent)  # whoever made it took it away again meanwhile
            continue
        except OSError as error:
            if os.path.lexists(plan):  # a link, a folder, another user's
                raise FileExistsError(errno.EEXIST, "no plan", str(plan)) from error
            raise
        try:
            lock_descriptor(descriptor, f"the audit {audit}")
            if _is_at(descriptor, plan):
                _take_over(descriptor, audit, plan)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its holder took it away meanwhile


def _take_over(descriptor: int, audit: Path, plan: Path) -> None:
    """Make sure that a locked file is nothing but what a run left behind, or raise FileExistsError."""
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or (found.st_size and not is_plan(plan)):
        raise FileExistsError(errno.EEXIST, "no plan", str(plan))
    if began(audit):
        if not found.st_size:
            plan.unlink()
        raise FileExistsError(errno.EEXIST, "an audit", str(audit))
    audit.unlink(missing_ok=True)


def began(audit: Path) -> bool:
    """Tell whether an audit stands there, or anything else but what a run left that died before its start."""
    try:
        found = audit.lstat()
    except FileNotFoundError:
        return False
    return bool(found.st_size or not stat.S_ISREG(found.st_mode) or not is_plan(plan_beside(audit)))


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def _remove_empty(folders: Sequence[Path]) -> None:
    """Remove folders, inmost first, up to one that is in use."""
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()
