"""What a hostile reader tried: jobs, evidence, replies, environments that must not widen it or make it lie.

Every case runs the real program. RunFiles is forged here as somebody with an editor and a hash function would
do it: the digest and the chain fit, and what they cover does not.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.support.evidence import check_evidence, of_type, read_audit, read_lines, rechain
from tests.support.program import OTHER, PATIENCE_S, TOKEN, USER, numbers, seeded

JANUARY = ("2024-01-01 00:00:00", "2024-01-31 23:59:59")
FAST = ("--yes", "--rate", "unlimited")


def whole(rows, window=JANUARY):
    """An entry that deletes a window."""
    return {"delete_window": True, "created_at": list(window), "max_rows": rows}


def forge(plan, change_header=None, change_batches=None):
    """Edit a plan and compute its digest anew."""
    header, *batches = read_lines(plan)
    header.pop("digest")
    if change_header is not None:
        change_header(header)
    if change_batches is not None:
        change_batches(batches)
    body = b"".join(compact(batch) + b"\n" for batch in batches)
    head = compact(header)[:-1]
    digest = hashlib.sha256(head + body).hexdigest()
    plan.write_bytes(head + b',"digest":"' + digest.encode() + b'"}\n' + body)


def compact(record):
    """JSON as the program writes it."""
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()


def refused(ended, sandbox, *words):
    """Nothing was sent, and it was said why, in words."""
    ended.expect(2)
    assert "internal" not in ended.err
    for word in words:
        assert word in ended.err, ended.err
    assert sandbox.deletions() == []


def stopped_run(program, sandbox, users, *args, **safety):
    """A run that a refused token stopped after two batches."""
    for user, phones in users.items():
        sandbox.pool.add_phones(user, phones)
    sandbox.control(token_expires_after=2)
    job = program.job(users, **({"safety": safety} if safety else {}))
    program("run", job, *FAST, "--concurrency", "1", "--audit", "a.jsonl", *args).expect(3)
    sandbox.control(token_expires_after=None)
    return program.folder / "a.jsonl"


# ---- jobs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["json", "yaml"])
def test_entries_in_one_line_each_keep_their_own_max_rows(program, sandbox, suffix):
    """A place is no name: the large allowance of the one must not cover the other."""
    sandbox.pool.add_phones("small", numbers(30), created_at=JANUARY[0])
    entries = [{"user_id": user, **whole(rows)} for user, rows in (("small", 5), ("large", 5000))]
    job = program.write(f"job.{suffix}", json.dumps({"users": entries}))
    refused(program("run", job, *FAST), sandbox, "max_rows", "30 rows, 5 are allowed")


def test_entries_of_several_audits_in_the_same_place_each_keep_their_own_max_rows(program, sandbox):
    audits = []
    sandbox.control(faults={"shares": {"500": 1.0}})
    for name, rows in (("small", 5), ("large", 5000)):
        job = program.job({name: whole(rows)})
        audits.append(program.folder / f"{name}.jsonl")
        program("run", job, *FAST, "--max-attempts", "1", "--audit", audits[-1]).expect(1)
    sandbox.control(faults={"shares": {}})
    sandbox.pool.add_phones("small", numbers(30), created_at=JANUARY[0])
    before = len(sandbox.deletions())
    ended = program("rerun", *audits, *FAST).expect(2)
    assert "max_rows" in ended.err
    assert len(sandbox.deletions()) == before


def test_the_same_window_of_two_entries_is_held_against_the_smaller_allowance(program, sandbox):
    sandbox.pool.add_phones("u", numbers(30), created_at=JANUARY[0])
    entries = [{"user_id": "u", **whole(rows)} for rows in (5000, 5)]
    job = program.write("job.json", json.dumps({"users": entries}))
    refused(program("run", job, *FAST), sandbox, "max_rows")


def test_a_plan_takes_no_user_from_the_command_line(program, sandbox):
    program("plan", program.job({USER: numbers(3)}), "--out", "p.plan").expect(0)
    refused(program("run", "p.plan", "--user-id", OTHER, *FAST), sandbox, "--user-id")


@pytest.mark.parametrize("prefix", [b"", b"\n", b"\xef\xbb\xbf"], ids=["as it is", "blank line", "BOM"])
def test_an_audit_or_a_plan_is_no_list_of_numbers(program, sandbox, prefix):
    """Their numbers are of other users than the one on the command line."""
    program("plan", program.job({OTHER: numbers(30)}), "--out", "p.plan").expect(0)
    twisted = program.folder / "twisted.jsonl"
    twisted.write_bytes(prefix + (program.folder / "p.plan").read_bytes())
    refused(program("run", twisted, "--user-id", USER, *FAST), sandbox)


def test_a_list_whose_lines_are_all_windows_deletes_none(program, sandbox):
    line = {"user_id": USER, "phone": [], "created_at": list(JANUARY)}
    sandbox.pool.add_phones(USER, numbers(5), created_at=JANUARY[0])
    job = program.write("job.jsonl", "\n".join(json.dumps(line) for _ in range(3)))
    program("run", job, *FAST).expect(0)
    assert sandbox.requests() == 0


def test_values_that_are_all_protected_leave_no_bare_window(program, sandbox):
    sandbox.pool.add_phones(USER, numbers(5), created_at=JANUARY[0])
    program.write("never.txt", "\n".join(numbers(5)))
    entry = {"phone": numbers(5), "created_at": list(JANUARY)}
    job = program.job({USER: entry}, safety={"protect_file": "never.txt"})
    program("run", job, *FAST).expect(0)
    assert sandbox.requests() == 0


def test_a_batch_protected_whole_since_planning_is_not_sent_as_a_window(program, sandbox):
    sandbox.pool.add_phones(USER, numbers(5), created_at=JANUARY[0])
    never = program.write("never.txt", "13800000000")
    entry = {"phone": numbers(5), "created_at": list(JANUARY)}
    job = program.job({USER: entry}, safety={"protect_file": "never.txt"})
    program("plan", job, "--out", "p.plan").expect(0)
    never.write_text("\n".join(numbers(5)))
    program("run", "p.plan", *FAST, "--audit", "a.jsonl").expect(1)
    assert sandbox.deletions() == []
    (end,) = of_type(read_audit(program.folder / "a.jsonl"), "batch")
    assert (end["status"], end["error"], end["attempts"]) == ("not_sent", "protected", 0)


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
    assert shown["status"] != "stopped"


# ---- replies ------------------------------------------------------------------------------------------


class Vendor:
    """A vendor of one's own making: `listing` and `deletion` give status, headers and body by number."""

    def __init__(self, listing, deletion):
        self.calls = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self, give):
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                outer.calls.append((self.command, self.path))
                nth = sum(command == self.command for command, _ in outer.calls)
                status, headers, body = give(nth)
                self.send_response_only(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):
                self.answer(listing)

            def do_DELETE(self):
                self.answer(deletion)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def deletions(self):
        return [path for command, path in self.calls if command == "DELETE"]


