"""The verbs as functions, for scripts: typed options in, typed results out, errors as exceptions.

Keeps the promise that a script stays its own master: nothing is printed unless it gives a stream, nobody is
asked (`yes` says it beforehand), and no signal handler is touched. The work is done in a thread of its own;
a KeyboardInterrupt that meets the caller meanwhile stops a run as ctrl-C stops the program: what is under way
is finished, the summary is written, and then it goes on its way.
"""

import io
import os
import threading
from asyncio import AbstractEventLoop, get_running_loop
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Generic, TextIO, TypeVar

from runner.access import Access, read_access
from runner.commands.command_call import CommandResult
from runner.commands.pace import pace
from runner.commands.plan import plan
from runner.commands.report import report
from runner.commands.status import status
from runner.commands.verify import verify
from runner.errors import Exit, Interrupted, in_our_words
from runner.options import (
    AccessOptions,
    OutputOptions,
    PaceOptions,
    PlanOptions,
    ResumeOptions,
    RunOptions,
    StatusOptions,
)
from runner.output.console import Console
from runner.output.results import PlanResult, ReportResult, Result, RunResult, VerifyResult, error_result
from runner.output.run_results import PaceResult, StatusResult
from runner.stop import Stop

__all__ = [
    "pace_run",
    "plan_job",
    "report_audits",
    "rerun_audits",
    "resume_run",
    "run_job",
    "status_of",
    "verify_audits",
]

Names = str | Path | Sequence[str | Path]
"""One path or several."""

_ResultT = TypeVar("_ResultT", bound=Result)


def plan_job(
    jobs: Names,
    *,
    user_id: str | None = None,
    options: PlanOptions | None = None,
    access: AccessOptions | None = None,
    log: TextIO | None = None,
) -> PlanResult:
    """Return what `run_job` would do, in numbers; connects to nothing unless `options.probe`.

    Args:
        jobs: Job files, JSON-lines jobs, lists, or one plan.
        user_id: Whose numbers a list holds.
        options: Where the plan and its rejected values are written, if they are.
        access: How the vendor is reached; only for `options.probe`.
        log: Where words go that a person would see.

    Raises:
        Refused: A job, a list or a safety rule does not allow it; `Faults` names every fault of a job.
        AuditDamaged: A plan is altered.
    """
    options, access = options or PlanOptions(), access or AccessOptions()

    def work(screen: Console) -> CommandResult[PlanResult]:
        vendor = _reached(access, screen) if options.probe else None
        return plan(_words(jobs), user_id, options, screen, given=access, probe=vendor)

    return _Call(work, log).result()


def run_job(
    jobs: Names,
    *,
    user_id: str | None = None,
    options: RunOptions | None = None,
    access: AccessOptions | None = None,
    log: TextIO | None = None,
) -> RunResult:
    """Plan, delete, audit; `options.yes` must say that the totals are confirmed.

    A run that has begun returns its result however it ended: look at `status`. The arguments are those of
    `plan_job`; whoever stands in the operator's configuration that `access.config` names hears of the run.

    Raises:
        Refused: Nothing was sent: not confirmed, or a job, a list or a safety rule does not allow it.
        Busy: Another run holds the origin or the audit; nothing was sent.
        Interrupted: It was stopped before anything was sent.
        RunnerError: Something broke; where `run.audit` is named, that audit knows what was sent.
    """
    from runner.commands.run import run  # noqa: PLC0415 - planning and reporting load no client

    options, access = options or RunOptions(), access or AccessOptions()
    return _sent(
        lambda screen: run(_words(jobs), user_id, options, _reached(access, screen), screen), access, log
    )


def resume_run(
    audit: str | Path,
    *,
    options: ResumeOptions | None = None,
    access: AccessOptions | None = None,
    log: TextIO | None = None,
) -> RunResult:
    """Go on with an interrupted run: send exactly the batches that its audit has no end for.

    Raises:
        AuditDamaged: The audit or its plan is not what was written; nothing was sent.
        RunnerError: As `run_job` does.
    """
    from runner.commands.resume import resume  # noqa: PLC0415 - see `run_job`

    options, access = options or ResumeOptions(), access or AccessOptions()
    return _sent(lambda screen: resume(Path(audit), options, _reached(access, screen), screen), access, log)


