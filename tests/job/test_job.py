"""Jobs that are right: what they become, in every format, alone and merged; the schema; JOB arguments."""

import errno
import gzip
import io
import json
import re
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from runner.errors import Faults, Refused, RunnerError
from runner.job.arguments import job_schema, read_jobs, read_requests
from runner.job.entries import Entry, Table
from runner.job.load import read_document
from runner.lists.read import read_rows
from runner.lists.rows import ListSpec
from runner.settings import LimitsGiven, Rate, Safety

JOBS = Path(__file__).resolve().parents[2] / "jobs"
NOW = datetime(2026, 11, 23, 4, tzinfo=UTC)
USER = "5832d184-dd53-42a0-8ace-0bf8d660f4cc"
INLINE = "users: [{user_id: u, phone: ['13012121212']}]\n"


def read(*args, user_id=None, stdin=None):
    return read_jobs([str(arg) for arg in args], user_id=user_id, now=NOW, stdin=stdin)


def written(tmp_path, text, name="job.yaml"):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


# The files to start from.


@pytest.mark.parametrize("path", sorted(path.name for path in JOBS.glob("*.*") if path.suffix != ".md"))
def test_every_file_to_start_from_is_a_job(path):
    job = read(JOBS / path)
    assert job.entries or job.tables or list(read_requests(job.request_files[0]))


def test_the_whole_schema_becomes_a_job():
    job = read(JOBS / "reference.yaml")
    assert job.name == "reference"
    assert job.limits == LimitsGiven(Rate(20.0), 16, 30.0, 6)
    assert job.safety == Safety(200_000, 0.01, 0.05, 0.1, 3.0, 20, False, str(JOBS / "lists" / "never.txt"))
    inline, listed, window = job.entries
    assert inline.phones == ("17458558658", "13012121212")
    assert listed.lists == ListSpec(
        paths=(str(JOBS / "lists" / "opted-out.csv"),),
        place=listed.lists.place,
        phone_column="手机号",
        encoding="utf-8",
        hidden_rows="skip",
    )
    assert re.fullmatch(r".*reference\.yaml:[0-9]+", listed.lists.place)
    assert listed.windows == (("2024-07-26 00:00:00", "2024-07-27 23:59:59"),)
    assert window.delete_window
    assert window.max_rows == 50_000
    assert window.windows[0] == ("2024-01-01 00:00:00", "2024-01-07 23:59:59")
    assert window.windows[-1][1] == "2026-10-24 12:00:00"
    assert job.tables[0].lists.user_column == "user_id"


# YAML, JSON and TOML say the same.

SAME = {
    "yaml": """
name: same
limits: {rate: 300/m, timeout: 2.5}
users:
  - user_id: u
    phone: ["017", 13912345678, "1_39"]
    created_at: [2024-07-26 00:00:00, '2024-07-27 00:00:00']
  - {user_id: v, phone: [], encryption: true}
tables: [{file: [a*.csv, "b?.csv"], user_column: 1, phone_column: 2}]
""",
    "json": """
{"name": "same", "limits": {"rate": "300/m", "timeout": 2.5},
 "users": [
  {"user_id": "u", "phone": ["017", 13912345678, "1_39"],
   "created_at": ["2024-07-26 00:00:00", "2024-07-27 00:00:00"]},
  {"user_id": "v", "phone": [], "encryption": true}],
 "tables": [{"file": ["a*.csv", "b?.csv"], "user_column": 1, "phone_column": 2}]}
""",
    "toml": """
name = "same"
limits = {rate = "300/m", timeout = 2.5}
[[users]]
user_id = "u"
phone = ["017", 13912345678, "1_39"]
created_at = [2024-07-26 00:00:00, "2024-07-27 00:00:00"]
[[users]]
user_id = "v"
phone = []
encryption = true
[[tables]]
file = ["a*.csv", "b?.csv"]
user_column = 1
phone_column = 2
""",
}


