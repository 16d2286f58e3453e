"""Workbooks as lists: one sheet, each cell for what it says, nothing of it that a person does not see."""

import re
import struct
from pathlib import Path

import pytest

from runner.errors import Fault
from runner.lists.read import read_rows
from runner.lists.rows import ColumnRead, ListSpec
from tests.support.xlsx import book, grid, packed, page, parts, relationships

CORPUS = Path(__file__).parents[1] / "plan" / "corpus"
A, B, C, D = "13900000001", "13812345678", "15987654321", "17458658658"


def stretches(path, **spec):
    return list(read_rows(ListSpec((str(path),), **spec), rule=spec.pop("rule", "mobile_cn")))


def read(path, **spec):
    """Read a workbook whole: (line, value, flaw) of every row, with its user where there are users."""
    found = []
    for rows in stretches(path, **spec):
        for index, (line, value) in enumerate(zip(rows.lines, rows.values, strict=True)):
            row = (line, value, rows.flaws.get(index, ""))
            if rows.users is not None:
                row += (rows.users[index], rows.user_flaws.get(index, ""))
            found.append(row)
    return found


def save(tmp_path, *pages, **more):
    path = tmp_path / "book.xlsx"
    path.write_bytes(book(*pages, **more))
    return path


def refused(path, match, **spec):
    with pytest.raises(Fault, match=match) as caught:
        read(path, **spec)
    assert str(path) in caught.value.message
    return caught.value


# ---- what a phone's cell says -------------------------------------------------------------------------

RICH = (
    f' t="inlineStr"><is><r><t>139</t></r><r><rPr><b/></rPr><t>{A[3:]}</t></r>'
    '<rPh sb="0" eb="1"><t>9</t></rPh><rPh><r><t>8</t></r></rPh></is>'
)
CELLS = {
    f"><v>{A}</v>": (A, ""),
    f' t="n"><v>{A}.0</v>': (A, ""),
    "><v>1.3900000001E10</v>": (A, ""),
    RICH: (A, ""),
    f' t="str"><v>{A}</v>': (A, ""),
    f' t="str"><f>B2</f><v>{A}</v>': (A, ""),
    f"><f>B2</f><v>{A}</v>": (A, ""),
    f' t="inlineStr"><is><t>{A}</t></is>': (A, ""),
    f' t="inlineStr"><is><t>{A}_x000D_</t></is>': (A + "\r", ""),
    ' t="inlineStr"><is><t>&#49;39&#x30;0000001</t></is>': (A, ""),
    ' t="s"><v>0</v>': ("shared", ""),
    ' t="s"><v>1</v>': (A, ""),
    "><v>123456789012345678</v>": ("123456789012345680", "rounded"),
    "><v>13900000000</v>": ("13900000000", "rounded"),
    "><v>1.39E+10</v>": ("13900000000", "rounded"),
    f"><v>-{A}</v>": ("-" + A, "negative"),
    f"><v>{A}.5</v>": (A + ".5", "float"),
    "><v>1e999</v>": ("1e999", "float"),
    "><v>1_39</v>": ("1_39", "not_text"),
    "><v>nan</v>": ("nan", "not_text"),
    ' t="b"><v>1</v>': ("TRUE", "not_text"),
    ' t="b"><f>TRUE()</f><v>0</v>': ("FALSE", "not_text"),
    f' s="1"><v>{A}</v>': (A, "date"),
    f' s="2"><v>{A}</v>': (A, "date"),
    f' s="3"><v>{A}</v>': (A, ""),
    f' s="4"><v>{A}</v>': (A, ""),
    ' s="4"><v>1390000000</v>': ("1390000000", "padded"),
    **{f' s="{style}"><v>{A}</v>': (A, "shown") for style in (5, 6, 7, 8, 9)},
    **{f' s="{style}"><v>{A}</v>': (A, "") for style in (10, 11, 12, 13, 14, 15)},
    ' s="5"><v>1.5</v>': ("1.5", "float"),
    ' t="d"><v>2024-07-26</v>': ("2024-07-26", "date"),
    ' t="e"><v>#N/A</v>': ("#N/A", "cell_error"),
    ' t="e"><f>VLOOKUP(A1,B:C,2,0)</f><v>#REF!</v>': ("#REF!", "cell_error"),
    ' t="e"/>': ("#", "cell_error"),
    "><f>B2*1</f>": ("=", "no_value"),
    "><f>B2*1</f><v/>": ("=", "no_value"),
    "><f>B2*1</f><v></v>": ("=", "no_value"),
    ' t="str"><f>B2&amp;""</f>': ("=", "no_value"),
    '><f t="shared" si="0"/>': ("=", "no_value"),
}
"""XML of a cell, from behind its place on → what it says and what is wrong with it as a phone."""
BLANK = ["/>", ' s="1"/>', ' t="s"/>', ' t="s"><v></v>', ' t="str"><f>IF(1,"")</f><v></v>', "><v></v>", None]
FORMATS = [
    "yyyy&quot;年&quot;m&quot;月&quot;",
    "[Red]&quot;Tel d&quot;\\d000\\-0000\\-0000_);@",
    "00000000000;@",
    ";;;",
    "#,##0,",
    "0%",
    "0&quot;0&quot;",
    "&quot;x&quot;;0",
    "&quot;+86 &quot;000\\ 0000\\ 0000",
    "&quot;U&quot;0",
    "[$-804]#,##0",
    "_ * #,##0_ ;[Red]\\-#,##0;@",
    "General",
    "+86 000 0000 0000",
]
STYLES = (
    f'<numFmts count="{len(FORMATS)}">'
    + "".join(f'<numFmt numFmtId="{n}" formatCode="{code}"/>' for n, code in enumerate(FORMATS, 164))
    + '</numFmts><cellStyleXfs count="1"><xf numFmtId="14"/></cellStyleXfs>'
    + f'<cellXfs count="{len(FORMATS) + 2}"><xf numFmtId="0"/><xf numFmtId="14"/>'
    + "".join(f'<xf numFmtId="{n}"/>' for n in range(164, 164 + len(FORMATS)))
    + "</cellXfs>"
)
STRINGS = f"<si><t>shared</t></si><si><r><t>139</t></r><r><t>{A[3:]}</t></r></si>"


