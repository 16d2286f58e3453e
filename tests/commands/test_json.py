"""`--json`: one object for every verb, refusals and errors too, each as `schema result` describes it."""

import json
import signal

import jsonschema
import pytest

from runner.cli import cli
from runner.cli_cluster import cluster
from tests.support.program import OTHER, USER, Sandbox, numbers

PHONES = numbers(3)
ALWAYS = ("type", "v", "exit_code", "message", "hint")
OF_A_RUN = ("job", "run_id", "audit", "plan", "base_url", "next")


@pytest.fixture(scope="module")
def schema():
    from runner.output.results import result_schema

    return json.loads(json.dumps(result_schema()))


@pytest.fixture(scope="module")
def validate(schema):
    """What holds a record to the schema, which is checked here once and not for each record."""
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema).validate


@pytest.fixture
def held(validate):
    """Hold what a process wrote to the schema, and return it."""

    def hold(ended, code, kind):
        record = ended.expect(code).record
        validate(record)
        assert (record["type"], record["v"], record["exit_code"]) == (kind, 1, code)
        assert tuple(record)[:5] == ALWAYS
        return record

    return hold


@pytest.fixture
def partial(program, sandbox):
    """An audit of which one batch of two ended unknown."""
    sandbox.script(None, "error", error_code=7431)
    job = program.job({USER: numbers(200)})
    program("run", job, "--yes", "--concurrency", "1", "--audit", "a.jsonl").expect(1)
    return program.folder / "a.jsonl"


def test_the_schema_is_what_the_verb_prints(program, schema, held):
    assert json.loads(program("schema", "result").expect(0).out) == schema
    wrapped = held(program("schema", "result", "--json"), 0, "schema")
    assert wrapped["schema"] == schema


@pytest.mark.parametrize("of", ["job", "audit"])
def test_every_schema_is_one(program, held, of):
    found = held(program("schema", of, "--json"), 0, "schema")["schema"]
    jsonschema.Draft202012Validator.check_schema(found)


def test_the_schema_refuses_what_is_not_as_it_says(program, validate):
    record = program("check", "--json").expect(0).record
    for wrong in ({**record, "more": 1}, {**record, "v": 2}, {**record, "type": "audit"}, {}):
        with pytest.raises(jsonschema.ValidationError):
            validate(wrong)
    for name in record:
        with pytest.raises(jsonschema.ValidationError):
            validate({key: value for key, value in record.items() if key != name})


def test_every_verb_can_write_its_result_as_json():
    verbs = cli.commands | cluster.commands
    del verbs["cluster"]
    assert [n for n, verb in verbs.items() if not any(p.name == "as_json" for p in verb.params)] == []


def test_run(program, held, sandbox):
    record = held(program("run", program.job({USER: PHONES}), "--yes", "--json"), 0, "run")
    assert record["audit"].startswith("audit/job-")
    assert (program.folder / record["audit"]).is_file()
    assert (record["plan"], record["job"]) == (f"{record['audit']}.plan", "job")
    assert (record["base_url"], record["next"], record["hint"]) == (sandbox.url, None, None)


def test_plan(program, held):
    record = held(program("plan", program.job({USER: PHONES}), "--json", "--out", "p.plan"), 0, "plan")
    assert (record["job"], record["plan"], record["base_url"]) == ("job", "p.plan", None)
    assert record["totals"]["unique"] == 3
    assert record["users"] == [{"user_id": USER, "phones": 3, "windows": 0}]
    assert record["next"].endswith(" run p.plan")
    held(program("plan", "p.plan", "--json"), 0, "plan")
    assert held(program("plan", "p.plan", "--json", "--probe"), 0, "plan")["probed"]
    held(program("run", "p.plan", "--dry-run", "--json"), 0, "plan")


def test_resume_and_rerun(program, held, sandbox, partial):
    again = held(program("resume", partial, "--json"), 1, "resume")
    assert again["audit"] == str(partial)
    record = held(program("rerun", partial, "--yes", "--json", "--audit", "b.jsonl"), 0, "rerun")
    assert record["audit"] == "b.jsonl"
    assert record["run_id"] != again["run_id"]


