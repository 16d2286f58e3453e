"""The lines at the end of a terminal: drawn over and over, and never left behind."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.output.live_lines import LiveLines
from runner.streams import Shielded
from tests.support.emulator import Emulator

BLOCK = ["[======] 37.2%", "paused until 14:03:20: 服务器要求暂停", "744 of 2,000 batches", "rate 18.4/s now"]


class Terminal:
    """A stream that shows what is written on an emulator; its size is told by the environment."""

    def __init__(self, columns, lines=24, **kind):
        self.emulator = Emulator(columns, **kind)
        self.env = {"COLUMNS": str(columns), "LINES": str(lines)}
        self.region = LiveLines(Shielded(self), self.env)

    def resize(self, columns):
        self.emulator.resize(columns)
        self.env["COLUMNS"] = str(columns)

    def write(self, text):
        self.emulator.feed(text)
        return len(text)

    def flush(self):
        pass

    def isatty(self):
        return True

    def fileno(self):
        raise OSError(9, "no descriptor")

    @property
    def shown(self):
        return self.emulator.shown


def test_lines_are_drawn_in_place_of_those_before():
    terminal = Terminal(80)
    terminal.region.write("above\n")
    terminal.region.show(BLOCK)
    terminal.region.show(BLOCK[:2])
    assert terminal.shown == ["above", *BLOCK[:2]]


def test_what_is_written_takes_their_place_and_they_come_back_below_it():
    terminal = Terminal(80)
    terminal.region.show(BLOCK)
    terminal.region.write("an event\n")
    assert terminal.shown == ["an event"]
    terminal.region.show(BLOCK)
    terminal.region.write("another\n")
    terminal.region.show(BLOCK)
    assert terminal.shown == ["an event", "another", *BLOCK]


def test_nothing_is_left_at_the_end():
    terminal = Terminal(80)
    terminal.region.write("above\n")
    terminal.region.show(BLOCK)
    terminal.region.write("")
    assert terminal.shown == ["above"]


@pytest.mark.parametrize("clips", [False, True], ids=["wraps", "clips"])
@pytest.mark.parametrize("columns", [200, 120, 80, 60, 40])
def test_nothing_is_left_over_after_a_resize(columns, clips):
    terminal = Terminal(100, clips=clips)
    terminal.region.write("above\n")
    terminal.region.show(BLOCK)
    terminal.resize(columns)
    terminal.region.show(BLOCK)
    assert terminal.shown == ["above", *BLOCK]
    terminal.resize(100)
    terminal.region.write("below\n")
    assert terminal.shown == ["above", "below"]


@pytest.mark.parametrize("columns", [39, 30, 20, 7])
def test_a_terminal_narrower_than_the_lines_has_nothing_left_over_where_it_wraps_them(columns):
    terminal = Terminal(100)
    terminal.region.write("above\n")
    terminal.region.show(BLOCK)
    terminal.resize(columns)
    terminal.region.write("")
    assert terminal.shown == ["above"]


@given(st.lists(st.tuples(st.integers(30, 150), st.booleans()), max_size=12))
def test_whatever_is_resized_and_written_only_what_was_written_stays(steps):
    terminal, written = Terminal(80), []
    for columns, writes in steps:
        terminal.resize(columns)
        terminal.region.show(BLOCK)
        if writes:
            written.append(f"event {len(written)}")
            terminal.region.write(written[-1] + "\n")
    terminal.region.write("")
    assert terminal.shown == written


def test_a_terminal_with_few_lines_shows_the_first():
    terminal = Terminal(80, lines=3)
    terminal.region.show(BLOCK)
    assert terminal.shown == BLOCK[:2]


@pytest.mark.parametrize("env", [{}, {"COLUMNS": "", "LINES": "x"}, {"COLUMNS": "0"}, {"COLUMNS": "²"}])
def test_a_terminal_of_unknown_size_is_taken_for_a_usual_one(env):
    assert LiveLines(Shielded(Terminal(80)), env).size() == (80, 24)
