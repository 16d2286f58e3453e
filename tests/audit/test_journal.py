"""What is appended is whole or absent, what is synced is synced once for many, and locks die with holders."""

import asyncio
import errno
import fcntl
import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from runner.audit import journal as journal_room
from runner.audit.fold import fold_audit
from runner.audit.journal import DiskFile, Journal
from runner.audit.records import as_json
from runner.errors import AuditDamaged, Busy, Refused, Stopped
from runner.locks import origin_lock, state_directory
from tests.support import audits
from tests.support.audits import typed
from tests.support.evidence import read_audit

ROOT = Path(__file__).resolve().parents[2]
URL = "https://ai.example"


def now():
    return datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


class Memory:
    """An in-memory audit that fails when told to."""

    def __init__(self, fail_at=None, error=errno.ENOSPC, sync_error=None):
        self.data = b""
        self.synced = 0
        self.appends = 0
        self.syncs = 0
        self.fail_at, self.error, self.sync_error = fail_at, error, sync_error

    def append(self, data):
        self.appends += 1
        if self.appends == self.fail_at:
            raise OSError(self.error, os.strerror(self.error))
        self.data += data

    async def sync(self):
        self.syncs += 1
        await asyncio.sleep(0)
        if self.sync_error:
            raise OSError(self.sync_error, os.strerror(self.sync_error))
        self.synced = len(self.data)

    def close(self):
        pass


def journal_on(file, seen=None, chain=""):
    """Return a journal that notes what it wrote, as a stranger reads it."""

    def note(record, link):
        if seen is not None:
            seen.append(json.loads(json.dumps(as_json(record, chain=link))))

    return Journal(file, now=now, on_record=note, chain=chain)


def records():
    batches = [audits.batch(1), audits.batch(2, "unknown"), audits.batch(3)]
    return [audits.run(), audits.sending(1, 3), *batches]


# ------------------------------------------------------------------ the journal


def test_a_line_is_stamped_and_its_chain_is_the_contracts():
    file, seen = Memory(), []
    journal = journal_on(file, seen)
    for record in records():
        journal.append(typed(record))
    previous = ""
    for line, record in zip(file.data.splitlines(), seen, strict=True):
        parsed = json.loads(line)
        assert list(parsed)[:2] == ["type", "at"]
        assert list(parsed)[-1] == "chain"
        assert parsed["at"] == "2026-01-02T03:04:05.678+00:00"
        previous = hashlib.sha256(previous.encode() + line[: line.index(b',"chain"')]).hexdigest()
        assert parsed["chain"] == previous
        assert parsed == record
    assert journal.chain == previous


def test_a_chain_continues_where_the_last_session_left_it():
    file = Memory()
    first = journal_on(file)
    first.append(typed(audits.run()))
    journal_on(file, chain=first.chain).append(typed(audits.run(mode="resume")))
    lines = file.data.splitlines()
    assert json.loads(lines[1])["chain"] == journal_chain(lines[1], first.chain)


def journal_chain(line, previous):
    return hashlib.sha256(previous.encode() + line[: line.index(b',"chain"')]).hexdigest()


def test_words_that_hold_chain_or_newlines_or_lone_surrogates_stay_one_line():
    file = Memory()
    journal = journal_on(file)
    journal.append(typed(audits.batch(1, message='a","chain":"b\n\u2028')))
    journal.append(typed(audits.batch(2, message="file-\udcff.csv")))
    assert file.data.count(b"\n") == 2
    assert [json.loads(line)["seq"] for line in file.data.splitlines()] == [1, 2]


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG])
@pytest.mark.parametrize("fail_at", [1, 2, 3, 4, 5])
async def test_after_a_failed_write_nothing_more_is_written_and_every_call_stops(fail_at, error):
    file, seen = Memory(fail_at=fail_at, error=error), []
    journal = journal_on(file, seen)

    def append_all():
        for record in records():
            journal.append(typed(record))

    with pytest.raises(Stopped, match=r"^audit not writable: ") as caught:
        append_all()
    assert caught.value.exit_code == 3
    assert len(seen) == fail_at - 1
    with pytest.raises(Stopped, match="audit not writable"):
        journal.append(typed(audits.batch(3)))
    with pytest.raises(Stopped, match="audit not writable"):
        await journal.sync()
    assert file.appends == fail_at
    assert file.syncs == 0


async def test_a_failed_sync_breaks_the_journal_and_is_not_tried_again():
    file = Memory(sync_error=errno.EIO)
    journal = journal_on(file)
    journal.append(typed(audits.run()))
    for _ in range(2):
        with pytest.raises(Stopped, match="audit not writable"):
            await journal.sync()
    with pytest.raises(Stopped, match="audit not writable"):
        journal.append(typed(audits.sending(1)))
    assert file.syncs == 1


