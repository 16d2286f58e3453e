"""Workbooks of the corpus as many programs write them, whole and damaged; `make.py` calls `make`.

Most are written part by part, because openpyxl writes no damage and only one dialect. Numbers are invented.
"""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))
from tests.support.xlsx import MAIN, RELS, book, grid, packed, page, parts, relationships

A, B, C, D = "13900000001", "13812345678", "15987654321", "17458658658"
U1, U2 = "5832d184-dd53-42a0-8ace-0bf8d660f4cc", "4d99d91c-f5d9-49da-88da-758977cc58a9"
SHEET = "xl/worksheets/sheet1.xml"
LIST = [["姓名", "手机号"], ["张三", A], ["李四", B], ["王五", C]]
RIGHT = [(2, A), (3, B), (4, C)]


def make(case, sheet):
    """Write all of them; `case` writes one file and notes what must come out, `sheet` has openpyxl write."""
    cells(case, sheet)
    users(case)
    shown(case)
    unseen(case, sheet)
    dialects(case)
    damage(case)
    foreign(case)


def cells(case, sheet):
    """What a cell says, or does not say."""
    errors = [' t="e"><v>#N/A</v>', ' t="e"><f>VLOOKUP(A3,Z:Z,1,0)</f><v>#REF!</v>', ' t="e"/>']
    rows = [["姓名", "手机号"], *([name, xml] for name, xml in zip("甲乙丙", errors, strict=True)), ["丁", A]]
    rejects = [(line, "cell_error") for line in (2, 3, 4)]
    case("wb-errors.xlsx", book(page(grid(rows))), phones=[(5, A)], rejects=rejects)

    def formulas(_, page):
        page["A1"], page["B1"] = "姓名", "手机号"
        page["A2"], page["B2"] = "甲", '="139"&"00000001"'
        page["A3"], page["B3"] = "乙", int(B)

    case("wb-formulas-not-computed.xlsx", sheet([], formulas), phones=[(3, B)], rejects=[(2, "no_value")])
    alone = grid([["><f>B1*1</f>"], ['><f t="shared" si="0"/>'], [' t="str"><f>C1&amp;""</f>']])
    rejects = [(line, "no_value") for line in (1, 2, 3)]
    case("wb-nothing-computed.xlsx", book(page(alone)), phones=[], rejects=rejects)
    computed = [
        ["手机号", "x"],
        [f"><f>C2*1</f><v>{A}</v>", "1"],
        [f' t="str"><f>C3</f><v>+86 {B}</v>', "2"],
        [' t="str"><f>IF(1,"")</f><v></v>', "3"],
    ]
    kinds = {"prefix": 1, "space": 1}
    case(
        "wb-formulas-computed.xlsx", book(page(grid(computed))), phones=[(2, A), (3, B)], kinds=kinds, blank=1
    )

    styles = (
        '<numFmts count="1"><numFmt numFmtId="170" formatCode="yyyy/m/d\\ h:mm;@"/></numFmts>'
        '<cellXfs count="3"><xf numFmtId="0"/><xf numFmtId="14"/><xf numFmtId="170"/></cellXfs>'
    )
    odd = [
        ["phone"],
        [' s="1"><v>45499</v>'],
        [f' s="2"><v>{A}</v>'],
        [' t="d"><v>2024-07-26</v>'],
        [f"><v>-{A}</v>"],
        ["><v>0.5</v>"],
        [' t="b"><v>1</v>'],
        [f"><v>{B}</v>"],
        ["><v>1.3900000002E10</v>"],
    ]
    reasons = ["date", "date", "date", "negative", "float", "not_text"]
    case(
        "wb-no-phones-in-cells.xlsx",
        book(page(grid(odd)), styles=styles),
        phones=[(8, B), (9, "13900000002")],
        rejects=list(enumerate(reasons, 2)),
    )
    whole = [["number"], ["><v>123456789012345</v>"], ["><v>1234567890123456</v>"], ["12345678901234567890"]]
    case(
        "wb-fifteen-digits.xlsx",
        book(page(grid(whole))),
        rule="number",
        phones=[(2, "123456789012345"), (4, "12345678901234567890")],
        rejects=[(3, "rounded")],
        phone_column=1,
    )
    gaps = [
        ["姓名", "手机号"],
        ["甲", A],
        ["乙", None],
        ["丙", "/>"],
        ["丁", ' t="inlineStr"><is><t xml:space="preserve">  </t></is>'],
        [None, None],
        ["戊", B],
    ]
    case("wb-blank-cells.xlsx", book(page(grid(gaps))), phones=[(2, A), (7, B)], blank=3)
    escaped = [["手机号"], [f"{A}_x000D_"], [f"&#49;{B[1:]}"], [f"{C}&#10;"]]
    phones = [(2, A), (3, B), (4, C)]
    case("wb-escapes.xlsx", book(page(grid(escaped))), phones=phones, kinds={"space": 2})
    texts = (
        f"<si><r><t>139</t></r><r><rPr><b/></rPr><t>{A[3:]}</t></r><rPh sb='0' eb='1'><t>1</t></rPh></si>"
        f"<si><t>手机号</t><phoneticPr fontId='1'/></si><si><t xml:space='preserve'>{B} </t></si>"
    )
    rows = grid([[' t="s"><v>1</v>'], [' t="s"><v>0</v>'], [' t="s"><v>2</v>']])
    case(
        "wb-formatted-text.xlsx", book(page(rows), strings=texts), phones=[(2, A), (3, B)], kinds={"space": 1}
    )


