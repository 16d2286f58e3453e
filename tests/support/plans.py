"""Plans that several test files share, made by the planner's own writer."""

import io

from runner.plan.batching import BatchWriter
from runner.plan.header import PlanHeader, PlanTotals
from runner.plan.write import write_plan
from runner.settings import LimitsGiven, Safety


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
    header = PlanHeader(
        name="test",
        version="1",
        made_on="2024-07-26",
        limits=LimitsGiven(),
        safety=Safety(),
        phone_rule="mobile_cn",
        timezone="Asia/Shanghai",
        totals=PlanTotals(read=unique, unique=unique, batches=body.count(b"\n"), users=users),
    )
    write_plan(path, header, [body])
    return path
