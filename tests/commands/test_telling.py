"""However a run ends, also before it could start, whoever is to hear of it does, and nothing else changes."""

import signal
import subprocess
import sys
from contextlib import ExitStack

import pytest
from prometheus_client.parser import text_string_to_metric_families

from runner.tell.ping import END_S, START_S
from tests.support.program import TOKEN, USER, numbers, until
from tests.support.robots import DingTalk, Hanging, HealthChecks, Hook

PHONES = numbers(3)
SECRET = "SEC0123456789abcdef"


class Watch:
    """A check that is pinged, a robot that signs, a webhook, and a file of metrics; all told always."""

    def __init__(self, program, stack):
        self.program = program
        self.check = stack.enter_context(HealthChecks())
        self.robot = stack.enter_context(DingTalk(secret=SECRET))
        self.hook = stack.enter_context(Hook())
        program.write("ops/dingtalk.url", self.robot.url).chmod(0o600)
        program.write("ops/dingtalk.secret", SECRET).chmod(0o600)
        self.config = program.write(
            "ops/config.toml",
            f"""
            [ping]
            url = "{self.check.url}"
            [metrics]
            textfile = "bulk_delete.prom"
            [[notify]]
            kind = "dingtalk"
            url_file = "dingtalk.url"
            secret_file = "dingtalk.secret"
            on = "always"
            [[notify]]
            kind = "webhook"
            url = "{self.hook.url}"
            on = ["complete", "partial", "stopped", "refused", "busy"]
            """,
        )
        self.config.chmod(0o600)

    @property
    def signals(self):
        assert len({rid for _, rid in self.check.pings[-2:]}) <= 1, "one call, one id"
        return [signal for signal, _ in self.check.pings]

    @property
    def text(self):
        return self.robot.texts[-1]

    @property
    def metrics(self):
        text = (self.program.folder / "ops" / "bulk_delete.prom").read_text(encoding="utf-8")
        return {
            (sample.name.removeprefix("bulk_delete_"), *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def heard(self, code, end):
        """Everybody was told of one call, with this code, and none of it holds a secret or a number."""
        assert self.signals == ["start", str(code)]
        assert f"(exit code {code})\n" in self.text
        (said,) = self.hook.requests
        assert (said.json["end"], said.json["exit_code"]) == (end, code)
        assert said.json["text"] == self.text
        everything = b"".join(
            said.body + said.path.encode() + repr(said.query).encode()
            for server in (self.check, self.robot, self.hook)
            for said in server.requests
        ).decode()
        assert TOKEN not in everything
        assert not [phone for phone in PHONES if phone in everything]
        return said.json["result"]


@pytest.fixture
def watch(program):
    with ExitStack() as stack:
        yield Watch(program, stack)


def test_a_good_night(program, watch):
    program.job({USER: PHONES}, name="nightly")
    ended = program("run", "nightly.json", "--yes", "--json", "--config", watch.config).expect(0)
    result = watch.heard(0, "complete")
    assert result == ended.record, "a webhook is given what --json writes"
    assert watch.text.startswith("bulk-delete: nightly: all is confirmed (exit code 0)\n")
    assert "numbers: 3 deleted, 0 failed, 0 unknown, 0 not sent" in watch.text
    assert watch.metrics["last_exit_code", "nightly"] == 0
    assert watch.metrics["phones", "nightly", "deleted"] == 3
    assert watch.metrics["last_success_timestamp_seconds", "nightly"] > 1.7e9


def test_a_bad_night_says_why_and_what_to_type(program, sandbox, watch):
    sandbox.control(refused_phones=PHONES[:1])
    job = program.job({USER: PHONES}, name="nightly", safety={"max_refused": "100%"})
    ended = program("run", job, "--yes", "--json", "--config", watch.config).expect(1)
    watch.heard(1, "partial")
    assert "2 deleted, 1 failed, 0 unknown, 0 not sent" in watch.text
    assert "why: 1 of 1 batch ended failed: refused (HTTP 422, 手机号格式错误: ****)\n" in watch.text
    assert watch.text.endswith(f"type: {ended.record['next']}")
    assert watch.metrics["last_exit_code", "nightly"] == 1
    assert ("last_success_timestamp_seconds", "nightly") not in watch.metrics


def test_a_run_that_stops_early(program, sandbox, watch):
    sandbox.control(token="another")
    ended = program("run", program.job({USER: PHONES}), "--yes", "--json", "--config", watch.config).expect(3)
    watch.heard(3, "stopped")
    assert "why: " in watch.text
    assert ended.record["next"] in watch.text


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["run", "job.json"], "not confirmed"),
        (["run", "none.yaml", "--yes"], "none.yaml"),
        (["run", "broken.yaml", "--yes"], "unknown key"),
        (["run", "capped.json", "--yes"], "max_phones"),
        (["run", "job.json", "--yess"], "there is no option --yess"),
        (["run", "job.json", "--yes", "--rate", "fast"], "--rate"),
        (["run", PHONES[0], "--yes"], "139****0000: there is no such file"),
        (["run", TOKEN, "--yes"], "***: there is no such file"),
        (["resume", "none.jsonl"], "none.jsonl"),
        (["rerun", "none.jsonl", "--yes"], "none.jsonl"),
    ],
)
def test_what_could_not_start_is_told_too(program, watch, args, words):
    program.job({USER: PHONES})
    program.job({USER: PHONES}, name="capped", safety={"max_phones": 2})
    program.write("broken.yaml", "users:\n- {user_id: u, phones: ['13900000000']}\n")
    ended = program(*args, "--config", watch.config).expect(2)
    assert ended.out == ""
    watch.heard(2, "refused")
    assert words in watch.text


