"""JSON-lines jobs: strict line by line, in bounded memory, with lists of any length."""

import gzip
import json
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.errors import Faults, Refused
from runner.job import long_line
from runner.job import requests as requestfile
from runner.job.entries import Entry
from runner.job.requests import read_requests

WINDOW = ["2024-07-26 00:00:00", "2024-07-27 00:00:00"]


def lines(tmp_path, *texts, end="\n"):
    path = tmp_path / "job.jsonl"
    path.write_bytes(
        b"\n".join(text if isinstance(text, bytes) else text.encode() for text in texts) + end.encode()
    )
    return str(path)


def line(**data):
    return json.dumps({"user_id": "u", "phone": ["1"], **data}, ensure_ascii=False)


def faults(path):
    with pytest.raises(Faults) as caught:
        list(read_requests(path))
    return caught.value.faults


def test_a_line_is_an_entry_with_its_place(tmp_path):
    path = lines(
        tmp_path, line(phone=["1", 13912345678]), "", " \r", line(created_at=WINDOW, encryption=True), end=""
    )
    assert list(read_requests(path)) == [
        Entry(f"{path}:1", "u", ("1", "13912345678")),
        Entry(f"{path}:4", "u", ("1",), windows=(tuple(WINDOW),), encryption=True),
    ]


def test_an_empty_list_is_an_entry_without_phones(tmp_path):
    (entry,) = read_requests(lines(tmp_path, line(phone=[], created_at=WINDOW)))
    assert entry.phones == ()
    assert not entry.delete_window


def test_only_line_feeds_end_a_line(tmp_path):
    (entry,) = read_requests(lines(tmp_path, line(phone=["1\u20282", "\x85"])))
    assert entry.phones == ("1\u20282", "\x85")


def test_packed_and_marked_files_are_read(tmp_path):
    path = tmp_path / "job.jsonl.gz"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + line().encode() + b"\r\n" + line().encode()))
    assert len(list(read_requests(str(path)))) == 2


BROKEN = {
    "no JSON": ("{user_id: u}", ":2", "not JSON"),
    "a list": ('["1"]', "", "a line is one object"),
    "null": ("null", "", "a line is one object"),
    "cut": ('{"user_id": "u", "phone": ["1"', ":31", "not JSON"),
    "two objects": (line() + line(), ":33", "not JSON"),
    "NaN": ('{"user_id": "u", "phone": [NaN]}', "", "phone[0]: no phone"),
    "brackets": ("[" * 100_000, "", "too deep"),
    "5,000 digits": ('{"user_id": "u", "phone": [' + "1" * 5000 + "]}", "", "phone[0]: no phone"),
    "no user": ('{"phone": ["1"]}', "", "user_id: is missing"),
    "a user with a fraction": (line(user_id=1001.5), "", "user_id: a number with a fraction"),
    "a user with an exponent": (
        '{"user_id": 1.5e3, "phone": ["1"]}',
        "",
        "user_id: a number with a fraction",
    ),
    "a user that is true": (line(user_id=True), "", "user_id: expected a user id in quotes"),
    "a user below 0": (line(user_id=-5), "", "user_id: a negative number"),
    "a user that is minus 0": ('{"user_id": -0, "phone": ["1"]}', "", "user_id: a number with a fraction"),
    "a user above 2^53": (line(user_id=2**53 + 1), "", "user_id: a whole number above 2^53"),
    "a phone above 2^53": (line(phone=[2**53 + 1]), "", "phone[0]: a whole number above 2^53"),
    "half a character": ('{"user_id": "u", "phone": ["1", "\\ud83d"]}', "", "half of a character"),
    "a user that is a path": (line(user_id=".."), "", "part of a path"),
    "a user that is null": (line(user_id=None), "", "user_id: expected a user id in quotes"),
    "no phone": ('{"user_id": "u"}', "", "phone: is missing"),
    "a window without phones": (
        json.dumps({"user_id": "u", "created_at": WINDOW}),
        "",
        "would delete the whole window",
    ),
    "phone null": (line(phone=None, created_at=WINDOW), "", "phone: expected a list"),
    "phone as text": (line(phone="13912345678"), "", "phone: expected a list"),
    "phone as an object": (line(phone={}), "", "phone: expected a list"),
    "a float": (line(phone=["1", 1.39e10]), "", "phone[1]: a number with a fraction"),
    "a bool": (line(phone=[True]), "", "phone[0]"),
    "a null among phones": (line(phone=["1", None]), "", "phone[1]"),
    "below 0": (line(phone=[-1]), "", "negative"),
    "created_at null": (line(created_at=None), "", "created_at: expected two"),
    "created_at empty": (line(created_at=[]), "", "created_at: expected two"),
    "created_at of one": (line(created_at=WINDOW[:1]), "", "created_at: expected two"),
    "created_at relative": (line(created_at={"last": "1d"}), "", "created_at: expected two"),
    "created_at reversed": (line(created_at=WINDOW[::-1]), "", "reversed"),
    "created_at unreal": (line(created_at=["2023-02-29 00:00:00", WINDOW[1]]), "", "not a real date"),
    "encryption as text": (line(encryption="true"), "", "encryption: expected true or false"),
    "encryption null": (line(encryption=None), "", "encryption: expected true or false"),
    "a likely key": (line(phones=["2"]), "", "did you mean `phone`?"),
    "delete_window": (line(delete_window=True), "", "use a job file"),
    "a token": (line(token="hush"), "", "BULK_DELETE_TOKEN"),
    "a base URL": (line(base_url="https://evil.example"), "", "--base-url"),
    "a key that stands twice": ('{"user_id": "u", "phone": [], "phone": ["1"]}', "", "`phone` stands twice"),
    "not UTF-8": (b'{"user_id": "u", "phone": ["\xff"]}', "", "not UTF-8 at byte 28"),
}


