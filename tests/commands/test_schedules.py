"""The lines for schedulers that the documentation gives: silent when all is well, and loud when it is not."""

import re

import pytest

from tests.support.docs import ROOT
from tests.support.program import TOKEN, USER, numbers

PHONES = numbers(3)


@pytest.fixture
def cron(program):
    """Run the line for cron, as it stands in the documentation, but for its paths."""
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    line = re.search(r"^15 2 \* \* \*  (.+)$", page, re.MULTILINE)[1]
    assert "%" not in line, "cron makes a new line of it"
    program.write("token", TOKEN).chmod(0o600)
    changes = {
        "/srv/cleanup": str(program.folder),
        ".venv/bin/bulk-delete": "$RUN",
        "jobs/nightly-cleanup.yaml": "nightly.json",
    }
    for old, new in changes.items():
        assert old in line
        line = line.replace(old, new)
    return lambda: program.shell(line, env={"BULK_DELETE_TOKEN": None})


def test_a_good_night_sends_no_mail_and_leaves_a_line(program, cron):
    program.job({USER: PHONES}, name="nightly")
    ended = cron().expect(0)
    assert ended.out + ended.err == ""
    assert '"exit_code":0' in (program.folder / "nightly.jsonl").read_text(encoding="utf-8")


def test_a_refusal_reaches_somebody_with_its_code_and_its_words(program, cron):
    program.job({USER: PHONES}, name="nightly", safety={"max_phones": 2})
    ended = cron()
    assert "ended with 2" in ended.out
    assert "max_phones" in ended.out + ended.err


def test_numbers_that_are_not_confirmed_reach_somebody(program, sandbox, cron):
    sandbox.control(refused_phones=PHONES[:1])
    program.job({USER: PHONES}, name="nightly", safety={"max_refused": "100%"})
    ended = cron()
    assert "ended with 1" in ended.out
    assert '"failed":1' in ended.out
