"""A list is one list: what says whose the numbers below are refuses it, and mere remarks do not."""

import pytest

from runner.errors import Fault
from runner.lists.headers import names_one_user, names_user
from tests.lists.test_columns import write
from tests.lists.test_read import A, B, read

MANY = [f"1391111{number:04d}" for number in range(300)]


@pytest.mark.parametrize(
    "heading",
    [
        "用户B:",
        "张三：",
        "[u2]",
        "【销售部】",
        "# 用户B",
        "user_id: u2",
        "User = 42",
        "用户 u2",
        "--- user 2 ---",
    ],
)
def test_a_heading_among_the_numbers_of_a_text_list_is_a_doubt_with_its_line(tmp_path, heading):
    path = write(tmp_path, *MANY, heading, A, name="list.txt")
    with pytest.raises(Fault, match="stands among the numbers: are those below it another user's") as caught:
        read(path, place="jobs/a.yaml:3")
    assert caught.value.message.startswith(f"jobs/a.yaml:3: {path}:301: ")


@pytest.mark.parametrize(
    "remark",
    [
        "无",
        "n/a",
        "# checked in March",
        "张三",
        "合计 300",
        "用户",
        "see 3:1 below",
        "138****0001:",
        "tel:",
        "P: ",
    ],
)
def test_a_remark_among_the_numbers_is_a_value_that_is_no_phone(tmp_path, remark):
    got = read(write(tmp_path, *MANY, remark, A, name="list.txt"))
    assert (len(got["phones"]), [line for line, _ in got["rejects"]]) == (301, [301])


@pytest.mark.parametrize("remark", ["# checked in March", "// 已核对", "# 不要删除"])
def test_a_remark_above_the_numbers_is_one_too_and_no_header(tmp_path, remark):
    got = read(write(tmp_path, remark, A, B, name="list.txt"))
    assert (len(got["phones"]), [line for line, _ in got["rejects"]]) == (2, [1])
    assert len(read(write(tmp_path, "# 手机号", A, B, name="list.txt"))["rejects"]) == 0


def test_a_heading_among_encrypted_values_is_a_doubt_too(tmp_path):
    values = ["aGVsbG8=", "Ym9iOjE9", "a+User="]
    with pytest.raises(Fault, match="the heading '用户B:'"):
        read(write(tmp_path, *values, "用户B:", "d29ybGQ="), rule="opaque")
    assert len(read(write(tmp_path, *values), rule="opaque")["phones"]) == 3


@pytest.mark.parametrize("row", ["用户B:,,", "用户B:", "【用户 u2】,,"])
@pytest.mark.parametrize("quote", ["", '"'])
def test_a_heading_between_the_rows_of_a_table_is_a_doubt_too(tmp_path, row, quote):
    rows = [f"x,{quote}{number}{quote},y" for number in MANY]
    with pytest.raises(Fault, match=":302: the heading"):
        read(write(tmp_path, "name,phone,note", *rows, row, f"z,{A},"))


def test_a_row_of_a_table_whose_user_has_no_phone_is_no_heading(tmp_path):
    got = read(write(tmp_path, "昵称,phone,note", f"用户8001,{A},", "用户8002,,", "[部门],,", f"x,{B},"))
    assert ([phone for _, phone in got["phones"]], got["blank"]) == ([A, B], 2)


@pytest.mark.parametrize("title", ["用户 u2 的名单", "用户A:", "# user_id: u2", "user u2", "账号 10086"])
def test_a_title_that_names_a_user_refuses_a_list_of_one_user(tmp_path, title):
    for rows in ((title, A, B), (title, "手机号", A, B), (f"{title},", "name,phone", f"x,{A}")):
        with pytest.raises(Fault, match=r"this list names its user itself|:1: the heading"):
            read(write(tmp_path, *rows))


@pytest.mark.parametrize(
    "title", ["流失用户名单", "用户手机号", "用户 2024年3月退订", "VIP用户", "退订用户："]
)
def test_a_title_that_speaks_of_users_names_none(tmp_path, title):
    assert [phone for _, phone in read(write(tmp_path, title, A, B))["phones"]] == [A, B]


def test_a_table_that_says_which_values_are_encrypted_is_refused(tmp_path):
    with pytest.raises(Fault, match="says itself which of its values are encrypted"):
        read(write(tmp_path, "phone,Encryption", f"{A},false", f"{B},true"))
    assert len(read(write(tmp_path, "phone,encrypted by", f"{A},x"))["phones"]) == 1


@pytest.mark.parametrize(
    "name",
    [
        "userid(坐席)",
        "坐席用户id",
        "ID用户",
        "用户ID（必填）",
        "user_id(坐席编号)",
        "uid",
        "账号",
        "agent no",
    ],
)
def test_a_user_column_is_known_with_its_words_in_either_order(tmp_path, name):
    assert names_user(name)
    with pytest.raises(Fault, match="this list names users itself"):
        read(write(tmp_path, f"{name},phone", f"u2,{A}"))


@pytest.mark.parametrize(
    "name", ["坐席", "uuid", "用户名", "user name", "客户编号", "id", "所属部门", "users"]
)
def test_a_name_that_may_be_a_customers_makes_no_user_column(tmp_path, name):
    assert not names_user(name)
    assert not names_one_user(name)
    assert len(read(write(tmp_path, f"{name},phone", f"u2,{A}"))["phones"]) == 1
