"""What a verb hands back to the command line: its exit code, and its result for scripts and for people."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from runner.errors import Exit

__all__ = ["Shown"]


@dataclass(frozen=True, slots=True)
class Shown:
    """A verb's end.

    Args:
        exit_code: The process's.
        result: As JSON shows it.
        text: Makes the same in words, only where it is wanted.
    """

    exit_code: Exit
    result: Mapping[str, Any]
    text: Callable[[], str]
