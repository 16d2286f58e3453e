"""What was not confirmed, by cause and by user, in bounded memory.

Owns the grouping: batches that ended alike are one cause, the vendor's words with long numbers masked. It
keeps no number of anybody's. Beyond 200 causes the vendor's words are left out, beyond 10,000 users the
users.
"""

from collections import Counter

from runner.audit.records import STATUSES, BatchRecord
from runner.phones import mask_echoes

__all__ = ["Cause", "Unconfirmed"]

_MOST_CAUSES = 200
_MOST_USERS = 10_000
_COLUMN = {status: column for column, status in enumerate(STATUSES[1:])}

Cause = tuple[str, str | None, int | None, int | None, str]
"""Batch status, `error`, `http_status`, `code`, and the vendor's words with long numbers masked."""


class Unconfirmed:
    """Tallies of batches that did not end `deleted`."""

    def __init__(self) -> None:
        self.causes: Counter[Cause] = Counter()
        """Batches by cause; past 200 causes without the vendor's words."""
        self.users: dict[str, list[int]] = {}
        """Numbers `failed`, `unknown` and `not_sent` of users who have some, the first 10,000 of them."""

    def add(self, record: BatchRecord) -> None:
        """Take in the end of a batch that was not confirmed whole."""
        words = mask_echoes(record.message or "", record.phone)
        cause = (record.status, record.error, record.http_status, record.code, words)
        if cause not in self.causes and len(self.causes) >= _MOST_CAUSES:
            cause = (*cause[:4], "")
        self.causes[cause] += 1
        if record.phones_left and (record.user_id in self.users or len(self.users) < _MOST_USERS):
            row = self.users.setdefault(record.user_id, [0, 0, 0])
            row[_COLUMN[record.status]] += record.phones_left

    def worst_users(self, most: int) -> list[tuple[str, list[int]]]:
        """Return the users with the most numbers that are not confirmed, at most so many."""
        return sorted(self.users.items(), key=lambda user: (-sum(user[1]), user[0]))[:most]
