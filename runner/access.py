"""How the vendor is reached: base URL, token, certificates and proxy; what was given, and the environment.

Keeps the promise that no file can send the token elsewhere: base URL and token come from a flag, one of the
three `BULK_DELETE_*` variables or a private file, and from nowhere else. A flag goes over the environment;
the token itself over a file that holds it. A token is shown by nothing, and no message holds a character of
one.
"""

import ipaddress
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from runner.errors import Refused
from runner.files import read_private
from runner.options import AccessOptions

__all__ = [
    "AS_DATABASE_URL",
    "DEFAULT_BASE_URL",
    "ENV_BASE_URL",
    "ENV_DATABASE",
    "ENV_DATABASE_FILE",
    "ENV_TOKEN",
    "ENV_TOKEN_FILE",
    "URL_SECRETS",
    "Access",
    "Token",
    "check_database_url",
    "environment_warnings",
    "origin_of",
    "parse_base_url",
    "reaching",
    "read_access",
    "read_base_url",
    "read_token",
    "tokens_among",
    "without_password",
]

DEFAULT_BASE_URL = "https://ai.api.longlonglong.cn"

ENV_BASE_URL = "BULK_DELETE_BASE_URL"
ENV_TOKEN = "BULK_DELETE_TOKEN"  # noqa: S105 - the variable's name
ENV_TOKEN_FILE = "BULK_DELETE_TOKEN_FILE"  # noqa: S105 - the variable's name
ENV_DATABASE = "BULK_DELETE_DATABASE_URL"
ENV_DATABASE_FILE = "BULK_DELETE_DATABASE_URL_FILE"
_ENV_CREDENTIALS = "CREDENTIALS_DIRECTORY"
_CREDENTIAL = "bulk-delete-token"
_MAX_TOKEN_BYTES = 16 * 1024

AS_DATABASE_URL = "write postgresql://USER@HOST/NAME; and / @ : ? # in a password as %2F %40 %3A %3F %23"
URL_SECRETS = ("password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key")
"""Parts of a database's URL, or of its query, that are shown by nothing."""

SHORTEST_TOKEN = 5
"""Characters; what is shorter would be found, and hidden, inside ordinary words of the output."""

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"(?=.{{1,253}}\Z)(?:{_LABEL}\.)*(?=[0-9_-]*[a-z]){_LABEL}")
_LAST_PRINTABLE = 0x7E
_LIKE_TOKEN = re.compile(r"(?!-)(?!.*://)[A-Za-z0-9_.~+/=|:-]{20,}")
_PASSWORD = re.compile(r"://[^/\s:]*:(?=[!-~]{5})([!-~]+@[!-~]*)")
"""In a URL, with what follows it: a short one alone would be found, and hidden, inside ordinary words."""
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_ENDING = re.compile(r"\.[A-Za-z]{1,6}\Z")


class Token:
    """The API token, shown by no repr, format, pickle or traceback; `reveal` is for the one header.

    Args:
        value: As read from the environment or a file; surrounding white space is taken off.

    Raises:
        ValueError: It is empty, shorter than `SHORTEST_TOKEN`, or holds anything but printable ASCII without
            spaces.
    """

    __slots__ = ("__value",)

    def __init__(self, value: str) -> None:
        stripped = value.strip()
        if not stripped:
            raise ValueError("the token is empty")
        if not all("!" <= char <= chr(_LAST_PRINTABLE) for char in stripped):
            raise ValueError("the token holds a character that is not printable ASCII (BOM, space?)")
        if len(stripped) < SHORTEST_TOKEN:
            raise ValueError(
                f"the token has fewer than {SHORTEST_TOKEN} characters: it is too short to be one"
            )
        self.__value = stripped

    def reveal(self) -> str:
        """Return the token itself."""
        return self.__value

    def __repr__(self) -> str:
        return "Token(***)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __reduce__(self) -> str:
        raise TypeError("a token is not written anywhere")


@dataclass(frozen=True, slots=True)
class Access:
    """How the vendor is reached.

    Args:
        base_url: Checked and normalised.
        token: Shown by nothing.
        ca_file: Trusted in place of the system's authorities.
        proxy_from_env: Whether the proxy is used that the environment names.
        given: The options that it was made of, for commands that people are told to type.
    """

    base_url: str
    token: Token
    ca_file: str | None = None
    proxy_from_env: bool = False
    given: AccessOptions = field(default_factory=AccessOptions)