def users(case):
    """User ids as cells hold them."""
    asked = {"user_column": "user_id"}
    flawed = [
        "><v>123456789012345678</v>",
        "><v>1001.5</v>",
        ' t="b"><v>1</v>',
        ' s="1"><v>45292</v>',
        "><v>-5</v>",
        ' t="e"><v>#N/A</v>',
        "><f>Z1</f>",
    ]
    reasons = ["rounded", "float", "not_text", "date", "negative", "cell_error", "no_value"]
    rows = grid([["user_id", "phone"], *([cell, A] for cell in flawed), [U1, B]])
    case(
        "wb-users-flawed.xlsx",
        book(page(rows), styles='<cellXfs><xf numFmtId="0"/><xf numFmtId="14"/></cellXfs>'),
        phones=[*((line, A) for line in range(2, 9)), (9, B)],
        users=["123456789012345680", "1001.5", "TRUE", "45292", "-5", "#N/A", "=", U1],
        user_flaws=list(enumerate(reasons, 2)),
        **asked,
    )
    exact = [
        "><v>1001</v>",
        "><v>123456789012345</v>",
        "><v>2000000</v>",
        U1,
        f' t="str"><f>Z1</f><v>{U2}</v>',
    ]
    rows = grid([["user_id", "phone"], *([cell, A] for cell in exact)])
    case(
        "wb-users-exact.xlsx",
        book(page(rows)),
        phones=[(line, A) for line in range(2, 7)],
        users=["1001", "123456789012345", "2000000", U1, U2],
        **asked,
    )
    rows = grid([["user_id", "phone"], [U1, A]])
    case("wb-users-for-one.xlsx", book(page(rows)), fault="this list names users itself: 1 'user_id'")


