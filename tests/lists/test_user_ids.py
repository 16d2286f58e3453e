import json

import pytest

from runner.errors import Fault
from runner.lists import user_ids
from runner.lists.read import ListSpec, read_rows
from runner.lists.user_ids import UserIdCheck
from tests.lists.test_read import A, B

U1 = "5832d184-dd53-42a0-8ace-0bf8d660f4cc"

FLAWED = {
    "1.39E+17": "scientific",
    "1.23457e+17": "scientific",
    "1e+17": "scientific",
    "1e-5": "scientific",
    "1.5e3": "scientific",
    "1,39E+17": "scientific",
    "1001.5": "float",
    "1001.0": "float",
    ".5": "float",
    "-5": "negative",
    "2024-01-01": "date",
    "2024/1/1": "date",
    "2024.01.01": "date",
    "2024-01-01 00:00:00": "date",
    "01/02/2024": "date",
    "2024年1月1日": "date",
    "24-Jan": "date",
    "Jan-24": "date",
    "True": "not_text",
    "FALSE": "not_text",
    "null": "not_text",
    "NaN": "not_text",
    "-": "not_text",
    "--": "not_text",
    "#N/A": "cell_error",
    "#REF!": "cell_error",
    "1234567890123450000000": "rounded",
}
WHOLE = (
    f"{U1} {U1.upper()} user-1 u 0 1001 12e34 1E17 5e32d184 10.0.0.1 1.2.3 20240101 123456789012345678 nancy "
    "trueman none-1 2024-01-01-a May Marketing 1-2 jan-24 123456789012345000 a.b _ ~ .hidden -x"
).split()


@pytest.mark.parametrize("user", FLAWED)
def test_what_a_spreadsheet_leaves_of_a_user_id_is_flawed(user):
    assert UserIdCheck().flaws([U1, user, U1, f" {user} "]) == {1: FLAWED[user], 3: FLAWED[user]}


@pytest.mark.parametrize("user", WHOLE)
def test_text_that_is_a_user_id_passes(user):
    assert UserIdCheck().flaws([U1, user]) == {}


def test_long_numbers_that_all_end_in_zeros_behind_the_fifteenth_digit_have_lost_them():
    lost = ["123456789012345000", "223456789012345000"]
    assert UserIdCheck().flaws(lost) == {0: "rounded", 1: "rounded"}
    assert UserIdCheck().flaws([*lost, "323456789012345678"]) == {}, "one that has its digits speaks for all"


def test_flaws_are_told_again_in_every_stretch_of_a_list():
    check = UserIdCheck()
    for _ in range(3):
        assert check.flaws([U1, "-5", "u"]) == {1: "negative"}
        assert check.flaws([U1, "u", U1]) == {}
    assert check.flaws(["123456789012345000"]) == {}, "three zeros may be a chance"
    assert check.flaws(["123456789012345000", "223456789012345000"]) == {0: "rounded", 1: "rounded"}


def test_a_list_of_more_users_than_are_kept_is_looked_at_all_the_same(monkeypatch):
    monkeypatch.setattr(user_ids, "_MOST_KNOWN", 10)
    check = UserIdCheck()
    for start in range(0, 100, 5):
        assert check.flaws([*map(str, range(start, start + 5)), "1.5"]) == {5: "float"}


def rows_of(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, "utf-8")
    (rows,) = read_rows(ListSpec((str(path),), user_column="user_id"), rule="mobile_cn")
    return rows


def test_flawed_users_of_a_table_are_told_by_their_rows(tmp_path):
    rows = rows_of(tmp_path, "t.csv", f"user_id,phone\n{U1},{A}\n1.39E+17,{B}\n-5,\n2024-01-01,{A}\n")
    assert rows.user_flaws == {1: "scientific", 2: "date"}
    assert list(rows.lines) == [2, 3, 5]
    assert rows.flaws == {}


@pytest.mark.parametrize("lines", [True, False])
def test_a_user_in_json_is_text_or_a_whole_number_that_json_holds_exactly(tmp_path, lines):
    users = {
        "1001": None, "9007199254740992": None, f'"{U1}"': None, '"1001"': None, "0": None,
        "9007199254740993": "rounded", "12345678901234567890123": "rounded", "1" * 5000: "rounded",
        "1.5e3": "scientific", "1001.5": "float", "1001.0": "float", "-5": "negative", "-0": "negative",
        "true": "not_text", "[]": "not_text", '{"a":1}': "not_text", '"2024-01-01"': "date",
        '"1.39E+17"': "scientific",
    }  # fmt: skip
    objects = [f'{{"user_id":{user},"phone":"{A}"}}' for user in users]
    text = "\n".join(objects) + "\n" if lines else "[" + ",".join(objects) + "]"
    rows = rows_of(tmp_path, "t.json", text)
    want = {index: flaw for index, flaw in enumerate(users.values()) if flaw}
    assert rows.user_flaws == want
    assert rows.users[:5] == ["1001", "9007199254740992", U1, "1001", "0"]
    assert rows.values == [A] * len(users)


