"""Metrics for the node exporter: whole at any moment, one job's lines beside another's."""

import os
import shutil
import stat
import subprocess
from multiprocessing import get_context

import pytest
from prometheus_client.parser import text_string_to_metric_families

from runner.tell import metrics
from runner.tell.metrics import METRICS, write_metrics
from tests.support.endings import ending, summary


@pytest.fixture
def textfile(tmp_path):
    return tmp_path / "bulk_delete.prom"


def read(path):
    """Name without its beginning, and the values of its labels → value."""
    return {
        (sample.name.removeprefix("bulk_delete_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(path.read_text(encoding="utf-8"))
        for sample in family.samples
    }


def test_a_good_run_leaves_all_its_figures_by_job_alone(textfile):
    assert write_metrics(textfile, ending(0, at=1000.0)) == ""
    phones = {
        ("phones", "nightly", status): n
        for status, n in {"deleted": 7, "failed": 2, "unknown": 1, "not_sent": 0}.items()
    }
    assert read(textfile) == {
        ("last_run_timestamp_seconds", "nightly"): 1000.0,
        ("last_success_timestamp_seconds", "nightly"): 1000.0,
        ("last_exit_code", "nightly"): 0,
        ("duration_seconds", "nightly"): 12.5,
        ("rows_deleted", "nightly"): 9,
        ("requests", "nightly"): 5,
        ("retries", "nightly"): 2,
        **phones,
    }
    assert {f"bulk_delete_{name}" for name, *_ in read(textfile)} == set(METRICS)


@pytest.mark.parametrize("code", [1, 2, 3, 4, 130, 143])
def test_a_bad_run_keeps_the_last_success(textfile, code):
    write_metrics(textfile, ending(0, at=1000.0))
    sent = code in {1, 3, 130, 143}
    write_metrics(textfile, ending(code, at=2000.0, summary=summary(count=3) if sent else None))
    found = read(textfile)
    assert found["last_success_timestamp_seconds", "nightly"] == 1000.0
    assert found["last_run_timestamp_seconds", "nightly"] == 2000.0
    assert found["last_exit_code", "nightly"] == code
    assert found["rows_deleted", "nightly"] == (3 if sent else 9), "a run that sent nothing has no figures"


def test_jobs_keep_one_anothers_lines(textfile):
    write_metrics(textfile, ending(0, job="a", at=1.0))
    write_metrics(textfile, ending(3, job='b "quoted"\\', at=2.0))
    write_metrics(textfile, ending(1, job="客户", at=3.0))
    codes = {key[1]: value for key, value in read(textfile).items() if key[0] == "last_exit_code"}
    assert codes == {"a": 0, 'b "quoted"\\': 3, "客户": 1}


def _write(arguments):
    metrics._LOCK_S = 60.0  # in a process of the pool: two dozen may wait for one another
    return write_metrics(arguments[0], ending(0, job=f"job-{arguments[1]}"))


def test_runs_that_end_together_lose_nothing(textfile):
    with get_context("spawn").Pool(4) as pool:
        assert pool.map(_write, [(textfile, n) for n in range(24)], chunksize=1) == [""] * 24
    assert len({key[1] for key in read(textfile)}) == 24


def test_the_exporter_may_read_it_whatever_the_umask_is_and_nothing_else_is_left(textfile):
    former = os.umask(0o077)
    try:
        write_metrics(textfile, ending(0))
    finally:
        os.umask(former)
    assert stat.S_IMODE(textfile.stat().st_mode) == 0o644
    assert list(textfile.parent.iterdir()) == [textfile]


def test_a_crash_before_the_renaming_leaves_the_old_file_and_does_no_harm_later(textfile, monkeypatch):
    write_metrics(textfile, ending(0, at=1000.0))
    before = textfile.read_bytes()

    class Killed(BaseException):
        pass

    def die(_descriptor):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(metrics.os, "fsync", die)
        with pytest.raises(Killed):
            write_metrics(textfile, ending(1))
    assert textfile.read_bytes() == before
    assert not [p for p in textfile.parent.iterdir() if p.name.endswith(".prom") and p != textfile]
    assert write_metrics(textfile, ending(1, at=2000.0)) == ""
    assert read(textfile)["last_success_timestamp_seconds", "nightly"] == 1000.0


@pytest.mark.parametrize(
    "foreign",
    [
        "node_load1 0.5\n",
        'bulk_delete_last_exit_code{job="a",user="u"} 1\n',
        "no metrics at all {\n",
        "\xff\xfe",
    ],
)
def test_a_file_of_somebody_elses_is_left_as_it_is(textfile, foreign):
    textfile.write_bytes(foreign.encode("latin-1"))
    assert "was not written" in write_metrics(textfile, ending(0))
    assert textfile.read_bytes() == foreign.encode("latin-1")


def test_a_folder_that_is_not_there_is_said(tmp_path):
    said = write_metrics(tmp_path / "none" / "a.prom", ending(0))
    assert said.endswith("a.prom was not written: No such file or directory")


def test_a_run_whose_job_nobody_knows_writes_nothing(textfile):
    assert write_metrics(textfile, ending(2, job=None)) == ""
    assert not textfile.exists()


def test_promtool_finds_nothing(textfile):
    tool = shutil.which("promtool")
    if tool is None and not os.environ.get("CI"):
        pytest.skip("promtool is not installed (Debian: apt install prometheus)")
    assert tool is not None, "promtool is missing: apt install prometheus"
    write_metrics(textfile, ending(0, job="a"))
    write_metrics(textfile, ending(3, job='b "quoted"\\'))
    done = subprocess.run(
        [tool, "check", "metrics"], input=textfile.read_bytes(), capture_output=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")
