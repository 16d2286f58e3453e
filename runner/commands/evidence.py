"""An audit with the plan beside it, as the verbs that only read take the two."""

from pathlib import Path

from runner.audit.reader import read_first
from runner.commands.drafting import plan_beside
from runner.errors import AuditDamaged
from runner.plan.file import PlanFile, read_plan

__all__ = ["find_plan"]


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
    if first is not None and first.plan_sha256 != plan.sha256:
        raise AuditDamaged(str(path), 0, "this is not the plan that the audit was made with")
    return plan
