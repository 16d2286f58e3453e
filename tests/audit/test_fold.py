"""Totals are what a plain model says they are; what cannot have happened, or was altered, is damage."""

import os
import tracemalloc
from collections import Counter
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.audit import unconfirmed
from runner.audit.durations import Durations
from runner.audit.fold import Fold, fold_audit
from runner.audit.journal import encode_record
from runner.audit.reader import read_first, select_for_rerun
from runner.audit.records import MALFORMED, STATUSES
from runner.audit.verify import State, verify
from runner.errors import AuditDamaged, Refused
from runner.model import Prior, Target
from tests.support import audits
from tests.support.audits import batch, left_open, pace, rejected, run, sending, summary
from tests.support.evidence import read_lines

# ------------------------------------------------------------------ the fold against a plain model


class Model:
    """Keeps every record and answers by looking at all of them: slow, and plain to see right."""

    def __init__(self, plan):
        self.plan = plan
        self.records = []

    def sessions(self):
        """Return the records of each session."""
        found = []
        for record in self.records:
            if record["type"] == "run":
                found.append([])
            found[-1].append(record)
        return found

    def end(self, seq):
        ends = [r for r in self.records if r["type"] == "batch" and r["seq"] == seq]
        assert len(ends) <= 1
        return ends[0] if ends else None

    @staticmethod
    def left_behind(session):
        """Return how many announced batches of a session have neither an end nor an open record."""
        told = {r["seq"] for r in session if r["type"] in {"batch", "open"}}
        ranges = [
            (r.get("from", r.get("seq")), r.get("to", r.get("seq")))
            for r in session
            if r["type"] == "sending"
        ]
        return sum(seq not in told for first, last in ranges for seq in range(first, last + 1))

    def prior(self, seq):
        """Return attempts and uncertain attempts of a batch that is open."""
        attempts = uncertain = 0
        for session in self.sessions():
            meant = any(
                r["type"] == "sending" and r.get("from", r.get("seq")) <= seq <= r.get("to", r.get("seq"))
                for r in session
            )
            told = [r for r in session if r["type"] == "open" and r["seq"] == seq]
            if told:
                attempts, uncertain = told[-1]["attempts"], told[-1]["uncertain_attempts"]
            elif meant:
                attempts, uncertain = attempts + 1, uncertain + 1
        return attempts, uncertain

    def totals(self):
        batches, phones, others = Counter(), Counter(), Counter()
        for seq, size in self.plan.items():
            end = self.end(seq)
            attempts, uncertain = (
                self.prior(seq) if end is None else (end["attempts"], end["uncertain_attempts"])
            )
            status = end["status"] if end else "unknown" if uncertain else "not_sent"
            left = end["phones_left"] if end else size
            batches[status] += 1
            phones[status] += left
            phones["deleted"] += size - left
            others["count"] += (end and end["count"]) or 0
            others["empty"] += bool(end) and end["count"] == 0
            others["uncertain"] += uncertain > 0
            others["attempts"] += attempts
            others["open"] += end is None
        others["assumed"] = sum(map(self.left_behind, self.sessions()))
        return batches, phones, others


def agree(fold, model):
    totals = fold.totals(model.plan.__getitem__)
    batches, phones, others = model.totals()
    assert totals.holds
    assert {status: batches[status] for status in STATUSES} == {s: totals.batches[s] for s in STATUSES}
    assert {status: phones[status] for status in STATUSES} == {s: totals.phones[s] for s in STATUSES}
    assert totals.batches["planned"] == len(model.plan)
    assert totals.phones["unique"] == sum(model.plan.values())
    found = (
        totals.count,
        totals.empty_batches,
        totals.uncertain_batches,
        totals.attempts,
        totals.attempts_assumed,
        totals.open_batches,
    )
    names = ("count", "empty", "uncertain", "attempts", "assumed", "open")
    assert found == tuple(others[key] for key in names)
    still_open = [seq for seq in model.plan if model.end(seq) is None]
    assert fold.ended == len(model.plan) - len(still_open)
    for seq in model.plan:
        assert fold.is_ended(seq) == (seq not in still_open)
        if seq in still_open:
            assert fold.prior(seq) == Prior(*model.prior(seq))


