import string
import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner import phones
from runner.phones import KINDS, PHONE_RULES, REASONS, BadPhone, mask, mask_text, normalise, normalise_many

PHONE = "13900000001"


def outcome(value, rule="mobile_cn"):
    """Return the phone, or the reason in angle brackets."""
    try:
        return normalise(value, rule)
    except BadPhone as bad:
        return f"<{bad.reason}>"


CLEANED = {
    "13900000001": set(),
    " 13900000001\t": {"space"},
    "139 0000 0001": {"space"},
    "139\u00a00000\u30000001": {"space"},
    "139-0000-0001": {"dash"},
    "139\u20130000\u20140001": {"dash"},
    "139.0000.0001": {"dot"},
    "(139)00000001": {"bracket"},
    "【13900000001】": {"bracket"},
    "（139）00000001": {"bracket", "width"},
    "+8613900000001": {"prefix"},
    "008613900000001": {"prefix"},
    "8613900000001": {"prefix"},
    "+86-139-0000-0001": {"prefix", "dash"},
    "+86.13900000001": {"prefix", "dot"},
    "(+86) 139 0000 0001": {"prefix", "bracket", "space"},
    "86 139-0000-0001": {"prefix", "dash", "space"},
    "'13900000001": {"apostrophe"},
    "\u201913900000001": {"apostrophe"},
    "`13900000001": {"apostrophe"},
    "tel:13900000001": {"scheme"},
    "tel:+86-139-0000-0001": {"scheme", "prefix", "dash"},
    "Tel: 139 0000 0001": {"scheme", "space"},
    "TEL：+8613900000001": {"scheme", "prefix", "width"},
    "p:+8613900000001": {"scheme", "prefix"},
    "'tel:+8613900000001": {"apostrophe", "scheme", "prefix"},
    '="13900000001"': {"formula"},
    "=13900000001": {"formula"},
    '="+86 13900000001"': {"formula", "prefix", "space"},
    "\ufeff13900000001": {"invisible"},
    "139\u200b0000\u200d0001": {"invisible"},
    "\u202a13900000001\u202c": {"invisible"},
    "\u206613900000001\u2069": {"invisible"},
    "139\u00ad00000001": {"invisible"},
    "１３９００００００" + "０１": {"width"},
    "𝟏3900000001": {"width"},
}


@pytest.mark.parametrize("value", CLEANED)
def test_what_people_add_to_a_mobile_number_is_taken_off_and_counted_by_kind(value):
    assert outcome(value) == PHONE
    many = normalise_many([PHONE, value], "mobile_cn")
    assert many.phones == [PHONE, PHONE]
    assert set(many.kinds) == CLEANED[value]
    assert many.changed == (value != PHONE)


REFUSED = {
    "": "empty",
    " \t ": "empty",
    "--": "empty",
    "'": "empty",
    '=""': "empty",
    "\u200b": "empty",
    "1.39E+10": "scientific",
    "1.39e10": "scientific",
    "1,39E+10": "scientific",
    "1E10": "scientific",
    "１．３９Ｅ＋１０": "scientific",
    '="1.39E+10"': "scientific",
    "13900000001.0": "float",
    "13900000001.": "float",
    "1390000000.1": "float",
    "139.00000001": "float",
    "13900000001 .0": "float",
    "13900000001 13812345678": "several",
    "13900000001\n13812345678": "several",
    "13900000001,13812345678": "several",
    "13900000001；13812345678": "several",
    "13900000001/13812345678": "several",
    "13900000001、13812345678": "several",
    "1390000000113812345678": "several",
    "139-0000-0001 138-1234-5678": "several",
    "139-0000-0001/138-1234-5678": "several",
    "1390000000": "length",
    "139000000011": "length",
    "13900000001-801": "length",
    "013900000001": "length",
    "86" + "1390000000": "length",
    "+861390000000": "length",
    "1" * 3000: "length",
    "010-12345678": "landline",
    "(0755) 1234 5678": "landline",
    "0211234567": "landline",
    "400-800-8820": "landline",
    "12345678901": "not_mobile",
    "10000000000": "not_mobile",
    "+85212345678": "country",
    "+1 415 555 2671": "country",
    "-13900000001": "negative",
    "2024-07-26": "date",
    "2024.7.1": "date",
    "26/07/2024": "date",
    "07-26-2024": "date",
    "\u221213900000001": "negative",
    '="-13900000001"': "negative",
    "tel:": "empty",
    "tel:tel:13900000001": "characters",
    "tel:13900000001;ext=1": "characters",
    "mailto:13900000001": "characters",
    "hotel:13900000001": "characters",
    "13900000001p:": "characters",
    "`13900000001`": "characters",
    "13900000001转801": "characters",
    "手机13900000001": "characters",
    "13900000001a": "characters",
    "139\n00000001": "characters",
    "139\t00000001": "characters",
    "1390000000O": "characters",
    "13900000*01": "characters",
    "139****0001": "characters",
    "++8613900000001": "characters",
    "139+00000001": "characters",
    "#N/A": "characters",
    "null": "characters",
    "1390000000①": "digits",
    "13900000001²": "digits",
    "1390000000⒈": "digits",
    "١٣٩٠٠٠٠٠٠٠١": "digits",
    "१३९००००००००": "digits",
}