def test_each_kind_of_cell_says_its_value_or_is_flawed(tmp_path):
    rows = grid([["phone"], *([xml] for xml in CELLS)])
    got = read(save(tmp_path, page(rows), styles=STYLES, strings=STRINGS))
    assert got == [(line, *want) for line, want in enumerate(CELLS.values(), 2)]


@pytest.mark.parametrize("cell", ["><f>A2</f>", ' t="e"><v>#N/A</v>', ' t="b"><v>1</v>'])
def test_a_flawed_cell_in_the_first_row_is_no_header(tmp_path, cell):
    got = read(save(tmp_path, page(grid([[cell, cell], [A, "x"], [B, "y"]]))))
    assert [(line, bool(flaw)) for line, _, flaw in got] == [(1, True), (2, False), (3, False)]


def test_blank_cells_are_counted_and_are_no_values(tmp_path):
    rows = [["name", "phone"], *(["x", cell] for cell in BLANK), ["y", A], [None, None], ["", None]]
    found = stretches(save(tmp_path, page(grid(rows)), styles=STYLES))
    assert [value for rows in found for value in rows.values] == [A]
    assert sum(rows.blank for rows in found) == len(BLANK)


USERS = {
    "12345": ("12345", ""),
    "><v>1001</v>": ("1001", ""),
    "><v>1001.0</v>": ("1001", ""),
    "><v>123456789012345</v>": ("123456789012345", ""),
    "><v>2000000</v>": ("2000000", ""),
    ' t="str"><f>A1</f><v>u-1</v>': ("u-1", ""),
    "><v>123456789012345678</v>": ("123456789012345680", "rounded"),
    "><v>1001.5</v>": ("1001.5", "float"),
    ' s="4"><v>1001</v>': ("1001", "padded"),
    **{f' s="{style}"><v>1001</v>': ("1001", "shown") for style in (5, 6, 7, 8, 9, 11)},
    **{f' s="{style}"><v>1001</v>': ("1001", "") for style in (12, 13, 14)},
    ' t="b"><v>1</v>': ("TRUE", "not_text"),
    ' s="1"><v>45292</v>': ("45292", "date"),
    "><v>-5</v>": ("-5", "negative"),
    ' t="e"><v>#N/A</v>': ("#N/A", "cell_error"),
    "><f>A1</f>": ("=", "no_value"),
    None: ("", ""),
}