def shown(case):
    """Numbers that their cells show as they are, as others, with words, or not at all."""
    codes = [";;;", "0%", "#,##0,", "0&quot;0&quot;", "&quot;+86 &quot;0", "#,##0", "&quot;U&quot;0"]
    formats = "".join(f'<numFmt numFmtId="{n}" formatCode="{code}"/>' for n, code in enumerate(codes, 170))
    styles = f"<numFmts>{formats}</numFmts><cellXfs>" + "".join(
        f'<xf numFmtId="{n}"/>' for n in (0, *range(170, 170 + len(codes)))
    )
    styles += "</cellXfs>"
    rows = [["姓名", "手机号"], *(["x", f' s="{style}"><v>{A}</v>'] for style in range(len(codes) + 1))]
    case(
        "wb-shown-as-others.xlsx",
        book(page(grid(rows)), styles=styles),
        phones=[(line, A) for line in (2, 7, 8, 9)],
        rejects=[(line, "shown") for line in (3, 4, 5, 6)],
    )
    ids = [["user_id", "phone"], *([f' s="{style}"><v>1001</v>', A] for style in (0, 6, 7, 1))]
    case(
        "wb-users-shown-as-others.xlsx",
        book(page(grid(ids)), styles=styles),
        phones=[(line, A) for line in (2, 3, 4, 5)],
        users=["1001"] * 4,
        user_flaws=[(4, "shown"), (5, "shown")],
        user_column="user_id",
        phone_column="phone",
    )


def unseen(case, sheet):
    """What a filter, a person or a macro has hidden."""
    hint = "hidden_rows: skip"
    filtered = book(page(grid(LIST, hidden=(3,)), after='<autoFilter ref="A1:B4"/>'))
    case("wb-filtered.xlsx", filtered, fault="1 rows with a value in the phone column are hidden", hint=hint)
    case("wb-filtered-skip.xlsx", filtered, phones=[(2, A), (4, C)], hidden=1, hidden_rows="skip")
    case("wb-filtered-include.xlsx", filtered, phones=RIGHT, hidden=1, hidden_rows="include")

    def collapse(_, page):
        page.row_dimensions.group(3, 4, hidden=True)

    case(
        "wb-collapsed.xlsx", sheet(LIST, collapse), fault="2 rows with a value in the phone column are hidden"
    )

    def group(_, page):
        page.row_dimensions.group(3, 4, hidden=False)
        page.auto_filter.ref = "A1:B4"

    case("wb-grouped.xlsx", sheet(LIST, group), phones=RIGHT)
    flat = grid(LIST).replace('<row r="3">', '<row r="3" ht="0" customHeight="1">')
    case("wb-row-without-height.xlsx", book(page(flat)), fault="1 rows with a value")
    blanks = [*LIST[:2], ["李四", None], *LIST[3:]]
    hidden = book(page(grid(blanks, hidden=(1, 3))))
    case("wb-hidden-header-and-blank.xlsx", hidden, phones=[(2, A), (4, C)], blank=1)

    second = '<cols><col min="2" max="2" width="9" hidden="1"/></cols>'
    column = book(page(grid(LIST), before=second))
    case("wb-hidden-column.xlsx", column, fault="column 2 '手机号', which holds the phones, is hidden")
    case("wb-hidden-column-named.xlsx", column, phones=RIGHT, phone_column="手机号")
    words = [["姓名", "号", "备注"], ["张三", A, "x"], ["李四", B, "y"]]
    case("wb-hidden-by-content.xlsx", book(page(grid(words), before=second)), fault="no column holds phones")
    beside = [["手机号", "备用手机"], [A, D], [B, D]]
    case("wb-hidden-beside.xlsx", book(page(grid(beside), before=second)), fault="several columns")
    notes = [["手机号", "备注"], [A, "x"], [B, "y"]]
    case("wb-hidden-notes.xlsx", book(page(grid(notes), before=second)), phones=[(2, A), (3, B)])

    lists, other = page(grid(LIST)), page(grid([["手机号"], [D]]))
    case("wb-hidden-sheet-beside.xlsx", book(other, lists, states={0: "veryHidden"}), phones=RIGHT)
    only = book(lists, page(""), states={0: "hidden"})
    case("wb-only-hidden-sheet.xlsx", only, fault="only hidden sheets hold anything: 'S1'")
    doubt = page(grid([["甲", "乙"], [A, B], [C, D]]))
    case(
        "wb-second-sheet-in-doubt.xlsx", book(lists, doubt), fault="several sheets hold phones: 'S1' and 'S2'"
    )
    words = page(grid([["说明"], ["请勿外传"], ["2024年7月"]]))
    case("wb-notes-beside.xlsx", book(words, lists), phones=RIGHT)


