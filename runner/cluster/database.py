"""The way to the database that many machines share: its URL, its connections, its errors in our words.

Keeps two promises. A password is shown by nothing: not by a repr, a message, a traceback's chain or a command
to type. And what is wrong has one of three classes, decided here alone: `DatabaseAway` (try again, nothing
was sent meanwhile), `Refused` (a person has to change something), or a bug.
"""

import asyncio
import os
import re
import socket
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Final, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row, tuple_row

from runner.access import (
    AS_DATABASE_URL,
    ENV_DATABASE,
    ENV_DATABASE_FILE,
    URL_SECRETS,
    check_database_url,
    without_password,
)
from runner.errors import Refused
from runner.files import read_private
from runner.text import printable

__all__ = [
    "SCHEMA_VERSION",
    "Connection",
    "Database",
    "DatabaseAway",
    "ask",
    "ask_named",
    "check_schema",
    "notices",
    "read_database",
    "transaction",
]

SCHEMA_VERSION: Final = 1
"""As `schema.sql` writes it down."""

Connection = psycopg.AsyncConnection[tuple[Any, ...]]

_Answer = TypeVar("_Answer")

_MAX_URL_BYTES: Final = 16 * 1024
_PATIENCE: Final = {
    "connect_timeout": 5,
    # Who was cut off learns it soon, and so does the server.
    "keepalives_idle": 2,
    "keepalives_interval": 1,
    "keepalives_count": 3,
    "tcp_user_timeout": 5000,
    "application_name": "bulk-delete",
}
"""What holds where the URL is silent; seconds, and milliseconds for the last."""
_ALWAYS: Final = "-c search_path=bulk_delete -c synchronous_commit=on"
"""Everything lies in one schema; a line that was acknowledged stays, whatever the server's default is."""

_DECLINED: Final = re.compile(
    r"authentication failed|no pg_hba\.conf entry|no password supplied|does not exist|permission denied"
    r"|not permitted|certificate|does not support SSL|server does not support"
)
"""In a connection's error: the server, or the way to it, will say so again."""
_AGAIN: Final = ("08", "40", "57", "53200", "53300", "55P03")
"""SQLSTATEs, or their class, after which the same statement may well succeed."""
_NO_TABLES: Final = (
    "the database has no tables of bulk-delete that its user may see",
    "check that it is the right one; make them: bulk-delete cluster init; or let its user use their schema",
)
_WORDS: Final = {
    "25006": ("the database is read-only", "point to the primary, or let it take writes again"),
    "53100": ("the database's disk is full", "make room there, and type the command again"),
    "42501": ("the database user may not do this", "use the user that typed `cluster init`, or grant it"),
    **dict.fromkeys(("3F000", "42P01", "42883", "42703"), _NO_TABLES),
}


class DatabaseAway(Refused):
    """The database cannot be reached just now, or gave up this one statement: it may be tried again."""


class Database:
    """Where the database is, and with which password; shown without it.

    Args:
        url: `postgresql://USER@HOST/NAME`, as libpq understands it.
        source: Where it was given, for messages.

    Raises:
        Refused: It is no such URL.
    """

    __slots__ = ("__hidden", "__parts", "shown")

    def __init__(self, url: str, source: str = "--database") -> None:
        try:
            self.__parts = _parsed(url.strip())
        except ValueError as error:
            raise Refused(f"{source}: {error}", hint=AS_DATABASE_URL) from None
        self.__hidden = tuple(value for key in URL_SECRETS if (value := str(self.__parts.get(key) or "")))
        self.shown = without_password(url)
        """The URL without its secrets: what may be printed, and typed where a password file has the rest."""

    def __repr__(self) -> str:
        return f"Database({self.shown})"

    def __reduce__(self) -> str:
        raise TypeError("a database's password is not written anywhere")

    async def connect(self) -> Connection:
        """Return a new connection, each statement in a transaction of its own, in the schema `bulk_delete`.

        Raises:
            DatabaseAway: Nobody answers there just now.
            Refused: The server declined, and will again.
        """
        try:
            return await psycopg.AsyncConnection.connect(**self.arguments())
        except psycopg.Error as error:
            raise self._failed(error) from None

    def arguments(self) -> dict[str, Any]:
        """Return what `psycopg` connects with, secrets among it: for a library that connects itself."""
        options = f"{self.__parts.get('options', '')} {_ALWAYS}".strip()
        return {**_PATIENCE, **self.__parts, "options": options, "autocommit": True}

    def _failed(self, error: psycopg.Error) -> Refused:
        words = printable(" ".join(str(error).split()))
        for secret in self.__hidden:
            words = words.replace(secret, "***")
        message = f"the database {self.shown} cannot be used: {words}"
        if _DECLINED.search(words):
            return Refused(message, hint="check its URL, user and password")
        return DatabaseAway(message, hint="start it, or check its URL; then type the command again")