def test_a_user_id_is_text_or_a_number_that_the_cell_holds_exactly(tmp_path):
    rows = grid([["user_id", "phone"], *([xml, A] for xml in USERS)])
    got = read(save(tmp_path, page(rows), styles=STYLES), user_column="user_id")
    assert got == [(line, A, "", *want) for line, want in enumerate(USERS.values(), 2)]


# ---- what a person does not see -----------------------------------------------------------------------

FILTERED = [["姓名", "手机号"], ["a", A], ["b", B], ["c", None], ["d", C]]


def test_hidden_rows_are_refused_until_the_job_says_what_they_are(tmp_path):
    path = save(tmp_path, page(grid(FILTERED, hidden=(3, 4, 5))))
    fault = refused(path, "sheet 'S1': 2 rows with a value in the phone column are hidden")
    assert "hidden_rows: skip" in fault.hint
    assert [row[1] for row in read(path, hidden_rows="skip")] == [A]
    assert [row[1] for row in read(path, hidden_rows="include")] == [A, B, C]


@pytest.mark.parametrize(("word", "blank"), [("skip", 0), ("include", 1)])
def test_hidden_rows_are_counted_whatever_is_done_with_them(tmp_path, word, blank):
    found = stretches(save(tmp_path, page(grid(FILTERED, hidden=(3, 4)))), hidden_rows=word)
    assert sum(rows.hidden for rows in found) == 1
    assert sum(rows.blank for rows in found) == blank


@pytest.mark.parametrize(
    "mark", ['hidden="true"', 'ht="0" customHeight="1"', "hidden='1'", 'x="&lt;" hidden="1"']
)
def test_a_row_is_hidden_in_whatever_way_it_is_written(tmp_path, mark):
    rows = grid(FILTERED).replace('<row r="3">', f'<row r="3" {mark}>')
    refused(save(tmp_path, page(rows)), "1 rows with a value")


@pytest.mark.parametrize("mark", ['hidden="0"', 'hidden="false" ht="12.8"', 'ht="0.75"', 'collapsed="1"'])
def test_rows_that_are_shown_need_no_word(tmp_path, mark):
    rows = grid(FILTERED).replace('<row r="3">', f'<row r="3" {mark}>')
    assert [row[1] for row in read(save(tmp_path, page(rows)))] == [A, B, C]


def test_a_hidden_header_or_a_hidden_blank_row_hides_no_number(tmp_path):
    path = save(tmp_path, page(grid(FILTERED, hidden=(1, 4))))
    assert [row[1] for row in read(path)] == [A, B, C]


COLUMNS = '<cols><col min="1" max="1" width="9"/><col min="2" max="3" width="9" hidden="1"/></cols>'


@pytest.mark.parametrize("header", ["手机号", "x"])
def test_a_hidden_column_is_read_only_where_the_job_names_it(tmp_path, header):
    path = save(tmp_path, page(grid([["姓名", header], ["a", A]]), before=COLUMNS))
    refused(path, "sheet 'S1'")
    assert read(path, phone_column=header) == [(2, A, "")]
    assert read(path, phone_column=2) == [(2, A, "")]


def test_a_column_of_no_width_is_hidden(tmp_path):
    columns = '<cols><col min="2" max="2" width="0" customWidth="1"/></cols>'
    refused(save(tmp_path, page(grid([["姓名", "手机号"], ["a", A]]), before=columns)), "is hidden")


def test_a_hidden_column_beside_the_phones_does_no_harm(tmp_path):
    path = save(tmp_path, page(grid([["手机号", "备注"], [A, "x"]]), before=COLUMNS))
    assert read(path) == [(2, A, "")]


def merged(*areas):
    found = "".join(f'<mergeCell ref="{area}"/>' for area in areas)
    return f"<mergeCells>{found}</mergeCells>"