async def test_a_sync_that_ends_after_a_write_failed_does_not_let_its_caller_go_on():
    file = Memory(fail_at=2)
    journal = journal_on(file)
    journal.append(typed(audits.run()))
    waiting = asyncio.ensure_future(journal.sync())
    await asyncio.sleep(0)
    with pytest.raises(Stopped):
        journal.append(typed(audits.sending(1)))
    with pytest.raises(Stopped):
        await waiting


# ------------------------------------------------------------------ the file


def test_a_new_audit_is_private_and_so_is_its_folder(tmp_path):
    path = tmp_path / "new" / "audit" / "a.jsonl"
    usual = os.umask(0)
    try:
        file = DiskFile.create(path)
    finally:
        os.umask(usual)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.parent.parent.stat().st_mode) == 0o700
    file.close()


def test_an_existing_audit_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"mine")
    with pytest.raises(Refused, match="exists"):
        DiskFile.create(path)
    assert path.read_bytes() == b"mine"


def test_a_symbolic_link_is_refused_for_writing_and_for_resume(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    link.symlink_to(target)
    with pytest.raises(Refused, match="exists"):
        DiskFile.create(link)
    assert not target.exists()
    target.write_bytes(b"{}\n")
    with pytest.raises(Refused, match="symbolic link"):
        DiskFile.reopen(link)


def test_resume_of_what_is_no_regular_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path / "missing", tmp_path):
        with pytest.raises(Refused):
            DiskFile.reopen(path)


def test_an_audit_of_another_user_is_refused(tmp_path, monkeypatch):
    path = audits.write(tmp_path / "a.jsonl", [audits.run()])
    monkeypatch.setattr(journal_room.os, "geteuid", lambda: path.stat().st_uid + 1)
    with pytest.raises(Refused, match="another user"):
        DiskFile.reopen(path)


@pytest.mark.parametrize("kept", [0, 1, 40])
def test_a_short_write_is_cut_back_to_the_records_start(tmp_path, monkeypatch, kept):
    path = tmp_path / "a.jsonl"
    file = DiskFile.create(path)
    seen = []
    journal = journal_on(file, seen)
    journal.append(typed(audits.run()))
    before = path.read_bytes()
    write = os.write
    monkeypatch.setattr(journal_room.os, "write", lambda fd, data: write(fd, data[:kept]))
    with pytest.raises(Stopped, match="short write"):
        journal.append(typed(audits.sending(1, 3)))
    assert path.read_bytes() == before
    assert len(seen) == 1
    file.close()


def test_every_cut_within_the_last_record_is_repaired_and_counted(tmp_path):
    lines = audits.chained(records())
    whole, last = b"".join(lines[:-1]), lines[-1]
    path = tmp_path / "a.jsonl"
    for kept in range(len(last)):
        path.write_bytes(whole + last[:kept])
        fold = fold_audit(path, verify_chain=True)
        assert fold.torn_bytes == kept
        file = DiskFile.reopen(path)
        assert file.repair_tail() == kept
        assert path.read_bytes() == whole
        journal_on(file, chain=fold.chain).append(typed(audits.batch(3)))
        file.close()
        assert len(fold_audit(path, verify_chain=True).sessions) == 1
        assert fold_audit(path, verify_chain=True).ended == 3


def test_a_torn_tail_longer_than_a_block_is_found(tmp_path):
    path = tmp_path / "a.jsonl"
    whole = b"".join(audits.chained(records()))
    path.write_bytes(whole + b"x" * 200_000)
    file = DiskFile.reopen(path)
    assert file.repair_tail() == 200_000
    assert path.read_bytes() == whole
    assert file.repair_tail() == 0
    file.close()


