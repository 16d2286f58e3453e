"""The plan file: whole or refused, private, never in another file's place."""

import hashlib
import os
import stat
import subprocess
import sys
from datetime import UTC, datetime

import orjson
import pytest
from msgspec.structs import replace

from runner.errors import AuditDamaged, Refused
from runner.lists.rows import ColumnRead
from runner.model import Batch, Target, phones_sha256
from runner.plan.file import copy_plan, is_plan, read_plan
from runner.plan.header import Made, PlanSource, PlanTotals, PlanWindow, Reject
from runner.plan.lines import batch_prefix
from runner.plan.write import write_plan
from runner.settings import LimitsGiven, Rate, Safety
from tests.support.plans import body_of, header_of

WINDOW = ("2024-07-26 00:00:00", "2024-07-27 23:59:59")
A = Target("user-a")
B = Target("user-b", WINDOW, encryption=True)
W = Target("user-w", WINDOW, delete_window=True)
PHONES = [f"138{n:08d}" for n in range(150)]
OPAQUE = ['a"b\\c', "数值", "z" * 512]

HEADER = header_of(
    name="夜间清理",
    made=Made("1.0.0", "2024-07-26"),
    limits=LimitsGiven(rate=Rate(2.5), concurrency=4, timeout_s=30.0),
    safety=Safety(max_phones=1000, protect_file="/lists/never.txt"),
    totals=PlanTotals(
        read=160, unique=153, duplicate=4, rejected=2, protected=1, batches=4, users=3, windows=1, blank=7
    ),
    sources=(
        PlanSource("/lists/a.csv", 160, 2, 3, 7, 1, ColumnRead(2, "手机", "header", ("电话",))),
        PlanSource("/lists/b.txt", 0, 0, 0),
    ),
    more_sources=1,
    changed=3,
    normalised={"dash": 2, "space": 1},
    rejects={"length": 2},
    first_rejects=(Reject("/lists/a.csv", 7, "length", "13****77"),),
    windows=(PlanWindow(4, "user-w", WINDOW, False, 50_000, "jobs/a.yaml:9", 1),),
    notes=("jobs/a.yaml:3: the list is empty: nothing to do for it",),
)
BODY = body_of((A, PHONES), (B, OPAQUE), (W, []))


WINDOW_SAID = orjson.loads(HEADER.to_json())["windows"][0]


@pytest.fixture
def plan(tmp_path):
    path = tmp_path / "a.plan"
    write_plan(path, HEADER, [BODY[:50], BODY[50:]])
    return path


def sealed(head: bytes, body: bytes) -> bytes:
    """A plan by somebody who knows how the digest is made; `head` ends before `,"digest"`."""
    digest = hashlib.sha256(head + body).hexdigest().encode()
    return head + b',"digest":"' + digest + b'"}\n' + body


def test_what_was_written_is_read(plan):
    read = read_plan(plan)
    assert read.header == HEADER
    assert list(read.batches()) == [
        Batch(1, A, tuple(PHONES[:100])),
        Batch(2, A, tuple(PHONES[100:])),
        Batch(3, B, tuple(OPAQUE)),
        Batch(4, W, ()),
    ]
    assert [read.phones_of(seq) for seq in (1, 2, 3, 4)] == [100, 50, 3, 0]
    raw = plan.read_bytes()
    assert read.sha256 == hashlib.sha256(raw).hexdigest()
    assert read.seal.size == len(raw)
    assert raw == sealed(HEADER.to_json()[:-1], BODY)


@pytest.mark.parametrize(
    ("phones", "ascending"),
    [(PHONES, True), (PHONES[::-1], False), (PHONES[99::-1] + PHONES[100:], False)],
    ids=["all", "none", "the last batch alone"],
)
def test_a_plan_knows_whether_its_numbers_ascend(tmp_path, phones, ascending):
    path = tmp_path / "a.plan"
    totals = PlanTotals(read=150, unique=150, batches=2, users=1)
    write_plan(path, header_of(totals=totals), [body_of((A, phones))])
    read = read_plan(path)
    assert read.ascending is ascending
    digests = [phones_sha256(batch.phones) for batch in read.batches()]
    assert digests == [phones_sha256(phones[:100]), phones_sha256(phones[100:])]


