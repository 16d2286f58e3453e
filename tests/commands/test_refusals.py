"""Exit 2: whatever is wrong with the command line, job, input, rules or surroundings, nothing is sent."""

import json

import pytest

from tests.support.program import OTHER, TOKEN, USER, Listener, numbers, seeded

PHONES = numbers(3)
WINDOW = ["2024-07-26 00:00:00", "2024-07-27 23:59:59"]


def refused(ended, sandbox, *words, case=""):
    """Refused on one screen, with these words, and nothing sent."""
    assert ended.code == 2, f"{case}: {ended}"
    ended.expect(2)
    assert ended.out == "", case
    assert len(ended.err.splitlines()) <= 40, case
    for word in words:
        assert word in ended.err, f"{case}: {ended.err}"
    assert sandbox.requests() == 0, case


def all_refused(program, sandbox, cases):
    """All of a table are; the cases are named in what fails."""
    for case, ended in program.together(cases):
        refused(ended, sandbox, case=case)


COMMAND_LINES = {
    "no job": (),
    "a job that is not there": ("nothing.yaml",),
    "an unknown option": ("job.json", "--forse"),
    "rate 0": ("job.json", "--rate", "0/s"),
    "a negative rate": ("job.json", "--rate=-5/s"),
    "a rate without its unit": ("job.json", "--rate", "20/h"),
    "a rate that is no number": ("job.json", "--rate", "nan/s"),
    "concurrency 0": ("job.json", "--concurrency", "0"),
    "timeout 0": ("job.json", "--timeout", "0"),
    "timeout nan": ("job.json", "--timeout", "nan"),
    "timeout inf": ("job.json", "--timeout", "inf"),
    "no attempts": ("job.json", "--max-attempts", "0"),
    "a deadline without sense": ("job.json", "--deadline", "soon"),
    "a deadline of nothing": ("job.json", "--deadline", "0s"),
    "a token on the command line": ("job.json", "--token", "abc"),
    "other numbers in the audit": ("job.json", "--audit-phones", "some"),
    "a user id for a job file": ("job.json", "--user-id", USER),
    "an audit in a folder that cannot be": ("job.json", "--audit", "job.json/a.jsonl"),
}


def test_bad_command_lines(program, sandbox):
    program.job({USER: PHONES})
    all_refused(program, sandbox, {case: ("run", *args, "--yes") for case, args in COMMAND_LINES.items()})


JOBS = {
    "an unknown key, with the likely one": ({"safty": {}}, ("safty", "safety")),
    "an unknown key deep down": ({"limits": {"rat": "1/s"}}, ("rat", "rate")),
    "rate 0": ({"limits": {"rate": "0/s"}}, ("rate",)),
    "concurrency 0": ({"limits": {"concurrency": 0}}, ("concurrency",)),
    "more than all": ({"safety": {"max_failed": "101%"}}, ("max_failed",)),
    "a token": ({"token": "abc"}, ("token",)),
    "a base URL": ({"base_url": "http://127.0.0.1:1"}, ("base_url",)),
    "a phone rule nobody knows": ({"phone_rule": "any"}, ("phone_rule",)),
    "a timezone nobody knows": ({"timezone": "Mars/Olympus"}, ("timezone",)),
    "a protect file that is not there": ({"safety": {"protect_file": "never.txt"}}, ("never.txt",)),
}


def test_bad_jobs(program, sandbox):
    jobs = {case: program.job({USER: PHONES}, name=case, **top) for case, (top, _) in JOBS.items()}
    for case, ended in program.together({case: ("run", job, "--yes") for case, job in jobs.items()}):
        refused(ended, sandbox, *JOBS[case][1], case=case)


ENTRIES = {
    "a window without delete_window": {"created_at": WINDOW},
    "delete_window with phones": {
        "delete_window": True,
        "phone": PHONES,
        "created_at": WINDOW,
        "max_rows": 9,
    },
    "delete_window without max_rows": {"delete_window": True, "created_at": WINDOW},
    "delete_window without a start": {
        "delete_window": True,
        "created_at": {"older_than": "30d"},
        "max_rows": 9,
    },
    "delete_window without a window": {"delete_window": True, "max_rows": 9},
    "a reversed window": {"phone": PHONES, "created_at": WINDOW[::-1]},
    "a window of one": {"phone": PHONES, "created_at": WINDOW[:1]},
    "a day that is none": {"phone": PHONES, "created_at": ["2024-02-30 00:00:00", "2024-03-01 00:00:00"]},
    "a phone that is a float": {"phone": [13900000001.0]},
    "a phone that is a bool": {"phone": [True]},
    "encryption as text": {"phone": PHONES, "encryption": "yes"},
    "neither phones nor window": {},
    "a list that is not there": {"phone_file": "nowhere.csv"},
    "a glob that finds nothing": {"phone_file": "nowhere-*.csv"},
}


def test_bad_entries(program, sandbox):
    jobs = {case: program.job({USER: entry}, name=case) for case, entry in ENTRIES.items()}
    all_refused(program, sandbox, {case: ("run", job, "--yes") for case, job in jobs.items()})