@pytest.mark.parametrize("area", ["A2:A3", "A2:B3", "A3:B3", "A1:A9999999"])
def test_a_value_under_merged_cells_refuses_the_list(tmp_path, area):
    rows = [["姓名", "手机号"], ["x", A], ["y", B]]
    columns = [[b, a] for a, b in rows] if area.startswith("A1") or area == "A2:A3" else rows
    path = save(tmp_path, page(grid(columns), after=merged("D1:E1", area)))
    refused(path, "under the merged cells")


def test_merged_cells_that_cover_nothing_of_the_list_do_no_harm(tmp_path):
    rows = [["姓名", "手机号"], ["x", A], ["y", B], [None, None]]
    after = merged("A2:A3", "A5:B5", "B1", "B3:B9")
    assert [row[1] for row in read(save(tmp_path, page(grid(rows), after=after)))] == [A, B]


def test_merged_cells_at_no_place_are_damage(tmp_path):
    refused(save(tmp_path, page(grid([["手机号"], [A]]), after=merged("a2:b"))), "merged cells at 'a2:b'")


@pytest.mark.parametrize("state", ["hidden", "veryHidden"])
def test_a_hidden_sheet_is_not_read_and_not_passed_over_in_silence(tmp_path, state):
    pages = page(grid([["手机号"], [A]])), page(grid([["手机号"], [B]]))
    assert read(save(tmp_path, *pages, states={0: state})) == [(2, B, "")]
    refused(save(tmp_path, pages[0], page(""), states={0: state}), "only hidden sheets hold anything: 'S1'")


# ---- sheets and parts ---------------------------------------------------------------------------------


def test_an_empty_workbook_is_an_empty_list(tmp_path):
    assert read(save(tmp_path, page(""), page('<row r="1"><c r="A1"/></row>'))) == []


def test_cells_far_away_do_no_harm(tmp_path):
    rows = (
        grid([["手机号"], [A]])
        + f'<row r="1048576"><c r="A1048576"><v>{B}</v></c><c r="XFD1048576"><v>1</v></c></row>'
    )
    assert read(save(tmp_path, page(rows))) == [(2, A, ""), (1048576, B, "")]


PLAIN = page(grid([["手机号"], [A], [' t="s"><v>0</v>']]))
SHARED = f"<si><t>{B}</t></si>"
RIGHT = [(2, A, ""), (3, B, "")]


def test_parts_are_found_under_backslashes_and_other_case(tmp_path):
    path = tmp_path / "book.xlsx"
    found = parts(PLAIN, strings=SHARED)
    path.write_bytes(packed({name.replace("/", "\\"): xml for name, xml in found.items()}))
    assert read(path) == RIGHT
    path.write_bytes(
        packed({name.replace("sharedStrings", "SharedStrings"): xml for name, xml in found.items()})
    )
    assert read(path) == RIGHT


def test_parts_are_found_wherever_the_workbook_says_they_are(tmp_path):
    found = parts(PLAIN, strings=SHARED)
    rels = found.pop("xl/_rels/workbook.xml.rels")
    moved = {
        "_rels/.rels": relationships([("officeDocument", "/book/main.xml")]),
        "book/main.xml": found["xl/workbook.xml"],
        "book/_rels/main.xml.rels": rels.replace("worksheets/sheet1.xml", "/pages/one.xml").replace(
            "sharedStrings.xml", "../texts.xml"
        ),
        "pages/one.xml": found["xl/worksheets/sheet1.xml"],
        "texts.xml": found["xl/sharedStrings.xml"],
    }
    path = tmp_path / "book.xlsx"
    path.write_bytes(packed(moved))
    assert read(path) == RIGHT


def test_a_sheet_that_no_relationship_names_is_not_read(tmp_path):
    found = parts(PLAIN, strings=SHARED) | {"xl/worksheets/sheet2.xml": page(grid([["手机号"], [D]]))}
    path = tmp_path / "book.xlsx"
    path.write_bytes(packed(found))
    assert read(path) == RIGHT


