"""The verbs of many machines, as operators type them; no worker runs, its steps are done by hand."""

import json
import os
import re
import shutil
import signal

import jsonschema
import pytest
from msgspec import structs

from runner.audit.manifest import read_manifest
from runner.output.results import result_schema
from runner.plan.file import read_plan
from runner.plan.write import write_plan
from tests.support.cluster import Tables, work_through
from tests.support.docs import ROOT
from tests.support.forgery import JANUARY, whole
from tests.support.program import USER, Sandbox, numbers
from tests.support.sweep import sweep

DAY_S = 86400
RESULT = jsonschema.Draft202012Validator(json.loads(json.dumps(result_schema())))  # checked in test_json


@pytest.fixture
def there(program, empty_url):
    """The program in an environment that names an empty database."""
    program.env["BULK_DELETE_DATABASE_URL"] = empty_url
    return program


@pytest.fixture
def cluster(program, ready_url):
    """The program in an environment that names a database with its tables."""
    program.env["BULK_DELETE_DATABASE_URL"] = ready_url
    return program


@pytest.fixture
def tables(program):
    return Tables(program.env["BULK_DELETE_DATABASE_URL"])


@pytest.fixture
def plan(cluster):
    return plan_of(cluster)


def plan_of(program, name="job", count=950, **top):
    """The file of a plan, of ten batches."""
    job = program.job({USER: numbers(count)}, name, **top)
    program("plan", job, "--out", f"{name}.plan", "--quiet").expect(0)
    return program.folder / f"{name}.plan"


def submit(program, plan, *more, code=0, shards=4):
    """Submit a plan, and return what that said."""
    return (
        program("cluster", "submit", plan, "--shards", str(shards), "--yes", "--json", *more)
        .expect(code)
        .record
    )


def held(ended, code, kind):
    """What a process wrote, held to the schema."""
    record = ended.expect(code).record
    RESULT.validate(record)
    assert (record["type"], record["exit_code"]) == (kind, code)
    return record


# ---- init -----------------------------------------------------------------------------------------------


def test_tables_are_made_once(there, tables):
    first = held(there("cluster", "init", "--json"), 0, "cluster init")
    again = held(there("cluster", "init", "--json"), 0, "cluster init")
    assert (first["made"], again["made"]) == (True, False)
    assert tables.one("SELECT count(*) FROM schema_version") == 1


def test_two_who_make_them_at_once_make_them_once(there, tables):
    ended = dict(there.together(dict.fromkeys(range(3), ("cluster", "init", "--json"))))
    assert sorted(end.expect(0).record["made"] for end in ended.values()) == [False, False, True]
    assert tables.one("SELECT count(*) FROM schema_version") == 1


def test_tables_that_cannot_all_be_made_are_not_made(there, tables):
    tables.ask("CREATE SCHEMA bulk_delete")
    tables.ask("CREATE TABLE bulk_delete.orders (x int)")  # ours come after the queue's
    there("cluster", "init").expect(2)
    assert tables.one("SELECT to_regclass('bulk_delete.procrastinate_jobs')") is None


@pytest.mark.parametrize("verb", [("init",), ("status",), ("cancel", "x"), ("fetch", "x", "--out", "o")])
def test_tables_of_another_version_are_refused(cluster, tables, verb):
    tables.ask("UPDATE schema_version SET number = 99")
    said = cluster("cluster", *verb).expect(2).err
    assert "version 99" in said
    assert "version 1" in said


def test_without_tables_it_is_said_how_they_are_made(there):
    assert "cluster init" in there("cluster", "status").expect(2).err


def test_without_a_database_it_is_said_how_one_is_named(program):
    said = program("cluster", "status").expect(2).err
    assert "BULK_DELETE_DATABASE_URL" in said
    assert "--database" in said


