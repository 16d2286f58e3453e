"""JOB arguments of the command line to one `Job`: what each of them is, and how several become one.

Keeps the promise that several jobs in one run are one plan: they have the same limits and safety rules, or
the run is refused. What a file is, its content says. A list needs `--user-id`, and a list's numbers go to no
other user. Standard input is only looked at here: whoever reads it later gets every byte.
"""

import io
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

from runner.errors import Fault, Faults, Refused
from runner.invocation import command
from runner.job.document import first_faults
from runner.job.entries import Entry, Job
from runner.job.json_text import json_decoder
from runner.job.read import default_name, read_job_file
from runner.job.requests import REQUEST_KEYS, read_requests
from runner.job.schema import job_schema
from runner.lists.decode import open_source
from runner.lists.rows import ListSpec
from runner.model import is_safe_user_id
from runner.phones import PHONE_RULES
from runner.settings import Limits, LimitsGiven, Safety

__all__ = ["job_schema", "read_jobs", "read_requests"]

Kind = Literal["job", "requests", "list"]

_HEAD_BYTES = 64 * 1024
_MAX_NAME = 80
_JOB_SUFFIXES = {".yaml", ".yml", ".toml"}
_LINES_SUFFIXES = {".jsonl", ".ndjson"}
_JOB_KEYS = ("name", "limits", "safety", "phone_rule", "timezone", "users", "tables")
_JOB_LINE = re.compile(
    rf"^(?:\[\[?)?(?:{'|'.join(_JOB_KEYS)})(?:\.[a-z_]+)?(?:\s*[:=]|\]\]?\s*$)", re.MULTILINE
)
_FIRST_KEY = re.compile(r'\s*\{\s*"([^"\\]*)"\s*:')
_TELLING = re.compile(rb"(?:\xef\xbb\xbf)?+(?:\s|#[^\n]*\n)*+\{?+\s*+[^\s][^\n]*\n")
"""A beginning with a line that is neither blank, nor a comment, nor a lone brace."""
_BINARY = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PK", b"\xff\xfe", b"\xfe\xff")
_SILENT = Job("", LimitsGiven(), Safety(), PHONE_RULES[0], "Asia/Shanghai")


def read_jobs(
    args: Sequence[str], *, user_id: str | None, now: datetime, stdin: BinaryIO | None = None
) -> Job:
    """Read JOB arguments (job file, JSON-lines job, list with `user_id`, or `-`) and merge them into one job.

    Lists and JSON-lines jobs say nothing of limits and safety: they take those of the job files beside them,
    else the defaults. Names are joined with `+`.

    Args:
        args: Paths, or `-`, once.
        user_id: Whose numbers the lists hold.
        now: Aware; relative windows are computed from it, once.
        stdin: Where `-` is read; by default `sys.stdin.buffer`.

    Raises:
        Faults: Everything that is wrong in all files, each with its place; 20 at most, then how many more.
        Refused: An argument is unreadable or no job; or jobs differ in limits, safety, phone rule or zone.
    """
    if not args or list(args).count("-") > 1:
        raise Refused(
            "give a JOB, and standard input (-) at most once", hint=command("run", "jobs/inline.yaml")
        )
    if user_id is not None and not is_safe_user_id(user_id):
        raise Refused("--user-id: only 1-128 ASCII letters, digits and . _ ~ - may stand in it")
    jobs: list[Job] = []
    faults: list[Fault] = []
    more = 0
    files: list[tuple[str, Job]] = []
    kinds: list[Kind] = []
    begun = _begin(stdin or sys.stdin.buffer) if "-" in args else None
    for arg in args:
        kind = _kind_of(arg, user_id, begun)
        kinds.append(kind)
        if kind == "job":
            read = read_job_file(arg, now=now)
            faults += read.faults
            more += read.more
            if read.job is not None:
                files.append((arg, read.job))
                jobs.append(read.job)
        else:
            jobs.append(_silent_job(arg, None if kind == "requests" else user_id))
    if faults:
        raise Faults(
            first_faults(faults, more),
            hint=f"Nothing was sent. The keys are described by: {command('schema')}",
        )
    if user_id is not None and "list" not in kinds:
        raise Refused(
            "--user-id goes with a list; every JOB here names its own users (or windows, or encryption)",
            hint="Leave it away.",
        )
    return replace(_merged(jobs, files), stdin=begun)


class _BegunInput:
    """Standard input whose beginning was looked at: whoever reads it gets every byte, in order.

    `head` is all up to the end of the first line that says something (64 KiB at most), however slowly that
    comes: what an input is taken for must not depend on how its bytes arrive.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._held = b""
        told = None
        while told is None and len(self._held) < _HEAD_BYTES:
            part = cast(io.BufferedIOBase, stream).read1(_HEAD_BYTES)
            self._held += part
            if not part:
                break
            if b"\n" in part:
                told = _TELLING.match(self._held)
        self.head = self._held[: told.end() if told else _HEAD_BYTES]

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes; none at the end."""
        if not self._held:
            return self._stream.read(size)
        part, self._held = self._held[:size], self._held[size:]
        return part


