"""The operator's configuration from its file: checked, and its secrets read.

Keeps the promise that a configuration is believed whole or not at all: each fault has its place, a secret
that cannot be read is found before a run and not after it. Nobody else may have written the file: it can name
a command.
"""

from pathlib import Path
from typing import Final

from runner.access import Token
from runner.config.schema import NotifyModel, check_url, shape_of_config
from runner.errors import Faults, Refused
from runner.files import read_private
from runner.job.document import Document, Steps, first_faults
from runner.job.load import parse_into
from runner.tell.messages import Recipient
from runner.tell.tell import Audience

__all__ = ["read_config"]

_MOST_BYTES: Final = 64 * 1024
_HINT: Final = "The operator's configuration is described in docs/operations.md."


def read_config(path: Path) -> Audience:
    """Return who is told, as a configuration says.

    Raises:
        Refused: The file cannot be read, or others may write it.
        Faults: All that is wrong in it, each at its place.
    """
    document = Document(str(path))
    text = _read(path)
    parse_into(document, text, "TOML")
    audience = _Reading(document, path.absolute().parent).audience() if document.is_sound else None
    if audience is None:
        raise Faults(first_faults(document.faults, document.more), hint=_HINT)
    return audience


def _read(path: Path) -> str:
    what = f"configuration {path}"
    try:
        return read_private(str(path), what, _MOST_BYTES, readable=True).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refused(f"{what}: not UTF-8 at byte {error.start}", hint="Save it as UTF-8.") from None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "no path"
        raise Refused(f"{what}: {why}", hint="Check the path after --config.") from None


class _Reading:
    """One configuration while it is read; relative names are relative to `folder`."""

    def __init__(self, document: Document, folder: Path) -> None:
        self._document = document
        self._folder = folder

    def audience(self) -> Audience | None:
        """Return who is told, or None where there are faults."""
        model = shape_of_config(self._document.data)
        if isinstance(model, list):
            for path, words, at_key in model:
                self._document.add(path, words, at_key=at_key)
            return None
        notify = tuple(self._notify(one, ("notify", n)) for n, one in enumerate(model.notify))
        if not self._document.is_sound:
            return None
        return Audience(
            ping_url=None if model.ping is None else model.ping.url,
            textfile=None if model.metrics is None else self._folder / model.metrics.textfile,
            notify=notify,
        )

    def _notify(self, one: NotifyModel, path: Steps) -> Recipient:
        return Recipient(
            kind=one.kind,
            on=one.on,
            place=self._document.place(path),
            url=Token(one.url) if one.url is not None else self._url(one.url_file, (*path, "url_file")),
            secret=self._secret(one.secret_file, (*path, "secret_file")),
            command=self._command(one.command),
        )

    def _url(self, name: str | None, path: Steps) -> Token | None:
        secret = self._secret(name, path)
        if secret is not None:
            try:
                check_url(secret.reveal(), secret=True)
            except ValueError as error:
                self._document.add(path, f"in that file: {error}")
        return secret

    def _secret(self, name: str | None, path: Steps) -> Token | None:
        """Return what a file of secrets holds; what is wrong with it is a fault where it is named."""
        if name is None:
            return None
        try:
            raw = read_private(str(self._folder / name), "the file", _MOST_BYTES, of_root=True)
            return Token(raw.decode("ascii"))
        except Refused as error:
            self._document.add(path, f"{error.message} ({error.hint})")
        except OSError as error:
            self._document.add(path, f"the file cannot be read: {error.strerror}")
        except ValueError:
            self._document.add(path, "the file holds no secret: one line of printable ASCII is expected")
        return None

    def _command(self, words: list[str] | None) -> tuple[str, ...]:
        if words is None:
            return ()
        program = str(self._folder / words[0]) if "/" in words[0] else words[0]
        return (program, *words[1:])
