"""How much a job file may cost: memory by its size, places by one look at each list, and what is refused."""

import re
import tracemalloc
import warnings
from datetime import UTC, datetime

import pytest

from runner.errors import Faults
from runner.job import json_text, load, toml_text, yaml_text
from runner.job.arguments import read_jobs

NOW = datetime(2026, 11, 23, 4, tzinfo=UTC)
NUMBERS = [str(13900000000 + n) for n in range(5_000)]
USERS = 500
BYTES_A_VALUE = 300
"""A file of a million values, the most there may be, fits into 300 MB."""

LISTS = {
    "yaml": "users:\n- user_id: u\n  phone: [" + ", ".join(NUMBERS) + "]\n",
    "json": '{"users": [{"user_id": "u", "phone": ["' + '","'.join(NUMBERS) + '"]}]}',
    "toml": '[[users]]\nuser_id = "u"\nphone = ["' + '","'.join(NUMBERS) + '"]\n',
}
ENTRIES = {
    "yaml": "users:\n" + "".join(f"- user_id: u{n}\n  phone_file: '*.txt'\n" for n in range(USERS)),
    "json": '{"users": [\n'
    + ",\n".join(f'{{"user_id": "u{n}", "phone_file": "*.txt"}}' for n in range(USERS))
    + "\n]}",
    "toml": "".join(f'[[users]]\nuser_id = "u{n}"\nphone_file = "*.txt"\n' for n in range(USERS)),
}


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Read a job's text; return the job and the most memory that took."""
    monkeypatch.setattr(load, "MAX_BYTES", 1 << 18)

    def read(suffix, text):
        path = tmp_path / f"job.{suffix}"
        path.write_text(text, encoding="utf-8")
        tracemalloc.start()
        try:
            return read_jobs([str(path)], user_id=None, now=NOW), tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    return read


@pytest.mark.parametrize("suffix", LISTS)
def test_a_long_list_of_numbers_takes_little_more_than_its_text(read, suffix):
    job, most = read(suffix, LISTS[suffix])
    assert job.entries[0].phones == tuple(NUMBERS)
    assert most < load.MAX_BYTES + BYTES_A_VALUE * len(NUMBERS)


@pytest.mark.parametrize("suffix", ENTRIES)
def test_many_entries_are_placed_and_take_little(read, suffix):
    job, most = read(suffix, ENTRIES[suffix])
    lines = [int(entry.place.rpartition(":")[2]) for entry in job.entries]
    step = ENTRIES[suffix].count("\n") // USERS
    assert lines == list(range(lines[0], lines[0] + step * USERS, step))
    assert all(entry.lists.place.startswith(str(entry.place).rpartition(":")[0]) for entry in job.entries)
    assert most < load.MAX_BYTES + 5 * BYTES_A_VALUE * 2 * USERS


@pytest.mark.parametrize(
    ("module", "suffix", "looks"), [(json_text, "json", 2 + USERS), (toml_text, "toml", 0)]
)
def test_places_are_found_by_one_look_at_each_list(read, monkeypatch, module, suffix, looks):
    looked = []
    look_inside = module._look_inside

    def counted(text, at):
        looked.append(at)
        return look_inside(text, at)

    monkeypatch.setattr(module, "_look_inside", counted)
    read(suffix, ENTRIES[suffix])
    assert len(looked) == looks, "the top, the list of users, and each user for the place of its file"


@pytest.mark.parametrize("suffix", LISTS)
def test_many_faults_in_one_list_are_found_by_one_look_at_it(read, monkeypatch, suffix):
    looked = []
    for module in (json_text, toml_text):
        look_inside = module._look_inside
        monkeypatch.setattr(
            module, "_look_inside", lambda text, at, look=look_inside: looked.append(at) or look(text, at)
        )
    text = re.sub('"?139[0-9]{8}"?', "1.5", LISTS[suffix])
    with pytest.raises(Faults, match="4,980 more faults"):
        read(suffix, text)
    assert len(looked) <= 5


@pytest.mark.parametrize(
    "text",
    [
        ".".join(["a"] * 19_500) + " = 1\n",
        "[" + ".".join(["a"] * 19_500) + "]\n",
        "[[" + " . ".join(["'a'"] * 9_000) + "]]\n",
        "a = {" + ".".join(["a"] * 19_500) + " = 1}\n",
        "a = {b = 1, " + ".".join(['"a"'] * 9_000) + " = 1}\n",
        "a = " + "{a=" * 9_000 + "1" + "}" * 9_000 + "\n",
        "a = " + "[" * 19_500 + "]" * 19_500 + "\n",
    ],
)
def test_deep_toml_is_refused_before_its_parser_swells(read, monkeypatch, text):
    parsed = []
    monkeypatch.setattr(toml_text.tomllib, "loads", parsed.append)
    with pytest.raises(Faults, match=r"job\.toml:1: nested too deeply"):
        read("toml", text)
    assert parsed == []


def test_the_dots_of_texts_numbers_and_comments_are_no_keys(read):
    dots = ".".join(["a"] * 100)
    text = f'name = "x" # {dots} = 1\n[[users]]\nuser_id = "u"\nphone = [\n  "{dots}", # {dots}\n  "1.2"]\n'
    job, _ = read("toml", text)
    assert job.entries[0].phones == (dots, "1.2")


@pytest.mark.parametrize("suffix", ["yaml", "json", "toml"])
def test_more_values_than_the_bound_are_refused_with_the_way_out(read, monkeypatch, suffix):
    for module in (load, yaml_text):
        monkeypatch.setattr(module, "MAX_VALUES", 4_000)
    with pytest.raises(Faults, match="put numbers into a file named by phone_file"):
        read(suffix, LISTS[suffix])


@pytest.mark.parametrize("suffix", ["yaml", "json", "toml"])
def test_more_entries_than_the_bound_are_refused_with_the_way_out(read, monkeypatch, suffix):
    for module in (load, yaml_text, toml_text):
        monkeypatch.setattr(module, "MAX_MAPPINGS", USERS - 1)
    with pytest.raises(Faults, match="write a JSON-lines job"):
        read(suffix, ENTRIES[suffix])


@pytest.mark.parametrize("raised", [ValueError("13912345678"), AssertionError(), MemoryError()])
def test_whatever_a_parser_raises_is_a_fault_of_the_file_that_shows_nothing_of_it(read, monkeypatch, raised):
    def broken(document, text):
        raise raised

    monkeypatch.setitem(load._READERS, "YAML", broken)
    with pytest.raises(Faults, match=r"job\.yaml: ") as caught:
        read("yaml", LISTS["yaml"])
    assert "13912345678" not in caught.value.message


def test_a_warning_of_a_parser_reaches_nobody(read, monkeypatch):
    def talkative(document, text):
        warnings.warn("13912345678", stacklevel=1)
        document.data = {"users": [{"user_id": "u", "phone": []}]}

    monkeypatch.setitem(load._READERS, "YAML", talkative)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read("yaml", LISTS["yaml"])
    assert caught == []
