"""What the verbs of many machines share: the database of a call, and the commands to type there."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from runner.cluster.database import Connection, Database, check_schema, read_database
from runner.commands.questions import answered
from runner.commands.vendor import stoppable
from runner.invocation import command
from runner.output.console import Console
from runner.process import use_loop
from runner.send.safety import Question

__all__ = ["Cluster", "answer", "cluster_of"]

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class Cluster:
    """The database of a call.

    Args:
        database: Where the jobs are.
        named: It was named by a flag, so that the next command must name it too.
    """

    database: Database
    named: bool

    def command(self, *words: str) -> str:
        """Return a command for the same database; without a password, which may have stood in the flag."""
        return command(*words, *(("--database", self.database.shown) if self.named else ()))

    def run(self, work: Callable[[Connection], Awaitable[_Answer]]) -> _Answer:
        """Do something with a connection to tables of this version.

        Raises:
            DatabaseAway: It cannot be reached just now; nothing of a transaction was kept.
            Refused: It has no tables, or those of another version.
        """
        with asyncio.Runner(loop_factory=use_loop()) as runner:
            return runner.run(self._within(work))

    async def _within(self, work: Callable[[Connection], Awaitable[_Answer]]) -> _Answer:
        async with await self.database.connect() as connection:
            await check_schema(connection)
            return await work(connection)


def cluster_of(flag: str | None) -> Cluster:
    """Return the database of `--database`, or of the environment; raises Refused where there is none."""
    return Cluster(read_database(flag, os.environ), flag is not None)


def answer(questions: Sequence[Question], screen: Console) -> None:
    """Ask a person; raises Refused at the first no, and Interrupted where a signal comes first."""

    async def ask() -> None:
        async with stoppable(screen, screen.note) as stop:
            await answered(questions, screen, stop)

    with asyncio.Runner(loop_factory=use_loop()) as runner:
        runner.run(ask())
