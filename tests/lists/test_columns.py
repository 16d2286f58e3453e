"""Which column is read: what a header says, what stands below it, and what is refused because of a doubt."""

import json

import pytest

from runner.errors import Fault
from runner.lists.headers import looks_like_phone, names_phone, other_word
from tests.lists.test_read import A, B, read

C = "15987654321"


def write(tmp_path, *rows, name="list.csv"):
    path = tmp_path / name
    path.write_text("".join(f"{row}\n" for row in rows), "utf-8")
    return path


@pytest.mark.parametrize(
    "header",
    [
        "订单",
        "订单号",
        "编号",
        "单号",
        "id",
        "ID",
        "身份证号码",
        "工号",
        "qq",
        "QQ号",
        "微信",
        "银行卡号",
        "传真",
        "日期",
        "时间",
        "金额",
        "order_no",
        "orderId",
        "amount",
        "created_at",
        "手机订单号",
        "phone_id",
        "姓名",
        "userName",
        "No.",
        "邀请码",
        "驗證碼",
        "tracking number",
        "运单号",
    ],
)
def test_a_header_that_says_something_else_is_a_doubt_until_the_job_says_so(tmp_path, header):
    for rows in ((header, A, B), (f"甲,{header}", f"x,{A}", f"y,{B}")):
        path = write(tmp_path, *rows)
        with pytest.raises(Fault, match="its header says") as caught:
            read(path, place="jobs/a.yaml:3")
        assert repr(header) in caught.value.message
        name = header if header.isidentifier() else str(len(rows[0].split(",")))
        assert f"phone_column: {name} " in caught.value.hint
        got = read(path, place="jobs/a.yaml:3", phone_column=header)
        assert got["phones"] == [[2, A], [3, B]]
        assert got["column"][1:3] == [header, "asked"]


def test_a_doubtful_header_counts_wherever_it_stands_above_the_numbers(tmp_path):
    for rows in (("七月导出 2024", "订单号", A, B), ("100000", "订单号", A, B)):
        with pytest.raises(Fault, match="its header says '订单'"):
            read(write(tmp_path, *rows))


@pytest.mark.parametrize("keys", [{"id": A}, {"x": 1, "订单号": A}])
def test_a_key_of_json_that_says_something_else_is_a_doubt_too(tmp_path, keys):
    path = write(tmp_path, json.dumps(keys), name="a.jsonl")
    with pytest.raises(Fault, match="its header says"):
        read(path)


def test_encrypted_values_below_a_header_that_says_something_else_are_a_doubt(tmp_path):
    with pytest.raises(Fault, match="its header says '订单'"):
        read(write(tmp_path, "订单号", "aGVsbG8=", "d29ybGQ="), rule="opaque")
    for value in ("aGVsbG8=", "1Cell", "xTel9/Id", "a+Phone="):
        assert read(write(tmp_path, value, "d29ybGQ="), rule="opaque")["phones"][0] == [1, value]
    assert read(write(tmp_path, "加密手机号", "d29ybGQ="), rule="opaque")["phones"] == [[2, "d29ybGQ="]]


@pytest.mark.parametrize(
    "header", ["名单", "号", "客户", "甲", "联系手机2", "紧急联系电话", "tel2", "column1x"]
)
def test_a_lone_column_in_other_words_is_read_and_named(tmp_path, header):
    got = read(write(tmp_path, header, A, B))
    assert got["phones"][-2:] == [[2, A], [3, B]]
    assert got["column"][0] == 1
    assert got["column"][2] == "only"


def test_the_column_that_was_read_is_told_with_its_header_and_how_it_was_found(tmp_path):
    assert read(write(tmp_path, A, B))["column"] == [1, "", "only", []]
    assert read(write(tmp_path, f"x,{A}", f"y,{B}"))["column"] == [2, "", "content", []]
    assert read(write(tmp_path, "甲,乙", f"x,{A}"))["column"] == [2, "乙", "content", []]
    assert read(write(tmp_path, "甲,手机号", f"x,{A}"))["column"] == [2, "手机号", "header", []]
    assert read(write(tmp_path, "甲,手机号", f"x,{A}"), phone_column=2)["column"] == [
        2,
        "手机号",
        "asked",
        [],
    ]
    assert read(write(tmp_path, f'["{A}"]', name="a.json"))["column"] is None


def test_two_columns_that_hold_phones_and_look_like_it_are_two_candidates(tmp_path):
    rows = [f"{A},x,{B}", f"{B},y,{A}"]
    path = write(tmp_path, "手机,姓名,紧急联系电话", *rows)
    with pytest.raises(Fault, match=r"several columns may hold the phones: 1 '手机', 3 '紧急联系电话'"):
        read(path)
    got = read(path, phone_column="手机")
    assert got["column"] == [1, "手机", "asked", ["紧急联系电话"]]
    # neighbours: one that looks like it but holds none, and one that holds some but does not look like it
    assert read(write(tmp_path, "手机,办公电话", f"{A},010-12345678"))["column"] == [1, "手机", "header", []]
    got = read(write(tmp_path, "手机,推荐人", f"{A},{B}"))
    assert got["phones"] == [[2, A]]
    assert got["column"] == [1, "手机", "header", ["推荐人"]]


