"""One call of a command, from its first flag to its exit code: its screen, its result, its errors.

Keeps the promise that the code says what became of the run: from the moment a run has its end nothing that
goes wrong with showing it, and no signal, makes it another one. Imports what it needs when it needs it, so
that `--help` is quick.
"""

import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from runner.errors import Exit, Interrupted, RunnerError, in_our_words

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from runner.commands.telling import Telling
    from runner.options import OutputOptions
    from runner.output.console import Console
    from runner.output.results import Result

__all__ = ["CommandCall", "CommandResult"]

_ResultT_co = TypeVar("_ResultT_co", bound="Result", covariant=True)


@dataclass(frozen=True, slots=True)
class CommandResult(Generic[_ResultT_co]):
    """A verb's end.

    Args:
        result: As `--json` writes it.
        text: Makes the same in words, only where it is wanted.
        cause: Why not all of a run is confirmed, in a few words, for messages.
    """

    result: _ResultT_co
    text: "Callable[[], str]"
    cause: str = ""

    @property
    def exit_code(self) -> Exit:
        """The process's exit code."""
        return Exit(self.result.exit_code)


class CommandCall:
    """What is known of a call, from its first flag to its exit code."""

    def __init__(self) -> None:
        self._as_json = False
        self._screen: Console | None = None
        self._telling: Telling | None = None
        self._ended: CommandResult[Result] | None = None

    @property
    def screen(self) -> "Console":
        """The verb's screen; a plain one as long as nobody has said how."""
        from runner.options import OutputOptions

        return self._screen or self.open(OutputOptions())

    def open(self, output: "OutputOptions") -> "Console":
        """Open the screen as the flags say, and warn of variables that mean nothing."""
        from runner.access import environment_warnings
        from runner.output.console import Console
        from runner.process import hold_signals

        self._as_json = output.as_json
        self._screen = Console(output, on_settled=hold_signals)
        for warning in environment_warnings(os.environ):
            self._screen.warn(warning)
        return self._screen

    def begin_telling(self, config: "Path | None", *, proxy_from_env: bool) -> None:
        """Tell that a run starts, where a configuration says whom; from now on its end is told too.

        Args:
            config: The configuration that was named; None: the default one, where there is one.
            proxy_from_env: Go through the proxy that the environment names.

        Raises:
            Refused: The configuration cannot be read, or something is wrong in it.
        """
        from runner.config.find import find_config

        if (path := find_config(config, os.environ)) is not None:
            from runner.commands.telling import Telling

            self._telling = Telling.begin(path, self.screen, proxy_from_env=proxy_from_env)

    def begin_telling_misuse(self) -> None:
        """Do the same for a command line that was not understood: its flags are looked for word by word."""
        from runner.config.find import named_config

        words = sys.argv[1:]
        try:
            self.begin_telling(named_config(words), proxy_from_env="--proxy-from-env" in words)
        except RunnerError as error:
            self.screen.warn(error.message)

    def tell_end(self, exit_code: int) -> None:
        """Tell how it ended, where somebody was told that it starts."""
        if self._telling is not None and self._ended is not None:
            self._telling.end(exit_code, self._ended.result, self._ended.cause)

    def end(self, done: "CommandResult[Result]") -> int:
        """Write a verb's result to standard output and return the exit code.

        All is decided and written down: a signal from now on changes nothing. A result that cannot be done
        costs a verb that only reads its code; what a run did stays what it is.
        """
        from runner.output.results import as_json
        from runner.process import hold_signals

        hold_signals()
        self._ended = done
        if self.settled is not None:
            self.screen.settle(done.exit_code)  # `demo` judges its run, and its verdict is the code
        try:
            self.screen.result(as_json(done.result).decode() if self._as_json else done.text())
        except Exception as error:  # noqa: BLE001 - whatever it is, the code is known
            return self.explain(error)
        return int(done.exit_code)

    def explain(self, error: Exception) -> int:
        """Say what went wrong, where --json was asked for as an object too, and return the exit code."""
        from runner.access import Token, tokens_among

        told = in_our_words(error)
        for word in tokens_among(sys.argv[1:], os.environ):
            self.screen.hide(Token(word))  # given by mistake, in the place of a job or an audit
        self.screen.show_error(told)
        self._note_error(told)
        return self.code(told.exit_code)

    def left(self, leave: SystemExit) -> int:
        """Return the exit code of a verb that has left: by itself, or because a signal came."""
        from runner.process import Terminated, hold_signals

        if isinstance(leave, Terminated):
            hold_signals()
            return self.interrupted("SIGTERM", Exit.SIGTERM)
        return self.code(leave.code if isinstance(leave.code, int) else Exit.REFUSED)

    def interrupted(self, signal: str, code: Exit) -> int:
        """Say that a signal came, and return the exit code."""
        if self.settled is None:
            told = Interrupted(signal, code)
            self.screen.say(told.message)
            self._note_error(told)
        return self.code(code)

    def _note_error(self, error: RunnerError) -> None:
        """Keep the error as the result of a verb that has no other, and write it where that was asked for.

        The flags may not have been read yet.
        """
        from runner.output.results import as_json, error_result

        result = error_result(error)
        if self._ended is None:
            self._ended = CommandResult(result, lambda: error.message)
        if self.settled is None and (self._as_json or "--json" in sys.argv[1:]):
            with suppress(RunnerError):  # it was said on standard error
                self.screen.result(as_json(result).decode())

    @property
    def settled(self) -> Exit | None:
        """The exit code of the run, if there was one that has its end."""
        return None if self._screen is None else self._screen.settled

    def code(self, otherwise: int) -> int:
        """Return the exit code: that of the run, if there was one that has its end."""
        return int(otherwise if self.settled is None else self.settled)

    def flush(self) -> int:
        """Hand on what others (click's help) wrote to standard output, and return the exit code."""
        try:
            sys.stdout.flush()
        except Exception as error:  # noqa: BLE001 - told like any other
            return self.explain(error)
        return int(Exit.OK)
