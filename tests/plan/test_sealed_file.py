"""What was confirmed is what goes: a plan that changes under its reader yields nothing of what changed."""

import os
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from runner.errors import AuditDamaged, Exit, Refused
from runner.model import Target
from runner.plan import sealed_file
from runner.plan.file import copy_plan, read_plan
from runner.plan.protect import ProtectList
from tests.support.fakes import live_session, phones
from tests.support.plans import plan_with

PHONES = phones(60_000)
FORGED = "19999999999"


@pytest.fixture
def plan(tmp_path):
    """A plan of three blocks."""
    path = plan_with({Target("user-a"): PHONES}, tmp_path / "a.plan")
    read = read_plan(path)
    assert read.seal.blocks >= 3
    return read


def forge(path, block, times=50):
    """Overwrite numbers in place, in the middle of a block, and put the times of the file back."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(block * sealed_file.BLOCK_BYTES + sealed_file.BLOCK_BYTES // 2)
        file.readline()
        line = file.readline()
        file.seek(-len(line), os.SEEK_CUR)
        for number in line[line.index(b"138") :].split(b'"')[:times:2]:
            line = line.replace(number, FORGED.encode())
        file.write(line)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def drain(batches):
    """Take batches until an error; returns those, and the error's words."""
    taken = []
    with pytest.raises(AuditDamaged) as caught:
        taken.extend(iter(lambda: next(batches), None))
    return taken, caught.value


def replaced(path):
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    copy.replace(path)


def lengthen(path):
    with path.open("ab") as file:
        file.write(b"\n")


CHANGES = {
    "gone": (os.unlink, "it is gone"),
    "renamed away": (lambda path: path.rename(path.with_name("b")), "it is gone"),
    "another file of the same bytes": (replaced, "another file stands in its place"),
    "cut": (lambda path: os.truncate(path, path.stat().st_size - 1), "bytes and had"),
    "longer": (lengthen, "bytes and had"),
    "forged in place": (lambda path: forge(path, 1), "other bytes stand there from byte 262,144 on"),
}


@pytest.mark.parametrize("how", CHANGES)
def test_a_change_under_way_yields_nothing_of_the_block_that_changed(plan, how):
    change, words = CHANGES[how]
    batches = plan.batches()
    first = list(islice(batches, 20))
    change(plan.path)
    taken, error = drain(batches)
    assert "it was changed after it was verified" in error.message
    assert words in error.message
    asked = [phone for batch in (*first, *taken) for phone in batch.phones]
    assert asked == list(PHONES[: len(asked)])
    assert len(asked) < sealed_file.BLOCK_BYTES // 11


@pytest.mark.parametrize("how", CHANGES)
def test_a_change_before_the_first_batch_yields_nothing_before_it(plan, how):
    change, words = CHANGES[how]
    change(plan.path)
    taken, error = drain(plan.batches())
    assert words in error.message
    assert len(taken) * 100 < sealed_file.BLOCK_BYTES // 11
    if "forged" not in how:
        assert taken == []
        with pytest.raises(AuditDamaged, match=words):
            plan.check()


@pytest.mark.parametrize("how", CHANGES)
def test_a_batch_looked_up_by_its_seq_is_held_against_its_block(plan, how):
    change, words = CHANGES[how]
    with plan.lookup() as find:
        assert find(1).phones == PHONES[:100]
        change(plan.path)
        taken, error = drain(map(find, range(1, 601)))
        assert words in error.message
        assert FORGED not in {phone for batch in taken for phone in batch.phones}


@pytest.mark.parametrize("how", CHANGES)
def test_a_copy_is_made_of_what_was_verified_or_not_at_all(plan, tmp_path, how):
    change, words = CHANGES[how]
    change(plan.path)
    with pytest.raises(AuditDamaged, match=words):
        copy_plan(plan, tmp_path / "c.plan")
    assert not (tmp_path / "c.plan").exists()


@pytest.mark.parametrize("harmless", [os.utime, lambda p: p.chmod(0o400), lambda p: os.link(p, f"{p}.2")])
def test_what_changes_no_byte_changes_nothing(plan, harmless):
    batches = plan.batches()
    first = list(islice(batches, 20))
    harmless(plan.path)
    plan.check()
    assert [phone for batch in (*first, *batches) for phone in batch.phones] == list(PHONES)


def test_every_batch_comes_whole_out_of_blocks_of_any_size(plan, monkeypatch, tmp_path):
    wanted = list(plan.batches())
    monkeypatch.setattr(sealed_file, "BLOCK_BYTES", 1000)
    small = read_plan(plan.path)
    assert list(small.batches()) == wanted
    assert list(copy_plan(small, tmp_path / "c.plan").batches()) == wanted
    with small.lookup() as find:
        assert [find(seq) for seq in (600, 1, 300)] == [wanted[599], wanted[0], wanted[299]]
        for seq in (0, 601):
            with pytest.raises(AuditDamaged, match=f"no batch {seq}"):
                find(seq)


def test_a_read_that_fails_is_an_error_of_ours(plan, monkeypatch):
    batches = plan.batches()
    next(batches)

    def fail(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(sealed_file.os, "pread", fail)
    with pytest.raises(AuditDamaged, match="cannot be read: Input/output error"):
        list(batches)
    with pytest.raises(AuditDamaged, match="cannot be read"):
        read_plan(plan.path)


def test_no_descriptor_stays_open(plan):
    before = len(list(Path("/proc/self/fd").iterdir()))
    list(plan.batches())
    next(plan.batches())
    plan.path.unlink()
    for read in (plan.check, lambda: list(plan.batches()), lambda: read_plan(plan.path)):
        with pytest.raises(Refused):
            read()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


# ---- while it is sent ---------------------------------------------------------------------------------


def sent_from(plan, change):
    """Live a session over a plan file; `change` befalls it when the fifth request leaves."""
    from runner.commands.execute import RunFiles

    left = []

    def script(request, _):
        left.append(request)
        if len(left) == 5:
            change(plan.path)

    def use_file(rig):
        works = RunFiles(plan, plan.path).works
        rig.works = lambda: works(rig.fold, ProtectList("mobile_cn"))

    return live_session(list(plan.batches()), use_file, script=script)


@pytest.mark.parametrize("how", CHANGES)
def test_a_plan_that_changes_while_it_is_sent_stops_the_run_and_nothing_of_the_change_goes(plan, how):
    change, words = CHANGES[how]
    rig = sent_from(plan, change)
    assert (rig.summary["status"], rig.summary["exit_code"]) == ("stopped", Exit.STOPPED)
    assert rig.summary["why"].startswith("the plan is no longer what was confirmed: ")
    assert words in rig.summary["why"]
    asked = [phone for request in rig.api.requests for phone in request.phones]
    assert sorted(asked) == sorted(PHONES[: len(asked)])
    assert rig.summary["phones"]["deleted"] == len(asked)
    assert rig.summary["phones"]["not_sent"] == len(PHONES) - len(asked)


def test_a_plan_that_only_gets_other_times_is_sent_whole(plan):
    rig = sent_from(plan, os.utime)
    assert rig.summary["exit_code"] == Exit.OK
    assert rig.summary["phones"]["deleted"] == len(PHONES)


def test_numbers_seen_at_the_seal_are_those_of_the_file(plan):
    other = replace(plan.seal, digests=bytes(len(plan.seal.digests)))
    with pytest.raises(AuditDamaged, match="from byte 0 on"):
        next(replace(plan, seal=other).batches())