def test_a_column_with_some_phones_in_it_is_told_of(tmp_path):
    rows = [
        f"{A},{B if i == 0 else '010-12345678'},{C if i < 2 else 'x'},{B if i == 0 else 'y'}"
        for i in range(12)
    ]
    got = read(write(tmp_path, "手机,办公电话,备注,说", *rows))
    assert got["column"] == [1, "手机", "header", ["办公电话", "备注"]]


def test_of_encrypted_values_a_second_name_that_speaks_of_phones_is_a_candidate(tmp_path):
    path = write(tmp_path, "phone,phone_enc", "abc=,def=")
    with pytest.raises(Fault, match="several columns may hold the phones"):
        read(path, rule="opaque")
    assert read(path, rule="opaque", phone_column=1)["column"] == [1, "phone", "asked", ["phone_enc"]]


def test_a_header_beside_a_number_is_found_by_the_names_in_it(tmp_path):
    path = write(tmp_path, "手机,20240726001", f"{A},x")
    assert read(path, phone_column="手机")["phones"] == [[2, A]]
    assert read(path)["column"] == [1, "手机", "header", []]


def test_a_header_that_is_a_number_is_never_shown_in_full(tmp_path):
    path = write(tmp_path, f"name,{C}", f"x,{A}")
    got = read(path, phone_column=2)
    assert got["phones"] == [[1, C], [2, A]], "it stands where the phones stand"
    with pytest.raises(Fault) as caught:
        read(write(tmp_path, f"手机,{C}x", f"x,{A}"), phone_column="nobody")
    assert C not in caught.value.message


# ---- rows of another width ----------------------------------------------------------------------------


def test_a_row_whose_cells_have_shifted_is_a_reject(tmp_path):
    rows = [f"Li Si,r,{A}"] * 9
    path = write(tmp_path, "name,ref,phone", *rows, "Zhang, San,13611113333,", f"Wu,{B}")
    got = read(path)
    assert got["rejects"] == [[11, "columns"], [12, "columns"]]
    assert len(got["phones"]) == 9


def test_without_a_header_nearly_all_rows_say_how_wide_a_row_is(tmp_path):
    got = read(write(tmp_path, *[f"x,{A}"] * 9, f"Zhang, San,{B}"))
    assert got["rejects"] == [[10, "columns"]]


def test_a_header_that_fits_no_row_is_refused_unless_the_column_is_given_by_number(tmp_path):
    path = write(tmp_path, "name,ref,phone", "Zhang, San,13611113333,", f"Li, Si,{A},")
    for column in (None, "phone"):
        with pytest.raises(Fault, match="the header has 3 columns, nearly all rows have 4"):
            read(path, phone_column=column)
    assert read(path, phone_column=3)["phones"] == [[2, "13611113333"], [3, A]]


def test_a_comma_at_the_end_of_every_row_and_of_the_header_shifts_nothing(tmp_path):
    assert read(write(tmp_path, "name,phone,", f"x,{A},", f"y,{B},"))["phones"] == [[2, A], [3, B]]
    assert read(write(tmp_path, f"{A},", f"{B},"))["phones"] == [[1, A], [2, B]]


# ---- a header over several columns --------------------------------------------------------------------


@pytest.mark.parametrize("below", ["客户,推荐人,本人", ",微信,手机", f"x,{C},{A}"])
def test_a_header_with_blank_ones_beside_it_stands_over_several_columns(tmp_path, below):
    path = write(tmp_path, "姓名,电话,", below, f"x,{A},{B}", f"y,{B},{C}")
    with pytest.raises(Fault, match=r"several columns may hold the phones: 2 '电话', 3 \(such as "):
        read(path)
    assert read(path, phone_column=3)["phones"][-1] == [4, C]
    if "手机" in below:
        assert read(path, phone_column="手机")["phones"] == [[3, B], [4, C]]


def test_a_second_header_that_says_something_else_is_a_doubt(tmp_path):
    path = write(tmp_path, "电话,", "订单号,姓名", f"{A},x", f"{B},y")
    with pytest.raises(Fault, match="column 1 '电话' may hold no phones: its header says '订单'"):
        read(path)
    assert read(path, phone_column="订单号")["phones"] == [[3, A], [4, B]]
    for honest in (f"微信同号,{C}", "手机,姓名", "不详,x"):
        got = read(write(tmp_path, "电话,备注", honest, f"{A},x", f"{B},y"))
        assert got["phones"] == [[3, A], [4, B]]


