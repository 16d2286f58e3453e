import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.phones import mask_echoes
from runner.text import encodable, many, printable, width, wrap


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("删除 done – ok", "删除 done – ok"),
        ("a\x1b[2Jb\x07", "a\ufffd[2Jb\ufffd"),
        ("a\r\nb\tc\x85d\u2028e\u3000f", "a  b c d e f"),
        ("\u202eevil\u2066\u200b", "\ufffdevil\ufffd\ufffd"),
        ("\udcff\ud800", "\ufffd\ufffd"),
        ("", ""),
    ],
)
def test_only_what_shows_itself_is_shown(text, shown):
    assert printable(text) == shown


def test_what_is_kept_is_let_through():
    assert printable("a\n\tb\x1b", keep="\n\t") == "a\n\tb\ufffd"


@given(st.text(st.characters(codec=None)))
def test_what_is_printable_can_be_written_and_has_as_many_characters(text):
    shown = printable(text)
    assert shown.isprintable()
    assert len(shown) == len(text)
    shown.encode()


def test_a_file_name_that_is_no_unicode_can_be_written():
    assert encodable("a\udcff.csv") == "a\\udcff.csv"
    assert encodable("清单.csv") == "清单.csv"


@pytest.mark.parametrize(
    ("text", "columns"),
    [("abc", 3), ("清单", 4), ("ａ１", 4), ("e\u0301", 1), ("สี่", 1), ("a\u200bb", 2), ("é–", 2), ("", 0)],
)
def test_the_width_on_a_terminal(text, columns):
    assert width(text) == columns


@pytest.mark.parametrize(
    ("text", "columns", "lines"),
    [
        ("one two three", 7, ["one two", "three"]),
        ("one two three", 80, ["one two three"]),
        ("unbreakable", 4, ["unbr", "eaka", "ble"]),
        ("a unbreakable", 4, ["a", "unbr", "eaka", "ble"]),
        ("删除客户 公海", 4, ["删除", "客户", "公海"]),
        ("", 9, [""]),
    ],
)
def test_a_text_is_cut_into_lines_between_words_where_it_can_be(text, columns, lines):
    assert wrap(text, columns) == lines


@given(st.text(max_size=80), st.integers(2, 40))
def test_no_line_is_wider_than_told_and_nothing_is_lost(text, columns):
    lines = wrap(printable(text), columns)
    assert all(width(line) <= columns for line in lines)
    assert "".join(lines).replace(" ", "") == printable(text).replace(" ", "")


# --- what a vendor's words echo


@pytest.mark.parametrize(
    ("words", "values", "shown"),
    [
        ("号码 17458558658 无效", ["17458558658"], "号码 **** 无效"),
        ("号码 174-5855-8658 无效", [], "号码 **** 无效"),
        ("１７４５８５５８６５８", [], "****"),
        ("bad: aGVsbG8=", ["aGVsbG8=", "d29ybGQ="], "bad: ****"),
        ("bad: aGVsbG8=", ["aGVs", "aGVsbG8="], "bad: ****"),
        ("bad: aGVs\n  bG8=, d29\u200bybGQ= too", ["aGVsbG8=", "d29ybGQ="], "bad: ****, **** too"),
        ("bad: aGVs bG8=", ["aGVsbG8 ="], "bad: ****"),
        ("bad: aGVs-bG8=", ["aGVsbG8="], "bad: aGVs-bG8="),
        ("abc", ["abc"], "abc"),
        ("a b c", ["abc", "a b c"], "a b c"),
        (printable("号码 174\u200b5855\u200b8658 无效"), ["17458558658"], "号码 **** 无效"),
        (printable("号码 174\x005855\x008658 无效"), ["17458558658"], "号码 **** 无效"),
        ("code 6007", [], "code 6007"),
        ("since 2024-07-26 00:00:00", [], "since 2024-07-26 00:00:00"),
    ],
)
def test_an_echoed_value_is_taken_out(words, values, shown):
    assert mask_echoes(words, values) == shown


@pytest.mark.parametrize(
    ("number", "noun", "said"),
    [
        (1, "batch", "1 batch"),
        (0, "batch", "0 batches"),
        (2000, "retry", "2,000 retries"),
        (2, "day", "2 days"),
    ],
)
def test_one_thing_is_not_several(number, noun, said):
    assert many(number, noun) == said