def test_a_file_may_hold_the_url_if_it_is_private(cluster, ready_url):
    file = cluster.write("url", ready_url + "\n")
    env = {"BULK_DELETE_DATABASE_URL": None, "BULK_DELETE_DATABASE_URL_FILE": str(file)}
    file.chmod(0o644)
    assert "chmod 600" in cluster("cluster", "status", env=env).expect(2).err
    file.chmod(0o600)
    assert cluster("cluster", "status", env=env).expect(0).out == "no jobs\n"


@pytest.mark.parametrize("place", ["flag", "variable"])
def test_a_password_is_shown_nowhere(program, place):
    url = "postgresql://me:Zq81-never-shown@127.0.0.1:1/x"
    flags, env = (("--database", url), None) if place == "flag" else ((), {"BULK_DELETE_DATABASE_URL": url})
    for more in ((), ("--json",)):
        ended = program("cluster", "status", *flags, *more, env=env).expect(2)
        assert "127.0.0.1" in ended.out + ended.err
        assert "Zq81" not in ended.out + ended.err


def test_without_the_extra_it_is_said_what_to_install(program, tmp_path):
    """The libraries are hidden from an interpreter of its own, which does all else as before."""
    (tmp_path / "hide").mkdir()
    hiding = "import sys\nfor name in ('psycopg', 'procrastinate'): sys.modules[name] = None\n"
    (tmp_path / "hide" / "sitecustomize.py").write_text(hiding)
    env = {"PYTHONPATH": f"{tmp_path / 'hide'}:{program.env['PYTHONPATH']}"}
    for args in (("cluster", "status"), ("pace", "x", "--database", "postgresql://h/x"), ("cluster", "init")):
        assert "pip install 'bulk-delete[cluster]'" in program(*args, env=env).expect(2).err
    program("cluster", "submit", "--help", env=env).expect(0)
    program("plan", program.job({USER: numbers(1)}), env=env).expect(0)


def test_the_grants_of_the_page_are_enough_for_all_but_init(cluster, tables, plan, ready_url):
    (granting,) = re.findall(
        r"```sql\n(.*?)```", (ROOT / "docs/cluster.md").read_text(encoding="utf-8"), re.DOTALL
    )
    role = f"role_{ready_url.split('/')[3].split('?')[0]}"
    tables.ask(f'CREATE ROLE "{role}" LOGIN')
    other = ready_url.replace("tester@", f"{role}@")
    cluster.env["BULK_DELETE_DATABASE_URL"] = other
    assert (
        "that its user may see" in cluster("cluster", "submit", plan, "--shards", "2", "--yes").expect(2).err
    )
    for line in granting.replace("bulk_worker", f'"{role}"').splitlines():
        tables.ask(line)
    job = submit(cluster, plan, shards=2)["id"]
    theirs = Tables(other)
    for shard in (1, 2):
        work_through(theirs, cluster, job, shard)
    assert theirs.ask("SELECT rescue_shards('x', 1)") == []
    cluster("cluster", "init").expect(0)
    cluster("cluster", "fetch", job, "--out", "out").expect(0)
    cluster("cluster", "forget", job, "--yes").expect(0)


# ---- submit ---------------------------------------------------------------------------------------------


def test_a_plan_is_placed_whole_and_nothing_is_sent(cluster, tables, sandbox, plan):
    asked = cluster(
        "cluster", "submit", plan, "--shards", "4", "--yes", "--json", "--rate", "50/s", "--reason", "r",
        "--operator", "o", "--audit-phones", "all", env={"BULK_DELETE_TOKEN": None},
    )  # fmt: skip
    record = held(asked, 0, "cluster submit")
    job = record["id"]
    assert (record["what"], record["state"], record["shards"]) == ("placed", "open", 4)
    assert (record["batches"], record["phones"], record["rate"]) == (10, 950, "50/s")
    whole = read_plan(plan)
    shards = []
    for number in range(1, 5):
        file = cluster.folder / f"{number}"
        file.write_bytes(tables.plan_of(job, number))
        shards.append(read_plan(file))
        told = tables.one(
            "SELECT plan_sha256, batches, phones, state, epoch FROM shards WHERE shard = %s", number
        )
        totals = shards[-1].header.totals
        assert told == (shards[-1].sha256, totals.batches, totals.unique, "waiting", 1)
    assert [b.phones for s in shards for b in s.batches()] == [b.phones for b in whole.batches()]
    settings = tables.one("SELECT settings FROM jobs")
    assert settings["limits"]["rate"] == "50/s"
    assert (settings["reason"], settings["operator"], settings["audit_all_phones"]) == ("r", "o", True)
    tasks = tables.ask("SELECT queue_name, args FROM procrastinate_jobs ORDER BY id")
    assert [args for _, args in tasks] == [{"job": job, "shard": n, "epoch": 1} for n in range(1, 5)]
    assert {queue for queue, _ in tasks} == {tables.one("SELECT queue_of(%s, false)", sandbox.url)}
    assert sandbox.requests() == 0


