"""How the vendor is reached, from what was given and from the environment; no file can say it."""

from collections.abc import Mapping

from runner.options import AccessOptions
from runner.settings import Access, read_base_url, read_token

__all__ = ["read_access"]


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
    )