def test_without_a_token_it_is_told_too(program, watch):
    program.job({USER: PHONES})
    program("run", "job.json", "--yes", "--config", watch.config, env={"BULK_DELETE_TOKEN": None}).expect(2)
    watch.heard(2, "refused")
    assert "there is no token" in watch.text


def test_a_held_lock_is_told_and_names_its_holder(program, sandbox, watch):
    sandbox.control(latency_s=60.0)
    first = program.start("run", program.job({USER: PHONES}, name="first"), "--yes")
    first.until(sandbox.requests)
    job = program.job({USER: PHONES}, name="second")
    program("run", job, "--yes", "--config", watch.config).expect(4)
    watch.heard(4, "busy")
    assert f"process {first.pid}" in watch.text
    assert watch.metrics["last_exit_code", "second"] == 4
    first.signal(signal.SIGKILL)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_that_stops_it_is_told(program, sandbox, watch, number, code):
    sandbox.control(latency_s=0.5)
    job = program.job({USER: numbers(1000)}, limits={"concurrency": 1})
    running = program.start("run", job, "--yes", "--config", watch.config)
    running.until(sandbox.requests)
    running.signal(number)
    running.wait().expect(code)
    watch.heard(code, "stopped")
    assert f"why: {signal.Signals(number).name}" in watch.text


def test_a_run_that_is_killed_leaves_a_start_without_an_end_and_the_last_success(program, sandbox, watch):
    job = program.job({USER: PHONES}, name="nightly")
    program("run", job, "--yes", "--config", watch.config).expect(0)
    before = watch.metrics
    sandbox.control(latency_s=60.0)
    seen = sandbox.requests()
    running = program.start("run", job, "--yes", "--config", watch.config)
    running.until(lambda: sandbox.requests() > seen)
    running.signal(signal.SIGKILL)
    running.process.wait()
    assert [signal for signal, _ in watch.check.pings] == ["start", "0", "start"]
    assert watch.metrics == before


def test_resume_and_rerun_are_told(program, sandbox, watch):
    sandbox.control(refused_phones=PHONES[:1])
    job = program.job({USER: PHONES}, name="nightly", safety={"max_refused": "100%"})
    program("run", job, "--yes", "--audit", "a.jsonl").expect(1)
    assert watch.check.requests == []
    program("resume", "a.jsonl", "--yes", "--config", watch.config).expect(1)
    sandbox.control(refused_phones=[])
    program("rerun", "a.jsonl", "--yes", "--config", watch.config).expect(0)
    assert [signal for signal, _ in watch.check.pings] == ["start", "1", "start", "0"]
    assert [said.json["result"]["type"] for said in watch.hook.requests] == ["resume", "rerun"]