@pytest.mark.parametrize("named", ["suffix", "job", "job.txt"])
@pytest.mark.parametrize("format_", sorted(SAME))
def test_every_format_says_the_same_under_any_name(tmp_path, format_, named):
    path = written(tmp_path, SAME[format_], f"job.{format_}" if named == "suffix" else named)
    job = read(path)
    first, second = job.entries
    assert (job.name, job.limits) == ("same", LimitsGiven(rate=Rate(300.0, 60.0), timeout_s=2.5))
    assert first == Entry(
        place=first.place,
        user_id="u",
        phones=("017", "13912345678", "1_39"),
        windows=(("2024-07-26 00:00:00", "2024-07-27 00:00:00"),),
    )
    assert second == Entry(place=second.place, user_id="v", encryption=True)
    (table,) = job.tables
    paths = (str(tmp_path / "a*.csv"), str(tmp_path / "b?.csv"))
    assert table == Table(place=table.place, lists=ListSpec(paths, table.lists.place, 2, 1))


def test_hidden_rows_are_said_beside_a_list_and_in_a_table(tmp_path):
    text = (
        "users:\n- {user_id: u, phone_file: '*.xlsx', hidden_rows: include}\n"
        "- {user_id: v, phone_file: '*.txt'}\n"
        "tables: [{file: '*.xlsx', user_column: 1, hidden_rows: skip}]\n"
    )
    job = read(written(tmp_path, text))
    assert [entry.lists.hidden_rows for entry in job.entries] == ["include", None]
    assert job.tables[0].lists.hidden_rows == "skip"


def test_an_empty_list_is_said_aloud_with_its_place(tmp_path):
    job = read(written(tmp_path, "users:\n- user_id: u\n  phone: []\n  created_at: {last: 1d}\n"))
    assert job.entries[0].phones == ()
    assert not job.entries[0].delete_window
    (note,) = job.notes
    assert "job.yaml:2: phone is an empty list" in note


def test_a_window_that_ends_in_the_future_is_said_aloud(tmp_path):
    text = (
        "users:\n- {user_id: u, delete_window: true, max_rows: 5,\n"
        "   created_at: [2024-01-01 00:00:00, 2030-01-01 00:00:00]}\n"
    )
    assert "ends in the future" in read(written(tmp_path, text)).notes[0]


def test_relative_windows_follow_the_jobs_time_zone(tmp_path):
    text = "timezone: UTC\nusers: [{user_id: u, phone: ['1'], created_at: {last: 1h}}]\n"
    (entry,) = read(written(tmp_path, text)).entries
    assert entry.windows == (("2026-11-23 03:00:00", "2026-11-23 04:00:00"),)


def test_paths_are_relative_to_the_job_file_even_in_a_folder_that_looks_like_a_pattern(tmp_path):
    written(tmp_path, "13012121212\n", "old [1]/lists/a.txt")
    written(tmp_path, "13012121212\n", "never.txt")
    text = "safety: {protect_file: ../never.txt}\n"
    text += "users: [{user_id: u, phone_file: [lists/a.txt, lists/*.txt]}]\n"
    job = read(written(tmp_path, text, "old [1]/job.yaml"))
    plain, pattern = job.entries[0].lists.paths
    assert plain == str(tmp_path / "old [1]" / "lists" / "a.txt")
    assert [str(found) for found in Path("/").glob(pattern.lstrip("/"))] == [plain]
    assert job.safety.protect_file == str(tmp_path / "never.txt")


def test_an_alias_and_a_comment_are_plain_yaml(tmp_path):
    text = "users:\n- {user_id: u, phone: &p ['1', '2']}  # the same numbers\n- {user_id: v, phone: *p}\n"
    job = read(written(tmp_path, text))
    assert [entry.phones for entry in job.entries] == [("1", "2"), ("1", "2")]


def test_norway_and_times_stay_text(tmp_path):
    job = read(written(tmp_path, "name: NO\nusers: [{user_id: on, phone: [12:30:45, x, 1.2.3]}]\n"))
    assert job.name == "NO"
    assert job.entries[0].user_id == "on"
    assert job.entries[0].phones == ("12:30:45", "x", "1.2.3")


