"""One call of `run`, `resume` or `rerun`, told to whoever is not there: its start, and its end.

The one place where a run and those who hear of it meet. Keeps the promise that telling changes nothing: it
happens after the code is decided, what goes wrong with it is said on standard error, and no token and no
number in full goes out with it.
"""

import os
import socket
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from runner.audit.records import SummaryRecord
from runner.config.read import read_config
from runner.errors import RunNames
from runner.output.console import Console
from runner.output.results import Result, RunResult, as_json
from runner.tell.ending import Ending
from runner.tell.tell import Audience, tell_end, tell_start
from runner.text import encodable, map_texts

__all__ = ["Telling"]


class Telling:
    """Who hears of one call; what `screen` hides does not go out."""

    def __init__(self, audience: Audience, screen: Console, *, proxy_from_env: bool) -> None:
        self._audience = audience
        self._screen = screen
        self._proxy_from_env = proxy_from_env
        self._rid = str(uuid.uuid4())

    @classmethod
    def begin(cls, config: Path, screen: Console, *, proxy_from_env: bool) -> "Telling":
        """Read the configuration and tell that the call starts.

        Raises:
            Refused: The configuration cannot be read; `Faults` names all that is wrong in it.
        """
        telling = cls(read_config(config), screen, proxy_from_env=proxy_from_env)
        telling._warn(tell_start(telling._audience, telling._rid, proxy_from_env=proxy_from_env))
        return telling

    def end(self, exit_code: int, result: Result, cause: str) -> None:
        """Tell how the call ended, `cause`: why not all is confirmed; whatever goes wrong stays in here."""
        try:
            ending = self._ending(exit_code, result, cause)
            self._warn(tell_end(self._audience, ending, self._rid, proxy_from_env=self._proxy_from_env))
        except Exception as error:  # noqa: BLE001 - the code is decided, and stays
            self._screen.warn(f"how it ended could not be told: internal: {type(error).__name__}")

    def _warn(self, problems: Sequence[str]) -> None:
        for words in problems:
            self._screen.warn(words)

    def _ending(self, exit_code: int, result: Result, cause: str) -> Ending:
        said: dict[str, Any] = map_texts(orjson.loads(as_json(result)), self._screen.redact)
        ran = isinstance(result, RunResult)
        return Ending(
            exit_code=exit_code,
            names=RunNames(**{name: said.get(name) for name in RunNames.__dataclass_fields__}),
            why=said["why"] or self._screen.redact(cause) or None if ran else said["message"],
            hint=_beside(said["hint"], said.get("next")),
            summary=result if isinstance(result, SummaryRecord) else None,
            result=said,
            host=socket.gethostname(),
            folder=self._screen.redact(encodable(_folder())),
            ended_s=time.time(),
        )


def _folder() -> str:
    try:
        return os.getcwd()  # noqa: PTH109 - a text, to be shown
    except OSError:  # it was removed under our feet
        return "a folder that is gone"


def _beside(hint: str | None, following: str | None) -> str | None:
    """Return a hint without the command that a message ends with anyway."""
    if hint is None or following is None:
        return hint
    return hint.removesuffix(f"type: {following}").removesuffix(", then ") or None
