"""What the documentation gives schedulers: silent when all is well, loud when it is not."""

import ast
import configparser
import json
import re
import shlex
import shutil
import stat
import subprocess
import sys
from types import ModuleType, SimpleNamespace

import click
import jsonschema
import pytest
from ruamel.yaml import YAML

from runner.access import ENV_DATABASE, ENV_TOKEN
from runner.cli import cli
from runner.cli_cluster import cluster
from runner.settings import Limits
from runner.tell.messages import MESSAGES_S
from runner.tell.ping import END_S
from tests.support.docs import ROOT
from tests.support.program import TOKEN, USER, numbers, until

PHONES = numbers(3)
FOLDER = ROOT / "jobs" / "schedules"
DRAIN_S = Limits().timeout_s + MESSAGES_S + END_S
"""What a stop may take by the code's own figures; the summary and the interpreter's end come on top."""
FINAL = {1, 2, 3}
"""After these no attempt may follow by itself: with `--yes` it would pass a rule that stopped the run."""


def test_every_file_is_linked_from_the_page():
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert [path.name for path in FOLDER.iterdir() if f"](../jobs/schedules/{path.name})" not in page] == []


def check_words(words):
    """Hold a command line to the program's: its verb and its options."""
    verb, *rest = words
    known = {param.opts[0] for param in cli.commands[verb].params if isinstance(param, click.Option)}
    assert {word.partition("=")[0] for word in rest if word.startswith("--")} <= known
    assert "--yes" in rest
    return rest


# ---- cron ---------------------------------------------------------------------------------------------


@pytest.fixture
def cron(program):
    """Run the line for cron, as it stands in the documentation, but for its paths."""
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert f"```\n{(FOLDER / 'crontab').read_text(encoding='utf-8')}```" in page
    line = re.search(r"^15 2 \* \* \*  (.+)$", page, re.MULTILINE)[1]
    assert "%" not in line, "cron makes a new line of it"
    program.write("token", TOKEN).chmod(0o600)
    program.write("config/config.toml", "").chmod(0o600)
    changes = {
        "/srv/cleanup": str(program.folder),
        ".venv/bin/bulk-delete": "$RUN",
        "jobs/nightly-cleanup.yaml": "nightly.json",
    }
    for old, new in changes.items():
        assert old in line
        line = line.replace(old, new)
    return lambda: program.shell(line, env={"BULK_DELETE_TOKEN": None})


def test_a_good_night_sends_no_mail_and_leaves_a_line(program, cron):
    program.job({USER: PHONES}, name="nightly")
    ended = cron().expect(0)
    assert ended.out + ended.err == ""
    assert '"exit_code":0' in (program.folder / "nightly.jsonl").read_text(encoding="utf-8")


def test_a_refusal_reaches_somebody_with_its_code_and_its_words(program, cron):
    program.job({USER: PHONES}, name="nightly", safety={"max_phones": 2})
    ended = cron()
    assert "ended with 2" in ended.out
    assert "max_phones" in ended.out + ended.err


def test_numbers_that_are_not_confirmed_reach_somebody(program, sandbox, cron):
    sandbox.control(refused_phones=PHONES[:1])
    program.job({USER: PHONES}, name="nightly", safety={"max_refused": "100%"})
    ended = cron()
    assert "ended with 1" in ended.out
    assert '"failed":1' in ended.out


# ---- systemd ------------------------------------------------------------------------------------------

UNITS = ("bulk-delete.service", "bulk-delete.timer", "bulk-delete-failed@.service")


def unit(name):
    parser = configparser.ConfigParser(strict=True, interpolation=None)
    parser.optionxform = str
    parser.read_string((FOLDER / name).read_text(encoding="utf-8"))
    return parser


