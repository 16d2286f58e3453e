"""A plan cut into shards: together they are the plan, and each is one by itself."""

from dataclasses import replace as replaced

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from runner.cluster.shards import cut_plan, pieces
from runner.errors import AuditDamaged
from runner.model import Target
from runner.plan.file import read_plan
from runner.plan.header import PlanTotals, PlanWindow, Reject
from runner.plan.sealed_file import BLOCK_BYTES
from runner.plan.write import write_plan
from tests.support.plans import body_of, header_of

DAY = ("2024-07-26 00:00:00", "2024-07-27 23:59:59")
_OF_THE_FIRST = ("sources", "more_sources", "changed", "normalised", "rejects", "first_rejects", "notes")


def slot(number):
    return (
        f"2024-07-26 {number // 60:02d}:{number % 60:02d}:00",
        f"2024-07-26 {number // 60:02d}:{number % 60:02d}:59",
    )


@st.composite
def plans(draw):
    """A header and a body: users with some batches each, then windows of entries that may share slices."""
    sizes = draw(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(1, 250)), max_size=12))
    phones = [
        (Target(f"{user}{number}"[: 1 + number % 2]), [f"138{number:04d}{n:04d}" for n in range(size)])
        for number, (user, size) in enumerate(sizes)
    ]
    entries = draw(st.lists(st.sets(st.integers(0, 12), min_size=1, max_size=4), max_size=5))
    used = sorted(set().union(*entries)) if entries else []
    targets = {number: Target("w", slot(number), delete_window=True) for number in used}
    body = body_of(*phones, *((targets[number], []) for number in used))
    batches = body.count(b"\n")
    seq_of = {number: batches - len(used) + place for place, number in enumerate(used, start=1)}
    windows = tuple(
        PlanWindow(seq_of[number], "w", slot(number), False, 10, f"job:{entry}", entry)
        for entry, numbers in enumerate(entries, start=1)
        for number in sorted(numbers)
    )
    windows = tuple(draw(st.permutations(windows)))
    unique = sum(len(found) for _, found in phones)
    totals = PlanTotals(
        read=unique + 7,
        unique=unique,
        duplicate=4,
        rejected=1,
        protected=2,
        blank=3,
        batches=batches,
        users=len({target.user_id for target, _ in phones} | ({"w"} if used else set())),
        windows=len(used),
    )
    rejects = {"rejects": {"length": 1}, "first_rejects": (Reject("a.csv", 7, "length", "13****77"),)}
    header = header_of(totals=totals, windows=windows, notes=("a note",), changed=3, **rejects)
    return header, body


def shards_of(plan, count, folder):
    """What each shard is, read while it is there."""
    found = []
    for shard in cut_plan(plan, count, folder):
        assert shard.path.stat().st_mode & 0o777 == 0o600
        assert b"".join(pieces(shard)) == shard.path.read_bytes()
        found.append((shard.header, list(shard.batches())))
        assert [file.name for file in folder.iterdir()] == [shard.path.name]  # one at a time
    assert list(folder.iterdir()) == []
    return found


@given(plans(), st.integers(1, 60))
def test_the_shards_are_the_plan(tmp_path_factory, made, count):
    header, body = made
    folder = tmp_path_factory.mktemp("cut")
    write_plan(folder / "whole", header, [body])
    plan = read_plan(folder / "whole")
    (folder / "shards").mkdir()
    shards = shards_of(plan, count, folder / "shards")

    joined = [batch for _, batches in shards for batch in batches]
    assert [replaced(batch, seq=seq) for seq, batch in enumerate(joined, start=1)] == list(plan.batches())
    assert all([batch.seq for batch in batches] == list(range(1, len(batches) + 1)) for _, batches in shards)

    assert 1 <= len(shards) <= count
    assert all(batches for _, batches in shards) or header.totals.batches == 0
    if not header.windows:
        sizes = {len(batches) for _, batches in shards}
        assert len(shards) == max(1, min(count, header.totals.batches))
        assert max(sizes) - min(sizes) <= 1

    first, later = shards[0][0], [found for found, _ in shards[1:]]
    for name in ("read", "unique", "duplicate", "rejected", "protected", "blank", "batches", "windows"):
        assert sum(getattr(found.totals, name) for found, _ in shards) == getattr(header.totals, name)
    assert [getattr(first, name) for name in _OF_THE_FIRST] == [
        getattr(header, name) for name in _OF_THE_FIRST
    ]
    assert not any(getattr(found, name) for found in later for name in _OF_THE_FIRST)

    # What holds for an entry is looked at in one place: no other shard knows of it.
    entries = [{window.entry for window in found.windows} for found, _ in shards]
    assert sum(map(len, entries)) == len({window.entry for window in header.windows})
    before, told = 0, []
    for found, batches in shards:
        told += [structs.replace(window, seq=window.seq + before) for window in found.windows]
        before += len(batches)
    assert sorted(told, key=str) == sorted(header.windows, key=str)


def test_a_plan_that_was_changed_meanwhile_gives_no_shard_of_it(tmp_path):
    path = tmp_path / "whole"
    body = body_of((Target("a"), [f"138{n:08d}" for n in range(300)]))
    write_plan(path, header_of(totals=PlanTotals(read=300, unique=300, batches=3, users=1)), [body])
    plan = read_plan(path)
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"13800000299", b"13900000299"))
    (tmp_path / "shards").mkdir()
    with pytest.raises(AuditDamaged, match="changed after it was verified"):
        list(cut_plan(plan, 2, tmp_path / "shards"))
    assert list((tmp_path / "shards").iterdir()) == []


def test_pieces_are_whole_lines_of_about_a_block(tmp_path):
    path = tmp_path / "whole"
    count = 60_000
    body = body_of((Target("a"), [f"138{n:08d}" for n in range(count)]))
    notes = ("a long header " * 50_000,)
    totals = PlanTotals(read=count, unique=count, batches=count // 100, users=1)
    write_plan(path, header_of(totals=totals, notes=notes), [body])
    found = list(pieces(read_plan(path)))
    assert b"".join(found) == path.read_bytes()
    assert all(piece.endswith(b"\n") for piece in found)
    assert len(found[0]) > 2 * BLOCK_BYTES  # the header is one line
    assert all(len(piece) < 2 * BLOCK_BYTES for piece in found[1:])
    assert len(found) > 2