def test_a_row_without_a_user_comes_out_with_none(tmp_path):
    rows = rows_of(
        tmp_path, "t.json", json.dumps([{"user_id": None, "phone": A}, {"phone": B}, {"user_id": "x"}])
    )
    assert (rows.users, rows.values, rows.blank) == (["", ""], [A, B], 1)


def test_numbers_that_json_does_not_hold_exactly_are_no_phones_either(tmp_path):
    path = tmp_path / "t.json"
    path.write_text("[13900000001, -13900000001, 9007199254740993, 13900000001.0, 1.39e10, true]", "utf-8")
    (rows,) = read_rows(ListSpec((str(path),)), rule="number")
    want = {1: "negative", 2: "rounded", 3: "float", 4: "scientific", 5: "not_text"}
    assert rows.flaws == want


# ---- rows of others -----------------------------------------------------------------------------------


def refused(path, **spec):
    with pytest.raises(Fault) as caught:
        list(read_rows(ListSpec((str(path),), **spec), rule="mobile_cn"))
    return caught.value


@pytest.mark.parametrize(
    "header",
    [
        *(
            "user_id",
            "User_ID",
            "uid",
            "用户",
            "用户ID",
            "账号",
            "user_uuid",
            "userNo",
            "userid_坐席ID",
            "agent_id",
        ),
        *("用户账号", "用户ID号", "所属用户", "归属账号", "坐席编号", "用户标识"),
    ],
)
def test_a_list_of_one_user_that_has_a_user_column_is_refused_with_the_way_out(tmp_path, header):
    path = tmp_path / "t.csv"
    path.write_text(f"{header},phone\nu2,{A}\n", "utf-8")
    fault = refused(path, place="jobs/a.yaml:3")
    assert "this list names users itself" in fault.message
    assert f"user_column: {header}" in fault.hint
    assert "tables" in fault.hint
    fault = refused(path, place=str(path))
    assert fault.hint.splitlines()[1:] == [
        "     tables:",
        f"       - file: {path}",
        f"         user_column: {header}",
        "         # or drop that column",
    ]
    assert refused(path, phone_column="phone"), "the job's word for the phones says nothing of the users"


@pytest.mark.parametrize(
    "header", ["name", "姓名", "客户", "owner", "用户名", "用户姓名", "user_name", "坐席", "用途"]
)
def test_a_column_of_other_things_names_no_users(tmp_path, header):
    path = tmp_path / "t.csv"
    path.write_text(f"{header},phone\nu2,{A}\n", "utf-8")
    (rows,) = read_rows(ListSpec((str(path),)), rule="mobile_cn")
    assert rows.values == [A]


@pytest.mark.parametrize(
    "row",
    [
        {"user_id": "u2", "phone": A},
        {"phone": A, "用户ID": 7},
        {"phone": A, "created_at": ["2024-07-26 00:00:00", "2024-07-27 23:59:59"]},
        {"phone": A, "created_at": {"last": "7d"}},
        {"phone": A, "encryption": False},
        {"phone": A, "encryption": True},
    ],
)
@pytest.mark.parametrize("before", [0, 3, 5000])
@pytest.mark.parametrize("array", [True, False])
def test_a_row_of_json_that_names_a_user_a_window_or_encryption_is_refused(tmp_path, row, before, array):
    rows = [json.dumps({"phone": B})] * before + [json.dumps(row)]
    path = tmp_path / "t.json"
    path.write_text("[" + ",\n".join(rows) + "]" if array else "\n".join(rows) + "\n", "utf-8")
    fault = refused(path)
    assert "itself" in fault.message
    assert f":{before + 1}: " in fault.message or "list names users" in fault.message
    assert "user_column" in fault.hint or "JSON-lines job" in fault.hint


def test_a_time_of_day_in_a_row_is_no_window(tmp_path):
    path = tmp_path / "t.json"
    path.write_text(json.dumps([{"phone": A, "created_at": "2024-07-26 00:00:00"}]), "utf-8")
    (rows,) = read_rows(ListSpec((str(path),)), rule="mobile_cn")
    assert rows.values == [A]


def test_requests_are_no_rows_of_a_table_either(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps({"user_id": "u1", "phone": A, "created_at": ["a", "b"]}), "utf-8")
    assert "JSON-lines job" in refused(path, user_column="user_id").hint