def dialects(case):
    """The same list as other programs write it."""
    plain = parts(page(grid(LIST)))
    case(
        "wb-backslashes.xlsx",
        packed({name.replace("/", "\\"): xml for name, xml in plain.items()}),
        phones=RIGHT,
    )
    case("wb-other-case.xlsx", packed({name.title(): xml for name, xml in plain.items()}), phones=RIGHT)
    moved = {
        "_rels/.rels": relationships([("officeDocument", "/doc/book.xml")]),
        "doc/book.xml": plain["xl/workbook.xml"],
        "doc/_rels/book.xml.rels": relationships([("worksheet", "../lists/far.xml")]),
    }
    far = f'<row r="1048576"><c r="B1048576"><v>{D}</v></c><c r="XFD1048576"><v>1</v></c></row>'
    found = moved | {"lists/far.xml": page(grid(LIST) + far)}
    case("wb-far-cell-in-another-folder.xlsx", packed(found), phones=[*RIGHT, (1048576, D)])
    prefixed = re.sub(r"<(/?)(?=worksheet|sheetData|row|c[ >]|v>|is>|t>)", r"<\1x:", page(grid(LIST)))
    case("wb-prefixed.xlsx", packed(plain | {SHEET: prefixed.replace("xmlns=", "xmlns:x=")}), phones=RIGHT)
    strict = {
        name: xml.replace(MAIN, "http://purl.oclc.org/ooxml/spreadsheetml/main").replace(
            RELS, "http://purl.oclc.org/ooxml/officeDocument/relationships"
        )
        for name, xml in plain.items()
    }
    case("wb-strict.xlsx", packed(strict), phones=RIGHT)
    wide = page(grid(LIST)).replace("UTF-8", "UTF-16").encode("utf-16")
    case("wb-utf16.xlsx", packed(plain | {SHEET: wide}), phones=RIGHT)
    spread = page(
        grid(LIST).replace("<row", "\n <row").replace("<c ", "\n  <c ").replace("</row>", "\n </row>")
    )
    case(
        "wb-spread-out.xlsx", book(spread.replace("<sheetData>", "<!-- rows -->\n<sheetData >")), phones=RIGHT
    )
    office = grid(LIST).replace(
        "<row ", '<row collapsed="false" customFormat="false" hidden="false" ht="12.8" '
    )
    case("wb-office-attributes.xlsx", book(page(office)), phones=RIGHT)
    unplaced = re.sub(r' r="[A-Z]*[0-9]+"', "", grid(LIST))
    case("wb-unplaced-cells.xlsx", book(page(unplaced)), phones=RIGHT)
    chart = parts(page(grid(LIST)), page(""), names=["S1", "图"])
    chart["xl/_rels/workbook.xml.rels"] = chart["xl/_rels/workbook.xml.rels"].replace(
        'worksheet" Target="worksheets/sheet2.xml', 'chartsheet" Target="chartsheets/sheet1.xml'
    )
    case("wb-chart-sheet.xlsx", packed(chart), phones=RIGHT)
    many = [[f"字段{i}" for i in range(21)] + ["手机号"]]
    many += [[f"值{n}-{i}" for i in range(21)] + [f"139{n:08d}"] for n in range(200)]
    phones = [(n + 2, f"139{n:08d}") for n in range(200)]
    case("wb-twenty-two-columns.xlsx", book(page(grid(many))), phones=phones)


