"""A job file to a document: its bounds, its encoding, its format, and one answer to whatever parsers raise.

Keeps the promise that no file crashes or swells the program: sizes are bounded before a parser sees them, and
whatever comes out of a parser's library, an exception or a warning, becomes a fault of the file or nothing.
"""

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from runner.errors import Refused
from runner.job.document import MAX_MAPPINGS, MAX_VALUES, TOO_DEEP, TOO_MANY_VALUES, Document
from runner.job.json_text import read_json
from runner.job.toml_text import read_toml
from runner.job.yaml_text import read_yaml

__all__ = ["MAX_BYTES", "parse_into", "read_document"]

MAX_BYTES = 16 * 1024 * 1024
"""Of one job file; longer lists belong into a `phone_file` or a JSON-lines job."""

_TOML_START = re.compile(r"\s*(?:#[^\n]*\n\s*)*(?:\[\[?[A-Za-z_]|[A-Za-z_]+\s*=)")
_PACKED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PK\x03\x04")
Language = Literal["JSON", "TOML", "YAML"]
_READERS: dict[Language, Callable[[Document, str], None]] = {
    "JSON": read_json,
    "TOML": read_toml,
    "YAML": read_yaml,
}


def read_document(path: str) -> Document:
    """Read one job file; faults of its text are in the document, whose data is then None or incomplete.

    Raises:
        Refused: The file is unreadable, packed, or larger than `MAX_BYTES`.
    """
    document = Document(path)
    raw = _read(path)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        document.add_at((0, 0), f"not UTF-8 at byte {error.start}: save the job file as UTF-8")
        return document
    del raw
    language = _language(path, text)
    if language != "YAML" and (text.count(",") > MAX_VALUES or text.count("{") > MAX_MAPPINGS):
        document.add_at((0, 0), TOO_MANY_VALUES)
    else:
        parse_into(document, text, language)
    return document


def _read(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise Refused(
            f"{path}: {error.strerror or 'unreadable'}", hint="Check the path of the job."
        ) from error
    if len(raw) > MAX_BYTES:
        raise Refused(
            f"{path}: a job file of more than {MAX_BYTES // 2**20} MiB",
            hint="Put long lists into a file named by phone_file, or write a JSON-lines job.",
        )
    if raw.startswith(_PACKED):
        raise Refused(
            f"{path}: a packed job file", hint="Unpack it; only lists and JSON lines may be packed."
        )
    return raw


def _language(path: str, text: str) -> Language:
    suffix = Path(path).suffix.lower()
    if suffix == ".json" or (suffix not in {".yaml", ".yml", ".toml"} and text.lstrip().startswith("{")):
        return "JSON"
    if suffix == ".toml" or (suffix not in {".yaml", ".yml"} and _TOML_START.match(text)):
        return "TOML"
    return "YAML"


def parse_into(document: Document, text: str, language: Language) -> None:
    """Parse a text whose size is bounded; what is wrong with it becomes faults of the document."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a library's words may show what stands in the file
            _READERS[language](document, text)
    except RecursionError:
        words = TOO_DEEP
    except MemoryError:
        words = "there is not enough memory to read it: put the numbers into a file named by phone_file"
    except Exception as error:  # noqa: BLE001 - a parser's library may raise anything; it is the file's fault
        words = f"not {language}: its parser ends with {type(error).__name__}"
    else:
        return
    document.data = None
    document.add_at((0, 0), words)
