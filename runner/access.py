"""How the vendor is reached: what was given, and what the environment says; no file can say it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from runner.options import AccessOptions
from runner.settings import Token, read_base_url, read_token

__all__ = ["Access", "origin_of", "read_access"]


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
        Refused: The URL is malformed, there is no token, or it is no good (see `settings`).
    """
    return Access(
        read_base_url(options.base_url, env),
        read_token(env, None if options.token_file is None else str(options.token_file)),
        None if options.ca_file is None else str(options.ca_file),
        options.proxy_from_env,
        options,
    )


def origin_of(base_url: str) -> tuple[str, str]:
    """Return what must not change while a job is sent: scheme, and host with port, of a normalised URL."""
    parts = urlsplit(base_url)
    return parts.scheme, parts.netloc
