"""A fetched job is one run over all its shards, for every verb that reads, and none that sends by mistake."""

import csv
import io
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.commands.report import report
from runner.commands.status import status
from runner.commands.verify import verify
from runner.errors import AuditDamaged
from runner.options import OutputOptions, StatusOptions
from runner.output.console import Console
from tests.support import jobs
from tests.support.evidence import of_type, read_audit, read_lines, rechain

ENV = {"BULK_DELETE_BASE_URL": jobs.URL}
WHOLE = ("batches", "phones", "phones_known", "count", "attempts", "attempts_assumed", "uncertain_batches",
         "empty_batches", "refused_users", "causes", "users", "more_users", "duration_ms")  # fmt: skip
SEEDS = st.integers(0, 2**32)


def reported(*paths, **more):
    return report(paths, Console(OutputOptions()), ENV, **more).result.items


def rows(path):
    return list(csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig"))))


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    return lambda: tmp_path_factory.mktemp("job")


@settings(max_examples=60)
@given(seed=SEEDS)
def test_a_jobs_report_is_that_of_the_same_history_undivided(fresh, seed):
    place, shards = fresh(), jobs.made_up(seed)
    jobs.write_job(place / "job", shards)
    (job,) = reported(place / "job", failed=place / "job.csv")
    (one,) = reported(jobs.write_undivided(place / "one.jsonl", shards), failed=place / "one.csv")
    for name in WHOLE:
        assert getattr(job, name) == getattr(one, name), name
    listed = rows(place / "job.csv")
    assert sorted(listed) == sorted(rows(place / "one.csv"))
    assert len(listed) - 1 == job.phones.failed + job.phones.unknown + job.phones.not_sent


@settings(max_examples=60)
@given(seed=SEEDS)
def test_a_jobs_totals_are_the_sums_of_its_shards_and_the_equation_holds(fresh, seed):
    place, shards = fresh(), jobs.made_up(seed)
    manifest = jobs.write_job(place / "job", shards)
    (job,) = reported(place / "job")
    begun = [n for n, shard in enumerate(shards, 1) if shard.records is not None]
    alone = reported(*(jobs.audit_of(place / "job", n) for n in begun))
    for part in ("batches", "phones"):
        total = getattr(job, part)
        asked = total.planned if part == "batches" else total.unique
        assert asked == sum(getattr(total, state) for state in jobs.STATES) == manifest["planned"][part]
        for state in jobs.STATES[:3]:
            assert getattr(total, state) == sum(getattr(getattr(r, part), state) for r in alone)
    assert job.batches.open == manifest["planned"]["batches"] - sum(
        r.batches.planned - r.batches.open for r in alone
    )
    assert [shard.batches.planned for shard in job.fetched.shards] == [len(s.batches) for s in shards]
    assert len(job.sessions) == sum(len(r.sessions) for r in alone)


@settings(max_examples=60)
@given(seed=SEEDS)
def test_every_verb_says_the_same_of_a_job(fresh, seed):
    place, shards = fresh(), jobs.made_up(seed)
    ended = all(shard.ended for shard in shards)
    jobs.write_job(place / "job", shards, state="done" if ended else "open")
    (job,) = reported(place / "job", html=place / "page.html")
    (line,) = status([place], StatusOptions(), ENV).result.items[-1:]
    (found,) = verify([place / "job"]).result.items
    assert found.exit_code == (0 if ended else 3)
    assert line.state == job.status
    assert (job.status == "open") == (not ended)
    assert (line.asked, line.deleted, line.failed) == (
        job.phones.unique,
        job.phones.deleted,
        job.phones.failed,
    )
    assert line.asked == sum(getattr(line, name) for name in (*jobs.STATES, "open"))
    assert line.next == job.next
    assert (job.next is None) == (not ended or job.status == "complete")
    assert found.head == job.head


# ---- damage -----------------------------------------------------------------------------------------------


def _cut(path):
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))


def _swap(folder, suffix):
    one, two = (folder / f"shard-000{n}.jsonl{suffix}" for n in (1, 2))
    one.rename(folder / "x")
    two.rename(one)
    (folder / "x").rename(two)


def _forge_count(folder):
    def change(record):
        return {**record, "count": 99} if record["type"] == "batch" else record

    rechain(jobs.audit_of(folder, 2), change)


