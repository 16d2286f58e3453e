"""`verify`: whether audits, and the plans beside them, are what was written."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from runner.audit.verify import State, Verification
from runner.audit.verify import verify as verify_audit
from runner.commands.evidence import phones_beside
from runner.commands.shown import Shown
from runner.errors import Refused

__all__ = ["verify"]

_BY_WEIGHT: Final = (State.DAMAGED, State.OPEN_ENDED, State.WHOLE)


def verify(audits: Sequence[Path], *, head: str | None = None) -> Shown:
    """Check the integrity of audits; the worst finding counts."""
    heads = [] if head is None else [head]
    found = [(audit, _verified(audit, heads)) for audit in audits]
    findings = [_finding(audit, one) for audit, one in found]
    worst = next(state for state in _BY_WEIGHT if any(one.state is state for _, one in found))
    result = findings[0] if len(findings) == 1 else {"audits": findings}
    lines = (f"{f['audit']}: {f['state']}: {f['what']}\n  head {f['head']}" for f in findings)
    return Shown(worst.exit_code, result, lambda: "\n".join(lines))


def _finding(audit: Path, found: Verification) -> dict[str, Any]:
    return {
        "audit": str(audit),
        "state": found.state.value,
        "line": found.line,
        "what": found.what,
        "records": found.records,
        "head": found.head,
        "exit_code": int(found.state.exit_code),
    }


def _verified(audit: Path, heads: Sequence[str]) -> Verification:
    """Return the finding on an audit and the plan beside it, which is part of the evidence if it is there."""
    phones_of, flaw = None, ""
    try:
        phones_of = phones_beside(audit)
    except Refused as error:
        flaw = error.message
    found = verify_audit(audit, heads=heads, phones_of=phones_of)
    if flaw and found.state is not State.DAMAGED:
        return replace(found, state=State.DAMAGED, line=0, what=f"its plan: {flaw}")
    return found