def test_more_shards_than_batches_are_as_many_as_batches(cluster, plan):
    assert submit(cluster, plan, shards=500)["shards"] == 10


def test_a_plan_of_nothing_is_a_job_too(cluster, tables):
    record = submit(cluster, empty_plan(cluster))
    assert (record["shards"], record["batches"]) == (1, 0)


def empty_plan(program):
    """A plan whose one number is protected."""
    protect = program.write("never.txt", numbers(1)[0] + "\n")
    return plan_of(program, "nothing", 1, safety={"protect_file": str(protect)})


@pytest.mark.parametrize(
    ("words", "flag"), [("Delete 950 numbers", "--yes"), ("The plan is 2 days old", "--stale-ok")]
)
def test_what_is_not_confirmed_is_not_placed(cluster, tables, plan, words, flag):
    flags = {"--yes", "--stale-ok"} - {flag}
    os.utime(plan, (plan.stat().st_mtime - 2.5 * DAY_S,) * 2)
    said = cluster("cluster", "submit", plan, "--shards", "2", *flags).expect(2).err
    assert words in said
    assert f"add {flag}" in said
    assert not any(tables.counts().values())
    submit(cluster, plan, "--stale-ok")


def test_a_person_is_asked(cluster, tables, plan):
    os.utime(plan, (plan.stat().st_mtime - 2.5 * DAY_S,) * 2)
    for answers, code in (("n", 2), ("yn", 2), ("yy", 0)):
        with cluster.on_terminal("cluster", "submit", plan, "--shards", "2") as terminal:
            for question, answer in zip(("days old", "Delete 950 numbers"), answers, strict=False):
                terminal.read_until(question)
                terminal.read_until("[y/N]")
                terminal.type(f"{answer}\n")
            terminal.end().expect(code)
        assert tables.counts()["jobs"] == (code == 0)


def test_what_is_no_plan_is_refused(cluster, tables, plan):
    listed = cluster.write("list.txt", "\n".join(numbers(3)))
    assert "--out" in cluster("cluster", "submit", listed, "--shards", "2", "--yes").expect(2).err
    assert "/gone" in cluster("cluster", "submit", "/gone", "--shards", "2", "--yes").expect(2).err
    plan.write_bytes(plan.read_bytes().replace(b"13900000001", b"13800000001"))
    assert "altered" in cluster("cluster", "submit", plan, "--shards", "2", "--yes").expect(2).err
    assert not any(tables.counts().values())


def test_the_rules_of_a_plan_are_looked_at(cluster, tables):
    protect = cluster.write("never.txt", "")
    plan = plan_of(cluster, safety={"protect_file": str(protect), "max_growth": 2})
    said = cluster("cluster", "submit", plan, "--shards", "2", "--yes").expect(0).err
    assert "max_growth is not looked at" in said
    assert str(protect) in said
    forged = cluster.folder / "forged.plan"
    write_plan(
        forged,
        structs.replace(
            read_plan(plan).header, safety_said={**read_plan(plan).header.safety_said, "max_phones": 949}
        ),
        [line + b"\n" for line in read_plan(plan).lines()],
    )
    assert "max_phones: 950" in submit(cluster, forged, code=2)["message"]
    protect.unlink()
    assert str(protect) in cluster("cluster", "submit", plan, "--shards", "2", "--yes").expect(2).err


