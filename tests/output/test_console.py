"""The screen: what is said and how, and the line of a terminal used over and over while a plan is made."""

import asyncio
import io
import json
import re

import pytest

from runner.audit.records import BatchRecord, PaceRecord
from runner.errors import Exit, Refused, RunnerError
from runner.options import OutputOptions
from runner.output import console
from runner.output.console import Console
from runner.plan.planner import PlanningProgress
from runner.stop import Stop
from tests.output.test_progress import snapshot
from tests.support.simclock import run_simulated

DATED = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d ")
AWAY = "\r\x1b[J"


class Screen(io.StringIO):
    def __init__(self, *, terminal):
        super().__init__()
        self._terminal = terminal

    def isatty(self):
        return self._terminal


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.fixture
def at_once(monkeypatch):
    """Show every step, however soon it comes."""
    monkeypatch.setattr(console, "_DRAW_EVERY_S", -1.0)
    monkeypatch.setattr(console, "_LINE_EVERY_S", -1.0)


def open_console(*, terminal=False, **options):
    screen = Screen(terminal=terminal)
    return screen, Console(OutputOptions(**options), stderr=screen, stdout=io.StringIO())


def planning(*, terminal, **options):
    """Return what a planning of two steps and one sentence after it leave on the screen."""
    screen, out = open_console(terminal=terminal, **options)
    follow = out.follow_planning()
    follow(PlanningProgress(10_000, "清单/退订.csv"))
    follow(PlanningProgress(20_000, "", 200))
    out.say("done")
    return screen.getvalue()


@pytest.mark.usefixtures("at_once")
def test_a_log_gets_the_steps_of_planning_as_dated_lines():
    assert DATED.sub("@", planning(terminal=False)) == (
        "@info: planning: 10,000 values read, now 清单/退订.csv\n"
        "@info: planning: 20,000 values read, 200 batches written\n"
        "done\n"
    )


@pytest.mark.usefixtures("at_once")
def test_a_terminal_shows_them_in_one_line_that_is_gone_before_the_next_words():
    first, second, last = planning(terminal=True).split(AWAY)
    assert first == "planning: 10,000 values read, now 清单/退订.csv"
    assert second == "planning: 20,000 values read, 200 batches written"
    assert last == "done\n"


@pytest.mark.usefixtures("at_once")
def test_the_result_does_not_follow_on_the_line_of_the_progress():
    screen, out = open_console(terminal=True)
    out.follow_planning()(PlanningProgress(1, "a"))
    out.result("{}")
    assert screen.getvalue().endswith(AWAY)


@pytest.mark.usefixtures("at_once")
def test_quiet_shows_no_progress():
    assert planning(terminal=True, quiet=True) == ""


@pytest.mark.usefixtures("at_once")
def test_a_terminal_that_cannot_move_its_cursor_gets_lines(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    said = planning(terminal=True)
    assert "\x1b" not in said
    assert said.count("\n") == 3


# --- logs


PAUSE = PaceRecord(
    at="", rate="10/s", until="2026-01-01T12:00:00.000+00:00", why="the server asked for a pause"
)
FAILED = BatchRecord(
    at="",
    seq=3,
    user_id="u1",
    created_at=None,
    encryption=False,
    delete_window=False,
    phones=1,
    phones_left=1,
    phones_sha256="",
    status="failed",
    count=None,
    attempts=1,
    uncertain_attempts=0,
    http_status=422,
    code=6007,
    message="bad: aGVsbG8= \x1b[2J\x9b\u202e",
    error="refused",
    duration_ms=1.0,
    phone=["aGVsbG8="],
)


def test_an_event_is_one_line_with_date_and_offset():
    screen, out = open_console(verbose=True)
    out.tell(PAUSE)
    out.tell(FAILED)
    out.warn("two\nlines")
    pause, failed, warning = screen.getvalue().splitlines()
    assert all(DATED.match(line) for line in (pause, failed, warning))
    assert pause[26:] == f"info: {PAUSE.why} rate=10/s until={PAUSE.until}"
    assert "debug: batch not confirmed status=failed seq=3" in failed
    assert "message=bad: **** \ufffd[2J\ufffd\ufffd" in failed
    assert warning.endswith("warning: two lines")


def test_every_line_is_a_json_object_where_that_is_asked_for():
    screen, out = open_console(verbose=True, log_format="json")
    out.tell(PAUSE)
    out.tell(FAILED)
    out.say("two\nlines")
    out.show_error(RunnerError("no", hint="type: yes"))
    pause, failed, said, error = map(json.loads, screen.getvalue().splitlines())
    assert DATED.match(pause["at"] + " ")
    assert (pause["level"], pause["event"], pause["rate"]) == ("info", PAUSE.why, "10/s")
    assert (failed["level"], failed["seq"]) == ("debug", 3)
    assert failed["message"] == "bad: **** \x1b[2J\ufffd\ufffd"
    assert said["event"] == "two\nlines"
    assert (error["level"], error["event"], error["hint"]) == ("error", "no", "type: yes")
    assert screen.getvalue().replace("\n", "").isprintable()


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_quiet_leaves_warnings_and_errors(log_format):
    screen, out = open_console(quiet=True, log_format=log_format)
    out.tell(PAUSE)
    out.say("hello")
    assert screen.getvalue() == ""
    out.warn("careful")
    out.show_error(RunnerError("no"))
    assert screen.getvalue().count("\n") == 2


@pytest.mark.parametrize(
    ("terminal", "env", "coloured"),
    [
        (True, {}, True),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"TERM": "dumb"}, False),
        (False, {}, False),
    ],
)
def test_a_level_has_a_colour_on_a_terminal_that_wants_one(monkeypatch, terminal, env, coloured):
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    screen, out = open_console(terminal=terminal)
    out.warn("careful")
    assert ("\x1b[" in screen.getvalue()) == coloured