def _change_manifest(folder, change):
    said = json.loads((folder / "job.json").read_text())
    change(said)
    (folder / "job.json").write_text(json.dumps(said, separators=(",", ":")))


def _replace(path, old, new):
    path.write_bytes(path.read_bytes().replace(old, new, 1))


def _say(**changes):
    return lambda folder: _change_manifest(folder, lambda said: said.update(changes))


def _say_of_second(**changes):
    def change(said):
        said["shards"][1].update(changes)
        said["planned"]["phones"] = sum(entry["phones"] for entry in said["shards"])

    return lambda folder: _change_manifest(folder, change)


AUDIT, PLAN = "shard-0002.jsonl", "shard-0002.jsonl.plan"
DAMAGE = {
    "an audit is missing": (lambda f: (f / AUDIT).unlink(), AUDIT),
    "a plan is missing": (lambda f: (f / PLAN).unlink(), PLAN),
    "an audit is cut after a whole line": (lambda f: _cut(f / AUDIT), AUDIT),
    "an audit is cut to nothing": (lambda f: (f / AUDIT).write_bytes((f / AUDIT).read_bytes()[:50]), AUDIT),
    "an audit has a torn line more": (
        lambda f: (f / AUDIT).write_bytes((f / AUDIT).read_bytes() + b'{"type":'),
        AUDIT,
    ),
    "a line is changed": (lambda f: _replace(f / AUDIT, b"deleted", b"unknown"), AUDIT),
    "a line is changed, the chain made to fit": (_forge_count, AUDIT),
    "a plan is changed": (lambda f: _replace(f / PLAN, b"139", b"138"), PLAN),
    "a plan is another one": (lambda f: jobs.write_plan(f / PLAN, _header(f), []), PLAN),
    "two audits are in each other's place": (lambda f: _swap(f, ""), "shard-0001.jsonl"),
    "two plans are in each other's place": (lambda f: _swap(f, ".plan"), "shard-0001.jsonl.plan"),
    "an audit of a shard that had not begun": (
        lambda f: jobs.audit_of(f, 3).write_bytes((f / AUDIT).read_bytes()),
        "shard-0003.jsonl",
    ),
    "the manifest says another digest": (_say_of_second(plan_sha256="0" * 64), PLAN),
    "the manifest says another head": (_say_of_second(head="0" * 64), AUDIT),
    "the manifest says other numbers": (_say_of_second(phones=1), "shard 2"),
    "the manifest says another sum": (_say(planned={"batches": 6, "phones": 7}), "job.json"),
    "the manifest is of another run": (_say(run_id="2f"), "shard-0001.jsonl"),
    "the manifest is of another job": (_say(name="x"), "shard-0001.jsonl"),
    "the manifest is of another origin": (_say(base_url="http://127.0.0.1:2"), "shard-0001.jsonl"),
    "the manifest says that it is done": (_say(state="done"), "shard-0003.jsonl"),
    "the manifest is cut": (lambda f: _cut_bytes(f / "job.json"), "job.json"),
    "the manifest is empty": (lambda f: (f / "job.json").write_bytes(b""), "job.json"),
}


def _cut_bytes(path):
    path.write_bytes(path.read_bytes()[:-20])


def _header(folder):
    header = read_lines(jobs.plan_of(folder, 2))[0]
    del header["digest"]
    return header


def three_shards():
    """Two that have ended, one that has not begun."""
    batches = [{"user_id": "u1", "phone": [f"1390000{n:04d}"]} for n in range(6)]
    shards = [jobs.Shard(batches[:2]), jobs.Shard(batches[2:4]), jobs.Shard(batches[4:], None)]
    for shard in shards[:2]:
        for seq in (1, 2):
            shard.records += [
                jobs.audits.sending(seq),
                jobs.audits.batch(seq, phones=1, target=jobs.audits.Target("u1")),
            ]
        shard.records.append("summary")
    return shards


@pytest.mark.parametrize("how", DAMAGE)
def test_verify_names_the_shard_that_is_at_fault_and_no_verb_goes_on_with_less(tmp_path, how):
    damage, named = DAMAGE[how]
    folder = tmp_path / "job"
    jobs.write_job(folder, three_shards())
    assert verify([folder]).result.exit_code == 3
    damage(folder)
    (found,) = verify([folder]).result.items
    assert (found.exit_code, found.state.value) == (1, "damaged")
    assert named in found.what
    with pytest.raises(AuditDamaged):
        reported(folder)


