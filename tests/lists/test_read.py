import csv
import gzip
import io
import json
import os
import subprocess
import sys
import tracemalloc
from dataclasses import astuple
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.errors import Fault
from runner.lists import decode
from runner.lists.read import ListSpec, find_files, read_rows
from runner.phones import normalise_many

CORPUS = Path(__file__).parents[1] / "plan" / "corpus"
EXPECTED = json.loads((CORPUS / "expected.json").read_text("utf-8"))


def read(*paths, rule="mobile_cn", **spec):
    """Read lists to the end: phones and rejects with their lines, users of all rows, kinds of changes."""
    phones, rejects, users, kinds, sources, columns, user_flaws = [], [], [], {}, [], [], []
    blank = hidden = 0
    for rows in read_rows(ListSpec(tuple(map(str, paths)), **spec), rule=rule):
        assert len(rows.lines) == len(rows.values)
        assert rows.values or rows.blank or rows.hidden
        blank += rows.blank
        hidden += rows.hidden
        if rows.column is not None:
            columns.append([*list(astuple(rows.column))[:3], list(rows.column.passed_over)])
        normalised = normalise_many(rows.values, rule)
        sources.append(rows.source)
        for kind, count in normalised.kinds.items():
            kinds[kind] = kinds.get(kind, 0) + count
        for index, (line, phone) in enumerate(zip(rows.lines, normalised.phones, strict=True)):
            reason = rows.flaws.get(index) or normalised.bad.get(index)
            rejects += [[line, reason]] if reason else []
            phones += [] if reason else [[line, phone]]
        if rows.users is not None:
            assert len(rows.users) == len(rows.values)
            users += rows.users
            user_flaws += [[rows.lines[index], reason] for index, reason in sorted(rows.user_flaws.items())]
    assert all(column == columns[0] for column in columns), "all rows of a source have one column"
    return {
        "phones": phones,
        "rejects": rejects,
        "users": users,
        "kinds": kinds,
        "sources": sources,
        "blank": blank,
        "hidden": hidden,
        "column": columns[0] if columns else None,
        "user_flaws": user_flaws,
    }


@pytest.mark.parametrize("name", EXPECTED)
def test_each_file_of_the_corpus_gives_the_rows_and_rejects_written_down_for_it(name):
    want = EXPECTED[name]
    spec = want.get("spec", {})
    if "fault" in want:
        with pytest.raises(Fault) as caught:
            read(CORPUS / name, rule=want["rule"], place="jobs/a.yaml:12", **spec)
        assert want["fault"] in caught.value.message
        assert want.get("hint", "") in caught.value.hint
        assert caught.value.message.startswith(f"jobs/a.yaml:12: {CORPUS / name}")
        return
    got = read(CORPUS / name, rule=want["rule"], **spec)
    assert got["phones"] == want["phones"]
    assert got["rejects"] == want["rejects"]
    assert got["kinds"] == want["kinds"]
    assert got["users"] == want.get("users", [])
    assert got["blank"] == want.get("blank", 0)
    assert got["hidden"] == want.get("hidden", 0)
    assert got["user_flaws"] == want.get("user_flaws", [])
    if "column" in want:
        assert got["column"] == want["column"]


def test_the_corpus_holds_every_file_that_is_expected_and_forty_at_least():
    files = {path.name for path in CORPUS.iterdir() if path.is_file()} - {
        "make.py",
        "workbooks.py",
        "expected.json",
    }
    assert files == set(EXPECTED)
    assert len(files) >= 40


# ---- tables -------------------------------------------------------------------------------------------

A, B = "13900000001", "13812345678"
TEXT = st.text(st.sampled_from(["a", "7", ",", ";", "\t", '"', "\n", " ", "中", "é", "=", "'"]), max_size=6)


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(decode, "BLOCK_BYTES", 64)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(TEXT, TEXT, st.sampled_from([A, B, "1", "+86 " + A])), min_size=1, max_size=40),
    delimiter=st.sampled_from(",;\t"),
    quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC]),
    newline=st.sampled_from(["\n", "\r\n"]),
)
def test_a_table_written_by_the_csv_module_comes_back_with_its_lines_wherever_blocks_end(
    tmp_path, small_blocks, rows, delimiter, quoting, newline
):
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, quoting=quoting, lineterminator=newline)
    writer.writerow(["note", "remark", "phone"])
    want, line = [], 2
    for row in rows:
        writer.writerow(row)
        want.append((line, row[0], row[2]))
        line += 1 + row[0].count("\n") + row[1].count("\n")
    path = tmp_path / "t.csv"
    path.write_bytes(out.getvalue().encode())
    got = []
    for chunk in read_rows(ListSpec((str(path),), user_column="note"), rule="mobile_cn"):
        got += zip(chunk.lines, chunk.users, chunk.values, strict=True)
    assert got == want


