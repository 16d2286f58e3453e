"""`status`: the runs of a folder, one line each, told by the two ends of their audits."""

import os
import shlex
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from runner.audit.edges import count_batches, read_edges
from runner.audit.fold import Fold
from runner.commands import status as verb
from runner.commands.status import status
from runner.locks import Holder
from runner.options import StatusOptions
from runner.output.status import status_text
from runner.text import width
from tests.support import audits
from tests.support.program import USER, numbers

FIGURES = ("asked", "deleted", "failed", "unknown", "not_sent", "open")


def ago(**span):
    return (datetime.now(UTC) - timedelta(**span)).isoformat(timespec="milliseconds")


def records(*ends, batches=None, job="nightly", done=True, **more):
    """A run whose batches, two numbers each, ended so; `done`: it has its summary."""
    whole = [audits.run(batches=batches or len(ends), job=job, **more)]
    for seq, end in enumerate(ends, start=1):
        whole += [audits.sending(seq), audits.batch(seq, end)]
    if done:
        fold = Fold()
        audits.feed(fold, whole)
        whole.append(audits.summary(fold.totals()))
    return whole


@pytest.fixture
def folder(tmp_path):
    """A folder to write audits into; `put` gives it one."""

    class Folder:
        path = tmp_path / "audit"

        def put(self, name, lines, at=audits.AT):
            self.path.mkdir(exist_ok=True)
            file = self.path / name
            file.write_bytes(b"".join(audits.chained(lines, at=at)))
            return file

        def items(self, *paths, **options):
            return self.result(*paths, **options).items

        def result(self, *paths, **options):
            return status(paths or [self.path], StatusOptions(**options), {}).result

    return Folder()


def figures(item):
    return {name: getattr(item, name) for name in FIGURES if getattr(item, name)}


def test_how_a_run_ended_is_told_by_its_last_record(folder):
    folder.put("a.jsonl", records("deleted", "deleted"), at=ago(hours=3))
    folder.put("b.jsonl", records("deleted", "failed", "unknown", "not_sent"), at=ago(hours=2))
    complete, partial = folder.items()
    assert (complete.state, complete.job, complete.percent, complete.next) == (
        "complete",
        "nightly",
        100.0,
        None,
    )
    assert figures(complete) == {"asked": 4, "deleted": 4}
    assert partial.state == "partial"
    assert figures(partial) == {"asked": 8, "deleted": 2, "failed": 2, "unknown": 2, "not_sent": 2}
    assert partial.next.endswith(f" rerun {folder.path}/b.jsonl --base-url http://127.0.0.1:1")


def test_what_is_open_stands_in_no_other_figure(folder):
    folder.put("stopped.jsonl", records("deleted", "failed", batches=5), at=ago(hours=3))
    folder.put("killed.jsonl", records("deleted", "not_sent", batches=5, done=False), at=ago(hours=2))
    stopped, killed = folder.items()
    assert (stopped.state, stopped.percent) == ("stopped", 40.0)
    assert figures(stopped) == {"asked": 10, "deleted": 2, "failed": 2, "open": 6}
    assert (killed.state, killed.percent, killed.end) == ("killed", 40.0, None)
    assert figures(killed) == {"asked": 10, "deleted": 2, "not_sent": 2, "open": 6}
    assert " resume " in stopped.next
    assert " resume " in killed.next


def test_of_a_run_that_ended_well_only_the_ends_are_read(folder):
    """Between them there is nothing but a hole of a gigabyte, which no reading would survive."""
    lines = audits.chained(records(*["deleted"] * 400))
    file = folder.put("a.jsonl", [])
    with file.open("r+b") as sparse:
        sparse.write(b"".join(lines[:3]))
        sparse.seek(1 << 30)
        sparse.write(b"\n" + b"".join(lines[-3:]))
    (item,) = folder.items()
    assert (item.state, item.deleted) == ("complete", 800)


def test_past_the_bounds_batches_are_counted_and_then_nothing_is_known(folder):
    for name, hours in (("new", 1), ("older", 2), ("old", 3)):
        file = folder.put(f"{name}.jsonl", records("deleted", batches=2, done=False), at=ago(hours=hours))
    size = file.stat().st_size
    reading = verb._StatusReader({}, to_fold=size, to_count=size)
    looks = [(path, read_edges(path)) for path in sorted(folder.path.iterdir())]
    lines = {path.stem: reading.line(path, look, datetime.now(UTC)) for path, look in looks}
    assert figures(lines["new"]) == {"asked": 4, "deleted": 2, "open": 2}
    assert (lines["old"].percent, figures(lines["old"])) == (50.0, {"asked": 4})
    assert (lines["older"].percent, figures(lines["older"])) == (None, {"asked": 4})
    assert "?" in status_text([lines["older"]], "")


