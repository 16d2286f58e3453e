"""The phones of a batch as their plan's line lists them."""

import hashlib

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runner.model import MAX_PHONES, Batch, DeleteRequest, ListedPhones, Target, phones_sha256

A = Target("user-a")
W = Target("user-w", ("2024-07-26 00:00:00", "2024-07-27 23:59:59"), delete_window=True)
# Opaque values hold what a JSON list and the lines of a digest are made of.
PHONES = st.lists(
    st.text(st.sampled_from('1358,"[]\\\n数') | st.characters(codec="utf-8"), min_size=1, max_size=6),
    min_size=1,
    max_size=5,
    unique=True,
)


def listed(phones):
    return ListedPhones(orjson.dumps(phones), len(phones), ascending=list(phones) == sorted(phones))


@example(["1,3"], True)
@example(["1[3"], True)
@example(['1"3'], True)
@example(["1\\3"], True)
@example(["3", "1"], False)
@given(PHONES, st.booleans())
def test_the_digest_is_of_the_sorted_numbers_however_they_stand(phones, ascending):
    phones = sorted(phones) if ascending else phones
    digest = hashlib.sha256("\n".join(sorted(phones)).encode()).hexdigest()
    assert phones_sha256(listed(phones)) == phones_sha256(tuple(phones)) == digest


@given(PHONES)
def test_they_are_a_sequence_like_their_texts(phones):
    batch = Batch(1, A, listed(phones))
    assert batch == Batch(1, A, tuple(phones))
    assert hash(batch) == hash(Batch(1, A, tuple(phones)))
    assert (*batch.phones,) == tuple(phones)
    assert (batch.phones[0], batch.phones[1:]) == (phones[0], tuple(phones[1:]))
    assert len(batch.phones) == len(phones)
    assert repr(batch.phones) == repr(tuple(phones))


@given(PHONES)
def test_the_request_is_the_same_whichever_way_they_are_held(phones):
    listed_body = DeleteRequest.whole(Batch(1, A, listed(phones))).body
    assert listed_body == DeleteRequest.of(A, tuple(phones)).body == orjson.dumps({"phone": phones})


def test_of_a_batch_that_is_sent_and_hashed_as_it_stands_no_text_is_made(monkeypatch):
    batch = Batch(1, A, listed(["13800000001", "13800000002"]))
    monkeypatch.setattr(ListedPhones, "texts", property(lambda _: pytest.fail("a text was made")))
    assert DeleteRequest.whole(batch).body == b'{"phone":["13800000001","13800000002"]}'
    assert phones_sha256(batch.phones) == hashlib.sha256(b"13800000001\n13800000002").hexdigest()


@pytest.mark.parametrize(
    ("target", "count"), [(A, 0), (A, MAX_PHONES + 1), (W, 1)], ids=["none", "too many", "with a window"]
)
def test_no_batch_is_of_a_dangerous_shape(target, count):
    phones = [f"138{n:08d}" for n in range(count)]
    for given_ in (listed(phones), tuple(phones)):
        with pytest.raises(ValueError, match="phones"):
            Batch(1, target, given_)
