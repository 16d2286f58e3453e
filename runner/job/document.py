"""The text of a job file: YAML 1.2, JSON or TOML to plain data, and where each piece of it stands.

Keeps the promise that what a job says is what is read. YAML's guesses do not happen: a number is taken only
where its literal text is plain digits (`017`, `1_39` and `0x1F` are faults), a date stays the text that was
written, and a key that stands twice is a fault, in JSON too. Values never stand in a message: they may be
phone numbers or secrets. ruamel.yaml is known here and nowhere else.
"""

import json
import re
import tomllib
from collections.abc import Callable, Sequence
from datetime import date, datetime, time
from pathlib import Path
from typing import Any, cast

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from runner.errors import Fault, Refused
from runner.phones import mask_text
from runner.text import printable

__all__ = [
    "MAX_BYTES",
    "MAX_FAULTS",
    "NO_VALUE",
    "Document",
    "Steps",
    "first_faults",
    "json_pairs",
    "read_document",
    "repeated_key",
    "shown_key",
]

MAX_BYTES = 16 * 1024 * 1024
"""Of one job file; longer lists belong into a `phone_file` or a JSON-lines job."""

MAX_FAULTS = 20
"""Faults shown at once: about one screen."""

NO_VALUE = "has no value: give it one, or leave the key out"
"""Null means nothing in a job, and "nothing" where a list should stand is how windows widen."""

_MAX_LOCATED = 200
_MAX_NODES = 2_000_000
_DIGITS = re.compile(r"0|[1-9][0-9]{0,29}")
_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_TOML_START = re.compile(r"\s*(?:#[^\n]*\n\s*)*(?:\[\[?[A-Za-z_]|[A-Za-z_]+\s*=)")
_TOML_AT = re.compile(r" \(at (?:line ([0-9]+), column ([0-9]+)|end of document)\)$")
_TAG = "tag:yaml.org,2002:"

Steps = tuple[str | int, ...]
"""The way from the top of a file to a value: `("users", 0, "phone")`."""
Position = tuple[int, int]
"""Line and column, both from 1; 0 where it is not known."""
Locate = Callable[[Steps, bool], Position]


def _nowhere(path: Steps, at_key: bool) -> Position:
    del path, at_key
    return 0, 0


class Document:
    """One job file as data, with the faults found in it so far."""

    def __init__(self, name: str, data: Any = None, locate: Locate = _nowhere) -> None:
        self.name = name
        self.data = data
        self.locate = locate
        self.more = 0
        self._found: dict[tuple[Position, str], Fault] = {}

    def place(self, path: Steps) -> str:
        """Return where a value stands, to the line: `jobs/a.yaml:12`, or `jobs/a.toml users[0]`."""
        line = self.locate(path, False)[0]
        return f"{self.name}:{line}" if line else f"{self.name} {_dotted(path)}".rstrip()

    def add(self, path: Steps, message: str, *, at_key: bool = False) -> None:
        """Note a fault of the value at `path`, or of its key; one place has one fault, the first."""
        if len(self._found) < _MAX_LOCATED:
            self.add_at(self.locate(path, at_key), message, of=_dotted(path))
        else:
            self.more += 1

    def add_at(self, at: Position, message: str, *, of: str = "") -> None:
        """Note a fault at a line and column; beyond the first 200 they are only counted, in `more`."""
        key = (at, "" if at[1] else of)
        if len(self._found) >= _MAX_LOCATED:
            self.more += 1
        elif key not in self._found:
            place = ":".join((self.name, *(str(part) for part in at if part)))
            self._found[key] = Fault(place, f"{of}: {message}" if of else message)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The faults in the order in which they stand, or were found where that is not known."""
        return tuple(fault for _, fault in sorted(self._found.items(), key=lambda item: item[0][0]))


def first_faults(faults: Sequence[Fault], more: int = 0) -> tuple[Fault, ...]:
    """Return one screen of faults; the last says how many more, with `more` uncollected ones."""
    more += max(0, len(faults) - MAX_FAULTS)
    return (*faults[:MAX_FAULTS], Fault("", f"… and {more:,} more faults")) if more else tuple(faults)


def shown_key(key: str) -> str:
    """Return a key as it may stand in a message: short, in one line, and without a phone number."""
    return _one_line(key[:40])


def _dotted(path: Steps) -> str:
    """Return `users[0].phone[3]`."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{shown_key(step)}" for step in path)
    return "".join(steps).removeprefix(".")


def read_document(path: str) -> Document:
    """Read one job file; faults of its text are in the document, whose data is then None or incomplete.

    Raises:
        Refused: The file is unreadable or larger than `MAX_BYTES`.
    """
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
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        document = Document(path)
        document.add_at((0, 0), f"not UTF-8 at byte {error.start}: save the job file as UTF-8")
        return document
    return _parser(path, text)(path, text)


