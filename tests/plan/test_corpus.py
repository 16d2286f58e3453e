"""Every file of the corpus, planned whole: the plan and the rejects that were written down for it by hand."""

import json
import re
from datetime import UTC, datetime
from math import ceil
from pathlib import Path

import pytest

from runner.errors import Fault, Refused
from runner.job.entries import Entry, Job, Table
from runner.lists.rows import ListSpec
from runner.model import Target
from runner.plan.file import read_plan
from runner.plan.planner import plan_job
from runner.settings import LimitsGiven, Safety
from tests.support.sweep import sweep

CORPUS = Path(__file__).parent / "corpus"
EXPECTED = json.loads((CORPUS / "expected.json").read_text("utf-8"))
UNREADABLE = [name for name, want in EXPECTED.items() if "fault" in want]
FLAWED = [name for name, want in EXPECTED.items() if "user_flaws" in want]
READABLE = [name for name in EXPECTED if name not in UNREADABLE + FLAWED]
USER = "one-user"


def swept(names):
    """Every file, but of workbooks only a few: each is a process, and their rows are read in another test."""
    return sweep(names, fast=[n for n, name in enumerate(names) if not name.endswith(".xlsx") or n % 4 == 0])


def job_of(name):
    """Return a job that holds this file and nothing else."""
    want = EXPECTED[name]
    lists = ListSpec((str(CORPUS / name),), place="jobs/a.yaml:12", **want.get("spec", {}))
    table = lists.user_column is not None
    return Job(
        name="corpus",
        limits=LimitsGiven(),
        safety=Safety(max_invalid=1.0),
        phone_rule=want["rule"],
        timezone="Asia/Shanghai",
        entries=() if table else (Entry(lists.place, USER, lists=lists),),
        tables=(Table(lists.place, lists),) if table else (),
    )


def plan(name, folder):
    """Plan a file; returns the plan as it is read back, and every reject."""
    rejects = []
    out = folder / "corpus.plan"
    plan_job(job_of(name), out, now=datetime(2024, 7, 26, tzinfo=UTC), version="1", rejects=rejects.append)
    return read_plan(out), rejects


def wanted_phones(want):
    """Return user → the phones that stand in the file, each once and in order."""
    users = want.get("users") or [USER] * len(want["phones"])
    found = {}
    for user, (_line, phone) in zip(users, want["phones"], strict=True):
        found.setdefault(user, set()).add(phone)
    return {user: sorted(phones) for user, phones in found.items()}


@pytest.mark.parametrize("name", swept(READABLE))
def test_each_readable_file_gives_the_plan_and_the_rejects_written_down_for_it(name, tmp_path):
    want = EXPECTED[name]
    made, rejects = plan(name, tmp_path)
    asked, batches = {}, 0
    for batch in made.batches():
        assert batch.target == Target(batch.target.user_id), "nothing but a user and phones was named"
        asked.setdefault(batch.target.user_id, []).extend(batch.phones)
        batches += 1
    phones = wanted_phones(want)
    assert asked == phones
    assert batches == sum(ceil(len(of_user) / 100) for of_user in phones.values())

    totals = made.header.totals
    unique, good, bad = sum(map(len, phones.values())), len(want["phones"]), len(want["rejects"])
    assert (totals.read, totals.unique, totals.duplicate, totals.rejected) == (
        good + bad,
        unique,
        good - unique,
        bad,
    )
    assert (totals.protected, totals.windows, totals.users) == (0, 0, len(phones))
    assert (totals.batches, made.header.normalised) == (batches, want["kinds"])

    assert [[reject.line, reject.reason] for reject in rejects] == want["rejects"]
    assert all(reject.source.startswith(str(CORPUS / name)) for reject in rejects)
    assert made.header.first_rejects == tuple(rejects[:10])


@pytest.mark.parametrize("name", swept(UNREADABLE))
def test_a_file_that_cannot_be_read_whole_leaves_no_plan(name, tmp_path):
    with pytest.raises(Fault) as caught:
        plan(name, tmp_path)
    assert EXPECTED[name]["fault"] in caught.value.message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", FLAWED)
def test_a_table_with_flawed_user_ids_leaves_no_plan_and_all_their_rows_are_named(name, tmp_path):
    with pytest.raises(Refused) as caught:
        plan(name, tmp_path)
    for line, reason in EXPECTED[name]["user_flaws"]:
        assert re.search(rf"{re.escape(str(CORPUS / name))}(!S1)?:{line}: ", caught.value.message)
        assert reason in caught.value.message
    assert list(tmp_path.iterdir()) == []


def test_forty_files_at_least_have_a_plan():
    assert len(READABLE) >= 40
