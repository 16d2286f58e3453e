"""One job file: what its keys mean together, and the `Job` that they make.

Keeps promise 1 at the front door: an entry deletes a window only where it says `delete_window`, gives a start
and a `max_rows`, and names no phones; a `created_at` without phones is a fault, never the whole window. All
faults of the file are found, whether of text, of shape or of meaning. Relative windows become absolute here,
once. Nothing is connected to and no list is read.
"""

import difflib
import glob
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from runner.errors import Fault
from runner.invocation import command
from runner.job.document import Document, Steps
from runner.job.entries import Entry, Job, Table
from runner.job.load import read_document
from runner.job.schema import (
    ENTRY_KEYS,
    EntryModel,
    JobModel,
    ShapeFault,
    TableModel,
    read_created_at,
    shape_of_entry,
    shape_of_job,
    shape_of_table,
)
from runner.job.values import file_name
from runner.job.windows import RelativeWindow, absolute_window, relative_window, slice_window, wall_now, zone
from runner.lists.rows import ListSpec
from runner.model import Window
from runner.settings import LimitsGiven, Safety, parse_duration
from runner.text import printable

__all__ = ["ReadJob", "default_name", "read_job_file"]

_NEEDS_FILE = ("phone_column", "encoding", "hidden_rows")
_LONGEST_PATH = 200
_NEEDS_WINDOW = ("slice", "max_rows")
_NO_PHONES = (
    "without phones it would delete the whole window: give phone or phone_file (or, if the window is meant, "
    "delete_window: true with max_rows)"
)


@dataclass(frozen=True, slots=True)
class ReadJob:
    """What one job file came to: a job, or faults, and how many `more` were not collected."""

    job: Job | None
    faults: tuple[Fault, ...] = ()
    more: int = 0


def read_job_file(path: str, *, now: datetime) -> ReadJob:
    """Read one job file whole.

    Raises:
        Refused: The file is unreadable or too large.
    """
    document = read_document(path)
    if document.data is None and document.faults:
        return ReadJob(None, document.faults, document.more)
    if not isinstance(document.data, dict):
        document.add((), f"a job is a mapping with users or tables; see: {command('schema')}")
        return ReadJob(None, document.faults, document.more)
    job = _JobReader(document, now).job(document.data)
    return ReadJob(job if document.is_sound else None, document.faults, document.more)


_Model = TypeVar("_Model", JobModel, EntryModel, TableModel)