@given(st.lists(st.one_of(st.integers(0, 10**15), st.text(max_size=12)), max_size=8))
def test_a_phone_in_json_and_in_yaml_is_what_was_written(tmp_path_factory, phones):
    folder = tmp_path_factory.mktemp("job")
    text = json.dumps({"users": [{"user_id": "u", "phone": phones}]})
    expected = tuple(str(phone) for phone in phones)
    assert read(written(folder, text, "job.json")).entries[0].phones == expected
    lines = folder / "job.jsonl"
    lines.write_text(json.dumps({"user_id": "u", "phone": phones}))
    assert next(read_requests(str(lines))).phones == expected


@given(st.from_regex(r"[0-9+_.eExXa-fA-F:-]{1,14}", fullmatch=True))
def test_an_unquoted_phone_in_yaml_is_its_literal_text_or_a_fault(tmp_path_factory, literal):
    path = written(tmp_path_factory.mktemp("job"), f"users:\n- user_id: u\n  phone:\n  - {literal}\n")
    try:
        phones = read(path).entries[0].phones
    except Faults:
        return
    assert phones == (literal,)


@given(st.binary(max_size=200))
def test_no_bytes_make_reading_a_job_crash(tmp_path_factory, raw):
    path = tmp_path_factory.mktemp("job") / "job.yaml"
    for suffix in ("yaml", "json", "toml", "bin"):
        path = path.with_suffix(f".{suffix}")
        path.write_bytes(raw)
        with pytest.raises(RunnerError):
            list(read_requests(read(path).request_files[0]))


# JOB arguments.


def test_a_list_becomes_one_users_entry(tmp_path):
    path = written(tmp_path, "13012121212\n", "opted out.csv")
    job = read(path, user_id=USER)
    assert job.entries == (Entry(str(path), USER, lists=ListSpec((str(path),), str(path))),)
    assert job.name == "optedout"


def test_a_list_without_a_user_is_refused_with_the_cure(tmp_path):
    with pytest.raises(Refused, match="neither a job file") as caught:
        read(written(tmp_path, "13012121212\n", "list.txt"))
    assert "--user-id" in caught.value.hint


