"""One batch as a line of a plan: what stands in it, and what is taken for one when it is read again.

Keeps the promise that a line says exactly one batch: it passes only in the very form in which it is written,
so that no two readers of a plan can understand it differently. Nothing here opens a file.
"""

import re
from typing import Final

import orjson

from runner.model import Batch, ListedPhones, Target, check_phones

__all__ = ["MAX_LINE_BYTES", "BatchLines", "batch_prefix", "renumbered"]

MAX_LINE_BYTES: Final = 1 << 20
"""Of one batch: 100 opaque values of 512 characters, escaped, with room to spare."""

_TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}")
_PHONE_KEY: Final = b',"phone":'


def batch_prefix(target: Target) -> bytes:
    """Return what stands between the `seq` and the phones of every batch line of a target."""
    fields: dict[str, object] = {"user_id": target.user_id}
    if target.created_at is not None:
        fields["created_at"] = target.created_at
    if target.encryption:
        fields["encryption"] = True
    if target.delete_window:
        fields["delete_window"] = True
    return b"," + orjson.dumps(fields)[1:-1]


def _head(seq: int) -> bytes:
    """Return what stands before that prefix."""
    return b'{"seq":%d' % seq


def renumbered(line: bytes, seq: int, new_seq: int) -> bytes:
    """Return the line of a batch, proved to be that of `seq`, as it is where the batch has another one."""
    return _head(new_seq) + line[len(_head(seq)) :]


class BatchLines:
    """Batch lines to batches; a line passes only in the very form in which it is written."""

    def __init__(self) -> None:
        self._prefix = b""
        self._target: Target | None = None

    def prove(self, line: bytes, seq: int) -> tuple[Target, int, bool]:
        """Return the batch's target, how many phones it has, and whether they ascend; each is looked at.

        Raises:
            ValueError: It is not the line that stands for one batch with this `seq`.
        """
        target, listed = self._cut(line, seq)
        phones = _prove_phones(target, listed)
        return target, len(phones), phones == sorted(phones)

    def parse(self, line: bytes, seq: int, phones: int, *, ascending: bool) -> Batch:
        """Return the batch that a line is which was proved, in these very bytes, with what that showed.

        Raises:
            ValueError: It is no line of a batch with this `seq`.
        """
        target, listed = self._cut(line, seq)
        if listed is None:
            return Batch(seq, target, ())
        return Batch(seq, target, ListedPhones(listed, phones, ascending=ascending))

    def _cut(self, line: bytes, seq: int) -> tuple[Target, bytes | None]:
        """Return a line's target, and its phones as a JSON list; None: it has none."""
        head = _head(seq)
        if not (line.startswith(head + b",") and line.endswith(b"}")):
            raise ValueError("no whole batch with the next seq")
        prefix, has_phones, listed = line[len(head) : -1].partition(_PHONE_KEY)
        target = self._target if prefix == self._prefix else None
        if target is None:
            target = _parse_target(prefix)
            self._prefix, self._target = prefix, target
        return target, listed if has_phones else None


def _parse_target(prefix: bytes) -> Target:
    """Return the target of `batch_prefix`."""
    fields = orjson.loads(b"{" + prefix[1:] + b"}")
    created_at = fields.get("created_at")
    if created_at is not None and not (
        type(created_at) is list
        and len(created_at) == 2
        and all(type(end) is str and _TIME.fullmatch(end) for end in created_at)
    ):
        raise ValueError("created_at is no pair of times")
    if type(fields.get("user_id")) is not str:
        raise ValueError("there is no user_id")
    target = Target(
        fields["user_id"],
        None if created_at is None else (created_at[0], created_at[1]),
        encryption=fields.get("encryption") is True,
        delete_window=fields.get("delete_window") is True,
    )
    if batch_prefix(target) != prefix:
        raise ValueError("a field that no batch has, or in a form that no plan has")
    return target


def _prove_phones(target: Target, listed: bytes | None) -> list[str]:
    """Return the phones of a list, which may be sent to this target; raises ValueError."""
    phones: list[str] = [] if listed is None else orjson.loads(listed)
    if type(phones) is not list:
        raise ValueError("phones are a list")
    try:
        "".join(phones)
    except TypeError:
        raise ValueError("a phone that is no text") from None
    if listed is not None and (not phones or orjson.dumps(phones) != listed):
        raise ValueError("phones in a form that no plan has")
    check_phones(target, phones)
    return phones