def test_windows_are_counted_before_anybody_is_asked(cluster, tables, sandbox):
    sandbox.pool.add_phones("small", numbers(30), created_at=JANUARY[0])
    args = {}
    for name, most in (("little", 5), ("enough", 50)):
        job = cluster.job({"small": whole(most)}, name)
        cluster("plan", job, "--out", f"{name}.plan", "--quiet").expect(0)
        args[name] = ("cluster", "submit", f"{name}.plan", "--shards", "2", "--yes")
    assert "there is no token" in cluster(*args["enough"], env={"BULK_DELETE_TOKEN": None}).expect(2).err
    assert sandbox.requests() == 0
    assert "30 rows, 5 are allowed" in cluster(*args["little"]).expect(2).err
    assert not any(tables.counts().values())
    assert "rows that match just now: 30" in cluster(*args["enough"]).expect(0).err
    assert sandbox.deletions() == []
    assert tables.counts()["jobs"] == 1


def test_many_machines_have_a_number_for_a_rate(cluster, tables, plan):
    assert "unlimited" in submit(cluster, plan, "--rate", "unlimited", code=2)["message"]
    assert not any(tables.counts().values())


def test_the_same_plan_for_the_same_origin_is_the_same_job(cluster, tables, plan, sandbox):
    first = submit(cluster, plan)
    again = submit(cluster, plan, "--base-url", f"{sandbox.url}/v2", shards=3)
    assert (again["id"], again["what"], again["run_id"]) == (first["id"], "there", first["run_id"])
    assert "submitted before" in again["message"]
    assert "4 shards" in again["message"]
    assert tables.counts()["jobs"] == 1
    with Sandbox() as other:
        assert submit(cluster, plan, "--base-url", other.url)["id"] != first["id"]
    copy = shutil.copy(plan, cluster.folder / "copy")
    assert submit(cluster, copy)["id"] == first["id"]


def test_two_who_submit_it_at_once_place_it_once(cluster, tables, plan):
    args = ("cluster", "submit", plan, "--shards", "4", "--yes", "--json")
    ended = dict(cluster.together(dict.fromkeys(range(3), args)))
    assert sorted(end.expect(0).record["what"] for end in ended.values()) == ["placed", "there", "there"]
    assert tables.counts() | {"jobs": 1, "shards": 4, "procrastinate_jobs": 4} == tables.counts()


def test_all_of_a_plan_is_placed_or_nothing(cluster, tables, plan):
    tables.ask(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'no more' USING ERRCODE = '53100'; END $$"
    )
    when = "BEFORE INSERT ON plan_pieces FOR EACH ROW WHEN (NEW.shard = 3)"
    tables.ask(f"CREATE TRIGGER t {when} EXECUTE FUNCTION fail()")
    said = cluster("cluster", "submit", plan, "--shards", "4", "--yes").expect(2).err
    assert "the database's disk is full" in said
    assert not any(tables.counts().values())
    tables.ask("DROP TRIGGER t ON plan_pieces")
    assert submit(cluster, plan)["what"] == "placed"


ENDINGS = pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)],
    ids=["int", "term", "kill"],
)


@ENDINGS
def test_a_submit_that_is_interrupted_has_placed_nothing(cluster, tables, plan, number, code):
    with tables.locked("plan_pieces"):
        started = cluster.start(
            "cluster", "submit", plan, "--shards", "4", "--yes", cold=number == signal.SIGKILL
        )
        started.until(tables.somebody_waits)
        started.signal(number)
        ended = started.wait()
    assert ended.code == code
    assert not any(tables.counts().values())
    assert submit(cluster, plan)["what"] == "placed"


def test_a_database_that_is_read_only_is_told(cluster, tables, plan, ready_url):
    tables.ask(
        f'ALTER DATABASE "{ready_url.split("/")[3].split("?")[0]}" SET default_transaction_read_only = on'
    )
    said = cluster("cluster", "submit", plan, "--shards", "4", "--yes").expect(2).err
    assert "the database is read-only" in said