@pytest.mark.parametrize("user_id", ["a/b", "..", "", "a b"])
def test_an_unsafe_user_id_of_a_list_is_refused(tmp_path, user_id):
    with pytest.raises(Refused, match="--user-id"):
        read(written(tmp_path, "13012121212\n", "list.txt"), user_id=user_id)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", b"13012121212\n"),
        ("a.csv", "姓名,手机号\n张三,13012121212\n".encode("gb18030")),
        ("a.csv", b"name,phone\nx,13012121212\n"),
        ("a.json", b'["13012121212"]'),
        ("a.jsonl", b'{"phone": "13012121212"}\n{"phone": "1"}\n'),
        ("a.jsonl", b'{"name": "x", "phone": "13012121212"}\n'),
        ("a.txt.gz", gzip.compress(b"13012121212\n", mtime=0)),
        ("a.txt", "13012121212\n".encode("utf-16")),
        ("empty", b""),
    ],
)
def test_lists_are_told_by_their_content(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    assert read(path, user_id=USER).entries[0].lists.paths == (str(path),)


@pytest.mark.parametrize(
    "content",
    [
        b'{"user_id":"u","phone":["1"]}\n',
        b'\xef\xbb\xbf\n{"phone":["1"],"user_id":"u"}',
        b'{"phone":[' + b'"13012121212",' * 20_000 + b'"1"],"user_id":"u"}\n',
    ],
    ids=["plain", "bom", "long"],
)
@pytest.mark.parametrize("name", ["a.jsonl", "a", "a.txt", "a.json"])
def test_requests_are_told_by_their_content(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    assert read(path).request_files == (str(path),)
    packed = tmp_path / f"{name}.gz"
    packed.write_bytes(gzip.compress(content))
    assert read(packed).request_files == (str(packed),)


def test_requests_with_a_user_id_beside_are_refused(tmp_path):
    with pytest.raises(Refused, match="names its own users"):
        read(written(tmp_path, '{"user_id":"u","phone":["1"]}\n', "a.jsonl"), user_id="v")


def test_a_user_id_without_a_list_is_refused(tmp_path):
    with pytest.raises(Refused, match="--user-id goes with a list"):
        read(written(tmp_path, INLINE), user_id="v")


class InParts(io.RawIOBase):
    """A pipe whose writer takes its time: each reading gets one part."""

    def __init__(self, *parts):
        self.parts = list(parts)

    def readable(self):
        return True

    def readinto(self, buffer):
        part = self.parts.pop(0) if self.parts else b""
        buffer[: len(part)] = part
        return len(part)


def arriving(*parts):
    return io.BufferedReader(InParts(*parts))


def in_all_ways(content):
    """The same bytes at once, in two parts cut anywhere, and one by one."""
    yield (content,)
    yield from ((content[:cut], content[cut:]) for cut in range(1, len(content)))
    yield tuple(bytes([byte]) for byte in content)


def test_standard_input_is_a_list_with_a_user_and_requests_without():
    job = read("-", user_id=USER, stdin=arriving(b"13012121212\n13012121213\n"))
    assert job.entries[0].lists.paths == ("-",)
    (rows,) = read_rows(job.entries[0].lists, rule="mobile_cn", stdin=job.stdin)
    assert rows.values == ["13012121212", "13012121213"], "looked at, not taken"
    job = read("-", stdin=arriving(b'{"user_id":"u","phone":["1"]}\n{"user_id"', b':"v","phone":["2"]}'))
    assert (job.name, job.request_files) == ("stdin", ("-",))
    assert [entry.user_id for entry in read_requests("-", stdin=job.stdin)] == ["u", "v"]


@pytest.mark.parametrize(
    "line",
    [
        b'{"user_id":"u2","phone":["13012121212"],"created_at":["2024-01-01 00:00:00"]}\n',
        b'{"phone":["1"],"user_id":"u2"}\n',
        b'\xef\xbb\xbf\n  {"phone":["1"],"created_at":[]}\n',
        b'{"phone":["1"],"encryption":true}\n',
    ],
)
def test_rows_of_others_are_refused_beside_a_user_id_however_they_arrive(line):
    for parts in in_all_ways(line):
        with pytest.raises(Refused, match="names its own users"):
            read("-", user_id="u1", stdin=arriving(*parts, b'{"phone":["2"]}\n'))


@pytest.mark.parametrize(
    "content",
    [
        b'{"phone":"13012121212","name":"x"}\n{"phone":"1"}\n',
        b"13012121212\nname: x\n",
        b"# users: of June\n\n13012121212\n",
        b"13012121212",
        b"",
    ],
)
def test_a_list_is_one_however_it_arrives(content):
    for parts in in_all_ways(content):
        job = read("-", user_id="u1", stdin=arriving(*parts))
        assert job.entries[0].lists.paths == ("-",)
        assert b"".join(iter(lambda: job.stdin.read(7), b"")) == content  # noqa: B023 - used at once


def test_a_job_file_on_standard_input_is_one_however_it_arrives():
    for content in (INLINE.encode(), b"# mine\n\nname: x\n", b'{\n  "users": [\n'):
        for parts in in_all_ways(content):
            with pytest.raises(Refused, match="a job file"):
                read("-", user_id="u1", stdin=arriving(*parts))


def test_no_more_than_64_kib_are_looked_at_without_a_line_end():
    raw = InParts(*[b"1" * 8192] * 100)
    read("-", user_id="u1", stdin=io.BufferedReader(raw))
    assert len(raw.parts) >= 90


def test_standard_input_that_cannot_be_read_is_refused(monkeypatch):
    def broken(self, buffer):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(InParts, "readinto", broken)
    with pytest.raises(Refused, match="standard input cannot be read: Input/output error"):
        read("-", user_id="u1", stdin=arriving())


@pytest.mark.parametrize(
    ("content", "user_id", "words"),
    [
        (b"13012121212\n", None, "neither a job"),
        (b"", None, "neither a job"),
        (INLINE.encode(), None, "a job file"),
        (b'{"user_id":"u","phone":["1"]}\n', "v", "names its own users"),
    ],
)
def test_standard_input_that_does_not_fit_is_refused(content, user_id, words):
    with pytest.raises(Refused, match=words):
        read("-", user_id=user_id, stdin=io.BytesIO(content))


def test_what_cannot_be_read_is_refused(tmp_path):
    for arg in (tmp_path, tmp_path / "none.yaml", "a\0b", ""):
        with pytest.raises(Refused):
            read(arg)
    with pytest.raises(Refused, match="at most once"):
        read("-", "-", stdin=io.BytesIO(b""))
    with pytest.raises(Refused, match="give a JOB"):
        read()


# Several jobs in one run.


def test_jobs_of_every_kind_merge_and_the_job_file_speaks_for_all(tmp_path):
    job_file = written(tmp_path, "name: nightly\nsafety: {max_phones: 7}\nlimits: {rate: 5/s}\n" + INLINE)
    requests = written(tmp_path, '{"user_id":"u","phone":["1"]}\n', "day.jsonl")
    listed = written(tmp_path, "13012121212\n", "list.txt")
    job = read(listed, requests, job_file, user_id=USER)
    assert job.name == "list+day+nightly"
    assert job.safety.max_phones == 7
    assert job.limits.rate == Rate(5.0)
    assert [entry.user_id for entry in job.entries] == [USER, "u"]
    assert job.request_files == (str(requests),)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ("limits: {rate: 5/s}\n", "limits"),
        ("safety: {max_phones: 5}\n", "safety"),
        ("safety: {protect_file: a.yaml}\n", "safety"),
        ("phone_rule: opaque\n", "phone_rule"),
        ("timezone: UTC\n", "timezone"),
        ("timezone: UTC\nlimits: {timeout: 5}\n", "limits, timezone"),
    ],
)
def test_differing_jobs_are_refused_and_the_difference_is_named(tmp_path, other, words):
    first = written(tmp_path, INLINE, "a.yaml")
    second = written(tmp_path, INLINE + other, "b.yaml")
    with pytest.raises(Refused, match=rf"differ in {words}$"):
        read(first, second)
    with pytest.raises(Refused, match=rf"differ in {words}$"):
        read(second, first)