class Writer:
    """Writes a history that a runner could have written, as `draw` decides."""

    def __init__(self, draw):
        self.draw = draw
        plan = dict(enumerate(draw(st.lists(st.integers(0, 4), max_size=8)), start=1))
        self.model = Model(plan)
        self.pending = set()

    def put(self, record):
        self.model.records.append(record)

    def choose(self, *options):
        return self.draw(st.sampled_from(options))

    def session(self, first):
        plan = self.model.plan
        phones = sum(plan.values())
        self.pending = set()
        self.put(run(batches=len(plan), phones=phones, mode="run" if first else "resume"))
        for _ in range(self.draw(st.integers(0, 10))):
            self.choose(self.announce, self.finish, self.finish, self.skip, self.chat)()
        if self.choose(True, True, False):
            self.stop()

    def announce(self):
        free = [s for s in self.model.plan if self.model.end(s) is None and s not in self.pending]
        if free:
            first = last = self.draw(st.sampled_from(free))
            while last + 1 in free and self.draw(st.booleans()):
                last += 1
            self.put(sending(first, last))
            self.pending.update(range(first, last + 1))

    def finish(self):
        if self.pending:
            seq = self.draw(st.sampled_from(sorted(self.pending)))
            self.pending.discard(seq)
            self.end(seq, self.choose(*STATUSES))

    def end(self, seq, status):
        size = self.model.plan[seq]
        attempts, uncertain = self.before(seq)
        more = self.draw(st.integers(1 if status in {"deleted", "failed"} else 0, 3))
        doubt = self.draw(st.integers(0, more))
        left = 0 if status == "deleted" or not size else self.draw(st.integers(1, size))
        count = self.draw(st.integers(0, 3)) if status == "deleted" or left < size else None
        self.put(
            batch(
                seq,
                status,
                phones=size,
                left=left,
                count=count,
                attempts=attempts + more,
                uncertain=uncertain + doubt,
            )
        )

    def before(self, seq):
        """Return what earlier sessions did; this session's intent says nothing yet."""
        model = Model(self.model.plan)
        model.records = [r for session in self.model.sessions()[:-1] for r in session]
        return model.prior(seq)

    def skip(self):
        free = [s for s in self.model.plan if self.model.end(s) is None and s not in self.pending]
        if free:
            seq = self.draw(st.sampled_from(free))
            attempts, uncertain = self.before(seq)
            status = "unknown" if uncertain else "not_sent"
            self.put(
                batch(
                    seq,
                    status,
                    phones=self.model.plan[seq],
                    attempts=attempts,
                    uncertain=uncertain,
                    http_status=None,
                )
            )

    def chat(self):
        self.put(pace(rate="5/s", until=None, why="429"))
        self.put(rejected(source="清单.csv", line=1, reason="too_short", value="1**"))

    def stop(self):
        """End the session in order; what `abandoned` holds was on the wire at a second signal."""
        for seq in sorted(self.pending):
            if self.choose(True, True, False):
                attempts, uncertain = self.before(seq)
                more = self.draw(st.integers(0, 2))
                self.put(left_open(seq, attempts + more, uncertain + self.draw(st.integers(0, more))))
        self.pending.clear()
        fold = Fold()
        audits.feed(fold, self.model.records)
        batches, phones, others = self.model.totals()
        told = fold.totals(self.model.plan.__getitem__)
        self.put(
            summary(
                told,
                batches={"planned": len(self.model.plan), **{s: batches[s] for s in STATUSES}},
                phones={
                    "read": told.phones["unique"],
                    "unique": told.phones["unique"],
                    "duplicate": 0,
                    "rejected": 0,
                    "protected": 0,
                    **{s: phones[s] for s in STATUSES},
                },
                count=others["count"],
                uncertain_batches=others["uncertain"],
                empty_batches=others["empty"],
            )
        )


