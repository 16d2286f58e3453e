"""A job: what to delete, as the user said it, checked. (Types below are the agreed interface.)"""

from dataclasses import dataclass

from runner.model import Window
from runner.settings import LimitsGiven, Safety
from runner.sources import ListSpec

__all__ = ["Entry", "Job", "Table"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One user's numbers, or one window of a user. Windows are absolute strings by now.

    Args:
        place: Where it stands (`jobs/a.yaml:12`).
        user_id: Checked with `is_safe_user_id`.
        phones: Inline values, as text, not yet normalised.
        lists: Lists to read, or None.
        windows: One window, several (a `slice`d entry), or none. Open (future) ones never occur.
        encryption: True: values are opaque.
        delete_window: Delete by `windows` alone; then `phones` and `lists` are empty.
        max_rows: Required with `delete_window`.
    """

    place: str
    user_id: str
    phones: tuple[str, ...] = ()
    lists: ListSpec | None = None
    windows: tuple[Window, ...] = ()
    encryption: bool = False
    delete_window: bool = False
    max_rows: int | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """Lists of many users; `lists.user_column` is set."""

    place: str
    lists: ListSpec
    windows: tuple[Window, ...] = ()
    encryption: bool = False


@dataclass(frozen=True, slots=True)
class Job:
    """Everything that a plan is made from.

    Args:
        request_files: JSON-lines jobs, streamed (`read_requests`), never held in memory.
    """

    name: str
    limits: LimitsGiven
    safety: Safety
    phone_rule: str
    timezone: str
    entries: tuple[Entry, ...] = ()
    tables: tuple[Table, ...] = ()
    request_files: tuple[str, ...] = ()
