"""The flags that verbs share, and how they become typed options: once, here, never passed on as a dict."""

import functools
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from runner.options import AccessOptions, OutputOptions, StatusOptions
from runner.settings import LimitsGiven, parse_duration, parse_rate

__all__ = [
    "ACCESS",
    "ACCESS_OF_A_RUN",
    "DATABASE",
    "JOB",
    "LIMITS",
    "LIMITS_OF_A_JOB",
    "NEW_AUDIT",
    "OF_A_SESSION",
    "OUTPUT",
    "PACE",
    "PATH",
    "STATUS",
    "SUBMITTED",
    "USER_ID",
    "YES",
    "takes",
]


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


class _Path(click.Path):
    """A path; an empty word, which a shell makes of an unset variable, is none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("a path is expected, and this is empty", param, ctx)
        return super().convert(value, param, ctx)


JOB = _Path()
PATH = _Path(path_type=Path)


def all_of(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a decorator that adds flags as they are."""
    return lambda command: functools.reduce(lambda given, option: option(given), reversed(options), command)


def takes(name: str, kind: type[Any], *options: Callable[[Any], Any]) -> Callable[[Any], Any]:
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


OUTPUT = takes(
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

_ACCESS = (
    click.option(
        "--base-url", metavar="URL", help="The API's base URL [env BULK_DELETE_BASE_URL; the vendor's]."
    ),
    click.option(
        "--token-file", type=PATH, metavar="PATH", help="File with the token [env BULK_DELETE_TOKEN_FILE]."
    ),
    click.option(
        "--ca-file", type=PATH, metavar="PATH", help="Trust this CA (PEM) in place of the system's."
    ),
    click.option("--proxy-from-env", is_flag=True, help="Go through the proxy that the environment names."),
)
ACCESS = takes("access", AccessOptions, *_ACCESS)
ACCESS_OF_A_RUN = takes(
    "access",
    AccessOptions,
    *_ACCESS,
    click.option(
        "--config",
        type=PATH,
        metavar="FILE",
        help="Who hears of the run [$XDG_CONFIG_HOME/bulk-delete/config.toml].",
    ),
    click.option(
        "--rate-from",
        metavar="URL",
        help="Share the rate with others, through this database [the run's own].",
    ),
)

_LIMITS = (
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
)
LIMITS = takes(
    "limits",
    LimitsGiven,
    *_LIMITS,
    click.option(
        "--deadline",
        "deadline_s",
        type=_DURATION,
        metavar="DURATION",
        help="Of this session: 90, 30m, 4h [none].",
    ),
)

LIMITS_OF_A_JOB = takes("limits", LimitsGiven, *_LIMITS)

STATUS = takes(
    "options",
    StatusOptions,
    click.option("--job", metavar="NAME", help="Only runs of the job of this name."),
    click.option(
        "--max-age",
        "max_age_s",
        type=_DURATION,
        metavar="DURATION",
        help="End with 1 unless a run ended complete or partial that recently.",
    ),
)

PACE = all_of(
    click.option(
        "--rate", type=_RATE, metavar="N/s|N/m|unlimited", help="Requests that may leave from now on."
    ),
    click.option("--pause", is_flag=True, help="Let nothing leave until --go-on."),
    click.option("--go-on", is_flag=True, help="End the pause."),
    click.option("--reason", metavar="TEXT", help="Why, for the audit."),
    click.option("--operator", metavar="NAME", help="Who, for the audit."),
)

YES = click.option("--yes", is_flag=True, help="Do not ask (needed where there is no terminal).")
_IN_EACH_SESSION = (
    click.option(
        "--audit-phones", type=click.Choice(["left", "all"]), default="left", help="Numbers in the audit."
    ),
    click.option("--reason", metavar="TEXT", help="Why, for the audit."),
    click.option("--operator", metavar="NAME", help="Who, for the audit."),
    YES,
    click.option("--stale-ok", is_flag=True, help="Go on although the plan or audit is over a day old."),
)
OF_A_SESSION = (
    *_IN_EACH_SESSION,
    click.option("--wait", is_flag=True, help="Wait for another run of this origin to end."),
)
SUBMITTED = (
    click.option(
        "--shards",
        type=click.IntRange(1, 10_000),
        required=True,
        metavar="N",
        help="Cut the plan into so many.",
    ),
    *_IN_EACH_SESSION,
)
DATABASE = click.option(
    "--database",
    metavar="URL",
    help="The PostgreSQL that all share [env BULK_DELETE_DATABASE_URL, BULK_DELETE_DATABASE_URL_FILE].",
)

NEW_AUDIT = (
    click.option(
        "--audit", type=PATH, metavar="PATH", help="Where the audit goes [audit/<name>-<UTC time>.jsonl]."
    ),
    click.option(
        "--accept-size", is_flag=True, help="Go on although the plan is larger than max_growth allows."
    ),
    click.option("--or-resume", is_flag=True, help="Go on with the --audit that is there, if it is open."),
)
USER_ID = click.option("--user-id", metavar="ID", help="The user whose numbers a list holds.")
