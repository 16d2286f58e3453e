"""Rows whose user id is none, or none that can be sent: all of them counted, the first of them named.

Keeps the promise that a flawed user id refuses its list: no number goes to a user whom nobody named exactly.
Its memory does not grow with the number of such rows.
"""

from collections import Counter
from typing import Final

from runner.errors import Refused
from runner.job.values import UNSAFE_USER_ID
from runner.lists.rows import Rows
from runner.model import is_safe_user_id
from runner.phones import REASONS, mask_text

__all__ = ["FlawedUsers"]

_MAX_NAMED: Final = 20
_SHOWN: Final = 64
_MISSING: Final = "missing"
_UNSAFE: Final = "unsafe"
_WORDS: Final = {
    **REASONS,
    _MISSING: "there is no user id",
    _UNSAFE: UNSAFE_USER_ID,
}


class FlawedUsers:
    """Collects flawed rows of any number of lists; `refuse_any` when all is read."""

    def __init__(self) -> None:
        self._reasons: Counter[str] = Counter()
        self._named: list[str] = []

    def look(self, rows: Rows) -> None:
        """Look at the user of every row."""
        for index, user in enumerate(rows.users or ()):
            reason = rows.user_flaws.get(index) or _flaw(user.strip())
            if reason is not None:
                self._reasons[reason] += 1
                if len(self._named) < _MAX_NAMED:
                    shown = mask_text(repr(user[:_SHOWN])) if user.strip() else "nothing"
                    self._named.append(f"{rows.source}:{rows.lines[index]}: {shown} ({reason})")

    def refuse_any(self) -> None:
        """Refuse the lists if there was such a row.

        Raises:
            Refused: All of them are counted by reason, the first twenty named by file and line.
        """
        count = self._reasons.total()
        if not count:
            return
        reasons = [
            f"{times:,} × {name}: {_WORDS.get(name, name)}" for name, times in self._reasons.most_common()
        ]
        more = [f"and {count - len(self._named):,} more"] if count > len(self._named) else []
        what = "1 row names" if count == 1 else f"{count:,} rows name"
        lines = [f"{what} no user id that can be sent", *reasons, *self._named, *more]
        raise Refused(
            "\n  ".join(lines), hint="Check user_column, and the rows themselves; nothing was planned."
        )


def _flaw(user: str) -> str | None:
    if not user:
        return _MISSING
    return None if is_safe_user_id(user) else _UNSAFE