def test_the_lower_rate_holds_for_an_origin_and_is_said(cluster, tables, plan):
    submit(cluster, plan, "--rate", "5/s")
    other = plan_of(cluster, "other")
    ended = cluster("cluster", "submit", other, "--shards", "2", "--yes", "--json", "--rate", "30/s").expect(
        0
    )
    assert ended.record["rate"] == "5/s"
    assert "the rate is 5/s, not 30/s" in ended.err
    assert submit(cluster, plan_of(cluster, "third"), "--rate", "2/s")["rate"] == "2/s"


# ---- cancel, and submit again ---------------------------------------------------------------------------


def test_a_job_that_nobody_began_is_stopped_at_once(cluster, tables, plan):
    job = submit(cluster, plan)["id"]
    record = held(cluster("cluster", "cancel", job, "--json"), 0, "cluster cancel")
    assert (record["state"], record["doing"]) == ("stopped", 0)
    assert not tables.begin(job, 1)
    assert held(cluster("cluster", "cancel", job, "--json"), 0, "cluster cancel")["state"] == "stopped"


def test_shards_under_way_come_to_their_own_end(cluster, tables, plan):
    job = submit(cluster, plan)["id"]
    assert tables.begin(job, 2)
    record = held(cluster("cluster", "cancel", job, "--json"), 0, "cluster cancel")
    assert (record["state"], record["doing"]) == ("stopping", 1)
    assert "1 shard" in record["message"]
    assert submit(cluster, plan)["state"] == "stopping"
    assert tables.one("SELECT stop_why, stop_code FROM jobs") == ("an operator cancelled the job", 3)
    assert tables.end(job, 2, "stopped")
    assert tables.one("SELECT state FROM jobs") == "stopped"


def test_a_shard_whose_worker_is_gone_for_good_holds_up_no_cancel(cluster, tables, plan):
    job = submit(cluster, plan)["id"]
    assert tables.begin(job, 2)
    tables.ask("UPDATE shards SET beat = beat - interval '2 minutes' WHERE shard = 2")
    assert held(cluster("cluster", "cancel", job, "--json"), 0, "cluster cancel")["state"] == "stopped"
    assert tables.turn(job, 2, epoch=1)  # should it come back


def test_a_cancelled_job_goes_on_when_its_plan_is_submitted_again(cluster, tables, plan):
    first = submit(cluster, plan, "--rate", "5/s", "--concurrency", "3")
    job = first["id"]
    work_through(tables, cluster, job, 1)
    cluster("pace", job, "--rate", "4/s").expect(0)
    cluster("cluster", "cancel", job).expect(0)
    tables.ask("UPDATE origins SET next_slot = now() - interval '1 hour'")  # nobody has a rate any more
    said = cluster("cluster", "submit", plan, "--shards", "4").expect(2).err
    assert "an operator cancelled the job. Go on with it?" in said
    again = submit(cluster, plan, "--reason", "again")
    assert (again["what"], again["state"], again["run_id"]) == ("reopened", "open", first["run_id"])
    assert again["rate"] == "4/s"
    rows = tables.ask("SELECT state, epoch FROM shards ORDER BY shard")
    assert rows == [("done", 1), *[("waiting", 2)] * 3]
    settings = tables.one("SELECT settings FROM jobs")
    assert (settings["reason"], settings["limits"]["concurrency"]) == ("again", 3)
    assert tables.begin(job, 2)


def test_a_job_that_is_done_is_said_to_be(cluster, tables, plan):
    job = submit(cluster, plan, shards=2)["id"]
    for shard in (1, 2):
        work_through(tables, cluster, job, shard)
    for verb in (("submit", plan, "--shards", "2", "--yes"), ("cancel", job)):
        record = cluster("cluster", *verb, "--json").expect(0).record
        assert record["state"] == "done"
        assert "is done" in record["message"]
    assert tables.one("SELECT state FROM jobs") == "done"


