"""Typed options as flags of the command line, and back: once, here, never passed on as a dict."""

import functools
from collections.abc import Callable, Collection
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

import click

from runner.options import AccessOptions, OutputOptions, ResumeOptions, StatusOptions, SubmitOptions
from runner.settings import LimitsGiven, parse_duration, parse_rate

__all__ = [
    "ACCESS",
    "ACCESS_OF_A_RUN",
    "DATABASE",
    "JOB",
    "LIMITS",
    "LIMITS_OF_A_JOB",
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


_TYPES: Final[dict[Any, click.ParamType[Any]]] = {Path | None: PATH, float | None: _DURATION, int: click.INT}
"""Of an option whose type alone does not tell click."""


def _option(one: "Field[Any]") -> Callable[[Any], Any]:
    """Return an option as its declaration says."""
    flag, _, metavar = one.metadata["spelled"].partition(" ")
    given: dict[str, Any] = {"help": one.metadata["words"], "metavar": metavar or None}
    if one.type is bool:
        given["is_flag"] = True
    elif one.type == tuple[str, ...]:
        given["multiple"] = True
    elif one.metadata.get("needed"):
        given["required"] = True
    else:
        given["default"] = one.default
    if get_origin(one.type) is Literal:
        given["type"] = click.Choice(get_args(one.type))
    elif "within" in one.metadata:
        bounded = click.IntRange if one.type is int else click.FloatRange
        given["type"] = bounded(*one.metadata["within"])
    elif one.type in _TYPES:
        given["type"] = _TYPES[one.type]
    return click.option(flag, one.name, **given)


def takes(
    name: str, kind: type[Any], *options: Callable[[Any], Any], without: Collection[str] = ()
) -> Callable[[Any], Any]:
    """Return a decorator that adds flags and hands them to the command as one `kind`, named `name`.

    A field of `kind` for which there is no flag keeps its default. Fields may themselves be made by a
    decorator further up.

    Args:
        name: The command's parameter.
        kind: Its type.
        options: Flags of fields that do not say themselves how they are spelled.
        without: Fields that this command has no flag for.
    """
    declared = (one for one in fields(kind) if "spelled" in one.metadata and one.name not in without)
    options = (*map(_option, declared), *options)

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


OUTPUT = takes("output", OutputOptions)
ACCESS = takes("access", AccessOptions, without=("config", "rate_from"))
ACCESS_OF_A_RUN = takes("access", AccessOptions)

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

STATUS = takes("options", StatusOptions)
SUBMITTED = takes("options", SubmitOptions, without=("wait",))

PACE = all_of(
    click.option(
        "--rate", type=_RATE, metavar="N/s|N/m|unlimited", help="Requests that may leave from now on."
    ),
    click.option("--pause", is_flag=True, help="Let nothing leave until --go-on."),
    click.option("--go-on", is_flag=True, help="End the pause."),
    click.option("--reason", metavar="TEXT", help="Why, for the audit."),
    click.option("--operator", metavar="NAME", help="Who, for the audit."),
)

(YES,) = (_option(one) for one in fields(ResumeOptions) if one.name == "yes")
DATABASE = click.option(
    "--database",
    metavar="URL",
    help="The PostgreSQL that all share [env BULK_DELETE_DATABASE_URL, BULK_DELETE_DATABASE_URL_FILE].",
)

USER_ID = click.option("--user-id", metavar="ID", help="The user whose numbers a list holds.")