USER_IDS = ("..", ".", "a/b", "a#b", "a?b", "a%2fb", "a b", "", "x" * 129, "用户", "a\nb")


def test_user_ids_that_could_change_the_path(program, sandbox):
    program.write("list.txt", "\n".join(PHONES))
    jobs = [program.job({user: PHONES}, name=f"job{n}") for n, user in enumerate(USER_IDS)]
    cases = {f"job of {user!r}": ("run", job, "--yes") for user, job in zip(USER_IDS, jobs, strict=True)}
    cases |= {f"list of {user!r}": ("run", "list.txt", "--user-id", user, "--yes") for user in USER_IDS}
    all_refused(program, sandbox, cases)


def test_all_faults_of_a_job_are_told_at_once_with_file_and_line(program, sandbox):
    text = (
        "name: x\nlimts: {rate: 1/s}\nusers:\n  - user_id: ..\n    phone: [13900000001.5]\n    colour: red\n"
    )
    program.write("job.yaml", text)
    ended = program("run", "job.yaml", "--yes")
    refused(ended, sandbox, "job.yaml:2", "limits", "job.yaml:4", "job.yaml:5", "job.yaml:6", "colour")


def test_a_key_twice(program, sandbox):
    program.write("job.yaml", f"name: x\nname: y\nusers:\n  - {{user_id: {USER}, phone: ['13900000001']}}\n")
    refused(program("run", "job.yaml", "--yes"), sandbox, "name")


BAD_LINES = (
    '{"user_id":"u","phone":["13900000001"],"fone":1}',
    '{"user_id":"u","created_at":["2024-07-26 00:00:00","2024-07-27 23:59:59"]}',
    '{"user_id":"u","phone":"13900000001',
    '["13900000001"]',
    '{"phone":["13900000001"]}',
    '{"user_id":"u","phone":[1.39e10]}',
)


def test_bad_lines_of_a_json_lines_job(program, sandbox):
    good = json.dumps({"user_id": USER, "phone": PHONES})
    files = {line: program.write(f"{n}.jsonl", f"{good}\n{line}\n") for n, line in enumerate(BAD_LINES)}
    all_refused(program, sandbox, {line: ("run", file, "--yes") for line, file in files.items()})


# Safety rules


def test_a_plan_above_max_phones_is_refused(program, sandbox):
    refused(
        program("run", program.job({USER: PHONES}, safety={"max_phones": 2}), "--yes"), sandbox, "max_phones"
    )


def test_exactly_max_phones_is_allowed(program):
    program("run", program.job({USER: PHONES}, safety={"max_phones": 3}), "--yes").expect(0)


def test_more_unreadable_values_than_max_invalid_are_refused(program, sandbox):
    program.write("list.txt", "\n".join([*numbers(97), "a", "b", "c"]))
    refused(program("run", "list.txt", "--user-id", USER, "--yes"), sandbox, "max_invalid")


def test_max_phones_is_asked_again_when_a_plan_is_run(program, sandbox):
    """A plan that claims a rule it breaks does not pass, even where its digest was made to fit."""
    import hashlib

    program("plan", program.job({USER: PHONES}, safety={"max_phones": 3}), "--out", "p.plan").expect(0)
    file = program.folder / "p.plan"
    header, rest = file.read_bytes().split(b"\n", 1)
    head = header[: header.rindex(b',"digest"')].replace(b'"max_phones":3', b'"max_phones":2')
    digest = hashlib.sha256(head + rest).hexdigest().encode()
    file.write_bytes(head + b',"digest":"' + digest + b'"}\n' + rest)
    refused(program("run", "p.plan", "--yes"), sandbox, "max_phones")


def test_a_missing_protect_file_is_refused_when_its_plan_is_run(program, sandbox):
    never = program.write("never.txt", "13012121212\n")
    job = program.job({USER: PHONES}, safety={"protect_file": "never.txt"})
    program("plan", job, "--out", "p.plan").expect(0)
    never.unlink()
    refused(program("run", "p.plan", "--yes"), sandbox, "never.txt")


def windows(**more):
    return {USER: {"delete_window": True, "created_at": WINDOW, "max_rows": 5, **more}}


def test_more_rows_than_max_rows_by_the_listing_are_refused_before_anything_goes(aim):
    phones = numbers(6)
    with seeded({OTHER: PHONES}) as sandbox:
        sandbox.pool.add_phones(USER, phones, "2024-07-26 12:00:00")
        program = aim(sandbox.url)
        ended = program("run", program.job({**windows(), OTHER: PHONES}), "--yes").expect(2)
        assert "max_rows" in ended.err
        assert sandbox.deletions() == []
        sandbox.control(faults={"shares": {}})
        program("run", program.job(windows(max_rows=6)), "--yes").expect(0)
        assert sandbox.left() == []


