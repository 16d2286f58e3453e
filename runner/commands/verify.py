"""`verify`: whether audits, the plans beside them, and fetched jobs are what was written; and plans alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from runner.audit.fold import Tallies
from runner.audit.manifest import JobManifest, is_job_folder
from runner.audit.reader import read_first
from runner.audit.records import RunRecord
from runner.audit.verify import State, striking_off
from runner.audit.verify import verify as verify_audit
from runner.commands.command_call import CommandResult
from runner.commands.evidence import NamedRun, find_plan, find_run, fold_shard, plan_beside, strangers_in
from runner.errors import AuditDamaged, Exit, Refused, RunNames, speaking_of
from runner.invocation import command
from runner.output.folded_run import FoldedAudit
from runner.output.plan_text import scope
from runner.output.results import Verified, VerifyResult
from runner.plan.file import is_plan, read_plan
from runner.text import many, printable

__all__ = ["verify"]

_MOST_NAMED: Final = 10
_BY_WEIGHT: Final = (State.DAMAGED, State.OPEN_ENDED, State.WHOLE)


def verify(files: Sequence[Path], *, head: str | None = None) -> CommandResult[VerifyResult]:
    """Check the integrity of audits, fetched jobs and plans; the worst finding counts.

    A file that is neither, or cannot be read, is told of after the findings on the others: damage counts for
    more than that, and that for more than a missing end.

    Raises:
        Refused: No file could be looked at.
    """
    heads = [] if head is None else [head]
    items: list[Verified] = []
    refusals: list[Refused] = []
    for path in files:
        try:
            items.append(_verified(path, heads))
        except Refused as error:
            refusals.append(error)
    if not items:
        raise refusals[0]
    worst = next(state for state in _BY_WEIGHT if any(item.state is state for item in items))
    code = Exit.REFUSED if refusals and worst is not State.DAMAGED else worst.exit_code
    said = [f"{error.message} ({error.hint})" if error.hint else error.message for error in refusals]
    result = VerifyResult(exit_code=int(code), message="\n".join(said) or None, items=tuple(items))
    return CommandResult(result, lambda: "\n".join([*map(_text, items), *said]))


def _verified(path: Path, heads: Sequence[str]) -> Verified:
    with speaking_of(RunNames(audit=str(path))):
        if is_plan(path):
            return _plan(path)
        # What is found wrong with a manifest is a finding as well.
        return _job(path, heads) if is_job_folder(path) else _audit(find_run(path).path, heads)


def _text(item: Verified) -> str:
    if item.kind == "plan":
        return f"{item.plan}: {item.state.value}: {item.what}"
    also = "\n  not of this job: " + printable(_some(item.strangers)) if item.strangers else ""
    return f"{item.audit}: {item.state.value}: {item.what}{also}\n  head {item.head}"


def _some(names: Sequence[str]) -> str:
    """Return names in words, the first of them where there are many."""
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _job(folder: Path, heads: Sequence[str]) -> Verified:
    """Return the finding on a fetched job: every shard of its manifest, and the equation over all of them."""
    try:
        run = find_run(folder)
    except AuditDamaged as error:
        return Verified(kind="job", audit=str(folder), **_Finding(State.DAMAGED, error.message).said())
    assert run.manifest is not None  # noqa: S101 - it is a job's folder
    missing = {head.strip().lower() for head in heads} - {run.manifest.head}
    parts, faults = _shards(run, run.manifest, missing)
    return Verified(
        **_found(parts, faults, missing).said(),
        job=run.manifest.name,
        run_id=run.manifest.run_id,
        audit=str(folder),
        base_url=run.manifest.base_url,
        kind="job",
        records=sum(entry.records for entry in run.manifest.shards),
        head=run.manifest.head,
        strangers=tuple(strangers_in(run)),
    )


@dataclass(frozen=True, slots=True)
class _Finding:
    """What was found of a file or a job, and in which line."""

    state: State
    what: str
    line: int = 0

    def said(self) -> dict[str, Any]:
        """Return it as a result says it."""
        code = int(self.state.exit_code)
        return {"state": self.state, "exit_code": code, "what": self.what, "line": self.line}


def _shards(
    run: NamedRun, manifest: JobManifest, missing: set[str]
) -> tuple[list[FoldedAudit], list[AuditDamaged]]:
    """Return the shards that are what was fetched, and what is wrong with the others; strikes off heads."""
    parts: list[FoldedAudit] = []
    faults: list[AuditDamaged] = []
    tallies = Tallies()
    for entry in manifest.shards:
        try:
            parts.append(fold_shard(run, entry, tallies, own=True, feed=striking_off(missing)))
        except AuditDamaged as error:
            faults.append(error)
    return parts, faults


def _found(parts: Sequence[FoldedAudit], faults: Sequence[AuditDamaged], missing: set[str]) -> _Finding:
    if faults:
        more = f"; and {many(len(faults) - 1, 'more shard')} at fault" if len(faults) > 1 else ""
        return _Finding(State.DAMAGED, f"{faults[0].message}{more}", faults[0].line)
    if missing:
        what = f"neither the job nor a record has the head {', '.join(sorted(missing))}"
        return _Finding(State.DAMAGED, f"{what}: this is another job, or less than there was")
    open_shards = [str(part.shard) for part in parts if not part.ended]
    if open_shards:
        count = f"{len(open_shards):,} of {many(len(parts), 'shard')} without an end"
        return _Finding(State.OPEN_ENDED, f"intact, but {count}: {_some(open_shards)}")
    words = "every record is in its place, and the totals are their sum"
    return _Finding(State.WHOLE, f"{many(len(parts), 'shard')}, {words}")


def _audit(audit: Path, heads: Sequence[str]) -> Verified:
    """Return the finding on an audit and the plan beside it, which is part of the evidence if it is there."""
    plan, flaw = None, ""
    try:
        plan = find_plan(audit)
    except AuditDamaged as error:
        flaw = error.message
    found = verify_audit(audit, heads=heads, phones_of=None if plan is None else plan.phones_of)
    finding = _Finding(found.state, found.what, found.line)
    if flaw and found.state is not State.DAMAGED:
        finding = _Finding(State.DAMAGED, f"its plan: {flaw}")
    run = _first(audit)
    return Verified(
        **finding.said(),
        job=None if run is None else run.job,
        run_id=None if run is None else run.run_id,
        audit=str(audit),
        plan=str(plan_beside(audit)) if plan is not None or flaw else None,
        base_url=None if run is None else run.base_url,
        kind="audit",
        records=found.records,
        head=found.head,
    )


def _first(audit: Path) -> RunRecord | None:
    """Return the record that names the run, if it can still be read."""
    try:
        return read_first(audit)
    except AuditDamaged:
        return None


def _plan(path: Path) -> Verified:
    """Return the finding on a plan that stands by itself, or beside an audit that was not named."""
    try:
        plan = read_plan(path)
    except AuditDamaged as error:
        found, job, batches = _Finding(State.DAMAGED, f"a plan: {error.message}"), None, 0
    else:
        found = _Finding(State.WHOLE, f"a plan, as it was written: it deletes {scope(plan.header)}")
        job, batches = plan.header.name, plan.header.totals.batches
    audit = path.with_suffix("") if path.suffix == ".plan" else None
    used = audit is not None and audit.exists()
    return Verified(
        **found.said(),
        job=job,
        audit=str(audit) if used else None,
        plan=str(path),
        next=command("verify", audit) if used and audit is not None else None,
        kind="plan",
        records=batches,
    )