def confirmed(count=1):
    return (
        200,
        {},
        json.dumps({"code": 200, "status": "success", "message": "", "data": {"count": count}}).encode(),
    )


def listed(total):
    return (
        200,
        {},
        json.dumps({"code": 200, "status": "success", "meta": {"total": total}, "data": []}).encode(),
    )


def test_the_listing_obeys_retry_after_too(aim):
    busy = (429, {"Retry-After": "2"}, b"")
    times = []

    def listing(nth):
        times.append(os.times().elapsed)
        return busy if nth == 1 else listed(3)

    with Vendor(listing, lambda _: confirmed(3)) as vendor:
        program = aim(vendor.url)
        program("run", program.job({USER: whole(5)}), *FAST, "--audit", "a.jsonl").expect(0)
    assert len(times) == 2
    assert times[1] - times[0] >= 1.9  # a floor that no slow machine breaks


BAD_TOTALS = [b'"5"', b"-1", b"5.0", b"true", b"null", b"1e400", b"[5]", b"99999999999999999999"]


def test_a_total_that_is_no_count_is_no_count(aim):
    for total in BAD_TOTALS:
        body = b'{"code":200,"meta":{"total":%b},"data":[]}' % total
        with Vendor(lambda _: (200, {}, body), lambda _: confirmed()) as vendor:  # noqa: B023 - used at once
            program = aim(vendor.url)
            job = program.job({USER: whole(5)})
            program("run", job, *FAST, "--max-attempts", "1").expect(2)
            assert vendor.deletions() == [], total


def test_a_window_is_listed_again_when_it_is_resumed_and_what_grew_is_refused(aim):
    seen = []

    def listing(_):
        return listed(3 if len(seen) < 1 else 10**6)

    def deletion(_):
        seen.append(1)
        return 401, {}, b"{}"

    with Vendor(listing, deletion) as vendor:
        program = aim(vendor.url)
        program("run", program.job({USER: whole(5)}), *FAST, "--audit", "a.jsonl").expect(3)
        assert "max_rows" in program("resume", "a.jsonl", *FAST).expect(2).err
        assert len(vendor.deletions()) == 1


