"""The call that a command line is: its screen, how it reaches the vendor, how it ends.

Shared by the files that read command lines (`cli`, `cli_cluster`). Heavy modules are imported when they are
needed, so that `--help` is quick.
"""

import os
from typing import TYPE_CHECKING, NoReturn

import click

from runner.commands.command_call import CommandCall

if TYPE_CHECKING:
    from runner.access import Access
    from runner.commands.command_call import CommandResult
    from runner.options import AccessOptions, OutputOptions
    from runner.output.console import Console
    from runner.output.results import Result

__all__ = ["end", "open_access", "open_screen", "told_screen"]


def _call() -> CommandCall:
    """Return what is known of this call."""
    return click.get_current_context().ensure_object(CommandCall)


def open_screen(output: "OutputOptions") -> "Console":
    """Open the screen of this call."""
    return _call().open(output)


def told_screen(output: "OutputOptions", access: "AccessOptions") -> "Console":
    """Open the screen of a call that sends, and tell whoever is to hear of it that it starts."""
    screen = open_screen(output)
    _call().begin_telling(access.config, proxy_from_env=access.proxy_from_env)
    return screen


def open_access(access: "AccessOptions", screen: "Console") -> "Access":
    """Return how the vendor is reached; raises Refused where the URL or the token is no good."""
    from runner.access import read_access  # noqa: PLC0415 - see above

    found = read_access(access, os.environ)
    screen.hide(found.token)
    return found


def end(done: "CommandResult[Result]") -> NoReturn:
    """Write a verb's result and leave with its code."""
    raise SystemExit(_call().end(done))