def test_numbers_are_masked_whoever_says_them():
    screen, out = open_console()
    out.say("号码 13912345678")
    out.warn("13912345678")
    out.note("x", user="13912345678")
    assert "13912345678" not in screen.getvalue()
    assert screen.getvalue().count("139****5678") == 3


# --- progress


def follow(seconds, *, terminal=False, shots=None, **options):
    screen, out = open_console(terminal=terminal, **options)
    shots = shots or snapshot

    async def run():
        async with out.following(shots):
            await asyncio.sleep(seconds)

    run_simulated(run())
    return screen.getvalue()


def test_a_pipe_gets_a_dated_line_every_fifteen_seconds():
    lines = follow(46).splitlines()
    assert len(lines) == 3
    assert all(DATED.match(line) for line in lines)
    assert "37.2%" in lines[0]


def test_the_lines_are_objects_with_the_figures_where_json_is_asked_for():
    (line,) = follow(16, log_format="json").splitlines()
    told = json.loads(line)
    assert told["event"] == "progress"
    assert (told["percent"], told["batches"], told["rate_allowed"]) == (37.2, 744, "20/s")


def test_a_terminal_gets_a_block_that_is_gone_at_the_end():
    said = follow(1, terminal=True)
    assert "744 of 2,000 batches" in said
    assert said.endswith("\x1b[J")
    assert not said.rpartition("\x1b[J")[2]


def test_quiet_follows_nothing():
    assert follow(60, terminal=True, quiet=True) == ""


def test_a_fault_in_the_figures_changes_nothing_but_the_screen():
    def broken():
        raise ZeroDivisionError

    said = follow(5, shots=broken)
    assert "progress could not be shown: ZeroDivisionError" in said


def test_a_screen_that_fails_changes_nothing():
    class Gone(Screen):
        def write(self, _text):
            raise OSError(5, "Input/output error")

        def flush(self):
            raise OSError(5, "Input/output error")

    async def run(out):
        async with out.following(snapshot):
            await asyncio.sleep(60)
        out.warn("careful")
        out.say("bye")
        return "done"

    for terminal in (True, False):
        out = Console(OutputOptions(), stderr=Gone(terminal=terminal), stdout=io.StringIO())
        assert run_simulated(run(out)) == "done"


# --- the end of a run


def test_an_end_is_noted_once_and_told_to_whoever_wants_to_know():
    told = []
    out = Console(OutputOptions(), stderr=io.StringIO(), on_settled=lambda: told.append(1))
    assert out.settled is None
    out.settle(Exit.PARTIAL)
    assert (out.settled, told) == (Exit.PARTIAL, [1])


def test_a_result_that_cannot_be_written_is_said():
    class Full(io.StringIO):
        def flush(self):
            raise Refused("full")

    out = Console(OutputOptions(), stderr=io.StringIO(), stdout=Full())
    with pytest.raises(Refused):
        out.result("x")


@pytest.mark.parametrize("trouble", [UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no text"), OSError("gone")])
def test_an_answer_that_cannot_be_read_is_no_yes(monkeypatch, trouble):
    class Terminal(Screen):
        def readline(self):
            raise trouble

    monkeypatch.setattr("sys.stdin", Terminal(terminal=True))
    screen, out = open_console(terminal=True)
    with pytest.raises(Refused, match="declined"):
        asyncio.run(out.ask("Delete all?", Stop(), unless="--yes"))
    assert screen.getvalue().endswith("Delete all? [y/N] ")
