"""JSON-lines jobs: one request-shaped object a line, streamed.

Keeps promise 1 (a line without phones deletes nothing, whatever window it names: it is a fault) and promise 8
(a line at a time is in memory, and of a long one a piece). As strict as a job file: unknown keys, keys that
stand twice, nulls and floats are faults. The names here are the API's own (README, vendor's API).
"""

import json
import tempfile
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing
from typing import IO, Any

from runner.errors import Fault, Faults
from runner.job.document import MAX_FAULTS, TWICE, half_character, shown_key
from runner.job.entries import Entry
from runner.job.json_text import ESCAPED_HALF, fault_of_keys, json_decoder
from runner.job.long_line import BadLine, LongLine
from runner.job.messages import unknown_key
from runner.job.values import check_phone, check_user_id
from runner.job.windows import absolute_window
from runner.lists.decode import Readable, Source, open_source
from runner.model import Window

__all__ = ["MAX_HELD_BYTES", "REQUEST_KEYS", "read_requests"]

MAX_HELD_BYTES = 1024 * 1024
"""Of one line in memory; a longer one lies in a private temporary file while it is read, twice."""

REQUEST_KEYS = ("user_id", "phone", "created_at", "encryption")
_NEEDS_JOB_FILE = ("delete_window", "max_rows", "slice", "phone_file", "users", "tables", "limits", "safety")


def read_requests(path: str, *, stdin: Readable | None = None) -> Iterator[Entry]:
    """Stream a JSON-lines job (packed as .gz or .zst too), in order, in one pass.

    `-` is `stdin`, by default `sys.stdin.buffer`.

    Yields an entry a line; of a line longer than `MAX_HELD_BYTES`, several with the same place. An empty
    `phone` list yields an entry without phones: nothing to do, to be said aloud.

    Raises:
        Faults: Up to the first 20 faults, each with file and line, AFTER the good lines before them were
            yielded: whoever gets it keeps nothing of what was yielded.
        Fault: The file cannot be opened, is damaged, or changed while it was read.
    """
    faults: list[Fault] = []
    with open_source(path, "", stdin=stdin) as source, closing(_lines(source)) as lines:
        for number, line in lines:
            place = f"{source.name}:{number}"
            try:
                for entry in _entries(line, place, first=number == 1):
                    if not faults:
                        yield entry
            except BadLine as bad:
                at = f"{place}:{bad.column}" if bad.column else place
                faults += [Fault(at, words) for words in bad.words]
            if len(faults) >= MAX_FAULTS:
                more = Fault("", "… and perhaps more: reading ended here")
                raise Faults((*faults[:MAX_FAULTS], more))
    if faults:
        raise Faults(tuple(faults))


def _lines(source: Source) -> Generator[tuple[int, bytes | IO[bytes]], None, None]:
    """Yield numbered lines, split at line feeds only; a long one as the file that holds it."""
    number, held, spool = 1, bytearray(), None
    with ExitStack() as closes:
        for block in source.blocks():
            *ended, rest = block.split(b"\n")
            for part in ended:
                if spool is None:
                    yield number, bytes(held) + part
                else:
                    _append(spool, part)
                    yield number, spool
                    closes.close()
                    spool = None
                held.clear()
                number += 1
            held += rest
            if spool is not None or len(held) > MAX_HELD_BYTES:
                if spool is None:
                    spool = closes.enter_context(tempfile.TemporaryFile(prefix="bulk-delete-"))
                _append(spool, held)
                held.clear()
        if spool is not None or held:
            yield number, spool if spool is not None else bytes(held)


def _append(spool: IO[bytes], part: bytes | bytearray) -> None:
    try:
        spool.write(part)
    except OSError as error:
        raise Fault("", f"no room for a long line in the temporary folder: {error.strerror}") from error


