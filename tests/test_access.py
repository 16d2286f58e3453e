"""How the vendor is reached: base URLs, where they and tokens come from, and a token that nothing shows."""

import copy
import dataclasses
import os
import pickle
import traceback
from pathlib import Path

import pytest

from runner.access import (
    DEFAULT_BASE_URL,
    Token,
    environment_warnings,
    parse_base_url,
    read_base_url,
    read_token,
    tokens_among,
)
from runner.errors import Refused
from runner.options import AccessOptions

SECRET = "s3cret-token-value"


JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://ai.api.longlonglong.cn", "https://ai.api.longlonglong.cn"),
        (" HTTPS://AI.Api.LongLongLong.CN:443/ ", "https://ai.api.longlonglong.cn"),
        ("https://host.example/white/label/", "https://host.example/white/label"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://127.9.9.9", "http://127.9.9.9"),
        ("http://localhost:80", "http://localhost"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
        ("https://[2001:DB8:0::1]", "https://[2001:db8::1]"),
        ("https://xn--fsq.example:8443", "https://xn--fsq.example:8443"),
    ],
)
def test_a_base_url_is_normalised(text, expected):
    assert parse_base_url(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ai.api.longlonglong.cn",
        "ftp://host.example",
        "https://",
        "https:///path",
        "http://host.example",
        "http://10.0.0.1",
        "http://127.0.0.1.evil.example",
        "http://localhost.evil.example",
        "http://localhost.",
        "http://2130706433",
        "http://127.1",
        "http://0.0.0.0",
        "http://[::]",
        "https://user@host.example",
        "https://user:pass@host.example",
        "https://127.0.0.1\\@evil.example",
        "https://host.example?x=1",
        "https://host.example/?",
        "https://host.example/#",
        "https://host.example/a/../b",
        "https://host.example/%2e%2e",
        "https://host.example//a",
        "https://host.example:0",
        "https://host.example:99999",
        "https://ho\nst.example",
        "https://ho\tst.example",
        "https://host .example",
        "https://例子.example",
        "https://[fe80::1%25eth0]",
        "https://[::1",
        "https://-host.example",
        "https://host..example",
        "https://host.example.",
        "https://" + "a" * 64 + ".example",
    ],
)
def test_a_dangerous_or_malformed_base_url_is_refused(text):
    with pytest.raises(ValueError, match=r"^base URL: "):
        parse_base_url(text)


def test_the_base_url_is_the_flag_else_the_environment_else_the_vendor():
    env = {"BULK_DELETE_BASE_URL": "http://127.0.0.1:1"}
    assert read_base_url("http://127.0.0.1:2", env) == "http://127.0.0.1:2"
    assert read_base_url(None, env) == "http://127.0.0.1:1"
    assert read_base_url(None, {}) == DEFAULT_BASE_URL


def test_an_empty_base_url_variable_never_means_production():
    with pytest.raises(Refused, match="set but empty"):
        read_base_url(None, {"BULK_DELETE_BASE_URL": ""})


def test_a_bad_base_url_says_where_it_came_from():
    with pytest.raises(Refused, match=r"^BULK_DELETE_BASE_URL: "):
        read_base_url(None, {"BULK_DELETE_BASE_URL": "http://host.example"})
    with pytest.raises(Refused, match=r"^--base-url: "):
        read_base_url("http://host.example", {})


def token_file(tmp_path, content=SECRET + "\n", mode=0o600, name="token"):
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)
    return str(path)


def test_the_token_is_the_files_then_the_variables_then_the_variable_files_then_systemds(tmp_path):
    systemd = tmp_path / "credentials"
    systemd.mkdir()
    token_file(systemd, "from-systemd", 0o400, "bulk-delete-token")
    env = {"CREDENTIALS_DIRECTORY": str(systemd)}
    assert read_token(env).reveal() == "from-systemd"
    env["BULK_DELETE_TOKEN_FILE"] = token_file(tmp_path, "from-file-variable", name="b")
    assert read_token(env).reveal() == "from-file-variable"
    env["BULK_DELETE_TOKEN"] = "from-variable"
    assert read_token(env).reveal() == "from-variable"
    assert read_token(env, token_file(tmp_path, "from-flag", name="a")).reveal() == "from-flag"


def test_without_a_token_the_hint_says_how_to_give_one():
    with pytest.raises(Refused, match="no token") as caught:
        read_token({})
    assert "BULK_DELETE_TOKEN" in caught.value.hint
    assert "--token-file" in caught.value.hint


def test_an_empty_token_variable_is_refused_and_does_not_fall_through(tmp_path):
    env = {"BULK_DELETE_TOKEN": "  ", "BULK_DELETE_TOKEN_FILE": token_file(tmp_path)}
    with pytest.raises(Refused, match="set but empty"):
        read_token(env)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o606, 0o601, 0o610])
def test_a_token_file_that_others_may_touch_is_refused_with_the_cure(tmp_path, mode):
    path = token_file(tmp_path, mode=mode)
    with pytest.raises(Refused, match="others may") as caught:
        read_token({}, path)
    assert f"chmod 600 {path}" in caught.value.hint


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_private_token_file_is_read_and_its_newline_stripped(tmp_path, mode):
    assert read_token({}, token_file(tmp_path, SECRET + "\r\n", mode)).reveal() == SECRET


