"""Records have the contract's fields, in its order, and the schema describes exactly them."""

import msgspec
import pytest

from runner.audit import records as r
from runner.audit.fold import Fold
from tests.support import audits

SAMPLES = {
    "run": audits.run(),
    "sending": audits.sending(1, 3),
    "open": audits.left_open(2, 3, 1),
    "batch": audits.batch(1),
    "pace": audits.pace(rate="10/s", until=None, why="429"),
    "rejected": audits.rejected(source="a.csv", line=3, reason="too_short", value="174****"),
    "summary": audits.summary(Fold().totals()),
}


@pytest.mark.parametrize("kind", r.FIELDS)
def test_a_line_has_its_type_and_time_first_and_then_its_fields_in_order(kind):
    line = r.encode_line(r.stamp(audits.typed(SAMPLES[kind]), audits.AT))
    record = msgspec.json.decode(line)
    assert list(record)[:2] == ["type", "at"]
    assert (record["type"], record["at"]) == (kind, audits.AT)
    assert list(record)[2:] == [name for name in r.FIELDS[kind] if kind != "sending" or name != "seq"]


@pytest.mark.parametrize("kind", r.FIELDS)
def test_what_is_written_is_what_is_read(kind):
    record = audits.typed({"at": audits.AT, **SAMPLES[kind]})
    assert r.decode_record(r.encode_line(record)) == record
    assert list(r.as_json(record)) == list(msgspec.json.decode(r.encode_line(record)))


def test_an_intent_for_one_batch_names_its_seq():
    assert audits.sending(7) == {"type": "sending", "seq": 7}
    assert audits.sending(7, 9) == {"type": "sending", "from": 7, "to": 9}


def test_the_narrow_view_of_a_batch_is_a_part_of_its_record():
    whole = {field.encode_name: field.type for field in msgspec.structs.fields(r.BatchRecord)}
    narrow = {field.encode_name: field.type for field in msgspec.structs.fields(r.BatchEnd)}
    loose = {"seq"}  # its least value is said in the schema only
    assert {name: whole[name] for name in narrow if name not in loose} == {
        name: kind for name, kind in narrow.items() if name not in loose
    }
    line = r.encode_line(audits.typed(SAMPLES["batch"]))
    assert all(getattr(r.decode_narrow(line), name) == SAMPLES["batch"][name] for name in narrow)


def test_the_schema_has_one_shape_a_type_and_requires_every_field():
    schema = r.audit_schema()
    parts = schema["$defs"]
    shapes = [parts[ref["$ref"].removeprefix("#/$defs/")] for ref in schema["oneOf"]]
    assert [shape["title"] for shape in shapes] == list(r.FIELDS)
    for shape in shapes:
        kind = shape["title"]
        assert list(shape["properties"]) == ["type", "at", *r.FIELDS[kind], "chain"]
        assert shape["additionalProperties"] is False
        stamped = {"type": kind, "at": audits.AT, **SAMPLES[kind], "chain": "0" * 64}
        wanted = set(r.COMMON_FIELDS) if kind == "sending" else set(stamped)
        assert set(shape["required"]) == wanted
        for name, value in stamped.items():
            assert _fits(value, shape["properties"][name], parts), name
        assert not all(_fits([-1], part, parts) for part in shape["properties"].values())


def test_the_totals_in_the_schema_are_complete():
    parts = r.audit_schema()["$defs"]
    assert parts["BatchTotals"]["required"] == ["planned", *r.STATUSES]
    assert parts["PhoneTotals"]["required"] == [
        "read",
        "unique",
        "duplicate",
        "rejected",
        "protected",
        *r.STATUSES,
    ]
    assert parts["Planned"]["additionalProperties"] is False


def _fits(value, schema, parts):
    """Hold a value against the few keywords that the schema uses."""
    if "$ref" in schema:
        return _fits(value, parts[schema["$ref"].removeprefix("#/$defs/")], parts)
    if "const" in schema:
        return value == schema["const"]
    if "enum" in schema:
        return value in schema["enum"]
    if "anyOf" in schema:
        return any(_fits(value, option, parts) for option in schema["anyOf"])
    wanted = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    names = {str: "string", bool: "boolean", int: "integer", float: "number", dict: "object", list: "array"}
    found = "null" if value is None else names[type(value)]
    typed = found in wanted or (found == "integer" and "number" in wanted)
    in_range = not isinstance(value, (int, float)) or value >= schema.get("minimum", value)
    inside = not isinstance(value, dict) or set(schema.get("required", [])) <= set(value)
    return typed and in_range and inside