def test_strict_workbooks_prefixes_and_utf16_are_read(tmp_path):
    path = tmp_path / "book.xlsx"
    found = parts(PLAIN, strings=SHARED)
    strict = {
        name: xml.replace(
            "http://schemas.openxmlformats.org/spreadsheetml/2006/main",
            "http://purl.oclc.org/ooxml/spreadsheetml/main",
        ).replace(
            "http://schemas.openxmlformats.org/officeDocument/2006",
            "http://purl.oclc.org/ooxml/officeDocument",
        )
        for name, xml in found.items()
    }
    path.write_bytes(packed(strict))
    assert read(path) == RIGHT
    tag = re.compile(r"<(/?)(?=worksheet|sheetData|row|c |c>|v|is|t>)")
    sheet = tag.sub(r"<\1x:", PLAIN).replace("xmlns=", "xmlns:x=")
    path.write_bytes(packed(found | {"xl/worksheets/sheet1.xml": sheet}))
    assert read(path) == RIGHT
    wide = PLAIN.replace("UTF-8", "UTF-16").encode("utf-16")
    path.write_bytes(packed(found | {"xl/worksheets/sheet1.xml": wide}))
    assert read(path) == RIGHT


def test_a_second_sheet_is_not_passed_over_because_its_columns_are_in_doubt(tmp_path):
    in_doubt = page(grid([["甲", "乙"], [A, B], [C, D]]))
    refused(save(tmp_path, PLAIN, in_doubt, strings=SHARED), "'S1' and 'S2'")
    notes = page(grid([["甲", "乙"], ["x", "y"], ["13900000001、", "见说明"], ["z", "1"]]))
    assert read(save(tmp_path, PLAIN, notes, strings=SHARED)) == RIGHT


def test_a_hidden_column_of_phones_makes_no_second_sheet_of_it(tmp_path):
    lookup = page(grid([["甲", "乙", "丙"], ["x", A, "1"], ["y", B, "2"]]), before=COLUMNS)
    assert read(save(tmp_path, PLAIN, lookup, strings=SHARED)) == RIGHT


def test_a_sheet_of_long_texts_is_read_in_pieces(tmp_path):
    rows = [["手机号", "备注"], *([f"139{n:08d}", "x" * 30_000] for n in range(300))]
    found = stretches(save(tmp_path, page(grid(rows))), phone_column="手机号")
    assert [value for rows in found for value in rows.values] == [f"139{n:08d}" for n in range(300)]


def test_what_stands_in_names_steers_no_terminal(tmp_path):
    path = save(tmp_path, page(grid([["甲", "乙"], ["x", "y"]])), names=["a&#10;b\u202e" + "c" * 99])
    fault = refused(path, "sheet 'a b")
    assert fault.message.isprintable()
    assert "c" * 65 not in fault.message


def test_the_column_that_was_read_is_told(tmp_path):
    (rows,) = stretches(save(tmp_path, page(grid([["姓名", "手机号", "x"], ["a", A, B]]))))
    assert rows.column == ColumnRead(2, "手机号", "header", ("x",))


def test_several_sheets_with_phones_are_refused_and_both_named(tmp_path):
    refused(save(tmp_path, PLAIN, PLAIN, strings=SHARED, names=["一月", "二月"]), "'一月' and '二月'")


# ---- damage -------------------------------------------------------------------------------------------


BOOK, SHEET, STRINGS_PART = "xl/workbook.xml", "xl/worksheets/sheet1.xml", "xl/sharedStrings.xml"


def changed(old, new, part=SHEET, times=-1):
    found = parts(PLAIN, strings=SHARED)
    assert old in found[part]
    return packed(found | {part: found[part].replace(old, new, times)})


def other_bytes(part):
    found = parts(PLAIN, strings=SHARED)
    return packed(found | {part: found[part].encode().replace(b"</t>", b"\xd6\xd0</t>")})


def twice():
    return packed(parts(PLAIN, strings=SHARED) | {"XL\\worksheets\\Sheet1.xml": PLAIN})


def without(name):
    return packed({part: xml for part, xml in parts(PLAIN, strings=SHARED).items() if part != name})


def named_in_no_utf8():
    data = packed(parts(PLAIN, strings=SHARED) | {"é.xml": "x"})
    return data.replace("é".encode(), b"\xd6\xd0")


