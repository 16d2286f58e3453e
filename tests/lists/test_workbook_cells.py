"""The two ways through a sheet say the same, and say what other programs wrote."""

import io
import re
from datetime import date
from itertools import product
from string import ascii_uppercase

import openpyxl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from runner.lists.workbook_parts import Parts, Unreadable, XmlScan
from runner.lists.workbook_sheet import Workbook, _SheetScan
from tests.support.xlsx import MAIN, book, page

STRINGS = "<si><t>a</t></si><si><r><t>b</t></r><r><t>c</t></r></si><si><t xml:space='preserve'> d</t></si>"
STYLES = '<cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="14"/></cellXfs>'


def read(data, columns=None):
    """Read the first sheet of a workbook, or say why not."""
    try:
        workbook = Workbook(Parts(io.BytesIO(data)))
        return list(workbook.rows(workbook.sheets[0], columns))
    except Unreadable as error:
        return error.message


def read_slowly(data, columns=None):
    """Do the same by the XML parser alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(XmlScan, "_begin", lambda self, _head: b"<" + self._unit.encode())
        return read(data, columns)


def ways(rows, **more):
    data = book(page(rows, **more), strings=STRINGS, styles=STYLES)
    for columns in (None, {1}, {0, 2}):
        assert read(data, columns) == read_slowly(data, columns)
    return read(data)


VALUES = st.sampled_from(
    [
        "/>",
        " />",
        ' s="1"/>',
        "><v>1</v>",
        "><v/>",
        "><v />",
        "><v></v>",
        ' s="1" t="n"><v>13900000001</v>',
        ' t="s"><v>0</v>',
        ' t="s"><v>1</v>',
        ' t="s"><v> 2 </v>',
        ' t="s"><v>3</v>',
        ' t="str"><f>A1&lt;2</f><v>x</v>',
        ' t="str"><f>A1</f><v>x</v>',
        ' t="str"><f>A1</f><v></v>',
        "><f>A1</f>",
        '><f t="shared" si="0"/><v>7</v>',
        '><f t="shared" ref="A1:A9" si="0">B1</f>',
        ' t="inlineStr"><is><t>i</t></is>',
        ' t="inlineStr"><is><t xml:space="preserve"> i_x0031_</t></is>',
        ' t="inlineStr"><is><r><t>i</t></r><phoneticPr/><rPh><t>no</t></rPh></is>',
        ' t="e"><v>#N/A</v>',
        ' t="b"><v>1</v>',
        "><v>1&amp;2</v>",
        " t='s'><v>0</v>",
        ' t="s" s="0"><v>0</v>',
        ' t="str"><v>a\rb</v>',
        ' t="str"><v>手机</v>',
        '><v>1</v><extLst><ext uri="{1}"><v>2</v><row r="9"/></ext></extLst>',
    ]
)
ATTRIBUTES = st.sampled_from(
    ["", ' hidden="1"', ' spans="1:3" ht="15"', ' ht="0.0"', " ht='0'", ' x="&gt;"', ' hidden="0"']
)
BETWEEN = st.sampled_from(["", "", "", "\n", " <!-- <row r='1'> -->", "<?x <row ?>"])
ROWS = st.lists(st.tuples(ATTRIBUTES, st.lists(VALUES, max_size=4), BETWEEN), max_size=6)


def xml_of(rows, closing="</c>"):
    out = []
    for number, (attributes, cells, between) in enumerate(rows, 1):
        inner = "".join(
            f'<c r="{"ABCD"[i]}{number}"{cell}' + ("" if re.match("[^>]*/>", cell) else closing)
            for i, cell in enumerate(cells)
        )
        row = f'<row r="{number}"{attributes}'
        out.append((f"{row}>{inner}</row>" if cells else f"{row}/>") + between)
    return "".join(out)


@settings(max_examples=150, deadline=None)
@given(ROWS)
@example([("", [' t="str"><v>x</v>'], "<!-- "), ("", ["><v>1</v>"], " -->"), ("", ["><v>2</v>"], "")])
def test_both_ways_through_a_sheet_say_the_same(rows):
    ways(xml_of(rows))


@pytest.mark.parametrize(
    "rows",
    [
        '<row><c t="inlineStr"><is><t>x</t></is></c><c><v>2</v></c></row><row r="4"><c r="B4"/></row>',
        f'<row xmlns="{MAIN}x" r="1"><c r="A1"><v>1</v></c></row>',
        '<row r="1"><c r="AB1"><v>1</v></c><c r="XFD1"><v>2</v></c></row>',
        '<row r="1"><c r="XFE1"><v>2</v></c></row>',
        '<row r="1048577"><c r="A1048577"><v>2</v></c></row>',
        '<row r="1"><c r="A1" s="99999999999"><v>2</v></c></row>',
        '<row r="1"><c r="b1"><v>2</v></c></row>',
        '<row r="1"><c r="B1"><v>2</v></c><c r="B1"><v>3</v></c></row>',
        '<row r="1"><c r="B1" t="str"><v>\x01</v></c></row>',
        '<row r="2"/><row r="1"/>',
        '<row r="1"><c r="A1"><v>1</v><ext><row r="7"><c r="A7"><v>5</v></c></row></ext></c></row>',
        '<row r="1"><c r="A1"><is><t>1</t><x><y><t>2</t></y></x></is></c></row><x><row r="2"/></x>',
        '<row ht="15" hidden="1" r="1"><c r="A1"><v>1</v></c></row><row x="&gt;" r="2"/>',
        "<row r='1'/>" * 2,
        '<row r="1"><c r="A1"><v>1</v></row>',
        '<row r="1"><c r="A1"><v>1</v><is><t>2</t></is></c></row>',
        '<row r="1"><c r="A1"><is><t>2</t></is><v>1</v></c></row>',
        '<row r="1"><c r="A1"><is><t>1</t></is><is><t>2</t></is></c></row>',
        '<row r="1" zz:dyDescent="0.2"><c r="A1"><v>1</v></c></row>',
        '<row r="1" hidden="0" hidden="1"><c r="A1"><v>1</v></c></row>',
        '<row r="1" r="2"><c r="A2"><v>1</v></c></row>',
        '<row r="1"><c r="A1"><f zz:t="x">1</f><v>1</v></c></row>',
        '<row r="1"><c r="A1"><f ca="1" ca="1">1</f><v>1</v></c></row>',
        '<row r="1"><c r="A1"><f si="0" t="shared">1</f><v>1</v></c></row>',
        '<zz:row r="1"><c r="A1"><v>1</v></c></zz:row>',
        '<row r="1"><zz:c r="A1"><v>1</v></zz:c></row>',
        '<row r="1"><c r="A1"><zz:v>1</zz:v></c></row>',
        '<row xml:space="preserve" r="1"><c r="A1"><v>1</v></c></row>',
    ],
)
def test_both_ways_agree_on_what_is_rare_or_damaged(rows):
    ways(rows)


@pytest.mark.parametrize("damage", ['zz:x="1"', 'hidden="0" hidden="1"', 'spans="1:2" spans="1:2"'])
def test_a_row_with_an_attribute_twice_or_of_a_prefix_that_nobody_declared_is_damage(damage):
    found = ways(
        f'<row r="1" ht="15"><c r="A1"><v>1</v></c></row><row r="2" {damage}><c r="A2"><v>1</v></c></row>'
    )
    assert "is no XML: " in found
    assert len(ways('<row r="1" xml:lang="en" ht="15"><c r="A1"><v>1</v></c></row>')) == 1


def test_a_prefix_that_the_sheet_declares_goes_the_fast_way():
    sheet = page('<row r="1" x14ac:dyDescent="0.2"><c r="A1"><v>1</v></c></row>').replace(
        "<worksheet ", '<worksheet xmlns:x14ac="urn:x" '
    )
    workbook = Workbook(Parts(io.BytesIO(book(sheet))))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_SheetScan, "_start_row", None)
        assert [row.number for row in workbook.rows(workbook.sheets[0])] == [1]


def test_both_ways_agree_over_the_ends_of_blocks():
    texts = {n: "x" * (n % 97) + "&amp;" * (n % 50 == 0) for n in range(1, 20_000)}
    rows = "".join(
        f'<row r="{n}"><c r="A{n}" t="inlineStr"><is><t>{text}</t></is></c></row>\n'
        for n, text in texts.items()
    )
    found = ways(rows)
    assert len(found) == 19_999
    assert found[99].cells[0].text == "xxx&"


def test_a_row_of_more_than_a_block_is_read():
    columns = ["".join(letters) for letters in product("ABCDEFG", ascii_uppercase, ascii_uppercase)]
    wide = "".join(f'<c r="{column}1"><v>{"1" * 300}</v></c>' for column in columns)
    found = ways(f'<row r="1">{wide}</row><row r="2"><c r="A2"><v>5</v></c></row>')
    assert len(found[0].cells) == len(columns)
    assert found[1].cells[0].text == "5"


def test_a_text_of_more_than_a_block_is_read():
    text = "号码中" * 800_000
    found = ways(f'<row r="1"><c r="A1" t="inlineStr"><is><t>{text}</t></is></c></row>')
    assert found[0].cells[0].text == text


def test_hidden_columns_are_known_after_the_first_row():
    columns = '<cols><col min="2" max="3" hidden="1"/><col min="16384" max="99999" hidden="true"/></cols>'
    workbook = Workbook(
        Parts(io.BytesIO(book(page('<row r="1"><c r="A1"><v>1</v></c></row>', before=columns))))
    )
    next(workbook.rows(workbook.sheets[0]))
    assert workbook.sheets[0].hidden_columns == {1, 2, 16383}


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Co", "Cn")), max_size=20)
WRITTEN = st.one_of(
    TEXTS, st.integers(0, 10**15 - 1), st.floats(0.25, 1e9), st.booleans(), st.dates(date(2000, 1, 1))
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(WRITTEN, min_size=1, max_size=4), min_size=1, max_size=8))
def test_what_another_program_wrote_is_read(rows):
    out, written = io.BytesIO(), openpyxl.Workbook()
    for row in rows:
        written.active.append(["x", *(f"t{cell}" if isinstance(cell, str) else cell for cell in row)])
    written.save(out)
    found = read(out.getvalue())
    assert [row.number for row in found] == list(range(1, len(rows) + 1))
    for row, cells in zip(found, rows, strict=True):
        for column, value in enumerate(cells, 1):
            assert said(row.cells[column]) == wanted(value)


def said(cell):
    return cell.text if cell.flaw in {"", "zeros"} else cell.flaw


def wanted(value):
    if isinstance(value, bool | date):
        return "not_text" if isinstance(value, bool) else "date"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else "float"
    return str(value) if isinstance(value, int) else f"t{value}"