@pytest.mark.parametrize("held", [requestfile.MAX_HELD_BYTES, 0], ids=["short", "long"])
@pytest.mark.parametrize(("text", "column", "words"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_line_is_refused_at_its_place(tmp_path, monkeypatch, text, column, words, held):
    monkeypatch.setattr(requestfile, "MAX_HELD_BYTES", held)
    path = lines(tmp_path, line(), text)
    (fault,) = faults(path)
    if held:
        assert fault.place == f"{path}:2{column}"
        assert words in fault.message
    else:
        assert fault.place.startswith(f"{path}:2")
        assert words in fault.message or "not JSON" in fault.message or "not UTF-8" in fault.message
    assert len(fault.message) < 300
    assert "hush" not in fault.message


def test_all_faults_of_all_lines_come_at_once(tmp_path):
    path = lines(tmp_path, line(phone=[1.5], user_id="/"), line(), "x", line(encryption=1))
    assert [fault.place.removeprefix(path) for fault in faults(path)] == [":1", ":1", ":3:1", ":4"]


def test_twenty_faults_end_the_reading(tmp_path):
    found = faults(lines(tmp_path, *["x"] * 1000))
    assert len(found) == 21
    assert "perhaps more" in found[-1].message


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    for path in (str(tmp_path), str(tmp_path / "none")):
        with pytest.raises(Refused):
            list(read_requests(path))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(0, 10**13) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3),
)


@settings(deadline=None)
@given(
    data=st.dictionaries(st.sampled_from(["user_id", "phone", "created_at", "encryption", "x"]), json_values),
    phones=st.lists(st.integers(0, 10**13) | st.text(max_size=6), max_size=40),
    indent=st.sampled_from([(", ", ": "), (",", ":"), (" ,\t", " : ")]),
    cut=st.integers(0, 400),
    piece=st.integers(1, 64),
)
def test_a_long_line_is_read_as_a_short_one_is(tmp_path_factory, data, phones, indent, cut, piece):
    """The piecewise reader accepts what `json.loads` accepts, with the same phones, and nothing else."""
    record = {"user_id": "u", "phone": phones, **data}
    text = json.dumps(record, ensure_ascii=bool(cut % 2), separators=indent)
    text = text if cut > len(text) else text[:cut]
    path = lines(tmp_path_factory.mktemp("job"), text)

    def outcome():
        try:
            entries = list(read_requests(path))
        except Faults:
            return None
        return [(e.user_id, e.windows, e.encryption) for e in entries[:1]], [
            p for e in entries for p in e.phones
        ]

    short = outcome()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(requestfile, "MAX_HELD_BYTES", 0)
        patch.setattr(long_line, "_PIECE_BYTES", piece)
        assert outcome() == short


MEASURED = """
import resource, sys
from runner.job.requests import read_requests
print(sum(len(entry.phones) for entry in read_requests(sys.argv[1])))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_a_list_of_a_million_in_one_line_takes_no_more_memory(tmp_path):
    peaks = []
    for count in (100_000, 1_200_000):
        path = tmp_path / f"{count}.jsonl"
        with path.open("w") as file:
            file.write('{"phone":[')
            file.writelines(f'"139{n:08d}",' for n in range(count - 1))
            file.write('"13999999999"],"user_id":"u"}\n')
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, str(path)],
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        read, peak = map(int, done.stdout.split())
        assert read == count
        peaks.append(peak)
    assert peaks[1] < peaks[0] * 1.2, f"KiB: {peaks}"
