"""A job: what to delete, as the user said it, checked and frozen. Only the types; `arguments` reads them.

Keeps the first promise at its root: an `Entry` that would delete a whole window without having said
`delete_window` cannot be built. Nothing here reads a file, a clock or an environment.
"""

from dataclasses import dataclass

from runner.lists.decode import Readable
from runner.lists.rows import ListSpec
from runner.model import Window, is_safe_user_id
from runner.phones import PhoneRule
from runner.settings import LimitsGiven, Safety

__all__ = ["Entry", "Job", "Table"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One user's numbers, or one window of a user. Windows are absolute strings by now.

    An entry with neither phones nor lists nor `delete_window` is an empty list: nothing to do.

    Args:
        place: Where it stands (`jobs/a.yaml:12`, `big.jsonl:7`).
        user_id: Checked with `is_safe_user_id`.
        phones: Inline values, as text, not yet normalised.
        lists: Lists to read, or None; an entry may have both phones and lists.
        windows: One window, several (a `slice`d `delete_window`), or none. Both ends are always given.
        encryption: True: values are opaque.
        delete_window: Delete by `windows` alone; then there are neither phones nor lists.
        max_rows: Set with `delete_window`, and only then; of the whole entry, over all its windows.
    """

    place: str
    user_id: str
    phones: tuple[str, ...] = ()
    lists: ListSpec | None = None
    windows: tuple[Window, ...] = ()
    encryption: bool = False
    delete_window: bool = False
    max_rows: int | None = None

    def __post_init__(self) -> None:
        if not is_safe_user_id(self.user_id):
            raise ValueError("user_id cannot stand in a path")
        if self.delete_window and (self.phones or self.lists or not self.windows or not self.max_rows):
            raise ValueError("delete_window takes windows and max_rows, and neither phones nor lists")
        if not self.delete_window and (len(self.windows) > 1 or self.max_rows is not None):
            raise ValueError("several windows and max_rows belong to delete_window")


@dataclass(frozen=True, slots=True)
class Table:
    """Lists of many users; `lists.user_column` is set."""

    place: str
    lists: ListSpec
    windows: tuple[Window, ...] = ()
    encryption: bool = False

    def __post_init__(self) -> None:
        if self.lists.user_column is None or len(self.windows) > 1:
            raise ValueError("a table has a user column and at most one window")


@dataclass(frozen=True, slots=True)
class Job:
    """Everything that a plan is made from.

    Args:
        name: Names the audit; safe as a part of a file name.
        limits: As the job files gave them; flags and environment go over them.
        safety: With `protect_file` absolute.
        phone_rule: What a phone is (`phones`).
        timezone: In which relative windows were computed.
        request_files: JSON-lines jobs (`-`: standard input), streamed once by `requests.read_requests`, never
            held in memory.
        stdin: What `-` is read from; None: `sys.stdin`.
        notes: What a person should hear before confirming (an empty list, a window that ends in the
            future), a sentence each with its place.
    """

    name: str
    limits: LimitsGiven
    safety: Safety
    phone_rule: PhoneRule
    timezone: str
    entries: tuple[Entry, ...] = ()
    tables: tuple[Table, ...] = ()
    request_files: tuple[str, ...] = ()
    stdin: Readable | None = None
    notes: tuple[str, ...] = ()
