"""Full disks, links, small limits, odd files: each a clear refusal or a stop that loses nothing."""

import os
import re
import shutil
import subprocess

import pytest

from tests.support.evidence import check_evidence
from tests.support.forgery import FAST, refused, stopped_run
from tests.support.program import OTHER, TOKEN, USER, numbers
from tests.support.sweep import sweep


@pytest.fixture
def small(program):
    """A disk of 16 KiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    folder = program.folder.parent / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "none", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no tmpfs can be mounted")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder):
    """Leave no byte free."""
    with (folder / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 512)
        except OSError:
            pass


def test_a_full_disk_for_the_audit_sends_nothing_and_is_2(program, sandbox, small):
    fill(small)
    refused(program("run", program.job({USER: numbers(3)}), *FAST, "--audit", small / "a.jsonl"), sandbox)


def test_a_full_disk_for_locks_takes_nothing_from_a_run(program, sandbox, small):
    """What the lock file says is for eyes; the lock is the kernel's."""
    first = program("run", program.job({USER: numbers(3)}), *FAST, env={"XDG_STATE_HOME": str(small)}).expect(
        0
    )
    fill(small)
    env = {"XDG_STATE_HOME": str(small)}
    again = program("run", program.job({USER: numbers(3)}, name="b"), *FAST, env=env).expect(0)
    assert "internal" not in first.err + again.err


def test_a_full_disk_for_temporary_files_is_2(program, sandbox, small):
    fill(small)
    os.truncate(small / "filler", (small / "filler").stat().st_size - 4096)  # enough to begin with
    broken = [f"x{n}" for n in range(2000)]
    job = program.job({USER: [*numbers(3), *broken]}, safety={"max_invalid": "100%"})
    refused(program("run", job, *FAST, env={"TMPDIR": str(small)}), sandbox)


def test_a_disk_that_fills_up_under_the_audit_stops_the_run_and_resume_goes_on(program, sandbox, small):
    phones = {f"u{n}": numbers(1, n) for n in range(60)}
    for user, mine in phones.items():
        sandbox.pool.add_phones(user, mine)
    job = program.job(phones)
    program("run", job, *FAST, "--audit", small / "a.jsonl").expect(3)
    assert 0 < len(sandbox.deletions()) < 60
    for name in ("a.jsonl", "a.jsonl.plan"):
        shutil.copy(small / name, program.folder / name)
    program("resume", "a.jsonl", "--yes").expect(0)
    check_evidence(program.folder / "a.jsonl", sandbox)
    assert sandbox.stats()["rows_left"] == 0


def test_a_limit_on_the_size_of_files_stops_the_run_and_resume_goes_on(program, sandbox):
    phones = {f"u{n}": numbers(1, n) for n in range(60)}
    for user, mine in phones.items():
        sandbox.pool.add_phones(user, mine)
    job = program.job(phones)
    ended = program.shell(f"ulimit -f 12; exec $RUN run {job} {' '.join(FAST)} --audit a.jsonl")
    assert ended.code == 3, ended.err
    assert 0 < len(sandbox.deletions()) < 60
    headline, *rest = ended.out.splitlines()
    assert headline == "job – stopped early"
    assert any(re.fullmatch(" *why +audit not writable: .+", line) for line in rest[:5]), ended.out
    assert re.fullmatch("to go on: make room or mend the disk, then: .* resume a.jsonl", rest[-1])
    said = "error: the summary could not be written into a.jsonl: audit not writable: "
    hint = "make room or mend the disk, then type: .* resume a.jsonl"
    assert re.search(f"^{said}.*\n  -> {hint}$", ended.err, re.MULTILINE), ended.err
    program("resume", "a.jsonl", "--yes").expect(0)
    check_evidence(program.folder / "a.jsonl", sandbox)
    assert sandbox.stats()["rows_left"] == 0


def test_too_few_descriptors_for_the_connections_are_2_before_anything_is_sent(program, sandbox):
    job = program.job({USER: numbers(3)})
    ended = program.shell(f"ulimit -n 128; exec $RUN run {job} {' '.join(FAST)} --concurrency 1000")
    refused(ended, sandbox)
    assert "too few file descriptors: 1064 are needed, 128 are allowed" in ended.err
    assert "ulimit -n 1064" in ended.err
    assert "resume" not in ended.err


def test_a_soft_limit_on_descriptors_is_raised_as_far_as_is_allowed(program, sandbox):
    job = program.job({USER: numbers(3)})
    program.shell(f"ulimit -S -n 128; exec $RUN run {job} {' '.join(FAST)} --concurrency 500").expect(0)


