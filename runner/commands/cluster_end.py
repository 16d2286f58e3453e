"""`cluster cancel` and `cluster forget`: a job comes to a clean end, and leaves the database for good."""

from typing import Final

from runner.cluster.database import Connection
from runner.cluster.fetch import has_late_words
from runner.cluster.jobs import JobRow, cancel_job, find_job, forget_job
from runner.commands.cluster_database import Cluster, answer
from runner.commands.command_call import CommandResult
from runner.commands.questions import asked
from runner.errors import Exit, Refused
from runner.output.cluster_results import ClusterCancelResult, ClusterForgetResult
from runner.output.console import Console
from runner.text import many

__all__ = ["cancel", "forget"]

_WHY: Final = "an operator cancelled the job"


def cancel(cluster: Cluster, job: str) -> CommandResult[ClusterCancelResult]:
    """Let a job end: nothing begins any more, what is on the wire is finished, the rest stays open.

    Raises:
        Refused: There is no such job.
    """

    async def end(connection: Connection) -> JobRow:
        row = await find_job(connection, job)
        await cancel_job(connection, row, _WHY, int(Exit.STOPPED))
        return await find_job(connection, job)

    row = cluster.run(end)
    state = {
        "done": "it is done: nothing was left to cancel",
        "stopped": "it is stopped: nothing of it is sent any more",
    }.get(
        row.state,
        f"to finish what is on the wire: {many(row.doing, 'shard')}; then nothing of it is sent any more",
    )
    steps = ("fetch", row.job, "--out", row.job) if row.at_rest else ("status", row.job)
    result = ClusterCancelResult(
        message=state,
        **row.names,
        next=cluster.command("cluster", *steps),
        state=row.state,
        doing=row.doing,
    )
    return CommandResult(result, lambda: f"{row.job}: {state}\nnext: {result.next}")


def forget(cluster: Cluster, job: str, screen: Console, *, yes: bool) -> CommandResult[ClusterForgetResult]:
    """Remove a job's plan and audit from the database.

    Raises:
        Refused: There is no such job, it is under way or was not fetched as it is, or nobody confirmed it.
    """
    row = cluster.run(lambda connection: _fit_to_forget(connection, job, cluster))
    if not yes:
        text = f"Remove the plan and the audit of {row.job} from the database? Only what was fetched stays."
        answer(asked(text, "--yes", screen), screen)
    if not cluster.run(lambda connection: forget_job(connection, row)):
        raise Refused(f"{row.job} has changed meanwhile", hint="look at it again, and fetch it again")
    result = ClusterForgetResult(**row.names, next=None)
    return CommandResult(result, lambda: f"{row.job} is forgotten: its plan and audit left the database")


async def _fit_to_forget(connection: Connection, job: str, cluster: Cluster) -> JobRow:
    row = await find_job(connection, job)
    if not row.at_rest:
        hint = f"type: {cluster.command('cluster', 'cancel', row.job)}"
        raise Refused(f"{row.job} is not at rest: it is {row.state}", hint=hint)
    fetch = f"type: {cluster.command('cluster', 'fetch', row.job, '--out', row.job)}"
    if row.begun and row.fetched_at is None:
        raise Refused(f"{row.job} was not fetched as it is now: its audit is only here", hint=fetch)
    if row.begun and await has_late_words(connection, row):
        raise Refused(f"a worker said something of {row.job} after it was fetched", hint=fetch)
    return row