def _entries(line: bytes | IO[bytes], place: str, *, first: bool) -> Iterator[Entry]:
    if not isinstance(line, bytes):
        yield from _long_entries(line, place)
        return
    data = _object(line, first=first)
    if data is None:
        return
    words = (*_faults(data), *_phone_faults(data.get("phone", []), 0))
    if words:
        raise BadLine(*words)
    yield _entry(data, data["phone"], place)


def _long_entries(file: IO[bytes], place: str) -> Iterator[Entry]:
    """Check a long line whole, then yield it in pieces."""
    data: dict[str, Any] = {}
    words: list[str] = []
    count = 0
    for key, value in LongLine(file).parts():
        if key == "phone" and value and isinstance(value, list) and isinstance(data.get(key), list):
            words += () if words else _phone_faults(value, count)
            count += len(value)
            continue
        if key in data:
            words.append(TWICE.format(shown_key(key)))
        data[key] = value
    words += _faults(data)
    if words:
        raise BadLine(*words)
    if not count:
        yield _entry(data, [], place)
    for key, value in LongLine(file).parts():
        if key == "phone" and value:
            yield _entry(data, value, place)


def _object(raw: bytes, *, first: bool) -> dict[str, Any] | None:
    """Return the object of one line, or None for a blank one."""
    try:
        text = raw.decode("utf-8-sig" if first else "utf-8").strip(" \t\r")
    except UnicodeDecodeError as error:
        raise BadLine(f"not UTF-8 at byte {error.start} of the line") from None
    if not text:
        return None
    try:
        data = json_decoder.decode(text)
    except json.JSONDecodeError as error:
        raise BadLine(f"not JSON: {error.msg}", column=error.colno) from None
    except RecursionError:
        raise BadLine("not JSON that a request could be: too deep") from None
    if ESCAPED_HALF.search(text):
        _refuse_halves(data)
    if not isinstance(data, dict):
        raise BadLine(f"a line is one object: {', '.join(REQUEST_KEYS)}")
    return data


def _refuse_halves(data: object) -> None:
    phones = data.get("phone") if isinstance(data, dict) else None
    for index, phone in enumerate(phones if isinstance(phones, list) else ()):
        words = half_character(phone) if isinstance(phone, str) else None
        if words:
            raise BadLine(f"phone[{index}]: {words}")


def _entry(data: dict[str, Any], phones: list[Any], place: str) -> Entry:
    return Entry(
        place=place,
        user_id=check_user_id(data["user_id"]),
        phones=tuple(phone if type(phone) is str else check_phone(phone) for phone in phones),
        windows=_windows(data),
        encryption=data.get("encryption", False),
    )


def _faults(data: dict[str, Any]) -> Iterator[str]:
    """Yield everything that is wrong with one object, but for the phones in its list."""
    if fault_of_keys(data):
        yield fault_of_keys(data)
    for key in data:
        if key not in REQUEST_KEYS:
            yield f"{shown_key(key)}: {_unknown(key)}"
    if "user_id" not in data:
        yield "user_id: is missing"
    else:
        try:
            check_user_id(data["user_id"])
        except ValueError as error:
            yield f"user_id: {error}"
    if "phone" not in data:
        window = " (created_at alone would delete the whole window)" if "created_at" in data else ""
        yield f"phone: is missing{window}"
    elif not isinstance(data["phone"], list):
        yield "phone: expected a list"
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


def _phone_faults(phones: object, before: int) -> Iterator[str]:
    """Yield the first fault of a list of phones (its siblings are wrong in the same way)."""
    for index, phone in enumerate(phones if isinstance(phones, list) else ()):
        if type(phone) is not str:
            try:
                check_phone(phone)
            except ValueError as error:
                yield f"phone[{before + index}]: {error}"
                return


def _windows(data: dict[str, Any]) -> tuple[Window, ...]:
    if "created_at" not in data:
        return ()
    pair = data["created_at"]
    if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(end, str) for end in pair):
        raise ValueError("expected two texts: [from, to], both included")
    return (absolute_window(pair[0], pair[1]),)
