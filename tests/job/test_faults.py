"""Broken and dangerous job files: each is refused, at the place where a person can mend it.

A row is the job's text and what is expected: `(line, column, a part of the words)` of every fault, in order.
"""

import gzip
from datetime import UTC, datetime

import pytest

from runner.errors import Faults, Refused
from runner.job.arguments import read_jobs

NOW = datetime(2026, 11, 23, 4, tzinfo=UTC)
USERS = "users: [{user_id: u, phone: ['13012121212']}]\n"
ENTRY = "users:\n  - user_id: u\n"
WINDOW = ENTRY + "    delete_window: true\n"

YAML = {
    # text
    "empty file": ("", [(0, 0, "a job is a mapping")]),
    "a list at the top": ("- user_id: u\n", [(1, 1, "a job is a mapping")]),
    "just text": ("users\n", [(1, 1, "a job is a mapping")]),
    "a tab as indentation": ("users:\n\t- user_id: u\n", [(2, 1, "not YAML")]),
    "an unclosed quote": ("name: 'x\nusers: []\n", [(3, 1, "not YAML")]),
    "an unclosed list": ("users: [\n", [(2, 1, "not YAML")]),
    "two documents": (USERS + "---\n" + USERS, [(2, 1, "another document")]),
    "a NUL": ("name: a\0b\n", [(1, 8, "not YAML: a control character")]),
    "an unknown alias": ("users: *all\n", [(1, 8, "undefined alias")]),
    "an alias of itself": ("users: &a [*a]\n", [(1, 12, "nested too deeply")]),
    "brackets without end": ("users: " + "[" * 5000, [(1, 39, "nested too deeply")]),
    "a python tag": ("users: !!python/object/apply:os.system []\n", [(1, 8, "a tag (!)")]),
    "a tagged scalar": (USERS + "name: !!binary aGk=\n", [(2, 7, "a tag (!)")]),
    "a key that stands twice": (USERS + USERS, [(2, 1, "`users` stands twice")]),
    "an entry's key that stands twice": (
        ENTRY + "    phone: ['1']\n    user_id: v\n",
        [(4, 5, "`user_id` stands twice")],
    ),
    "a key that is a number": (USERS + "1: 2\n", [(2, 1, "a key is text")]),
    "a key that is a list": (USERS + "? [a]\n: 2\n", [(2, 3, "a key is text")]),
    "a merge key": (USERS + "limits: {<<: {rate: 5/s}}\n", [(2, 10, "unknown key")]),
    # YAML's guesses
    "a phone with a leading zero": (ENTRY + "    phone: [017]\n", [(3, 13, "in quotes")]),
    "a phone with an underscore": (ENTRY + "    phone: [1_39]\n", [(3, 13, "in quotes")]),
    "a phone in hexadecimal": (ENTRY + "    phone: [0x1F]\n", [(3, 13, "in quotes")]),
    "a phone with a plus": (ENTRY + "    phone: [+8613012121212]\n", [(3, 13, "in quotes")]),
    "a phone from Excel": (ENTRY + "    phone: [1.39E+10]\n", [(3, 13, "fraction or an exponent")]),
    "a phone with a point": (ENTRY + "    phone: [13012121212.0]\n", [(3, 13, "fraction")]),
    "a phone that is infinite": (ENTRY + "    phone: [.inf]\n", [(3, 13, "not a plain number")]),
    "a phone that is true": (ENTRY + "    phone: [true]\n", [(3, 13, "not true or false")]),
    "a phone that is null": (ENTRY + "    phone: [~]\n", [(3, 13, "has no value")]),
    "a phone that is a list": (ENTRY + "    phone: [[x]]\n", [(3, 13, "not a list")]),
    "a YAML 1.1 boolean": (
        "%YAML 1.1\n---\n" + ENTRY + "    phone: ['1']\n    encryption: NO\n",
        [(6, 17, "true or false")],
    ),
    "a boolean in words": (
        ENTRY + "    phone: ['1']\n    encryption: yes\n",
        [(4, 17, "expected true or false")],
    ),
    # top level
    "neither users nor tables": ("name: x\n", [(1, 1, "users, or tables")]),
    "no users": ("users: []\n", [(1, 8, "is empty")]),
    "users without a value": ("users:\n", [(1, 1, "users: has no value")]),
    "users as a mapping": ("users: {u: [1]}\n", [(1, 8, "expected a list")]),
    "a misspelled top key": ("user:\n  - user_id: u\nname: x\n", [(1, 1, "did you mean `users`?")]),
    "an unknown key": (USERS + "colour: red\n", [(2, 1, "unknown key; known here")]),
    "a key of another place": (USERS + "phone: ['1']\n", [(2, 1, "unknown key")]),
    "a token": (USERS + "token: hush-hush\n", [(2, 1, "BULK_DELETE_TOKEN")]),
    "a token file": (USERS + "token-file: /etc/token\n", [(2, 1, "--token-file")]),
    "a base URL": (USERS + "base_url: https://evil.example\n", [(2, 1, "--base-url")]),
    "a base URL among the limits": (USERS + "limits: {url: https://evil.example}\n", [(2, 10, "--base-url")]),
    "a name with a path": (USERS + "name: ../../etc/cron.d/x\n", [(2, 7, "names files")]),
    "a name that is a number": (USERS + "name: 7\n", [(2, 7, "expected text")]),
    "an unknown phone rule": (USERS + "phone_rule: mobile\n", [(2, 13, "write mobile_cn, number or opaque")]),
    "an unknown time zone": (USERS + "timezone: Asia/Shanghia\n", [(2, 11, "not known")]),
    "a time zone with a path": (USERS + "timezone: ../../etc/passwd\n", [(2, 11, "not known")]),
    # limits
    "rate 0": (USERS + "limits: {rate: 0/s}\n", [(2, 16, "above 0")]),
    "a rate without a unit": (USERS + "limits: {rate: 20}\n", [(2, 16, "N/s or N/m")]),
    "a rate an hour": (USERS + "limits: {rate: 20/h}\n", [(2, 16, "N/s or N/m")]),
    "concurrency 0": (USERS + "limits: {concurrency: 0}\n", [(2, 23, "at least 1")]),
    "concurrency beyond": (USERS + "limits: {concurrency: 1025}\n", [(2, 23, "at most 1024")]),
    "concurrency as text": (USERS + "limits: {concurrency: '8'}\n", [(2, 23, "expected a whole number")]),
    "a concurrency of 1.5": (USERS + "limits: {concurrency: 1.5}\n", [(2, 23, "whole number")]),
    "concurrency true": (USERS + "limits: {concurrency: true}\n", [(2, 23, "whole number")]),
    "timeout 0": (USERS + "limits: {timeout: 0}\n", [(2, 19, "above 0")]),
    "timeout below 0": (USERS + "limits: {timeout: -1.5}\n", [(2, 19, "above 0")]),
    "a timeout beyond": (USERS + "limits: {timeout: 3601}\n", [(2, 19, "at most 3600")]),
    "a timeout with a unit": (USERS + "limits: {timeout: 30s}\n", [(2, 19, "expected a number")]),
    "max_attempts 0": (USERS + "limits: {max_attempts: 0}\n", [(2, 24, "at least 1")]),
    "max_attempts beyond": (USERS + "limits: {max_attempts: 101}\n", [(2, 24, "at most 100")]),
    "a deadline": (USERS + "limits: {deadline: 4h}\n", [(2, 10, "--deadline")]),
    "limits as text": (USERS + "limits: 20/s\n", [(2, 9, "expected keys")]),
    # safety
    "percent over 100": (USERS + "safety: {max_failed: 101%}\n", [(2, 22, "0% to 100%")]),
    "a share without percent": (USERS + "safety: {max_invalid: 0.01}\n", [(2, 23, "percentage")]),
    "max_phones 0": (USERS + "safety: {max_phones: 0}\n", [(2, 22, "at least 1")]),
    "max_phones with underscores": (USERS + "safety: {max_phones: 200_000}\n", [(2, 22, "plain digits")]),
    "max_rows_per_phone 0": (USERS + "safety: {max_rows_per_phone: 0}\n", [(2, 30, "at least 1")]),
    "a likely safety key": (USERS + "safety: {max_phone: 5}\n", [(2, 10, "`max_phones`?")]),
    "a protect file that is missing": (
        USERS + "safety: {protect_file: never.txt}\n",
        [(2, 24, "no such file")],
    ),
    "a protect file that is a folder": (USERS + "safety: {protect_file: .}\n", [(2, 24, "a folder")]),
    "a protect file that is empty text": (USERS + "safety: {protect_file: ''}\n", [(2, 24, "file name")]),
    # entries
    "no user_id": ("users:\n  - phone: ['1']\n", [(2, 5, "user_id: is missing")]),
    "a user_id with a fraction": ("users:\n  - user_id: 1001.5\n    phone: ['1']\n", [(2, 14, "fraction")]),
    "a user_id with an exponent": ("users:\n  - user_id: 1.5e3\n    phone: ['1']\n", [(2, 14, "fraction")]),
    "a user_id that is true": (
        "users:\n  - user_id: true\n    phone: ['1']\n",
        [(2, 14, "not true or false")],
    ),
    "a user_id that is a date": (
        "users:\n  - user_id: 2024-01-01\n    phone: ['1']\n",
        [(2, 14, "not a date")],
    ),
    "a user_id below 0": ("users:\n  - user_id: -5\n    phone: ['1']\n", [(2, 14, "a negative number")]),
    "a growth below 0": (USERS + "safety: {max_growth: -1}\n", [(2, 22, "must be above 1")]),
    "a user_id in octal": ("users:\n  - user_id: 017\n    phone: ['1']\n", [(2, 14, "plain digits")]),
    "a user_id above 2^53": (
        "users:\n  - user_id: 9007199254740993\n    phone: ['1']\n",
        [(2, 14, "above 2^53")],
    ),
    "a phone that is a date": (ENTRY + "    phone: ['1', 2024-01-01]\n", [(3, 18, "not a date")]),
    "a phone above 2^53": (ENTRY + "    phone: [9007199254740993]\n", [(3, 13, "above 2^53")]),
    "half a character": (ENTRY + '    phone: ["1", "\\ud83d"]\n', [(3, 18, "half of a character")]),
    "an anchor that stands twice": (
        "users:\n- user_id: &a u\n  phone: &a ['1']\n",
        [(3, 10, "the anchor `a` stands twice")],
    ),
    "YAML 1.3": ("%YAML 1.3\n---\n" + USERS, [(1, 1, "leave the %YAML line away")]),
    "YAML 2.0": ("%YAML 2.0\n---\n" + USERS, [(1, 1, "leave the %YAML")]),
    "a number beyond all use": (USERS + "safety: {max_phones: 10000000000001}\n", [(2, 22, "at most")]),
    "nothing to delete": (ENTRY, [(2, 5, "nothing to delete")]),
    "phones, not phone": (ENTRY + "    phones: ['1']\n", [(3, 5, "did you mean `phone`?")]),
    "one phone, not a list": (ENTRY + "    phone: '13012121212'\n", [(3, 12, "expected a list")]),
    "phone without a value": (ENTRY + "    phone:\n", [(3, 5, "phone: has no value")]),
    "a list file that is missing": (ENTRY + "    phone_file: none.csv\n", [(3, 17, "no such file")]),
    "a list file in a file": (ENTRY + "    phone_file: job.yaml/a.csv\n", [(3, 17, "no such file")]),
    "a list file in a loop of links": (ENTRY + "    phone_file: loop\n", [(3, 17, "cannot be looked at")]),
    "a list file of 5,000 letters": (
        ENTRY + "    phone_file: " + "x" * 5000 + "\n",
        [(3, 17, "cannot be looked at (File name too long)")],
    ),
    "two list files that are missing": (
        ENTRY + "    phone_file: [a.csv, b.csv]\n",
        [(3, 18, "no such file"), (3, 25, "no such file")],
    ),
    "no list file": (ENTRY + "    phone_file: []\n", [(3, 17, "is empty")]),
    "standard input in a job": (ENTRY + "    phone_file: '-'\n", [(3, 17, "standard input")]),
    "a column without a file": (
        ENTRY + "    phone: ['1']\n    phone_column: x\n",
        [(4, 5, "phone_file only")],
    ),
    "hidden rows without a file": (
        ENTRY + "    phone: ['1']\n    hidden_rows: skip\n",
        [(4, 5, "phone_file only")],
    ),
    "hidden rows that are neither": (
        ENTRY + "    phone_file: '*.csv'\n    hidden_rows: no\n",
        [(4, 18, "write include or skip")],
    ),
    "column 0": (ENTRY + "    phone_file: '*.csv'\n    phone_column: 0\n", [(4, 19, "from 1")]),
    "an unknown encoding": (ENTRY + "    phone_file: '*.csv'\n    encoding: utf9\n", [(4, 15, "encoding")]),
    "an encoding of bytes": (
        ENTRY + "    phone_file: '*.csv'\n    encoding: base64\n",
        [(4, 15, "encoding")],
    ),
    # windows
    "created_at without phones": (
        ENTRY + "    created_at: ['2024-07-26 00:00:00', '2024-07-27 00:00:00']\n",
        [(3, 5, "would delete the whole window")],
    ),
    "created_at with an empty phone file list": (
        ENTRY + "    phone_file: []\n    created_at: ['2024-07-26 00:00:00', '2024-07-27 00:00:00']\n",
        [(3, 17, "is empty")],
    ),
    "created_at with phone null": (
        ENTRY + "    phone: null\n    created_at: ['2024-07-26 00:00:00', '2024-07-27 00:00:00']\n",
        [(3, 12, "has no value")],
    ),
    "an empty created_at": (ENTRY + "    phone: ['1']\n    created_at: []\n", [(4, 17, "is empty")]),
    "a created_at of one": (
        ENTRY + "    phone: ['1']\n    created_at: ['2024-07-26 00:00:00']\n",
        [(4, 17, "needs 2 values")],
    ),
    "a created_at of three": (
        ENTRY + "    phone: ['1']\n    created_at: [a, b, c]\n",
        [(4, 17, "takes 2 values")],
    ),
    "a created_at that is text": (
        ENTRY + "    phone: ['1']\n    created_at: 30d\n",
        [(4, 17, "expected [from, to]")],
    ),
    "a reversed window": (
        ENTRY + "    phone: ['1']\n    created_at: [2024-07-27 00:00:00, 2024-07-26 00:00:00]\n",
        [(4, 17, "reversed")],
    ),
    "a date without a time": (
        ENTRY + "    phone: ['1']\n    created_at: ['2024-07-26', '2024-07-27 00:00:00']\n",
        [(4, 18, "YYYY-MM-DD HH:MM:SS")],
    ),
    "a day that is none": (
        ENTRY + "    phone: ['1']\n    created_at: ['2023-02-29 00:00:00', '2024-07-27 00:00:00']\n",
        [(4, 18, "not a real date")],
    ),
    "an empty relative window": (ENTRY + "    phone: ['1']\n    created_at: {}\n", [(4, 17, "says nothing")]),
    "a likely window key": (
        ENTRY + "    phone: ['1']\n    created_at: {older: 30d}\n",
        [(4, 18, "`older_than`?")],
    ),
    "two starts": (
        ENTRY + "    phone: ['1']\n    created_at: {from: '2024-01-01 00:00:00', last: 3d}\n",
        [(4, 17, "keep one")],
    ),
    "a relative window that is reversed": (
        ENTRY + "    phone: ['1']\n    created_at: {from: '2026-11-01 00:00:00', older_than: 30d}\n",
        [(4, 17, "reversed")],
    ),
    "a duration in weeks": (
        ENTRY + "    phone: ['1']\n    created_at: {last: 2w}\n",
        [(4, 24, "duration")],
    ),
    "a duration that is a float": (
        ENTRY + "    phone: ['1']\n    created_at: {last: 1.5}\n",
        [(4, 24, "duration")],
    ),
    # delete_window
    "a window without created_at and max_rows": (
        WINDOW,
        [(2, 5, "needs created_at"), (3, 5, "needs max_rows")],
    ),
    "a window without a start": (
        WINDOW + "    created_at: {older_than: 30d}\n    max_rows: 5\n",
        [(4, 5, "needs a start")],
    ),
    "a window with phones": (
        WINDOW + "    phone: ['1']\n    created_at: {from: '2024-01-01 00:00:00'}\n    max_rows: 5\n",
        [(4, 5, "keep one of the two")],
    ),
    "a window with an empty list": (
        WINDOW + "    phone: []\n    created_at: {from: '2024-01-01 00:00:00'}\n    max_rows: 5\n",
        [(4, 5, "keep one of the two")],
    ),
    "a window with a list file": (
        WINDOW + "    phone_file: '*.csv'\n    created_at: {from: '2024-01-01 00:00:00'}\n    max_rows: 5\n",
        [(4, 5, "keep one of the two")],
    ),
    "max_rows 0": (
        WINDOW + "    created_at: {from: '2024-01-01 00:00:00'}\n    max_rows: 0\n",
        [(5, 15, "at least 1")],
    ),
    "delete_window as text": (ENTRY + "    delete_window: 'true'\n", [(3, 20, "expected true or false")]),
    "max_rows without delete_window": (
        ENTRY + "    phone: ['1']\n    max_rows: 5\n",
        [(4, 5, "delete_window: true only")],
    ),
    "slice without delete_window": (
        ENTRY + "    phone: ['1']\n    delete_window: false\n    slice: 7d\n",
        [(5, 5, "delete_window: true only")],
    ),
    "slice 0": (
        WINDOW + "    created_at: {from: '2024-01-01 00:00:00'}\n    max_rows: 5\n    slice: 0d\n",
        [(6, 12, "duration")],
    ),
    "a slice of a second": (
        WINDOW + "    created_at: {from: '2024-01-01 00:00:00'}\n    max_rows: 5\n    slice: 1s\n",
        [(6, 12, "slices")],
    ),
    # tables
    "a table without a file": ("tables:\n  - user_column: u\n", [(2, 5, "file: is missing")]),
    "a table without a user column": ("tables:\n  - file: '*.csv'\n", [(2, 5, "user_column: is missing")]),
    "a table with a user": (
        "tables:\n  - file: '*.csv'\n    user_column: u\n    user_id: v\n",
        [(4, 5, "it belongs elsewhere")],
    ),
    "a table that deletes windows": (
        "tables:\n  - file: '*.csv'\n    user_column: u\n    delete_window: true\n",
        [(4, 5, "unknown key")],
    ),
    "a table's file that is missing": (
        "tables:\n  - file: t.csv\n    user_column: u\n",
        [(2, 11, "no such file")],
    ),
}
for _user in ("a/b", "..", ".", "a b", "a#b", "a?b", "a%2e", "ä", "a\\\\b", "", "x" * 129, "a\\n"):
    YAML[f"user_id {_user[:8]!r}"] = (
        f'users:\n  - user_id: "{_user}"\n    phone: ["1"]\n',
        [(2, 14, "part of a path")],
    )