def test_a_page_that_steers_terminals_or_browsers_reaches_neither(aim):
    evil = "\x1b]0;owned\x07\x9b31m<script>alert(1)</script>\u202e\u2028"
    body = json.dumps({"code": 7777, "status": "error", "message": evil, "data": []}).encode()
    with Vendor(lambda _: listed(0), lambda _: (200, {}, body)) as vendor:
        program = aim(vendor.url)
        said = program(
            "run", program.job({USER: numbers(1)}), *FAST, "--verbose", "--audit", "a.jsonl"
        ).expect(1)
        report = program("report", "a.jsonl", "--html", "r.html").expect(0)
    page = (program.folder / "r.html").read_text()
    for text in (said.out, said.err, report.out, page):
        assert not set(text) & set("\x1b\x07\x9b\u202e\u2028")
    assert "<script>alert" not in page


def test_encrypted_values_that_the_vendor_echoes_are_masked(program, sandbox):
    values = [f"AbCdEfGh+{n:02}==Zz" for n in range(4)]
    sandbox.control(refused_phones=values[:2])
    job = program.job({USER: {"phone": values, "encryption": True}})
    ended = program("run", job, *FAST, "--verbose", "--audit", "a.jsonl").expect(1)
    told = program("report", "a.jsonl", "--html", "r.html").expect(0)
    page = (program.folder / "r.html").read_text()
    assert "batch not confirmed" in ended.err
    for text in (ended.out, ended.err, told.out, page):
        assert not any(value in text for value in values)


def test_one_refused_batch_among_empty_ones_does_not_hide_an_empty_account(program, sandbox):
    """The good half of a refused batch deleted nothing either."""
    phones = numbers(2)
    sandbox.control(refused_phones=phones[:1])
    users = {"mixed": phones, **{f"u{n}": numbers(1, 100 + n) for n in range(30)}}
    job = program.job(users, safety={"stop_when_empty": True, "max_failed": "50%"})
    args = (*FAST, "--concurrency", "1", "--json")
    assert "stop_when_empty" in program("run", job, *args).expect(3).record["why"]


def test_a_cap_is_not_hidden_by_a_signal_that_came_first(aim):
    """The request on the wire deletes too much while the run drains: the next session must ask."""
    with seeded({USER: numbers(300)}, rows=30, latency_s=1.0) as sandbox:
        program = aim(sandbox.url)
        started = program.start("run", program.job({USER: numbers(300)}), *FAST, "--audit", "a.jsonl")
        started.until(lambda: sandbox.stats()["in_flight"], "a request")
        started.signal(signal.SIGINT)
        ended = started.wait().expect(3)
        assert "max_rows_per_phone" in read_audit(program.folder / "a.jsonl")[-1]["why"]
        sent = len(sandbox.deletions())
        program("resume", "a.jsonl").expect(2)
        assert len(sandbox.deletions()) == sent == 1
        assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)]
)
def test_a_second_signal_does_not_wait_for_a_listing(aim, number, code):
    over = threading.Event()

    def listing(_):
        over.wait(PATIENCE_S)
        return 200, {"Content-Length": "0"}, b""

    with Vendor(listing, lambda _: confirmed()) as vendor:
        program = aim(vendor.url)
        started = program.start(
            "run", program.job({USER: whole(5)}), *FAST, "--timeout", "3000", "--audit", "a.jsonl"
        )
        started.until(lambda: vendor.calls, "a listing")
        started.signal(number)
        started.until(lambda: "again to leave now" in started.err(), "the first signal")
        started.signal(number)
        ended = started.wait().expect(code)
        over.set()
        assert "nothing was sent" in ended.err
        assert vendor.deletions() == []
        assert list(program.folder.glob("a.jsonl*")) == []


@pytest.mark.parametrize("option", ["--reason", "--operator"])
def test_words_too_long_for_a_record_are_refused(program, sandbox, option):
    """The audit would hold a line that its own readers refuse."""
    refused(program("run", program.job({USER: numbers(3)}), *FAST, option, "\x01" * 100_000), sandbox)


# ---- environments -------------------------------------------------------------------------------------


@pytest.fixture
def small(program):
    """A disk of 16 KiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    folder = program.folder.parent / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "none", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no tmpfs can be mounted")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder):
    """Leave no byte free."""
    with (folder / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 512)
        except OSError:
            pass


def test_a_full_disk_for_the_audit_sends_nothing_and_is_2(program, sandbox, small):
    fill(small)
    refused(program("run", program.job({USER: numbers(3)}), *FAST, "--audit", small / "a.jsonl"), sandbox)


def test_a_full_disk_for_locks_takes_nothing_from_a_run(program, sandbox, small):
    """What the lock file says is for eyes; the lock is the kernel's."""
    first = program("run", program.job({USER: numbers(3)}), *FAST, env={"XDG_STATE_HOME": str(small)}).expect(
        0
    )
    fill(small)
    env = {"XDG_STATE_HOME": str(small)}
    again = program("run", program.job({USER: numbers(3)}, name="b"), *FAST, env=env).expect(0)
    assert "internal" not in first.err + again.err


