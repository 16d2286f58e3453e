"""A bad command line is told in the words of every other error: what is wrong, where, and where to look."""

import click
import pytest

from runner.cli import cli
from runner.usage import misuse


def told(*args):
    """What is said of a command line, and the verb that it is about."""
    with pytest.raises(click.ClickException) as raised:
        cli.main([*args], prog_name="bulk-delete", standalone_mode=False)
    ctx = raised.value.ctx
    return misuse(raised.value), ctx and ctx.info_name


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["repot"], "there is no command repot: is report meant?"),
        (["zzz"], "there is no command zzz"),
        (["--nope"], "there is no option --nope"),
        (["report", "a", "--htm"], "there is no option --htm: is --html meant?"),
        (["run"], "JOB is missing"),
        (["resume"], "AUDIT is missing"),
        (["run", "x", "--rate"], "--rate needs a value"),
        (["run", "x", "--yes=1"], "--yes takes no value"),
        (["run", "x", "--rate", "3/x"], "--rate: rate '3/x': write N/s or N/m with N above 0, or unlimited"),
        (["run", "x", "--concurrency", "0"], "--concurrency: 0 is not within 1<=x<=1024"),
        (["run", "x", "--concurrency", "a"], "--concurrency: 'a' is no whole number"),
        (["run", "x", "--timeout", "a"], "--timeout: 'a' is no number"),
        (["sandbox", "--seed", "a"], "--seed: 'a' is no whole number"),
        (["sandbox", "--port", "70000"], "--port: 70000 is not within 0<=x<=65535"),
        (["rerun", "x", "--only", "z"], "--only: 'z' is not one of 'failed', 'unknown', 'not_sent'"),
        (["schema", "z"], "WHAT: 'z' is not one of 'job', 'audit', 'result'"),
        (["resume", "a", "b"], "one argument too many: (b)"),
        (["resume", "a", "b", "c"], "too many arguments: (b c)"),
        (["plan", ""], "JOB: a path is expected, and this is empty"),
        (["report", "a", ""], "AUDIT: a path is expected, and this is empty"),
        (["run", "x", "--audit", ""], "--audit: a path is expected, and this is empty"),
        (["pace", "a", "--pause", "--go-on"], "--pause and --go-on are the contrary of each other"),
    ],
)
def test_a_bad_command_line_is_told_in_our_words(args, words):
    said, verb = told(*args)
    assert said == words
    assert verb == (args[0] if args[0] in cli.commands else "bulk-delete")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["submit", "p"], "--shards is missing"),
        (["submit", "p", "--shards", "0"], "--shards: 0 is not within 1<=x<=10000"),
        (["worker", "--concurrency", "65"], "--concurrency: 65 is not within 1<=x<=64"),
        (["fetch", "j"], "--out is missing"),
    ],
)
def test_what_a_verb_of_many_machines_needs_and_takes_is_told_as_well(args, words):
    assert told("cluster", *args) == (words, args[0])


def test_without_a_verb_they_are_named():
    said, _ = told()
    assert said == "a command is missing: " + ", ".join(cli.commands)


@pytest.mark.parametrize("verb", list(cli.commands))
def test_no_verb_lets_the_parsers_own_words_through(verb):
    """Whatever flag with a value: without it, and with one that it cannot take."""
    for param in cli.commands[verb].params:
        if isinstance(param, click.Option) and not param.is_flag:
            assert told(verb, param.opts[0])[0] == f"{param.opts[0]} needs a value"
