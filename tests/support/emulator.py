"""A terminal as far as the program uses one: lines that wrap, a cursor that goes up, clearing; and resizing.

Made narrower or wider it wraps its lines anew, as most terminals do; `clips` makes it cut them off instead,
as some do.
"""

import re

from runner.text import width

_TOKEN = re.compile(r"\x1b\[(\d*)([A-Za-z])|(.)", re.DOTALL)


class Emulator:
    """What a person would see; feed it what the program writes."""

    def __init__(self, columns, *, clips=False):
        self.columns = columns
        self._clips = clips
        self._rows = [("", False)]
        """Each row, and whether it goes on in the next one."""
        self._row = self._column = 0

    @property
    def shown(self):
        """The lines, those that were wrapped put together, without blank ones at the end."""
        whole, line = [], ""
        for text, goes_on in self._rows:
            line += text
            if not goes_on:
                whole.append(line.rstrip())
                line = ""
        while whole and not whole[-1]:
            whole.pop()
        return whole

    def feed(self, text):
        """Obey and show."""
        for number, command, char in _TOKEN.findall(text):
            if command == "A":
                self._row = max(0, self._row - int(number or 1))
            elif command == "J":
                line, _ = self._rows[self._row]
                self._rows[self._row :] = [(line[: self._column], False)]
            elif command == "m":
                pass
            elif command:
                raise AssertionError(f"not known here: {number}{command}")
            elif char == "\r":
                self._column = 0
            elif char == "\n":
                self._row, self._column = self._row + 1, 0
                if self._row == len(self._rows):
                    self._rows.append(("", False))
            else:
                self._put(char)

    def _put(self, char):
        line, _ = self._rows[self._row]
        if width(line[: self._column] + char) > self.columns:
            self._rows[self._row] = (line, True)
            self.feed("\n")
            line = ""
        self._rows[self._row] = (line[: self._column] + char + line[self._column + 1 :], False)
        self._column += 1

    def resize(self, columns):
        """Change the width; the cursor stays behind the character that it stood behind."""
        assert self._row == len(self._rows) - 1, "only at the end"
        self.columns = columns
        if self._clips:
            self._rows = [(text[:columns], goes_on) for text, goes_on in self._rows]
            self._column = min(self._column, columns)
            return
        lines, line = [], ""
        for text, goes_on in self._rows:
            line += text
            if not goes_on:
                lines.append(line)
                line = ""
        self._rows, self._row, self._column = [("", False)], 0, 0
        self.feed("\n".join(lines))
