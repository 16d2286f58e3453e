"""Verbs and flags: reads the command line, calls one command, and turns errors into exit codes.

Nothing else is decided here. Heavy libraries are imported inside the commands, so that `--help` is quick. No
traceback reaches the screen: a foreign exception is a bug, and is told in one line without values.
"""

import functools
import os
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import click

from runner import __version__
from runner.commands.door import Door
from runner.errors import Exit
from runner.options import AccessOptions, OutputOptions, PlanOptions, ResumeOptions, RunOptions
from runner.settings import LimitsGiven, parse_duration, parse_rate

if TYPE_CHECKING:
    from runner.access import Access
    from runner.commands.shown import Shown
    from runner.output.console import Console

__all__ = ["EXIT_CODES", "cli", "main"]

EXIT_CODES: Final = (
    (0, "every batch was confirmed by the server (also when there was nothing to do)"),
    (1, "finished, but some batches are failed, unknown or not_sent: `rerun` takes them"),
    (2, "nothing was sent: bad command line, job or input, altered evidence, or a safety rule refused"),
    (3, "stopped early (token, redirect, breaker, a cap, deadline, audit not writable): `resume` goes on"),
    (4, "another run holds the origin or the audit"),
    (130, "SIGINT: stopped cleanly, `resume` goes on"),
    (143, "SIGTERM: stopped cleanly, `resume` goes on"),
)

_EPILOG = "\b\nExit codes:\n" + "\n".join(f"  {code:>3}  {meaning}" for code, meaning in EXIT_CODES)
_CONTEXT: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


class _Parsed(click.ParamType[Any]):
    """A flag whose value one of the parsers of `settings` reads."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


_RATE = _Parsed("rate", parse_rate)
_DURATION = _Parsed("duration", lambda text: parse_duration(text).total_seconds())
_PATH = click.Path(path_type=Path)


def _takes(name: str, kind: type[Any], *options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a decorator that adds flags and hands them to the command as one `kind`, named `name`.

    A field of `kind` for which there is no flag keeps its default. Fields may themselves be made by a
    decorator further up.
    """

    def decorate(command: Any) -> Any:
        @functools.wraps(command)
        def taking(**flags: Any) -> Any:
            given = {field.name: flags.pop(field.name) for field in fields(kind) if field.name in flags}
            try:
                flags[name] = kind(**given)
            except ValueError as error:  # NaN passes through every range of click's
                raise click.UsageError(str(error)) from None
            return command(**flags)

        for option in reversed(options):
            taking = option(taking)
        return taking

    return decorate


_OUTPUT = _takes(
    "output",
    OutputOptions,
    click.option("--json", "as_json", is_flag=True, help="Write the result as one JSON object."),
    click.option("--quiet", is_flag=True, help="Say nothing but warnings and errors."),
    click.option("--verbose", is_flag=True, help="Log every batch that fails."),
    click.option(
        "--log-format",
        type=click.Choice(["text", "json"]),
        default="text",
        help="How standard error is written: in words, or one JSON object a line [text].",
    ),
)

_ACCESS = _takes(
    "access",
    AccessOptions,
    click.option(
        "--base-url", metavar="URL", help="The API's base URL [env BULK_DELETE_BASE_URL; the vendor's]."
    ),
    click.option(
        "--token-file", type=_PATH, metavar="PATH", help="File with the token [env BULK_DELETE_TOKEN_FILE]."
    ),
    click.option(
        "--ca-file", type=_PATH, metavar="PATH", help="Trust this CA (PEM) in place of the system's."
    ),
    click.option("--proxy-from-env", is_flag=True, help="Go through the proxy that the environment names."),
)

_LIMITS = _takes(
    "limits",
    LimitsGiven,
    click.option("--rate", type=_RATE, metavar="N/s|N/m|unlimited", help="Requests that may leave [20/s]."),
    click.option(
        "--concurrency", type=click.IntRange(1, 1024), metavar="N", help="Batches under way at most [16]."
    ),
    click.option(
        "--timeout",
        "timeout_s",
        type=click.FloatRange(0, 3600, min_open=True),
        metavar="SECONDS",
        help="For one attempt [30].",
    ),
    click.option(
        "--max-attempts", type=click.IntRange(1, 100), metavar="N", help="For one batch a session [6]."
    ),
    click.option(
        "--deadline",
        "deadline_s",
        type=_DURATION,
        metavar="DURATION",
        help="Of this session: 90, 30m, 4h [none].",
    ),
)

_OF_A_SESSION = (
    click.option(
        "--audit-phones", type=click.Choice(["left", "all"]), default="left", help="Numbers in the audit."
    ),
    click.option("--reason", metavar="TEXT", help="Why, for the audit."),
    click.option("--operator", metavar="NAME", help="Who, for the audit."),
    click.option("--wait", is_flag=True, help="Wait for another run of this origin to end."),
    click.option("--yes", is_flag=True, help="Do not ask (needed where there is no terminal)."),
    click.option("--stale-ok", is_flag=True, help="Go on although the plan or audit is over a day old."),
)

