"""The screen while a plan is made: words, and one line of a terminal used over and over."""

import io

import pytest

from runner.output import console
from runner.output.console import Console, Verbosity
from runner.plan.planner import Progress


class Screen(io.StringIO):
    def __init__(self, *, terminal):
        super().__init__()
        self._terminal = terminal

    def isatty(self):
        return self._terminal


@pytest.fixture
def at_once(monkeypatch):
    """Show every step, however soon it comes."""
    monkeypatch.setattr(console, "_BAR_EVERY_S", -1.0)
    monkeypatch.setattr(console, "_LINE_EVERY_S", -1.0)


def shown(*, terminal, quiet=False):
    """Return what a planning of two steps and one sentence after it leave on the screen."""
    screen = Screen(terminal=terminal)
    out = Console(Verbosity(quiet=quiet), stderr=screen, stdout=io.StringIO())
    follow = out.follow_planning()
    follow(Progress(10_000, "清单/退订.csv"))
    follow(Progress(20_000, "", 200))
    out.say("done")
    return screen.getvalue()


@pytest.mark.usefixtures("at_once")
def test_a_log_gets_the_steps_of_planning_as_lines():
    assert shown(terminal=False) == (
        "planning: 10,000 values read, now 清单/退订.csv\n"
        "planning: 20,000 values read, 200 batches written\n"
        "done\n"
    )


@pytest.mark.usefixtures("at_once")
def test_a_terminal_shows_them_in_one_line_that_is_cleared_before_the_next_words():
    first, second, last = shown(terminal=True).split("\r\x1b[K")
    assert first == "planning: 10,000 values read, now 清单/退订.csv"
    assert second == "planning: 20,000 values read, 200 batches written"
    assert last == "done\n"


@pytest.mark.usefixtures("at_once")
def test_the_result_does_not_follow_on_the_line_of_the_progress():
    screen = Screen(terminal=True)
    out = Console(Verbosity(), stderr=screen, stdout=io.StringIO())
    out.follow_planning()(Progress(1, "a"))
    out.result("{}")
    assert screen.getvalue().endswith("\r\x1b[K")


@pytest.mark.usefixtures("at_once")
def test_quiet_shows_no_progress():
    assert shown(terminal=True, quiet=True) == ""
