"""Parts of a page: moments, tables, names and values as HTML, everything escaped. Pure."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any, Final

from runner.output.plot import shown
from runner.phones import mask_text

__all__ = ["Clock", "ended", "more", "pairs", "pill", "table", "words"]

_LONGEST_WORDS: Final = 160
_MOST_PAIRS: Final = 20


@dataclass(frozen=True, slots=True)
class Clock:
    """Says moments in local time and in UTC."""

    zone: tzinfo | None

    def both(self, at: str | None) -> str:
        """Return a moment as HTML, in both."""
        moment = _moment(at)
        if moment is None:
            return shown(at or "–")
        local, utc = moment.astimezone(self.zone), moment.astimezone(UTC)
        if local.utcoffset() == utc.utcoffset():
            return f'<time datetime="{utc.isoformat()}">{utc:%Y-%m-%d %H:%M:%S} UTC</time>'
        there = f"{utc:%H:%M:%S}" if local.date() == utc.date() else f"{utc:%Y-%m-%d %H:%M:%S}"
        said = f"{local:%Y-%m-%d %H:%M:%S} {_offset(local)}"
        return f'<time datetime="{utc.isoformat()}">{said}</time> <span class="soft">({there} UTC)</span>'

    def local(self, at: str | None, form: str = "%Y-%m-%d %H:%M") -> str:
        """Return a moment in local time."""
        moment = _moment(at)
        return (at or "–") if moment is None else moment.astimezone(self.zone).strftime(form)


def _moment(at: str | None) -> datetime | None:
    try:
        moment = datetime.fromisoformat(at or "")
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _offset(moment: datetime) -> str:
    text = moment.strftime("%z")
    return f"{text[:3]}:{text[3:5]}"


def pill(status: str) -> str:
    """Return how a run ended."""
    return f'<span class="pill {status}">{status}</span>'


def more(number: int, what: str) -> str:
    """Return that there are so many more than are shown, if there are."""
    return f'<p class="soft">and {number:,} more {what}</p>' if number > 0 else ""


def ended(status: str) -> str:
    """Return how a batch ended."""
    return f'<i class="dot {shown(status)}"></i>{shown(status.replace("_", " "))}'


def words(text: str) -> str:
    """Return foreign words, cut where they are longer than anybody reads."""
    return shown(text if len(text) <= _LONGEST_WORDS else text[:_LONGEST_WORDS] + " …")


def table(
    head: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Collection[int], kind: str = ""
) -> str:
    """Return a table; its cells are HTML, and where there is little room each bears its column's name."""
    kinds = [' class="n"' if column in numbers else "" for column in range(len(head))]
    top = "".join(f"<th{kind}>{name}</th>" for kind, name in zip(kinds, head, strict=True))
    body = "".join(f"<tr>{_cells(head, kinds, row)}</tr>" for row in rows)
    return f'<table class="{kind}"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>'


def _cells(head: Sequence[str], kinds: Sequence[str], row: Sequence[str]) -> str:
    return "".join(
        f'<td{kind} data-l="{shown(name)}"><span>{cell}</span></td>'
        for name, kind, cell in zip(head, kinds, row, strict=True)
    )


def pairs(values: dict[str, Any]) -> str:
    """Return names and values, one beside the other."""
    return "".join(
        f'<span class="pair"><span class="soft">{words(name.replace("_", " "))}</span> '
        f"<b>{words(_said(value))}</b></span>"
        for name, value in list(values.items())[:_MOST_PAIRS]
    )


def _said(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "–", True: "yes", False: "no"}[value]
    return f"{value:,}" if isinstance(value, int | float) else mask_text(str(value))
