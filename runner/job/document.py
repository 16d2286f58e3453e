"""One job file as data, with the place of each value and the faults found so far.

Keeps the promise that every fault is named with a place that a person can find, and that values never stand
in a message: they may be phone numbers or secrets. What reads the formats (`yaml_text`, `json_text`,
`toml_text`) makes these documents; nothing here knows one.
"""

from collections.abc import Callable, Sequence
from typing import Any

from runner.errors import Fault
from runner.phones import mask_text
from runner.text import printable

__all__ = [
    "MAX_DEPTH",
    "MAX_FAULTS",
    "MAX_KEYS",
    "MAX_MAPPINGS",
    "MAX_VALUES",
    "NO_VALUE",
    "ODD_NUMBER",
    "TOO_DEEP",
    "TOO_MANY_KEYS",
    "TOO_MANY_VALUES",
    "TWICE",
    "DateText",
    "Document",
    "Position",
    "Steps",
    "dotted",
    "first_faults",
    "half_character",
    "one_line",
    "shown_key",
]

MAX_FAULTS = 20
"""Faults shown at once: about one screen."""
MAX_DEPTH = 32
"""Levels of one value in another; a job has five."""
MAX_KEYS = 1_000
"""Keys of one mapping; a job's have a dozen."""
MAX_MAPPINGS = 150_000
"""Of one job file: with all that is made of them they fit into 300 MB."""
MAX_VALUES = 1_000_000
"""Of one job file, for the same reason."""

_MAX_LOCATED = 200

NO_VALUE = "has no value: give it one, or leave the key out"
"""Null means nothing in a job, and "nothing" where a list should stand is how windows widen."""
ODD_NUMBER = "it would be read as another number than stands here: write plain digits, or put it in quotes"
TWICE = "the key `{}` stands twice"
TOO_DEEP = "nested too deeply"
TOO_MANY_KEYS = f"more than {MAX_KEYS:,} keys in one place"
TOO_MANY_VALUES = (
    f"more than {MAX_VALUES:,} values, or {MAX_MAPPINGS:,} groups of keys: put numbers into a file named by "
    "phone_file, or write a JSON-lines job"
)

Steps = tuple[str | int, ...]
"""The way from the top of a file to a value: `("users", 0, "phone")`."""
Position = tuple[int, int]
"""Line and column, both from 1; 0 where it is not known."""
Locate = Callable[[Steps, bool], Position]


class DateText(str):
    """A date that a format knows as one, as text: right in a window, and no phone or user id."""

    __slots__ = ()


def _nowhere(path: Steps, at_key: bool) -> Position:
    del path, at_key
    return 0, 0


class Document:
    """One job file as data, with the faults found in it so far."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.data: Any = None
        self.locate: Locate = _nowhere
        self.more = 0
        self._found: dict[tuple[Position, str], Fault] = {}

    def place(self, path: Steps) -> str:
        """Return where a value stands, to the line: `jobs/a.yaml:12`, or `jobs/a.toml users[0]`."""
        line = self.locate(path, False)[0]
        return f"{self.name}:{line}" if line else f"{self.name} {dotted(path)}".rstrip()

    def add(self, path: Steps, message: str, *, at_key: bool = False) -> None:
        """Note a fault of the value at `path`, or of its key; one place has one fault, the first."""
        if len(self._found) < _MAX_LOCATED:
            self.add_at(self.locate(path, at_key), message, of=dotted(path))
        else:
            self.more += 1

    def add_at(self, at: Position, message: str, *, of: str = "") -> None:
        """Note a fault at a line and column; beyond the first 200 they are only counted, in `more`."""
        key = (at, "" if at[1] else of)
        if len(self._found) >= _MAX_LOCATED:
            self.more += 1
        elif key not in self._found:
            place = ":".join((self.name, *(str(part) for part in at if part)))
            self._found[key] = Fault(place, f"{of}: {message}" if of else message)

    @property
    def is_sound(self) -> bool:
        """No fault was found so far."""
        return not self._found

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The faults in the order in which they stand, or were found where that is not known."""
        return tuple(fault for _, fault in sorted(self._found.items(), key=lambda item: item[0][0]))


def first_faults(faults: Sequence[Fault], more: int = 0) -> tuple[Fault, ...]:
    """Return one screen of faults; the last says how many more, with `more` uncollected ones."""
    more += max(0, len(faults) - MAX_FAULTS)
    return (*faults[:MAX_FAULTS], Fault("", f"… and {more:,} more faults")) if more else tuple(faults)


def shown_key(key: str) -> str:
    """Return a key as it may stand in a message: short, in one line, and without a phone number."""
    return one_line(key[:40])


def one_line(text: str) -> str:
    """Return a parser's words as they may be shown: bounded, in one line, no number in full."""
    line = (text.splitlines() or [""])[0][:160]
    return mask_text(printable(line))


def dotted(path: Steps) -> str:
    """Return `users[0].phone[3]`."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{shown_key(step)}" for step in path)
    return "".join(steps).removeprefix(".")


def half_character(text: str) -> str | None:
    r"""Return words for a text with half of a character in it (`\ud83d` alone), which no file can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return "half of a character (an escape such as \\ud83d without its other half)"
    return None
