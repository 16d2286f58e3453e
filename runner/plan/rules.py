"""The safety rules of which a plan's header alone shows whether they hold: `max_phones` and `max_invalid`.

A plan that breaks one is not written, and where one comes from elsewhere it is not sent: every path that
plans or sends asks here.
"""

from runner.errors import Refused
from runner.phones import REASONS
from runner.plan.header import PlanHeader

__all__ = ["check_plan"]


def check_plan(header: PlanHeader) -> None:
    """Look whether a plan keeps its own rules.

    Raises:
        Refused: It asks for more phones, or more of its values are none, than its rules allow; with the rule,
            its limit and the value.
    """
    safety, totals = header.safety, header.totals
    if safety.max_phones is not None and totals.unique > safety.max_phones:
        raise Refused(
            f"max_phones: {totals.unique:,} phones are more than the {safety.max_phones:,} that are allowed",
            hint="Check the lists, or raise safety.max_phones in the job file.",
        )
    if totals.rejected > safety.max_invalid * totals.read:
        reason, times = next(iter(header.rejects.items()), ("unknown", totals.rejected))
        places = "; ".join(map(str, header.first_rejects[:3]))
        raise Refused(
            f"max_invalid: {totals.rejected:,} of {totals.read:,} values are no phones, "
            f"{totals.rejected / totals.read:.2%} where {safety.max_invalid * 100:g}% are allowed; "
            f"mostly {times:,} × {reason} ({REASONS.get(reason, reason)}): {places}",
            hint="Check that the right column is read (phone_column in a job), or raise safety.max_invalid. "
            "`plan --rejects FILE` lists them all.",
        )