def encrypted():
    data = bytearray(packed(parts(PLAIN, strings=SHARED)))
    for sign, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.find(sign)
        while at >= 0:
            data[at + place] |= 1
            at = data.find(sign, at + 4)
    return bytes(data)


def bomb(*, lie=False):
    xml = page(" " * 60_000_000)
    data = packed(parts(PLAIN, strings=SHARED) | {SHEET: xml})
    return data.replace(struct.pack("<I", len(xml)), struct.pack("<I", 1000)) if lie else data


DOCX = {"_rels/.rels": relationships([("officeDocument", "word/document.xml")]), "word/document.xml": "<x/>"}
CELL_TWICE = '</c><c r="A2"><v>1</v></c></row><row r="3"'
DAMAGE = {
    "a damaged workbook: xl/worksheets/sheet1.xml stands there twice": twice,
    "a damaged workbook: xl/worksheets/sheet1.xml is missing": lambda: without(SHEET),
    "a damaged workbook: xl/sharedstrings.xml is missing": lambda: without(STRINGS_PART),
    "a damaged workbook: a cell names a text that is not there": lambda: changed("<v>0</v>", "<v>1</v>"),
    "a damaged workbook: 'utf-8' codec": named_in_no_utf8,
    "it does not say where the sheet 'S1' is": lambda: without("xl/_rels/workbook.xml.rels"),
    "packed with a password": encrypted,
    "looks like a bomb": bomb,
    "that unpacks to more than": lambda: bomb(lie=True),
    "is no XML: mismatched tag": lambda: changed("</row>", "</rwo>", times=1),
    "is no XML: not well-formed": lambda: changed(A, "\x01"),
    "is no XML: undefined entity": lambda: changed(A, "&phone;"),
    "is no XML: no element found": lambda: changed("</worksheet>", ""),
    "xl/worksheets/sheet1.xml is no UTF-8": lambda: other_bytes(SHEET),
    "xl/sharedstrings.xml is no UTF-8": lambda: other_bytes(STRINGS_PART),
    "a document type": lambda: changed("<worksheet", "<!DOCTYPE worksheet []><worksheet"),
    "not in UTF-8": lambda: changed("UTF-8", "GBK"),
    "row 2 comes after row 2": lambda: changed('r="3"><c r="A3"', 'r="2"><c r="A2"'),
    "row 3 has a cell 'A4'": lambda: changed("A3", "A4"),
    "row 3 has two values": lambda: changed("<v>0</v>", "<v>0</v><v>0</v>"),
    "row 2 has a cell twice": lambda: changed('</c></row><row r="3"', CELL_TWICE),
    "xl/workbook.xml is no workbook that is known": lambda: changed("/2006/main", "/2005/main", BOOK),
    "xl/worksheets/sheet1.xml is no worksheet that is known": lambda: changed("/2006/main", "/2005/main"),
    "xl/sharedstrings.xml is no sst that is known": lambda: changed("/main", "/x", STRINGS_PART),
    "holds no sheetData": lambda: changed("sheetData>", "sheetdata>"),
    "sheetData twice": lambda: changed("</worksheet>", "<sheetData/></worksheet>"),
    "an Excel binary workbook": lambda: packed({"xl/workbook.bin": "x"}),
    "an OpenDocument file": lambda: packed({"mimetype": "x", "content.xml": "<x/>"}),
    "a Numbers document": lambda: packed({"Index/Document.iwa": "x"}),
    "a Word document": lambda: packed(DOCX),
    "no .xlsx workbook": lambda: packed({"list.csv": A}),
}


@pytest.mark.parametrize("words", DAMAGE)
def test_a_damaged_or_foreign_workbook_is_refused_in_words(tmp_path, words):
    path = tmp_path / "book.xlsx"
    path.write_bytes(DAMAGE[words]())
    fault = refused(path, words)
    assert fault.hint
    assert A not in fault.message


@pytest.mark.parametrize("keep", [100, 3000, -30])
def test_a_cut_workbook_is_refused(tmp_path, keep):
    path = tmp_path / "cut.xlsx"
    path.write_bytes((CORPUS / "book.xlsx").read_bytes()[:keep])
    refused(path, "a damaged workbook")
