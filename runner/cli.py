"""The command line: calls a verb, and turns errors into exit codes.

Nothing else is decided here. What a verb needs is loaded when it is called, so that `--help` is quick. No
traceback reaches the screen: a foreign exception is a bug, and is told in one line without values.
"""

import os
import sys
from typing import Final

import click

from runner.commands import VERBS
from runner.commands.command_call import CommandCall
from runner.errors import Exit, Refused
from runner.usage import COMPLETION, Verbs, complete, exit_codes, misuse
from runner.version import __version__

__all__ = ["cli", "main"]

_SENDING: Final = {"run", "resume", "rerun"}
"""Verbs of which somebody may want to hear."""
_CONTEXT: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


def _load() -> dict[str, click.Command]:
    from runner.cli_verbs import verbs

    return dict(verbs.commands)


@click.group(cls=Verbs, groups=VERBS, load=_load, context_settings=_CONTEXT, epilog=exit_codes())
@click.version_option(__version__, prog_name="bulk-delete")
def cli() -> None:
    """Delete phone numbers from a vendor's customer pool: plan, confirm, send, audit.

    The token comes from BULK_DELETE_TOKEN or a token file, never from the command line. Rehearse first:
    `demo` needs nothing, `sandbox` stands in for the vendor, `plan` shows what `run` would do.
    """


def main() -> None:
    """Run the program; the entry point of `bulk-delete` and `python -m runner`."""
    from runner.process import harden, ignore_signals
    from runner.streams import open_streams

    if os.environ.get(COMPLETION):
        complete(cli)
    open_streams()
    harden()
    call = CommandCall()
    code = _run_cli(call)
    call.tell_end(code)
    ignore_signals()
    sys.exit(code)


def _run_cli(call: CommandCall) -> int:
    """Run the command line and return the exit code; after an error no signal is heard any more."""
    from runner.process import hold_signals

    try:
        cli.main(standalone_mode=False, obj=call)
        return call.flush()
    except SystemExit as leave:
        return call.left(leave)
    except click.exceptions.Exit as leave:
        return call.flush() or leave.exit_code
    except (click.Abort, KeyboardInterrupt):
        hold_signals()
        return call.interrupted("SIGINT", Exit.SIGINT)
    except click.ClickException as error:
        hold_signals()
        if _SENDING.intersection(_verb_of(error)[:1]) and "--dry-run" not in sys.argv:
            call.begin_telling_misuse()
        return call.explain(_misused(error))
    except Exception as error:  # noqa: BLE001 - the last call: a traceback on a screen may show a number
        hold_signals()
        return call.explain(error)


def _verb_of(error: click.ClickException) -> tuple[str, ...]:
    """Return the words of the verb whose command line was not understood; none: not even that was."""
    found: list[str] = []
    context: click.Context | None = getattr(error, "ctx", None)
    while context is not None and context.parent is not None:
        found.insert(0, str(context.info_name))
        context = context.parent
    return tuple(found)


def _misused(error: click.ClickException) -> Refused:
    """Return a bad command line as an error of ours."""
    from runner.invocation import command

    return Refused(misuse(error), hint=f"see: {command(*_verb_of(error), '--help')}")