def _parser(path: str, text: str) -> Callable[[str, str], Document]:
    suffix = Path(path).suffix.lower()
    if suffix == ".json" or (suffix not in {".yaml", ".yml", ".toml"} and text.lstrip().startswith("{")):
        return _read_json
    if suffix == ".toml" or (suffix not in {".yaml", ".yml"} and _TOML_START.match(text)):
        return _read_toml
    return _read_yaml


# YAML: composed to nodes, which keep literal text and marks; the data is made from those here.


def _read_yaml(name: str, text: str) -> Document:
    document = Document(name)
    try:
        root = YAML(typ="safe", pure=True).compose(text)
        document.locate = lambda path, at_key: _mark(_find_node(root, path, at_key))
        document.data = None if root is None else _YamlReader(document).value(root, ())
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        words = " ".join(part for part in (error.context, error.problem) if part)
        document.add_at((mark.line + 1, mark.column + 1) if mark else (0, 0), f"not YAML: {_one_line(words)}")
    except YAMLError as error:
        document.add_at((0, 0), f"not YAML: {_one_line(str(error))}")
    except RecursionError:
        document.add_at((0, 0), "nested too deeply")
    return document


def _one_line(text: str) -> str:
    """Return a parser's words as they may be shown: bounded, in one line, no number in full."""
    line = (text.splitlines() or [""])[0][:160]
    return mask_text(printable(line))


def _mark(node: Node | None) -> Position:
    return (node.start_mark.line + 1, node.start_mark.column + 1) if node is not None else (0, 0)


def _find_node(root: Node | None, path: Steps, at_key: bool) -> Node | None:
    """Walk as far as the path leads; steps that lead nowhere are passed over."""
    node, key = root, root
    for step in path:
        if isinstance(node, MappingNode):
            for name, value in node.value:
                if name.value == step:
                    key, node = name, value
                    break
        elif isinstance(node, SequenceNode) and isinstance(step, int) and step < len(node.value):
            key = node = node.value[step]
    return key if at_key else node


class _YamlReader:
    """Makes data of nodes; every doubt is a fault of the document."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._nodes = 0
        self._open: set[int] = set()

    def value(self, node: Node, path: Steps) -> Any:
        self._nodes += 1
        if self._nodes > _MAX_NODES or id(node) in self._open:
            raise RecursionError
        if isinstance(node, ScalarNode):
            return self._scalar(node, path)
        self._open.add(id(node))
        made = self._mapping(node, path) if isinstance(node, MappingNode) else self._sequence(node, path)
        self._open.discard(id(node))
        return made

    def _sequence(self, node: Node, path: Steps) -> list[Any]:
        if node.tag != f"{_TAG}seq":
            self._document.add_at(_mark(node), "a tag (!) has no place in a job", of=_dotted(path))
        return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]

    def _mapping(self, node: Node, path: Steps) -> dict[str, Any]:
        if node.tag != f"{_TAG}map":
            self._document.add_at(_mark(node), "a tag (!) has no place in a job", of=_dotted(path))
        made: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, ScalarNode) or key.tag not in {f"{_TAG}str", f"{_TAG}merge"}:
                self._document.add_at(_mark(key), "a key is text", of=_dotted(path))
                continue
            if key.value in made:
                message = f"the key `{shown_key(key.value)}` stands twice"
                self._document.add_at(_mark(key), message, of=_dotted(path))
                continue
            if isinstance(value, ScalarNode) and not value.value and value.tag == f"{_TAG}null":
                # nothing stands there: its mark is wherever the next thing begins
                self._document.add_at(_mark(key), NO_VALUE, of=_dotted((*path, key.value)))
                made[key.value] = None
                continue
            made[key.value] = self.value(value, (*path, key.value))
        return made

    def _scalar(self, node: ScalarNode, path: Steps) -> Any:
        text = cast(str, node.value)
        kind = str(node.tag).removeprefix(_TAG)
        if kind in {"str", "timestamp"}:
            return text  # a date is what was written, not what YAML makes of it
        if kind == "bool" and text.lower() in {"true", "false"}:
            return text.lower() == "true"
        if kind == "int" and _DIGITS.fullmatch(text):
            return int(text)
        if kind == "float" and _FLOAT.fullmatch(text):
            return float(text)
        message = {
            "int": "YAML would read another number than stands here: write plain digits, or put it in quotes",
            "float": "not a plain number: put it in quotes if it is text",
            "null": NO_VALUE,
            "bool": "write true or false, or put it in quotes if it is text",
        }.get(kind, "a tag (!) has no place in a job")
        self._document.add_at(_mark(node), message, of=_dotted(path))
        return None if kind == "null" else text


# JSON: parsed at once; places are found by a second walk, only where there is a fault.


class _Twice(dict[str, Any]):
    """An object in which a key stood twice."""

    repeated: str = ""


def json_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a JSON object of its pairs (`object_pairs_hook`); one with a repeated key is marked."""
    made = dict(pairs)
    if len(made) == len(pairs):
        return made
    marked = _Twice(made)
    seen: set[str] = set()
    marked.repeated = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
    return marked