def read_access(options: AccessOptions, env: Mapping[str, str]) -> Access:
    """Return base URL, token and the way there.

    Raises:
        Refused: A URL is malformed, there is no token, or it is no good (see `settings`).
    """
    try:
        check_database_url((options.rate_from or "postgresql://").strip())
    except ValueError as error:
        raise Refused(f"--rate-from: {error}", hint=AS_DATABASE_URL) from None
    return Access(
        read_base_url(options.base_url, env),
        read_token(env, None if options.token_file is None else str(options.token_file)),
        None if options.ca_file is None else str(options.ca_file),
        options.proxy_from_env,
        options,
    )


def origin_of(base_url: str) -> str:
    """Return what must not change while a job is sent: scheme, and host with port, of a normalised URL."""
    parts = urlsplit(base_url)
    return f"{parts.scheme}://{parts.netloc}"


def parse_base_url(text: str) -> str:
    """Return the base URL, normalised, so that equal origins are equal texts; `http` only to this machine.

    Raises:
        ValueError: It is none, or one with a user, a query or a fragment.
    """
    text = text.strip()
    if not text.isascii() or not text.isprintable() or " " in text or "\\" in text:
        raise ValueError("base URL: plain ASCII only; write a host of other letters as xn--…")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"base URL: {error}") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("base URL: write https://HOST, or http://127.0.0.1:PORT to rehearse")
    if "@" in parts.netloc or "%" in parts.netloc or "?" in text or "#" in text:
        raise ValueError("base URL: no user, password, query or fragment may stand in it")
    if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)*/?", parts.path) or "/." in parts.path:
        raise ValueError("base URL: its path may hold plain segments only")
    if port == 0:
        raise ValueError("base URL: port 0 is no port")
    host, loopback = _host(parts.hostname)
    if parts.scheme == "http" and not loopback:
        raise ValueError("base URL: plain http:// goes to this machine only; use https://")
    default_port = {"http": 80, "https": 443}[parts.scheme]
    suffix = "" if port in {None, default_port} else f":{port}"
    return f"{parts.scheme}://{host}{suffix}{parts.path.rstrip('/')}"


def _host(host: str) -> tuple[str, bool]:
    """Return the host as it stands in a URL, and whether it is this machine."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        if not _HOST.fullmatch(host):
            raise ValueError("base URL: the host is not one (letters, digits, dots, dashes)") from None
        return host, host == "localhost"
    return (f"[{address}]" if address.version == 6 else str(address)), address.is_loopback


def check_database_url(url: str) -> SplitResult:
    """Return the parts of a PostgreSQL URL; what it means besides is the library's.

    Raises:
        ValueError: It is none, or a piece of a password could be taken for a host or a name in it, and shown
            as such. The message holds no piece of it.
    """
    if not url.startswith(("postgresql://", "postgres://")) or not url.isprintable() or " " in url:
        raise ValueError("this is no URL of a PostgreSQL database")
    try:
        parts = urlsplit(url)
    except ValueError:  # its words quote what stands in brackets
        raise ValueError("its parts cannot be told apart") from None
    user = parts.netloc.rpartition("@")[0]
    if "@" in user + parts.path + parts.query or user.count(":") > 1 or "/" in parts.path[1:] or "#" in url:
        raise ValueError("its parts cannot be told apart")
    return parts


def without_password(url: str) -> str:
    """Return a PostgreSQL URL without its secrets; raises ValueError as `check_database_url` does."""
    parts = check_database_url(url.strip())
    user, at, host = parts.netloc.rpartition("@")
    kept = [item for item in parts.query.split("&") if unquote(item.partition("=")[0]) not in URL_SECRETS]
    return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}{at}{host}", query="&".join(kept)))


def environment_warnings(env: Mapping[str, str]) -> tuple[str, ...]:
    """Return a sentence for each `BULK_DELETE_*` variable that means nothing here."""
    known = (ENV_BASE_URL, ENV_TOKEN, ENV_TOKEN_FILE, ENV_DATABASE, ENV_DATABASE_FILE)
    strange = sorted(name for name in env if name.startswith("BULK_DELETE_") and name not in known)
    return tuple(f"the variable {name} means nothing; known are {', '.join(known)}" for name in strange)


def read_base_url(flag: str | None, env: Mapping[str, str]) -> str:
    """Return the base URL, normalised: the flag's, else the environment's, else the vendor's host.

    Raises:
        Refused: It is malformed, or the variable is set and empty (it would mean production, silently).
    """
    text = flag if flag is not None else _variable(env, ENV_BASE_URL)
    if text is None:
        return DEFAULT_BASE_URL
    try:
        return parse_base_url(text)
    except ValueError as error:
        source = "--base-url" if flag is not None else ENV_BASE_URL
        raise Refused(f"{source}: {error}", hint=f"Leave it out for {DEFAULT_BASE_URL}.") from None


def read_token(env: Mapping[str, str], token_file: str | None = None) -> Token:
    """Return the API token of the first source that is given.

    In this order: `--token-file` (`token_file`), `BULK_DELETE_TOKEN`, `BULK_DELETE_TOKEN_FILE`, and systemd's
    `$CREDENTIALS_DIRECTORY/bulk-delete-token` where that exists.

    Raises:
        Refused: No source is given; or the one that counts is empty, not printable ASCII, or a file that
            somebody else may read or has written.
    """
    if token_file is not None:
        return _token_of_file(token_file)
    value = _variable(env, ENV_TOKEN)
    if value is not None:
        return _token(value, f"the variable {ENV_TOKEN}")
    named = _variable(env, ENV_TOKEN_FILE)
    if named is not None:
        return _token_of_file(named)
    folder = env.get(_ENV_CREDENTIALS)
    if folder and (Path(folder) / _CREDENTIAL).exists():
        return _token_of_file(str(Path(folder) / _CREDENTIAL), systemd=True)
    raise Refused(
        "there is no token", hint=f"Set {ENV_TOKEN}, or give --token-file PATH with a file only you can read."
    )


def tokens_among(words: Iterable[str], env: Mapping[str, str]) -> list[str]:
    """Return what no message may show of a command line: the token, what may be one, a URL's password."""
    given = env.get(ENV_TOKEN, "").strip()
    known = {given} if len(given) >= SHORTEST_TOKEN else set()
    words = list(words)
    passwords = [found[1] for word in words if (found := _PASSWORD.search(word)) is not None]
    return [*passwords, *(word for word in words if word in known or _looks_like_token(word))]


