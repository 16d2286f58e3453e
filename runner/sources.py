"""Rows from lists as people have them. (Body follows; the signatures are final.)"""

from collections.abc import Iterator

from runner.lists import ListSpec, Rows
from runner.phones import PhoneRule

__all__ = ["ListSpec", "Rows", "find_files", "read_rows"]


def find_files(spec: ListSpec) -> tuple[str, ...]:
    """Return the files that a list names, globs expanded and sorted, each file once; `-` stays `-`.

    Raises:
        Fault: A glob matches nothing, or a path is missing, a directory or no regular file.
    """
    raise NotImplementedError


def read_rows(spec: ListSpec, *, rule: PhoneRule) -> Iterator[Rows]:
    """Yield the rows of every file of a list, in order, some thousands at a time, in bounded memory.

    Values are as they stand (not normalised); give them to `phones.normalise_many`. Blank lines and rows
    without any content are no rows. Sequences may be shared: do not change them.

    Args:
        spec: What to read.
        rule: Tells which columns can hold phones, where no header says so.

    Raises:
        Fault: Anything that keeps the list from being read whole: the place in the job, path and line.
    """
    raise NotImplementedError
