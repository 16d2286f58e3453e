"""Makes the corpus: small lists as real writers write them, and by hand what must come out of each.

Run it where iconv, gzip, zstd and openpyxl are: `python tests/corpus/make.py`. The files and `expected.json`
are committed; workbooks differ in their time stamps from run to run, the others are the same byte for byte.
Expectations are written here, never taken from the code that is tested. Numbers are invented.
"""

import csv
import datetime
import io
import json
import subprocess
import tarfile
import zipfile
from pathlib import Path

import openpyxl
import workbooks as written

HERE = Path(__file__).parent
A, B, C, D = "13900000001", "13812345678", "15987654321", "17458658658"
ALL = [A, B, C, D]
U1, U2 = "5832d184-dd53-42a0-8ace-0bf8d660f4cc", "4d99d91c-f5d9-49da-88da-758977cc58a9"
EXPECTED: dict[str, dict] = {}


def case(
    name,
    data,
    *,
    phones=None,
    rejects=(),
    kinds=None,
    users=None,
    blank=0,
    column=None,
    user_flaws=None,
    hidden=0,
    fault=None,
    hint=None,
    rule="mobile_cn",
    **spec,
):
    """Write one file and note what must come out.

    Phones are [line, phone], rejects [line, reason]; blank counts rows without a phone; the column is
    [number, header, how it was found, headers that were passed over], where that is what the file is for;
    user_flaws are [line, reason] of rows that name no user exactly; hidden counts rows that nobody sees;
    fault and hint are parts of those words.
    """
    if data is not None:
        (HERE / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    entry: dict = {"rule": rule}
    if spec:
        entry["spec"] = spec
    if fault is not None:
        entry["fault"] = fault
        if hint is not None:
            entry["hint"] = hint
    else:
        entry["phones"] = [list(pair) for pair in phones]
        entry["rejects"] = [list(pair) for pair in rejects]
        entry["kinds"] = kinds or {}
    if users is not None:
        entry["users"] = users
    if blank:
        entry["blank"] = blank
    if column is not None:
        entry["column"] = column
    if hidden:
        entry["hidden"] = hidden
    if user_flaws is not None:
        entry["user_flaws"] = [list(pair) for pair in user_flaws]
    EXPECTED[name] = entry


def at(first, *phones):
    """Return phones on consecutive lines."""
    return [(first + index, phone) for index, phone in enumerate(phones)]


def iconv(text, to):
    """Encode by iconv, not by Python."""
    return subprocess.run(
        ["iconv", "-f", "UTF-8", "-t", to], input=text.encode(), stdout=-1, check=True
    ).stdout


def packed(data, *command):
    """Pack by the real program."""
    return subprocess.run(command, input=data.encode(), stdout=-1, check=True).stdout


def table(rows, **how):
    """Write CSV by Python's writer."""
    out = io.StringIO()
    csv.writer(out, **{"lineterminator": "\n", **how}).writerows(rows)
    return out.getvalue()


def sheet(rows, change=None):
    """Write a workbook by openpyxl."""
    book = openpyxl.Workbook()
    page = book.active
    for row in rows:
        page.append(row)
    if change is not None:
        change(book, page)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def texts():
    """One value a line."""
    case("plain.txt", "\n".join(ALL) + "\n", phones=at(1, *ALL))
    case("no-newline-at-end.txt", "\n".join(ALL), phones=at(1, *ALL))
    case("windows-lines.txt", "\r\n".join(ALL) + "\r\n", phones=at(1, *ALL))
    case("old-mac-lines.txt", "\r".join(ALL) + "\r", phones=at(1, *ALL))
    case("utf8-bom.txt", b"\xef\xbb\xbf" + f"手机号\n{A}\n{B}\n".encode(), phones=at(2, A, B))
    case("blank-lines.txt", f"\n\n{A}\n\n\n{B}\n\n", phones=[(3, A), (6, B)])
    case("empty.txt", "", phones=[])
    case("only-header.csv", "手机号,姓名\n", phones=[])
    case("header-mobile.txt", f"Mobile No.\n{A}\n{B}\n", phones=at(2, A, B))
    case("header-unknown-word.txt", f"名单\n{A}\n{B}\n", phones=at(2, A, B))
    case(
        "as-people-write.txt",
        f'+86 139-0000-0001\n0086 13812345678\n8615987654321\n(+86)174.5865.8658\n\'{A}\n="{B}"\n'
        "159 8765 4321\n【17458658658】\n",
        phones=at(1, A, B, C, D, A, B, C, D),
        kinds={"prefix": 4, "space": 3, "dash": 1, "dot": 1, "bracket": 2, "apostrophe": 1, "formula": 1},
    )
    case(
        "full-width.txt",
        "１３９０００００００１\n＋８６　１３８－１２３４－５６７８\n",
        phones=at(1, A, B),
        kinds={"width": 2, "prefix": 1, "dash": 1, "space": 1},
    )
    case(
        "pasted-from-contacts.txt",
        f"\u202d{A}\u202c\n\u200b{B}\n\ufeff{C}\n\u2066{D}\u2069\n",
        phones=at(1, *ALL),
        kinds={"invisible": 4},
    )
    case(
        "damaged-values.txt",
        f"{A}\n1.39E+10\n13900000000.0\n{A} {B}\n{A}/{B}\n1390000000\n139000000011\n010-12345678\n"
        "12345678901\n+85212345678\nabc\n1390000000①\n--\n400-800-8820\n٠١٢٣٤٥٦٧٨٩٠\n",
        phones=[(1, A)],
        rejects=[
            (2, "scientific"),
            (3, "float"),
            (4, "several"),
            (5, "several"),
            (6, "length"),
            (7, "length"),
            (8, "landline"),
            (9, "not_mobile"),
            (10, "country"),
            (11, "characters"),
            (12, "digits"),
            (13, "empty"),
            (14, "landline"),
            (15, "digits"),
        ],
    )
    case(
        "numbers.txt",
        "010-12345678\n+44 7911 123456\n95588\n1234\n123456789012345678901\n1.5\n",
        rule="number",
        phones=at(1, "01012345678", "447911123456", "95588"),
        rejects=[(4, "length"), (5, "length"), (6, "float")],
        kinds={"dash": 1, "space": 1, "plus": 1},
    )
    case(
        "opaque.txt",
        f"aGVsbG8gd29ybGQ=\n  9f86d081884c7d65 \n{'x' * 513}\nwith\ttab\n",
        rule="opaque",
        phones=at(1, "aGVsbG8gd29ybGQ=", "9f86d081884c7d65"),
        rejects=[(3, "too_long"), (4, "control")],
        kinds={"space": 1},
    )


def encodings():
    """By iconv."""
    rows = f"姓名,手机号,备注\n张三,{A},公海客户\n李四,{B},已退订\n欧阳娜娜,{C},\n"
    want = at(2, A, B, C)
    case("gb18030.csv", iconv(rows, "GB18030"), phones=want)
    case("gbk.csv", iconv(rows, "GBK"), phones=want)
    case("gb18030-four-bytes.csv", iconv(f"姓名,电话\n𠮷野,{A}\n㐀,{B}\n", "GB18030"), phones=at(2, A, B))
    case("utf16-bom.csv", iconv(rows, "UTF-16"), phones=want)
    case("utf16le-bom.csv", b"\xff\xfe" + iconv(rows, "UTF-16LE"), phones=want)
    case("utf16be-bom.csv", b"\xfe\xff" + iconv(rows, "UTF-16BE"), phones=want)
    case("utf16le-no-bom.csv", iconv(rows, "UTF-16LE"), fault="NUL byte at offset ")
    case("utf16le-forced.csv", iconv(rows, "UTF-16LE"), phones=want, encoding="utf-16-le")
    case("big5-forced.csv", iconv(f"姓名,電話號碼\n王小明,{A}\n", "BIG5"), phones=at(2, A), encoding="big5")
    case("utf8-bom.csv", iconv("\ufeff" + rows, "UTF-8"), phones=want)
    case("latin1.csv", iconv(f"name,phone\nJosé,{A}\n", "LATIN1"), fault="at the offsets 14 and 14")
    damaged = rows.encode() + b"\xff" + f"王五,{D},\n".encode()
    case("utf8-damaged.csv", damaged, fault=f"damaged UTF-8: the byte at offset {len(rows.encode())}")
    damaged = iconv(rows, "GB18030") + b"\xff\xff," + f"{D},\n".encode()
    case("gb18030-damaged.csv", damaged, fault=f"and {len(iconv(rows, 'GB18030'))} do not decode")
    case(
        "utf8-forced-wrongly.csv",
        iconv(rows, "GB18030"),
        fault="offset 0 does not decode as utf-8",
        encoding="utf-8",
    )


def tables():
    """CSV as programs export it."""
    rows = [["user_id", "phone"], [U1, A], [U2, B], [U1, C]]
    users = [U1, U2, U1]
    case("users.csv", table(rows), phones=at(2, A, B, C), users=users, user_column="user_id")
    case("users.tsv", table(rows, delimiter="\t"), phones=at(2, A, B, C), users=users, user_column="user_id")
    case(
        "users-by-number.csv",
        table(rows[1:]),
        phones=at(1, A, B, C),
        users=users,
        user_column=1,
        phone_column=2,
    )
    plain = [["ref", "phone"], [1, A], [2, B], [3, C]]
    case("semicolons.csv", table(plain, delimiter=";"), phones=at(2, A, B, C))
    case("excel-sep-line.csv", "sep=;\n" + table(plain, delimiter=";"), phones=at(3, A, B, C))
    case(
        "quote-all.csv",
        table(rows, quoting=csv.QUOTE_ALL),
        phones=at(2, A, B, C),
        users=users,
        user_column="user_id",
    )
    quoted = [
        ["id", "地址", "联系电话"],
        [1, "北京市\n朝阳区", A],
        [2, '他说"不要,再打"', B],
        [3, "上海\n\n浦东", C],
    ]
    case("newlines-in-cells.csv", table(quoted), phones=[(2, A), (4, B), (5, C)])
    case(
        "formula-cells.csv",
        table([["phone"], [f'="{A}"'], [f'="{B}"']]),
        phones=at(2, A, B),
        kinds={"formula": 2},
    )
    case("headerless.csv", f"1,张三,{A}\n2,李四,{B}\n", phones=at(1, A, B))
    case("header-in-unknown-words.csv", f"序号,客户,号\n1,张三,{A}\n2,李四,{B}\n", phones=at(2, A, B))
    case(
        "title-above-header.csv",
        f"客户名单导出,,\n2024-07-26,,\n序号,手机号码,备注\n1,{A},\n",
        phones=[(4, A)],
    )
    case("header-shouting.csv", f"NAME, PHONE_NUMBER \nx,{A}\n", phones=[(2, A)])
    case("trailing-empty-rows.csv", f"姓名,手机\n张三,{A}\n,\n李四,{B}\n,\n,\n", phones=[(2, A), (4, B)])
    case("empty-cells.csv", f"姓名,手机\n张三,{A}\n李四,\n", phones=[(2, A)], blank=1)
    case(
        "ragged.csv",
        f"姓名,手机\n张三,{A}\nWang, Li,{B}\n李四\n王五,{C},\n",
        phones=[(2, A)],
        rejects=[(3, "columns"), (4, "columns"), (5, "columns")],
    )
    case("two-headers.csv", f"手机号,联系电话\n{A},{B}\n", fault="1 '手机号', 2 '联系电话'")
    case("two-headers-told.csv", f"手机号,联系电话\n{A},{B}\n", phones=[(2, B)], phone_column="联系电话")
    case("two-columns-hold-phones.csv", f"甲,乙\n{A},{B}\n{C},{D}\n", fault="several columns hold phones: 1 ")
    case("no-phones.csv", "a,b\n1,2\n3,4\n", fault="no column holds phones: there are 1 ")
    case(
        "unknown-column.csv",
        f"姓名,手机\n张三,{A}\n",
        fault="there are 1 '姓名', 2 '手机'",
        phone_column="电话",
    )
    case(
        "same-name-twice.csv",
        f"phone,phone\n{A},{B}\n",
        fault="stands there twice: 1 'phone', 2 'phone'",
        phone_column="phone",
    )
    case(
        "quote-not-closed.csv",
        f'姓名,手机\n张三,{A}\n"李四,{B}\n王五,{C}\n',
        fault=":3: the row that begins here",
    )
    case("quote-goes-on.csv", f'姓名,手机\n"张"三,{A}\n', fault=":2: the row that begins here")
    case(
        "excel-damaged.csv",
        f"姓名,手机\n张三,1.39E+10\n李四,{B}\n",
        phones=[(3, B)],
        rejects=[(2, "scientific")],
    )
    case("opaque.csv", "phone,level\nabc=,1\ndef=,2\n", rule="opaque", phones=at(2, "abc=", "def="))
    case("one-quoted-column.csv", f'"phone"\n"{A}"\n"{B}"\n', phones=at(2, A, B))
    case("single-row.csv", f"张三,{A}", phones=[(1, A)])


def json_lists():
    """JSON, all at once or by lines."""
    case("values.json", json.dumps(ALL), phones=[(1, phone) for phone in ALL])
    case("values-indented.json", json.dumps([int(phone) for phone in ALL], indent=1), phones=at(2, *ALL))
    objects = [
        {"id": 1, "手机": A},
        {"id": 2, "手机": int(B)},
        {"id": 3},
        {"id": 4, "手机": None},
        {"手机": [C]},
    ]
    rejects = [(1, "not_text")]
    case("objects.json", json.dumps(objects), phones=[(1, A), (1, B)], rejects=rejects, blank=2)
    case("values.jsonl", f'"{A}"\n{B}\n"+86{C}"\n', phones=at(1, A, B, C), kinds={"prefix": 1})
    lines = "".join(
        json.dumps({"user_id": user, "phone": phone}) + "\n" for user, phone in ((U1, A), (U2, B))
    )
    case("objects.jsonl", lines, phones=at(1, A, B), users=[U1, U2], user_column="user_id")
    case(
        "floats.json",
        f"[{A}, 13900000000.0, 1.39e10, true, [], {{}}]".replace(", {}", ""),
        phones=[(1, A)],
        rejects=[(1, "float"), (1, "scientific"), (1, "not_text"), (1, "not_text")],
    )
    case(
        "escapes.json",
        '["\\u0031\\u0033900000001", "13812345678\\n"]',
        phones=[(1, A), (1, B)],
        kinds={"space": 1},
    )
    case("bom.json", b"\xef\xbb\xbf" + json.dumps(ALL[:2]).encode(), phones=[(1, A), (1, B)])
    case("empty.json", "[]\n", phones=[])
    case("cut.json", f'["{A}",\n"{B}"', fault=":2: no JSON")
    case("key-twice.jsonl", f'{{"phone":"{A}","phone":"{B}"}}\n', fault=":1: no JSON: a key stands twice")
    case("bad-line.jsonl", f'{{"phone":"{A}"}}\n{{"phone":\n', fault=":2: no JSON")
    case("nan.json", f"[{A}, NaN]", fault="NaN is no JSON")


def packages():
    """By gzip and zstd."""
    text = "手机号\n" + "\n".join(ALL) + "\n"
    case("list.txt.gz", packed(text, "gzip", "-nc"), phones=at(2, *ALL))
    case("list.txt.zst", packed(text, "zstd", "-qc"), phones=at(2, *ALL))
    case("no-name-for-it", packed(text, "gzip", "-nc"), phones=at(2, *ALL))
    two = packed(f"{A}\n", "gzip", "-nc") + packed(f"{B}\n", "gzip", "-nc")
    case("two-members.gz", two, phones=at(1, A, B))
    case(
        "gb18030.csv.gz",
        subprocess.run(
            ["gzip", "-nc"], input=iconv(f"姓名,手机\n张,{A}\n", "GB18030"), stdout=-1, check=True
        ).stdout,
        phones=[(2, A)],
    )
    case("cut.gz", packed(text * 99, "gzip", "-nc")[:-12], fault="damaged or cut (gzip)")
    case("cut.zst", packed(text * 99, "zstd", "-qc")[:-12], fault="damaged or cut (zstd)")
    case("objects.jsonl.zst", packed(f'{{"tel":"{A}"}}\n', "zstd", "-qc"), phones=[(1, A)])
    case("csv-called-xlsx.xlsx", f"姓名,手机\n张三,{A}\n", phones=[(2, A)])
    case("list.bz2", packed(text, "bzip2", "-c"), fault="packed with bzip2")


def workbooks():
    """By openpyxl, with what people do to workbooks."""
    rows = [["姓名", "手机号"], ["张三", A], ["李四", int(B)], ["王五", f" {C}"]]
    case("book.xlsx", sheet(rows), phones=at(2, A, B, C), kinds={"space": 1})
    odd = [
        ["phone"],
        [1.39e10],
        [13900000001.5],
        [True],
        [datetime.date(2024, 7, 26)],
        [int(D)],
        ["1.39E+10"],
        [1.23e19],
    ]
    reasons = ["rounded", "float", "not_text", "date", "scientific", "rounded"]
    case(
        "damaged-cells.xlsx",
        sheet(odd),
        phones=[(6, D)],
        rejects=list(zip([2, 3, 4, 5, 7, 8], reasons, strict=True)),
    )

    def scattered(book, page):
        page["C5"], page["D5"] = "号码", "备注"
        page["C6"], page["C8"] = A, int(B)
        page["B2"] = "七月名单"
        page.merge_cells("B2:D2")

    case("title-and-gaps.xlsx", sheet([], scattered), phones=[(6, A), (8, B)])
    case("column-by-letter-place.xlsx", sheet([], scattered), phones=[(6, A), (8, B)], phone_column=3)

    def more_sheets(book, page):
        book.create_sheet("说明")["A1"] = "导出说明"
        book.create_sheet("空")
        hidden = book.create_sheet("旧名单")
        hidden.append(["手机号"])
        hidden.append([D])
        hidden.sheet_state = "hidden"

    case("other-sheets.xlsx", sheet(rows[:2], more_sheets), phones=[(2, A)])

    def two_lists(book, page):
        page.title = "一月"
        second = book.create_sheet("二月")
        second.append(["手机号"])
        second.append([B])

    case("two-lists.xlsx", sheet(rows[:2], two_lists), fault="several sheets hold phones: '一月' and '二月'")
    case("empty.xlsx", sheet([]), phones=[])
    case(
        "users.xlsx",
        sheet([["user_id", "电话"], [U1, int(A)], [U2, B]]),
        phones=at(2, A, B),
        users=[U1, U2],
        user_column="user_id",
    )
    case("unknown-column.xlsx", sheet(rows), fault="there are 1 '姓名', 2 '手机号'", phone_column="tel")
    case("xlsx-called-csv.csv", sheet(rows[:2]), phones=[(2, A)])
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(zipfile.ZipInfo("list.txt"), A)
    case("list.zip", out.getvalue(), fault="no .xlsx workbook")
    case("old-excel.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504), fault="an old Excel file (.xls)")


def columns():
    """Headers that tell, that say something else, or that leave a doubt."""
    case(
        "order-numbers.csv",
        f"订单号\n{A}\n{B}\n",
        fault="its header says '订单'",
        hint="phone_column: 订单号",
    )
    told = f"订单号,金额\n{A},5\n{B},6\n"
    case(
        "order-numbers-told.csv",
        told,
        phones=at(2, A, B),
        phone_column="订单号",
        column=[1, "订单号", "asked", []],
    )
    case(
        "order-beside-phone.csv",
        f"订单号,手机号\n{A},{C}\n{B},{D}\n",
        phones=at(2, C, D),
        column=[2, "手机号", "header", ["订单号"]],
    )
    case("wechat.csv", f"地区,微信号\n北京,{A}\n上海,{B}\n", fault="its header says '微信'")
    case("id-key.jsonl", f'{{"id":{A}}}\n{{"id":{B}}}\n', fault="its header says 'id'")
    case(
        "emergency-contact.csv",
        f"手机,姓名,紧急联系电话\n{A},张三,{C}\n{B},李四,{D}\n",
        fault="several columns may hold the phones: 1 '手机', 3 '紧急联系电话'",
    )
    case(
        "office-phone.csv",
        f"手机,姓名,办公电话\n{A},张三,010-12345678\n{B},李四,010-87654321\n",
        phones=at(2, A, B),
        column=[1, "手机", "header", []],
    )
    case(
        "header-with-a-digit.csv",
        f"联系电话1,备注\n{A},\n{B},x\n",
        phones=at(2, A, B),
        column=[1, "联系电话1", "content", []],
    )
    case(
        "header-beside-a-number.csv",
        f"手机号,20240726001\n{A},5\n{B},6\n",
        phones=at(2, A, B),
        column=[1, "手机号", "header", []],
    )
    case(
        "titles-above-other-words.csv",
        f"七月活动名单,,\n,,制表人\n序,客户,号\n1,张三,{A}\n2,李四,{B}\n",
        phones=at(4, A, B),
        column=[3, "号", "content", []],
    )


def shifts():
    """Rows of another width than their table, and blank cells."""
    rows = [f"Li Si,r{i},{A}" for i in range(8)]
    case(
        "shifted-row.csv",
        "\n".join(["name,ref,phone", *rows, f"Zhang, San,{B},", f"Wang Wu,r9,{C}"]) + "\n",
        phones=[*[(2 + i, A) for i in range(8)], (11, C)],
        rejects=[(10, "columns")],
    )
    case(
        "shifted-all.csv",
        f"name,ref,phone\nZhang, San,{A},\nLi, Si,{B},\n",
        fault="the header has 3 columns, nearly all rows have 4",
    )
    case(
        "shifted-all-told.csv",
        f"name,ref,phone\nZhang, San,r,{A}\nLi, Si,r,{B}\n",
        phones=at(2, A, B),
        phone_column=4,
    )
    case(
        "shifted-without-header.csv",
        "".join(f"李四,{A}\n" for _ in range(9)) + f"Zhang, San,{B}\n",
        phones=[(1 + i, A) for i in range(9)],
        rejects=[(10, "columns")],
    )
    case("comma-at-every-end.csv", f"姓名,手机,\n张三,{A},\n李四,{B},\n", phones=at(2, A, B))
    case("comma-at-every-end-of-numbers.txt", f"{A},\n{B},\n{C},\n", phones=at(1, A, B, C))
    case(
        "cells-left-away-at-the-end.csv",
        f"姓名,手机,备注\n张三,{A},x\n李四,{B}\n王五,{C},\n",
        phones=[(2, A), (4, C)],
        rejects=[(3, "columns")],
    )
    quarter = "".join(f"{i},{'' if i % 4 == 1 else A if i % 4 else B},北京\n" for i in range(40))
    case(
        "a-quarter-blank.csv",
        "客户,手机,城市\n" + quarter,
        phones=[(2 + i, A if i % 4 else B) for i in range(40) if i % 4 != 1],
        blank=10,
    )
    blank = [
        {"name": "x", "phone": A},
        {"name": "y"},
        {"name": "z", "phone": ""},
        {"name": "u", "phone": "\u3000"},
    ]
    case("blank-or-absent.json", json.dumps(blank), phones=[(1, A)], blank=3)


def user_ids():
    """Tables of many users, and lists that name users although they are one user's."""
    asked = {"user_column": "user_id"}
    rows = [["user_id", "phone"], ["1.39E+17", A], [U1, B], ["1.23457E+17", C]]
    case(
        "users-scientific.csv",
        table(rows),
        phones=at(2, A, B, C),
        users=["1.39E+17", U1, "1.23457E+17"],
        user_flaws=[(2, "scientific"), (4, "scientific")],
        **asked,
    )
    odd = {
        "1001.5": "float",
        "True": "not_text",
        "2024-01-01": "date",
        "-5": "negative",
        "#N/A": "cell_error",
    }
    case(
        "users-odd.csv",
        table([["user_id", "phone"], *[[user, A] for user in odd]]),
        phones=[(2 + i, A) for i in range(len(odd))],
        users=list(odd),
        user_flaws=[(2 + i, reason) for i, reason in enumerate(odd.values())],
        **asked,
    )
    whole = [U1, "user-1", "1001", "12e34", "20240101", "123456789012345678"]
    case(
        "users-of-all-kinds.csv",
        table([["user_id", "phone"], *[[user, A] for user in whole]]),
        phones=[(2 + i, A) for i in range(len(whole))],
        users=whole,
        **asked,
    )
    numbers = ["1001", "1.5e3", "9007199254740993", "-5", "true", "9007199254740992"]
    flaws = [(2, "scientific"), (3, "rounded"), (4, "negative"), (5, "not_text")]
    case(
        "users-as-numbers.jsonl",
        "".join(f'{{"user_id":{number},"phone":"{A}"}}\n' for number in numbers),
        phones=[(1 + i, A) for i in range(len(numbers))],
        users=numbers,
        user_flaws=flaws,
        **asked,
    )
    case(
        "users-as-exact-numbers.json",
        json.dumps([{"user_id": 1001, "phone": A}, {"user_id": 9007199254740992, "phone": B}]),
        phones=[(1, A), (1, B)],
        users=["1001", "9007199254740992"],
        **asked,
    )
    out = "this list names users itself: 1 "
    case("names-users.csv", table(rows), fault=out + "'user_id'", hint="user_column: user_id")
    case("names-users-in-chinese.csv", f"用户,手机\nu1,{A}\n", fault=out + "'用户'")
    case("names-people.csv", f"姓名,手机\n张三,{A}\n", phones=[(2, A)])
    late = "".join(f'{{"phone":"{A}"}}\n' for _ in range(1200))
    case(
        "names-a-user-late.jsonl",
        late + f'{{"phone":"{B}","user_id":"u2"}}\n',
        fault=":1201: this row names 'user_id' itself",
    )
    window = {"phone": A, "created_at": ["2024-07-26 00:00:00", "2024-07-27 23:59:59"]}
    case(
        "names-a-window.jsonl",
        json.dumps(window) + "\n",
        fault="this row names 'created_at'",
        hint="JSON-lines job",
    )
    case(
        "names-encryption.json",
        f'[{{"phone":"{A}","encryption":false}}]',
        fault="this row names 'encryption'",
    )
    case("says-when.json", f'[{{"phone":"{A}","created_at":"2024-07-26 00:00:00"}}]', phones=[(1, A)])


def whose():
    """Lines, titles and names that say whose the numbers are, and such as do not."""
    heading, title = "stands among the numbers: are those below it another user's?", "names its user itself"
    case("headings-of-users.txt", f"用户A:\n{A}\n{B}\n用户B:\n{C}\n", fault=title, hint="take the line out")
    case("headings-below.txt", f"{A}\n{B}\n用户B:\n{C}\n", fault=":3: the heading '用户B:' " + heading)
    case("headings-in-brackets.txt", f"{A}\n[u2]\n{B}\n", fault=":2: the heading '[u2]' " + heading)
    case("headings-of-keys.txt", f"{A}\n" * 10 + f"# user_id: u2\n{B}\n", fault=":11: the heading")
    case("headings-of-people.txt", f"{A}\n张三：\n{B}\n", fault=":2: the heading '张三：'")
    case(
        "headings-in-a-table.csv",
        f"姓名,手机\n张三,{A}\n用户B:,\n李四,{B}\n",
        fault=":3: the heading '用户B:'",
    )
    case("headings-encrypted.txt", "aGVsbG8=\n用户B:\nd29ybGQ=\n", fault=":2: the heading", rule="opaque")
    case("title-of-a-user.txt", f"用户 u2 的名单\n手机号\n{A}\n", fault=title)
    case("title-of-users.txt", f"流失用户名单\n手机号\n{A}\n{B}\n", phones=at(3, A, B))
    case("title-of-a-month.txt", f"用户 2024年3月退订\n{A}\n", phones=[(2, A)], rejects=[(1, "characters")])
    remarks = [(2, "characters"), (3, "characters"), (4, "characters")]
    case("remarks.txt", f"{A}\n# checked\n无\n张三\n{B}\n", phones=[(1, A), (5, B)], rejects=remarks)
    nameless = f"昵称,手机\n用户8001,{A}\n用户8002,\n[销售部],\n李四,{B}\n"
    case("users-without-a-phone.csv", nameless, phones=[(2, A), (5, B)], blank=2)
    out = "this list names users itself: 1 "
    for name, column in {
        "seat-of-a-user": "userid(坐席)",
        "user-of-a-seat": "坐席用户id",
        "id-before-user": "ID用户",
        "user-required": "用户ID（必填）",
    }.items():
        case(f"names-users-{name}.csv", f"{column},手机\nu1,{A}\n", fault=out + repr(column))
    case("names-seats.csv", f"坐席,手机\n张三,{A}\n", phones=[(2, A)])
    case("names-uuids.csv", f"uuid,手机\n{U1},{A}\n", phones=[(2, A)])
    case("says-encryption.csv", f"手机,encryption\n{A},false\n", fault="which of its values are encrypted")
    case("invitations.csv", f"姓名,邀请码\n张三,{A}\n李四,{B}\n", fault="its header says '码'")
    case("parcels.csv", f"name,tracking number\nx,{A}\ny,{B}\n", fault="its header says 'tracking'")
    case("numbers-of-customers.csv", f"姓名,客户号码\n张三,{A}\n", phones=[(2, A)])
    dashes = table([["user_id", "phone"], [U1, A], ["-", B], ["--", C]])
    case(
        "users-as-dashes.csv",
        dashes,
        phones=at(2, A, B, C),
        users=[U1, "-", "--"],
        user_flaws=[(3, "not_text"), (4, "not_text")],
        user_column="user_id",
        phone_column="phone",
    )


def foreign():
    """What people take for a list."""
    page = f"<html><head><meta charset='gb2312'></head><table><tr><td>手机</td><td>{A}</td></tr></table>"
    save = "save the list as .xlsx"
    case("page.xls", page, fault="this is a web page (HTML), or XML", hint=save)
    case("page-in-gbk.xls", iconv("\n" + page, "GBK"), fault="this is a web page (HTML), or XML", hint=save)
    xml = (
        '<?xml version="1.0"?>\n<?mso-application progid="Excel.Sheet"?>\n<Workbook><Worksheet/></Workbook>\n'
    )
    case("spreadsheet-xml.xls", xml, fault="this is a workbook saved as XML", hint=save)
    ole = bytearray(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(1528))
    ole[30], ole[48] = 9, 1  # sectors of 512 bytes, the directory in the second
    name = "EncryptedPackage".encode("utf-16-le")
    ole[1024 + 128 : 1024 + 128 + len(name)] = name
    case(
        "with-password.xlsx",
        bytes(ole),
        fault="this is a workbook with a password",
        hint="take the password off",
    )
    case("list.rtf", r"{\rtf1\ansi " + A + "}", fault="a rich text document")
    case(
        "contacts.vcf", f"BEGIN:VCARD\nTEL:{A}\nEND:VCARD\n", fault="a file of contacts (.vcf)", hint="as CSV"
    )
    book = io.BytesIO()
    with zipfile.ZipFile(book, "w") as archive:
        archive.writestr(zipfile.ZipInfo("xl/workbook.xml"), "<workbook/>")
    again = subprocess.run(["gzip", "-nc"], input=book.getvalue(), stdout=-1, check=True).stdout
    case("book.xlsx.gz", again, fault="packed once more", hint="gunzip")
    twice = subprocess.run(
        ["gzip", "-nc"], input=packed(f"{A}\n", "gzip", "-nc"), stdout=-1, check=True
    ).stdout
    case("packed-twice.gz", twice, fault="this is packed twice", hint="gunzip")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        member = tarfile.TarInfo("list.txt")
        member.size = 12
        tar.addfile(member, io.BytesIO(f"{A}\n".encode()))
    case("list.tar", archive.getvalue(), fault="this is a tar archive", hint="the files in it")
    tarred = subprocess.run(["gzip", "-nc"], input=archive.getvalue(), stdout=-1, check=True).stdout
    case("list.tar.gz", tarred, fault="this is a tar archive", hint="the files in it")
    skippable = (0x184D2A53).to_bytes(4, "little") + (5).to_bytes(4, "little") + b"hello"
    case("skippable-frame.zst", skippable + packed(f"{A}\n{B}\n", "zstd", "-qc"), phones=at(1, A, B))


def ends_of_lines():
    """Line ends, marks and delimiters that go wrong on the way, and what people put before a number."""
    case("lone-return.csv", f"姓名,手机\n张三,{A}\n李四,{B}\r王五,{C}\n", fault=":3: a lone carriage return")
    case("lone-return.txt", f"{A}\n{B}\r{C}\n", fault=":2: a lone carriage return")
    case("returns-doubled.csv", f"姓名,手机\r\r\n张三,{A}\r\r\n李四,{B}\r\r\n", phones=at(2, A, B))
    case("returns-doubled.txt", f"{A}\r\r\n{B}\r\r\n", phones=at(1, A, B))
    case("sep-pipe.csv", f"sep=|\n姓名|手机\n张三|{A}\n", fault="its first line says that '|'", hint="comma")
    case("sep-tab.csv", f"sep=\t\n姓名\t手机\n张三\t{A}\n", phones=[(3, A)])
    whole = iconv(f"姓名\t手机号\r\n张三\t{A}\r\n李四\t{B}\r\n", "UTF-16LE")
    case("unicode-text-of-excel.txt", b"\xff\xfe" + whole, phones=at(2, A, B))
    case("cut-utf16.txt", b"\xff\xfe" + whole[:-1], fault="cut in the middle of a character", hint="again")
    case("mark-twice.txt", f"\ufeff\ufeff{A}\n{B}\n", phones=at(1, A, B), kinds={"invisible": 1})
    case(
        "two-files-in-one.csv",
        f"\ufeff手机号\n{A}\n\ufeff手机号\n{B}\n",
        phones=[(2, A), (4, B)],
        rejects=[(3, "characters")],
    )
    case(
        "tel-links.txt",
        f"tel:+86{A}\np:+86{B}\n`{C}\nTel: {D}\ntel:{A};ext=1\nmailto:{B}\n",
        phones=at(1, *ALL),
        rejects=[(5, "characters"), (6, "characters")],
        kinds={"scheme": 3, "prefix": 2, "apostrophe": 1},
    )
    case(
        "negative.txt",
        f"-{A}\n- {B}\n",
        phones=[(2, B)],
        rejects=[(1, "negative")],
        kinds={"dash": 1, "space": 1},
    )
    case(
        "quotes-where-needed.csv",
        table([["地址", "电话"], ["北京, 朝阳", A], ["上海\n浦东", B], ['"广州"', C]]),
        phones=[(2, A), (3, B), (5, C)],
    )
    case(
        "key-twice-in-disguise.jsonl", f'{{"phone":"{A}","ph\\u006fne":"{B}"}}\n', fault="a key stands twice"
    )
    case(
        "colons-in-values.jsonl",
        f'{{"phone":"{A}","at":"12:30:00","say":"\\":\\""}}\n{{"phone":"{B}","at":"","say":{{"a":1}}}}\n',
        phones=at(1, A, B),
    )
    case("deep.json", "[" * 100_000, fault="nested too deep")
    case(
        "endless-number.json",
        f'["{A}", {"1" * 5000}]',
        phones=[(1, A)],
        rejects=[(1, "rounded")],
    )


if __name__ == "__main__":
    makers = (
        texts,
        encodings,
        tables,
        json_lists,
        packages,
        workbooks,
        columns,
        shifts,
        user_ids,
        whose,
        foreign,
        ends_of_lines,
    )
    for make in makers:
        make()
    written.make(case, sheet)
    (HERE / "expected.json").write_text(json.dumps(EXPECTED, ensure_ascii=False, indent=1) + "\n", "utf-8")