@st.composite
def histories(draw):
    writer = Writer(draw)
    for number in range(draw(st.integers(1, 4))):
        writer.session(number == 0)
    return writer.model


@settings(max_examples=300, deadline=None)
@given(histories())
def test_the_fold_is_the_plain_model_after_every_record(model):
    grown = Model(model.plan)
    fold = Fold(phones_of=model.plan.__getitem__)
    for record in model.records:
        audits.feed(fold, [record])
        grown.records.append(record)
        agree(fold, grown)


@settings(max_examples=100, deadline=None)
@given(histories())
def test_a_file_folds_like_the_live_run_and_verifies(tmp_path_factory, model):
    path = audits.write(tmp_path_factory.mktemp("fold") / "a.jsonl", model.records)
    for verify_chain in (False, True):
        agree(fold_audit(path, verify_chain=verify_chain, phones_of=model.plan.__getitem__), model)
    ends = model.records[-1]["type"] == "summary"
    assert verify(path).state is (State.WHOLE if ends else State.OPEN_ENDED)


# ------------------------------------------------------------------ histories that cannot be

DAMAGED = {
    "no run record first": [sending(1)],
    "two first sessions": [run(), run()],
    "a first session that resumes": [run(mode="resume")],
    "another plan": [run(), run(mode="resume", plan_sha256="1" * 64)],
    "another origin": [run(), run(mode="resume", base_url="https://elsewhere.example")],
    "another number of batches": [run(), run(mode="resume", batches=4)],
    "a newer version": [{**run(), "v": 2}],
    "an intent for batch 0": [run(), sending(0)],
    "an intent beyond the plan": [run(), sending(2, 4)],
    "an intent backwards": [run(), sending(3, 2)],
    "an intent for nothing": [run(), {"type": "sending"}],
    "an intent in two ways": [run(), {"type": "sending", "seq": 1, "from": 1, "to": 2}],
    "an intent over an ended batch": [run(), sending(1), batch(1), sending(1, 2)],
    "an intent whose last batch has ended": [run(), sending(2), batch(2), sending(1, 2)],
    "a second intent in one session": [run(), sending(1), sending(1, 2)],
    "a batch beyond the plan": [run(), batch(4, "not_sent")],
    "a batch 0": [run(), batch(0, "not_sent")],
    "a second end": [run(), sending(1), batch(1), batch(1)],
    "an end without an intent": [run(), batch(1)],
    "an end without an intent after a resume": [
        run(),
        sending(1),
        run(mode="resume"),
        batch(1, attempts=2, uncertain=1),
    ],
    "fewer attempts than before": [run(), sending(1), run(mode="resume"), sending(1), batch(1)],
    "more doubt than attempts": [run(), sending(1), batch(1, attempts=1, uncertain=2)],
    "deleted with phones left": [run(), sending(1), batch(1, left=1)],
    "deleted without a count": [run(), sending(1), batch(1, count=None)],
    "deleted without an attempt": [run(), sending(1), batch(1, attempts=0)],
    "failed with nothing left": [run(), sending(1), batch(1, "failed", left=0)],
    "more left than asked": [run(), sending(1), batch(1, "failed", left=3)],
    "a count below nothing": [run(), sending(1), batch(1, count=-1)],
    "a status nobody knows": [run(), sending(1), {**batch(1), "status": "gone"}],
    "a count that is text": [run(), sending(1), batch(1, count="2")],
    "open without an intent": [run(), left_open(1)],
    "open after its end": [run(), sending(1), batch(1), left_open(1)],
    "open with fewer attempts": [run(), sending(1), run(mode="resume"), sending(1), left_open(1, 0, 0)],
    "a type nobody knows": [run(), {"type": "note"}],
    "a summary of other batches": [run(), summary(Fold().totals())],
}


