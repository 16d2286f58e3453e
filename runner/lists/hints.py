"""What to type into a job so that a list is read as it is meant: one helper, so that all hints are whole.

A list that was given with `--user-id` has no job file: there the hint shows one, ready to be filled in.
"""

import os

from runner.lists.rows import ListSpec

__all__ = ["hint_at", "hint_of_key", "hint_of_requests", "hint_of_table", "is_given_alone"]

_STDIN_NAME = "standard input"


def is_given_alone(place: str, path: str) -> bool:
    """Tell whether a list was given as such on the command line, and not by a job."""
    return place == _STDIN_NAME or os.path.abspath(place) == path  # noqa: PTH100 - `..` must go without links


def hint_of_key(spec: ListSpec, line: str, what: str) -> str:
    """Return a hint to write a key of a list into its job, with a whole small job where there is none.

    Args:
        spec: The list.
        line: Key and value, as a line of a job file (`encoding: big5`).
        what: What the value is, or what it may be.
    """
    return hint_at(spec.place, spec.paths[0], line, what)


def hint_at(place: str, path: str, line: str, what: str) -> str:
    """Return the same hint for one file of a list.

    Args:
        place: Where the job names the list.
        path: The file.
        line: Key and value, as a line of a job file.
        what: What the value is.
    """
    if not is_given_alone(place, path):
        return f"Say in the job, beside the list: {line}   ({what})"
    return _job("users:", "  - user_id: ID", f"    phone_file: {_file(place)}", f"    {line}   # {what}")


def hint_of_table(spec: ListSpec, user_column: str) -> str:
    """Return a hint to give a list as what it is: a table of many users."""
    if not is_given_alone(spec.place, spec.paths[0]):
        return f"Give it under tables: (file: …, user_column: {user_column}); or drop that column."
    return _job(
        "tables:",
        f"  - file: {_file(spec.place)}",
        f"    user_column: {user_column}",
        "    # or drop that column",
    )


def hint_of_requests() -> str:
    """Return a hint to give rows that are requests as what they are."""
    return "A file of such rows is a JSON-lines job: run it without --user-id, and not as a list of a job."


def _job(*lines: str) -> str:
    return "\n     ".join(("Write a job file of these lines, and run that:", *lines))


def _file(place: str) -> str:
    return "LIST.csv" if place == _STDIN_NAME else place
