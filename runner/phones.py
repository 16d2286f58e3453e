"""Phone numbers as text: normalise, validate, mask. Pure. (Body follows; the signatures are final.)"""

from dataclasses import dataclass
from typing import Literal

__all__ = ["BadPhone", "Normalised", "PhoneRule", "mask", "mask_text", "normalise", "normalise_many"]

PhoneRule = Literal["mobile_cn", "number", "opaque"]


class BadPhone(ValueError):
    """A value that is no phone; `reason` is one of the stable words of `REASONS`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Normalised:
    """Many values after `normalise`.

    Args:
        phones: The phone, or None where the value is bad; may be the very list that was given.
        bad: Index → reason, ascending.
        changed: How many good values were changed.
        kinds: Kind of change → how many good values it touched (one value may count under several).
    """

    phones: list[str | None]
    bad: dict[int, str]
    changed: int
    kinds: dict[str, int]


def normalise(value: str, rule: PhoneRule) -> str:
    """Return the phone that a value stands for, or raise BadPhone."""
    raise NotImplementedError


def normalise_many(values: list[str], rule: PhoneRule) -> Normalised:
    """Return what `normalise` makes of every value, fast where most are clean already."""
    raise NotImplementedError


def mask(value: str) -> str:
    """Return a value so that it can be shown: `174****8658`; never the whole of it."""
    raise NotImplementedError


def mask_text(text: str) -> str:
    """Return a text with every run of 7 or more digits masked, separators and full-width included."""
    raise NotImplementedError
