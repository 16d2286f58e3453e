"""Files that are no lists, and what goes wrong on the way: each is named for what it is, with what to do."""

import gzip

import pytest

from runner.errors import Fault
from runner.lists import json_list, tabular
from runner.lists import read as reading
from runner.lists.decode import BLOCK_BYTES
from runner.lists.sniff import foreign_bytes, foreign_text
from tests.lists.test_read import A, B, read


def fault_of(path, **spec):
    with pytest.raises(Fault) as caught:
        read(path, **spec)
    return caught.value


# ---- one job that is shown ----------------------------------------------------------------------------


def test_a_list_without_a_job_is_shown_a_whole_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "t.csv"
    path.write_text(f"甲,乙\n{A},{B}\n", "utf-8")
    assert fault_of(path, place="t.csv").hint.splitlines() == [
        "Write a job file of these lines, and run that:",
        "     users:",
        "       - user_id: ID",
        "         phone_file: t.csv",
        "         phone_column: NAME   # the column's name, or its number from 1",
    ]
    (tmp_path / "x").mkdir()
    monkeypatch.chdir(tmp_path / "x")
    fault = fault_of(path, place="../t.csv")
    assert "phone_file: ../t.csv" in fault.hint
    assert (fault.place, str(path) in fault.message) == ("../t.csv", False)
    monkeypatch.chdir(tmp_path)
    assert fault_of(path, place="jobs/a.yaml:3").hint == (
        "Say in the job, beside the list: phone_column: NAME   (the column's name, or its number from 1)"
    )


@pytest.mark.parametrize(
    ("data", "encoding"),
    [(f"{A}\n".encode("utf-16-le"), "utf-16-le"), (b"\xff" + A.encode(), "big5"), (b"x\0", "utf-16-le")],
)
def test_an_encoding_is_asked_for_in_a_whole_job_too(tmp_path, data, encoding):
    path = tmp_path / "t.txt"
    path.write_bytes(data)
    hint = fault_of(path, place=str(path)).hint
    assert f"         encoding: {encoding}   #" in hint
    assert "       - user_id: ID" in hint
    assert f"beside the list: encoding: {encoding} " in fault_of(path, place="jobs/a.yaml:3").hint