def _looks_like_token(text: str) -> bool:
    """Tell whether a text of the command line may be a token.

    Long and without a break, and neither a flag, a URL or a UUID, nor what names a file: one that is there,
    an ending, or a folder that exists.
    """
    folder, _, name = text.rpartition("/")
    return (
        _LIKE_TOKEN.fullmatch(text) is not None
        and _UUID.fullmatch(text) is None
        and _ENDING.search(name) is None
        and not os.path.lexists(text)
        and not (folder and os.path.isdir(folder))  # noqa: PTH112 - a text that is no path at all may come
    )


def _variable(env: Mapping[str, str], name: str) -> str | None:
    """Return a variable, refusing one that is set but empty: most likely a script's slip."""
    value = env.get(name)
    if value is not None and not value.strip():
        raise Refused(f"the variable {name} is set but empty", hint=f"Give it a value, or: unset {name}")
    return value


def _token(value: str, source: str) -> Token:
    try:
        return Token(value)
    except ValueError as error:
        raise Refused(f"{source}: {error}", hint="It is one line of letters, digits and signs.") from None


def _token_of_file(path: str, *, systemd: bool = False) -> Token:
    """Read a token file: regular, ours or root's, closed to others; links are followed, then checked."""
    what = f"token file {path}"
    try:
        raw = read_private(path, what, _MAX_TOKEN_BYTES, of_root=systemd)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "no path"
        if _looks_like_token(path):  # and is no file: most likely the token itself
            raise Refused(
                f"the token file that is named cannot be opened: {why}",
                hint="Give the path of a file that holds the token, not the token.",
            ) from None
        raise Refused(f"{what}: {why}", hint="Check the path, and who may read it.") from None
    if not raw.isascii():  # asked, not tried: a UnicodeDecodeError would carry the bytes along
        raise Refused(
            f"{what}: the token holds a character that is not printable ASCII (a BOM?)",
            hint="Save it as plain text, one line.",
        )
    return _token(raw.decode("ascii"), what)


def reaching(base_url: str, given: AccessOptions, env: Mapping[str, str]) -> AccessOptions:
    """Return the options with which a command to type reaches this base URL, and no more than it needs."""
    with suppress(Refused):
        if read_base_url(given.base_url, env) == base_url:
            return given
    return replace(given, base_url=base_url)
