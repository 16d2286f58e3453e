"""The real program in a process of its own, and a sandbox for it to talk to; both seen from outside only.

`Program` runs `python -m runner …` with an environment that holds nothing of the tester's; `Sandbox` serves
the vendor's API in a thread and is read by HTTP.
"""

import asyncio
import contextlib
import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from runner.sandbox import Pool, SandboxSettings, serve
from tests.support.warm import Fork

TOKEN = "tkn-Zq81-never-to-be-seen"
USER = "5832d184-dd53-42a0-8ace-0bf8d660f4cc"
OTHER = "4d99d91c-f5d9-49da-88da-758977cc58a9"
ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 60.0
"""Nothing here takes so long; whoever waits that long has found a hang."""
AT_ONCE = 3

_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def numbers(count, first=0):
    """So many mobile numbers, one after the other."""
    return [f"139{n:08d}" for n in range(first, first + count)]


def until(condition, what="the condition"):
    """Wait until `condition` gives something true, and return that."""
    begun = now = time.monotonic()
    while now < begun + PATIENCE_S:
        value = condition()
        if value:
            return value
        # What is waited for needs the processor more than whoever asks: who has waited long asks less often.
        time.sleep(min(0.05, 0.005 + (now - begun) / 20))
        now = time.monotonic()
    raise AssertionError(f"{what}: not within {PATIENCE_S} s")


class Sandbox:
    """A sandbox in a thread of its own; what happened in it is asked by HTTP, as anybody could."""

    def __init__(self, pool=None, **settings):
        self.pool = Pool() if pool is None else pool
        self.settings = SandboxSettings(**{"token": TOKEN, **settings})
        self.url = ""
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    async def _serve(self):
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with serve(self.settings, self.pool) as running:
            self.url = running.url
            self._ready.set()
            await self._stop.wait()

    def __enter__(self):
        self._thread.start()
        assert self._ready.wait(PATIENCE_S), "the sandbox did not start"
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE_S)

    def ask(self, path, body=None):
        """Call one of its own pages."""
        data = None if body is None else json.dumps(body).encode()
        with _direct.open(f"{self.url}/_sandbox/{path}", data, timeout=PATIENCE_S) as reply:
            return json.loads(reply.read())

    def ledger(self, since=0):
        """Every request after that number."""
        entries = []
        while True:
            page = self.ask(f"ledger?since={since}")
            entries += page["entries"]
            since = page["next"]
            if not page["entries"] or since >= page["total"]:
                return entries

    def deletions(self, since=0):
        """Every request to delete, done or not."""
        return [entry for entry in self.ledger(since) if entry["call"] == "del_customer"]

    def worked(self):
        """How many deletions were carried out, whether or not anybody was told."""
        return sum(entry["processed"] for entry in self.deletions())

    def stats(self):
        """The totals."""
        return self.ask("stats")

    def requests(self):
        """How many requests came in, of every kind."""
        return self.stats()["requests"]

    def settle(self):
        """Wait until it is through with everything that came in; return how many those are."""
        return until(self._settled, "the sandbox at rest")

    def _settled(self):
        before, after = self.stats(), self.stats()
        return before == after and after["in_flight"] == 0 and (after["requests"] or True)

    def control(self, **changes):
        """Change its settings from the next request on."""
        self.ask("control", changes)

    def script(self, *faults, **fields):
        """Let exactly these faults befall the next deletions, one each."""
        self.control(faults={"shares": {}})  # a script like the one before would only go on with it
        self.control(faults={"script": list(faults), **fields})

    def left(self, user=USER):
        """Phones of a user that still have rows."""
        return sorted({row["phone"] for row in self.ask(f"rows?user_id={user}")["rows"]})


@dataclass(frozen=True)
class Ended:
    """How a process ended, and what it said where."""

    code: int
    out: str
    err: str

    @property
    def record(self):
        """The one object on standard output."""
        assert self.out.count("\n") == 1, f"not one line: {self.out!r}"
        return json.loads(self.out)

    def expect(self, code):
        """Fail with everything that was said, unless it ended so."""
        assert self.code == code, f"exit {self.code}, not {code}\nout: {self.out}\nerr: {self.err}"
        assert "Traceback" not in self.out + self.err, self.err
        return self


