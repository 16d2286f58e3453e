"""Records have the contract's fields, in its order, and the schema describes exactly them."""

import inspect

import pytest

from runner.audit import records as r
from runner.audit.fold import Fold
from tests.support import audits

SAMPLES = {
    "run": audits.run(),
    "sending": audits.sending(1, 3),
    "open": audits.left_open(2, 3, 1),
    "batch": audits.batch(1),
    "pace": r.pace_record(rate="10/s", until=None, why="429"),
    "rejected": r.rejected_record(source="a.csv", line=3, reason="too_short", value="174****"),
}
SAMPLES["summary"] = audits.summary(Fold().totals())


@pytest.mark.parametrize("kind", r.FIELDS)
def test_a_record_has_its_type_first_and_then_its_fields_in_order(kind):
    record = SAMPLES[kind]
    assert next(iter(record)) == "type"
    assert record["type"] == kind
    wanted = [name for name in r.FIELDS[kind] if kind != "sending" or name != "seq"]
    assert list(record)[1:] == wanted


def test_an_intent_for_one_batch_names_its_seq():
    assert audits.sending(7) == {"type": "sending", "seq": 7}
    assert audits.sending(7, 9) == {"type": "sending", "from": 7, "to": 9}


def test_builders_take_keywords_only():
    for kind in r.FIELDS:
        builder = getattr(r, f"{kind}_record")
        kinds = {parameter.kind for parameter in inspect.signature(builder).parameters.values()}
        assert kinds == {inspect.Parameter.KEYWORD_ONLY}


def test_a_summary_keeps_the_contracts_keys_whatever_order_it_is_given():
    record = SAMPLES["summary"]
    assert list(record["batches"]) == ["planned", "deleted", "failed", "unknown", "not_sent"]
    assert list(record["phones"]) == list(r.PHONE_TOTALS)


def test_the_schema_has_one_shape_a_type_and_requires_every_field():
    shapes = {shape["title"]: shape for shape in r.audit_schema()["oneOf"]}
    assert list(shapes) == list(r.FIELDS)
    for kind, shape in shapes.items():
        assert list(shape["properties"]) == ["type", "at", *r.FIELDS[kind], "chain"]
        assert shape["additionalProperties"] is False
        stamped = {"type": kind, "at": audits.AT, **SAMPLES[kind], "chain": "0" * 64}
        assert set(shape["required"]) <= set(stamped)
        for name, value in stamped.items():
            assert _fits(value, shape["properties"][name]), name


def _fits(value, schema):
    """Hold a value against the few keywords that the schema uses."""
    if "const" in schema:
        return value == schema["const"]
    if "enum" in schema:
        return value in schema["enum"]
    wanted = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    names = {str: "string", bool: "boolean", int: "integer", float: "number", dict: "object", list: "array"}
    found = "null" if value is None else names[type(value)]
    typed = found in wanted or (found == "integer" and "number" in wanted)
    in_range = not isinstance(value, (int, float)) or value >= schema.get("minimum", value)
    inside = not isinstance(value, dict) or set(schema.get("required", [])) <= set(value)
    return typed and in_range and inside