_NEW_AUDIT = (
    click.option(
        "--audit", type=_PATH, metavar="PATH", help="Where the audit goes [audit/<name>-<UTC time>.jsonl]."
    ),
    click.option("--or-resume", is_flag=True, help="Go on with the --audit that is there, if it is open."),
)
_USER_ID = click.option("--user-id", metavar="ID", help="The user whose numbers a list holds.")


@click.group(context_settings=_CONTEXT, epilog=_EPILOG)
@click.version_option(__version__, prog_name="bulk-delete")
def cli() -> None:
    """Delete phone numbers from a vendor's customer pool: plan, confirm, send, audit.

    The token comes from BULK_DELETE_TOKEN or a token file, never from the command line. Rehearse first:
    `demo` needs nothing, `sandbox` stands in for the vendor, `plan` shows what `run` would do.
    """


@cli.command(epilog=_EPILOG)
@click.argument("jobs", nargs=-1, required=True, metavar="JOB...")
@_USER_ID
@click.option("--dry-run", is_flag=True, help="Only show what would be done; the same as `plan`.")
@_ACCESS
@_LIMITS
@_takes("options", RunOptions, *_NEW_AUDIT, *_OF_A_SESSION)
@_OUTPUT
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
    from runner.commands.run import run as run_jobs  # noqa: PLC0415

    screen = _screen(output)
    _end(run_jobs(jobs, user_id, options, _open(access, screen), screen))


@cli.command(epilog=_EPILOG)
@click.argument("jobs", nargs=-1, required=True, metavar="JOB...")
@_USER_ID
@_ACCESS
@_LIMITS
@_takes(
    "options",
    PlanOptions,
    click.option(
        "--out", type=_PATH, metavar="FILE", help="Write the plan; `run FILE` applies exactly that."
    ),
    click.option(
        "--rejects", type=_PATH, metavar="FILE", help="Write every rejected value, masked, as JSON lines."
    ),
    click.option(
        "--probe", is_flag=True, help="Ask the API how many rows match (connects; deletes nothing)."
    ),
)
@_OUTPUT
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
    from runner.commands.plan import plan as plan_jobs  # noqa: PLC0415

    screen = _screen(output)
    vendor = _open(access, screen) if options.probe else None
    _end(plan_jobs(jobs, user_id, options, screen, probe=vendor))


@cli.command(epilog=_EPILOG)
@click.argument("audit", type=_PATH)
@_ACCESS
@_LIMITS
@_takes("options", ResumeOptions, *_OF_A_SESSION)
@_OUTPUT
def resume(audit: Path, options: ResumeOptions, access: AccessOptions, output: OutputOptions) -> None:
    """Go on with an interrupted run: send exactly the batches that AUDIT has no end for."""
    from runner.commands.resume import resume as resume_run  # noqa: PLC0415

    screen = _screen(output)
    _end(resume_run(audit, options, _open(access, screen), screen))


@cli.command(epilog=_EPILOG)
@click.argument("audits", nargs=-1, required=True, type=_PATH, metavar="AUDIT...")
@click.option(
    "--only",
    type=click.Choice(["failed", "unknown", "not_sent"]),
    multiple=True,
    help="Take only what ended so (may be repeated) [all three].",
)
@_ACCESS
@_LIMITS
@_takes("options", RunOptions, *_NEW_AUDIT, *_OF_A_SESSION)
@_OUTPUT
def rerun(
    audits: tuple[Path, ...],
    only: tuple[str, ...],
    options: RunOptions,
    access: AccessOptions,
    output: OutputOptions,
) -> None:
    """Run again, with a new plan and audit, what ended failed, unknown or not_sent."""
    from runner.commands.rerun import rerun as rerun_audits  # noqa: PLC0415

    screen = _screen(output)
    _end(rerun_audits(audits, only, options, _open(access, screen), screen))


@cli.command(epilog=_EPILOG)
@click.argument("audits", nargs=-1, required=True, type=_PATH, metavar="AUDIT...")
@click.option("--html", type=_PATH, metavar="FILE", help="Write a self-contained page.")
@_OUTPUT
def report(audits: tuple[Path, ...], html: Path | None, output: OutputOptions) -> None:
    """Show totals, failures by cause and timings of audits."""
    from runner.commands.report import report as report_audits  # noqa: PLC0415

    _screen(output)
    _end(report_audits(audits, html=html))