# ---- status and pace ------------------------------------------------------------------------------------


def test_status_adds_up_what_workers_said(cluster, tables, plan):
    job = submit(cluster, plan)["id"]
    (item,) = held(cluster("cluster", "status", "--json"), 0, "cluster status")["items"]
    assert (item["id"], item["percent"], item["deleted"], item["next"]) == (job, 0.0, None, None)
    for shard, batches in ((1, 1), (2, 2)):
        assert tables.begin(job, shard, "host/17")
        said = {"batches": batches, "deleted": batches * 90, "failed": 10, "unknown": 0, "not_sent": 0}
        assert not tables.turn(job, shard, said=said)
    record = held(cluster("cluster", "status", job, "--json"), 0, "cluster status")
    (item,) = record["items"]
    assert item["shards"] == {"waiting": 2, "doing": 2, "stopped": 0, "done": 0}
    assert (item["percent"], item["deleted"], item["failed"], item["unknown"]) == (30.0, 270, 20, 0)
    first = record["shards"][0]
    assert (first["shard"], first["state"], first["worker"]) == (1, "doing", "host/17")
    assert (first["percent"], first["deleted"]) == (50.0, 90)
    assert first["heard_s"] >= 0
    assert "host/17" in cluster("cluster", "status", job).expect(0).out


def test_an_order_stands_in_the_database_and_holds_at_once(cluster, tables, plan):
    job = submit(cluster, plan, "--rate", "5/s")["id"]
    cluster("pace", job, "--rate", "9/m", "--operator", "o", "--reason", "r").expect(0)
    record = held(cluster("pace", job, "--pause", "--json"), 0, "cluster pace")
    assert (record["item"]["held"], record["item"]["rate_configured"]) == (True, "9/m")
    assert record["next"].endswith(f"pace {job} --go-on")
    rows = tables.ask("SELECT number, rate, pause, operator, reason FROM orders ORDER BY number")
    assert rows == [(1, "9/m", None, "o", "r"), (2, None, True, None, None)]
    assert tables.one("SELECT count, period_s FROM origins") == (9, 60)
    record = held(cluster("pace", job, "--go-on", "--json"), 0, "cluster pace")
    assert (record["item"]["held"], record["next"]) == (False, None)
    assert "unlimited" in cluster("pace", job, "--rate", "unlimited").expect(2).err


def test_a_job_that_is_over_takes_no_orders(cluster, tables, plan):
    job = submit(cluster, plan)["id"]
    cluster("cluster", "cancel", job).expect(0)
    assert "it is stopped" in cluster("pace", job, "--rate", "1/s").expect(2).err
    assert tables.counts()["orders"] == 0


@pytest.mark.parametrize(
    "verb", [("cluster", "status"), ("cluster", "cancel"), ("cluster", "forget", "--yes"), ("pace",)]
)
def test_a_job_that_is_not_there(cluster, ready_url, verb):
    said = cluster(*verb, "nobody-1", "--database", ready_url).expect(2).err
    assert "there is no job nobody-1" in said
    cluster("cluster", "fetch", "nobody-1", "--out", "o").expect(2)
    assert not (cluster.folder / "o").exists()


def test_what_is_typed_next_names_the_database_that_a_flag_named(cluster, ready_url, plan):
    env = {"BULK_DELETE_DATABASE_URL": None}
    args = ("cluster", "submit", plan, "--shards", "2", "--yes", "--json")
    record = cluster(*args, "--database", ready_url, env=env).expect(0).record
    assert cluster.shell(record["next"], env).expect(0).out


# ---- fetch ----------------------------------------------------------------------------------------------


@pytest.fixture
def done(cluster, tables, plan):
    """A job of two shards that is done, and their audits."""
    job = submit(cluster, plan, shards=2)["id"]
    return job, [work_through(tables, cluster, job, shard) for shard in (1, 2)]