def test_or_resume_ends_as_the_verb_that_was_typed(program, held, sandbox):
    args = ("run", program.job({USER: PHONES}), "--yes", "--audit", "a.jsonl", "--or-resume", "--json")
    first = held(program(*args), 0, "run")
    assert held(program(*args), 0, "run")["run_id"] == first["run_id"]


def test_report_and_verify(program, held, partial):
    record = held(program("report", partial, "--json", "--failed", "f.csv"), 0, "report")
    (item,) = record["items"]
    assert [item[name] for name in ("audit", "plan")] == [str(partial), f"{partial}.plan"]
    assert {*OF_A_RUN} < set(item)
    assert item["next"].endswith(f" rerun {partial}")
    assert "100 numbers" in record["message"]
    found = held(program("verify", partial, f"{partial}.plan", "--json"), 0, "verify")
    assert [one["kind"] for one in found["items"]] == ["audit", "plan"]
    assert {*OF_A_RUN} < set(found["items"][0])
    partial.write_bytes(partial.read_bytes()[:-9])
    held(program("verify", partial, "--json"), 3, "verify")
    held(program("report", partial, "--json"), 0, "report")


def test_check(program, held, sandbox):
    assert held(program("check", "--json"), 0, "check")["ok"] is True
    refused = held(program("check", "--json", env={"BULK_DELETE_TOKEN": "another-token"}), 3, "check")
    assert (refused["ok"], refused["error"]) == (False, "auth")


def test_sandbox_says_where_it_listens(program, held):
    started = program.start("sandbox", "--port", "0", "--json")
    started.until(started.out, "its first line")
    started.signal(signal.SIGTERM)
    assert held(started.wait(), 0, "sandbox")["base_url"].startswith("http://127.0.0.1:")


@pytest.mark.slow
def test_demo(program, held):
    told = held(program("demo", "--keep", "kept", "--json"), 0, "demo")
    assert (told["holds"], told["status"]) == (True, "partial")
    assert told["message"] == "the audit holds", "its code is 0, whatever its run ended with"
    assert told["hint"] == f"type: {told['next']}"
    assert "partial" in program.shell(told["next"]).expect(0).out, "its sandbox is gone: nothing can go on"


ERRORS = {
    "an option that does not exist": ("run", "job.json", "--forse"),
    "no argument": ("resume",),
    "a verb that does not exist": ("purge",),
    "a value that is none": ("run", "job.json", "--rate", "20/h"),
    "a job that is not there": ("run", "nothing.yaml"),
    "no confirmation": ("run", "job.json"),
    "an audit that is not there": ("resume", "nothing.jsonl"),
    "what is no audit": ("report", "job.json"),
    "a fault of a job": ("plan", "bad.json"),
    "no token": ("check", {"BULK_DELETE_TOKEN": None}),
    "a base URL that is none": ("check", "--base-url", "ftp://x"),
}


def test_refusals_and_errors_are_objects_too(program, held, sandbox):
    program.job({USER: PHONES})
    program.write("bad.json", '{"users": [{"user_id": 7}], "safty": {}}')
    cases = {}
    for case, args in ERRORS.items():
        env = [args[-1]] if isinstance(args[-1], dict) else []
        cases[case] = (*args[: len(args) - len(env)], "--json", *env)
    for case, ended in program.together(cases):
        record = held(ended, 2, "error")
        assert record["message"], case
        assert set(OF_A_RUN) < set(record)
        assert record["message"].splitlines()[0] in ended.err, case
    assert sandbox.requests() == 0


def test_a_misuse_says_how_to_be_helped(program, held):
    record = held(program("run", "x", "--forse", "--json"), 2, "error")
    assert "--forse" in record["message"]
    assert record["hint"].endswith("-m runner run --help")


def test_an_error_names_the_run_that_it_speaks_of(program, held, sandbox, partial):
    missing = held(program("verify", "nothing.jsonl", "--json"), 2, "error")
    assert missing["audit"] == "nothing.jsonl"
    with Sandbox() as other:
        record = held(program("resume", partial, "--base-url", other.url, "--json"), 2, "error")
    assert (record["job"], record["audit"], record["plan"]) == ("job", str(partial), f"{partial}.plan")
    assert record["run_id"]
    refused = held(
        program("run", program.job({USER: PHONES}), "--yes", "--json", "--audit", partial), 2, "error"
    )
    assert refused["job"] == "job"


