"""The operator's configuration: believed whole or not at all, each fault at its place, no secret in it."""

import os
from pathlib import Path

import pytest

from runner.config.find import find_config, named_config
from runner.config.read import read_config
from runner.errors import Faults, Refused
from runner.tell.ending import ENDS

WHOLE = """\
[ping]
url = "https://hc.example/0b1f"
[metrics]
textfile = "/var/lib/node_exporter/bulk_delete.prom"
[[notify]]
kind = "dingtalk"
url_file = "dingtalk.url"
secret_file = "dingtalk.secret"
on = ["partial", "stopped", "refused", "busy"]
[[notify]]
kind = "feishu"
url_file = "dingtalk.url"
on = "always"
[[notify]]
kind = "wecom"
url_file = "dingtalk.url"
[[notify]]
kind = "webhook"
url = "http://alerts.internal/hook"
[[notify]]
kind = "command"
command = ["./page-somebody", "--loud"]
"""
URL, SECRET = "https://robot.example/send?access_token=s3cret-s3cret", "SECs3cret-s3cret"


@pytest.fixture
def write(tmp_path):
    """Write a configuration, with the files that it may name beside it."""
    for name, text in (
        ("dingtalk.url", URL),
        ("dingtalk.secret", SECRET),
        ("plain.url", "http://robot.example/"),
    ):
        path = tmp_path / name
        path.write_text(text + "\n")
        path.chmod(0o600)

    def written(text, name="config.toml"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(0o600)
        return path

    return written


def faults(path):
    """The faults of a configuration, each without the folder; no secret is in them."""
    with pytest.raises(Refused) as caught:
        read_config(path)
    said = str(caught.value)
    assert "s3cret" not in said
    found = caught.value.faults if isinstance(caught.value, Faults) else [caught.value]
    return [fault.message.replace(f"{path.parent}/", "") for fault in found]


def test_a_command_beside_a_configuration_in_this_folder_is_found_there(write, tmp_path, monkeypatch):
    path = write('[[notify]]\nkind = "command"\ncommand = ["./page-somebody"]\n')
    monkeypatch.chdir(tmp_path)
    (command,) = read_config(Path(path.name)).notify
    assert command.command == (f"{tmp_path}/page-somebody",)


def test_a_whole_configuration(write, tmp_path):
    audience = read_config(write(WHOLE))
    assert audience.ping_url == "https://hc.example/0b1f"
    assert audience.textfile == Path("/var/lib/node_exporter/bulk_delete.prom")
    ding, feishu, wecom, hook, command = audience.notify
    assert (ding.url.reveal(), ding.secret.reveal(), ding.place) == (URL, SECRET, f"{tmp_path}/config.toml:5")
    assert ding.on == {"partial", "stopped", "refused", "busy"}
    assert feishu.on == set(ENDS.values())
    assert wecom.on == ding.on, "without a word: whatever is not good"
    assert hook.url.reveal() == "http://alerts.internal/hook"
    assert command.command == (f"{tmp_path}/page-somebody", "--loud")
    assert "s3cret" not in repr(audience)


def test_an_empty_one_tells_nobody(write):
    audience = read_config(write(""))
    assert (audience.ping_url, audience.textfile, audience.notify) == (None, None, ())


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[pings]\n", "config.toml:1: pings: unknown key; did you mean `ping`?"),
        (
            '[ping]\nurls = "https://x"\nurl = "https://x"\n',
            "config.toml:2: ping.urls: unknown key; did you mean `url`?",
        ),
        ("[ping]\n", "config.toml:1: ping.url: is missing"),
        ('[ping]\nurl = "hc.example/1"\n', "config.toml:2: ping.url: this is no URL: write https://…"),
        ('[ping]\nurl = "https://me:pw@hc.example"\n', "config.toml:2: ping.url: a URL without a user"),
        ("[ping]\nurl = 5\n", "config.toml:2: ping.url: expected text, not a whole number"),
        ('ping = "https://x"\n', "config.toml:1: ping: expected keys with values, not text"),
        ('[metrics]\ntextfile = "a.txt"\n', "config.toml:2: metrics.textfile: the exporter reads only"),
        ("[notify]\n", "config.toml:1: notify: expected a list, not keys"),
        ('[[notify]]\nkind = "dingding"\n', "config.toml:2: notify[0].kind: write one of: dingtalk, feishu"),
        ('[[notify]]\nurl = "https://x"\n', "config.toml:1: notify[0].kind: is missing"),
        ('[[notify]]\nkind = "wecom"\n', "config.toml:1: notify[0].url_file: is missing"),
        (
            '[[notify]]\nkind = "wecom"\nurl_file = "dingtalk.url"\nsecret_file = "dingtalk.secret"\n',
            "config.toml:4: notify[0].secret_file: a wecom robot does not sign: leave the key out",
        ),
        (
            '[[notify]]\nkind = "dingtalk"\nurl = "https://x/s3cret"\nurl_file = "dingtalk.url"\n',
            "config.toml:3: notify[0].url: a robot's URL is a secret: put it into a file (0600)",
        ),
        (
            '[[notify]]\nkind = "dingtalk"\nurl_file = "dingtalk.url"\nsecret = "s3cret"\n',
            "config.toml:4: notify[0].secret: a secret never stands in the configuration",
        ),
        (
            '[[notify]]\nkind = "wecom"\nurl_file = "dingtalk.url"\non = ["partial", "bad"]\n',
            'config.toml:4: notify[0].on: write "always", or a list of: "complete", "partial"',
        ),
        (
            '[[notify]]\nkind = "wecom"\nurl_file = "dingtalk.url"\non = []\n',
            'config.toml:4: notify[0].on: write "always"',
        ),
        ('[[notify]]\nkind = "webhook"\n', "config.toml:1: notify[0]: a webhook needs url, or url_file"),
        (
            '[[notify]]\nkind = "command"\ncommand = "page me"\n',
            "config.toml:3: notify[0].command: expected a list, not text",
        ),
        ('[[notify]]\nkind = "command"\ncommand = []\n', "config.toml:3: notify[0].command: is empty"),
        (
            '[[notify]]\nkind = "wecom"\nurl_file = "none.url"\n',
            "config.toml:3: notify[0].url_file: the file cannot be read: No such file",
        ),
        (
            '[[notify]]\nkind = "wecom"\nurl_file = "plain.url"\n',
            "config.toml:3: notify[0].url_file: in that file: a secret URL must begin with https://",
        ),
        (
            '[[notify]]\nkind = "wecom"\nurl_file = "dingtalk.secret"\n',
            "config.toml:3: notify[0].url_file: in that file: this is no URL",
        ),
        ('[ping]\nurl = "https://x"\nurl = "https://y"\n', "config.toml:3"),
        ("not toml\n", "config.toml:1"),
    ],
)
def test_a_fault_has_its_place_and_says_what_to_write(write, text, fault):
    (found,) = faults(write(text))
    assert found.startswith(fault), found


