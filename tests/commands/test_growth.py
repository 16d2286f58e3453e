"""`max_growth`: a plan that is much larger than its job's last runs asks, or needs `--accept-size`."""

import pytest

from tests.commands.test_status import ago, records
from tests.support import audits
from tests.support.program import USER, numbers

GROWTH = {"safety": {"max_growth": 3}}


@pytest.fixture
def history(program):
    """A way to say how many numbers each run of a job was asked to delete, the oldest first."""
    folder = program.folder / "audit"
    folder.mkdir()

    def put(*sizes, end="deleted", name="night", **more):
        for number, size in enumerate(sizes):
            lines = records(end, **more)
            lines[0]["planned"]["phones"] = size
            if lines[-1]["type"] == "summary":
                phones = lines[-1]["phones"]
                phones.update(unique=size, deleted=size, read=size + 3)
            at = ago(days=len(sizes) - number)
            (folder / f"{name}-{number}.jsonl").write_bytes(b"".join(audits.chained(lines, at=at)))

    return put


def night(program, size, **more):
    return program.job({USER: numbers(size)}, name="nightly", **{**GROWTH, **more})


def refused(ended):
    """Not sent, for its size; what was said of that."""
    ended.expect(2)
    assert "--accept-size" in ended.err
    return ended.err


def test_a_plan_of_more_than_that_many_times_the_median_is_refused_without_a_terminal(
    program, sandbox, history
):
    history(10, 10, 100, 10, 10)
    said = refused(program("run", night(program, 31), "--yes"))
    assert "the plan has 31 numbers, more than 3 times the 10 that the last 5 runs of nightly had" in said
    assert sandbox.requests() == 0
    assert len(program.audits()) == 5
    program("run", night(program, 30), "--yes").expect(0)


def test_the_flag_accepts_it_and_the_plan_says_beforehand(program, sandbox, history):
    history(10)
    shown = program("plan", night(program, 31), "--json").expect(0).record
    assert "more than 3 times the 10 that the last run of nightly had" in shown["message"]
    assert shown["safety"]["max_growth"] == 3
    assert "--accept-size" in program("plan", night(program, 31)).expect(0).out
    program("run", night(program, 31), "--yes", "--accept-size").expect(0)
    assert program("plan", night(program, 30), "--json").expect(0).record["message"] is None


def test_only_the_last_ten_count_and_an_even_number_has_a_middle(program, history):
    history(1000, 1000, *[10] * 5, *[21] * 5)
    assert "3 times the 15.5 that the last 10 runs" in refused(program("run", night(program, 47), "--yes"))
    program("run", night(program, 46), "--yes").expect(0)


@pytest.mark.parametrize(
    "unlike",
    [{"job": "another"}, {"mode": "rerun"}, {"batches": 2}, {"done": False}],
    ids=["another job", "a rerun", "stopped", "killed"],
)
def test_what_is_no_finished_run_of_the_job_says_nothing(program, history, unlike):
    history(10, 10, **unlike)
    (program.folder / "audit" / "empty.jsonl").write_bytes(b"")
    (program.folder / "audit" / "notes.txt").write_text("x")
    program("run", night(program, 500), "--yes").expect(0)


def test_history_lies_where_the_new_audit_goes(program, history):
    history(10)
    program("run", night(program, 31), "--yes", "--audit", "elsewhere/a.jsonl").expect(0)
    refused(program("run", night(program, 94), "--yes", "--audit", "elsewhere/b.jsonl"))
    refused(program("run", night(program, 31), "--yes", "--audit", "audit/mine.jsonl"))


def test_a_plan_file_and_a_rerun_are_held_to_it_and_a_resume_is_not(program, sandbox, history):
    program("plan", night(program, 200), "--out", "p.plan").expect(0)
    program("run", "p.plan", "--yes", "--audit", "x/a.jsonl").expect(0)
    history(10)
    refused(program("run", "p.plan", "--yes"))
    sandbox.script("error", "error", error_code=7431)
    program("run", "p.plan", "--yes", "--accept-size", "--audit", "audit/big.jsonl").expect(1)
    history(*[10] * 10)
    refused(program("rerun", "audit/big.jsonl", "--yes"))
    sandbox.control(redirect_after=0, faults={"shares": {}})
    program("run", "p.plan", "--yes", "--accept-size", "--audit", "audit/stopped.jsonl").expect(3)
    sandbox.control(redirect_after=None)
    program("resume", "audit/stopped.jsonl").expect(0)


def test_a_person_is_asked_with_both_numbers(program, sandbox, history):
    history(10)
    with program.on_terminal("run", night(program, 31)) as terminal:
        terminal.read_until("Go on? [y/N] ")
        assert "31 numbers" in terminal.seen
        terminal.type("y\n")
        terminal.read_until("[y/N] ")
        terminal.type("y\n")
        terminal.end().expect(0)
    with program.on_terminal("run", night(program, 94), "--yes") as terminal:
        terminal.read_until("Go on? [y/N] ")
        terminal.type("n\n")
        terminal.end().expect(2)
    assert len(program.audits()) == 2


@pytest.mark.parametrize("value", [1, 0.5, -3, "3", "300%", True])
def test_it_is_a_number_above_one(program, value):
    told = program("plan", night(program, 3, safety={"max_growth": value})).expect(2).err
    assert "max_growth" in told
