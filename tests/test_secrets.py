"""Neither the token nor a phone number leaves: every output, file and process list is searched for them."""

import contextlib
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.evidence import read_lines
from tests.support.program import OTHER, ROOT, TOKEN, USER, numbers

PHONES = numbers(700)
FAULTS = ("error", "429", "500", "503-after", "lost", "lost-after", "garbage", "truncated", "garbled")
_NUMBER = re.compile(rb"(?<![0-9.])1[3-9][0-9]{9}(?![0-9.])")
_DIGEST = re.compile(rb"\b[0-9a-f]{16,64}\b")


def number_in(data):
    """Return what may be a phone number; one digest in a hundred holds eleven digits that look like one."""
    return _NUMBER.search(_DIGEST.sub(b"", data))


def evidence(path):
    """Audit and plan may name numbers; so may what the tester wrote."""
    return ".jsonl" in path.name or path.suffix == ".plan"


def search(program, *ended, mine=()):
    """Fail where the token stands anywhere, or a number outside the evidence."""
    for one in ended:
        said = (one.out + one.err).encode()
        assert TOKEN.encode() not in said
        assert not number_in(said), number_in(said)
        assert b"Bearer" not in said
    looked = 0
    for path in program.folder.parent.rglob("*"):
        if not path.is_file() or path in mine:
            continue
        data = path.read_bytes()
        looked += 1
        assert TOKEN.encode() not in data, path
        if not evidence(path) and path.suffix not in (".json", ".stdin"):
            assert not number_in(data), path
    assert looked


def test_a_run_with_faults_and_verbose_says_neither_token_nor_numbers(program, sandbox):
    sandbox.pool.add_phones(USER, PHONES)
    sandbox.control(refused_phones=PHONES[7:9], forbidden_users=[OTHER])
    sandbox.script(*(kind for fault in FAULTS for kind in (None, fault)), error_code=7431)
    bad = ["1399999999", "13a00000001", "+4917612345678"]
    job = program.job(
        {USER: [*PHONES, *bad], OTHER: PHONES[:5]}, safety={"max_failed": "90%", "max_invalid": "50%"}
    )
    args = ("--yes", "--verbose", "--rate", "unlimited", "--timeout", "5", "--audit", "a.jsonl")
    ended = [program("run", job, *args)]
    assert ended[0].code in (0, 1, 3), ended[0].err
    sandbox.script()
    sandbox.control(forbidden_users=[])
    ended += [
        program("resume", "a.jsonl", "--verbose"),
        program("rerun", "a.jsonl", "--yes", "--verbose", "--audit", "b.jsonl"),
        program("report", "a.jsonl", "b.jsonl", "--html", "r.html"),
        program("report", "a.jsonl", "--json"),
        program("verify", "a.jsonl", "--verbose"),
        program("plan", job, "--rejects", "rejects.txt", "--out", "p.plan", "--verbose"),
        program("check", "--verbose"),
    ]
    search(program, *ended, mine=(job,))
    assert not any(value in (program.folder / "rejects.txt").read_text() for value in bad)
    assert any("vendor" in one.out or "7431" in one.out or "手机号格式错误" in one.out for one in ended)


def test_what_the_vendor_echoes_is_masked(program, sandbox):
    """The sandbox's refusal names the number, as the vendor's may."""
    sandbox.pool.add_phones(USER, PHONES[:1])
    sandbox.control(refused_phones=PHONES[:1])
    job = program.job({USER: PHONES[:1]})
    run = program("run", job, "--yes", "--verbose", "--audit", "a.jsonl").expect(1)
    report = program("report", "a.jsonl", "--html", "r.html").expect(0)
    search(program, run, report, mine=(job,))
    assert "手机号格式错误" in report.out
    assert PHONES[0] in (program.folder / "a.jsonl").read_text()


def test_the_token_is_not_in_the_process_list(program, sandbox):
    sandbox.pool.add_phones(USER, PHONES)
    sandbox.script("hang")
    token = program.write("token", TOKEN)
    token.chmod(0o600)
    env = {"BULK_DELETE_TOKEN": None, "BULK_DELETE_TOKEN_FILE": str(token)}
    started = program.start("run", program.job({USER: PHONES}), "--yes", "--timeout", "60", env=env)
    started.until(sandbox.deletions, "a request")
    for name in ("cmdline", "environ", "comm", "status"):
        with contextlib.suppress(PermissionError):  # what is not shown to its own user is shown to nobody
            assert TOKEN.encode() not in Path(f"/proc/{started.pid}/{name}").read_bytes()
    started.signal(signal.SIGKILL)
    started.process.wait()
    program.folder.joinpath("token").unlink()
    search(program)


