"""How a call of `run`, `resume` or `rerun` ended, as it is told: a word, a few lines, a JSON object. Pure.

Keeps promise 7 outside of this machine: every word has passed `redact` before it comes in here, so that no
message holds a token or a number in full.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson

from runner.audit.records import STATUSES, SummaryRecord
from runner.errors import Exit, RunNames
from runner.text import encodable, many, printable

__all__ = ["ENDS", "End", "Ending", "as_object", "as_text"]

End = Literal["complete", "partial", "stopped", "refused", "busy"]

ENDS: Final[Mapping[int, End]] = {
    Exit.OK: "complete",
    Exit.PARTIAL: "partial",
    Exit.REFUSED: "refused",
    Exit.STOPPED: "stopped",
    Exit.BUSY: "busy",
    Exit.SIGINT: "stopped",
    Exit.SIGTERM: "stopped",
}
"""Exit code → the word for it in `on = [...]`; the first three are also the audit's own words."""

_MOST_BYTES: Final = 2000
"""Of a message's text; WeCom, the strictest, takes 2048."""
_LONGEST_WORDS: Final = 500
_HEADLINES: Final[Mapping[End, str]] = {
    "complete": "all is confirmed",
    "partial": "it ran to its end, but not all is confirmed",
    "stopped": "stopped early",
    "refused": "refused, nothing was sent",
    "busy": "another run holds the origin or the audit; this one sent nothing",
}


@dataclass(frozen=True, slots=True)
class Ending:
    """How a call ended.

    Args:
        exit_code: The process's.
        names: Which run is spoken of, as far as that is known, and what to type next.
        why: In words; None where there is nothing to say.
        hint: What to do, beside a command to type.
        summary: The figures, if it came to sending.
        result: The object that `--json` writes.
        host: The machine's name.
        folder: Where the call was made: paths and the command are relative to it.
        ended_s: When, in seconds of Unix time.
    """

    exit_code: int
    names: RunNames
    why: str | None
    hint: str | None
    summary: SummaryRecord | None
    result: Mapping[str, Any]
    host: str
    folder: str
    ended_s: float

    @property
    def end(self) -> End:
        """The word for it."""
        return ENDS[self.exit_code]


def as_text(ending: Ending) -> str:
    """Return the message for people: plain lines, at most `_MOST_BYTES`, the command last and whole."""
    names = ending.names
    last = [encodable(f"type: {names.next}")] if names.next else []
    if len("".join(last).encode()) > _MOST_BYTES // 2:
        last = ["type: what `report` says; the command is too long for a message"]
    job = _short(names.job or "no job")
    first = [f"bulk-delete: {job}: {_HEADLINES[ending.end]} (exit code {ending.exit_code})"]
    first += _figures(ending.summary)
    first += [f"why: {_short(ending.why)}"] if ending.why else []
    first += [f"audit: {_short(names.audit)}"] if names.audit else []
    first += [f"hint: {_short(ending.hint)}"] if ending.hint else []
    first += [f"in: {_short(f'{ending.host}:{ending.folder}')}"]
    room = _MOST_BYTES - len("\n".join(["", *last]).encode())
    return "\n".join([_cut("\n".join(first), room), *last])


def _figures(summary: SummaryRecord | None) -> list[str]:
    if summary is None:
        return []
    figures = (f"{getattr(summary.phones, status):,} {status.replace('_', ' ')}" for status in STATUSES)
    return [f"numbers: {', '.join(figures)}; {many(summary.count, 'row')} deleted"]


def _short(text: str | None) -> str:
    """Return words in one line, and not too many of them."""
    line = printable(" ".join((text or "").split()))
    return line if len(line) <= _LONGEST_WORDS else f"{line[: _LONGEST_WORDS - 1]}…"


def _cut(text: str, most_bytes: int) -> str:
    raw = encodable(text).encode()
    return raw.decode() if len(raw) <= most_bytes else raw[: most_bytes - 3].decode("utf-8", "ignore") + "…"


def as_object(ending: Ending) -> bytes:
    """Return what a webhook and a command are given: the text for people, and the result for programs."""
    return orjson.dumps(
        {
            "text": as_text(ending),
            "end": ending.end,
            "exit_code": ending.exit_code,
            "job": ending.names.job,
            "host": ending.host,
            "folder": ending.folder,
            "result": dict(ending.result),
        }
    )