JSON = {
    "broken JSON": ('{"users": [\n {"user_id" "u"}\n]}', [(2, 13, "not JSON")]),
    "cut-off JSON": ('{"users": [', [(1, 12, "not JSON")]),
    "a phone with a fraction": (
        '{"users": [\n  {"user_id": "u", "phone": ["1", 1.39e10]}]}',
        [(2, 35, "users[0].phone[1]: a number with a fraction")],
    ),
    "a phone that is NaN": ('{"users": [{"user_id": "u", "phone": [NaN]}]}', [(1, 39, "no phone")]),
    "a phone that is null": ('{"users": [{"user_id": "u", "phone": [null]}]}', [(1, 39, "has no value")]),
    "a phone below 0": ('{"users": [{"user_id": "u", "phone": [-5]}]}', [(1, 39, "negative")]),
    "a phone of 5,000 digits": (
        '{"users": [{"user_id": "u", "phone": [' + "1" * 5000 + "]}]}",
        [(1, 39, "users[0].phone[0]")],
    ),
    "a key that stands twice": (
        '{"users": [{"user_id": "u", "phone": ["1"],\n"user_id": "v"}]}',
        [(2, 1, "`user_id` stands twice")],
    ),
    "an unknown key behind a list": (
        '{"users": [{"user_id": "u", "phone": ["1", "2"]},\n {"user_id": "v", "phone": [], "phnoe": []}]}',
        [(2, 32, "did you mean `phone`?")],
    ),
    "a null window": (
        '{"users": [{"user_id": "u", "phone": ["1"], "created_at": null}]}',
        [(1, 59, "has no value")],
    ),
    "a user_id with an exponent": ('{"users": [{"user_id": 1.5e3, "phone": []}]}', [(1, 24, "fraction")]),
    "a user_id that is minus 0": ('{"users": [{"user_id": -0, "phone": []}]}', [(1, 24, "fraction")]),
    "half a character": (
        '{"users": [{"user_id": "u", "phone": ["1",\n "\\uDC00"]}]}',
        [(2, 2, "half of a character")],
    ),
    "half a character in a key": (
        '{"a\\ud800": 1, "users": [{"user_id": "u", "phone": ["1"]}]}',
        [(1, 2, "half of a character")],
    ),
    "very many keys": (
        '{"users": [{' + ",".join(f'"a{n}":1' for n in range(1001)) + "}]}",
        [(1, 12, "more than 1,000 keys")],
    ),
    "very many values": ('{"users": [' + "1," * 1_000_001 + "1]}", [(0, 0, "more than 1,000,000 values")]),
    "brackets in brackets": (
        '{"name": "x",\n"users": ' + "[" * 40 + "1" + "]" * 40 + "}",
        [(0, 0, "nested too deeply")],
    ),
    "100,000 brackets": ('{"users": ' + "[" * 100_000, [(0, 0, "nested too deeply")]),
}

