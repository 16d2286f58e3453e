"""How the command line explains itself: help in groups, an example for each verb, what is wrong with a line.

Owns the words for a bad command line, so that they are those of every other error: lower case, the place
first, what to do after it. It decides nothing, and imports nothing heavy.
"""

import sys
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from functools import cached_property
from typing import Any, Final

import click
from click.exceptions import NoArgsIsHelpError

__all__ = ["COMPLETION", "EXIT_CODES", "FLAGS", "Verb", "Verbs", "complete", "exit_codes", "misuse"]

COMPLETION: Final = "_BULK_DELETE_COMPLETE"
"""Set by a shell that wants a line completed, or the script that does so."""

EXIT_CODES: Final = (
    (0, "every batch was confirmed by the server, or there was nothing to do", ""),
    (1, "finished, but some batches are `failed`, `unknown` or `not_sent`", "`report`, then `rerun`"),
    (2, "nothing was sent: command line, job, list, evidence or a safety rule", "read the message"),
    (3, "stopped early: token, redirect, breaker, a cap, deadline, audit or plan", "mend it, then `resume`"),
    (4, "another run holds the origin or the audit", "wait, or `--wait`"),
    (130, "SIGINT (ctrl-C): what was under way was finished", "`resume`"),
    (143, "SIGTERM or SIGHUP, likewise", "`resume`"),
)
"""Code, what it means, what to do."""
FLAGS: Final = (
    ("The vendor", ("base_url", "token_file", "ca_file", "proxy_from_env")),
    ("Limits", ("rate", "rate_from", "concurrency", "timeout_s", "max_attempts", "deadline_s")),
    ("The audit", ("audit", "or_resume", "audit_phones", "reason", "operator")),
    ("Questions", ("yes", "accept_size", "stale_ok", "wait")),
    ("Output", ("as_json", "quiet", "verbose", "log_format", "config")),
)
_FOREIGN: Final = (
    ("is not a valid float range", "is no number"),
    ("is not a valid integer range", "is no whole number"),
    ("is not a valid integer", "is no whole number"),
    ("is not in the range", "is not within"),
    ("requires an argument", "needs a value"),
    ("does not take a value", "takes no value"),
    ("Got unexpected extra arguments", "too many arguments:"),
    ("Got unexpected extra argument", "one argument too many:"),
)
"""What the parser says of a value, and what we say."""


class Verb(click.Command):
    """One verb; its help has an example, and its flags in groups.

    Args:
        example: What somebody could type, without the program's name.
    """

    def __init__(self, *args: Any, example: str = "", **attrs: Any) -> None:
        super().__init__(*args, **attrs)
        self.example = example

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the line; what is wrong with it is known to be this verb's."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            raise

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the verb's own flags, then the shared ones by what they are about."""
        flags = [param for param in self.get_params(ctx) if isinstance(param, click.Option)]
        shown = {str(flag.name): flag.get_help_record(ctx) for flag in flags}
        rows = {name: record for name, record in shown.items() if record is not None}
        shared = {name for _, names in FLAGS for name in names}
        own = ("Options", [name for name in rows if name not in shared])
        for title, names in (own, *FLAGS):
            held = [rows[name] for name in names if name in rows]
            if held:
                with formatter.section(title):
                    formatter.write_dl(held)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the example, then what else there is to say."""
        if self.example:
            with formatter.section("For example"):
                formatter.write_text(f"bulk-delete {self.example}")
        super().format_epilog(ctx, formatter)


class Verbs(click.Group):
    """Verbs, which are loaded when one is called: to list them takes the lines of help alone.

    Args:
        groups: Titles, and the verbs below each with a line of help.
        load: Returns the verbs by name.
    """

    command_class = Verb

    def __init__(
        self,
        *args: Any,
        groups: Mapping[str, Mapping[str, str]],
        load: Callable[[], dict[str, click.Command]] = dict,
        **attrs: Any,
    ) -> None:
        super().__init__(*args, **attrs)
        self.groups = groups
        self._load = load
        del self.commands

    @cached_property
    def commands(self) -> MutableMapping[str, click.Command]:  # type: ignore[override]  # set there, made here
        """The verbs by name."""
        return self._load()

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each verb with its line, by when one needs it."""
        del ctx
        for title, lines in self.groups.items():
            with formatter.section(title):
                formatter.write_dl([*lines.items()])


def exit_codes(*of: int) -> str:
    """Return the exit codes for a help: all, or those of a verb that sends nothing, where 0 is: done."""
    rows = [(0, "done", "")] * (0 in of) + [row for row in EXIT_CODES if not of or (row[0] in of and row[0])]
    lines = (f"  {code:>3}  {': '.join(filter(None, (means, do)))}" for code, means, do in rows)
    return "\b\nExit codes:\n" + "\n".join(lines)


def complete(cli: click.Command) -> None:
    """Answer a shell that wants something completed, and leave; on plain streams, for it writes bytes."""
    cli.main(prog_name="bulk-delete", complete_var=COMPLETION)
    sys.exit(1)


def misuse(error: click.ClickException) -> str:
    """Return what is wrong with a command line, as every other error says it."""
    if isinstance(error, NoArgsIsHelpError):
        return f"a command is missing: {_verbs(error.ctx)}"
    if isinstance(error, click.NoSuchOption):
        return f"there is no option {error.option_name}{_meant(error.possibilities)}"
    if isinstance(error, click.NoSuchCommand):
        return f"there is no command {error.command_name}{_meant(error.possibilities)}"
    if isinstance(error, click.BadParameter) and error.param is not None:
        missing = isinstance(error, click.MissingParameter)
        return (
            f"{_name(error.param)} is missing" if missing else f"{_name(error.param)}: {_told(error.message)}"
        )
    said = error.format_message()
    if isinstance(error, click.BadOptionUsage):
        said = said.replace(f"Option {error.option_name!r}", error.option_name)
    return _told(said)


def _verbs(ctx: click.Context | None) -> str:
    known = ctx.command.commands if ctx is not None and isinstance(ctx.command, click.Group) else {}
    return ", ".join(known)


def _name(param: click.Parameter) -> str:
    if isinstance(param, click.Option):
        return param.opts[0]
    return (param.metavar or str(param.name).upper()).removesuffix("...")


def _meant(possibilities: Sequence[str] | None) -> str:
    return f": is {' or '.join(possibilities)} meant?" if possibilities else ""


def _told(message: str) -> str:
    """Return a foreign sentence as a part of one of ours."""
    said = message.strip().removesuffix(".")
    for theirs, ours in _FOREIGN:
        said = said.replace(theirs, ours)
    return said[:1].lower() + said[1:] if said[1:2].islower() else said
