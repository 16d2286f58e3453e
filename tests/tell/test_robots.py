"""Messages reach robots that answer as the real ones do; whatever these refuse is said, without a secret."""

import asyncio
import stat
import sys
import threading
from pathlib import Path

import pytest

from runner.access import Token
from runner.errors import RunNames
from runner.tell.ending import ENDS
from runner.tell.messages import Recipient, send_messages
from runner.tell.post import open_http
from runner.usage import EXIT_CODES
from tests.support.endings import ending
from tests.support.program import PATIENCE_S, until
from tests.support.robots import DingTalk, Feishu, Hanging, Hook, WeCom

EVERYTHING = frozenset(ENDS.values())
SECRET = "SEC0123456789abcdef"
ROBOTS = {"dingtalk": DingTalk, "feishu": Feishu, "wecom": WeCom}


def told(notify, what, folder, **more):
    async def tell():
        async with open_http(proxy_from_env=False) as session:
            return await send_messages(notify, what, session, folder / "state", **more)

    return asyncio.run(tell())


def robot(kind, url, secret=None, on=EVERYTHING):
    return Recipient(kind, on, "c.toml:1", Token(url), secret and Token(secret))


@pytest.mark.parametrize("kind", ROBOTS)
def test_a_robot_shows_what_happened_why_and_what_to_type_next(kind, tmp_path):
    with ROBOTS[kind]() as server:
        assert told([robot(kind, server.url)], ending(1), tmp_path) == []
        (text,) = server.texts
    assert text.startswith(
        "bulk-delete: nightly: it ran to its end, but not all is confirmed (exit code 1)\n"
    )
    assert "numbers: 7 deleted, 2 failed, 1 unknown, 0 not sent; 9 rows deleted\n" in text
    assert "why: 2 × refused\n" in text
    assert text.endswith("\nin: db-3:/srv/cleanup\ntype: bulk-delete rerun audit/nightly.jsonl")


@pytest.mark.parametrize("kind", ["dingtalk", "feishu"])
def test_a_signed_robot_takes_the_signature_and_says_so_where_it_is_wrong(kind, tmp_path):
    with ROBOTS[kind](secret=SECRET) as server:
        assert told([robot(kind, server.url, SECRET)], ending(1), tmp_path) == []
        assert len(server.texts) == 1
        (wrong,) = told([robot(kind, server.url, SECRET + "x")], ending(1), tmp_path)
        (none,) = told([robot(kind, server.url)], ending(1), tmp_path)
    code = {"dingtalk": "310000", "feishu": "19021"}[kind]
    assert wrong.startswith(f"c.toml:1: the message ({kind}) was not sent: {code}: ")
    assert code in none


@pytest.mark.parametrize(
    ("kind", "code", "words"),
    [
        ("dingtalk", "300005", "token is not exist"),
        ("feishu", "19001", "access token invalid"),
        ("wecom", "93000", "invalid webhook url"),
    ],
)
def test_an_error_code_inside_http_200_is_noticed_and_no_secret_is_shown(kind, code, words, tmp_path):
    with ROBOTS[kind]() as server:
        other = server.url[:-5] + "f00ba"
        (problem,) = told([robot(kind, other)], ending(1), tmp_path)
    assert f"{code}: " in problem
    assert words in problem
    assert "f00ba" not in problem
    assert [said.status for said in server.requests] == [200]


def test_a_keyword_robot_takes_a_message_with_the_programs_name(tmp_path):
    with DingTalk(keyword="bulk-delete") as server, DingTalk(keyword="alarm") as strict:
        assert told([robot("dingtalk", server.url)], ending(2), tmp_path) == []
        (problem,) = told([robot("dingtalk", strict.url)], ending(2), tmp_path)
    assert "310000: keywords not in content" in problem


def test_an_older_feishu_robot_is_understood_too(tmp_path):
    with Feishu(old=True) as server:
        assert told([robot("feishu", server.url)], ending(0), tmp_path) == []


def test_feishus_own_words_go_over_its_http_status(tmp_path):
    with Feishu(slow_down=True) as server:
        (problem,) = told([robot("feishu", server.url)], ending(0), tmp_path)
    assert "11232: frequency limited" in problem
    assert len(server.requests) == 1, "asking again would make it worse"


def test_no_text_calls_everybody_in_feishu(tmp_path):
    with Feishu() as server:
        told([robot("feishu", server.url)], ending(3, why='<at user_id="all">all</at>'), tmp_path)
        assert "<" not in server.texts[0]


def test_the_longest_message_fits_the_strictest_robot_and_keeps_the_command(tmp_path):
    long = ending(3, why="公" * 5000, names=RunNames("名" * 100, next="bulk-delete resume " + "a" * 400))
    with WeCom() as server:
        assert told([robot("wecom", server.url)], long, tmp_path) == []
        assert server.texts[0].endswith("a" * 400)


def test_a_reply_that_is_none_of_a_robots_is_a_failure(tmp_path):
    with Hook() as server:
        problems = told([robot(kind, server.url) for kind in ROBOTS], ending(1), tmp_path)
    assert ["has no errcode" in p or "has no StatusCode" in p for p in problems] == [True] * 3


def test_who_wants_to_hear_of_other_ends_hears_nothing(tmp_path):
    with DingTalk() as server:
        quiet = robot("dingtalk", server.url, on=EVERYTHING - {"complete"})
        assert told([quiet], ending(0), tmp_path) == []
        assert server.requests == []
        for code in set(ENDS) - {0}:
            assert told([quiet], ending(code), tmp_path) == []
        assert len(server.texts) == len(ENDS) - 1


# ---- rate limits --------------------------------------------------------------------------------------


