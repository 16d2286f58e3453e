"""`pace`: what a run that is under way is doing, and an operator's orders to it."""

import os
from pathlib import Path
from typing import Final

import orjson

from runner.audit.reader import read_first
from runner.commands.command_call import CommandResult
from runner.commands.control_socket import ask, socket_of
from runner.errors import Refused, RunNames, speaking_of
from runner.invocation import command
from runner.locks import holder_of
from runner.options import PaceOptions
from runner.output.progress import block
from runner.output.results import error_in
from runner.output.run_results import PaceResult, named_again, read_pace
from runner.text import encodable

__all__ = ["pace"]

_PATIENCE_S: Final = 10.0
_COLUMNS: Final = 79


def pace(audit: Path, options: PaceOptions) -> CommandResult[PaceResult]:
    """Show what the run of an audit is doing, after the orders that are given.

    Raises:
        Refused: Nothing runs it, it cannot be reached, or it takes no such order just now.
    """
    with speaking_of(RunNames(audit=str(audit))):
        read_first(audit)
        found = _answer(audit, options)
    go_on = command("pace", audit, "--go-on") if found.paused else None
    result = named_again(found, audit=str(audit), plan=f"{audit}.plan", to_type=go_on)
    return CommandResult(result, lambda: _text(result))


def _answer(audit: Path, options: PaceOptions) -> PaceResult:
    try:
        answer = ask(socket_of(audit), _line(options), timeout_s=_PATIENCE_S)
        if (refusal := error_in(answer)) is not None:
            raise Refused(refusal.message, hint=refusal.hint or "")
        return read_pace(answer)
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise _nobody(audit) from error
    except TimeoutError as error:
        raise Refused(
            f"the run of {audit} did not answer within {_PATIENCE_S:g} s", hint="try again"
        ) from error
    except OSError as error:
        why = error.strerror or error
        raise Refused(f"the run of {audit} cannot be spoken to: {why}", hint="try again") from error
    except ValueError as error:
        hint = "try again; if it stays so, use the version that runs it"
        raise Refused(f"the run of {audit} gave no answer", hint=hint) from error


def _line(options: PaceOptions) -> bytes:
    order = {
        "rate": None if options.rate is None else str(options.rate),
        "pause": options.pause,
        "operator": None if options.operator is None else encodable(options.operator),
        "reason": None if options.reason is None else encodable(options.reason),
    }
    return orjson.dumps(order) + b"\n"


def _nobody(audit: Path) -> Refused:
    holder = holder_of(audit)
    if holder is None:
        return Refused(f"nothing runs {audit}", hint=f"how it stands: {command('status', audit)}")
    state = os.environ.get("XDG_STATE_HOME") or "not set"
    return Refused(
        f"{audit} is in the hands of {holder}, which takes no orders here",
        hint=f"it may have its state in another folder: XDG_STATE_HOME must be as there (here: {state})",
    )


def _text(result: PaceResult) -> str:
    figures = {name: getattr(result, name) for name in result.__struct_fields__}
    lines = [f"{result.audit}: {result.job}, run by process {result.pid}", *block(figures, _COLUMNS)]
    if result.message is not None:
        lines.append(result.message)
    if result.rate_allowed != result.rate_configured:
        lines.append(f"{result.rate_configured} configured: it is climbed to")
    if result.next is not None:
        lines.append(f"to let it go on: {result.next}")
    return "\n".join(lines)