def test_all_faults_come_at_once(write):
    assert len(faults(write('[ping]\n[metrics]\ntextfile = 1\n[[notify]]\nkind = "x"\n'))) == 3


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o660])
def test_a_secret_that_others_may_read_or_write_is_a_fault(write, tmp_path, mode):
    path = write('[[notify]]\nkind = "wecom"\nurl_file = "dingtalk.url"\n')
    (tmp_path / "dingtalk.url").chmod(mode)
    assert "the file: others may read or write it (Type: chmod 600 " in faults(path)[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file of root's")
def test_a_secret_of_roots_may_be_shown_to_a_group_as_systemd_and_kubernetes_do(write, tmp_path):
    (tmp_path / "dingtalk.url").chmod(0o440)
    assert read_config(write('[[notify]]\nkind = "wecom"\nurl_file = "dingtalk.url"\n')).notify[0].url


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_configuration_that_others_may_write_is_refused_for_it_can_name_a_command(write, mode):
    path = write(WHOLE)
    path.chmod(mode)
    assert faults(path) == ["configuration config.toml: others may write it"]


def test_what_is_no_text_or_no_file_is_refused(write, tmp_path):
    assert "not UTF-8 at byte 0" in faults(write(b"\xff"))[0]
    assert "longer than any" in faults(write("#" * 70_000))[0]
    assert "no regular file" in faults(tmp_path)[0]
    assert "No such file" in faults(tmp_path / "none.toml")[0]


# ---- where it is --------------------------------------------------------------------------------------


def test_the_flag_goes_over_the_default_place_and_that_is_found_only_where_it_is(tmp_path):
    folder = tmp_path / "bulk-delete"
    home = {"HOME": str(tmp_path / "home"), "XDG_CONFIG_HOME": str(tmp_path)}
    assert find_config(None, home) is None
    folder.mkdir()
    (folder / "config.toml").touch()
    assert find_config(None, home) == folder / "config.toml"
    assert find_config(Path("x.toml"), home) == Path("x.toml")
    assert find_config(None, {"XDG_CONFIG_HOME": "relative"}) is None
    assert find_config(None, {}) is None


def test_without_the_variable_it_is_in_the_home_folder(tmp_path):
    (tmp_path / ".config" / "bulk-delete").mkdir(parents=True)
    (tmp_path / ".config" / "bulk-delete" / "config.toml").touch()
    assert find_config(None, {"HOME": str(tmp_path)}) == tmp_path / ".config/bulk-delete/config.toml"


def test_a_command_line_that_was_not_understood_still_names_it():
    assert named_config(["run", "--config", "a.toml", "--bad"]) == Path("a.toml")
    assert named_config(["run", "--config=b.toml"]) == Path("b.toml")
    assert named_config(["run", "--config"]) is None
