"""An audit with the plan beside it, as the verbs that only read take the two."""

from pathlib import Path

from runner.audit.fold import PhonesOf
from runner.audit.reader import read_first
from runner.commands.drafting import plan_beside
from runner.errors import AuditDamaged
from runner.plan.file import read_plan

__all__ = ["phones_beside"]


def phones_beside(audit: Path) -> PhonesOf | None:
    """Return the sizes of the batches of the plan beside an audit, if it is there.

    Raises:
        AuditDamaged: It is no plan, altered, or not the one that the audit was made with.
    """
    path = plan_beside(audit)
    if not path.exists():
        return None
    plan = read_plan(path)
    first = read_first(audit)
    if first is not None and first.plan_sha256 != plan.sha256:
        raise AuditDamaged(str(path), 0, "this is not the plan that the audit was made with")
    return plan.phones_of
