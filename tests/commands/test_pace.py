"""`pace`: a run that is under way says what it does, and takes orders, from its user alone."""

import json
import os
import signal
import socket
import stat
import time
from types import SimpleNamespace

import pytest

from runner.commands import control_socket, steering
from runner.send import orders
from tests.support.evidence import check_evidence, of_type, read_audit
from tests.support.program import USER, numbers, until

MANY = numbers(6000)
BY = ("--operator", "ops", "--reason", "the vendor is slow")


@pytest.fixture
def slow_run(program, sandbox):
    """A run of 60 batches, one every two seconds, past its first."""
    sandbox.pool.add_phones(USER, MANY)
    return start(program, sandbox)


def start(program, sandbox, rate="30/m", **more):
    job = program.job({USER: MANY})
    run = program.start("run", job, "--yes", "--json", "--rate", rate, "--audit", "a.jsonl", **more)
    run.until(lambda: sandbox.worked() and sockets(program), "its first request")
    return run


def sockets(program):
    return list(program.state.glob("bulk-delete/*.sock"))


def paces(program):
    return of_type(read_audit(program.folder / "a.jsonl"), "pace")


def pace(program, *args):
    return program("pace", "a.jsonl", "--json", *args)


def test_it_shows_what_the_run_is_doing(program, sandbox, slow_run):
    shown = pace(program).expect(0).record
    assert (shown["type"], shown["job"], shown["pid"]) == ("pace", "job", slow_run.pid)
    assert (shown["audit"], shown["plan"], shown["next"]) == ("a.jsonl", "a.jsonl.plan", None)
    assert (shown["rate_allowed"], shown["rate_configured"], shown["paused"]) == ("30/m", "30/m", False)
    assert (shown["batches_planned"], shown["numbers_planned"]) == (60, len(MANY))
    assert shown["batches"] >= 1
    said = program("pace", "a.jsonl").expect(0).out
    assert f"run by process {slow_run.pid}" in said
    assert "30/m allowed" in said
    assert paces(program) == []


def test_another_rate_holds_at_once_and_is_written_down_with_who_and_why(program, sandbox, slow_run):
    shown = pace(program, "--rate", "unlimited", *BY).expect(0).record
    assert shown["rate_configured"] == "unlimited"
    ended = slow_run.wait().expect(0)
    assert ended.record["max_in_window"] > 30, "more than its old rate in some minute"
    (record,) = paces(program)
    told = {name: record[name] for name in ("rate", "until", "order", "operator", "reason")}
    assert told == {
        "rate": "unlimited",
        "until": None,
        "order": "unlimited",
        "operator": "ops",
        "reason": "the vendor is slow",
    }
    check_evidence(program.folder / "a.jsonl", sandbox)
    assert "operator=ops" in ended.err
    assert sockets(program) == []


def test_a_pause_lets_nothing_leave_until_its_end(program, sandbox, slow_run):
    shown = pace(program, "--rate", "unlimited", "--pause", *BY).expect(0).record
    assert shown["paused"]
    assert shown["state"].startswith("paused by ops since ")
    assert shown["next"].endswith(" pace a.jsonl --go-on")
    paused_at = sandbox.settle()
    time.sleep(1.2)  # nothing can be waited for: nothing happens
    assert sandbox.requests() == paused_at
    assert slow_run.running()
    assert not pace(program, "--go-on").expect(0).record["paused"]
    slow_run.wait().expect(0)
    assert [record["order"] for record in paces(program)] == ["unlimited", "pause", "go-on"]


def test_there_is_nothing_to_let_go_on_where_nobody_paused_it(program, sandbox, slow_run):
    shown = pace(program, "--go-on", *BY).expect(0).record
    assert "nothing to let go on" in shown["message"]
    assert "nothing to let go on" in program("pace", "a.jsonl", "--go-on").expect(0).out
    assert paces(program) == []
    assert pace(program, "--go-on", "--rate", "29/m").expect(0).record["rate_configured"] == "29/m"
    assert [record["order"] for record in paces(program)] == ["29/m"]


def test_sockets_of_runs_that_were_killed_go_with_the_next_run(program, sandbox, slow_run):
    (alive,) = sockets(program)
    dead = alive.with_name("0123456789abcdef.sock")
    with socket.socket(socket.AF_UNIX) as killed, control_socket._short_name(dead) as name:
        killed.bind(name)
    foreign = alive.with_name("notes.sock")
    foreign.write_text("no socket")
    listener = control_socket.listen(alive.with_name("f" * 16 + ".sock"))
    with listener:
        assert sorted(path.name[0] for path in sockets(program)) == sorted((alive.name[0], "f", "n"))
    assert pace(program).expect(0).record["pid"] == slow_run.pid