class Started:
    """A process under way; its outputs go to files, so that no pipe can fill up."""

    def __init__(self, argv, cwd, env, folder, *, cold=True, **more):
        self._out, self._err = folder / "out.txt", folder / "err.txt"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            streams = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": err, **more}
            if cold or streams.keys() != {"stdin", "stdout", "stderr"}:
                self.process = subprocess.Popen(argv, cwd=cwd, env=env, **streams)
            else:
                self.process = Fork(argv, cwd, env, streams.values())
        self.pid = self.process.pid

    def err(self):
        """What it said on standard error so far."""
        return self._err.read_text(encoding="utf-8")

    def out(self):
        """What it said on standard output so far."""
        return self._out.read_text(encoding="utf-8")

    def signal(self, number):
        """Send it a signal, if it still runs."""
        self.process.send_signal(number)

    def running(self):
        """Tell whether it still runs."""
        return self.process.poll() is None

    def until(self, condition, what="the condition"):
        """Wait until `condition` gives something true while it runs."""

        def look():
            ran = self.running()
            value = condition()
            assert value or ran, f"{what}: it ended {self.process.returncode} before; it said: {self.err()}"
            return value

        return until(look, what)

    def wait(self, runs=1):
        """Wait for its end, with patience for so many runs one after the other."""
        patience_s = PATIENCE_S * runs
        try:
            code = self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"still running after {patience_s} s; it said: {self.err()}") from None
        return Ended(code, self._out.read_text(encoding="utf-8"), self.err())