def rerun_audits(
    audits: Names,
    *,
    only: Sequence[str] = (),
    options: RunOptions | None = None,
    access: AccessOptions | None = None,
    log: TextIO | None = None,
) -> RunResult:
    """Run again, with a new plan and audit, what ended `failed`, `unknown` or `not_sent`.

    Args:
        audits: Finished ones, or folders of fetched jobs that have ended.
        only: Some of these three words; none: all three.
        options: As of `run_job`.
        access: As of `run_job`.
        log: As of `run_job`.

    Raises:
        AuditDamaged: An audit or its plan is not what was written; nothing was sent.
        RunnerError: As `run_job` does.
    """
    from runner.commands.rerun import rerun  # noqa: PLC0415 - see `run_job`

    options, access = options or RunOptions(), access or AccessOptions()
    return _sent(
        lambda screen: rerun(_paths(audits), only, options, _reached(access, screen), screen), access, log
    )


def pace_run(
    audit: str | Path, *, options: PaceOptions | None = None, log: TextIO | None = None
) -> PaceResult:
    """Return what the run of an audit is doing just now, after the orders that are given.

    Args:
        audit: One that a process on this machine runs, as this user.
        options: The orders; none: it is only looked at.
        log: Where words go.

    Raises:
        Refused: Nothing runs it, it cannot be reached, or it takes no such order just now.
    """
    return _Call(lambda _screen: pace(Path(audit), options or PaceOptions()), log).result()


def status_of(
    paths: Names = (), *, options: StatusOptions | None = None, log: TextIO | None = None
) -> StatusResult:
    """Return how runs stand, one item each, the oldest first; `exit_code` is 1 where none ended well of late.

    Args:
        paths: Audits, or folders; none: `audit`, if it is there.
        options: Which runs, and how recently one of them must have ended complete or partial.
        log: Where words go.

    Raises:
        Refused: A path is not there, or a folder cannot be read.
    """
    return _Call(lambda _screen: status(_paths(paths), options or StatusOptions(), os.environ), log).result()


def report_audits(
    audits: Names,
    *,
    html: str | Path | None = None,
    failed: str | Path | None = None,
    log: TextIO | None = None,
) -> ReportResult:
    """Return what audits add up to, one item each.

    Args:
        audits: With their plans beside them, or alone; or folders of fetched jobs.
        html: Write one page there.
        failed: Write every number that is not confirmed there, as CSV.
        log: Where warnings go.

    Raises:
        Refused: A file cannot be read or written, or is no audit.
        AuditDamaged: An audit or its plan is not what was written.
    """
    return _Call(
        lambda screen: report(
            _paths(audits),
            screen,
            os.environ,
            html=None if html is None else Path(html),
            failed=None if failed is None else Path(failed),
        ),
        log,
    ).result()


def verify_audits(files: Names, *, head: str | None = None) -> VerifyResult:
    """Return whether audits and plans are what was written, one item each; `exit_code` is the worst one's.

    Args:
        files: Audits, plans, or folders of fetched jobs.
        head: A chain value kept elsewhere: proves that nothing before it was cut.

    Raises:
        Refused: A file cannot be read, or is neither.
    """
    return _Call(lambda _screen: verify(_paths(files), head=head), None).result()


def _sent(
    work: Callable[[Console], CommandResult[RunResult]], access: AccessOptions, log: TextIO | None
) -> RunResult:
    """Do what sends, and tell of it whomever `access.config` names; nobody, where it names none."""
    config = access.config
    if config is None:
        return _Call(work, log).result()
    return _Call(
        lambda screen: _told(work, config, screen, proxy_from_env=access.proxy_from_env), log
    ).result()