def test_systemd_itself_finds_nothing(tmp_path):
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("systemd-analyze is not installed")
    for name in UNITS:
        text = (FOLDER / name).read_text(encoding="utf-8")
        text = text.replace(
            "/srv/cleanup/.venv/bin/bulk-delete", "/bin/true"
        )  # it looks whether that is there
        target = name.replace("@.", "@bulk-delete.service.")
        (tmp_path / target).write_text(text, encoding="utf-8")
    units = sorted(map(str, tmp_path.iterdir()))
    done = subprocess.run(
        [tool, "verify", "--man=no", *units], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_service_makes_up_for_a_night_tells_of_a_failure_and_has_time_to_drain():
    service, timer = unit("bulk-delete.service"), unit("bulk-delete.timer")
    assert timer["Timer"]["Persistent"] == "true"
    assert service["Unit"]["OnFailure"] == "bulk-delete-failed@%n.service"
    assert (FOLDER / "bulk-delete-failed@.service").exists()
    assert int(service["Service"]["TimeoutStopSec"]) >= 2 * DRAIN_S
    assert "Restart" not in service["Service"]


def test_the_service_does_what_its_page_says(program):
    """Its command, as systemd would start it: with a credential, in its folder, and nobody's environment."""
    service = unit("bulk-delete.service")["Service"]
    path, *words = shlex.split(service["ExecStart"])
    assert path == "/srv/cleanup/.venv/bin/bulk-delete"
    check_words(words)
    name, _, _ = service["LoadCredential"].partition(":")
    program.write(f"credentials/{name}", TOKEN).chmod(0o400)
    program.write("config/config.toml", "").chmod(0o600)
    job = program.job({USER: PHONES}, name="nightly-cleanup")
    program.write("jobs/nightly-cleanup.yaml", job.read_text(encoding="utf-8"))
    env = {"BULK_DELETE_TOKEN": None, "CREDENTIALS_DIRECTORY": str(program.folder / "credentials")}
    program(*words, env=env).expect(0)
    (audit,) = program.audits()
    assert '"reason":"nightly"' in audit.read_text(encoding="utf-8")


# ---- Kubernetes ---------------------------------------------------------------------------------------


SHAPE = json.loads((ROOT / "tests" / "commands" / "cronjob.schema.json").read_text(encoding="utf-8"))


def manifest(name):
    return YAML(typ="safe").load((FOLDER / name).read_text(encoding="utf-8"))


def cron_job():
    return manifest("cronjob.yaml")


def test_the_cron_job_has_the_shape_that_kubernetes_asks_for():
    jsonschema.Draft7Validator(SHAPE).validate(cron_job())


def test_the_indexed_job_has_the_shape_that_kubernetes_asks_for():
    job = manifest("indexed-job.yaml")
    assert (job.pop("apiVersion"), job.pop("kind")) == ("batch/v1", "Job")
    assert job.pop("metadata")["name"]
    spec = SHAPE["properties"]["spec"]["properties"]["jobTemplate"]["properties"]["spec"]
    jsonschema.Draft7Validator(spec).validate(job.pop("spec"))
    assert job == {}


def test_the_indexed_job_runs_workers_that_end_when_nothing_is_left_and_may_come_back():
    job = manifest("indexed-job.yaml")
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    assert (spec["completionMode"], spec["completions"]) == ("Indexed", spec["parallelism"])
    (container,) = pod["containers"]
    group, verb, *rest = container["args"]
    assert (group, verb) == ("cluster", "worker")
    known = {param.opts[0] for param in cluster.commands[verb].params if isinstance(param, click.Option)}
    assert {word.partition("=")[0] for word in rest} <= known
    assert "--drain" in rest
    fail, ignore = spec["podFailurePolicy"]["rules"]
    assert (fail["action"], fail["onExitCodes"]["values"]) == ("FailIndex", [2])
    assert fail["onExitCodes"]["containerName"] == container["name"]
    assert spec["backoffLimitPerIndex"] > 0, "FailIndex needs that"
    assert ignore["action"] == "Ignore"
    assert pod["restartPolicy"] == "Never", "a failure policy needs that"
    assert pod["terminationGracePeriodSeconds"] >= 2 * DRAIN_S
    names = {variable["name"] for variable in container["env"]}
    assert {ENV_TOKEN, ENV_DATABASE} <= names
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}
    (spread,) = pod["topologySpreadConstraints"]
    labels = spread["labelSelector"]["matchLabels"]
    assert labels == {"batch.kubernetes.io/job-name": job["metadata"]["name"]}, "a label that Kubernetes sets"


