"""Protected numbers: never less than the file says, in whatever form a number stands."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.errors import Refused
from runner.plan.protect import ProtectList
from runner.plan.protect_file import read_protect_file
from tests.support.xlsx import book, grid, page


def protect(tmp_path, text, rule="mobile_cn", name="never.txt"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return read_protect_file(path, rule)


def test_a_number_is_protected_however_the_file_spells_it(tmp_path):
    spelled = ["+86 139-0000-0001", "008613900000002", "１３９００００００0３", "13900000004", "'13900000005"]
    protected = protect(tmp_path, "\n".join(spelled))
    phones = tuple(f"1390000000{n}" for n in range(8))
    assert protected.matches(phones) == {f"1390000000{n}" for n in range(1, 6)}
    assert protected.notes == ()


def test_a_csv_is_read_as_lists_are(tmp_path):
    protected = protect(tmp_path, "name,手机号\n王,13900000001\n李,13900000002\n", name="never.csv")
    assert protected.matches(("13900000001", "13900000003")) == {"13900000001"}


@pytest.mark.parametrize("rule", ["number", "opaque"])
def test_under_other_rules_a_mobile_is_protected_in_every_spelling(tmp_path, rule):
    protected = protect(tmp_path, "+86 13900000001\n13900000002\n", rule)
    phones = ("13900000001", "8613900000001", "008613900000002", "13900000003", "8613900000003")
    assert protected.matches(phones) == {"13900000001", "8613900000001", "008613900000002"}


ENCRYPTED = ["kP9xQ8Vd0mZ1aB2cD3eF4g==", "9e107d9d372bb6826bd81d3542a419d6", "QUJDREVGR0hJSktMTU5PUA=="]


@pytest.mark.parametrize("value", ENCRYPTED)
def test_an_encrypted_value_is_protected_as_it_stands(tmp_path, value):
    protected = protect(tmp_path, f"13900000001\n{value}\n")
    assert protected.matches((value, value.swapcase(), "13900000001")) == {value, "13900000001"}
    (note,) = protected.notes
    assert "1 of 2 values are no phones" in note


def test_an_empty_file_protects_nothing_and_says_so(tmp_path):
    protected = protect(tmp_path, "\n")
    assert protected.matches(("13900000001",)) == frozenset()
    assert "empty" in protected.notes[0]


# ---- each line ----------------------------------------------------------------------------------------

A, B, C = "13900000001", "13812345678", "15987654321"
WORDS = {
    f"{A} 张总": {A},
    f"张总{A}": {A},
    "张总：139 0000 0001（勿扰）": {A},
    "tel:+86-139-0000-0001": {A},
    "手机 +86 (139) 0000-0001": {A},
    "１３９００００００0１ 张总": {A},
    "139\u20110000\u20110001 x": {A},
    f"{A}/{B}": {A, B},
    f"{A} {B}": {A, B},
    f"{A}、{B}、{C}": {A, B, C},
    f"{A} 2024-07-26 10:30 投诉": {A},
    f"{A} 转 8001": {A},
    f"{A} 或 010-12345678": {A},
    f"{A}\t李": {A},
    "0086 13900000001 李": {A},
}


@pytest.mark.parametrize("line", WORDS)
@pytest.mark.parametrize("rule", ["mobile_cn", "number", "opaque"])
def test_a_line_of_a_number_and_words_protects_the_number(tmp_path, line, rule):
    protected = protect(tmp_path, f"{C[:-1]}0\n{line}\n", rule)
    assert protected.matches((A, B, C)) == WORDS[line]


UNSURE = [
    "1.39E+10",
    "张总 1.39E+10",
    f"{A} 1.38E+10",
    f"{A}.5",
    "139000000011390000000",
    f"{A}{B}",
    f"{A} 1381234567",
    f"{A} / 138 1234 567",
    "1390000000 张总",
    "138OO138OOO",
    "13800138O00zhangzongbuyaoda",
    "phone-1380013800",
    "1390000000①",
    f"{A}②",
    "张总",
    "n/a",
    "# 张总",
    "--",
    "kP9xQ==",
]


@pytest.mark.parametrize("line", UNSURE)
def test_a_line_that_does_not_say_which_number_is_refused_with_its_place(tmp_path, line):
    with pytest.raises(Refused, match=re.escape("never.txt:2: ")) as caught:
        protect(tmp_path, f"{B}\n{line}\n{C}\n")
    assert A not in caught.value.message
    assert "one a row" in caught.value.hint


@pytest.mark.parametrize("line", ["010-12345678", "400-800-8820", "+85212345678", "客服 010-12345678"])
def test_a_number_that_no_list_of_mobiles_can_name_is_noted(tmp_path, line):
    (note,) = protect(tmp_path, f"{A}\n{line}\n").notes
    assert "1 of 2 values are no phones under the rule mobile_cn" in note


@pytest.mark.parametrize("line", [f"+{A}", f"+{A[:3]} {A[3:7]} {A[7:]}", f"+{A[:3]}-{A[3:]}"])
def test_a_mobile_with_a_sign_too_many_is_protected(tmp_path, line):
    protected = protect(tmp_path, f"{C}\n{line}\n")
    assert protected.matches((A, B, C)) == {A, C}
    assert protect(tmp_path, f"{C}\n+85213900000\n").matches((A, B, C)) == {C}


@pytest.mark.parametrize("header", ["手机号", "Phone No.", "mobile"])
def test_a_header_by_name_is_no_line_and_one_in_other_words_is_refused(tmp_path, header):
    assert protect(tmp_path, f"{header}\n{A}\n").matches((A,)) == {A}
    with pytest.raises(Refused, match=r"never\.txt:1: .*no number|never\.txt:1: .*something other"):
        protect(tmp_path, f"名单\n{A}\n")


def test_a_header_that_holds_a_number_is_a_line_all_the_same(tmp_path):
    assert protect(tmp_path, f"手机 {A} 勿扰\n手机号\n{B}\n").matches((A, B)) == {A, B}
    with pytest.raises(Refused, match=r"never\.csv:1: "):
        protect(tmp_path, f"手机,1380013800\n李,{B}\n", name="never.csv")


def test_all_unsure_lines_are_counted_and_the_first_are_named(tmp_path):
    with pytest.raises(Refused) as caught:
        protect(tmp_path, f"{A}\n" + "张总\n" * 50 + f"{B}\n")
    assert [fault.place.rpartition(":")[2] for fault in caught.value.faults[:20]] == [
        str(n) for n in range(2, 22)
    ]
    assert caught.value.message.endswith("and 30 more such lines")


# ---- each column and sheet ----------------------------------------------------------------------------


def test_one_unsure_line_of_thousands_is_one_too_many(tmp_path):
    sure = [f"139{number:08d}" for number in range(3000)]
    assert protect(tmp_path, "\n".join(sure)).matches((sure[0], sure[-1], "13800000000")) == {
        sure[0],
        sure[-1],
    }
    with pytest.raises(Refused, match=r"never\.txt:2002: "):
        protect(tmp_path, "\n".join([*sure[:2001], "1390000000", *sure[2001:]]))


def test_every_column_that_holds_phones_is_protected(tmp_path):
    rows = f"姓名,手机,紧急联系电话,备注\n王,{A},{B},\n李,{C},,也可打 13700000007\n"
    protected = protect(tmp_path, rows, name="never.csv")
    assert protected.matches((A, B, C, "13700000007")) == {A, B, C, "13700000007"}


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        (f"姓名,手机,备用电话\n王,{A},1.38E+10\n", 2),
        (f"姓名,手机,备用电话\n王,{A},无\n", 2),
        (f"甲,乙\n{A},{B}\n{C},1381234567\n{C},{B}\n", 1),
        (f"姓名,手机\n王,{A}\n李,\n", 3),
        (f"姓名,备注\n王,打 {A}\n李,不要打\n", 3),
    ],
)
def test_a_row_that_misses_a_number_where_one_is_due_is_refused(tmp_path, rows, line):
    with pytest.raises(Refused, match=rf"never\.csv:{line}: "):
        protect(tmp_path, rows, name="never.csv")


@pytest.mark.parametrize(
    "rows",
    [
        f"编号,身份证,手机,日期,金额\n20240726123456789,110101199003071234,{A},2024-07-26,1.5\n",
        f"姓名,手机,备用电话\n王,{A},\n李,,{B}\n,,\n",
        f"七月名单,\n姓名,手机\n王,{A}\n",
        f"sep=;\n姓名;手机\n王;{A}\n",
    ],
)
def test_other_columns_need_no_number(tmp_path, rows):
    protected = protect(tmp_path, rows, name="never.csv")
    assert protected.matches((A,)) == {A}
    assert protected.notes == ()


def test_json_is_protected_with_all_its_values(tmp_path):
    rows = f'[{{"name":"王","phone":{A},"more":["{B}"]}},\n{{"name":"李","tel":"{C}"}}]'
    assert protect(tmp_path, rows, name="never.json").matches((A, B, C)) == {A, B, C}
    assert protect(tmp_path, f'["{A}", {B}]', name="never.json").matches((A, B)) == {A, B}
    assert protect(tmp_path, f'"{A}"\n{B}\n', name="never.jsonl").matches((A, B)) == {A, B}


@pytest.mark.parametrize(
    "value", ['{"phone": 1.39e10}', '{"phone": true}', '{"name": "王"}', '{"phone": -5}']
)
def test_a_row_of_json_without_a_sure_number_is_refused(tmp_path, value):
    with pytest.raises(Refused, match=r"never\.jsonl:2: "):
        protect(tmp_path, f'{{"phone": {A}}}\n{value}\n', name="never.jsonl")


def book_of(tmp_path, *pages, **more):
    path = tmp_path / "never.xlsx"
    path.write_bytes(book(*pages, **more))
    return read_protect_file(path, "mobile_cn")


def test_every_sheet_and_every_row_is_protected_hidden_or_not(tmp_path):
    pages = (
        page(
            grid([["姓名", "手机"], ["王", A]], hidden=(2,)),
            before='<cols><col min="2" max="2" hidden="1"/></cols>',
        ),
        page(grid([["手机号"], [int(B)]])),
        page(grid([["李", C], ["马", C]])),
        page(""),
    )
    assert book_of(tmp_path, *pages, states={1: "hidden"}).matches((A, B, C)) == {A, B, C}


CELLS = [
    "><f>B2*1</f>",
    ' t="e"><v>#N/A</v>',
    "><v>13900000000</v>",
    f"><v>-{A}</v>",
    ' t="b"><v>1</v>',
    "张总",
]


@pytest.mark.parametrize("cell", CELLS)
def test_a_cell_that_does_not_say_its_number_is_refused_with_sheet_and_row(tmp_path, cell):
    pages = page(grid([["手机号"], [A]])), page(grid([["手机号"], [B], [cell]]))
    with pytest.raises(Refused, match=r"never\.xlsx!S2:3: "):
        book_of(tmp_path, *pages)


def test_a_sheet_of_words_beside_the_numbers_is_noted(tmp_path):
    protected = book_of(tmp_path, page(grid([["手机号"], [A]])), page(grid([["说明"], ["2024年7月更新"]])))
    assert protected.matches((A,)) == {A}
    assert any("never.xlsx!S2: no number stands there" in note for note in protected.notes)


@pytest.mark.parametrize("cell", ["1.39E+10", "1390000000", "><f>A1</f>"])
def test_a_sheet_of_words_with_something_like_a_number_is_refused(tmp_path, cell):
    with pytest.raises(Refused, match=r"never\.xlsx!S2:2: "):
        book_of(tmp_path, page(grid([["手机号"], [A]])), page(grid([["说明"], [cell]])))


def test_a_workbook_of_words_alone_is_refused(tmp_path):
    with pytest.raises(Refused, match=r"never\.xlsx!S1:1: "):
        book_of(tmp_path, page(grid([["说明"], ["见附件"]])))


def test_a_missing_file_or_a_folder_is_refused(tmp_path):
    for path in (tmp_path / "missing.txt", tmp_path):
        with pytest.raises(Refused):
            read_protect_file(path, "mobile_cn")


def test_a_list_of_nothing_matches_nothing():
    assert ProtectList("mobile_cn").matches(("13900000001",)) == frozenset()


@settings(max_examples=50, deadline=None)
@given(
    st.sets(st.one_of(st.integers(13_000_000_000, 13_000_000_300).map(str), st.text("ab1 +", min_size=1))),
    st.lists(st.one_of(st.integers(13_000_000_000, 13_000_000_300).map(str), st.text("ab1", min_size=1))),
)
def test_exactly_the_forms_that_were_added_match(forms, phones):
    protected = ProtectList("mobile_cn")
    protected.add(forms)
    protected.seal()
    assert protected.matches(tuple(phones)) == forms & set(phones)
    assert protected.forms == len(forms)


def test_many_numbers_take_about_eight_bytes_each():
    protected = ProtectList("mobile_cn")
    protected.add(f"139{n * 7919 % 10**8:08d}" for n in range(100_000))
    protected.seal()
    assert protected.forms == 100_000
    assert sum(part.itemsize * len(part) for part in protected._parts) == 800_000
    assert len(protected.matches(tuple(f"139{n:08d}" for n in range(0, 10**8, 9973)))) < 100