@pytest.mark.parametrize(
    "how",
    [
        "an audit is missing",
        "an audit is cut after a whole line",
        "an audit is cut to nothing",
        "two audits are in each other's place",
        "an audit of a shard that had not begun",
        "the manifest is cut",
    ],
)
def test_status_shows_a_job_that_is_less_than_was_fetched_as_damaged(tmp_path, how):
    folder = tmp_path / "job"
    jobs.write_job(folder, three_shards())
    assert [item.state for item in status([tmp_path], StatusOptions(), ENV).result.items] == ["open"]
    DAMAGE[how][0](folder)
    assert [item.state for item in status([tmp_path], StatusOptions(), ENV).result.items] == ["damaged"]


def _of_second(change):
    """A change of the second audit's records, which the manifest then says to be what was fetched."""

    def forge(folder):
        rechain(folder / AUDIT, change)
        jobs.write_manifest(folder, 3)

    return forge


def _record(kind, **changes):
    return lambda record: {**record, **changes} if record["type"] == kind else record


FORGED = {
    "another plan": _record("run", plan_sha256="0" * 64),
    "another number of numbers": lambda record: _planned(record, 1),
    "a time that is none": _record("run", at="yesterday"),
    "a time without an offset": _record("summary", at="2026-01-02T03:04:05"),
}


def _planned(record, more):
    """The record of an audit of which everybody agrees that so many more numbers were planned."""
    if record["type"] == "run":
        planned = record["planned"]
        return {**record, "planned": {**planned, "phones": planned["phones"] + more}}
    if record["type"] == "batch" and record["seq"] == 1:
        return {**record, "phones": record["phones"] + more}
    if record["type"] == "summary":
        phones = record["phones"]
        return {
            **record,
            "phones": {**phones, **{k: phones[k] + more for k in ("read", "unique", "deleted")}},
        }
    return record


@pytest.mark.parametrize("how", FORGED)
def test_a_shard_that_agrees_with_the_manifest_alone_is_damaged_all_the_same(tmp_path, how):
    folder = tmp_path / "job"
    jobs.write_job(folder, three_shards())
    _of_second(FORGED[how])(folder)
    (found,) = verify([folder]).result.items
    assert (found.exit_code, AUDIT in found.what) == (1, True), found
    for html in (None, tmp_path / "p.html"):
        with pytest.raises(AuditDamaged):
            reported(folder, html=html)


def test_an_open_shard_that_confirms_more_than_was_planned_is_damaged(tmp_path):
    shards = three_shards()
    target = jobs.audits.Target("u1")
    shards[1].records = [jobs.audits.sending(1, 2), jobs.audits.batch(1, phones=50, target=target)]
    jobs.write_job(tmp_path / "job", shards)
    (found,) = verify([tmp_path / "job"]).result.items
    assert (found.exit_code, AUDIT in found.what, "add up" in found.what) == (1, True, True)


def test_several_faults_are_counted_and_the_worst_is_told(tmp_path):
    folder = tmp_path / "job"
    jobs.write_job(folder, three_shards())
    for shard in (1, 3):
        jobs.plan_of(folder, shard).unlink()
    (found,) = verify([folder]).result.items
    assert "shard-0001.jsonl.plan: it is missing; and 1 more shard at fault" in found.what


def test_a_stranger_is_said_and_counts_for_nothing(tmp_path):
    folder = tmp_path / "job"
    jobs.write_job(folder, three_shards())
    before = verify([folder]).result.items[0]
    (folder / "late").mkdir()
    (folder / "late" / "shard-0001.jsonl").write_bytes(jobs.audit_of(folder, 1).read_bytes())
    assert verify([folder]).result.items[0] == before
    (folder / "shard-0004.jsonl").write_bytes(jobs.audit_of(folder, 1).read_bytes())
    (folder / "notes.txt").write_text("mine")
    done = verify([folder])
    (found,) = done.result.items
    assert found.strangers == ("notes.txt", "shard-0004.jsonl")
    assert (found.exit_code, found.what, found.head) == (before.exit_code, before.what, before.head)
    assert "not of this job: notes.txt, shard-0004.jsonl" in done.text()
    assert reported(folder)[0].batches.planned == 6
    assert [item.audit for item in status([tmp_path], StatusOptions(), ENV).result.items] == [str(folder)]


