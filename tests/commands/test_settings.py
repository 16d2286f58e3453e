"""Where a setting comes from: flag over environment over job file over default; and the verbs to rehearse."""

import re
import signal

import pytest

from tests.support.evidence import read_audit
from tests.support.program import TOKEN, USER, Listener, numbers, until

PHONES = numbers(3)


def test_a_flag_goes_over_the_job_file(program):
    job = program.job(
        {USER: PHONES}, limits={"rate": "7/s", "concurrency": 3, "timeout": 5, "max_attempts": 2}
    )
    program("run", job, "--yes", "--audit", "a.jsonl").expect(0)
    flags = ("--rate", "90/m", "--concurrency", "2", "--timeout", "4", "--max-attempts", "1")
    program("run", job, "--yes", "--audit", "b.jsonl", *flags).expect(0)
    program("run", program.job({USER: PHONES}, name="bare"), "--yes", "--audit", "c.jsonl").expect(0)
    limits = [read_audit(program.folder / f"{n}.jsonl")[0]["limits"] for n in "abc"]
    assert limits == [
        {"rate": "7/s", "concurrency": 3, "timeout": 5.0, "max_attempts": 2},
        {"rate": "90/m", "concurrency": 2, "timeout": 4.0, "max_attempts": 1},
        {"rate": "20/s", "concurrency": 16, "timeout": 30.0, "max_attempts": 6},
    ]


def test_the_base_url_flag_goes_over_the_environment(program, sandbox):
    with Listener() as listener:
        env = {"BULK_DELETE_BASE_URL": listener.url}
        program("run", program.job({USER: PHONES}), "--yes", "--base-url", sandbox.url, env=env).expect(0)
    assert listener.calls == []
    assert len(sandbox.deletions()) == 1


@pytest.mark.parametrize("how", ["flag", "environment"])
def test_the_token_from_a_file_its_newline_stripped(program, how):
    file = program.write("token", f"{TOKEN}\n")
    file.chmod(0o600)
    env = {"BULK_DELETE_TOKEN": None, "BULK_DELETE_TOKEN_FILE": str(file) if how == "environment" else None}
    args = ("--token-file", file) if how == "flag" else ()
    program("run", program.job({USER: PHONES}), "--yes", *args, env=env).expect(0)


def test_only_the_variables_that_are_named_are_heard(program):
    env = {"BULK_DELETE_RATE": "1/m", "BULK_DELETE_CONCURRENCY": "x", "BULK_DELETE_YES": "1"}
    job = program.job({USER: PHONES})
    program("run", job, env=env).expect(2)
    program("run", job, "--yes", "--audit", "a.jsonl", env=env).expect(0)
    assert read_audit(program.folder / "a.jsonl")[0]["limits"]["rate"] == "20/s"


def test_a_proxy_in_the_environment_is_not_used_unless_asked_for_and_that_is_said(program, sandbox):
    with Listener() as proxy:
        names = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
        env = {**dict.fromkeys(names, proxy.url), "no_proxy": None, "NO_PROXY": None}
        ended = program("run", program.job({USER: PHONES}), "--yes", "--json", env=env).expect(0)
        assert proxy.calls == []
        assert len(sandbox.deletions()) == 1
        assert ended.record["proxy"] is False


def test_a_proxy_that_is_asked_for_is_asked_to_connect_and_the_summary_says_so(program):
    with Listener() as proxy:
        env = {"https_proxy": proxy.url, "HTTPS_PROXY": proxy.url, "no_proxy": None, "NO_PROXY": None}
        args = ("--yes", "--json", "--proxy-from-env", "--max-attempts", "1", "--timeout", "5")
        job = program.job({USER: PHONES})
        ended = program("run", job, *args, "--base-url", "https://api.invalid", env=env)
        assert proxy.calls[0].startswith(b"CONNECT api.invalid:443 ")
        assert not any(TOKEN.encode() in call for call in proxy.calls)
    assert ended.code in (1, 3), ended.err
    assert ended.record["proxy"] is True
    assert ended.record["count"] == ended.record["requests"] == 0


def test_plain_http_goes_through_no_proxy_even_if_asked_for(program, sandbox):
    """It is for this machine alone: a proxy would see the token."""
    with Listener() as proxy:
        env = {"http_proxy": proxy.url, "HTTP_PROXY": proxy.url, "no_proxy": None, "NO_PROXY": None}
        program("run", program.job({USER: PHONES}), "--yes", "--proxy-from-env", env=env).expect(0)
        assert proxy.calls == []
    assert len(sandbox.deletions()) == 1


def test_sandbox_serves_until_it_is_told_to_stop_and_says_where(program):
    """Its address is all that goes to standard output, so that a script can read it."""
    serving = program.start("sandbox", "--port", "0", "--token", TOKEN)
    url = until(lambda: serving.out().strip(), "its address").split()[-1]
    assert re.fullmatch(r"http://127\.0\.0\.1:[0-9]+", url)
    program("run", program.job({USER: PHONES}), "--yes", "--base-url", url).expect(0)
    serving.signal(signal.SIGINT)
    assert serving.wait().code in (0, 130)


@pytest.mark.slow
def test_demo_needs_no_token_no_network_and_leaves_an_audit_that_verifies(program):
    env = {"BULK_DELETE_TOKEN": None, "BULK_DELETE_BASE_URL": None}
    ended = program("demo", "--keep", "kept", env=env)
    ended.expect(0)
    (audit,) = (program.folder / "kept").rglob("*.jsonl")
    program("verify", audit).expect(0)
    assert " rerun " not in ended.out, "its sandbox is gone"
