"""YAML 1.2 as data: of a parser's events, with a place for each value.

Keeps the promise that what a job says is what is read. YAML's guesses do not happen: a number is taken only
where its literal text is plain digits (`017`, `1_39` and `0x1F` are faults), a date stays the text that was
written, and a key or an anchor that stands twice is a fault. What an alias repeats is counted each time, so
that a few lines do not become millions of values. ruamel.yaml is known here and nowhere else.
"""

import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.reader import ReaderError

from runner.job.document import (
    MAX_DEPTH,
    MAX_KEYS,
    MAX_MAPPINGS,
    MAX_VALUES,
    NO_VALUE,
    ODD_NUMBER,
    TOO_DEEP,
    TOO_MANY_KEYS,
    TOO_MANY_VALUES,
    TWICE,
    DateText,
    Document,
    Position,
    Steps,
    dotted,
    half_character,
    one_line,
    shown_key,
)

__all__ = ["read_yaml"]

_DIGITS = re.compile(r"0|-?[1-9][0-9]{0,29}")
_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_TAG = "tag:yaml.org,2002:"
_TAGGED = "a tag (!) has no place in a job"
_WORDS = {
    "int": ODD_NUMBER,
    "float": "not a plain number: put it in quotes if it is text",
    "null": NO_VALUE,
    "bool": "write true or false, or put it in quotes if it is text",
}
_OTHER_VERSION = re.compile(r"^%YAML(?!\s+1\.[12]\b)", re.MULTILINE)
_COLUMNS = 1 << 25


class _Broken(Exception):
    """The text cannot be read on from here."""

    def __init__(self, at: Position, words: str) -> None:
        super().__init__(words)
        self.at, self.words = at, words


@dataclass(slots=True)
class _Marks:
    """Where the parts of one container stand: a list's items, or of a mapping keys and values in turn."""

    at: "array[int]" = field(default_factory=lambda: array("Q"))
    inside: "list[_Marks | None]" = field(default_factory=list)
    """Of the parts that are containers; shorter than `at` where none follows."""

    def append(self, at: int, marks: "_Marks | None") -> None:
        if marks is not None:
            self.inside += [None] * (len(self.at) - len(self.inside))
            self.inside.append(marks)
        self.at.append(at)

    def part(self, index: int) -> "tuple[int, _Marks | None]":
        return self.at[index], self.inside[index] if index < len(self.inside) else None


@dataclass(slots=True)
class _Anchored:
    """What an anchor names, and how many values and mappings it stands for."""

    value: Any
    marks: _Marks | None
    values: int
    mappings: int


def read_yaml(document: Document, text: str) -> None:
    """Read a job's YAML into a document; what is wrong with it is noted there."""
    other = _OTHER_VERSION.search(text)
    if other is not None:
        at = text.count("\n", 0, other.start()) + 1, 1
        document.add_at(at, "not YAML 1.2, which a job is: leave the %YAML line away")
        return
    try:
        _YamlReader(document, text).read()
    except _Broken as broken:
        document.data = None
        document.add_at(broken.at, broken.words)
    except ReaderError as error:
        before = text[: int(error.position)]
        at = before.count("\n") + 1, len(before) - before.rfind("\n")
        document.data = None
        document.add_at(at, "not YAML: a control character stands here")
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        words = " ".join(part for part in (error.context, error.problem) if part)
        document.data = None
        document.add_at((mark.line + 1, mark.column + 1) if mark else (0, 0), f"not YAML: {one_line(words)}")


