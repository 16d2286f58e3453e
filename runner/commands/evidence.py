"""An audit with the plan that is kept beside it: where that is, and whether it is the audit's own."""

from pathlib import Path

from runner.audit.reader import read_first
from runner.audit.records import RunRecord
from runner.errors import AuditDamaged, Refused, RunnerError
from runner.plan.file import PlanFile, read_plan

__all__ = ["check_is_plan_of", "find_plan", "is_audit", "plan_beside", "read_plan_beside"]


def is_audit(path: Path) -> bool:
    """Tell whether a file begins as an audit does; False for what cannot be read."""
    try:
        return read_first(path) is not None
    except RunnerError:
        return False


def plan_beside(audit: Path) -> Path:
    """Return where an audit's plan stands."""
    return Path(f"{audit}.plan")


def find_plan(audit: Path) -> PlanFile | None:
    """Return the plan beside an audit, if it is there.

    Raises:
        AuditDamaged: It is altered, or not the one that the audit was made with.
        Refused: It cannot be read.
    """
    path = plan_beside(audit)
    if not path.exists():
        return None
    plan = read_plan(path)
    first = read_first(audit)
    if first is not None:
        check_is_plan_of(plan, first)
    return plan


def read_plan_beside(audit: Path) -> PlanFile:
    """Return the plan beside an audit, for verbs that send what stands in it.

    Raises:
        AuditDamaged: It is altered.
        Refused: It is not there, or cannot be read.
    """
    path = plan_beside(audit)
    if not path.exists():
        raise Refused(
            f"the plan of {audit} is not beside it: there is no {path}",
            hint="put it back there: what is left to be deleted stands in it alone",
        )
    return read_plan(path)


def check_is_plan_of(plan: PlanFile, run: RunRecord) -> None:
    """Raise AuditDamaged where a plan is not the one that an audit was made with."""
    if run.plan_sha256 != plan.sha256:
        raise AuditDamaged(str(plan.path), 0, "this is not the plan that the audit was made with")