def damage(case):
    """Files that went wrong on the way, or that somebody made so."""
    plain = parts(page(grid(LIST)), strings="<si><t>x</t></si>")

    def changed(old, new, part=SHEET):
        assert old in plain[part]
        return packed(plain | {part: plain[part].replace(old, new, 1)})

    case("wb-part-twice.xlsx", packed(plain | {SHEET.upper(): page(grid([["手机号"], [D]]))}), fault="twice")
    missing = {name: xml for name, xml in plain.items() if name != SHEET}
    case("wb-part-missing.xlsx", packed(missing), fault="xl/worksheets/sheet1.xml is missing")
    gbk = packed(plain | {"说.xml": "x"}).replace("说".encode(), b"\xcb\xb5\xa3")
    case("wb-name-no-utf8.xlsx", gbk, fault="a damaged workbook: 'utf-8' codec")
    locked = bytearray(packed(plain))
    for sign, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        for found in re.finditer(re.escape(sign), bytes(locked)):
            locked[found.start() + place] |= 1
    case("wb-zip-password.xlsx", bytes(locked), fault="packed with a password")
    whole = packed(plain, method=0)
    case("wb-cut.xlsx", whole[: len(whole) // 2], fault="a damaged workbook: File is not a zip file")
    case("wb-one-digit-changed.xlsx", whole.replace(B.encode(), b"13812345679"), fault="Bad CRC-32 for file")
    case("wb-cut-sheet.xlsx", changed("</sheetData></worksheet>", ""), fault="no XML: no element found")
    case("wb-tags-crossed.xlsx", changed("</t></is>", "</is></t>"), fault="no XML: mismatched tag")
    doctype = changed("<worksheet", f'<!DOCTYPE w [<!ENTITY p "{D}">]><worksheet')
    case("wb-doctype.xlsx", doctype, fault="a document type stands in it")
    case("wb-encoding.xlsx", changed("UTF-8", "GBK"), fault="written in 'GBK', not in UTF-8")
    case(
        "wb-row-twice.xlsx",
        changed('<row r="4"><c r="A4"', '<row r="3"><c r="A3"'),
        fault="row 3 comes after row 3",
    )
    case("wb-cell-of-another-row.xlsx", changed('r="B3"', 'r="B9"'), fault="row 3 has a cell 'B9'")
    case("wb-cell-twice.xlsx", changed('r="A3"', 'r="B3"'), fault="row 3 has a cell twice")
    two = changed(f"<t>{B}</t></is>", f"<t>{B}</t></is><v>{C}</v>")
    case("wb-two-values.xlsx", two, fault="a cell of row 3 has two values")
    case(
        "wb-prefix-of-nobody.xlsx", changed('<row r="3"', '<row r="3" zz:x="1"'), fault="XML: unbound prefix"
    )
    twice = changed('<row r="3"', '<row r="3" hidden="0" hidden="1"')
    case("wb-hidden-or-not.xlsx", twice, fault="no XML: duplicate attribute")
    lost = changed('r="B3" t="inlineStr"><is><t>' + B + "</t></is>", 'r="B3" t="s"><v>7</v>')
    case("wb-text-not-there.xlsx", lost, fault="a cell names a text that is not there")
    beta = changed(MAIN, "http://schemas.microsoft.com/office/excel/2006/2", "xl/workbook.xml")
    case("wb-beta-of-excel.xlsx", beta, fault="xl/workbook.xml is no workbook that is known")
    unbound = changed('r:id="rId1"', 'r:id="rId7"', "xl/workbook.xml")
    case("wb-sheet-nowhere.xlsx", unbound, fault="it does not say where the sheet 'S1' is")


def foreign(case):
    """Archives that are something else."""
    rels = {"_rels/.rels": relationships([("officeDocument", "xl/workbook.bin")])}
    case(
        "book.xlsb", packed(rels | {"xl/workbook.bin": "\x83\x01"}), fault="an Excel binary workbook (.xlsb)"
    )
    case("book.ods", packed({"mimetype": "x", "content.xml": "<x/>"}), fault="an OpenDocument file (.ods)")
    case("list.numbers", packed({"Index/Document.iwa": "x"}), fault="a Numbers document")
    letter = relationships([("officeDocument", "word/document.xml")])
    case("letter.docx", packed({"_rels/.rels": letter, "word/document.xml": "<x/>"}), fault="a Word document")