@pytest.mark.parametrize("quote", ["", '"'])
def test_a_second_table_below_the_first_is_refused_at_its_header(tmp_path, quote):
    def table(*rows):
        return [",".join(f"{quote}{cell}{quote}" for cell in row) for row in rows]

    first = table(("name", "phone"), *((f"n{i}", f"1381111{i:04d}") for i in range(300)))
    second = table(("phone", "name"), *((f"1391111{i:04d}", f"n{i}") for i in range(300)))
    with pytest.raises(Fault, match=r":302: the header 'name' stands where a phone is due"):
        read(write(tmp_path, *first, *second))
    again = read(write(tmp_path, *first, *first, name="b.csv"))
    assert (len(again["phones"]), [line for line, _ in again["rejects"]]) == (600, [302])


@pytest.mark.parametrize("beside", ["", "wxid_abc", "老客户"])
def test_a_blank_header_over_other_things_is_no_doubt(tmp_path, beside):
    path = write(tmp_path, "姓名,电话,,", f"x,{A},{beside},", f"y,{B},,")
    assert read(path)["phones"] == [[2, A], [3, B]]
    assert read(write(tmp_path, ",电话", f"1,{A}", f"2,{B}"))["phones"] == [[2, A], [3, B]]
    got = read(write(tmp_path, "电话,", f"{A},{beside or C}", f"{B},x"), rule="opaque")
    assert got["phones"] == [[2, A], [3, B]]


def test_columns_that_hold_phones_are_shown_by_the_words_above_them(tmp_path):
    with pytest.raises(Fault, match="several columns hold phones: 1 '旧的', 2 '新的'"):
        read(write(tmp_path, "旧的,新的", f"{A},{B}", f"{B},{C}"))
    with pytest.raises(Fault, match=r"several columns hold phones: 1 \(such as 139\*{4}0001\)"):
        read(write(tmp_path, f"{A},{B}", f"{B},{C}"))


# ---- blank cells --------------------------------------------------------------------------------------


@pytest.mark.parametrize("quoted", [False, True])
def test_blank_cells_are_counted_apart_and_empty_rows_not_at_all(tmp_path, quoted):
    q = '"' if quoted else ""
    lines = [f"{q}{i}{q},{q}{'' if i % 4 == 0 else f'139{i:08d}'}{q}" for i in range(20_000)]
    got = read(write(tmp_path, f"{q}ref{q},{q}phone{q}", *lines, f"{q}{q},{q} {q}"))
    assert got["blank"] == 5_000
    assert got["rejects"] == []
    assert [line for line, _ in got["phones"]] == [i + 2 for i in range(20_000) if i % 4]


def test_blank_values_of_json_are_counted_apart_but_not_those_under_a_key_of_their_own(tmp_path):
    items = [{"phone": A, "x": 1}, {"phone": None}, {"x": 2}, {"phone": " "}]
    assert read(write(tmp_path, json.dumps(items), name="a.json"))["blank"] == 3
    lines = [json.dumps({"phone": value, "x": 1}) for value in [A] * 10_000 + [None] * 10_000]
    got = read(write(tmp_path, *lines, name="a.jsonl"))
    assert (len(got["phones"]), got["blank"]) == (10_000, 10_000)
    many = [{"phone": A}] * 1000 + [{"fone": B}]
    got = read(write(tmp_path, json.dumps(many), name="a.json"))
    assert (got["blank"], got["rejects"]) == (0, [[1, "missing"]])


# ---- names --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "phone", "like", "other"),
    [
        ("phone", True, True, ""),
        ("Phone No.", True, True, ""),
        ("order_phone", False, True, ""),
        ("orderPhone2", False, True, ""),
        ("phoneOrderNo", False, False, "order"),
        ("订单电话", False, True, ""),
        ("电话订单", False, False, "订单"),
        ("hotel", False, False, ""),
        ("手机型号", False, False, "型号"),
    ],
)
def test_of_a_name_the_word_that_stands_last_decides(name, phone, like, other):
    assert (names_phone(name), looks_like_phone(name), other_word(name)) == (phone, like, other)


def test_a_column_of_landlines_is_no_second_candidate_and_one_with_a_mobile_is(tmp_path):
    header, office = "姓名,电话,手机", "010-12345678"
    got = read(write(tmp_path, header, f"x,{office},{A}", f"y,,{B}", f"z,0571-87654321,{C}"))
    assert [phone for _, phone in got["phones"]] == [A, B, C]
    assert got["column"][1:3] == ["手机", "header"]
    for other in (A, "138****0001", "13800001"):
        with pytest.raises(Fault, match="several columns may hold the phones: 2 '电话', 3 '手机'"):
            read(write(tmp_path, header, f"x,{office},{A}", f"y,{other},{B}"))
    with pytest.raises(Fault, match="several columns may hold the phones"):
        read(write(tmp_path, header, f"x,{office},{A}"), rule="number")