@pytest.mark.parametrize("what", DAMAGED)
def test_a_history_that_cannot_be_is_damage_at_its_line(tmp_path, what):
    records = DAMAGED[what]
    path = audits.write(tmp_path / "a.jsonl", records)
    with pytest.raises(AuditDamaged) as caught:
        fold_audit(path, verify_chain=True)
    assert caught.value.line == len(records)
    found = verify(path)
    assert (found.state, found.line) == (State.DAMAGED, len(records))
    fold = Fold()
    audits.feed(fold, records[:-1])
    with pytest.raises((AuditDamaged, *MALFORMED)):
        audits.feed(fold, records[-1:])


@pytest.mark.parametrize(
    "key", ["count", "uncertain_batches", "empty_batches", "status", "batches", "phones"]
)
def test_a_summary_that_is_not_the_sum_of_the_records_is_damage(tmp_path, key):
    records = [run(batches=2), sending(1, 2), batch(1)]
    fold = Fold()
    audits.feed(fold, records)
    last = summary(fold.totals(lambda _seq: 2))
    assert verify(audits.write(tmp_path / "a.jsonl", [*records, last])).state is State.WHOLE
    wrong = {
        "status": "complete",
        "batches": {**last["batches"], "failed": 1},
        "phones": {**last["phones"], "deleted": 3},
    }
    last[key] = wrong.get(key, last[key] + 1 if isinstance(last[key], int) else None)
    assert verify(audits.write(tmp_path / "a.jsonl", [*records, last])).state is State.DAMAGED


def test_the_phones_of_a_summary_are_held_against_the_plan_when_it_is_there(tmp_path):
    records = [run(batches=2, phones=5), sending(1, 2), batch(1)]
    fold = Fold()
    audits.feed(fold, records)
    totals = fold.totals({2: 3}.__getitem__)
    assert totals.phones == {"unique": 5, "deleted": 2, "failed": 0, "unknown": 3, "not_sent": 0}
    path = audits.write(tmp_path / "a.jsonl", [*records, summary(totals)])
    assert verify(path, phones_of={2: 3}.__getitem__).state is State.WHOLE
    assert verify(path, phones_of={2: 2}.__getitem__).state is State.DAMAGED
    assert not fold_audit(path, verify_chain=True).totals().phones_known


def test_users_that_were_refused_and_causes_are_remembered():
    fold = Fold()
    other = Target("other")
    words = "号码 17458558658 无效"
    audits.feed(
        fold,
        [
            run(batches=4),
            sending(1, 3),
            batch(1, "failed", error="forbidden", http_status=403, target=other),
            batch(2, "failed", message=words),
            batch(3, "failed", message=words.replace("58658", "00000")),
            batch(4, "not_sent", error="skipped", target=Target("third")),
        ],
    )
    assert fold.refused_users == {"other": "forbidden"}
    assert fold.unconfirmed.causes[("failed", "refused", 200, 6008, "号码 **** 无效")] == 2
    assert not any("1745855" in cause[-1] for cause in fold.unconfirmed.causes)


def test_an_opaque_value_that_the_server_echoes_is_masked_in_the_causes():
    fold = Fold()
    audits.feed(
        fold,
        [
            run(),
            sending(1),
            batch(1, "failed", phone=["aGVsbG8=", "d29ybGQ="], message="bad: aGVsbG8="),
        ],
    )
    assert [cause[-1] for cause in fold.unconfirmed.causes] == ["bad: ****"]


def test_causes_are_bounded():
    fold = Fold()
    failures = [batch(seq, "failed", message=f"reason {seq}") for seq in range(1, 1001)]
    audits.feed(fold, [run(batches=1000), sending(1, 1000), *failures])
    assert len(fold.unconfirmed.causes) <= 201
    assert sum(fold.unconfirmed.causes.values()) == 1000


