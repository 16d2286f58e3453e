"""Commands that people are told to type: as the program was called, quoted, with the flags given."""

import shlex
from pathlib import Path

import pytest

from runner.invocation import command, program
from runner.options import AccessOptions


@pytest.fixture
def venv(tmp_path, monkeypatch):
    """A folder with an executable `bulk-delete` and `python`, which no PATH names yet."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bin").mkdir()
    for name in ("bulk-delete", "python"):
        (tmp_path / "bin" / name).write_text("#!/bin/sh\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", "/nowhere")
    return tmp_path / "bin"


def called(*words, arguments=("run", "x")):
    return program([*words, *arguments], [words[-1], *arguments])


def test_a_script_that_is_on_no_path_is_named_as_it_was_typed(venv):
    assert called("/usr/bin/python3", "bin/bulk-delete") == ("bin/bulk-delete",)


def test_a_script_that_the_shell_finds_is_named_alone(venv, monkeypatch):
    monkeypatch.setenv("PATH", str(venv))
    assert called("/usr/bin/python3", str(venv / "bulk-delete")) == ("bulk-delete",)


def test_another_program_of_the_same_name_on_the_path_is_not_meant(venv, tmp_path, monkeypatch):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "bulk-delete").symlink_to(venv / "bulk-delete")
    monkeypatch.setenv("PATH", str(tmp_path / "other"))
    assert called("python3", "bin/bulk-delete") == ("bin/bulk-delete",)


def test_the_module_keeps_its_interpreter_and_the_flags_of_that(venv, monkeypatch):
    words = ("bin/python", "-X", "dev", "-m", "runner")
    assert called(*words) == words
    monkeypatch.setenv("PATH", str(venv))
    assert called(*words) == ("python", *words[1:])


def test_arguments_that_look_like_the_program_are_none_of_its_words(venv):
    assert called("bin/python", "-m", "runner", arguments=("-m", "runner")) == ("bin/python", "-m", "runner")


@pytest.mark.parametrize("words", [("python3", "script.py"), ("python3", "-c"), ("pytest",)])
def test_a_script_that_imports_the_package_is_told_the_plain_name(venv, words):
    assert called(*words) == ("bulk-delete",)


def test_a_command_is_quoted_and_has_the_flags_that_were_given():
    access = AccessOptions("http://127.0.0.1:1/a b", Path("my token"), Path("ca.pem"), proxy_from_env=True)
    words = shlex.split(command("resume", Path("my audit.jsonl"), access=access))
    assert words[-9:] == [
        *("resume", "my audit.jsonl", "--base-url", "http://127.0.0.1:1/a b"),
        *("--token-file", "my token", "--ca-file", "ca.pem", "--proxy-from-env"),
    ]


def test_a_path_that_looks_like_a_flag_stays_a_path():
    assert shlex.split(command("report", Path("-a.jsonl")))[-2:] == ["report", "./-a.jsonl"]
    assert shlex.split(command("report", Path("-a.jsonl"), access=AccessOptions()))[-1] == "./-a.jsonl"