def test_the_default_place_is_found_and_a_dry_run_tells_nobody(program, watch):
    job = program.job({USER: PHONES})
    env = {"XDG_CONFIG_HOME": str(program.folder / "xdg")}
    home = program.folder / "xdg" / "bulk-delete"
    home.parent.mkdir()
    (program.folder / "ops").rename(home)
    for args in (["run", job, "--dry-run"], ["plan", job], ["run", "--help"], ["demo", "--bad"]):
        program(*args, env=env)
    program("run", job, "--dry-run", "--bad", env=env).expect(2)
    assert watch.check.requests == []
    program("run", job, "--yes", env=env).expect(0)
    assert watch.signals == ["start", "0"]


# ---- telling changes nothing --------------------------------------------------------------------------


def test_servers_that_hang_change_nothing_but_what_is_warned_of(program):
    assert START_S + END_S == 5.0
    job = program.job({USER: PHONES})
    with Hanging() as stuck:
        text = (
            f'[ping]\nurl = "{stuck.url}"\n[[notify]]\nkind = "webhook"\nurl = "{stuck.url}"\non = "always"\n'
        )
        config = program.write("config.toml", text)
        config.chmod(0o600)
        ended = program("run", job, "--yes", "--json", "--quiet", "--config", config).expect(0)
    assert ended.record["exit_code"] == 0
    assert "[ping]: the ping (start) was not taken: no answer within 2 s" in ended.err
    assert "[ping]: the ping (0) was not taken: no answer within 3 s" in ended.err
    assert "config.toml:3: the message (webhook) was not sent: no answer within 10 s" in ended.err


def test_output_is_the_same_to_the_byte_with_and_without_an_audience(program, watch):
    program.job({USER: PHONES}, safety={"max_phones": 2})
    for args in (
        ["run", "job.json", "--yes", "--json"],
        ["run", "job.json", "--yes"],
        ["run", "--nope", "--json"],
    ):
        alone, told = program(*args), program(*args, "--config", watch.config)
        assert (alone.code, alone.out, alone.err) == (told.code, told.out, told.err)


def test_a_signal_while_it_is_told_changes_nothing(program, watch):
    job = program.job({USER: PHONES})
    with Hanging() as stuck:
        config = program.write(
            "late.toml", f'[[notify]]\nkind = "webhook"\nurl = "{stuck.url}"\non = "always"\n'
        )
        config.chmod(0o600)
        running = program.start("run", job, "--yes", "--json", "--config", config)
        until(lambda: stuck.requests)
        running.signal(signal.SIGTERM)
        running.signal(signal.SIGINT)
        stuck.__exit__()
        ended = running.wait().expect(0)
    assert ended.record["status"] == "complete"


def test_a_faulty_configuration_is_refused_before_anything_is_sent(program, sandbox):
    job = program.job({USER: PHONES})
    config = program.write("c.toml", '[pings]\nurl = "https://hc.example/x"\n')
    ended = program("run", job, "--yes", "--json", "--config", config).expect(2)
    assert "c.toml:1: pings: unknown key; did you mean `ping`?" in ended.err
    assert ended.record["type"] == "error"
    assert sandbox.requests() == 0


def test_a_job_cannot_name_a_configuration(program):
    program.write("job.yaml", f"config: evil.toml\nusers:\n- {{user_id: {USER}, phone: ['13900000000']}}\n")
    assert "config: unknown key" in program("run", "job.yaml", "--yes").expect(2).err


def test_without_a_configuration_nothing_of_telling_is_loaded(program):
    probe = (
        "import sys\nfrom runner.cli import main\nsys.argv[1:] = ['run', 'none.yaml', '--yes']\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print([name for name in sys.modules if name.startswith(('runner.tell', 'prometheus'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], cwd=program.folder, env=program.env, capture_output=True, check=True
    )
    assert done.stdout.decode().strip() == "[]"