def test_sessions_tell_how_each_ended(tmp_path):
    records = [
        run(batches=1),
        sending(1),
        run(batches=1, mode="resume"),
        sending(1),
        batch(1, attempts=2, uncertain=1),
    ]
    fold = Fold()
    audits.feed(fold, records)
    fold = fold_audit(
        audits.write(tmp_path / "a.jsonl", [*records, summary(fold.totals())]), verify_chain=True
    )
    assert [session.run.mode for session in fold.sessions] == ["run", "resume"]
    assert fold.sessions[0].summary is None
    assert (fold.last_summary.at, fold.last_summary.status) == (audits.AT, "complete")
    assert fold.sessions[0].figures == {}
    assert fold.sessions[1].figures["requests"] == 3
    assert fold.first_run.mode == "run"
    assert fold.last_run.mode == "resume"
    assert fold.complete


# ------------------------------------------------------------------ reading


def test_lines_end_at_newlines_only(tmp_path):
    record = batch(1, message="a\u2028b\u0085c\x0bd\re")
    path = audits.write(tmp_path / "a.jsonl", [run(), sending(1), record])
    assert [found["type"] for found in read_lines(path)] == ["run", "sending", "batch"]
    assert fold_audit(path, verify_chain=True).ended == 1


PLAN = b'{"type":"plan","v":1,"digest":"' + b"0" * 64 + b'"}\n{"seq":1,"user_id":"u","phone":["1"]}\n'


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"[]\n", b"{}\n", b"hello", b"hello\n", b"\xef\xbb\xbf{}\n", b"{\n" * 9, PLAN]
)
def test_what_is_no_audit_is_refused_and_never_called_damaged(tmp_path, content):
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    for read in (verify, read_first, lambda path: fold_audit(path, verify_chain=False)):
        with pytest.raises(Refused, match="no audit") as caught:
            read(path)
        assert not isinstance(caught.value, AuditDamaged)


@pytest.mark.parametrize("kept", [1, 5, 12, 13, 100])
def test_an_audit_torn_in_its_first_line_is_one_without_an_end(tmp_path, kept):
    path = tmp_path / "a.jsonl"
    path.write_bytes(audits.chained([run()])[0][:kept])
    assert verify(path).state is State.OPEN_ENDED
    assert read_first(path) is None
    with pytest.raises(AuditDamaged, match="no whole record") as caught:
        fold_audit(path, verify_chain=True)
    assert "remove it" in caught.value.hint