def _told(
    work: Callable[[Console], CommandResult[RunResult]],
    config: Path,
    screen: Console,
    *,
    proxy_from_env: bool,
) -> CommandResult[RunResult]:
    """Do what sends between telling of its start and of its end; raises what it raises."""
    from runner.commands.telling import Telling  # noqa: PLC0415 - only where somebody is told

    telling = Telling.begin(config, screen, proxy_from_env=proxy_from_env)
    try:
        done = work(screen)
    except Exception as error:
        ours = in_our_words(error)
        telling.end(int(ours.exit_code), error_result(ours), "")
        raise
    telling.end(int(done.exit_code), done.result, done.cause)
    return done


def _words(names: Names) -> list[str]:
    return [str(names)] if isinstance(names, str | Path) else [str(name) for name in names]


def _paths(names: Names) -> list[Path]:
    return [Path(name) for name in _words(names)]


def _reached(access: AccessOptions, screen: Console) -> Access:
    found = read_access(access, os.environ)
    screen.hide(found.token)
    return found


class _Silent(io.StringIO):
    """A stream for a script that wants to hear nothing."""

    def write(self, text: str) -> int:
        """Forget a text."""
        return len(text)


class _Screen(Console):
    """The screen of a call by a script: nobody is there to ask, and only `interrupt` stops a run."""

    def __init__(self, log: TextIO | None) -> None:
        stream = _Silent() if log is None else log
        super().__init__(OutputOptions(quiet=log is None), stderr=stream, stdout=stream)
        self._interrupted = 0
        self._turn: tuple[AbstractEventLoop, Callable[[], None]] | None = None

    @property
    def may_ask(self) -> bool:
        """Never: a script says `yes` beforehand."""
        return False

    @contextmanager
    def heed(self, stop: Stop, on_first: Callable[[str], None]) -> Iterator[None]:
        """Let `interrupt` turn the switch; at once, if it was called before."""
        turn = partial(stop.signal, "KeyboardInterrupt", Exit.SIGINT, on_first)
        if self._interrupted:
            turn()
        self._turn = (get_running_loop(), turn)
        try:
            yield
        finally:
            self._turn = None

    def follow_planning(self) -> Callable[[object], None]:
        """As a console's; an interrupt ends planning."""
        show = super().follow_planning()

        def look(progress: object) -> None:
            if self._interrupted:
                raise Interrupted("KeyboardInterrupt", Exit.SIGINT)
            show(progress)

        return look

    def interrupt(self) -> None:
        """Stop a run, the second time at once; called from any thread."""
        self._interrupted += 1
        if (turning := self._turn) is not None:
            with suppress(RuntimeError):  # the loop has just ended
                turning[0].call_soon_threadsafe(turning[1])


class _Call(Generic[_ResultT]):
    """One verb, done in a thread of its own.

    Args:
        work: What is done.
        log: Where its words go.
    """

    def __init__(self, work: Callable[[Console], CommandResult[_ResultT]], log: TextIO | None) -> None:
        self._work = work
        self._screen = _Screen(log)
        self._done: CommandResult[_ResultT] | None = None
        self._error: BaseException | None = None
        self._over = threading.Event()

    def result(self) -> _ResultT:
        """Do it, and return its result or raise its error."""
        thread = threading.Thread(target=self._do, name="bulk-delete")
        thread.start()
        interrupt: KeyboardInterrupt | None = None
        while not self._over.is_set():
            try:
                self._over.wait()  # not `join`: interrupted, it takes the thread for ended (Python 3.11)
            except KeyboardInterrupt as error:
                interrupt = error
                self._screen.interrupt()
        thread.join()
        if interrupt is not None:
            raise interrupt
        if self._error is not None:
            raise self._error
        assert self._done is not None  # noqa: S101 - it ended with one or the other
        return self._done.result

    def _do(self) -> None:
        try:
            self._done = self._work(self._screen)
        except BaseException as error:  # noqa: BLE001 - raised again where it is heard
            self._error = error
        finally:
            self._over.set()