def test_the_cron_job_runs_alone_goes_on_where_it_was_and_never_past_a_rule():
    spec = cron_job()["spec"]
    assert (spec["concurrencyPolicy"], spec["startingDeadlineSeconds"] > 0) == ("Forbid", True)
    job, pod = spec["jobTemplate"]["spec"], spec["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    args = check_words(container["args"])
    assert "--or-resume" in args
    assert any(arg.startswith("--audit=") and "$(JOB_NAME)" in arg for arg in args), "a name for all attempts"
    fail, ignore = job["podFailurePolicy"]["rules"]
    assert (fail["action"], fail["onExitCodes"]["operator"]) == ("FailJob", "In")
    assert set(fail["onExitCodes"]["values"]) == FINAL
    assert fail["onExitCodes"]["containerName"] == container["name"]
    assert ignore["action"] == "Ignore"
    assert pod["restartPolicy"] == "Never", "a failure policy needs that"
    assert pod["terminationGracePeriodSeconds"] >= 2 * DRAIN_S
    assert job["activeDeadlineSeconds"] > 4 * 3600, "the program's own deadline comes first"
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}
    (secret,) = [volume["secret"] for volume in pod["volumes"] if "secret" in volume]
    assert stat.filemode(secret["defaultMode"]) == "?r--r-----"


# ---- Airflow ------------------------------------------------------------------------------------------


class Failed(Exception):
    """What Airflow tries again."""


class FailedForGood(Exception):
    """What Airflow does not try again."""


@pytest.fixture
def airflow_task(monkeypatch, tmp_path):
    """The DAG's task, with stand-ins for Airflow, and a program that does what its file says."""
    kept = SimpleNamespace()

    def task(**settings):
        kept.settings = settings

        def decorate(function):
            kept.run = function
            return lambda: None

        return decorate

    modules = {
        "pendulum": {"datetime": lambda *args, **more: None},
        "airflow": {},
        "airflow.sdk": {"dag": lambda **more: lambda function: function, "task": task},
        "airflow.sdk.exceptions": {"AirflowException": Failed, "AirflowFailException": FailedForGood},
    }
    for name, names in modules.items():
        module = ModuleType(name)
        module.__dict__.update(names)
        monkeypatch.setitem(sys.modules, name, module)
    source = (FOLDER / "airflow_dag.py").read_text(encoding="utf-8")
    exec(compile(source, "airflow_dag.py", "exec"), space := {})
    space["FOLDER"] = str(tmp_path)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)

    def with_program(script):
        program = tmp_path / ".venv" / "bin" / "bulk-delete"
        program.write_text(f"#!/bin/bash\n{script}\n")
        program.chmod(0o755)
        return kept.run

    return with_program


def test_the_dag_parses_and_its_command_is_one_of_the_programs():
    tree = ast.parse((FOLDER / "airflow_dag.py").read_text(encoding="utf-8"))
    (words,) = [
        [ast.unparse(item).strip("f'\"") for item in node.value.elts]
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "command"
    ]
    args = check_words(words[1:])
    assert "--or-resume" in args
    assert any(arg.startswith("--audit=") and "ds_nodash" in arg for arg in args)


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 143])
def test_the_dag_tries_again_only_what_no_rule_has_stopped(airflow_task, code):
    run = airflow_task(f"exit {code}")
    if not code:
        run("20260726")
        return
    with pytest.raises(FailedForGood if code in FINAL else Failed, match=f"ended with {code}"):
        run("20260726")


def test_a_task_that_is_stopped_lets_its_run_drain(airflow_task, tmp_path, monkeypatch):
    run = airflow_task(
        f"trap 'echo drained >{tmp_path}/out; exit 143' TERM; touch {tmp_path}/up; sleep 600 & wait"
    )
    wait = subprocess.Popen.wait

    def stopped(process, timeout=None):
        if timeout is None:
            until((tmp_path / "up").exists)
            raise KeyboardInterrupt
        return wait(process, timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", stopped)
    with pytest.raises(KeyboardInterrupt):
        run("20260726")
    assert (tmp_path / "out").read_text() == "drained\n"