def test_rows_of_all_slices_together_count_for_max_rows(program, sandbox):
    sandbox.pool.add_phones(USER, numbers(3), "2024-07-26 12:00:00")
    sandbox.pool.add_phones(USER, numbers(3, 10), "2024-07-27 12:00:00")
    program("run", program.job(windows(slice="1d")), "--yes").expect(2)
    assert sandbox.deletions() == []


@pytest.mark.parametrize("fault", ["500", "garbage", "empty", "error", "truncated"])
def test_a_total_that_cannot_be_read_is_refused(program, sandbox, fault):
    sandbox.control(faults={"shares": {fault: 1.0}, "everywhere": True})
    ended = program("run", program.job(windows()), "--yes", "--max-attempts", "2").expect(2)
    assert ended.out == ""
    assert sandbox.deletions() == []


# Token, origin, files


TOKENS = {
    "none": {"BULK_DELETE_TOKEN": None},
    "an empty one": {"BULK_DELETE_TOKEN": ""},
    "two lines": {"BULK_DELETE_TOKEN": "two words\nand a line"},
    "not ASCII": {"BULK_DELETE_TOKEN": "全角"},
    "a file that is not there": {"BULK_DELETE_TOKEN": None, "BULK_DELETE_TOKEN_FILE": "/nowhere/token"},
}


def test_no_usable_token(program, sandbox):
    job = program.job({USER: PHONES})
    for case, ended in program.together({case: ("run", job, "--yes", env) for case, env in TOKENS.items()}):
        refused(ended, sandbox, case=case)
        assert "two words" not in ended.err


def test_a_token_in_the_place_of_a_job_an_audit_or_a_file_is_not_shown(program, sandbox):
    job, token = (
        program.job({USER: PHONES}),
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9",
    )
    calls = {
        "job": ("run", job, token, "--yes"),
        "audit": ("resume", token),
        "token file": ("run", job, "--yes", "--token-file", token, {"BULK_DELETE_TOKEN": None}),
        "one audit more": ("verify", "a.jsonl", token),
    }
    for case, ended in program.together(calls):
        refused(ended, sandbox, case=case)
        assert token not in ended.out + ended.err, case


def test_the_token_itself_is_not_shown_by_verbs_that_need_none_either(program):
    """However short and plain it is, and though it names a file that nobody has."""
    calls = {
        "report": ("report", "plain-word", "--json"),
        "verify": ("verify", "plain-word"),
        "plan": ("plan", "plain-word"),
        "verb": ("plain-word",),
    }
    env = {"BULK_DELETE_TOKEN": "plain-word"}
    for case, ended in program.together({case: (*args, env) for case, args in calls.items()}):
        ended.expect(2)
        assert "plain-word" not in ended.out + ended.err, case


def test_a_token_file_that_others_can_read(program, sandbox):
    file = program.write("token", TOKEN)
    file.chmod(0o644)
    ended = program(
        "run", program.job({USER: PHONES}), "--yes", "--token-file", file, env={"BULK_DELETE_TOKEN": None}
    )
    refused(ended, sandbox)
    assert TOKEN not in ended.err


URLS = (
    "http://example.invalid",
    "http://10.0.0.1",
    "http://127.0.0.1.example.invalid",
    "ftp://127.0.0.1",
    "127.0.0.1",
    "http://name:secret@127.0.0.1",
    "",
    "http://127.0.0.1/?a=b",
    "http://127.0.0.1/#a",
)


def test_base_urls_that_could_give_the_token_away(program, sandbox):
    job = program.job({USER: PHONES})
    all_refused(program, sandbox, {url: ("run", job, "--yes", "--base-url", url) for url in URLS})


def test_an_audit_that_exists_is_never_written_over(program, sandbox):
    job = program.job({USER: PHONES})
    file = program.write("a.jsonl", "mine\n")
    refused(program("run", job, "--yes", "--audit", file), sandbox, "a.jsonl", "name another with --audit\n")
    assert file.read_text() == "mine\n"


def test_an_audit_that_exists_is_named_with_a_command_that_works(program):
    job = program.job({USER: PHONES})
    program("run", job, "--yes", "--audit", "a.jsonl").expect(0)
    refusal = program("run", job, "--yes", "--json", "--audit", "a.jsonl").expect(2).record
    _, _, typed = refusal["hint"].partition("how to go on: ")
    assert program.shell(typed).expect(0).out.startswith("job – complete")


def test_a_plan_that_lies_where_the_new_one_would_is_never_written_over(program, sandbox):
    file = program.write("a.jsonl.plan", "mine\n")
    refused(program("run", program.job({USER: PHONES}), "--yes", "--audit", "a.jsonl"), sandbox)
    assert file.read_text() == "mine\n"


def test_no_file_can_send_the_token_elsewhere(program, sandbox):
    with Listener() as listener:
        program.write(
            "requests.jsonl", json.dumps({"user_id": USER, "phone": PHONES, "base_url": listener.url}) + "\n"
        )
        refused(program("run", "requests.jsonl", "--yes"), sandbox)
        assert listener.calls == []