def test_jobs_that_say_the_default_and_jobs_that_say_nothing_agree(tmp_path):
    first = written(tmp_path, INLINE, "a.yaml")
    second = written(tmp_path, INLINE + "limits: {rate: 20/s}\nsafety: {max_invalid: 1%}\n", "b.yaml")
    assert read(first, second).name == "a+b"


def test_many_names_make_a_short_one(tmp_path):
    paths = [written(tmp_path, INLINE, f"{'n' * 20}{n}.yaml") for n in range(9)]
    assert read(*paths).name == f"{'n' * 20}0+8"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("客户 清理.yaml", "客户清理"),
        ("a.b.yaml", "a"),
        ("-rf.yaml", "rf"),
        ("...yaml", "job"),
        ("$(x).yaml", "x"),
    ],
)
def test_a_job_without_a_name_takes_its_files(tmp_path, name, expected):
    assert read(written(tmp_path, INLINE, name)).name == expected


# The schema.


def valid(schema, data, root):
    """Tell whether data fits a schema; the few words of JSON Schema that ours uses."""
    if "$ref" in schema:
        return valid(root["$defs"][schema["$ref"].rsplit("/", 1)[1]], data, root)
    kinds = {
        "object": dict,
        "array": list,
        "string": str,
        "boolean": bool,
        "integer": int,
        "number": (int, float),
    }
    kind = schema.get("type")
    if kind and (not isinstance(data, kinds[kind]) or (isinstance(data, bool) and kind != "boolean")):
        return False
    known = {
        *("$schema", "$defs", "title", "description", "default", "type", "properties", "required"),
        *(
            "additionalProperties",
            "items",
            "minItems",
            "maxItems",
            "anyOf",
            "oneOf",
            "enum",
            "const",
            "pattern",
        ),
        *("minLength", "minimum", "maximum", "exclusiveMinimum"),
    }
    assert set(schema) <= known, "the test's validator does not know a word"
    tests = [
        all(key in data for key in schema.get("required", ())),
        all(
            valid(inner, data[key], root)
            for key, inner in schema.get("properties", {}).items()
            if key in data
        )
        if isinstance(data, dict)
        else True,
        schema.get("additionalProperties", True) or set(data) <= set(schema["properties"]),
        all(valid(schema["items"], item, root) for item in data) if "items" in schema else True,
        len(data) >= schema["minItems"] if "minItems" in schema else True,
        len(data) <= schema["maxItems"] if "maxItems" in schema else True,
        any(valid(choice, data, root) for choice in schema["anyOf"]) if "anyOf" in schema else True,
        sum(valid(choice, data, root) for choice in schema["oneOf"]) == 1 if "oneOf" in schema else True,
        data in schema["enum"] if "enum" in schema else True,
        data == schema["const"] if "const" in schema else True,
        re.search(schema["pattern"], data) is not None if "pattern" in schema else True,
        len(data) >= schema["minLength"] if "minLength" in schema else True,
        data >= schema["minimum"] if "minimum" in schema else True,
        data <= schema["maximum"] if "maximum" in schema else True,
        data > schema["exclusiveMinimum"] if "exclusiveMinimum" in schema else True,
    ]
    return all(tests)


