"""Every write and every sync of an audit fails once, in the real program, SQLite's way: under strace.

Whatever call fails, and however, the run stops with 3 (or dies), `resume` finishes the job, and the sandbox's
ledger agrees with the audit. By default a sample of the calls; all of them, one after the other:

    python -m pytest -n auto -m 'slow or not slow' tests/test_syscalls.py
"""

import os
import shutil
import subprocess
import sys

import pytest

from tests.support.evidence import check_evidence, read_audit, read_lines
from tests.support.program import PATIENCE_S, USER, numbers
from tests.support.sweep import sweep

USERS = {f"user-{n}": numbers(2, 10 * n) for n in range(5)}
ARGS = ("--yes", "--rate", "unlimited", "--concurrency", "2")
WRITES = 12
"""More than such a run appends (ends, intents, first and last record), however its intents come together."""
SYNCS = 7

STRACE = ("strace", "-f", "-qq", "-o", os.devnull)
LOOKS = "?newfstatat,?fstat,?lstat,?statx"
FAILURES = {
    "ENOSPC": "write:error=ENOSPC",
    "EIO": "write:error=EIO",
    "EDQUOT": "write:error=EDQUOT",
    "short": "write:retval=9",
    "killed": "write:signal=KILL",
    "sync": "fdatasync:error=EIO",
    "sync-full": "fdatasync:error=ENOSPC",
    "killed-syncing": "fdatasync:signal=KILL",
    "look": f"{LOOKS}:error=EIO",
}
ALL = [
    (how, nth)
    for how, call in FAILURES.items()
    for nth in range(1, 1 + (WRITES if call.startswith("write") else SYNCS))
]
SAMPLE = [("ENOSPC", 1), ("short", 3), ("killed", 4), ("sync", 1), ("look", 6)]
REST = [case for case in ALL if case not in SAMPLE]
CASES = [*SAMPLE, *(pytest.param(*case, marks=pytest.mark.slow) for case in REST)]