class _YamlReader:
    """Makes data of events; every doubt is a fault of the document."""

    def __init__(self, document: Document, text: str) -> None:
        yaml = YAML(typ="safe", pure=True)
        self._document = document
        self._events: Iterator[Event] = yaml.parse(text)
        self._resolve = yaml.resolver.resolve
        self._anchors: dict[str, _Anchored | None] = {}
        self._values = 0
        self._mappings = 0
        self._halves = "\\u" in text or "\\U" in text

    def read(self) -> None:
        """Read the one document of the text, to the end of the text."""
        marks, top, started = None, 0, False
        for event in self._events:
            if isinstance(event, DocumentStartEvent):
                if started:
                    raise _Broken(
                        _position(event), "not YAML: a job is one document, and here begins another document"
                    )
                started = True
            elif isinstance(event, NodeEvent):
                top = _packed(event)
                self._document.data, marks = self._value(event, ())
        self._document.locate = lambda path, at_key: _locate(self._document.data, top, marks, path, at_key)

    def _value(self, event: Event, path: Steps) -> tuple[Any, _Marks | None]:
        """Return the value that begins with this event, and the places inside it."""
        if isinstance(event, AliasEvent):
            return self._alias(event)
        self._count(event, values=1)
        anchor = event.anchor if isinstance(event, NodeEvent) else None
        if anchor in self._anchors:
            words = f"the anchor `{shown_key(anchor)}` stands twice: it is in doubt which of the two is meant"
            raise _Broken(_position(event), words)
        if anchor is None:
            return self._plain(event, path)
        before = self._values, self._mappings
        self._anchors[anchor] = None
        value, marks = self._plain(event, path)
        self._anchors[anchor] = _Anchored(
            value, marks, 1 + self._values - before[0], self._mappings - before[1]
        )
        return value, marks

    def _plain(self, event: Event, path: Steps) -> tuple[Any, _Marks | None]:
        if isinstance(event, ScalarEvent):
            return self._scalar(event, path), None
        if len(path) >= MAX_DEPTH:
            raise _Broken(_position(event), TOO_DEEP)
        mapping = isinstance(event, MappingStartEvent)
        tag = event.ctag if isinstance(event, MappingStartEvent | SequenceStartEvent) else None
        if tag is not None and str(tag) not in {"!", f"{_TAG}{'map' if mapping else 'seq'}"}:
            self._note(event, _TAGGED, path)
        return self._mapping(event, path) if mapping else self._sequence(path)

    def _alias(self, event: Any) -> tuple[Any, _Marks | None]:
        if event.anchor not in self._anchors:
            raise _Broken(_position(event), "not YAML: found undefined alias")
        named = self._anchors[event.anchor]
        if named is None:
            raise _Broken(_position(event), f"{TOO_DEEP}: the alias stands inside of what it names")
        self._count(event, values=named.values, mappings=named.mappings)
        return named.value, named.marks

    def _count(self, event: Event, *, values: int, mappings: int = 0) -> None:
        self._values += values
        self._mappings += mappings
        if self._values > MAX_VALUES or self._mappings > MAX_MAPPINGS:
            raise _Broken(_position(event), TOO_MANY_VALUES)

    def _sequence(self, path: Steps) -> tuple[list[Any], _Marks]:
        made: list[Any] = []
        marks = _Marks()
        for event in self._events:
            if isinstance(event, SequenceEndEvent):
                break
            value, inside = self._value(event, (*path, len(made)))
            made.append(value)
            marks.append(_packed(event), inside)
        return made, marks

    def _mapping(self, start: Event, path: Steps) -> tuple[dict[str, Any], _Marks]:
        self._count(start, values=0, mappings=1)
        made: dict[str, Any] = {}
        marks = _Marks()
        for key in self._events:
            if isinstance(key, MappingEndEvent):
                break
            name = self._key(key, made, path)
            value = next(self._events)
            below = path if name is None else (*path, name)
            if isinstance(value, ScalarEvent) and not value.value and value.implicit[0]:
                # nothing stands there: its mark is wherever the next thing begins
                self._note(key, NO_VALUE, below)
                read, inside = None, None
            else:
                read, inside = self._value(value, below)
            if name is not None and name not in made:
                made[name] = read
                marks.append(_packed(key), None)
                marks.append(_packed(value), inside)
        return made, marks

    def _key(self, event: Event, made: dict[str, Any], path: Steps) -> str | None:
        """Return a key's text, or None of what is no text; what is at fault is noted."""
        if not isinstance(event, ScalarEvent) or self._kind(event) not in {"str", "merge"}:
            self._note(event, "a key is text", path)
            self._value(event, path)
            return None
        name = str(event.value)
        if name in made:
            self._note(event, TWICE.format(shown_key(name)), path)
        elif len(made) >= MAX_KEYS:
            raise _Broken(_position(event), TOO_MANY_KEYS)
        self._note_half(event, name, path)
        return name

    def _scalar(self, event: ScalarEvent, path: Steps) -> Any:
        text = str(event.value)
        kind = self._kind(event)
        if kind == "str":
            self._note_half(event, text, path)
            return text
        if kind == "timestamp":
            return DateText(text)  # what was written, not what YAML makes of it
        if kind == "bool" and text.lower() in {"true", "false"}:
            return text.lower() == "true"
        if kind == "int" and _DIGITS.fullmatch(text):
            return int(text)
        if kind == "float" and _FLOAT.fullmatch(text):
            return float(text)
        self._note(event, _WORDS.get(kind, _TAGGED), path)
        return None if kind == "null" else text

    def _kind(self, event: ScalarEvent) -> str:
        """Return what YAML takes a scalar for, `str` for what stands in quotes."""
        if event.ctag is not None and str(event.ctag) != "!":
            return str(event.ctag).removeprefix(_TAG)
        if not event.implicit[0]:
            return "str"
        return str(self._resolve(ScalarNode, event.value, event.implicit)).removeprefix(_TAG)

    def _note(self, event: Event, words: str, path: Steps) -> None:
        self._document.add_at(_position(event), words, of=dotted(path))

    def _note_half(self, event: Event, text: str, path: Steps) -> None:
        words = half_character(text) if self._halves else None
        if words:
            raise _Broken(_position(event), f"{dotted(path)}: {words}".removeprefix(": "))


def _position(event: Event) -> Position:
    return event.start_mark.line + 1, event.start_mark.column + 1


def _packed(event: Event) -> int:
    mark = event.start_mark
    return int((mark.line + 1) * _COLUMNS + mark.column + 1)


def _locate(data: Any, at: int, marks: _Marks | None, path: Steps, at_key: bool) -> Position:
    """Walk as far as the path leads; steps that lead nowhere are passed over."""
    key = at
    for step in path:
        if isinstance(data, dict) and marks is not None and step in data:
            index = 2 * list(data).index(step)
            key, (at, marks) = marks.at[index], marks.part(index + 1)
            data = data[step]
        elif isinstance(data, list) and marks is not None and isinstance(step, int) and step < len(data):
            at, marks = marks.part(step)
            key, data = at, data[step]
    found = key if at_key else at
    return divmod(found, _COLUMNS)