# ---- what it is ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b"BZh91AY", "bzip2"),
        (b"\xfd7zXZ\0", "xz"),
        (b"\x04\x22\x4d\x18", "lz4"),
        (b"7z\xbc\xaf\x27\x1c", "7z"),
        (b"Rar!\x1a", "RAR"),
        (b"%PDF-1.7", "PDF"),
        (b"PAR1", "Parquet"),
        (b"SQLite format 3\0", "SQLite"),
        (b"\x89PNG\r\n", "picture"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", ".xls"),
        (bytes(257) + b"ustar\0", "tar"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_foreign_file_is_named_whether_it_is_packed_or_not(tmp_path, head, what, packed):
    path = tmp_path / "list.csv"
    data = head + bytes(600)
    path.write_bytes(gzip.compress(data) if packed else data)
    fault = fault_of(path)
    assert f"this is {foreign_bytes(data[:512], b'').what}" in fault.message
    assert what in fault.message
    assert fault.hint


@pytest.mark.parametrize("size", [8, 30, 31, 48, 51, 511, 512])
def test_an_old_office_file_may_be_cut_anywhere(tmp_path, size):
    path = tmp_path / "old.xls"
    path.write_bytes((b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\xff" * 600)[:size])
    assert "an old Excel file" in fault_of(path).message


@pytest.mark.parametrize(
    "text", ["<html>", " \n<!DOCTYPE html>", "<table border=1>", "<?xml version='1.0'?>", "<div/>"]
)
def test_markup_is_a_page(text):
    assert "web page" in foreign_text(text).what


@pytest.mark.parametrize("text", [A, "<3", "<", "< 5", "a<b>", "{", "[", '"', "BEGIN", ""])
def test_what_begins_in_another_way_is_none(text):
    assert foreign_text(text) is None


@pytest.mark.parametrize("encoding", ["utf-8-sig", "gb18030", "utf-16"])
def test_a_page_is_known_in_every_encoding(tmp_path, encoding):
    path = tmp_path / "t.xls"
    path.write_bytes(f"<table><tr><td>手机</td><td>{A}</td></tr></table>".encode(encoding))
    assert "web page" in fault_of(path).message


# ---- lines --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [0, BLOCK_BYTES // 10])
@pytest.mark.parametrize(
    ("header", "row"), [("phone", A), ("x,phone", f"y,{A}"), ('"x","phone"', f'"y","{A}"')]
)
def test_a_lone_carriage_return_is_named_with_its_line_however_late(tmp_path, rows, header, row):
    path = tmp_path / "t.csv"
    path.write_bytes("\n".join([header, *[row] * (rows + 3), f"{row}\r{row}", row, ""]).encode())
    fault = fault_of(path)
    assert f"t.csv:{rows + 5}: a lone carriage return" in fault.message
    assert "one kind of line end" in fault.hint


def test_a_carriage_return_within_quotes_is_a_part_of_the_cell(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(f'note,phone\n"a\rb",{A}\n'.encode())
    assert read(path)["phones"] == [[2, A]]


@pytest.mark.parametrize("keep", [1, 3])
@pytest.mark.parametrize("encoding", [None, "utf-16"])
def test_a_cut_utf16_says_that_it_is_cut(tmp_path, keep, encoding):
    path = tmp_path / "t.txt"
    data = "\ufeff".encode("utf-16-le") + f"{A}\n𠮷".encode("utf-16-le")
    path.write_bytes(data[:-keep])
    assert "it is cut in the middle of a character" in fault_of(path, encoding=encoding).message


# ---- what nobody foresaw ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        ValueError(f"bad {A}"),
        RecursionError(),
        MemoryError(),
        OverflowError("x"),
        KeyError("k"),
        OSError(5, "I/O"),
    ],
)
@pytest.mark.parametrize(("text", "module", "reader"), [
    (f"phone\n{A}\n", tabular, "_read_body"), (f"[{A}]", json_list, "_read_chunks")
])  # fmt: skip
def test_whatever_a_library_raises_is_a_fault_of_the_file(tmp_path, monkeypatch, error, text, module, reader):
    def fail(*_):
        raise error

    path = tmp_path / "t.csv"
    path.write_text(text, "utf-8")
    monkeypatch.setattr(module, reader, fail)
    fault = fault_of(path, place="jobs/a.yaml:3")
    assert fault.message.startswith(f"jobs/a.yaml:3: {path}: cannot be read: {type(error).__name__}")
    assert A not in fault.message
    assert fault.__cause__ is error


def words_of(path, rule):
    try:
        read(path, rule=rule)
    except Fault as fault:
        return fault.message
    return f"{path} is read"


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a":' * 100_000,
        "[" + "1" * 5000 + "]",
        '{"phone":' + "9" * 400_000 + "}",
        '["\\ud800"]',
        '{"\\ud800":"1"}',
        '"' * 300_000,
        "," * 300_000,
        ('"' + "x" * 200 + '",') * 2000,
        "\x1b[31m,\x07\n1,2\n",
    ],
)
@pytest.mark.parametrize("rule", ["mobile_cn", "opaque"])
def test_texts_that_break_readers_are_read_or_refused(tmp_path, text, rule):
    path = tmp_path / "t.json"
    path.write_text(text, "utf-8")
    assert str(path) in words_of(path, rule)


def test_a_pattern_that_no_file_can_match_is_a_fault(tmp_path):
    with pytest.raises(Fault, match="no file matches"):
        read(tmp_path / "a\0*.csv")


def test_the_guard_covers_what_the_libraries_raise():
    assert issubclass(UnicodeDecodeError, reading._FOREIGN_ERRORS)
    assert issubclass(gzip.BadGzipFile, reading._FOREIGN_ERRORS)
    assert not issubclass(Fault, reading._FOREIGN_ERRORS)