def _read_json(name: str, text: str) -> Document:
    document = Document(
        name, locate=lambda path, at_key: _line_column(text, _json_offset(text, path, at_key))
    )
    try:
        document.data = json.loads(text, object_pairs_hook=json_pairs, parse_int=_json_int)
    except json.JSONDecodeError as error:
        document.add_at((error.lineno, error.colno), f"not JSON: {error.msg}")
    except RecursionError:
        document.add_at((0, 0), "nested too deeply")
    _note_slips(document, document.data, ())
    return document


def _json_int(text: str) -> int | float:
    return int(text) if len(text) <= 30 else float("inf")  # no phone and no limit is longer


def repeated_key(data: object) -> str | None:
    """Return the key that stands twice in an object made by `json_pairs`, or None."""
    return data.repeated if isinstance(data, _Twice) else None


def _note_slips(document: Document, data: Any, path: Steps) -> None:
    """Note keys that stand twice, and nulls."""
    key = repeated_key(data)
    if key is not None:
        at = document.locate((*path, key), True)
        document.add_at(at, f"the key `{shown_key(key)}` stands twice", of=_dotted(path))
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for step, value in items:
        if value is None:
            document.add((*path, step), NO_VALUE)
        elif isinstance(value, dict | list):
            _note_slips(document, value, (*path, step))


_JSON_SPACE = re.compile(r"[ \t\n\r]*")
_JSON = json.JSONDecoder(parse_int=str, parse_float=str)


def _json_offset(text: str, path: Steps, at_key: bool) -> int:
    """Walk as far as the path leads; steps that lead nowhere are passed over."""
    at = key = _after_space(text, 0)
    for step in path:
        found = _json_step(text, at, step)
        if found is not None:
            key, at = found
    return key if at_key else at


def _json_step(text: str, at: int, step: str | int) -> tuple[int, int] | None:
    """Return the offsets of the key and of the value of one step into the object or list at `at`.

    Where a key stands twice, the last one counts, as in the data.
    """
    opener = text[at : at + 1]
    if opener not in {"{", "["}:
        return None
    found, index = None, 0
    at = _after_space(text, at + 1)
    while text[at : at + 1] not in {"}", "]", ""}:
        key_at, name = at, cast("str | int", index)
        if opener == "{":
            name, at = _JSON.raw_decode(text, at)
            at = _after_space(text, _after_space(text, at) + 1)
        if name == step:
            found = key_at, at
            if opener == "[":
                break
        at = _after_space(text, _JSON.raw_decode(text, at)[1])
        at = _after_space(text, at + 1) if text[at] == "," else at
        index += 1
    return found


def _after_space(text: str, at: int) -> int:
    match = _JSON_SPACE.match(text, at)
    return match.end() if match else at


def _line_column(text: str, offset: int) -> Position:
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


# TOML: the standard library's parser keeps no places but those of its own errors. Lines are looked up here.

_TOML_HEADER = re.compile(r'\s*\[\[?\s*"?([^\]"]+?)"?\s*\]')


def _toml_position(text: str, path: Steps) -> Position:
    """Return the line of the section and key that a path leads to, as near as it can be told."""
    names = [str(step) for step in path if isinstance(step, str)]
    nth = next((step for step in path[1:2] if isinstance(step, int)), 0)
    best, met, section = 0, -1, ""
    for number, line in enumerate(text.split("\n"), 1):
        header = _TOML_HEADER.match(line)
        if header is not None:
            section = header[1]
            met += names[:1] == [section]
            best = number if names[:1] == [section] and met == nth else best
        elif names and not section and _toml_key(names[0]).match(line):
            best = number
        elif len(names) > 1 and section == names[0] and met == nth and _toml_key(names[1]).match(line):
            return number, 0
    return best, 0


def _toml_key(name: str) -> re.Pattern[str]:
    return re.compile(rf'\s*"?{re.escape(name)}"?\s*[.=]')


def _read_toml(name: str, text: str) -> Document:
    document = Document(name, locate=lambda path, _: _toml_position(text, path))
    try:
        document.data = _toml_value(document, tomllib.loads(text), ())
    except tomllib.TOMLDecodeError as error:
        match = _TOML_AT.search(str(error))
        at = (int(match[1]), int(match[2])) if match and match[1] else (0, 0)
        document.add_at(at, f"not TOML: {_one_line(_TOML_AT.sub('', str(error)))}")
    except RecursionError:
        document.add_at((0, 0), "nested too deeply")
    return document


def _toml_value(document: Document, value: Any, path: Steps) -> Any:
    """Turn TOML's own dates back to text; one with an offset or a fraction is a fault."""
    if isinstance(value, dict):
        return {key: _toml_value(document, inner, (*path, key)) for key, inner in value.items()}
    if isinstance(value, list):
        return [_toml_value(document, inner, (*path, index)) for index, inner in enumerate(value)]
    if isinstance(value, datetime):
        if value.tzinfo is not None or value.microsecond:
            document.add(path, "write the date and time without an offset or a fraction of a second")
        return value.isoformat(sep=" ", timespec="seconds")
    return value.isoformat() if isinstance(value, date | time) else value