TOML = {
    "broken TOML": ('name = "x"\nusers = [', [(0, 0, "not TOML")]),
    "a TOML line": ('name = "x"\nname = "y"\n', [(2, 11, "not TOML")]),
    "a phone with a fraction": (
        '[[users]]\nuser_id = "u"\nphone = [1.39e10]\n',
        [(3, 0, "users[0].phone[0]: a number with a fraction")],
    ),
    "a date with an offset": (
        '[[users]]\nuser_id = "u"\nphone = ["1"]\ncreated_at = [2024-07-26T00:00:00Z, 2024-07-27 00:00:00]\n',
        [(4, 0, "users[0].created_at[0]: write the date")],
    ),
    "a number of 4,301 digits": (
        'name = "x"\n[[users]]\nuser_id = "u"\nphone = [' + "1" * 4301 + "]\n",
        [(4, 0, "an endless number")],
    ),
    "a phone with an underscore": (
        '[[users]]\nuser_id = "u"\nphone = [\n  13912345678,\n  1_39,\n  "1_39",\n]\n',
        [(5, 0, "users[0].phone[1]: it would be read as another number")],
    ),
    "a phone in hexadecimal": ('users = [{user_id = "u", phone = [0x1F]}]\n', [(1, 0, "plain digits")]),
    "a user_id with a sign": ("[[users]]\nuser_id = +5\nphone = []\n", [(2, 0, "plain digits")]),
    "a user_id with a fraction": ("[[users]]\nuser_id = 1001.5\nphone = []\n", [(2, 0, "fraction")]),
    "a user_id that is a date": ("[[users]]\nuser_id = 2024-01-01\nphone = []\n", [(2, 0, "not a date")]),
    "a phone that is a time": ('[[users]]\nuser_id = "u"\nphone = [12:30:45]\n', [(3, 0, "not a date")]),
    "a user_id that is minus 0": ("[[users]]\nuser_id = -0\nphone = []\n", [(2, 0, "plain digits")]),
    "a key of many parts": ('name = "x"\n' + ".".join("a" * 40) + " = 1\n", [(2, 0, "nested too deeply")]),
    "a header of many parts": ('name = "x"\n[' + ".".join("a" * 40) + "]\n", [(2, 0, "nested too deeply")]),
    "a key of many parts in braces": (
        'name = "x"\nusers = [{phone = ["1"], ' + "'a' . " * 40 + "a = 1}]\n",
        [(2, 0, "nested too deeply")],
    ),
    "many braces": (
        'name = "x"\nusers = ' + "{a=" * 40 + "1" + "}" * 40 + "\n",
        [(2, 0, "nested too deeply")],
    ),
    "very many keys": (
        "\n".join(f"a{n} = 1" for n in range(1001)) + "\n",
        [(1001, 0, "more than 1,000 keys")],
    ),
    "very many keys of keys": (
        "\n".join(f"a{n % 150}.b{n} = 1" for n in range(10_001)) + "\n",
        [(10_001, 0, "more than 20,000 keys")],
    ),
    "what is no TOML, far down": ('name = "x"\n\nlimits = {rate = ?}\n', [(3, 18, "not TOML")]),
    "sub-tables": (
        (
            '[[users]]\nuser_id = "u"\nphone = []\n[users.created_at]\nlast = "0d"\n'
            '[[users]]\nuser_id = "v"\nphone = []\n[users.created_at]\nfrom = "x"\n'
            '[safety]\nmax_phones = 1\nmax_failed = "7"\n[limits]\n# many\nrate = "0/s"\n'
            '[[tables]]\nfile = "*.csv"\nuser_column = 0\n'
        ),
        [
            (5, 0, "users[0].created_at.last: duration"),
            (10, 0, "users[1].created_at.from: write a date"),
            (13, 0, "safety.max_failed: share"),
            (16, 0, "limits.rate: rate"),
            (19, 0, "tables[0].user_column: write"),
        ],
    ),
    "a list over many lines": (
        (
            '[[users]]\nuser_id = "u"\nphone = [ # ]\n  """1""", # "]\n'
            "  '''\n]''',\n  1.5,\n]\ncolour = 1\n"
        ),
        [(7, 0, "users[0].phone[2]: "), (9, 0, "users[0].colour: ")],
    ),
    "faults in braces": (
        'users = [\n  {phone = [], user_id = "u"},\n  {user_id = "v", phone = [1.5], slice = "7d"},\n]\n',
        [(3, 0, "users[1].phone[0]: "), (3, 0, "users[1].slice: ")],
    ),
    "faults here and there": (
        (
            'colour = 1\nlimits.rate = "0/s"\n[safety] # rules\nmax_phones = 0\n'
            '[[users]]\nuser_id = "u"\nphone = []\n[[ users ]]\nuser_id = "a/b"\nphone = [true, 1.5]\n'
            "[[users]]\nphone = []\n"
        ),
        [
            (1, 0, "colour: unknown key"),
            (2, 0, "limits.rate: "),
            (4, 0, "safety.max_phones: "),
            (9, 0, "users[1].user_id: "),
            (10, 0, "users[1].phone[0]: "),
            (10, 0, "users[1].phone[1]: "),
            (11, 0, "users[2].user_id: is missing"),
        ],
    ),
}

