"""The verbs and their flags: each reads its part of the command line and calls one command.

Nothing else is decided here. Loaded when a verb is called; heavy libraries are imported inside the commands.
"""

import os
from pathlib import Path
from typing import Final, Literal

import click

from runner.call import end, open_access, open_screen, told_screen
from runner.cli_cluster import cluster, names_database, open_cluster
from runner.commands import VERBS
from runner.flags import (
    ACCESS,
    ACCESS_OF_A_RUN,
    DATABASE,
    JOB,
    LIMITS,
    OUTPUT,
    PACE,
    PATH,
    STATUS,
    USER_ID,
    takes,
)
from runner.options import (
    AccessOptions,
    OutputOptions,
    PaceOptions,
    PlanOptions,
    ResumeOptions,
    RunOptions,
    SandboxOptions,
    StatusOptions,
)
from runner.settings import Rate
from runner.usage import Verbs, exit_codes

__all__ = ["verbs"]

verbs: Final = Verbs("verbs", groups=VERBS)


@verbs.command(epilog=exit_codes(), example="run jobs/nightly-cleanup.yaml --yes --deadline 4h")
@click.argument("jobs", nargs=-1, required=True, type=JOB, metavar="JOB...")
@USER_ID
@click.option("--dry-run", is_flag=True, help="Only show what would be done; the same as `plan`.")
@ACCESS_OF_A_RUN
@LIMITS
@takes("options", RunOptions)
@OUTPUT
def run(
    jobs: tuple[str, ...],
    user_id: str | None,
    *,
    dry_run: bool,
    options: RunOptions,
    access: AccessOptions,
    output: OutputOptions,
) -> None:
    """Plan, confirm, delete, audit.

    JOB is a job file, a JSON-lines job, a plan, a list (with --user-id), or - for standard input.
    """
    if dry_run:
        _plan(jobs, user_id, PlanOptions(limits=options.limits), access, output)
    from runner.commands.run import run as run_jobs

    screen = told_screen(output, access)
    end(run_jobs(jobs, user_id, options, open_access(access, screen), screen))


@verbs.command(
    epilog=exit_codes(0, 2, 4), example="plan jobs/lists.yaml --out purge.plan --rejects rejects.jsonl"
)
@click.argument("jobs", nargs=-1, required=True, type=JOB, metavar="JOB...")
@USER_ID
@ACCESS
@LIMITS
@takes("options", PlanOptions)
@OUTPUT
def plan(
    jobs: tuple[str, ...],
    user_id: str | None,
    options: PlanOptions,
    access: AccessOptions,
    output: OutputOptions,
) -> None:
    """Show what `run` would do, in numbers; connects to nothing unless --probe."""
    _plan(jobs, user_id, options, access, output)


def _plan(
    jobs: tuple[str, ...],
    user_id: str | None,
    options: PlanOptions,
    access: AccessOptions,
    output: OutputOptions,
) -> None:
    from runner.commands.plan import plan as plan_jobs

    screen = open_screen(output)
    vendor = open_access(access, screen) if options.probe else None
    end(plan_jobs(jobs, user_id, options, screen, given=access, probe=vendor))


@verbs.command(epilog=exit_codes(), example="resume audit/nightly-cleanup-20260726T021500Z.jsonl")
@click.argument("audit", type=PATH)
@ACCESS_OF_A_RUN
@LIMITS
@takes("options", ResumeOptions)
@OUTPUT
def resume(
    audit: Path,
    options: ResumeOptions,
    access: AccessOptions,
    output: OutputOptions,
) -> None:
    """Go on with an interrupted run: send exactly the batches that AUDIT has no end for."""
    from runner.commands.resume import resume as resume_run

    screen = told_screen(output, access)
    end(resume_run(audit, options, open_access(access, screen), screen))


@verbs.command(
    epilog=exit_codes(), example="rerun audit/nightly-cleanup-20260726T021500Z.jsonl --only failed"
)
@click.argument("audits", nargs=-1, required=True, type=PATH, metavar="AUDIT...")
@click.option(
    "--only",
    type=click.Choice(["failed", "unknown", "not_sent"]),
    multiple=True,
    help="Take only what ended so (may be repeated) [all three].",
)
@ACCESS_OF_A_RUN
@LIMITS
@takes("options", RunOptions)
@OUTPUT
def rerun(
    audits: tuple[Path, ...],
    only: tuple[str, ...],
    *,
    options: RunOptions,
    access: AccessOptions,
    output: OutputOptions,
) -> None:
    """Run again, with a new plan and audit, what ended failed, unknown or not_sent.

    AUDIT is an audit, or the folder of a fetched job.
    """
    from runner.commands.rerun import rerun as rerun_audits

    screen = told_screen(output, access)
    end(rerun_audits(audits, only, options, open_access(access, screen), screen))