def test_rows_of_the_fast_way_and_of_the_strict_way_alternate_without_a_seam(tmp_path, small_blocks):
    lines = ["id,note,phone"]
    for index in range(500):
        note = f'"x\n{index},\ny"' if index % 7 == 0 else "plain"
        lines.append(f"{index},{note},139{index:08d}")
    path = tmp_path / "t.csv"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    phones = read(path)["phones"]
    assert [phone for _, phone in phones] == [f"139{index:08d}" for index in range(500)]
    assert [line for line, _ in phones] == [2 + index + 2 * ((index + 6) // 7) for index in range(500)]


def test_a_row_too_wide_and_a_row_too_narrow_do_not_balance_each_other(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(f"name,phone\na,{A}\nb,c,{A}\n{B}\nd,{B}\n", "utf-8")
    got = read(path)
    assert got["phones"] == [[2, A], [5, B]]
    assert got["rejects"] == [[3, "columns"], [4, "columns"]]


def test_an_unclosed_quote_is_named_with_its_line_and_does_not_swallow_the_file(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("name,phone\n" + f"a,{A}\n" * 50_000 + f'"b,{B}\n' + f"a,{A}\n" * 100_000, "utf-8")
    with pytest.raises(Fault, match=r"t\.csv:50002: .*field larger than field limit"):
        read(path)


def test_a_phone_column_is_found_by_content_under_the_rule_of_the_job(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a;95588\nb;10086\n", "utf-8")
    assert read(path, rule="number")["phones"] == [[1, "95588"], [2, "10086"]]
    with pytest.raises(Fault, match="no column holds phones"):
        read(path)


def test_columns_are_listed_without_showing_a_number_in_full(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(f"{A},{B}\n", "utf-8")
    with pytest.raises(Fault) as caught:
        read(path)
    assert A not in caught.value.message
    assert "139****0001" in caught.value.message


@pytest.mark.parametrize("column", [0, 3, 99, "3", "x"])
def test_a_column_that_is_not_there_is_a_fault_that_lists_those_that_are(tmp_path, column):
    path = tmp_path / "t.csv"
    path.write_text(f"姓名,手机\na,{A}\n", "utf-8")
    with pytest.raises(Fault, match="there are 1 '姓名', 2 '手机'"):
        read(path, phone_column=column)


def test_the_user_column_is_never_the_phone_column(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(f"phone,mobile\n{A},{B}\n", "utf-8")
    assert read(path, user_column="phone")["phones"] == [[2, B]]
    with pytest.raises(Fault, match="cannot be both"):
        read(path, user_column="phone", phone_column=1)


@pytest.mark.parametrize("blank", ["", " ", "\t", "\u3000", " ,", ",", '""', '" ",'])
def test_a_row_without_anything_in_it_is_no_row_wherever_it_stands(tmp_path, blank):
    path = tmp_path / "t.csv"
    path.write_text(
        f"name,phone\na,{A}\n{blank}\nb,{B}\n" + f"c,{A}\n" * 30_000 + f"{blank}\nd,{B}\n", "utf-8"
    )
    got = read(path)
    assert got["rejects"] == []
    assert got["phones"][:2] == [[2, A], [4, B]]
    assert got["phones"][-1] == [30_006, B]
    assert len(got["phones"]) == 30_003


# ---- JSON ---------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.lists(
        st.one_of(st.integers(0, 10**20), st.text(max_size=200).map(lambda text: f"1{text}")), min_size=1
    ),
    indent=st.sampled_from([None, 1]),
)
def test_an_array_comes_back_element_by_element_wherever_blocks_end(tmp_path, small_blocks, values, indent):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(values, indent=indent), "utf-8")
    got = []
    for rows in read_rows(ListSpec((str(path),)), rule="opaque"):
        got += zip(rows.lines, rows.values, strict=True)
    first = 1 if indent is None else 2
    assert got == [(first + index * (indent is not None), str(value)) for index, value in enumerate(values)]


CELL = st.one_of(
    st.sampled_from([A, B, "", "},", '":', "[", "\\", "x,\n{"]), st.integers(0, 10**11), st.none()
)
FORMS = {
    "lines": lambda rows: ("".join(json.dumps(row) + "\n" for row in rows), lambda i: 1 + i),
    "one line": lambda rows: (json.dumps(rows), lambda i: 1),
    "a row a line": lambda rows: ("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n", lambda i: 2 + i),
    "indented": lambda rows: (json.dumps(rows, indent=2), lambda i: 2 + 5 * i),
}


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=20),
    times=st.sampled_from([1, 40]),
    form=st.sampled_from(sorted(FORMS)),
    block=st.sampled_from([64, 5000]),
)
def test_objects_come_back_with_their_lines_in_every_form_of_json_wherever_blocks_end(
    tmp_path, small_blocks, rows, times, form, block
):
    rows = rows * times
    decode.BLOCK_BYTES = block
    text, line = FORMS[form]([{"user_id": user, "phone": phone, "note": note} for user, phone, note in rows])
    path = tmp_path / "a.json"
    path.write_text(text, "utf-8")
    got, blank = [], 0
    for chunk in read_rows(ListSpec((str(path),), user_column="user_id"), rule="mobile_cn"):
        got += zip(chunk.lines, chunk.users, chunk.values, strict=True)
        blank += chunk.blank
    want = [
        (line(index), "" if user is None else str(user), str(phone))
        for index, (user, phone, _) in enumerate(rows)
        if phone not in ("", None)
    ]
    assert got == want
    assert blank == len(rows) - len(want)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('["a" "b"]', "',' or ]|, or ]"),
        ('["a"] x', "something stands after"),
        ("[" * 100_000, "nested too deep|no JSON"),
        ('["a",]', "no JSON"),
        ("[", "the array is not closed|Expecting value"),
        ('["a",', "the array is not closed|Expecting value"),
        ('["' + "x" * 3_000_000 + '"]', "an element of more than|no JSON"),
        ('[{"phone":"1"}, 2]', "objects and bare values"),
        ("[{}]", "without any key"),
        ('{"phone": "1",\n"a": 2}', ":1: no JSON"),
    ],
)
def test_json_that_is_none_is_named(tmp_path, text, what):
    path = tmp_path / "a.json"
    path.write_text(text, "utf-8")
    with pytest.raises(Fault, match=what):
        read(path)