def test_a_full_disk_for_temporary_files_is_2(program, sandbox, small):
    fill(small)
    os.truncate(small / "filler", (small / "filler").stat().st_size - 4096)  # enough to begin with
    broken = [f"x{n}" for n in range(2000)]
    job = program.job({USER: [*numbers(3), *broken]}, safety={"max_invalid": "100%"})
    refused(program("run", job, *FAST, env={"TMPDIR": str(small)}), sandbox)


def test_a_disk_that_fills_up_under_the_audit_stops_the_run_and_resume_goes_on(program, sandbox, small):
    phones = {f"u{n}": numbers(1, n) for n in range(60)}
    for user, mine in phones.items():
        sandbox.pool.add_phones(user, mine)
    job = program.job(phones)
    program("run", job, *FAST, "--audit", small / "a.jsonl").expect(3)
    assert 0 < len(sandbox.deletions()) < 60
    for name in ("a.jsonl", "a.jsonl.plan"):
        shutil.copy(small / name, program.folder / name)
    program("resume", "a.jsonl", "--yes").expect(0)
    check_evidence(program.folder / "a.jsonl", sandbox)
    assert sandbox.stats()["rows_left"] == 0


def test_a_limit_on_the_size_of_files_stops_the_run_and_resume_goes_on(program, sandbox):
    phones = {f"u{n}": numbers(1, n) for n in range(60)}
    for user, mine in phones.items():
        sandbox.pool.add_phones(user, mine)
    job = program.job(phones)
    ended = program.shell(f"ulimit -f 12; exec $RUN run {job} {' '.join(FAST)} --audit a.jsonl")
    assert ended.code == 3, ended.err
    assert 0 < len(sandbox.deletions()) < 60
    program("resume", "a.jsonl", "--yes").expect(0)
    check_evidence(program.folder / "a.jsonl", sandbox)
    assert sandbox.stats()["rows_left"] == 0


def test_a_folder_that_is_gone_is_2(program, sandbox):
    job = program.job({USER: numbers(3)})
    refused(program.shell(f"mkdir gone; cd gone; rmdir ../gone; $RUN run {job} --yes"), sandbox)


def test_an_audit_folder_that_is_a_dangling_link_is_2(program, sandbox):
    (program.folder / "audit").symlink_to(program.folder / "nowhere")
    refused(program("run", program.job({USER: numbers(3)}), *FAST), sandbox)


def test_a_plan_beside_that_is_a_link_is_never_written_through(program, sandbox):
    victim = program.write("victim", "mine")
    (program.folder / "a.jsonl.plan").symlink_to(victim)
    refused(program("run", program.job({USER: numbers(3)}), *FAST, "--audit", "a.jsonl"), sandbox)
    assert victim.read_text() == "mine"


def test_an_audit_that_is_a_link_is_not_resumed(program, sandbox):
    audit = stopped_run(program, sandbox, {USER: numbers(500)})
    (program.folder / "link.jsonl").symlink_to(audit)
    (program.folder / "link.jsonl.plan").symlink_to(f"{audit}.plan")
    before = len(sandbox.deletions())
    program("resume", "link.jsonl", *FAST).expect(2)
    assert len(sandbox.deletions()) == before


@pytest.mark.parametrize(
    "odd", ["/dev/null", "/dev/zero", "/dev/full", ".", "fifo", "no-such", "/proc/self/mem"]
)
def test_report_and_verify_of_odd_files_end_and_are_no_bug(program, odd):
    os.mkfifo(program.folder / "fifo")
    for verb, codes in (("report", {2}), ("verify", {1, 2, 3})):
        ended = program(verb, odd)
        assert ended.code in codes
        assert "internal" not in ended.err


def test_two_runs_at_once_on_one_origin_send_one_after_the_other(program, sandbox):
    sandbox.control(latency_s=0.5)
    for user in (USER, OTHER):
        sandbox.pool.add_phones(user, numbers(200))
    first, second = (
        program.start(
            "run", program.job({user: numbers(200)}, name=name), *FAST, "--wait", "--audit", f"{name}.jsonl"
        )
        for user, name in ((USER, "a"), (OTHER, "b"))
    )
    for started in (first, second):
        started.wait().expect(0)
    users = [entry["user_id"] for entry in sandbox.deletions()]
    assert users in ([USER] * 2 + [OTHER] * 2, [OTHER] * 2 + [USER] * 2)


def test_the_token_and_the_numbers_are_in_no_lock_file(program, sandbox):
    sandbox.pool.add_phones(USER, numbers(3))
    program("run", program.job({USER: numbers(3)}), *FAST).expect(0)
    locks = [path for path in program.state.rglob("*") if path.is_file()]
    assert locks
    for path in locks:
        assert path.stat().st_mode & 0o777 == 0o600
        assert TOKEN not in path.read_text()
        assert "139000" not in path.read_text()