def test_an_audit_whose_beginning_was_cut_off_is_damaged(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n".join(audits.chained([run(), sending(1), batch(1)])[1:]))
    assert verify(path).state is State.DAMAGED


def test_a_pipe_and_a_device_are_no_audits_and_nobody_waits_for_them(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/null"), tmp_path):
        for read in (verify, lambda path: fold_audit(path, verify_chain=False)):
            with pytest.raises(Refused, match="no regular file"):
                read(path)


def test_verify_and_a_strict_fold_refuse_the_audit_of_another_user_and_a_link(tmp_path, monkeypatch):
    path = audits.write(tmp_path / "a.jsonl", [run(), sending(1), batch(1)])
    link = tmp_path / "link"
    link.symlink_to(path)
    strict = (verify, lambda path: fold_audit(path, verify_chain=True, own=True))
    for read in strict:
        with pytest.raises(Refused, match="symbolic link"):
            read(link)
        read(path)
    assert fold_audit(link, verify_chain=True).ended == 1
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    for read in strict:
        with pytest.raises(Refused, match="another user"):
            read(path)
    assert fold_audit(path, verify_chain=True).ended == 1


def test_an_endless_line_is_refused_without_being_read(tmp_path):
    path = tmp_path / "a.jsonl"
    with path.open("wb") as file:
        file.write(b'{"type":"run"')
        file.truncate(64 << 20)
    tracemalloc.start()
    with pytest.raises(AuditDamaged, match="longer than any record"):
        fold_audit(path, verify_chain=False)
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()


def test_a_missing_audit_is_refused(tmp_path):
    for read in (verify, lambda path: fold_audit(path, verify_chain=False)):
        with pytest.raises(Refused, match=r"cannot be (read|opened): No such file"):
            read(tmp_path / "none")


def test_memory_does_not_grow_with_the_audit(tmp_path):
    peaks = []
    for size in (1_000, 10_000):
        path = tmp_path / f"{size}.jsonl"
        chain = ""
        with path.open("wb") as file:
            for record in [
                run(batches=size),
                *(r for s in range(1, size + 1) for r in (sending(s), batch(s))),
            ]:
                line, chain = encode_record(audits.typed({"at": audits.AT, **record}), chain=chain)
                file.write(line)
        tracemalloc.start()
        assert fold_audit(path, verify_chain=True).ended == size
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 100_000


def test_durations_are_right_within_two_percent():
    durations = Durations()
    assert durations.percentile(0.5) is None
    for ms in range(1, 10_001):
        durations.add(ms + 0.4)
    for share in (0.01, 0.1, 0.5, 0.95, 1.0):
        assert 0.98 * share * 10_000 <= durations.percentile(share) <= share * 10_000


# ------------------------------------------------------------------ verify


def reference():
    """Return an audit of two sessions, the first stopped by a signal, with every type of record."""
    records = [
        run(),
        rejected(source="清单.csv", line=3, reason="too_short", value="174****"),
        sending(1, 2),
        batch(1),
        pace(rate="10/s", until=audits.AT, why="429"),
        left_open(2, 1, 0),
    ]
    fold = Fold()
    audits.feed(fold, records)
    records.append(summary(fold.totals(), why="SIGTERM", exit_code=143))
    second = [run(mode="resume"), sending(2, 3), batch(2, "failed", attempts=2), batch(3, count=0)]
    audits.feed(fold, [records[-1], *second])
    return [*records, *second, summary(fold.totals())]


@pytest.fixture
def audit(tmp_path):
    return audits.write(tmp_path / "a.jsonl", reference())


def test_the_reference_audit_is_whole(audit):
    found = verify(audit)
    assert found.state is State.WHOLE
    assert found.state.exit_code == 0
    assert found.records == len(reference())
    assert found.head == read_lines(audit)[-1]["chain"]
    assert [session.summary.status for session in found.sessions] == ["stopped", "partial"]


@pytest.mark.parametrize("flip", [0x01, 0x20, 0x80])
def test_a_flipped_bit_anywhere_is_noticed(audit, flip):
    whole = audit.read_bytes()
    descriptor = os.open(audit, os.O_WRONLY)
    for at in range(len(whole)):
        os.pwrite(descriptor, bytes([whole[at] ^ flip]), at)
        assert verify(audit).state is not State.WHOLE, at
        os.pwrite(descriptor, whole[at : at + 1], at)
    os.close(descriptor)
    assert verify(audit).state is State.WHOLE


def test_every_cut_is_noticed_but_one_at_the_end_of_a_session(audit):
    whole = audit.read_bytes()
    first_session = len(b"".join(audits.chained(reference())[:7]))
    for size in reversed(range(1, len(whole))):
        os.truncate(audit, size)
        found = verify(audit)
        if size == first_session:
            assert found.state is State.WHOLE
        else:
            assert found.state is State.OPEN_ENDED
            assert found.state.exit_code == 3


def test_lines_removed_swapped_doubled_or_added_are_noticed(audit):
    lines = audits.chained(reference())
    spoilt = [lines[:i] + lines[i + 1 :] for i in range(len(lines) - 1)]
    spoilt += [[*lines[:i], lines[i], *lines[i:]] for i in range(len(lines))]
    spoilt += [[*lines[:i], lines[i + 1], lines[i], *lines[i + 2 :]] for i in range(len(lines) - 1)]
    spoilt += [[*lines[:i], b"\n", *lines[i:]] for i in range(len(lines) + 1)]
    for altered in spoilt:
        audit.write_bytes(b"".join(altered))
        found = verify(audit)
        assert found.state is State.DAMAGED
        assert found.state.exit_code == 1
        assert found.line


def test_a_head_kept_elsewhere_shows_a_cut_at_the_end_of_an_earlier_session(audit):
    heads = [record["chain"] for record in read_lines(audit) if record["type"] == "summary"]
    assert verify(audit, heads=heads).state is State.WHOLE
    lines = audits.chained(reference())
    audit.write_bytes(b"".join(lines[:7]))
    assert verify(audit).state is State.WHOLE
    assert verify(audit, heads=[heads[0].upper() + "\n"]).state is State.WHOLE
    found = verify(audit, heads=[heads[1]])
    assert found.state is State.DAMAGED
    assert heads[1] in found.what


def test_a_head_shows_a_history_that_was_written_anew_with_its_chain(audit):
    head = read_lines(audit)[-1]["chain"]
    records = reference()
    records[1]["reason"] = "too_long"
    audits.write(audit, records)
    assert verify(audit).state is State.WHOLE
    assert verify(audit, heads=[head]).state is State.DAMAGED


# ------------------------------------------------------------------ rerun


def test_rerun_takes_what_is_left_of_batches_and_windows(tmp_path):
    window = Target("u", ("2024-01-01 00:00:00", "2024-01-07 23:59:59"), delete_window=True)
    dated = Target("u", ("2024-01-01 00:00:00", "2024-01-07 23:59:59"), encryption=True)
    names = audits.numbers(2, 4)
    records = [
        run(batches=6, phones=100),
        sending(1, 6),
        batch(1),
        batch(2, "failed", phones=4, left=2, phone=names, count=2),
        batch(3, "unknown", uncertain=1, target=dated),
        batch(4, "not_sent"),
        batch(5, "unknown", phones=0, uncertain=1, target=window),
        batch(6, phones=0, target=window),
    ]
    path = audits.write(tmp_path / "a.jsonl", records)
    everything = list(select_for_rerun(path, {"failed", "unknown", "not_sent"}))
    assert everything == [
        (audits.TARGET, tuple(names[:2])),
        (dated, tuple(audits.numbers(3))),
        (audits.TARGET, tuple(audits.numbers(4))),
        (window, ()),
    ]
    assert list(select_for_rerun(path, {"unknown"})) == [everything[1], everything[3]]


@pytest.mark.parametrize(
    "spoilt",
    [
        {"phone": []},
        {"phone": None},
        {"user_id": "../x"},
        {"phones_left": 0, "phone": []},
        {"delete_window": True},
        {"created_at": ["2024-01-01 00:00:00"]},
    ],
)
def test_a_batch_that_does_not_say_what_is_left_is_never_sent_again(tmp_path, spoilt):
    path = audits.write(tmp_path / "a.jsonl", [run(), sending(1), {**batch(1, "failed"), **spoilt}])
    with pytest.raises(AuditDamaged):
        list(select_for_rerun(path, {"failed"}))


# ------------------------------------------------------------------ a pause that still runs


def test_the_last_pause_that_the_server_asked_for_is_known_and_none_of_the_breaker():
    fold = Fold()
    early, late = "2026-01-01T10:00:00.000+08:00", "2026-01-01T02:05:00.000+00:00"
    audits.feed(fold, [run(batches=1, phones=1)])
    assert fold.paused_until is None
    told = [
        (None, "rate halved"),
        (late, "the server asked for a pause"),
        (early, "the server's quota is used up"),
        ("2026-01-01T09:00:00.000+00:00", "breaker: 10 attempts in a row failed"),
    ]
    audits.feed(fold, [pace(rate="5/s", until=until, why=why) for until, why in told])
    assert fold.paused_until == datetime.fromisoformat(late)


def test_users_with_numbers_not_confirmed_are_told_apart_up_to_a_bound(monkeypatch):
    monkeypatch.setattr(unconfirmed, "_MOST_USERS", 2)
    fold = Fold()
    ends = [batch(n, "unknown", user_id=f"u{n % 3}", uncertain=1) for n in range(1, 7)]
    audits.feed(fold, [run(batches=6), sending(1, 6), *ends])
    assert fold.unconfirmed.worst_users(9) == [("u1", [0, 4, 0]), ("u2", [0, 4, 0])]
    assert sum(fold.unconfirmed.causes.values()) == 6