@pytest.mark.parametrize("value", REFUSED)
def test_what_is_no_mobile_number_is_refused_for_a_stable_reason(value):
    assert outcome(value) == f"<{REFUSED[value]}>"
    assert normalise_many([PHONE, value], "mobile_cn").bad == {1: REFUSED[value]}


NUMBERS = {
    "95588": "95588",
    "12345678901234567890": "12345678901234567890",
    "+44 7911 123456": "447911123456",
    "008613900000001": "008613900000001",
    "+8613900000001": "8613900000001",
    "010-12345678": "01012345678",
    "'95588": "95588",
    "１２３４５": "12345",
    "1234": "<length>",
    "123456789012345678901": "<length>",
    "12345.0": "<float>",
    "2024-07-26": "<date>",
    "31.12.2024": "<date>",
    "2024-13-26": "20241326",
    "2024-0726": "20240726",
    "010-12-2024": "010122024",
    "1.2E+9": "<scientific>",
    "1390000001-1390000002": "<several>",
    "+": "<characters>",
    "12345x": "<characters>",
}


@pytest.mark.parametrize("value", NUMBERS)
def test_a_number_keeps_every_digit_and_loses_one_leading_plus(value):
    assert outcome(value, "number") == NUMBERS[value]


OPAQUE = {
    "aGVsbG8=": "aGVsbG8=",
    " 9f86 d081\u3000": "9f86 d081",
    "+86 139-0000-0001": "+86 139-0000-0001",
    "'x": "'x",
    "密文": "密文",
    "x" * 512: "x" * 512,
    "x" * 513: "<too_long>",
    "": "<empty>",
    " ": "<empty>",
    "a\nb": "<control>",
    "a\tb": "<control>",
    "a\0": "<control>",
    "\x1ba": "<control>",
    "a\u200b": "<control>",
    "\ud800": "<control>",
}


@pytest.mark.parametrize("value", OPAQUE)
def test_an_opaque_value_loses_surrounding_white_space_and_nothing_else(value):
    assert outcome(value, "opaque") == OPAQUE[value]


def test_every_reason_and_every_kind_that_phones_knows_is_reached_by_these_tables():
    reached = {
        *REFUSED.values(),
        *(o[1:-1] for o in (*NUMBERS.values(), *OPAQUE.values()) if o.startswith("<")),
    }
    assert reached == set(REASONS) - {
        "rounded",
        "missing",
        "columns",
        "not_text",
        "cell_error",
        "no_value",
        "padded",
        "shown",
    }  # those come from the formats
    assert set().union(*CLEANED.values()) | {"plus"} == set(KINDS)


# ---- properties ---------------------------------------------------------------------------------------

ODD = "\u200b\u202a\u3000\u00a0１９－①²٣a中,\x00\ud800"
WORDS = ["139", "86", "+86", "0086", "13900000001", '="', "e+"]
PIECES = st.sampled_from([*string.digits, *" -.()'\"\nE", *ODD, *WORDS])
VALUES = st.one_of(
    st.lists(PIECES, max_size=16).map("".join),
    st.text(max_size=30),
    st.from_regex(r"(\+86|0086|86)?[ -]?1[3-9][0-9][ -]?[0-9]{4}[ -]?[0-9]{4}", fullmatch=True),
)
SHAPES = {
    "mobile_cn": lambda phone: (
        len(phone) == 11 and phone[0] == "1" and phone[1] in "3456789" and set(phone) <= DIGITS
    ),
    "number": lambda phone: 5 <= len(phone) <= 20 and set(phone) <= DIGITS,
    "opaque": lambda phone: 1 <= len(phone) <= 512 and phone.isprintable() and phone == phone.strip(),
}
DIGITS = set(string.digits)


@given(VALUES, st.sampled_from(PHONE_RULES))
def test_what_comes_out_has_the_shape_of_its_rule_and_stays_as_it_is(value, rule):
    phone = outcome(value, rule)
    if not phone.startswith("<") or rule == "opaque":
        if phone[1:-1] in REASONS:
            return
        assert SHAPES[rule](phone)
        assert normalise(phone, rule) == phone