ROWS = [
    pytest.param(suffix, text, expected, id=f"{suffix}-{name}")
    for suffix, rows in (("yaml", YAML), ("json", JSON), ("toml", TOML))
    for name, (text, expected) in rows.items()
]


def faults_of(path):
    with pytest.raises(Faults) as caught:
        read_jobs([str(path)], user_id=None, now=NOW)
    return caught.value


@pytest.mark.parametrize(("suffix", "text", "expected"), ROWS)
def test_a_broken_job_is_refused_at_its_place(tmp_path, suffix, text, expected):
    path = tmp_path / f"job.{suffix}"
    path.write_text(text, encoding="utf-8", newline="")
    (tmp_path / "loop").symlink_to("loop")
    faults = faults_of(path).faults
    places = [":".join((str(path), *(str(part) for part in row[:2] if part))) for row in expected]
    assert [fault.place for fault in faults] == places, [fault.message for fault in faults]
    for fault, (_, _, words) in zip(faults, expected, strict=True):
        assert words in fault.message
        assert "\n" not in fault.message
        assert len(fault.message) < 400


def test_the_table_is_as_long_as_it_should_be():
    assert len(ROWS) >= 120


def test_all_faults_of_a_file_come_at_once_in_their_order(tmp_path):
    path = tmp_path / "job.yaml"
    path.write_text(
        "limits: {rate: 0/s}\nsafety: {max_failed: 200%}\nusers:\n- {user_id: a/b, phone: [017]}\n- {}\n"
    )
    faults = faults_of(path)
    lines = [int(fault.place.split(":")[-2]) for fault in faults.faults]
    assert lines == sorted(lines)
    assert lines == [1, 2, 4, 4, 5], faults.message


