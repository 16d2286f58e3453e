"""The way into a call and out of it: its screen, its result, its errors, and the one exit code.

Keeps the promise that the code says what became of the run: from the moment a run has its end nothing that
goes wrong with showing it, and no signal, makes it another one. Imports what it needs when it needs it, so
that `--help` is quick.
"""

import os
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import orjson

from runner.errors import Exit, in_our_words
from runner.options import OutputOptions

if TYPE_CHECKING:
    from runner.commands.shown import Shown
    from runner.output.console import Console

__all__ = ["Door"]


@dataclass(slots=True)
class Door:
    """What is known of a call, from its first flag to its exit code."""

    output: OutputOptions = field(default_factory=OutputOptions)
    _screen: "Console | None" = None

    @property
    def screen(self) -> "Console":
        """The verb's screen; a plain one as long as nobody has said how."""
        if self._screen is None:
            self.open(self.output)
        assert self._screen is not None  # noqa: S101 - just opened
        return self._screen

    def open(self, output: OutputOptions) -> "Console":
        """Open the screen as the flags say, and warn of variables that mean nothing."""
        from runner.access import environment_warnings  # noqa: PLC0415
        from runner.output.console import Console, Verbosity  # noqa: PLC0415
        from runner.process import hold_signals  # noqa: PLC0415

        self.output = output
        verbosity = Verbosity(output.quiet, output.verbose, log_json=output.log_format == "json")
        self._screen = Console(verbosity, on_settled=hold_signals)
        for warning in environment_warnings(os.environ):
            self._screen.warn(warning)
        return self._screen

    def end(self, shown: "Shown") -> int:
        """Write a verb's result to standard output and return the exit code.

        All is decided and written down: a signal from now on changes nothing. A result that cannot be shown
        costs a verb that only reads its code; what a run did stays what it is.
        """
        from runner.process import hold_signals  # noqa: PLC0415

        hold_signals()
        try:
            text = orjson.dumps(shown.result).decode() if self.output.as_json else shown.text()
            self.screen.result(text)
        except Exception as error:  # noqa: BLE001 - whatever it is, the code is known
            return self.explain(error)
        return int(shown.exit_code)

    def explain(self, error: Exception) -> int:
        """Say what went wrong in words for a person, and return the exit code."""
        from runner.access import Token, looks_like_token  # noqa: PLC0415

        told = in_our_words(error)
        for word in filter(looks_like_token, sys.argv[1:]):
            self.screen.hide(Token(word))  # given by mistake, in the place of a job or an audit
        self.screen.show_error(told)
        return self.code(told.exit_code)

    def interrupted(self) -> int:
        """Say that ctrl-C came, and return the exit code."""
        if self._screen is None or self._screen.settled is None:
            self.screen.say("interrupted; nothing was sent")
        return self.code(Exit.SIGINT)

    def code(self, otherwise: int) -> int:
        """Return the exit code: that of the run, if there was one that has its end."""
        settled = None if self._screen is None else self._screen.settled
        return int(otherwise if settled is None else settled)

    def flush(self) -> int:
        """Hand on what others (click's help) wrote to standard output, and return the exit code."""
        try:
            sys.stdout.flush()
        except Exception as error:  # noqa: BLE001 - told like any other
            return self.explain(error)
        return int(Exit.OK)