def test_lines_have_the_contracts_names_and_only_what_is_true(plan):
    lines = [orjson.loads(line) for line in plan.read_bytes().split(b"\n")[:-1]]
    header, first, _, opaque, window = lines
    assert list(header)[:3] == ["type", "v", "name"]
    assert list(header)[-1] == "digest"
    assert header["type"] == "plan"
    assert list(first) == ["seq", "user_id", "phone"]
    assert list(opaque) == ["seq", "user_id", "created_at", "encryption", "phone"]
    assert window == {"seq": 4, "user_id": "user-w", "created_at": list(WINDOW), "delete_window": True}


def test_only_the_wanted_batches_come_out(plan):
    assert [batch.seq for batch in read_plan(plan).batches(lambda seq: seq % 2 == 0)] == [2, 4]


def test_a_plan_without_batches_is_a_plan(tmp_path):
    path = tmp_path / "empty.plan"
    write_plan(path, replace(HEADER, totals=PlanTotals(), windows=()), [])
    assert list(read_plan(path).batches()) == []


def test_a_plan_is_known_by_its_first_bytes(plan, tmp_path):
    other = tmp_path / "list.txt"
    other.write_text('{"type":"run",')
    assert is_plan(plan)
    assert not any(map(is_plan, (other, tmp_path, tmp_path / "missing", tmp_path / "a\0b")))


# ---- private, whole, in nobody's place ----------------------------------------------------------------


def test_the_file_is_private_from_its_first_byte(tmp_path):
    old = os.umask(0)
    try:
        seen = []

        def body():
            seen.extend(stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir())
            yield BODY

        write_plan(tmp_path / "a.plan", HEADER, body())
    finally:
        os.umask(old)
    assert seen == [0o600]
    assert stat.S_IMODE((tmp_path / "a.plan").stat().st_mode) == 0o600


@pytest.mark.parametrize("kind", ["file", "dangling link", "folder"])
def test_a_plan_never_takes_the_place_of_something(tmp_path, kind):
    path = tmp_path / "a.plan"
    if kind == "file":
        path.write_text("mine")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Refused, match="exists already"):
        write_plan(path, HEADER, [BODY])
    assert [p.name for p in tmp_path.iterdir()] == ["a.plan"]
    assert kind != "file" or path.read_text() == "mine"


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_appears_while_the_plan_is_written_is_not_overwritten(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, "link", refuse_link)
    path = tmp_path / "a.plan"

    def body():
        path.write_text("mine")
        yield BODY

    with pytest.raises(Refused, match="exists already"):
        write_plan(path, HEADER, body())
    assert path.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [path]


def refuse_link(*_args, **_kwargs):
    raise PermissionError(1, "no links here")


