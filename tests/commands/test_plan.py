"""`plan` and plans: numbers without a connection, a file that is applied exactly or not at all."""

import json
import re
from itertools import pairwise

from tests.support.evidence import check_evidence, of_type, read_audit, read_lines
from tests.support.program import OTHER, USER, Listener, numbers

PHONES = numbers(250)
WATCH = """
import sys

def note(event, args):
    if event.startswith("socket.") and event not in ("socket.__new__",):
        with open({log!r}, "a") as log:
            log.write(event + "\\n")

sys.addaudithook(note)
"""


def test_plan_opens_no_connection_and_needs_no_token(program):
    watch = program.write("watch/sitecustomize.py", WATCH.format(log=str(program.folder / "sockets")))
    path = f"{watch.parent}:{program.env['PYTHONPATH']}"
    with Listener() as listener:
        env = {"BULK_DELETE_BASE_URL": listener.url, "BULK_DELETE_TOKEN": None, "PYTHONPATH": path}
        job = program.job({USER: PHONES})
        program("plan", job, "--out", "p.plan", env=env).expect(0)
        program("run", job, "--dry-run", env=env).expect(0)
        assert listener.calls == []
    assert not (program.folder / "sockets").exists()
    program("check", env={"PYTHONPATH": path}).expect(0)
    assert (program.folder / "sockets").exists(), "the watch does not see"


def test_plan_shows_the_totals(program):
    job = program.job(
        {USER: [*PHONES, PHONES[0]], OTHER: ["13012121212", "garbage"]}, safety={"max_invalid": "10%"}
    )
    out = re.sub(r" +", " ", program("plan", job).expect(0).out)
    assert "values read 253" in out
    assert "to be deleted 251" in out
    assert "duplicate 1" in out
    assert "rejected 1" in out
    assert "4 requests for 2 users" in out


def test_plan_json_is_one_object(program):
    record = program("plan", program.job({USER: PHONES}), "--json").expect(0).record
    assert record["totals"]["batches"] == 3
    assert record["totals"]["unique"] == 250


def test_plan_json_says_of_every_list_which_column_was_read_and_how_it_was_found(program):
    (program.folder / "named.csv").write_text(f"name,手机号,备用\nx,{PHONES[0]},{PHONES[1]}\n", "utf-8")
    (program.folder / "bare.txt").write_text(f"{PHONES[2]}\n", "utf-8")
    record = program("plan", "named.csv", "bare.txt", "--user-id", USER, "--json").expect(0).record
    read = [source["column"] for source in record["sources"]]
    assert read[0] == {"column": 2, "header": "手机号", "how": "header", "passed_over": ["备用"]}
    assert (read[1]["column"], read[1]["how"]) == (1, "only")


def test_the_plan_is_for_the_owner_alone_and_never_written_over(program):
    job = program.job({USER: PHONES})
    program("plan", job, "--out", "p.plan").expect(0)
    before = (program.folder / "p.plan").read_bytes()
    assert (program.folder / "p.plan").stat().st_mode & 0o777 == 0o600
    program("plan", program.job({OTHER: PHONES}, name="other"), "--out", "p.plan").expect(2)
    assert (program.folder / "p.plan").read_bytes() == before


def test_the_same_input_gives_the_same_plan_but_for_its_time(program):
    job = program.job({USER: PHONES[::-1], OTHER: PHONES})
    for name in ("one.plan", "two.plan"):
        program("plan", job, "--out", name).expect(0)
    told = re.compile(rb',"at":"[^"]+","digest":"[0-9a-f]{64}"}\n')
    one, two = (told.split((program.folder / f"{name}.plan").read_bytes()) for name in ("one", "two"))
    assert one == two
    assert len(one) == 2


def test_run_of_a_plan_applies_exactly_that_and_copies_it_byte_for_byte(program, sandbox):
    sandbox.pool.add_phones(USER, [*PHONES, "13012121212"])
    job = program.job({USER: PHONES})
    program("plan", job, "--out", "p.plan").expect(0)
    program.job({USER: ["13012121212"]})
    program("run", "p.plan", "--yes", "--audit", "a.jsonl").expect(0)
    assert sandbox.left() == ["13012121212"]
    assert (program.folder / "a.jsonl.plan").read_bytes() == (program.folder / "p.plan").read_bytes()
    check_evidence(program.folder / "a.jsonl", sandbox)


def test_a_plan_takes_its_limits_along_and_flags_go_over_them(program):
    program("plan", program.job({USER: PHONES}, limits={"rate": "33/s"}), "--out", "p.plan").expect(0)
    program("run", "p.plan", "--yes", "--audit", "a.jsonl").expect(0)
    program("run", "p.plan", "--yes", "--audit", "b.jsonl", "--rate", "44/s").expect(0)
    rates = [read_audit(program.folder / f"{n}.jsonl")[0]["limits"]["rate"] for n in "ab"]
    assert rates == ["33/s", "44/s"]