def test_a_job_is_fetched_as_ordinary_files(cluster, tables, done):
    job, audits = done
    (cluster.folder / "there").mkdir()  # an empty folder is as good as none
    for out in ("deep/out", "there"):
        record = held(cluster("cluster", "fetch", job, "--out", out, "--json"), 0, "cluster fetch")
        folder = cluster.folder / out
        assert (record["folder"], record["state"], record["shards"]) == (out, "done", 2)
        assert record["next"].endswith(f"report {out}")
        names = [
            "job.json",
            "shard-0001.jsonl",
            "shard-0001.jsonl.plan",
            "shard-0002.jsonl",
            "shard-0002.jsonl.plan",
        ]
        assert sorted(path.name for path in folder.iterdir()) == names
        assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
        assert folder.stat().st_mode & 0o777 == 0o700
        for shard, audit in enumerate(audits, start=1):
            assert (folder / f"shard-000{shard}.jsonl").read_bytes() == audit
            assert (folder / f"shard-000{shard}.jsonl.plan").read_bytes() == tables.plan_of(job, shard)
            cluster("verify", folder / f"shard-000{shard}.jsonl").expect(0)
        manifest = read_manifest(folder)
        assert (manifest.job, manifest.state, manifest.head) == (job, "done", record["head"])
        assert [entry.records for entry in manifest.shards] == [audit.count(b"\n") for audit in audits]
        assert not [path for path in folder.parent.iterdir() if path.name.startswith(".")]
    (item,) = cluster("cluster", "status", "--json").expect(0).record["items"]
    assert item["fetched_at"] is not None
    assert " cluster forget " in item["next"]


@pytest.mark.parametrize(
    ("what", "words"), [("file", "is no folder"), ("full", "is not empty"), ("link", "is no folder")]
)
def test_nothing_is_written_over(cluster, done, what, words):
    out = cluster.folder / "out"
    if what == "file":
        out.write_text("mine")
    else:
        (cluster.folder / "real").mkdir()
        out.symlink_to("real") if what == "link" else out.mkdir()
    if what == "full":
        (out / "mine").touch()
    before = sorted(cluster.folder.iterdir())
    assert words in cluster("cluster", "fetch", done[0], "--out", "out").expect(2).err
    assert sorted(cluster.folder.iterdir()) == before


@pytest.mark.parametrize(
    ("harm", "words"),
    sweep([
        ("DELETE FROM plan_pieces WHERE shard = 2", "piece 1 of its plan is missing"),
        ("UPDATE plan_pieces SET lines = lines || lines WHERE shard = 2", "the plan of shard 2"),
        ("UPDATE plan_pieces SET lines = (SELECT p.lines FROM plan_pieces AS p WHERE p.shard = 1)",
         "the plan of shard 2"),
        ("DELETE FROM audit_pieces WHERE shard = 2 AND piece = 1", "piece 1 of its audit is missing"),
        ("DELETE FROM audit_pieces WHERE shard = 2 AND piece = 2", "piece 2 of its audit is missing"),
        ("UPDATE audit_pieces SET lines = substr(lines, 2) WHERE shard = 2 AND piece = 2",
         "the audit of shard 2"),
    ], fast=[1, 5]),
)  # fmt: skip
def test_what_is_damaged_in_the_database_gives_no_folder(cluster, tables, done, harm, words):
    tables.ask(harm)
    ended = cluster("cluster", "fetch", done[0], "--out", "out").expect(2)
    assert words in ended.err
    assert [path for path in cluster.folder.iterdir() if "out" in path.name] == []
    assert tables.one("SELECT fetched_at FROM jobs") is None


@ENDINGS
def test_a_fetch_that_is_interrupted_leaves_no_folder_that_looks_whole(cluster, tables, done, number, code):
    with tables.locked("audit_pieces"):
        started = cluster.start("cluster", "fetch", done[0], "--out", "out", cold=number == signal.SIGKILL)
        started.until(tables.somebody_waits)
        started.signal(number)
        ended = started.wait()
    assert ended.code == code
    left = [path for path in cluster.folder.iterdir() if "out" in path.name]
    assert [path.name[0] for path in left] == (["."] if number == signal.SIGKILL else [])
    assert not [path for folder in left for path in folder.iterdir() if path.name == "job.json"]
    cluster("cluster", "fetch", done[0], "--out", "out").expect(0)