def test_a_file_without_a_whole_record_is_not_emptied(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_bytes(b"no audit at all")
    with pytest.raises(Refused, match="no audit"):
        DiskFile.reopen(path)
    assert path.read_bytes() == b"no audit at all"


def test_an_audit_without_a_whole_record_is_not_emptied(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"type":"run","at":')
    file = DiskFile.reopen(path)
    with pytest.raises(AuditDamaged):
        file.repair_tail()
    file.close()
    assert path.read_bytes() == b'{"type":"run","at":'


def test_a_new_audit_that_never_got_a_whole_record_is_removed(tmp_path, monkeypatch):
    path = tmp_path / "a.jsonl"
    file = DiskFile.create(path)
    write = os.write
    monkeypatch.setattr(journal_room.os, "write", lambda fd, data: write(fd, data[:9]))
    monkeypatch.setattr(journal_room.os, "ftruncate", failing_with(errno.EIO))
    with pytest.raises(Stopped):
        journal_on(file).append(typed(audits.run()))
    assert path.read_bytes()
    file.close()
    assert not path.exists()


def test_neither_an_audit_with_a_record_nor_what_took_its_place_is_removed(tmp_path):
    one, two = DiskFile.create(tmp_path / "1"), DiskFile.create(tmp_path / "2")
    journal_on(one).append(typed(audits.run()))
    two.path.unlink()
    two.path.write_bytes(b"mine")
    one.close()
    two.close()
    assert read_audit(one.path)[0]["type"] == "run"
    assert two.path.read_bytes() == b"mine"
    DiskFile.reopen(one.path).close()
    assert one.path.exists()


def failing_with(number):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    return fail


TAMPERING = {
    "it was removed": lambda path: path.unlink(),
    "it was moved away": lambda path: path.rename(path.with_name("elsewhere")),
    "another file stands in its place": lambda path: (
        path.rename(path.with_name("old")),
        path.write_bytes(path.with_name("old").read_bytes()),
    ),
    "a symbolic link stands in its place": lambda path: path.symlink_to(path.rename(path.with_name("old"))),
    "a folder stands in its place": lambda path: (path.rename(path.with_name("old")), path.mkdir()),
    "it was cut to": lambda path: os.truncate(path, path.stat().st_size - 1),
    "somebody else wrote to it": lambda path: append_to(path, b"\n"),
}


def append_to(path, data):
    with path.open("ab") as file:
        file.write(data)


@pytest.mark.parametrize("found", TAMPERING)
@pytest.mark.parametrize("again", [False, True], ids=["new", "reopened"])
async def test_an_audit_that_is_no_longer_what_was_written_stops_the_run_at_the_next_sync(
    tmp_path, found, again
):
    path = tmp_path / "a.jsonl"
    file = DiskFile.create(path)
    journal = journal_on(file)
    journal.append(typed(audits.run()))
    await journal.sync()
    if again:
        file.close()
        file = DiskFile.reopen(path)
        journal = journal_on(file, chain=journal.chain)
    TAMPERING[found](path)
    journal.append(typed(audits.sending(1)))
    with pytest.raises(Stopped, match=found) as caught:
        await journal.sync()
    assert (caught.value.exit_code, str(path) in caught.value.why) == (3, True)
    with pytest.raises(Stopped, match=found):
        journal.append(typed(audits.batch(1)))
    with pytest.raises(Stopped, match=found):
        await journal.sync()
    file.close()


async def test_what_does_not_touch_the_audit_itself_stops_nothing(tmp_path, monkeypatch):
    """Its folder renamed under a relative path, a second name for it, other rights, another time."""
    monkeypatch.chdir(tmp_path)
    Path("audit").mkdir()
    path = Path("audit/a.jsonl")
    file = DiskFile.create(path)
    journal = journal_on(file)
    for harmless in (
        lambda: os.link(path, "copy"),
        lambda: path.chmod(0o400),
        lambda: os.utime(path, (1, 1)),
        lambda: tmp_path.rename(tmp_path.with_name(tmp_path.name + "-moved")),
    ):
        harmless()
        journal.append(typed(audits.sending(1)))
        await journal.sync()
    file.close()


async def test_many_waiters_share_a_sync(tmp_path, monkeypatch):
    syncs = []
    monkeypatch.setattr(journal_room, "_fdatasync", syncs.append)
    file = DiskFile.create(tmp_path / "a.jsonl")
    journal = journal_on(file)

    async def record_and_wait(seq):
        journal.append(typed(audits.sending(seq)))
        await journal.sync()

    await asyncio.gather(*(record_and_wait(seq) for seq in range(1, 65)))
    assert 1 <= len(syncs) <= 2
    await journal.sync()
    assert len(syncs) <= 2, "nothing new was written, so there is nothing to sync"
    file.close()


async def test_a_record_written_during_a_sync_waits_for_the_next_one(tmp_path, monkeypatch):
    go, began = threading.Event(), threading.Event()
    syncs = []

    def slow(fd):
        syncs.append(os.fstat(fd).st_size)
        began.set()
        assert go.wait(60)

    monkeypatch.setattr(journal_room, "_fdatasync", slow)
    file = DiskFile.create(tmp_path / "a.jsonl")
    journal = journal_on(file)
    journal.append(typed(audits.run()))
    first = asyncio.ensure_future(journal.sync())
    await asyncio.to_thread(began.wait, 20)
    journal.append(typed(audits.sending(1)))
    second = asyncio.ensure_future(journal.sync())
    await asyncio.sleep(0)
    first.cancel()
    go.set()
    await second
    assert len(syncs) == 2
    assert syncs[1] > syncs[0]
    file.close()


async def test_a_failed_fsync_of_the_file_reaches_every_waiter_once_and_for_all(tmp_path, monkeypatch):
    calls = []

    def failing(fd):
        calls.append(fd)
        raise OSError(errno.EIO, "I/O error")

    monkeypatch.setattr(journal_room, "_fdatasync", failing)
    file = DiskFile.create(tmp_path / "a.jsonl")
    file.append(b"x\n")
    found = await asyncio.gather(*(file.sync() for _ in range(5)), return_exceptions=True)
    assert all(isinstance(error, OSError) for error in found)
    with pytest.raises(OSError, match="I/O"):
        await file.sync()
    assert len(calls) == 1
    file.close()


# ------------------------------------------------------------------ locks

HOLD_AUDIT = """
import sys; from pathlib import Path
from runner.audit.journal import DiskFile
file = DiskFile.reopen(Path(sys.argv[1])); print("held", flush=True); sys.stdin.read()
"""
HOLD_ORIGIN = """
import asyncio, sys; from pathlib import Path
from runner.locks import origin_lock
async def main():
    async with origin_lock(sys.argv[1], wait=False, directory=Path(sys.argv[2])):
        print("held", flush=True); sys.stdin.read()
asyncio.run(main())
"""


class holder:  # noqa: N801 - reads as a statement
    """A process that holds a lock until the block ends, or until it is killed."""

    def __init__(self, program, *args):
        self.command = [sys.executable, "-c", program, *map(str, args)]

    def __enter__(self):
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(self.command, cwd=ROOT, stdin=pipe, stdout=pipe)
        assert self.process.stdout.readline() == b"held\n"
        return self.process

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate(timeout=60)


def test_an_audit_that_is_held_is_busy_until_its_holder_is_killed(tmp_path):
    path = audits.write(tmp_path / "a.jsonl", [audits.run()])
    with holder(HOLD_AUDIT, path) as process:
        with pytest.raises(Busy) as caught:
            DiskFile.reopen(path)
        assert caught.value.exit_code == 4
        if Path("/proc/locks").exists():
            assert str(process.pid) in caught.value.message
            assert "started 20" in caught.value.message
        process.send_signal(signal.SIGKILL)
        process.wait(60)
        DiskFile.reopen(path).close()


async def test_an_origin_that_is_held_is_busy_and_names_pid_and_start(tmp_path):
    with holder(HOLD_ORIGIN, URL, tmp_path) as process:
        with pytest.raises(Busy) as caught:
            async with origin_lock(URL + "/v2", wait=False, directory=tmp_path):
                pass
        assert f"process {process.pid}, started 20" in caught.value.message
        async with origin_lock("https://other.example", wait=False, directory=tmp_path):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait(60)
        async with origin_lock(URL, wait=False, directory=tmp_path) as path:
            note = json.loads(path.read_bytes())
    assert note["pid"] == os.getpid()
    assert datetime.fromisoformat(note["start"]).tzinfo is not None
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_waiting_for_an_origin_sleeps_until_it_is_free(tmp_path):
    naps, told = [], []
    with holder(HOLD_ORIGIN, URL, tmp_path) as process:

        async def sleep(seconds):
            naps.append(seconds)
            if len(naps) == 3:
                process.kill()
                process.wait(60)

        async with origin_lock(URL, wait=True, sleep=sleep, on_wait=told.append, directory=tmp_path):
            pass
        assert [holder.pid for holder in told] == [process.pid]
    assert naps == [1.0] * 3


async def test_a_wait_for_an_origin_ends_with_what_sleep_raises(tmp_path):
    class Stopping(Exception):
        pass

    async def sleep(seconds):
        raise Stopping

    with holder(HOLD_ORIGIN, URL, tmp_path), pytest.raises(Stopping):
        async with origin_lock(URL, wait=True, sleep=sleep, directory=tmp_path):
            pass


def test_locks_stand_under_xdg_state_home(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert state_directory() == tmp_path / "bulk-delete"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert state_directory() == tmp_path / ".local" / "state" / "bulk-delete"


async def test_a_lock_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused, match="lock file"):
        async with origin_lock(URL, wait=False, directory=tmp_path / "file" / "x"):
            pass


def test_a_closed_file_frees_its_lock(tmp_path):
    file = DiskFile.create(tmp_path / "a.jsonl")
    journal_on(file).append(typed(audits.run()))
    with pytest.raises(Busy):
        DiskFile.reopen(file.path)
    file.close()
    file.close()
    again = DiskFile.reopen(file.path)
    assert fcntl.fcntl(again._descriptor, fcntl.F_GETFL) & os.O_NONBLOCK == 0
    again.close()


def test_records_read_back_as_they_were_written(tmp_path):
    path = tmp_path / "a.jsonl"
    file = DiskFile.create(path)
    seen = []
    journal = journal_on(file, seen)
    for record in records():
        journal.append(typed(record))
    file.close()
    assert read_audit(path) == seen
