"""Plans that several test files share, made by the planner's own writer."""

import io

from runner.plan.batching import BatchWriter
from runner.plan.header import Made, PlanHeader, PlanTotals
from runner.plan.write import write_plan
from runner.settings import LimitsGiven, Safety, limits_to_json, safety_to_json


def header_of(limits=None, safety=None, **fields):
    """The header of a plan of nothing, but for what is given."""
    plain = {
        "name": "test",
        "made": Made("1", "2024-07-26"),
        "limits_said": limits_to_json(limits or LimitsGiven()),
        "safety_said": safety_to_json(safety or Safety()),
        "phone_rule": "mobile_cn",
        "timezone": "Asia/Shanghai",
        "sources": (),
        "more_sources": 0,
        "totals": PlanTotals(),
        "changed": 0,
        "normalised": {},
        "rejects": {},
        "first_rejects": (),
        "windows": (),
        "notes": (),
        "at": "2024-07-26T13:14:15+00:00",
    }
    return PlanHeader(**plain | fields)


def body_of(*parts):
    """Batch lines of targets and their phones; none for a window."""
    file = io.BytesIO()
    writer = BatchWriter(file)
    for target, phones in parts:
        if phones:
            writer.put(target, list(phones))
        else:
            writer.put_window(target)
    writer.end()
    return file.getvalue()


def plan_with(phones_of, path):
    """Write a plan of these targets' phones; returns its path."""
    body = body_of(*phones_of.items())
    unique = sum(map(len, phones_of.values()))
    users = len({target.user_id for target in phones_of})
    totals = PlanTotals(read=unique, unique=unique, batches=body.count(b"\n"), users=users)
    write_plan(path, header_of(totals=totals), [body])
    return path