def test_the_twenty_first_message_of_a_minute_is_not_sent_but_said(tmp_path):
    with DingTalk(most=20) as server:
        for _ in range(20):
            assert told([robot("dingtalk", server.url)], ending(4), tmp_path) == []
        (problem,) = told([robot("dingtalk", server.url)], ending(4), tmp_path)
        assert len(server.requests) == 20
    assert "rate limit" in problem
    kept = list((tmp_path / "state").iterdir())
    assert [stat.S_IMODE(path.stat().st_mode) for path in kept] == [0o600]
    assert not any(server.token in path.name + path.read_text() for path in kept)


# ---- webhook and command ------------------------------------------------------------------------------


def test_a_webhook_is_given_the_text_and_the_result_as_json(tmp_path):
    with Hook() as server:
        assert told([robot("webhook", server.url)], ending(1), tmp_path) == []
        (said,) = server.requests
    assert said.method == "POST"
    assert (said.json["end"], said.json["exit_code"], said.json["job"]) == ("partial", 1, "nightly")
    assert said.json["text"].startswith("bulk-delete: nightly")
    assert said.json["result"] == {"type": "run"}


def test_a_webhook_that_is_down_for_a_moment_is_tried_again(tmp_path):
    with Hook(statuses=(503,)) as server:
        assert told([robot("webhook", server.url)], ending(1), tmp_path) == []
        assert len(server.requests) == 2


@pytest.mark.parametrize("status", [302, 404])
def test_a_webhook_that_refuses_is_said_and_not_followed(status, tmp_path):
    with Hook(statuses=(status,)) as server:
        (problem,) = told([robot("webhook", server.url)], ending(1), tmp_path)
        assert len(server.requests) == 1
    assert f"HTTP {status}" in problem


def command(*words):
    return Recipient("command", EVERYTHING, "c.toml:1", command=words)


def test_a_command_reads_json_on_its_standard_input_and_is_given_no_token(tmp_path, monkeypatch):
    monkeypatch.setenv("BULK_DELETE_TOKEN", "tkn-never-to-be-seen")
    out = tmp_path / "out"
    line = f"cat >{out}; env >>{out}"
    assert told([command("bash", "-c", line)], ending(3), tmp_path) == []
    assert '"end":"stopped"' in out.read_text()
    assert "never-to-be-seen" not in out.read_text()


def test_a_command_that_fails_is_said_with_its_words(tmp_path):
    script = "import sys; sys.exit('no such room')"
    (problem,) = told([command(sys.executable, "-c", script)], ending(3), tmp_path)
    assert problem == "c.toml:1: the message (command) was not sent: it ended with 1: no such room"
    (silent,) = told([command(sys.executable, "-c", "import sys; sys.exit(1)")], ending(3), tmp_path)
    assert silent.endswith("it ended with 1")
    (missing,) = told([command(str(tmp_path / "nothing"))], ending(3), tmp_path)
    assert "cannot be started: No such file" in missing


def test_a_command_is_killed_with_what_it_started_when_time_is_up(tmp_path):
    pid = tmp_path / "pid"
    line = f"sleep 600 & echo $! >{pid}.new; mv {pid}.new {pid}; wait"

    async def time_is_up_once_it_runs():
        async with open_http(proxy_from_env=False) as session:
            telling = [command("bash", "-c", line)], ending(3), session, tmp_path
            task = asyncio.create_task(send_messages(*telling, within_s=PATIENCE_S))
            while not pid.exists():
                await asyncio.sleep(0.01)
            task.cancel()  # what a timeout does to it
            await asyncio.wait([task])

    asyncio.run(time_is_up_once_it_runs())
    until(lambda: not alive(int(pid.read_text())), "the end of what the command started")


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_command_that_leaves_something_running_is_not_waited_for(tmp_path):
    line = "sleep 20 & exit 0"
    assert told([command("bash", "-c", line)], ending(3), tmp_path, within_s=PATIENCE_S) == []


def test_a_command_that_hangs_is_said(tmp_path):
    (problem,) = told([command("sleep", "600")], ending(3), tmp_path, within_s=0.3)
    assert problem == "c.toml:1: the message (command) was not sent: no answer within 0.3 s"


# ---- what cannot be reached ---------------------------------------------------------------------------


def test_a_server_that_hangs_costs_its_time_and_no_other_message(tmp_path):
    with Hanging() as stuck, DingTalk() as server:
        both = [robot("webhook", stuck.url), robot("dingtalk", server.url)]
        problems = told(both, ending(1), tmp_path, within_s=5)
        assert len(server.texts) == 1
    assert problems == ["c.toml:1: the message (webhook) was not sent: no answer within 5 s"]


def test_a_port_without_a_server_is_said_without_the_url(tmp_path):
    with DingTalk() as server:
        url = server.url
    (problem,) = told([robot("dingtalk", url)], ending(1), tmp_path)
    assert "no connection to 127.0.0.1: Connect" in problem
    assert "access_token" not in problem


def test_a_name_that_nobody_can_look_up_does_not_hold_up_the_end(tmp_path, monkeypatch):
    hold = threading.Event()
    monkeypatch.setattr("runner.tell.post.socket.getaddrinfo", lambda *_, **__: hold.wait())
    try:
        (problem,) = told([robot("webhook", "https://nowhere.invalid/x")], ending(1), tmp_path, within_s=0.2)
        assert "no answer within 0.2 s" in problem
        waited_for = [thread for thread in threading.enumerate() if not thread.daemon]
        assert waited_for == [threading.main_thread()]
    finally:
        hold.set()


def test_an_ending_has_a_word_for_every_exit_code():
    assert set(ENDS) == {code for code, *_ in EXIT_CODES}
