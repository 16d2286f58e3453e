"""The verbs that only look: `plan`, `report`, `verify`, `check`, `schema`. None of them deletes anything.

`plan` without `--probe` cannot reach the network: no client is made, and its module is not even imported.
"""

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from runner.audit.fold import PhonesOf, fold_audit, read_records
from runner.audit.records import audit_schema
from runner.audit.verify import State, Verification
from runner.audit.verify import verify as verify_audit
from runner.commands.invocation import Call, Scratch, draft_plan, only_plan, plan_beside, temporary_folder
from runner.errors import AuditDamaged, Exit, Refused
from runner.files import copy_private, write_private
from runner.job.arguments import job_schema, read_jobs
from runner.output.plan_text import describe_plan
from runner.output.report import make_report, report_text
from runner.output.report_html import report_html
from runner.plan.file import PlanFile, copy_plan, read_plan
from runner.process import use_loop, utc_now
from runner.send.safety import check_plan
from runner.settings import Limits, LimitsGiven

__all__ = ["check", "plan", "report", "schema", "verify"]


def plan(jobs: Sequence[str], flags: Mapping[str, Any], limits: LimitsGiven) -> Exit:
    """Show what `run` would do, in numbers."""
    call = Call.of(flags, limits)
    out, rejects = flags.get("out"), flags.get("rejects")
    for path in (out, rejects):
        if path is not None and os.path.lexists(path):
            raise Refused(f"{path} exists", hint="name another file: nothing is written over")
    with temporary_folder() as folder:
        made = _made_plan(jobs, Scratch(folder / "plan", folder / "rejects"), rejects, call)
        check_plan(made.header)
        if out is not None:
            copy_plan(made, out)
        used = call.limits.over(made.header.limits.over(Limits()))
        probed = _probe(made, used, call) if flags.get("probe") else ()
    words = describe_plan(made.header, limits=used)
    shown = {**orjson.loads(made.header.to_json()), "sha256": made.sha256, "probed": list(probed)}
    call.show(shown, lambda: "\n".join([words, *probed]))
    return Exit.OK


def _made_plan(jobs: Sequence[str], scratch: Scratch, rejects: Path | None, call: Call) -> PlanFile:
    given = only_plan(jobs)
    if given is not None:
        return read_plan(given)
    job = read_jobs(jobs, user_id=call.flags["user_id"], now=utc_now())
    try:
        return draft_plan(job, scratch, call)
    finally:
        # Wanted most where the plan is refused for them.
        if rejects is not None and scratch.rejects.exists():
            copy_private(scratch.rejects, rejects)


def _probe(made: PlanFile, limits: Limits, call: Call) -> list[str]:
    """Ask the API how many rows match, and return it in words."""
    from runner.commands.probe import probe_plan  # noqa: PLC0415 - only this way does `plan` know of a client

    access = call.access()
    with asyncio.Runner(loop_factory=use_loop()) as runner:
        return runner.run(probe_plan(made, access, limits))


def report(audits: Sequence[Path], flags: Mapping[str, Any]) -> Exit:
    """Show totals, failures by cause and timings."""
    call = Call.of(flags, LimitsGiven())
    reports = []
    for audit in audits:
        phones_of = _phones_beside(audit)
        fold = fold_audit(audit, verify_chain=True, phones_of=phones_of)
        reports.append(make_report(audit, fold, phones_of=phones_of))
    if (page := flags["html"]) is not None:
        write_private(page, report_html(reports).encode())
    shown = reports[0] if len(reports) == 1 else {"reports": reports}
    call.show(shown, lambda: "\n\n".join(map(report_text, reports)))
    return Exit.OK


def _phones_beside(audit: Path) -> PhonesOf | None:
    """Return the sizes of the batches of the plan beside an audit, if it is there.

    Raises:
        AuditDamaged: It is no plan, altered, or not the one that the audit was made with.
    """
    path = plan_beside(audit)
    if not path.exists():
        return None
    plan = read_plan(path)
    first = next(read_records(audit), None)
    if first is not None and first.get("plan_sha256") != plan.sha256:
        raise AuditDamaged(str(path), 0, "this is not the plan that the audit was made with")
    return plan.phones_of


def verify(audits: Sequence[Path], flags: Mapping[str, Any]) -> Exit:
    """Check the integrity of audits; the worst finding counts."""
    call = Call.of(flags, LimitsGiven())
    heads = [] if flags["head"] is None else [flags["head"]]
    findings = []
    for audit in audits:
        found = _verified(audit, heads)
        findings.append(
            {
                "audit": str(audit),
                "state": found.state.value,
                "line": found.line,
                "what": found.what,
                "records": found.records,
                "head": found.head,
                "exit_code": int(found.state.exit_code),
            }
        )
    lines = (f"{f['audit']}: {f['state']}: {f['what']}\n  head {f['head']}" for f in findings)
    shown = findings[0] if len(findings) == 1 else {"audits": findings}
    call.show(shown, lambda: "\n".join(lines))
    by_weight = (State.DAMAGED, State.OPEN_ENDED, State.WHOLE)
    return next(state.exit_code for state in by_weight if any(f["state"] == state.value for f in findings))


def _verified(audit: Path, heads: Sequence[str]) -> Verification:
    """Return the finding on an audit and the plan beside it, which is part of the evidence if it is there."""
    phones_of, flaw = None, ""
    try:
        phones_of = _phones_beside(audit)
    except Refused as error:
        flaw = error.message
    found = verify_audit(audit, heads=heads, phones_of=phones_of)
    if flaw and found.state is not State.DAMAGED:
        return replace(found, state=State.DAMAGED, line=0, what=f"its plan: {flaw}")
    return found


def check(flags: Mapping[str, Any]) -> Exit:
    """Check base URL, TLS and token, without deleting."""
    from runner.commands.probe import check_access  # noqa: PLC0415 - `plan` and `report` load no client

    call = Call.of(flags, LimitsGiven())
    access = call.access()
    with asyncio.Runner(loop_factory=use_loop()) as runner:
        finding = runner.run(check_access(access))
    call.show(finding, lambda: f"{finding['base_url']}: {finding['what']}")
    return Exit.OK if finding["ok"] else Exit.STOPPED


def schema(what: str) -> Exit:
    """Print a JSON Schema."""
    shown = audit_schema() if what == "audit" else job_schema()
    sys.stdout.write(orjson.dumps(shown, option=orjson.OPT_INDENT_2).decode() + "\n")
    return Exit.OK
