"""JSON-lines jobs: one request-shaped object a line, streamed.

Keeps promise 1 (a line without phones deletes nothing, whatever window it names: it is a fault) and promise 8
(one line is in memory at a time). As strict as a job file: unknown keys, keys that stand twice, nulls
and floats are faults. The names here are the API's own (API.md, body).
"""

import json
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, BinaryIO

from runner.errors import Fault, Faults, Refused
from runner.job import Entry
from runner.jobmodel import UNSAFE_USER_ID, check_phone
from runner.jobtext import MAX_FAULTS, json_pairs, repeated_key, shown_key
from runner.jobwords import unknown_key
from runner.model import Window, is_safe_user_id
from runner.windows import absolute_window

__all__ = ["MAX_LINE_BYTES", "REQUEST_KEYS", "read_requests"]

MAX_LINE_BYTES = 64 * 1024 * 1024
"""Of one line: some four million phones."""

REQUEST_KEYS = ("user_id", "phone", "created_at", "encryption")
_NEEDS_JOB_FILE = ("delete_window", "max_rows", "slice", "phone_file", "users", "tables", "limits", "safety")


class _LineFaults(Exception):
    """What is wrong with one line, in words."""

    def __init__(self, *words: str, column: int = 0) -> None:
        super().__init__(*words)
        self.words = words
        self.column = column


def read_requests(path: str, *, stdin: BinaryIO | None = None) -> Iterator[Entry]:
    """Stream a JSON-lines job (`-`: standard input): yields an entry a line, in order, in one pass.

    A line with an empty `phone` list yields an entry without phones: nothing to do, to be said aloud.

    Raises:
        Faults: Up to the first 20 faults, each with file and line, AFTER the good lines were yielded: whoever
            gets it keeps nothing of what was yielded.
        Refused: The file cannot be opened.
    """
    name = "standard input" if path == "-" else path
    faults: list[Fault] = []
    with _opened(path, stdin) as file:
        for number, raw in _lines(file, name):
            try:
                entry = _entry(raw, f"{name}:{number}", first=number == 1)
            except _LineFaults as found:
                place = f"{name}:{number}" + (f":{found.column}" if found.column else "")
                faults += [Fault(place, words) for words in found.words]
                if len(faults) >= MAX_FAULTS:
                    more = Fault("", "… and perhaps more: reading ended here")
                    raise Faults((*faults[:MAX_FAULTS], more)) from None
            else:
                if entry is not None and not faults:
                    yield entry
    if faults:
        raise Faults(tuple(faults))


def _opened(path: str, stdin: BinaryIO | None) -> Any:
    if path == "-":
        return nullcontext(stdin if stdin is not None else sys.stdin.buffer)
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}", hint="Check the path of the job.") from error


def _lines(file: BinaryIO, name: str) -> Iterator[tuple[int, bytes]]:
    """Yield numbered lines, split at line feeds only, none longer than `MAX_LINE_BYTES`."""
    number = 0
    while raw := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(raw) > MAX_LINE_BYTES:
            raise Faults((Fault(f"{name}:{number}", f"a line of more than {MAX_LINE_BYTES // 2**20} MiB"),))
        yield number, raw


def _entry(raw: bytes, place: str, *, first: bool) -> Entry | None:
    """Return the entry of one line, or None for a blank one."""
    try:
        text = raw.decode("utf-8-sig" if first else "utf-8")
    except UnicodeDecodeError as error:
        raise _LineFaults(f"not UTF-8 at byte {error.start} of the line") from None
    if not text.strip():
        return None
    try:
        data = json.loads(text, object_pairs_hook=json_pairs, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise _LineFaults(f"not JSON: {error.msg}", column=error.colno) from None
    except (RecursionError, ValueError):
        raise _LineFaults("not JSON that a request could be (too deep, NaN, or an endless number)") from None
    if not isinstance(data, dict):
        raise _LineFaults("a line is one object: user_id, phone, created_at, encryption")
    words = list(_faults(data))
    if words:
        raise _LineFaults(*words)
    return Entry(
        place=place,
        user_id=data["user_id"],
        phones=_phones(data["phone"]),
        windows=_windows(data),
        encryption=data.get("encryption", False),
    )


def _refuse_constant(name: str) -> float:
    raise ValueError(name)


def _faults(data: dict[str, Any]) -> Iterator[str]:
    """Yield everything that is wrong with one object."""
    twice = repeated_key(data)
    if twice is not None:
        yield f"the key `{shown_key(twice)}` stands twice"
    for key in data:
        if key not in REQUEST_KEYS:
            yield f"{shown_key(key)}: {_unknown(key)}"
    user_id = data.get("user_id")
    if "user_id" not in data:
        yield "user_id: is missing"
    elif not isinstance(user_id, str):
        yield "user_id: expected text"
    elif not is_safe_user_id(user_id):
        yield f"user_id: {UNSAFE_USER_ID}"
    yield from _phone_faults(data)
    if "created_at" in data:
        try:
            _windows(data)
        except ValueError as error:
            yield f"created_at: {error}"
    if not isinstance(data.get("encryption", False), bool):
        yield "encryption: expected true or false"


def _unknown(key: str) -> str:
    if key in _NEEDS_JOB_FILE:
        return "has no place in a JSON-lines job: use a job file (YAML, JSON or TOML)"
    return unknown_key(key, REQUEST_KEYS)


def _phone_faults(data: dict[str, Any]) -> Iterator[str]:
    if "phone" not in data:
        window = " (created_at alone would delete the whole window)" if "created_at" in data else ""
        yield f"phone: is missing{window}"
        return
    phones = data["phone"]
    if not isinstance(phones, list):
        yield "phone: expected a list"
        return
    for index, phone in enumerate(phones):
        if type(phone) is not str:
            try:
                check_phone(phone)
            except ValueError as error:
                yield f"phone[{index}]: {error}"
                return  # the first of a list is enough: its siblings are wrong in the same way


def _phones(phones: list[Any]) -> tuple[str, ...]:
    return tuple(phone if type(phone) is str else check_phone(phone) for phone in phones)


def _windows(data: dict[str, Any]) -> tuple[Window, ...]:
    if "created_at" not in data:
        return ()
    pair = data["created_at"]
    if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(end, str) for end in pair):
        raise ValueError("expected two texts: [from, to], both included")
    return (absolute_window(pair[0], pair[1]),)