@pytest.mark.parametrize("token", [f"{TOKEN}\nX: y", f"{TOKEN}\x00", f"\ufeff{TOKEN}", f"{TOKEN} {TOKEN}"])
def test_a_token_that_is_no_token_is_refused_without_being_shown(program, sandbox, token):
    file = program.folder / "token"
    file.write_bytes(token.encode())
    file.chmod(0o600)
    job = program.job({USER: PHONES})
    ended = program("run", job, "--yes", "--token-file", file, env={"BULK_DELETE_TOKEN": None}).expect(2)
    assert sandbox.requests() == 0
    file.unlink()
    search(program, ended, mine=(job,))


COMPLAINTS = (
    ("run", "13912345678", "--yes"),
    ("run", "list.txt", "--user-id", USER, "--phone", "13912345678", "--yes"),
    ("run", "bad.yaml", "--yes"),
    ("run", "bad.json", "--yes"),
    ("run", "bad.jsonl", "--yes"),
    ("run", "list.txt", "--user-id", USER, "--yes"),
    ("report", "bad.jsonl"),
    ("verify", "bad.jsonl"),
    ("resume", "bad.jsonl"),
)
BAD_YAML = "name: x\nusers:\n  - user_id: u\n    phone: [13912345678.0, 139123456789]\n    13912345678: x\n"


def test_complaints_about_input_do_not_repeat_the_numbers_in_it(program):
    """The command line itself is the user's; what files hold is not repeated."""
    program.write("bad.yaml", BAD_YAML)
    program.write("bad.json", '{"users": [{"user_id": "u", "phone": ["13912345678", 1.3912345678e10, true]}]')
    program.write(
        "bad.jsonl", '{"user_id":"u","phone":["13912345678"],"13912345679":1}\n{"phone": 13912345678}\n'
    )
    program.write("list.txt", "\n".join(f"139123456{n:02d}x" for n in range(90)))
    for args, ended in program.together({args: args for args in COMPLAINTS}):
        assert ended.code in (1, 2), args
        said = (ended.out + ended.err).replace(args[1], "")
        if "--phone" not in args:
            assert not number_in(said.encode()), said
            assert "139123456" not in said


def test_a_crash_of_the_program_shows_neither(program, sandbox):
    """An internal error, forced from outside by a broken library, says where and nothing of what."""
    broken = "import aiohttp\n\ndef boom(*a, **k):\n    raise RuntimeError(f'{a} {k}')\n\n"
    hook = broken + "aiohttp.TCPConnector.connect = boom\n"
    program.write("hook/sitecustomize.py", hook)
    path = f"{program.folder / 'hook'}:{program.env['PYTHONPATH']}"
    job = program.job({USER: PHONES})
    ended = program("run", job, "--yes", "--verbose", "--audit", "a.jsonl", env={"PYTHONPATH": path})
    assert ended.code in (1, 3), ended.err
    assert "Traceback" not in ended.err
    search(program, ended, mine=(job,))


def test_no_core_is_dumped(program, sandbox):
    sandbox.pool.add_phones(USER, PHONES)
    sandbox.script("hang")
    started = program.start("run", program.job({USER: PHONES}), "--yes", "--timeout", "60")
    started.until(sandbox.deletions, "a request")
    limits = Path(f"/proc/{started.pid}/limits").read_text().splitlines()
    (line,) = [line for line in limits if line.startswith("Max core file size")]
    assert line.split()[4:6] == ["0", "0"]
    started.signal(signal.SIGKILL)
    started.process.wait()


def test_no_other_process_of_the_user_may_read_its_memory():
    get_dumpable = 3
    code = f"import ctypes, runner.process as p; p.harden(); print(ctypes.CDLL(None).prctl({get_dumpable}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "0"


def test_the_vendors_control_characters_do_not_reach_a_terminal(program):
    """A listener answers with escape sequences in its message."""
    import socket
    import threading

    message = r"\u001b[2J\u001b]0;owned\u0007\r\nx\u202e"
    body = f'{{"code":7431,"status":"error","message":"{message}","data":[]}}'.encode()
    reply = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
    reply += b"Content-Length: %d\r\n\r\n" % len(body) + body
    server = socket.create_server(("127.0.0.1", 0))

    def serve():
        connection, _ = server.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(reply)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.getsockname()[1]}"
    ended = program(
        "run", program.job({USER: PHONES[:1]}), "--yes", "--verbose", "--base-url", url, "--audit", "a.jsonl"
    )
    thread.join(60)
    server.close()
    ended.expect(1)
    report = program("report", "a.jsonl", "--html", "r.html").expect(0)
    page = (program.folder / "r.html").read_text()
    for text in (ended.out, ended.err, report.out, report.err, page):
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\x80-\x9f\u202a-\u202e]", text), repr(text)
    (end,) = [r for r in read_lines(program.folder / "a.jsonl") if r["type"] == "batch"]
    assert end["code"] == 7431