class Program:
    """`python -m runner` in a folder of its own, with an environment of its own."""

    def __init__(self, folder, base_url=None, token=TOKEN):
        self.folder = folder / "work"
        self.folder.mkdir()
        self.state = folder / "state"
        self._runs = folder / "runs"
        self._runs.mkdir()
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder / "home"),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(ROOT),
            "XDG_STATE_HOME": str(self.state),
            "BULK_DELETE_BASE_URL": base_url,
            "BULK_DELETE_TOKEN": token,
        }
        (folder / "home").mkdir()
        self.started = []

    def _environment(self, changes):
        return {name: value for name, value in {**self.env, **(changes or {})}.items() if value is not None}

    def start(self, *args, env=None, cold=False, argv=None, **more):
        """Start it, standard input empty unless given; `cold`: by an interpreter of its own in any case.

        `argv` starts something else, which starts it in its turn.
        """
        mine = self._runs / str(len(self.started))
        mine.mkdir()
        cold = cold or argv is not None
        argv = [*(argv or [sys.executable, "-m", "runner"]), *map(str, args)]
        # What an interpreter reads at its start, a fork cannot be given.
        cold = cold or any(name.startswith(("PYTHON", "LANG", "LC_")) for name in env or ())
        started = Started(argv, self.folder, self._environment(env), mine, cold=cold, **more)
        self.started.append(started)
        return started

    def __call__(self, *args, stdin=None, env=None, **more):
        """Run it to its end; `stdin` is text or bytes, the rest as in `start`."""
        if stdin is not None:
            file = self._runs / f"{len(self.started)}.stdin"
            file.write_bytes(stdin.encode() if isinstance(stdin, str) else stdin)
            with file.open("rb") as opened:
                return self.start(*args, env=env, stdin=opened, **more).wait()
        return self.start(*args, env=env, **more).wait()

    def together(self, cases, **more):
        """Run a table of command lines, a few at a time; yield each case's name and how it ended."""
        waiting = []
        for name, args in cases.items():
            env = args[-1] if args and isinstance(args[-1], dict) else None
            waiting.append((name, self.start(*(args[:-1] if env is not None else args), env=env, **more)))
            if len(waiting) == AT_ONCE:
                first, started = waiting.pop(0)
                yield first, started.wait()
        for name, started in waiting:
            yield name, started.wait()

    def shell(self, line, env=None):
        """Run a line of shell in which `$RUN` is the program."""
        whole = {**self._environment(env), "RUN": f"{sys.executable} -m runner"}
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=self.folder,
            env=whole,
            capture_output=True,
            timeout=PATIENCE_S,
            check=False,
        )
        return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())

    @contextlib.contextmanager
    def on_terminal(self, *args, env=None):
        """Run it with a terminal for input and errors, which is also its controlling one."""
        terminal = Terminal(
            [sys.executable, "-m", "runner", *map(str, args)], self.folder, self._environment(env)
        )
        try:
            yield terminal
        finally:
            terminal.close()

    def job(self, users=None, name="job", **top):
        """Write a job file: phones (or a whole entry) by user."""
        entries = []
        for user, asked in (users or {}).items():
            entries.append({"user_id": user, **(asked if isinstance(asked, dict) else {"phone": asked})})
        return self.write(
            f"{name}.json", json.dumps({"name": name, **({"users": entries} if entries else {}), **top})
        )

    def write(self, name, text):
        """Write a file into its folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def audits(self):
        """The audits in the default place."""
        return sorted((self.folder / "audit").glob("*.jsonl"))

    def end_all(self):
        """Leave nothing running."""
        for started in self.started:
            if started.running():
                started.process.kill()
            started.process.wait()


class Terminal:
    """The person's end of a terminal on which the program runs; standard output is a pipe apart."""

    def __init__(self, argv, cwd, env):
        self._master, slave = pty.openpty()
        reading, writing = os.pipe()
        self._stdout = os.fdopen(reading, "rb")
        whole = {"TERM": "xterm", "COLUMNS": "200", **env}
        self.process = Fork(argv, cwd, whole, (slave, writing, slave), leads=True)
        os.close(slave)
        os.close(writing)
        self.seen = ""

    def _read(self):
        ready, _, _ = select.select([self._master], [], [], 0.05)
        if not ready:
            return True
        try:
            chunk = os.read(self._master, 65536)
        except OSError:  # Linux says EIO when the other end is closed
            return False
        self.seen += chunk.decode("utf-8", "replace")
        return bool(chunk)

    def read_until(self, text):
        """Read until the program has said this (again)."""
        from_here = getattr(self, "_mark", 0)
        give_up = time.monotonic() + PATIENCE_S
        while text not in self.seen[from_here:]:
            if not self._read() or time.monotonic() > give_up:
                raise AssertionError(f"{text!r} was not said: {self.seen!r}")
        self._mark = self.seen.index(text, from_here) + len(text)

    def type(self, text):
        """Type this."""
        os.write(self._master, text.encode())

    def until(self, condition):
        """Read until `condition` is true."""
        until(lambda: (self._read() and condition()) or self.process.poll() is not None)

    def hang_up(self):
        """Go away; whoever it controlled is told by SIGHUP."""
        os.close(self._master)
        self._master = None

    def end(self):
        """Read until it ends."""
        give_up = time.monotonic() + PATIENCE_S
        while self._master is not None and self._read():
            assert time.monotonic() < give_up, f"still running; it said {self.seen!r}"
        out = self._stdout.read().decode()
        return Ended(self.process.wait(PATIENCE_S), out, self.seen)

    def close(self):
        """Leave nothing running or open."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._stdout.close()
        if self._master is not None:
            os.close(self._master)


class Listener:
    """A port on which nobody should call; counts who does."""

    def __init__(self):
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(0.05)
        self.port = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.calls = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def _listen(self):
        while not self._over.is_set():
            with contextlib.suppress(TimeoutError):
                connection, _ = self._socket.accept()
                with connection:
                    connection.settimeout(1)
                    with contextlib.suppress(OSError):
                        self.calls.append(connection.recv(65536))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join(PATIENCE_S)
        self._socket.close()


def seeded(users, rows=1, **settings):
    """A sandbox in which every one of these numbers stands in so many rows."""
    pool = Pool()
    for user, phones in users.items():
        for _ in range(rows):
            pool.add_phones(user, phones)
    return Sandbox(pool, **settings)


SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143}

__all__ = [
    "OTHER",
    "PATIENCE_S",
    "ROOT",
    "SIGNALS",
    "TOKEN",
    "USER",
    "Ended",
    "Listener",
    "Program",
    "Sandbox",
    "numbers",
    "seeded",
    "until",
]
