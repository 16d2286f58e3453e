"""What a verb hands back to the command line: its result, for scripts and in words for people."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from runner.errors import Exit
from runner.output.results import Result

__all__ = ["Shown"]

_ResultT_co = TypeVar("_ResultT_co", bound=Result, covariant=True)


@dataclass(frozen=True, slots=True)
class Shown(Generic[_ResultT_co]):
    """A verb's end.

    Args:
        result: As `--json` writes it.
        text: Makes the same in words, only where it is wanted.
    """

    result: _ResultT_co
    text: Callable[[], str]

    @property
    def exit_code(self) -> Exit:
        """The process's exit code."""
        return Exit(self.result.exit_code)