def test_a_head_that_was_kept_is_the_jobs_or_any_records(tmp_path):
    folder = tmp_path / "job"
    jobs.write_job(folder, three_shards())
    heads = [
        verify([folder]).result.items[0].head,
        *(r["chain"] for r in read_audit(jobs.audit_of(folder, 2))),
    ]
    assert len(set(heads)) == len(heads)
    for head in heads:
        assert verify([folder], head=head.upper()).result.exit_code == 3
    (found,) = verify([folder], head="0" * 64).result.items
    assert found.exit_code == 1
    assert "neither the job nor a record has the head 000" in found.what


# ---- how a job stands, in words ----------------------------------------------------------------------------


def test_an_open_job_says_which_shards_are_open_and_names_no_command_that_would_not_work(tmp_path):
    folder = tmp_path / "job"
    jobs.write_job(folder, three_shards())
    done = report([folder], Console(OutputOptions()), ENV)
    text = done.text()
    assert "shards  3 shards, 1 open: 3" in text
    assert "to go on: the workers of its cluster" in text
    assert "resume" not in text
    assert "the workers of its cluster" in done.result.hint
    assert (done.result.items[0].next, done.result.items[0].status) == (None, "open")
    assert [shard.status for shard in done.result.items[0].fetched.shards] == [
        "complete",
        "complete",
        "waiting",
    ]


def test_a_job_of_which_nothing_has_begun_is_all_not_sent(tmp_path):
    folder, shards = tmp_path / "job", three_shards()
    for shard in shards:
        shard.records = None
    jobs.write_job(folder, shards)
    done = report(
        [folder], Console(OutputOptions()), ENV, html=tmp_path / "p.html", failed=tmp_path / "f.csv"
    )
    (job,) = done.result.items
    assert (job.batches.planned, job.batches.not_sent, job.batches.open) == (6, 6, 6)
    assert len(rows(tmp_path / "f.csv")) == 7
    assert done.text()
    (line,) = status([folder], StatusOptions(), ENV).result.items
    assert (line.state, line.percent, line.open, line.asked) == ("open", 0.0, 6, 6)
    assert verify([folder]).result.exit_code == 3


def test_a_stopped_job_says_why_and_a_finished_one_of_which_something_is_left_names_rerun(tmp_path):
    shards = three_shards()
    jobs.write_job(tmp_path / "stopped", shards, state="stopped")
    (job,) = reported(tmp_path / "stopped")
    assert (job.status, job.exit_code, job.next) == ("stopped", 3, None)
    assert [i.state for i in status([tmp_path / "stopped"], StatusOptions(), ENV).result.items] == ["stopped"]
    shards[2].records = [jobs.audits.sending(1, 2)] + [
        jobs.audits.batch(seq, "unknown", phones=1, uncertain=1, target=jobs.audits.Target("u1"))
        for seq in (1, 2)
    ]
    shards[2].records.append("summary")
    jobs.write_job(tmp_path / "done", shards, state="done")
    (job,) = reported(tmp_path / "done")
    (line,) = status([tmp_path / "done"], StatusOptions(), ENV).result.items
    assert (job.status, job.exit_code) == (line.state, 1) == ("partial", 1)
    assert job.next == line.next
    assert job.next.endswith(f" rerun {tmp_path / 'done'}")
    assert verify([tmp_path / "done"]).result.exit_code == 0


def test_the_page_shows_the_shards_and_the_course_of_all_of_them(tmp_path):
    shards = three_shards()
    jobs.write_job(tmp_path / "job", shards)
    reported(tmp_path / "job", html=tmp_path / "p.html")
    page = (tmp_path / "p.html").read_text()
    assert "<h2>Shards</h2>" in page
    assert page.count('<span class="pill waiting">') == 1
    shards = [int(n) for n in re.findall(r'data-l="shard"><span>(\d+)<', page)]
    assert shards == [3, 1, 2], "what is open comes first"
    assert "run 2</span>" in page
    assert "4 of 6 numbers are confirmed; 2 were not sent" in page


def test_status_passes_over_a_fetch_that_was_interrupted(tmp_path):
    jobs.write_job(tmp_path / ".job.tmp", three_shards())
    assert not status([tmp_path], StatusOptions(), ENV).result.items