def test_a_signal_works_while_paused_and_resume_keeps_the_last_rate_but_not_the_pause(
    program, sandbox, slow_run
):
    pace(program, "--rate", "1000/s", "--pause").expect(0)
    slow_run.signal(signal.SIGTERM)
    slow_run.wait().expect(143)
    program("resume", "a.jsonl").expect(0)
    runs = of_type(read_audit(program.folder / "a.jsonl"), "run")
    assert [run["limits"]["rate"] for run in runs] == ["30/m", "1000/s"]
    assert sandbox.left() == []


def test_a_rate_given_to_resume_goes_over_the_last_one(program, sandbox, slow_run):
    pace(program, "--rate", "2/s").expect(0)
    slow_run.signal(signal.SIGTERM)
    slow_run.wait().expect(143)
    program("resume", "a.jsonl", "--rate", "900/s").expect(0)
    assert of_type(read_audit(program.folder / "a.jsonl"), "run")[1]["limits"]["rate"] == "900/s"


def test_a_deadline_ends_a_paused_run(program, sandbox):
    sandbox.pool.add_phones(USER, MANY)
    job = program.job({USER: MANY})
    run = program.start("run", job, "--yes", "--rate", "1/s", "--deadline", "8", "--audit", "a.jsonl")
    run.until(lambda: sandbox.worked() and sockets(program), "its first request")
    pace(program, "--pause").expect(0)
    assert "deadline" in run.wait().expect(3).err


def test_a_run_that_was_killed_is_not_there_and_its_resume_takes_its_place(program, sandbox, slow_run):
    slow_run.signal(signal.SIGKILL)
    slow_run.process.wait()
    (left,) = sockets(program)
    told = pace(program).expect(2).record
    assert (told["type"], told["audit"]) == ("error", "a.jsonl")
    assert "nothing runs" in told["message"]
    resumed = program.start("resume", "a.jsonl", "--rate", "30/m")
    resumed.until(lambda: not pace(program).code, "an answer")
    assert sockets(program) == [left]
    pace(program, "--rate", "unlimited").expect(0)
    resumed.wait().expect(0)
    assert sockets(program) == []


def test_nothing_runs_a_finished_audit(program, sandbox):
    program("run", program.job({USER: numbers(3)}), "--yes", "--audit", "a.jsonl").expect(0)
    assert "nothing runs a.jsonl" in program("pace", "a.jsonl", "--pause").expect(2).err
    assert "no such file" in program("pace", "b.jsonl").expect(2).err.lower()
    assert "no audit" in program("pace", program.job({USER: numbers(3)})).expect(2).err


def test_another_state_folder_is_told_as_that(program, sandbox, slow_run):
    told = program("pace", "a.jsonl", env={"XDG_STATE_HOME": str(program.folder)}).expect(2).err
    assert f"process {slow_run.pid}" in told
    assert "XDG_STATE_HOME" in told


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (("--pause", "--go-on"), "contrary"),
        (("--rate", "fast"), "N/s"),
        (("--rate", "0/s"), "N/s"),
        (("--operator", "ops"), "--operator"),
    ],
)
def test_a_senseless_order_is_refused_before_anybody_is_spoken_to(program, flags, word):
    assert word in program("pace", "a.jsonl", *flags).expect(2).err


def test_a_long_state_folder_is_no_hindrance(program, sandbox):
    sandbox.pool.add_phones(USER, MANY)
    program.state = program.state / ("long" * 20) / ("longer" * 20)
    program.env["XDG_STATE_HOME"] = str(program.state)
    run = start(program, sandbox)
    pace(program, "--rate", "unlimited").expect(0)
    run.wait().expect(0)


def test_a_run_that_cannot_listen_says_so_and_goes_on(program, sandbox):
    sandbox.pool.add_phones(USER, MANY)
    (program.state / "bulk-delete").mkdir(parents=True)
    (program.state / "bulk-delete").chmod(0o777)
    ended = program("run", program.job({USER: MANY}), "--yes", "--rate", "unlimited").expect(0)
    assert "`pace` cannot reach this run: others may write" in ended.err


def test_an_audit_is_found_by_any_path(program, sandbox, slow_run):
    (program.folder / "link.jsonl").symlink_to("a.jsonl")
    assert program("pace", "link.jsonl", "--json").expect(0).record["pid"] == slow_run.pid
    assert program("pace", program.folder / "a.jsonl", "--rate", "unlimited").expect(0)
    slow_run.wait().expect(0)


