"""Plans and audits edited by hand, digest and chain made to fit: verbs notice, or do what was asked."""

from functools import partial

import pytest

from tests.support.evidence import rechain
from tests.support.forgery import FAST, JANUARY, forge, refused, stopped_run, whole
from tests.support.program import OTHER, USER, numbers

# ---- a plan edited by hand, its digest computed anew --------------------------------------------------


@pytest.fixture
def windowed(program, sandbox):
    """A plan of one window with more rows than it may delete."""
    sandbox.pool.add_phones(USER, numbers(30), created_at=JANUARY[0])
    program("plan", program.job({USER: whole(5)}), "--out", "p.plan").expect(0)
    return program.folder / "p.plan"


WINDOWS_FORGED = {
    "left out": lambda header: header.update(windows=[]),
    "of another time": lambda header: header["windows"][0].update(created_at=["2030-01-01 00:00:00"] * 2),
    "of another user": lambda header: header["windows"][0].update(user_id=OTHER),
    "of another batch": lambda header: header["windows"][0].update(seq=2),
    "encrypted": lambda header: header["windows"][0].update(encryption=True),
    "named twice": lambda header: header["windows"].append({**header["windows"][0], "seq": 2}),
}


@pytest.mark.parametrize("how", WINDOWS_FORGED)
def test_a_window_that_the_header_does_not_name_escapes_no_count(program, sandbox, windowed, how):
    forge(windowed, WINDOWS_FORGED[how])
    refused(program("run", windowed, *FAST), sandbox)


RULES_FORGED = [
    ("safety", "max_phones", "200000"),
    ("safety", "max_phones", 0),
    ("safety", "max_rows_per_phone", None),
    ("safety", "max_rows_per_phone", "20"),
    ("safety", "max_rows_per_phone", 0),
    ("safety", "max_rows_per_phone", True),
    ("safety", "max_rows_per_phone", 2.5),
    ("safety", "stop_when_empty", "no"),
    ("safety", "protect_file", 5),
    ("safety", "protect_file", "never.txt"),
    ("limits", "concurrency", 2.5),
    ("limits", "concurrency", True),
    ("limits", "max_attempts", 1.5),
    ("limits", "timeout", "3"),
    ("limits", "rate", 5),
]


def set_rule(where, rule, value, header):
    """Set it."""
    header[where][rule] = value


def change_of(kind, change):
    """Return what changes the records of one type, for `rechain`."""

    def changed(record):
        if record["type"] == kind:
            change(record)
        return record

    return changed


def test_a_rule_of_another_type_is_refused_before_anything_goes(program, sandbox):
    """It would be asked only when a reply is there, which is after a deletion."""
    sandbox.pool.add_phones(USER, numbers(30))
    program("plan", program.job({USER: numbers(30)}), "--out", "p.plan").expect(0)
    good = (program.folder / "p.plan").read_bytes()
    for where, rule, value in RULES_FORGED:
        (program.folder / "p.plan").write_bytes(good)
        forge(program.folder / "p.plan", partial(set_rule, where, rule, value))
        refused(program("run", "p.plan", *FAST), sandbox)


@pytest.mark.parametrize("name", ["../../out", "/tmp/out", "a/b", ".hidden", "", "a\nb"])
def test_a_name_in_a_plan_does_not_lead_the_audit_elsewhere(program, sandbox, name):
    program("plan", program.job({USER: numbers(3)}), "--out", "p.plan").expect(0)
    forge(program.folder / "p.plan", lambda header: header.update(name=name))
    refused(program("run", "p.plan", *FAST), sandbox)
    assert not (program.folder / "audit").exists()


def test_phones_taken_out_of_a_batch_make_no_window_of_it(program, sandbox):
    sandbox.pool.add_phones(USER, numbers(3), created_at=JANUARY[0])
    job = program.job({USER: {"phone": numbers(3), "created_at": list(JANUARY)}})
    program("plan", job, "--out", "p.plan").expect(0)
    good = (program.folder / "p.plan").read_bytes()

    def no_phones(header):
        header["totals"].update(read=0, unique=0)

    for change in (lambda b: b[0].pop("phone"), lambda b: b[0].update(phone=[])):
        (program.folder / "p.plan").write_bytes(good)
        forge(program.folder / "p.plan", no_phones, change)
        refused(program("run", "p.plan", *FAST), sandbox)


# ---- an audit edited by hand, its chain computed anew -------------------------------------------------