@cli.command()
@click.argument("audits", nargs=-1, required=True, type=_PATH, metavar="AUDIT...")
@click.option(
    "--head", metavar="VALUE", help="A chain value noted after a session: proves that nothing before was cut."
)
@_OUTPUT
def verify(audits: tuple[Path, ...], head: str | None, output: OutputOptions) -> None:
    """Check integrity: 0 whole, 1 damaged, 3 intact but without an end (killed, torn, cut)."""
    from runner.commands.verify import verify as verify_audits  # noqa: PLC0415

    _screen(output)
    _end(verify_audits(audits, head=head))


@cli.command()
@_ACCESS
@_OUTPUT
def check(access: AccessOptions, output: OutputOptions) -> None:
    """Check base URL, TLS and token without deleting: 0 or 3."""
    from runner.commands.check import check as check_access  # noqa: PLC0415

    screen = _screen(output)
    _end(check_access(_open(access, screen)))


@cli.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8900, help="Port on 127.0.0.1 [8900]; 0: any.")
@click.option("--token", default="sandbox", help="The token it accepts [sandbox].")
@click.option("--rows", type=click.IntRange(0), default=0, help="Rows to seed for ten made-up users [0].")
@click.option(
    "--rows-per-phone",
    type=click.IntRange(0, 100),
    default=3,
    help="A number asked for the first time has 1 to N rows [3]; 0: only what was seeded or imported.",
)
@click.option("--seed", type=int, default=0, help="Of the faults and the made-up rows [0].")
@click.option(
    "--fault", "faults", multiple=True, metavar="NAME=SHARE", help="For instance lost-after=2%, mixed=5%."
)
@click.option("--rate-limit", metavar="N/s|N/m", help="Answer 429 above it.")
@click.option("--latency", type=click.FloatRange(0, 60), default=0.02, help="Seconds an answer takes [0.02].")
@click.option("--quiet", is_flag=True, help="Say nothing but errors.")
def sandbox(**flags: Any) -> None:
    """Serve the vendor's API on this machine, with data and faults, to rehearse against."""
    from runner.commands.sandbox import sandbox as serve_sandbox  # noqa: PLC0415

    raise SystemExit(int(serve_sandbox(**flags)))


@cli.command()
@click.option("--seed", type=int, default=1, help="Of the made-up data and faults [1].")
@click.option(
    "--keep", type=_PATH, metavar="DIR", help="Keep job, lists, plan and audit there [a folder in /tmp]."
)
@_OUTPUT
def demo(seed: int, keep: Path | None, output: OutputOptions) -> None:
    """Run a job of 50,000 rows against a sandbox with faults: no set-up, no network, no token."""
    from runner.commands.demo import demo as run_demo  # noqa: PLC0415

    screen = _screen(output)
    _end(run_demo(seed, keep, screen))


@cli.command()
@click.argument("what", type=click.Choice(["job", "audit"]), default="job")
def schema(what: Literal["job", "audit"]) -> None:
    """Print the JSON Schema of the job file, or of an audit line."""
    from runner.commands.schema import schema as show_schema  # noqa: PLC0415

    _end(show_schema(what))


def _door() -> Door:
    """Return what is known of this call."""
    return click.get_current_context().ensure_object(Door)


def _screen(output: OutputOptions) -> "Console":
    """Open the screen of this call."""
    return _door().open(output)


def _open(access: AccessOptions, screen: "Console") -> "Access":
    """Return how the vendor is reached; raises Refused where the URL or the token is no good."""
    from runner.access import read_access  # noqa: PLC0415

    found = read_access(access, os.environ)
    screen.hide(found.token)
    return found


def _end(shown: "Shown") -> None:
    """Write a verb's result and leave with its code."""
    raise SystemExit(_door().end(shown))


def main() -> None:
    """Run the program; the entry point of `bulk-delete` and `python -m runner`."""
    from runner.process import harden, ignore_signals  # noqa: PLC0415
    from runner.streams import open_streams  # noqa: PLC0415

    open_streams()
    harden()
    code = _run_cli(Door())
    ignore_signals()
    sys.exit(code)


def _run_cli(door: Door) -> int:
    """Run the command line and return the exit code; after an error no signal is heard any more."""
    from runner.process import hold_signals  # noqa: PLC0415

    try:
        cli.main(standalone_mode=False, obj=door)
        return door.flush()
    except SystemExit as leave:
        return door.code(leave.code if isinstance(leave.code, int) else Exit.REFUSED)
    except click.exceptions.Exit as leave:
        return door.flush() or leave.exit_code
    except (click.Abort, KeyboardInterrupt):
        hold_signals()
        return door.interrupted()
    except click.ClickException as error:
        hold_signals()
        error.show()
        return int(Exit.REFUSED)
    except Exception as error:  # noqa: BLE001 - the last door: a traceback on a screen may show a number
        hold_signals()
        return door.explain(error)
