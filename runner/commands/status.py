"""`status`: the runs of a folder, one line each, and whether one ended well of late.

Reads audits and nothing else, so that copies do as well; whether a run is under way is said by its audit's
lock. Of a run that ended only the two ends of its audit are read. What else is to be known is folded for as
many bytes as make no one wait, the newest first, and is unknown beyond. A fetched job is one line, the sum of
its shards'.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from runner.access import reaching
from runner.audit.edges import Edges, Flaw, count_batches, moment, read_edges
from runner.audit.fold import fold_audit
from runner.audit.manifest import JobManifest, is_job_folder, is_shard, read_manifest, shard_audit
from runner.commands.command_call import CommandResult
from runner.commands.evidence import plan_beside
from runner.commands.new_audit import DEFAULT_FOLDER
from runner.errors import AuditDamaged, Exit, Refused
from runner.invocation import command
from runner.locks import holder_of
from runner.options import AccessOptions, StatusOptions
from runner.output.run_results import RunStatusLine, StatusResult
from runner.output.status import Known, flawed_line, job_line, status_line, status_text, waiting_line
from runner.process import utc_now
from runner.settings import duration_words

__all__ = ["status"]

MOST_FOLDED: Final = 200_000_000
"""Bytes of audits without a good end that are folded in one call."""
MOST_COUNTED: Final = 1_000_000_000
"""Bytes beyond those in which batches are only counted."""


def status(
    paths: Sequence[Path], options: StatusOptions, env: Mapping[str, str]
) -> CommandResult[StatusResult]:
    """Show the runs of audits and folders, the oldest first.

    Args:
        paths: None: the default folder, which need not be there.
        options: Which runs, and how recently one of them must have ended well.
        env: Says which base URL a command to type would reach by itself.

    Raises:
        Refused: A path that was given is not there, or a folder cannot be read.
    """
    looks = _looks(paths or ([DEFAULT_FOLDER] if DEFAULT_FOLDER.is_dir() else []))
    found = [(path, look) for path, look in looks if options.job is None or _job(look) == options.job]
    reading, now = _StatusReader(env), utc_now()
    # The newest first, for it is them that the bounds shall be spent on.
    newest = sorted(found, key=_start_and_name, reverse=True)
    lines = tuple([reading.line(path, look, now) for path, look in newest][::-1])
    missed = _missed(lines, options, now)
    return CommandResult(
        StatusResult(
            exit_code=int(Exit.PARTIAL if missed else Exit.OK), message=missed or None, hint=None, items=lines
        ),
        lambda: status_text(lines, missed),
    )


@dataclass(frozen=True, slots=True)
class _JobEdges:
    """A fetched job: its manifest, and the ends of each shard's audit; None: the shard never began."""

    manifest: JobManifest
    shards: tuple[Edges | None, ...]


_Look = Edges | _JobEdges | Flaw


def _looks(paths: Sequence[Path]) -> Iterator[tuple[Path, _Look]]:
    for path in dict.fromkeys(paths):
        if is_job_folder(path):
            yield path, _job_edges(path)
            continue
        if not path.is_dir():
            if not os.path.lexists(path):
                raise Refused(f"{path}: there is no such file or folder", hint="name audits, or their folder")
            yield path, read_edges(path)
            continue
        try:
            inside = sorted((entry.name, entry.is_dir()) for entry in os.scandir(path))
        except OSError as error:
            raise Refused(f"the folder {path} cannot be read: {error.strerror}") from error
        for name, is_folder in inside:
            if is_folder and not name.startswith(".") and is_job_folder(path / name):
                yield path / name, _job_edges(path / name)
            elif not is_folder and not name.startswith(".") and not name.endswith(".plan"):
                yield path / name, read_edges(path / name)


def _job_edges(folder: Path) -> _JobEdges | Flaw:
    """Return the ends of a fetched job; a flaw where a shard is missing or not what was fetched."""
    try:
        manifest = read_manifest(folder)
    except AuditDamaged:
        return "damaged"
    except Refused:
        return "unreadable"
    shards: list[Edges | None] = []
    for entry in manifest.shards:
        audit = shard_audit(folder, entry.shard)
        look = read_edges(audit) if entry.head is not None or os.path.lexists(audit) else None
        if isinstance(look, Edges) and look.head != entry.head:
            return "damaged"
        if isinstance(look, str):
            return "damaged" if look != "unreadable" or not os.path.lexists(audit) else look
        shards.append(look)
    return _JobEdges(manifest, tuple(shards))


def _job(look: _Look) -> str | None:
    if isinstance(look, _JobEdges):
        return look.manifest.name
    return look.first.job if isinstance(look, Edges) else None