@pytest.mark.parametrize("suffix", ["yaml", "json", "toml"])
def test_many_faults_fit_on_one_screen_and_the_rest_is_counted(tmp_path, suffix):
    texts = {
        "yaml": "users:\n- user_id: u\n  phone:\n" + "  - 1.5\n" * 1000,
        "json": '{"users":[{"user_id":"u","phone":[' + ",".join(["1.5"] * 1000) + "]}]}",
        "toml": '[[users]]\nuser_id="u"\nphone=[' + ",".join(["1.5"] * 1000) + "]\n",
    }
    path = tmp_path / f"job.{suffix}"
    path.write_text(texts[suffix])
    message = faults_of(path).message
    assert message.count("\n") == 20
    assert "980 more" in message


def test_faults_of_several_files_come_together(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text(USERS + "colour: red\n")
    with pytest.raises(Faults) as caught:
        read_jobs([str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml")], user_id=None, now=NOW)
    assert len(caught.value.faults) == 2


@pytest.mark.parametrize("suffix", ["yaml", "json", "toml"])
def test_no_fault_shows_a_phone_or_a_token(tmp_path, suffix):
    secret, phone = "hush-hush-hush", "13912345678"
    if suffix == "toml":
        text = (
            f'token = "{secret}"\nname = "/{phone}"\ntimezone = "{phone}"\n"{phone}" = 1\nusers = "{phone}"\n'
        )
    else:  # JSON is YAML
        text = (
            f'{{"token": "{secret}", "name": "/{phone}", "timezone": "{phone}", "{phone}": 1, "users": [{{'
            f'"user_id": "/{phone}", "phone": "{phone}", "encoding": "{phone}", "{phone}": {phone}.5,'
            f'"created_at": ["{phone}", "{secret}"], "{phone}": 2}}], "limits": {{"rate": "{phone}"}}}}'
        )
    path = tmp_path / f"job.{suffix}"
    path.write_text(text)
    message = faults_of(path).message
    assert secret not in message
    assert phone not in message


def test_a_syntax_error_does_not_show_what_stands_there(tmp_path):
    for suffix, text in (
        ("yaml", "token: 'hush-hush\n"),
        ("json", '{"token": "hush-hush'),
        ("toml", 'token = "hush-hush'),
    ):
        path = tmp_path / f"job.{suffix}"
        path.write_text(text)
        assert "hush" not in faults_of(path).message


def test_control_characters_do_not_reach_the_terminal(tmp_path):
    path = tmp_path / "job.json"
    path.write_text('{"users": [{"user_id": "u", "phone": ["1"]}], "a\\u001b[31m\\nb": 1}')
    message = faults_of(path).message
    assert "\x1b" not in message
    assert "\n" not in message


def test_a_job_file_in_another_encoding_is_refused(tmp_path):
    path = tmp_path / "job.yaml"
    path.write_bytes("name: 清理\n".encode("gb18030") + USERS.encode())
    assert "not UTF-8 at byte 6" in faults_of(path).message


@pytest.mark.parametrize("name", ["job.yaml", "job.yaml.gz"])
def test_a_packed_job_file_is_refused_as_what_it_is(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(gzip.compress(USERS.encode()))
    with pytest.raises(Refused, match="a packed job file"):
        read_jobs([str(path)], user_id=None, now=NOW)


def test_an_endless_job_file_is_bounded(tmp_path):
    path = tmp_path / "job.yaml"
    with path.open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(Refused, match="more than 16 MiB"):
        read_jobs([str(path)], user_id=None, now=NOW)


def test_a_billion_laughs_are_not_laughed(tmp_path):
    path = tmp_path / "job.yaml"
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    path.write_text("\n".join(lines))
    assert "a7: more than" not in faults_of(path).message
    assert "more than 1,000,000 values" in faults_of(path).message
