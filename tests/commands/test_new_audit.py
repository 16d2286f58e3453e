"""A place for a new audit: taken by one run at a time, never written over, free again after a death."""

import signal
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from runner import process
from runner.commands import new_audit
from runner.commands.evidence import plan_beside
from runner.commands.new_audit import reserve_audit
from runner.errors import Busy, Refused
from runner.plan.file import read_plan
from tests.support.plans import plan_with
from tests.support.program import USER, numbers

PHONES = numbers(3)
NOW = datetime(2024, 7, 26, 1, 2, 3, tzinfo=UTC)
DEFAULT = "audit/job-20240726T010203Z"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(new_audit, "utc_now", lambda: NOW)
    return tmp_path


@pytest.fixture
def finished(tmp_path):
    """A finished plan somewhere on the same file system."""
    return read_plan(plan_with({}, tmp_path / "finished"))


def test_the_default_place_takes_the_next_number_while_it_is_taken_or_in_use():
    with reserve_audit(None, "job") as first, reserve_audit(None, "job") as second:
        assert (first.audit, second.audit) == (Path(f"{DEFAULT}.jsonl"), Path(f"{DEFAULT}-2.jsonl"))
        second.audit.write_text("an audit")
        with reserve_audit(None, "job") as third:
            assert third.audit == Path(f"{DEFAULT}-3.jsonl")


def test_the_default_place_of_a_job_that_is_called_as_a_number_is_does_not_name_it(here):
    with reserve_audit(None, "13912345678+b") as place:
        assert place.audit.name.startswith("139xxxx5678+b-2024")


def test_many_who_come_at_once_each_get_a_place_of_their_own():
    found, all_here, over = [], threading.Barrier(9), threading.Event()

    def take():
        all_here.wait()
        with reserve_audit(None, "job") as place:
            found.append(place.audit)
            over.wait()

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    all_here.wait()
    while len(found) < 8:
        threading.Event().wait(0.005)
    over.set()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 8
    assert list(Path("audit").glob("*")) == [], "they all gave their place back"


def test_a_named_place_that_is_in_use_is_busy():
    with (
        reserve_audit(Path("a.jsonl"), "job"),
        pytest.raises(Busy, match=r"a\.jsonl"),
        reserve_audit(Path("a.jsonl"), "job"),
    ):
        pass


def test_a_place_stays_taken_while_the_plan_is_put_there(finished):
    with reserve_audit(Path("a.jsonl"), "job") as place:
        assert place.put(finished).path == Path("a.jsonl.plan")
        with pytest.raises(Busy), reserve_audit(Path("a.jsonl"), "job"):
            pass
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize("what", ["audit", "empty audit", "link", "folder"])
def test_what_stands_where_the_audit_would_is_refused_and_left(here, what):
    path = here / "a.jsonl"
    if what == "link":
        path.symlink_to("nowhere")
    elif what == "folder":
        path.mkdir()
    else:
        path.write_text("" if what == "empty audit" else "an audit")
    with pytest.raises(Refused, match="exists"), reserve_audit(path, "job"):
        pass
    assert [p.name for p in here.iterdir()] == ["a.jsonl"]


@pytest.mark.parametrize("content", ["my own notes", '{"type":"run"}\n'])
def test_what_is_no_plan_is_not_taken_for_one_that_was_left_over(here, content):
    plan_beside(here / "a.jsonl").write_text(content)
    with pytest.raises(Refused, match=r"a\.jsonl\.plan exists"), reserve_audit(here / "a.jsonl", "job"):
        pass
    assert plan_beside(here / "a.jsonl").read_text() == content


@pytest.mark.parametrize("with_audit", [False, True])
def test_what_a_dead_run_left_before_its_first_record_is_taken_over(here, finished, with_audit):
    finished.path.rename(plan_beside(here / "a.jsonl"))
    if with_audit:
        (here / "a.jsonl").touch()
    with reserve_audit(here / "a.jsonl", "job") as place:
        assert not place.audit.exists()
    assert list(here.iterdir()) == [place.plan], "nothing took its place"


def test_a_plan_of_ones_own_that_stands_there_is_not_taken_away_by_a_run_that_was_refused(program, sandbox):
    program("plan", program.job({USER: PHONES}), "--out", "a.jsonl.plan").expect(0)
    plan = program.folder / "a.jsonl.plan"
    confirmed = plan.read_bytes()
    for late in (("--reason", "x" * 5000), ("--token-file", "none")):
        program("run", plan, "--audit", "a.jsonl", "--yes", *late).expect(2)
        assert plan.read_bytes() == confirmed
    program("run", "nothing.json", "--audit", "a.jsonl", "--yes").expect(2)
    assert plan.read_bytes() == confirmed
    sandbox.pool.add_phones(USER, PHONES)
    program("run", plan, "--audit", "a.jsonl", "--yes").expect(0)
    assert plan.read_bytes() == confirmed


def test_a_run_that_was_killed_while_it_waited_blocks_nobody(program, sandbox):
    sandbox.pool.add_phones(USER, PHONES)
    sandbox.script("hang")
    holder = program.start("run", program.job({USER: PHONES}, name="a"), "--yes", "--timeout", "3000")
    holder.until(sandbox.deletions, "its first request")
    args = ("run", program.job({USER: PHONES}, name="b"), "--yes", "--audit", "b.jsonl")
    waiting = program.start(*args, "--wait")
    waiting.until(lambda: str(holder.pid) in waiting.err(), "that it waits")
    program(*args).expect(4)
    waiting.signal(signal.SIGKILL)
    waiting.wait()
    assert (program.folder / "b.jsonl.plan").exists()
    holder.signal(signal.SIGKILL)
    holder.wait()
    sandbox.script()
    program(*args).expect(0)
    assert sandbox.left() == []


@pytest.fixture
def terminating():
    """SIGTERM ends what is under way, as in the program."""
    former = signal.signal(signal.SIGTERM, process._terminate)
    yield
    signal.signal(signal.SIGTERM, former)


@pytest.mark.usefixtures("terminating")
def test_a_signal_at_the_moment_when_a_place_is_taken_leaves_nothing(here, monkeypatch):
    lock = new_audit._locked_plan

    def signalled(audit):
        descriptor = lock(audit)
        signal.raise_signal(signal.SIGTERM)
        return descriptor

    monkeypatch.setattr(new_audit, "_locked_plan", signalled)
    with pytest.raises(process.Terminated), reserve_audit(None, "job"):
        raise AssertionError("the signal came before")
    assert list(here.iterdir()) == []