def test_a_job_that_is_under_way_can_be_fetched_and_is_not_forgotten_for_it(cluster, tables, plan):
    job = submit(cluster, plan, shards=3)["id"]
    work_through(tables, cluster, job, 2)
    ended = cluster("cluster", "fetch", job, "--out", "out").expect(0)
    assert "fetch it again" in ended.err
    manifest = read_manifest(cluster.folder / "out")
    assert (manifest.state, [entry.head is None for entry in manifest.shards]) == (
        "open",
        [True, False, True],
    )
    cluster("cluster", "cancel", job).expect(0)
    assert "was not fetched as it is now" in cluster("cluster", "forget", job, "--yes").expect(2).err
    cluster("cluster", "fetch", job, "--out", "out2").expect(0)
    cluster("cluster", "forget", job, "--yes").expect(0)


def test_what_a_fenced_worker_said_lies_apart(cluster, tables, done):
    job, _ = done
    assert tables.turn(job, 2, 1, b"late 1\n", epoch=0)
    assert tables.turn(job, 2, 2, b"late 2\n", epoch=0)
    cluster("cluster", "fetch", job, "--out", "out").expect(0)
    assert (cluster.folder / "out/late/shard-0002.jsonl").read_bytes() == b"late 1\nlate 2\n"
    assert tables.turn(job, 1, 9, b"later\n", epoch=0)
    assert "after it was fetched" in cluster("cluster", "forget", job, "--yes").expect(2).err


# ---- forget ---------------------------------------------------------------------------------------------


def test_nothing_is_forgotten_that_is_needed(cluster, tables, plan):
    job = submit(cluster, plan, shards=2)["id"]
    assert "it is open" in cluster("cluster", "forget", job, "--yes").expect(2).err
    for shard in (1, 2):
        work_through(tables, cluster, job, shard)
    assert "was not fetched" in cluster("cluster", "forget", job, "--yes").expect(2).err
    cluster("cluster", "fetch", job, "--out", "out").expect(0)
    assert "--yes" in cluster("cluster", "forget", job).expect(2).err
    assert tables.counts()["jobs"] == 1


def test_nothing_of_a_forgotten_job_stays(cluster, tables, done):
    job, _ = done
    other = submit(cluster, plan_of(cluster, "other"), shards=3)["id"]
    cluster("pace", other, "--pause").expect(0)
    only_other = tables.counts() | {
        "audit_pieces": 0,
        "late_pieces": 0,
        "plan_pieces": 3,
        "shards": 3,
        "jobs": 1,
    }
    assert tables.turn(job, 2, 7, b"late\n", epoch=0)
    cluster("cluster", "fetch", job, "--out", "out").expect(0)
    record = held(cluster("cluster", "forget", job, "--yes", "--json"), 0, "cluster forget")
    assert record["id"] == job
    left = tables.counts()
    assert left == only_other | {"procrastinate_jobs": 3}
    cluster("cluster", "forget", job, "--yes").expect(2)


def test_a_job_that_never_began_may_be_forgotten_unfetched(cluster, tables, plan):
    job = submit(cluster, plan)["id"]
    cluster("cluster", "cancel", job).expect(0)
    cluster("cluster", "forget", job, "--yes").expect(0)
    assert not any(tables.counts().values())


def test_an_owner_of_a_former_life_stays_fenced(cluster, tables, plan):
    job = submit(cluster, plan)["id"]
    assert tables.begin(job, 1)
    cluster("cluster", "cancel", job).expect(0)
    assert tables.end(job, 1, "stopped")
    cluster("cluster", "forget", job, "--yes").expect(0)
    assert submit(cluster, plan)["what"] == "placed"
    assert tables.begin(job, 1, "another")
    assert tables.turn(job, 1, epoch=1)
    assert not tables.turn(job, 1)