def test_an_open_audit_that_shall_be_rerun_says_what_to_type(program, held, sandbox):
    sandbox.control(token_expires_after=0)
    program("run", program.job({USER: PHONES}), "--yes", "--audit", "a.jsonl").expect(3)
    record = held(program("rerun", "a.jsonl", "--yes", "--json"), 2, "error")
    assert record["next"].endswith(" resume a.jsonl")


def test_busy_is_4_and_an_object(program, held, sandbox):
    sandbox.script("hang")
    holder = program.start(
        "run", program.job({USER: PHONES}), "--yes", "--timeout", "3000", "--audit", "a.jsonl"
    )
    holder.until(sandbox.deletions, "its first request")
    record = held(program("resume", "a.jsonl", "--json"), 4, "error")
    assert record["audit"] == "a.jsonl"
    other = program.job({OTHER: PHONES}, name="other")
    record = held(program("run", other, "--yes", "--json"), 4, "error")
    assert (record["job"], record["audit"]) == ("other", None)
    report = held(program("report", "a.jsonl", "--json"), 0, "report")
    assert (report["items"][0]["status"], report["items"][0]["next"]) == ("running", None)
    holder.signal(signal.SIGKILL)
    holder.wait()
    report = held(program("report", "a.jsonl", "--json"), 0, "report")
    assert report["items"][0]["status"] == "killed"
    assert report["items"][0]["next"].endswith(" resume a.jsonl")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_before_anything_was_sent_is_an_object_too(program, held, sandbox, number, code):
    sandbox.script("hang")
    holder = program.start("run", program.job({USER: PHONES}), "--yes", "--timeout", "3000")
    holder.until(sandbox.deletions, "its first request")
    waiting = program.start("run", program.job({OTHER: PHONES}, name="b"), "--yes", "--wait", "--json")
    waiting.until(lambda: str(holder.pid) in waiting.err(), "that it waits")
    waiting.signal(number)
    assert "nothing was sent" in held(waiting.wait(), code, "error")["message"]


def test_a_stopped_run_says_what_goes_on(program, held, sandbox):
    sandbox.control(token_expires_after=0)
    args = ("run", program.job({USER: PHONES}), "--yes", "--json", "--audit", "a.jsonl")
    env = {"BULK_DELETE_BASE_URL": None}
    record = held(program(*args, "--base-url", sandbox.url, env=env), 3, "run")
    assert "token" in record["message"]
    assert record["next"].endswith(f" resume a.jsonl --base-url {sandbox.url}")
    sandbox.control(token_expires_after=None)
    assert program.shell(record["next"], env=env).code == 0


def test_status(program, held, partial):
    record = held(program("status", partial.parent, "--json", "--max-age", "1h"), 0, "status")
    (item,) = [found for found in record["items"] if found["state"] == "partial"]
    assert {*OF_A_RUN} < set(item)
    assert {found["state"] for found in record["items"]} == {"partial", "foreign"}, (
        "a job file lies there, too"
    )
    missed = held(program("status", partial, "--json", "--max-age", "1h", "--job", "other"), 1, "status")
    assert missed["items"] == []
    assert "no run of other" in missed["message"]


def test_pace(program, held, sandbox):
    sandbox.control(latency_s=0.5)
    job = program.job({USER: numbers(900)})
    run = program.start("run", job, "--yes", "--concurrency", "1", "--audit", "a.jsonl")
    run.until(lambda: not program("pace", "a.jsonl").code, "an answer")
    record = held(program("pace", "a.jsonl", "--json", "--pause"), 0, "pace")
    assert {*OF_A_RUN} < set(record)
    held(program("pace", "a.jsonl", "--json", "--go-on"), 0, "pace")
    sandbox.control(latency_s=0)
    run.wait().expect(0)
    held(program("pace", "a.jsonl", "--json"), 2, "error")
