"""The process that reads workbooks: bounded, mute, without secrets, gone when nobody listens."""

import io
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from runner.errors import Fault
from runner.lists import workbook_process
from runner.lists.decode import open_source
from runner.lists.read import read_rows
from runner.lists.rows import ListSpec
from runner.lists.workbook_process import open_workbook
from tests.support.xlsx import book, grid, page

A = "13900000001"
LONG = page(grid([["手机号"], *([f"139{n:08d}"] for n in range(20_000))]))


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "book.xlsx"
    path.write_bytes(book(LONG))
    return path


def values(path):
    return [value for rows in read_rows(ListSpec((str(path),)), rule="mobile_cn") for value in rows.values]


def child(monkeypatch, script):
    """Have another program in the reader's place; it may import what the reader may."""
    start = "import sys; sys.path.append(sys.argv[1])\n" + textwrap.dedent(script)
    monkeypatch.setattr(workbook_process, "_START", start)


TELL_ENVIRONMENT = """
    import json, os
    sys.stdin.readline()
    names = sorted(name for name in os.environ if name.startswith("BULK_DELETE") or name == "HOME")
    print(json.dumps(dict(type="trouble", message=f"knows {names}", hint="")))
"""


def test_it_is_not_given_the_token(path, monkeypatch):
    monkeypatch.setenv("BULK_DELETE_TOKEN", "secret-token")
    monkeypatch.setenv("HOME", "/nowhere")
    child(monkeypatch, TELL_ENVIRONMENT)
    with pytest.raises(Fault, match=r"knows \['HOME'\]"):
        values(path)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("import os; os.abort()", r"died \(signal 6\): it takes more than \d+ MiB"),
        ("import os; os.kill(os.getpid(), 9)", r"\(signal 9\)"),
        ("raise SystemExit(7)", r"\(exit 7\)"),
        ("sys.stdin.readline(); sys.stdout.write('{')", r"\(exit 0\)"),
    ],
)
def test_its_death_is_a_refusal_that_names_the_file(path, monkeypatch, capfd, script, words):
    child(monkeypatch, script)
    with pytest.raises(Fault, match=words) as caught:
        values(path)
    assert str(path) in caught.value.message
    assert "CSV" in caught.value.hint
    assert capfd.readouterr() == ("", "")


def test_what_a_library_writes_on_its_screen_is_seen_by_nobody(path, monkeypatch, capfd):
    child(monkeypatch, "print('13900000001', file=sys.stderr); import os; os.write(2, b'loud'); os.abort()")
    with pytest.raises(Fault):
        values(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(sys.platform != "linux", reason="no other system bounds a process's data")
def test_what_fills_it_is_a_refusal(tmp_path, monkeypatch):
    monkeypatch.setattr(workbook_process, "MEMORY_BYTES", 30 << 20)
    path = tmp_path / "full.xlsx"
    text = "139&#49;" * 1_500_000
    path.write_bytes(book(page(f'<row r="1"><c r="A1" t="inlineStr"><is><t>{text}</t></is></c></row>')))
    with pytest.raises(Fault, match=r"takes more than 30 MiB"):
        values(path)


def test_a_workbook_of_many_columns_and_rows_fits_into_it(tmp_path):
    """Its bound holds while it reads; a reader of whole sheets took 755 MB of such a one."""
    path = tmp_path / "wide.xlsx"
    cells = "".join(f'<c r="{chr(66 + n)}%d" t="s"><v>%d</v></c>' for n in range(21))
    rows = [f'<row r="{n}"><c r="A{n}"><v>{13100000000 + n}</v></c>' for n in range(1, 20_001)]
    body = "".join(
        row + cells % sum(((n, n % 9000) for _ in range(21)), ()) + "</row>" for n, row in enumerate(rows, 1)
    )
    strings = "".join(f"<si><t>a note of some length {n}</t></si>" for n in range(9000))
    path.write_bytes(book(page(body), strings=strings))
    assert values(path) == [str(13_100_000_000 + n) for n in range(1, 20_001)]


def test_what_takes_too_long_is_a_refusal(path, monkeypatch):
    monkeypatch.setattr(workbook_process, "CPU_S", 1)
    child(monkeypatch, "from runner.lists import workbook_child as c; c._limit(1 << 30, 1)\nwhile True: pass")
    with pytest.raises(Fault, match="takes more than 1 s of computing"):
        values(path)


def test_its_silence_does_not_last_for_ever(path, monkeypatch):
    monkeypatch.setattr(workbook_process, "SILENCE_S", 0.05)
    child(monkeypatch, "sys.stdin.readline(); sys.stdin.readline()")
    with pytest.raises(Fault, match=r"nothing could be read for 0\.05 s"):
        values(path)


def test_it_is_ended_when_the_reading_is_given_up(path, monkeypatch):
    started = []

    class Watched(subprocess.Popen):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Watched)
    rows = read_rows(ListSpec((str(path),)), rule="mobile_cn")
    next(rows)
    assert started[0].poll() is None
    rows.close()
    assert started[0].returncode == -signal.SIGKILL
    with open_source(str(path), "") as source, open_workbook(source) as reader:
        next(reader.sheets(10))
    assert started[1].returncode == -signal.SIGKILL


PARENT = """
    import os, signal, sys
    from runner.lists.decode import open_source
    from runner.lists.workbook_process import open_workbook
    with open_source(sys.argv[1], "") as source, open_workbook(source) as reader:
        next(reader.sheets(10))
        print(reader._process.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_it_ends_when_its_parent_is_killed(path):
    command = [sys.executable, "-c", textwrap.dedent(PARENT), str(path)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, text=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    pid = int(done.stdout)
    until = time.monotonic() + 60
    while is_alive(pid):
        assert time.monotonic() < until
        time.sleep(0.01)


def is_alive(pid):
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def test_a_workbook_on_standard_input_is_read(monkeypatch):
    given = io.TextIOWrapper(io.BytesIO(book(page(grid([["手机号"], [A]])))))
    monkeypatch.setattr(sys, "stdin", given)
    assert values("-") == [A]


def test_an_interrupt_on_the_terminal_does_not_reach_it(path):
    with open_source(str(path), "") as source, open_workbook(source) as reader:
        assert os.getsid(reader._process.pid) != os.getsid(0)


def test_it_needs_nothing_beyond_the_standard_library():
    script = (
        "import sys; sys.path.append(sys.argv[1]); import runner.lists.workbook_child; "
        "print(*{name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names))"
    )
    command = [sys.executable, "-I", "-S", "-c", script, str(Path(__file__).parents[2])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {"runner", "__main__"}


def test_all_rows_come_through_the_pipe_in_order(path):
    assert values(path) == [f"139{n:08d}" for n in range(20_000)]
