"""Once a run has its summary, that is what the process says and ends with, whatever befalls it."""

import itertools
import json
import os
import pty
import signal
import sys
from pathlib import Path

import pytest

from tests.support.evidence import check_evidence, read_audit
from tests.support.program import ROOT, USER, Ended, numbers

FAST = ("--yes", "--json", "--rate", "unlimited", "--audit", "a.jsonl")
SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")


@pytest.fixture
def job(program, sandbox):
    sandbox.pool.add_phones(USER, numbers(300))
    return program.job({USER: numbers(300)})


# --- signals after the summary


def sweep(program, moments):
    """Run the program once for each signal and moment: whatever comes when, the result is there."""
    job = program.job({USER: numbers(20)})
    folder = program.folder / "runs"
    folder.mkdir()
    script = [sys.executable, str(ROOT / "tests" / "support" / "late_signal.py"), folder, *moments, "--"]
    args = ["run", job, *FAST[:-1], "{n}.jsonl"]
    program.start(*args, argv=list(map(str, script))).wait(len(moments)).expect(0)
    for n, moment in enumerate(moments):
        code, out, err = [(folder / f"{n}.{name}").read_text() for name in ("status", "out", "err")]
        ended = Ended(int(code), out, err).expect(0)
        assert ended.record["status"] == "complete", moment
        assert read_audit(program.folder / f"{n}.jsonl")[-1]["exit_code"] == 0
        assert "nothing was sent" not in err, moment
        assert "ignored due to" not in err, moment


LATEST = 600
"""Calls from the summary to the end, and some more: about 550 are seen."""


def test_a_signal_after_the_summary_changes_nothing(program):
    moments = [*range(5, LATEST, 90), "atexit", "teardown", "teardown", "teardown"]
    sweep(program, [f"{name}:{when}" for name, when in zip(itertools.cycle(SIGNALS), moments, strict=False)])


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1, LATEST, 60))
@pytest.mark.parametrize("name", SIGNALS)
def test_no_moment_after_the_summary_is_one_for_a_signal(program, name, first):
    sweep(program, [f"{name}:{when}" for when in range(first, first + 60, 3)])


@pytest.mark.slow
@pytest.mark.parametrize("name", SIGNALS)
def test_no_moment_of_the_interpreters_end_is_one_for_a_signal(program, name):
    sweep(program, [f"{name}:{when}" for when in ("atexit", "teardown")])


# --- a terminal that vanishes


def vanishing(program, sandbox, args):
    """Start the program with a terminal for its errors, and take that away in mid-run."""
    master, slave = pty.openpty()
    started = program.start("run", *args, stderr=slave)
    os.close(slave)
    started.until(lambda: len(sandbox.deletions()) > 3, "a few deletions")
    os.close(master)
    return Ended(started.process.wait(60), started.out(), "")


@pytest.mark.parametrize("verbose", [False, True])
def test_a_terminal_that_vanishes_changes_nothing(program, sandbox, verbose):
    users = {f"u{n}": numbers(2, 10 * n) for n in range(30)}
    for user, phones in users.items():
        sandbox.pool.add_phones(user, phones)
    sandbox.control(latency_s=0.02, refused_phones=users["u20"])
    more = ["--verbose"] if verbose else []
    args = [program.job(users), "--yes", "--json", "--rate", "30/s", "--audit", "a.jsonl", *more]
    ended = vanishing(program, sandbox, args).expect(1)
    assert ended.record["batches"]["deleted"] == 29
    assert read_audit(program.folder / "a.jsonl")[-1]["exit_code"] == 1
    check_evidence(program.folder / "a.jsonl", sandbox)


def test_a_session_that_hangs_up_stops_the_run_cleanly_and_the_result_is_there(program, sandbox):
    users = {f"u{n}": numbers(2, 10 * n) for n in range(60)}
    sandbox.control(latency_s=0.02)
    args = ("--yes", "--json", "--rate", "30/s", "--audit", "a.jsonl")
    with program.on_terminal("run", program.job(users), *args) as terminal:
        terminal.until(lambda: len(sandbox.deletions()) > 3)
        terminal.hang_up()
        ended = terminal.end()
    assert ended.code == 143
    told = json.loads(ended.out)
    assert (told["status"], told["exit_code"], told["why"]) == ("stopped", 143, "SIGHUP")
    check_evidence(program.folder / "a.jsonl", sandbox, finished=False)
    program("resume", "a.jsonl", "--rate", "unlimited").expect(0)


# --- what a person is told


def test_a_first_signal_says_what_is_awaited_and_for_how_long_at_most(program, sandbox, job):
    sandbox.script("hang")
    started = program.start("run", job, *FAST, "--timeout", "7")
    started.until(sandbox.deletions, "a request on the wire")
    started.signal(signal.SIGINT)
    started.until(lambda: "SIGINT" in started.err(), "what is awaited")
    assert "waiting for 1 reply, 7 s at most; again to leave now" in started.err()
    started.signal(signal.SIGINT)
    assert started.wait().code == 130


# --- a result that cannot be written


@pytest.mark.parametrize(
    ("args", "env"),
    [
        (["plan", "job.json"], {}),
        (["plan", "job.json", "--json"], {}),
        (["--help"], {}),
        (["run", "--help"], {}),
        (["--help"], {"PYTHONUNBUFFERED": "1"}),
        (["plan", "job.json"], {"PYTHONUNBUFFERED": "1"}),
        (["--version"], {}),
        (["schema"], {}),
    ],
)
def test_a_result_that_finds_no_room_is_an_error(program, job, args, env):
    with Path("/dev/full").open("wb") as full:
        ended = program(*args, stdout=full, env=env).expect(2)
    assert ended.err.startswith("error: the result could not be written")
    assert "No space left on device" in ended.err
    assert "bug" not in ended.err
    assert "Exception ignored" not in ended.err


def test_what_a_run_did_stays_what_it_is_although_its_result_finds_no_room(program, sandbox, job):
    with Path("/dev/full").open("wb") as full:
        ended = program("run", job, *FAST, stdout=full).expect(0)
    assert "error: the result could not be written" in ended.err
    assert sandbox.left() == []


def test_a_reader_that_has_seen_enough_is_no_error(program, sandbox, job):
    ended = program.shell("set -o pipefail; $RUN schema | head -c 1")
    assert (ended.code, ended.out, ended.err) == (0, "{", "")


@pytest.mark.parametrize(
    "env",
    [{"PYTHONIOENCODING": "latin-1"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
    ids=["latin-1", "C"],
)
def test_a_result_that_an_encoding_cannot_show_is_shown_all_the_same(program, sandbox, env):
    job = program.job({USER: numbers(3)}, name="夜间清理")
    told = program("plan", job, "--json", env=env).expect(0).record
    assert "夜间清理" in json.dumps(told, ensure_ascii=False)
    assert "\\u591c\\u95f4" in program("plan", job, env=env).expect(0).out
