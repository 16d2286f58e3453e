"""Protected numbers: never less than the file says, in whatever form a number stands."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.errors import Refused
from runner.plan.protect import ProtectList, read_protect_file


def protect(tmp_path, text, rule="mobile_cn", name="never.txt"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return read_protect_file(path, rule)


def test_a_number_is_protected_however_the_file_spells_it(tmp_path):
    spelled = ["+86 139-0000-0001", "008613900000002", "１３９００００００0３", "13900000004", "'13900000005"]
    protected = protect(tmp_path, "\n".join(spelled))
    phones = tuple(f"1390000000{n}" for n in range(8))
    assert protected.matches(phones) == {f"1390000000{n}" for n in range(1, 6)}
    assert protected.notes == ()


def test_a_csv_is_read_as_lists_are(tmp_path):
    protected = protect(tmp_path, "name,手机号\n王,13900000001\n李,13900000002\n", name="never.csv")
    assert protected.matches(("13900000001", "13900000003")) == {"13900000001"}


@pytest.mark.parametrize("rule", ["number", "opaque"])
def test_under_other_rules_a_mobile_is_protected_in_every_spelling(tmp_path, rule):
    protected = protect(tmp_path, "+86 13900000001\n13900000002\n", rule)
    phones = ("13900000001", "8613900000001", "008613900000002", "13900000003", "8613900000003")
    assert protected.matches(phones) == {"13900000001", "8613900000001", "008613900000002"}


def test_an_encrypted_value_is_protected_as_it_stands(tmp_path):
    protected = protect(tmp_path, "13900000001\nkP9xQ==\n")
    assert protected.matches(("kP9xQ==", "kp9xq==", "13900000001")) == {"kP9xQ==", "13900000001"}
    (note,) = protected.notes
    assert "1 of 2 values are no phones" in note


def test_an_empty_file_protects_nothing_and_says_so(tmp_path):
    protected = protect(tmp_path, "\n")
    assert protected.matches(("13900000001",)) == frozenset()
    assert "empty" in protected.notes[0]


@pytest.mark.parametrize("value", ["1.39E+10", "13900000001.5", "13900000001/13900000002"])
def test_a_value_whose_digits_are_not_sure_is_refused_with_its_place(tmp_path, value):
    with pytest.raises(Refused, match=re.escape("never.txt:2: ")) as caught:
        protect(tmp_path, f"13900000000\n{value}\n")
    assert "13900000001" not in caught.value.message


def test_a_missing_file_or_a_folder_is_refused(tmp_path):
    for path in (tmp_path / "missing.txt", tmp_path):
        with pytest.raises(Refused):
            read_protect_file(path, "mobile_cn")


def test_a_list_of_nothing_matches_nothing():
    assert ProtectList("mobile_cn").matches(("13900000001",)) == frozenset()


@settings(max_examples=50, deadline=None)
@given(
    st.sets(st.one_of(st.integers(13_000_000_000, 13_000_000_300).map(str), st.text("ab1 +", min_size=1))),
    st.lists(st.one_of(st.integers(13_000_000_000, 13_000_000_300).map(str), st.text("ab1", min_size=1))),
)
def test_exactly_the_forms_that_were_added_match(forms, phones):
    protected = ProtectList("mobile_cn")
    protected.add(forms)
    protected.seal()
    assert protected.matches(tuple(phones)) == forms & set(phones)
    assert protected.forms == len(forms)


def test_many_numbers_take_about_eight_bytes_each():
    protected = ProtectList("mobile_cn")
    protected.add(f"139{n * 7919 % 10**8:08d}" for n in range(100_000))
    protected.seal()
    assert protected.forms == 100_000
    assert sum(part.itemsize * len(part) for part in protected._parts) == 800_000
    assert len(protected.matches(tuple(f"139{n:08d}" for n in range(0, 10**8, 9973)))) < 100
