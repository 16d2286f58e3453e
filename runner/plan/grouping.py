"""Phones by target: collects them in any order, gives them back target by target, each phone once.

Keeps promise 8 for any number of phones and of users: what does not fit in memory is spilled (`spill`). The
first 20,000 targets come out in the order in which they were first seen; those beyond, more than anybody
orders by hand, in the order of their names. So the order depends on the input alone, never on memory or on
hash seeds. It reads no list and writes no plan.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import chain, groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Final

from runner.model import Target, Window, is_safe_user_id
from runner.plan import spill
from runner.plan.spill import ROW_BYTES, Segment, Spill

__all__ = ["MAX_TARGETS", "Context", "Grouping"]

MAX_TARGETS = 20_000
"""Targets that are known by number; those beyond are told apart by sorting their names with their phones."""

_BEYOND: Final = 0xFFFF_FFFF
_PLACE_BYTES: Final = 512
"""What a target that holds a phone takes in memory beside the phone."""
_LINES_AT_ONCE: Final = 16_384

Context = tuple[Window | None, bool]
"""What the rows of one list share: `created_at` and `encryption`."""


class _Places(dict[str, list[str]]):
    """User id as it stands → the list for its phones in one context; finds or makes it when asked first."""

    def __init__(self, grouping: "Grouping", context: Context) -> None:
        super().__init__()
        self._grouping = grouping
        self._context = context

    def __missing__(self, user_id: str) -> list[str]:
        place = self._grouping.place(user_id, self._context)
        if place is None:  # not kept: the next row of this user is to be noticed too
            return []
        self[user_id] = place
        return place


class Grouping:
    """All phones of a plan, by target. Use it as a context manager: it holds a spill file.

    `unsafe` is set when a user id was met that cannot stand in a path; its phones went nowhere, and whoever
    adds rows says where it stands. `rows` are the phones added, repeated ones included.
    """

    def __init__(self, tmp_dir: Path | None) -> None:
        self.unsafe = False
        self.rows = 0
        self._spill = Spill(tmp_dir)
        self._room = spill.BUFFER_BYTES
        self._places: dict[Context, _Places] = {}
        self._pending: dict[str, list[str]] = {}
        self._numbers: dict[str, int] = {}
        self._targets: list[Target] = []
        self._targets_of: dict[str, int] = {}
        self._contexts: set[Context] = set()
        self._beyond = False

    def __enter__(self) -> "Grouping":
        return self

    def __exit__(self, *_: object) -> None:
        self._spill.close()

    def add(self, context: Context, users: Sequence[str], phones: Sequence[str]) -> None:
        """Add phones, each for the user beside it."""
        deque(map(list.append, map(self._places_of(context).__getitem__, users), phones), maxlen=0)
        self._account(phones)

    def add_for(self, context: Context, user_id: str, phones: Sequence[str]) -> None:
        """Add phones of one user."""
        self._places_of(context)[user_id].extend(phones)
        self._account(phones)

    def _account(self, phones: Sequence[str]) -> None:
        self.rows += len(phones)
        self._room -= len(phones) * ROW_BYTES + sum(map(len, phones))
        if self._room < 0:
            self._write_out()

    def _places_of(self, context: Context) -> _Places:
        places = self._places.get(context)
        if places is None:
            places = self._places[context] = _Places(self, context)
            self._room -= _PLACE_BYTES
            if len(self._contexts) < 2:
                self._contexts.add(context)
        return places

    def place(self, user_id: str, context: Context) -> list[str] | None:
        """Return the list for a target's phones, None of an unsafe user; white space around an id goes."""
        user_id = user_id.strip()
        if not is_safe_user_id(user_id):
            self.unsafe = True
            return None
        key = _key(user_id, context)
        place = self._pending.get(key)
        if place is None:
            place = self._pending[key] = []
            self._room -= _PLACE_BYTES
            self._register(key, user_id, context)
        return place

    def _register(self, key: str, user_id: str, context: Context) -> None:
        if key in self._numbers:
            return
        if len(self._numbers) >= MAX_TARGETS:
            self._beyond = True
            return
        self._numbers[key] = len(self._targets)
        self._targets.append(Target(user_id, context[0], context[1]))
        self._targets_of[user_id] = self._targets_of.get(user_id, 0) + 1

    # ---- spilling -------------------------------------------------------------------------------------

    def _write_out(self) -> None:
        """Empty the memory into the spill file."""
        numbers = self._numbers
        known = [(numbers[key], phones) for key, phones in self._pending.items() if phones and key in numbers]
        self._spill.write_run(sorted(known))
        if self._beyond:
            beyond = ((key, phones) for key, phones in self._pending.items() if key not in numbers)
            lines = chain.from_iterable([f"{key}\t{phone}" for phone in phones] for key, phones in beyond)
            while run := list(islice(lines, _LINES_AT_ONCE)):
                self._spill.write_run([(_BEYOND, run)])
            self._pending.clear()
            self._places.clear()
        else:
            for phones in self._pending.values():
                phones.clear()
        self._room = spill.BUFFER_BYTES

    # ---- reading back ---------------------------------------------------------------------------------

    def by_target(self) -> Iterator[tuple[Target, list[str]]]:
        """Yield targets with their distinct phones, ascending; a large one several times in a row.

        Nothing can be added any more.
        """
        self._write_out()
        self._places.clear()
        self._pending.clear()
        for number, segments in self._spill.groups():
            if number == _BEYOND:
                yield from self._by_name(segments)
                continue
            for phones in self._spill.sorted_values(segments):
                yield self._targets[number], phones

    def _by_name(self, segments: list[Segment]) -> Iterator[tuple[Target, list[str]]]:
        for lines in self._spill.sorted_values(segments):
            for key, named in groupby((line.rpartition("\t") for line in lines), itemgetter(0)):
                yield _target(key), [phone for _, _, phone in named]

    def has_several(self, user_id: str) -> bool:
        """Tell whether a user may have more than one target (surely so, while all are known by number)."""
        return len(self._contexts) > 1 if self._beyond else self._targets_of.get(user_id, 0) > 1


def _key(user_id: str, context: Context) -> str:
    """Return the name of a target: one for each, sorting by user first."""
    window, encryption = context
    first, last = window or ("", "")
    return f"{user_id}\t{first}\t{last}\t{encryption:d}"


def _target(key: str) -> Target:
    user_id, first, last, encryption = key.split("\t")
    return Target(user_id, (first, last) if first else None, encryption == "1")
