import json

import pytest

from runner.lists.json_pieces import BadJson, JsonPieces

TEXT = '{ "a" :\n [1, "x\\n\\u4e2d", {"b": null}],\n\n"c":  12 }  '


def cursor(text, size):
    """Return a cursor on a text that comes in pieces of a size, some of them empty."""
    parts = [text[at : at + size] for at in range(0, len(text), size)]
    return JsonPieces(iter([piece for part in parts for piece in ("", part)]), json.JSONDecoder())


def values_of(found):
    """Read an array to its end."""
    found.expect("[")
    values = [found.value()]
    while found.expect(",]") == ",":
        values.append(found.value())
    return values


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_values_lines_and_columns_are_the_same_wherever_pieces_end(size):
    found = cursor(TEXT, size)
    assert (found.expect("{"), found.next(), found.column) == ("{", '"', 3)
    assert (found.value(), found.expect(":"), found.next(), found.line) == ("a", ":", "[", 2)
    assert found.value() == [1, "x\n中", {"b": None}]
    assert (found.expect(",]"), found.next(), found.line) == (",", '"', 4)
    assert (found.value(), found.expect(":")) == ("c", ":")
    assert found.value() == 12, "a number may go on in the next piece"
    assert (found.expect(",}"), found.next(), found.more()) == ("}", "", False)


@pytest.mark.parametrize(
    ("text", "words", "line", "column"),
    [
        ("[1,\n2 3]", "expected , or ], not '3'", 2, 7),
        ("[1,\n  ", "Expecting value", 2, 7),
        ("[1,\n  tru", "Expecting value", 2, 7),
        ("[" + "[" * 100_000, "nested too deep", 1, 2),
        ("[1", "expected , or ], not the end", 1, 3),
    ],
)
@pytest.mark.parametrize("size", [1, 1000])
def test_what_is_wrong_is_told_with_line_and_column(text, words, line, column, size):
    if size == 1 and len(text) > 1000:
        size = 50_000
    with pytest.raises(BadJson) as caught:
        values_of(cursor(text, size))
    assert (caught.value.words, caught.value.line, caught.value.column) == (words, line, column)


def test_a_value_that_never_ends_is_given_up():
    found = JsonPieces(iter(["[", '"', *["x" * 100_000] * 100]), json.JSONDecoder())
    found.expect("[")
    with pytest.raises(BadJson, match=r"Unterminated string"):
        found.value()
    assert len(found.text) < 1_300_000