async def ask(connection: Connection, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Run one statement and return its rows.

    Raises:
        DatabaseAway: It was not carried out, or nobody knows: the connection may be of no use any more.
        Refused: It cannot be carried out until a person changes something.
    """
    return await _rows(connection, statement, values or None, tuple_row)


@asynccontextmanager
async def transaction(connection: Connection) -> AsyncIterator[None]:
    """Let all statements of the block be carried out, or none; raises as `ask` does.

    Where the connection is lost at the very end nobody knows which.
    """
    with _in_our_words():
        async with connection.transaction():
            yield


async def ask_named(
    connection: Connection, statement: str, values: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Run one statement with named values and return its rows by the columns' names; raises as `ask`."""
    return await _rows(connection, statement, values, dict_row)


async def _rows(connection: Connection, statement: str, values: Any, kind: Any) -> list[Any]:
    async def work() -> list[Any]:
        async with connection.cursor(row_factory=kind) as cursor:
            # Statements are constants of this folder; only values come from outside, and they are bound.
            await cursor.execute(statement.encode(), values)
            return await cursor.fetchall() if cursor.description is not None else []

    with _in_our_words():
        return await _answered(connection, work())


async def _answered(connection: Connection, work: Coroutine[Any, Any, _Answer]) -> _Answer:
    """Await an answer; who is cancelled meanwhile hangs up, and waits for nothing more.

    The library would ask the server to drop the statement, and wait until it has: for long, or for ever,
    where the server is there and does not answer (a frozen machine, a disk that hangs).
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        _hang_up(connection)
        await asyncio.gather(task, return_exceptions=True)
        raise


def _hang_up(connection: Connection) -> None:
    """End a connection below the library, which then finds it lost."""
    with (
        suppress(psycopg.Error, OSError),  # it is lost already
        socket.socket(fileno=os.dup(connection.pgconn.socket)) as way,
    ):
        way.shutdown(socket.SHUT_RDWR)


async def notices(connection: Connection) -> AsyncIterator[tuple[str, str]]:
    """Yield what is said on the channels that a connection listens to, with the channel; raises as `ask`."""
    with _in_our_words():
        async for notice in connection.notifies():
            yield notice.channel, notice.payload


async def check_schema(connection: Connection) -> None:
    """Raise Refused unless the database has the tables of this version."""
    ((number,),) = await ask(connection, "SELECT number FROM schema_version")
    if number != SCHEMA_VERSION:
        raise Refused(
            f"the database's tables are of version {number}, and this program knows version {SCHEMA_VERSION}",
            hint="use the version of bulk-delete that made them, or a database of its own",
        )


def read_database(flag: str | None, env: Mapping[str, str]) -> Database:
    """Return the database of `--database`, else of its two variables.

    Raises:
        Refused: None is given, or what is given is no good.
    """
    if flag is not None:
        return Database(flag)
    for name in (ENV_DATABASE, ENV_DATABASE_FILE):
        value = env.get(name)
        if value is None:
            continue
        if not value.strip():
            raise Refused(f"the variable {name} is set but empty", hint=f"Give it a value, or: unset {name}")
        return Database(value if name == ENV_DATABASE else _read_url(value), f"the variable {name}")
    raise Refused(
        "there is no database", hint=f"Set {ENV_DATABASE_FILE} or {ENV_DATABASE}, or give --database URL."
    )


def _read_url(path: str) -> str:
    what = f"the database's file {path}"
    try:
        return read_private(path, what, _MAX_URL_BYTES).decode("ascii")
    except UnicodeDecodeError:
        raise Refused(f"{what}: it is not plain ASCII", hint="write other characters as %XX") from None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "no path"
        raise Refused(f"{what}: {why}", hint="check the path, and who may read it") from None


def _parsed(url: str) -> dict[str, Any]:
    """Return libpq's parameters; ValueError, without a piece of the URL, where it is none."""
    check_database_url(url)
    try:
        return {key: value for key, value in conninfo_to_dict(url).items() if value is not None}
    except psycopg.Error:
        raise ValueError("this is no URL that PostgreSQL understands") from None


@contextmanager
def _in_our_words() -> Iterator[None]:
    """Turn the library's errors into ours; their details are left out, for they may hold values."""
    try:
        yield
    except psycopg.Error as error:
        raise _ours(error) from None


def _ours(error: psycopg.Error) -> Exception:
    state = error.sqlstate
    if state is None and isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return DatabaseAway("the connection to the database is lost", hint="type the command again")
    if state is None:
        return error
    said = printable(error.diag.message_primary or state)
    if state.startswith(_AGAIN):
        return DatabaseAway(f"the database gave up: {said}", hint="type the command again")
    message, hint = _WORDS.get(
        state, (f"the database refused: {said} ({state})", "see the database's own log")
    )
    return Refused(message, hint=hint)
