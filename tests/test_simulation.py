"""Seeded histories, and the promises that are exact on a simulated clock.

Each history mixes faults, crashes, power cuts, full disks and signals, and resumes until the job ends; see
`tests/simulation/histories.py` for what is drawn and `tests/simulation/checks.py` for what must hold. More:
`python -m tests.simulation --histories 20000`; one again: `python -m tests.simulation --seed N -v`.
"""

import fcntl
import hashlib
import json
import os
from collections import Counter

import pytest

from runner.send.isolation import Part, cut
from runner.settings import Limits, Rate
from tests.simulation.histories import BEFALLS, live, live_many
from tests.simulation.vendor import FAULTS, NAMINGS
from tests.support.fakes import MemoryFile, batches, departures, live_session, records_of, refusal
from tests.support.sweep import sweep

CHUNKS, CHUNK = 12, 50
FAST_CHUNKS = 1
"""So many are always run; that all that can happen did happen is told of all of them together."""

ENDS = {
    "killed", "power cut", "torn", "exit 0", "exit 1", "exit 3", "exit 130", "exit 143",
    "why max_refused", "why the first 3 users were refused and nothing was ever confirmed",
    "why breaker", "why server not trusted; connection", "why deadline", "why the plan cannot be read",
    "resumed in a pause", "why max_rows_per_phone", "why redirect refused (HTTP 302)",
}  # fmt: skip
RECORDS = {
    "deleted None", "failed refused", "failed forbidden", "failed connection", "unknown timeout",
    "unknown server", "unknown refused", "not_sent skipped", "not_sent protected", "not_sent interrupted",
    "unknown interrupted", "open", "split", "told nothing",
    *(f"split, naming {naming}" for naming in NAMINGS),
}  # fmt: skip


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory):
    """A folder that all processes of this run of tests share."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "histories"
    folder.mkdir(exist_ok=True)
    return folder


def all_that_was_seen(folder, chunk, seen):
    """Leave there what a chunk has seen; return the sum if all others have done so, for the last one only."""
    with (folder / "chunks").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        chunks = {told[0]: told[1] for told in map(json.loads, file)}
        file.write(json.dumps([chunk, seen]) + "\n")
    if len(chunks) < CHUNKS - 1:
        return None
    return sum(map(Counter, chunks.values()), Counter(seen))


def keep_promises(chunk):
    """Live the histories of a chunk; return what was seen in them."""
    seen, failed = live_many(range(chunk * CHUNK, (chunk + 1) * CHUNK))
    assert failed == [], f"replay: python -m tests.simulation --seed {failed[0]} -v"
    return seen


@pytest.mark.parametrize("chunk", range(FAST_CHUNKS))
def test_every_history_keeps_the_promises(chunk):
    keep_promises(chunk)


@pytest.mark.slow
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_every_history_keeps_the_promises_and_all_that_can_happen_happens(chunk, shared_folder):
    seen = keep_promises(chunk)
    everything = all_that_was_seen(shared_folder, chunk, seen)
    if everything is not None:
        never = {name for name in ENDS | RECORDS | set(FAULTS) if not everything[name]}
        assert never == set(), "the histories went through less than can happen, and prove less than they say"


@pytest.mark.parametrize("seed", sweep(range(0, 200, 11), fast=[0, 3]))
def test_a_seed_is_the_same_history_every_time(seed):
    def digest():
        told = []
        history = live(seed, told.append)
        return hashlib.sha256("\n".join(told).encode() + bytes(history.disk.data)).hexdigest()

    assert digest() == digest()


def _one_number_twice(part, *, believe_names):
    return [Part(part.phones[:1], part.tainted), *cut(part, believe_names=believe_names)]


def test_a_seed_that_fails_says_how_to_replay_it(monkeypatch, capsys):
    monkeypatch.setattr("runner.send.delivery.cut", _one_number_twice)
    tens = (range(first, first + 10) for first in range(0, 100, 10))
    failed = next(failed for _, failed in map(live_many, tens) if failed)
    said = capsys.readouterr().out
    for seed in failed:
        assert f"replay: python -m tests.simulation --seed {seed} -v" in said


def test_whatever_may_befall_a_session_has_a_weight():
    assert all(weight > 0 for weight, _ in BEFALLS.values())


# --- exact, on whole sessions


def most_in(sent, period_s):
    return max(sum(at_s - period_s <= other <= at_s for other in sent) for at_s in sent)


@pytest.mark.parametrize(
    ("rate", "seconds", "concurrency"),
    sweep(
        [
            (Rate(0.5), 120, 16),
            (Rate(1.0), 60, 16),
            (Rate(7.5), 40, 16),
            (Rate(20.0), 30, 64),
            (Rate(200.0), 10, 64),
            (Rate(1000.0), 4, 64),
            (Rate(90.0, 60.0), 300, 16),
        ],
        fast=[0, 3, 6],
    ),
    ids=str,
)
def test_no_window_holds_more_than_the_rate_and_95_percent_of_it_is_used(rate, seconds, concurrency):
    count = int(rate.per_second * seconds)
    limits = Limits(rate=rate, concurrency=concurrency)
    rig = live_session(batches(count), limits=limits, latency_s=0.03)
    sent = departures(rig)
    period_s = rate.period_s
    whole = rate.whole
    assert all(later - earlier > period_s for earlier, later in zip(sent, sent[whole:], strict=False))
    assert rig.summary["max_in_window"] <= whole
    assert (count - 1) / (sent[-1] - sent[0]) >= 0.95 * rate.per_second


def test_a_pause_is_obeyed_to_the_moment_and_the_way_back_is_gentle():
    told = []

    def script(request, before):
        told.append(1)
        return refusal(429, retry_after_s=30.0) if len(told) == 200 else None

    rig = live_session(batches(1500), script=script, limits=Limits(rate=Rate(20.0), concurrency=8))
    sent = departures(rig)
    told_s = sent[199] + 0.05
    before = [at_s for at_s in sent if at_s <= told_s + 1e-3]
    after = [at_s for at_s in sent if at_s > told_s + 1e-3]
    assert len(before) == 200
    assert told_s + 30.0 <= after[0] <= told_s + 32.0  # up to a second of jitter, and the first turn
    # Half the rate at first, a tenth more every two seconds, never above it.
    assert sum(at_s < after[0] + 1.0 for at_s in after) <= 11
    assert most_in(after, 1.0) == 20
    assert sum(after[0] + 20.0 <= at_s < after[0] + 30.0 for at_s in after) >= 190


def test_a_storm_of_429_is_met_with_less_and_less():
    """A vendor that allows 5/s, told to be asked 20/s: refusals stay a small part of what is sent."""
    allowed = []
    holder = []

    def script(request, before):
        now_s = holder[0].loop.time()
        recent = [at_s for at_s in allowed if at_s > now_s - 1.0]
        if len(recent) >= 5:
            return refusal(429)
        allowed.append(now_s)
        return None

    rig = live_session(
        batches(600),
        holder.append,
        script=script,
        limits=Limits(rate=Rate(20.0), concurrency=8, max_attempts=20),
    )
    assert rig.summary["exit_code"] == 0
    assert rig.summary["retries"] < len(rig.api.requests) * 0.6
    assert most_in(departures(rig), 1.0) <= 20


def test_a_resumed_run_ends_with_the_same_totals_as_one_that_was_never_stopped():
    whole = live_session(batches(120), limits=Limits(rate=Rate(None), concurrency=8)).summary
    file = MemoryFile()
    for stop_s in (0.2, 0.4, 0.3, None):

        def before(rig, stop_s=stop_s):
            if stop_s is not None:
                rig.loop.call_later(stop_s, rig.stop.request, "enough")

        rig = live_session(batches(120), before, limits=Limits(rate=Rate(None), concurrency=8), file=file)
    for key in ("batches", "phones", "count", "uncertain_batches", "empty_batches", "exit_code"):
        assert rig.summary[key] == whole[key]
    assert len(records_of(file, "summary")) == 4