def test_a_file_system_without_links_gets_its_plan(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", refuse_link)
    write_plan(tmp_path / "a.plan", HEADER, [BODY])
    assert read_plan(tmp_path / "a.plan").header == HEADER
    assert [p.name for p in tmp_path.iterdir()] == ["a.plan"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_whatever_interrupts_writing_leaves_nothing(tmp_path, error):
    def body():
        yield BODY[:10]
        raise error

    with pytest.raises(error):
        write_plan(tmp_path / "a.plan", HEADER, body())
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_refused_with_its_name(tmp_path):
    with pytest.raises(Refused, match="nowhere"):
        write_plan(tmp_path / "nowhere" / "a.plan", HEADER, [BODY])


def test_a_copy_is_the_same_bytes_and_private(plan, tmp_path):
    plan.chmod(0o644)
    copy = tmp_path / "run.jsonl.plan"
    copied = copy_plan(read_plan(plan), copy)
    assert copy.read_bytes() == plan.read_bytes()
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert list(copied.batches()) == list(read_plan(plan).batches())
    with pytest.raises(Refused, match="exists already"):
        copy_plan(read_plan(plan), copy)


def test_a_plan_that_changed_after_it_was_verified_is_not_copied(plan, tmp_path):
    verified = read_plan(plan)
    plan.write_bytes(plan.read_bytes().replace(b"138", b"139", 1))
    with pytest.raises(AuditDamaged, match="changed after it was verified"):
        copy_plan(verified, tmp_path / "b.plan")
    assert not (tmp_path / "b.plan").exists()


# ---- altered ------------------------------------------------------------------------------------------


def test_every_changed_byte_is_noticed(plan):
    raw = plan.read_bytes()
    for at in [*range(0, len(raw), 7), len(raw) - 1]:
        plan.write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
        with pytest.raises(AuditDamaged) as caught:
            read_plan(plan)
        assert caught.value.exit_code == 2


def test_every_cut_is_noticed(plan):
    raw = plan.read_bytes()
    for at in [*range(15, len(raw), 11), len(raw) - 1, raw.rindex(b"\n", 0, -1) + 1]:
        plan.write_bytes(raw[:at])
        with pytest.raises(AuditDamaged, match=r"is cut|no digest|it ends after"):
            read_plan(plan)


def test_an_altered_plan_is_found_altered_with_its_place(plan):
    raw = plan.read_bytes()
    plan.write_bytes(raw.replace(b'{"seq":3,', b'{"seq":4,'))
    with pytest.raises(AuditDamaged) as caught:
        read_plan(plan)
    assert (caught.value.line, caught.value.what) == (4, "no whole batch with the next seq")
    plan.write_bytes(raw + b'{"seq":5,"user_id":"u","phone":["1"]}\n')
    with pytest.raises(AuditDamaged):
        read_plan(plan)


def test_of_what_is_no_plan_nothing_is_found(tmp_path):
    for name, raw in {
        "a": b"",
        "b": b'{"type":"run","v":1}\n',
        "c": b"13800000000\n",
        "d": b'{"type"',
    }.items():
        (tmp_path / name).write_bytes(raw)
        assert not is_plan(tmp_path / name)
    assert not is_plan(tmp_path)
    assert not is_plan(tmp_path / "missing")


@pytest.mark.parametrize(
    "alter",
    [
        lambda lines: lines[:1] + lines[2:],
        lambda lines: [lines[0], lines[2], lines[1], *lines[3:]],
        lambda lines: [*lines, lines[-1]],
        lambda lines: [lines[0], b"", *lines[1:]],
        lambda lines: [line + b"\r" for line in lines],
    ],
    ids=["a batch less", "two exchanged", "one more", "an empty line", "carriage returns"],
)
def test_altered_lines_are_noticed(plan, alter):
    lines = plan.read_bytes().split(b"\n")[:-1]
    plan.write_bytes(b"\n".join(alter(lines)) + b"\n")
    with pytest.raises(AuditDamaged):
        read_plan(plan)


def test_the_line_that_is_wrong_is_named(plan):
    plan.write_bytes(plan.read_bytes().replace(b'{"seq":3,', b'{"seq":4,'))
    with pytest.raises(AuditDamaged, match="seq") as caught:
        read_plan(plan)
    assert caught.value.line == 4


def line(seq, target, phones):
    return b'{"seq":%d%b,"phone":%b}\n' % (seq, batch_prefix(target), orjson.dumps(phones))


GOOD = b'{"seq":1,"user_id":"u","phone":["13800000000"]}\n'


@pytest.mark.parametrize(
    "body",
    [
        line(1, A, PHONES[:101]),
        line(1, A, []),
        line(1, A, ["13800000000", "13800000000"]),
        line(1, A, ["13800000000", ""]),
        line(1, A, [13800000000]),
        b'{"seq":1,"user_id":"u","created_at":["2024-07-26 00:00:00","2024-07-27 00:00:00"]}\n',
        b'{"seq":1,"user_id":"u","created_at":["2024-07-26 00:00:00"],"phone":["1"]}\n',
        b'{"seq":1,"user_id":"u","created_at":null,"phone":["1"]}\n',
        b'{"seq":1,"user_id":"..","phone":["1"]}\n',
        b'{"seq":1,"user_id":"a/b","phone":["1"]}\n',
        b'{"seq":1,"user_id":7,"phone":["1"]}\n',
        b'{"seq":1,"phone":["1"]}\n',
        b'{"seq":1,"user_id":"u","user_id":"v","phone":["1"]}\n',
        b'{"seq":1,"user_id":"u","phone":["1"],"force":true}\n',
        b'{"seq":1,"user_id":"u","phone":["1"],"phone":["2"]}\n',
        b'{"seq":1,"user_id":"u","encryption":false,"phone":["1"]}\n',
        b'{"seq":1,"user_id":"u","delete_window":true}\n',
        b'{"seq": 1,"user_id":"u","phone":["1"]}\n',
        b'{"seq":1,"user_id":"u","phone":["1", "2"]}\n',
        b'{"seq":01,"user_id":"u","phone":["1"]}\n',
        b'{"seq":1,"user_id":"u","phone":"1"}\n',
        b'{"seq":1,"user_id":"u","phone":["\\ud800"]}\n',
        batch_prefix(W).join((b'{"seq":1', b',"phone":["1"]}\n')),
        batch_prefix(W).join((b'{"seq":1', b',"phone":[]}\n')),
        batch_prefix(W).join((b'{"seq":1', b"}\n")) + line(2, A, ["1"]),
        GOOD[:-1],
        GOOD + b"\n",
        b"[]\n",
        b'{"seq":1,' + b"x" * (2 << 20) + b"}\n",
    ],
)
def test_a_batch_that_may_not_be_is_refused_even_with_a_good_digest(tmp_path, body):
    path = tmp_path / "forged.plan"
    path.write_bytes(sealed(HEADER.to_json()[:-1], body))
    with pytest.raises(AuditDamaged) as caught:
        read_plan(path)
    assert caught.value.line >= 2, "not for its totals: for what the line says"
    assert "it ends after" not in caught.value.message, "not for how many there are, either"


def test_totals_that_are_not_those_of_the_batches_are_refused(tmp_path):
    path = tmp_path / "forged.plan"
    for totals in (
        PlanTotals(read=1, unique=1),
        PlanTotals(read=2, unique=2, batches=1),
        PlanTotals(read=1, unique=1, batches=1, windows=1),
        PlanTotals(read=1, unique=1, batches=1, users=2),
    ):
        path.write_bytes(sealed(replace(HEADER, totals=totals).to_json()[:-1], GOOD))
        with pytest.raises(AuditDamaged, match="are not those of the batches"):
            read_plan(path)


def without(*rules):
    """The safety rules of the header as they are written, but for some."""
    return {
        rule: value for rule, value in orjson.loads(HEADER.to_json())["safety"].items() if rule not in rules
    }


def header_with(**changes):
    data = orjson.loads(HEADER.to_json()) | changes
    return orjson.dumps({key: value for key, value in data.items() if value is not ...})[:-1]


def test_a_plan_of_a_version_without_max_refused_is_read_with_its_default(tmp_path):
    path = tmp_path / "old.plan"
    path.write_bytes(sealed(header_with(safety=without("max_refused")), BODY))
    assert read_plan(path).header.safety == HEADER.safety


@pytest.mark.parametrize(
    "changes",
    [
        {"v": 2},
        {"v": True},
        {"name": 7},
        {"phone_rule": "any"},
        {"made": {"version": "1"}},
        {"made": {"version": "1", "on": "today"}},
        {"made": {"version": "1", "on": "20240726"}},
        {"at": 7},
        {"at": "noon"},
        {"at": "2024-07-26"},
        {"at": "2024-07-26T13:14:15"},
        {"at": "2024-07-27T13:14:15+00:00"},
        {"name": "../etc"},
        {"totals": {"read": 1.0, "unique": 1.0}},
        {"sources": [{"source": "a", "rows": 1, "rejected": 0, "normalised": 0, "column": {"column": 1}}]},
        {"limits": {"rate": "20"}},
        {"limits": {"speed": 1}},
        {"safety": {}},
        {"safety": {"max_invalid": 1}},
        {"safety": without("max_failed")},
        {"safety": without("max_phones")},
        {"safety": {**without(), "max_refused": 0.1}},
        {"totals": {"read": 1}},
        {"totals": {"read": -1, "unique": -1}},
        {"totals": 7},
        {"notes": "none"},
        {"notes": [1]},
        {"sources": [{"source": "a"}]},
        {"windows": [{"seq": 1}]},
        {"windows": [{"seq": 0}]},
        *(
            {"windows": [WINDOW_SAID | other]}
            for other in (
                {"seq": 0},
                {"user_id": "a/b"},
                {"created_at": ["2024-07-26 00:00:00", "2024-07-27 00:00:00\n"]},
                {"created_at": ["2024-07-26 00:00:00"]},
                {"encryption": 1},
                {"max_rows": 0},
            )
        ),
        {"rejects": {"length": "2"}},
        {"surprise": 1},
    ],
)
def test_a_header_of_another_shape_is_refused(tmp_path, changes):
    path = tmp_path / "forged.plan"
    path.write_bytes(sealed(header_with(**changes), BODY))
    with pytest.raises(AuditDamaged) as caught:
        read_plan(path)
    assert caught.value.line == 1


FIRST_EDITION = (
    b'{"type":"plan","v":1,"name":"n","made":{"version":"1.0.0","on":"2024-07-26"},"limits":{"rate":"20/s"},'
    b'"safety":{"max_phones":null,"max_invalid":"1%","max_failed":"5%","max_rows_per_phone":20,'
    b'"stop_when_empty":false,"protect_file":null},"phone_rule":"mobile_cn","timezone":"Asia/Shanghai",'
    b'"sources":[{"source":"a.csv","rows":1,"rejected":0,"normalised":0}],"more_sources":0,"totals":{"read":1,'
    b'"unique":1,"duplicate":0,"rejected":0,"protected":0,"batches":1,"users":1,"windows":0},"changed":0,'
    b'"normalised":{},"rejects":{},"first_rejects":[],"windows":[],"notes":[]'
)


def test_a_plan_of_the_first_edition_is_read_and_counts_as_made_when_its_day_began(tmp_path):
    path = tmp_path / "first.plan"
    path.write_bytes(sealed(FIRST_EDITION, GOOD))
    read = read_plan(path)
    assert list(read.batches()) == [Batch(1, Target("u"), ("13800000000",))]
    assert read.header.at is None
    assert read.header.made_at == datetime(2024, 7, 26, tzinfo=UTC)
    assert (read.header.totals.blank, read.header.sources[0].column) == (0, None)
    assert read.header.safety == Safety()


def test_a_plan_says_when_it_was_made_to_the_second():
    assert HEADER.made_at == datetime(2024, 7, 26, 13, 14, 15, tzinfo=UTC)
    assert replace(HEADER, at="2024-07-27T07:14:15+18:00").made_at == HEADER.made_at


def test_a_plan_of_a_later_version_is_told_from_a_damaged_one(tmp_path):
    path = tmp_path / "later.plan"
    path.write_bytes(sealed(header_with(v=2, surprise=1), BODY))
    with pytest.raises(AuditDamaged, match="version 2 of the plan; this program reads version 1"):
        read_plan(path)


@pytest.mark.parametrize(
    "raw", [b"", b"\n", b"{}", b'{"type":"plan",', b'{"type":"plan",' + b"[" * 100_000, b"\xff\xfe" * 10]
)
def test_what_is_no_plan_is_refused(tmp_path, raw):
    path = tmp_path / "x.plan"
    path.write_bytes(raw)
    with pytest.raises(AuditDamaged):
        read_plan(path)


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "missing", tmp_path, tmp_path / "pipe"):
        with pytest.raises(Refused):
            read_plan(path)


def test_a_plan_that_changes_after_it_was_verified_yields_nothing(plan):
    read = read_plan(plan)
    raw = plan.read_bytes()
    plan.write_bytes(raw.replace(PHONES[0].encode(), b"13912345678"))
    os.utime(plan, ns=(0, 0))
    with pytest.raises(AuditDamaged, match="changed"):
        next(read.batches())


def test_totals_are_a_partition():
    with pytest.raises(ValueError, match="add up"):
        PlanTotals(read=5, unique=5, duplicate=1)


# --- the first plans of a process, read at the same time


_READ_WHILE_READING = """
import sys, threading
from pathlib import Path
from runner.plan.file import read_plan

def read():
    read_of.append(read_plan(Path(sys.argv[1])).header)

def begin_another(frame, event, arg):
    if frame.f_code.co_name == "get_dataclass_info":  # half of the header's type is learnt
        sys.settrace(None)
        other = threading.Thread(target=read)
        other.start()
        other.join()

read_of = []
sys.settrace(begin_another)
read()
sys.settrace(None)
read()
assert read_of == read_of[:1] * len(read_of)
"""


def test_two_threads_may_read_the_first_plans_of_a_process(plan):
    """A worker proves several shards at once."""
    done = subprocess.run(
        [sys.executable, "-c", _READ_WHILE_READING, plan], capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
