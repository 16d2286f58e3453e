"""Metrics of the last run of each job, in a file for the node exporter's textfile collector.

Keeps the promise that the exporter never reads half a file and that no run makes another job's lines, or the
last success of its own, go away: the file is read, changed and replaced under a lock. No label but the job
and the status of phones: numbers, users and secrets never become one.
"""

import fcntl
import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from runner.audit.records import STATUSES
from runner.errors import Exit
from runner.files import opened_folder, sync_folder
from runner.tell.ending import Ending

__all__ = ["METRICS", "write_metrics"]

METRICS: Final[Mapping[str, str]] = {
    "bulk_delete_last_run_timestamp_seconds": "When the last run of the job ended, however it ended.",
    "bulk_delete_last_success_timestamp_seconds": "When a run of the job last ended with exit code 0.",
    "bulk_delete_last_exit_code": "Exit code of the last run of the job.",
    "bulk_delete_duration_seconds": "How long the last session that sent something was sending.",
    "bulk_delete_phones": "Numbers of the last run that sent something, by how they ended.",
    "bulk_delete_rows_deleted": "Rows that the server confirmed as deleted in that run.",
    "bulk_delete_requests": "Requests that left in its last session, retries included.",
    "bulk_delete_retries": "Requests of that session that were retries.",
}
"""Name → help; all are gauges."""

_PHONES: Final = "bulk_delete_phones"
_MOST_BYTES: Final = 16 * 1024 * 1024
_MODE: Final = 0o644
"""The exporter runs as another user."""
_LOCK_S: Final = 2.0
_LOOK_EVERY_S: Final = 0.05

_Key = tuple[str, tuple[str, ...]]
"""A metric's name and its labels' values: the job, and of phones the status."""


class _Foreign(Exception):
    """The file that stands there is none of this program's; the words say why."""


def write_metrics(textfile: Path, ending: Ending) -> str:
    """Put how a job's run ended into the file; return in words why that could not be, or an empty text.

    A run that ended before anybody knew its job's name has no line.
    """
    if ending.names.job is None:
        return ""
    real = Path(os.path.realpath(textfile))
    try:
        with _locked(real.parent):
            values = {**_read(real), **_values(ending.names.job, ending)}
            _replace(real, _rendered(values))
    except OSError as error:
        return f"[metrics]: {textfile} was not written: {error.strerror or error}"
    except _Foreign as foreign:
        return f"[metrics]: {textfile} was not written: {foreign}; name a file of its own"
    return ""


def _values(job: str, ending: Ending) -> dict[_Key, float]:
    """Return a job's new values; those of a run that sent nothing are left as they are."""
    named: dict[str, float] = {
        "last_run_timestamp_seconds": ending.ended_s,
        "last_exit_code": ending.exit_code,
    }
    if ending.exit_code == Exit.OK:
        named["last_success_timestamp_seconds"] = ending.ended_s
    values: dict[_Key, float] = {}
    if (summary := ending.summary) is not None:
        named |= {
            "duration_seconds": summary.duration_s,
            "rows_deleted": summary.count,
            "requests": summary.requests,
            "retries": summary.retries,
        }
        values = {(_PHONES, (job, status)): getattr(summary.phones, status) for status in STATUSES}
    return {**values, **{(f"bulk_delete_{name}", (job,)): value for name, value in named.items()}}


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder, so that of two runs each sees what the other wrote; raises OSError."""
    give_up_s = time.monotonic() + _LOCK_S
    with opened_folder(folder) as descriptor:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > give_up_s:
                    raise OSError(error.errno, "another process holds its folder") from error
                time.sleep(_LOOK_EVERY_S)
        yield


def _read(path: Path) -> dict[_Key, float]:
    """Return what stands in the file; raises _Foreign where that is not all of it ours."""
    try:
        raw = _bytes_of(path)
    except FileNotFoundError:
        return {}
    try:
        families = list(text_string_to_metric_families(raw.decode()))
    except (ValueError, KeyError, IndexError) as error:
        raise _Foreign("what stands there is no metrics file") from error
    values: dict[_Key, float] = {}
    for family in families:
        labels = _labels(family.name)
        for sample in family.samples:
            if sample.name not in METRICS or set(sample.labels) != set(labels):
                raise _Foreign("it holds metrics of somebody else")
            values[(sample.name, tuple(sample.labels[label] for label in labels))] = sample.value
    return values


def _bytes_of(path: Path) -> bytes:
    with path.open("rb") as file:
        raw = file.read(_MOST_BYTES + 1)
    if len(raw) > _MOST_BYTES:
        raise _Foreign("it is larger than any such file")
    return raw


def _labels(name: str) -> tuple[str, ...]:
    return ("job", "status") if name == _PHONES else ("job",)


def _rendered(values: Mapping[_Key, float]) -> bytes:
    registry = CollectorRegistry()
    gauges = {name: Gauge(name, words, _labels(name), registry=registry) for name, words in METRICS.items()}
    for (name, labels), value in sorted(values.items()):
        if math.isfinite(value):
            gauges[name].labels(*labels).set(value)
    return generate_latest(registry)


def _replace(path: Path, data: bytes) -> None:
    """Put a whole file in the place of the one before; the exporter reads names that end in `.prom` only."""
    draft = path.with_name(f".{path.name}.tmp")
    with suppress(FileNotFoundError):
        draft.unlink()  # of a process that was killed here
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(draft, flags, _MODE), "wb") as file:
            os.fchmod(file.fileno(), _MODE)  # whatever the umask is
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError:
        with suppress(OSError):
            draft.unlink()
        raise
    sync_folder(path.parent)
