"""The shape of the operator's configuration, as pydantic models, and a fault's words for a person.

Keeps the promise that it is as strict as a job: no unknown key, no guessed type; and that no secret stands in
it. A message never holds a value from the file.
"""

from collections.abc import Iterator
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, ValidationError

from runner.job.document import Steps
from runner.job.messages import fault_words, likely_key
from runner.tell.ending import ENDS
from runner.tell.messages import KINDS
from runner.tell.robots import ROBOTS

__all__ = ["ALLOWED", "ConfigModel", "NotifyModel", "check_url", "shape_of_config"]

_SECRETS: Final = {"secret", "token", "password", "access_token", "key", "sign"}
_INTO_A_FILE: Final = (
    "a secret never stands in the configuration: put it into a file (0600) and name that by secret_file"
)
_ALL_ENDS: Final = frozenset(ENDS.values())
_BAD_ENDS: Final = _ALL_ENDS - {"complete"}
_WORDS: Final = ", ".join(f'"{word}"' for word in dict.fromkeys(ENDS.values()))
_NEEDED: Final = {**dict.fromkeys(ROBOTS, ("url_file",)), "command": ("command",)}
ALLOWED: Final = {
    **{name: ("url_file", "secret_file") if robot.signs else ("url_file",) for name, robot in ROBOTS.items()},
    "webhook": ("url", "url_file"),
    "command": ("command",),
}
"""Kind → the keys that go with it, beside `kind` and `on`."""


class _Section(BaseModel):
    """Unknown keys and guessed types are faults."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def check_url(text: str, *, secret: bool) -> str:
    """Return a URL that may be sent to; a secret one leaves this machine over TLS only.

    Raises:
        ValueError: It is none; the words hold nothing of it.
    """
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("this is no URL") from None
    if parts.scheme not in {"http", "https"} or not host or not text.isascii() or not text.isprintable():
        raise ValueError("this is no URL: write https://…")
    if parts.username is not None or parts.fragment or any(char.isspace() for char in text):
        raise ValueError("a URL without a user, a fragment and spaces is expected")
    if secret and parts.scheme == "http" and host not in {"127.0.0.1", "::1", "localhost"}:
        raise ValueError("a secret URL must begin with https://")
    return text


def _url(value: str) -> str:
    return check_url(value, secret=False)


def _file(value: str) -> str:
    if not value.strip() or "\0" in value:
        raise ValueError("a file name is missing")
    return value


def _textfile(value: str) -> str:
    if not _file(value).endswith(".prom"):
        raise ValueError("the exporter reads only files whose names end in .prom")
    return value


def _kind(value: object) -> str:
    if value not in KINDS:
        raise ValueError(f"write one of: {', '.join(KINDS)}")
    return str(value)


def _on(value: object) -> frozenset[str]:
    if value == "always":
        return _ALL_ENDS
    if not isinstance(value, list) or not value or not all(word in _ALL_ENDS for word in value):
        raise ValueError(f'write "always", or a list of: {_WORDS}')
    return frozenset(value)


Url = Annotated[str, AfterValidator(_url)]
File = Annotated[str, AfterValidator(_file)]


class PingModel(_Section):
    """Who watches that runs start and end."""

    url: Url


class MetricsModel(_Section):
    """Where the node exporter finds metrics."""

    textfile: Annotated[str, AfterValidator(_textfile)]


class NotifyModel(_Section):
    """Somebody who gets messages; which keys go together is looked at apart."""

    kind: Annotated[str, PlainValidator(_kind)]
    on: Annotated[frozenset[str], PlainValidator(_on)] = _BAD_ENDS
    url: Url | None = None
    url_file: File | None = None
    secret_file: File | None = None
    command: Annotated[list[Annotated[str, AfterValidator(_file)]], Field(min_length=1)] | None = None


class ConfigModel(_Section):
    """The operator's configuration."""

    ping: PingModel | None = None
    metrics: MetricsModel | None = None
    notify: list[NotifyModel] = []


_KEYS: Final = {
    "ping": tuple(PingModel.model_fields),
    "metrics": tuple(MetricsModel.model_fields),
    "notify": tuple(NotifyModel.model_fields),
}

Found = tuple[Steps, str, bool]
"""Where a fault is, what it is, and whether the key is meant and not the value."""


def shape_of_config(data: object) -> ConfigModel | list[Found]:
    """Return the configuration's model, or its faults."""
    try:
        model = ConfigModel.model_validate(data)
    except ValidationError as error:
        return list(_faults(error))
    return [found for n, one in enumerate(model.notify) for found in _of_kind(one, ("notify", n))] or model


def _faults(error: ValidationError) -> Iterator[Found]:
    for detail in error.errors(include_url=False):
        path = tuple(detail["loc"])
        if detail["type"] == "extra_forbidden":
            yield path, _unknown(str(path[-1]), path), True
        else:
            yield (
                path,
                fault_words(detail["type"], detail.get("ctx", {}), detail["input"], detail["msg"]),
                False,
            )


def _unknown(key: str, path: Steps) -> str:
    known = _KEYS.get(str(path[0]), ()) if len(path) > 1 else tuple(ConfigModel.model_fields)
    if key.lower() in _SECRETS:
        return _INTO_A_FILE
    likely = likely_key(key, known)
    return (
        f"unknown key; did you mean `{likely}`?" if likely else f"unknown key; known here: {', '.join(known)}"
    )


def _of_kind(one: NotifyModel, path: Steps) -> Iterator[Found]:
    """Yield what a kind lacks, and what does not go with it."""
    given = {key for key in ("url", "url_file", "secret_file", "command") if getattr(one, key) is not None}
    for key in sorted(given - set(ALLOWED[one.kind])):
        yield (*path, key), _does_not_go(one.kind, key), True
    for key in _NEEDED.get(one.kind, ()):
        if key not in given:
            yield (*path, key), "is missing", False
    if one.kind == "webhook" and len(given & {"url", "url_file"}) != 1:
        yield path, "a webhook needs url, or url_file where the URL is a secret", False


def _does_not_go(kind: str, key: str) -> str:
    if key == "url" and kind in ROBOTS:
        return "a robot's URL is a secret: put it into a file (0600) and name that by url_file"
    if key == "secret_file" and kind in ROBOTS:
        return f"a {kind} robot does not sign: leave the key out"
    return f"this does not go with kind {kind}; what does: {', '.join(ALLOWED[kind])}"