@verbs.command(example="status audit --job nightly-cleanup --max-age 26h")
@click.argument("paths", nargs=-1, type=PATH, metavar="[AUDIT or FOLDER]...")
@STATUS
@OUTPUT
def status(paths: tuple[Path, ...], options: StatusOptions, output: OutputOptions) -> None:
    """List runs, one line each: those of audits, or of folders (audit/, if nothing is named).

    A folder that holds a fetched job is one line.
    """
    from runner.commands.status import status as list_runs

    open_screen(output)
    end(list_runs(paths, options, os.environ))


@verbs.command(example="pace audit/nightly-cleanup-20260726T021500Z.jsonl --rate 5/s")
@click.argument("audit", type=PATH, metavar="AUDIT")
@PACE
@DATABASE
@OUTPUT
def pace(
    audit: Path,
    *,
    rate: Rate | None,
    pause: bool,
    go_on: bool,
    operator: str | None,
    reason: str | None,
    database: str | None,
    output: OutputOptions,
) -> None:
    """Show what the process that runs AUDIT is doing; let it send faster, slower, or nothing for a while.

    With --database, or with a database in the environment and no file of that name, AUDIT is the id of a job
    of `cluster`: an order is one to all its workers, and a rate that of all jobs of its origin.
    """
    if pause and go_on:
        raise click.UsageError("--pause and --go-on are the contrary of each other")
    options = PaceOptions(rate, pause or (False if go_on else None), operator, reason)
    if (operator or reason) and rate is None and options.pause is None:
        raise click.UsageError("--operator and --reason go with --rate, --pause or --go-on")
    open_screen(output)
    if database is not None or (names_database(os.environ) and not os.path.lexists(audit)):
        found = open_cluster(database)
        from runner.commands.cluster_status import pace_job

        end(pace_job(found, str(audit), options))
    from runner.commands.pace import pace as steer

    end(steer(audit, options))


@verbs.command(epilog=exit_codes(0, 2), example="report audit/*.jsonl --html nightly.html")
@click.argument("audits", nargs=-1, required=True, type=PATH, metavar="AUDIT...")
@click.option("--html", type=PATH, metavar="FILE", help="Write a self-contained page.")
@click.option("--failed", type=PATH, metavar="FILE", help="Write every number that is not confirmed, as CSV.")
@OUTPUT
def report(audits: tuple[Path, ...], html: Path | None, failed: Path | None, output: OutputOptions) -> None:
    """Show totals, failures by cause, by user, and timings of audits.

    AUDIT is an audit, or the folder of a fetched job, which is one report over all its shards.
    """
    from runner.commands.report import report as report_audits

    screen = open_screen(output)
    end(report_audits(audits, screen, os.environ, html=html, failed=failed))


@verbs.command(example="verify audit/*.jsonl")
@click.argument("audits", nargs=-1, required=True, type=PATH, metavar="AUDIT...")
@click.option(
    "--head", metavar="VALUE", help="A chain value noted after a session: proves that nothing before was cut."
)
@OUTPUT
def verify(audits: tuple[Path, ...], head: str | None, output: OutputOptions) -> None:
    """Check integrity: 0 whole, 1 damaged, 3 intact but without an end (killed, torn, cut).

    AUDIT is an audit, a plan, or the folder of a fetched job, whose shards must all be what was fetched.
    """
    from runner.commands.verify import verify as verify_audits

    open_screen(output)
    end(verify_audits(audits, head=head))


@verbs.command(example="check --token-file token")
@ACCESS
@OUTPUT
def check(access: AccessOptions, output: OutputOptions) -> None:
    """Check base URL, TLS and token without deleting: 0 or 3."""
    from runner.commands.check import check as check_access

    screen = open_screen(output)
    end(check_access(open_access(access, screen), screen))


@verbs.command(example="sandbox --fault mixed=5%")
@takes("options", SandboxOptions)
def sandbox(options: SandboxOptions) -> None:
    """Serve the vendor's API on this machine, with data and faults, to rehearse against."""
    from runner.commands.sandbox import sandbox as serve_sandbox

    raise SystemExit(int(serve_sandbox(options)))


@verbs.command(example="demo --keep rehearsal")
@click.option("--seed", type=int, default=1, help="Of the made-up data and faults [1].")
@click.option(
    "--keep", type=PATH, metavar="DIR", help="Keep job, lists, plan and audit there [a folder in /tmp]."
)
@OUTPUT
def demo(seed: int, keep: Path | None, output: OutputOptions) -> None:
    """Run a job of 50,000 rows against a sandbox with faults: no set-up, no network, no token."""
    from runner.commands.demo import demo as run_demo

    screen = open_screen(output)
    end(run_demo(seed, keep, screen))


@verbs.command(example="schema job")
@click.argument("what", type=click.Choice(["job", "audit", "result"]), default="job")
@OUTPUT
def schema(what: Literal["job", "audit", "result"], output: OutputOptions) -> None:
    """Print the JSON Schema of the job file, of an audit line, or of what --json writes."""
    from runner.commands.schema import schema as show_schema

    open_screen(output)
    end(show_schema(what))


verbs.add_command(cluster)