def plain(path):
    if path.suffix == ".toml":
        return tomllib.loads(path.read_text("utf-8"))
    return YAML(typ="safe", pure=True).load(path.read_text("utf-8"))


JOB_FILES = sorted(path for path in JOBS.glob("*.*") if path.suffix in {".yaml", ".json", ".toml"})


@pytest.mark.parametrize("path", JOB_FILES, ids=lambda path: path.name)
def test_the_schema_accepts_every_job_file_to_start_from(path):
    schema = job_schema()
    assert valid(schema, plain(path), schema)


@pytest.mark.parametrize(
    "text",
    [
        "name: x\n",
        "users: []\n",
        INLINE + "token: x\n",
        INLINE + "name: ~\n",
        "users: [{user_id: u}]\n",
        "users: [{user_id: a/b, phone: ['1']}]\n",
        "users: [{user_id: u, phone: [1.5]}]\n",
        "users: [{user_id: u, phone: null}]\n",
        "users: [{user_id: u, created_at: {last: 1d}}]\n",
        "users: [{user_id: u, delete_window: true, created_at: {from: '2024-01-01 00:00:00'}}]\n",
        "users: [{user_id: u, delete_window: false, max_rows: 1, created_at: {last: 1d}}]\n",
        INLINE + "limits: {rate: 20}\n",
        INLINE + "limits: {timeout: 0}\n",
        INLINE + "limits: {concurrency: 1025}\n",
        INLINE + "safety: {max_failed: 5}\n",
        "tables: [{file: a.csv}]\n",
    ],
)
def test_the_schema_refuses_what_reading_refuses(tmp_path, text):
    path = written(tmp_path, text)
    schema = job_schema()
    assert not valid(schema, plain(path), schema)
    with pytest.raises(Faults):
        read(path)


def test_every_key_of_the_schema_is_described():
    schema = job_schema()
    for part in (schema, *schema["$defs"].values()):
        for key, inner in part["properties"].items():
            assert inner.get("description") or "$ref" in inner, key
    json.dumps(schema)


def test_the_files_text_is_read_through_and_not_guessed(tmp_path):
    data = read_document(str(written(tmp_path, "a: 12:30:45\nb: 2024-07-26\nc: 0.5\nd: 007x\n"))).data
    assert data == {"a": "12:30:45", "b": "2024-07-26", "c": 0.5, "d": "007x"}