def test_status_takes_a_job_by_its_name_and_its_age(tmp_path):
    jobs.write_job(tmp_path / "job", three_shards())
    assert [i.job for i in status([tmp_path], StatusOptions(job=jobs.NAME), ENV).result.items] == [jobs.NAME]
    assert not status([tmp_path], StatusOptions(job="other"), ENV).result.items
    assert status([tmp_path], StatusOptions(max_age_s=1e12), ENV).result.exit_code == 1, "it is open"


# ---- with the real program ---------------------------------------------------------------------------------

USER, PHONES = "u1", [f"139{n:08d}" for n in range(450)]


@pytest.fixture
def job(program, sandbox):
    """A job of three shards, sent by the ordinary program: one batch of the second ended unknown."""
    sandbox.pool.add_phones(USER, PHONES)
    path = program.job({USER: PHONES}, name=jobs.NAME, limits={"concurrency": 1, "rate": "unlimited"})
    program("plan", path, "--out", "whole.plan").expect(0)
    folder = program.folder / "job"
    folder.mkdir()
    jobs.cut_plan(program.folder / "whole.plan", folder, 3)
    for shard in (1, 2, 3):
        if shard == 2:
            sandbox.script(None, "error", error_code=7431)
        audit = jobs.audit_of(folder, shard)
        program("run", jobs.plan_of(folder, shard), "--yes", "--audit", program.folder / "a.jsonl")
        (program.folder / "a.jsonl").rename(audit)
        (program.folder / "a.jsonl.plan").unlink()
    jobs.same_run(folder, 3)
    jobs.write_manifest(folder, 3, state="done", base_url=sandbox.url)
    return folder


def test_a_plan_that_was_cut_by_hand_is_an_ordinary_plan(program, job):
    for shard in (1, 2, 3):
        program("verify", jobs.plan_of(job, shard)).expect(0)
    program("verify", job).expect(0)


def test_rerun_takes_what_is_left_of_all_shards_into_one_plan(program, sandbox, job):
    left = [
        phone
        for shard in (1, 2, 3)
        for record in of_type(read_audit(jobs.audit_of(job, shard)), "batch")
        for phone in record["phone"][: record["phones_left"]]
    ]
    assert len(left) > 0
    ended = program("rerun", job, "--yes", "--json", "--audit", "b.jsonl").expect(0)
    plan = read_lines(program.folder / "b.jsonl.plan")
    assert sorted(phone for batch in plan[1:] for phone in batch["phone"]) == sorted(left)
    assert ended.record["job"] == jobs.NAME
    assert sandbox.left(USER) == []


def test_the_command_that_a_report_names_works_when_it_is_typed(program, sandbox, job):
    (item,) = program("report", job, "--json").expect(0).record["items"]
    assert item["status"] == "partial"
    ended = program.shell(f"{item['next']} --yes --audit again.jsonl")
    assert ended.code == 0, ended
    assert sandbox.left(USER) == []


def test_nothing_of_a_fetched_job_is_sent_by_resume_run_or_or_resume(program, sandbox, job):
    before = {path.name: path.read_bytes() for path in job.iterdir()}
    sent = sandbox.requests()
    shard, plan = jobs.audit_of(job, 2), jobs.plan_of(job, 2)
    for words in (
        ("resume", shard),
        ("resume", job),
        ("run", plan, "--yes", "--audit", "x.jsonl"),
        ("run", plan, "--yes", "--or-resume", "--audit", shard),
    ):
        ended = program(*words).expect(2)
        assert "which its cluster may be sending" in ended.err
        assert f"rerun {job}" in ended.err
    assert sandbox.requests() == sent
    assert {path.name: path.read_bytes() for path in job.iterdir()} == before


def test_rerun_of_an_open_job_or_of_an_open_shard_says_how_it_goes_on(program, sandbox, job):
    audit = jobs.audit_of(job, 3)
    lines = audit.read_bytes().splitlines(keepends=True)
    first_end = next(n for n, line in enumerate(lines) if line.startswith(b'{"type":"batch"'))
    audit.write_bytes(b"".join(lines[:first_end]))
    jobs.write_manifest(job, 3, base_url=sandbox.url)
    sent = sandbox.requests()
    for path in (job, audit):
        record = program("rerun", path, "--yes", "--json").expect(2).record
        assert "open" in record["message"]
        assert "the workers of its cluster" in record["hint"]
        assert (record["next"], record["audit"]) == (None, str(path))
    assert sandbox.requests() == sent
    assert program("verify", job).expect(3).out.count("1 of 3 shards without an end: 3") == 1
    assert "resume" not in program("report", audit).expect(0).out
    assert program("status", audit, "--json").expect(0).record["items"][0]["next"] is None


