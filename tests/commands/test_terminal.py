"""Questions: asked on a terminal, refused without one; age asks a second time."""

import os
import re
import signal
import time

import pytest

from tests.support.emulator import Emulator
from tests.support.evidence import of_type, read_audit, rechain
from tests.support.program import USER, numbers, until

PHONES = numbers(3)
YES = ("y\n", "yes\n")
DAY_S = 86_400


@pytest.fixture
def job(program, sandbox):
    sandbox.pool.add_phones(USER, PHONES)
    return program.job({USER: PHONES})


def age(path, seconds):
    """Make a file that much older."""
    then = time.time() - seconds
    os.utime(path, (then, then))


def age_audit(path):
    """Make an audit years older, its chain with it."""
    rechain(
        path,
        lambda record: {**record, "at": "2024" + record["at"][4:]},
    )


def answer_all(terminal, text):
    """Give every question this answer."""
    while terminal.process.poll() is None:
        terminal._read()
        if terminal.seen.rstrip(" ").endswith((":", "]", "?", ">")):
            terminal.type(text)
            mark = len(terminal.seen)
            until(
                lambda mark=mark: (
                    (terminal._read() and len(terminal.seen) > mark) or terminal.process.poll() is not None
                )
            )


def test_without_a_terminal_and_without_yes_nothing_is_sent(program, sandbox, job):
    ended = program("run", job).expect(2)
    assert "--yes" in ended.err
    assert ended.out == ""
    assert sandbox.requests() == 0
    assert program.audits() == []


@pytest.mark.parametrize("answer", ["y", "yes"])
def test_on_a_terminal_the_totals_are_shown_and_yes_goes_on(program, sandbox, job, answer):
    with program.on_terminal("run", job) as terminal:
        terminal.read_until("to be deleted")
        assert sandbox.requests() == 0
        answer_all(terminal, f"{answer}\n")
        ended = terminal.end()
    assert ended.code == 0, ended.err
    assert sandbox.left() == []
    assert "complete" in ended.out


@pytest.mark.parametrize("answer", ["n\n", "\n", "no\n", "\x04"])
def test_a_prompt_declined_is_2_and_nothing_is_sent(program, sandbox, job, answer):
    with program.on_terminal("run", job) as terminal:
        terminal.read_until("to be deleted")
        answer_all(terminal, answer)
        ended = terminal.end()
    assert ended.code == 2, ended.err
    assert ended.out == ""
    assert sandbox.requests() == 0
    assert program.audits() == []


def test_ctrl_c_at_the_prompt_sends_nothing(program, sandbox, job):
    with program.on_terminal("run", job) as terminal:
        terminal.read_until("to be deleted")
        until(lambda: terminal._read() and terminal.seen.rstrip(" ").endswith((":", "]", "?")), "a question")
        terminal.type("\x03")
        ended = terminal.end()
    assert ended.code == 130, ended.err
    assert "Traceback" not in ended.err
    assert sandbox.requests() == 0
    assert program.audits() == []


def test_sigterm_at_the_prompt_sends_nothing(program, sandbox, job):
    with program.on_terminal("run", job) as terminal:
        terminal.read_until("to be deleted")
        until(lambda: terminal._read() and terminal.seen.rstrip(" ").endswith((":", "]", "?")), "a question")
        terminal.process.send_signal(signal.SIGTERM)
        ended = terminal.end()
    assert ended.code == 143, ended.err
    assert sandbox.requests() == 0


def test_yes_asks_nothing_on_a_terminal_either(program, sandbox, job):
    with program.on_terminal("run", job, "--yes") as terminal:
        ended = terminal.end()
    assert ended.code == 0, ended.err
    assert sandbox.left() == []


# What is more than a day old


def test_an_old_plan_needs_stale_ok_and_yes_does_not_cover_it(program, sandbox, job):
    program("plan", job, "--out", "p.plan").expect(0)
    program("run", "p.plan", "--yes", "--audit", "fresh.jsonl").expect(0)
    before = sandbox.requests()
    age(program.folder / "p.plan", DAY_S + 600)
    ended = program("run", "p.plan", "--yes").expect(2)
    assert "--stale-ok" in ended.err
    program("run", "p.plan", "--stale-ok").expect(2)
    assert sandbox.requests() == before
    program("run", "p.plan", "--yes", "--stale-ok").expect(0)
    assert sandbox.requests() > before


