"""The verbs of many machines: flags to calls, as `cli` does it for the others.

Whether the extra `[cluster]` is installed is asked before anything of it is imported.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runner.call import end, open_access, open_screen
from runner.commands import CLUSTER_VERBS
from runner.flags import ACCESS, DATABASE, LIMITS_OF_A_JOB, OUTPUT, PATH, SUBMITTED, YES, takes
from runner.options import AccessOptions, OutputOptions, SubmitOptions, WorkerOptions
from runner.usage import Verbs

if TYPE_CHECKING:
    from runner.commands.cluster_database import Cluster

__all__ = ["cluster", "names_database", "open_cluster"]


def open_cluster(database: str | None) -> "Cluster":
    """Return the database that many machines share; raises Refused without one, or without the extra."""
    from runner.cluster.extra import check_extra

    check_extra()
    from runner.commands.cluster_database import cluster_of

    return cluster_of(database)


def names_database(env: Mapping[str, str]) -> bool:
    """Tell whether the environment names a database."""
    from runner.access import ENV_DATABASE, ENV_DATABASE_FILE

    return ENV_DATABASE in env or ENV_DATABASE_FILE in env


@click.group(cls=Verbs, groups=CLUSTER_VERBS)
def cluster() -> None:
    """Share one plan and one rate among many machines, through a PostgreSQL database."""


@cluster.command(example="cluster init")
@DATABASE
@OUTPUT
def init(database: str | None, output: OutputOptions) -> None:
    """Make the tables in the database, or check those that are there."""
    open_screen(output)
    found = open_cluster(database)
    from runner.commands.cluster_init import init as make_tables

    end(make_tables(found))


@cluster.command(example="cluster submit purge.plan --shards 16")
@click.argument("plan", type=PATH)
@DATABASE
@ACCESS
@LIMITS_OF_A_JOB
@SUBMITTED
@OUTPUT
def submit(
    plan: Path, database: str | None, options: SubmitOptions, access: AccessOptions, output: OutputOptions
) -> None:
    """Cut PLAN into shards and place them for workers; nothing is sent here.

    PLAN is a file that `plan JOB --out FILE` has written. The same plan for the same origin is the same job:
    submitted again it is not sent twice, and one that was cancelled goes on.
    """
    screen = open_screen(output)
    found = open_cluster(database)
    from runner.access import read_base_url
    from runner.commands.cluster_submit import Submission
    from runner.commands.cluster_submit import submit as place

    base_url = read_base_url(access.base_url, os.environ)
    given = Submission(plan, options, base_url, lambda: open_access(access, screen))
    end(place(given, found, screen))


@cluster.command(example="cluster worker")
@DATABASE
@ACCESS
@takes("options", WorkerOptions)
@OUTPUT
def worker(
    database: str | None, options: WorkerOptions, access: AccessOptions, output: OutputOptions
) -> None:
    """Take shards of this origin and send them, until a signal comes.

    The token and the base URL are this machine's own: the database names neither.
    """
    screen = open_screen(output)
    found = open_cluster(database)
    from runner.commands.cluster_worker import worker as take_shards

    end(take_shards(found.database, options, open_access(access, screen), screen))


@cluster.command(example="cluster status")
@click.argument("job", required=False)
@DATABASE
@OUTPUT
def status(job: str | None, database: str | None, output: OutputOptions) -> None:
    """List the jobs in the database, or show JOB with its shards."""
    open_screen(output)
    found = open_cluster(database)
    from runner.commands.cluster_status import status as show

    end(show(found, job))


@cluster.command(example="cluster cancel lists-1a2b3c4d5e6f")
@click.argument("job")
@DATABASE
@OUTPUT
def cancel(job: str, database: str | None, output: OutputOptions) -> None:
    """End JOB cleanly: what is on the wire is finished, the rest stays open."""
    open_screen(output)
    found = open_cluster(database)
    from runner.commands.cluster_end import cancel as end_job

    end(end_job(found, job))


@cluster.command(example="cluster fetch lists-1a2b3c4d5e6f --out purge")
@click.argument("job")
@click.option("--out", type=PATH, required=True, metavar="DIR", help="A folder that is not there yet.")
@DATABASE
@OUTPUT
def fetch(job: str, out: Path, database: str | None, output: OutputOptions) -> None:
    """Write the plans and audits of JOB as ordinary files into a folder."""
    screen = open_screen(output)
    found = open_cluster(database)
    from runner.commands.cluster_fetch import fetch as bring

    end(bring(found, job, out, screen))


@cluster.command(example="cluster forget lists-1a2b3c4d5e6f")
@click.argument("job")
@YES
@DATABASE
@OUTPUT
def forget(job: str, *, yes: bool, database: str | None, output: OutputOptions) -> None:
    """Remove the plan and the audit of JOB from the database, once fetched."""
    screen = open_screen(output)
    found = open_cluster(database)
    from runner.commands.cluster_end import forget as remove

    end(remove(found, job, screen, yes=yes))