@dataclass(slots=True)
class _JobReader:
    """Makes the job of a document, entry by entry: there may be very many.

    What is wrong between the keys is looked for in raw data, so that it is found where the shape is at fault
    as well.
    """

    document: Document
    now: datetime
    timezone: str = "Asia/Shanghai"
    notes: list[str] = field(default_factory=list)

    def job(self, data: dict[str, Any]) -> Job | None:
        """Return the job, or None where a fault was noted."""
        self.timezone = self._timezone(data)
        model = self._sound(shape_of_job(data))
        if "users" not in data and "tables" not in data:
            self.document.add((), "a job names users, or tables of many users")
        safety = data.get("safety")
        if isinstance(safety, dict):
            self._exists(safety.get("protect_file"), ("safety", "protect_file"))
        entries = [entry for path, item in _items(data, "users") if (entry := self._entry(item, path))]
        tables = [table for path, item in _items(data, "tables") if (table := self._table(item, path))]
        if model is None or not self.document.is_sound:
            return None
        return Job(
            name=model.name or default_name(self.document.name),
            limits=LimitsGiven(
                rate=model.limits.rate,
                concurrency=model.limits.concurrency,
                timeout_s=model.limits.timeout,
                max_attempts=model.limits.max_attempts,
            ),
            safety=self._safety(model.model_dump(include={"safety"}, exclude_none=True)["safety"]),
            phone_rule=model.phone_rule,
            timezone=model.timezone,
            entries=tuple(entries),
            tables=tuple(tables),
            notes=tuple(self.notes),
        )

    def _sound(self, shape: _Model | list[ShapeFault]) -> _Model | None:
        """Return the model, or note its faults."""
        if not isinstance(shape, list):
            return shape
        for fault in shape:
            self.document.more += fault.more
            if fault.words:
                self.document.add(fault.path, fault.words, at_key=fault.at_key)
        return None

    def _entry(self, item: object, path: Steps) -> Entry | None:
        model = self._sound(shape_of_entry(item, path))
        windows = self._check_entry(item, path) if isinstance(item, dict) else ()
        if model is None or not self.document.is_sound:
            return None
        return Entry(
            place=self.document.place(path),
            user_id=model.user_id,
            phones=tuple(model.phone or ()),
            lists=self._list_spec(model, model.phone_file, (*path, "phone_file")),
            windows=windows,
            encryption=bool(model.encryption),
            delete_window=bool(model.delete_window),
            max_rows=model.max_rows,
        )

    def _table(self, item: object, path: Steps) -> Table | None:
        model = self._sound(shape_of_table(item, path))
        windows: tuple[Window, ...] = ()
        if isinstance(item, dict):
            windows = self._window(item, path)
            self._lists(item.get("file"), (*path, "file"))
        lists = None if model is None else self._list_spec(model, model.file, (*path, "file"))
        if model is None or lists is None or not self.document.is_sound:
            return None
        return Table(self.document.place(path), lists, windows, encryption=bool(model.encryption))

    def _list_spec(
        self, model: EntryModel | TableModel, files: list[str] | None, path: Steps
    ) -> ListSpec | None:
        if files is None:
            return None
        return ListSpec(
            paths=tuple(_resolve_path(self.document.name, name) for name in files),
            place=self.document.place(path),
            phone_column=model.phone_column,
            user_column=model.user_column if isinstance(model, TableModel) else None,
            encoding=model.encoding,
            hidden_rows=model.hidden_rows,
        )

    def _safety(self, given: dict[str, Any]) -> Safety:
        if "protect_file" in given:
            given["protect_file"] = _resolve_path(self.document.name, given["protect_file"])
        return Safety(**given)

    def _timezone(self, data: dict[str, Any]) -> str:
        name = data.get("timezone")
        try:
            zone(name) if isinstance(name, str) else None
        except ValueError:
            return self.timezone
        return name if isinstance(name, str) else self.timezone

    def _check_entry(self, entry: dict[str, Any], path: Steps) -> tuple[Window, ...]:
        """Note what is wrong between an entry's keys; return its windows."""
        window = self._window(entry, path)
        if entry.get("delete_window") is True:
            self._whole_window(entry, path)
        elif entry.get("delete_window", False) is False:
            self._needs_phones(entry, path)
        for key in _NEEDS_FILE:
            if key in entry and "phone_file" not in entry:
                self.document.add((*path, key), "goes with phone_file only", at_key=True)
        self._lists(entry.get("phone_file"), (*path, "phone_file"))
        if entry.get("phone") == []:
            self.notes.append(f"{self.document.place(path)}: phone is an empty list: nothing to do for it")
        return self._sliced(entry, path, window)

    def _whole_window(self, entry: dict[str, Any], path: Steps) -> None:
        add = self.document.add
        for key in ("phone", "phone_file"):
            if key in entry:
                add(
                    (*path, key),
                    "delete_window deletes by created_at alone: keep one of the two",
                    at_key=True,
                )
        created_at = entry.get("created_at")
        if "created_at" not in entry:
            add(path, "delete_window needs created_at")
        elif isinstance(created_at, dict) and "from" not in created_at:
            add((*path, "created_at"), "delete_window needs a start: give from", at_key=True)
        if "max_rows" not in entry:
            add((*path, "delete_window"), "needs max_rows: how many rows it may delete at most", at_key=True)

    def _needs_phones(self, entry: dict[str, Any], path: Steps) -> None:
        add = self.document.add
        for key in _NEEDS_WINDOW:
            if key in entry:
                add((*path, key), "goes with delete_window: true only", at_key=True)
        if "phone" in entry or "phone_file" in entry or _misspelled_phone(entry):
            return
        if "created_at" in entry:
            add((*path, "created_at"), _NO_PHONES, at_key=True)
        else:
            add(path, "nothing to delete is named: give phone or phone_file")

    def _window(self, entry: dict[str, Any], path: Steps) -> tuple[Window, ...]:
        if "created_at" not in entry:
            return ()
        said = read_created_at(entry["created_at"])
        if said is None:
            return ()  # the fault is one of shape
        try:
            if isinstance(said, RelativeWindow):
                return (relative_window(said, now=self.now, timezone=self.timezone),)
            return (absolute_window(*said),)
        except ValueError as error:
            self.document.add((*path, "created_at"), str(error))
            return ()

    def _sliced(self, entry: dict[str, Any], path: Steps, window: tuple[Window, ...]) -> tuple[Window, ...]:
        if entry.get("delete_window") is not True or not window:
            return window
        if window[0][1] > wall_now(self.now, self.timezone):
            place = self.document.place((*path, "created_at"))
            self.notes.append(f"{place}: the window ends in the future: rows imported until then go as well")
        width = entry.get("slice")
        if width is None:
            return window
        try:
            return slice_window(window[0], parse_duration(str(width)))
        except ValueError as error:
            self.document.add((*path, "slice"), str(error))
            return window

    def _lists(self, files: object, path: Steps) -> None:
        if isinstance(files, list):
            for index, name in enumerate(files):
                self._exists(name, (*path, index))
        else:
            self._exists(files, path)

    def _exists(self, name: object, path: Steps) -> None:
        """Note a named file that is not there; what a glob matches, `sources` says."""
        if isinstance(name, str) and file_name(name) and not glob.has_magic(name):
            there = _resolve_path(self.document.name, name)
            shown = printable(there[:_LONGEST_PATH])
            try:
                if stat.S_ISDIR(os.stat(there).st_mode):  # noqa: PTH116 - names any text, not only paths
                    self.document.add(path, f"a folder, not a file: {shown}")
            except (FileNotFoundError, NotADirectoryError):
                self.document.add(path, f"no such file: {shown}")
            except OSError as error:
                self.document.add(path, f"cannot be looked at ({error.strerror}): {shown}")