def flip_digit(data):
    at = data.rindex(b"139")
    return data[: at + 4] + (b"1" if data[at + 4 : at + 5] == b"0" else b"0") + data[at + 5 :]


TAMPER = {
    "one digit of a number": flip_digit,
    "a batch taken out": lambda data: b"".join(data.splitlines(keepends=True)[:-1]),
    "a batch put in": lambda data: data + b'{"seq":4,"user_id":"x","phone":["13012121212"]}\n',
    "a batch twice": lambda data: data + data.splitlines(keepends=True)[-1],
    "the header's name": lambda data: data.replace(b'"name":"job"', b'"name":"jab"'),
    "a torn end": lambda data: data[:-20],
    "an empty file": lambda _: b"",
    "a header alone": lambda data: data.splitlines(keepends=True)[0],
    "a blank line more": lambda data: data + b"\n",
    "Windows line ends": lambda data: data.replace(b"\n", b"\r\n"),
}


def test_an_altered_plan_is_refused_and_nothing_is_sent(program, sandbox):
    program("plan", program.job({USER: PHONES}), "--out", "p.plan").expect(0)
    data = (program.folder / "p.plan").read_bytes()
    for n, change in enumerate(TAMPER.values()):
        assert change(data) != data
        (program.folder / f"{n}.plan").write_bytes(change(data))
    cases = {how: ("run", f"{n}.plan", "--yes") for n, how in enumerate(TAMPER)}
    for how, ended in program.together(cases):
        assert ended.code == 2, f"{how}: {ended}"
        ended.expect(2)
    assert sandbox.requests() == 0
    assert program.audits() == []


def test_probe_connects_asks_and_deletes_nothing(program, sandbox):
    sandbox.pool.add_phones(USER, PHONES, "2024-07-26 12:00:00")
    window = {
        "delete_window": True,
        "created_at": ["2024-07-26 00:00:00", "2024-07-27 00:00:00"],
        "max_rows": 1000,
    }
    ended = program("plan", program.job({USER: window}), "--probe").expect(0)
    assert "250" in ended.out
    calls = {entry["call"] for entry in sandbox.ledger()}
    assert "get_customer" in calls
    assert "del_customer" not in calls
    assert len(sandbox.left()) == 250


def test_windows_come_last_in_a_plan_whatever_their_place_in_the_job(program):
    window = {
        "delete_window": True,
        "created_at": ["2024-07-01 00:00:00", "2024-07-20 23:59:59"],
        "max_rows": 9,
    }
    job = program.job({OTHER: {**window, "slice": "7d"}, USER: PHONES})
    program("plan", job, "--out", "p.plan").expect(0)
    header, *batches = read_lines(program.folder / "p.plan")
    assert [bool(batch.get("delete_window")) for batch in batches] == [False] * 3 + [True] * 3
    assert header["totals"]["windows"] == 3
    edges = [batch["created_at"] for batch in batches[3:]]
    assert edges[0][0] == "2024-07-01 00:00:00"
    assert edges[-1][1] == "2024-07-20 23:59:59"
    assert all(before[1] < after[0] for before, after in pairwise(edges))
    assert all("phone" not in batch for batch in batches[3:])


def test_rejects_are_written_masked(program):
    job = program.job({USER: [*PHONES, "13912345", "not a phone"]}, safety={"max_invalid": "10%"})
    program("plan", job, "--rejects", "r.jsonl").expect(0)
    text = (program.folder / "r.jsonl").read_text()
    assert len(text.splitlines()) == 2
    assert "13912345" not in text
    assert all({"source", "reason", "value"} <= json.loads(line).keys() for line in text.splitlines())


def test_a_relative_window_is_computed_once_and_shown(program, sandbox):
    window = {
        "delete_window": True,
        "created_at": {"from": "2024-01-01 00:00:00", "older_than": "30d"},
        "max_rows": 9,
    }
    ended = program("plan", program.job({USER: window}), "--out", "p.plan").expect(0)
    (batch,) = read_lines(program.folder / "p.plan")[1:]
    assert batch["created_at"][1] in ended.out
    program("run", "p.plan", "--yes", "--audit", "a.jsonl").expect(0)
    (end,) = of_type(read_audit(program.folder / "a.jsonl"), "batch")
    assert end["created_at"] == batch["created_at"]
    assert end["delete_window"] is True
    assert sandbox.deletions()[0]["created_at"] == batch["created_at"]


def test_an_audit_is_no_job_and_what_to_type_with_it_is_said(program, sandbox):
    sandbox.pool.add_phones(USER, PHONES)
    program("run", program.job({USER: PHONES}), "--yes", "--audit", "a.jsonl").expect(0)
    for verb, *more in (("run", "--yes"), ("plan",), ("plan", "--user-id", USER)):
        told = program(verb, "a.jsonl", *more, "--json").expect(2).record
        assert told["message"] == "a.jsonl is the audit of a run, and no job"
        assert " resume a.jsonl goes on with it" in told["hint"]
        assert " report a.jsonl shows it" in told["hint"]
