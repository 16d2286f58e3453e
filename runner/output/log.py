"""Log lines: one an event, with its date and offset, for people or as JSON.

An event is a sentence in plain words; what the server or a file says goes into fields, cleaned, so that
nothing in a line is obeyed by a terminal. Lines go to a function; what becomes of them is its matter.
"""

from collections.abc import Callable, MutableMapping
from typing import Any, Final, cast

import orjson
import structlog

from runner.process import utc_now
from runner.text import printable

__all__ = ["Log", "make_log"]

Log = structlog.typing.FilteringBoundLogger
_COLOURS: Final = {"warning": "\x1b[33m", "error": "\x1b[31m"}
_PLAIN: Final = "\x1b[0m"
_Event = MutableMapping[str, Any]


def make_log(write: Callable[[str], None], *, level: int, as_json: bool, colour: bool) -> Log:
    """Return a logger.

    Args:
        write: Gets each line, without its end.
        level: The lowest level of `logging` that is written.
        as_json: Each line is an object: `at`, `level`, `event`, then the fields.
        colour: Levels that matter are coloured (text only).
    """
    render = _as_json if as_json else _as_text(colour=colour)
    log = structlog.wrap_logger(
        _LogLines(write),
        processors=[
            structlog.processors.add_log_level,
            _dated,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=False,
    )
    return cast("Log", log)


class _LogLines:
    """What structlog hands its lines to."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self.debug = self.info = self.warning = self.error = write


def _dated(_logger: Any, _method: str, event: _Event) -> _Event:
    """Put what every line has in front, date and offset first, and leave out what has no value."""
    at = utc_now().astimezone().isoformat(timespec="seconds")
    first = {"at": at, "level": event.pop("level"), "event": event.pop("event")}
    return {**first, **{name: value for name, value in event.items() if value is not None}}


def _as_json(_logger: Any, _method: str, event: _Event) -> str:
    # JSON escapes the lower control characters only; none of those that it leaves is part of its grammar.
    return printable(orjson.dumps(dict(event)).decode())


def _as_text(*, colour: bool) -> Callable[[Any, str, _Event], str]:
    def render(_logger: Any, _method: str, event: _Event) -> str:
        at, level, words = event.pop("at"), event.pop("level"), printable(event.pop("event"))
        if colour and level in _COLOURS:
            level = f"{_COLOURS[level]}{level}{_PLAIN}"
        fields = (f"{name}={printable(str(value))}" for name, value in event.items())
        return f"{at} {level}: {' '.join([words, *fields])}"

    return render
