"""A process that has imported the program and forks itself for each call: real processes, started warm.

Most of what a test of the command line waits for is the interpreter importing libraries. A fork has its own
process id, folder, environment, streams and signals, and ends as a process ends; what it cannot show is how
the program is imported or named in the process list, or how an interpreter takes its modules down, so tests
of that start it cold.
"""

import atexit
import contextlib
import faulthandler
import fcntl
import functools
import gc
import importlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import weakref
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_NUMBER = struct.Struct("!i")
_MOST = 1 << 22


class Fork:
    """One fork, with the part of `subprocess.Popen` that the tests use.

    `leads`: a session of its own, whose controlling terminal its standard input is.
    """

    def __init__(self, argv, cwd, env, streams, *, leads=False):
        self.args = argv
        self.returncode = None
        self._line, theirs = socket.socketpair()
        weakref.finalize(self, self._line.close)  # also where nobody waits for its end
        with theirs, contextlib.ExitStack() as stack:
            told = json.dumps({"argv": argv, "cwd": str(cwd), "env": env, "leads": leads}).encode()
            fds = [_descriptor(stream, stack) for stream in streams]
            message = os.memfd_create("call")  # an environment may be longer than a message
            stack.callback(os.close, message)
            os.write(message, told)
            socket.send_fds(_warm().socket, [b"call"], [*fds, message, theirs.fileno()])
        # Their end is closed here by now, so that the end of the warm process is seen, not waited for.
        self.pid = _NUMBER.unpack(_exactly(self._line, _NUMBER.size))[0]

    def poll(self):
        """Return the exit code, or None while it runs."""
        if self.returncode is None and select.select([self._line], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self, timeout=None):
        """Wait for the end and return the exit code, negative for a signal."""
        if self.returncode is None:
            if not select.select([self._line], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout)
            self.returncode = os.waitstatus_to_exitcode(_NUMBER.unpack(_exactly(self._line, 4))[0])
            self._line.close()
        return self.returncode

    def send_signal(self, number):
        """Send a signal, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        """Kill it, if it still runs."""
        self.send_signal(signal.SIGKILL)


class _Warm:
    """The process that forks; one for each process that runs tests."""

    def __init__(self):
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.warm", str(theirs.fileno())],
                cwd=ROOT,
                env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )


@functools.cache
def _warm():
    return _Warm()


def _descriptor(stream, stack):
    if stream == subprocess.DEVNULL:
        return stack.enter_context(Path(os.devnull).open("r+b")).fileno()
    return stream if isinstance(stream, int) else stream.fileno()


def _exactly(line, size):
    data = b""
    while len(data) < size:
        chunk = line.recv(size - len(data))
        assert chunk, "the warm process has ended"
        data += chunk
    return data


# ---- inside the process that forks --------------------------------------------------------------------


def import_everything():
    """Import every module of the program, so that a fork need not.

    What was imported stays: the collector need not go through it, which was nine tenths of what a fork cost.
    """
    for file in sorted((ROOT / "runner").rglob("*.py")):  # its folders are no packages that `pkgutil` walks
        if not file.name.startswith("__"):
            importlib.import_module(".".join(file.relative_to(ROOT).with_suffix("").parts))
    use_loop = importlib.import_module("runner.process").use_loop
    use_loop()  # a library that is imported where it is first used
    gc.collect()
    gc.freeze()
    frozen = gc.get_freeze_count()
    # It goes through them all: a quarter of what a run of a few batches cost.
    gc.get_freeze_count = lambda: frozen


def _serve(line):
    """Fork for every call; returns in the fork, with what was asked."""
    children = {}
    wakes, waker = os.pipe()
    os.set_blocking(wakes, False)
    os.set_blocking(waker, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waker)
    while True:
        ready, _, _ = select.select([line, wakes], [], [])
        if wakes in ready:
            os.read(wakes, _MOST)
            _reap(children)
        if line in ready:
            told, fds, _, _ = socket.recv_fds(line, _MOST, 5)
            if not told:
                sys.exit(0)
            if pid := os.fork():
                for fd in fds[:4]:
                    os.close(fd)
                children[pid] = fds[4]
                os.write(fds[4], _NUMBER.pack(pid))
            else:
                signal.set_wakeup_fd(-1)
                _become(json.loads(os.pread(fds[3], _MOST, 0)), fds)
                for fd in (line.detach(), wakes, waker, *children.values()):
                    os.close(fd)
                return


def _reap(children):
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        line = children.pop(pid)
        with contextlib.suppress(OSError):  # nobody waits for it any more
            os.write(line, _NUMBER.pack(status))
        os.close(line)


def _become(told, fds):
    """Take on folder, environment, streams and signals, as a process started that way has them."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.chdir(told["cwd"])
    os.environ.clear()
    os.environ.update(told["env"])
    sys.orig_argv = told["argv"]
    sys.argv = [str(ROOT / "runner" / "__main__.py"), *told["argv"][3:]]
    for number, fd in enumerate(fds[:3]):
        os.dup2(fd, number)
    if told["leads"]:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    for fd in fds:
        os.close(fd)
    sys.stdin = os.fdopen(0, encoding="utf-8", errors="surrogateescape", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)


def _run(program):
    """Run it and end as an interpreter does, but for the taking down of its modules.

    That touches, and so copies, all that the fork shares: five sixths of what a short call took.
    """
    try:
        program()
    except SystemExit as ended:
        threading._shutdown()
        atexit._run_exitfuncs()
        if isinstance(ended.code, int) and _flushed():
            os._exit(ended.code & 0xFF)
        raise


def _flushed():
    try:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except (OSError, ValueError):  # the interpreter's own end has words and a status for that
        return False
    return True


def main():
    """Import the program, then fork until the tests end."""
    import_everything()
    faulthandler.enable()  # where a library crashes is said on what is standard error by then
    _serve(socket.socket(fileno=int(sys.argv[1])))
    from runner.cli import main as program

    _run(program)


if __name__ == "__main__":
    main()
