"""Completion, as a person at a terminal uses it: a real shell, a real tabulator key.

The shell calls a script named `bulk-delete`, which hands its questions on to the real program, and otherwise
says what it was called with.
"""

import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.support.program import PATIENCE_S, ROOT

SHELLS = {
    "bash": ["--norc", "--noprofile", "-i"],
    "zsh": ["-f", "-i"],
    "fish": ["--no-config", "-i"],
}
SET_UP = {
    "bash": 'eval "$(_BULK_DELETE_COMPLETE=bash_source bulk-delete)"',
    "zsh": 'autoload -U compinit && compinit -D -u && eval "$(_BULK_DELETE_COMPLETE=zsh_source bulk-delete)"',
    "fish": "_BULK_DELETE_COMPLETE=fish_source bulk-delete | source",
}
"""What docs/commands.md says to put into a shell's start file (fish reads a file of its own)."""

PROGRAM = f"""#!/bin/sh
if [ -n "$_BULK_DELETE_COMPLETE" ]; then cd '{ROOT}' && exec '{sys.executable}' -m runner; fi
echo "called:$*:"
"""

OWN_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY); os.execvp(sys.argv[1], sys.argv[1:])"
)
"""Makes the terminal that of the shell, which jobs need, and becomes the shell."""


class Terminal:
    """A shell in a terminal, typed into."""

    def __init__(self, shell, folder):
        path = f"{folder}:{os.environ['PATH']}"
        env = {"PATH": path, "HOME": str(folder), "TERM": "dumb", "LANG": "C.UTF-8", "PS1": "> "}
        self._number, other = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-c", OWN_TERMINAL, shell, *SHELLS[shell]],
            cwd=folder,
            env=env,
            stdin=other,
            stdout=other,
            stderr=other,
            start_new_session=True,
        )
        os.close(other)
        self.seen = ""

    def type(self, text):
        os.write(self._number, text.encode())

    def wait_for(self, words):
        """Wait until the screen says something after what it said before."""
        give_up = time.monotonic() + PATIENCE_S
        start = len(self.seen)
        while words not in self.seen[start:]:
            assert time.monotonic() < give_up, f"{words!r} not in {self.seen!r}"
            if select.select([self._number], [], [], 1)[0]:
                self.seen += os.read(self._number, 65536).decode(errors="replace")

    def close(self):
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._number)


@pytest.fixture(params=SHELLS)
def terminal(request, tmp_path):
    """A shell that has been told how to complete."""
    shell = request.param
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell}: apt install {shell}")
    program = tmp_path / "bulk-delete"
    program.write_text(PROGRAM)
    program.chmod(0o700)
    (tmp_path / "nightly.yaml").write_text("")
    opened = Terminal(shell, tmp_path)
    opened.type(f"{SET_UP[shell]}; echo set''up\r")
    opened.wait_for("setup")
    yield opened
    opened.close()


COMPLETED = {
    "verif\t\r": "verify",
    "run --or-re\t\r": "run --or-resume",
    "rerun x --only not\t\r": "rerun x --only not_sent",
    "run night\t\r": "run nightly.yaml",
    "report night\t--htm\t\r": "report nightly.yaml --html",
}


def test_the_tabulator_completes(terminal):
    for typed, called in COMPLETED.items():
        terminal.type(f"bulk-delete {typed}")
        terminal.wait_for(f"called:{called}:")


def test_what_documents_completion_is_what_was_typed_here():
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    for shell in SHELLS:
        assert f"_BULK_DELETE_COMPLETE={shell}_source bulk-delete" in page


@pytest.mark.parametrize(("asked", "code"), [("bash_nonsense", 1), ("sh_source", 1), ("zsh_source", 0)])
def test_a_question_that_is_none_is_1_and_runs_nothing(program, asked, code):
    ended = program("demo", env={"_BULK_DELETE_COMPLETE": asked}).expect(code)
    assert "demo" not in ended.out
    assert ended.err == ""