def _start_and_name(found: tuple[Path, _Look]) -> tuple[float, str]:
    """Return when a run began, 0 where that is not known, and its path; of a job still to begin its fetch."""
    path, look = found
    if not isinstance(look, _JobEdges):
        return (moment(look.first).timestamp() if isinstance(look, Edges) else 0.0, str(path))
    begun = [moment(edges.first) for edges in look.shards if edges is not None]
    return (min(begun, default=datetime.fromisoformat(look.manifest.fetched_at)).timestamp(), str(path))


def _missed(lines: Sequence[RunStatusLine], options: StatusOptions, now: datetime) -> str:
    """Return what is to be said where no run ended well recently enough; empty where that is not asked."""
    if options.max_age_s is None:
        return ""
    ends = [datetime.fromisoformat(line.end) for line in lines if line.end and line.state in _GOOD]
    if ends and now - max(ends) <= timedelta(seconds=options.max_age_s):
        return ""
    what = "no run" if options.job is None else f"no run of {options.job}"
    last = f"the last one that did, at {max(ends).isoformat(timespec='seconds')}" if ends else "none ever did"
    return f"{what} ended complete or partial in the last {duration_words(options.max_age_s)}: {last}"


_GOOD: Final = ("complete", "partial")


@dataclass(slots=True)
class _StatusReader:
    """Makes lines, reading more than the ends for as many bytes as it may."""

    env: Mapping[str, str]
    to_fold: int = MOST_FOLDED
    to_count: int = MOST_COUNTED

    def line(self, path: Path, look: _Look, now: datetime) -> RunStatusLine:
        """Return the line of one run, or of a file that is none."""
        if not isinstance(look, Edges):
            return self._job_line(path, look, now) if isinstance(look, _JobEdges) else flawed_line(path, look)
        summary = look.summary
        if summary is not None and summary.status in _GOOD:
            verb = None if summary.status == "complete" else "rerun"
            return self._line(look, Known(), verb, now)
        running = summary is None and holder_of(path) is not None
        if summary is None and not running:
            again = read_edges(path)  # it may just have ended
            if isinstance(again, Edges) and again.summary is not None:
                return self.line(path, again, now)
        try:
            known = self._known(look, running=running)
        except AuditDamaged:
            return flawed_line(path, "damaged")
        except (OSError, Refused):
            return flawed_line(path, "unreadable")
        return self._line(look, known, _verb(known), now)

    def _line(self, look: Edges, known: Known, verb: str | None, now: datetime) -> RunStatusLine:
        path = look.path
        return status_line(look, known, next_command=self._next(look, verb), plan=_plan(path), now=now)

    def _job_line(self, folder: Path, look: _JobEdges, now: datetime) -> RunStatusLine:
        """Return the line of a fetched job; nobody writes a copy, so that no lock is asked."""
        manifest, lines = look.manifest, []
        for entry, edges in zip(look.manifest.shards, look.shards, strict=True):
            if edges is None:
                lines.append(waiting_line(manifest, entry))
                continue
            ended = edges.summary is not None and edges.summary.status in _GOOD
            try:
                known = Known() if ended else self._known(edges, running=False)
            except AuditDamaged:
                return flawed_line(folder, "damaged")
            except (OSError, Refused):
                return flawed_line(folder, "unreadable")
            lines.append(self._line(edges, known, None, now))
        access = reaching(manifest.base_url, AccessOptions(), self.env)
        return job_line(folder, manifest, lines, rerun=command("rerun", folder, access=access))

    def _known(self, look: Edges, *, running: bool) -> Known:
        """Return what is known of a run that did not end well, beside what its audit's ends say."""
        if look.size <= self.to_fold:
            self.to_fold -= look.size
            return Known(fold=fold_audit(look.path, verify_chain=False), running=running)
        if look.size <= self.to_count:
            self.to_count -= look.size
            return Known(ended=count_batches(look.path), running=running)
        return Known(running=running)

    def _next(self, look: Edges, verb: str | None) -> str | None:
        if verb == "resume" and is_shard(look.path):
            return None
        if verb is None or verb == "pace":
            return verb and command(verb, look.path)
        return command(verb, look.path, access=reaching(look.first.base_url, AccessOptions(), self.env))


def _verb(known: Known) -> str | None:
    """Return the verb that takes up a run which did not end well, if there is anything to take up."""
    fold = known.fold
    if known.running:
        return "pace"
    if fold is None or not fold.complete or fold.ended < fold.planned_batches:
        return "resume"
    return None if fold.totals().all_confirmed else "rerun"


def _plan(audit: Path) -> str | None:
    plan = plan_beside(audit)
    return str(plan) if plan.exists() else None
