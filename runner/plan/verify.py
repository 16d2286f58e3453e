"""Whether a file is a plan, and whether it is whole; it judges nobody's file that is none."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from runner.errors import AuditDamaged
from runner.plan.file import PlanCut, PlanFile, is_plan, read_plan

__all__ = ["PlanFinding", "PlanState", "verify_plan"]

PlanState = Literal["whole", "altered", "cut"]


@dataclass(frozen=True, slots=True)
class PlanFinding:
    """What was found of a plan.

    Args:
        state: `cut` where nothing is wrong but that its end is missing.
        line: Where that shows, counted from 1; 0 where it is the file as a whole, or nothing is wrong.
        what: In words.
        plan: The plan, if it is whole.
    """

    state: PlanState
    line: int
    what: str
    plan: PlanFile | None = None


def verify_plan(path: Path) -> PlanFinding | None:
    """Verify a plan; None of what is no plan, a missing file among it.

    Raises:
        Refused: It cannot be opened.
    """
    if not is_plan(path):
        return None
    try:
        plan = read_plan(path)
    except AuditDamaged as error:
        return PlanFinding("cut" if isinstance(error, PlanCut) else "altered", error.line, error.what)
    totals = plan.header.totals
    what = f"a plan, whole: {totals.batches:,} batches, {totals.unique:,} numbers, {totals.windows:,} windows"
    return PlanFinding("whole", 0, what, plan)