@given(VALUES)
def test_no_digit_is_added_dropped_or_moved(value):
    phone = outcome(value)
    if not phone.startswith("<"):
        digits = "".join(char for char in unicodedata.normalize("NFKC", value) if char in DIGITS)
        assert digits.endswith(phone)
        assert digits.removesuffix(phone) in {"", "86", "0086"}


@given(st.lists(VALUES, max_size=30), st.sampled_from(PHONE_RULES))
def test_many_at_once_are_what_each_is_alone(values, rule):
    many = normalise_many(values, rule)
    alone = [outcome(value, rule) for value in values]
    assert [
        phone if phone is not None else f"<{many.bad[i]}>" for i, phone in enumerate(many.phones)
    ] == alone
    assert list(many.bad) == sorted(many.bad)
    assert many.changed == sum(
        many.phones[i] is not None and many.phones[i] != v for i, v in enumerate(values)
    )
    assert set(many.kinds) <= set(KINDS)
    assert all(0 < count <= many.changed for count in many.kinds.values())


@given(VALUES)
def test_the_short_cut_for_usual_spellings_says_what_the_long_way_says(value):
    if phones._USUAL.fullmatch(value):
        short, long = phones._mobile_cn(value), phones._mobile_cn_at_length(value)
        assert short[0] == long[0]
        assert set(short[1]) == set(long[1])


def test_what_was_given_is_not_changed_and_nothing_gives_nothing():
    values = [PHONE, "x"]
    normalise_many(values, "mobile_cn")
    assert values == [PHONE, "x"]
    assert normalise_many([], "mobile_cn").phones == []


# ---- showing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("17458658658", "174****8658"),
        ("174-5865-8658", "174****8658"),
        ("１７４５８６５８６５８", "174****8658"),
        ("1 7 4 5 8 6 5 8 6 5 8", "174****8658"),
        ("12345678", "12****78"),
        ("123456", "****"),
        ("", "****"),
        ("abc", "****"),
        ("\x1b[31m13900000001", "\ufffd[3****0001"),
        ("aGVsbG8gd29ybGQ=", "aGV****bGQ="),
    ],
)
def test_a_value_is_shown_masked(value, shown):
    assert mask(value) == shown


@given(VALUES)
def test_a_mask_is_printable_short_and_never_the_value(value):
    shown = mask(value)
    assert shown.isprintable()
    assert len(shown) <= 11
    assert "****" in shown
    assert sum(char.isdigit() for char in shown) <= 7


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("号码 13900000001 不存在", "号码 139****0001 不存在"),
        ('["13900000001","13812345678"]', '["139****0001","138****5678"]'),
        ("139-0000-0001", "139****0001"),
        ("139 0000 0001", "139****0001"),
        ("+86 (139) 0000.0001", "+861****0001"),
        ("１３９００００００" + "０１", "139****0001"),
        ("١٣٩٠٠٠٠٠٠٠١", "139****0001"),
        ("139\u200b0000\u200b0001", "139****0001"),
        ("1234567", "12****67"),
        ("code 6007, page 123456", "code 6007, page 123456"),
        ("2024-07-26 00:00:00 13900000001", "2024-07-26 00:00:00 139****0001"),
        ("2024-07-26T12:00:01+08:00", "2024-07-26T12:00:01+08:00"),
        ("from 2024-07-26 to 2024-07-27", "from 2024-07-26 to 2024-07-27"),
        ("139 2012-12-12", "139****1212"),
        ("2012-12-12 139", "201****2139"),
    ],
)
def test_runs_of_seven_digits_are_masked_wherever_they_stand(text, shown):
    assert mask_text(text) == shown


@given(
    st.text(max_size=20),
    st.from_regex(r"1[3-9][0-9]{9}", fullmatch=True),
    st.sampled_from(["", "-", " ", "\u200b"]),
    st.text(max_size=20),
)
def test_no_phone_is_readable_in_a_masked_text(before, phone, between, after):
    spelt = f"{phone[:3]}{between}{phone[3:7]}{between}{phone[7:]}"
    shown = mask_text(before + spelt + after)
    assert phone not in "".join(char for char in unicodedata.normalize("NFKC", shown) if char in DIGITS) or (
        phone in "".join(char for char in unicodedata.normalize("NFKC", before + after) if char in DIGITS)
    )


def test_phones_imports_nothing_of_runner_but_the_rules_of_text():
    code = "import runner.phones, sys; print(*[m for m in sys.modules if m.startswith('runner.')])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert sorted(done.stdout.split()) == ["runner.phones", "runner.text"]