def test_batches_are_counted_across_blocks(folder, monkeypatch):
    file = folder.put("a.jsonl", records(*["deleted"] * 40))
    for size in (7, 100, 1001):
        monkeypatch.setattr("runner.audit.edges._BLOCK", size)
        assert count_batches(file) == 40


def test_a_run_under_way_shows_share_speed_and_time_left(program, sandbox):
    sandbox.pool.add_phones(USER, numbers(6000))
    job = program.job({USER: numbers(6000)}, name="夜间清理")
    run = program.start("run", job, "--yes", "--rate", "5/s")
    run.until(lambda: sandbox.worked() >= 8, "some batches")
    (item,) = program("status", "--json").expect(0).record["items"]
    assert item["state"] == "running"
    assert item["job"] == "夜间清理"
    assert 5 <= item["percent"] < 100
    assert item["batches_per_s"] > 0
    assert item["left_s"] > 0
    assert item["deleted"] + item["open"] == item["asked"] == 6000
    assert shlex.split(item["next"])[-2:] == ["pace", item["audit"]]
    said = program("status").expect(0).out
    assert " batches/s, 0:00:" in said
    run.signal(signal.SIGKILL)
    run.process.wait()
    (item,) = program("status", "--json", "--job", "夜间清理").expect(0).record["items"]
    assert item["state"] == "killed"
    assert " resume " in item["next"]
    assert program("status", "--json", "--job", "other").expect(0).record["items"] == []


NOW = datetime(2026, 7, 26, 3, 4, 5, tzinfo=UTC)


def before(seconds):
    return (NOW - timedelta(seconds=seconds)).isoformat()


@pytest.fixture
def paused(folder, monkeypatch):
    """Writes the audit of a run that is under way and ended two batches a second, then these records."""
    monkeypatch.setattr(verb, "holder_of", lambda path: Holder(7))
    monkeypatch.setattr(verb, "utc_now", lambda: NOW)

    def write(*records):
        ended = [
            {**record, "at": before(340 - n)}
            for n in range(1, 41)
            for record in (audits.sending(2 * n - 1, 2 * n), audits.batch(2 * n - 1), audits.batch(2 * n))
        ]
        folder.put("a.jsonl", [audits.run(batches=200), *ended, *records], at=before(340))
        (item,) = folder.items()
        return item

    return write


def pace_record(at, **fields):
    return {**audits.pace(**{"rate": "10/s", "until": None, "why": "w", **fields}), "at": at}


def test_a_pause_is_told_with_its_reason_and_the_time_left_holds_the_rest_of_it(paused):
    until = NOW + timedelta(seconds=600)
    item = paused(
        pace_record(before(300), until=until.isoformat(), why="the server asked for a pause"),
        pace_record(before(299), why="the way to the server changed"),
    )
    assert item.pause == f"paused until {until.astimezone():%H:%M:%S}: the server asked for a pause"
    assert item.batches_per_s == 2.0
    assert item.left_s == 660, "600 s of pause, then 120 batches, two a second"
    assert f"running 40.0%, {item.pause}, 0:11:00 left" in status_text([item], "")


def test_a_pause_that_is_over_is_none(paused):
    item = paused(pace_record(before(300), until=before(200)))
    assert (item.state, item.pause) == ("running", None)


def test_an_operators_pause_is_told_and_nobody_knows_when_it_ends(paused):
    order = {"order": "pause", "operator": "li.wei", "reason": "13912345678 calls"}
    item = paused(pace_record(before(300), **order))
    assert item.pause.startswith("paused by li.wei since ")
    assert item.pause.endswith(": 139****5678 calls")
    assert item.left_s is None
    item = paused(pace_record(before(300), **order), pace_record(before(9), order="go-on"))
    assert item.pause is None


def test_an_operators_pause_ends_with_its_session(paused):
    item = paused(pace_record(before(300), order="pause"), audits.run(batches=200, mode="resume"))
    assert item.pause is None


def test_a_pause_with_a_forged_end_is_none(paused):
    assert paused(pace_record(before(300), until="soon")).pause is None


def test_what_it_says_to_type_works(program, sandbox):
    sandbox.pool.add_phones(USER, numbers(600))
    sandbox.control(redirect_after=2)
    program("run", program.job({USER: numbers(600)}), "--yes", "--concurrency", "1").expect(3)
    (item,) = program("status", "--json").expect(0).record["items"]
    assert item["state"] == "stopped"
    assert "redirect" in item["why"]
    sandbox.control(redirect_after=None)
    program.shell(item["next"]).expect(0)
    (item,) = program("status", "--json").expect(0).record["items"]
    assert (item["state"], item["next"], item["deleted"]) == ("complete", None, 600)


