"""`verify`: whether audits, and the plans beside them, are what was written; and plans by themselves."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from runner.audit.reader import read_first
from runner.audit.records import RunRecord
from runner.audit.verify import State
from runner.audit.verify import verify as verify_audit
from runner.commands.command_call import CommandResult
from runner.commands.evidence import find_plan, plan_beside
from runner.errors import AuditDamaged, Exit, Refused, RunNames, speaking_of
from runner.invocation import command
from runner.output.plan_text import scope
from runner.output.results import Verified, VerifyResult
from runner.plan.file import is_plan, read_plan

__all__ = ["verify"]

_BY_WEIGHT: Final = (State.DAMAGED, State.OPEN_ENDED, State.WHOLE)


def verify(files: Sequence[Path], *, head: str | None = None) -> CommandResult[VerifyResult]:
    """Check the integrity of audits and plans; the worst finding counts.

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
        return _plan(path) if is_plan(path) else _audit(path, heads)


def _text(item: Verified) -> str:
    if item.kind == "plan":
        return f"{item.plan}: {item.state.value}: {item.what}"
    return f"{item.audit}: {item.state.value}: {item.what}\n  head {item.head}"


def _audit(audit: Path, heads: Sequence[str]) -> Verified:
    """Return the finding on an audit and the plan beside it, which is part of the evidence if it is there."""
    plan, flaw = None, ""
    try:
        plan = find_plan(audit)
    except AuditDamaged as error:
        flaw = error.message
    found = verify_audit(audit, heads=heads, phones_of=None if plan is None else plan.phones_of)
    state, line, what = found.state, found.line, found.what
    if flaw and state is not State.DAMAGED:
        state, line, what = State.DAMAGED, 0, f"its plan: {flaw}"
    run = _first(audit)
    return Verified(
        job=None if run is None else run.job,
        run_id=None if run is None else run.run_id,
        audit=str(audit),
        plan=str(plan_beside(audit)) if plan is not None or flaw else None,
        base_url=None if run is None else run.base_url,
        next=None,
        kind="audit",
        state=state,
        exit_code=int(state.exit_code),
        what=what,
        line=line,
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
        state, what, job, batches = State.DAMAGED, f"a plan: {error.message}", None, 0
    else:
        state, what = State.WHOLE, f"a plan, as it was written: it deletes {scope(plan.header)}"
        job, batches = plan.header.name, plan.header.totals.batches
    audit = path.with_suffix("") if path.suffix == ".plan" else None
    used = audit is not None and audit.exists()
    return Verified(
        job=job,
        run_id=None,
        audit=str(audit) if used else None,
        plan=str(path),
        base_url=None,
        next=command("verify", audit) if used and audit is not None else None,
        kind="plan",
        state=state,
        exit_code=int(state.exit_code),
        what=what,
        line=0,
        records=batches,
        head="",
    )