def test_an_audit_that_forgot_its_protect_file_is_not_resumed(program, sandbox):
    program.write("never.txt", numbers(500)[450])
    audit = stopped_run(program, sandbox, {USER: numbers(500)}, protect_file="never.txt")
    before = len(sandbox.deletions())

    def forget(record):
        return (
            record
            if record["type"] != "run"
            else {**record, "safety": {**record["safety"], "protect_file": None}}
        )

    rechain(audit, forget)
    program("resume", audit, *FAST).expect(2)
    assert len(sandbox.deletions()) == before


@pytest.mark.parametrize(
    "change", [{"max_rows_per_phone": 10**6}, {"max_rows_per_phone": None}, {"max_failed": "x"}]
)
def test_an_audit_with_other_safety_than_its_plan_is_neither_resumed_nor_rerun(program, sandbox, change):
    audit = stopped_run(program, sandbox, {USER: numbers(500)})
    before = len(sandbox.deletions())
    rechain(audit, lambda r: {**r, "safety": {**r["safety"], **change}} if r["type"] == "run" else r)
    for verb in ("resume", "rerun"):
        assert "internal" not in program(verb, audit, *FAST).expect(2).err
    assert len(sandbox.deletions()) == before


@pytest.mark.parametrize("key", ["run_id", "at", "job", "limits", "safety", "reason", "planned"])
def test_a_run_record_without_or_with_a_wrong_field_is_2_and_no_bug(program, sandbox, key):
    audit = stopped_run(program, sandbox, {USER: numbers(500)})
    good, before = audit.read_bytes(), len(sandbox.deletions())
    for change in (lambda r: r.pop(key), lambda r: r.update({key: [1]})):
        audit.write_bytes(good)
        rechain(audit, change_of("run", change))
        ended = program("resume", audit, *FAST).expect(2)
        assert "internal" not in ended.err
        for verb in ("report", "verify"):
            assert "internal" not in program(verb, audit).err
    assert len(sandbox.deletions()) == before


FORGED_REST = {
    "a number that was never asked": lambda r: r.update(phone=["13800000001"]),
    "another user": lambda r: r.update(user_id=OTHER),
    "no window": lambda r: r.update(created_at=None),
    "a wider window": lambda r: r.update(created_at=["1970-01-01 00:00:00", "2099-01-01 00:00:00"]),
    "encrypted": lambda r: r.update(encryption=True),
    "a whole window": lambda r: r.update(delete_window=True, phone=[], phones=0, phones_left=0),
}


def test_a_rerun_takes_from_an_audit_only_what_its_plan_asked(program, sandbox):
    phones = numbers(3)
    sandbox.pool.add_phones(USER, phones, created_at=JANUARY[0])
    sandbox.control(refused_phones=phones[:1])
    job = program.job({USER: {"phone": phones, "created_at": list(JANUARY)}})
    program("run", job, *FAST, "--audit", "a.jsonl").expect(1)
    audit = program.folder / "a.jsonl"
    good, before = audit.read_bytes(), len(sandbox.deletions())
    for how, change in FORGED_REST.items():
        audit.write_bytes(good)
        rechain(audit, change_of("batch", change))
        assert program("rerun", audit, *FAST, "--audit", "b.jsonl").code == 2, how
    assert len(sandbox.deletions()) == before


@pytest.mark.parametrize("size", [20, 899])
def test_a_plan_of_another_run_beside_an_audit_is_told_by_every_verb(program, sandbox, size):
    audit = stopped_run(program, sandbox, {USER: numbers(900)})
    beside = program.folder / "a.jsonl.plan"
    beside.unlink()
    program("plan", program.job({USER: numbers(size)}, name="other"), "--out", beside).expect(0)
    before = len(sandbox.deletions())
    for verb, code in (("report", 2), ("resume", 2), ("verify", 1)):
        ended = program(verb, audit, *(FAST if verb == "resume" else ())).expect(code)
        assert "not the plan" in ended.err + ended.out
    assert len(sandbox.deletions()) == before


def test_an_altered_plan_beside_an_audit_is_damage(program, sandbox):
    audit = stopped_run(program, sandbox, {USER: numbers(500)})
    beside = program.folder / "a.jsonl.plan"
    beside.write_bytes(beside.read_bytes().replace(b"13900000007", b"13800000007"))
    assert "plan" in program("verify", audit).expect(1).out


def test_a_summary_of_an_earlier_session_is_not_passed_off_as_the_end(program, sandbox):
    """Two sessions: one stopped with a summary; the next ended everything and was killed before its own."""
    audit = stopped_run(program, sandbox, {USER: numbers(500)})
    program("resume", audit, *FAST).expect(0)
    audit.write_bytes(b"".join(audit.read_bytes().splitlines(keepends=True)[:-1]))
    shown = program("resume", audit, "--json").expect(0).record
    assert shown["batches"]["deleted"] == shown["batches"]["planned"] == 5
    assert shown["status"] == "complete"