def _begin(stdin: BinaryIO) -> _BegunInput:
    try:
        return _BegunInput(stdin)
    except OSError as error:
        raise Refused(
            f"standard input cannot be read: {error.strerror or error}", hint="Give the path of a file."
        ) from error


def _kind_of(arg: str, user_id: str | None, begun: _BegunInput | None) -> Kind:
    head = begun.head if arg == "-" and begun else _head(arg)
    kind = "list" if head is None else _kind(head, Path(arg).suffix.lower(), user_id)
    if kind == "job" and arg == "-":
        raise Refused("standard input holds a job file", hint="Give its path: standard input takes lists.")
    if kind == "list" and user_id is None:
        raise Refused(
            f"{'standard input' if arg == '-' else arg}: neither a job file nor a JSON-lines job",
            hint="If it is a list of numbers, say whose: --user-id ID",
        )
    return kind


def _head(path: str) -> bytes | None:
    """Return the first bytes of a file, unpacked, or None of a workbook."""
    with open_source(path, "") as source:
        return None if source.packing == "zip" else next(source.blocks(), b"")[:_HEAD_BYTES]


def _kind(head: bytes, suffix: str, user_id: str | None) -> Kind:
    """Tell by content what an argument is; a job file's own suffixes decide before that."""
    if suffix in _JOB_SUFFIXES:
        return "job"
    if head.startswith(_BINARY) or b"\0" in head:
        return "list"
    text = head.decode("utf-8-sig", errors="replace")
    first = _FIRST_KEY.match(text)
    if first is not None:
        return _kind_of_objects(first[1], _first_line(text), suffix, user_id)
    if text.lstrip().startswith("{"):
        return "job" if suffix == ".json" else "list" if user_id else "requests"
    if _JOB_LINE.search(text):
        return "job"
    return "requests" if suffix in _LINES_SUFFIXES and user_id is None else "list"


def _kind_of_objects(first: str, line: dict[str, Any] | None, suffix: str, user_id: str | None) -> Kind:
    """Tell JSON objects apart: a job, requests, or a list's rows (which name nobody).

    Args:
        first: The first key of the first object.
        line: The first line, where it is one object and whole.
        suffix: Of the file's name.
        user_id: Whose numbers a list holds.
    """
    keys = {first, *(line or ())}
    if keys & {"users", "tables"}:
        return "job"
    if "user_id" in keys or (user_id is not None and keys & {"created_at", "encryption"}):
        return "requests"
    if user_id is not None:
        return "job" if first in _JOB_KEYS and line is None else "list"
    return "requests" if first in REQUEST_KEYS or (suffix != ".json" and first not in _JOB_KEYS) else "job"


def _first_line(text: str) -> dict[str, Any] | None:
    """Return the object that the first line is, or None where it is none, or cut off."""
    try:
        data = json_decoder.decode(text.lstrip().split("\n", 1)[0])
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def _silent_job(arg: str, user_id: str | None) -> Job:
    """Return the job of a user's list; None: of JSON-lines requests."""
    name, path, place = default_name(arg), os.path.abspath(arg), arg  # noqa: PTH100 - links stay
    if arg == "-":
        name, path, place = "stdin", "-", "standard input"
    if user_id is None:
        return replace(_SILENT, name=name, request_files=(path,))
    lists = ListSpec(paths=(path,), place=place)
    return replace(_SILENT, name=name, entries=(Entry(place=place, user_id=user_id, lists=lists),))


def _merged(jobs: Sequence[Job], files: Sequence[tuple[str, Job]]) -> Job:
    """Return one job of all; where there are job files, they agree and speak for the rest."""
    for path, job in files[1:]:
        _refuse_difference(files[0][0], files[0][1], path, job)
    spoken = files[0][1] if files else _SILENT
    return replace(
        spoken,
        name=_joined([job.name for job in jobs]),
        entries=tuple(entry for job in jobs for entry in job.entries),
        tables=tuple(table for job in jobs for table in job.tables),
        request_files=tuple(path for job in jobs for path in job.request_files),
        notes=tuple(note for job in jobs for note in job.notes),
    )


def _refuse_difference(path: str, job: Job, other_path: str, other: Job) -> None:
    defaults = Limits()
    compared = (
        ("limits", job.limits.over(defaults), other.limits.over(defaults)),
        ("safety", job.safety, other.safety),
        ("phone_rule", job.phone_rule, other.phone_rule),
        ("timezone", job.timezone, other.timezone),
    )
    differing = [name for name, one, two in compared if one != two]
    if differing:
        raise Refused(
            f"{path} and {other_path} differ in {', '.join(differing)}",
            hint="One run has one of each: make them equal, or run the jobs one after the other.",
        )


def _joined(names: Sequence[str]) -> str:
    unique = list(dict.fromkeys(names))
    joined = "+".join(unique)
    return (
        joined if len(joined.encode()) <= _MAX_NAME or len(unique) == 1 else f"{unique[0]}+{len(unique) - 1}"
    )