# ---- who may speak, and how ---------------------------------------------------------------------------


def test_only_its_user_reaches_the_socket(program, sandbox, slow_run):
    (path,) = sockets(program)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_whoever_is_another_user_is_no_own_peer():
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        assert control_socket.is_own_peer(ours)
    packed = control_socket._CREDENTIALS.pack(1, os.geteuid() + 1, 0)
    assert not control_socket.is_own_peer(SimpleNamespace(getsockopt=lambda *_: packed))


def connect(program):
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(30)
    folder = os.open(program.state / "bulk-delete", os.O_RDONLY)
    try:
        client.connect(f"/proc/self/fd/{folder}/{sockets(program)[0].name}")
    finally:
        os.close(folder)
    return client


def hear(client):
    """Everything until the run hangs up."""
    heard = b""
    with client:
        while block := client.recv(65536):
            heard += block
    return heard


NOTHING = {"rate": None, "pause": None, "operator": None, "reason": None}


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"[]\n",
        b"{}\n",
        b"\xff\xfe\n",
        b"[" * 5000 + b"\n",
        json.dumps({**NOTHING, "rate": 5}).encode() + b"\n",
        json.dumps({**NOTHING, "rate": "1e9/s"}).encode() + b"\n",
        json.dumps({**NOTHING, "pause": 1}).encode() + b"\n",
        json.dumps({**NOTHING, "pause": "yes"}).encode() + b"\n",
        json.dumps({**NOTHING, "stop": True}).encode() + b"\n",
        json.dumps({**NOTHING, "pause": True, "reason": "x" * 5000}).encode() + b"\n",
        json.dumps({**NOTHING, "pause": True, "operator": ["x"]}).encode() + b"\n",
        b"x" * (1 << 17),
    ],
    ids=range(14),
)
def test_what_is_no_order_is_refused_in_words_and_changes_nothing(program, sandbox, slow_run, line):
    client = connect(program)
    with client:
        try:
            client.sendall(line)
            heard = hear(client)
        except ConnectionError:  # it hung up in the middle of a line too long
            heard = b""
    if heard:
        assert json.loads(heard)["type"] == "error"
        assert json.loads(heard)["exit_code"] == 2
    assert pace(program).expect(0).record["paused"] is False
    assert paces(program) == []


def test_control_characters_of_an_operator_reach_no_screen(program, sandbox, slow_run):
    shown = pace(program, "--pause", "--operator", "o\x1b[2Jps").expect(0).record
    assert "\x1b" not in shown["state"]
    assert "\x1b" not in paces(program)[0]["operator"]


def test_a_reason_may_hold_any_bytes_and_one_too_long_is_refused_as_that(program, sandbox, slow_run):
    assert "4,000 characters" in program("pace", "a.jsonl", "--pause", "--reason", "r" * 4001).expect(2).err
    assert paces(program) == []
    pace(program, "--pause", "--reason", os.fsdecode(b"lunch \xff")).expect(0)
    assert paces(program)[0]["reason"] == r"lunch \udcff"


def test_clients_that_are_stuck_or_many_do_not_touch_the_run(program, sandbox, slow_run):
    """Silent ones, one that never reads, one that sends a drop at a time, and more than are heard."""
    before = sandbox.worked()
    stuck = []
    for number in range(8):
        client = connect(program)
        client.setblocking(False)
        if number % 2:
            client.send(b"{")
        stuck.append(client)
    until(lambda: sandbox.worked() >= before + 2, "two more requests while all are stuck")
    assert pace(program, "--rate", "unlimited").expect(0)  # they were dropped, one after the other
    slow_run.wait().expect(0)
    for client in stuck:
        client.close()
    check_evidence(program.folder / "a.jsonl", sandbox)


def test_a_flood_of_orders_is_refused_from_some_number_on(program, sandbox, slow_run):
    line = json.dumps({**NOTHING, "rate": "29/m"}).encode() + b"\n"
    kinds = []
    for _ in range(40):
        client = connect(program)
        client.sendall(line)
        kinds.append(json.loads(hear(client))["type"])
    assert kinds == ["pace"] * 30 + ["error"] * 10
    assert len(paces(program)) == 30
    assert pace(program).expect(0).record["rate_configured"] == "29/m"


def test_the_bounds_are_those_of_the_docs():
    assert (steering.PATIENCE_S, steering.LONGEST_LINE, steering.AT_A_TIME) == (2.0, 1 << 16, 4)
    assert orders.MOST_A_MINUTE == 30