def test_rerun_of_a_job_of_another_origin_or_of_a_damaged_one_sends_nothing(program, sandbox, job):
    sent = sandbox.requests()
    assert "origin" in program("rerun", job, "--yes", "--base-url", "http://127.0.0.1:9").expect(2).err
    _cut(jobs.audit_of(job, 1))
    assert "shard-0001.jsonl" in program("rerun", job, "--yes").expect(2).err
    assert sandbox.requests() == sent


def test_an_open_shard_goes_on_elsewhere_when_its_cluster_is_gone(program, sandbox, job):
    audit, plan = jobs.audit_of(job, 3), jobs.plan_of(job, 3)
    lines = audit.read_bytes().splitlines(keepends=True)
    audit.write_bytes(b"".join(lines[:2]))
    jobs.audit_of(job, 2).unlink()
    jobs.write_manifest(job, 3, base_url=sandbox.url)
    saved = program.folder / "saved"
    saved.mkdir()
    for path in (audit, plan, jobs.plan_of(job, 2)):
        (saved / path.name).write_bytes(path.read_bytes())
        (saved / path.name).chmod(0o600)
    program("resume", saved / audit.name, "--yes").expect(0)
    program("run", jobs.plan_of(saved, 2), "--yes", "--audit", "b.jsonl").expect(0)
    assert sandbox.left(USER) == []


def test_what_is_no_job_is_told_from_one(program, job):
    (program.folder / "plain").mkdir()
    for verb in ("report", "verify", "rerun"):
        assert (
            "no fetched job" in program(verb, "plain", *(["--yes"] if verb == "rerun" else [])).expect(2).err
        )
        assert f"name its folder: {job}" in program(verb, job / "job.json").expect(2).err
    names = [item["state"] for item in program("verify", *job.iterdir(), "--json").expect(2).record["items"]]
    assert names == ["whole"] * 6


def test_the_shards_of_a_job_may_differ_in_limits(program, job):
    def slower(record):
        return (
            {**record, "limits": {**record["limits"], "rate": "7/s"}} if record["type"] == "run" else record
        )

    rechain(jobs.audit_of(job, 3), slower)
    said = json.loads((job / "job.json").read_text())
    jobs.write_manifest(job, 3, state="done", base_url=said["base_url"])
    program("rerun", job, "--yes", "--audit", "b.jsonl").expect(0)
    assert read_audit(program.folder / "b.jsonl")[0]["limits"]["rate"] == "7/s"


def test_windows_that_were_cut_apart_are_one_entry_again(program, sandbox):
    sandbox.pool.add_phones(USER, PHONES[:4], "2024-07-26 12:00:00")
    sandbox.pool.add_phones(USER, PHONES[4:8], "2024-07-28 12:00:00")
    edges = ["2024-07-26 00:00:00", "2024-07-29 00:00:00"]
    entry = {"delete_window": True, "created_at": edges, "max_rows": 8, "slice": "2d"}
    program("plan", program.job({USER: entry}, name=jobs.NAME), "--out", "w.plan").expect(0)
    folder = program.folder / "job"
    folder.mkdir()
    jobs.cut_plan(program.folder / "w.plan", folder, 2)
    sandbox.script("error", "error", error_code=7431)
    for shard in (1, 2):
        program("run", jobs.plan_of(folder, shard), "--yes", "--audit", "a.jsonl").expect(1)
        (program.folder / "a.jsonl").rename(jobs.audit_of(folder, shard))
        (program.folder / "a.jsonl.plan").unlink()
    jobs.same_run(folder, 2)
    jobs.write_manifest(folder, 2, state="done", base_url=sandbox.url)
    sandbox.pool.add(USER, PHONES[9], "2024-07-26 13:00:00")
    assert "max_rows" in program("rerun", folder, "--yes").expect(2).err, "9 rows, and 8 of one entry may go"
    sandbox.pool.delete(USER, PHONES[:1], None)
    program("rerun", folder, "--yes", "--audit", "b.jsonl").expect(0)
    assert sandbox.left() == []
