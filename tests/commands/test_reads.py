"""`report`, `verify`, `schema`, help: what only reads; no connection, no token, no change."""

import json
import re

import pytest

from tests.support.evidence import of_type, read_audit, rechain
from tests.support.program import USER, Listener, numbers

PHONES = numbers(250)


@pytest.fixture
def audit(program, sandbox):
    """An audit of three batches, the second of which ended unknown."""
    sandbox.pool.add_phones(USER, PHONES)
    sandbox.script(None, "error", error_code=7431)
    job = program.job({USER: PHONES})
    program("run", job, "--yes", "--concurrency", "1", "--audit", "a.jsonl", "--reason", "opt-out").expect(1)
    return program.folder / "a.jsonl"


@pytest.fixture
def two_sessions(program, sandbox):
    sandbox.pool.add_phones(USER, PHONES)
    sandbox.control(token_expires_after=1)
    program("run", program.job({USER: PHONES}), "--yes", "--audit", "t.jsonl").expect(3)
    sandbox.control(token_expires_after=None)
    path = program.folder / "t.jsonl"
    head = read_audit(path)[-1]["chain"]
    program("resume", path).expect(0)
    return path, head


def test_report_shows_totals_causes_and_the_vendors_words(program, audit):
    out = re.sub(r" +", " ", program("report", audit).expect(0).out)
    assert "deleted 2 150" in out
    assert "unknown 1 100" in out
    assert "bad_reply" in out
    assert "系统繁忙" in out
    assert not any(phone in out for phone in PHONES)


def test_report_needs_no_token_and_opens_no_connection(program, audit):
    with Listener() as listener:
        env = {"BULK_DELETE_TOKEN": None, "BULK_DELETE_BASE_URL": listener.url}
        program("report", audit, env=env).expect(0)
        program("verify", audit, env=env).expect(0)
        assert listener.calls == []


def test_report_json_is_one_object_with_a_list_of_items(program, audit, two_sessions):
    record = program("report", audit, "--json").expect(0).record
    text = json.dumps(record)
    assert not any(phone in text for phone in PHONES)
    assert [item["batches"]["unknown"] for item in record["items"]] == [1]
    both = program("report", audit, two_sessions[0], "--json").expect(0).record
    assert [item["audit"] for item in both["items"]] == [str(audit), str(two_sessions[0])]


def test_report_html_is_one_page_that_needs_nothing_from_elsewhere(program, audit):
    program("report", audit, "--html", "r.html").expect(0)
    page = (program.folder / "r.html").read_text(encoding="utf-8")
    assert page.lstrip().lower().startswith("<!doctype html>")
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", page)
    assert "<script" not in page
    assert not any(phone in page for phone in PHONES)


def test_report_html_writes_over_nothing(program, audit):
    file = program.write("r.html", "mine")
    program("report", audit, "--html", file).expect(2)
    assert file.read_text() == "mine"


def test_report_of_several_audits(program, audit, two_sessions):
    out = program("report", audit, two_sessions[0]).expect(0).out
    assert "a.jsonl" in out
    assert "t.jsonl" in out


def test_report_changes_nothing(program, audit):
    before = audit.read_bytes()
    program("report", audit).expect(0)
    program("verify", audit)
    assert audit.read_bytes() == before


def test_report_of_what_is_no_audit_is_2(program):
    program.write("x.jsonl", "hello\n")
    program("report", "x.jsonl").expect(2)
    program("report", "nowhere.jsonl").expect(2)


def test_a_plan_that_is_given_for_an_audit_is_told_as_that(program, audit):
    for verb in (("report",), ("resume", "--yes"), ("rerun", "--yes")):
        told = program(verb[0], "a.jsonl.plan", *verb[1:]).expect(2).err
        assert "a.jsonl.plan is no audit: it is a plan" in told, verb


def test_verify_of_a_whole_audit_is_0(program, audit, two_sessions):
    program("verify", audit).expect(0)
    program("verify", two_sessions[0]).expect(0)
    (item,) = program("verify", audit, "--json").expect(0).record["items"]
    assert (item["kind"], item["state"], item["head"]) == ("audit", "whole", read_audit(audit)[-1]["chain"])


def test_verify_of_a_plan_says_what_it_is_and_whether_it_is_whole(program, audit):
    plan = program.folder / "a.jsonl.plan"
    out = program("verify", plan).expect(0).out
    assert out == f"{plan}: whole: a plan, as it was written: it deletes 250 numbers, of 1 user\n"
    assert "damaged" not in out
    (item,) = program("verify", plan, "--json").expect(0).record["items"]
    assert (item["kind"], item["state"], item["records"], item["job"]) == ("plan", "whole", 3, "job")
    assert item["next"].endswith(f" verify {audit}")
    plan.write_bytes(plan.read_bytes().replace(PHONES[0].encode(), PHONES[0].encode()[::-1]))
    out = program("verify", plan).expect(1).out
    assert "damaged: a plan: " in out


def test_verify_of_a_plan_that_stands_by_itself_names_no_audit(program):
    program("plan", program.job({USER: PHONES}), "--out", "p.plan").expect(0)
    (item,) = program("verify", "p.plan", "--json").expect(0).record["items"]
    assert (item["audit"], item["next"]) == (None, None)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "hello\n",
        '{"type":"header"}\n',
        '{"type":"run","id":7}\n{"type":"end","id":7}\n',
        "PK\x03\x04",
        '{"user_id":"u","phone":["13912345678"]}\n',
    ],
)
def test_verify_of_somebody_elses_file_is_no_audit_and_never_damaged(program, content):
    program.write("x", content)
    ended = program("verify", "x").expect(2)
    assert "no audit" in ended.err
    assert "damaged" not in ended.out + ended.err