@pytest.mark.parametrize("limit", sweep([9, 12, 14, 18, 22], fast=[3]))
def test_hardly_any_descriptors_are_2_whatever_fails_first(program, sandbox, limit):
    job = program.job({f"u{n}": numbers(3, n) for n in range(60)})
    ended = program.shell(f"ulimit -n {limit}; exec $RUN run {job} {' '.join(FAST)} --concurrency 1")
    refused(ended, sandbox)
    assert "resume" not in ended.err
    assert "internal" not in ended.err
    assert re.fullmatch("(?s).*error: [^\n]*\n(  -> [^\n]*\n)?", ended.err), ended.err


BROKEN = """
import runner.send.{module} as module

def boom(*args, **more):
    raise KeyError("13912345678")

module.{what} = boom
"""


@pytest.mark.parametrize(
    ("module", "what", "code"),
    [("session", "RunRecord", 2), ("session", "Dispatch", 3), ("safety", "plan_age", 2)],
)
def test_a_bug_speaks_of_resume_only_once_a_session_has_begun(program, sandbox, module, what, code):
    program("plan", program.job({USER: numbers(3)}), "--out", "p.plan").expect(0)
    program.write("hook/sitecustomize.py", BROKEN.format(module=module, what=what))
    path = f"{program.folder / 'hook'}:{program.env['PYTHONPATH']}"
    env = {"PYTHONPATH": path}
    ended = program("run", "p.plan", *FAST, "--audit", "a.jsonl", env=env).expect(code)
    assert "internal: KeyError at sitecustomize.py:5" in ended.err
    assert ("`resume` goes on" in ended.err) == (program.folder / "a.jsonl").exists() == (code == 3)
    assert "139" not in ended.err
    assert sandbox.requests() == 0


def test_a_folder_that_is_gone_is_2(program, sandbox):
    job = program.job({USER: numbers(3)})
    refused(program.shell(f"mkdir gone; cd gone; rmdir ../gone; $RUN run {job} --yes"), sandbox)


def test_an_audit_folder_that_is_a_dangling_link_is_2(program, sandbox):
    (program.folder / "audit").symlink_to(program.folder / "nowhere")
    refused(program("run", program.job({USER: numbers(3)}), *FAST), sandbox)


def test_a_plan_beside_that_is_a_link_is_never_written_through(program, sandbox):
    victim = program.write("victim", "mine")
    (program.folder / "a.jsonl.plan").symlink_to(victim)
    refused(program("run", program.job({USER: numbers(3)}), *FAST, "--audit", "a.jsonl"), sandbox)
    assert victim.read_text() == "mine"


def test_an_audit_that_is_a_link_is_not_resumed(program, sandbox):
    audit = stopped_run(program, sandbox, {USER: numbers(500)})
    (program.folder / "link.jsonl").symlink_to(audit)
    (program.folder / "link.jsonl.plan").symlink_to(f"{audit}.plan")
    before = len(sandbox.deletions())
    program("resume", "link.jsonl", *FAST).expect(2)
    assert len(sandbox.deletions()) == before


@pytest.mark.parametrize(
    "odd", ["/dev/null", "/dev/zero", "/dev/full", ".", "fifo", "no-such", "/proc/self/mem"]
)
def test_report_and_verify_of_odd_files_end_and_are_no_bug(program, odd):
    os.mkfifo(program.folder / "fifo")
    for verb, codes in (("report", {2}), ("verify", {1, 2, 3})):
        ended = program(verb, odd)
        assert ended.code in codes
        assert "internal" not in ended.err


def test_two_runs_at_once_on_one_origin_send_one_after_the_other(program, sandbox):
    sandbox.control(latency_s=0.5)
    for user in (USER, OTHER):
        sandbox.pool.add_phones(user, numbers(200))
    first, second = (
        program.start(
            "run", program.job({user: numbers(200)}, name=name), *FAST, "--wait", "--audit", f"{name}.jsonl"
        )
        for user, name in ((USER, "a"), (OTHER, "b"))
    )
    for started in (first, second):
        started.wait().expect(0)
    users = [entry["user_id"] for entry in sandbox.deletions()]
    assert users in ([USER] * 2 + [OTHER] * 2, [OTHER] * 2 + [USER] * 2)


def test_the_token_and_the_numbers_are_in_no_lock_file(program, sandbox):
    sandbox.pool.add_phones(USER, numbers(3))
    program("run", program.job({USER: numbers(3)}), *FAST).expect(0)
    locks = [path for path in program.state.rglob("*") if path.is_file()]
    assert locks
    for path in locks:
        assert path.stat().st_mode & 0o777 == 0o600
        assert TOKEN not in path.read_text()
        assert "139000" not in path.read_text()