def test_an_old_plan_asks_a_second_time_on_a_terminal(program, sandbox, job):
    program("plan", job, "--out", "p.plan").expect(0)
    age(program.folder / "p.plan", DAY_S + 600)
    with program.on_terminal("run", "p.plan", "--yes") as terminal:
        until(lambda: terminal._read() and terminal.seen.rstrip(" ").endswith((":", "]", "?")), "a question")
        terminal.type("n\n")
        assert terminal.end().code == 2
    assert sandbox.requests() == 0
    with program.on_terminal("run", "p.plan", "--yes") as terminal:
        answer_all(terminal, "y\n")
        assert terminal.end().code == 0
    assert sandbox.left() == []


@pytest.fixture
def stopped(program, sandbox):
    """An audit with an open batch: the token was refused."""
    phones = numbers(150)
    sandbox.pool.add_phones(USER, phones)
    sandbox.control(token_expires_after=1)
    program("run", program.job({USER: phones}), "--yes", "--audit", "s.jsonl").expect(3)
    sandbox.control(token_expires_after=None)
    return program.folder / "s.jsonl"


def test_an_old_audit_is_not_resumed_without_stale_ok(program, sandbox, stopped):
    age_audit(stopped)
    before = sandbox.requests()
    assert "--stale-ok" in program("resume", stopped, "--yes").expect(2).err
    assert sandbox.requests() == before
    program("resume", stopped, "--stale-ok").expect(0)
    assert sandbox.left() == []


def test_an_old_audit_asks_on_a_terminal_before_it_is_resumed(program, sandbox, stopped):
    age_audit(stopped)
    with program.on_terminal("resume", stopped) as terminal:
        answer_all(terminal, "y\n")
        assert terminal.end().code == 0
    assert sandbox.left() == []


def test_a_young_audit_is_resumed_without_a_question(program, sandbox, stopped):
    program("resume", stopped).expect(0)
    assert sandbox.left() == []


def test_an_old_audit_is_not_rerun_without_stale_ok(program, sandbox):
    sandbox.pool.add_phones(USER, PHONES)
    sandbox.script("error", error_code=7431)
    program("run", program.job({USER: PHONES}), "--yes", "--audit", "a.jsonl").expect(1)
    age_audit(program.folder / "a.jsonl")
    before = sandbox.requests()
    assert "--stale-ok" in program("rerun", "a.jsonl", "--yes").expect(2).err
    assert sandbox.requests() == before
    program("rerun", "a.jsonl", "--yes", "--stale-ok").expect(0)
    assert sandbox.left() == []


def test_rerun_asks_too(program, sandbox):
    sandbox.pool.add_phones(USER, PHONES)
    sandbox.script("error", error_code=7431)
    program("run", program.job({USER: PHONES}), "--yes", "--audit", "a.jsonl").expect(1)
    before = sandbox.requests()
    assert "--yes" in program("rerun", "a.jsonl").expect(2).err
    assert sandbox.requests() == before
    with program.on_terminal("rerun", "a.jsonl", "--audit", "b.jsonl") as terminal:
        answer_all(terminal, "y\n")
        assert terminal.end().code == 0
    assert of_type(read_audit(program.folder / "b.jsonl"), "run")[0]["mode"] == "rerun"


# Progress


def test_a_narrow_terminal_shows_every_figure_whole_and_nothing_of_it_stays(program, sandbox):
    users = {f"u{n}": numbers(1, n) for n in range(20)}
    sandbox.control(latency_s=0.05)
    job = program.job(users)
    with program.on_terminal("run", job, "--yes", "--rate", "20/s", env={"COLUMNS": "40"}) as terminal:
        ended = terminal.end()
    assert ended.code == 0
    drawn = re.findall(r"\[[=.]+\] .*?(?=\r\x1b)", ended.err, re.DOTALL)
    assert drawn
    for block in drawn:
        assert all(len(line) < 40 for line in block.splitlines())
        for part in ("of 20 batches", "of 20 numbers deleted", "rows deleted", "failed 0, unknown 0"):
            assert part in block
        for part in ("/s now, 20/s allowed", "0 retries", "on the wire", "elapsed", "left"):
            assert part in block
    screen = Emulator(40)
    screen.feed(ended.err)
    assert "elapsed" not in "".join(screen.shown)
    assert "planned" in "".join(screen.shown)
