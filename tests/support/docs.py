"""README.md and the pages of `docs/`, read as data: their tables, fenced blocks and links."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXT = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROSE = FENCED.sub("", TEXT)


CHINESE = (ROOT / "README.zh-CN.md").read_text(encoding="utf-8")


def blocks(text=TEXT):
    """Every fenced block, as its lines that are no comment and not blank."""
    return [
        [line for line in body.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        for _, body in FENCED.findall(text)
    ]


def table(*header, text=TEXT):
    """The rows of the one table with this header, each a list of cells."""
    lines = FENCED.sub("", text).splitlines()
    found = [n for n, line in enumerate(lines) if cells(line) == list(header)]
    assert len(found) == 1, f"{len(found)} tables have the header {header}"
    rows = []
    for line in lines[found[0] + 2 :]:
        if not line.startswith("|"):
            break
        rows.append(cells(line))
        assert len(rows[-1]) == len(header), line
    return rows


def cells(line):
    """The cells of a table's line; `\\|` is a bar in one of them."""
    parts = re.split(r"(?<!\\)\|", line.strip())
    return [part.strip().replace("\\|", "|") for part in parts[1:-1]] if len(parts) > 2 else []


def names(cell):
    """What stands in backticks in a cell."""
    return re.findall(r"`([^`]+)`", cell)


def words(cell):
    """The words of a cell, without backticks and commas; a dash alone is none."""
    return [word for word in cell.replace("`", "").replace(",", " ").split() if word != "–"]