def test_a_token_file_behind_a_link_is_judged_by_what_it_links_to(tmp_path):
    target = token_file(tmp_path)
    (tmp_path / "link").symlink_to(target)
    assert read_token({}, str(tmp_path / "link")).reveal() == SECRET
    Path(target).chmod(0o644)
    with pytest.raises(Refused, match="others may"):
        read_token({}, str(tmp_path / "link"))


def test_a_fifo_as_token_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(Refused, match="no regular file"):
        read_token({}, str(tmp_path / "pipe"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_token_file_of_somebody_else_is_refused(tmp_path):
    path = token_file(tmp_path)
    os.chown(path, 12345, 12345)
    with pytest.raises(Refused, match="somebody else"):
        read_token({}, path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes root's files")
def test_systemds_credential_may_show_one_group_bit_and_another_file_may_not(tmp_path):
    token_file(tmp_path, mode=0o440, name="bulk-delete-token")
    assert read_token({"CREDENTIALS_DIRECTORY": str(tmp_path)}).reveal() == SECRET
    with pytest.raises(Refused, match="others may"):
        read_token({}, str(tmp_path / "bulk-delete-token"))


@pytest.mark.parametrize(
    "content",
    [
        "",
        " \n",
        "t",
        "four",
        "two words",
        "zeile\nzwei",
        "tök",
        b"\xef\xbb\xbfabc",
        b"\xff\xfea\0",
        "a\x7f",
        "x" * 20_000,
    ],
)
def test_what_is_no_token_is_refused_and_not_shown(tmp_path, content):
    with pytest.raises(Refused) as caught:
        read_token({}, token_file(tmp_path, content))
    shown = "".join(traceback.format_exception(caught.value))
    for word in ("two words", "zeile", "tök", "xxxx"):
        assert word not in shown


def test_a_token_of_five_characters_may_be_one_and_a_shorter_one_is_called_too_short(tmp_path):
    assert read_token({"BULK_DELETE_TOKEN": "abcde"}).reveal() == "abcde"
    with pytest.raises(Refused, match=r"BULK_DELETE_TOKEN: .* too short to be one"):
        read_token({"BULK_DELETE_TOKEN": "abcd"})


@pytest.mark.parametrize("token", [JWT, "12|a" + "b1" * 20, "ab/cd+ef" * 6 + "==", "x" * 20, "/" + "k9" * 16])
def test_a_token_in_the_place_of_its_files_path_is_not_shown(token):
    for env, flag in (({}, token), ({"BULK_DELETE_TOKEN_FILE": token}, None)):
        with pytest.raises(Refused, match="token file that is named") as caught:
            read_token(env, flag)
        shown = "".join(traceback.format_exception(caught.value)) + caught.value.hint
        assert token not in shown


@pytest.mark.parametrize("path", ["tokn", "/nowhere/token", "my-own-long-named-token-file.txt", "{}/tokens"])
def test_a_mistyped_path_of_a_token_file_is_shown(tmp_path, path):
    path = path.format(tmp_path)
    with pytest.raises(Refused, match=f"token file {path}: No such file"):
        read_token({}, path)


def test_a_user_id_and_a_file_do_not_look_like_tokens(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a-file-with-a-long-name-and-no-ending").touch()
    for text in (
        "5832d184-dd53-42a0-8ace-0bf8d660f4cc",
        "a-file-with-a-long-name-and-no-ending",
        "audit/nightly-20261123T040000Z.jsonl",
        "https://ai.api.longlonglong.cn",
        "http://127.0.0.1:8900/white-label",
        "--base-url=localhost:8900",
        "users with spaces in their own long text",
    ):
        assert tokens_among([text], {}) == []


def test_a_password_in_a_url_is_shown_by_no_message():
    for word in (f"postgresql://me:{SECRET}@h/db", f"--rate-from=postgres://me:a@{SECRET}@h"):
        (found,) = tokens_among([word], {})
        assert SECRET in found
        Token(found)  # so that the screen can hide it
    assert tokens_among(["postgresql://me@h:5432/db?a=b", "http://127.0.0.1:8900/a"], {}) == []


def test_missing_and_impossible_token_files_are_refused(tmp_path):
    for path in (str(tmp_path / "nope"), str(tmp_path), "", "a\0b"):
        with pytest.raises(Refused, match="token file"):
            read_token({}, path)


def test_nothing_shows_a_token():
    token = Token(SECRET)
    holder = dataclasses.make_dataclass("Holder", ["token"])(token)
    shown = [repr(token), str(token), f"{token}", f"{token:>40}", repr(holder), repr([token])]
    assert not any(SECRET in text for text in shown)
    assert not hasattr(token, "__dict__")
    for leak in (pickle.dumps, copy.copy, copy.deepcopy, lambda value: dataclasses.asdict(holder)):
        with pytest.raises(TypeError) as caught:
            leak(token)
        assert SECRET not in str(caught.value)


def test_only_five_variables_mean_something():
    env = {"BULK_DELETE_TOKEN": "x", "BULK_DELETE_TOKEN_FILE": "x", "BULK_DELETE_BASE_URL": "x", "PATH": "x"}
    env |= {"BULK_DELETE_DATABASE_URL": "x", "BULK_DELETE_DATABASE_URL_FILE": "x"}
    assert environment_warnings(env) == ()
    (warning,) = environment_warnings({**env, "BULK_DELETE_RATE": SECRET})
    assert "BULK_DELETE_RATE" in warning
    assert SECRET not in warning


def test_the_database_that_a_run_shares_its_rate_through_is_not_shown():
    assert SECRET not in repr(AccessOptions(rate_from=f"postgresql://me:{SECRET}@db.example/rates"))
