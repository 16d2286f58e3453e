"""The fast decoder takes what the strict one takes, and makes the same of it, or leaves it to that one."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner import strict_json
from runner.strict_json import MAX_EXACT, STRICT, Inexact

NUMBERS = ["0", "-0", "1", "-1", "13900000001", "9007199254740993", "1" * 25, "1.0", "1e3", "-0.0"]
STRINGS = ['""', '"a"', '":"', r'"\":"', r'"\\"', '"a: b"', r'"\u003a"', '"-0"', '"x -0,"', r'"\ud83d\ude00"']
ATOMS = st.sampled_from([*NUMBERS, *STRINGS, "true", "null", "[]", "{}"])
KEYS = st.sampled_from(['"a"', '"b"', '"\\u0061"', '"a\\\\"', '"\\""', '":"', '""', '"-0"'])
SPACE = st.sampled_from(["", " ", "\t"])


@st.composite
def texts(draw, depth=2):
    """Return JSON as somebody might write it, with keys twice, colons in strings and odd spaces."""
    kind = draw(st.sampled_from(["atom", "object", "list"])) if depth else "atom"
    if kind == "atom":
        return draw(ATOMS)
    parts = [draw(texts(depth=depth - 1)) for _ in range(draw(st.integers(0, 3)))]
    if kind == "list":
        return "[" + ",".join(parts) + "]"
    return "{" + ",".join(f"{draw(KEYS)}{draw(SPACE)}:{draw(SPACE)}{part}" for part in parts) + "}"


def strictly(text):
    try:
        return STRICT.decode(text)
    except ValueError:
        return ValueError


def decode_texts(some):
    return strict_json.decode_texts([text.encode() for text in some])


def decode_elements(text):
    return strict_json.decode_elements(text.encode())


@given(st.lists(texts(), min_size=1, max_size=4))
def test_what_is_decoded_fast_is_what_the_strict_decoder_says(some):
    want = [strictly(text) for text in some]
    for found in (decode_texts(some), decode_elements(",".join(some))):
        if found is not None:
            assert ValueError not in want
            assert len(found) == len(want)
            assert all(map(_like, found, want))


def _like(one, other):
    """The same value; an inexact number may come as a float, or where it is too long as a whole one."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_like(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_like, one, other))
    if type(one) in (int, float) and isinstance(other, Inexact):
        too_long = type(one) is int and abs(one) > MAX_EXACT
        return float(one) == float(other) and (too_long or not strict_json.is_exact([one]))
    return type(one) is type(other) and one == other


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"a":2}',
        '{"a" :1,"b":2,"b":3}',
        '{"x":"::","a":1,"a":1}',
        '{"a":{"b":1,"b":1}}',
        '[{"a":1,"\\u0061":2}]',
        '{"a\\\\":1,"a\\\\":2,"c":"\\":"}',
        "NaN",
        "[Infinity]",
        '{"a":-Infinity}',
    ],
)
def test_a_key_that_stands_twice_and_what_is_no_number_is_refused_by_both(text):
    assert decode_texts([text]) is None
    with pytest.raises(ValueError, match=r"twice|no JSON"):
        STRICT.decode(text)


@pytest.mark.parametrize("text", ["1.0", "1e3", "-0.0", "1" * 5000, "-0"])
def test_a_number_that_is_not_exact_keeps_its_spelling(text):
    found = STRICT.decode(text)
    assert isinstance(found, Inexact)
    assert found == text
    fast = decode_texts([text])
    assert fast is None or not strict_json.is_exact(fast)


def test_plain_texts_are_decoded_fast():
    rows = [
        json.dumps({"phone": "1", "at": "12:30:00", "say": '":"', "deep": {"a": [{"b": 1}]}})
        for _ in range(3)
    ]
    assert decode_texts(rows) == [json.loads(row) for row in rows]
    assert decode_elements(", ".join(rows)) == [json.loads(row) for row in rows]
