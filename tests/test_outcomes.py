"""The outcome table: one line is all that a new row takes."""

import json
import os
import shutil
import subprocess
import sys

from runner.outcomes import ERROR_WORDS, TABLE, NextStep
from tests.support.docs import ROOT

NEW = """
    FailureKind("locked", NextStep.END_USER, codes=(423,)),
    FailureKind("spent", NextStep.STOP, stops="no credit left", codes=(402,)),
    FailureKind("molten", NextStep.RETRY, uncertain=True, suffering=True, codes=(599,)),
"""

LIVE = """
import json, sys
from runner.audit.fold import Fold
from runner.audit.records import audit_schema
from runner.outcomes import kind_of_envelope
from runner.settings import Limits, Rate, Safety
from tests.support.fakes import ALONE, batches, live_session, records_of, refusal

def live(status, users=("user-1",)):
    script = lambda request, before: refusal(status) if request.target.user_id in users else None
    rig = live_session(batches(30, users=2), script=script, limits=ALONE, safety=Safety(max_failed=1.0))
    ends = [(end["status"], end["error"]) for end in rig.ends().values()]
    return rig, ends

locked, locked_ends = live(423)
spent, _ = live(402)
molten, molten_ends = live(599, ("user-0", "user-1"))
print(json.dumps({
    "locked": [*locked_ends[1:5:2], sorted(locked.fold.refused_users), locked.summary["exit_code"]],
    "spent": [spent.summary["why"], spent.summary["exit_code"]],
    "molten": [molten_ends[1], [r["why"] for r in records_of(molten.file, "pace")][:1]],
    "envelope": kind_of_envelope(423).error,
    "schema": [word for word in ("locked", "spent", "molten") if f'"{word}"' in json.dumps(audit_schema())],
}))
"""


def test_a_new_row_is_one_line_and_everything_that_depends_on_it_follows(tmp_path):
    package = tmp_path / "runner"
    shutil.copytree(ROOT / "runner", package, ignore=shutil.ignore_patterns("__pycache__"))
    table = package / "outcomes.py"
    text = table.read_text(encoding="utf-8")
    assert text.count("TABLE: Final = (\n") == 1
    table.write_text(text.replace("TABLE: Final = (\n", f"TABLE: Final = ({NEW}"), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", LIVE],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "locked": [["failed", "locked"], ["not_sent", "skipped"], ["user-1"], 1],
        "spent": ["no credit left (HTTP 402)", 3],
        "molten": [["unknown", "molten"], ["breaker: 10 attempts in a row failed; last: molten: 错误"]],
        "envelope": "locked",
        "schema": ["locked", "spent", "molten"],
    }


def test_a_row_that_stops_the_run_says_why():
    stopping = [kind for kind in TABLE if kind.then in {NextStep.STOP, NextStep.RETRY_TWICE}]
    assert [kind.error for kind in stopping if not kind.stops] == ["interrupted"]
    assert [kind for kind in TABLE if kind.stops and kind not in stopping] == []


def test_what_suffers_is_tried_again_or_nobody_knows_what_became_of_it():
    assert all(kind.retried or kind.uncertain for kind in TABLE if kind.suffering)


def test_the_words_of_an_audit_are_those_of_the_table_and_two_for_what_was_never_tried():
    assert set(ERROR_WORDS) - {kind.error for kind in TABLE} == {"skipped", "protected"}