# ---- for a monitor ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ends", "hours", "code"),
    [
        (("deleted",), 25, 0),
        (("deleted", "failed"), 25, 0),
        (("deleted",), 27, 1),
    ],
)
def test_a_monitor_hears_whether_a_run_ended_well_recently(folder, ends, hours, code):
    folder.put("a.jsonl", records(*ends), at=ago(hours=hours))
    folder.put("b.jsonl", records("deleted", batches=2), at=ago(hours=1))  # stopped
    folder.put("c.jsonl", records("deleted", done=False), at=ago(hours=1))  # killed
    folder.put("d.jsonl", records("deleted", job="other"), at=ago(hours=1))
    result = folder.result(job="nightly", max_age_s=26 * 3600)
    assert result.exit_code == code
    assert len(result.items) == 3
    assert not code or "in the last 26h: the last one that did" in result.message
    assert bool(result.message) == bool(code)
    assert folder.result(max_age_s=26 * 3600).exit_code == 0


def test_a_monitor_hears_of_a_folder_that_is_not_there_yet(program):
    assert "none ever did" in program("status", "--max-age", "26h").expect(1).out
    assert program("status").expect(0).out == "no runs\n"
    assert "no such file" in program("status", "elsewhere").expect(2).err


# ---- what is no run -----------------------------------------------------------------------------------


def flawed(folder):
    """File → the one word for it."""
    whole = b"".join(audits.chained(records("deleted", "deleted")))
    lines = whole.splitlines(keepends=True)
    files = {
        "notes.txt": (b"nothing of ours\n", "foreign"),
        "a.csv": (b"phone\n13800000000\n", "foreign"),
        "random.jsonl": (os.urandom(5000).replace(b"\n", b"x"), "foreign"),
        "empty.jsonl": (b"", "empty"),
        "torn.jsonl": (lines[0][:100], "torn"),
        "two-bytes.jsonl": (b'{"', "torn"),
        "head-gone.jsonl": (b"".join(lines[1:]), "damaged"),
        "tail-garbage.jsonl": (whole + b"garbage\n", "damaged"),
        "tail-nul.jsonl": (whole + b"\0" * 4096 + b"\n", "damaged"),
        "no-date.jsonl": (whole.replace(b'"at":"2026-', b'"at":"x', 1), "damaged"),
        "no-offset.jsonl": (whole.replace(b".678+00:00", b"", 1), "damaged"),
        "year-1.jsonl": (whole.replace(b'"at":"2026-', b'"at":"0001-', 1), "damaged"),
        "middle-gone.jsonl": (b"".join([lines[0], *lines[4:5]]), "damaged"),
        "long-line.jsonl": (b'{"type":"run"' + b" " * (1 << 21), "damaged"),
    }
    folder.path.mkdir(exist_ok=True)
    for name, (data, _) in files.items():
        (folder.path / name).write_bytes(data)
    os.mkfifo(folder.path / "pipe")
    (folder.path / "dangling").symlink_to("nowhere")
    (folder.path / "folder").mkdir()
    (folder.path / ".hidden").write_bytes(b"x")
    (folder.path / "a.jsonl.plan").write_bytes(b"x")
    return {name: word for name, (_, word) in files.items()} | {"pipe": "foreign", "dangling": "unreadable"}


def test_what_is_no_run_is_one_word(folder):
    words = flawed(folder)
    folder.put("good.jsonl", records("deleted"))
    found = {Path(item.audit).name: item.state for item in folder.items()}
    assert found == {**words, "good.jsonl": "complete"}
    assert len(status([folder.path], StatusOptions(), {}).text().splitlines()) == len(found) + 1
    assert [item.state for item in folder.items(folder.path / "pipe")] == ["foreign"]


def test_the_program_lists_such_a_folder_without_a_traceback(program, folder):
    flawed(folder)
    assert "damaged" in program("status", folder.path).expect(0).out


def test_a_folder_that_may_not_be_read_is_refused(folder, monkeypatch):
    folder.put("a.jsonl", records("deleted"))

    def refuse(_path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(Exception, match="cannot be read: Permission denied"):
        folder.items()


# ---- the table ----------------------------------------------------------------------------------------


def test_columns_line_up_whatever_the_script(folder):
    folder.put("a.jsonl", records("deleted", job="夜间清理"))
    folder.put("b.jsonl", records("deleted", job="nightly-cleanup-of-the-north"))
    folder.put("c.jsonl", records("deleted", job="a\x1b[2J\nb"))
    text = status([folder.path], StatusOptions(), {}).text()
    header, *rows = text.splitlines()
    starts = {width(row[: row.index("2026-01-02")]) for row in rows}
    assert starts == {header.index("start")}
    assert "\x1b" not in text
    assert len(rows) == 3


def test_a_run_is_listed_once_although_named_twice(folder):
    file = folder.put("a.jsonl", records("deleted"))
    assert len(folder.items(file, file)) == 1


def test_the_bounds_are_those_of_the_docs():
    assert (verb.MOST_FOLDED, verb.MOST_COUNTED) == (200_000_000, 1_000_000_000)
