"""The public functions: typed in and out, errors as exceptions, and a script that stays its own master."""

import ast
import io
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import runner
from runner import (
    AccessOptions,
    AuditDamaged,
    Busy,
    Faults,
    Interrupted,
    LimitsGiven,
    PlanOptions,
    Rate,
    Refused,
    ResumeOptions,
    RunOptions,
    plan_job,
    report_audits,
    rerun_audits,
    resume_run,
    run_job,
    verify_audits,
)
from tests.support.docs import FENCED
from tests.support.evidence import check_evidence
from tests.support.program import OTHER, PATIENCE_S, ROOT, TOKEN, USER, numbers, until
from tests.support.robots import HealthChecks

PHONES = numbers(3)
MANY = numbers(500)
YES = RunOptions(yes=True, audit=Path("a.jsonl"))
SLOWLY = RunOptions(yes=True, audit=Path("a.jsonl"), limits=LimitsGiven(rate=Rate(None), concurrency=1))


@pytest.fixture
def vendor(sandbox, tmp_path, monkeypatch):
    """A sandbox that the environment of this process names, and a folder to be in."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("BULK_DELETE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("BULK_DELETE_BASE_URL", sandbox.url)
    monkeypatch.setenv("BULK_DELETE_TOKEN", TOKEN)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    sandbox.pool.add_phones(USER, MANY)
    return sandbox


@pytest.fixture
def a_list(vendor, tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("\n".join(MANY))
    return path


# ---- the names ----------------------------------------------------------------------------------------


def test_the_public_names_are_the_same_for_readers_loaders_and_type_checkers():
    tree = ast.parse((ROOT / "runner" / "__init__.py").read_text(encoding="utf-8"))
    typed = {
        alias.asname for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    typed -= {None}
    assert set(runner.__all__) == set(dir(runner)) == {*typed, "__version__"}
    for name in runner.__all__:
        assert getattr(runner, name) is not None


def test_a_name_that_is_none_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'purge'"):
        _ = runner.purge


def test_importing_the_package_loads_nothing_heavy_and_ships_its_types():
    heavy = "('runner.', 'msgspec', 'click', 'asyncio')"
    code = f"import sys, runner; print(*(m for m in sys.modules if m.startswith({heavy})))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
    assert (ROOT / "runner" / "py.typed").is_file()


# ---- what they do -------------------------------------------------------------------------------------


def test_a_job_is_planned_run_reported_and_verified(vendor, a_list):
    plan = plan_job(a_list, user_id=USER, options=PlanOptions(out=Path("p.plan")))
    assert (plan.totals.unique, plan.exit_code, vendor.requests()) == (500, 0, 0)
    run = run_job(Path("p.plan"), options=YES)
    assert (run.status, run.count, run.audit, run.next) == ("complete", 500, "a.jsonl", None)
    assert vendor.left() == []
    check_evidence(Path("a.jsonl"), vendor)
    (report,) = report_audits("a.jsonl", html="r.html", failed="f.csv").items
    assert (report.run_id, report.phones.deleted, report.status) == (run.run_id, 500, "complete")
    assert Path("r.html").exists()
    found = verify_audits(["a.jsonl", "p.plan"], head=None)
    assert [item.state.value for item in found.items] == ["whole", "whole"]


def test_a_stopped_run_is_a_result_and_goes_on(vendor, a_list):
    vendor.control(token_expires_after=2)
    run = run_job(str(a_list), user_id=USER, options=SLOWLY)
    assert (run.status, run.exit_code) == ("stopped", 3)
    vendor.control(token_expires_after=None)
    assert resume_run(run.audit, options=ResumeOptions(reason="the token was renewed")).status == "complete"
    assert vendor.left() == []


def test_what_was_not_confirmed_is_rerun(vendor, a_list):
    vendor.script("error", error_code=7431)
    assert run_job([a_list], user_id=USER, options=SLOWLY).status == "partial"
    nothing = rerun_audits("a.jsonl", only=["failed"], options=RunOptions(yes=True, audit=Path("b.jsonl")))
    assert nothing.batches.planned == 0
    again = rerun_audits(Path("a.jsonl"), options=RunOptions(yes=True, audit=Path("c.jsonl")))
    assert (again.status, again.batches.planned) == ("complete", 1)


# ---- errors -------------------------------------------------------------------------------------------


def test_without_yes_it_is_refused_and_nobody_is_asked(vendor, a_list, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    with pytest.raises(Refused, match="not confirmed"):
        run_job(a_list, user_id=USER)
    assert vendor.requests() == 0


def test_every_error_is_an_exception_of_its_own(vendor, a_list, tmp_path):
    (tmp_path / "bad.json").write_text('{"users": [{"user_id": 7}], "safty": {}}')
    with pytest.raises(Faults) as found:
        plan_job("bad.json")
    assert len(found.value.faults) >= 2
    with pytest.raises(Refused, match=r"nothing\.jsonl"):
        resume_run("nothing.jsonl")
    with pytest.raises(Refused, match="base-url"):
        run_job(a_list, user_id=USER, options=YES, access=AccessOptions(base_url="ftp://x"))
    run_job(a_list, user_id=USER, options=YES)
    audit = Path("a.jsonl")
    audit.write_bytes(audit.read_bytes().replace(b'"count":100', b'"count":101'))
    with pytest.raises(AuditDamaged) as damaged:
        report_audits(audit)
    assert damaged.value.run.audit == "a.jsonl"
    assert verify_audits(audit).exit_code == 1


@pytest.fixture
def under_way(vendor, a_list):
    """A run in another thread, whose first replies take their time."""
    vendor.control(latency_s=2)
    thread = threading.Thread(target=run_job, args=(a_list,), kwargs={"user_id": USER, "options": YES})
    thread.start()
    until(lambda: Path("a.jsonl").exists() and b"sending" in Path("a.jsonl").read_bytes(), "its first intent")
    yield thread
    vendor.control(latency_s=0)
    thread.join(PATIENCE_S)


def test_a_run_in_another_thread_is_busy_for_this_one(vendor, a_list, under_way):
    with pytest.raises(Busy) as busy:
        run_job(a_list, user_id=OTHER, options=RunOptions(yes=True))
    assert busy.value.run.job == "list"
    with pytest.raises(Busy):
        resume_run("a.jsonl")
    assert report_audits("a.jsonl").items[0].status == "running"


# ---- a script stays its own master --------------------------------------------------------------------


def test_nothing_is_printed_unless_a_stream_is_given(vendor, a_list, capfd):
    run_job(a_list, user_id=USER, options=YES)
    report_audits("a.jsonl")
    assert capfd.readouterr() == ("", "")
    log = io.StringIO()
    run_job(a_list, user_id=USER, options=RunOptions(yes=True, audit=Path("b.jsonl")), log=log)
    assert "500" in log.getvalue()
    assert not any(phone in log.getvalue() for phone in MANY)
    assert TOKEN not in log.getvalue()
    assert capfd.readouterr() == ("", "")


HEEDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def test_nobody_is_told_unless_it_is_asked_for(vendor, a_list, tmp_path, monkeypatch):
    with HealthChecks() as check:
        config = tmp_path / "xdg" / "bulk-delete" / "config.toml"
        config.parent.mkdir(parents=True)
        config.write_text(f'[ping]\nurl = "{check.url}"\n')
        config.chmod(0o600)
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
        run_job(a_list, user_id=USER, options=RunOptions(yes=True))
        assert check.requests == []
        with pytest.raises(Refused):
            run_job(a_list, user_id=USER, access=AccessOptions(config=config))
        run_job(a_list, user_id=USER, options=RunOptions(yes=True), access=AccessOptions(config=config))
        assert [signal for signal, _ in check.pings] == ["start", "2", "start", "0"]


@pytest.fixture
def handlers():
    """The handlers as they were before anything else was set up."""
    return [signal.getsignal(number) for number in HEEDED]


def test_no_signal_handler_is_touched(handlers, vendor, a_list, under_way):
    assert [signal.getsignal(number) for number in HEEDED] == handlers
    vendor.control(latency_s=0)
    under_way.join(PATIENCE_S)
    run_job(a_list, user_id=USER, options=RunOptions(yes=True, audit=Path("b.jsonl")))
    assert [signal.getsignal(number) for number in HEEDED] == handlers


def test_an_interrupt_stops_the_run_cleanly_and_is_raised_again(vendor, a_list):
    vendor.control(latency_s=0.2)
    interrupting = threading.Thread(
        target=lambda: (until(vendor.deletions, "a request"), os.kill(os.getpid(), signal.SIGINT))
    )
    interrupting.start()
    with pytest.raises(KeyboardInterrupt):
        run_job(a_list, user_id=USER, options=SLOWLY)
    interrupting.join()
    (report,) = report_audits("a.jsonl").items
    assert (report.status, report.why, report.exit_code) == ("stopped", "KeyboardInterrupt", 130)
    assert report.uncertain_batches == 0
    vendor.control(latency_s=0)
    assert resume_run("a.jsonl").status == "complete"


def test_an_interrupt_before_anything_was_sent_leaves_nothing(vendor, a_list, under_way):
    log = io.StringIO()
    interrupting = threading.Thread(
        target=lambda: (until(lambda: "waiting" in log.getvalue()), os.kill(os.getpid(), signal.SIGINT))
    )
    interrupting.start()
    waiting = RunOptions(yes=True, wait=True, audit=Path("b.jsonl"))
    with pytest.raises(KeyboardInterrupt):
        run_job(a_list, user_id=OTHER, options=waiting, log=log)
    interrupting.join()
    assert not Path("b.jsonl").exists()
    assert not Path("b.jsonl.plan").exists()
    assert issubclass(Interrupted, runner.RunnerError)


# ---- the page -----------------------------------------------------------------------------------------


def test_the_example_of_the_page_runs(vendor, tmp_path):
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    (code,) = [body for language, body in FENCED.findall(page) if language == "python"]
    (tmp_path / "optout.csv").write_text("phone\n" + "\n".join(MANY[:200]))
    vendor.script("error", error_code=7431)
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "200 numbers of 1 users"
    assert lines[1].startswith("partial ")
    assert lines[2] == "complete ()"
    assert re.search(r"rerun optout\.jsonl", lines[3])
