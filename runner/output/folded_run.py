"""A run as its evidence shows it: every audit of it folded, with the plan beside it, under one name.

An ordinary run is one audit, a fetched job one for each shard: whoever reports on a run reads a list of
audits, and a single one is the list of one. Every number is the sum of the folds' own.
"""

import operator
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

from runner.audit.edges import moment
from runner.audit.fold import Fold, PhonesOf, SessionRecords
from runner.audit.manifest import JobManifest
from runner.audit.records import RunRecord
from runner.audit.totals import Totals
from runner.plan.file import PlanFile

__all__ = ["FoldedAudit", "FoldedRun"]


@dataclass(frozen=True, slots=True)
class FoldedAudit:
    """One audit of a run.

    Args:
        audit: Where it stands, or would.
        fold: All of it.
        plan: The one beside it; None: it is not there.
        shard: Its number in a job, from 1; None: it is a run of its own.
    """

    audit: Path
    fold: Fold
    plan: PlanFile | None = None
    shard: int | None = None

    @property
    def phones_of(self) -> PhonesOf | None:
        """The plan's phones by `seq`."""
        return None if self.plan is None else self.plan.phones_of

    @property
    def ended(self) -> bool:
        """Whether every batch has its end, and the last session too; one that has no batch needs none."""
        fold = self.fold
        return fold.ended == fold.planned_batches and (fold.complete or not fold.sessions)


@dataclass(frozen=True, slots=True)
class FoldedRun:
    """All audits of a run.

    Args:
        path: How people name it: the audit, or the folder of a fetched job.
        audits: At least one.
        manifest: Of a fetched job.
    """

    path: Path
    audits: tuple[FoldedAudit, ...]
    manifest: JobManifest | None = None

    @classmethod
    def of(cls, audit: Path, fold: Fold, plan: PlanFile | None = None) -> "FoldedRun":
        """Return an ordinary run."""
        return cls(audit, (FoldedAudit(audit, fold, plan),))

    def totals(self) -> Totals:
        """Return the totals of all audits together."""
        return reduce(operator.add, (part.fold.totals(part.phones_of) for part in self.audits))

    @property
    def ended(self) -> bool:
        """Whether nothing of it is open."""
        return all(part.ended for part in self.audits)

    def sessions(self) -> Iterator[tuple[FoldedAudit, SessionRecords]]:
        """Yield the sessions of each audit in their order."""
        for part in self.audits:
            yield from ((part, session) for session in part.fold.sessions)

    @property
    def first_run(self) -> RunRecord | None:
        """How it began; None: nothing of it has."""
        begun = [part.fold.first_run for part in self.audits if part.fold.sessions]
        return min(begun, key=moment) if len(begun) > 1 else next(iter(begun), None)

    @property
    def last_begun(self) -> FoldedAudit | None:
        """The audit whose last session began last; None: none has begun."""
        begun = [part for part in self.audits if part.fold.sessions]
        last = max(begun, key=lambda part: moment(part.fold.last_run)) if len(begun) > 1 else None
        return last or next(iter(begun), None)

    @property
    def last_run(self) -> RunRecord | None:
        """How the session began that began last; None: none has."""
        last = self.last_begun
        return None if last is None else last.fold.last_run

    @property
    def name(self) -> str:
        """The job's name."""
        return self.audits[0].fold.first_run.job if self.manifest is None else self.manifest.name

    @property
    def run_id(self) -> str:
        """The same in all of its audits."""
        return self.audits[0].fold.first_run.run_id if self.manifest is None else self.manifest.run_id

    @property
    def base_url(self) -> str:
        """Where it was sent to."""
        return self.audits[0].fold.last_run.base_url if self.manifest is None else self.manifest.base_url
