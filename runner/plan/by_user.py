"""How many numbers each user loses: exact for the largest, in memory that does not grow with the users.

Relies on the order of a plan: beyond its first 20,000 targets users come in ascending order, so that a user
who is not among the first stands in one piece. Windows come last and are known beforehand.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from heapq import heappush, heappushpop, nlargest

from runner.plan.grouping import MAX_TARGETS

__all__ = ["MAX_USERS", "UserNumbers", "UserTally"]

MAX_USERS = MAX_TARGETS
"""Users that are told one by one: the largest."""


@dataclass(frozen=True, slots=True)
class UserNumbers:
    """What a plan asks of one user: distinct phones, and windows of which every number goes."""

    user_id: str
    phones: int
    windows: int

    @property
    def size(self) -> tuple[int, int]:
        """Return what makes one larger than another."""
        return self.phones, self.windows


class UserTally:
    """Takes the phones of users in the order of a plan, which has so many `windows` of each.

    `count` says of how many users, once all are in.
    """

    def __init__(self, windows: Mapping[str, int]) -> None:
        self._windows = windows
        self._known = dict.fromkeys(windows, 0)
        self._room = MAX_USERS
        self._largest: list[tuple[int, str]] = []
        self._beyond = 0
        self._user = ""
        self._phones = 0

    def add(self, user_id: str, phones: int) -> None:
        """Add phones of a user, one or more."""
        if user_id != self._user:
            self._note()
            self._user = user_id
        self._phones += phones

    def _note(self) -> None:
        """Put what the user before had where it belongs."""
        user, phones, self._phones = self._user, self._phones, 0
        if not phones:
            return
        if user in self._known:
            self._known[user] += phones
        elif self._room:
            self._room -= 1
            self._known[user] = phones
        else:
            self._beyond += 1
            put = heappush if len(self._largest) < MAX_USERS else heappushpop
            put(self._largest, (phones, user))

    @property
    def count(self) -> int:
        """How many users have phones or windows."""
        self._note()
        return len(self._known) + self._beyond

    def largest(self) -> tuple[UserNumbers, ...]:
        """Return those with the most phones, the largest first."""
        self._note()
        known = [UserNumbers(user, n, self._windows.get(user, 0)) for user, n in self._known.items()]
        beyond = [UserNumbers(user, n, 0) for n, user in self._largest]
        return tuple(nlargest(MAX_USERS, known + beyond, key=lambda user: user.size))
