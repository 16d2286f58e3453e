"""`cluster init`: the tables that many machines share, made or looked at."""

import asyncio

from runner.cluster.schema import make_schema
from runner.commands.cluster_database import Cluster
from runner.commands.command_call import CommandResult
from runner.output.cluster_results import ClusterInitResult
from runner.process import use_loop

__all__ = ["init"]


def init(cluster: Cluster) -> CommandResult[ClusterInitResult]:
    """Make the tables, all or nothing; where they are there already nothing is changed.

    Raises:
        DatabaseAway: It cannot be reached.
        Refused: They are of another version, or this user may not make them.
    """
    with asyncio.Runner(loop_factory=use_loop()) as runner:
        made = runner.run(make_schema(cluster.database))
    message = "the tables were made" if made else "the tables are there, and of this version"
    shown = cluster.database.shown
    result = ClusterInitResult(message=message, database=shown, made=made)
    return CommandResult(result, lambda: f"{shown}: {message}")
