"""The private folders of shards: cleared once nobody uses them, and never before."""

import shutil
import tempfile

import pytest

from runner.cluster.scratch import clear_abandoned, private_folder


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_folder_is_private_and_gone_afterwards(temporary):
    with private_folder() as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "audit.jsonl.plan").write_text("13012345678")
    assert list(temporary.iterdir()) == []


def test_what_a_killed_worker_left_is_cleared_and_what_is_in_use_is_not(temporary):
    with private_folder() as used:
        (used / "audit.jsonl.plan").write_text("13012345678")
        # As it is after a kill: all of it is there, and nobody holds it.
        left = shutil.copytree(used, temporary / f"{used.name}-left")
        assert clear_abandoned() == 1
        assert not left.exists()
        assert (used / "audit.jsonl.plan").exists()


def test_what_is_no_folder_of_a_worker_stays(temporary):
    (temporary / "bulk-delete-other").mkdir()
    (temporary / "bulk-delete-other" / "audit.jsonl").touch()
    (temporary / "bulk-delete-shard-link").symlink_to(temporary / "bulk-delete-other")
    (temporary / "bulk-delete-shard-file").touch()
    (temporary / "bulk-delete-shard-new").mkdir()
    before = sorted(temporary.rglob("*"))
    assert clear_abandoned() == 0
    assert sorted(temporary.rglob("*")) == before