def test_a_name_decides_only_what_the_content_leaves_open(tmp_path):
    (tmp_path / "a.jsonl").write_text(f'name,phone\nx,{A}\n"y",{B}\n', "utf-8")
    assert read(tmp_path / "a.jsonl")["phones"] == [[2, A], [3, B]]
    (tmp_path / "b.csv").write_text(f'{{"phone": {A}}}\n', "utf-8")
    assert read(tmp_path / "b.csv")["phones"] == [[1, A]]
    (tmp_path / "c.ndjson").write_text(f'"\\u0031{A[1:]}"\n', "utf-8")
    assert read(tmp_path / "c.ndjson")["phones"] == [[1, A]]


# ---- encodings ----------------------------------------------------------------------------------------


def test_utf8_that_breaks_late_is_refused_before_the_first_row(tmp_path):
    good = ("张三," + A + "\n").encode() * 60_000
    path = tmp_path / "t.csv"
    path.write_bytes(good + b"\xe5\xbc,\n" + good)
    rows = read_rows(ListSpec((str(path),)), rule="mobile_cn")
    with pytest.raises(Fault, match=f"damaged UTF-8: the byte at offset {len(good)} "):
        next(rows)


def test_gb18030_is_found_however_late_its_first_character_stands(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(f"x,{A}\n".encode() * 60_000 + f"欧阳,{B}\n".encode("gb18030"))
    assert read(path)["phones"][-1] == [60_001, B]


def test_a_forced_encoding_that_fails_late_is_named_with_the_offset(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(f"x,{A}\n".encode() * 60_000 + f"张三,{B}\n".encode("gb18030"))
    with pytest.raises(Fault, match=rf"byte at offset {60_000 * len(A + 'x,.')} does not decode as utf-8"):
        read(path, encoding="utf-8")


def test_a_byte_order_mark_settles_the_encoding_and_a_late_error_is_still_named(tmp_path):
    path = tmp_path / "t.csv"
    for mark, encoding in ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le")):
        good = mark + (f"x,{A}\n" * 60_000).encode(encoding)
        path.write_bytes(good + b"\xff\xdf")
        with pytest.raises(Fault, match=f"byte at offset {len(good)} does not decode"):
            read(path)


@pytest.mark.parametrize("shift", range(4))
def test_a_character_cut_by_the_end_of_a_block_is_whole_again(tmp_path, shift):
    path = tmp_path / "t.csv"
    text = "x" * shift + ",1\n" + "姓名𠮷," + A + "\n" + f"张𠮷三,{B}\n" * 40_000
    for encoding in ("utf-8", "gb18030", "utf-16"):
        path.write_bytes(text.encode(encoding))
        assert len(read(path, phone_column=2)["phones"]) == 40_001


def test_a_text_cut_in_a_character_is_refused(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(f"{A},张三李四王五\n{A},张".encode()[:-1])
    with pytest.raises(Fault, match="damaged UTF-8"):
        read(path)


@pytest.mark.parametrize("encoding", ["klingon", "hex", "a\0b", ""])
def test_an_encoding_that_nobody_knows_is_a_fault(tmp_path, encoding):
    path = tmp_path / "t.txt"
    path.write_text(A, "utf-8")
    with pytest.raises(Fault, match="no encoding is called"):
        read(path, encoding=encoding)


def test_nul_is_refused_in_a_forced_encoding_too(tmp_path):
    path = tmp_path / "t.txt"
    path.write_bytes(A.encode() + b"\0\n")
    for encoding in (None, "utf-8", "latin-1"):
        with pytest.raises(Fault, match="NUL"):
            read(path, encoding=encoding)


# ---- bounds -------------------------------------------------------------------------------------------


def test_a_gzip_bomb_is_named_and_stops_early(tmp_path):
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(b"1" * 11 + b"\n" + b"\n" * 50_000_000, 9))
    with pytest.raises(Fault, match=r"bomb\.gz: .*looks like a bomb"):
        read(path)


def test_a_zstd_bomb_is_named_and_stops_early(tmp_path):
    path = tmp_path / "bomb.zst"
    packed = subprocess.run(
        ["zstd", "-qc"], input=b"\n" * 50_000_000, stdout=subprocess.PIPE, check=True
    ).stdout
    path.write_bytes(packed)
    with pytest.raises(Fault, match="looks like a bomb"):
        read(path)


@pytest.mark.parametrize("before", ["", f"{A}\n" * 30_000])
def test_a_huge_line_is_named_with_its_number(tmp_path, before):
    path = tmp_path / "t.txt"
    path.write_text(before + "1" * (decode.MAX_LINE + 1) + "\n", "utf-8")
    with pytest.raises(Fault, match=rf"t\.txt:{before.count(chr(10)) + 1}: a line of more than"):
        read(path)


def test_more_bytes_than_any_list_has_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(decode, "MAX_INPUT_BYTES", 1000)
    path = tmp_path / "t.txt"
    path.write_text(f"{A}\n" * 100, "utf-8")
    with pytest.raises(Fault, match="more than 1000 bytes unpacked"):
        read(path)


def test_memory_does_not_grow_with_the_list(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("ref,phone\n" + "".join(f"{i % 7},139{i:08d}\n" for i in range(500_000)), "utf-8")
    tracemalloc.start()
    try:
        count = sum(len(rows.values) for rows in read_rows(ListSpec((str(path),)), rule="mobile_cn"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 500_000
    assert peak < 12 << 20


# ---- files --------------------------------------------------------------------------------------------


@pytest.fixture
def standard_input(monkeypatch):
    """Give a list on a real standard input and read it."""

    def given(data):
        reading, writing = os.pipe()
        with os.fdopen(writing, "wb") as stream:
            stream.write(data)  # no more than a pipe holds
        with os.fdopen(reading, encoding="utf-8") as stdin:
            monkeypatch.setattr(sys, "stdin", stdin)
            return read("-")

    return given


@pytest.mark.parametrize("name", ["plain.txt", "gb18030.csv", "book.xlsx", "list.txt.zst", "values.json"])
def test_standard_input_takes_every_format(standard_input, name):
    assert B in [phone for _, phone in standard_input((CORPUS / name).read_bytes())["phones"]]


def test_standard_input_is_bounded(monkeypatch):
    monkeypatch.setattr(decode, "MAX_STDIN_BYTES", 1000)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"1\n" * 1000)))
    with pytest.raises(Fault, match="standard input: more than 1000 bytes"):
        read("-")


def test_globs_are_sorted_lists_keep_their_order_and_no_file_is_read_twice(tmp_path):
    for name in ("b.txt", "a.txt", "c.txt"):
        (tmp_path / name).write_text(f"{A}\n", "utf-8")
    (tmp_path / "d.txt").mkdir()
    paths = (str(tmp_path / "c.txt"), str(tmp_path / "*.txt"))
    assert [Path(name).name for name in find_files(ListSpec(paths))] == ["c.txt", "a.txt", "b.txt"]
    assert [Path(name).name for name in read(*paths)["sources"]] == ["c.txt", "a.txt", "b.txt"]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path):
    (tmp_path / "list[1].txt").write_text(f"{A}\n", "utf-8")
    assert read(tmp_path / "list[1].txt")["phones"] == [[1, A]]


def test_a_glob_that_matches_nothing_is_a_fault(tmp_path):
    with pytest.raises(Fault, match=r"\*\.csv: no file matches"):
        read(tmp_path / "*.csv", place="jobs/a.yaml:12")


def test_directories_pipes_and_missing_files_are_named_with_the_place(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name, what in ((".", "directory"), ("pipe", "no regular file"), ("gone.txt", "no such file")):
        with pytest.raises(Fault, match=rf"^jobs/a\.yaml:12: .*{what}") as caught:
            read(tmp_path / name, place="jobs/a.yaml:12")
        assert caught.value.place == "jobs/a.yaml:12"


def test_an_unreadable_file_is_named(tmp_path, monkeypatch):
    path = tmp_path / "secret.txt"
    path.write_text(A, "utf-8")
    path.chmod(0)
    if os.geteuid() == 0:  # root reads everything; the error comes from here instead
        monkeypatch.setattr(
            os, "open", lambda *_: (_ for _ in ()).throw(PermissionError(13, "Permission denied"))
        )
    with pytest.raises(Fault, match=r"secret\.txt: cannot be opened: Permission denied"):
        read(path)


def grow(path):
    with path.open("a") as file:
        file.write(f"{B}\n")


def replace(path):
    path.with_suffix(".new").write_bytes(path.read_bytes())
    path.with_suffix(".new").replace(path)


@pytest.mark.parametrize("change", [grow, replace, Path.unlink, lambda path: os.utime(path, (1, 1))])
def test_a_file_that_changes_while_it_is_read_is_noticed(tmp_path, change):
    path = tmp_path / "t.txt"
    path.write_text(f"{A}\n" * 100_000, "utf-8")
    rows = read_rows(ListSpec((str(path),)), rule="mobile_cn")
    next(rows)
    change(path)
    with pytest.raises(Fault, match=r"changed while it was read|went away"):
        list(rows)


def test_a_reading_that_is_given_up_closes_its_file(tmp_path):
    path = tmp_path / "t.txt"
    path.write_text(f"{A}\n" * 100_000, "utf-8")
    before = len(list(Path("/proc/self/fd").iterdir()))
    rows = read_rows(ListSpec((str(path),)), rule="mobile_cn")
    next(rows)
    rows.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_list_that_is_its_own_place_is_named_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text(f'phone\n{A}\n"{B}\n', "utf-8")
    with pytest.raises(Fault) as caught:
        list(read_rows(ListSpec((str(tmp_path / "t.csv"),), place="t.csv"), rule="mobile_cn"))
    assert caught.value.message.startswith("t.csv:3: ")
    assert str(tmp_path) not in caught.value.message


def test_a_user_column_that_is_not_there_is_asked_for_by_its_own_key(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(f"客户,手机\na,{A}\n", "utf-8")
    with pytest.raises(Fault) as caught:
        list(read_rows(ListSpec((str(path),), user_column="user_id"), rule="mobile_cn"))
    assert "user_column:" in caught.value.hint


def test_an_encoding_that_was_forced_wrongly_is_told_to_be_left_away(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes("手机号\n".encode("gb18030"))
    with pytest.raises(Fault) as caught:
        list(read_rows(ListSpec((str(path),), encoding="utf-8"), rule="mobile_cn"))
    assert "Leave `encoding` away" in caught.value.hint