def traced(program, inject, *args, on="a.jsonl"):
    """Run the program with one call on its audit, or another file, failing; returns its exit code."""
    # With the filter only what is traced stops the program, which is quicker; a signal is not injected so.
    quick = [] if "signal=" in "".join(inject) else ["--seccomp-bpf"]
    strace = [*STRACE, *quick, "-P", str(program.folder / on)]
    strace += ["-e", f"trace=write,fdatasync,ftruncate,pread64,{LOOKS}"]
    strace += [part for fault in inject for part in ("-e", f"inject={fault}")]
    done = subprocess.run(
        [*strace, sys.executable, "-m", "runner", *map(str, args), *ARGS],
        cwd=program.folder,
        env={name: value for name, value in program.env.items() if value is not None},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert "Traceback" not in done.stdout + done.stderr
    assert "internal" not in done.stderr
    return done.returncode


@pytest.fixture(scope="module", autouse=True)
def strace_works():
    """Skip where strace is missing or may not trace."""
    if shutil.which("strace") is None:
        pytest.skip("no strace")
    probe = [*STRACE, "--seccomp-bpf", "-e", "trace=write", "-e", "inject=write:error=EIO:when=9999", "true"]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("strace may not trace here")


@pytest.fixture
def job(program, sandbox):
    """A job of five batches; all of its numbers are there."""
    for user, phones in USERS.items():
        sandbox.pool.add_phones(user, phones)
    return program.job(USERS)


def check_stopped(code, audit, how, nth):
    """It refused, stopped or died, and what is there is whole but for a torn end; tell whether it struck."""
    if code == 0:  # there are fewer calls than that
        assert read_audit(audit)[-1]["status"] == "complete"
        return False
    if how.startswith("killed"):
        assert code in (-9, 137), code
    elif how == "look":  # before there is an audit, or at a sync
        assert code in (2, 3), code
        assert code == 2 or audit.exists()
    elif nth == 1 and not how.startswith("sync"):  # the session's first record: nothing was sent
        assert code == 2, code
    else:
        assert code == 3, code
    return True


def finish(program, sandbox, job, audit):
    """Resume to the end; where not even the first record stands, nothing was sent, and the path is free."""
    sandbox.settle()
    if not audit.exists() or not read_lines(audit):
        assert sandbox.deletions() == []
        program("verify", audit).expect(2)
        program("resume", audit, "--yes").expect(2)
        program("run", job, "--audit", audit, *ARGS).expect(0)
        check_evidence(audit, sandbox)
        return
    before = audit.read_bytes()
    program("resume", audit, "--yes").expect(0)
    after = audit.read_bytes()
    assert after.startswith(before[: before.rindex(b"\n") + 1]), "what stood in the audit was changed"
    check_evidence(audit, sandbox)
    program("verify", audit).expect(0)
    assert sandbox.stats()["rows_left"] == 0
    assert program("resume", audit, "--yes").expect(0)
    assert audit.read_bytes() == after


@pytest.mark.parametrize(("how", "nth"), CASES)
def test_a_failed_call_stops_the_run_and_resume_finishes_it(program, sandbox, job, how, nth):
    audit = program.folder / "a.jsonl"
    code = traced(program, [f"{FAILURES[how]}:when={nth}"], "run", job, "--audit", audit)
    struck = check_stopped(code, audit, how, nth)
    assert struck or (how, nth) not in SAMPLE, "nothing failed"
    finish(program, sandbox, job, audit)


def test_a_record_that_cannot_even_be_cut_back_is_repaired_by_resume(program, sandbox, job):
    """A short write, and then `ftruncate` fails as well: the torn record stays until the next opening."""
    audit = program.folder / "a.jsonl"
    faults = ["write:retval=9:when=4", "ftruncate:error=EIO:when=1+"]
    check_stopped(traced(program, faults, "run", job, "--audit", audit), audit, "short", 4)
    audit.write_bytes(audit.read_bytes() + b'{"type":"')  # strace only said that nine bytes were written
    program("verify", audit).expect(3)
    finish(program, sandbox, job, audit)


@pytest.mark.parametrize(("how", "nth"), sweep([("ENOSPC", 1), ("sync", 2), ("killed", 3)], fast=[0]))
def test_a_failed_call_during_resume_loses_nothing_either(program, sandbox, job, how, nth):
    audit = program.folder / "a.jsonl"
    assert traced(program, ["write:error=EIO:when=5"], "run", job, "--audit", audit) == 3
    code = traced(program, [f"{FAILURES[how]}:when={nth}"], "resume", audit)
    check_stopped(code, audit, how, nth)
    finish(program, sandbox, job, audit)


@pytest.mark.parametrize("nth", sweep([1, 2], fast=[1]))
def test_a_block_of_the_plan_that_cannot_be_read_stops_the_run_and_what_is_in_flight_comes_home(
    program, sandbox, nth
):
    """The second of two blocks is read while hundreds of batches of the first have gone."""
    many = numbers(30_000)
    sandbox.pool.add_phones(USER, many)
    sandbox.control(latency_s=0.01)
    audit = program.folder / "a.jsonl"
    fault = f"pread64:error=EIO:when={nth}"
    job = program.job({USER: many})
    assert traced(program, [fault], "run", job, "--audit", audit, on="a.jsonl.plan") == 3
    sandbox.settle()
    summary = read_audit(audit)[-1]
    assert (summary["type"], summary["status"]) == ("summary", "stopped")
    assert "a.jsonl.plan" in summary["why"]
    assert "Input/output error" in summary["why"]
    assert summary["uncertain_batches"] == 0
    assert summary["requests"] == len(sandbox.deletions()) == summary["batches"]["deleted"]
    assert (summary["requests"] > 100) == (nth == 2)
    program("resume", audit, *ARGS).expect(0)
    check_evidence(audit, sandbox)
    assert sandbox.left() == []