def _items(data: dict[str, Any], key: str) -> Iterator[tuple[Steps, object]]:
    """Yield entries with their paths; what was used of the data is let go of."""
    found = data.get(key)
    items = found if isinstance(found, list) else []
    for index, item in enumerate(items):
        yield (key, index), item
        items[index] = None


def _misspelled_phone(entry: dict[str, Any]) -> bool:
    """Tell whether an unknown key was meant to name the phones; that fault is told by itself."""
    unknown = [key.lower() for key in entry if key not in ENTRY_KEYS]
    return any(difflib.get_close_matches(key, ("phone", "phone_file", "delete_window")) for key in unknown)


def _resolve_path(job_path: str, name: str) -> str:
    """Return a path of a job file, absolute; relative ones start at the job file's folder.

    Glob signs in the folder's own name are escaped where `name` is a pattern.
    """
    folder = os.path.dirname(os.path.abspath(job_path))  # noqa: PTH100, PTH120 - `..` must go without links
    if glob.has_magic(name):
        folder = glob.escape(folder)
    return os.path.normpath(os.path.join(folder, name))  # noqa: PTH118 - keeps a pattern as it is


def default_name(path: str) -> str:
    """Return a name for a job that gives none: its file's, with what cannot stand in a file name left out."""
    stem = Path(path).name.split(".")[0] or Path(path).stem.strip(".")
    plain = "".join(char for char in stem if char.isalnum() or char in "-_").lstrip("-")
    return plain.encode()[:120].decode(errors="ignore") or "job"
