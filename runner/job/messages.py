"""A job file's faults in words: what was expected, and which key was probably meant.

Keeps the promise that a message holds no value of the file: it may be a phone number or a secret.
"""

import difflib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from runner.job.document import DateText
from runner.phones import mask_text

__all__ = ["fault_words", "kind_of", "likely_key", "misplaced", "unknown_key"]

_WHERE_URL = "the base URL never stands in a job: give --base-url or BULK_DELETE_BASE_URL"
_WHERE_TOKEN = "the token never stands in a job: give BULK_DELETE_TOKEN or --token-file"  # noqa: S105 - words, no token
_MISPLACED = {
    **dict.fromkeys(("base_url", "url", "baseurl", "host", "origin", "endpoint"), _WHERE_URL),
    **dict.fromkeys(
        ("token", "token_file", "api_token", "api_key", "authorization", "bearer", "password"), _WHERE_TOKEN
    ),
    "deadline": "a deadline is given on the command line: --deadline 4h",
    "reason": "a reason is given on the command line: --reason TEXT",
    "operator": "an operator is given on the command line: --operator NAME",
}
"""Keys that belong elsewhere, and where."""


def fault_words(kind: str, context: Mapping[str, Any], value: object, otherwise: str) -> str:
    """Return words for one of pydantic's error types; `otherwise` for one that is not known here."""
    if kind == "value_error":
        return mask_text(str(context["error"]))
    if kind in _BOUND:
        return _BOUND[kind](context)
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind]}, not {kind_of(value)}"
    if kind == "literal_error":
        return f"write {context['expected'].replace(chr(39), '')}"
    return otherwise


_BOUND: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "missing": lambda _: "is missing",
    "greater_than": lambda context: f"must be above {context['gt']:g}",
    "greater_than_equal": lambda context: f"must be at least {context['ge']}",
    "less_than_equal": lambda context: f"must be at most {context['le']:.15g}",
    "too_short": lambda context: (
        "is empty" if not context["actual_length"] else f"needs {context['min_length']} values: from, to"
    ),
    "too_long": lambda context: (
        "takes 2 values: from, to"
        if context["max_length"] == 2
        else f"names more than {context['max_length']:,} files: use a glob"
    ),
}
_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "model_type": "keys with values",
    "model_attributes_type": "keys with values",
    "dict_type": "keys with values",
    "union_tag_not_found": "[from, to], or from, to, older_than or last with values",
}


def misplaced(key: str) -> str:
    """Return where a key belongs that never stands in a job, or an empty text."""
    return _MISPLACED.get(key.lower().replace("-", "_"), "")


def likely_key(key: str, keys: Sequence[str]) -> str | None:
    """Return the key that was probably meant."""
    plain = key.lower().replace("-", "_").replace(" ", "_")
    close = difflib.get_close_matches(plain, keys, n=1, cutoff=0.6)
    return close[0] if close else None


def unknown_key(key: str, keys: Sequence[str], elsewhere: Collection[str] = ()) -> str:
    """Return what to do about an unknown key where `keys` are known; `elsewhere`: keys of other places."""
    if misplaced(key):
        return misplaced(key)
    likely = likely_key(key, keys)
    if likely:
        return f"unknown key; did you mean `{likely}`?"
    if key in elsewhere:
        return f"unknown key here; it belongs elsewhere in the job. Known here: {', '.join(keys)}"
    return f"unknown key; known here: {', '.join(keys)}"


def kind_of(value: object) -> str:
    """Return what a value is, in words."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, DateText):
        return "a date"
    names = {
        str: "text",
        int: "a whole number",
        float: "a number with a fraction",
        list: "a list",
        dict: "keys",
    }
    return names.get(type(value), "something else")