DAMAGE = {
    "a number changed": lambda lines: [line.replace(b'"count":100', b'"count":101') for line in lines],
    "a line taken out": lambda lines: lines[:2] + lines[3:],
    "the first line taken out": lambda lines: lines[1:],
    "two lines swapped": lambda lines: [lines[0], lines[2], lines[1], *lines[3:]],
    "a line twice": lambda lines: [*lines[:3], lines[2], *lines[3:]],
    "a space more": lambda lines: [line.replace(b'"seq":1', b'"seq": 1') for line in lines],
    "a blank line": lambda lines: [lines[0], b"\n", *lines[1:]],
    "something after the chain": lambda lines: [*lines[:-1], lines[-1].replace(b'"}\n', b'","x":1}\n')],
    "line ends of another system": lambda lines: [line.replace(b"\n", b"\r\n") for line in lines],
    "garbage in the middle": lambda lines: [lines[0], b"\xff\x00\n", *lines[1:]],
}


def test_verify_of_a_damaged_audit_is_1(program, audit):
    lines = audit.read_bytes().splitlines(keepends=True)
    for n, damage in enumerate(DAMAGE.values()):
        assert damage(lines) != lines
        (program.folder / f"{n}.jsonl").write_bytes(b"".join(damage(lines)))
    for how, ended in program.together({how: ("verify", f"{n}.jsonl") for n, how in enumerate(DAMAGE)}):
        assert ended.code == 1, f"{how}: {ended}"
        ended.expect(1)
        assert not any(phone in ended.out + ended.err for phone in PHONES)


def test_verify_holds_the_equation_against_one_who_forged_the_chain(program, audit):
    def forge(record):
        if record["type"] == "summary":
            record["phones"]["deleted"] += 1
        return record

    rechain(audit, forge)
    ended = program("verify", audit, "--json").expect(1)
    (item,) = json.loads(ended.out)["items"]
    assert (item["state"], item["line"]) == ("damaged", len(audit.read_bytes().splitlines()))


def test_verify_of_an_audit_cut_after_a_whole_line_is_3(program, audit):
    lines = audit.read_bytes().splitlines(keepends=True)
    for keep in range(1, len(lines)):
        if keep in (1, 2, len(lines) - 1):
            audit.write_bytes(b"".join(lines[:keep]))
            program("verify", audit).expect(3)


def test_verify_of_a_torn_audit_is_3(program, audit):
    audit.write_bytes(audit.read_bytes()[:-30])
    program("verify", audit).expect(3)


def test_only_a_head_kept_elsewhere_shows_a_cut_at_the_end_of_a_session(program, two_sessions):
    path, first_head = two_sessions
    head = read_audit(path)[-1]["chain"]
    assert head in program("verify", path).expect(0).out
    program("verify", path, "--head", head).expect(0)
    program("verify", path, "--head", first_head).expect(0)
    lines = path.read_bytes().splitlines(keepends=True)
    second = next(n for n, line in enumerate(lines) if n and line.startswith(b'{"type":"run"'))
    path.write_bytes(b"".join(lines[:second]))
    program("verify", path).expect(0)
    assert program("verify", path, "--head", head).code == 1
    program("verify", path, "--head", first_head).expect(0)


def test_verify_of_several_audits_tells_the_worst(program, audit, two_sessions):
    audit.write_bytes(audit.read_bytes().replace(b'"count":100', b'"count":101'))
    program("verify", two_sessions[0], audit).expect(1)


def test_verify_of_several_files_tells_of_each_although_one_is_strange(program, audit, two_sessions):
    program.write("x", "hello\n")
    shown = program("verify", "x", audit, two_sessions[0], "--json").expect(2).record
    assert [item["state"] for item in shown["items"]] == ["whole", "whole"]
    assert "x is no audit" in shown["message"]
    said = program("verify", audit, "x").expect(2).out
    assert "a.jsonl: whole" in said
    assert "x is no audit" in said
    audit.write_bytes(audit.read_bytes().replace(b'"count":100', b'"count":101'))
    program("verify", "x", audit).expect(1)


def test_schema_is_json_schema_and_names_every_key(program):
    schema = json.loads(program("schema").expect(0).out)
    text = json.dumps(schema)
    assert "$schema" in schema
    keys = (
        "name",
        "limits",
        "safety",
        "phone_rule",
        "timezone",
        "users",
        "tables",
        "max_rows",
        "delete_window",
    )
    assert all(f'"{key}"' in text for key in keys)
    assert program("schema", "job").expect(0).out == program("schema").expect(0).out


def test_schema_of_the_audit_knows_every_type(program, audit):
    schema = json.loads(program("schema", "audit").expect(0).out)
    text = json.dumps(schema)
    kinds = {"run", "sending", "open", "batch", "pace", "rejected", "summary"}
    assert all(f'"{kind}"' in text for kind in kinds)
    assert {record["type"] for record in read_audit(audit)} <= kinds
    assert len(of_type(read_audit(audit), "batch")) == 3


VERBS = ("run", "plan", "resume", "rerun", "report", "verify", "check", "sandbox", "demo", "schema")


def test_every_verb_has_help_on_standard_output(program):
    for verb, ended in program.together({verb: (verb, "--help") for verb in VERBS}):
        ended.expect(0)
        assert ended.err == ""
        assert f"{verb} [OPTIONS]" in ended.out


def test_an_unknown_verb_is_2(program):
    program("purge").expect(2)
