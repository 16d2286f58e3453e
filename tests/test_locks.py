"""Locks: who holds a file can be asked for without taking it away from anybody; no locks is said in words."""

import errno
import fcntl
import os
import stat
from datetime import datetime
from pathlib import Path

import pytest

from runner import locks
from runner.audit.journal import DiskFile
from runner.errors import Busy, Refused
from runner.locks import Holder, holder_of, lock_descriptor, origin_lock
from tests.support import audits


def opened(path):
    path.touch()
    return os.open(path, os.O_RDWR)


def test_who_holds_a_file_is_told_by_its_lock(tmp_path):
    path = tmp_path / "a.jsonl"
    assert holder_of(path) is None, "there is none"
    descriptor = opened(path)
    assert holder_of(path) is None
    lock_descriptor(descriptor, "it")
    path.chmod(0o400)
    holder = holder_of(path)
    if Path("/proc/locks").exists():
        assert holder.pid == os.getpid()
        assert datetime.fromisoformat(holder.start).tzinfo is not None
    else:
        assert holder == Holder()
    os.close(descriptor)
    assert holder_of(path) is None


def test_asking_waits_for_no_pipe_and_takes_a_link_for_what_it_leads_to(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert holder_of(tmp_path / "pipe") is None
    descriptor = opened(tmp_path / "a")
    lock_descriptor(descriptor, "it")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert holder_of(tmp_path / "link") is not None
    os.close(descriptor)


def test_who_asks_at_that_moment_makes_nobody_busy(tmp_path, monkeypatch):
    path = tmp_path / "a"
    descriptor, asking = opened(path), os.open(path, os.O_RDONLY)
    fcntl.flock(asking, fcntl.LOCK_SH)
    naps = []

    def nap(seconds):
        naps.append(seconds)
        fcntl.flock(asking, fcntl.LOCK_UN)

    monkeypatch.setattr(locks.time, "sleep", nap)
    lock_descriptor(descriptor, "it")
    assert len(naps) == 1
    assert holder_of(path) is not None
    os.close(asking)
    os.close(descriptor)


def test_a_lock_is_waited_for_and_the_holder_told_once(tmp_path, monkeypatch):
    path = tmp_path / "a"
    first, second = opened(path), opened(path)
    lock_descriptor(first, "it")
    naps, told = [], []

    def nap(seconds):
        naps.append(seconds)
        if naps.count(1.0) == 3:
            fcntl.flock(first, fcntl.LOCK_UN)

    monkeypatch.setattr(locks.time, "sleep", nap)
    with pytest.raises(Busy, match="it is held by"):
        lock_descriptor(second, "it")
    lock_descriptor(second, "it", told.append)
    assert len(told) == 1
    assert naps.count(1.0) == 3
    os.close(first)
    os.close(second)


NO_LOCKS = [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL]


@pytest.fixture(params=NO_LOCKS, ids=lambda number: errno.errorcode[number])
def lockless(request, monkeypatch):
    def flock(descriptor, how):
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(locks.fcntl, "flock", flock)


async def test_a_file_system_without_locks_is_refused_in_words(tmp_path, lockless):
    path = tmp_path / "a.jsonl"
    with pytest.raises(Refused, match=r"the audit .* cannot be locked: .* has no locks \(flock\)"):
        DiskFile.create(path)
    assert not path.exists(), "what never began does not stand in the way"
    audits.write(path, [audits.run()])
    with pytest.raises(Refused, match="has no locks"):
        DiskFile.reopen(path)
    with pytest.raises(Refused, match="has no locks"):
        async with origin_lock("https://ai.example", wait=True, directory=tmp_path):
            pass
    assert holder_of(path) is None, "where nobody can hold it, nobody does"


def test_another_failure_of_a_lock_is_told_as_what_it_is(tmp_path, monkeypatch):
    def flock(descriptor, how):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    descriptor = opened(tmp_path / "a")
    monkeypatch.setattr(locks.fcntl, "flock", flock)
    with pytest.raises(Refused, match="cannot be locked: Input/output error"):
        lock_descriptor(descriptor, "it")
    os.close(descriptor)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o277, 0o777], ids=oct)
async def test_the_folders_of_the_state_are_private_under_any_umask(tmp_path, monkeypatch, umask):
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    usual = os.umask(umask)
    try:
        async with origin_lock("https://ai.example", wait=False):
            folders = (".local", ".local/state", ".local/state/bulk-delete")
            modes = [stat.S_IMODE((tmp_path / folder).stat().st_mode) for folder in folders]
    finally:
        os.umask(usual)
    assert modes == [0o700] * 3
